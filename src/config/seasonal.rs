//! The seasonal mean of a description: used by a fusion, or yet to be fitted.

use super::{FusionConfig, OnError};
use crate::error::{Error, Result};
use crate::geometry::Grid;
use crate::model::{self, SeasonalBuilder, SeasonalFit, SeasonalMean};
use crate::sink::SeasonalStore;
use crate::source::RasterSource;

impl FusionConfig {
    /// The mean that `[seasonal]` names.
    pub(super) fn seasonal(&self) -> Result<Option<SeasonalMean>> {
        let Some(seasonal) = &self.document.seasonal else { return Ok(None) };
        let path = self.folder.join(&seasonal.mean);
        SeasonalStore::open(path).map(Some).map_err(|error| Error::setting("seasonal.mean", error.to_string()))
    }

    /// Opens what a seasonal mean of the target is fitted to: the instruments of these names, or all whose pixels are target
    /// cells. Whatever `[seasonal]` names need not be there yet. The files of all their dates count, those outside the
    /// description's period too. [`SeasonalStore::write`] stores the mean, or [`SeasonalFit::collect`] keeps it in memory.
    ///
    /// ```no_run
    /// # fn main() -> rasterfuse::Result<()> {
    /// use rasterfuse::config::FusionConfig;
    /// use rasterfuse::seasonal::SeasonalMean;
    /// use rasterfuse::sink::SeasonalStore;
    /// let fit = FusionConfig::read("fuse.toml")?.seasonal_fit(&SeasonalMean::builder(), &[])?;
    /// let mean = SeasonalStore::create("seasonal.zarr").write(&fit)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such instrument, or none whose pixels are cells; those of
    /// [`StackBuilder::open`](crate::source::StackBuilder::open) and [`SeasonalBuilder::prepare`].
    pub fn seasonal_fit(&self, settings: &SeasonalBuilder, names: &[String]) -> Result<SeasonalFit> {
        self.naming(self.prepare_seasonal(settings, names))
    }

    fn prepare_seasonal(&self, settings: &SeasonalBuilder, names: &[String]) -> Result<SeasonalFit> {
        let target = self.target()?;
        let described = &self.document.instrument;
        let known = || described.iter().map(|instrument| instrument.name.as_str()).collect::<Vec<_>>();
        if let Some(name) = names.iter().find(|name| !known().contains(&name.as_str())) {
            return Err(Error::setting("instrument", format!("none is called {name:?}; there are {:?}", known())));
        }
        let lenient = matches!(self.document.run.on_error, OnError::Skip);
        let mut instruments = Vec::new();
        for instrument in described.iter().filter(|instrument| names.is_empty() || names.contains(&instrument.name)) {
            let instrument =
                self.instrument(instrument, &target, &self.open_instrument(instrument, &target, lenient)?)?;
            if !names.is_empty() || has_cells(&instrument, &target) {
                instruments.push(instrument);
            }
        }
        if instruments.is_empty() {
            let problem = "the pixels of none are target cells, which a seasonal mean is fitted to; choose the target so that those of one are";
            return Err(Error::setting("instrument", problem));
        }
        let bands = match self.bands()? {
            bands if bands.is_empty() => model::shared_bands(&instruments)?,
            bands => bands,
        };
        settings.prepare(&target, &bands, self.basis()?.as_ref(), &instruments)
    }
}

/// Whether the pixels of an instrument are cells of the target.
pub(super) fn has_cells(instrument: &describe::Instrument, target: &Grid) -> bool {
    instrument.footprint_is_cell() && target.lattice_offset(instrument.source().grid()).is_some()
}
