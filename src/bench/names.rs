//! What the names of workloads stand for.

use std::collections::BTreeSet;

use super::workload::{Convolution, Direction, Kernels, Kind, Workload};
use crate::error::{Error, Result};
use crate::ops::Block;

/// Training steps of multi-layer perceptrons with ReLU: name, batch, widths.
const MLPS: [(&str, usize, &[usize]); 2] =
    [("mlp-a", 64, &[784, 128, 10]), ("mlp-b", 256, &[784, 512, 512, 10])];

/// Training steps of convolutional networks: name, side of the images, whether there is pooling after the first
/// convolution, widths of the head. Batch 64 of one channel.
const CNNS: [(&str, usize, bool, &[usize]); 2] =
    [("cnn-a", 28, true, &[1568, 128, 10]), ("cnn-8", 8, false, &[512, 64, 10])];

/// Images of every batch of [`CNNS`].
const CNN_BATCH: usize = 64;

/// Names that stand for several others.
const FAMILIES: [(&str, &[&str]); 6] = [
    // The distinct layers of a residual network with 18 layers (He et al., CVPR 2016, table 1) on images of
    // 32 × 32 with a first convolution of 3 × 3, as is usual on CIFAR-10; the last three are the shortcuts.
    (
        "resnet18",
        &[
            "conv-3-64-32",
            "conv-64-64-32",
            "conv-64-128-32-s2",
            "conv-128-128-16",
            "conv-128-256-16-s2",
            "conv-256-256-8",
            "conv-256-512-8-s2",
            "conv-512-512-4",
            "conv-64-128-32-k1-s2",
            "conv-128-256-16-k1-s2",
            "conv-256-512-8-k1-s2",
        ],
    ),
    (
        "matmul-odd",
        &[
            "matmul-17",
            "matmul-31",
            "matmul-63",
            "matmul-65",
            "matmul-127",
            "matmul-129",
            "matmul-255",
            "matmul-257",
            "matmul-511",
            "matmul-513",
        ],
    ),
    (
        "matmul-skinny",
        &[
            "matmul-1x1024x1024",
            "matmul-8x1024x1024",
            "matmul-1024x1024x1",
            "matmul-1024x1024x8",
            "matmul-1024x1x1024",
            "matmul-1024x8x1024",
            "matmul-16x16384x16",
            "matmul-64x784x10",
            "matmul-784x64x128",
            "matmul-10x1000x7",
        ],
    ),
    (
        "conv-odd",
        &[
            "conv-1-16-28",
            "conv-3-7-17",
            "conv-5-3-33-k5",
            "conv-17-33-15",
            "conv-30-30-13-s2",
            "conv-64-64-7-k1",
            "conv-1-1-127",
            "conv-32-31-1x64",
            "conv-16-16-100x4",
            "conv-3-64-31-k7-s2",
        ],
    ),
    // Depthwise, pointwise, grouped, strided and dilated.
    (
        "conv-forms",
        &[
            "conv-64-64-32-g64",
            "conv-64-64-32-g64-s2",
            "conv-64-128-16-k1",
            "conv-64-64-32-g4",
            "conv-64-128-32-s2",
            "conv-64-64-32-d2",
            "conv-64-128-32-k1-s2",
            "conv-64-64-32-g16",
            "conv-63-63-32-g21",
            "conv-64-64-32-g32",
        ],
    ),
    // 64 MiB a tensor: more than caches hold.
    (
        "bandwidth",
        &["copy-16777216", "add-16777216", "sum-16777216", "sum-rows-16777216", "sum-columns-16777216"],
    ),
];

/// The most elements of a matrix, an image or a list that is timed.
const MAX_ELEMENTS: usize = 8192 * 8192;

