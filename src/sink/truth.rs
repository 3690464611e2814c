use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::{Array3, Array4, s};

use crate::error::{Error, Result};
use crate::geometry::{Date, PixelRegion};

/// What a simulated scene really was, day by day: components of the spectral basis, or bands.
#[derive(Debug)]
pub struct Truth {
    start: Date,
    /// (day, layer, y, x).
    shape: [usize; 4],
    values: Values,
}

#[derive(Debug)]
enum Values {
    Array(Array4<f64>),
    File { path: PathBuf, file: Mutex<File>, first: u64, number: Number },
}

/// How a file stores a number, little-endian.
#[derive(Clone, Copy, Debug)]
enum Number {
    F32,
    F64,
}

impl Number {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

impl Truth {
    /// `values` of **shape** (day, component or band, y, x), NaN where it is not known, of the days from `start` on.
    #[must_use]
    pub fn of_array(start: Date, values: Array4<f64>) -> Self {
        let (days, layers, rows, cols) = values.dim();
        Self { start, shape: [days, layers, rows, cols], values: Values::Array(values) }
    }

    /// The same from a NumPy file of float32 or float64, which is read piece by piece.
    ///
    /// # Errors
    /// [`Error::Truth`] when it is no such file.
    pub fn read(start: Date, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::open(&path).map_err(|error| refuse(&path, format!("cannot open: {error}")))?;
        let mut reader = BufReader::new(file);
        let header = npyz::NpyHeader::from_reader(&mut reader)
            .map_err(|error| refuse(&path, format!("no .npy file: {error}")))?;
        let first = reader.stream_position().map_err(|error| refuse(&path, error.to_string()))?;
        let dtype = header.dtype().descr();
        let number = match dtype.trim_matches('\'') {
            "<f4" => Number::F32,
            "<f8" => Number::F64,
            other => return Err(refuse(&path, format!("holds {other}; save float32 or float64, little-endian"))),
        };
        let dims: Vec<usize> = header.shape().iter().map(|&n| n as usize).collect();
        let Ok(shape) = <[usize; 4]>::try_from(dims.as_slice()) else {
            return Err(refuse(&path, format!("shape {dims:?}; (day, component or band, y, x) is needed")));
        };
        if header.order() != npyz::Order::C {
            return Err(refuse(&path, "is in Fortran order; save it in C order (numpy.ascontiguousarray)".into()));
        }
        let values = Values::File { path, file: Mutex::new(reader.into_inner()), first, number };
        Ok(Self { start, shape, values })
    }

    /// (day, layer, y, x).
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Where it comes from.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        match &self.values {
            Values::Array(_) => "(memory)".into(),
            Values::File { path, .. } => path.clone(),
        }
    }

    /// What was true of a region on a date, **shape** (layer, y, x); `None` on days that it does not cover.
    ///
    /// # Errors
    /// [`Error::Truth`] when it cannot be read.
    pub fn on(&self, date: Date, region: &PixelRegion) -> Result<Option<Array3<f64>>> {
        let [days, layers, rows, cols] = self.shape;
        let Some(day) = usize::try_from(date.days_since(self.start)).ok().filter(|&day| day < days) else {
            return Ok(None);
        };
        match &self.values {
            Values::Array(values) => {
                Ok(Some(values.slice(s![day, .., region.rows.clone(), region.cols.clone()]).to_owned()))
            }
            Values::File { path, file, first, number } => {
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
                        number.decode(&bytes, truth.slice_mut(s![layer, k, ..]).iter_mut());
                    }
                }
                Ok(Some(truth))
            }
        }
    }
}

impl Number {
    fn decode<'a>(self, bytes: &[u8], target: impl Iterator<Item = &'a mut f64>) {
        for (bytes, value) in bytes.chunks_exact(self.bytes()).zip(target) {
            *value = match self {
                Self::F32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap_or_default())),
                Self::F64 => f64::from_le_bytes(bytes.try_into().unwrap_or_default()),
            };
        }
    }
}

fn refuse(path: &Path, problem: String) -> Error {
    Error::Truth { path: path.to_path_buf(), problem }
}
