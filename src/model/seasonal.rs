//! The seasonal mean of every cell: fitted in passes over the data, used as the mean function of a fusion.

mod builder;
mod curves;
mod fit;
mod harmonics;
mod observed;
mod pool;
mod product;
mod slice;
mod sums;
mod tile;

pub use builder::SeasonalBuilder;
pub use fit::SeasonalFit;
pub use harmonics::Harmonics;
pub use product::SeasonalMean;
pub use tile::SeasonalTile;

pub(crate) use curves::{PHASES, SeasonalCurves};
#[cfg(feature = "zarr")]
pub(crate) use product::Fingerprint;
pub(crate) use slice::{SeasonalSlice, StateCurves};
