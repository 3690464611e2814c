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
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Calibration {
    /// Replaces the file's scale.
    pub scale: Option<f64>,
    /// Replaces the file's offset.
    pub offset: Option<f64>,
    /// Physical values outside `[low, high]` are missing.
    pub valid_range: Option<(f64, f64)>,
    /// Stored numbers that mean "missing", in addition to the nodata value of the file.
    pub nodata: Vec<f64>,
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
        pub fn nodata(self, nodata: f64) -> Self {
            self.nodata_values([nodata])
        }

        /// Stored numbers that mean "missing", in addition to the nodata value of the data: fill values of several
        /// meanings, such as 249 to 255. They replace those given earlier.
        #[must_use]
        pub fn nodata_values(mut self, nodata: impl IntoIterator<Item = f64>) -> Self {
            self.calibration.nodata = nodata.into_iter().collect();
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
        match self.nodata.as_slice() {
            [] => {}
            [one] => settings.push(("nodata".into(), format!("{one:?}"))),
            several => settings.push(("nodata".into(), format!("{several:?}"))),
        }
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
        let convert = self.converter(file_scale, file_offset, &self.nodata);
        for value in values {
            *value = convert.value_of(*value);
        }
    }

    /// The converter of a file's numbers. Stored numbers equal to one of `missing` become NaN; a NaN entry of
    /// `missing` matches none.
    pub(super) fn converter<'m>(
        &self,
        file_scale: Option<f64>,
        file_offset: Option<f64>,
        missing: &'m [f64],
    ) -> Converter<'m> {
        let (low, high) = self.valid_range.unwrap_or((f64::MIN, f64::MAX));
        let (first, more) = missing.split_at(missing.len().min(2));
        let mut two = [f64::NAN; 2];
        two[..first.len()].copy_from_slice(first);
        Converter {
            scale: self.scale.or(file_scale).unwrap_or(1.0),
            offset: self.offset.or(file_offset).unwrap_or(0.0),
            // Infinities are outside every range.
            low: low.max(f64::MIN),
            high: high.min(f64::MAX),
            missing: two,
            more,
            limit: f64::INFINITY,
        }
    }
}

/// Numbers that several passes go over while they are in the first cache.
#[cfg(feature = "gdal")]
const CHUNK: usize = 1024;

/// The calibration of one band, in plain numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Converter<'m> {
    scale: f64,
    offset: f64,
    low: f64,
    high: f64,
    /// Two numbers that are missing, which most files have at most, and the others.
    missing: [f64; 2],
    more: &'m [f64],
    /// Largest stored number that can be a value.
    #[cfg_attr(not(feature = "gdal"), allow(dead_code))]
    limit: f64,
}

