//! Augmentation of images.

use super::Layer;
use crate::graph::{Params, Var};
use crate::ops::{AffineSample, random_counter};
use crate::rng::stream_of;

/// Shifts, turns and scales each training image at random, anew in every step; does nothing in a graph for
/// inference.
///
/// Takes and gives `[n, c, h, w]`. All channels of an image move together; what comes in from outside is 0, and
/// between pixels the image is interpolated bilinearly. Whole shifts alone keep pixels exactly as they are. What
/// is drawn depends on the seed of the store, the path the layer was made under, the step and the place in the
/// batch alone, so that runs can be repeated.
///
/// ```
/// use wgrad::nn::{Layer, RandomAffine};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let moved = RandomAffine::new(&params.at("augment")).shift(1).rotate(10.0).scale(0.1);
/// let g = Graph::new();
/// assert_eq!(moved.forward(g.input("x", [4, 1, 8, 8])).shape().dims(), [4, 1, 8, 8]);
/// ```
#[derive(Debug, Clone)]
pub struct RandomAffine {
    params: Params,
    shift: u32,
    degrees: f32,
    scale: f32,
}

impl RandomAffine {
    /// Leaves images as they are, until it is told otherwise.
    pub fn new(params: &Params) -> Self {
        RandomAffine { params: params.clone(), shift: 0, degrees: 0.0, scale: 0.0 }
    }

    /// By a whole number of pixels from -`pixels` to `pixels`, vertically and horizontally.
    #[must_use]
    pub fn shift(mut self, pixels: usize) -> Self {
        self.shift = u32::try_from(pixels).unwrap_or(u32::MAX);
        self
    }

    /// About the middle by an angle from -`degrees` to `degrees`, at most 180.
    #[must_use]
    pub fn rotate(mut self, degrees: f32) -> Self {
        self.degrees = degrees;
        self
    }

    /// To a size from 1 - `change` to 1 + `change`; `change` is below 1.
    #[must_use]
    pub fn scale(mut self, change: f32) -> Self {
        self.scale = change;
        self
    }

    /// Whether it leaves images as they are.
    pub fn is_identity(&self) -> bool {
        self.shift == 0 && self.degrees == 0.0 && self.scale == 0.0
    }
}

impl Layer for RandomAffine {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        if !g.is_training() || self.is_identity() {
            return x;
        }
        let _scope = g.scope_at(self.params.path());
        let op = crate::ops::RandomAffine {
            images: x.dim(0),
            shift: self.shift,
            angle: self.degrees.to_radians(),
            scale: self.scale,
            seed: self.params.seed(),
            stream: stream_of(self.params.path()),
        };
        let matrices = g.record_one(op, &[random_counter(g, &self.params)]);
        g.record_one(AffineSample, &[x, matrices])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Graph, Result};

    #[test]
    fn images_move_in_training_only_and_anew_in_every_step() -> Result<()> {
        let params = Params::seeded(7);
        let moved = RandomAffine::new(&params.at("augment")).shift(1);
        let image: Vec<f32> = (0..64).map(|i| i as f32 + 1.0).collect();
        let batch = image.repeat(8);
        let device = Device::cpu();
        let mut runs = Vec::new();
        for g in [Graph::new(), Graph::inference()] {
            g.output("y", moved.forward(g.input("x", [8, 1, 8, 8])));
            let mut step = device.compile(&g)?;
            for _ in 0..2 {
                step.run_with(&[("x", (&batch).into())])?;
                runs.push(step.read("y")?.wait()?.as_f32().to_vec());
            }
        }
        assert_ne!(runs[0], runs[1]);
        assert!(runs[0].chunks(64).any(|y| y != image) && runs[2] == batch && runs[3] == batch);
        // A pixel in the middle is always some neighbour's.
        assert!(runs[0].chunks(64).all(|y| (18.0..=38.0).contains(&y[27])));
        Ok(())
    }

    #[test]
    fn impossible_changes_are_refused() {
        let message = |layer: fn(RandomAffine) -> RandomAffine| {
            let g = Graph::new();
            layer(RandomAffine::new(&Params::seeded(1))).forward(g.input("x", [1, 1, 4, 4]));
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        assert!(message(|l| l.rotate(181.0)).contains("from 0 to 180 degrees"));
        assert!(message(|l| l.rotate(f32::NAN)).contains("degrees"));
        assert!(message(|l| l.scale(1.0)).contains("[0, 1)"));
        assert!(message(|l| l.shift(usize::MAX)).contains("leaves nothing"));
        assert!(message(|l| l.shift(2).rotate(5.0).scale(0.1)).is_empty());
        let g = Graph::new();
        RandomAffine::new(&Params::seeded(1)).shift(1).forward(g.input("x", [3, 64]));
        assert!(g.error().unwrap().to_string().contains("takes images [n, c, h, w]"));
    }

    #[test]
    fn nothing_flows_back_silently() {
        let g = Graph::new();
        let x = g.input("x", [2, 1, 4, 4]);
        let y = RandomAffine::new(&Params::seeded(1)).shift(1).forward(x);
        g.gradients(y.sum_all(), &[x]);
        assert!(g.error().unwrap().to_string().contains("has no derivative"));
    }
}
