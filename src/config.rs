//! A fusion described in TOML: the same settings as [`Fusion::builder`](crate::Fusion::builder), read from a file.
//!
//! Every key is checked; unknown keys are an error that names the key and its line.

// Without GDAL and Zarr a description can be read but not built.
#![cfg_attr(not(all(feature = "gdal", feature = "zarr")), allow(dead_code))]

#[cfg(all(feature = "gdal", feature = "zarr"))]
mod build;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod cubes;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod estimate;
mod layout;
mod missing;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod offsets;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod seasonal;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod source;
#[cfg(all(feature = "gdal", feature = "zarr"))]
mod stack;
mod values;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};
use values::{BandName, DateList, Day, Numbers, NumbersOrPath, OneOrMore, Place};

#[cfg(all(feature = "gdal", feature = "zarr"))]
pub use estimate::Estimated;
#[cfg(all(feature = "gdal", feature = "zarr"))]
pub use source::InstrumentSource;
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
    document: Document,
    /// What is left to be estimated.
    #[cfg(all(feature = "gdal", feature = "zarr"))]
    free: Option<estimate::Free>,
}

impl FusionConfig {
    /// Reads a file; relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`Error::ConfigFile`] when it cannot be read, is no TOML, lacks a key that it must have, or holds an unknown key or a value
    /// of the wrong type; the message names line and key.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |problem: String| Error::ConfigFile { path: path.to_path_buf(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| failed(format!("cannot read: {error}")))?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let config = Self::of(&text, folder, path.to_path_buf()).map_err(|error| failed(told(&text, &error)))?;
        Ok(Self { file: Some(path.to_path_buf()), ..config })
    }

    /// Reads TOML from a string; relative paths in it are relative to `folder`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let path = folder.clone();
        Self::of(text, folder.clone(), path)
            .map_err(|error| Error::ConfigFile { path: folder, problem: told(text, &error) })
    }

    /// Of the text of the file at `path`.
    #[cfg(all(feature = "gdal", feature = "zarr"))]
    fn of(text: &str, folder: PathBuf, path: PathBuf) -> Result<Self, toml::de::Error> {
        let (free, filled) = estimate::Free::find(text, path).unzip();
        let document = toml::from_str(filled.as_deref().unwrap_or(text))?;
        Ok(Self { file: None, folder, document, free })
    }

    /// Of the text of a file.
    #[cfg(not(all(feature = "gdal", feature = "zarr")))]
    fn of(text: &str, folder: PathBuf, _: PathBuf) -> Result<Self, toml::de::Error> {
        Ok(Self { file: None, folder, document: toml::from_str(text)? })
    }
}

/// What is wrong with a description: of a key that is left out, where it belongs and what to write.
fn told(text: &str, error: &toml::de::Error) -> String {
    let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    missing.and_then(|key| missing::key(text, key)).unwrap_or_else(|| error.to_string())
}

// The tables of the file, key by key. What a key means is said in the TOML reference of the documentation.

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    target: Target,
    #[serde(default)]
    time: Time,
    #[serde(default)]
    window: Window,
    process: Process,
    prior: Prior,
    seasonal: Option<Seasonal>,
    basis: Option<Basis>,
    instrument: Vec<Instrument>,
    #[serde(default)]
    smoothing: Smoothing,
    output: Output,
    #[serde(default)]
    run: Run,
    #[serde(default)]
    estimate: Estimate,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    like: Option<PathBuf>,
    crs: Option<String>,
    geotransform: Option<[f64; 6]>,
    shape: Option<[usize; 2]>,
    bands: Option<Vec<String>>,
    wavelengths_nm: Option<Vec<f64>>,
    #[serde(default = "dimensionless")]
    unit: String,
}

