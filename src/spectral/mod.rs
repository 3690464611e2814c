//! Spectra: the basis that describes them, what bands observe of them, and the principal components that make a basis.
//!
//! Imports [`crate::source`] to read the spectra that principal components are made of.

mod basis;
mod digest;
mod formula;
mod pairs;
mod pca;
mod response;
mod spectrum;
mod wavelengths;

pub use basis::SpectralBasis;
pub use pca::{BandScale, PcaBuilder, SpectralPca};
pub use response::SpectralResponse;

pub(crate) use formula::{Formula, Stack};
pub(crate) use pairs::{pair, pair_count};
pub(crate) use spectrum::{ObservedBands, Spectrum};
