//! Metadata documents of arrays and groups, for either version of the format.
//!
//! They are written as JSON instead of through zarrs' builders: the bytes must not depend on the order of a hash map,
//! and one description gives both versions.

use serde_json::{Map, Value, json};

use super::ZarrFormat;
use super::store::AtomicStore;
use crate::error::Result;

/// The properties of an array, independent of the format.
pub(super) struct ArrayKind {
    pub(super) shape: Vec<usize>,
    pub(super) chunk: Vec<usize>,
    pub(super) data_type: DataType,
    pub(super) dimensions: Vec<&'static str>,
    pub(super) attributes: Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum DataType {
    Float32,
    Float64,
    Int64,
    /// Days; every value is valid except the smallest.
    Days,
    /// Texts of at most this number of characters.
    Text(usize),
}

impl DataType {
    /// The type of these texts.
    pub(super) fn for_texts(texts: &[String]) -> Self {
        Self::Text(texts.iter().map(|text| text.chars().count()).max().unwrap_or(1))
    }
}

impl ArrayKind {
    /// An array of one dimension in one chunk.
    pub(super) fn line(n: usize, dimension: &'static str, data_type: DataType, attributes: Map<String, Value>) -> Self {
        Self { shape: vec![n], chunk: vec![n], data_type, dimensions: vec![dimension], attributes }
    }

    /// The document that defines the array.
    pub(super) fn document(&self, format: ZarrFormat) -> Value {
        match format {
            ZarrFormat::V3 => self.document_v3(),
            ZarrFormat::V2 => self.document_v2(),
        }
    }

    fn document_v3(&self) -> Value {
        let (data_type, fill_value, bytes_codec) = match self.data_type {
            DataType::Float32 => ("float32", json!("NaN"), little_endian()),
            DataType::Float64 => ("float64", json!("NaN"), little_endian()),
            DataType::Int64 => ("int64", json!(0), little_endian()),
            DataType::Days => ("int64", json!(i64::MIN), little_endian()),
            DataType::Text(_) => ("string", json!(""), json!({ "name": "vlen-utf8" })),
        };
        let mut codecs = vec![bytes_codec];
        if self.data_type == DataType::Float32 {
            codecs.push(json!({
                "name": "blosc",
                "configuration": { "cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": 4, "blocksize": 0 }
            }));
        }
        json!({
            "zarr_format": 3,
            "node_type": "array",
            "shape": self.shape,
            "data_type": data_type,
            "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": self.chunk } },
            "chunk_key_encoding": { "name": "default", "configuration": { "separator": "/" } },
            "fill_value": fill_value,
            "codecs": codecs,
            "attributes": self.attributes,
            "dimension_names": self.dimensions
        })
    }

    fn document_v2(&self) -> Value {
        let (data_type, fill_value) = match self.data_type {
            DataType::Float32 => ("<f4".to_owned(), json!("NaN")),
            DataType::Float64 => ("<f8".to_owned(), json!("NaN")),
            // With a fill value, xarray would convert integer coordinates to floats.
            DataType::Int64 | DataType::Days => ("<i8".to_owned(), Value::Null),
            DataType::Text(characters) => (format!("<U{characters}"), Value::Null),
        };
        let compressor = match self.data_type {
            DataType::Float32 => json!({ "id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 2, "blocksize": 0 }),
            _ => Value::Null,
        };
        json!({
            "zarr_format": 2,
            "shape": self.shape,
            "chunks": self.chunk,
            "dtype": data_type,
            "compressor": compressor,
            "fill_value": fill_value,
            "order": "C",
            "filters": null,
            "dimension_separator": "/"
        })
    }

    /// Attributes in a v2 store, where they have their own file.
    fn attributes_v2(&self) -> Value {
        let mut attributes = self.attributes.clone();
        attributes.insert("_ARRAY_DIMENSIONS".into(), json!(self.dimensions));
        Value::Object(attributes)
    }

    /// Writes the document.
    pub(super) fn write(&self, store: &AtomicStore, name: &str, format: ZarrFormat) -> Result<()> {
        match format {
            ZarrFormat::V3 => store.write(&format!("{name}/zarr.json"), &bytes(&self.document_v3())),
            ZarrFormat::V2 => {
                store.write(&format!("{name}/.zattrs"), &bytes(&self.attributes_v2()))?;
                store.write(&format!("{name}/.zarray"), &bytes(&self.document_v2()))
            }
        }
    }
}

/// Writes texts as the only chunk of an array: length-prefixed UTF-8 in v3, fixed-width UTF-32 in v2, which every v2
/// reader supports.
pub(super) fn write_texts(store: &AtomicStore, name: &str, texts: &[String], format: ZarrFormat) -> Result<()> {
    let mut chunk = Vec::new();
    let key = match (format, DataType::for_texts(texts)) {
        (ZarrFormat::V2, DataType::Text(characters)) => {
            for text in texts {
                let padded = text.chars().map(u32::from).chain(std::iter::repeat(0));
                chunk.extend(padded.take(characters).flat_map(u32::to_le_bytes));
            }
            format!("{name}/0")
        }
        _ => {
            chunk.extend((texts.len() as u32).to_le_bytes());
            for text in texts {
                chunk.extend((text.len() as u32).to_le_bytes());
                chunk.extend(text.as_bytes());
            }
            format!("{name}/c/0")
        }
    };
    store.write(&key, &chunk)
}

/// Writes the document of a group, with the consolidated documents of all its arrays.
pub(super) fn write_group(
    store: &AtomicStore,
    attributes: Map<String, Value>,
    arrays: &[(&str, ArrayKind)],
    format: ZarrFormat,
) -> Result<()> {
    match format {
        ZarrFormat::V3 => {
            let arrays: Map<String, Value> =
                arrays.iter().map(|(name, kind)| ((*name).to_owned(), kind.document_v3())).collect();
            let group = json!({
                "zarr_format": 3,
                "node_type": "group",
                "attributes": attributes,
                "consolidated_metadata": { "kind": "inline", "must_understand": false, "metadata": arrays }
            });
            store.write("zarr.json", &bytes(&group))
        }
        ZarrFormat::V2 => {
            let group = json!({ "zarr_format": 2 });
            let attributes = Value::Object(attributes);
            store.write(".zgroup", &bytes(&group))?;
            store.write(".zattrs", &bytes(&attributes))?;
            let mut metadata = Map::new();
            metadata.insert(".zgroup".into(), group);
            metadata.insert(".zattrs".into(), attributes);
            for (name, kind) in arrays {
                metadata.insert(format!("{name}/.zarray"), kind.document_v2());
                metadata.insert(format!("{name}/.zattrs"), kind.attributes_v2());
            }
            let consolidated = json!({ "zarr_consolidated_format": 1, "metadata": metadata });
            store.write(".zmetadata", &bytes(&consolidated))
        }
    }
}

fn little_endian() -> Value {
    json!({ "name": "bytes", "configuration": { "endian": "little" } })
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Pretty-printed, because people open these files.
fn bytes(document: &Value) -> Vec<u8> {
    let mut text = format!("{document:#}");
    text.push('\n');
    text.into_bytes()
}
