//! What is wanted of examples.

use std::fmt;

use super::Values;

/// What is wanted of each example.
#[derive(Clone, PartialEq)]
pub enum Targets {
    /// A class.
    Classes {
        /// The class of each example, below `classes`.
        labels: Vec<u32>,
        /// The number of classes.
        classes: usize,
        /// The names of the classes; empty where they have only numbers.
        names: Vec<String>,
    },
    /// A class for each place of a sequence, such as the next character at each of a text. Where a model gives more places
    /// than that, these are the last ones, and what stands before them is read and not measured.
    Sequences {
        /// The classes of all examples, `length` each, row after row; each below `classes`.
        labels: Vec<u32>,
        /// Places of one example.
        length: usize,
        /// The number of classes.
        classes: usize,
        /// The names of the classes; empty where they have only numbers.
        names: Vec<String>,
    },
    /// Numbers: quantities, or 0 and 1 for each of several labels.
    Values {
        /// Shape of one example's; `[1]` for one quantity.
        shape: Vec<usize>,
        /// Those of all examples, row after row.
        values: Values,
    },
    /// The first input itself, as the model sees it: what an autoencoder gives back.
    Input,
}

impl Targets {
    /// How many classes are told of one example: the places of a sequence, else 1.
    pub(crate) fn places(&self) -> usize {
        match self {
            Targets::Sequences { length, .. } => (*length).max(1),
            _ => 1,
        }
    }

    /// Shape of one example's target.
    pub(crate) fn shape(&self) -> &[usize] {
        match self {
            Targets::Sequences { length, .. } => std::slice::from_ref(length),
            Targets::Values { shape, .. } => shape,
            Targets::Classes { .. } | Targets::Input => &[],
        }
    }
}

/// The sizes, not the values.
impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Targets::Classes { classes, .. } => write!(f, "{classes} classes"),
            Targets::Sequences { classes, length, .. } => write!(f, "{classes} classes at {length} places"),
            Targets::Values { shape, values } => write!(f, "{values:?} of shape {shape:?}"),
            Targets::Input => f.write_str("the first input"),
        }
    }
}
