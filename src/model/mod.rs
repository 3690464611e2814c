//! The statistical model: variation of the scene in space and time, observation by the instruments, and the state of
//! one window.
//!
//! Pure and cheap: no files, no threads, no plan. An [estimation](crate::estimate) makes one for every set of numbers
//! that it tries. Also what is read and computed around a tile: the states of a window with their covariances, the
//! prior, features, the seasonal mean and its fit, and the map of change.

mod average;
mod change;
mod composite;
mod correlation;
mod features;
mod field;
mod footprint;
mod gate;
mod instrument;
mod layout;
mod nodes;
mod numbers;
mod observed;
mod offset;
mod prior;
mod process;
mod raster;
mod ratios;
mod rows;
mod samples;
mod seasonal;
mod state_space;
mod support;
mod together;
mod variation;

pub use change::{ChangeBuilder, ChangeMap};
pub use seasonal::{SeasonalBuilder, SeasonalFit};

pub(crate) use average::{Average, Profile};
pub(crate) use composite::{Averaged, CompositeModel};
pub(crate) use correlation::Correlation;
pub(crate) use features::{FeatureModel, FeatureValues, Similarity};
pub(crate) use field::FieldModel;
pub(crate) use footprint::PixelLattice;
pub(crate) use gate::{Gate, LEAST_GATE};
pub(crate) use instrument::{ObservationModel, Observer, PartBands, shared_bands};
pub(crate) use layout::{Layers, OfInstrument, PartSize, PixelTerms, StateLayout};
pub(crate) use nodes::NodeStates;
pub(crate) use offset::OffsetModel;
pub(crate) use prior::{PriorModel, PriorSlice};
pub(crate) use process::{Adaptive, ProcessModel};
pub(crate) use seasonal::{SeasonalSlice, StateCurves};
pub(crate) use state_space::{Model, Part};
pub(crate) use support::{FarSamples, Pixel, Support, far_cells};
pub(crate) use together::{Effect, LearnedScale, Together, TogetherBands};
pub(crate) use variation::{VariationModel, VariationValues};
