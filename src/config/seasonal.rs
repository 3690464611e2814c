//! The seasonal mean of a description: used by a fusion, or yet to be fitted.

use super::FusionConfig;
use crate::error::{Error, Result};
use crate::model::{SeasonalBuilder, SeasonalFit};
use crate::source::PassWatch;

impl FusionConfig {
    /// Opens what a seasonal mean of the target is fitted to: the instruments of these names, or all whose pixels are
    /// target cells. Whatever `[seasonal]` names need not be there yet. The files of all their dates count, those
    /// outside the description's period too. [`SeasonalStore::write`](crate::sink::SeasonalStore::write) stores the
    /// mean, or [`SeasonalFit::collect`] keeps it in memory.
    ///
    /// ```no_run
    /// # fn main() -> rasterfuse::Result<()> {
    /// use rasterfuse::config::FusionConfig;
    /// use rasterfuse::model::SeasonalBuilder;
    /// use rasterfuse::sink::SeasonalStore;
    /// let fit = FusionConfig::read("fuse.toml")?.seasonal_fit(&SeasonalBuilder::default(), &[])?;
    /// let mean = SeasonalStore::create("seasonal.zarr").write(&fit)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such instrument, or none whose pixels are cells; those of
    /// [`StackBuilder::open`](crate::source::StackBuilder::open) and [`SeasonalBuilder::prepare`].
    pub fn seasonal_fit(&self, settings: &SeasonalBuilder, names: &[String]) -> Result<SeasonalFit> {
        self.seasonal_fit_watched(settings, names, &())
    }

    /// As [`seasonal_fit`](Self::seasonal_fit), followed by a watch that may end it early.
    ///
    /// # Errors
    /// As [`seasonal_fit`](Self::seasonal_fit); [`Error::Interrupted`] where the watch ends it.
    pub fn seasonal_fit_watched(
        &self,
        settings: &SeasonalBuilder,
        names: &[String],
        watch: &dyn PassWatch,
    ) -> Result<SeasonalFit> {
        self.naming(self.prepare_seasonal(settings, names, watch))
    }

    fn prepare_seasonal(
        &self,
        settings: &SeasonalBuilder,
        names: &[String],
        watch: &dyn PassWatch,
    ) -> Result<SeasonalFit> {
        let target = self.target()?;
        let instruments = self.instruments_with_cells(names, &target)?;
        if instruments.is_empty() {
            let problem = "the pixels of none are target cells, which a seasonal mean is fitted to; choose the target so that those of one are";
            return Err(Error::setting("instrument", problem));
        }
        settings.prepare_watched(&target, &self.bands_of(&instruments)?, self.basis()?.as_ref(), &instruments, watch)
    }
}
