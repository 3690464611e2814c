//! Spectral bases: a few components represent many bands.

mod files;

use std::path::Path;

use ndarray::{Array1, Array2};

use super::digest::digest;
use super::pairs::{pair, pair_count};
use super::wavelengths::wavelength_problem;
use crate::error::{Error, Key, Result};

/// A spectral basis: a spectrum on the target's wavelengths is `mean + matrix · components`.
///
/// Hundreds of bands become a handful of components; the filter estimates these.
///
/// ```
/// use ndarray::{array, Array1};
/// use rasterfuse::spectral::SpectralBasis;
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
    /// [`Error::Setting`] when lengths differ, a number is not finite, there are no components or more than
    /// wavelengths, or wavelengths do not increase or look like micrometres.
    pub fn new(wavelengths_nm: Vec<f64>, mean: Array1<f64>, matrix: Array2<f64>) -> Result<Self> {
        let n = wavelengths_nm.len();
        if let Some(problem) = wavelength_problem(&wavelengths_nm) {
            return Err(Error::setting("target.wavelengths_nm", problem));
        }
        if mean.len() != n {
            let problem = format!("{} values for {n} wavelengths; one each is needed", mean.len());
            return Err(Error::setting("basis.mean", problem));
        }
        let (rows, components) = matrix.dim();
        if rows != n || components == 0 || components > n {
            let advice = if components == n { ": transpose it" } else { "" };
            let problem =
                format!("shape ({rows}, {components}); ({n} wavelengths, 1 to {n} components) is needed{advice}");
            return Err(Error::setting("basis.matrix", problem));
        }
        for (key, finite) in [
            ("basis.mean", mean.iter().all(|value| value.is_finite())),
            ("basis.matrix", matrix.iter().all(|value| value.is_finite())),
        ] {
            if !finite {
                return Err(Error::setting(key, "holds a value that is not finite"));
            }
        }
        Ok(Self { wavelengths_nm, mean, matrix })
    }

    /// A basis from two files of `numpy.save`: the mean, **shape** (wavelength), and the matrix, **shape**
    /// (wavelength, component), of float64 or float32, in C or Fortran order.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the file when it cannot be read or does not hold such an array; otherwise as
    /// [`new`](Self::new).
    pub fn read(mean: impl AsRef<Path>, matrix: impl AsRef<Path>, wavelengths_nm: Vec<f64>) -> Result<Self> {
        let (mean, matrix) = (mean.as_ref(), matrix.as_ref());
        let n = wavelengths_nm.len();
        let mean_values = files::read(mean, "basis.mean", &format!("shape ({n} wavelengths)"))?;
        let shape = format!("shape ({n} wavelengths, components)");
        let matrix_values = files::read(matrix, "basis.matrix", &shape)?;
        Self::new(wavelengths_nm, mean_values, matrix_values).map_err(|error| match error {
            Error::Setting { key, problem, .. } if key == "basis.mean" => in_file(key, mean, &problem),
            Error::Setting { key, problem, .. } if key == "basis.matrix" => in_file(key, matrix, &problem),
            other => other,
        })
    }

    /// Name of the file of the mean that [`write`](Self::write) writes.
    pub const MEAN_FILE: &str = "basis_mean.npy";
    /// Name of the file of the matrix that [`write`](Self::write) writes.
    pub const MATRIX_FILE: &str = "basis.npy";
    /// Name of the file of the wavelengths that [`write`](Self::write) writes.
    pub const WAVELENGTHS_FILE: &str = "wavelengths_nm.npy";

    /// Writes `basis_mean.npy`, `basis.npy` and `wavelengths_nm.npy`, as float64, into a folder, which is created if
    /// necessary.
    ///
    /// # Errors
    /// [`Error::Setting`] naming a file that cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<()> {
        files::write(self, folder.as_ref())
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

    /// The contribution of one unit of each component, **shape** (wavelength, component).
    #[must_use]
    pub fn matrix(&self) -> &Array2<f64> {
        &self.matrix
    }
}

fn in_file(key: Key, path: &Path, problem: &str) -> Error {
    Error::setting(key, format!("{}: {problem}", path.display()))
}

impl SpectralBasis {
    /// Value and standard deviation of a band for components with this `mean` and `cov`, the lower triangle of their
    /// covariance row by row: `μ + b x` and `√(b C bᵀ)`, in u.
    ///
    /// ```
    /// use ndarray::array;
    /// use rasterfuse::spectral::SpectralBasis;
    /// let basis = SpectralBasis::new(vec![500.0, 600.0], array![0.1, 0.2], array![[1.0, 0.0], [0.5, 2.0]])?;
    /// let (value, sd) = basis.band(1, &[0.2, 0.1], &[0.04, 0.01, 0.09]);
    /// assert!((value - 0.5).abs() < 1e-15 && (sd * sd - (0.01 + 0.02 + 0.36)).abs() < 1e-15);
    /// # Ok::<(), rasterfuse::Error>(())
    /// ```
    ///
    /// # Panics
    /// When there is no such band.
    #[must_use]
    pub fn band(&self, band: usize, mean: &[f64], cov: &[f64]) -> (f64, f64) {
        let weights = self.matrix().row(band);
        let value = self.mean()[band] + weights.iter().zip(mean).map(|(b, x)| b * x).sum::<f64>();
        let (mut rest, mut variance) = (cov, 0.0);
        for (j, weight) in weights.iter().enumerate().take_while(|(j, _)| pair_count(*j) < cov.len()) {
            let (row, below) = rest.split_at(j + 1);
            rest = below;
            let before: f64 = row[..j].iter().zip(weights).map(|(c, b)| c * b).sum();
            variance += weight * (2.0 * before + weight * row[j]);
        }
        // Rounding of a nearly singular covariance may give a negative variance. `max` is not used, because it would
        // turn NaN into zero.
        (value, if variance < 0.0 { 0.0 } else { variance.sqrt() })
    }

    /// Covariance of two bands for components whose covariance has this lower triangle, row by row: `b C b'ᵀ`, in u².
    pub(crate) fn band_cov(&self, (a, b): (usize, usize), cov: &[f64]) -> f64 {
        let (first, second) = (self.matrix().row(a), self.matrix().row(b));
        let row = |(j, weight): (usize, &f64)| {
            weight * second.iter().enumerate().map(|(l, other)| other * cov[pair(j, l)]).sum::<f64>()
        };
        first.iter().enumerate().map(row).sum()
    }

    /// Text that identifies the basis in settings.
    pub(crate) fn summary(&self) -> String {
        let values = self.wavelengths_nm().iter().chain(self.mean()).chain(self.matrix());
        format!("{} components of {} wavelengths, {:08x}", self.components(), self.wavelengths(), digest(values))
    }
}
