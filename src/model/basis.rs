use ndarray::{Array1, Array2};

use crate::error::{Error, Result};

/// A spectral basis: a spectrum on the target's wavelengths is `mean + matrix · components`.
///
/// Hundreds of bands become a handful of components, which is what the filter estimates.
///
/// ```
/// use ndarray::{array, Array1};
/// use rasterfuse::model::SpectralBasis;
/// let basis = SpectralBasis::new(vec![450.0, 550.0, 650.0], array![0.1, 0.2, 0.3], array![[1.0], [0.5], [0.0]])?;
/// assert_eq!((basis.wavelengths(), basis.components()), (3, 1));
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SpectralBasis {
    wavelengths_nm: Vec<f64>,
    mean: Array1<f64>,
    matrix: Array2<f64>,
}

impl SpectralBasis {
    /// A basis on `wavelengths_nm` (increasing, nm) with a `mean` spectrum of **shape** (wavelength) and a `matrix` of
    /// **shape** (wavelength, component), both in u.
    ///
    /// # Errors
    /// [`Error::Setting`] when lengths differ, a number is not finite, there are no components or more than wavelengths, or
    /// wavelengths do not increase.
    pub fn new(wavelengths_nm: Vec<f64>, mean: Array1<f64>, matrix: Array2<f64>) -> Result<Self> {
        let n = wavelengths_nm.len();
        if let Some(pair) = wavelengths_nm.windows(2).find(|pair| pair[0].is_nan() || pair[0] >= pair[1]) {
            let problem = format!("{} is followed by {}; wavelengths must increase", pair[0], pair[1]);
            return Err(Error::setting("target.wavelengths_nm", problem));
        }
        if mean.len() != n {
            let problem = format!("{} values for {n} wavelengths; one each is needed", mean.len());
            return Err(Error::setting("basis.mean", problem));
        }
        let (rows, components) = matrix.dim();
        if rows != n || components == 0 || components > n {
            let problem = format!("shape ({rows}, {components}); ({n} wavelengths, 1 to {n} components) is needed");
            return Err(Error::setting("basis.matrix", problem));
        }
        for (key, finite) in [
            ("target.wavelengths_nm", wavelengths_nm.iter().all(|value| value.is_finite())),
            ("basis.mean", mean.iter().all(|value| value.is_finite())),
            ("basis.matrix", matrix.iter().all(|value| value.is_finite())),
        ] {
            if !finite {
                return Err(Error::setting(key, "holds a value that is not finite"));
            }
        }
        Ok(Self { wavelengths_nm, mean, matrix })
    }

    /// Number of wavelengths.
    #[must_use]
    pub fn wavelengths(&self) -> usize {
        self.wavelengths_nm.len()
    }

    /// Number of components.
    #[must_use]
    pub fn components(&self) -> usize {
        self.matrix.ncols()
    }

    /// The wavelengths in nm.
    #[must_use]
    pub fn wavelengths_nm(&self) -> &[f64] {
        &self.wavelengths_nm
    }

    /// The mean spectrum, **shape** (wavelength), in u.
    #[must_use]
    pub fn mean(&self) -> &Array1<f64> {
        &self.mean
    }

    /// What one unit of each component adds, **shape** (wavelength, component).
    #[must_use]
    pub fn matrix(&self) -> &Array2<f64> {
        &self.matrix
    }
}
