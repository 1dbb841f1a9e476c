//! What the integration tests share.
#![allow(dead_code, missing_docs, unreachable_pub)]

use wgrad::gpu::{Gpu, adapters_named};

/// All adapters, or those that `WGRAD_ADAPTER` names; none means SKIPPED, unless `WGRAD_REQUIRE_GPU`
/// asks for one.
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
pub fn gpu() -> Option<Gpu> {
    gpus().into_iter().next()
}
