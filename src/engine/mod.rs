//! Drives sources through windows into sinks. The only module with threads.
//!
//! Loops, outermost first: tiles; batches of dates; windows of the tile, in parallel; dates of the batch. All window
//! states of one tile are resident while its time runs and nothing else is, so memory does not depend on the number
//! of dates or tiles. Every window is computed from its own observations alone, in a fixed order, so tile
//! shape, batch length and number of threads change no bit of the result. Where all cells are independent there are
//! no windows, but cells.

mod ahead;
mod assignment;
mod builder;
mod calibrate;
mod carried;
mod cells;
mod checkpoint;
mod compress;
mod damage;
mod evidence;
mod fusion;
mod in_flight;
mod indices;
mod inflation;
mod job;
mod light;
mod lock;
mod memory;
mod options;
mod output;
mod pipeline;
mod plan;
mod progress;
mod readings;
mod refusals;
mod sample;
mod seasonal;
mod settings;
mod shard;
mod spare;
mod start;
mod steps;
mod stream;
mod summary;
mod tile;
mod unused;
mod verify;
mod window;
mod windows;
mod work;

pub use builder::FusionBuilder;
pub use calibrate::TimeEstimate;
pub use carried::Precision;
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
pub(crate) use checkpoint::fuzz as fuzz_checkpoint;
pub use fusion::Fusion;
pub use job::{Job, Start};
pub use memory::MemoryBudget;
pub use options::{Checkpoint, OnError, RunOptions};
pub(crate) use plan::WITHHELD_BYTES;
pub use plan::{DiskSpace, InstrumentPlan, Plan};
pub use progress::Progress;
pub(crate) use readings::TileBatch;
pub(crate) use sample::{BlockCells, ByDate, OfDate, Sample, SampleBlock, SampleInputs, Sampling, possible};
pub use shard::Shard;
pub use stream::TileTime;
pub use verify::verify_checkpoints;
pub(crate) use window::{Prediction, Reading, SquareSum};
