//! Which numbers make the observations most likely: maximum likelihood by prediction-error decomposition.
//!
//! A filter predicts every observation before it assimilates it; the product of the densities it gives them is the
//! likelihood of its parameters (Särkkä & Svensson, *Bayesian Filtering and Smoothing*, 2nd ed., section 16.2). An
//! [`Estimation`] reads some blocks of the scene once, and fits [`Description`](crate::describe::Description)s to
//! them, whose numbers may be [free](crate::describe::Free). Above [`crate::engine`]; nothing below knows of it.
//!
//! ```
//! use ndarray::Array4;
//! use rasterfuse::Fusion;
//! use rasterfuse::estimate::Estimation;
//! # use rasterfuse::geometry::{Crs, Date, Grid};
//! use rasterfuse::describe::{Free, Instrument, Kernel, Prior, Process};
//! use rasterfuse::source::MemorySource;
//!
//! // Cells that step by ± 0.02 from day to day, observed with noise of ± 0.005.
//! # let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
//! # let dates: Vec<Date> = (0..40).map(Date::from_days).collect();
//! let coin = |k: usize| if (k * k * 7919 + k * 104_729) % 10_007 < 5_003 { 1.0 } else { -1.0 };
//! let values = Array4::from_shape_fn((40, 1, 8, 8), |(t, _, y, x)| {
//!     let cell = 1_000 * (8 * y + x);
//!     0.3 + (0..=t).map(|k| 0.02 * coin(cell + k)).sum::<f64>() + 0.005 * coin(cell + 500 + t)
//! });
//! let source = MemorySource::new(grid.clone(), dates, vec!["red".into()], values)?;
//! let scene = Fusion::builder(grid)
//!     .process(Process::new(Kernel::None, 0.0, Free::default()))
//!     .prior(Prior::new(0.3, 0.01))
//!     .instrument(Instrument::new("fine", source).noise_variance(0.005 * 0.005));
//!
//! let estimation = Estimation::builder().side(4).read(&scene)?;
//! let fit = estimation.fit(&estimation.candidate("independent", scene.description())?)?;
//! println!("{fit}");
//! let found = scene.describe(fit.description.clone()); // ready to be built
//! let variance = fit.estimates[0].value;
//! assert!((variance.sqrt() - 0.02).abs() < 0.002, "{variance}");
//! # Ok::<(), rasterfuse::Error>(())
//! ```

mod beliefs;
mod candidate;
mod change;
mod check;
mod estimation;
mod fit;
mod objective;
mod optimum;
mod outliers;
mod profile;
mod scale;
mod selection;
mod sound;
mod structure;
mod summary;
mod together;
mod watch;

pub use candidate::{Candidate, Choice, Criterion};
pub use change::ChangeTrial;
pub use check::SelfCheck;
pub use estimation::{Comparison, Estimation, EstimationBuilder};
pub use fit::{Estimate, Fit};
pub use outliers::GateTrial;
pub use scale::Scale;
pub use selection::{EstimationResult, MakeMap, NewImage};
pub use summary::{BandSummary, DataSummary, InstrumentSummary};
pub use watch::{EstimationProgress, Watch};

#[cfg(all(feature = "config", feature = "gdal", feature = "zarr"))]
pub(crate) use beliefs::spread;
