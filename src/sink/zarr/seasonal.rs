//! Stores of seasonal means: a Zarr group of coefficients in a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{ArrayD, Axis};
use serde_json::{Map, Value, json};
use zarrs::array::{Array, ArraySubset};

use super::ZarrFormat;
use super::arrays::{open_array, store_chunk, write_texts};
use super::chunk::padded_chunk;
use super::crs::{coordinate, geozarr, grid_mapping};
use super::group::{ArrayKind, DataType, Node, object, write_group};
use super::reader::{Opening, attributes_of, refuse};
use super::store::{AtomicStore, ReadStore};
use crate::describe::Encoding;
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid, PixelRegion};
use crate::model::SeasonalFit;
use crate::seasonal::{Fingerprint, Harmonics, SeasonalMean, SeasonalTile};
use crate::source::{PassWatch, RasterSource, Slice, check_request};
use crate::storage::{Disk, Folder, Place, sync_parent};

/// Key of the group attributes that describe the mean.
const KEY: &str = "rasterfuse_seasonal";

/// Largest side of a chunk, in cells; readers decode full chunks.
const CHUNK: usize = 256;

/// The store of a [`SeasonalMean`] in a folder: a Zarr group with `coefficient` of **shape** (band, term, y, x) and
/// `scatter` of **shape** (band, y, x), float32, which xarray and GDAL read.
///
/// ```no_run
/// # fn example(target: &rasterfuse::geometry::Grid, s2: rasterfuse::describe::Instrument) -> rasterfuse::Result<()> {
/// use rasterfuse::model::SeasonalBuilder;
/// use rasterfuse::sink::SeasonalStore;
/// let fit = SeasonalBuilder::default().prepare(target, &["ndvi".into()], None, &[s2])?;
/// SeasonalStore::create("seasonal.zarr").write(&fit)?;
/// let mean = SeasonalStore::open("seasonal.zarr")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SeasonalStore {
    path: PathBuf,
    format: ZarrFormat,
}

