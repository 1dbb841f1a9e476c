//! What the integration tests share.
#![allow(dead_code, missing_docs, unreachable_pub)]

use wgrad::Device;
#[cfg(feature = "gpu")]
use wgrad::gpu::{Gpu, adapters_named};

/// All adapters, or those that `WGRAD_ADAPTER` names; none means SKIPPED, unless `WGRAD_REQUIRE_GPU`
/// asks for one.
#[cfg(feature = "gpu")]
pub fn gpus() -> Vec<Gpu> {
    let name = std::env::var("WGRAD_ADAPTER").unwrap_or_default();
    match adapters_named(&name) {
        Ok(gpus) => gpus,
        Err(error) if std::env::var("WGRAD_REQUIRE_GPU").is_ok_and(|v| v == "1") => panic!("{error}"),
        Err(error) => {
            println!("SKIPPED: {error}");
            Vec::new()
        }
    }
}

/// The first of [`gpus`].
#[cfg(feature = "gpu")]
pub fn gpu() -> Option<Gpu> {
    gpus().into_iter().next()
}

/// The CPU, and every adapter there is.
pub fn devices() -> Vec<Device> {
    #[cfg(feature = "gpu")]
    let adapters = gpus().into_iter().map(Device::from);
    #[cfg(not(feature = "gpu"))]
    let adapters = [];
    [Device::cpu()].into_iter().chain(adapters).collect()
}

/// The CPU, the reference, and every adapter with each kernel checked.
pub fn checked_devices() -> Vec<Device> {
    #[cfg(feature = "gpu")]
    let adapters = gpus().into_iter().map(|gpu| Device::from(gpu.checked()));
    #[cfg(not(feature = "gpu"))]
    let adapters = [];
    [Device::cpu(), Device::reference()].into_iter().chain(adapters).collect()
}
