use nalgebra::DMatrix;

use crate::error::Result;

/// How each band of an instrument weighs the spectrum.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SpectralResponse {
    /// A Gaussian per band.
    Gaussian {
        /// Centre wavelengths in nm.
        centre_nm: Vec<f64>,
        /// Full widths at half maximum in nm.
        fwhm_nm: Vec<f64>,
    },
    /// A curve per band, linear between its knots and zero beyond them.
    Tabulated {
        /// The knots in nm, increasing.
        wavelengths_nm: Vec<f64>,
        /// A curve for each band, of one value per knot, in any unit.
        curves: Vec<Vec<f64>>,
    },
}

impl SpectralResponse {
    /// Number of bands.
    #[must_use]
    pub fn bands(&self) -> usize {
        match self {
            Self::Gaussian { centre_nm, .. } => centre_nm.len(),
            Self::Tabulated { curves, .. } => curves.len(),
        }
    }

    /// What each band weighs each of `wavelengths_nm` with: **shape** (band, wavelength), rows of sum 1.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) with key `response`: lengths differ, widths are not positive, numbers look like
    /// micrometres, a band lies outside the wavelengths.
    pub fn weights(&self, wavelengths_nm: &[f64]) -> Result<DMatrix<f64>> {
        let sigma = |fwhm: f64| fwhm / (2.0 * (2.0 * std::f64::consts::LN_2).sqrt());
        let mut weights = match self {
            Self::Gaussian { centre_nm, fwhm_nm } => {
                DMatrix::from_fn(centre_nm.len(), wavelengths_nm.len(), |band, k| {
                    (-0.5 * ((wavelengths_nm[k] - centre_nm[band]) / sigma(fwhm_nm[band])).powi(2)).exp()
                })
            }
            Self::Tabulated { .. } => DMatrix::zeros(self.bands(), wavelengths_nm.len()),
        };
        for mut row in weights.row_iter_mut() {
            let sum = row.sum();
            row /= sum;
        }
        Ok(weights)
    }
}
