use std::path::Path;

use ::gdal::errors::GdalError;
use ::gdal::raster::{ColorInterpretation, GdalDataType, RasterBand};
use ::gdal::{Dataset, Metadata};

use super::{QuietErrors, View, message, open};
use crate::error::Result;
use crate::geometry::{Date, PixelRegion};
use crate::source::Calibration;

/// Decoded bytes of all bands that a window of a pixel-interleaved file may have: they are in GDAL's cache while the bands are
/// read one after another.
const WINDOW_BYTES: usize = 1 << 20;

/// An open dataset and what reading it needs to know.
pub(in crate::source) struct OpenRaster {
    dataset: Dataset,
    /// The band that holds the opacity of the others, from 1. GDAL makes a mask of it only in files of two or four bands.
    alpha: Option<usize>,
    /// (rows, columns) to read at once where a decoded block holds all bands.
    window: Option<(usize, usize)>,
}

/// A band that could not be read, by position, and why.
pub(in crate::source) struct ReadFailure {
    pub(in crate::source) band: usize,
    pub(in crate::source) error: GdalError,
}

impl ReadFailure {
    /// GDAL's own words.
    pub(in crate::source) fn message(&self) -> String {
        message(&self.error)
    }
}

impl OpenRaster {
    /// Opens a file or subdataset, as it is or as a view; `date` only serves the message.
    pub(in crate::source) fn open(path: &Path, date: Date, view: Option<&View>) -> Result<Self> {
        if let Some(view) = view {
            // All bands of a block are resampled together.
            let dataset = view.open(path, Some(date))?;
            return Ok(Self { dataset, alpha: None, window: Some(view.block_shape()) });
        }
        let dataset = open(path, Some(date))?;
        let _quiet = QuietErrors::new();
        let bands = || (1..=dataset.raster_count()).filter_map(|index| Some((index, dataset.rasterband(index).ok()?)));
        let alpha = bands()
            .find(|(_, band)| band.color_interpretation() == ColorInterpretation::AlphaBand)
            .map(|(index, _)| index);
        let by_pixel = dataset.metadata_item("INTERLEAVE", "IMAGE_STRUCTURE").is_some_and(|order| order == "PIXEL");
        let window = bands().next().filter(|_| by_pixel && dataset.raster_count() > 1).map(|(_, band)| {
            let (cols, rows) = band.block_size();
            let (rows, cols) = (rows.max(1), cols.max(1));
            let bytes = rows * cols * dataset.raster_count() * band.band_type().bits().div_ceil(8) as usize;
            (rows * (WINDOW_BYTES / bytes.max(1)).max(1), cols)
        });
        Ok(Self { dataset, alpha, window })
    }

    /// Reads a window of the bands at these positions, counted from 0, into planes of row-major values, calibrated, NaN where
    /// missing.
    ///
    /// Every block that the window meets is decoded once, whatever the order of bands in the file and the size of GDAL's cache.
    pub(in crate::source) fn read(
        &self,
        bands: &[usize],
        region: &PixelRegion,
        calibration: &Calibration,
        planes: &mut [&mut [f64]],
    ) -> Result<(), ReadFailure> {
        let _quiet = QuietErrors::new();
        let failed = |band: usize| move |error: GdalError| ReadFailure { band, error };
        let several = self.window.filter(|window| bands.len() > 1 && spans_several(region, *window));
        if let Some(window) = several {
            let mut scratch = Vec::new();
            for part in parts(region, window) {
                for (&band, plane) in bands.iter().zip(&mut *planes) {
                    scratch.resize(part.len(), 0.0);
                    self.stored(band, &part, &mut scratch).map_err(failed(band))?;
                    insert(&scratch, &part, plane, region);
                }
            }
        } else {
            for (&band, plane) in bands.iter().zip(&mut *planes) {
                self.stored(band, region, plane).map_err(failed(band))?;
            }
        }
        for (&band, plane) in bands.iter().zip(&mut *planes) {
            self.finish(band, region, calibration, plane).map_err(failed(band))?;
        }
        Ok(())
    }

    /// Stored numbers of a window.
    fn stored(&self, band: usize, region: &PixelRegion, values: &mut [f64]) -> Result<(), GdalError> {
        read_window(&self.dataset.rasterband(band + 1)?, region, values)
    }

