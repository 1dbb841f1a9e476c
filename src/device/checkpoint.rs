//! States to and from safetensors files, with PyTorch's names and layouts.

use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::Device;
use crate::error::{Error, Result};
use crate::files::write_renamed;
use crate::graph::Param;
use crate::shape::DType;
use crate::tensor::{Data, Tensor};

/// What safetensors calls an element type.
pub(crate) fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::U32 => Dtype::U32,
        DType::U8 => Dtype::U8,
    }
}

/// The elements as a file holds them.
pub(crate) fn bytes(data: &Data) -> &[u8] {
    match data {
        Data::F32(v) => bytemuck::cast_slice(v),
        Data::U32(v) => bytemuck::cast_slice(v),
        Data::U8(v) => v,
    }
}

/// Little-endian words, whatever the alignment of the file's bytes.
fn data(dtype: DType, bytes: &[u8]) -> Data {
    let words = || bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match dtype {
        DType::F32 => Data::F32(words().map(f32::from_bits).collect()),
        DType::U32 => Data::U32(words().collect()),
        DType::U8 => Data::U8(bytes.to_vec()),
        DType::F16 => Data::F32(crate::half::decode(bytes, bytes.len() / 2)),
    }
}

pub(crate) fn save(device: &Device, params: &[Param], path: &Path) -> Result<()> {
    let values: Vec<(&Param, Tensor)> =
        params.iter().map(|p| Ok((p, device.read_param(p)?))).collect::<Result<_>>()?;
    let mut views = Vec::new();
    for (param, tensor) in &values {
        let dims = tensor.shape().dims().to_vec();
        let view = TensorView::new(dtype(param.tensor_type().dtype), dims, bytes(tensor.data()));
        views.push((param.name(), view.map_err(|e| Error::io(path, e))?));
    }
    let content = safetensors::serialize(views, None).map_err(|e| Error::io(path, e))?;
    write_renamed(path, &content)
}

/// Reads the tensor of a name for a parameter or state.
///
/// # Errors
/// [`Error::Invalid`] where it is not there or has another type; [`Error::NotFinite`] where a float is NaN, or infinite in
/// what is trained. Other states may be: a mask is, and so may Adam's second moment.
pub(crate) fn read(file: &SafeTensors<'_>, name: &str, param: &Param, path: &Path) -> Result<Data> {
    let expected = param.tensor_type();
    let view = file
        .tensor(name)
        .map_err(|_| Error::Invalid(format!("{} has no tensor `{name}` ({expected})", path.display())))?;
    if view.shape() != expected.shape.dims() || view.dtype() != dtype(expected.dtype) {
        return Err(Error::Invalid(format!(
            "{}: tensor `{name}` is {:?}{:?}, the model needs {expected}",
            path.display(),
            view.dtype(),
            view.shape()
        )));
    }
    let data = data(expected.dtype, view.data());
    if let Data::F32(values) = &data
        && let Some(at) = values.iter().position(|x| x.is_nan() || (param.is_trainable() && x.is_infinite()))
    {
        return Err(Error::NotFinite { path: path.into(), name: name.into(), value: values[at], at });
    }
    Ok(data)
}

pub(crate) fn load(device: &Device, params: &[Param], path: &Path) -> Result<()> {
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let file = SafeTensors::deserialize(&content).map_err(|e| Error::Format {
        path: path.into(),
        offset: 0,
        message: format!("not a safetensors file: {e}"),
    })?;
    let value = |p: &Param| Ok((p.clone(), read(&file, p.name(), p, path)?));
    let values: Vec<(Param, Data)> = params.iter().map(value).collect::<Result<_>>()?;
    // Only now, when everything fits, is anything changed.
    values.iter().try_for_each(|(param, data)| device.write_param(param, data))
}
