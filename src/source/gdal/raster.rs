//! An open raster: windowed reading, calibration and masks.

use std::path::Path;
use std::sync::OnceLock;

use ::gdal::errors::GdalError;
use ::gdal::raster::{ColorInterpretation, GdalDataType, GdalType, RasterBand};
use ::gdal::{Dataset, Metadata};

use super::{QuietErrors, View, message, open, open_error};
use crate::error::Result;
use crate::geometry::{Date, PixelRegion};
use crate::source::Calibration;
use crate::source::calibration::Converter;
use crate::source::quality::Codes;

/// Largest decoded size of a window of a pixel-interleaved file, all bands together. The window stays in GDAL's cache
/// while its bands are read one after another.
const WINDOW_BYTES: usize = 1 << 20;

/// An open dataset and the traits that reading needs.
pub(in crate::source) struct OpenRaster {
    dataset: Dataset,
    traits: Traits,
}

/// Properties of a file, determined once, at the first read.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Traits {
    /// The band that holds the opacity of the others, counted from 1. GDAL makes a mask of it only in files of two or
    /// four bands.
    alpha: Option<usize>,
    /// (rows, columns) to read at once where a decoded block holds all bands.
    window: Option<(usize, usize)>,
    /// Whether any band has a mask that must be read.
    masked: bool,
}

impl Traits {
    fn from_dataset(dataset: &Dataset) -> Result<Self, GdalError> {
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
        Ok(Self { alpha: alpha.map(|position| position + 1), window, masked })
    }
}

/// A band that could not be read, by position, and the reason.
pub(in crate::source) struct ReadFailure {
    pub(in crate::source) band: usize,
    pub(in crate::source) error: GdalError,
}

impl ReadFailure {
    /// GDAL's own message.
    pub(in crate::source) fn message(&self) -> String {
        message(&self.error)
    }
}

impl OpenRaster {
    /// Opens a file or subdataset. Its traits are determined unless they are known. `date` is used only in the error.
    pub(in crate::source) fn open(path: &Path, date: Date, known: &OnceLock<Traits>) -> Result<Self> {
        let dataset = open(path, Some(date))?;
        let _quiet = QuietErrors::new();
        let traits = match known.get() {
            Some(traits) => *traits,
            None => {
                let found = Traits::from_dataset(&dataset).map_err(|error| open_error(path, Some(date), &error))?;
                *known.get_or_init(|| found)
            }
        };
        Ok(Self { dataset, traits })
    }

    /// Opens a file or subdataset as a view, with all of its bands or `only` one of them by position.
    pub(in crate::source) fn open_view(path: &Path, date: Date, view: &View, only: Option<usize>) -> Result<Self> {
        let dataset = view.open(path, Some(date), only)?;
        // The view has already turned all missing values into NaN, and it resamples all bands of a block together.
        Ok(Self { dataset, traits: Traits { alpha: None, window: Some(view.block_shape()), masked: false } })
    }

    /// Reads a window of the bands at these positions, counted from 0, into row-major planes of calibrated values,
    /// NaN where missing.
    ///
    /// Every block that the window meets is decoded once, whatever the band order in the file and the size of GDAL's
    /// cache.
    pub(in crate::source) fn read(
        &self,
        bands: &[usize],
        region: &PixelRegion,
        calibration: &Calibration,
        planes: &mut [&mut [f64]],
    ) -> Result<(), ReadFailure> {
        let _quiet = QuietErrors::new();
        let failed = |band: usize| move |error: GdalError| ReadFailure { band, error };
        let window = self.traits.window.filter(|_| bands.len() > 1).unwrap_or((usize::MAX, usize::MAX));
        for part in parts(region, window) {
            for (&band, plane) in bands.iter().zip(&mut *planes) {
                self.physical(band, &part, calibration, Destination::Plane(plane, region)).map_err(failed(band))?;
            }
        }
        for (&band, plane) in bands.iter().zip(&mut *planes) {
            self.mask(band, region, plane).map_err(failed(band))?;
        }
        Ok(())
    }

    /// Whether this many bands of a window can be read one after another without decoding a block twice.
    pub(in crate::source) fn reads_at_once(&self, bands: usize, region: &PixelRegion) -> bool {
        bands == 1 || self.traits.window.is_none_or(|window| parts(region, window).count() == 1)
    }

