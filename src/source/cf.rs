//! CF conventions (climate and forecast): times and packed numbers.

#[cfg(feature = "zarr")]
mod packing;
mod time;

#[cfg(feature = "zarr")]
pub(super) use packing::Packing;
pub(super) use time::{Acquisitions, dates};