/// What a user may ask for, for the message.
const KNOWN: [&str; 29] = [
    "mlp-a",
    "mlp-b",
    "cnn-a",
    "cnn-8",
    "lstm",
    "transformer",
    "attention-N",
    "attention-N-composed",
    "matmul-N",
    "matmul-MxKxN",
    "matmul-N-plain",
    "conv64",
    "conv64-input-gradient",
    "conv64-weight-gradient",
    "conv64-plain",
    "conv-IN-OUT-SIDE",
    "conv-IN-OUT-HxW-kKERNEL-sSTRIDE-dDILATION-gGROUPS-bBATCH",
    "copy-N",
    "add-N",
    "sum-N",
    "sum-rows-N",
    "sum-columns-N",
    "resnet18",
    "matmul-odd",
    "matmul-skinny",
    "conv-odd",
    "conv-forms",
    "bandwidth",
    "all",
];

impl Workload {
    /// What a name stands for.
    ///
    /// - Training steps: `mlp-a`, `mlp-b`, `cnn-a`, `cnn-8`, `lstm`, `transformer`.
    /// - `attention-N`, a training step of one layer of self-attention on a sequence of N tokens, of width 128 with 4 heads;
    ///   `attention-N-composed` makes it of products and softmax.
    /// - `matmul-N` and `matmul-MxKxN`, the product of `[M, K]` and `[K, N]`.
    /// - `conv-IN-OUT-SIDE`, which is a convolution with IN to OUT channels on SIDE × SIDE or H × W (`4x64`)
    ///   pixels and its two gradients: 3×3, stride 1 and batch 8, unless it goes on with `-k5`, `-s2`, `-d2`
    ///   (dilation), `-g64` (groups) or `-b1`. Padding makes the outputs as large as the inputs at stride 1. `conv64` is `conv-64-64-32`.
    /// - Of both, `-plain` gives the kernels that compute one output per invocation; on GPUs `-block0`
    ///   to `-block9` blocks of one form (`src/ops/block.rs`).
    /// - `copy-N`, `add-N`, `sum-N`, `sum-rows-N`, `sum-columns-N`: N floats, by bytes a second; rows of 1024.
    /// - Families of these: `resnet18`, `matmul-odd`, `matmul-skinny`, `conv-odd`, `conv-forms`, `bandwidth`, and `all`.
    ///
    /// # Errors
    /// [`Error::Unknown`] for another name; [`Error::Invalid`] for more than 8192² elements, an even kernel, or groups
    /// that do not divide the channels.
    pub fn named(name: &str) -> Result<Vec<Workload>> {
        if name == "all" {
            let trainings = MLPS.iter().map(|w| w.0).chain(CNNS.iter().map(|w| w.0));
            let others = ["lstm", "transformer", "matmul-512", "conv64"];
            let families = FAMILIES.iter().map(|f| f.0);
            let mut all = several(trainings.chain(others).chain(families))?;
            // Families share members.
            let mut seen = BTreeSet::new();
            all.retain(|workload| seen.insert(workload.name.clone()));
            return Ok(all);
        }
        if let Some((_, names)) = FAMILIES.iter().find(|f| f.0 == name) {
            return several(names.iter().copied());
        }
        match one_or_three(name)? {
            found if found.is_empty() => Err(Error::unknown("workload", name, KNOWN)),
            found => Ok(found),
        }
    }
}

fn several<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<Workload>> {
    Ok(names.map(Workload::named).collect::<Result<Vec<_>>>()?.concat())
}

