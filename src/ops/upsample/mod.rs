//! Axes resized, by the nearest elements or straight lines between them: images are resized along one axis after the other, as their
//! interpolation is a product of those. Kernels: `shaders/upsample.wgsl`.

mod axis;
mod cases;
mod methods;
mod resize;

pub(super) use cases::cases;
pub(crate) use cases::{long_cases, nonfinite_cases};
pub use methods::UpsampleSize;
