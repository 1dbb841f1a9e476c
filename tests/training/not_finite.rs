//! Data, weights, losses and files that hold NaN or infinities.

use super::*;

pub(super) fn refusal(change: impl Fn(&mut Split), with: impl Fn(Trainer<'_>) -> Trainer<'_>) -> String {
    let params = Params::seeded(1);
    let (net, sgd) = (Mlp::new(&params, &[64, 10]), Sgd::new(&params, 0.1));
    let mut split = split(50);
    change(&mut split);
    let trainer = Trainer::new(&Device::cpu(), net, &params, sgd, split).epochs(3);
    with(trainer).run(&mut ()).unwrap_err().to_string()
}

/// The values of a data set as floats, with one of them replaced.
fn with_value(data: &Dataset, at: usize, value: f32) -> Dataset {
    let mut values = data.values().to_floats().into_owned();
    values[at] = value;
    with_floats(data, values)
}

fn with_floats(data: &Dataset, values: Vec<f32>) -> Dataset {
    Dataset { inputs: vec![Input::new("x", data.shape(), values)], ..data.clone() }
}

#[test]
fn what_is_no_number_is_blamed_on_what_it_comes_from() {
    // Fields of a data set are public, so that a row can hold what `Dataset::new` refuses.
    let text = refusal(|s| s.train = with_value(&s.train, 3 * 64 + 5, f32::NAN), |t| t);
    assert!(text.contains("some digits") && text.contains("row 3 holds NaN"), "{text}");
    let text = refusal(|s| s.test = with_value(&s.test, 64, f32::INFINITY), |t| t);
    assert!(text.contains("row 1 holds inf"), "{text}");
    // Finite, but too large to be multiplied.
    let huge = |s: &mut Split| {
        let large = |d: &Dataset| with_floats(d, d.values().to_floats().iter().map(|x| x * 3e38).collect());
        (s.train, s.validation, s.test) = (large(&s.train), large(&s.validation), large(&s.test));
    };
    let text = refusal(huge, |t| t);
    assert!(text.contains("in the first step, before any weight has changed"), "{text}");
    assert!(
        text.contains("reach 3") && text.contains("scale them") && !text.contains("learning rate"),
        "{text}"
    );

    // A schedule is looked at before the first step, epochs ahead.
    for (factor, words) in
        [(-0.5, "by -0.5 in epoch 3 of 3"), (f32::NAN, "by NaN in epoch 3"), (f32::INFINITY, "by inf")]
    {
        let text = refusal(|_| {}, |t| t.schedule(move |epoch, _| if epoch == 2 { factor } else { 1.0 }));
        assert!(
            text.contains("the schedule multiplies the learning rate, 0.1") && text.contains(words),
            "{text}"
        );
    }
    // Steps that are too large are still called that, with the rate of the epoch and not that of the start.
    let text = refusal(|_| {}, |t| t.batch(5).schedule(|epoch, _| if epoch == 0 { 1e-3 } else { 3e38 }));
    assert!(text.contains("in epoch 2: the steps are too large"), "{text}");
    assert!(text.contains(&format!("which is {}", 0.1f32 * 3e38)), "{text}");
}

/// The last update of a run shows in no loss: where there are no validation rows, and where somebody stops it.
#[test]
fn what_the_last_update_made_of_the_weights_is_seen_before_it_is_saved() {
    let device = Device::cpu();
    let folder = tempfile::tempdir().unwrap();
    let train = |validation: usize, rate: f32, stop_at: Option<usize>| {
        let params = Params::seeded(7);
        let Split { train, test, .. } = split(200);
        // Large values have large gradients, so that one step of such a rate leaves what floats can hold.
        let large = |data: Dataset| {
            let values: Vec<f32> = data.values().to_floats().iter().map(|x| x * 1e5).collect();
            let inputs = vec![Input { values: values.into(), ..data.inputs[0].clone() }];
            Dataset { inputs, ..data }
        };
        let split = Split::new(large(train), large(test), validation).unwrap();
        let flag = Arc::new(AtomicBool::new(false));
        // A batch is half of the rows, so that a run can be stopped between.
        let batch = split.train.len() / 2;
        let sgd = Sgd::new(&params, 1e-3);
        let trainer = Trainer::new(&device, Net::new(&params), &params, sgd, split).epochs(1).batch(batch);
        let trainer = trainer.out(folder.path()).stop(flag.clone()).schedule(move |_, _| rate);
        trainer.run(&mut Watcher { flag, stop_at, start: None, steps: Vec::new(), epochs: Vec::new() })
    };
    train(0, 1.0, None).unwrap();
    let files = ["model.safetensors", "checkpoint.safetensors"].map(|file| folder.path().join(file));
    let read = || files.clone().map(|file| std::fs::read(file).unwrap());
    let before = read();
    for stop_at in [None, Some(1)] {
        for validation in [0, 20] {
            let text = train(validation, 3e38, stop_at).unwrap_err().to_string();
            assert!(text.contains("the steps are too large") && !text.contains("scale them"), "{text}");
            assert!(read() == before, "{text}");
        }
    }
}

#[test]
fn a_run_that_goes_on_from_huge_weights_is_not_blamed_on_the_data() {
    let device = Device::cpu();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let train = |epochs: usize, resume: bool| {
        let params = Params::seeded(7);
        let sgd = Sgd::new(&params, 0.01);
        let trainer = Trainer::new(&device, Net::new(&params), &params, sgd, split(200));
        let trainer = trainer.epochs(epochs).batch(48).out(folder.path());
        let trainer = if resume { trainer.resume(&checkpoint) } else { trainer };
        trainer.run(&mut ())
    };
    train(1, false).unwrap();
    with_values(&checkpoint, "fc2.weight", 3e38);
    let text = train(2, true).unwrap_err().to_string();
    assert!(text.contains("in epoch 2: the steps are too large"), "{text}");
}

/// Writes a number over all elements of a tensor: only its bytes are changed.
fn with_values(path: &Path, tensor: &str, value: f32) {
    let mut content = std::fs::read(path).unwrap();
    let header = u64::from_le_bytes(content[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&content[8..8 + header]).unwrap();
    let at = |k: usize| 8 + header + json[tensor]["data_offsets"][k].as_u64().unwrap() as usize;
    content[at(0)..at(1)].chunks_mut(4).for_each(|bytes| bytes.copy_from_slice(&value.to_le_bytes()));
    std::fs::write(path, content).unwrap();
}

#[test]
fn weights_and_checkpoints_that_hold_nan_are_named() {
    let device = Device::cpu();
    let train = |poison: bool, folder: &Path, resume: bool| {
        let params = Params::seeded(7);
        let net = Net::new(&params);
        let adam = Adam::new(&params, 3e-3);
        if poison {
            let bias = params.get("fc2.bias").unwrap();
            device.write_param(&bias, &[0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0f32]).unwrap();
        }
        let trainer = Trainer::new(&device, net, &params, adam, split(200)).epochs(2).batch(48).out(folder);
        let checkpoint = folder.join("checkpoint.safetensors");
        let trainer = if resume { trainer.resume(checkpoint) } else { trainer };
        trainer.run(&mut ())
    };
    let folder = tempfile::tempdir().unwrap();
    let text = train(true, folder.path(), false).unwrap_err().to_string();
    assert!(text.contains("`fc2.bias` holds NaN (element 2) before the first step"), "{text}");

    train(false, folder.path(), false).unwrap();
    // The moments of a weight, as a run that diverged would have left them.
    with_values(&folder.path().join("checkpoint.safetensors"), "adam.m.fc1.bias", f32::NAN);
    let error = train(false, folder.path(), true).unwrap_err();
    assert!(matches!(&error, Error::NotFinite { name, at: 0, .. } if name == "adam.m.fc1.bias"), "{error}");
    let text = error.to_string();
    assert!(text.contains("holds NaN (element 0)") && text.contains("take an earlier file"), "{text}");
}

/// Where no weights are compared, the model is that of the last checkpoint; those of the run before stay until then.
#[test]
fn a_run_that_ends_in_its_second_epoch_leaves_the_model_of_the_first() {
    let device = Device::cpu();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let train = |folder: &Path, epochs: usize, late: f32| {
        let params = Params::seeded(7);
        let sgd = Sgd::new(&params, 0.01);
        let trainer =
            Trainer::new(&device, Net::new(&params), &params, sgd, split(200)).epochs(epochs).batch(48);
        let trainer = trainer.keep(Keep::Last).out(folder).metadata("note", "kept");
        trainer.schedule(move |epoch, _| if epoch == 0 { 1.0 } else { late }).run(&mut ())
    };
    train(folders[0].path(), 1, 1.0).unwrap();
    let text = train(folders[1].path(), 3, 1e30).unwrap_err().to_string();
    assert!(text.contains("in epoch 2: the steps are too large"), "{text}");
    let model = |i: usize| std::fs::read(folders[i].path().join("model.safetensors")).unwrap();
    assert!(model(0) == model(1));
    let saved = |file: &str| wgrad::train::SavedRun::read(folders[1].path().join(file)).unwrap();
    let (model, checkpoint) = (saved("model.safetensors"), saved("checkpoint.safetensors"));
    assert_eq!((model.metadata["note"].as_str(), model.epochs.len()), ("kept", 0));
    assert_eq!((&checkpoint.metadata, checkpoint.epochs.len()), (&model.metadata, 1));
}
