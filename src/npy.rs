//! Reader of NumPy `.npy` files, in one piece or in parts.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use npyz::{NpyHeader, Order};

/// Element type of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    F32,
    F64,
}

impl Number {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F64 => size_of::<f64>(),
        }
    }

    /// The numbers in `bytes`, little-endian.
    pub(crate) fn decode(self, bytes: &[u8]) -> impl Iterator<Item = f64> + '_ {
        bytes.chunks_exact(self.bytes()).map(move |bytes| match self {
            Self::F32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap_or_default())),
            Self::F64 => f64::from_le_bytes(bytes.try_into().unwrap_or_default()),
        })
    }
}

/// An open file whose header has been read.
#[derive(Debug)]
pub(crate) struct NpyFile {
    pub(crate) shape: Vec<usize>,
    pub(crate) number: Number,
    /// Whether the first index runs fastest.
    pub(crate) fortran: bool,
    /// Where the numbers begin.
    pub(crate) first: u64,
    pub(crate) file: BufReader<File>,
}

impl NpyFile {
    /// Opens a file and reads its header. The error says what is wrong and what to do when the file is not an array
    /// of float32 or float64.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("cannot read: {error}"))?;
        let mut file = BufReader::new(file);
        let header = NpyHeader::from_reader(&mut file).map_err(|error| format!("not a file of numpy.save: {error}"))?;
        let first = file.stream_position().map_err(|error| error.to_string())?;
        let found = header.dtype().descr();
        let number = match found.trim_matches('\'') {
            "<f4" => Number::F32,
            "<f8" => Number::F64,
            other => {
                let problem = "float64 or float32 is needed, little-endian: save array.astype('float64')";
                return Err(format!("numbers of type {other}; {problem}"));
            }
        };
        let shape = header.shape().iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>();
        let shape = shape.map_err(|error| error.to_string())?;
        Ok(Self { shape, number, fortran: header.order() == Order::Fortran, first, file })
    }

    /// All numbers, in the order of the file.
    pub(crate) fn read(&mut self) -> Result<Vec<f64>, String> {
        let count = self.shape.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim));
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).map_err(|error| format!("cannot read: {error}"))?;
        if count.and_then(|count| count.checked_mul(self.number.bytes())) != Some(bytes.len()) {
            return Err("it is too short or too long; write or copy it again".into());
        }
        Ok(self.number.decode(&bytes).collect())
    }
}
