//! A spectral basis from images, by principal component analysis in one pass.

mod axes;
mod builder;
mod moments;
mod pass;

use faer::linalg::solvers::DenseSolveCore;
use faer::{Mat, Side};
use ndarray::{Array1, Array2};

use super::SpectralBasis;
use crate::error::{Error, Result};
use crate::source::RasterSource;
use builder::ComponentCount;
use pass::SpectraPass;

pub use builder::{BandScale, PcaBuilder};

/// Principal components of hyperspectral images: a [`SpectralBasis`], and the share of the variance that each
/// component explains.
///
/// The columns of the components are orthonormal in u, so scores are in u as well. The first component has the
/// largest variance, and the largest entry of each is positive.
///
/// ```
/// use ndarray::Array4;
/// use rasterfuse::geometry::{Crs, Date, Grid};
/// use rasterfuse::spectral::SpectralPca;
/// use rasterfuse::source::MemorySource;
///
/// // Every spectrum is (1, 2, 3) and a multiple of (3, 4, 0).
/// let grid = Grid::new(Crs::unknown(), [0.0, 60.0, 0.0, 0.0, 0.0, -60.0], (1, 3))?;
/// let line = |band: usize, col: usize| 1.0 + band as f64 + [3.0, 4.0, 0.0][band] * (col as f64 - 1.0);
/// let values = Array4::from_shape_fn((1, 3, 1, 3), |(_, band, _, col)| line(band, col));
/// let names = ["b1", "b2", "b3"].map(String::from).to_vec();
/// let source = MemorySource::new(grid, vec![Date::from_ymd(2024, 5, 2)?], names, values)?;
///
/// let pca = SpectralPca::builder(vec![450.0, 550.0, 650.0]).fit(&source)?;
/// assert_eq!(pca.basis().components(), 1);
/// assert!((pca.basis().matrix()[(1, 0)] - 0.8).abs() < 1e-12 && (pca.variances()[0] - 25.0).abs() < 1e-12);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SpectralPca {
    basis: SpectralBasis,
    bands: Vec<usize>,
    variances: Vec<f64>,
    total_variance: f64,
    scale: Vec<f64>,
    noise_variance: Option<Vec<f64>>,
    pixels: u64,
    pixels_with_values: u64,
}

impl SpectralPca {
    /// Builder for a source whose bands are at `wavelengths_nm`, one for each band of the source.
    #[must_use]
    pub fn builder(wavelengths_nm: impl Into<Vec<f64>>) -> PcaBuilder {
        PcaBuilder::new(wavelengths_nm.into())
    }

    /// The mean spectrum and the components, on the used wavelengths in increasing order.
    #[must_use]
    pub fn basis(&self) -> &SpectralBasis {
        &self.basis
    }

    /// The used bands of the source, by position from 0, in the order of the wavelengths of the basis.
    #[must_use]
    pub fn bands(&self) -> &[usize] {
        &self.bands
    }

    /// Variance of the scores of each component over all pixels and dates, in u², without noise where the noise is
    /// known. It is a suitable prior variance when nothing better is known.
    #[must_use]
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// Share of the variance of the scene that each component explains; where the noise is known, of the variance
    /// above the noise.
    pub fn explained(&self) -> impl Iterator<Item = f64> + '_ {
        self.variances.iter().map(|variance| variance / self.total_variance)
    }

    /// The unit of each band in the comparison with the others, in u.
    #[must_use]
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// The subtracted noise variance of each band in u², given or estimated.
    #[must_use]
    pub fn noise_variance(&self) -> Option<&[f64]> {
        self.noise_variance.as_deref()
    }

    /// Number of pixels used, over all dates.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        self.pixels
    }

    /// Number of pixels with a value in any used band, over all dates, whether used or not.
    #[must_use]
    pub fn pixels_with_values(&self) -> u64 {
        self.pixels_with_values
    }
}

impl<S: RasterSource + ?Sized> SpectraPass<'_, S> {
    /// Computes the components from the sums.
    fn finish(self, settings: &PcaBuilder) -> Result<SpectralPca> {
        let (pixels, mean, cov) = self.moments.finish();
        let bands = mean.len();
        let name = |band: usize| format!("band {} ({} nm)", self.bands[band] + 1, self.wavelengths_nm[band]);
        let noise_variance = match settings.scale {
            BandScale::Noise(_) => Some(self.noise_sum.iter().map(|sum| sum / pixels as f64).collect()),
            BandScale::EstimatedNoise => Some(estimate_noise(&cov, pixels, &name)?),
            _ => None,
        };
        if let Some(band) = noise_variance.iter().flatten().position(|variance: &f64| *variance <= 0.0) {
            let problem = format!("the slices give 0 for {}; leave it out (without_nm), or correct them", name(band));
            return Err(Error::setting("noise_variance", problem));
        }
        let scale: Vec<f64> = match (&noise_variance, &settings.scale) {
            (Some(variances), _) => variances.iter().map(|variance| variance.sqrt()).collect(),
            (None, BandScale::Deviation) => deviations(&cov, &name)?,
            (None, _) => vec![1.0; bands],
        };
        let found = axes::find(&cov, &scale, noise_variance.is_some(), pixels, settings.choice)?;
        let matrix = Array2::from_shape_fn((bands, found.variances.len()), |(band, j)| found.matrix[(band, j)]);
        Ok(SpectralPca {
            basis: SpectralBasis::new(self.wavelengths_nm, Array1::from(mean), matrix)?,
            bands: self.bands,
            variances: found.variances,
            total_variance: found.total,
            scale,
            noise_variance,
            pixels,
            pixels_with_values: self.with_values,
        })
    }
}

/// Standard deviation of each band.
fn deviations(cov: &Mat<f64>, name: &impl Fn(usize) -> String) -> Result<Vec<f64>> {
    let deviation = |band: usize| match cov[(band, band)].sqrt() {
        deviation if deviation > 0.0 => Ok(deviation),
        _ => Err(Error::setting("scale", format!("{} never varies; leave it out (without_nm)", name(band)))),
    };
    (0..cov.nrows()).map(deviation).collect()
}

/// Noise variance of each band: the residual variance of its regression on all others. It is the reciprocal of the
/// diagonal of the inverse covariance, corrected for the degrees of freedom of the fit.
fn estimate_noise(cov: &Mat<f64>, pixels: u64, name: &impl Fn(usize) -> String) -> Result<Vec<f64>> {
    const GIVE: &str = "give the noise variance instead (BandScale::Noise)";
    let bands = cov.nrows();
    if pixels < 2 * bands as u64 {
        let problem =
            format!("{pixels} pixels are too few to estimate the noise of {bands} bands; use more, or {GIVE}");
        return Err(Error::setting("noise_variance", problem));
    }
    let deviations = deviations(cov, name)?;
    let correlation = Mat::from_fn(bands, bands, |a, b| cov[(a, b)] / (deviations[a] * deviations[b]));
    let exact = |which: String| {
        Error::setting(
            "noise_variance",
            format!("{which} a combination of other bands, without noise of its own; {GIVE}"),
        )
    };
    let inverse = correlation.llt(Side::Lower).map_err(|_| exact("some band is".into()))?.inverse();
    let correction = (pixels - 1) as f64 / (pixels - bands as u64) as f64;
    (0..bands)
        .map(|band| {
            let share = correction / inverse[(band, band)];
            // A positive pivot at the level of rounding errors.
            if share > bands as f64 * f64::EPSILON * 1e3 {
                Ok(share * deviations[band].powi(2))
            } else {
                Err(exact(format!("{} is", name(band))))
            }
        })
        .collect()
}
