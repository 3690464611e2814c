//! A Zarr store that grows along time, in the layout of the store document.
//!
//! Chunks are written first and are hidden: the shapes in the metadata decide what readers see, and they are
//! rewritten only when all chunks of a date are safely on disk. A run that is killed leaves a store that opens and
//! shows the dates committed so far.

mod arrays;
mod chunk;
mod crs;
mod existing;
mod files;
mod group;
mod held;
mod ledger;
mod metadata;
mod overviews;
mod packing;
mod reader;
mod seasonal;
mod series;
mod sharding;
mod stamp;
mod store;
mod unpacking;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::series::{ExistingSeries, FusedBlock, FusionSink, HeldBlocks, Report, Saved, SeriesLayout};
use crate::storage::{Folder, Place, Presence};
use existing::{existing_series, group_attributes};
use held::Chunks;
pub use reader::FusedSeries;
pub use seasonal::SeasonalStore;
use series::Series;
use store::io_error;
pub use verify::{verify, verify_watched};

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
        let series = Series::open(self, layout, 0)?;
        series.write_coordinates()?;
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
        let mut series = Series::open(self, layout, visible)?;
        series.finished = self.existing()?.map_or(0, |existing| existing.finished_dates);
        // Left by a run that was killed between the last two steps of creating the store.
        series.chunks.folder().remove(CLAIM).map_err(|error| series.chunks.error(CLAIM, error))?;
        series.write_metadata(None)?;
        series.write_times()?;
        // What does not change may have been damaged.
        series.write_coordinates()?;
        self.series = Some(series);
        Ok(())
    }

    fn join(&mut self, layout: &SeriesLayout) -> Result<()> {
        self.series = Some(Series::open(self, layout, 0)?);
        Ok(())
    }

    fn append(&self, block: &FusedBlock) -> Result<()> {
        self.series()?.append(block)
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
        TILED.into_iter().chain(overviews::all()).try_for_each(|array| sweep(array, true))
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

    fn writes_in_flight(&self) -> Option<usize> {
        self.place.writes_in_flight()
    }

    fn location(&self) -> PathBuf {
        self.place.name().to_path_buf()
    }

    fn commit(&mut self, dates: usize) -> Result<()> {
        let format = self.format;
        let series = self.series_mut()?;
        let dates = series.by_whole_objects(dates);
        if dates <= series.committed && dates < series.layout.dates.len() {
            return Ok(());
        }
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
