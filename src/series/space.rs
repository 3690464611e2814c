//! What a series holds: bands, or components of a spectral basis.

use crate::model::pair_count;

/// What is put out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputSpace {
    /// Mean and standard deviation of each target band.
    #[default]
    Bands,
    /// Mean and covariances of the components of a [spectral basis](crate::model::SpectralBasis): far smaller, and all bands
    /// with their uncertainty follow from them ([`SpectralBasis::band`](crate::model::SpectralBasis::band)).
    Components,
}

impl OutputSpace {
    /// Layers of means and of uncertainties where there are so many bands and components.
    pub(crate) fn layers(self, bands: usize, components: usize) -> (usize, usize) {
        match self {
            Self::Bands => (bands, bands),
            Self::Components => (components, pair_count(components)),
        }
    }
}

impl std::fmt::Display for OutputSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bands => "bands",
            Self::Components => "components",
        })
    }
}
