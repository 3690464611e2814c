//! A Zarr store that grows along time, in the layout of the store document.
//!
//! Chunks are written first and are hidden: the shapes in the metadata decide what readers see, and they are
//! rewritten only when all chunks of a date are safely on disk. A run that is killed leaves a store that opens and
//! shows the dates committed so far.

mod chunk;
mod crs;
mod existing;
mod group;
mod held;
mod ledger;
mod metadata;
mod packing;
mod reader;
mod seasonal;
mod stamp;
mod store;
mod unpacking;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use zarrs::array::{Array, ArrayMetadata};

use crate::describe::{Encoding, OutputSpace};
use crate::error::{BoxedError, Error, Result};
use crate::series::{
    ExistingSeries, FusedBlock, FusionSink, HeldBlocks, Report, Saved, SeriesIdentity, SeriesLayout, StoredReport,
    digest,
};
use crate::storage::{Folder, Place, Presence};
use existing::{existing_series, group_attributes};
use group::fixed_width;
use held::Chunks;
use ledger::Ledger;
use metadata::Documents;
use packing::{Lost, Numbers, pack};
pub use reader::FusedSeries;
pub use seasonal::SeasonalStore;
use store::{AtomicStore, io_error};
pub use verify::verify;

/// Version of the Zarr format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZarrFormat {
    /// For readers without v3, such as GDAL before 3.12 (tested with 3.6).
    V2,
    /// The default; read by zarr-python 3 and, by its documentation, GDAL from 3.12.
    #[default]
    V3,
}

/// Marks a folder as owned by this crate until its own metadata does.
const CLAIM: &str = ".begun";

/// Arrays that may have a chunk for each tile and date, in the order of their records.
const TILED: [&str; 5] = ["mean", "sd", "cov", "offset", "offset_sd"];

/// Dates per chunk of the `time` coordinate.
const TIME_CHUNK: usize = 1024;

/// Writes a series to a Zarr store in a folder: `mean` and `sd` of **shape** (time, band, y, x), float32, one chunk
/// per tile and date, with CF and GeoZarr metadata. Where components are output: `mean` of **shape** (time,
/// component, y, x), `cov` of **shape** (time, pair, y, x), and the basis.
///
/// ```
/// # use rasterfuse::geometry::{Crs, Date, Grid};
/// # use rasterfuse::source::MemorySource;
/// # let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
/// # let days = vec![Date::from_days(0), Date::from_days(2)];
/// # let source = MemorySource::new(grid.clone(), days, vec!["red".into()], ndarray::Array4::from_elem((2, 1, 8, 8), 0.2))?;
/// # use rasterfuse::{Fusion, describe::{Instrument, Kernel, Prior, Process}};
/// # let fusion = Fusion::builder(grid)
/// #     .process(Process::new(Kernel::Exponential, 100.0, 1e-4))
/// #     .prior(Prior::new(0.3, 0.05))
/// #     .instrument(Instrument::new("fine", source).noise_variance(1e-5))
/// #     .build()?;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("fused.zarr");
/// use rasterfuse::sink::{FusedSeries, ZarrSink};
/// use rasterfuse::source::RasterSource;
///
/// fusion.run(&mut ZarrSink::create(&path))?; // a path such as "fused.zarr"
/// let series = FusedSeries::open(&path)?;
/// let (mean, sd) = series.values(series.dates()[1], &[0], &series.grid().region())?; // (band, y, x)
/// assert!((mean[(0, 4, 4)] - 0.2).abs() < 0.01 && sd[(0, 4, 4)] < 0.02);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Debug)]
pub struct ZarrSink {
    place: Place,
    format: ZarrFormat,
    series: Option<Series>,
}

/// A series that has been started.
#[derive(Debug)]
struct Series {
    layout: SeriesLayout,
    /// Chunks, hidden until the metadata include them.
    chunks: Arc<AtomicStore>,
    /// Coordinates and metadata, which readers see.
    visible: Arc<AtomicStore>,
    documents: Documents,
    mean: Array<AtomicStore>,
    uncertainty: Array<AtomicStore>,
    /// Means and standard deviations of offsets.
    offsets: Option<(Array<AtomicStore>, Array<AtomicStore>)>,
    /// What is recorded of chunks.
    ledger: Ledger,
    /// Values that the type of the store cannot hold.
    lost: Lost,
    committed: usize,
    /// Number of dates at the end of the last completed run.
    finished: usize,
}