impl Converter<'_> {
    /// Whether a stored number is a value.
    #[cfg(feature = "gdal")]
    pub(super) fn is_value(&self, stored: f64) -> bool {
        !self.value_of(stored).is_nan()
    }

    /// Scale and offset from stored numbers to physical values.
    #[cfg(feature = "gdal")]
    pub(super) fn line(&self) -> (f64, f64) {
        (self.scale, self.offset)
    }

    /// Makes stored numbers outside of a range missing.
    #[cfg(feature = "gdal")]
    pub(super) fn within(self, (low, high): (f64, f64)) -> Self {
        let (low, high) = (self.scale * low + self.offset, self.scale * high + self.offset);
        Self { low: self.low.max(low.min(high)), high: self.high.min(low.max(high)), ..self }
    }

    /// Finds stored numbers beyond `limit` that nothing declares missing.
    #[cfg(feature = "gdal")]
    pub(super) fn limited(self, limit: f64) -> Self {
        Self { limit, ..self }
    }

    /// Two numbers that are missing, and the range. Branch-free, so that the compiler vectorises it.
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

    /// The physical value of a stored number, NaN where it is missing.
    fn value_of(&self, stored: f64) -> f64 {
        if self.more.contains(&stored) { f64::NAN } else { self.convert_one(stored) }
    }

    /// Appends the physical values. Writing each element once avoids clearing the memory first. Returns the first
    /// stored number beyond the limit that is not missing.
    #[cfg(feature = "gdal")]
    pub(super) fn append<T: Copy + Into<f64>>(self, stored: &[T], physical: &mut Vec<f64>) -> Option<f64> {
        let (mut chunk, mut strange) = ([0.0; CHUNK], None);
        for stored in stored.chunks(chunk.len()) {
            let chunk = &mut chunk[..stored.len()];
            strange = strange.or(self.convert(stored, chunk));
            physical.extend_from_slice(chunk);
        }
        strange
    }

    /// Converts numbers of the file's own type with vector instructions. Returns the first stored number beyond the
    /// limit that is not missing.
    #[cfg(feature = "gdal")]
    pub(super) fn convert<T: Copy + Into<f64>>(self, stored: &[T], physical: &mut [f64]) -> Option<f64> {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || self.convert_all(stored, physical),
        );
        if !self.more.is_empty() {
            self.hide_more(stored, physical);
        }
        if self.limit == f64::INFINITY || !self.reaches_beyond(stored) {
            return None;
        }
        let strange = |(stored, physical): &(f64, &f64)| stored.abs() > self.limit && !physical.is_nan();
        stored.iter().map(|stored| (*stored).into()).zip(&*physical).find(strange).map(|(stored, _)| stored)
    }

    /// By value: behind a reference its numbers would be loaded anew for each element.
    #[cfg(feature = "gdal")]
    #[inline(always)]
    fn convert_all<T: Copy + Into<f64>>(self, stored: &[T], physical: &mut [f64]) {
        for (physical, stored) in physical.iter_mut().zip(stored) {
            *physical = self.convert_one((*stored).into());
        }
    }

    /// Makes NaN of the numbers that are missing beyond the first two.
    #[cfg(feature = "gdal")]
    fn hide_more<T: Copy + Into<f64>>(self, stored: &[T], physical: &mut [f64]) {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (stored, physical) in stored.chunks(CHUNK).zip(physical.chunks_mut(CHUNK)) {
                    for missing in self.more {
                        for (physical, stored) in physical.iter_mut().zip(stored) {
                            let stored: f64 = (*stored).into();
                            *physical = if stored == *missing { f64::NAN } else { *physical };
                        }
                    }
                }
            },
        );
    }

    /// Whether any number lies beyond the limit, missing or not.
    #[cfg(feature = "gdal")]
    fn reaches_beyond<T: Copy + Into<f64>>(self, stored: &[T]) -> bool {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let mut any = false;
                for stored in stored.chunks(CHUNK) {
                    let beyond = |stored: &T| u64::from((*stored).into().abs() > self.limit);
                    any |= stored.iter().fold(0, |any, stored| any | beyond(stored)) != 0;
                }
                any
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_scale_replaces_the_files_and_ranges_are_physical() {
        let calibration = Calibration { scale: Some(1e-4), valid_range: Some((0.0, 1.0)), ..Calibration::default() };
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
    fn every_number_of_a_list_is_missing() {
        let calibration = Calibration { nodata: vec![249.0, 250.0, 255.0], ..Calibration::default() };
        let mut values = [248.0, 249.0, 250.0, 251.0, 255.0];
        calibration.apply(Some(0.1), None, &mut values);
        assert_eq!(values.map(f64::is_nan), [false, true, true, false, true]);
    }

    #[cfg(feature = "gdal")]
    #[test]
    fn numbers_that_can_be_no_value_are_found_unless_they_are_missing() {
        let numbers = [0.5, -3.4e38, f64::INFINITY, f64::NAN];
        let mut values = [0.0; 4];
        let calibration = Calibration::default();
        let strange = |missing: &[f64], values: &mut [f64]| {
            calibration.converter(None, None, missing).limited(1e30).convert(&numbers, values)
        };
        assert_eq!(strange(&[], &mut values), Some(-3.4e38));
        for missing in [&[-3.4e38][..], &[1.0, 2.0, 3.0, -3.4e38]] {
            assert_eq!(strange(missing, &mut values), None);
            assert_eq!(values.map(f64::is_nan), [false, true, true, true]);
        }
        let ranged = Calibration { valid_range: Some((0.0, 1.0)), ..Calibration::default() };
        assert_eq!(ranged.converter(None, None, &[]).limited(1e30).convert(&numbers, &mut values), None);
    }

    #[cfg(feature = "gdal")]
    #[test]
    fn a_range_of_stored_numbers_holds_its_bounds_whatever_the_scale() {
        for (scale, numbers, left) in [
            (0.1, [-3.0, 2.0, 7.0, 8.0], [false, true, true, false]),
            (-0.1, [1.9, 2.0, 7.0, 7.1], [false, true, true, false]),
        ] {
            let calibration = Calibration { scale: Some(scale), offset: Some(0.3), ..Calibration::default() };
            let mut values = [0.0; 4];
            let converter = calibration.converter(None, None, &[]);
            assert_eq!(converter.within((2.0, 7.0)).convert(&numbers, &mut values), None);
            assert_eq!(values.map(|value| !value.is_nan()), left, "{scale}");
            assert!(converter.within((f64::MIN, 7.0)).is_value(-1e9));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let base = Calibration::default;
        assert!(Calibration { scale: Some(0.0), ..base() }.validate().is_err());
        assert!(Calibration { offset: Some(f64::NAN), ..base() }.validate().is_err());
        assert!(Calibration { valid_range: Some((1.0, 0.0)), ..base() }.validate().is_err());
        assert!(base().validate().is_ok());
    }
}
