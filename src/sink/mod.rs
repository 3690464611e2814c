//! Sinks: destinations of fused series, in memory or in a Zarr store, and a sink that scores blocks against reference
//! data. Implements [`FusionSink`](crate::series::FusionSink); does not import [`crate::engine`].

mod judged;
mod memory;
mod truth;
#[cfg(feature = "zarr")]
mod zarr;

pub use judged::JudgedSink;
pub use memory::MemorySink;
pub use truth::Truth;
#[cfg(feature = "zarr")]
pub use zarr::{FusedSeries, SeasonalStore, ZarrFormat, ZarrSink, verify, verify_watched};