impl ZarrSink {
    /// A sink with a Zarr v3 store at a place, such as a path, which a new run creates and other runs resume or extend.
    /// Checkpoints are stored next to it, in the folder of the same name with `.state` appended.
    #[must_use]
    pub fn create(place: impl Into<Place>) -> Self {
        Self { place: place.into(), format: ZarrFormat::V3, series: None }
    }

    /// Where the store is, for readers: [`FusedSeries::open`], [`verify`].
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Chooses the version of the format.
    #[must_use]
    pub fn format(mut self, format: ZarrFormat) -> Self {
        self.format = format;
        self
    }

    /// Cells per tile of the existing store, for a [`Fusion`](crate::Fusion) that resumes or extends it: a planner
    /// with other memory would choose other tiles.
    ///
    /// # Errors
    /// [`Error::Occupied`] when there is something other than a series of this crate.
    pub fn tile_shape(&self) -> Result<Option<(usize, usize)>> {
        let Some(existing) = self.existing()? else { return Ok(None) };
        let tile = existing.settings.get("output.tile");
        Ok(tile.and_then(|text| serde_json::from_str(text).ok()))
    }

    /// Refuses a path that holds anything already, without touching it. The error says what is there.
    ///
    /// # Errors
    /// [`Error::StoreExists`], [`Error::Occupied`].
    pub fn check_absent(&self) -> Result<()> {
        match self.existing()? {
            Some(existing) => Err(Error::StoreExists { path: self.location(), state: existing.describe() }),
            None => Ok(()),
        }
    }

    /// Marks the folder as owned.
    fn claim(&self) -> Result<Arc<dyn Folder>> {
        self.check_absent()?;
        let folder = self.place.folder()?;
        let failed = |problem: &str, error: io::Error| io_error(self.place.name(), problem, error);
        folder.make().map_err(|error| failed("cannot create the folder", error))?;
        // One that is there was left by a run that was killed.
        folder.create(CLAIM, b"").map_err(|error| failed("cannot write into the folder", error))?;
        Ok(folder)
    }

    /// The series in memory; nothing has been written yet.
    fn open(&self, layout: &SeriesLayout, committed: usize) -> Result<Series> {
        let folder = self.place.folder()?;
        let chunks = AtomicStore::stamped(Arc::clone(&folder));
        let (chunks, visible) = (Arc::new(chunks), Arc::new(AtomicStore::visible(folder, ledger::FOLDER)));
        let documents = Documents::new(layout, self.format);
        let open = |name: &str| open_array(&chunks, name, documents.array(name, layout.dates.len()));
        let (mean, uncertainty) = (open("mean")?, open(documents.uncertainty())?);
        let offsets = if layout.offsets.is_empty() { None } else { Some((open("offset")?, open("offset_sd")?)) };
        let ledger = Ledger::new(Arc::clone(&chunks), &layout.identity.id, documents.tiled().len());
        let layout = layout.clone();
        let (lost, finished) = (Lost::default(), 0);
        Ok(Series { layout, chunks, visible, documents, mean, uncertainty, offsets, ledger, lost, committed, finished })
    }

    fn series(&self) -> Result<&Series> {
        self.series.as_ref().ok_or_else(|| not_begun(self.place.name()))
    }

    fn series_mut(&mut self) -> Result<&mut Series> {
        self.series.as_mut().ok_or_else(|| not_begun(self.place.name()))
    }
}

fn not_begun(path: &Path) -> Error {
    Error::Store { path: path.to_path_buf(), problem: "the series has not been started".into(), source: None }
}

