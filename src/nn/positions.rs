//! Where the vectors of a sequence stand, for layers that see no order, such as attention.

use super::Layer;
use crate::graph::{Graph, Init, Param, Params, Var};
use crate::tensor::Tensor;

/// A constant `[n, columns]` of `of(row, column)`, computed in `f64`; of what is no tensor a number that no graph takes for one.
fn table(g: &Graph, [n, columns]: [usize; 2], of: impl Fn(usize, usize) -> f64) -> Var<'_> {
    let values: Vec<f32> = (0..n * columns).map(|i| of(i / columns, i % columns) as f32).collect();
    match Tensor::new([n, columns], values) {
        Ok(tensor) => g.constant(tensor),
        Err(_) => g.scalar(f32::NAN),
    }
}

/// The angle of a position: base to the power of -2i / width, times the position.
fn angle(position: usize, i: usize, width: usize, base: f64) -> f64 {
    position as f64 * base.powf(-2.0 * i as f64 / width as f64)
}

/// The last two axes, `[time, width]`.
fn last_axes(x: Var<'_>) -> Option<[usize; 2]> {
    let rank = x.shape().rank();
    (rank >= 2).then(|| [x.dim(rank - 2), x.dim(rank - 1)])
}

/// Says that there are no such axes.
#[track_caller]
fn without_time<'g>(op: &str, x: Var<'g>) -> Var<'g> {
    x.graph().refuse(op, format!("takes [.., time, width], got {}", x.shape()), x)
}

/// Adds to each vector sines and cosines of its position: the sinusoidal encoding of Vaswani et al., "Attention Is All You Need",
/// NIPS 2017, section 3.5. Takes and gives `[.., time, width]`:
///
/// y\[t, 2i\] = x\[t, 2i\] + sin(t / 10000^(2i / width)), y\[t, 2i + 1\] = x\[t, 2i + 1\] + cos(t / 10000^(2i / width)).
///
/// The table is a constant of the graph and has no parameters. The paper multiplies embeddings by √width before.
///
/// ```
/// use wgrad::nn::{Layer, SinusoidalPositions};
/// use wgrad::{Device, Graph};
/// let g = Graph::new();
/// g.output("y", SinusoidalPositions::new().forward(g.full([2, 4], 0.0)));
/// let mut step = Device::cpu().compile(&g)?;
/// step.run()?;
/// assert_eq!(step.values("y")?[..5], [0.0, 1.0, 0.0, 1.0, 1f32.sin()]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SinusoidalPositions {
    offset: usize,
}

impl SinusoidalPositions {
    /// The first vector stands at position 0.
    pub fn new() -> Self {
        SinusoidalPositions::default()
    }

    /// The first vector stands at this position: what is generated goes on where it came to.
    #[must_use]
    pub fn offset(self, offset: usize) -> Self {
        SinusoidalPositions { offset }
    }
}

impl Layer for SinusoidalPositions {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let Some([time, width]) = last_axes(x) else { return without_time("sinusoidal_positions", x) };
        let of = |t: usize, c: usize| {
            let angle = angle(t + self.offset, c / 2, width, 10_000.0);
            if c.is_multiple_of(2) { angle.sin() } else { angle.cos() }
        };
        x + table(x.graph(), [time, width], of)
    }
}

/// Adds to each vector one that is learned for its position: Gehring, Auli, Grangier, Yarats and Dauphin, "Convolutional Sequence
/// to Sequence Learning", ICML 2017, section 3.1; the positions of BERT and GPT-2. Takes and gives `[.., time, width]`, with no
/// more positions than it was made for. The parameter is `weight` `[positions, width]`.
///
/// ```
/// use wgrad::nn::{Layer, LearnedPositions};
/// use wgrad::{Graph, Params};
/// let positions = LearnedPositions::new(&Params::seeded(1).at("positions"), 64, 16);
/// let g = Graph::new();
/// assert_eq!(positions.forward(g.input("x", [3, 50, 16])).shape().dims(), [3, 50, 16]);
/// assert!(g.error().is_none());
/// positions.forward(g.input("long", [3, 65, 16]));
/// assert!(g.error().unwrap().to_string().contains("64 positions"));
/// ```
#[derive(Debug, Clone)]
pub struct LearnedPositions {
    path: String,
    weight: Param,
    offset: usize,
}

impl LearnedPositions {
    /// For `positions` vectors of `width`, which start normal with deviation 0.02, as in BERT and GPT-2.
    pub fn new(params: &Params, positions: usize, width: usize) -> Self {
        Self::with(params, positions, width, Init::Normal(0.02))
    }

    /// The same with other initial values.
    pub fn with(params: &Params, positions: usize, width: usize, init: Init) -> Self {
        let weight = params.param("weight", [positions, width], init);
        LearnedPositions { path: params.path().to_string(), weight, offset: 0 }
    }

    /// The first vector stands at this position: what is generated goes on where it came to.
    #[must_use]
    pub fn offset(self, offset: usize) -> Self {
        LearnedPositions { offset, ..self }
    }

    /// The vectors, `[positions, width]`.
    pub fn weight(&self) -> &Param {
        &self.weight
    }
}

impl Layer for LearnedPositions {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        let (weight, shape) = (g.param(&self.weight), self.weight.shape());
        let Some([time, width]) = last_axes(x) else { return without_time("learned_positions", x) };
        if width != shape.dim(1) || self.offset.checked_add(time).is_none_or(|end| end > shape.dim(0)) {
            let message = format!(
                "has {} positions of width {}, and is asked for {time} from {} on, of width {width}",
                shape.dim(0),
                shape.dim(1),
                self.offset
            );
            return g.refuse("learned_positions", message, x);
        }
        x + weight.slice(0, self.offset, time)
    }
}

