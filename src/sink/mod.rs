//! Where results go. Imports the types of [`crate::engine`] that it is handed.

mod judged;
mod memory;
mod truth;
#[cfg(feature = "zarr")]
mod zarr;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::{FusedBlock, OutputSpace, Report, Settings};
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid};
use crate::model::SpectralBasis;

pub use judged::JudgedSink;
pub use memory::MemorySink;
pub use truth::Truth;
#[cfg(all(feature = "config", feature = "gdal", feature = "zarr"))]
pub(crate) use zarr::replace;
#[cfg(feature = "zarr")]
pub use zarr::{FusedSeries, SeasonalStore, ZarrFormat, ZarrSink};

/// What a sink is told before the first block.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SeriesLayout {
    /// The target grid.
    pub grid: Grid,
    /// Names of the bands.
    pub bands: Vec<String>,
    /// The spectral basis of the bands, where there is one.
    pub basis: Option<Arc<SpectralBasis>>,
    /// What blocks hold: bands, or components of the basis.
    pub space: OutputSpace,
    /// Unit of the bands.
    pub unit: String,
    /// Instrument and band of each offset that blocks hold beside; none by default.
    pub offsets: Vec<String>,
    /// Dates in order.
    pub dates: Vec<Date>,
    /// Dates of the axis that each result waited for; 0 when it was filtered.
    pub lag: usize,
    /// Cells per tile (rows, columns): blocks come in this shape, clipped at the grid's edge.
    pub tile_shape: (usize, usize),
    /// What the series is made with.
    pub settings: Settings,
}

impl SeriesLayout {
    /// Layers of a block's means and of its uncertainties.
    #[must_use]
    pub fn layers(&self) -> (usize, usize) {
        let components = self.basis.as_ref().map_or(self.bands.len(), |basis| basis.components());
        self.space.layers(self.bands.len(), components)
    }

    /// How many of the first `dates` dates will not change when the series is appended to: with a lag, the last ones of a
    /// series wait for dates to come.
    #[must_use]
    pub fn settled(&self, dates: usize) -> usize {
        dates.min(self.dates.len().saturating_sub(self.lag))
    }
}

/// A series that a sink holds already.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExistingSeries {
    /// What it was made with; empty when it does not say.
    pub settings: Settings,
    /// Dates planned, and the last of them.
    pub planned: (usize, Date),
    /// [`digest`] of the dates planned.
    pub dates_digest: u32,
    /// Dates that readers see.
    pub visible: usize,
    /// Of them, those that will not change when the series is appended to.
    pub settled: usize,
    /// Whether its run has ended.
    pub finished: bool,
    /// Dates that it had when a run ended the last time; 0 when none has.
    pub finished_dates: usize,
}

impl ExistingSeries {
    /// `a finished run with 33 dates` and the like.
    #[must_use]
    pub fn describe(&self) -> String {
        let (visible, (planned, _)) = (self.visible, self.planned);
        if self.finished {
            format!("a finished run with {visible} dates")
        } else {
            format!("an unfinished run with {visible} of {planned} dates")
        }
    }

    /// How many of `dates` the series was not planned for; `None` where its own are not the first of them.
    #[must_use]
    pub fn new_dates(&self, dates: &[Date]) -> Option<usize> {
        let planned = dates.get(..self.planned.0)?;
        (digest(planned) == self.dates_digest).then(|| dates.len() - planned.len())
    }
}

/// A number that two lists of dates share only when they are the same, or by an unlikely chance.
#[must_use]
pub fn digest(dates: &[Date]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    dates.iter().for_each(|date| hasher.update(&date.days_since_epoch().to_le_bytes()));
    hasher.finalize()
}

