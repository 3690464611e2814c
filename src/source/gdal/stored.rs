//! Reads stored numbers by windows, and converts them where they go.

use ::gdal::errors::GdalError;
use ::gdal::raster::{GdalType, RasterBand};

use crate::geometry::PixelRegion;
use crate::source::calibration::Converter;

/// Destination of converted numbers.
pub(super) enum Destination<'a> {
    /// The plane of a region that contains them.
    Plane(&'a mut [f64], &'a PixelRegion),
    /// The end of the vector.
    End(&'a mut Vec<f64>),
}

pub(super) fn stored<T: GdalType + Copy>(band: &RasterBand<'_>, region: &PixelRegion) -> Result<Vec<T>, GdalError> {
    let (rows, cols) = region.shape();
    let start = (region.cols.start as isize, region.rows.start as isize);
    Ok(band.read_as::<T>(start, (cols, rows), (cols, rows), None)?.into_shape_and_vec().1)
}

pub(super) fn signed_bytes(band: &RasterBand<'_>, region: &PixelRegion) -> Result<Vec<i8>, GdalError> {
    Ok(stored::<u8>(band, region)?.into_iter().map(u8::cast_signed).collect())
}

/// Reads a part in the band's own type and converts it. Returns the first number that can be no value.
pub(super) fn convert<T: GdalType + Copy + Into<f64>>(
    band: &RasterBand<'_>,
    part: &PixelRegion,
    converter: Converter<'_>,
    target: Destination<'_>,
) -> Result<Option<f64>, GdalError> {
    Ok(converted(&stored::<T>(band, part)?, part, converter, target))
}

/// Converts the stored numbers of a part. Returns the first number that can be no value.
pub(super) fn converted<T: Copy + Into<f64>>(
    values: &[T],
    part: &PixelRegion,
    converter: Converter<'_>,
    target: Destination<'_>,
) -> Option<f64> {
    match target {
        Destination::End(physical) => converter.append(values, physical),
        Destination::Plane(plane, region) => {
            let (left, width) = (part.cols.start - region.cols.start, region.cols.len());
            let mut strange = None;
            for (row, values) in part.rows.clone().zip(values.chunks_exact(part.cols.len().max(1))) {
                let start = (row - region.rows.start) * width + left;
                strange = strange.or(converter.convert(values, &mut plane[start..start + values.len()]));
            }
            strange
        }
    }
}

/// Sets values that a mask hides to NaN.
pub(super) fn hide(mask: &RasterBand<'_>, region: &PixelRegion, values: &mut [f64]) -> Result<(), GdalError> {
    let opacity = stored::<f64>(mask, region)?;
    for (value, _) in values.iter_mut().zip(&opacity).filter(|(_, opacity)| **opacity == 0.0) {
        *value = f64::NAN;
    }
    Ok(())
}
