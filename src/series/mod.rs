//! What engine and sinks share: the blocks of a fused series, its layout and settings, the report of a run, and the trait of
//! those who take it. Imports [`crate::model`] and what that imports; neither [`crate::engine`] nor [`crate::sink`].

mod block;
mod existing;
mod layout;
mod report;
mod scores;
mod settings;
mod sink;
mod space;

pub use block::{BlockOffsets, FusedBlock};
pub use existing::{ExistingSeries, digest};
pub use layout::SeriesLayout;
pub use report::{DateDiagnostics, FailedWindow, InstrumentReport, Report, SkippedSlice, Timing};
pub(crate) use scores::ScoreSums;
pub use scores::{Score, Scores};
pub use settings::Settings;
pub use sink::FusionSink;
pub use space::OutputSpace;
