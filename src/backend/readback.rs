//! Values on their way from a device.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A value on its way from a device. A future everywhere; natively it can be waited for.
#[must_use = "a read-back does nothing until it is awaited or waited for"]
pub struct Readback {
    state: ReadbackState,
}

enum ReadbackState {
    Ready(Option<Result<Tensor>>),
    #[cfg_attr(not(feature = "gpu"), allow(dead_code))]
    Pending(Box<dyn PendingRead>),
}

/// A read-back under way.
pub(crate) trait PendingRead: Send {
    /// The value if it has come, without waiting.
    fn poll(&mut self) -> Option<Result<Tensor>>;
    /// The value, waited for.
    fn wait(&mut self) -> Result<Tensor>;
}

impl fmt::Debug for Readback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readback")
    }
}

impl Readback {
    pub(crate) fn ready(value: Result<Tensor>) -> Self {
        Readback { state: ReadbackState::Ready(Some(value)) }
    }

    #[cfg_attr(not(feature = "gpu"), allow(dead_code))]
    pub(crate) fn pending(read: impl PendingRead + 'static) -> Self {
        Readback { state: ReadbackState::Pending(Box::new(read)) }
    }

    /// Waits for the value.
    ///
    /// # Errors
    /// A failure of the device since the last read-back.
    pub fn wait(self) -> Result<Tensor> {
        match self.state {
            ReadbackState::Ready(value) => {
                value.unwrap_or_else(|| Err(Error::Invalid("the value was taken already".into())))
            }
            ReadbackState::Pending(mut read) => read.wait(),
        }
    }
}

impl Future for Readback {
    type Output = Result<Tensor>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let value = match &mut self.state {
            ReadbackState::Ready(value) => value.take(),
            ReadbackState::Pending(read) => read.poll(),
        };
        match value {
            Some(value) => Poll::Ready(value),
            None => {
                // Nothing else advances the device, so ask to be polled again.
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
