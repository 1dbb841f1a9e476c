//! One op on its own, in buffers that show every mistake: outputs start as NaN, padding holds NaN, and
//! guard words stand before and after. Bindings reach over those after: an adapter that drops what is written past a
//! binding would hide it, and one that writes it elsewhere would not.

use std::sync::Arc;

use super::bind::{Region, bind};
use super::{Gpu, Shared};
use crate::error::{Error, Result};
use crate::half;
use crate::ops::{Arg, Kernel, KernelContext, Op};
use crate::shape::{DType, TensorType};
use crate::tensor::{Data, Feed, Tensor};

/// A quiet NaN that no computation makes.
const POISON: u32 = 0x7fc0_dead;
/// The same in half precision, after an odd number of them.
const POISON_HALF: u32 = 0x7eef;
const GUARD: u32 = 0xfeed_f00d;
/// Guard bytes before a value: as much as any adapter's offset alignment.
const BEFORE: usize = 256;
/// Guard bytes after it: a row of most cases, since a kernel that goes on writes the next row.
const AFTER: usize = 4096;

/// What a buffer holds for these values, stored as `ty`.
fn words(data: &Data, ty: TensorType) -> Vec<u32> {
    match data {
        Data::F32(v) if ty.dtype == DType::F16 => {
            let half = |x: Option<&f32>| x.map_or(POISON_HALF, |x| u32::from(half::to_bits(*x)));
            v.chunks(2).map(|pair| half(pair.first()) | half(pair.get(1)) << 16).collect()
        }
        Data::F32(v) => v.iter().map(|x| x.to_bits()).collect(),
        Data::U32(v) => v.clone(),
        Data::U8(v) => {
            let bytes =
                |c: &[u8]| (0..4).map(|i| u32::from(c.get(i).copied().unwrap_or(0xad)) << (8 * i)).sum();
            v.chunks(4).map(bytes).collect()
        }
    }
}

/// A buffer with these words between two fences of `guard`, and `poison` after them up to the padded size.
fn fenced(
    gpu: &Shared,
    label: &str,
    content: &[u32],
    bytes: usize,
    (guard, poison): (u32, u32),
) -> Result<wgpu::Buffer> {
    let mut all = vec![guard; BEFORE / 4];
    all.extend_from_slice(content);
    all.resize((BEFORE + bytes) / 4, poison);
    all.resize((BEFORE + bytes + AFTER) / 4, guard);
    let buffer = gpu.buffer(label, all.len() * 4, super::storage_usage())?;
    gpu.write(&buffer, Feed::U32(&all));
    Ok(buffer)
}

/// Runs `op` on `inputs`, the states it updates at their end; gives its outputs, then the new states.
pub(crate) fn run(gpu: &Gpu, op: &Arc<dyn Op>, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    run_changed(gpu, op, inputs, false, &|_| {})
}

/// As [`run`], with each kernel passed through `change` first; `as_f16`: with all floats but the states stored in 16 bits.
pub(crate) fn run_changed(
    gpu: &Gpu,
    op: &Arc<dyn Op>,
    inputs: &[Tensor],
    as_f16: bool,
    change: &dyn Fn(&mut Kernel),
) -> Result<Vec<Tensor>> {
    let shared = &gpu.0;
    shared.scoped("one op's tensors", || run_unscoped(shared, op, inputs, as_f16, change))
}

