//! Properties of a file that every read needs, determined once.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ::gdal::errors::GdalError;
use ::gdal::raster::{ColorInterpretation, RasterBand};
use ::gdal::{Dataset, Metadata};

use super::numbers::{Format, Numbers};

/// Largest decoded size of a window of a pixel-interleaved file, all bands together. The window stays in GDAL's cache
/// while its bands are read one after another.
const WINDOW_BYTES: usize = 1 << 20;

/// Properties of a file, determined once, at the first read.
#[derive(Debug, Default, PartialEq)]
pub(in crate::source) struct Traits {
    /// The band that holds the opacity of the others, counted from 1. GDAL makes a mask of it only in files of two or
    /// four bands.
    pub(super) alpha: Option<usize>,
    /// (rows, columns) to read at once where a decoded block holds all bands.
    pub(super) window: Option<(usize, usize)>,
    /// Whether any band has a mask that must be read.
    pub(super) masked: bool,
    /// What the stored numbers of each band mean.
    pub(super) numbers: Vec<Numbers>,
}

/// The traits of the files of a source. Most are alike, and share them.
#[derive(Debug, Default)]
pub(in crate::source) struct AlikeTraits(Mutex<Vec<Arc<Traits>>>);

impl AlikeTraits {
    pub(super) fn shared(&self, found: Traits) -> Arc<Traits> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = held.iter().find(|held| ***held == found) {
            return Arc::clone(same);
        }
        let found = Arc::new(found);
        held.push(Arc::clone(&found));
        found
    }
}

impl Traits {
    pub(super) fn of(path: &Path, dataset: &Dataset) -> Result<Self, GdalError> {
        let bands =
            (1..=dataset.raster_count()).map(|index| dataset.rasterband(index)).collect::<Result<Vec<_>, _>>()?;
        let alpha = bands.iter().position(|band| band.color_interpretation() == ColorInterpretation::AlphaBand);
        let by_pixel = dataset.metadata_item("INTERLEAVE", "IMAGE_STRUCTURE").is_some_and(|order| order == "PIXEL");
        let window = bands.first().filter(|_| by_pixel && bands.len() > 1).map(|band| {
            let (cols, rows) = band.block_size();
            let (rows, cols) = (rows.max(1), cols.max(1));
            let bytes = rows * cols * bands.len() * band.band_type().bits().div_ceil(8) as usize;
            (rows * (WINDOW_BYTES / bytes.max(1)).max(1), cols)
        });
        let mut masked = false;
        for band in &bands {
            masked |= has_mask(band)?;
        }
        let format = Format::of(path, dataset);
        let numbers = bands.iter().map(|band| Numbers::of(band, format)).collect();
        Ok(Self { alpha: alpha.map(|position| position + 1), window, masked, numbers })
    }
}

/// Nodata of a single band needs no mask read. Nodata of all bands together is a mask of the dataset.
pub(super) fn has_mask(band: &RasterBand<'_>) -> Result<bool, GdalError> {
    let flags = band.mask_flags()?;
    Ok(flags.is_per_dataset() || !(flags.is_all_valid() || flags.is_nodata()))
}
