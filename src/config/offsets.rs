//! Offset layers of an instrument.

use super::FusionConfig;
use super::layout::{Group, OffsetLayer, Per};
use crate::error::{Error, Result};
use crate::model::{self, AcquisitionGroups};
use crate::source::RasterSource;

const KEY: &str = "offset_layer.group";

impl FusionConfig {
    /// An offset layer of an instrument whose pixels come from `source`.
    pub(super) fn offset_layer(&self, layer: &OffsetLayer, source: &dyn RasterSource) -> Result<describe::OffsetLayer> {
        let variance = layer.variance.0.clone();
        let mut built = match (layer.per, &layer.group) {
            (Per::Group, Some(group)) => describe::OffsetLayer::per_group(variance, self.groups(group, source)?),
            (Per::Group, None) => {
                let problem = "not given; an offset per group needs a pattern for the files' paths or a table";
                return Err(Error::setting(KEY, problem));
            }
            (_, Some(_)) => return Err(Error::setting(KEY, "only offsets per group have any; leave it out")),
            (Per::Pixel, None) => describe::OffsetLayer::per_pixel(variance),
            (Per::Window, None) => describe::OffsetLayer::per_window(variance),
            (Per::Acquisition, None) => describe::OffsetLayer::per_acquisition(variance),
        };
        if let Some(drift) = &layer.drift {
            built = built.drift(drift.0.clone());
        }
        if let Some(phi) = &layer.phi {
            built = built.phi(phi.0.clone());
        }
        Ok(built)
    }

    fn groups(&self, group: &Group, source: &dyn RasterSource) -> Result<AcquisitionGroups> {
        match group {
            Group::Pattern(pattern) => AcquisitionGroups::from_paths(source, pattern),
            Group::Table(table) => AcquisitionGroups::from_csv(self.folder.join(&table.table)),
        }
        .map_err(|error| match error {
            Error::Setting { problem, .. } => Error::setting(KEY, problem),
            other => other,
        })
    }
}
