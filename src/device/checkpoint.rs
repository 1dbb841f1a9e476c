//! States to and from safetensors files, with PyTorch's names and layouts.

use std::collections::HashMap;
use std::io::Read;
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
    write(path, values.iter().map(|(param, tensor)| (param.name().to_string(), tensor)), None)
}

/// Writes tensors by name, and the metadata in the order of its keys: one content has one file.
pub(crate) fn write<'t>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, &'t Tensor)>,
    metadata: Option<HashMap<String, String>>,
) -> Result<()> {
    let fail = |e: &dyn std::error::Error| Error::io(path, std::io::Error::other(e.to_string()));
    let mut views = Vec::new();
    for (name, tensor) in tensors {
        let dims = tensor.shape().dims().to_vec();
        let view = TensorView::new(dtype(tensor.tensor_type().dtype), dims, bytes(tensor.data()));
        views.push((name, view.map_err(|e| fail(&e))?));
    }
    let is_mixed = metadata.is_some();
    let content = safetensors::serialize(views, metadata).map_err(|e| fail(&e))?;
    let content = if is_mixed { in_order(&content).map_err(|e| fail(&e))? } else { content };
    write_renamed(path, &content)?;
    tracing::debug!(path = %path.display(), bytes = content.len(), "saved");
    Ok(())
}

/// The same file with its header in the order of the keys: safetensors takes the metadata in an order that is another in
/// each process.
fn in_order(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut data = content;
    let header: serde_json::Value = serde_json::from_slice(&header(&mut data)?)?;
    let mut header = serde_json::to_vec(&header)?;
    // Tensors begin at multiples of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header, data].concat())
}

/// The header of a safetensors file, JSON after its length: <https://github.com/huggingface/safetensors#format>.
fn header(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut header = Vec::new();
    from.take(length).read_to_end(&mut header)?;
    match header.len() as u64 == length {
        true => Ok(header),
        false => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The metadata of a file, whose tensors are not read.
///
/// # Errors
/// [`Error::Io`], and [`Error::Format`] where the file does not begin as a safetensors file.
pub(crate) fn metadata(path: &Path) -> Result<HashMap<String, String>> {
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(default, rename = "__metadata__")]
        metadata: HashMap<String, String>,
    }
    let format = |e: &dyn std::fmt::Display| Error::Format {
        path: path.into(),
        offset: 0,
        message: format!("not a safetensors file: {e}"),
    };
    let mut file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let header = header(&mut file).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => format(&"its header does not end"),
        _ => Error::io(path, e),
    })?;
    let header: Header = serde_json::from_slice(&header).map_err(|e| format(&e))?;
    Ok(header.metadata)
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
