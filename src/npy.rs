//! Arrays in NumPy's files: `numpy.save` and `numpy.load` on the other side.
//!
//! The format is a magic number, a version, the length of a header, a header that is the text of a Python dictionary with three
//! entries, and the numbers. Imports nothing of the crate but its error.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use ndarray::{Array, ArrayView, Dimension, IxDyn, ShapeBuilder};

use crate::error::{Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Where the numbers begin is a multiple of this.
const ALIGNMENT: usize = 64;

/// Reads an array of float64 or float32, in C or Fortran order.
///
/// # Errors
/// [`Error::Npy`] when the file cannot be read, holds other numbers, or has another number of dimensions.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("wavelengths_nm.npy");
/// use rasterfuse::{ndarray, npy};
/// npy::write(&path, ndarray::aview1(&[450.0, 550.0, 650.0]))?;
/// assert_eq!(npy::read::<ndarray::Ix1>(&path)?, ndarray::arr1(&[450.0, 550.0, 650.0]));
/// # Ok::<(), rasterfuse::Error>(())
/// ```
pub fn read<D: Dimension>(path: impl AsRef<Path>) -> Result<Array<f64, D>> {
    let read = |path: &Path| {
        let mut file = NpyFile::open(path)?;
        let values = file.read()?;
        let found = file.shape.len();
        let shape = IxDyn(&file.shape).set_f(file.fortran);
        let array = Array::from_shape_vec(shape, values).map_err(|error| error.to_string())?;
        let needed = D::NDIM.unwrap_or_default();
        array.into_dimensionality().map_err(|_| format!("an array of {found} dimensions; {needed} are needed"))
    };
    read(path.as_ref()).map_err(|problem| Error::Npy { path: path.as_ref().to_path_buf(), problem })
}

/// Writes float64 of the array's own shape in C order, which every reader of `.npy` files knows.
///
/// # Errors
/// [`Error::Npy`] when the file cannot be written.
pub fn write<D: Dimension>(path: impl AsRef<Path>, array: ArrayView<'_, f64, D>) -> Result<()> {
    let write = |path: &Path| -> std::io::Result<()> {
        let mut dims = array.shape().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if array.ndim() == 1 {
            dims.push(','); // or Python takes it for a number
        }
        let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({dims}), }}");
        let before = MAGIC.len() + 2 + size_of::<u16>();
        header += &" ".repeat((before + header.len() + 1).next_multiple_of(ALIGNMENT) - before - header.len() - 1);
        header.push('\n');
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(MAGIC)?;
        file.write_all(&[1, 0])?;
        file.write_all(&(header.len() as u16).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        array.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))?;
        file.flush()
    };
    write(path.as_ref()).map_err(|error| {
        let problem = format!("cannot write: {error}");
        Error::Npy { path: path.as_ref().to_path_buf(), problem }
    })
}

/// How a file stores its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
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
        let Header { shape, number, fortran } = Header::read(&mut file)?;
        let first = file.stream_position().map_err(|error| error.to_string())?;
        Ok(Self { shape, number, fortran, first, file })
    }

    /// All numbers, in the order of the file.
    pub(crate) fn read(&mut self) -> Result<Vec<f64>, String> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).map_err(|error| format!("cannot read: {error}"))?;
        if self.shape.iter().product::<usize>() * self.number.bytes() != bytes.len() {
            return Err("it ends too early or too late; write or copy it again".into());
        }
        Ok(self.number.decode(&bytes).collect())
    }
}

/// What the header of a file says of its numbers.
#[derive(Debug, PartialEq)]
struct Header {
    shape: Vec<usize>,
    number: Number,
    fortran: bool,
}