/// Takes fused blocks and makes them last.
///
/// The engine calls [`begin`](Self::begin) or [`reopen`](Self::reopen) once; [`append`](Self::append) for every block, from
/// several threads at once, never twice for the same tile and date; [`commit`](Self::commit) when the first so many dates
/// are whole, with a growing number; [`finish`](Self::finish) once when all is written. After an error nothing more is called.
/// Only committed dates may be visible to readers.
///
/// ```
/// # use rasterfuse::geometry::{Crs, Date, Grid};
/// # use rasterfuse::source::MemorySource;
/// # let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
/// # let days = vec![Date::from_days(0), Date::from_days(2)];
/// # let source = MemorySource::new(grid.clone(), days, vec!["red".into()], ndarray::Array4::from_elem((2, 1, 8, 8), 0.2))?;
/// # use rasterfuse::{Fusion, model::{Instrument, Kernel, Prior, Process}};
/// # let fusion = Fusion::builder(grid)
/// #     .process(Process::new(Kernel::Exponential, 100.0, 1e-4))
/// #     .prior(Prior::new(0.3, 0.05))
/// #     .instrument(Instrument::new("fine", source).noise_variance(1e-5))
/// #     .build()?;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use rasterfuse::Result;
/// use rasterfuse::engine::{FusedBlock, Report};
/// use rasterfuse::sink::{FusionSink, SeriesLayout};
///
/// /// Counts cells that are well known.
/// #[derive(Debug, Default)]
/// struct Known(AtomicUsize);
///
/// impl FusionSink for Known {
///     fn begin(&mut self, layout: &SeriesLayout) -> Result<()> {
///         println!("{} dates of {:?}", layout.dates.len(), layout.bands);
///         Ok(())
///     }
///     fn append(&self, block: &FusedBlock) -> Result<()> {
///         self.0.fetch_add(block.uncertainty.iter().filter(|sd| **sd < 0.02).count(), Ordering::Relaxed);
///         Ok(())
///     }
///     fn commit(&mut self, dates: usize) -> Result<()> {
///         println!("{dates} dates are whole");
///         Ok(())
///     }
///     fn finish(&mut self, report: &Report) -> Result<()> {
///         println!("{report}");
///         Ok(())
///     }
/// }
///
/// let mut known = Known::default();
/// fusion.run(&mut known)?;
/// assert_eq!(known.0.into_inner(), 3 * 64);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
pub trait FusionSink: Debug + Send + Sync {
    /// Prepares for a new series.
    ///
    /// # Errors
    /// [`Error::StoreExists`] when there is a series already that may be gone on with, [`Error::CannotContinue`] when it may not,
    /// [`Error::Store`] when it cannot be created.
    fn begin(&mut self, layout: &SeriesLayout) -> Result<()>;

    /// The series that is there already. Default: none.
    ///
    /// # Errors
    /// [`Error::Occupied`] when there is something that is no series of this crate.
    fn existing(&self) -> Result<Option<ExistingSeries>> {
        Ok(None)
    }

    /// Goes on with the series that is there, whose first `visible` dates stay visible; later ones, if readers saw any, are
    /// about to change and are hidden. Default: an error.
    ///
    /// # Errors
    /// [`Error::CannotContinue`] when the sink cannot, [`Error::Store`] when it fails.
    fn reopen(&mut self, layout: &SeriesLayout, visible: usize) -> Result<()> {
        let _ = (layout, visible);
        let problem = "this sink cannot go on with a series; begin a new one".into();
        Err(Error::CannotContinue { path: self.place(), problem, remedy: None })
    }

    /// Gets ready to take blocks of a series that another process has begun and will commit. Default: an error.
    ///
    /// # Errors
    /// As [`reopen`](Self::reopen).
    fn join(&mut self, layout: &SeriesLayout) -> Result<()> {
        self.reopen(layout, 0)
    }

    /// Takes one block.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be written.
    fn append(&self, block: &FusedBlock) -> Result<()>;

    /// Waits until all blocks taken so far will outlive a power loss. Default: nothing to wait for.
    ///
    /// # Errors
    /// [`Error::Store`] when it fails.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Makes the first `dates` dates visible; every block of theirs has been appended.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be written.
    fn commit(&mut self, dates: usize) -> Result<()>;

    /// Ends the series.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be written.
    fn finish(&mut self, report: &Report) -> Result<()>;

    /// What the sink itself adds to what a series is made with. Default: nothing.
    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The folder for the checkpoints of a series in this sink, beside it. Default: none, so that runs into it cannot be resumed
    /// or appended to.
    fn state_folder(&self) -> Option<PathBuf> {
        None
    }

    /// Where the series is, for messages. Default: nowhere in particular.
    fn place(&self) -> PathBuf {
        "(memory)".into()
    }
}