/// Turns pairs of elements by angles that grow with the position, so that the inner product of two vectors depends on how far
/// apart they stand, and not on where: RoPE, Su, Lu, Pan, Murtadha, Wen and Liu, "RoFormer", arXiv:2104.09864, section 3.2.2. For
/// queries and keys of attention, not for values. Takes and gives `[.., time, width]`, where the width is even; of several heads
/// `[.., heads, time, width of a head]`.
///
/// The pair i of position t, as a complex number, is multiplied by e^(j t θ), θ = base^(-2i / width): its elements a and b become
/// a cos tθ - b sin tθ and a sin tθ + b cos tθ. Pairs are neighbours, the elements 2i and 2i + 1, as in the paper (equation 34) and in
/// Meta's Llama; [`halves`](RotaryPositions::halves) pairs i with i + width / 2, as GPT-NeoX and Hugging Face's Llama do. Weights
/// that were trained with one are wrong with the other.
///
/// ```
/// use wgrad::nn::{Layer, RotaryPositions};
/// use wgrad::{Device, Graph};
/// let g = Graph::new();
/// g.output("y", RotaryPositions::new().offset(1).forward(g.full([1, 2], 1.0)));
/// let mut step = Device::cpu().compile(&g)?;
/// step.run()?;
/// let (sin, cos) = 1f32.sin_cos();
/// assert_eq!(step.values("y")?, [cos - sin, cos + sin]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RotaryPositions {
    in_halves: bool,
    base: f64,
    offset: usize,
}

impl Default for RotaryPositions {
    fn default() -> Self {
        RotaryPositions { in_halves: false, base: 10_000.0, offset: 0 }
    }
}

impl RotaryPositions {
    /// Neighbours are pairs, the base is 10000, and the first vector stands at position 0.
    pub fn new() -> Self {
        RotaryPositions::default()
    }

    /// Pairs are the elements i and i + width / 2.
    #[must_use]
    pub fn halves(self) -> Self {
        RotaryPositions { in_halves: true, ..self }
    }

    /// Another base, above 0: larger ones are for longer sequences.
    #[must_use]
    pub fn base(self, base: f64) -> Self {
        RotaryPositions { base, ..self }
    }

    /// The first vector stands at this position: what is generated goes on where it came to.
    #[must_use]
    pub fn offset(self, offset: usize) -> Self {
        RotaryPositions { offset, ..self }
    }

    /// What is wrong with the width or the base.
    fn problem(&self, width: usize) -> Option<String> {
        match width {
            _ if !(self.base > 0.0 && self.base.is_finite()) => {
                Some(format!("the base must be a number above 0, got {}", self.base))
            }
            _ if width == 0 || !width.is_multiple_of(2) => {
                Some(format!("takes vectors of pairs, got a width of {width}"))
            }
            _ => None,
        }
    }

    /// Vectors `[batch, heads, 1, width]`, of which each item is the last of so many, `lengths` `[batch]`, of at most `most`.
    #[track_caller]
    pub(super) fn forward_at<'g>(&self, x: Var<'g>, lengths: Var<'g>, most: usize) -> Var<'g> {
        let g = x.graph();
        let width = x.dim(3);
        if let Some(message) = self.problem(width) {
            return g.refuse("rotary_positions", message, x);
        }
        // A row for each length: there is none of 0.
        let of = |sine: bool| {
            let all =
                table(g, [most + 1, width], |length, c| self.entry(length.saturating_sub(1), c, width, sine));
            all.take_rows(lengths).reshape([x.dim(0), 1, 1, width])
        };
        x * of(false) + self.partners(x, width) * of(true)
    }

    /// The cosine of an element's angle, or the sine that its partner is multiplied by.
    fn entry(&self, t: usize, c: usize, width: usize, sine: bool) -> f64 {
        let half = width / 2;
        // The number of a pair, and whether it is its second element.
        let (pair, is_second) = if self.in_halves { (c % half, c >= half) } else { (c / 2, c % 2 == 1) };
        let angle = angle(t + self.offset, pair, width, self.base);
        match (sine, is_second) {
            (false, _) => angle.cos(),
            (true, true) => angle.sin(),
            (true, false) => -angle.sin(),
        }
    }

    /// The elements in the places of their partners.
    #[track_caller]
    fn partners<'g>(&self, x: Var<'g>, width: usize) -> Var<'g> {
        let shape = x.shape();
        // Pairs on an axis of their own: the last, or the one before.
        let (pairs, axis) = if self.in_halves { ([2, width / 2], 1) } else { ([width / 2, 2], 2) };
        let x = x.reshape([shape.elements() / width, pairs[0], pairs[1]]);
        x.slice(axis, 1, 1).concat(&[x.slice(axis, 0, 1)], axis).reshape(shape)
    }
}

impl Layer for RotaryPositions {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let Some([time, width]) = last_axes(x) else { return without_time("rotary_positions", x) };
        if let Some(message) = self.problem(width) {
            return g.refuse("rotary_positions", message, x);
        }
        let [cos, sin] =
            [false, true].map(|sine| table(g, [time, width], |t, c| self.entry(t, c, width, sine)));
        x * cos + self.partners(x, width) * sin
    }
}
