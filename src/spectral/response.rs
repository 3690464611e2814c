//! Spectral responses: how the bands of an instrument weigh a spectrum.

mod table;

use std::path::{Path, PathBuf};

use nalgebra::DMatrix;
use ndarray::Array2;

use super::digest::digest;
use super::wavelengths::{unit_problem, wavelength_problem};
use crate::error::{Error, Result};

/// Share of its peak that the response of a band must reach at some wavelength of the basis: the value of a Gaussian
/// at one full width at half maximum from its centre. With less, the weights would depend on which wavelengths happen
/// to be nearest.
const LEAST_OF_PEAK: f64 = 1.0 / 16.0;

/// The spectral response of each band of an instrument.
///
/// ```
/// use rasterfuse::spectral::SpectralResponse;
/// let response = SpectralResponse::gaussian([560.0, 665.0], [35.0, 30.0])?;
/// let weights = response.weights(&[540.0, 560.0, 580.0, 660.0, 680.0])?;
/// assert_eq!(weights.dim(), (2, 5));
/// assert!((weights.row(0).sum() - 1.0).abs() < 1e-12 && weights[(0, 1)] > weights[(0, 0)]);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
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
        /// Names of the bands, where they have any.
        names: Vec<String>,
        /// The file of the table, for messages.
        file: Option<PathBuf>,
    },
}

impl SpectralResponse {
    /// A Gaussian for each band, of the given centre and full width at half maximum, in nm; `σ = FWHM / (2√(2 ln 2))`.
    ///
    /// # Errors
    /// [`Error::Setting`] with key `response`: lengths differ, there are no bands, a width is not positive, centres
    /// look like micrometres.
    pub fn gaussian(centre_nm: impl Into<Vec<f64>>, fwhm_nm: impl Into<Vec<f64>>) -> Result<Self> {
        let response = Self::Gaussian { centre_nm: centre_nm.into(), fwhm_nm: fwhm_nm.into() };
        response.validate()?;
        Ok(response)
    }

    /// A curve for each band, of one value at each of `wavelengths_nm`, which increase.
    ///
    /// # Errors
    /// [`Error::Setting`] with key `response`: lengths differ, there are no bands or fewer than two knots,
    /// wavelengths do not increase or look like micrometres, a curve is nowhere positive or not finite.
    pub fn tabulated(wavelengths_nm: impl Into<Vec<f64>>, curves: Vec<Vec<f64>>) -> Result<Self> {
        let response = Self::Tabulated { wavelengths_nm: wavelengths_nm.into(), curves, names: Vec::new(), file: None };
        response.validate()?;
        Ok(response)
    }

    /// Curves from a table of comma-separated values: a header `wavelength_nm,b1,b2,...`, then a line for each
    /// wavelength.
    ///
    /// # Errors
    /// [`Error::Setting`] with key `response`, naming the file and what to do, when it cannot be read, when a cell is
    /// not a number, or when the header or the numbers indicate micrometres; otherwise as
    /// [`tabulated`](Self::tabulated).
    pub fn from_csv(path: impl AsRef<Path>) -> Result<Self> {
        let response = table::read(path.as_ref())?;
        response.validate()?;
        Ok(response)
    }

    /// The band of the response for each band of an instrument: matched by name where all names agree, otherwise in
    /// order.
    ///
    /// # Errors
    /// [`Error::Setting`] when only some names agree, or the numbers of bands differ.
    pub(crate) fn bands_for(&self, held: &[String]) -> Result<Vec<usize>> {
        let named = match self {
            Self::Tabulated { names, .. } => names.as_slice(),
            Self::Gaussian { .. } => &[],
        };
        let position = |name: &String| named.iter().position(|other| other.eq_ignore_ascii_case(name));
        let found: Vec<Option<usize>> = held.iter().map(position).collect();
        if let Some(all) = found.iter().copied().collect::<Option<Vec<usize>>>().filter(|all| !all.is_empty()) {
            return Ok(all);
        }
        if let Some(absent) = found.iter().position(Option::is_none).filter(|_| found.iter().any(Option::is_some)) {
            let problem = format!(
                "no column {:?} among {named:?}, though other columns are named like bands of the instrument; rename all of them or none",
                held[absent]
            );
            return Err(self.error(&problem));
        }
        if self.bands() != held.len() {
            let (listed, n) = (self.bands(), held.len());
            return Err(
                self.error(&format!("of {listed} bands, but the instrument holds {n} ({held:?}); give one for each"))
            );
        }
        Ok((0..held.len()).collect())
    }

    /// Number of bands.
    #[must_use]
    pub fn bands(&self) -> usize {
        match self {
            Self::Gaussian { centre_nm, .. } => centre_nm.len(),
            Self::Tabulated { curves, .. } => curves.len(),
        }
    }

