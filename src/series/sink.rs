//! The trait of everything that takes a series.

use std::fmt::Debug;
use std::path::PathBuf;

use super::{ExistingSeries, FusedBlock, Report, SeriesLayout};
use crate::error::{Error, Result};

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
/// use rasterfuse::series::{FusedBlock, FusionSink, Report, SeriesLayout};
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
        Err(Error::CannotContinue { path: self.place(), problem })
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