fn dimensionless() -> String {
    "1".into()
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    start: Option<Day>,
    end: Option<Day>,
    output: Option<DateList>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Window {
    size: usize,
    halo: usize,
    far_samples: usize,
    far_radius: f64,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: 4, halo: 4, far_samples: 0, far_radius: 0.0 }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kernel {
    Exponential,
    Matern32,
    Matern52,
    None,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    kernel: Kernel,
    range: Option<Numbers>,
    variance: Numbers,
    nugget: Option<Numbers>,
    phi: Option<Numbers>,
    #[serde(default)]
    nested: Vec<NestedTerm>,
    #[serde(default)]
    field: Vec<Field>,
    adaptive: Option<Adaptive>,
    #[serde(default)]
    inflate: bool,
    relative: Option<Relative>,
    variation: Option<Variation>,
    season: Option<Season>,
    features: Option<Features>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NestedTerm {
    kernel: Kernel,
    range: Option<Numbers>,
    variance: Numbers,
    nugget: Option<Numbers>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    kernel: Kernel,
    range: Option<Numbers>,
    variance: Numbers,
    phi: Option<Numbers>,
    prior_variance: Option<Numbers>,
    block: Option<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adaptive {
    weight: f64,
    scale: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Features {
    raster: Option<PathBuf>,
    /// The curves of the seasonal mean in its place.
    #[serde(default)]
    seasonal: bool,
    bands: Option<Vec<usize>>,
    scale: Numbers,
    #[serde(default)]
    combine: Combine,
    weight: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Combine {
    #[default]
    Times,
    Plus,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relative {
    weight: Numbers,
    level: Numbers,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Season {
    cosine: Numbers,
    sine: Numbers,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variation {
    range: f64,
    elsewhere: Option<Numbers>,
    points: Vec<VariationPoint>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariationPoint {
    at: (f64, f64),
    factor: Numbers,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prior {
    mean: NumbersOrPath,
    variance: NumbersOrPath,
    #[serde(default)]
    correlation: PriorCorrelation,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PriorCorrelation {
    #[default]
    Independent,
    Process,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seasonal {
    mean: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Basis {
    mean: PathBuf,
    matrix: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    centre_nm: Option<Vec<f64>>,
    fwhm_nm: Option<Vec<f64>>,
    table: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Instrument {
    name: String,
    preset: Option<String>,
    files: Option<String>,
    list: Option<PathBuf>,
    zarr: Option<PathBuf>,
    series: Option<PathBuf>,
    variable: Option<String>,
    variables: Option<Vec<String>>,
    dimensions: Option<Dimensions>,
    crs: Option<String>,
    dates: Option<Vec<Day>>,
    date: Option<String>,
    date_format: Option<String>,
    source_bands: Option<Vec<BandName>>,
    bands: Option<Vec<String>>,
    reproject: Option<Reproject>,
    mosaic: Option<bool>,
    resolution: Option<f64>,
    footprint: Option<Place>,
    noise_variance: Option<Numbers>,
    bias: Option<Numbers>,
    #[serde(default)]
    offset_layer: Vec<layout::OffsetLayer>,
    scale: Option<f64>,
    offset: Option<f64>,
    offset_by: Option<layout::OffsetBy>,
    nodata: Option<f64>,
    valid_range: Option<[f64; 2]>,
    missing: Option<Missing>,
    gate: Option<f64>,
    robust: Option<f64>,
    #[serde(default)]
    inflate: bool,
    response: Option<Response>,
    quality: Option<OneOrMore<layout::QualityRule>>,
    uncertainty: Option<layout::UncertaintyRule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dimensions {
    time: Option<String>,
    band: Option<String>,
    y: Option<String>,
    x: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reproject {
    Nearest,
    Bilinear,
    Cubic,
    Average,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Missing {
    Band,
    Pixel,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Smoothing {
    lag: usize,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Space {
    #[default]
    Bands,
    Components,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    store: PathBuf,
    #[serde(default)]
    space: Space,
    sd_factor: Option<Numbers>,
    #[serde(default)]
    offsets: bool,
    zarr_format: Option<u8>,
    tile: Option<[usize; 2]>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Run {
    memory: Option<values::Memory>,
    threads: usize,
    precision: Precision,
    on_error: OnError,
    checkpoint: Checkpoint,
    replay_days: Option<u32>,
    checkpoint_minutes: Option<f64>,
    keep_checkpoints: Option<usize>,
    check_disk: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnError {
    #[default]
    Abort,
    Skip,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Checkpoint {
    #[default]
    Auto,
    Full,
    Light,
    Off,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Precision {
    #[default]
    F64,
    F32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Estimate {
    windows: Option<usize>,
    window: Option<usize>,
    dates: Option<usize>,
    criterion: CriterionName,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CriterionName {
    Aic,
    #[default]
    Bic,
}
