//! Settings of a principal component analysis.

use std::ops::RangeInclusive;

use super::SpectralPca;
use super::pass::SpectraPass;
use crate::error::{Error, Result};
use crate::source::{PassWatch, RasterSource};
use crate::spectral::wavelengths::unit_problem;

/// The unit in which bands are compared in the search for components. The basis is in u in every case.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum BandScale {
    /// Equal for all bands, in u: principal components of the covariance. Noise counts as variance of the scene.
    #[default]
    Same,
    /// The standard deviation of each band: components of the correlation, for bands with very different variances.
    Deviation,
    /// The standard deviation of the noise of each band. Its variance in u² is given, one or one per band of the
    /// source; slices with their own [noise variance](crate::source::Slice::noise_variance) use that instead. Noise
    /// is subtracted, and components that do not exceed it are dropped.
    Noise(Vec<f64>),
    /// As `Noise`, with the noise variance of a band estimated as the part that the other bands do not explain
    /// (linear regression; Bioucas-Dias and Nascimento, IEEE Transactions on Geoscience and Remote Sensing 46, 2008).
    /// Needs twice as many pixels as bands, and noise that differs from band to band.
    EstimatedNoise,
}

/// Number of components.
#[derive(Clone, Copy, Debug)]
pub(super) enum ComponentCount {
    Fixed(usize),
    /// The smallest number that explains this share of the variance of the scene.
    Explained(f64),
}

/// Builder of a [`SpectralPca`]; [`fit`](Self::fit) computes it.
#[derive(Clone, Debug)]
pub struct PcaBuilder {
    pub(super) wavelengths_nm: Vec<f64>,
    pub(super) scale: BandScale,
    pub(super) choice: ComponentCount,
    pub(super) every: usize,
    without_nm: Vec<RangeInclusive<f64>>,
}

impl PcaBuilder {
    pub(super) fn new(wavelengths_nm: Vec<f64>) -> Self {
        let choice = ComponentCount::Explained(0.999);
        Self { wavelengths_nm, scale: BandScale::default(), choice, every: 1, without_nm: Vec::new() }
    }

    /// The unit in which bands are compared, and the treatment of noise. Default: [`BandScale::Same`].
    #[must_use]
    pub fn scale(mut self, scale: BandScale) -> Self {
        self.scale = scale;
        self
    }

    /// Uses this number of components.
    #[must_use]
    pub fn components(mut self, components: usize) -> Self {
        self.choice = ComponentCount::Fixed(components);
        self
    }

    /// Uses the smallest number of components that explains this share of the variance of the scene (without noise,
    /// where it is known). Default: 0.999.
    #[must_use]
    pub fn explained(mut self, share: f64) -> Self {
        self.choice = ComponentCount::Explained(share);
        self
    }

    /// Uses every n-th pixel of each row only, shifted by one from row to row and from date to date. Default: 1, all
    /// pixels. All pixels are read.
    #[must_use]
    pub fn every(mut self, n: usize) -> Self {
        self.every = n;
        self
    }

    /// Leaves out the bands in this range of wavelengths in nm, both ends included, such as those that water vapour
    /// absorbs.
    #[must_use]
    pub fn without_nm(mut self, wavelengths: RangeInclusive<f64>) -> Self {
        self.without_nm.push(wavelengths);
        self
    }

    /// Reads every date once, tile by tile, and computes the basis. Pixels with a missing value in any band are
    /// skipped.
    ///
    /// Runs on the calling thread. Memory is one tile of at most 32 MiB and a few matrices of bands × bands, for any
    /// number of dates. The same source gives the same bits.
    ///
    /// # Errors
    /// [`Error::Setting`] for invalid settings, for bands that are missing everywhere (with what to leave out), for
    /// fewer components than requested, and for too few pixels; otherwise the errors of [`RasterSource::read`].
    pub fn fit<S: RasterSource + ?Sized>(&self, source: &S) -> Result<SpectralPca> {
        self.fit_watched(source, &())
    }

    /// As [`fit`](Self::fit), followed by a watch that may end it early.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); [`Error::Interrupted`] where the watch ends it.
    pub fn fit_watched<S: RasterSource + ?Sized>(&self, source: &S, watch: &dyn PassWatch) -> Result<SpectralPca> {
        let used_bands = self.used_bands(source)?;
        let noise = match &self.scale {
            BandScale::Noise(values) => {
                let all = noise_of_each(values, source.bands().len())?;
                Some(used_bands.iter().map(|&band| all[band]).collect())
            }
            _ => None,
        };
        let wavelengths_nm = used_bands.iter().map(|&band| self.wavelengths_nm[band]).collect();
        SpectraPass::new(source, used_bands, wavelengths_nm, noise, self.every).run(watch)?.finish(self)
    }

    /// The used bands, by increasing wavelength.
    fn used_bands<S: RasterSource + ?Sized>(&self, source: &S) -> Result<Vec<usize>> {
        let (found, bands) = (self.wavelengths_nm.len(), source.bands().len());
        if found != bands {
            let origin = source.origin();
            let problem = format!("{found} for the {bands} bands of {origin}; give one for each band of the files");
            return Err(Error::setting("wavelengths_nm", problem));
        }
        if let Some(band) = self.wavelengths_nm.iter().position(|value| !value.is_finite()) {
            let problem = format!("that of band {} is {}; give nm", band + 1, self.wavelengths_nm[band]);
            return Err(Error::setting("wavelengths_nm", problem));
        }
        if let Some(problem) = unit_problem(&self.wavelengths_nm) {
            return Err(Error::setting("wavelengths_nm", problem));
        }
        match self.choice {
            ComponentCount::Fixed(0) => return Err(Error::setting("components", "0; at least 1 is needed")),
            ComponentCount::Explained(share) if !(share > 0.0 && share <= 1.0) => {
                return Err(Error::setting(
                    "explained",
                    format!("{share}; give a share of the variance such as 0.999"),
                ));
            }
            _ => {}
        }
        if self.every == 0 {
            return Err(Error::setting("every", "0; give 1 for all pixels"));
        }
        let left_out = |value: f64| self.without_nm.iter().any(|range| range.contains(&value));
        let mut used_bands: Vec<usize> = (0..bands).filter(|&band| !left_out(self.wavelengths_nm[band])).collect();
        if used_bands.is_empty() {
            return Err(Error::setting("without_nm", "no band is left; leave out less"));
        }
        used_bands.sort_by(|&a, &b| self.wavelengths_nm[a].total_cmp(&self.wavelengths_nm[b]));
        if let Some(pair) =
            used_bands.windows(2).find(|pair| self.wavelengths_nm[pair[0]] == self.wavelengths_nm[pair[1]])
        {
            let (first, second, value) = (pair[0] + 1, pair[1] + 1, self.wavelengths_nm[pair[0]]);
            let problem = format!("bands {first} and {second} are both at {value}; give each band its own wavelength");
            return Err(Error::setting("wavelengths_nm", problem));
        }
        Ok(used_bands)
    }
}

/// Noise variances of so many bands, one for all or one for each.
fn noise_of_each(values: &[f64], bands: usize) -> Result<Vec<f64>> {
    let key = "noise_variance";
    if let Some(value) = values.iter().find(|value| !(**value > 0.0 && value.is_finite())) {
        return Err(Error::number(key, *value, "must be positive"));
    }
    match values {
        [one] => Ok(vec![*one; bands]),
        each if each.len() == bands => Ok(each.to_vec()),
        each => {
            let given = each.len();
            Err(Error::setting(key, format!("{given} values for {bands} bands; give one number or one per band")))
        }
    }
}
