//! Bases in NumPy's files.

use std::path::Path;

use ndarray::{Array, Array1, Dimension};
use ndarray_npy::{ReadNpyError, ReadNpyExt, ReadableElement, WriteNpyExt};

use super::SpectralBasis;
use crate::error::{Error, Result};

/// Reads an array of float64 or float32, in C or Fortran order; `shape` says what is needed.
pub(super) fn read<D: Dimension>(path: &Path, key: &str, shape: &str) -> Result<Array<f64, D>> {
    let failed = |problem: String| Error::setting(key, format!("{}: {problem}", path.display()));
    let array = match read_as::<f64, D>(path) {
        Err(ReadNpyError::WrongDescriptor(_)) => read_as::<f32, D>(path).map(|array| array.mapv(f64::from)),
        other => other,
    };
    array.map_err(|error| {
        failed(match error {
            ReadNpyError::Io(error) => format!("cannot read: {error}"),
            ReadNpyError::WrongDescriptor(found) => {
                format!("numbers of type {found}; float64 or float32 is needed: save array.astype('float64')")
            }
            ReadNpyError::WrongNdim(_, found) => {
                format!("an array of {found} dimensions; {shape} is needed")
            }
            ReadNpyError::ParseHeader(error) => format!("not a file of numpy.save: {error}"),
            ReadNpyError::MissingData => "it ends too early; write or copy it again".into(),
            error => format!("{error}; write it again with numpy.save"),
        })
    })
}

fn read_as<T: ReadableElement, D: Dimension>(path: &Path) -> Result<Array<T, D>, ReadNpyError> {
    Array::read_npy(std::io::BufReader::new(std::fs::File::open(path)?))
}

/// Writes the three arrays of a basis into a folder.
pub(super) fn write(basis: &SpectralBasis, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Error::setting("basis", format!("cannot make folder {}: {error}", folder.display())))?;
    write_array(&folder.join(SpectralBasis::MEAN_FILE), &basis.mean)?;
    // A matrix that was transposed would be written in Fortran order, which not everything reads.
    write_array(&folder.join(SpectralBasis::MATRIX_FILE), &basis.matrix.as_standard_layout())?;
    write_array(&folder.join(SpectralBasis::WAVELENGTHS_FILE), &Array1::from(basis.wavelengths_nm.clone()))
}

fn write_array(path: &Path, array: &impl WriteNpyExt) -> Result<()> {
    let failed = |problem: String| Error::setting("basis", format!("cannot write {}: {problem}", path.display()));
    let file = std::fs::File::create(path).map_err(|error| failed(error.to_string()))?;
    array.write_npy(std::io::BufWriter::new(file)).map_err(|error| failed(error.to_string()))
}
