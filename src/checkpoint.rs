//! States to and from safetensors files, with PyTorch's names and layouts.

use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::Param;
use crate::shape::DType;
use crate::tensor::{Data, Tensor};

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::U32 => Dtype::U32,
        DType::U8 => Dtype::U8,
    }
}

fn bytes(data: &Data) -> &[u8] {
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

/// Writes a file under a temporary name beside it and renames it, so that a reader never sees half of
/// it and a crash leaves the old one.
pub(crate) fn write_renamed(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let fail = |e: std::io::Error| Error::io(path, e);
    std::fs::create_dir_all(folder).map_err(fail)?;
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default; this one is to be read by whom the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(fail)?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

pub(crate) fn load(device: &Device, params: &[Param], path: &Path) -> Result<()> {
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let file = SafeTensors::deserialize(&content).map_err(|e| Error::Format {
        path: path.into(),
        offset: 0,
        message: format!("not a safetensors file: {e}"),
    })?;
    let mut values = Vec::new();
    for param in params {
        let expected = param.tensor_type();
        let view = file.tensor(param.name()).map_err(|_| {
            Error::Invalid(format!("{} has no tensor `{}` ({expected})", path.display(), param.name()))
        })?;
        if view.shape() != expected.shape.dims() || view.dtype() != dtype(expected.dtype) {
            return Err(Error::Invalid(format!(
                "{}: tensor `{}` is {:?}{:?}, the model needs {expected}",
                path.display(),
                param.name(),
                view.dtype(),
                view.shape()
            )));
        }
        values.push((param, data(expected.dtype, view.data())));
    }
    // Only now, when everything fits, is anything changed.
    values.iter().try_for_each(|(param, data)| device.write_param(param, data))
}
