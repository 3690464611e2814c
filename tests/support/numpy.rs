//! NumPy's files, read and written without the library's own reader and writer, which are tested with them.
#![allow(dead_code)] // every test file is a crate of its own and uses a part

use std::fs;
use std::io::Read;
use std::path::Path;

use ndarray::{Array, ArrayBase, Data, Dimension, IxDyn, ShapeBuilder};
use zip::ZipArchive;

/// A number that files hold.
pub(crate) trait Number: Copy {
    const DESCR: &'static str;
    fn bytes(self) -> Vec<u8>;
}

macro_rules! numbers {
    ($($number:ty: $descr:literal),*) => {$(
        impl Number for $number {
            const DESCR: &'static str = $descr;
            fn bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
        }
    )*};
}

numbers!(f32: "<f4", f64: "<f8", i32: "<i4", i64: "<i8");

/// Writes an array in its own order, C or Fortran.
pub(crate) fn write<S: Data<Elem: Number>, D: Dimension>(path: impl AsRef<Path>, array: &ArrayBase<S, D>) {
    let fortran = !array.is_standard_layout();
    let shape = array.shape().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let order = if fortran { "True" } else { "False" };
    let header =
        format!("{{'descr': '{}', 'fortran_order': {order}, 'shape': ({shape},), }}\n", <S::Elem as Number>::DESCR);
    let mut bytes = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
    let (rows, columns) = (array.iter(), array.t());
    let numbers: Vec<S::Elem> = if fortran { columns.iter().copied().collect() } else { rows.copied().collect() };
    bytes.extend(numbers.into_iter().flat_map(Number::bytes));
    fs::write(path, bytes).unwrap();
}

/// The array of a file of float64 or int64, as float64.
pub(crate) fn read<D: Dimension>(path: impl AsRef<Path>) -> Array<f64, D> {
    decode(&fs::read(path).unwrap())
}

fn decode<D: Dimension>(bytes: &[u8]) -> Array<f64, D> {
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, numbers) = bytes[10..].split_at(length);
    let header = std::str::from_utf8(header).unwrap();
    let between = |start: &str, end: &str| header.split_once(start).unwrap().1.split_once(end).unwrap().0;
    let shape: Vec<usize> = between("'shape': (", ")").split(',').filter_map(|dim| dim.trim().parse().ok()).collect();
    let number = |bytes: &[u8]| match between("'descr': '", "'") {
        "<f8" => f64::from_le_bytes(bytes.try_into().unwrap()),
        "<i8" => i64::from_le_bytes(bytes.try_into().unwrap()) as f64,
        other => panic!("numbers of type {other}"),
    };
    let values = numbers.chunks_exact(8).map(number).collect();
    let shape = IxDyn(&shape).set_f(header.contains("'fortran_order': True"));
    Array::from_shape_vec(shape, values).unwrap().into_dimensionality().unwrap()
}

/// Arrays by name, as `numpy.savez` writes them.
pub(crate) struct Npz(ZipArchive<fs::File>);

impl Npz {
    pub(crate) fn open(path: impl AsRef<Path>) -> Self {
        Self(ZipArchive::new(fs::File::open(path).unwrap()).unwrap())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.index_for_name(&format!("{name}.npy")).is_some()
    }

    pub(crate) fn array<D: Dimension>(&mut self, name: &str) -> Array<f64, D> {
        let mut bytes = Vec::new();
        let mut file = self.0.by_name(&format!("{name}.npy")).unwrap_or_else(|error| panic!("{name}: {error}"));
        file.read_to_end(&mut bytes).unwrap();
        decode(&bytes)
    }

    pub(crate) fn list(&mut self, name: &str) -> Vec<f64> {
        self.array::<ndarray::Ix1>(name).to_vec()
    }

    pub(crate) fn scalar(&mut self, name: &str) -> f64 {
        self.array::<ndarray::Ix0>(name).into_scalar()
    }
}
