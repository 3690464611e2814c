//! Metadata documents of arrays and groups, for either version of the format.
//!
//! They are written as JSON instead of through zarrs' builders: the bytes must not depend on the order of a hash map,
//! and one description gives both versions.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ZarrFormat;
use super::packing::MISSING;
use super::store::AtomicStore;
use crate::describe::{Codec, Encoding};
use crate::error::Result;

/// The properties of an array, independent of the format.
pub(super) struct ArrayKind {
    pub(super) shape: Vec<usize>,
    pub(super) chunk: Vec<usize>,
    pub(super) data_type: DataType,
    pub(super) dimensions: Vec<&'static str>,
    /// How chunks of floats and whole numbers are compressed, and how many share an object.
    pub(super) encoding: Encoding,
    pub(super) attributes: Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum DataType {
    Float32,
    Int16,
    Uint16,
    Float64,
    Int64,
    /// Days; every value is valid except the smallest.
    Days,
    /// Texts of at most this number of characters.
    Text(usize),
}

impl DataType {
    /// Bytes of a number of the types whose chunks are compressed.
    fn compressed_bytes(self) -> Option<usize> {
        match self {
            Self::Float32 => Some(4),
            Self::Int16 | Self::Uint16 => Some(2),
            _ => None,
        }
    }

    /// The type of these texts.
    pub(super) fn for_texts(texts: &[String]) -> Self {
        Self::Text(texts.iter().map(|text| text.chars().count()).max().unwrap_or(1))
    }
}

impl ArrayKind {
    /// An array of one dimension in one chunk.
    pub(super) fn line(n: usize, dimension: &'static str, data_type: DataType, attributes: Map<String, Value>) -> Self {
        let encoding = Encoding::default();
        Self { shape: vec![n], chunk: vec![n], data_type, dimensions: vec![dimension], encoding, attributes }
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
            DataType::Int16 => ("int16", json!(MISSING.0), little_endian()),
            DataType::Uint16 => ("uint16", json!(MISSING.1), little_endian()),
            DataType::Float64 => ("float64", json!("NaN"), little_endian()),
            DataType::Int64 => ("int64", json!(0), little_endian()),
            DataType::Days => ("int64", json!(i64::MIN), little_endian()),
            DataType::Text(_) => ("string", json!(""), json!({ "name": "vlen-utf8" })),
        };
        let mut codecs = vec![bytes_codec];
        codecs.extend(self.data_type.compressed_bytes().and_then(|bytes| compression_v3(&self.encoding, bytes)));
        // Readers see bits that have flipped since they were written.
        codecs.push(checksum());
        let mut chunk = self.chunk.clone();
        if self.encoding.dates_per_object > 1 {
            codecs = vec![sharding(&self.chunk, &codecs)];
            chunk[0] *= self.encoding.dates_per_object;
        }
        json!({
            "zarr_format": 3,
            "node_type": "array",
            "shape": self.shape,
            "data_type": data_type,
            "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": chunk } },
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
            DataType::Int16 => ("<i2".to_owned(), json!(MISSING.0)),
            DataType::Uint16 => ("<u2".to_owned(), json!(MISSING.1)),
            DataType::Float64 => ("<f8".to_owned(), json!("NaN")),
            // With a fill value, xarray would convert integer coordinates to floats.
            DataType::Int64 | DataType::Days => ("<i8".to_owned(), Value::Null),
            DataType::Text(characters) => (format!("<U{characters}"), Value::Null),
        };
        let compressor = self.data_type.compressed_bytes().and_then(|_| compression_v2(&self.encoding));
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
            ZarrFormat::V3 => store.write_json(&format!("{name}/zarr.json"), &self.document_v3()),
            ZarrFormat::V2 => {
                store.write_json(&format!("{name}/.zattrs"), &self.attributes_v2())?;
                store.write_json(&format!("{name}/.zarray"), &self.document_v2())
            }
        }
    }
}

/// The only chunk of a v2 array of texts: fixed-width UTF-32, which every v2 reader supports. In v3 texts are elements
/// like others.
pub(super) fn fixed_width(texts: &[String]) -> Vec<u8> {
    let DataType::Text(characters) = DataType::for_texts(texts) else { return Vec::new() };
    let padded = |text: &String| {
        let characters = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(characters);
        characters.flat_map(u32::to_le_bytes).collect::<Vec<u8>>()
    };
    texts.iter().flat_map(padded).collect()
}

/// What a group holds.
pub(super) enum Node {
    Array(ArrayKind),
    /// A group with these attributes.
    Group(Map<String, Value>),
}

