//! The trait of sinks.

use std::fmt::Debug;
use std::path::PathBuf;

use super::{ExistingSeries, FusedBlock, HeldBlocks, Report, Saved, SeriesLayout};
use crate::error::{Error, Result};
use crate::storage::Place;

/// Receives fused blocks and stores them.
///
/// The engine calls [`begin`](Self::begin) or [`reopen`](Self::reopen) once; [`append`](Self::append) for every
/// block, from several threads at once, never twice for the same tile and date; [`commit`](Self::commit) when the
/// first dates are complete, with a growing number; and [`finish`](Self::finish) once when everything is written.
/// After an error, nothing more is called. Readers may see only committed dates.
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
///         println!("{dates} dates are complete");
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
    /// [`Error::StoreExists`] when a series exists that can be resumed, [`Error::CannotContinue`] when it cannot be
    /// resumed, [`Error::Store`] when the series cannot be created.
    fn begin(&mut self, layout: &SeriesLayout) -> Result<()>;

    /// The existing series. Default: none.
    ///
    /// # Errors
    /// [`Error::Occupied`] when there is something other than a series of this crate.
    fn existing(&self) -> Result<Option<ExistingSeries>> {
        Ok(None)
    }

    /// Reopens the existing series. Its first `visible` dates stay visible; later ones are about to change and are
    /// hidden from readers. Default: an error.
    ///
    /// # Errors
    /// [`Error::CannotContinue`] when the sink cannot, [`Error::Store`] when it fails.
    fn reopen(&mut self, layout: &SeriesLayout, visible: usize) -> Result<()> {
        let _ = (layout, visible);
        let problem = "this sink cannot resume a series; start a new one".into();
        Err(Error::CannotContinue { path: self.location(), problem, remedy: None })
    }

    /// Prepares for blocks of a series that another process has started and will commit. Default: an error.
    ///
    /// # Errors
    /// As [`reopen`](Self::reopen).
    fn join(&mut self, layout: &SeriesLayout) -> Result<()> {
        self.reopen(layout, 0)
    }

    /// What the sink, not begun yet, holds of the first `dates` dates of a tile: whether everything is there as it
    /// was appended. Default: nothing is missing.
    ///
    /// # Errors
    /// [`Error::Store`] when its records cannot be read.
    fn held(&self, layout: &SeriesLayout, tile: (usize, usize), dates: usize) -> Result<HeldBlocks> {
        let _ = (layout, tile, dates);
        Ok(HeldBlocks::default())
    }

    /// Takes note that a checkpoint of a tile was saved, so that an older copy of it is recognised. Default: nothing.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be written.
    fn saved(&self, tile: (usize, usize), saved: Saved) -> Result<()> {
        let _ = (tile, saved);
        Ok(())
    }

    /// Removes what killed runs have left behind; no other process is at work. Default: nothing.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be removed.
    fn sweep(&self) -> Result<()> {
        Ok(())
    }

    /// Stores one block.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be written.
    fn append(&self, block: &FusedBlock) -> Result<()>;

    /// How many blocks are appended at a time at least, because each waits for a server. Default: none; as many as there
    /// are threads are.
    fn writes_in_flight(&self) -> Option<usize> {
        None
    }

    /// Waits until all blocks so far survive a power loss. Default: returns at once.
    ///
    /// # Errors
    /// [`Error::Store`] when it fails.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Makes the first `dates` dates visible. All of their blocks have been appended.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be written, [`Error::Incomplete`] when something that was appended is not
    /// there.
    fn commit(&mut self, dates: usize) -> Result<()>;

    /// What a report should say of the blocks of this run, such as values that the store could not hold. Default:
    /// nothing.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends the series.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be written.
    fn finish(&mut self, report: &Report) -> Result<()>;

    /// The settings that the sink adds to those of the series. Default: none.
    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The folder for the checkpoints of a series in this sink, next to it. Default: none; such runs cannot be
    /// resumed or appended to.
    fn state_folder(&self) -> Option<Place> {
        None
    }

    /// Location of the series, for messages. Default: a generic text.
    fn location(&self) -> PathBuf {
        "(memory)".into()
    }
}
