//! Metadata of the arrays of a fused series.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::arrays::write_texts;
use super::crs::{coordinate, geozarr, grid_mapping};
use super::group::{ArrayKind, DataType, Node, object, write_group};
use super::overviews::{GROUP, Level, convention, levels, multiscales, tiled};
use super::packing::MISSING;
use super::store::AtomicStore;
use super::{TIME_CHUNK, ZarrFormat};
use crate::describe::{Encoding, OutputSpace, StoredAs};
use crate::error::Result;
use crate::geometry::Grid;
use crate::series::SeriesLayout;

/// The metadata documents of a store, for either version of the format.
#[derive(Debug)]
pub(super) struct Documents {
    format: ZarrFormat,
    layout: SeriesLayout,
    /// The group of the arrays; the store itself where it is empty.
    group: &'static str,
}

impl Documents {
    /// Name of the array of uncertainties.
    pub(super) fn uncertainty(&self) -> &'static str {
        match self.layout.space {
            OutputSpace::Components => "cov",
            OutputSpace::Bands => "sd",
        }
    }

    /// Name of the array of band names: the band coordinate, unless that holds wavelengths.
    fn band_names(&self) -> &'static str {
        if self.wavelengths() == Some("band") { "band_name" } else { "band" }
    }

    /// Name of the array of wavelengths: the band coordinate, which can have no gaps, unless there are indices, which
    /// have no wavelength.
    pub(super) fn wavelengths(&self) -> Option<&'static str> {
        self.layout.basis.as_ref()?;
        Some(if self.layout.indices.is_empty() { "band" } else { "wavelength" })
    }

    /// Name of the array that describes the band axis in addition to its coordinate.
    fn beside_band(&self) -> Option<&'static str> {
        self.wavelengths().map(|wavelengths| if wavelengths == "band" { self.band_names() } else { wavelengths })
    }

    /// Arrays that have a chunk for each tile and date, in the order of their records, with those of overviews.
    pub(super) fn tiled(&self) -> Vec<&'static str> {
        self.own_tiled().into_iter().chain(tiled(self.layout.overviews)).collect()
    }

    /// The same without those of overviews.
    fn own_tiled(&self) -> Vec<&'static str> {
        let mut arrays = vec!["mean", self.uncertainty()];
        if !self.layout.offsets.is_empty() {
            arrays.extend(["offset", "offset_sd"]);
        }
        arrays
    }

    /// Arrays of the store, in the order of the consolidated metadata.
    fn arrays(&self) -> Vec<&'static str> {
        let mut arrays = vec!["mean", self.uncertainty(), "time", "band", "y", "x", "spatial_ref"];
        arrays.extend(self.beside_band());
        if self.layout.space == OutputSpace::Components {
            arrays.extend(["basis", "basis_mean"]);
        }
        if !self.layout.offsets.is_empty() {
            arrays.extend(["offset", "offset_sd", "offset_band"]);
        }
        arrays
    }

    pub(super) fn new(layout: &SeriesLayout, format: ZarrFormat) -> Self {
        Self { format, layout: layout.clone(), group: "" }
    }

    /// Those of the overviews of a series.
    pub(super) fn overviews(layout: &SeriesLayout, format: ZarrFormat) -> Result<Vec<(Level, Self)>> {
        let of = |level: Level| Ok((level, Self { format, layout: level.layout(layout)?, group: level.group }));
        levels(layout.overviews).map(of).collect()
    }

    /// The layout that they describe.
    pub(super) fn layout(&self) -> &SeriesLayout {
        &self.layout
    }

    /// The grid of the arrays.
    pub(super) fn grid(&self) -> &Grid {
        &self.layout.grid
    }

    /// The path of an array in the store.
    pub(super) fn path(&self, name: &str) -> String {
        if self.group.is_empty() { name.to_owned() } else { format!("{}/{name}", self.group) }
    }

    fn kind(&self, name: &str, dates: usize) -> ArrayKind {
        let layout = &self.layout;
        let (rows, cols) = layout.grid.shape();
        let bands = layout.bands.len();
        let names = layout.band_names();
        let means = layout.layers().0;
        let line = ArrayKind::line;
        match name {
            "time" => ArrayKind {
                shape: vec![dates],
                chunk: vec![TIME_CHUNK],
                data_type: DataType::Days,
                dimensions: vec!["time"],
                encoding: Encoding::default(),
                attributes: object(json!({
                    "standard_name": "time",
                    "long_name": "time",
                    "units": "days since 1970-01-01",
                    "calendar": "proleptic_gregorian",
                    "axis": "T"
                })),
            },
            _ if Some(name) == self.wavelengths() => line(
                names.len(),
                "band",
                DataType::Float64,
                object(json!({ "standard_name": "radiation_wavelength", "long_name": "wavelength", "units": "nm" })),
            ),
            "band" | "band_name" => {
                line(names.len(), "band", DataType::for_texts(&names), object(json!({ "long_name": "band name" })))
            }
            "offset_band" => line(
                layout.offsets.len(),
                "offset_band",
                DataType::for_texts(&layout.offsets),
                object(json!({ "long_name": "instrument and band of the offset" })),
            ),
            "basis" => ArrayKind {
                shape: vec![bands, means],
                chunk: vec![bands, means],
                data_type: DataType::Float32,
                dimensions: vec!["band", "component"],
                encoding: Encoding::default(),
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
                encoding: Encoding::default(),
                attributes: grid_mapping(&layout.grid),
            },
            _ => self.chunked(name, dates),
        }
    }

    /// An array with a chunk for each tile and date.
    fn chunked(&self, name: &str, dates: usize) -> ArrayKind {
        let layout = &self.layout;
        let ((rows, cols), (tile_rows, tile_cols)) = (layout.grid.shape(), layout.tile_shape);
        let (means, uncertainties) = layout.layers();
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
            data_type: self.data_type(name),
            dimensions: vec!["time", dimension, "y", "x"],
            encoding: layout.encoding,
            attributes: self.variable(name),
        }
    }

    /// The type of an array with a chunk for each tile and date. Offsets of instruments are always float32.
    fn data_type(&self, name: &str) -> DataType {
        match (self.layout.encoding.values, name) {
            (StoredAs::Int16 { .. }, "mean") => DataType::Int16,
            (StoredAs::Int16 { .. }, "sd") => DataType::Uint16,
            _ => DataType::Float32,
        }
    }

    /// How the numbers of an array are turned into values, where they are not these: CF's attributes.
    fn packing(&self, name: &str) -> Map<String, Value> {
        let StoredAs::Int16 { scale, add_offset, sd_scale } = self.layout.encoding.values else { return Map::new() };
        let mut attributes = match name {
            "mean" => object(json!({ "scale_factor": scale, "_FillValue": MISSING.0 })),
            "sd" => object(json!({ "scale_factor": sd_scale, "_FillValue": MISSING.1 })),
            _ => Map::new(),
        };
        // With an offset xarray decodes to float64.
        if name == "mean" && add_offset != 0.0 {
            attributes.insert("add_offset".into(), add_offset.into());
        }
        attributes
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
            // The basis has the unit.
            OutputSpace::Components => "1",
        };
        attributes.insert("units".into(), unit.into());
        attributes.extend(self.packing(name));
        attributes.insert("grid_mapping".into(), "spatial_ref".into());
        // rioxarray finds the CRS only when the grid mapping is a coordinate.
        let beside_band = self.beside_band().filter(|_| self.layout.space == OutputSpace::Bands);
        let coordinates = beside_band.map_or_else(|| "spatial_ref".into(), |name| format!("spatial_ref {name}"));
        attributes.insert("coordinates".into(), coordinates.into());
        let crs = self.layout.grid.crs();
        if !crs.is_unknown() {
            // For GDAL before 3.9.
            attributes.insert("_CRS".into(), json!({ "wkt": crs.wkt() }));
        }
        attributes.extend(geozarr(&self.layout.grid));
        attributes
    }

    /// The document that defines an array, for a store with this number of dates.
    pub(super) fn array(&self, name: &str, dates: usize) -> Value {
        self.kind(name, dates).document(self.format)
    }

    /// The document by which single chunks of an array are encoded, whether or not they share an object.
    pub(super) fn chunks(&self, name: &str) -> Value {
        let mut kind = self.kind(name, self.layout.dates.len());
        kind.encoding.dates_per_object = 1;
        kind.document(self.format)
    }

    /// Writes the document of an array.
    pub(super) fn write_array(&self, store: &AtomicStore, name: &str, dates: usize) -> Result<()> {
        self.kind(name, dates).write(store, &self.path(name), self.format)
    }

    /// Writes the documents of the arrays that grow along time; of overviews by their own documents.
    pub(super) fn write_grown(&self, store: &AtomicStore, dates: usize) -> Result<()> {
        let own = self.own_tiled().into_iter().chain(["time"]);
        own.into_iter().try_for_each(|name| self.write_array(store, name, dates))
    }

    /// Writes the names of bands, and of offsets, with their documents.
    pub(super) fn write_all_names(&self, store: &Arc<AtomicStore>) -> Result<()> {
        self.write_names(store, self.band_names(), &self.layout.band_names())?;
        if self.layout.offsets.is_empty() {
            return Ok(());
        }
        self.write_names(store, "offset_band", &self.layout.offsets)
    }

    /// Writes an array of names with its document.
    fn write_names(&self, store: &Arc<AtomicStore>, name: &str, names: &[String]) -> Result<()> {
        write_texts(store, &self.path(name), names, (self.format, self.array(name, 0)))?;
        self.write_array(store, name, 0)
    }

    /// Writes the document of the group with those of all arrays consolidated, and with its overviews. This step reveals
    /// new dates.
    pub(super) fn write_group(
        &self,
        store: &AtomicStore,
        run: &impl Serialize,
        (dates, overviews): (usize, &[(Level, &Self)]),
    ) -> Result<()> {
        let mut grid = geozarr(self.grid());
        if !overviews.is_empty() {
            if let Some(conventions) = grid.get_mut("zarr_conventions").and_then(Value::as_array_mut) {
                conventions.push(convention());
            }
            let grids: Vec<(Level, &Grid)> = overviews.iter().map(|(level, of)| (*level, of.grid())).collect();
            grid.insert("multiscales".into(), multiscales(self.grid(), &grids));
        }
        let attributes = Attributes { grid, conventions: CONVENTIONS, rasterfuse: run };
        let mut nodes = self.nodes(dates);
        if !overviews.is_empty() {
            nodes.push((GROUP.into(), group_of_overviews()));
        }
        for (level, of) in overviews {
            nodes.push((level.group.into(), Node::Group(of.attributes())));
            nodes.extend(of.nodes(dates));
        }
        write_group(store, "", &attributes, &nodes, self.format)
    }

    /// Writes the group that holds the overviews.
    pub(super) fn write_group_of_overviews(&self, store: &AtomicStore) -> Result<()> {
        group_of_overviews().write(store, GROUP, self.format)
    }

    /// Writes the group of an overview, with the documents of its arrays consolidated.
    pub(super) fn write_overview(&self, store: &AtomicStore, dates: usize) -> Result<()> {
        let arrays = self.arrays().into_iter().map(|name| (name.to_owned(), Node::Array(self.kind(name, dates))));
        write_group(store, self.group, &self.attributes(), &arrays.collect::<Vec<_>>(), self.format)
    }

    /// The arrays by their paths.
    fn nodes(&self, dates: usize) -> Vec<(String, Node)> {
        let node = |name: &'static str| (self.path(name), Node::Array(self.kind(name, dates)));
        self.arrays().into_iter().map(node).collect()
    }

    /// Attributes of the group of an overview.
    fn attributes(&self) -> Map<String, Value> {
        let mut attributes = geozarr(self.grid());
        attributes.insert("Conventions".into(), CONVENTIONS.into());
        attributes
    }
}

fn group_of_overviews() -> Node {
    Node::Group(Map::new())
}

/// Version of the CF conventions.
const CONVENTIONS: &str = "CF-1.11";

/// Attributes of the group.
#[derive(Serialize)]
struct Attributes<'a, R> {
    #[serde(flatten)]
    grid: Map<String, Value>,
    #[serde(rename = "Conventions")]
    conventions: &'a str,
    rasterfuse: &'a R,
}
