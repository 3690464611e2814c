//! The mean that returns every year, cell by cell, as it is stored and read.
//! [`SeasonalBuilder`](crate::model::SeasonalBuilder) fits it.

mod curves;
mod harmonics;
mod product;
mod tile;

pub use harmonics::Harmonics;
pub use product::SeasonalMean;
pub use tile::SeasonalTile;

pub(crate) use curves::{PHASES, SeasonalCurves};
pub(crate) use harmonics::YEAR_DAYS;
#[cfg(feature = "zarr")]
pub(crate) use product::Fingerprint;
