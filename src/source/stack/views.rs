//! Views of a stack: how its files are read on another grid.

use super::layout::{Plane, StackLayout};
use super::location::StackLocation;
use crate::error::{Error, Result};
use crate::source::Quality;
use crate::source::gdal::View;

/// How files are opened.
#[derive(Debug)]
pub(super) struct Views {
    /// Data and uncertainty.
    pub(super) data: View,
    flags: Vec<Flags>,
}

/// How the files of a quality rule are opened.
#[derive(Debug)]
pub(super) struct Flags {
    pub(super) view: View,
    /// Location of the flags in the view of the data.
    pub(super) location: StackLocation,
    /// Cells around a hidden one from which interpolated values may come.
    pub(super) around: usize,
}

impl Views {
    /// `cell_sizes` are (width, height) for each file of a granule.
    pub(super) fn new(data: View, layout: &StackLayout, rules: &[Quality], cell_sizes: &[(f64, f64)]) -> Result<Self> {
        let size_of = |planes: &[Plane]| planes.first().and_then(|plane| cell_sizes.get(plane.file)).copied();
        let first = size_of(&layout.bands).unwrap_or((1.0, 1.0));
        let (native_x, native_y) = data.native();
        let flags = layout.quality.iter().zip(rules).map(|(planes, rule)| {
            let own = size_of(planes).unwrap_or(first);
            // Pixels of the quality raster per pixel of the view.
            let cut = |own: f64, first: f64, native: f64| (first / (own * native)).round().max(1.0);
            let (rows, cols) = (cut(own.1, first.1, native_y), cut(own.0, first.0, native_x));
            let view = data.for_flags((rows as usize, cols as usize), rule)?;
            let location = StackLocation::new(data.grid(), view.grid())
                .map_err(|problem| Error::Grid { what: "quality on another grid".into(), problem })?;
            let reach = |native: f64| data.reach(native);
            let around = f64::hypot(rows * reach(native_y), cols * reach(native_x));
            // A point may lie anywhere in the pixel in which it is looked up.
            Ok(Flags { view, location, around: around.ceil() as usize })
        });
        let flags = flags.collect::<Result<_>>()?;
        Ok(Self { data, flags })
    }

    /// How the files of each quality rule are opened.
    pub(super) fn flags(&self) -> &[Flags] {
        &self.flags
    }
}