/// Nothing for a name that says nothing.
fn one_or_three(name: &str) -> Result<Vec<Workload>> {
    let one = |kind| Ok(vec![Workload { name: name.into(), kind }]);
    if let Some(&(_, batch, widths)) = MLPS.iter().find(|w| w.0 == name) {
        return one(Kind::Mlp { batch, widths: widths.to_vec() });
    }
    if let Some(&(_, side, pool_first, head)) = CNNS.iter().find(|w| w.0 == name) {
        return one(Kind::Cnn { batch: CNN_BATCH, side, pool_first, head: head.to_vec() });
    }
    match name {
        "lstm" => return one(Kind::Lstm),
        "transformer" => return one(Kind::Transformer),
        _ => {}
    }
    let counts: [(&str, fn(usize) -> Kind); 5] = [
        ("copy-", Kind::Copy),
        ("add-", Kind::Add),
        ("sum-rows-", Kind::SumRows),
        ("sum-columns-", Kind::SumColumns),
        ("sum-", Kind::Sum),
    ];
    for (prefix, kind) in counts {
        if let Some(n) = name.strip_prefix(prefix).and_then(count) {
            limit(name, n)?;
            return one(kind(n));
        }
    }
    if let Some(rest) = name.strip_prefix("attention-") {
        let of_ops = rest.strip_suffix("-composed");
        if let Some(length) = count(of_ops.unwrap_or(rest)) {
            limit(name, length.saturating_mul(if of_ops.is_some() { length } else { 1 }))?;
            return one(Kind::Attention { length, composed: of_ops.is_some() });
        }
    }
    let (rest, kernels) = kernels(name);
    if let Some(extents) = rest.strip_prefix("matmul-").and_then(extents) {
        let [m, k, n] = extents;
        [(m, k), (k, n), (m, n)].into_iter().try_for_each(|(a, b)| limit(name, a.saturating_mul(b)))?;
        return one(Kind::Matmul { extents, kernels });
    }
    convolutions(name, rest, kernels)
}

/// What a name begins with, and the kernels that its end asks for.
fn kernels(name: &str) -> (&str, Kernels) {
    let Some((rest, end)) = name.rsplit_once('-') else { return (name, Kernels::Best) };
    let block = || end.strip_prefix("block")?.parse().ok().filter(|i| *i < Block::ALL.len());
    match end {
        "plain" => (rest, Kernels::Plain),
        _ => block().map_or((name, Kernels::Best), |i| (rest, Kernels::Block(i))),
    }
}

fn limit(name: &str, elements: usize) -> Result<()> {
    match elements <= MAX_ELEMENTS {
        true => Ok(()),
        false => Err(Error::Invalid(format!("{name}: at most 8192 × 8192 elements are timed"))),
    }
}

/// A number above 0.
fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|&n| n > 0)
}

/// `N`, or `MxKxN`.
fn extents(text: &str) -> Option<[usize; 3]> {
    match text.split('x').map(count).collect::<Option<Vec<usize>>>()?[..] {
        [n] => Some([n; 3]),
        [m, k, n] => Some([m, k, n]),
        _ => None,
    }
}

/// A convolution in its three directions, or in the one that `rest` ends with.
fn convolutions(name: &str, rest: &str, kernels: Kernels) -> Result<Vec<Workload>> {
    let directions = [
        (Direction::Forward, ""),
        (Direction::InputGradient, "-input-gradient"),
        (Direction::WeightGradient, "-weight-gradient"),
    ];
    let of_one = directions[1..].iter().find_map(|(d, end)| Some((*d, rest.strip_suffix(end)?)));
    let base = of_one.map_or(rest, |(_, base)| base);
    let Some(convolution) = convolution(base) else { return Ok(Vec::new()) };
    if convolution.kernel % 2 == 0 {
        return Err(Error::Invalid(format!(
            "{name}: kernels that are timed have an odd extent, such as -k5"
        )));
    }
    let ([from, to], [h, w], groups) = (convolution.channels, convolution.sides, convolution.groups);
    if !from.is_multiple_of(groups) || !to.is_multiple_of(groups) {
        return Err(Error::Invalid(format!(
            "{name}: {groups} groups do not divide {from} and {to} channels"
        )));
    }
    let most = |channels: usize, area: usize| channels.saturating_mul(area);
    let images = most(most(from.max(to), convolution.batch), h.saturating_mul(w));
    limit(name, images)?;
    limit(name, convolution.kernel.saturating_mul(convolution.dilation))?;
    limit(name, most(most(from, to), convolution.kernel.saturating_mul(convolution.kernel)))?;
    let suffix = &name[rest.len()..];
    let chosen = directions.iter().filter(|(d, _)| of_one.is_none_or(|(only, _)| only == *d));
    Ok(chosen
        .map(|&(direction, end)| Workload {
            name: format!("{base}{end}{suffix}"),
            kind: Kind::Conv { convolution, direction, kernels },
        })
        .collect())
}

