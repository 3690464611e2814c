//! A Zarr store that grows along time, laid out as the store document says.
//!
//! Chunks are written first and hidden: what readers see is decided by the shapes in the metadata, which are rewritten only
//! when whole dates are safely on disk. A run that dies leaves a store that opens and shows the dates committed so far.

mod crs;
mod metadata;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array3, ArrayView3, s};
use serde_json::{Map, Value, json};
use zarrs::array::{Array, ArrayMetadata, CodecOptions};

use super::{FusionSink, SeriesLayout};
use crate::engine::{FusedBlock, Report};
use crate::error::{BoxedError, Error, Result};
use metadata::Documents;
use store::AtomicStore;

/// Version of the Zarr format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZarrFormat {
    /// For readers without v3, such as GDAL before 3.12 (tried with 3.6).
    V2,
    /// The default; read by zarr-python 3 and, by its documentation, GDAL from 3.12.
    #[default]
    V3,
}

/// Marks a folder whose store is being laid out.
const CLAIM: &str = ".begun";

/// Dates per chunk of the `time` coordinate.
const TIME_CHUNK: usize = 1024;

/// Writes a series to a Zarr store in a folder: `mean` and `sd` of **shape** (time, band, y, x), float32, one chunk per tile and
/// date, with CF and GeoZarr metadata.
#[derive(Debug)]
pub struct ZarrSink {
    path: PathBuf,
    format: ZarrFormat,
    series: Option<Series>,
}

/// A series that has been begun.
#[derive(Debug)]
struct Series {
    layout: SeriesLayout,
    /// Chunks, hidden until the metadata reveal them.
    chunks: Arc<AtomicStore>,
    /// Coordinates and metadata, which readers see.
    visible: Arc<AtomicStore>,
    documents: Documents,
    mean: Array<AtomicStore>,
    sd: Array<AtomicStore>,
    committed: usize,
}

impl ZarrSink {
    /// A sink that will create a Zarr v3 store at `path`. The store must not exist yet.
    #[must_use]
    pub fn create(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: ZarrFormat::V3, series: None }
    }

    /// Chooses the version of the format.
    #[must_use]
    pub fn format(mut self, format: ZarrFormat) -> Self {
        self.format = format;
        self
    }

    /// Refuses a path that holds anything already, saying what, without touching it.
    ///
    /// # Errors
    /// [`Error::StoreExists`].
    pub fn check_absent(&self) -> Result<()> {
        match describe_existing(&self.path) {
            Some(state) => Err(Error::StoreExists { path: self.path.clone(), state }),
            None => Ok(()),
        }
    }

    /// Makes the folder and claims it, so that of two runs that start at the same moment one is refused.
    fn claim(&self) -> Result<PathBuf> {
        self.check_absent()?;
        let failed = |problem: &str, error: std::io::Error| Error::Store {
            path: self.path.clone(),
            problem: format!("{problem}: {error}"),
            source: Some(Box::new(error)),
        };
        std::fs::create_dir_all(&self.path).map_err(|error| failed("cannot create the folder", error))?;
        let claim = self.path.join(CLAIM);
        match std::fs::File::create_new(&claim) {
            Ok(_) => Ok(claim),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let state = "another run has just begun it".into();
                Err(Error::StoreExists { path: self.path.clone(), state })
            }
            Err(error) => Err(failed("cannot write into the folder", error)),
        }
    }

    fn series(&self) -> Result<&Series> {
        self.series.as_ref().ok_or_else(|| not_begun(&self.path))
    }

    fn series_mut(&mut self) -> Result<&mut Series> {
        self.series.as_mut().ok_or_else(|| not_begun(&self.path))
    }
}

fn not_begun(path: &Path) -> Error {
    Error::Store { path: path.to_path_buf(), problem: "the series has not been begun".into(), source: None }
}

