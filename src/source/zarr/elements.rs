//! Element types of Zarr arrays, and decoded chunks in their own type.

use zarrs::array::data_type::{
    Float32DataType, Float64DataType, Int8DataType, Int16DataType, Int32DataType, Int64DataType, UInt8DataType,
    UInt16DataType, UInt32DataType, UInt64DataType,
};
use zarrs::array::{Array, ArrayError, ArraySubset, CodecOptions};

use super::folder::Folder;

/// Defines [`ElementType`] and [`Elements`], one variant for each type of numbers.
macro_rules! kinds {
    ($($kind:ident($element:ty, $data_type:ty),)*) => {
        /// Element type of an array.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum ElementType {
            $($kind,)*
        }

        /// Decoded numbers, as stored.
        #[derive(Debug)]
        pub(super) enum Elements {
            $($kind(Vec<$element>),)*
        }

        impl ElementType {
            /// The element type of an array; `None` when it does not hold plain numbers.
            pub(super) fn from_array(array: &Array<Folder>) -> Option<Self> {
                $(if array.data_type().is::<$data_type>() {
                    return Some(Self::$kind);
                })*
                None
            }

            /// Bytes per number.
            pub(super) fn bytes(self) -> u64 {
                match self {
                    $(Self::$kind => size_of::<$element>() as u64,)*
                }
            }

            /// Decodes a part of an array, without threads of its own.
            pub(super) fn decode(self, array: &Array<Folder>, part: &ArraySubset) -> Result<Elements, ArrayError> {
                let options = CodecOptions::default().with_concurrent_target(1);
                Ok(match self {
                    $(Self::$kind => Elements::$kind(array.retrieve_array_subset_opt(part, &options)?),)*
                })
            }
        }

        impl Elements {
            /// Copies every `stride`-th number, starting at `first`.
            #[allow(clippy::cast_lossless)] // one cast for every type
            pub(super) fn copy(&self, first: usize, stride: usize, out: &mut [f64]) {
                match self {
                    $(Self::$kind(values) => {
                        out.iter_mut().zip(values[first..].iter().step_by(stride)).for_each(|(out, value)| *out = *value as f64);
                    })*
                }
            }

            /// Number of elements.
            pub(super) fn len(&self) -> usize {
                match self {
                    $(Self::$kind(values) => values.len(),)*
                }
            }
        }
    };
}

kinds! {
    I8(i8, Int8DataType),
    U8(u8, UInt8DataType),
    I16(i16, Int16DataType),
    U16(u16, UInt16DataType),
    I32(i32, Int32DataType),
    U32(u32, UInt32DataType),
    I64(i64, Int64DataType),
    U64(u64, UInt64DataType),
    F32(f32, Float32DataType),
    F64(f64, Float64DataType),
}
