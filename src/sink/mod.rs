//! Where results go. Imports the types of [`crate::engine`] that it is handed.

mod memory;
#[cfg(feature = "zarr")]
mod zarr;

use std::fmt::Debug;

use crate::engine::{FusedBlock, Report};
use crate::error::Result;
use crate::geometry::{Date, Grid};

pub use memory::MemorySink;
#[cfg(feature = "zarr")]
pub use zarr::{ZarrFormat, ZarrSink};

/// What a sink is told before the first block.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SeriesLayout {
    /// The target grid.
    pub grid: Grid,
    /// Names of the bands.
    pub bands: Vec<String>,
    /// Unit of the bands.
    pub unit: String,
    /// Dates in order.
    pub dates: Vec<Date>,
    /// Dates of the axis that each result waited for; 0 when it was filtered.
    pub lag: usize,
    /// Cells per tile (rows, columns): blocks come in this shape, clipped at the grid's edge.
    pub tile_shape: (usize, usize),
}

/// Takes fused blocks and makes them last.
///
/// The engine calls [`begin`](Self::begin) once; [`append`](Self::append) for every block, from several threads at once, never
/// twice for the same tile and date; [`commit`](Self::commit) when the first so many dates are whole, with a growing number;
/// [`finish`](Self::finish) once when all is written. After an error nothing more is called. Only committed dates may be
/// visible to readers.
pub trait FusionSink: Debug + Send + Sync {
    /// Prepares for a series.
    ///
    /// # Errors
    /// [`Error::StoreExists`](crate::Error::StoreExists) when there is a series already,
    /// [`Error::Store`](crate::Error::Store) when it cannot be created.
    fn begin(&mut self, layout: &SeriesLayout) -> Result<()>;

    /// Takes one block.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when it cannot be written.
    fn append(&self, block: &FusedBlock) -> Result<()>;

    /// Makes the first `dates` dates visible; every block of theirs has been appended.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when it cannot be written.
    fn commit(&mut self, dates: usize) -> Result<()>;

    /// Ends the series.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when it cannot be written.
    fn finish(&mut self, report: &Report) -> Result<()>;
}
