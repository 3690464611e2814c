//! One instrument's files, for what is done with them before a fusion can be built.

use std::sync::Arc;

use super::FusionConfig;
use super::stack::Opened;
use crate::error::{Error, Result};
use crate::model::{SpectralResponse, Values};
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

impl FusionConfig {
    /// Opens the files of the instrument `name` as a run would, whatever else the description lacks: the files of its `[basis]`
    /// need not be there yet.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such instrument, and those of
    /// [`StackBuilder::open`](crate::source::StackBuilder::open).
    pub fn source(&self, name: &str) -> Result<InstrumentSource> {
        let instruments = &self.document.instrument;
        let Some(instrument) = instruments.iter().find(|instrument| instrument.name == name) else {
            let names: Vec<&str> = instruments.iter().map(|instrument| instrument.name.as_str()).collect();
            return Err(Error::setting("instrument", format!("none is called {name:?}; there are {names:?}")));
        };
        let opened = self.open_instrument(instrument, &self.target()?, false)?;
        let Opened { stack, noise_variance, response } = opened;
        let source: Arc<dyn RasterSource> = Arc::new(stack);
        let target = || self.document.target.wavelengths_nm.clone().filter(|held| held.len() == source.bands().len());
        let centres = response.and_then(|response| match response {
            SpectralResponse::Gaussian { centre_nm, .. } => Some(centre_nm),
            SpectralResponse::Tabulated { .. } => None,
        });
        let wavelengths_nm = centres.or_else(target);
        Ok(InstrumentSource { source, noise_variance, wavelengths_nm })
    }
}
