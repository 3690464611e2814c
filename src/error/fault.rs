//! A chunk of a store that is not what it was.

use serde::Serialize;

use crate::geometry::Date;

/// A chunk that is not there as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ChunkFault {
    /// Name of the array.
    pub array: String,
    /// (row, column) of the tile.
    pub tile: (usize, usize),
    /// Position of the date on the output axis.
    pub time: usize,
    /// The date.
    pub date: Date,
    /// What is wrong, such as `is missing`.
    pub problem: String,
}

#[cfg(feature = "zarr")]
impl ChunkFault {
    pub(crate) fn new(array: &str, tile: (usize, usize), (time, date): (usize, Date), problem: String) -> Self {
        Self { array: array.into(), tile, time, date, problem }
    }
}

impl std::fmt::Display for ChunkFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (row, col) = self.tile;
        write!(f, "{} of tile [{row}, {col}] on {} {}", self.array, self.date, self.problem)
    }
}
