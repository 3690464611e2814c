//! Quality rasters: the rules that decide which of their numbers make a pixel missing.

mod dilate;
mod verdict;

use std::fmt;
use std::ops::RangeInclusive;

pub(super) use verdict::{Codes, Tables};

use crate::error::{Error, Result};

/// Widest dilation, in cells. A read extends every region by this margin.
const WIDEST: usize = 100;

/// The location of a quality raster, and the rule by which it hides pixels.
///
/// A pixel is missing where any condition holds. It is also missing where the quality raster has no value: at its
/// nodata value or beyond its edge. Conditions test the stored number, without scale or offset.
///
/// ```
/// use rasterfuse::source::Quality;
/// // HLS: cloud, its neighbours and shadow (bits 1 to 3), two cells more around them, and high aerosol (bits 6-7 = 3).
/// let clouds = Quality::files("hls/**/HLS.S30.*.Fmask.tif").bits([1, 2, 3]).dilate(2);
/// let aerosol = Quality::files("hls/**/HLS.S30.*.Fmask.tif").field(6..=7, [3]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    pub(super) location: AncillaryLocation,
    pub(super) date: Option<(String, String)>,
    /// Band of the quality file, counted from 1.
    pub(super) layer: usize,
    bits: Vec<u32>,
    fields: Vec<(RangeInclusive<u32>, Vec<u64>)>,
    drop: Vec<f64>,
    keep: Option<Vec<f64>>,
    valid_range: Option<(f64, f64)>,
    pub(super) nodata: Vec<f64>,
    /// Whether the nodata value of the file is an ordinary number.
    ignores_nodata: bool,
    dilate: usize,
}

/// Location of a raster that accompanies the data.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AncillaryLocation {
    /// Files that match a pattern.
    Files(String),
    /// A band of the data file, by name or number from 1.
    Band(String),
    /// Files that an explicit list names.
    Listed,
}

impl Quality {
    fn new(location: AncillaryLocation) -> Self {
        Self {
            location,
            date: None,
            layer: 1,
            bits: Vec::new(),
            fields: Vec::new(),
            drop: Vec::new(),
            keep: None,
            valid_range: None,
            nodata: Vec::new(),
            ignores_nodata: false,
            dilate: 0,
        }
    }

    /// Quality files that match a wildcard pattern. With `{band}` there is one file for each source band. A quality
    /// file belongs to the acquisition whose wildcards match the same texts, unless [`date`](Self::date) is given.
    #[must_use]
    pub fn files(pattern: impl Into<String>) -> Self {
        Self::new(AncillaryLocation::Files(pattern.into()))
    }

    /// Quality in a band of the data file, by name (its description) or by number, counted from 1.
    #[must_use]
    pub fn band(band: impl ToString) -> Self {
        Self::new(AncillaryLocation::Band(band.to_string()))
    }

    /// Quality files that an explicit list of granules names ([`Granule::quality`](super::Granule::quality)).
    #[must_use]
    pub fn listed() -> Self {
        Self::new(AncillaryLocation::Listed)
    }

    /// Matches partners by date: a regular expression whose first group is the date, and its `strftime` form. Use it
    /// where there is one file per date.
    #[must_use]
    pub fn date(mut self, pattern: impl Into<String>, format: impl Into<String>) -> Self {
        self.date = Some((pattern.into(), format.into()));
        self
    }

    /// The band of the quality file to use, counted from 1. Default: the first.
    #[must_use]
    pub fn layer(mut self, band: usize) -> Self {
        self.layer = band;
        self
    }

    /// Hides pixels with any of these bits set; 0 is the least significant.
    #[must_use]
    pub fn bits(mut self, bits: impl IntoIterator<Item = u32>) -> Self {
        self.bits.extend(bits);
        self
    }

    /// Hides pixels whose number in these bits is one of `values`: `field(8..=9, [3])` is high confidence in Landsat's
    /// `QA_PIXEL`.
    #[must_use]
    pub fn field(mut self, bits: RangeInclusive<u32>, values: impl IntoIterator<Item = u64>) -> Self {
        self.fields.push((bits, values.into_iter().collect()));
        self
    }

    /// Hides pixels of these classes.
    #[must_use]
    pub fn drop(mut self, classes: impl IntoIterator<Item = f64>) -> Self {
        self.drop.extend(classes);
        self
    }

    /// Hides pixels of every class except these.
    #[must_use]
    pub fn keep(mut self, classes: impl IntoIterator<Item = f64>) -> Self {
        self.keep.get_or_insert_default().extend(classes);
        self
    }

    /// Hides pixels whose quality lies outside `[low, high]`.
    #[must_use]
    pub fn valid_range(mut self, low: f64, high: f64) -> Self {
        self.valid_range = Some((low, high));
        self
    }

    /// Another number that means "no quality value", in addition to those given earlier and to the nodata value of the
    /// file. A file's own nodata value of 0 means "clear" where the rule does not hide 0, as in masks of 0 and 1, and
    /// so does a number that [`keep`](Self::keep) lists; where it means "no quality value" all the same, give it here.
    #[must_use]
    pub fn nodata(mut self, nodata: f64) -> Self {
        self.nodata.push(nodata);
        self
    }

    /// Treats the nodata value of the file as an ordinary number.
    #[must_use]
    pub fn ignore_nodata(mut self) -> Self {
        self.ignores_nodata = true;
        self
    }

