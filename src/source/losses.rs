//! What became of the values of a source: missing, hidden, out of range, or left.

use std::fmt;
use std::ops::AddAssign;

#[cfg(any(feature = "gdal", feature = "zarr"))]
use ndarray::Array3;

#[cfg(any(feature = "gdal", feature = "zarr"))]
use super::Calibration;
#[cfg(any(feature = "gdal", feature = "zarr"))]
use crate::error::Result;

/// A range that holds every number, also those that look like fill values.
#[cfg(any(feature = "gdal", feature = "zarr"))]
pub(super) const EVERYTHING: (f64, f64) = (f64::MIN, f64::MAX);

/// What became of the values of a band in a region on a date, in numbers of pixels. Each pixel counts once, by the
/// first reason that applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Losses {
    /// No file reaches the pixel.
    pub place: u64,
    /// The file holds nothing there: nodata, beyond a `valid_range` of NetCDF or Zarr, a mask band, NaN.
    pub nodata: u64,
    /// A quality rule hides it.
    pub quality: u64,
    /// It lies outside `valid_range`.
    pub range: u64,
    /// It is of another day than the date, where [each pixel has its day](super::DaySource).
    pub day: u64,
    /// Values that are left.
    pub left: u64,
}

impl Losses {
    /// What is missing, and what `valid_range` takes, of values that `read` gives with a calibration.
    #[cfg(any(feature = "gdal", feature = "zarr"))]
    pub(super) fn of_range(
        calibration: &Calibration,
        read: impl Fn(&Calibration) -> Result<Array3<f64>>,
    ) -> Result<Self> {
        let left = |calibration: &Calibration| {
            let values = read(calibration)?;
            Ok::<_, crate::Error>((values.iter().filter(|value| !value.is_nan()).count() as u64, values.len() as u64))
        };
        let (held, all) =
            left(&Calibration { valid_range: calibration.valid_range.map(|_| EVERYTHING), ..calibration.clone() })?;
        let (valid, _) = left(calibration)?;
        Ok(Self { nodata: all - held, range: held.saturating_sub(valid), left: valid, ..Self::default() })
    }

    /// Number of pixels.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.place + self.nodata + self.quality + self.range + self.day + self.left
    }
}

impl AddAssign for Losses {
    fn add_assign(&mut self, other: Self) {
        self.place += other.place;
        self.nodata += other.nodata;
        self.quality += other.quality;
        self.range += other.range;
        self.day += other.day;
        self.left += other.left;
    }
}

/// The reasons that took something, the largest number first: `700 hidden by quality, 20 nodata`.
impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons = [
            (self.place, "where no file reaches (place)"),
            (self.nodata, "missing in the files (nodata, attribute valid_range, mask bands, NaN)"),
            (self.quality, "hidden by `quality`"),
            (self.range, "outside `valid_range`"),
            (self.day, "of another day (`day`)"),
            (self.left, "valid"),
        ];
        reasons.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        let mut separator = "";
        for (count, reason) in reasons.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {reason}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_listed_by_number() {
        let mut losses = Losses { nodata: 20, quality: 300, ..Losses::default() };
        losses += Losses { quality: 400, ..Losses::default() };
        assert_eq!(losses.all(), 720);
        assert_eq!(
            losses.to_string(),
            "700 hidden by `quality`, 20 missing in the files (nodata, attribute valid_range, mask bands, NaN)"
        );
    }
}
