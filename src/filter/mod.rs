//! Prediction and update of the state of one window. Pure numerics: no I/O, no threads, no clock; imports no other
//! module.
//!
//! **No promise of stability**: types are plain numbers with public fields, so that tests and benchmarks reach all of
//! them. Until 1.0 this module is outside [SemVer](https://semver.org): fields and calls may change in any release.
//!
//! The filter does not know what states stand for. It uses a diagonal transition, a block-diagonal process covariance
//! ([`Dynamics`]) and sparse observation rows ([`Observations`]), so layers of any kind (fields, offsets of
//! instruments) are left to the caller. A [`State`] may include lagged states ([`State::with_lags`]): fixed-lag
//! smoothing is the same update on an augmented state.
//!
//! ```
//! use std::sync::Arc;
//! use rasterfuse::filter::{BandModel, BlockCov, Channel, CompressionCache, Dynamics, Observations, ProcessBlock, State, Workspace};
//!
//! // One random-walk state of variance 1 per day, prior N(0, 3), observed as 2.0 with noise variance 4 a day later.
//! let block = ProcessBlock { len: 1, transition: 1.0, variance: 1.0, correlation: Arc::new(BlockCov::dense(1, |_, _| 1.0)) };
//! let dynamics = Dynamics::new(vec![block]);
//! let mut state = State::new(1);
//! state.cov.set(0, 0, 3.0);
//! state.predict(&dynamics, 1.0);
//! let bands = BandModel::new(vec![1.0], vec![4.0], vec![0.0]);
//! let (mut observations, mut cache) = (Observations::new(), CompressionCache::new());
//! observations.begin_group(0);
//! observations.push_pixel(&bands, |_| Channel { offset: 0, scale: 1.0, states: &[0], weights: &[1.0] }, &[2.0], &mut cache);
//! let mut workspace = Workspace::new();
//! let innovations = state.update(&observations, &mut workspace)?;
//! assert!((state.mean[0] - 1.0).abs() < 1e-15); // gain 4 / (4 + 4)
//! assert!((state.cov.get(0, 0) - 2.0).abs() < 1e-15);
//! assert!((innovations[0].nis - 0.5).abs() < 1e-15); // 2² / 8
//! # Ok::<(), rasterfuse::filter::NumericalError>(())
//! ```

mod block;
mod bytes;
mod compress;
mod diagnostics;
mod dynamics;
mod error;
mod exact;
mod factors;
mod gather;
mod growth;
mod history;
mod lag;
mod observations;
mod pixel;
mod predict;
mod real;
mod relative;
mod scalar;
mod season;
mod snapshot;
mod state;
mod sum;
mod symmetric;
mod together;
mod update;
mod workspace;

pub use block::{BlockCov, ProcessBlock};
pub use bytes::SnapshotMismatch;
pub use compress::{BandModel, Compression, CompressionCache};
pub use diagnostics::{Innovation, Squares};
pub use dynamics::Dynamics;
pub use error::NumericalError;
pub(crate) use exact::ExactSum;
pub(crate) use growth::growth;
pub use lag::Lagged;
pub use observations::{Channel, Observations};
pub use real::Real;
pub use relative::Relative;
pub(crate) use scalar::{
    CellPrediction, Cells, RUN, ScalarBand, ScalarFit, ScalarRun, drop_missing, mark_observed, predict_into,
};
pub use season::Season;
pub(crate) use season::YEAR_DAYS;
pub use state::{Saved, State};
pub use symmetric::SymmetricMatrix;
pub use workspace::Workspace;
