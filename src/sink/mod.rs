//! Where results go: sinks that keep a series in memory or as a Zarr store, or compare it with a truth. Implements
//! [`FusionSink`](crate::series::FusionSink) and knows nothing of [`crate::engine`].

mod judged;
mod memory;
mod truth;
#[cfg(feature = "zarr")]
mod zarr;

pub use judged::JudgedSink;
pub use memory::MemorySink;
pub use truth::Truth;
#[cfg(all(feature = "config", feature = "gdal", feature = "zarr"))]
pub(crate) use zarr::replace;
#[cfg(feature = "zarr")]
pub use zarr::{FusedSeries, SeasonalStore, ZarrFormat, ZarrSink};