    /// Like [`read`](Self::read) for one band, whose plane is appended to `values`.
    pub(in crate::source) fn append(
        &self,
        band: usize,
        region: &PixelRegion,
        calibration: &Calibration,
        values: &mut Vec<f64>,
    ) -> Result<(), ReadFailure> {
        let _quiet = QuietErrors::new();
        let start = values.len();
        self.physical(band, region, calibration, Destination::End(values))
            .and_then(|()| self.mask(band, region, &mut values[start..]))
            .map_err(|error| ReadFailure { band, error })
    }

    /// Reads the stored numbers of a part and converts them to physical values.
    fn physical(
        &self,
        index: usize,
        part: &PixelRegion,
        calibration: &Calibration,
        target: Destination<'_>,
    ) -> Result<(), GdalError> {
        let band = self.dataset.rasterband(index + 1)?;
        // A float32 file stores the float32 nearest to its nodata value.
        let single = band.band_type() == GdalDataType::Float32;
        let missing = [band.no_data_value(), calibration.nodata].map(|nodata| {
            let nodata = nodata.unwrap_or(f64::NAN);
            if single { f64::from(nodata as f32) } else { nodata }
        });
        let converter = calibration.converter(band.scale(), band.offset(), missing);
        // Numbers are read as stored; the pass that copies them also converts them.
        match band.band_type() {
            GdalDataType::UInt8 if holds_signed_bytes(&band) => {
                converted(&signed_bytes(&band, part)?, part, converter, target);
                Ok(())
            }
            GdalDataType::UInt8 => convert::<u8>(&band, part, converter, target),
            GdalDataType::UInt16 => convert::<u16>(&band, part, converter, target),
            GdalDataType::Int16 => convert::<i16>(&band, part, converter, target),
            GdalDataType::UInt32 => convert::<u32>(&band, part, converter, target),
            GdalDataType::Int32 => convert::<i32>(&band, part, converter, target),
            GdalDataType::Float32 => convert::<f32>(&band, part, converter, target),
            _ => convert::<f64>(&band, part, converter, target),
        }
    }

    /// Sets values that masks and alpha hide to NaN.
    fn mask(&self, index: usize, region: &PixelRegion, values: &mut [f64]) -> Result<(), GdalError> {
        if self.traits.masked {
            let band = self.dataset.rasterband(index + 1)?;
            if has_mask(&band)? {
                hide(&band.open_mask_band()?, region, values)?;
            }
        }
        if let Some(alpha) = self.traits.alpha.filter(|alpha| *alpha != index + 1) {
            hide(&self.dataset.rasterband(alpha)?, region, values)?;
        }
        Ok(())
    }

    /// Stored numbers of a quality band; `nodata` is missing in addition to the nodata value of the file.
    pub(in crate::source) fn codes(
        &self,
        index: usize,
        region: &PixelRegion,
        nodata: Option<f64>,
    ) -> Result<Codes, ReadFailure> {
        let _quiet = QuietErrors::new();
        let failed = |error: GdalError| ReadFailure { band: index, error };
        let band = self.dataset.rasterband(index + 1).map_err(failed)?;
        let masked = self.traits.alpha.is_some() || self.traits.masked;
        let missing = [band.no_data_value(), nodata].map(|nodata| nodata.unwrap_or(f64::NAN));
        match band.band_type() {
            GdalDataType::UInt8 if !masked && !holds_signed_bytes(&band) => {
                Ok(Codes::U8(stored(&band, region).map_err(failed)?, missing))
            }
            GdalDataType::UInt16 if !masked => Ok(Codes::U16(stored(&band, region).map_err(failed)?, missing)),
            GdalDataType::Int16 if !masked => Ok(Codes::I16(stored(&band, region).map_err(failed)?, missing)),
            _ => {
                let mut values = vec![0.0; region.len()];
                let calibration = Calibration { nodata, ..Calibration::stored() };
                self.read(&[index], region, &calibration, &mut [&mut values])?;
                Ok(Codes::F64(values))
            }
        }
    }
}

