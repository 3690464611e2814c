use std::sync::Arc;

use serde_json::{Map, Value};
use zarrs::array::data_type::{FixedLengthUTF32DataType, StringDataType};
use zarrs::array::{Array, ArrayError, ArrayMetadata, ArrayShardedExt, ArraySubset};

use super::axes::{Axes, DimensionNames};
use super::elements::{Elements, Kind};
use super::folder::Folder;
use crate::source::cf::Packing;

/// An array of a cube.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    array: Array<Folder>,
    kind: Kind,
    pub(super) dimensions: Vec<String>,
    pub(super) axes: Axes,
    pub(super) packing: Packing,
    /// Pixels that are decoded as a whole, along each dimension: a chunk, or a part of a shard.
    pub(super) chunk: Vec<u64>,
}

/// An array that the folder holds.
pub(super) fn open(folder: &Arc<Folder>, name: &str) -> Result<Array<Folder>, String> {
    let path = format!("/{name}");
    match texts_without_fill_value(folder, name) {
        Some(metadata) => Array::new_with_metadata(Arc::clone(folder), &path, metadata),
        None => Array::open(Arc::clone(folder), &path),
    }
    .map_err(|error| error.to_string())
}

/// The metadata of an array of v2 texts whose fill value is null, as zarr-python writes it and zarrs does not read it, with one
/// that it does.
fn texts_without_fill_value(folder: &Folder, name: &str) -> Option<ArrayMetadata> {
    let read = |file: &str| std::fs::read(folder.root().join(name).join(file)).ok();
    let mut document: Value = serde_json::from_slice(&read(".zarray")?).ok()?;
    let texts = document.get("dtype")?.as_str()?.contains('U');
    if !texts || document.get("fill_value") != Some(&Value::Null) {
        return None;
    }
    document["fill_value"] = "".into();
    if let Some(attributes) = read(".zattrs") {
        document["attributes"] = serde_json::from_slice(&attributes).ok()?;
    }
    serde_json::from_value(document).ok()
}

/// Names of an array's dimensions; `None` when it does not say them.
pub(super) fn dimensions(array: &Array<Folder>) -> Option<Vec<String>> {
    if let Some(names) = array.dimension_names() {
        return names.iter().cloned().collect();
    }
    let names = array.attributes().get("_ARRAY_DIMENSIONS")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

/// All numbers of a coordinate, unpacked.
pub(super) fn numbers(array: &Array<Folder>) -> Result<Vec<f64>, String> {
    let Some(kind) = Kind::of(array) else { return Err(format!("holds {}, no plain numbers", array.data_type())) };
    let packing = Packing::new(array.attributes())?;
    let elements = kind.decode(array, &array.subset_all()).map_err(|error| error.to_string())?;
    let mut values = vec![0.0; elements.len()];
    elements.copy(0, 1, &mut values);
    let (scale, offset) = (packing.scale.unwrap_or(1.0), packing.offset.unwrap_or(0.0));
    values.iter_mut().for_each(|value| *value = scale * *value + offset);
    Ok(values)
}

/// The labels of a coordinate: texts, or numbers as they are written.
pub(super) fn labels(array: &Array<Folder>) -> Result<Vec<String>, String> {
    let failed = |error: ArrayError| error.to_string();
    if array.data_type().is::<StringDataType>() {
        return array.retrieve_array_subset(&array.subset_all()).map_err(failed);
    }
    if array.data_type().is::<FixedLengthUTF32DataType>() {
        let texts: Vec<Vec<char>> = array.retrieve_array_subset(&array.subset_all()).map_err(failed)?;
        return Ok(texts.into_iter().map(String::from_iter).collect());
    }
    Ok(numbers(array)?.iter().map(ToString::to_string).collect())
}

impl Variable {
    /// Bits of a stored number.
    pub(super) fn bits(&self) -> u32 {
        self.kind.bytes() as u32 * 8
    }

    /// Takes a stored number for missing, beside those that the variable says are.
    pub(super) fn hide_also(&mut self, nodata: f64) {
        self.packing.hide_also(if self.kind == Kind::F32 { f64::from(nodata as f32) } else { nodata });
    }

    pub(super) fn new(
        name: &str,
        array: Array<Folder>,
        given: &DimensionNames,
        coordinate: impl Fn(&str) -> Option<Map<String, Value>>,
    ) -> Result<Self, String> {
        let Some(kind) = Kind::of(&array) else {
            return Err(format!("holds {}; integers, float32 and float64 are read", array.data_type()));
        };
        let dimensions = dimensions(&array).ok_or(
            "its dimensions have no names; they belong into dimension_names (Zarr v3) or the attribute _ARRAY_DIMENSIONS (v2)",
        )?;
        let axes = Axes::new(&dimensions, array.shape(), given, coordinate)?;
        let mut packing = Packing::new(array.attributes())?;
        if let Some(fill) = fill_value_v2(&array) {
            packing.hide_also(fill);
        }
        if kind == Kind::F32 {
            packing = packing.in_float32();
        }
        let first = vec![0; array.dimensionality()];
        let chunk = match array.effective_subchunk_shape() {
            Some(part) => part,
            None => array.chunk_shape(&first).map_err(|error| error.to_string())?,
        };
        let chunk = chunk.iter().zip(array.shape()).map(|(chunk, &length)| chunk.get().min(length.max(1))).collect();
        Ok(Self { name: name.to_owned(), array, kind, dimensions, axes, packing, chunk })
    }

    pub(super) fn attributes(&self) -> &Map<String, Value> {
        self.array.attributes()
    }

    pub(super) fn length(&self, axis: usize) -> usize {
        self.array.shape()[axis] as usize
    }

    /// Bytes of a decoded chunk.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.chunk.iter().copied().fold(self.kind.bytes(), u64::saturating_mul)
    }

    /// Chunks that hold one pixel of one date in all bands.
    pub(super) fn chunks_per_pixel(&self) -> u64 {
        self.axes.band.map_or(1, |axis| self.array.shape()[axis].div_ceil(self.chunk[axis]))
    }

    /// How many chunks there are.
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
        self.kind.decode(&self.array, part)
    }
}

/// In Zarr v2 the fill value marks what is missing, as CF's `_FillValue` does; in v3 it is only what was never written, which zeros are not
/// written as, either.
fn fill_value_v2(array: &Array<Folder>) -> Option<f64> {
    match array.metadata() {
        ArrayMetadata::V2(metadata) => serde_json::to_value(&metadata.fill_value).ok()?.as_f64(),
        ArrayMetadata::V3(_) => None,
    }
}
