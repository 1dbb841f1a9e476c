//! What stands between the layers of a model.

use std::fmt;
use std::str::FromStr;

use super::{Activation, Prelu, Rrelu, Swish, largest_of};
use crate::error::Error;
use crate::graph::{Params, Var};
use crate::names::{refuse_more, unknown, with_numbers};
use crate::nn::Layer;

/// What stands between the layers of a model: an [`Activation`], or one that has parameters of its own or draws numbers. Each has
/// a name: that of the activation, `prelu`, `swish-learned`, `rrelu`, `rrelu=0.1,0.3`, `maxout`, `maxout=3`.
///
/// ```
/// use wgrad::nn::{Layer, Mlp, ModelOptions, Nonlinearity};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let options = ModelOptions::default().activation("maxout=3".parse::<Nonlinearity>()?);
/// let net = Mlp::with(&params, &[4, 8, 2], &options);
/// assert_eq!(params.get("fc1.weight").map(|w| w.shape().dims().to_vec()), Some(vec![24, 4]));
/// let g = Graph::new();
/// assert_eq!(net.forward(g.input("x", [5, 4])).shape().dims(), [5, 2]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Nonlinearity {
    /// An activation without parameters of its own.
    Of(Activation),
    /// [`Prelu`] with a slope for each channel.
    Prelu,
    /// [`Swish`] with a β for each channel.
    SwishLearned,
    /// [`Rrelu`] with slopes from one to the other.
    Rrelu(f32, f32),
    /// The largest of so many linear functions, as in [`Maxout`](super::Maxout): the layer before it has as many rows for an
    /// output.
    Maxout(usize),
}

const PRELU: &str = "prelu";
const SWISH: &str = "swish-learned";
const RRELU: &str = "rrelu";
const MAXOUT: &str = "maxout";

/// Pieces of a maxout of which nothing is said.
const PIECES: f32 = 2.0;

impl Nonlinearity {
    /// The names of all, without their parameters.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Activation::ALL.into_iter().map(|a| a.name()).chain([PRELU, SWISH, RRELU, MAXOUT])
    }

    /// Numbers that the layer before it gives for each of its results: the pieces of a maxout, the halves of GLU and SwiGLU.
    pub fn inputs(&self) -> usize {
        match self {
            Nonlinearity::Maxout(pieces) => *pieces,
            Nonlinearity::Of(Activation::Glu | Activation::Swiglu) => 2,
            _ => 1,
        }
    }

    /// Whether it takes each number for itself, as images need it, and not the last axis as a whole.
    pub fn is_elementwise(&self) -> bool {
        match self {
            Nonlinearity::Of(activation) => activation.is_elementwise(),
            Nonlinearity::Maxout(_) => false,
            _ => true,
        }
    }

    /// The layer of values `[n, channels, ..]`, with parameters of its own under `params`.
    pub(in crate::nn) fn layer(&self, params: &Params, channels: usize) -> Between {
        match *self {
            Nonlinearity::Of(activation) => Between::Of(activation),
            Nonlinearity::Prelu => Between::Prelu(Prelu::new(params, channels)),
            Nonlinearity::SwishLearned => Between::Swish(Swish::new(params, channels)),
            Nonlinearity::Rrelu(lower, upper) => Between::Rrelu(Rrelu::new(params, lower, upper)),
            Nonlinearity::Maxout(pieces) => Between::Maxout(pieces),
        }
    }
}

/// ReLU.
impl Default for Nonlinearity {
    fn default() -> Self {
        Nonlinearity::Of(Activation::Relu)
    }
}

impl From<Activation> for Nonlinearity {
    fn from(activation: Activation) -> Self {
        Nonlinearity::Of(activation)
    }
}

impl FromStr for Nonlinearity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, given) = with_numbers("activation", text)?;
        let value = |i: usize, usual: f32| given.get(i).copied().unwrap_or(usual);
        let wrong = |what: &str| Err(Error::Invalid(format!("activation `{text}`: {what}")));
        let (nonlinearity, most) = match name {
            PRELU => (Nonlinearity::Prelu, 0),
            SWISH => (Nonlinearity::SwishLearned, 0),
            RRELU => match [value(0, Rrelu::USUAL[0]), value(1, Rrelu::USUAL[1])] {
                [lower, upper] if lower <= upper => (Nonlinearity::Rrelu(lower, upper), 2),
                _ => return wrong("the lower bound comes first"),
            },
            MAXOUT => match value(0, PIECES) {
                pieces if pieces.fract() == 0.0 && (1.0..=64.0).contains(&pieces) => {
                    (Nonlinearity::Maxout(pieces as usize), 1)
                }
                _ => return wrong("the pieces are a whole number from 1 to 64"),
            },
            _ if Activation::ALL.iter().any(|a| a.name() == name) => {
                return text.parse().map(Nonlinearity::Of);
            }
            _ => {
                let known: Vec<&str> = Nonlinearity::names().collect();
                return Err(unknown("activation", name, &known));
            }
        };
        refuse_more("activation", name, most, &given)?;
        Ok(nonlinearity)
    }
}

/// As it is parsed.
impl fmt::Display for Nonlinearity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Nonlinearity::Of(activation) => activation.fmt(f),
            Nonlinearity::Prelu => f.write_str(PRELU),
            Nonlinearity::SwishLearned => f.write_str(SWISH),
            Nonlinearity::Rrelu(lower, upper) => write!(f, "{RRELU}={lower},{upper}"),
            Nonlinearity::Maxout(pieces) => write!(f, "{MAXOUT}={pieces}"),
        }
    }
}

/// A [`Nonlinearity`] with its parameters.
#[derive(Debug, Clone)]
pub(in crate::nn) enum Between {
    Of(Activation),
    Prelu(Prelu),
    Swish(Swish),
    Rrelu(Rrelu),
    Maxout(usize),
}

impl Layer for Between {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        match self {
            Between::Of(activation) => activation.forward(x),
            Between::Prelu(layer) => layer.forward(x),
            Between::Swish(layer) => layer.forward(x),
            Between::Rrelu(layer) => layer.forward(x),
            Between::Maxout(pieces) => largest_of(x, *pieces),
        }
    }
}
