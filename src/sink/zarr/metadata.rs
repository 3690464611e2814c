use serde_json::{Map, Value, json};

use super::crs::{coordinate, geozarr, grid_mapping};
use super::store::AtomicStore;
use super::{TIME_CHUNK, ZarrFormat};
use crate::engine::OutputSpace;
use crate::error::Result;
use crate::sink::SeriesLayout;

/// The metadata documents of a store, for either version of the format.
///
/// Written as JSON by hand rather than through zarrs' builders: the bytes must not depend on the order of a hash map, and both
/// versions come from one description.
#[derive(Debug)]
pub(super) struct Documents {
    format: ZarrFormat,
    layout: SeriesLayout,
    /// Characters of the longest name.
    name_chars: usize,
}

/// What distinguishes one array from another, whatever the format.
struct ArrayKind {
    shape: Vec<usize>,
    chunk: Vec<usize>,
    data_type: DataType,
    dimensions: Vec<&'static str>,
    attributes: Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq)]
enum DataType {
    Float32,
    Float64,
    Int64,
    /// Days; every value may occur but the smallest.
    Days,
    Text,
}

impl Documents {
    /// Name of the array of uncertainties.
    pub(super) fn uncertainty(&self) -> &'static str {
        match self.layout.space {
            OutputSpace::Components => "cov",
            OutputSpace::Bands => "sd",
        }
    }

    /// Name of the array of band names: the coordinate itself, unless that is wavelengths.
    fn band_names(&self) -> &'static str {
        if self.layout.basis.is_some() { "band_name" } else { "band" }
    }

    /// Arrays of the store, in the order of the consolidated metadata.
    fn arrays(&self) -> Vec<&'static str> {
        let mut arrays = vec!["mean", self.uncertainty(), "time", "band", "y", "x", "spatial_ref"];
        if self.layout.basis.is_some() {
            arrays.push(self.band_names());
        }
        if self.layout.space == OutputSpace::Components {
            arrays.extend(["basis", "basis_mean"]);
        }
        if !self.layout.offsets.is_empty() {
            arrays.extend(["offset", "offset_sd", "offset_band"]);
        }
        arrays
    }

    pub(super) fn new(layout: &SeriesLayout, format: ZarrFormat) -> Self {
        let names = layout.bands.iter().chain(&layout.offsets);
        let name_chars = names.map(|name| name.chars().count()).max().unwrap_or(1);
        Self { format, layout: layout.clone(), name_chars }
    }

    fn kind(&self, name: &str, dates: usize) -> ArrayKind {
        let layout = &self.layout;
        let (rows, cols) = layout.grid.shape();
        let bands = layout.bands.len();
        let (means, uncertainties) = layout.layers();
        let line = |n: usize, dimension: &'static str, data_type: DataType, attributes: Map<String, Value>| ArrayKind {
            shape: vec![n],
            chunk: vec![n],
            data_type,
            dimensions: vec![dimension],
            attributes,
        };
        match name {
            "time" => ArrayKind {
                shape: vec![dates],
                chunk: vec![TIME_CHUNK],
                data_type: DataType::Days,
                dimensions: vec!["time"],
                attributes: object(json!({
                    "standard_name": "time",
                    "long_name": "time",
                    "units": "days since 1970-01-01",
                    "calendar": "proleptic_gregorian",
                    "axis": "T"
                })),
            },
            "band" if layout.basis.is_some() => line(
                bands,
                "band",
                DataType::Float64,
                object(json!({ "standard_name": "radiation_wavelength", "long_name": "wavelength", "units": "nm" })),
            ),
            "band" | "band_name" => line(bands, "band", DataType::Text, object(json!({ "long_name": "band name" }))),
            "offset_band" => line(
                layout.offsets.len(),
                "offset_band",
                DataType::Text,
                object(json!({ "long_name": "instrument and band of the offset" })),
            ),
            "basis" => ArrayKind {
                shape: vec![bands, means],
                chunk: vec![bands, means],
                data_type: DataType::Float32,
                dimensions: vec!["band", "component"],
                attributes: object(json!({
                    "long_name": "spectral basis: band = basis_mean + basis * component",
                    "units": layout.unit
                })),
            },
            "basis_mean" => line(
                bands,
                "band",
                DataType::Float32,
                object(json!({ "long_name": "mean spectrum of the spectral basis", "units": layout.unit })),
            ),
            "y" => line(rows, "y", DataType::Float64, coordinate(layout.grid.crs(), false)),
            "x" => line(cols, "x", DataType::Float64, coordinate(layout.grid.crs(), true)),
            "spatial_ref" => ArrayKind {
                shape: vec![],
                chunk: vec![],
                data_type: DataType::Int64,
                dimensions: vec![],
                attributes: grid_mapping(&layout.grid),
            },
            _ => {
                let (tile_rows, tile_cols) = layout.tile_shape;
                let (layers, dimension) = match (name, layout.space) {
                    ("offset" | "offset_sd", _) => (layout.offsets.len(), "offset_band"),
                    ("mean", OutputSpace::Components) => (means, "component"),
                    ("mean", OutputSpace::Bands) => (means, "band"),
                    (_, OutputSpace::Components) => (uncertainties, "pair"),
                    (_, OutputSpace::Bands) => (uncertainties, "band"),
                };
                ArrayKind {
                    shape: vec![dates, layers, rows, cols],
                    chunk: vec![1, layers, tile_rows, tile_cols],
                    data_type: DataType::Float32,
                    dimensions: vec!["time", dimension, "y", "x"],
                    attributes: self.variable(name),
                }
            }
        }
    }

    fn variable(&self, name: &str) -> Map<String, Value> {
        let (value, spread) = match self.layout.space {
            _ if name.starts_with("offset") => {
                ("offset of the instrument's pixel that holds the cell", "standard deviation of the offset")
            }
            OutputSpace::Bands => ("fused value", "standard deviation of the fused value"),
            OutputSpace::Components => (
                "fused component of the spectral basis",
                "covariance of the fused components: lower triangle, row by row",
            ),
        };
        let mut attributes = match name {
            "mean" => object(json!({ "long_name": value, "ancillary_variables": self.uncertainty() })),
            "offset" => object(json!({ "long_name": value, "ancillary_variables": "offset_sd" })),
            _ => object(json!({ "long_name": spread })),
        };
        if let Some(factor) = self.layout.settings.get("output.sd_factor").filter(|_| name == self.uncertainty()) {
            let comment = format!("standard deviations are the model's, multiplied by {factor} (output.sd_factor)");
            attributes.insert("comment".into(), comment.into());
        }
        let unit = match self.layout.space {
            _ if name.starts_with("offset") => self.layout.unit.as_str(),
            OutputSpace::Bands => self.layout.unit.as_str(),
            // The basis carries the unit.
            OutputSpace::Components => "1",
        };
        attributes.insert("units".into(), unit.into());
        attributes.insert("grid_mapping".into(), "spatial_ref".into());
        // rioxarray finds the CRS only when the grid mapping is a coordinate.
        let names = self.layout.basis.is_some() && self.layout.space == OutputSpace::Bands;
        attributes.insert("coordinates".into(), if names { "spatial_ref band_name" } else { "spatial_ref" }.into());
        let crs = self.layout.grid.crs();
        if !crs.is_unknown() {
            // What GDAL before 3.9 reads.
            attributes.insert("_CRS".into(), json!({ "wkt": crs.wkt() }));
        }
        attributes.extend(geozarr(&self.layout.grid));
        attributes
    }

    /// The document that defines an array, for a store with so many dates.
    pub(super) fn array(&self, name: &str, dates: usize) -> Value {
        let kind = self.kind(name, dates);
        match self.format {
            ZarrFormat::V3 => array_v3(&kind),
            ZarrFormat::V2 => self.array_v2(&kind),
        }
    }

    fn array_v2(&self, kind: &ArrayKind) -> Value {
        let (data_type, fill_value) = match kind.data_type {
            DataType::Float32 => ("<f4".to_owned(), json!("NaN")),
            DataType::Float64 => ("<f8".to_owned(), json!("NaN")),
            // Integer coordinates with a fill value would turn into floats in xarray.
            DataType::Int64 | DataType::Days => ("<i8".to_owned(), Value::Null),
            DataType::Text => (format!("<U{}", self.name_chars), Value::Null),
        };
        let compressor = match kind.data_type {
            DataType::Float32 => json!({ "id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 2, "blocksize": 0 }),
            _ => Value::Null,
        };
        json!({
            "zarr_format": 2,
            "shape": kind.shape,
            "chunks": kind.chunk,
            "dtype": data_type,
            "compressor": compressor,
            "fill_value": fill_value,
            "order": "C",
            "filters": null,
            "dimension_separator": "/"
        })
    }

    /// Attributes of an array in a v2 store, where they have a file of their own.
    fn attributes_v2(&self, name: &str, dates: usize) -> Value {
        let kind = self.kind(name, dates);
        let mut attributes = kind.attributes;
        attributes.insert("_ARRAY_DIMENSIONS".into(), json!(kind.dimensions));
        Value::Object(attributes)
    }

    /// Writes the document of an array.
    pub(super) fn write_array(&self, store: &AtomicStore, name: &str, dates: usize) -> Result<()> {
        match self.format {
            ZarrFormat::V3 => store.write(&format!("{name}/zarr.json"), &bytes(&self.array(name, dates))),
            ZarrFormat::V2 => {
                store.write(&format!("{name}/.zattrs"), &bytes(&self.attributes_v2(name, dates)))?;
                store.write(&format!("{name}/.zarray"), &bytes(&self.array(name, dates)))
            }
        }
    }

    /// Writes the names of bands, and of offsets, with their documents.
    pub(super) fn write_all_names(&self, store: &AtomicStore) -> Result<()> {
        self.write_names(store, self.band_names(), &self.layout.bands)?;
        if self.layout.offsets.is_empty() {
            return Ok(());
        }
        self.write_names(store, "offset_band", &self.layout.offsets)
    }

    /// Writes an array of names with its document. The only texts of the store, encoded here: length-prefixed UTF-8 in v3, fixed-width
    /// UTF-32 in v2, which every reader of that version knows.
    fn write_names(&self, store: &AtomicStore, name: &str, names: &[String]) -> Result<()> {
        let mut chunk = Vec::new();
        let key = match self.format {
            ZarrFormat::V3 => {
                chunk.extend((names.len() as u32).to_le_bytes());
                for text in names {
                    chunk.extend((text.len() as u32).to_le_bytes());
                    chunk.extend(text.as_bytes());
                }
                format!("{name}/c/0")
            }
            ZarrFormat::V2 => {
                for text in names {
                    let characters = text.chars().map(u32::from).chain(std::iter::repeat(0));
                    chunk.extend(characters.take(self.name_chars).flat_map(u32::to_le_bytes));
                }
                format!("{name}/0")
            }
        };
        store.write(&key, &chunk)?;
        self.write_array(store, name, 0)
    }

    /// Writes the group's document, with those of all arrays consolidated: the step that reveals new dates.
    pub(super) fn write_group(&self, store: &AtomicStore, run: Value, dates: usize) -> Result<()> {
        let mut attributes = geozarr(&self.layout.grid);
        attributes.insert("Conventions".into(), "CF-1.11".into());
        attributes.insert("rasterfuse".into(), run);
        match self.format {
            ZarrFormat::V3 => {
                let arrays: Map<String, Value> =
                    self.arrays().into_iter().map(|name| (name.to_owned(), self.array(name, dates))).collect();
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
                for name in self.arrays() {
                    metadata.insert(format!("{name}/.zarray"), self.array(name, dates));
                    metadata.insert(format!("{name}/.zattrs"), self.attributes_v2(name, dates));
                }
                let consolidated = json!({ "zarr_consolidated_format": 1, "metadata": metadata });
                store.write(".zmetadata", &bytes(&consolidated))
            }
        }
    }
}

fn array_v3(kind: &ArrayKind) -> Value {
    let (data_type, fill_value, bytes_codec) = match kind.data_type {
        DataType::Float32 => ("float32", json!("NaN"), little_endian()),
        DataType::Float64 => ("float64", json!("NaN"), little_endian()),
        DataType::Int64 => ("int64", json!(0), little_endian()),
        DataType::Days => ("int64", json!(i64::MIN), little_endian()),
        DataType::Text => ("string", json!(""), json!({ "name": "vlen-utf8" })),
    };
    let mut codecs = vec![bytes_codec];
    if kind.data_type == DataType::Float32 {
        codecs.push(json!({
            "name": "blosc",
            "configuration": { "cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": 4, "blocksize": 0 }
        }));
    }
    json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": kind.shape,
        "data_type": data_type,
        "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": kind.chunk } },
        "chunk_key_encoding": { "name": "default", "configuration": { "separator": "/" } },
        "fill_value": fill_value,
        "codecs": codecs,
        "attributes": kind.attributes,
        "dimension_names": kind.dimensions
    })
}

fn little_endian() -> Value {
    json!({ "name": "bytes", "configuration": { "endian": "little" } })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Pretty-printed, as people do open these files.
fn bytes(document: &Value) -> Vec<u8> {
    let mut text = format!("{document:#}");
    text.push('\n');
    text.into_bytes()
}