impl Header {
    /// Leaves `file` where the numbers begin.
    fn read(file: &mut impl Read) -> Result<Self, String> {
        let text = Self::text(file).map_err(|error| format!("not a file of numpy.save: {error}"))?;
        let entry =
            |key: &str| entry(&text, key).ok_or_else(|| format!("not a file of numpy.save: no {key} in {text}"));
        let descr = entry("descr")?;
        let number = match quoted(descr) {
            Some("<f4") => Number::F32,
            Some("<f8") => Number::F64,
            other => {
                let problem = "float64 or float32 is needed, little-endian: save array.astype('float64')";
                return Err(format!("numbers of type {}; {problem}", other.unwrap_or("of several parts")));
            }
        };
        let fortran = entry("fortran_order")?.starts_with("True");
        let malformed = || format!("not a file of numpy.save: no shape in {text}");
        let shape = dims(entry("shape")?).ok_or_else(malformed)?;
        // What counts numbers and bytes later must not overflow.
        let bytes = shape.iter().try_fold(number.bytes(), |n, &dim| n.checked_mul(dim.max(1)));
        if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
            return Err(format!("an array of shape {shape:?} fits into no memory"));
        }
        Ok(Self { shape, number, fortran })
    }

    /// The text of the dictionary.
    fn text(file: &mut impl Read) -> std::io::Result<String> {
        let mut start = [0; MAGIC.len() + 2];
        file.read_exact(&mut start)?;
        if !start.starts_with(MAGIC) {
            return Err(std::io::Error::other("it does not begin as one"));
        }
        let length = match start[MAGIC.len()] {
            1 => {
                let mut length = [0; 2];
                file.read_exact(&mut length)?;
                u64::from(u16::from_le_bytes(length))
            }
            2 | 3 => {
                let mut length = [0; 4];
                file.read_exact(&mut length)?;
                u64::from(u32::from_le_bytes(length))
            }
            version => return Err(std::io::Error::other(format!("version {version} of the format"))),
        };
        let mut text = String::new();
        file.take(length).read_to_string(&mut text)?;
        if text.len() as u64 == length { Ok(text) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// What stands behind a key of a dictionary.
fn entry<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let found = ['\'', '"'].iter().find_map(|quote| text.split_once(&format!("{quote}{key}{quote}")))?;
    Some(found.1.trim_start().strip_prefix(':')?.trim_start())
}

/// The string that a text begins with.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|first| ['\'', '"'].contains(first))?;
    Some(text[1..].split_once(quote)?.0)
}

/// The tuple of whole numbers that a text begins with.
fn dims(text: &str) -> Option<Vec<usize>> {
    let numbers = text.strip_prefix('(')?.split_once(')')?.0;
    // Python 2 wrote `3L`.
    let number = |word: &str| word.trim().trim_end_matches('L').parse().ok();
    numbers.split(',').filter(|word| !word.trim().is_empty()).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<Header, String> {
        let bytes = [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
        Header::read(&mut &bytes[..])
    }

    #[test]
    fn headers_are_read_as_python_writes_them() {
        let read = |text: &str| header(text).map(|header| (header.shape, header.number.bytes(), header.fortran));
        let numpy = "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }      \n";
        assert_eq!(read(numpy), Ok((vec![3, 4], 8, false)));
        let other = "{\"shape\":(7,),\"descr\":\"<f4\",\"fortran_order\":True}";
        assert_eq!(read(other), Ok((vec![7], 4, true)));
        assert_eq!(read("{'descr': '<f8', 'fortran_order': False, 'shape': (3L,)}"), Ok((vec![3], 8, false)));
        assert_eq!(read("{'descr': '<f8', 'fortran_order': False, 'shape': ()}"), Ok((vec![], 8, false)));
        let long = [b"\x93NUMPY\x02\x00", &(numpy.len() as u32).to_le_bytes()[..], numpy.as_bytes()].concat();
        assert_eq!(Header::read(&mut &long[..]).map(|header| header.shape), Ok(vec![3, 4]));
    }

    #[test]
    fn headers_of_something_else_are_refused() {
        let refused = |text: &str, words: &str| {
            let problem = header(text).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        };
        refused("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,)}", "of several parts");
        refused("{'descr': '>f8', 'fortran_order': False, 'shape': (3,)}", "type >f8; float64 or float32");
        refused("{'descr': '<f8', 'fortran_order': False}", "no shape");
        refused("{'descr': '<f8', 'fortran_order': False, 'shape': (-3,)}", "no shape");
        refused("{'fortran_order': False, 'shape': (3,)}", "no descr");
        refused("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 0, 4294967296)}", "no memory");
        let cut = Header::read(&mut &b"\x93NUMPY\x01\x00\xff\x00{"[..]).unwrap_err();
        assert!(cut.contains("not a file of numpy.save"), "{cut}");
    }
}
