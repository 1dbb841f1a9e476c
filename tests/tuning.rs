//! The forms of kernels for GPUs, and the trials that choose among them.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wgrad::gpu::Gpu;
use wgrad::nn::{Cnn, Layer};
use wgrad::ops::{AdapterClass, Conv2dOptions, Kernels, Padding};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Graph, Params, Var};

/// What a file holds: forms by adapter and driver, and by what asks for them.
type Table = BTreeMap<String, BTreeMap<String, usize>>;

/// There are as many.
const FORMS: std::ops::Range<usize> = 0..10;

/// Numbers between -0.5 and 0.5 (Park and Miller, CACM 31(10), 1988).
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state * 48_271 % 2_147_483_647;
        state as f32 / 2_147_483_647.0 - 0.5
    };
    (0..n).map(|_| next()).collect()
}

/// The bits of what `record` makes of two inputs.
fn bits(
    gpu: &Gpu,
    shapes: [&[usize]; 2],
    record: impl for<'g> Fn(Var<'g>, Var<'g>) -> Vec<Var<'g>>,
) -> Vec<Vec<u32>> {
    let g = Graph::new();
    let [x, w] = [("x", shapes[0]), ("w", shapes[1])].map(|(name, shape)| g.input(name, shape));
    let results = record(x, w);
    results.iter().enumerate().for_each(|(i, r)| g.output(&format!("y{i}"), *r));
    let values = shapes.map(|s| numbers(s.iter().product(), 7));
    let mut step = Device::from(gpu.clone()).compile(&g).unwrap();
    step.run_with(&[("x", (&values[0]).into()), ("w", (&values[1]).into())]).unwrap();
    let read = |i| step.values(&format!("y{i}")).unwrap().iter().map(|v: &f32| v.to_bits()).collect();
    (0..results.len()).map(read).collect()
}

/// What makes trials harmless: a form decides how fast a sum is, and not in which order.
#[test]
fn all_forms_give_the_same_bits() {
    for gpu in common::gpus() {
        // Joined, kernels have other keys.
        let gpu = gpu.with_class(AdapterClass::Gpu).unjoined();
        // k is cut in parts in the first, all vectors are aligned in the second.
        let product = |kernels| {
            let odd = bits(&gpu, [&[70, 517], &[517, 66]], |x, w| vec![x.matmul_by(w, kernels)]);
            let even = bits(&gpu, [&[2, 72, 68], &[2, 68, 136]], |x, w| vec![x.matmul_by(w, kernels)]);
            [odd, even].concat()
        };
        let convolution = |kernels, kernel: usize, options: Conv2dOptions| {
            let channels = 18 / options.groups;
            bits(&gpu, [&[3, 18, 12, 16], &[36, channels, kernel, kernel]], |x, w| {
                let y = x.conv2d_by(w, None, &options, kernels);
                let gradient = |of_weight| x.conv2d_gradient(w, y, of_weight, &options, kernels);
                vec![y, gradient(true), gradient(false)]
            })
        };
        let same = Conv2dOptions { padding: Padding::all(1), ..Default::default() };
        let strided = Conv2dOptions { stride: [2, 2], groups: 2, ..same };
        let pointwise = Conv2dOptions::default();
        let all = |products, kernels| {
            let mut all = product(products);
            for (kernel, options) in [(3, same), (3, strided), (1, pointwise), (2, strided)] {
                all.extend(convolution(kernels, kernel, options));
            }
            all
        };
        let first = all(Kernels::Best, Kernels::Best);
        assert!(first.iter().all(|bits| bits.iter().any(|b| *b != bits[0])));
        for form in FORMS {
            assert!(all(Kernels::Block(form), Kernels::Block(form)) == first, "form {form}");
        }
        // Each by kernels of its own, or nothing would have been compared.
        for start in [
            "matmul_block_nn.",
            "conv2d_block.",
            "conv2d_backward_input_block.",
            "conv2d_backward_weight_block.",
        ] {
            let keys = gpu.kernels().into_iter().map(|kernel| kernel.key);
            let forms: BTreeSet<String> = keys
                .filter_map(|key| {
                    let (block, stages) = key.strip_prefix(start)?.split_once('s')?;
                    Some(format!("{block}s{}", stages.chars().next()?))
                })
                .collect();
            assert_eq!(forms.len(), FORMS.len(), "{start}: {forms:?}");
        }
    }
}

/// Ten losses of a training step.
fn losses(gpu: &Gpu) -> Vec<u32> {
    let params = Params::seeded(3);
    let cnn = Cnn::new(&params.at("cnn"), [1, 8, 8], &[8, 16], 10);
    let g = Graph::new();
    let (x, y) = (g.input("x", [16, 1, 8, 8]), g.classes("y", [16]));
    let loss = cnn.forward(x).softmax_cross_entropy(y);
    Adam::new(&params, 1e-3).minimize(loss, &params.trainable());
    g.output("loss", loss);
    let mut step = Device::from(gpu.clone()).compile(&g).unwrap();
    let images = numbers(16 * 64, 11);
    let classes: Vec<u32> = (0..16).map(|i| i % 10).collect();
    let mut losses = Vec::new();
    for _ in 0..10 {
        step.run_with(&[("x", (&images).into()), ("y", (&classes).into())]).unwrap();
        losses.push(step.values("loss").unwrap()[0].to_bits());
    }
    losses
}