fn run_unscoped(
    gpu: &Arc<Shared>,
    op: &Arc<dyn Op>,
    inputs: &[Tensor],
    as_f16: bool,
    change: &dyn Fn(&mut Kernel),
) -> Result<Vec<Tensor>> {
    let mut in_types: Vec<TensorType> = inputs.iter().map(Tensor::tensor_type).collect();
    let mut out_types = op.infer(&in_types).map_err(Error::Invalid)?;
    let context = KernelContext::new(&gpu.caps, &in_types, &out_types);
    let mut program = op.dispatch(&context)?;
    program.dispatches.iter_mut().for_each(|dispatch| change(&mut dispatch.kernel));
    let reads = inputs.len() - op.writes();
    let results = out_types.len() - op.writes();
    if as_f16 {
        let refused = || Error::Invalid(format!("the kernels of `{}` cannot store 16 bits", op.name()));
        program = program.in_f16(&**op, &in_types, &out_types).ok_or_else(refused)?;
        in_types[..reads].iter_mut().for_each(TensorType::store_f16);
        let outs = out_types[..results].iter_mut().enumerate();
        outs.filter(|(k, _)| !op.traits().keeps_f32.has(*k)).for_each(|(_, ty)| ty.store_f16());
    }
    let sources: Vec<wgpu::Buffer> = inputs[..reads]
        .iter()
        .zip(&in_types)
        .map(|(t, ty)| {
            // After row and class numbers stands one that exists: taking it must be seen.
            let beyond = if ty.dtype == DType::U32 { 0 } else { POISON };
            fenced(gpu, "input", &words(t.data(), *ty), ty.bytes(), (beyond, beyond))
        })
        .collect::<Result<_>>()?;
    let targets: Vec<wgpu::Buffer> = out_types
        .iter()
        .enumerate()
        .map(|(k, ty)| {
            let content =
                if k < results { Vec::new() } else { words(inputs[reads + k - results].data(), *ty) };
            fenced(gpu, "output", &content, ty.bytes(), (GUARD, POISON))
        })
        .collect::<Result<_>>()?;
    let padded = |bytes: usize| bytes.next_multiple_of(16).max(16);
    let scratch: Vec<wgpu::Buffer> = program
        .scratch
        .iter()
        .map(|&bytes| fenced(gpu, "scratch", &[], padded(bytes), (POISON, POISON)))
        .collect::<Result<_>>()?;
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for dispatch in &mut program.dispatches {
        dispatch.check_loop_iterations(op.name(), &gpu.caps)?;
        if let Some(fault) = gpu.planted {
            fault.plant_in(dispatch);
        }
    }
    for dispatch in &program.dispatches {
        let pipeline = gpu.cache.get(gpu, &dispatch.kernel)?;
        let region = |arg: &Arg| {
            let (buffer, bytes) = match *arg {
                Arg::Input(i) => (&sources[i], in_types[i].bytes()),
                Arg::Output(i) | Arg::OutputRead(i) => (&targets[i], out_types[i].bytes()),
                Arg::Scratch(i) | Arg::ScratchRead(i) => (&scratch[i], padded(program.scratch[i])),
            };
            Region { buffer, offset: BEFORE, bytes: bytes + AFTER }
        };
        let storage: Vec<Region<'_>> = dispatch.args.iter().map(region).collect();
        let bytes = dispatch.uniform.len().next_multiple_of(16).max(16);
        let uniform =
            gpu.buffer("parameters", bytes, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST)?;
        gpu.write(&uniform, Feed::U8(&dispatch.uniform));
        let group = bind(
            gpu,
            op.name(),
            &pipeline,
            dispatch,
            &storage,
            Region { buffer: &uniform, offset: 0, bytes },
        )?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(dispatch.grid[0], dispatch.grid[1], dispatch.grid[2]);
    }
    gpu.submit([encoder.finish()]);
    let mut results = Vec::new();
    for (buffer, ty) in targets.iter().zip(&out_types) {
        results.push(unfence(gpu, op.name(), buffer, ty)?);
    }
    for buffer in &scratch {
        check_padding_after(gpu, op.name(), buffer)?;
    }
    Ok(results)
}

/// Words of a buffer, from one on.
fn read_words(gpu: &Arc<Shared>, buffer: &wgpu::Buffer, first: usize) -> Result<Vec<u32>> {
    let count = buffer.size() as usize / 4 - first;
    let shape = crate::shape::Shape::new(&[count])
        .ok_or_else(|| Error::Limit("a tensor of more than 2^32 words".into()))?;
    let read = super::readback::Read::start(gpu, buffer, 4 * first, TensorType::u32(shape))?;
    match crate::backend::Readback::pending(read).wait()?.data() {
        Data::U32(words) => Ok(words.clone()),
        _ => Err(Error::Invalid("a read-back changed its type".into())),
    }
}

/// Looks at the words after scratch memory, which are another value's in a graph.
fn check_padding_after(gpu: &Arc<Shared>, op: &str, buffer: &wgpu::Buffer) -> Result<()> {
    let words = read_words(gpu, buffer, (buffer.size() as usize - AFTER) / 4)?;
    match words.iter().position(|word| *word != POISON) {
        Some(at) => Err(Error::Invalid(format!("{op}: wrote after its scratch memory (word {at})"))),
        None => Ok(()),
    }
}

/// Reads a fenced buffer back, whole; an overwritten guard is an error.
fn unfence(gpu: &Arc<Shared>, op: &str, buffer: &wgpu::Buffer, ty: &TensorType) -> Result<Tensor> {
    let all = read_words(gpu, buffer, 0)?;
    let start = BEFORE / 4;
    let end = start + ty.bytes() / 4;
    if let Some(at) = (0..start).chain(end..all.len()).find(|&i| all[i] != GUARD) {
        let side = if at < start { "before" } else { "after" };
        return Err(Error::Invalid(format!("{op}: wrote {side} its output (word {at})")));
    }
    let n = ty.shape.elements();
    let payload = &all[start..end];
    // Where NaN is due, the one that was there before must not pass for it.
    if matches!(ty.dtype, DType::F32 | DType::U32)
        && let Some(at) = payload[..n].iter().position(|&word| word == POISON)
    {
        return Err(Error::Invalid(format!("{op}: did not write element {at}")));
    }
    let data = match ty.dtype {
        DType::F32 => Data::F32(payload[..n].iter().map(|&w| f32::from_bits(w)).collect()),
        DType::F16 => Data::F32(half::decode(bytemuck::cast_slice(payload), n)),
        DType::U32 => Data::U32(payload[..n].to_vec()),
        DType::U8 => Data::U8((0..n).map(|i| (payload[i / 4] >> (8 * (i % 4))) as u8).collect()),
    };
    Tensor::new(ty.shape, data)
}