    /// The weights of each band at `wavelengths_nm`: **shape** (band, wavelength), rows with sum 1.
    ///
    /// A band is refused when its response reaches a sixteenth of its peak at none of the wavelengths; for a
    /// Gaussian: when none lies within one full width at half maximum of its centre. Bands outside the wavelengths,
    /// in a gap between them, or too narrow for their spacing are therefore errors. Covering the edge of a band is
    /// enough.
    ///
    /// # Errors
    /// [`Error::Setting`] with key `response`: as the constructors, and for a band that these wavelengths do not
    /// cover.
    pub fn weights(&self, wavelengths_nm: &[f64]) -> Result<Array2<f64>> {
        let weights = self.weights_of(&(0..self.bands()).collect::<Vec<_>>(), wavelengths_nm)?;
        Ok(Array2::from_shape_fn(weights.shape(), |at| weights[at]))
    }

    /// The weights of some bands, by position.
    pub(crate) fn weights_of(&self, bands: &[usize], wavelengths_nm: &[f64]) -> Result<DMatrix<f64>> {
        self.validate()?;
        if let Some(problem) = wavelength_problem(wavelengths_nm) {
            return Err(Error::setting("target.wavelengths_nm", problem));
        }
        let mut weights = DMatrix::from_fn(bands.len(), wavelengths_nm.len(), |row, k| {
            self.value(bands[row], wavelengths_nm[k]) / self.peak(bands[row])
        });
        for (&band, mut row) in bands.iter().zip(weights.row_iter_mut()) {
            let (largest, sum) = (row.iter().copied().fold(0.0, f64::max), row.sum());
            if largest < LEAST_OF_PEAK || sum <= 0.0 {
                return Err(self.unseen(band, wavelengths_nm));
            }
            row /= sum;
        }
        Ok(weights)
    }

    /// The response of a band at a wavelength.
    fn value(&self, band: usize, wavelength: f64) -> f64 {
        match self {
            Self::Gaussian { centre_nm, fwhm_nm } => {
                let sigma = fwhm_nm[band] / (2.0 * (2.0 * std::f64::consts::LN_2).sqrt());
                (-0.5 * ((wavelength - centre_nm[band]) / sigma).powi(2)).exp()
            }
            Self::Tabulated { wavelengths_nm, curves, .. } => interpolate(wavelengths_nm, &curves[band], wavelength),
        }
    }

    fn peak(&self, band: usize) -> f64 {
        match self {
            Self::Gaussian { .. } => 1.0,
            Self::Tabulated { curves, .. } => curves[band].iter().copied().fold(0.0, f64::max),
        }
    }

    /// The wavelength range in which a band responds with more than [`LEAST_OF_PEAK`].
    fn range(&self, band: usize) -> (f64, f64) {
        match self {
            Self::Gaussian { centre_nm, fwhm_nm } => (centre_nm[band] - fwhm_nm[band], centre_nm[band] + fwhm_nm[band]),
            Self::Tabulated { wavelengths_nm, curves, .. } => {
                let least = LEAST_OF_PEAK * self.peak(band);
                let mut knots = wavelengths_nm.iter().zip(&curves[band]).filter(|(_, value)| **value >= least);
                let first = knots.next().map_or(f64::NAN, |(knot, _)| *knot);
                (first, knots.next_back().map_or(first, |(knot, _)| *knot))
            }
        }
    }

    /// The error for a band that the wavelengths do not cover.
    fn unseen(&self, band: usize, wavelengths_nm: &[f64]) -> Error {
        let (low, high) = self.range(band);
        let middle = f64::midpoint(low, high);
        let (Some(first), Some(last)) = (wavelengths_nm.first(), wavelengths_nm.last()) else {
            return Error::setting("target.wavelengths_nm", "empty; list the wavelengths of the spectral basis");
        };
        let nearest = wavelengths_nm.iter().copied().min_by(|a, b| (a - middle).abs().total_cmp(&(b - middle).abs()));
        self.error(&format!(
            "band {} responds from {low:.1} to {high:.1} nm, but of the basis's wavelengths ({first} to {last} nm) none lies \
             there, the nearest is {:.1} nm; leave the band out (\"\" in `bands`), or make a basis that covers it{}",
            band + 1,
            nearest.unwrap_or(*first),
            // A width of 0.03 µm must not be read as 0.03 nm.
            if high - low < 2.0 { "; is its width in nanometres?" } else { "" }
        ))
    }

