//! Spectral bases in NumPy files.

use std::path::Path;

use ndarray::{Array, ArrayView, Dimension};

use super::SpectralBasis;
use crate::error::{Error, Result};
use crate::npy;

/// Reads an array of float64 or float32, in C or Fortran order. `needed` describes the required shape.
pub(super) fn read<D: Dimension>(path: &Path, key: &str, needed: &str) -> Result<Array<f64, D>> {
    let array = npy::read::<ndarray::IxDyn>(path).map_err(|error| Error::setting(key, error.to_string()))?;
    let found = array.ndim();
    array.into_dimensionality().map_err(|_| {
        Error::setting(key, format!("{}: an array of {found} dimensions; {needed} is needed", path.display()))
    })
}

/// Writes the three arrays of a basis into a folder.
pub(super) fn write(basis: &SpectralBasis, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Error::setting("basis", format!("cannot make folder {}: {error}", folder.display())))?;
    write_array(&folder.join(SpectralBasis::MEAN_FILE), basis.mean.view())?;
    write_array(&folder.join(SpectralBasis::MATRIX_FILE), basis.matrix.view())?;
    write_array(&folder.join(SpectralBasis::WAVELENGTHS_FILE), ndarray::aview1(&basis.wavelengths_nm))
}

fn write_array<D: Dimension>(path: &Path, array: ArrayView<'_, f64, D>) -> Result<()> {
    npy::write(path, array).map_err(|error| Error::setting("basis", error.to_string()))
}