    /// Makes NaN of nodata and of what masks and alpha hide, and physical values of the others.
    fn finish(
        &self,
        index: usize,
        region: &PixelRegion,
        calibration: &Calibration,
        values: &mut [f64],
    ) -> Result<(), GdalError> {
        let band = self.dataset.rasterband(index + 1)?;
        // A float32 file stores the nearest float32 of its nodata value.
        let single = band.band_type() == GdalDataType::Float32;
        for nodata in [band.no_data_value(), calibration.nodata].into_iter().flatten() {
            let nodata = if single { f64::from(nodata as f32) } else { nodata };
            for value in values.iter_mut().filter(|value| **value == nodata) {
                *value = f64::NAN;
            }
        }
        let flags = band.mask_flags()?;
        // Nodata of a single band has been dealt with; nodata of all bands together is a mask of the dataset.
        if flags.is_per_dataset() || !(flags.is_all_valid() || flags.is_nodata()) {
            hide(&band.open_mask_band()?, region, values)?;
        }
        if let Some(alpha) = self.alpha.filter(|alpha| *alpha != index + 1) {
            hide(&self.dataset.rasterband(alpha)?, region, values)?;
        }
        calibration.apply(band.scale(), band.offset(), values);
        Ok(())
    }
}

fn read_window(band: &RasterBand<'_>, region: &PixelRegion, values: &mut [f64]) -> Result<(), GdalError> {
    let (rows, cols) = region.shape();
    let start = (region.cols.start as isize, region.rows.start as isize);
    band.read_into_slice(start, (cols, rows), (cols, rows), values, None)
}

/// Makes NaN of what a mask hides.
fn hide(mask: &RasterBand<'_>, region: &PixelRegion, values: &mut [f64]) -> Result<(), GdalError> {
    let mut opacity = vec![0.0; values.len()];
    read_window(mask, region, &mut opacity)?;
    for (value, _) in values.iter_mut().zip(&opacity).filter(|(_, opacity)| **opacity == 0.0) {
        *value = f64::NAN;
    }
    Ok(())
}

fn spans_several(region: &PixelRegion, (rows, cols): (usize, usize)) -> bool {
    let several = |range: &std::ops::Range<usize>, step: usize| range.end.div_ceil(step) - range.start / step > 1;
    !region.is_empty() && (several(&region.rows, rows) || several(&region.cols, cols))
}

/// The region cut along the lines of windows that start at the raster's upper-left corner.
fn parts(region: &PixelRegion, (rows, cols): (usize, usize)) -> impl Iterator<Item = PixelRegion> + use<> {
    let cut = |range: std::ops::Range<usize>, step: usize| {
        (range.start / step..range.end.div_ceil(step))
            .map(move |k| range.start.max(k * step)..range.end.min((k + 1) * step))
    };
    let (across, cols_range) = (cols, region.cols.clone());
    cut(region.rows.clone(), rows)
        .flat_map(move |rows| cut(cols_range.clone(), across).map(move |cols| PixelRegion::new(rows.clone(), cols)))
}

/// Copies a part into the plane of its region.
fn insert(values: &[f64], part: &PixelRegion, plane: &mut [f64], region: &PixelRegion) {
    let (left, width) = (part.cols.start - region.cols.start, region.cols.len());
    for (row, values) in part.rows.clone().zip(values.chunks_exact(part.cols.len())) {
        let start = (row - region.rows.start) * width + left;
        plane[start..start + values.len()].copy_from_slice(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_region_once_along_the_lines_of_blocks() {
        let region = PixelRegion::new(3..17, 5..9);
        let mut plane = vec![0.0; region.len()];
        for part in parts(&region, (8, 4)) {
            assert_eq!((part.rows.start / 8, part.cols.start / 4), ((part.rows.end - 1) / 8, (part.cols.end - 1) / 4));
            let values: Vec<f64> =
                part.rows.clone().flat_map(|r| part.cols.clone().map(move |c| (100 * r + c) as f64)).collect();
            insert(&values, &part, &mut plane, &region);
        }
        let expected: Vec<f64> = (3..17).flat_map(|r| (5..9).map(move |c| f64::from(100 * r + c))).collect();
        assert_eq!(plane, expected);
        assert!(spans_several(&region, (8, 4)) && !spans_several(&PixelRegion::new(8..16, 4..8), (8, 4)));
        assert!(!spans_several(&PixelRegion::new(8..8, 4..8), (8, 4)));
    }
}