impl FusionSink for ZarrSink {
    fn existing(&self) -> Result<Option<ExistingSeries>> {
        let foreign = |state: &str| Err(Error::Occupied { path: self.location(), state: state.into() });
        let folder = self.place.folder()?;
        // What cannot be looked at is not absent: checkpoints of it may be there.
        let cannot = |error| io_error(folder.path(), "cannot tell whether it exists", error);
        match folder.presence().map_err(cannot)? {
            Presence::Nothing | Presence::Empty => return Ok(None),
            Presence::File => return foreign("a file"),
            Presence::Filled => {}
        }
        match group_attributes(&*folder) {
            Ok(Some(attributes)) => existing_series(&attributes).map(Some).or_else(|problem| foreign(&problem)),
            // A run was killed while it created the store.
            Ok(None) if folder.has(CLAIM).map_err(cannot)? => Ok(None),
            Ok(None) => foreign("not empty"),
            Err(problem) => foreign(&format!("not empty: {problem}")),
        }
    }

    fn begin(&mut self, layout: &SeriesLayout) -> Result<()> {
        let folder = self.claim()?;
        let mut series = self.open(layout, 0)?;
        write_coordinates(&series.visible, &series.documents, layout)?;
        series.write_times()?;
        series.write_metadata(None)?;
        // From here on the document of the group marks the folder as owned.
        folder.remove(CLAIM).map_err(|error| series.chunks.error(CLAIM, error))?;
        self.series = Some(series);
        Ok(())
    }

    fn reopen(&mut self, layout: &SeriesLayout, visible: usize) -> Result<()> {
        if visible > layout.dates.len() {
            let problem = format!("{visible} dates are visible, but the run is for {}", layout.dates.len());
            return Err(Error::CannotContinue { path: self.location(), problem, remedy: None });
        }
        let mut series = self.open(layout, visible)?;
        series.finished = self.existing()?.map_or(0, |existing| existing.finished_dates);
        // Left by a run that was killed between the last two steps of creating the store.
        series.chunks.folder().remove(CLAIM).map_err(|error| series.chunks.error(CLAIM, error))?;
        series.write_metadata(None)?;
        series.write_times()?;
        // What does not change may have been damaged.
        write_coordinates(&series.visible, &series.documents, layout)?;
        self.series = Some(series);
        Ok(())
    }

    fn join(&mut self, layout: &SeriesLayout) -> Result<()> {
        self.series = Some(self.open(layout, 0)?);
        Ok(())
    }

    fn append(&self, block: &FusedBlock) -> Result<()> {
        let series = self.series()?;
        let chunk = [block.time as u64, 0, block.tile.0 as u64, block.tile.1 as u64];
        let mut stamps = Vec::with_capacity(4);
        for (arrays, values) in series.packed(block)? {
            for (array, values) in arrays.into_iter().zip(values) {
                let key = array.chunk_key(&chunk);
                values.store(array, &chunk).map_err(|error| series.chunks.error(key.as_str(), error))?;
                // A chunk of nothing but missing values is not stored.
                stamps.push(series.chunks.take_stamp(&key).unwrap_or_default());
            }
        }
        series.ledger.set(block.tile, block.time, &stamps)
    }

    fn held(&self, layout: &SeriesLayout, tile: (usize, usize), dates: usize) -> Result<HeldBlocks> {
        let folder = self.place.folder()?;
        let chunks = Chunks::new(&*folder, layout, self.format);
        chunks.held(tile, 0..dates.min(layout.dates.len()))
    }

    fn saved(&self, tile: (usize, usize), saved: Saved) -> Result<()> {
        self.series()?.ledger.save(tile, saved)
    }

    fn sweep(&self) -> Result<()> {
        let folder = self.place.folder()?;
        let sweep = |within: &str, deep: bool| {
            let failed = |error| io_error(&folder.path_of(within), "cannot remove what a killed run has left", error);
            folder.sweep(within, deep).map_err(failed)
        };
        sweep(ledger::FOLDER, false)?;
        // Only a run that has not ended was killed among its chunks.
        if self.existing()?.is_none_or(|existing| existing.finished) {
            return Ok(());
        }
        TILED.iter().try_for_each(|array| sweep(array, true))
    }

    fn flush(&self) -> Result<()> {
        self.series()?.sync()
    }

