//! Contents of a series: bands, or components of a spectral basis.

use crate::model::pair_count;

/// The contents of fused blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputSpace {
    /// Mean and standard deviation of each target band.
    #[default]
    Bands,
    /// Mean and covariances of the components of a [spectral basis](crate::model::SpectralBasis). They need far less
    /// space, and all bands with their uncertainty can be computed from them
    /// ([`SpectralBasis::band`](crate::model::SpectralBasis::band)).
    Components,
}

impl OutputSpace {
    /// Number of layers of means and of uncertainties, for this number of bands and components.
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
