//! Per-pixel uncertainty that a product ships, converted to noise variance.

use super::Calibration;
use super::quality::AncillaryLocation;
use crate::error::Result;

/// Which measure of spread an uncertainty band stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spread {
    /// Standard deviations, in u.
    #[default]
    Sd,
    /// Variances, in u².
    Variance,
}

/// Where a product stores the uncertainty of every pixel, and in which form.
///
/// A pixel whose uncertainty is missing or not positive has the noise variance of the instrument.
///
/// ```
/// use rasterfuse::source::{Spread, Uncertainty};
/// let per_band = Uncertainty::files("aq/*_{band}_unc.tif").scale(1e-4);
/// let inside = Uncertainty::bands(["red_var", "nir_var"]).kind(Spread::Variance);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Uncertainty {
    pub(super) locations: Vec<AncillaryLocation>,
    scale: Option<f64>,
    kind: Spread,
}

impl Uncertainty {
    fn new(locations: Vec<AncillaryLocation>) -> Self {
        Self { locations, scale: None, kind: Spread::Sd }
    }

    /// Files that match a wildcard pattern. With `{band}` there is one file for each source band; otherwise one file
    /// holds a band for each of them, in their order. Partners are matched as in
    /// [`Quality::files`](super::Quality::files).
    #[must_use]
    pub fn files(pattern: impl Into<String>) -> Self {
        Self::new(vec![AncillaryLocation::Files(pattern.into())])
    }

    /// Bands of the data file, by name or number from 1: one for each source band, in their order.
    #[must_use]
    pub fn bands<S: ToString>(bands: impl IntoIterator<Item = S>) -> Self {
        Self::new(bands.into_iter().map(|band| AncillaryLocation::Band(band.to_string())).collect())
    }

    /// Files that an explicit list of granules names
    /// ([`Granule::uncertainty`](super::Granule::uncertainty)).
    #[must_use]
    pub fn listed() -> Self {
        Self::new(vec![AncillaryLocation::Listed])
    }

    /// Factor from stored numbers to u or u². It replaces the scale of the files.
    #[must_use]
    pub fn scale(mut self, scale: f64) -> Self {
        self.scale = Some(scale);
        self
    }

    /// The measure that the bands store. Default: standard deviations.
    #[must_use]
    pub fn kind(mut self, kind: Spread) -> Self {
        self.kind = kind;
        self
    }

    /// How stored numbers are calibrated.
    pub(super) fn calibration(&self) -> Calibration {
        Calibration { scale: self.scale, ..Calibration::default() }
    }

    pub(super) fn validate(&self) -> Result<()> {
        if let Some(scale) = self.scale.filter(|scale| *scale <= 0.0) {
            return Err(crate::Error::setting("uncertainty.scale", format!("{scale} must be positive")));
        }
        self.calibration().validate().map_err(|error| match error {
            crate::Error::Setting { key, problem, .. } => crate::Error::setting(format!("uncertainty.{key}"), problem),
            other => other,
        })
    }

    /// Converts the values read to variances in place. Unknown variances become NaN.
    pub(super) fn to_variances(&self, values: &mut [f64]) {
        for value in values {
            let variance = match self.kind {
                Spread::Sd => *value * *value,
                Spread::Variance => *value,
            };
            *value = if *value > 0.0 { variance } else { f64::NAN };
        }
    }

    /// The text that is stored with the settings of a run.
    pub(super) fn text(&self) -> String {
        let bands: Vec<&str> = self.locations.iter().filter_map(AncillaryLocation::name).collect();
        let scale = self.scale.map_or_else(|| "the file's own".into(), |scale| format!("{scale:?}"));
        format!(
            "{:?}, scale {scale}{}",
            self.kind,
            if bands.is_empty() { String::new() } else { format!(", bands {bands:?}") }
        )
    }
}

impl AncillaryLocation {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Band(band) => Some(band),
            _ => None,
        }
    }
}
