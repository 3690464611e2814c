//! Reference data of simulated scenes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::{Array3, Array4, s};

use crate::error::{Error, Result};
use crate::geometry::{Date, PixelRegion};
use crate::npy::{NpyFile, Number};

/// The truth of a simulated scene, day by day: components of the spectral basis, or bands.
#[derive(Debug)]
pub struct Truth {
    start: Date,
    /// (day, layer, y, x).
    shape: [usize; 4],
    values: TruthValues,
}

#[derive(Debug)]
enum TruthValues {
    Array(Array4<f64>),
    File { path: PathBuf, file: Mutex<File>, first: u64, number: Number },
}

impl Truth {
    /// `values` of **shape** (day, component or band, y, x), NaN where unknown; the first day is `start`.
    #[must_use]
    pub fn from_array(start: Date, values: Array4<f64>) -> Self {
        let (days, layers, rows, cols) = values.dim();
        Self { start, shape: [days, layers, rows, cols], values: TruthValues::Array(values) }
    }

    /// The truth from a NumPy file of float32 or float64, which is read in parts.
    ///
    /// # Errors
    /// [`Error::Truth`] when the file is not such an array.
    pub fn read(start: Date, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let NpyFile { shape: dims, number, fortran, first, file } =
            NpyFile::open(&path).map_err(|problem| refuse(&path, problem))?;
        let Ok(shape) = <[usize; 4]>::try_from(dims.as_slice()) else {
            return Err(refuse(&path, format!("shape {dims:?}; (day, component or band, y, x) is needed")));
        };
        if fortran {
            return Err(refuse(&path, "is in Fortran order; save it in C order (numpy.ascontiguousarray)".into()));
        }
        let values = TruthValues::File { path, file: Mutex::new(file.into_inner()), first, number };
        Ok(Self { start, shape, values })
    }

    /// (day, layer, y, x).
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Its origin.
    #[must_use]
    pub fn location(&self) -> PathBuf {
        match &self.values {
            TruthValues::Array(_) => "(memory)".into(),
            TruthValues::File { path, .. } => path.clone(),
        }
    }

    /// The truth of a region on a date, **shape** (layer, y, x); `None` on days without truth.
    ///
    /// # Errors
    /// [`Error::Truth`] when it cannot be read.
    pub fn on(&self, date: Date, region: &PixelRegion) -> Result<Option<Array3<f64>>> {
        let [days, layers, rows, cols] = self.shape;
        let Some(day) = usize::try_from(date.days_since(self.start)).ok().filter(|&day| day < days) else {
            return Ok(None);
        };
        match &self.values {
            TruthValues::Array(values) => {
                Ok(Some(values.slice(s![day, .., region.rows.clone(), region.cols.clone()]).to_owned()))
            }
            TruthValues::File { path, file, first, number } => {
                let mut truth = Array3::zeros((layers, region.rows.len(), region.cols.len()));
                let mut bytes = vec![0; region.cols.len() * number.bytes()];
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                for layer in 0..layers {
                    for (k, row) in region.rows.clone().enumerate() {
                        let index = ((day * layers + layer) * rows + row) * cols + region.cols.start;
                        let read = file
                            .seek(SeekFrom::Start(first + (index * number.bytes()) as u64))
                            .and_then(|_| file.read_exact(&mut bytes));
                        read.map_err(|error| refuse(path, format!("on {date}: {error}; it may be truncated")))?;
                        truth
                            .slice_mut(s![layer, k, ..])
                            .iter_mut()
                            .zip(number.decode(&bytes))
                            .for_each(|(to, value)| *to = value);
                    }
                }
                Ok(Some(truth))
            }
        }
    }
}

fn refuse(path: &Path, problem: String) -> Error {
    Error::Truth { path: path.to_path_buf(), problem }
}
