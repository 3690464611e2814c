//! Calibration: conversion of stored numbers to physical values.

use crate::error::{Error, Result};

/// Conversion of stored numbers to physical values: `value = scale × stored + offset`, NaN outside the valid range.
///
/// Fields that are `None` use the scale and offset of the file, or 1 and 0 where the file has none.
///
/// ```
/// let mut reflectance = rasterfuse::source::Calibration::default();
/// (reflectance.scale, reflectance.valid_range) = (Some(1e-4), Some((0.0, 1.5)));
/// let mut values = [1200.0, 30_000.0];
/// reflectance.apply(None, None, &mut values);
/// assert!((values[0] - 0.12).abs() < 1e-12 && values[1].is_nan());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Calibration {
    /// Replaces the file's scale.
    pub scale: Option<f64>,
    /// Replaces the file's offset.
    pub offset: Option<f64>,
    /// Physical values outside `[low, high]` are missing.
    pub valid_range: Option<(f64, f64)>,
    /// Stored number that means "missing", in addition to the nodata value of the file.
    pub nodata: Option<f64>,
}

/// The methods of a builder that has a field `calibration`.
#[cfg(any(feature = "gdal", feature = "zarr"))]
macro_rules! calibration_setters {
    () => {
        /// Sets the full calibration from stored numbers to physical values.
        #[must_use]
        pub fn calibration(mut self, calibration: crate::source::Calibration) -> Self {
            self.calibration = calibration;
            self
        }

        /// Factor from stored numbers to physical values. It replaces the one of the data.
        #[must_use]
        pub fn scale(mut self, scale: f64) -> Self {
            self.calibration.scale = Some(scale);
            self
        }

        /// Offset from stored numbers to physical values. It replaces the one of the data.
        #[must_use]
        pub fn offset(mut self, offset: f64) -> Self {
            self.calibration.offset = Some(offset);
            self
        }

        /// Physical values outside `[low, high]` are missing.
        #[must_use]
        pub fn valid_range(mut self, low: f64, high: f64) -> Self {
            self.calibration.valid_range = Some((low, high));
            self
        }

        /// Stored number that means "missing", in addition to the nodata value of the data.
        #[must_use]
        pub fn nodata(mut self, nodata: f64) -> Self {
            self.calibration.nodata = Some(nodata);
            self
        }
    };
}

#[cfg(any(feature = "gdal", feature = "zarr"))]
pub(super) use calibration_setters;

impl Calibration {
    /// The given fields, by key.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let text = |value: Option<f64>| value.map_or_else(|| "the file's own".into(), |value| format!("{value:?}"));
        let range = self.valid_range.map_or_else(|| "all".into(), |(low, high)| format!("[{low:?}, {high:?}]"));
        let mut settings = vec![
            ("scale".into(), text(self.scale)),
            ("offset".into(), text(self.offset)),
            ("valid_range".into(), range),
        ];
        settings.extend(self.nodata.map(|nodata| ("nodata".into(), format!("{nodata:?}"))));
        settings
    }

    /// Leaves numbers as they are stored.
    #[cfg(feature = "gdal")]
    pub(super) fn stored() -> Self {
        Self { scale: Some(1.0), offset: Some(0.0), ..Self::default() }
    }

    /// Refuses scales of zero, values that are not finite and empty ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key.
    pub fn validate(&self) -> Result<()> {
        if let Some(scale) = self.scale.filter(|s| !s.is_finite() || *s == 0.0) {
            return Err(Error::setting("scale", format!("{scale} must be finite and not zero")));
        }
        if let Some(offset) = self.offset.filter(|o| !o.is_finite()) {
            return Err(Error::setting("offset", format!("{offset} must be finite")));
        }
        if let Some((low, high)) = self.valid_range.filter(|(low, high)| low.is_nan() || high.is_nan() || low > high) {
            return Err(Error::setting("valid_range", format!("[{low}, {high}] must be [low, high] with low <= high")));
        }
        Ok(())
    }

    /// Converts stored numbers to physical values in place. Infinities, values out of range and
    /// [`nodata`](Self::nodata) become NaN.
    pub fn apply(&self, file_scale: Option<f64>, file_offset: Option<f64>, values: &mut [f64]) {
        let convert = self.converter(file_scale, file_offset, [self.nodata.unwrap_or(f64::NAN), f64::NAN]);
        for value in values {
            *value = convert.convert_one(*value);
        }
    }

    /// The converter of a file's numbers. Stored numbers equal to one of `missing` become NaN; a NaN entry of
    /// `missing` matches none.
    pub(super) fn converter(&self, file_scale: Option<f64>, file_offset: Option<f64>, missing: [f64; 2]) -> Converter {
        let (low, high) = self.valid_range.unwrap_or((f64::MIN, f64::MAX));
        Converter {
            scale: self.scale.or(file_scale).unwrap_or(1.0),
            offset: self.offset.or(file_offset).unwrap_or(0.0),
            // Infinities are outside every range.
            low: low.max(f64::MIN),
            high: high.min(f64::MAX),
            missing,
        }
    }
}

/// The calibration of one band, in plain numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Converter {
    scale: f64,
    offset: f64,
    low: f64,
    high: f64,
    missing: [f64; 2],
}

impl Converter {
    /// Branch-free, so that the compiler vectorises it.
    #[inline(always)]
    #[allow(clippy::needless_bitwise_bool)]
    fn convert_one(&self, stored: f64) -> f64 {
        let physical = self.scale * stored + self.offset;
        let valid = (stored != self.missing[0])
            & (stored != self.missing[1])
            & (physical >= self.low)
            & (physical <= self.high);
        if valid { physical } else { f64::NAN }
    }

    /// Appends the physical values. Writing each element once avoids clearing the memory first.
    #[cfg(feature = "gdal")]
    pub(super) fn append<T: Copy + Into<f64>>(self, stored: &[T], physical: &mut Vec<f64>) {
        let mut chunk = [0.0; 1024];
        for stored in stored.chunks(chunk.len()) {
            let chunk = &mut chunk[..stored.len()];
            self.convert(stored, chunk);
            physical.extend_from_slice(chunk);
        }
    }

    /// Converts numbers of the file's own type with vector instructions.
    #[cfg(feature = "gdal")]
    pub(super) fn convert<T: Copy + Into<f64>>(self, stored: &[T], physical: &mut [f64]) {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (physical, stored) in physical.iter_mut().zip(stored) {
                    *physical = self.convert_one((*stored).into());
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_scale_replaces_the_files_and_ranges_are_physical() {
        let calibration = Calibration { scale: Some(1e-4), offset: None, valid_range: Some((0.0, 1.0)), nodata: None };
        let mut values = [5000.0, -1.0, 10_001.0, f64::INFINITY, 0.0];
        calibration.apply(Some(7.0), Some(0.0), &mut values);
        assert!((values[0] - 0.5).abs() < 1e-15);
        assert!(values[1..4].iter().all(|v| v.is_nan()));
        assert_eq!(values[4], 0.0);
        let mut values = [1.0];
        Calibration::default().apply(Some(2.0), Some(0.5), &mut values);
        assert_eq!(values, [2.5]);
    }

    #[test]
    fn nonsense_is_refused() {
        let base = Calibration::default();
        assert!(Calibration { scale: Some(0.0), ..base }.validate().is_err());
        assert!(Calibration { offset: Some(f64::NAN), ..base }.validate().is_err());
        assert!(Calibration { valid_range: Some((1.0, 0.0)), ..base }.validate().is_err());
        assert!(base.validate().is_ok());
    }
}
