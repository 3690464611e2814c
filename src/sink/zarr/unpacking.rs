//! From the numbers of a store to values: float32 as it is, whole numbers by scale and offset.

use ndarray::{Array4, ArrayD, Ix4};
use serde_json::Value;
use zarrs::array::data_type::{Float32DataType, Int16DataType, UInt16DataType};
use zarrs::array::{Array, ArraySubset};

use super::packing::MISSING;
use super::store::ReadStore;

/// An array of four dimensions, (time, layer, y, x), whose numbers stand for values.
#[derive(Debug)]
pub(super) struct PackedArray {
    array: Array<ReadStore>,
    numbers: Stored,
}

#[derive(Clone, Copy, Debug)]
enum Stored {
    Float32,
    Int16 { scale: f64, offset: f64 },
    Uint16 { scale: f64, offset: f64 },
}

impl PackedArray {
    /// # Errors
    /// What is wrong with its type or attributes.
    pub(super) fn new(array: Array<ReadStore>) -> Result<Self, String> {
        let number = |key: &str| array.attributes().get(key).and_then(Value::as_f64);
        let missing = || number("_FillValue");
        let scale = || number("scale_factor").ok_or("whole numbers without a scale_factor").map_err(str::to_owned);
        let offset = number("add_offset").unwrap_or(0.0);
        let (numbers, expected) = match array.data_type() {
            float if float.is::<Float32DataType>() => (Stored::Float32, None),
            int if int.is::<Int16DataType>() => (Stored::Int16 { scale: scale()?, offset }, Some(f64::from(MISSING.0))),
            int if int.is::<UInt16DataType>() => {
                (Stored::Uint16 { scale: scale()?, offset }, Some(f64::from(MISSING.1)))
            }
            other => return Err(format!("its type {other:?} is none of float32, int16 and uint16")),
        };
        if missing() != expected {
            let (found, expected) = (missing(), expected);
            return Err(format!("its _FillValue is {found:?}, and not {expected:?}"));
        }
        Ok(Self { array, numbers })
    }

    pub(super) fn array(&self) -> &Array<ReadStore> {
        &self.array
    }

    /// Bytes of a stored number.
    pub(super) fn bytes(&self) -> usize {
        match self.numbers {
            Stored::Float32 => size_of::<f32>(),
            Stored::Int16 { .. } | Stored::Uint16 { .. } => size_of::<i16>(),
        }
    }

    /// The values of a part, NaN where they are missing.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn read(&self, part: &ArraySubset) -> Result<Array4<f64>, String> {
        match self.numbers {
            Stored::Float32 => self.stored(part, |value: f32| f64::from(value)),
            Stored::Int16 { scale, offset } => {
                self.stored(
                    part,
                    |number: i16| {
                        if number == MISSING.0 { f64::NAN } else { f64::from(number) * scale + offset }
                    },
                )
            }
            Stored::Uint16 { scale, offset } => {
                self.stored(
                    part,
                    |number: u16| {
                        if number == MISSING.1 { f64::NAN } else { f64::from(number) * scale + offset }
                    },
                )
            }
        }
    }

    fn stored<T: zarrs::array::ElementOwned + Copy>(
        &self,
        part: &ArraySubset,
        value: impl Fn(T) -> f64,
    ) -> Result<Array4<f64>, String> {
        let numbers: ArrayD<T> = self.array.retrieve_array_subset(part).map_err(|error| error.to_string())?;
        let numbers = numbers.into_dimensionality::<Ix4>().map_err(|error| error.to_string())?;
        Ok(numbers.mapv(value))
    }
}
