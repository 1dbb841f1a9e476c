//! Which loss, with its parameters, and what goes for each.

/// The losses. What each computes is said at the constructor of [`Loss`](super::Loss).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Mse,
    Mae,
    Msle,
    Mape,
    Huber { delta: f32 },
    SmoothL1 { beta: f32 },
    LogCosh,
    Quantile { q: f32 },
    Robust { alpha: f32, scale: f32 },
    VariablePower { scale: f32 },
    PoissonNll { takes_log: bool, full: bool },
    Hinge { is_squared: bool },
    MultiMargin { power: u32 },
    Bce,
    BceProbabilities,
    BinaryFocal { gamma: f32, alpha: f32 },
    CrossEntropy,
    Categorical,
    Nll,
    Focal { gamma: f32 },
    Kl(Divergence),
    Dice { smooth: f32 },
    CosineSimilarity,
    GaussianNll { full: bool },
    CosineEmbedding { margin: f32 },
    MarginRanking { margin: f32 },
    TripletMargin { margin: f32 },
    Contrastive { margin: f32 },
}

/// Forms of the Kullback-Leibler divergence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Divergence {
    /// Of the prediction from the target.
    Forward,
    /// The same where the targets are logarithms.
    LogTarget,
    /// Of the target from the prediction.
    Reverse,
}

/// Options that a loss has.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) class_weights: bool,
    pub(super) label_smoothing: bool,
    pub(super) ignored_class: bool,
}

/// What numbers a loss takes as targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// Any.
    Numbers,
    /// None below 0.
    NotNegative,
    /// None at 0.
    NotZero,
    /// Between 0 and 1.
    Probabilities,
    /// -1 and 1.
    Signs,
    /// Class numbers alone.
    Classes,
    /// Logarithms of probabilities, none above 0.
    Logarithms,
}

impl TargetKind {
    /// Whether a number that may be off by `rounding` is one of them.
    pub(crate) fn contains(self, x: f32, rounding: f32) -> bool {
        match self {
            TargetKind::Numbers | TargetKind::Classes => true,
            TargetKind::NotNegative => x >= -rounding,
            TargetKind::NotZero => x.abs() > rounding,
            TargetKind::Probabilities => (0.0..=1.0).contains(&x),
            TargetKind::Signs => x.abs() == 1.0,
            TargetKind::Logarithms => x <= 0.0,
        }
    }

    /// In words.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            TargetKind::Numbers => "numbers",
            TargetKind::NotNegative => "numbers from 0 up",
            TargetKind::NotZero => "numbers that are not 0",
            TargetKind::Probabilities => "numbers between 0 and 1",
            TargetKind::Signs => "-1 or 1",
            TargetKind::Classes => "class numbers",
            TargetKind::Logarithms => "logarithms of probabilities, from 0 down",
        }
    }
}

