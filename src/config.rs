//! A fusion described in TOML: a [`Description`] with what opens its files, read from a file.
//!
//! Every key is checked; unknown keys are an error that names the key and its line.

// Without GDAL and Zarr a description can be read but not built.
#![cfg_attr(not(all(feature = "gdal", feature = "zarr")), allow(dead_code))]

mod advice;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod change;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod cubes;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod day;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod estimate;
mod fault;
mod keys;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod open;
mod read;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod seasonal;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod stac;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod stack;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod target;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod written;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml_edit::{Document, Item, TableLike};

use crate::describe::{Description, Instrument, Key};
use crate::engine::{MemoryBudget, RunOptions};
use crate::error::{Error, Result};
use crate::estimate::Criterion;
use fault::{Fault, keys_of};
use keys::SourceKeys;
use read::{Keys, Node};

#[cfg(all(feature = "gdal", feature = "zarr"))]
pub use estimate::EstimatedConfig;
#[cfg(all(feature = "gdal", feature = "zarr"))]
pub use open::InstrumentSource;
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
pub(crate) use stack::fuzz_list;

/// A fusion read from TOML.
///
/// ```
/// let config = rasterfuse::config::FusionConfig::parse(
///     r#"
///     [target]
///     like = "landsat/landsat_20200308.tif"
///     bands = ["red", "nir"]
///     [process]
///     kernel = "exponential"
///     range = 300.0
///     variance = 1e-4
///     [prior]
///     mean = 0.2
///     variance = 0.05
///     [[instrument]]
///     name = "landsat"
///     files = "landsat/landsat_*.tif"
///     date = 'landsat_(\d{8})'
///     noise_variance = 1e-5
///     [output]
///     store = "fused.zarr"
///     "#,
///     "folder/of/the/file",
/// )?;
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FusionConfig {
    /// The file that it was read from, for messages.
    file: Option<PathBuf>,
    folder: PathBuf,
    text: String,
    description: Description,
    /// Where the files of each instrument are.
    sources: Vec<SourceKeys>,
    run: RunOptions,
    estimate: EstimateOptions,
}

/// How much an estimation looks at: the table `[estimate]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EstimateOptions {
    windows: Option<usize>,
    window: Option<usize>,
    scattered: Option<usize>,
    radius: Option<f64>,
    dates: Option<usize>,
    quick: bool,
    criterion: Criterion,
}

/// Tables of a file that are no part of the description.
const RUN: &str = "run";
const ESTIMATION: &str = "estimate";

impl FusionConfig {
    /// Reads a file; relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`Error::ConfigFile`] when it cannot be read, is no TOML, lacks a key that it must have, or holds an unknown
    /// key or a value of the wrong type; the message names line and key.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |problem: String| Error::ConfigFile { path: path.to_path_buf(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| failed(format!("cannot read: {error}")))?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::of(text, folder, Some(path.to_path_buf())).map_err(failed)
    }

    /// Reads TOML from a string; relative paths in it are relative to `folder`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        Self::of(text.to_owned(), folder.clone(), None).map_err(|problem| Error::ConfigFile { path: folder, problem })
    }

    fn of(text: String, folder: PathBuf, file: Option<PathBuf>) -> Result<Self, String> {
        let document = Document::parse(text.as_str()).map_err(|error| error.to_string())?;
        let described = |fault: Fault| fault.describe(&text);
        let description =
            Description::deserialize(Node::of_file(&document, Keys::But(of_others))).map_err(described)?;
        let sources = sources(&document).map_err(described)?;
        let run = table(&document, RUN).map_err(described)?;
        let estimate = table(&document, ESTIMATION).map_err(described)?;
        Ok(Self { file, folder, text, description, sources, run, estimate })
    }

    /// What it says, before any file is opened.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// How it says a run is carried out.
    #[must_use]
    pub fn options(&self) -> &RunOptions {
        &self.run
    }

    /// The same with another memory budget.
    #[must_use]
    pub fn with_memory(mut self, memory: MemoryBudget) -> Self {
        self.run.memory = memory;
        self
    }

    /// Whether a run is refused whose results may not fit on the disk (`run.check_disk`).
    #[must_use]
    pub fn checks_disk(&self) -> bool {
        self.run.check_disk
    }

    /// A result whose error, if it is of a setting, names the file.
    fn naming<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.in_description(self.file.as_deref()))
    }
}

/// Keys of a table of the description that other types read.
fn of_others(path: &str) -> &'static [&'static str] {
    match path {
        "" => &[RUN, ESTIMATION],
        "instrument" => keys_of::<SourceKeys>(),
        _ => &[],
    }
}

/// A table of the file, or what holds without it.
fn table<T: Default + for<'de> Deserialize<'de>>(document: &Document<&str>, name: &str) -> Result<T, Fault> {
    let item = document.get(name).and_then(|item| Node::of_item(item, Key::from(name), Keys::All));
    item.map_or_else(|| Ok(T::default()), T::deserialize)
}

/// Where the files of each instrument are, as its table says.
fn sources(document: &Document<&str>) -> Result<Vec<SourceKeys>, Fault> {
    let tables: Vec<&dyn TableLike> = match document.get("instrument") {
        Some(Item::ArrayOfTables(tables)) => tables.iter().map(|table| table as &dyn TableLike).collect(),
        Some(Item::Value(toml_edit::Value::Array(tables))) => {
            tables.iter().filter_map(|table| Some(table.as_inline_table()? as &dyn TableLike)).collect()
        }
        _ => Vec::new(),
    };
    let keys = |(index, table): (usize, &dyn TableLike)| {
        let name = table.get("name").and_then(Item::as_str);
        let key = name.map_or_else(|| Key::from("instrument").position(index), Key::of_instrument);
        SourceKeys::deserialize(Node::of_table(table, key, Keys::Only(keys_of::<SourceKeys>())))
    };
    tables.into_iter().enumerate().map(keys).collect()
}

/// An instrument with where its files are.
type Described<'a> = (&'a Instrument, &'a SourceKeys);
