//! Random affine transformations of images: matrices drawn on the device, and sampling by them. Kernels:
//! `shaders/augment.wgsl`.

mod random;
mod sample;

pub(crate) use random::RandomAffine;
pub(crate) use sample::AffineSample;

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    [random::cases(), sample::cases()].concat()
}
