//! The fit of a seasonal mean of every cell, in passes over the data; and the mean around a tile.

mod builder;
mod fit;
mod pool;
mod slice;
mod sums;

pub use builder::SeasonalBuilder;
pub use fit::SeasonalFit;

pub(crate) use slice::{SeasonalSlice, StateCurves};