/// `conv64`, or `conv-IN-OUT-SIDE` with what follows.
fn convolution(text: &str) -> Option<Convolution> {
    if text == "conv64" {
        return convolution("conv-64-64-32");
    }
    let mut parts = text.strip_prefix("conv-")?.split('-');
    let channels = [count(parts.next()?)?, count(parts.next()?)?];
    let sides = parts.next()?;
    let sides = match sides.split_once('x') {
        Some((h, w)) => [count(h)?, count(w)?],
        None => [count(sides)?; 2],
    };
    let mut convolution = Convolution { channels, sides, ..Convolution::default() };
    for part in parts {
        let (key, value) = part.split_at_checked(1)?;
        let value = count(value)?;
        match key {
            "k" => convolution.kernel = value,
            "s" => convolution.stride = value,
            "d" => convolution.dilation = value,
            "g" => convolution.groups = value,
            "b" => convolution.batch = value,
            _ => return None,
        }
    }
    Some(convolution)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Vec<String> {
        Workload::named(name).unwrap().iter().map(|w| w.name().to_string()).collect()
    }

    #[test]
    fn names_mean_what_they_say() {
        for name in ["mlp-a", "mlp-b", "cnn-a", "cnn-8", "lstm", "transformer", "copy-64", "attention-9"] {
            assert_eq!(names(name), [name]);
        }
        for name in [
            "attention-5-composed",
            "sum-rows-9",
            "matmul-7-block7",
            "matmul-1x20x3-block5",
            "conv-3-7-9-weight-gradient-block0",
        ] {
            assert_eq!(names(name), [name]);
        }
        for name in ["matmul-7", "matmul-512-plain", "matmul-1x20x3", "conv-3-7-9x4-k5-s2-b1-input-gradient"]
        {
            assert_eq!(names(name), [name]);
        }
        assert_eq!(names("conv64"), ["conv64", "conv64-input-gradient", "conv64-weight-gradient"]);
        assert_eq!(names("conv64-weight-gradient-plain"), ["conv64-weight-gradient-plain"]);
        assert_eq!(names("conv64-plain").len(), 3);
        for name in [
            "",
            "mlp",
            "mlp-a-plain",
            "attention-",
            "attention-composed",
            "attention-0-composed",
            "matmul-",
            "matmul-0",
            "matmul-x",
            "matmul--plain",
            "matmul-8-block10",
            "matmul-8-block",
            "matmul-2x3",
            "conv6",
            "conv-3-4",
            "conv-3-4-",
            "conv-3-4-5-z3",
            "conv-3-4-0",
            "conv-3-4-5-",
            "copy-",
            "sum-rows-x",
            "add-0",
        ] {
            let error = Workload::named(name).unwrap_err().to_string();
            assert!(error.contains("no workload named") && error.contains("`cnn-8`"), "{error}");
        }
        for name in
            ["matmul-9000", "copy-99999999", "conv-9000-9000-3", "conv-1-1-9000", "matmul-1x9000x9000"]
        {
            assert!(Workload::named(name).unwrap_err().to_string().contains("8192"), "{name}");
        }
        assert!(Workload::named("conv-3-4-5-k2").unwrap_err().to_string().contains("odd"));
        assert!(Workload::named("conv-4-6-5-g4").unwrap_err().to_string().contains("groups"));
    }

    #[test]
    fn families_are_workloads_that_there_are() {
        assert_eq!(names("resnet18").len(), 33);
        assert_eq!(names("conv-forms").len(), 30);
        let all = names("all");
        for (family, _) in FAMILIES {
            assert!(names(family).iter().all(|name| all.contains(name)), "{family}");
        }
        assert!(all.iter().any(|name| name == "lstm") && all.iter().any(|name| name == "mlp-a"));
        // None says the same as another; `conv64` has a shape of `resnet18`.
        let unique: BTreeSet<&String> = all.iter().collect();
        assert_eq!(unique.len(), all.len());
    }
}