impl Kind {
    /// Its name, in kebab case.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Mse => "mse",
            Kind::Mae => "mae",
            Kind::Msle => "msle",
            Kind::Mape => "mape",
            Kind::Huber { .. } => "huber",
            Kind::SmoothL1 { .. } => "smooth-l1",
            Kind::LogCosh => "log-cosh",
            Kind::Quantile { .. } => "quantile",
            Kind::Robust { .. } => "robust",
            Kind::VariablePower { .. } => "variable-power",
            Kind::PoissonNll { takes_log: true, full: false } => "poisson-nll",
            Kind::PoissonNll { takes_log: true, full: true } => "poisson-nll-full",
            Kind::PoissonNll { takes_log: false, full: false } => "poisson-nll-rates",
            Kind::PoissonNll { takes_log: false, full: true } => "poisson-nll-rates-full",
            Kind::Hinge { is_squared: false } => "hinge",
            Kind::Hinge { is_squared: true } => "squared-hinge",
            Kind::MultiMargin { .. } => "multi-margin",
            Kind::Bce => "bce",
            Kind::BceProbabilities => "bce-probabilities",
            Kind::BinaryFocal { .. } => "binary-focal",
            Kind::CrossEntropy => "cross-entropy",
            Kind::Categorical => "categorical-cross-entropy",
            Kind::Nll => "nll",
            Kind::Focal { .. } => "focal",
            Kind::Kl(Divergence::Forward) => "kl",
            Kind::Kl(Divergence::LogTarget) => "kl-log-target",
            Kind::Kl(Divergence::Reverse) => "kl-reverse",
            Kind::Dice { .. } => "dice",
            Kind::CosineSimilarity => "cosine-similarity",
            Kind::GaussianNll { .. } => "gaussian-nll",
            Kind::CosineEmbedding { .. } => "cosine-embedding",
            Kind::MarginRanking { .. } => "margin-ranking",
            Kind::TripletMargin { .. } => "triplet-margin",
            Kind::Contrastive { .. } => "contrastive",
        }
    }

    /// What is wrong with its parameters.
    pub(super) fn fault(self) -> Option<String> {
        let positive = |name: &str, x: f32| {
            (!(x > 0.0 && x.is_finite())).then(|| format!("{name} is {x}; it is a positive number"))
        };
        let not_negative = |name: &str, x: f32| {
            (!(x >= 0.0 && x.is_finite())).then(|| format!("{name} is {x}; it is a number from 0 up"))
        };
        let share = |name: &str, x: f32| {
            (!(0.0..=1.0).contains(&x)).then(|| format!("{name} is {x}; it lies between 0 and 1"))
        };
        match self {
            Kind::Huber { delta } => positive("delta", delta),
            Kind::SmoothL1 { beta } => not_negative("beta", beta),
            Kind::Quantile { q } => share("the quantile", q),
            Kind::Robust { alpha, scale } => match alpha {
                a if a.is_nan() || a > 2.0 => {
                    Some(format!("alpha is {a}; up to 2, the square, large errors count no more than there"))
                }
                _ => positive("the scale", scale),
            },
            Kind::VariablePower { scale } => positive("the scale", scale),
            Kind::MultiMargin { power } if power != 1 && power != 2 => {
                Some(format!("the power is {power}; it is 1 or 2"))
            }
            Kind::BinaryFocal { gamma, alpha } => {
                not_negative("gamma", gamma).or_else(|| share("alpha", alpha))
            }
            Kind::Focal { gamma } => not_negative("gamma", gamma),
            Kind::Dice { smooth } => positive("the smoothing", smooth),
            Kind::CosineEmbedding { margin } if !(-1.0..=1.0).contains(&margin) => {
                Some(format!("the margin is {margin}; it lies between -1 and 1, as a cosine does"))
            }
            Kind::MarginRanking { margin }
            | Kind::TripletMargin { margin }
            | Kind::Contrastive { margin } => not_negative("the margin", margin),
            _ => None,
        }
    }

    /// Options that it has.
    pub(super) fn options(self) -> Options {
        match self {
            Kind::CrossEntropy => Options { class_weights: true, label_smoothing: true, ignored_class: true },
            Kind::Nll => Options { class_weights: true, ignored_class: true, ..Options::default() },
            Kind::MultiMargin { .. } | Kind::Focal { .. } | Kind::Bce => {
                Options { class_weights: true, ..Options::default() }
            }
            _ => Options::default(),
        }
    }

    /// Whether it gives one number per row of predictions and targets of one shape.
    pub(super) fn is_of_rows(self) -> bool {
        matches!(self, Kind::Categorical | Kind::Kl(_) | Kind::Dice { .. } | Kind::CosineSimilarity)
    }

    /// Whether its targets are quantities.
    pub(crate) fn is_of_numbers(self) -> bool {
        matches!(self.targets(), TargetKind::Numbers | TargetKind::NotNegative | TargetKind::NotZero)
            && self != Kind::CosineSimilarity
    }

    /// Whether it tells numbers from the same ones in another unit and from another origin.
    pub(crate) fn needs_unit(self) -> bool {
        matches!(self, Kind::Msle | Kind::Mape | Kind::PoissonNll { .. })
    }

    /// What it takes as targets.
    pub(crate) fn targets(self) -> TargetKind {
        match self {
            Kind::Msle | Kind::PoissonNll { .. } => TargetKind::NotNegative,
            Kind::Mape => TargetKind::NotZero,
            Kind::Hinge { .. } => TargetKind::Signs,
            Kind::Nll | Kind::MultiMargin { .. } | Kind::Focal { .. } => TargetKind::Classes,
            Kind::Kl(Divergence::LogTarget) => TargetKind::Logarithms,
            Kind::Bce
            | Kind::BceProbabilities
            | Kind::BinaryFocal { .. }
            | Kind::CrossEntropy
            | Kind::Categorical
            | Kind::Dice { .. }
            | Kind::Kl(_) => TargetKind::Probabilities,
            _ => TargetKind::Numbers,
        }
    }
}
