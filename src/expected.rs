//! What the f64 reference gives for an op, and how far off a device may be.

use crate::half;
use crate::host::Buffer;
use crate::op::{In, Op, Out, Reference, TINY};
use crate::shape::TensorType;
use crate::tensor::{Data, Tensor};

/// Floats widened, others as they are: what the reference computes with.
type Wide = Buffer<f64>;

fn widened(tensor: &Tensor) -> Wide {
    Buffer::from_feed(tensor.into())
}

/// Element `i` of the reference, for messages.
fn show_wide(values: &Wide, i: usize) -> String {
    match values {
        Wide::F(v) => v.get(i).map(|x| format!("{x:e}")),
        Wide::U32(v) => v.get(i).map(ToString::to_string),
        Wide::U8(v) => v.get(i).map(ToString::to_string),
    }
    .unwrap_or_default()
}

/// What the reference gives for an op, and how far off rounding in f32 may be.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) values: Vec<Wide>,
    bounds: Vec<Vec<f64>>,
    /// By output, whether it is rounded to half precision.
    in_f16: Vec<bool>,
}

impl Expected {
    /// Evaluates `op` in f64. `inputs` ends with the old values of the states it updates; `plain` chooses
    /// the plain formula.
    pub(crate) fn new(op: &dyn Op, inputs: &[Tensor], plain: bool) -> Result<Self, String> {
        let types: Vec<TensorType> = inputs.iter().map(Tensor::tensor_type).collect();
        let out_types = op.infer(&types)?;
        let reads = inputs.len() - op.writes();
        let results = out_types.len() - op.writes();
        let wide: Vec<Wide> = inputs[..reads].iter().map(widened).collect();
        let views: Vec<In<'_, f64>> = wide.iter().zip(&types).map(|(w, ty)| w.input(ty)).collect();
        let mut values: Vec<Wide> =
            out_types[..results].iter().map(|ty| Wide::zeros(ty.dtype, ty.shape.elements())).collect();
        values.extend(inputs[reads..].iter().map(widened));
        let mut outs: Vec<Out<'_, f64>> =
            values.iter_mut().zip(&out_types).map(|(w, ty)| w.output(ty)).collect();
        if plain {
            Reference::<f64>::eval(op, &views, &mut outs)?;
        } else {
            Reference::<f64>::eval_fast(op, &views, &mut outs)?;
        }
        drop(outs);
        let computed: Vec<In<'_, f64>> = values.iter().zip(&out_types).map(|(w, ty)| w.input(ty)).collect();
        let old: Vec<Wide> = inputs[reads..].iter().map(widened).collect();
        let old = old.iter().zip(&types[reads..]).map(|(w, ty)| w.input(ty));
        let all: Vec<In<'_, f64>> = views.into_iter().chain(old).collect();
        let bounds = op.error_bound(&all, &computed);
        Ok(Expected { in_f16: vec![false; values.len()], values, bounds })
    }

    /// Says which outputs are stored in 16 bits, whose rounding is allowed then.
    pub(crate) fn stored(mut self, is_f16: impl Fn(usize) -> bool) -> Self {
        self.in_f16 = (0..self.values.len()).map(is_f16).collect();
        self
    }

    /// Allows no rounding at all.
    pub(crate) fn exactly(mut self) -> Self {
        self.bounds.iter_mut().flatten().for_each(|b| *b = TINY);
        self
    }

    /// The largest difference of another evaluation in f64, in units of the tolerance.
    #[cfg(test)]
    pub(crate) fn apart(&self, other: &Expected) -> f64 {
        let apart = |((a, b), bound): ((&f64, &f64), &f64)| match a - b {
            // Infinities of one sign, and NaN, are the same.
            _ if a == b || a.is_nan() && b.is_nan() => 0.0,
            off if off.is_finite() => off.abs() / (bound + 1e6 * TINY),
            _ => f64::INFINITY,
        };
        let pairs = self.values.iter().zip(&other.values).zip(&self.bounds);
        let worst = pairs.map(|((a, b), bounds)| match (a, b) {
            (Wide::F(a), Wide::F(b)) => a.iter().zip(b).zip(bounds).map(apart).fold(0.0, f64::max),
            (a, b) if a == b => 0.0,
            _ => f64::INFINITY,
        });
        worst.fold(0.0, f64::max)
    }

    /// Compares a device's outputs: the worst error in units of its tolerance, and a sentence about it if
    /// that is above 1.
    pub(crate) fn compare(&self, actual: &[Tensor]) -> (f64, Option<String>) {
        let mut overall = 0.0f64;
        for (k, tensor) in actual.iter().enumerate() {
            let (units, at) = worst(tensor.data(), &self.values[k], &self.bounds[k], self.in_f16[k]);
            overall = overall.max(units);
            if units > 1.0 {
                let text = format!(
                    "output {k}, element {at}: {}, the reference gives {}: {units:.3e} times the tolerance",
                    show(tensor.data(), at),
                    show_wide(&self.values[k], at)
                );
                return (overall, Some(text));
            }
        }
        (overall, None)
    }
}

/// The worst error in units of its tolerance, with its index; NaN counts as infinite.
fn worst(actual: &Data, expected: &Wide, bound: &[f64], is_f16: bool) -> (f64, usize) {
    let exact = |equal: bool| if equal { 0.0 } else { f64::INFINITY };
    let units: Vec<f64> = match (actual, expected) {
        (Data::F32(a), Wide::F(e)) => {
            let of = |i: usize| match (f64::from(a[i]), e[i]) {
                // Equal infinities and NaNs agree; a reference beyond f32 must have overflowed.
                (a, e) if a == e || (a.is_nan() && e.is_nan()) => 0.0,
                (a, e) if is_f16 => half_units(a, e, bound[i]),
                (a, e) if e.abs() > f64::from(f32::MAX) => exact(a == f64::INFINITY.copysign(e)),
                (a, e) if !(a - e).is_finite() => f64::INFINITY,
                (a, e) => (a - e).abs() / bound[i],
            };
            (0..a.len()).map(of).collect()
        }
        (Data::U32(a), Wide::U32(e)) => a.iter().zip(e).map(|(a, e)| exact(a == e)).collect(),
        (Data::U8(a), Wide::U8(e)) => a.iter().zip(e).map(|(a, e)| exact(a == e)).collect(),
        _ => vec![f64::INFINITY],
    };
    units.into_iter().enumerate().fold((0.0, 0), |(w, at), (i, u)| match u.partial_cmp(&w) {
        Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal) => (w, at),
        Some(std::cmp::Ordering::Greater) => (u, i),
        // A tolerance that is NaN allows nothing.
        None => (f64::INFINITY, i),
    })
}

/// The error of a number that was rounded to half precision from one within `bound` of `e`, in units of what is allowed.
fn half_units(a: f64, e: f64, bound: f64) -> f64 {
    let (low, high) = (half::round(e - bound), half::round(e + bound));
    if a.is_finite() && low.is_finite() && high.is_finite() {
        return (a - e).abs() / (bound + half::half_unit(e.abs() + bound));
    }
    if low <= a && a <= high { 0.0 } else { f64::INFINITY }
}

/// Element `i` with its bits, for messages.
pub(crate) fn show(data: &Data, i: usize) -> String {
    match data {
        Data::F32(v) => v.get(i).map(|x| format!("{x:e} (bits {:#010x})", x.to_bits())),
        Data::U32(v) => v.get(i).map(ToString::to_string),
        Data::U8(v) => v.get(i).map(ToString::to_string),
    }
    .unwrap_or_default()
}
