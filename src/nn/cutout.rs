//! Squares cut out of images.

use super::Layer;
use crate::graph::{Graph, Params, Var};
use crate::ops::random_uniform;
use crate::tensor::Tensor;

/// Sets a square of each training image to 0, at a place that is drawn anew in every step; does nothing in a graph for
/// inference (DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", arXiv:1708.04552,
/// section 3).
///
/// Takes and gives `[n, c, h, w]`. All channels of an image lose the same square. Its middle is any pixel, each as likely as
/// the others, so that a part of it may be outside; of an even side one more pixel comes before the middle than after. What is
/// drawn depends on the seed of the store, the path the layer was made under, the step and the place in the batch alone.
/// Images should have mean 0 or a dark ground, as what is cut is 0.
///
/// ```
/// use wgrad::nn::{Cutout, Layer};
/// use wgrad::{Device, Graph, Params};
/// let params = Params::seeded(1);
/// let cut = Cutout::new(&params.at("cutout"), 3);
/// let g = Graph::new();
/// g.output("y", cut.forward(g.full([1, 1, 8, 8], 1.0)));
/// let mut step = Device::cpu().compile(&g)?;
/// step.run()?;
/// let missing = step.values("y")?.iter().filter(|y| **y == 0.0).count();
/// assert!([4, 6, 9].contains(&missing));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cutout {
    params: Params,
    side: usize,
}

impl Cutout {
    /// Squares of `side` × `side` pixels; none for 0.
    pub fn new(params: &Params, side: usize) -> Self {
        Cutout { params: params.clone(), side }
    }

    /// Where along an axis of `extent` pixels the square is: `[n, extent]`, from a number uniform in [0, 1) for each image,
    /// `[n, 1]`.
    #[track_caller]
    fn inside<'g>(&self, g: &'g Graph, drawn: Var<'g>, extent: usize) -> Var<'g> {
        let vector = |values: Vec<f32>| match Tensor::new([extent], values) {
            Ok(tensor) => g.constant(tensor),
            Err(_) => g.scalar(0.0),
        };
        // The middle is ⌊t⌋, and pixel i is inside where ⌊t⌋ is from i + side/2 - side + 1 to i + side/2.
        let t = drawn * extent as f32;
        let end = |i: usize| (i + self.side / 2 + 1) as f32;
        let before = t.less(vector((0..extent).map(end).collect()));
        let after = t.greater_equal(vector((0..extent).map(|i| end(i) - self.side as f32).collect()));
        before * after
    }
}

impl Layer for Cutout {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        if !g.is_training() || self.side == 0 {
            return x;
        }
        let _scope = g.scope_at(self.params.path());
        let shape = x.shape();
        let &[n, _, h, w] = shape.dims() else {
            return g.refuse("cutout", format!("takes images [n, c, h, w], got {shape}"), x);
        };
        if self.side > 1 << 20 {
            return g.refuse("cutout", format!("a square of {} pixels leaves nothing", self.side), x);
        }
        let drawn = random_uniform(g, &[n, 2], &self.params.root(), self.params.path());
        let rows = self.inside(g, drawn.slice(1, 0, 1), h).reshape([n, 1, h, 1]);
        let columns = self.inside(g, drawn.slice(1, 1, 1), w).reshape([n, 1, 1, w]);
        (rows * columns).select(g.scalar(0.0), x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Result;
    use crate::golden_tests::devices;

    #[test]
    fn squares_are_whole_anywhere_and_the_same_on_every_device() -> Result<()> {
        let (n, h, w) = (600, 5, 7);
        for side in [1, 2, 3] {
            let mut first: Option<Vec<f32>> = None;
            for device in devices() {
                let params = Params::seeded(3);
                let g = Graph::new();
                let x = g.input("x", [n, 2, h, w]);
                g.output("y", Cutout::new(&params.at("c"), side).forward(x));
                let mut step = device.compile(&g)?;
                let image: Vec<f32> = (0..n * 2 * h * w).map(|i| 1.0 + i as f32 * 1e-4).collect();
                step.run_with(&[("x", (&image).into())])?;
                let y = step.values("y")?;
                let mut middles = vec![0; h * w];
                for (i, (y, x)) in y.chunks(h * w).zip(image.chunks(h * w)).enumerate() {
                    let is_cut: Vec<bool> = y.iter().map(|y| *y == 0.0).collect();
                    assert!(y.iter().zip(x).zip(&is_cut).all(|((y, x), cut)| *cut || y == x));
                    // The one square that this is.
                    let found: Vec<usize> = (0..h * w)
                        .filter(|m| {
                            let inside = |i: usize, m: usize| i + side / 2 >= m && i + side / 2 < m + side;
                            (0..h * w).all(|p| is_cut[p] == (inside(p / w, m / w) && inside(p % w, m % w)))
                        })
                        .collect();
                    assert_eq!(found.len(), 1, "{side} {i}: {is_cut:?}");
                    // Channels are alike.
                    middles[found[0]] += i % 2;
                }
                assert_eq!(middles.iter().sum::<usize>(), n);
                let expected = n as f64 / (h * w) as f64;
                assert!(
                    middles.iter().all(|&m| (m as f64 - expected).abs() < 5.0 * expected.sqrt()),
                    "{middles:?}"
                );
                assert_eq!(first.get_or_insert(y.clone()), &y, "{device:?}");
                step.run_with(&[("x", (&image).into())])?;
                assert_ne!(step.values("y")?, y);
            }
        }
        Ok(())
    }

    #[test]
    fn inference_leaves_images_and_others_are_refused() {
        let cut = Cutout::new(&Params::seeded(1).at("c"), 2);
        let g = Graph::inference();
        let x = g.input("x", [2, 1, 4, 4]);
        assert_eq!(cut.forward(x).id, x.id);
        let g = Graph::new();
        cut.forward(g.input("x", [3, 64]));
        assert!(g.error().unwrap().to_string().contains("takes images [n, c, h, w]"));
        let g = Graph::new();
        Cutout::new(&Params::seeded(1), usize::MAX).forward(g.input("x", [1, 1, 4, 4]));
        assert!(g.error().unwrap().to_string().contains("leaves nothing"));
    }
}
