//! The loop on GPUs: against the reference, what it makes, and rows that are larger than a tensor may be.

use super::*;

/// The first ten losses of a plain step, on a GPU in f32 and on the CPU in f64.
#[test]
fn a_gpu_trains_as_the_reference_does() {
    let (train, _) = digits().unwrap();
    let losses = |device: &Device| -> Result<Vec<f32>> {
        let params = Params::seeded(5);
        let net = Mlp::new(&params, &[64, 32, 10]);
        let g = Graph::new();
        let x = g.bytes("x", [64, 1, 8, 8]).to_f32_scaled(train.scale());
        let loss = net.forward(x).softmax_cross_entropy(g.classes("y", [64]));
        Adam::new(&params, 3e-3).minimize(loss, &params.trainable());
        g.output("loss", loss);
        let mut step = device.compile(&g)?;
        (0..10)
            .map(|i| {
                let rows = i * 64..(i + 1) * 64;
                let (pixels, labels) = train.gather(&rows.collect::<Vec<u32>>())?;
                step.feed("x", &pixels)?;
                step.feed("y", &labels)?;
                step.run()?;
                step.scalar("loss")
            })
            .collect()
    };
    let expected = losses(&Device::reference()).unwrap();
    assert!(expected[9] < expected[0]);
    for device in devices() {
        let actual = losses(&device).unwrap();
        let worst = actual.iter().zip(&expected).map(|(a, e)| (a / e - 1.0).abs()).fold(0f32, f32::max);
        println!("{device:?}: {worst:e}");
        assert!(worst < 1e-5, "{device:?}: {worst:e}");
    }
}

/// After the first epoch nothing is made any more, however long it goes on.
#[test]
fn training_makes_its_objects_once() {
    let Some(gpu) = common::gpu() else { return };
    let count = |epochs: usize| {
        let before = gpu.object_counts();
        run(&gpu.clone().into(), Settings { epochs, ..PLAIN }).unwrap();
        let after = gpu.object_counts();
        (after.bind_groups - before.bind_groups, after.buffers - before.buffers)
    };
    // The first run fills the pools.
    count(1);
    let (short, long) = (count(2), count(6));
    assert_eq!(short, long);
}

/// Trains on 203 digits in batches of 48 on a GPU whose tensors have at most so many bytes; stops after some steps and
/// goes on, if asked to.
fn train_within(
    device: &Device,
    stop_at: Option<usize>,
) -> Result<(TrainingReport, Vec<(String, wgrad::Data)>)> {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let train = |resume: bool, stop_at: Option<usize>| {
        let params = Params::seeded(6);
        let (net, adam) = (Net::new(&params), Adam::new(&params, 3e-3));
        let flag = Arc::new(AtomicBool::new(false));
        let trainer = Trainer::new(device, net, &params, adam, split(203));
        let mut trainer = trainer.epochs(3).batch(24).seed(6).out(folder.path()).stop(flag.clone());
        if resume {
            trainer = trainer.resume(&checkpoint);
        }
        let mut watcher = Watcher { flag, stop_at, start: None, steps: Vec::new(), epochs: Vec::new() };
        let report = trainer.run(&mut watcher)?;
        let value = |p: wgrad::Param| (p.name().to_string(), device.read_param(&p).unwrap().data().clone());
        Ok((report, params.all().into_iter().map(value).collect()))
    };
    match stop_at {
        None => train(false, None),
        Some(_) => {
            let (mut first, _) = train(false, stop_at)?;
            let (mut second, states) = train(true, None)?;
            first.epochs.append(&mut second.epochs);
            second.epochs = first.epochs;
            Ok((second, states))
        }
    }
}

/// Rows that do not fit one tensor: 192 rows of 64 bytes have 12,288, and a piece of 8,000 bytes has five batches of 24
/// rows (1,536 bytes each), one of 6,160 four. Evaluations of 360 rows go in pieces too, in batches of as many rows as the
/// model's floats allow. All bits are those of rows that fit.
#[test]
fn rows_that_do_not_fit_one_tensor_are_fed_in_pieces_to_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let (whole, expected) = train_within(&gpu.with_largest_tensor(1 << 20).into(), None).unwrap();
    for (bytes, stop_at) in [(8000, None), (6160, None), (6160, Some(2)), (6160, Some(8)), (6160, Some(5))] {
        let (report, states) = train_within(&gpu.with_largest_tensor(bytes).into(), stop_at).unwrap();
        assert_eq!(states, expected, "{bytes} bytes, stopped at {stop_at:?}");
        let train = |r: &TrainingReport| r.epochs.iter().map(|e| e.train.loss.to_bits()).collect::<Vec<_>>();
        assert_eq!(train(&report), train(&whole), "{bytes} bytes, stopped at {stop_at:?}");
        assert_eq!(report.test.accuracy(), whole.test.accuracy());
        assert!((report.test.loss / whole.test.loss - 1.0).abs() < 1e-6);
    }
}

/// Where one batch does not fit, the message is about the data, and what it says helps.
#[test]
fn a_batch_that_does_not_fit_is_refused_with_its_size() {
    let Some(gpu) = common::gpu() else { return };
    let device: Device = gpu.with_largest_tensor(16384).into();
    let train = |batch: usize| {
        let (train, test) = digits().unwrap();
        let params = Params::seeded(6);
        let (net, sgd) = (Mlp::new(&params, &[64, 10]), Sgd::new(&params, 0.1));
        let split = Split::new(train, test, 100).unwrap();
        Trainer::new(&device, net, &params, sgd, split).epochs(1).batch(batch).run(&mut ())
    };
    // 512 rows of 64 bytes have 32 KiB; as floats, 64 rows of 256 bytes have 16.
    let error = train(512).unwrap_err();
    assert!(matches!(error, Error::Limit(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("digits/train") && text.contains("a batch of 512 rows"), "{text}");
    assert!(text.contains("use a smaller batch"), "{text}");
    assert!(train(64).unwrap().test.accuracy() > 0.5);
}