    fn validate(&self) -> Result<()> {
        if self.bands() == 0 {
            return Err(self.error("no bands; give at least one"));
        }
        let problem = match self {
            Self::Gaussian { centre_nm, fwhm_nm } => gaussian_problem(centre_nm, fwhm_nm),
            Self::Tabulated { wavelengths_nm, curves, .. } => {
                wavelength_problem(wavelengths_nm).or_else(|| curve_problem(wavelengths_nm.len(), curves))
            }
        };
        problem.map_or(Ok(()), |problem| Err(self.error(&problem)))
    }

    /// An error about this response that names its file.
    fn error(&self, problem: &str) -> Error {
        match self {
            Self::Tabulated { file: Some(file), .. } => {
                Error::setting("response", format!("{}: {problem}", file.display()))
            }
            _ => Error::setting("response", problem),
        }
    }
}

/// The problem with centres and widths, if any.
fn gaussian_problem(centre_nm: &[f64], fwhm_nm: &[f64]) -> Option<String> {
    if centre_nm.len() != fwhm_nm.len() {
        let (centres, widths) = (centre_nm.len(), fwhm_nm.len());
        return Some(format!("{centres} centres and {widths} widths; give one of each for every band"));
    }
    if let Some(band) = centre_nm.iter().position(|centre| !centre.is_finite()) {
        return Some(format!("the centre of band {} is {}; give nm", band + 1, centre_nm[band]));
    }
    if let Some(band) = fwhm_nm.iter().position(|width| !width.is_finite() || *width <= 0.0) {
        return Some(format!("the FWHM of band {} is {}; give a positive number of nm", band + 1, fwhm_nm[band]));
    }
    unit_problem(centre_nm)
}

/// The problem with curves on this number of knots, if any.
fn curve_problem(knots: usize, curves: &[Vec<f64>]) -> Option<String> {
    if knots < 2 {
        return Some(format!("{knots} wavelengths; curves need two or more"));
    }
    for (band, curve) in curves.iter().enumerate() {
        let band = band + 1;
        if curve.len() != knots {
            return Some(format!("band {band} has {} values for {knots} wavelengths; give one each", curve.len()));
        }
        if let Some(value) = curve.iter().find(|value| !value.is_finite()) {
            return Some(format!("band {band} holds {value}; write 0 where it does not respond"));
        }
        if curve.iter().all(|value| *value <= 0.0) {
            return Some(format!("band {band} is nowhere positive; leave it out, or give its response"));
        }
    }
    None
}

/// Linear interpolation between knots, zero beyond them.
fn interpolate(knots: &[f64], values: &[f64], at: f64) -> f64 {
    let after = knots.partition_point(|knot| *knot < at);
    if knots.get(after) == Some(&at) {
        return values[after];
    }
    if after == 0 || after == knots.len() {
        return 0.0;
    }
    let share = (at - knots[after - 1]) / (knots[after] - knots[after - 1]);
    values[after - 1] + share * (values[after] - values[after - 1])
}

impl SpectralResponse {
    /// Text that identifies the response in settings.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Gaussian { centre_nm, fwhm_nm } => {
                format!("Gaussian of {} bands, {:08x}", centre_nm.len(), digest(centre_nm.iter().chain(fwhm_nm)))
            }
            Self::Tabulated { wavelengths_nm, curves, names, .. } => {
                let values = wavelengths_nm.iter().chain(curves.iter().flatten());
                // Names decide which curve belongs to which band.
                format!("table of {} bands {names:?}, {:08x}", curves.len(), digest(values))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_matched_by_name_or_in_order_but_not_by_both() {
        let named = |names: &[&str]| SpectralResponse::Tabulated {
            wavelengths_nm: vec![500.0, 900.0],
            curves: vec![vec![1.0, 1.0]; names.len()],
            names: names.iter().map(ToString::to_string).collect(),
            file: None,
        };
        let held = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let table = named(&["blue", "NIR", "red"]);
        assert_eq!(table.bands_for(&held(&["red", "nir"])).unwrap(), [2, 1]);
        assert_eq!(table.bands_for(&held(&["band1", "band2", "band3"])).unwrap(), [0, 1, 2]);
        let problem = table.bands_for(&held(&["red", "swir"])).unwrap_err().to_string();
        assert!(problem.contains("\"swir\"") && problem.contains("NIR"), "{problem}");
        assert!(table.bands_for(&held(&["band1"])).unwrap_err().to_string().contains("3 bands"));
        // Renamed columns are other curves for the same bands: a series of one must not be resumed with the other.
        assert_ne!(table.summary(), named(&["blue", "red", "NIR"]).summary());
        let gaussian = SpectralResponse::gaussian([500.0], [20.0]).unwrap();
        assert_eq!(gaussian.bands_for(&held(&["red"])).unwrap(), [0]);
    }
}
