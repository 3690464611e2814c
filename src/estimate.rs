//! Which numbers make the observations most likely: maximum likelihood by prediction-error decomposition.
//!
//! A filter predicts every observation before it sees it; the product of the densities it gives them is the likelihood of its
//! parameters (Särkkä & Svensson, *Bayesian Filtering and Smoothing*, 2nd ed., section 16.2). An [`Estimation`] reads some
//! blocks of the scene once, and fits [`Candidate`] descriptions of it to them: a description is any function from
//! [`Numbers`] to a [`FusionBuilder`](crate::engine::FusionBuilder). Above [`crate::engine`]; nothing below knows of it.

mod candidate;
mod estimation;
mod fit;
mod numbers;
mod objective;
mod optimum;
mod parameter;
mod summary;

pub use candidate::{Candidate, Choice, Criterion};
pub use estimation::{Estimation, EstimationBuilder};
pub use fit::{Estimate, Fit};
pub use numbers::Numbers;
pub use parameter::{Parameter, Scale};
pub use summary::{BandSummary, DataSummary, InstrumentSummary};
