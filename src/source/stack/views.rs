//! Reading the files of a stack on another grid.

use super::layout::Layout;
use super::place::Place;
use crate::error::{Error, Result};
use crate::source::gdal::View;

/// How files are opened.
#[derive(Debug)]
pub(super) struct Views {
    /// Data and uncertainty.
    pub(super) data: View,
    /// What each quality rule looks at.
    flags: Vec<(View, Place)>,
}

impl Views {
    /// `cell_sizes` are those of a granule's files, (width, height).
    pub(super) fn new(data: View, layout: &Layout, cell_sizes: &[(f64, f64)]) -> Result<Self> {
        let (scale_x, scale_y) = data.scale();
        let first = layout.bands.first().and_then(|plane| cell_sizes.get(plane.file)).copied().unwrap_or((1.0, 1.0));
        let flags = layout.quality.iter().map(|planes| {
            let own = planes.first().and_then(|plane| cell_sizes.get(plane.file)).copied().unwrap_or(first);
            // Pixels of the quality raster in one of the view.
            let cut = |own: f64, first: f64, scale: f64| (first / (own * scale)).round().max(1.0) as usize;
            let view = data.of_flags((cut(own.1, first.1, scale_y), cut(own.0, first.0, scale_x)))?;
            let place = Place::new(data.grid(), view.grid())
                .map_err(|problem| Error::Grid { what: "quality on another grid".into(), problem })?;
            Ok((view, place))
        });
        let flags = flags.collect::<Result<_>>()?;
        Ok(Self { data, flags })
    }

    /// How a quality rule's files are opened, and where they then lie.
    pub(super) fn flags(&self, rule: usize) -> (&View, Place) {
        let (view, place) = &self.flags[rule];
        (view, *place)
    }
}
