//! Connectionist temporal classification.

use super::{Reduction, Values};
use crate::graph::Var;

/// What messages call it.
const NAME: &str = "ctc";

/// The loss of connectionist temporal classification (CTC): of sequences whose targets are shorter sequences of labels that are not
/// aligned with them, as in recognition of speech and handwriting. Graves, Fernández, Gomez and Schmidhuber,
/// "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with Recurrent Neural Networks", ICML 2006.
///
/// A network says at each time how probable each class is, of which one, the blank, is no label. A path, one class for each
/// time, spells the labels that are left when classes that repeat themselves are made one and then blanks are taken out
/// ([`Ctc::collapse`]). The loss of an item is -log Σ Π p over all paths that spell its target, by the forward-backward
/// algorithm in logarithms.
///
/// PyTorch's `CTCLoss`, with the batch as the first axis and targets in rows of one length; Keras' `CTC`, whose blank is the
/// class 0, which pads the targets too, and which takes logits and no lengths: all inputs are as long as the time axis.
///
/// ```
/// use wgrad::losses::Ctc;
/// use wgrad::{Device, Graph};
/// let g = Graph::new();
/// // Two items, four times, three classes: the blank 0, and the labels 1 and 2.
/// let logits = g.input("logits", [2, 4, 3]);
/// let targets = g.classes("targets", [2, 2]);
/// let lengths = [g.classes("input lengths", [2]), g.classes("target lengths", [2])];
/// let ctc = Ctc::new(0);
/// g.output("loss", ctc.of(logits.log_softmax(2), targets, lengths));
/// let mut step = Device::cpu().compile(&g)?;
/// step.feed("logits", &[0.0f32; 24])?;
/// step.feed("targets", &[1u32, 2, 1, 0])?; // 1 2, and 1 with padding
/// step.feed("input lengths", &[4u32, 3])?;
/// step.feed("target lengths", &[2u32, 1])?;
/// step.run()?;
/// // 15 of 81 paths spell 1 2, and 6 of 27 spell 1. The mean is of the losses by label.
/// let expected = ((81.0f32 / 15.0).ln() / 2.0 + (27.0f32 / 6.0).ln()) / 2.0;
/// assert!((step.scalar("loss")? - expected).abs() < 1e-6);
/// assert_eq!(ctc.collapse(&[1, 1, 0, 1, 2, 2]), [1, 1, 2]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ctc {
    blank: u32,
    zero_infinity: bool,
    reduction: Reduction,
}

impl Ctc {
    /// With this class as the blank, which is 0 in PyTorch unless given.
    pub fn new(blank: u32) -> Self {
        Ctc { blank, ..Ctc::default() }
    }

    /// What becomes of the loss values, of which each item has one. Unless this says otherwise it is the mean, as PyTorch takes it:
    /// each value is divided by the number of labels of its target first, by 1 if there is none. Sums and single values are of
    /// the losses as they are.
    #[must_use]
    pub fn reduction(self, reduction: Reduction) -> Self {
        Ctc { reduction, ..self }
    }

    /// Makes the loss of an item that no path spells 0 with the gradient 0, where it would be infinite with the gradient NaN: one whose
    /// target has more labels, those that repeat themselves counted twice, than its input has times.
    #[must_use]
    pub fn zero_infinity(self) -> Self {
        Ctc { zero_infinity: true, ..self }
    }

    /// Records the loss of log-probabilities `[batch, time, classes]`, which [`Var::log_softmax`] makes of logits along axis
    /// 2, for targets `[batch, labels]` with the lengths of inputs and of targets, `[batch]` each.
    ///
    /// Labels are classes other than the blank, and fill a row of the targets from its start. What is beyond the length of a
    /// target or of an input counts nothing, whatever it holds. An input of length 0 spells the empty target alone.
    ///
    /// The gradient by a log-probability is minus the probability of its class at its time, given the target (equation 15 of
    /// the paper). PyTorch adds the probability itself, which is the gradient by the logits if the log-probabilities are
    /// those of a softmax; `log_softmax` makes the same of both. There is no second derivative.
    ///
    /// Lengths beyond the extents are refused where they are fed. A label that is the blank or no class is an error on the CPU
    /// device, and makes its item's loss NaN on a GPU.
    #[track_caller]
    pub fn of<'g>(&self, log_probs: Var<'g>, targets: Var<'g>, lengths: [Var<'g>; 2]) -> Var<'g> {
        let g = log_probs.graph();
        let mut each = log_probs.ctc_per_row(targets, lengths, self.blank);
        if self.zero_infinity {
            let is_infinite = each.equal(g.scalar(f32::INFINITY));
            each = is_infinite.select(g.scalar(0.0), each);
        }
        if self.reduction == Reduction::Mean && !each.is_poisoned() {
            each = each / lengths[1].to_f32().clamp(1.0, f32::INFINITY);
        }
        self.reduction.of(NAME, Values::from(each), None)
    }

    /// The labels that a path spells: classes that repeat themselves are one, then blanks are taken out. Of the most probable class
    /// at each time of an input, as [`Var::argmax`] gives them along axis 2, it is the target by greedy decoding
    /// (section 3.2 of the paper, best path decoding); what is beyond the input's length is to be left out before.
    pub fn collapse(&self, path: &[u32]) -> Vec<u32> {
        let begins = |i: usize| i == 0 || path[i] != path[i - 1];
        (0..path.len()).filter(|&i| begins(i) && path[i] != self.blank).map(|i| path[i]).collect()
    }
}