    fn settings(&self) -> Vec<(String, String)> {
        let format = match self.format {
            ZarrFormat::V2 => "2",
            ZarrFormat::V3 => "3",
        };
        vec![("output.zarr_format".into(), format.into())]
    }

    fn state_folder(&self) -> Option<Place> {
        self.place.folder().ok()?;
        Some(self.place.beside(".state"))
    }

    fn location(&self) -> PathBuf {
        self.place.name().to_path_buf()
    }

    fn commit(&mut self, dates: usize) -> Result<()> {
        let format = self.format;
        let series = self.series_mut()?;
        series.sync()?;
        let chunks = Chunks::new(series.chunks.folder(), &series.layout, format);
        let mut held = HeldBlocks::default();
        for tile in series.layout.tiles() {
            held.merge(chunks.held(tile, series.committed..dates)?);
        }
        if held.count > 0 {
            return Err(Error::Incomplete { path: self.location(), faults: held.faults, count: held.count });
        }
        series.committed = dates;
        series.write_metadata(None)
    }

    fn notes(&self) -> Vec<String> {
        self.series.iter().filter_map(|series| series.lost.note(&series.layout.encoding)).collect()
    }

    fn finish(&mut self, report: &Report) -> Result<()> {
        let series = self.series_mut()?;
        series.sync()?;
        series.finished = series.committed;
        series.layout.identity.replaying = false;
        series.write_metadata(Some(report))
    }
}

/// Arrays of means and of their uncertainties, and a chunk of each.
type Packed<'a> = ([&'a Array<AtomicStore>; 2], [Numbers; 2]);

impl Series {
    /// The chunks of a block.
    fn packed(&self, block: &FusedBlock) -> Result<Vec<Packed<'_>>> {
        let SeriesLayout { tile_shape, encoding, .. } = &self.layout;
        let pair = |arrays: [&'_ Array<AtomicStore>; 2], values, encoding| {
            pack(values, *tile_shape, encoding, &self.lost).map_err(|(k, value)| Error::Store {
                path: self.chunks.folder().path_of(arrays[k].path().as_str().trim_start_matches('/')),
                problem: format!(
                    "{value:e} on {} is beyond float32; check the inputs' scale and hide absurd values with valid_range",
                    block.date
                ),
                source: None,
            })
        };
        let fused = [&self.mean, &self.uncertainty];
        let mut packed = vec![(fused, pair(fused, (block.mean.view(), block.uncertainty.view()), encoding)?)];
        if let Some(((mean, sd), offsets)) = self.offsets.as_ref().zip(block.offsets.as_ref()) {
            let values = (offsets.mean.view(), offsets.sd.view());
            packed.push(([mean, sd], pair([mean, sd], values, &Encoding::float32())?));
        }
        Ok(packed)
    }

    /// Waits until chunks and their records are on the disk.
    fn sync(&self) -> Result<()> {
        self.ledger.flush()?;
        self.chunks.sync()
    }

    /// Writes the `time` values of all planned dates; the shape reveals the committed ones. Values that readers see
    /// are never removed.
    fn write_times(&self) -> Result<()> {
        let dates = &self.layout.dates;
        let time = open_array(&self.visible, "time", self.documents.array("time", dates.len()))?;
        for (chunk, dates) in dates.chunks(TIME_CHUNK).enumerate() {
            let mut days = vec![i64::MIN; TIME_CHUNK];
            days.iter_mut().zip(dates).for_each(|(day, date)| *day = i64::from(date.days_since_epoch()));
            store_chunk(&self.visible, &time, &[chunk as u64], days)?;
        }
        Ok(())
    }

    /// Publishes the committed dates: first the shapes of the arrays, then that of `time`, then the group with all
    /// metadata consolidated; each file is replaced atomically. A reader of the consolidated metadata sees the old
    /// number of dates or the new one. A reader that opens single arrays may, between two steps, find arrays of
    /// different lengths.
    fn write_metadata(&mut self, report: Option<&Report>) -> Result<()> {
        let dates = &self.layout.dates[..self.committed];
        for name in self.documents.tiled().into_iter().chain(["time"]) {
            self.documents.write_array(&self.visible, name, dates.len())?;
        }
        let mut run = Map::new();
        let SeriesIdentity { id, generation, replaying } = &self.layout.identity;
        run.insert("series_id".into(), id.as_str().into());
        run.insert("series_generation".into(), (*generation).into());
        if *replaying {
            run.insert("series_replaying".into(), true.into());
        }
        run.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        run.insert("dates_planned".into(), self.layout.dates.len().into());
        run.insert("end".into(), self.layout.dates.last().map(ToString::to_string).into());
        run.insert("dates_digest".into(), digest(&self.layout.dates).into());
        run.insert("lag".into(), self.layout.lag.into());
        run.insert("bands".into(), self.layout.bands.clone().into());
        if !self.layout.indices.is_empty() {
            let indices = self.layout.indices.iter().map(|index| (index.name.clone(), index.expression.clone().into()));
            run.insert("indices".into(), Value::Object(indices.collect()));
        }
        run.insert("space".into(), self.layout.space.to_string().into());
        run.insert("dates_committed".into(), self.committed.into());
        run.insert("dates_settled".into(), self.layout.settled(self.committed).into());
        run.insert("dates_finished".into(), self.finished.into());
        let settings = self.layout.settings.iter().map(|(key, value)| (key.to_owned(), value.into()));
        run.insert("settings".into(), Value::Object(settings.collect()));
        let run = Run { keys: run, report: report.map(StoredReport) };
        self.documents.write_group(&self.visible, &run, dates.len())
    }
}