impl SeasonalStore {
    /// A store at `path`. An existing seasonal mean is replaced once the new one is complete.
    #[must_use]
    pub fn create(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: ZarrFormat::V3 }
    }

    /// Chooses the version of the format.
    #[must_use]
    pub fn format(mut self, format: ZarrFormat) -> Self {
        self.format = format;
        self
    }

    /// Fits tile after tile, writes each tile, and opens the result. Until it is complete, the new store is in a
    /// folder with `.partial` appended.
    ///
    /// # Errors
    /// [`Error::Occupied`] when there is something else, [`Error::Store`], and the errors of reading.
    pub fn write(&self, fit: &SeasonalFit) -> Result<SeasonalMean> {
        self.write_watched(fit, &())
    }

    /// As [`write`](Self::write), followed by a watch that may end it early: then a mean that is there stays.
    ///
    /// # Errors
    /// As [`write`](Self::write); [`Error::Interrupted`] where the watch ends it.
    pub fn write_watched(&self, fit: &SeasonalFit, watch: &dyn PassWatch) -> Result<SeasonalMean> {
        let failed = |problem: &str, error: io::Error| Error::Store {
            path: self.path.clone(),
            problem: format!("{problem}: {error}"),
            source: Some(Box::new(error)),
        };
        self.check_replaceable()?;
        let mut name = self.path.file_name().map(ToOwned::to_owned).unwrap_or_default();
        name.push(".partial");
        let temporary = self.path.with_file_name(name);
        remove(&temporary).map_err(|error| failed("cannot remove the partial store of an earlier run", error))?;
        fs::create_dir_all(&temporary).map_err(|error| failed("cannot create the folder", error))?;
        let layout = SeasonalArrays::new(fit, self.format);
        layout.write(&temporary, fit, watch)?;
        remove(&self.path).map_err(|error| failed("cannot remove the mean that is replaced", error))?;
        fs::rename(&temporary, &self.path).map_err(|error| failed("cannot rename the partial store", error))?;
        sync_parent(&self.path).map_err(|error| failed("cannot sync the folder", error))?;
        Self::open(&self.path)
    }

    /// Opens a mean; reads no coefficient.
    ///
    /// # Errors
    /// [`Error::OpenStore`] when there is no seasonal mean.
    pub fn open(place: impl Into<Place>) -> Result<SeasonalMean> {
        let place = place.into();
        let folder = place.reading()?;
        let path = place.name().to_path_buf();
        let opening = Opening { path: &path, store: Arc::new(ReadStore::new(&folder)) };
        let attributes = attributes_of((&path, &*folder))?;
        let about = attributes.get(KEY);
        let about =
            about.ok_or_else(|| refuse(&path, "holds no seasonal mean; SeasonalStore::write makes one".into()))?;
        let damaged = |what: &str| refuse(&path, format!("its attributes do not give the {what}"));
        let number = |key: &str| about.get(key).and_then(Value::as_f64).ok_or_else(|| damaged(key));
        let text = |key: &str| about.get(key).and_then(Value::as_str).ok_or_else(|| damaged(key));
        let reference: Date = text("reference")?.parse()?;
        let harmonics = Harmonics::new(number("harmonics")? as usize, number("period_days")?).with_reference(reference);
        let fingerprint = u64::from_str_radix(text("fingerprint")?, 16).map_err(|_| damaged("fingerprint"))?;
        let names = about.get("components").and_then(Value::as_array).ok_or_else(|| damaged("components"))?;
        let components: Vec<String> = names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        let coefficient = opening.array("coefficient")?;
        let scatter = opening.array("scatter")?;
        let expected = [components.len() as u64, harmonics.terms() as u64];
        if coefficient.shape().get(..2) != Some(&expected) {
            return Err(refuse(&path, format!("its coefficients are not those of {expected:?} bands and terms")));
        }
        let chunk = coefficient.chunk_shape(&[0; 4]).map_err(|error| opening.failed("coefficient", error))?;
        let chunk = match chunk.as_slice() {
            [_, _, rows, cols] => (rows.get() as usize, cols.get() as usize),
            _ => return Err(refuse(&path, "its array coefficient does not have four dimensions".into())),
        };
        let grid = opening.grid(&coefficient)?;
        let bands = SeasonalMean::layer_names(&components, harmonics);
        let terms = harmonics.terms();
        let source = CoefficientBands { path, grid, dates: vec![reference], bands, coefficient, scatter, terms, chunk };
        Ok(SeasonalMean::from_source(Arc::new(source), components, harmonics, fingerprint))
    }

    /// Refuses to replace anything except a seasonal mean.
    fn check_replaceable(&self) -> Result<()> {
        let free = match fs::read_dir(&self.path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        let ours = || {
            attributes_of((&self.path, &Disk::new(&self.path))).is_ok_and(|attributes| attributes.get(KEY).is_some())
        };
        if free || ours() {
            return Ok(());
        }
        Err(Error::Occupied { path: self.path.clone(), state: "not a seasonal mean".into() })
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The arrays of a store.
struct SeasonalArrays<'a> {
    grid: &'a Grid,
    components: &'a [String],
    harmonics: Harmonics,
    chunk: (usize, usize),
    format: ZarrFormat,
}

impl<'a> SeasonalArrays<'a> {
    fn new(fit: &'a SeasonalFit, format: ZarrFormat) -> Self {
        // Tiles consist of full chunks, or of one chunk.
        let (rows, cols) = fit.tile_shape();
        let chunk = (rows.min(CHUNK), cols.min(CHUNK));
        Self { grid: fit.grid(), components: fit.components(), harmonics: fit.harmonics(), chunk, format }
    }

    fn kind(&self, name: &str) -> ArrayKind {
        let (rows, cols) = self.grid.shape();
        let crs = self.grid.crs();
        let (p, n) = (self.components.len(), self.harmonics.terms());
        let long = |text: &str| object(json!({ "long_name": text }));
        match name {
            "band" => ArrayKind::line(p, "band", DataType::for_texts(self.components), long("band or component name")),
            "term" => ArrayKind::line(n, "term", DataType::for_texts(&self.terms()), long("term of the curve")),
            "y" => ArrayKind::line(rows, "y", DataType::Float64, coordinate(crs, false)),
            "x" => ArrayKind::line(cols, "x", DataType::Float64, coordinate(crs, true)),
            "spatial_ref" => ArrayKind {
                shape: vec![],
                chunk: vec![],
                data_type: DataType::Int64,
                dimensions: vec![],
                encoding: Encoding::default(),
                attributes: grid_mapping(self.grid),
            },
            _ => {
                let coefficient = name == "coefficient";
                let text = if coefficient {
                    "coefficient of the seasonal mean: sum over terms, cosN and sinN of 2 pi N (t - reference) / period"
                } else {
                    "standard deviation of observations about the seasonal mean"
                };
                let mut attributes = long(text);
                attributes.insert("grid_mapping".into(), "spatial_ref".into());
                // rioxarray finds the CRS only when the grid mapping is a coordinate.
                attributes.insert("coordinates".into(), "spatial_ref".into());
                if !crs.is_unknown() {
                    // For GDAL before 3.9.
                    attributes.insert("_CRS".into(), json!({ "wkt": crs.wkt() }));
                }
                attributes.extend(geozarr(self.grid));
                let (terms, dimension) = if coefficient { (vec![n], vec!["term"]) } else { (vec![], vec![]) };
                let around = |rows: usize, cols: usize| [vec![p], terms.clone(), vec![rows, cols]].concat();
                ArrayKind {
                    shape: around(rows, cols),
                    chunk: around(self.chunk.0, self.chunk.1),
                    data_type: DataType::Float32,
                    dimensions: [vec!["band"], dimension, vec!["y", "x"]].concat(),
                    encoding: Encoding::default(),
                    attributes,
                }
            }
        }
    }

    fn terms(&self) -> Vec<String> {
        self.harmonics.names().collect()
    }

    /// Writes coordinates, then tiles as they are fitted, and last the document of the group.
    fn write(&self, folder: &Path, fit: &SeasonalFit, watch: &dyn PassWatch) -> Result<()> {
        const ARRAYS: [&str; 7] = ["coefficient", "scatter", "band", "term", "y", "x", "spatial_ref"];
        let folder: Arc<dyn Folder> = Arc::new(Disk::new(folder));
        let store = Arc::new(AtomicStore::hidden(folder));
        for name in ARRAYS {
            self.kind(name).write(&store, name, self.format)?;
        }
        for (name, texts) in [("band", self.components), ("term", &self.terms())] {
            write_texts(&store, name, texts, (self.format, self.kind(name).document(self.format)))?;
        }
        for (name, values) in [("y", self.grid.y_centres()), ("x", self.grid.x_centres())] {
            store_chunk(&store, &self.open(&store, name)?, &[0], values)?;
        }
        store_chunk(&store, &self.open(&store, "spatial_ref")?, &[], vec![0_i64])?;
        let (coefficient, scatter) = (self.open(&store, "coefficient")?, self.open(&store, "scatter")?);
        let mut fingerprint = Fingerprint::default();
        for tile in fit.tiles_watched(watch) {
            let tile = tile?;
            fingerprint.add(&tile);
            self.write_tile(&store, (&coefficient, &scatter), &tile)?;
        }
        store.sync()?;
        let mut attributes = geozarr(self.grid);
        attributes.insert("Conventions".into(), "CF-1.11".into());
        attributes.insert(KEY.into(), Value::Object(self.about(fingerprint)));
        let array = |name: &str| (name.to_owned(), Node::Array(self.kind(name)));
        write_group(&store, "", &attributes, &ARRAYS.map(array), self.format)?;
        store.sync()
    }

    fn about(&self, fingerprint: Fingerprint) -> Map<String, Value> {
        object(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "harmonics": self.harmonics.count(),
            "period_days": self.harmonics.period_days(),
            "reference": self.harmonics.reference().to_string(),
            "components": self.components,
            "fingerprint": format!("{:016x}", fingerprint.0)
        }))
    }

    fn open(&self, store: &Arc<AtomicStore>, name: &str) -> Result<Array<AtomicStore>> {
        open_array(store, name, self.kind(name).document(self.format))
    }

    /// Writes a tile, chunk by chunk.
    fn write_tile(
        &self,
        store: &AtomicStore,
        (coefficient, scatter): (&Array<AtomicStore>, &Array<AtomicStore>),
        tile: &SeasonalTile,
    ) -> Result<()> {
        let (height, width) = self.chunk;
        let SeasonalTile { region, coefficients, scatter: spread, .. } = tile;
        let (p, n) = (self.components.len(), self.harmonics.terms());
        let (rows, cols) = region.shape();
        for (row, col) in (0..rows).step_by(height).flat_map(|row| (0..cols).step_by(width).map(move |col| (row, col)))
        {
            let part = ndarray::s![.., row..(row + height).min(rows), col..(col + width).min(cols)];
            let (y, x) = ((region.rows.start + row) / height, (region.cols.start + col) / width);
            let mut chunk = Vec::with_capacity((p * n * height * width).max(1));
            for component in coefficients.axis_iter(Axis(0)) {
                chunk.extend(self.padded(component.slice(part).mapv(f64::from).view(), "coefficient")?);
            }
            store_chunk(store, coefficient, &[0, 0, y as u64, x as u64], chunk)?;
            let chunk = self.padded(spread.slice(part).mapv(f64::from).view(), "scatter")?;
            store_chunk(store, scatter, &[0, y as u64, x as u64], chunk)?;
        }
        Ok(())
    }

    fn padded(&self, values: ndarray::ArrayView3<'_, f64>, name: &str) -> Result<Vec<f32>> {
        padded_chunk(values, (values.dim().0, self.chunk.0, self.chunk.1)).map_err(|value| Error::Store {
            path: PathBuf::from(name),
            problem: format!(
                "{value:e} is beyond float32; check the inputs' scale and hide absurd values with valid_range"
            ),
            source: None,
        })
    }
}

