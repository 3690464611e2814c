//! Variables of a cube: an array with its axes, element type and packing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Map, Value};
use zarrs::array::data_type::{FixedLengthUTF32DataType, StringDataType};
use zarrs::array::{Array, ArrayError, ArrayMetadata, ArrayShardedExt, ArraySubset};

use super::axes::{CubeAxes, DimensionNames};
use super::bounded::bound_codecs;
use super::elements::{ElementType, Elements};
use super::folder::Folder;
use crate::source::cf::{Packing, is_odd_range};

/// Most numbers in a chunk that is larger than its array.
const MOST_SPARE: u64 = 1 << 28;

/// An array of a cube.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    array: Array<Folder>,
    element_type: ElementType,
    pub(super) dimensions: Vec<String>,
    pub(super) axes: CubeAxes,
    pub(super) packing: Packing,
    /// Size of a block that is decoded at once, along each dimension: a chunk, or an inner chunk of a shard.
    pub(super) chunk: Vec<u64>,
}

/// Opens an array of the folder.
pub(super) fn open(folder: &Arc<Folder>, name: &str) -> Result<Array<Folder>, String> {
    bound_codecs();
    let path = format!("/{name}");
    let array = match texts_without_fill_value(folder, name) {
        Some(metadata) => Array::new_with_metadata(Arc::clone(folder), &path, metadata),
        None => Array::open(Arc::clone(folder), &path),
    }
    .map_err(|error| error.to_string())?;
    refuse_excess(&array)?;
    Ok(array)
}

/// Refuses chunks that are far larger than the array: whoever decodes one needs memory for all of it.
fn refuse_excess(array: &Array<Folder>) -> Result<(), String> {
    let first = vec![0; array.dimensionality()];
    let chunk = array.chunk_shape(&first).map_err(|error| error.to_string())?;
    let all = |lengths: &mut dyn Iterator<Item = u64>| lengths.fold(1, u64::saturating_mul);
    let (chunk, held) = (all(&mut chunk.iter().map(|length| length.get())), all(&mut array.shape().iter().copied()));
    if chunk > held && chunk > MOST_SPARE {
        return Err(format!(
            "its chunks hold {chunk} numbers, and all of it {held}; its metadata are damaged, or write it again with smaller chunks"
        ));
    }
    Ok(())
}

/// The metadata of a v2 text array whose fill value is null, which zarr-python writes and zarrs does not read, with a
/// fill value that zarrs reads.
fn texts_without_fill_value(folder: &Folder, name: &str) -> Option<ArrayMetadata> {
    let read = |file: &str| folder.document(&format!("{name}/{file}")).ok().flatten();
    let mut document = read(".zarray")?;
    let texts = document.get("dtype")?.as_str()?.contains('U');
    if !texts || document.get("fill_value") != Some(&Value::Null) {
        return None;
    }
    document["fill_value"] = "".into();
    if let Some(attributes) = read(".zattrs") {
        document["attributes"] = attributes;
    }
    serde_json::from_value(document).ok()
}

/// Names of the dimensions of an array; `None` when the array does not give them.
pub(super) fn dimensions(array: &Array<Folder>) -> Option<Vec<String>> {
    if let Some(names) = array.dimension_names() {
        return names.iter().cloned().collect();
    }
    let names = array.attributes().get("_ARRAY_DIMENSIONS")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

/// All numbers of a coordinate, unpacked.
pub(super) fn numbers(array: &Array<Folder>) -> Result<Vec<f64>, String> {
    let Some(element_type) = ElementType::from_array(array) else {
        return Err(format!("holds {}, which are not plain numbers", array.data_type()));
    };
    let packing = Packing::new(array.attributes())?;
    let elements = element_type.decode(array, &array.subset_all()).map_err(|error| error.to_string())?;
    let mut values = vec![0.0; elements.len()];
    elements.copy(0, 1, &mut values);
    let (scale, offset) = (packing.scale.unwrap_or(1.0), packing.offset.unwrap_or(0.0));
    values.iter_mut().for_each(|value| *value = scale * *value + offset);
    Ok(values)
}

/// The labels of a coordinate: texts, or numbers in their written form.
pub(super) fn labels(array: &Array<Folder>) -> Result<Vec<String>, String> {
    let failed = |error: ArrayError| error.to_string();
    if array.data_type().is::<StringDataType>() {
        // zarrs 0.23 panics at a text whose length is beyond the end of its chunk.
        let read = || array.retrieve_array_subset(&array.subset_all()).map_err(failed);
        return catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("its texts are damaged".into()));
    }
    if array.data_type().is::<FixedLengthUTF32DataType>() {
        let texts: Vec<Vec<char>> = array.retrieve_array_subset(&array.subset_all()).map_err(failed)?;
        return Ok(texts.into_iter().map(String::from_iter).collect());
    }
    Ok(numbers(array)?.iter().map(ToString::to_string).collect())
}

