//! Drives sources through windows into sinks. The only room with threads.
//!
//! Loops, outermost first: tiles; batches of dates; windows of the tile, in parallel; dates of the batch. All window states
//! of one tile are resident while its time runs and nothing else is, so memory does not depend on the number of dates or
//! tiles. Every window is computed from its own observations alone, in an order of its own, so tile shape, batch length and
//! number of threads change no bit of the result. Where all cells are independent there are no windows, but cells.

mod assignment;
mod builder;
mod calibrate;
mod carried;
mod cells;
mod checkpoint;
mod fusion;
mod inflation;
mod job;
mod light;
mod lock;
mod memory;
mod output;
mod pipeline;
mod plan;
mod progress;
mod report;
mod sample;
mod scores;
mod seasonal;
mod settings;
mod shard;
mod spare;
mod start;
mod steps;
mod stream;
mod summary;
mod tile;
mod window;
mod windows;
mod work;

pub use builder::FusionBuilder;
pub use calibrate::TimeEstimate;
pub use carried::Precision;
pub use checkpoint::Checkpoint;
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
pub(crate) use checkpoint::fuzz as fuzz_checkpoint;
pub use fusion::{Fusion, OnError};
pub use job::{Job, Start};
pub use memory::MemoryBudget;
pub use output::OutputSpace;
pub use plan::{DiskSpace, InstrumentPlan, Plan};
pub use progress::Progress;
pub use report::{DateDiagnostics, FailedWindow, InstrumentReport, Report, SkippedSlice, Timing};
pub(crate) use sample::{ByDate, OfDate, Sample, Sampling, Trial};
pub(crate) use scores::ScoreSums;
pub use scores::{Score, Scores};
pub use settings::{SettingDifference, Settings};
pub use shard::Shard;
pub use steps::OutputDates;
pub use stream::{BlockOffsets, FusedBlock, TileTime};
pub(crate) use window::Prediction;