/// The layers of a store as bands: for each component its coefficients, then its scatter.
#[derive(Debug)]
struct CoefficientBands {
    path: PathBuf,
    grid: Grid,
    /// The reference date of phases.
    dates: Vec<Date>,
    bands: Vec<String>,
    coefficient: Array<ReadStore>,
    scatter: Array<ReadStore>,
    terms: usize,
    chunk: (usize, usize),
}

impl RasterSource for CoefficientBands {
    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dates(&self) -> &[Date] {
        &self.dates
    }

    fn bands(&self) -> &[String] {
        &self.bands
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        check_request(self, date, bands, region)?;
        let (rows, cols) = region.shape();
        let mut values = ndarray::Array3::zeros((bands.len(), rows, cols));
        let cells =
            [region.rows.start as u64..region.rows.end as u64, region.cols.start as u64..region.cols.end as u64];
        // A chunk holds all layers, so each array is read once.
        let held = self.terms + 1;
        let read = |array: &Array<ReadStore>, layers: &[u64]| -> Result<ArrayD<f32>> {
            let subset = layers.iter().map(|n| 0..*n).chain(cells.iter().cloned()).collect::<Vec<_>>();
            array.retrieve_array_subset(&ArraySubset::new_with_ranges(&subset)).map_err(|error| Error::Read {
                origin: self.origin(),
                date,
                band: array.path().as_str().trim_start_matches('/').into(),
                rows: region.rows.clone(),
                cols: region.cols.clone(),
                problem: error.to_string(),
                source: Some(Box::new(error)),
            })
        };
        let components = (self.bands.len() / held) as u64;
        let any = |of: &dyn Fn(usize) -> bool| bands.iter().any(|&band| of(band % held));
        let coefficient = any(&|term| term < self.terms)
            .then(|| read(&self.coefficient, &[components, self.terms as u64]))
            .transpose()?;
        let scatter = any(&|term| term == self.terms).then(|| read(&self.scatter, &[components])).transpose()?;
        for (mut out, &band) in values.axis_iter_mut(Axis(0)).zip(bands) {
            let (component, term) = (band / held, band % held);
            let layers = if term < self.terms { &coefficient } else { &scatter };
            let Some(layers) = layers else { continue };
            let mut plane = layers.index_axis(Axis(0), component);
            if term < self.terms {
                plane = plane.index_axis_move(Axis(0), term);
            }
            for (out, value) in out.iter_mut().zip(plane.iter()) {
                *out = f64::from(*value);
            }
        }
        Ok(Slice::new(date, region.clone(), values))
    }

    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        Some(self.chunk)
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        // Each reader decodes one chunk of either array at a time.
        readers as u64 * self.bands.len() as u64 * (self.chunk.0 * self.chunk.1 * size_of::<f32>()) as u64
    }

    fn scratch_bytes(&self, bands: usize, (rows, cols): (u64, u64)) -> u64 {
        let _ = bands;
        rows.saturating_mul(cols).saturating_mul((self.bands.len() * size_of::<f32>()) as u64)
    }
}
