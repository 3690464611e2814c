//! The statistical model: variation of the scene in space and time, observation by the instruments, and the state of
//! one window.
//!
//! Imports [`crate::geometry`], [`crate::source`] and the types of [`crate::filter`] that it fills in.

mod average;
mod basis;
mod correlation;
mod digest;
mod features;
mod field;
mod footprint;
mod gate;
mod groups;
mod instrument;
mod kernel;
mod kriging;
mod layout;
mod nodes;
mod offset;
mod pca;
mod prior;
mod process;
mod raster;
mod response;
mod rows;
mod samples;
mod seasonal;
mod spectrum;
mod support;
mod values;
mod variation;
mod wavelengths;

pub use basis::SpectralBasis;
pub use features::Features;
pub use field::Field;
pub use footprint::Footprint;
pub use groups::AcquisitionGroups;
pub use instrument::{Instrument, Missing};
pub use kernel::Kernel;
pub use offset::OffsetLayer;
pub use pca::{BandScale, PcaBuilder, SpectralPca};
pub use prior::{Prior, PriorField};
pub use process::Process;
pub use response::SpectralResponse;
pub use seasonal::{Harmonics, SeasonalBuilder, SeasonalFit, SeasonalMean, SeasonalTile};
pub use values::Values;
pub use variation::Variation;

pub(crate) use average::{Average, Profile};
pub(crate) use correlation::Correlation;
pub(crate) use features::{FeatureModel, Likeness};
pub(crate) use field::FieldModel;
pub(crate) use footprint::PixelLattice;
pub(crate) use gate::Gate;
pub(crate) use instrument::{ObservationModel, PartBands, independent_parts, shared_bands};
pub(crate) use kriging::Kriging;
pub(crate) use layout::{Layers, PartSize, StateLayout};
pub(crate) use nodes::NodeStates;
pub(crate) use prior::{PriorSlice, pair, pair_count};
pub(crate) use process::{Adaptive, ProcessModel};
#[cfg(feature = "zarr")]
pub(crate) use seasonal::Fingerprint;
pub(crate) use seasonal::{SeasonalSlice, StateCurves};
pub(crate) use spectrum::Spectrum;
pub(crate) use support::{FarSamples, Pixel, Support, far_cells};
pub(crate) use variation::VariationModel;