/// What is at the path: `None` when nothing or an empty folder.
fn describe_existing(path: &Path) -> Option<String> {
    if !path.exists() {
        return None;
    }
    let Ok(mut entries) = std::fs::read_dir(path) else {
        return Some("a file, or a folder that cannot be read".into());
    };
    let _first = entries.next()?;
    let document = ["zarr.json", ".zattrs"].iter().find_map(|name| std::fs::read(path.join(name)).ok());
    let attributes = document.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let run = attributes.as_ref().and_then(|a| a.get("attributes").unwrap_or(a).get("rasterfuse"));
    let count = |key: &str| run.and_then(|run| run.get(key)).and_then(Value::as_u64);
    let ended = run.is_some_and(|run| run.get("report").is_some());
    Some(match (count("dates_committed"), count("dates_planned")) {
        (Some(done), Some(_)) if ended => format!("a finished run with {done} dates"),
        (Some(done), Some(planned)) => format!("an unfinished run with {done} of {planned} dates"),
        _ => "not empty".into(),
    })
}

impl FusionSink for ZarrSink {
    fn begin(&mut self, layout: &SeriesLayout) -> Result<()> {
        let claim = self.claim()?;
        let (chunks, visible) = (AtomicStore::hidden(&self.path), AtomicStore::visible(&self.path));
        let (chunks, visible) = (Arc::new(chunks), Arc::new(visible));
        let documents = Documents::new(layout, self.format);
        let open = |name: &str| open_array(&chunks, name, documents.array(name, layout.dates.len()));
        let (mean, sd) = (open("mean")?, open("sd")?);
        write_coordinates(&visible, &documents, layout)?;
        let mut series = Series { layout: layout.clone(), chunks, visible, documents, mean, sd, committed: 0 };
        series.write_metadata(None)?;
        // From here on the group's own document says whose the folder is.
        std::fs::remove_file(&claim).map_err(|error| series.chunks.error(CLAIM, error))?;
        self.series = Some(series);
        Ok(())
    }

    fn append(&self, block: &FusedBlock) -> Result<()> {
        let series = self.series()?;
        let chunk = [block.time as u64, 0, block.tile.0 as u64, block.tile.1 as u64];
        let (rows, cols) = series.layout.tile_shape;
        let shape = (series.layout.bands.len(), rows, cols);
        for (array, values) in [(&series.mean, &block.mean), (&series.sd, &block.sd)] {
            // The engine has a thread per block already.
            let options = CodecOptions::default().with_concurrent_target(1);
            let name = array.path().as_str();
            let values = whole_chunk(values.view(), shape).map_err(|value| Error::Store {
                path: self.path.join(name.trim_start_matches('/')),
                problem: format!(
                    "{value:e} on {} is beyond float32; check the inputs' scale and hide absurd values with valid_range",
                    block.date
                ),
                source: None,
            })?;
            array.store_chunk_opt(&chunk, values, &options).map_err(|error| series.chunks.error(name, error))?;
        }
        Ok(())
    }

    fn commit(&mut self, dates: usize) -> Result<()> {
        let series = self.series_mut()?;
        series.chunks.sync()?;
        series.committed = dates;
        series.write_metadata(None)
    }

    fn finish(&mut self, report: &Report) -> Result<()> {
        let series = self.series_mut()?;
        series.chunks.sync()?;
        series.write_metadata(Some(report))
    }
}

impl Series {
    /// Publishes the committed dates: `time` values, then the shapes, then `time`'s, then the group with everything
    /// consolidated, each replaced atomically. A reader of the consolidated metadata sees the old number of dates or the new;
    /// one that goes array by array may, between two steps, meet arrays of different lengths.
    fn write_metadata(&mut self, report: Option<&Report>) -> Result<()> {
        let dates = &self.layout.dates[..self.committed];
        let time = open_array(&self.visible, "time", self.documents.array("time", dates.len()))?;
        for (chunk, dates) in dates.chunks(TIME_CHUNK).enumerate() {
            let mut days = vec![i64::MIN; TIME_CHUNK];
            days.iter_mut().zip(dates).for_each(|(day, date)| *day = i64::from(date.days_since_epoch()));
            store_chunk(&self.visible, &time, &[chunk as u64], days)?;
        }
        for name in ["mean", "sd", "time"] {
            self.documents.write_array(&self.visible, name, dates.len())?;
        }
        let mut run = Map::new();
        run.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        run.insert("dates_planned".into(), self.layout.dates.len().into());
        run.insert("lag".into(), self.layout.lag.into());
        run.insert("dates_committed".into(), self.committed.into());
        if let Some(report) = report {
            run.insert("report".into(), report_document(report));
        }
        self.documents.write_group(&self.visible, Value::Object(run), dates.len())
    }
}

