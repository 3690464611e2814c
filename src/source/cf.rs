//! What the climate and forecast (CF) conventions say of times and of packed numbers.

#[cfg(feature = "zarr")]
mod packing;
mod time;

#[cfg(feature = "zarr")]
pub(super) use packing::Packing;
pub(super) use time::{Acquisitions, dates};
