//! The map of change of a description.

use super::FusionConfig;
use crate::error::Result;
use crate::model::{ChangeBuilder, ChangeMap};
use crate::source::PassWatch;

impl FusionConfig {
    /// Finds how much each place of the target changes, from all dates of the instruments; what `process.variation`
    /// names need not be there yet. [`write_raster`](crate::source::gdal::write_raster) stores the map.
    ///
    /// ```no_run
    /// # fn main() -> rasterfuse::Result<()> {
    /// use rasterfuse::config::FusionConfig;
    /// use rasterfuse::model::ChangeBuilder;
    /// use rasterfuse::source::gdal::write_raster;
    /// let map = FusionConfig::read("fuse.toml")?.change_map(&ChangeBuilder::default())?;
    /// write_raster("change.tif".as_ref(), &map)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`StackBuilder::open`](crate::source::StackBuilder::open) and [`ChangeBuilder::fit`].
    pub fn change_map(&self, settings: &ChangeBuilder) -> Result<ChangeMap> {
        self.change_map_watched(settings, &())
    }

    /// As [`change_map`](Self::change_map), followed by a watch that may end it early.
    ///
    /// # Errors
    /// As [`change_map`](Self::change_map); [`Error::Interrupted`](crate::Error::Interrupted) where the watch ends it.
    pub fn change_map_watched(&self, settings: &ChangeBuilder, watch: &dyn PassWatch) -> Result<ChangeMap> {
        self.naming(self.fit_change(settings, watch))
    }

    fn fit_change(&self, settings: &ChangeBuilder, watch: &dyn PassWatch) -> Result<ChangeMap> {
        let target = self.target()?;
        let described = self.description.instrument.iter().zip(&self.sources);
        let instruments = described.map(|described| self.instrument(described, &target)).collect::<Result<Vec<_>>>()?;
        settings.fit_watched(&target, &self.bands_of(&instruments)?, self.basis()?.as_ref(), &instruments, watch)
    }
}
