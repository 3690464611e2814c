//! Fits the mean that returns every year, cell by cell, in passes over the data; and reads it for the cells around a tile.

mod builder;
mod fit;
mod pool;
mod seen;
mod slice;
mod sums;

pub use builder::SeasonalBuilder;
pub use fit::SeasonalFit;

pub(crate) use slice::{SeasonalSlice, StateCurves};
