//! From states to output layers: the target bands with their standard deviations and their indices, or the components
//! with their covariances.

use std::ops::RangeInclusive;
use std::sync::Arc;

use ndarray::Array3;

use super::indices::IndexLayers;
use crate::describe::{Key, Numbers, Output, OutputSpace};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::spectral::{SpectralBasis, pair, pair_count};

/// What standard deviations may be multiplied by.
const FACTORS: RangeInclusive<f64> = 1e-6..=1e6;

/// How means and covariances of a cell's components become the layers of the output.
#[derive(Debug)]
pub(super) struct Projection {
    components: usize,
    /// What bands are of the components; `None` where the output is the components themselves.
    basis: Option<Arc<SpectralBasis>>,
    space: OutputSpace,
    /// What standard deviations are multiplied by: of each band, or the first of all components.
    sd_factors: Vec<f64>,
    indices: IndexLayers,
}

impl Projection {
    /// # Errors
    /// [`Error::Setting`] when there is not one factor, or one for each band, or they are not positive, and for indices
    /// that cannot be.
    pub(super) fn new(model: &Model, output: &Output) -> Result<Self> {
        let Output { space, sd_factor, .. } = output;
        let (space, spectrum) = (*space, &model.spectrum);
        let basis = spectrum.basis().filter(|_| space == OutputSpace::Bands).cloned();
        let key = &Key::from("output.sd_factor");
        if space == OutputSpace::Components && matches!(sd_factor, Numbers::Each(factors) if factors.len() > 1) {
            let problem = "one per band, but components are output, whose covariances take one factor; give one number";
            return Err(Error::setting(key, problem));
        }
        let (n, of) = if space == OutputSpace::Components { (1, "series") } else { (spectrum.bands().len(), "band") };
        let sd_factors = sd_factor.expand_positive(n, key, of)?;
        if let Some(factor) = sd_factors.iter().find(|factor| !FACTORS.contains(*factor)) {
            let problem = format!(
                "must be from {:e} to {:e}: with others standard deviations are 0 or infinite in float32",
                FACTORS.start(),
                FACTORS.end()
            );
            return Err(Error::number(key.clone(), *factor, problem));
        }
        let indices = IndexLayers::new(model, output)?;
        Ok(Self { components: spectrum.components(), basis, space, sd_factors, indices })
    }

    /// Multiplies standard deviations that were not [emitted](Self::emit), of bands that are the components.
    pub(super) fn scale(&self, uncertainty: &mut Array3<f64>) {
        for (mut layer, &factor) in
            uncertainty.outer_iter_mut().zip(&self.sd_factors).filter(|(_, factor)| **factor != 1.0)
        {
            layer *= factor;
        }
    }

    /// Number of layers of a block's means and of its uncertainties.
    pub(super) fn layers(&self) -> (usize, usize) {
        let bands = self.basis.as_ref().map_or(self.components, |basis| basis.wavelengths());
        let (means, uncertainties) = self.space.layers(bands, self.components);
        let indices = self.indices.list().len();
        (means + indices, uncertainties + indices)
    }

    /// Layers of means and covariances of what is known of a cell: the input of [`emit`](Self::emit).
    pub(super) fn known(&self) -> (usize, usize) {
        (self.components, pair_count(self.components))
    }

    /// The indices, whose layers follow those of the bands.
    pub(super) fn indices(&self) -> &IndexLayers {
        &self.indices
    }

    /// Covariance of two bands in a cell whose components have this `cov`, as it is output: for the indices.
    pub(super) fn band_cov(&self, (a, b): (usize, usize), cov: &[f64]) -> f64 {
        let of_bands = self.basis.as_ref().map_or_else(|| cov[pair(a, b)], |basis| basis.band_cov((a, b), cov));
        self.sd_factors[a] * self.sd_factors[b] * of_bands
    }

    /// Emits one cell: `mean` of each component and `cov` of each pair of them, as layers of the block's arrays.
    pub(super) fn emit(&self, mean: &[f64], cov: &[f64], mut emit: impl FnMut(Layer, f64)) {
        match (&self.basis, self.space) {
            (None, OutputSpace::Components) => {
                mean.iter().enumerate().for_each(|(j, value)| emit(Layer::Mean(j), *value));
                let factor = self.sd_factors[0] * self.sd_factors[0];
                cov.iter().enumerate().for_each(|(pair, value)| emit(Layer::Uncertainty(pair), factor * value));
            }
            (None, OutputSpace::Bands) => {
                for (j, value) in mean.iter().enumerate() {
                    emit(Layer::Mean(j), *value);
                    emit(Layer::Uncertainty(j), self.sd_factors[j] * cov[pair(j, j)].sqrt());
                }
            }
            (Some(basis), _) => {
                for band in 0..basis.wavelengths() {
                    let (value, sd) = basis.band(band, mean, cov);
                    emit(Layer::Mean(band), value);
                    emit(Layer::Uncertainty(band), self.sd_factors[band] * sd);
                }
            }
        }
    }

    /// Calls `add` with every layer of a block's means that a component contributes to, and its weight there.
    pub(super) fn spread(&self, component: usize, mut add: impl FnMut(usize, f64)) {
        match &self.basis {
            None => add(component, 1.0),
            Some(basis) => {
                basis.matrix().column(component).iter().enumerate().for_each(|(band, weight)| add(band, *weight));
            }
        }
    }
}

/// A layer of a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layer {
    Mean(usize),
    Uncertainty(usize),
}