/// Band, x, y and the grid mapping, which do not change as the series grows.
fn write_coordinates(store: &Arc<AtomicStore>, documents: &Documents, layout: &SeriesLayout) -> Result<()> {
    for (name, values) in [("y", layout.grid.y_centres()), ("x", layout.grid.x_centres())] {
        let array = open_array(store, name, documents.array(name, 0))?;
        store_chunk(store, &array, &[0], values)?;
        documents.write_array(store, name, 0)?;
    }
    documents.write_bands(store, &layout.bands)?;
    let mapping = open_array(store, "spatial_ref", documents.array("spatial_ref", 0))?;
    store_chunk(store, &mapping, &[], vec![0_i64])?;
    documents.write_array(store, "spatial_ref", 0)
}

fn open_array(store: &Arc<AtomicStore>, name: &str, document: Value) -> Result<Array<AtomicStore>> {
    let metadata: ArrayMetadata = serde_json::from_value(document).map_err(|error| store.error(name, error))?;
    Array::new_with_metadata(Arc::clone(store), &format!("/{name}"), metadata).map_err(|error| store.error(name, error))
}

fn store_chunk<T>(store: &AtomicStore, array: &Array<AtomicStore>, chunk: &[u64], values: Vec<T>) -> Result<()>
where
    T: zarrs::array::Element,
{
    array.store_chunk(chunk, values).map_err(|error| store.error(array.path().as_str(), error))
}

/// The block as float32 in the shape of a whole chunk; beyond the grid's edge NaN. `Err` with the first value too large.
fn whole_chunk(values: ArrayView3<'_, f64>, shape: (usize, usize, usize)) -> std::result::Result<Vec<f32>, f64> {
    if let Some(value) = values.iter().find(|value| value.is_finite() && !(**value as f32).is_finite()) {
        return Err(*value);
    }
    let (bands, rows, cols) = values.dim();
    let mut chunk = Array3::from_elem(shape, f32::NAN);
    chunk.slice_mut(s![..bands, ..rows, ..cols]).zip_mut_with(&values, |out, value| *out = *value as f32);
    Ok(chunk.into_raw_vec_and_offset().0)
}

/// The parts of a report that a rerun reproduces; times are not among them.
fn report_document(report: &Report) -> Value {
    let instruments = report.instruments.iter().map(|instrument| {
        let column = |of: &dyn Fn(&crate::engine::DateDiagnostics) -> Value| -> Vec<Value> {
            instrument.dates.iter().map(of).collect()
        };
        json!({
            "name": instrument.name,
            "dates": column(&|d| d.date.to_string().into()),
            "pixels": column(&|d| d.pixels.into()),
            "refused": column(&|d| d.refused.into()),
            "values": column(&|d| d.values.into()),
            "dof": column(&|d| d.dof.into()),
            "nis": column(&|d| d.nis.into()),
            "log_likelihood": column(&|d| d.log_likelihood.into()),
        })
    });
    let (windows, widened) = (report.windows, report.widened_windows);
    json!({ "windows": windows, "widened_windows": widened, "instruments": instruments.collect::<Vec<_>>() })
}

impl AtomicStore {
    /// A foreign error about something in this store.
    fn error(&self, name: &str, error: impl Into<BoxedError>) -> Error {
        let source = error.into();
        Error::Store {
            path: self.root().join(name.trim_start_matches('/')),
            problem: source.to_string(),
            source: Some(source),
        }
    }
}