/// The attribute that describes the run.
#[derive(Serialize)]
struct Run<'a> {
    #[serde(flatten)]
    keys: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<StoredReport<'a>>,
}

/// Bands, their basis, x, y and the grid mapping, which do not change when the series grows.
fn write_coordinates(store: &Arc<AtomicStore>, documents: &Documents, layout: &SeriesLayout) -> Result<()> {
    let arrays = SingleChunkArrays { store, documents };
    arrays.write("y", layout.grid.y_centres())?;
    arrays.write("x", layout.grid.x_centres())?;
    documents.write_all_names(store)?;
    if let Some((basis, name)) = layout.basis.as_ref().zip(documents.wavelengths()) {
        let none = layout.indices.iter().map(|_| f64::NAN);
        arrays.write(name, basis.wavelengths_nm().iter().copied().chain(none).collect())?;
        if layout.space == OutputSpace::Components {
            arrays.write("basis", basis.matrix().iter().map(|value| *value as f32).collect())?;
            arrays.write("basis_mean", basis.mean().iter().map(|value| *value as f32).collect())?;
        }
    }
    arrays.write("spatial_ref", vec![0_i64])
}

/// Writes arrays that consist of one chunk.
struct SingleChunkArrays<'a> {
    store: &'a Arc<AtomicStore>,
    documents: &'a Documents,
}

impl SingleChunkArrays<'_> {
    fn write<T: zarrs::array::Element>(&self, name: &str, values: Vec<T>) -> Result<()> {
        let array = open_array(self.store, name, self.documents.array(name, 0))?;
        store_chunk(self.store, &array, &vec![0; array.dimensionality()], values)?;
        self.documents.write_array(self.store, name, 0)
    }
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

/// Writes texts as the only chunk of an array; with the version of the format and the array's document.
fn write_texts(
    store: &Arc<AtomicStore>,
    name: &str,
    texts: &[String],
    (format, document): (ZarrFormat, Value),
) -> Result<()> {
    match format {
        ZarrFormat::V2 => store.write(&format!("{name}/0"), &fixed_width(texts)),
        ZarrFormat::V3 => store_chunk(store, &open_array(store, name, document)?, &[0], texts.to_vec()),
    }
}

impl AtomicStore {
    /// An error of another library about an item of this store.
    fn error(&self, name: &str, error: impl Into<BoxedError>) -> Error {
        let source = error.into();
        Error::Store {
            path: self.folder().path_of(name.trim_start_matches('/')),
            problem: source.to_string(),
            source: Some(source),
        }
    }
}
