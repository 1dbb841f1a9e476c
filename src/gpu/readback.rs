//! Values on their way back: a copy to a mappable buffer, then a mapping that is polled.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use super::{Shared, lock};
use crate::backend::PendingRead;
use crate::error::{Error, Result};
use crate::shape::{DType, TensorType};
use crate::tensor::{Data, Tensor};

/// Buffers kept for later read-backs.
const MOST_KEPT: usize = 16;

pub(crate) struct Read {
    gpu: Arc<Shared>,
    staging: Option<wgpu::Buffer>,
    submission: wgpu::SubmissionIndex,
    mapped: Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
    ty: TensorType,
}

impl Read {
    /// Copies `buffer` from byte `offset` on, as far as `ty` reaches, and asks for its mapping.
    pub(crate) fn start(
        gpu: &Arc<Shared>,
        buffer: &wgpu::Buffer,
        offset: usize,
        ty: TensorType,
    ) -> Result<Self> {
        let bytes = ty.bytes() as u64;
        let staging = take_staging(gpu, bytes)?;
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, offset as u64, &staging, 0, bytes);
        let submission = gpu.submit([encoder.finish()]);
        let (send, mapped) = channel();
        staging.slice(..bytes).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone if nobody wants the value any more.
            let _ = send.send(result);
        });
        Ok(Read { gpu: gpu.clone(), staging: Some(staging), submission, mapped, ty })
    }

    fn finish(&mut self, mapped: std::result::Result<(), wgpu::BufferAsyncError>) -> Result<Tensor> {
        let taken = || Error::Invalid("the value was taken already".into());
        let staging = self.staging.take().ok_or_else(taken)?;
        self.gpu.take_fault()?;
        let fail = |message: String| Error::Device { adapter: self.gpu.info.name.clone(), message };
        mapped.map_err(|e| fail(format!("a value could not be read back: {e}")))?;
        let data = {
            let view = staging
                .slice(..self.ty.bytes() as u64)
                .get_mapped_range()
                .map_err(|e| fail(format!("a value could not be read back: {e}")))?;
            decode(&view, &self.ty)
        };
        staging.unmap();
        let mut kept = lock(&self.gpu.staging);
        if kept.len() < MOST_KEPT {
            kept.push(staging);
        }
        drop(kept);
        Tensor::new(self.ty.shape, data)
    }
}

fn decode(bytes: &[u8], ty: &TensorType) -> Data {
    let n = ty.shape.elements();
    let word = |b: &[u8]| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
    match ty.dtype {
        DType::F32 => Data::F32(bytes.chunks_exact(4).take(n).map(|b| f32::from_bits(word(b))).collect()),
        DType::U32 => Data::U32(bytes.chunks_exact(4).take(n).map(word).collect()),
        DType::U8 => Data::U8(bytes[..n].to_vec()),
        DType::F16 => Data::F32(crate::half::decode(bytes, n)),
    }
}

/// A buffer to read back into: the smallest of those kept that is large enough, or a new one.
fn take_staging(gpu: &Shared, bytes: u64) -> Result<wgpu::Buffer> {
    let mut kept = lock(&gpu.staging);
    let best = (0..kept.len()).filter(|&i| kept[i].size() >= bytes).min_by_key(|&i| kept[i].size());
    if let Some(i) = best {
        return Ok(kept.swap_remove(i));
    }
    drop(kept);
    gpu.buffer("read-back", bytes as usize, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
}

impl PendingRead for Read {
    fn poll(&mut self) -> Option<Result<Tensor>> {
        if let Err(e) = self.gpu.poll(None) {
            return Some(Err(e));
        }
        match self.mapped.try_recv() {
            Ok(mapped) => Some(self.finish(mapped)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Err(Error::Invalid("the value was taken already".into())))
            }
        }
    }

    fn wait(&mut self) -> Result<Tensor> {
        self.gpu.poll(Some(self.submission.clone()))?;
        match self.mapped.recv() {
            Ok(mapped) => self.finish(mapped),
            Err(_) => Err(Error::Device {
                adapter: self.gpu.info.name.clone(),
                message: "a read-back was dropped".into(),
            }),
        }
    }
}
