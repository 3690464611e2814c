//! One instrument's files, for what is done with them before a fusion can be built.

use std::sync::Arc;

use super::FusionConfig;
use super::stack::{self, open_stack};
use super::{Instrument, cubes};
use crate::error::{Error, Result};
use crate::geometry::Grid;
use crate::describe::Numbers;
use crate::spectral::SpectralResponse;
use crate::preset::{Preset, PresetBand, response_of};
use crate::source::RasterSource;

/// What a description says of one instrument's files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InstrumentSource {
    /// The files, opened (headers only).
    pub source: Arc<dyn RasterSource>,
    /// Noise variance in u², one or one per band of the files, where it is given or known.
    pub noise_variance: Option<Values>,
    /// Centre of each band of the files in nm: of its `response`, or the target's `wavelengths_nm` when there are as many.
    pub wavelengths_nm: Option<Vec<f64>>,
}

/// An instrument's source and what its keys or its preset say of its bands.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) source: Arc<dyn RasterSource>,
    pub(super) noise_variance: Option<Values>,
    /// Where there is a spectral basis.
    pub(super) response: Option<SpectralResponse>,
}

/// Opens what an instrument's keys describe: a stack of files, a cube, a series.
pub(super) fn open_source(
    config: &FusionConfig,
    instrument: &Instrument,
    target: &Grid,
    lenient: bool,
) -> Result<Opened> {
    let spectral = config.document.basis.is_some();
    let preset = instrument.preset.as_deref().map(Preset::find).transpose()?;
    // With a basis every band sees all of the spectrum.
    let target_bands = config.document.target.bands.as_deref().filter(|_| !spectral);
    let bands = preset.map(|preset| stack::preset_bands(preset, instrument, target_bands)).transpose()?;
    let bands: Vec<&PresetBand> = bands.unwrap_or_default();
    let source = match cubes::open(instrument, &config.folder, target)? {
        Some(cube) => cube,
        None => Arc::new(open_stack(instrument, preset, &bands, &config.folder, target, lenient)?),
    };
    let response = match &instrument.response {
        Some(response) => Some(config.response(response)?),
        None if spectral => response_of(bands.iter().copied()),
        None => None,
    };
    let given = instrument.noise_variance.as_ref().map(|noise| noise.0.clone());
    let noise_variance = given.or_else(|| Preset::noise_variance(&bands).map(Values::Each));
    Ok(Opened { source, noise_variance, response })
}

impl FusionConfig {
    /// Opens the files of the instrument `name` as a run would, whatever else the description lacks: the files of its `[basis]`
    /// need not be there yet.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such instrument, and those of
    /// [`StackBuilder::open`](crate::source::StackBuilder::open).
    pub fn source(&self, name: &str) -> Result<InstrumentSource> {
        self.naming(self.source_of(name))
    }

    fn source_of(&self, name: &str) -> Result<InstrumentSource> {
        let instruments = &self.document.instrument;
        let Some(instrument) = instruments.iter().find(|instrument| instrument.name == name) else {
            let names: Vec<&str> = instruments.iter().map(|instrument| instrument.name.as_str()).collect();
            return Err(Error::setting("instrument", format!("none is called {name:?}; there are {names:?}")));
        };
        let opened = self.open_instrument(instrument, &self.target()?, false)?;
        let Opened { source, noise_variance, response } = opened;
        let target = || self.document.target.wavelengths_nm.clone().filter(|held| held.len() == source.bands().len());
        let centres = response.and_then(|response| match response {
            SpectralResponse::Gaussian { centre_nm, .. } => Some(centre_nm),
            SpectralResponse::Tabulated { .. } => None,
        });
        let wavelengths_nm = centres.or_else(target);
        Ok(InstrumentSource { source, noise_variance, wavelengths_nm })
    }
}