/// Nodata of a single band needs no mask read. Nodata of all bands together is a mask of the dataset.
fn has_mask(band: &RasterBand<'_>) -> Result<bool, GdalError> {
    let flags = band.mask_flags()?;
    Ok(flags.is_per_dataset() || !(flags.is_all_valid() || flags.is_nodata()))
}

/// Destination of converted numbers.
enum Destination<'a> {
    /// The plane of a region that contains them.
    Plane(&'a mut [f64], &'a PixelRegion),
    /// The end of the vector.
    End(&'a mut Vec<f64>),
}

fn stored<T: GdalType + Copy>(band: &RasterBand<'_>, region: &PixelRegion) -> Result<Vec<T>, GdalError> {
    let (rows, cols) = region.shape();
    let start = (region.cols.start as isize, region.rows.start as isize);
    Ok(band.read_as::<T>(start, (cols, rows), (cols, rows), None)?.into_shape_and_vec().1)
}

/// Whether a band of bytes holds signed ones: before version 3.7 GDAL has no type for them.
pub(super) fn holds_signed_bytes(band: &RasterBand<'_>) -> bool {
    band.band_type() == GdalDataType::UInt8
        && band.metadata_item("PIXELTYPE", "IMAGE_STRUCTURE").is_some_and(|kind| kind == "SIGNEDBYTE")
}

fn signed_bytes(band: &RasterBand<'_>, region: &PixelRegion) -> Result<Vec<i8>, GdalError> {
    Ok(stored::<u8>(band, region)?.into_iter().map(u8::cast_signed).collect())
}

/// Reads a part in the band's own type and converts it.
fn convert<T: GdalType + Copy + Into<f64>>(
    band: &RasterBand<'_>,
    part: &PixelRegion,
    converter: Converter,
    target: Destination<'_>,
) -> Result<(), GdalError> {
    converted(&stored::<T>(band, part)?, part, converter, target);
    Ok(())
}

/// Converts the stored numbers of a part.
fn converted<T: Copy + Into<f64>>(values: &[T], part: &PixelRegion, converter: Converter, target: Destination<'_>) {
    match target {
        Destination::End(physical) => converter.append(values, physical),
        Destination::Plane(plane, region) => {
            let (left, width) = (part.cols.start - region.cols.start, region.cols.len());
            for (row, values) in part.rows.clone().zip(values.chunks_exact(part.cols.len().max(1))) {
                let start = (row - region.rows.start) * width + left;
                converter.convert(values, &mut plane[start..start + values.len()]);
            }
        }
    }
}

/// Sets values that a mask hides to NaN.
fn hide(mask: &RasterBand<'_>, region: &PixelRegion, values: &mut [f64]) -> Result<(), GdalError> {
    let opacity = stored::<f64>(mask, region)?;
    for (value, _) in values.iter_mut().zip(&opacity).filter(|(_, opacity)| **opacity == 0.0) {
        *value = f64::NAN;
    }
    Ok(())
}

/// The region, cut along the lines of windows that start at the upper-left corner of the raster.
fn parts(region: &PixelRegion, (rows, cols): (usize, usize)) -> impl Iterator<Item = PixelRegion> + use<> {
    let cut = |range: std::ops::Range<usize>, step: usize| {
        (range.start / step..range.end.div_ceil(step))
            .map(move |k| range.start.max(k * step)..range.end.min(k.saturating_add(1).saturating_mul(step)))
    };
    let (across, cols_range) = (cols, region.cols.clone());
    cut(region.rows.clone(), rows)
        .flat_map(move |rows| cut(cols_range.clone(), across).map(move |cols| PixelRegion::new(rows.clone(), cols)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_region_once_along_the_lines_of_blocks() {
        let region = PixelRegion::new(3..17, 5..9);
        let mut seen = vec![0; region.len()];
        for part in parts(&region, (8, 4)) {
            assert_eq!((part.rows.start / 8, part.cols.start / 4), ((part.rows.end - 1) / 8, (part.cols.end - 1) / 4));
            for (row, col) in part.rows.clone().flat_map(|r| part.cols.clone().map(move |c| (r, c))) {
                seen[(row - 3) * 4 + col - 5] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
        assert_eq!(parts(&region, (usize::MAX, usize::MAX)).collect::<Vec<_>>(), [region]);
    }
}