impl Variable {
    /// Bits of a stored number; `None` of floats.
    pub(super) fn integer_bits(&self) -> Option<u32> {
        (!self.is_float()).then_some(self.element_type.bytes() as u32 * 8)
    }

    /// Largest stored number that can be a value: float64 holds integers up to 2⁵³ to the last digit, and nothing on
    /// Earth is measured in numbers beyond 1e30. `None` where all numbers of the type are smaller.
    pub(super) fn largest(&self) -> Option<f64> {
        match self.element_type {
            ElementType::F32 | ElementType::F64 => Some(1e30),
            ElementType::I64 | ElementType::U64 => Some(9_007_199_254_740_991.0),
            _ => None,
        }
    }

    pub(super) fn is_float(&self) -> bool {
        matches!(self.element_type, ElementType::F32 | ElementType::F64)
    }

    /// The problem of a `scale_factor` that can be none.
    pub(super) fn unusable_scale(&self) -> Option<String> {
        let scale = self.packing.scale.filter(|scale| *scale == 0.0 || !scale.is_finite())?;
        Some(format!("its scale_factor is {scale}, which no value has; give `scale`"))
    }

    /// The attribute `valid_range`, where it looks like that of other numbers than those that are stored.
    pub(super) fn odd_range(&self) -> Option<(f64, f64)> {
        let scaled = self.packing.scale.is_some_and(|scale| scale != 1.0)
            || self.packing.offset.is_some_and(|offset| offset != 0.0);
        self.packing.range().filter(|range| is_odd_range(*range, self.is_float(), scaled))
    }

    /// Adds a stored number that means "missing" to those that the variable declares.
    pub(super) fn add_missing(&mut self, nodata: f64) {
        self.packing.add_missing(if self.element_type == ElementType::F32 { f64::from(nodata as f32) } else { nodata });
    }

    pub(super) fn new(
        name: &str,
        array: Array<Folder>,
        given: &DimensionNames,
        coordinate: impl Fn(&str) -> Option<Map<String, Value>>,
    ) -> Result<Self, String> {
        let Some(element_type) = ElementType::from_array(&array) else {
            return Err(format!("holds {}; integers, float32 and float64 are read", array.data_type()));
        };
        let dimensions = dimensions(&array).ok_or(
            "its dimensions have no names; they belong into dimension_names (Zarr v3) or the attribute _ARRAY_DIMENSIONS (v2)",
        )?;
        let axes = CubeAxes::new(&dimensions, array.shape(), given, coordinate)?;
        let mut packing = Packing::new(array.attributes())?;
        if let Some(fill) = fill_value_v2(&array) {
            packing.add_missing(fill);
        }
        if element_type == ElementType::F32 {
            packing = packing.rounded_to_f32();
        }
        let first = vec![0; array.dimensionality()];
        let chunk = match array.effective_subchunk_shape() {
            Some(part) => part,
            None => array.chunk_shape(&first).map_err(|error| error.to_string())?,
        };
        let chunk = chunk.iter().zip(array.shape()).map(|(chunk, &length)| chunk.get().min(length.max(1))).collect();
        Ok(Self { name: name.to_owned(), array, element_type, dimensions, axes, packing, chunk })
    }

    pub(super) fn attributes(&self) -> &Map<String, Value> {
        self.array.attributes()
    }

    pub(super) fn length(&self, axis: usize) -> usize {
        self.array.shape()[axis] as usize
    }

    /// Bytes of a decoded chunk.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.chunk.iter().copied().fold(self.element_type.bytes(), u64::saturating_mul)
    }

    /// Number of chunks that hold one pixel of one date in all bands.
    pub(super) fn chunks_per_pixel(&self) -> u64 {
        self.axes.band.map_or(1, |axis| self.array.shape()[axis].div_ceil(self.chunk[axis]))
    }

    /// Number of chunks.
    pub(super) fn chunks(&self) -> u64 {
        let along = self.array.shape().iter().zip(&self.chunk).map(|(length, chunk)| length.div_ceil(*chunk));
        along.fold(1, u64::saturating_mul)
    }

    /// The part of the array that a chunk holds.
    pub(super) fn part(&self, chunk: &[u64]) -> ArraySubset {
        let along = chunk.iter().zip(&self.chunk).zip(self.array.shape());
        let ranges: Vec<_> =
            along.map(|((index, size), &length)| index * size..((index + 1) * size).min(length)).collect();
        ArraySubset::new_with_ranges(&ranges)
    }

    pub(super) fn decode(&self, part: &ArraySubset) -> Result<Elements, ArrayError> {
        self.element_type.decode(&self.array, part)
    }
}

/// In Zarr v2 the fill value marks missing values, like CF's `_FillValue`. In v3 it only marks chunks that were never
/// written, and chunks of zeros are not written either.
fn fill_value_v2(array: &Array<Folder>) -> Option<f64> {
    match array.metadata() {
        ArrayMetadata::V2(metadata) => serde_json::to_value(&metadata.fill_value).ok()?.as_f64(),
        ArrayMetadata::V3(_) => None,
    }
}
