//! The relation of components to target bands: equal, or through a spectral basis.

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};

use super::{SpectralBasis, SpectralResponse};
use crate::error::{Error, Result};

/// The meaning of the components of the state: target bands, or scores of a spectral basis.
#[derive(Clone, Debug)]
pub(crate) struct Spectrum {
    bands: Vec<String>,
    basis: Option<Arc<SpectralBasis>>,
}

/// The observation of components by bands: `y = design · x + constant`.
#[derive(Clone, Debug)]
pub(crate) struct ObservedBands {
    /// **Shape** (bands, components).
    pub(crate) design: DMatrix<f64>,
    /// In u.
    pub(crate) constant: DVector<f64>,
}

impl Spectrum {
    /// # Errors
    /// [`Error::Setting`] when the basis does not match the target bands.
    pub(crate) fn new(bands: Vec<String>, basis: Option<Arc<SpectralBasis>>) -> Result<Self> {
        if let Some(basis) = &basis
            && basis.wavelengths() != bands.len()
        {
            let (wavelengths, n) = (basis.wavelengths(), bands.len());
            let problem =
                format!("{wavelengths} wavelengths, but {n} target bands; a basis has one wavelength per band");
            return Err(Error::setting("basis", problem));
        }
        Ok(Self { bands, basis })
    }

    pub(crate) fn bands(&self) -> &[String] {
        &self.bands
    }

    pub(crate) fn basis(&self) -> Option<&Arc<SpectralBasis>> {
        self.basis.as_ref()
    }

    /// Number of components.
    pub(crate) fn components(&self) -> usize {
        self.basis.as_ref().map_or(self.bands.len(), |basis| basis.components())
    }

    /// The observation of target bands, given by position.
    pub(crate) fn of_bands(&self, bands: &[usize]) -> ObservedBands {
        match &self.basis {
            None => ObservedBands {
                design: DMatrix::from_fn(bands.len(), self.bands.len(), |row, j| f64::from(u8::from(bands[row] == j))),
                constant: DVector::zeros(bands.len()),
            },
            Some(basis) => ObservedBands {
                design: DMatrix::from_fn(bands.len(), basis.components(), |row, j| basis.matrix()[(bands[row], j)]),
                constant: DVector::from_fn(bands.len(), |row, _| basis.mean()[bands[row]]),
            },
        }
    }

    /// The observation of the spectrum through bands of a response, given by position: `R B` and `R μ`.
    ///
    /// # Errors
    /// The errors of [`SpectralResponse::weights`], and [`Error::Setting`] without a basis.
    pub(crate) fn through(&self, response: &SpectralResponse, bands: &[usize]) -> Result<ObservedBands> {
        let Some(basis) = &self.basis else {
            let problem = "a response weighs the wavelengths of a spectral basis, and there is none; give the fusion a basis, \
                           or say with `bands` which target band each band observes";
            return Err(Error::setting("response", problem));
        };
        let weights = response.weights_of(bands, basis.wavelengths_nm())?;
        let matrix = basis.matrix();
        let matrix = DMatrix::from_fn(matrix.nrows(), matrix.ncols(), |k, j| matrix[(k, j)]);
        let mean = DVector::from_iterator(basis.wavelengths(), basis.mean().iter().copied());
        Ok(ObservedBands { design: &weights * matrix, constant: weights * mean })
    }
}