impl Node {
    /// Writes the document of the node at a path, without those of what it holds.
    pub(super) fn write(&self, store: &AtomicStore, path: &str, format: ZarrFormat) -> Result<()> {
        match (self, format) {
            (Self::Array(kind), _) => kind.write(store, path, format),
            (Self::Group(_), ZarrFormat::V3) => store.write_json(&format!("{path}/zarr.json"), &self.document_v3()),
            (Self::Group(_), ZarrFormat::V2) => {
                let mut documents = self.documents_v2().into_iter();
                documents.try_for_each(|(name, content)| store.write_json(&format!("{path}/{name}"), &content))
            }
        }
    }

    fn document_v3(&self) -> Value {
        match self {
            Self::Array(kind) => kind.document_v3(),
            Self::Group(attributes) => json!({ "zarr_format": 3, "node_type": "group", "attributes": attributes }),
        }
    }

    /// Documents of a v2 store, with the names of their files.
    fn documents_v2(&self) -> [(&'static str, Value); 2] {
        match self {
            Self::Array(kind) => [(".zarray", kind.document_v2()), (".zattrs", kind.attributes_v2())],
            Self::Group(attributes) => [(".zgroup", group_v2()), (".zattrs", json!(attributes))],
        }
    }
}

fn group_v2() -> Value {
    json!({ "zarr_format": 2 })
}

/// Writes the document of a group, with the consolidated documents of what it holds. It is written as it is made:
/// reports of long series are too large to be held as a tree.
pub(super) fn write_group(
    store: &AtomicStore,
    path: &str,
    attributes: &impl Serialize,
    nodes: &[(String, Node)],
    format: ZarrFormat,
) -> Result<()> {
    let file = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    match format {
        ZarrFormat::V3 => {
            let metadata = nodes.iter().map(|(name, node)| (name.clone(), node.document_v3())).collect();
            let consolidated_metadata = Consolidated { kind: "inline", must_understand: false, metadata };
            let group = Group { zarr_format: 3, node_type: "group", attributes, consolidated_metadata };
            store.write_json(&file("zarr.json"), &group)
        }
        ZarrFormat::V2 => {
            let group = group_v2();
            store.write_json(&file(".zgroup"), &group)?;
            store.write_json(&file(".zattrs"), attributes)?;
            let documents = nodes.iter().flat_map(|(name, node)| {
                node.documents_v2().map(|(document, content)| (format!("{name}/{document}"), content))
            });
            let metadata = MetadataV2 { group: &group, attributes, documents: documents.collect() };
            store.write_json(&file(".zmetadata"), &ConsolidatedV2 { zarr_consolidated_format: 1, metadata })
        }
    }
}

/// A v3 group.
#[derive(Serialize)]
struct Group<'a, A> {
    zarr_format: u8,
    node_type: &'a str,
    attributes: &'a A,
    consolidated_metadata: Consolidated<'a>,
}

#[derive(Serialize)]
struct Consolidated<'a> {
    kind: &'a str,
    must_understand: bool,
    metadata: Map<String, Value>,
}

/// The consolidated metadata of a v2 group.
#[derive(Serialize)]
struct ConsolidatedV2<'a, A> {
    zarr_consolidated_format: u8,
    metadata: MetadataV2<'a, A>,
}

#[derive(Serialize)]
struct MetadataV2<'a, A> {
    #[serde(rename = ".zgroup")]
    group: &'a Value,
    #[serde(rename = ".zattrs")]
    attributes: &'a A,
    #[serde(flatten)]
    documents: Map<String, Value>,
}

/// The codec of numbers of so many bytes.
fn compression_v3(encoding: &Encoding, bytes: usize) -> Option<Value> {
    let level = encoding.level;
    match encoding.codec.blosc() {
        Some(name) => Some(json!({
            "name": "blosc",
            "configuration": { "cname": name, "clevel": level, "shuffle": "bitshuffle", "typesize": bytes, "blocksize": 0 }
        })),
        None if encoding.codec == Codec::None => None,
        None => Some(json!({ "name": "zstd", "configuration": { "level": level, "checksum": false } })),
    }
}

fn compression_v2(encoding: &Encoding) -> Option<Value> {
    let level = encoding.level;
    match encoding.codec.blosc() {
        Some(name) => Some(json!({ "id": "blosc", "cname": name, "clevel": level, "shuffle": 2, "blocksize": 0 })),
        None if encoding.codec == Codec::None => None,
        None => Some(json!({ "id": "zstd", "level": level })),
    }
}

/// The codec of objects of several chunks, each encoded by `codecs`.
fn sharding(chunk: &[usize], codecs: &[Value]) -> Value {
    json!({
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": chunk,
            "codecs": codecs,
            "index_codecs": [little_endian(), checksum()],
            "index_location": "end"
        }
    })
}

fn checksum() -> Value {
    json!({ "name": "crc32c" })
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