    /// Whether the nodata value of a file means that nothing is known of its pixels.
    pub(super) fn takes_for_unknown(&self, own: f64) -> bool {
        self.nodata.contains(&own) || !(self.ignores_nodata || self.keeps(own) || self.sees_clear_zeros(own))
    }

    /// Whether a file's own nodata value is a 0 that the rule leaves visible, without a word on what it means.
    pub(super) fn sees_clear_zeros(&self, own: f64) -> bool {
        let said = self.ignores_nodata || self.keeps(own) || self.nodata.contains(&own);
        own == 0.0 && !said && self.shows(own)
    }

    fn keeps(&self, value: f64) -> bool {
        self.keep.as_ref().is_some_and(|keep| keep.contains(&value))
    }

    /// Also hides every pixel within this many cells of a hidden one: a disc, in cells of the quality raster and
    /// inside its file. Pixels that are hidden because they have no quality value are not dilated.
    #[must_use]
    pub fn dilate(mut self, cells: usize) -> Self {
        self.dilate = cells;
        self
    }

    /// The same rule with its dilation larger by this many cells.
    pub(super) fn widened(&self, cells: usize) -> Self {
        Self { dilate: self.dilate + cells, ..self.clone() }
    }

    /// Number of cells around a region that decide what is hidden in it.
    pub(super) fn margin(&self) -> usize {
        self.dilate
    }

    /// Refuses rules that hide nothing or that no file can satisfy.
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |problem: String| Err(Error::setting("quality", problem));
        if self.layer == 0 {
            return refuse("layer = 0; bands are counted from 1".into());
        }
        let nothing = self.bits.is_empty()
            && self.fields.is_empty()
            && self.drop.is_empty()
            && self.keep.is_none()
            && self.valid_range.is_none();
        if nothing {
            return refuse("hides nothing; give `bits`, `fields`, `drop`, `keep` or `valid_range`".into());
        }
        if self.keep.as_ref().is_some_and(Vec::is_empty) {
            return refuse("keep = [] hides every pixel; list the classes to keep, or leave it out".into());
        }
        if let Some(bit) = self
            .bits
            .iter()
            .chain(self.fields.iter().flat_map(|(bits, _)| [bits.start(), bits.end()]))
            .find(|b| **b > 63)
        {
            return refuse(format!("bit {bit}; bits are counted from 0, the least significant, to 63"));
        }
        for (bits, values) in &self.fields {
            let largest = 1_u64.checked_shl(bits.end().saturating_sub(*bits.start()) + 1).map_or(u64::MAX, |n| n - 1);
            let (start, end) = (bits.start(), bits.end());
            if start > end {
                return refuse(format!(
                    "field of bits [{start}, {end}]; give [first, last], the least significant first"
                ));
            }
            match values.iter().find(|value| **value > largest) {
                Some(value) => {
                    return refuse(format!("value {value} in bits [{start}, {end}], which hold 0 to {largest}"));
                }
                None if values.is_empty() => return refuse(format!("field of bits [{start}, {end}] without `values`")),
                None => {}
            }
        }
        if let Some((low, high)) = self.valid_range.filter(|(low, high)| low.is_nan() || high.is_nan() || low > high) {
            return refuse(format!("valid_range [{low}, {high}] must be [low, high] with low <= high"));
        }
        if self.dilate > WIDEST {
            return refuse(format!("dilate = {}; give cells, {WIDEST} at most", self.dilate));
        }
        Ok(())
    }
}

/// The rule as settings store it, without the location of its files.
impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let AncillaryLocation::Band(band) = &self.location {
            parts.push(format!("band {band:?}"));
        }
        if self.layer != 1 {
            parts.push(format!("layer {}", self.layer));
        }
        if !self.bits.is_empty() {
            parts.push(format!("bits {:?}", self.bits));
        }
        parts.extend(
            self.fields.iter().map(|(bits, values)| format!("bits {}-{} in {values:?}", bits.start(), bits.end())),
        );
        if !self.drop.is_empty() {
            parts.push(format!("drop {:?}", self.drop));
        }
        parts.extend(self.keep.iter().map(|keep| format!("keep {keep:?}")));
        parts.extend(self.valid_range.iter().map(|(low, high)| format!("valid_range [{low:?}, {high:?}]")));
        parts.extend(self.nodata.iter().map(|nodata| format!("nodata {nodata:?}")));
        if self.ignores_nodata {
            parts.push("nodata of the file ignored".into());
        }
        if self.dilate > 0 {
            parts.push(format!("dilate {}", self.dilate));
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_cannot_be_are_refused() {
        let refused = |quality: Quality| quality.validate().unwrap_err().to_string();
        assert!(refused(Quality::band(1)).contains("hides nothing"));
        assert!(refused(Quality::band(1).bits([64])).contains("bit 64"));
        assert!(refused(Quality::band(1).field(6..=7, [4])).contains("0 to 3"));
        assert!(refused(Quality::band(1).field(6..=7, [])).contains("`values`"));
        assert!(refused(Quality::band(1).bits([1]).dilate(1000)).contains("dilate"));
        #[allow(clippy::reversed_empty_ranges)]
        let backwards = Quality::band(1).field(7..=6, [1]);
        assert!(refused(backwards).contains("[first, last]"));
        assert!(refused(Quality::band(1).valid_range(2.0, 1.0)).contains("low <= high"));
    }
}
