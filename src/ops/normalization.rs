//! Normalizations that are made of other ops: of groups of channels, of planes, by the root mean square, over neighbouring
//! channels, and of weights.

use super::PoolOptions;
use super::batch_norm::per_channel;
use crate::graph::Var;
use crate::shape::Shape;

/// What each channel is scaled by and what is added to it, `[c]` each, where there is any.
fn scaled<'g>(mut y: Var<'g>, weight: Option<Var<'g>>, bias: Option<Var<'g>>) -> Var<'g> {
    if let Some(weight) = weight {
        y = y * per_channel(weight, y);
    }
    match bias {
        Some(bias) => y + per_channel(bias, y),
        None => y,
    }
}

/// Why `eps` cannot be added under a root, if it cannot.
fn wrong_eps(eps: f32) -> Option<String> {
    (!(eps.is_finite() && eps > 0.0)).then(|| format!("eps must be a number above 0, got {eps}"))
}

/// Why x is not `[n, c, ..]`, or what belongs to channels is not `[c]`.
fn wrong_channels(x: &Shape, of_channels: [Option<Var<'_>>; 2]) -> Option<String> {
    if x.rank() < 2 {
        return Some(format!("takes [n, c, ..], got {x}"));
    }
    let channels = x.dim(1);
    let mut of_channels = of_channels.into_iter().flatten().map(Var::shape);
    let other = of_channels.find(|other| other.dims() != [channels])?;
    Some(format!("{channels} channels need a value each, [{channels}], got {other}"))
}

impl<'g> Var<'g> {
    /// Normalizes groups of neighbouring channels of `[n, c, ..]`, in each row to mean 0 and variance 1 over their channels
    /// and all positions, then scales every channel by `weight` and adds `bias`, both `[c]`, where they are given (Wu and He,
    /// "Group Normalization", ECCV 2018, section 3.1):
    ///
    /// y = (x - mean) / √(variance + eps) · weight + bias.
    ///
    /// The variance is the biased one. One group is layer normalization over channels and positions, as many groups as
    /// channels are [`Var::instance_norm`]. It is computed by the kernels of [`Var::layer_norm`], so that a mean that is large
    /// beside the spread costs no digits, and groups that are constant give 0 before `bias` is added.
    ///
    /// It is a recording error where `groups` does not divide the channels, and where a group has a single element, which
    /// would always give 0.
    #[track_caller]
    pub fn group_norm(
        self,
        groups: usize,
        weight: Option<Var<'g>>,
        bias: Option<Var<'g>>,
        eps: f32,
    ) -> Var<'g> {
        self.groups_normalized("group_norm", Some(groups), weight, bias, eps)
    }

    /// Normalizes each plane of `[n, c, ..]` to mean 0 and variance 1 over its positions, then scales every channel by
    /// `weight` and adds `bias`, both `[c]`, where they are given (Ulyanov, Vedaldi and Lempitsky, "Instance Normalization",
    /// arXiv:1607.08022, equation 4). It is [`Var::group_norm`] with a channel in each group; a plane of one element is a
    /// recording error.
    #[track_caller]
    pub fn instance_norm(self, weight: Option<Var<'g>>, bias: Option<Var<'g>>, eps: f32) -> Var<'g> {
        self.groups_normalized("instance_norm", None, weight, bias, eps)
    }

    /// In as many groups, or each channel by itself.
    #[track_caller]
    fn groups_normalized(
        self,
        name: &str,
        groups: Option<usize>,
        weight: Option<Var<'g>>,
        bias: Option<Var<'g>>,
        eps: f32,
    ) -> Var<'g> {
        let (g, shape) = (self.graph, self.shape());
        let refuse = |message: String| g.refuse(name, message, self);
        if let Some(message) = wrong_channels(&shape, [weight, bias]) {
            return refuse(message);
        }
        let (rows, channels) = (shape.dim(0), shape.dim(1));
        let groups = groups.unwrap_or(channels);
        if groups == 0 || !channels.is_multiple_of(groups) {
            return refuse(format!("{channels} channels do not make {groups} groups of equal size"));
        }
        let width = channels / groups * shape.dims()[2..].iter().product::<usize>();
        if width == 1 {
            return refuse(format!(
                "a group of {shape} has one element, which less its mean is always 0; take groups of several channels, or \
                 larger planes"
            ));
        }
        if let Some(message) = wrong_eps(eps) {
            return refuse(message);
        }
        let rows = self.reshape([rows, groups, width]);
        let y = rows.layer_norm(g.full([width], 1.0), g.full([width], 0.0), eps);
        scaled(y.reshape(shape), weight, bias)
    }

    /// Divides every row, that is along the last axis of `[.., width]`, by its root mean square, then scales by `weight`,
    /// `[width]`, where it is given (Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, equation 4):
    ///
    /// y = x / √(mean of x² + eps) · weight.
    ///
    /// A row with an element above 1.8e19, whose square is infinite, gives 0, as in PyTorch.
    #[track_caller]
    pub fn rms_norm(self, weight: Option<Var<'g>>, eps: f32) -> Var<'g> {
        let shape = self.shape();
        let refuse = |message: String| self.graph.refuse("rms_norm", message, self);
        let Some(&width) = shape.dims().last() else {
            return refuse("a scalar has no axis to normalize".into());
        };
        if let Some(other) = weight.map(Var::shape).filter(|other| other.dims() != [width]) {
            return refuse(format!("{width} columns need a value each, [{width}], got {other}"));
        }
        if let Some(message) = wrong_eps(eps) {
            return refuse(message);
        }
        let root = (self.square().mean_keep(&[shape.rank() - 1]) + eps).sqrt();
        match weight {
            Some(weight) => self / root * weight,
            None => self / root,
        }
    }

    /// The same over all channels and positions of each row of `[n, c, ..]`, with weight and bias `[c]`.
    #[track_caller]
    pub(crate) fn rms_norm_of_channels(
        self,
        weight: Option<Var<'g>>,
        bias: Option<Var<'g>>,
        eps: f32,
    ) -> Var<'g> {
        let shape = self.shape();
        if let Some(message) = wrong_channels(&shape, [weight, bias]) {
            return self.graph.refuse("rms_norm", message, self);
        }
        let y = self.flatten(1).rms_norm(None, eps).reshape(shape);
        scaled(y, weight, bias)
    }

    /// Divides every element of `[n, c, ..]` by what its neighbours in `size` channels, itself in the middle, are like
    /// (Krizhevsky, Sutskever and Hinton, NIPS 2012, section 3.3), as PyTorch's `local_response_norm`:
    ///
    /// y = x / (k + alpha / size · Σ x²)^beta,
    ///
    /// where channels beyond the first and the last count as 0, and of an even `size` one more comes before than after. The
    /// paper has alpha itself before the sum: its alpha is this one over `size`.
    ///
    /// It is a recording error where `size` is 0, `k` is not above 0 or `alpha` is below 0, which could divide by 0.
    #[track_caller]
    pub fn local_response_norm(self, size: usize, alpha: f32, beta: f32, k: f32) -> Var<'g> {
        let shape = self.shape();
        let refuse = |message: String| self.graph.refuse("local_response_norm", message, self);
        if let Some(message) = wrong_channels(&shape, [None, None]) {
            return refuse(message);
        }
        if size == 0 {
            return refuse("takes 1 channel or more, got a size of 0".into());
        }
        let is_positive = k.is_finite() && k > 0.0 && alpha.is_finite() && alpha >= 0.0 && beta.is_finite();
        if !is_positive {
            return refuse(format!(
                "k must be a number above 0, alpha one of 0 or more and beta finite, got k = {k}, alpha = {alpha}, beta = \
                 {beta}"
            ));
        }
        let (rows, channels) = (shape.dim(0), shape.dim(1));
        let positions = shape.dims()[2..].iter().product::<usize>();
        // Channels are the rows of a plane.
        let squares = self.square().reshape([rows, 1, channels, positions]);
        let windows = PoolOptions {
            kernel: [size, 1],
            stride: [1; 2],
            padding: [size / 2, (size - 1) / 2, 0, 0],
            dilation: [1; 2],
        };
        let means = squares.avg_pool2d(windows, true).reshape(shape);
        self * (means * alpha + k).powf(-beta)
    }

    /// The direction of each row of this weight `[out, ..]`, times its length in `magnitude`, `[out, 1, ..]` (Salimans and
    /// Kingma, "Weight Normalization", NIPS 2016, equation 2):
    ///
    /// w = v / ‖v‖ · magnitude, with the norm over all axes but the first.
    ///
    /// A row of zeros has no direction: its weights are NaN, as in PyTorch.
    #[track_caller]
    pub fn weight_norm(self, magnitude: Var<'g>) -> Var<'g> {
        let shape = self.shape();
        let refuse = |message: String| self.graph.refuse("weight_norm", message, self);
        if shape.rank() < 2 {
            return refuse(format!("takes a weight [out, in, ..], got {shape}"));
        }
        let mut wanted = vec![1; shape.rank()];
        wanted[0] = shape.dim(0);
        if magnitude.shape().dims() != wanted {
            return refuse(format!(
                "the rows of {shape} need a length each, {wanted:?}, got {}",
                magnitude.shape()
            ));
        }
        let axes: Vec<usize> = (1..shape.rank()).collect();
        self * (magnitude / self.square().sum_keep(&axes).sqrt())
    }

    /// This weight `[out, ..]`, taken as a matrix W `[out, in]`, divided by the stretch uᵀ W v of two directions, `[out]` and
    /// `[in]` (Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018, equations 8 and 18).
    /// With those of [`Var::power_iteration`] that is its largest singular value. Gradients flow through the weight in the
    /// stretch, and into u and v where these are not states (equation 12 takes them for constants).
    #[track_caller]
    pub fn spectral_norm(self, u: Var<'g>, v: Var<'g>) -> Var<'g> {
        match self.as_matrix("spectral_norm", u) {
            Ok(matrix) if v.shape().dims() == [matrix.dim(1)] => {
                let stretched = v.reshape([1, matrix.dim(1)]).matmul_nt(matrix);
                self / (stretched * u.reshape([1, matrix.dim(0)])).sum_all()
            }
            Ok(matrix) => {
                let message = format!("v must be [{}], got {}", matrix.dim(1), v.shape());
                self.graph.refuse("spectral_norm", message, self)
            }
            Err(refused) => refused,
        }
    }

    /// A step towards the singular vectors of the largest singular value of this weight `[out, ..]`, taken as a matrix W
    /// `[out, in]`: from u `[out]`
    ///
    /// v = Wᵀ u / max(‖Wᵀ u‖, eps), u = W v / max(‖W v‖, eps),
    ///
    /// and it gives u and v (Miyato et al., ICLR 2018, algorithm 1, step 1; eps as in PyTorch, where it is 1e-12).
    #[track_caller]
    pub fn power_iteration(self, u: Var<'g>, eps: f32) -> [Var<'g>; 2] {
        if let Some(message) = wrong_eps(eps) {
            return [self.graph.refuse("power_iteration", message, self); 2];
        }
        let matrix = match self.as_matrix("power_iteration", u) {
            Ok(matrix) => matrix,
            Err(refused) => return [refused; 2],
        };
        let unit = |x: Var<'g>| x / x.square().sum_all().sqrt().maximum(self.graph.scalar(eps));
        let v = unit(u.reshape([1, matrix.dim(0)]).matmul(matrix));
        let u = unit(v.matmul_nt(matrix));
        [u.reshape([matrix.dim(0)]), v.reshape([matrix.dim(1)])]
    }

    /// As `[out, in]`; refused where u has another extent than `[out]`.
    #[track_caller]
    fn as_matrix(self, name: &str, u: Var<'g>) -> Result<Var<'g>, Var<'g>> {
        let shape = self.shape();
        let message = match shape.dims() {
            [out, rest @ ..] if !rest.is_empty() => {
                if u.shape().dims() == [*out] {
                    return Ok(self.reshape([*out, rest.iter().product()]));
                }
                format!("u must be [{out}], got {}", u.shape())
            }
            _ => format!("takes a weight [out, in, ..], got {shape}"),
        };
        Err(self.graph.refuse(name, message, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;
    use crate::golden_tests::weighed;
    use crate::ops::testing::{Value, gradients_agree, noise, run};

    #[test]
    fn derivatives_agree_with_finite_differences_twice() {
        let channels = |n, k| (&[4][..], noise(n, k));
        let x = (&[2, 4, 3][..], noise(24, 1));
        let inputs = [x.clone(), channels(4, 2), channels(4, 3)];
        gradients_agree(&inputs, |v| weighed(v[0].group_norm(2, Some(v[1]), Some(v[2]), 1e-3)));
        gradients_agree(&inputs[..1], |v| weighed(v[0].group_norm(1, None, None, 1e-2)));
        gradients_agree(&inputs, |v| weighed(v[0].instance_norm(Some(v[1]), Some(v[2]), 1e-2)));
        gradients_agree(&[x.clone(), (&[3], noise(3, 4))], |v| weighed(v[0].rms_norm(Some(v[1]), 1e-3)));
        gradients_agree(&inputs[..1], |v| weighed(v[0].rms_norm(None, 1e-2)));
        for size in [1, 2, 3, 9] {
            gradients_agree(&inputs[..1], |v| weighed(v[0].local_response_norm(size, 0.5, 0.75, 1.5)));
        }
        let weight = (&[3, 2, 2][..], noise(12, 5));
        gradients_agree(&[weight.clone(), (&[3, 1, 1], noise(3, 6))], |v| weighed(v[0].weight_norm(v[1])));
        gradients_agree(&[weight.clone(), (&[3], noise(3, 7)), (&[4], noise(4, 8))], |v| {
            weighed(v[0].spectral_norm(v[1], v[2]))
        });
        gradients_agree(&[weight, (&[3], noise(3, 9))], |v| {
            let [u, right] = v[0].power_iteration(v[1], 1e-12);
            weighed(u) + weighed(right)
        });
    }

    #[test]
    fn power_iteration_finds_the_largest_singular_value() {
        let g = Graph::new();
        let w = g.input("w", [3, 2]);
        let mut pair = [g.input("u", [3]); 2];
        for _ in 0..30 {
            pair = w.power_iteration(pair[0], 1e-12);
        }
        let normalized = w.spectral_norm(pair[0], pair[1]);
        // Singular values 5 and 2, turned.
        let (c, s) = (0.6, 0.8);
        let w = vec![5.0 * c, -2.0 * s, 5.0 * s, 2.0 * c, 0.0, 0.0];
        let feed = [w.clone(), vec![1.0, 0.5, -1.0]].map(Value::F);
        let found = run(&g, &feed, &[normalized, pair[0], pair[1]]);
        assert!(found[0].iter().zip(&w).all(|(y, w)| (y - w / 5.0).abs() < 1e-12), "{found:?}");
        assert!((found[1][0].abs() - c).abs() < 1e-12 && (found[2][0].abs() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let message = |record: &dyn for<'g> Fn(&'g Graph) -> Var<'g>| {
            let g = Graph::new();
            record(&g);
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        type Record = dyn for<'g> Fn(&'g Graph) -> Var<'g>;
        let refused: [(&str, &Record); 15] = [
            ("group_norm: takes [n, c, ..]", &|g| g.input("x", [4]).group_norm(1, None, None, 1e-5)),
            ("6 channels do not make 4 groups", &|g| g.input("x", [2, 6]).group_norm(4, None, None, 1e-5)),
            ("do not make 0 groups", &|g| g.input("x", [2, 6]).group_norm(0, None, None, 1e-5)),
            ("6 channels need a value each, [6], got [5]", &|g| {
                g.input("x", [2, 6]).group_norm(3, None, Some(g.input("b", [5])), 1e-5)
            }),
            ("a group of [2, 6] has one element", &|g| g.input("x", [2, 6]).group_norm(6, None, None, 1e-5)),
            ("instance_norm: a group of [2, 3, 1, 1] has one element", &|g| {
                g.input("x", [2, 3, 1, 1]).instance_norm(None, None, 1e-5)
            }),
            ("eps must be a number above 0", &|g| g.input("x", [2, 6]).group_norm(3, None, None, 0.0)),
            ("rms_norm: a scalar has no axis", &|g| g.input("x", []).rms_norm(None, 1e-5)),
            ("3 columns need a value each", &|g| {
                g.input("x", [2, 3]).rms_norm(Some(g.input("w", [2])), 1e-5)
            }),
            ("eps must be a number above 0", &|g| g.input("x", [2, 3]).rms_norm(None, f32::NAN)),
            ("a size of 0", &|g| g.input("x", [2, 3, 4]).local_response_norm(0, 1e-4, 0.75, 1.0)),
            ("k must be a number above 0", &|g| {
                g.input("x", [2, 3, 4]).local_response_norm(5, 1e-4, 0.75, 0.0)
            }),
            ("need a length each, [2, 1, 1], got [2]", &|g| {
                g.input("v", [2, 3, 1]).weight_norm(g.input("g", [2]))
            }),
            ("u must be [2], got [3]", &|g| {
                g.input("w", [2, 3]).power_iteration(g.input("u", [3]), 1e-12)[0]
            }),
            ("v must be [6], got [3]", &|g| {
                g.input("w", [2, 3, 2]).spectral_norm(g.input("u", [2]), g.input("v", [3]))
            }),
        ];
        for (words, record) in refused {
            let text = message(record);
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
