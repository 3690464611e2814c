//! Spectral bases in NumPy files.

use std::io::BufWriter;
use std::path::Path;

use ndarray::{Array, ArrayView, Dimension, ShapeBuilder};
use npyz::WriterBuilder;

use super::SpectralBasis;
use crate::error::{Error, Result};
use crate::npy::NpyFile;

/// Reads an array of float64 or float32, in C or Fortran order. `needed` describes the required shape.
pub(super) fn read<D: Dimension>(path: &Path, key: &str, needed: &str) -> Result<Array<f64, D>> {
    let read = || {
        let mut file = NpyFile::open(path)?;
        let values = file.read()?;
        let found = file.shape.len();
        let shape = ndarray::IxDyn(&file.shape).set_f(file.fortran);
        let array = Array::from_shape_vec(shape, values).map_err(|error| error.to_string())?;
        array.into_dimensionality().map_err(|_| format!("an array of {found} dimensions; {needed} is needed"))
    };
    read().map_err(|problem| Error::setting(key, format!("{}: {problem}", path.display())))
}

/// Writes the three arrays of a basis into a folder.
pub(super) fn write(basis: &SpectralBasis, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Error::setting("basis", format!("cannot make folder {}: {error}", folder.display())))?;
    write_array(&folder.join(SpectralBasis::MEAN_FILE), basis.mean.view())?;
    write_array(&folder.join(SpectralBasis::MATRIX_FILE), basis.matrix.view())?;
    write_array(&folder.join(SpectralBasis::WAVELENGTHS_FILE), ndarray::aview1(&basis.wavelengths_nm))
}

/// In C order, which every reader accepts.
fn write_array<D: Dimension>(path: &Path, array: ArrayView<'_, f64, D>) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let shape: Vec<u64> = array.shape().iter().map(|&n| n as u64).collect();
        let file = BufWriter::new(std::fs::File::create(path)?);
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
        writer.extend(array.iter())?;
        writer.finish()
    };
    write().map_err(|error| Error::setting("basis", format!("cannot write {}: {error}", path.display())))
}