#[test]
fn trials_change_no_result_and_are_made_once() {
    for gpu in common::gpus() {
        let gpu = gpu.with_class(AdapterClass::Gpu);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tuned.json");
        let plain = losses(&gpu);
        assert_eq!(gpu.trials(), 0);

        let long = Some(Duration::from_secs(600));
        let tuned = gpu.tuned_within(Some(&file), long).unwrap();
        assert_eq!(losses(&tuned), plain);
        assert!(tuned.trials() > 3, "{} trials", tuned.trials());
        let kept = std::fs::read_to_string(&file).unwrap();
        assert!(kept.contains("conv2d_backward_weight.k3x3") && kept.contains("matmul_tn_sum"), "{kept}");

        // What the file knows is not tried again, and nothing is added to it.
        let again = gpu.tuned_within(Some(&file), long).unwrap();
        assert_eq!(losses(&again), plain);
        assert_eq!(again.trials(), 0);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), kept);

        // Whatever form it names: products of all kinds, with biases and their gradients.
        for form in FORMS {
            let mut table: Table = serde_json::from_str(&kept).unwrap();
            table.values_mut().flat_map(|forms| forms.values_mut()).for_each(|known| *known = form);
            std::fs::write(&file, serde_json::to_string(&table).unwrap()).unwrap();
            let of_form = gpu.tuned(Some(&file)).unwrap();
            assert_eq!(losses(&of_form), plain, "form {form}");
            assert_eq!(of_form.trials(), 0);
        }

        // Another driver's are kept beside them.
        let other = kept.replace("wgrad ", "another ");
        std::fs::write(&file, &other).unwrap();
        assert_eq!(losses(&gpu.tuned_within(Some(&file), long).unwrap()), plain);
        let both = std::fs::read_to_string(&file).unwrap();
        assert!(both.contains("| another ") && both.contains("| wgrad "), "{both}");
    }
}

#[test]
fn without_time_the_table_chooses() {
    for gpu in common::gpus() {
        let gpu = gpu.with_class(AdapterClass::Gpu);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tuned.json");
        let hurried = gpu.tuned_within(Some(&file), Some(Duration::ZERO)).unwrap();
        assert_eq!(losses(&hurried), losses(&gpu));
        assert_eq!(hurried.trials(), 0);
        assert!(!file.exists());
    }
}

#[test]
fn bad_files_are_explained_and_kept() {
    for gpu in common::gpus() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "my notes").unwrap();
        let error = gpu.tuned(Some(&file)).unwrap_err();
        assert!(matches!(error, wgrad::Error::Invalid(_)), "{error}");
        assert!(error.to_string().contains("notes.txt is no table of measured kernels"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "my notes");
        assert!(matches!(gpu.tuned(Some(folder.path())), Err(wgrad::Error::Io { .. })));

        // A link stays a link, and who may read the file still may.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let gpu = gpu.with_class(AdapterClass::Gpu);
            let (shared, link) = (folder.path().join("shared.json"), folder.path().join("link.json"));
            std::fs::write(&shared, "{}").unwrap();
            std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o664)).unwrap();
            std::os::unix::fs::symlink(&shared, &link).unwrap();
            losses(&gpu.tuned_within(Some(&link), Some(Duration::from_secs(600))).unwrap());
            assert!(std::fs::read_link(&link).unwrap() == shared);
            assert!(std::fs::read_to_string(&shared).unwrap().contains("conv2d"));
            assert_eq!(std::fs::metadata(&shared).unwrap().permissions().mode() & 0o777, 0o664);
        }

        // What could not be kept is not measured.
        let refused = |file: &std::path::Path| gpu.tuned(Some(file)).unwrap_err().to_string();
        let text = refused(&folder.path().join("missing").join("tuned.json"));
        assert!(text.contains("cannot be kept") && text.contains("there is no folder"), "{text}");
        #[cfg(target_os = "linux")]
        {
            let text = refused("/proc/tuned.json".as_ref());
            assert!(text.contains("cannot be kept in /proc/tuned.json: "), "{text}");
        }

        // Forms that this version does not have are the table's.
        let gpu = gpu.with_class(AdapterClass::Gpu);
        let wild = folder.path().join("wild.json");
        let good = gpu.tuned_within(Some(&wild), Some(Duration::from_secs(600))).unwrap();
        losses(&good);
        let text = std::fs::read_to_string(&wild).unwrap();
        let mut table: Table = serde_json::from_str(&text).unwrap();
        table.values_mut().flat_map(|forms| forms.values_mut()).for_each(|form| *form = 999);
        std::fs::write(&wild, serde_json::to_string(&table).unwrap()).unwrap();
        assert_eq!(losses(&gpu.tuned(Some(&wild)).unwrap()), losses(&gpu));
    }
}
