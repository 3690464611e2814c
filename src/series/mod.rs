//! Types that engine and sinks share: the blocks of a fused series, its layout and settings, the report of a run, and
//! the trait of sinks. Imports [`crate::model`] and the modules below it; neither [`crate::engine`] nor
//! [`crate::sink`].

mod block;
mod errors;
mod existing;
mod identity;
mod layout;
mod report;
mod scores;
mod settings;
mod sink;
mod verification;

pub use block::{BlockOffsets, FusedBlock};
pub(crate) use errors::ErrorSums;
pub use existing::{ExistingSeries, digest};
pub use identity::{HeldBlocks, Saved, SeriesIdentity};
pub use layout::SeriesLayout;
#[cfg(feature = "zarr")]
pub(crate) use report::StoredReport;
pub use report::{DateDiagnostics, FailedWindow, InstrumentReport, Report, SkippedSlice, Timing, UnusedInput};
pub(crate) use scores::{HALF_WIDTH_90, ScoreSums, gaussian_crps};
pub use scores::{Score, Scores};
pub use settings::Settings;
pub use sink::FusionSink;
pub use verification::{Problem, Verification};
