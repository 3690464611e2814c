//! What a quality raster says of the pixels: which of its numbers mean that a pixel is missing.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// Widest dilation, in cells: a read takes this margin around every region.
const WIDEST: usize = 100;

/// Which pixels a quality raster hides, and where that raster is.
///
/// A pixel is missing where any condition holds, and where the quality raster itself has no value (its nodata, or beyond its
/// edge). Conditions look at the stored number; no scale or offset is applied.
///
/// ```
/// use rasterfuse::source::Quality;
/// // HLS: cloud, its neighbours and shadow (bits 1 to 3), two cells more around them, and high aerosol (bits 6-7 = 3).
/// let clouds = Quality::files("hls/**/HLS.S30.*.Fmask.tif").bits([1, 2, 3]).dilate(2);
/// let aerosol = Quality::files("hls/**/HLS.S30.*.Fmask.tif").field(6..=7, [3]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    pub(super) place: Place,
    pub(super) date: Option<(String, String)>,
    /// The band of its own file, from 1.
    pub(super) layer: usize,
    bits: Vec<u32>,
    fields: Vec<(RangeInclusive<u32>, Vec<u64>)>,
    drop: Vec<f64>,
    keep: Option<Vec<f64>>,
    valid_range: Option<(f64, f64)>,
    pub(super) nodata: Option<f64>,
    dilate: usize,
}

/// Where a raster that goes with the data is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// Files of a pattern.
    Files(String),
    /// A band of the data file, by name or number from 1.
    Band(String),
    /// Files that an explicit list names.
    Listed,
}

impl Quality {
    fn new(place: Place) -> Self {
        Self {
            place,
            date: None,
            layer: 1,
            bits: Vec::new(),
            fields: Vec::new(),
            drop: Vec::new(),
            keep: None,
            valid_range: None,
            nodata: None,
            dilate: 0,
        }
    }

    /// Quality files that match a wildcard pattern, which may hold `{band}` for one file per source band. The file whose
    /// wildcards stand for the same text as those of the data is an acquisition's, unless [`date`](Self::date) is given.
    #[must_use]
    pub fn files(pattern: impl Into<String>) -> Self {
        Self::new(Place::Files(pattern.into()))
    }

    /// Quality in a band of the data file, by name (its description) or number, counted from 1.
    #[must_use]
    pub fn band(band: impl ToString) -> Self {
        Self::new(Place::Band(band.to_string()))
    }

    /// Quality files that an explicit list of granules names ([`Granule::quality`](super::Granule::quality)).
    #[must_use]
    pub fn listed() -> Self {
        Self::new(Place::Listed)
    }

    /// Finds partners by date: a regular expression whose first group is the date, and its `strftime` form. For one file per
    /// date.
    #[must_use]
    pub fn date(mut self, pattern: impl Into<String>, format: impl Into<String>) -> Self {
        self.date = Some((pattern.into(), format.into()));
        self
    }

    /// The band of the quality file to look at, counted from 1; default the first.
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

    /// Hides pixels of all other classes than these.
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

    /// Number that says that there is no quality, beside the file's own nodata value.
    #[must_use]
    pub fn nodata(mut self, nodata: f64) -> Self {
        self.nodata = Some(nodata);
        self
    }

    /// Hides, too, every pixel within this many cells of a hidden one: a disc, in cells of the quality raster, inside its
    /// file. What is hidden for want of a quality value does not spread.
    #[must_use]
    pub fn dilate(mut self, cells: usize) -> Self {
        self.dilate = cells;
        self
    }

    /// Cells around a region that decide what is hidden in it.
    pub(super) fn margin(&self) -> usize {
        self.dilate
    }

    /// Refuses rules that hide nothing or cannot be.
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

    /// Whether bits are looked at, which only whole numbers have.
    fn needs_whole(&self) -> bool {
        !(self.bits.is_empty() && self.fields.is_empty())
    }

    /// What to do with each stored quality number.
    ///
    /// # Errors
    /// A number that has no bits.
    fn judge(&self, value: f64) -> Result<Verdict, String> {
        if value.is_nan() {
            return Ok(Verdict::Unknown);
        }
        let mut hidden = self.drop.contains(&value)
            || self.keep.as_ref().is_some_and(|keep| !keep.contains(&value))
            || self.valid_range.is_some_and(|(low, high)| !(low..=high).contains(&value));
        if self.needs_whole() {
            if value.fract() != 0.0 || value.abs() >= 9.0e18 {
                return Err(format!("{value} is no whole number and has no bits; use `drop`, `keep` or `valid_range`"));
            }
            // Negative numbers keep the bits of their two's complement.
            let word = if value < 0.0 { value as i64 as u64 } else { value as u64 };
            hidden |= self.bits.iter().any(|bit| word >> bit & 1 == 1);
            hidden |= self.fields.iter().any(|(bits, values)| {
                let width = bits.end() - bits.start() + 1;
                let mask = 1_u64.checked_shl(width).map_or(u64::MAX, |n| n - 1);
                values.contains(&(word >> bits.start() & mask))
            });
        }
        Ok(if hidden { Verdict::Hidden } else { Verdict::Seen })
    }

    /// Which cells are hidden, row by row, of quality numbers in rows of `cols`.
    ///
    /// # Errors
    /// A number that cannot be judged.
    pub(super) fn hidden(&self, codes: &Codes, cols: usize, tables: &Tables) -> Result<Vec<bool>, String> {
        let verdicts = match codes {
            Codes::U8(codes, missing) => {
                let mut table = self.table((0..=u8::MAX).map(f64::from))?;
                mark(&mut table, *missing, |value| (0.0..=255.0).contains(&value).then_some(value as usize));
                codes.iter().map(|code| table[usize::from(*code)]).collect()
            }
            Codes::U16(codes, missing) => {
                let table = tables.unsigned.get_or_init(|| self.table((0..=u16::MAX).map(f64::from)));
                look_up(codes, *missing, table.as_ref()?, usize::from)
            }
            Codes::I16(codes, missing) => {
                let all = (0..=u16::MAX).map(|bits| f64::from(bits.cast_signed()));
                let table = tables.signed.get_or_init(|| self.table(all));
                look_up(codes, *missing, table.as_ref()?, |code| usize::from(code.cast_unsigned()))
            }
            Codes::F64(values) => self.judge_all(values)?,
        };
        if self.dilate == 0 {
            return Ok(verdicts.into_iter().map(|verdict| verdict != Verdict::Seen).collect());
        }
        let hidden: Vec<bool> = verdicts.iter().map(|verdict| *verdict == Verdict::Hidden).collect();
        let mut hidden = dilated(&hidden, cols, self.dilate);
        hidden.iter_mut().zip(verdicts).for_each(|(hidden, verdict)| *hidden |= verdict == Verdict::Unknown);
        Ok(hidden)
    }

    /// What to do with each of some numbers.
    fn table(&self, numbers: impl Iterator<Item = f64>) -> Result<Vec<Verdict>, String> {
        numbers.map(|number| self.judge(number)).collect()
    }

    /// As [`table`](Self::table), for numbers of which neighbours are mostly the same.
    fn judge_all(&self, values: &[f64]) -> Result<Vec<Verdict>, String> {
        let mut last = (f64::NAN, Verdict::Unknown);
        let judge = |value: &f64| {
            if *value != last.0 {
                last = (*value, self.judge(*value)?);
            }
            Ok(last.1)
        };
        values.iter().map(judge).collect()
    }
}

/// What a table says of each number, by its index there.
fn look_up<T: Copy + Into<f64>>(
    codes: &[T],
    missing: [f64; 2],
    table: &[Verdict],
    index: impl Fn(T) -> usize,
) -> Vec<Verdict> {
    let judge = |code: &T| if missing.contains(&(*code).into()) { Verdict::Unknown } else { table[index(*code)] };
    codes.iter().map(judge).collect()
}

/// Sets the verdict of missing numbers.
fn mark(table: &mut [Verdict], missing: [f64; 2], index: impl Fn(f64) -> Option<usize>) {
    for index in missing.into_iter().filter_map(index) {
        table[index] = Verdict::Unknown;
    }
}

/// Stored quality numbers, and which of them say that there is none (NaN for none such).
pub(super) enum Codes {
    U8(Vec<u8>, [f64; 2]),
    U16(Vec<u16>, [f64; 2]),
    I16(Vec<i16>, [f64; 2]),
    /// NaN where missing.
    F64(Vec<f64>),
}

/// What a rule says of every number of 16 bits, worked out once.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    unsigned: OnceLock<Result<Vec<Verdict>, String>>,
    signed: OnceLock<Result<Vec<Verdict>, String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Seen,
    Hidden,
    Unknown,
}

/// Sets every cell within `radius` (Euclidean, between centres) of a set one.
///
/// Row by row: the distance to the nearest set cell of each row, then for every cell the rows within the disc.
fn dilated(cells: &[bool], cols: usize, radius: usize) -> Vec<bool> {
    if cols == 0 || !cells.contains(&true) {
        return cells.to_vec();
    }
    let rows = cells.len() / cols;
    let beyond = radius as u8 + 1; // a rule's widest fits
    let mut distance = vec![beyond; cells.len()];
    for (distance, cells) in distance.chunks_exact_mut(cols).zip(cells.chunks_exact(cols)) {
        let mut since = beyond;
        for (distance, set) in distance.iter_mut().zip(cells) {
            since = if *set { 0 } else { (since + 1).min(beyond) };
            *distance = since;
        }
        since = beyond;
        for (distance, set) in distance.iter_mut().zip(cells).rev() {
            since = if *set { 0 } else { (since + 1).min(beyond) };
            *distance = since.min(*distance);
        }
    }
    let mut grown = vec![false; cells.len()];
    for row in 0..rows {
        for other in row.saturating_sub(radius)..(row + radius + 1).min(rows) {
            let reach = (radius * radius - row.abs_diff(other).pow(2)).isqrt() as u8;
            let near = &distance[other * cols..(other + 1) * cols];
            for (cell, distance) in grown[row * cols..(row + 1) * cols].iter_mut().zip(near) {
                *cell |= *distance <= reach;
            }
        }
    }
    grown
}

/// The rule without the place of its files, as settings remember it.
impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Place::Band(band) = &self.place {
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
        if self.dilate > 0 {
            parts.push(format!("dilate {}", self.dilate));
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a number is hidden, in every type that holds it.
    fn hidden(quality: &Quality, value: f64) -> bool {
        let (tables, none) = (Tables::default(), [f64::NAN; 2]);
        let judge = |codes: Codes| quality.hidden(&codes, 1, &tables).unwrap()[0];
        let hidden = judge(Codes::F64(vec![value]));
        if value == f64::from(value as u8) {
            assert_eq!(judge(Codes::U8(vec![value as u8], none)), hidden, "{value}");
            assert!(judge(Codes::U8(vec![value as u8], [value, f64::NAN])), "no quality");
        }
        if value == f64::from(value as u16) {
            assert_eq!(judge(Codes::U16(vec![value as u16], none)), hidden, "{value}");
            assert!(judge(Codes::U16(vec![value as u16], [f64::NAN, value])), "no quality");
        }
        if value == f64::from(value as i16) {
            assert_eq!(judge(Codes::I16(vec![value as i16], none)), hidden, "{value}");
        }
        hidden
    }

    #[test]
    fn bits_fields_classes_and_ranges_hide() {
        let bits = Quality::band(1).bits([1, 3]);
        assert!(hidden(&bits, 2.0) && hidden(&bits, 8.0) && hidden(&bits, 255.0) && hidden(&bits, -1.0));
        assert!(!hidden(&bits, 0.0) && !hidden(&bits, 5.0) && !hidden(&bits, 64.0));
        let confidence = Quality::band(1).field(8..=9, [3]);
        assert!(hidden(&confidence, 22_280.0) && !hidden(&confidence, 21_824.0), "Landsat's cloud and clear");
        let classes = Quality::band(1).drop([3.0, 8.0]);
        assert!(hidden(&classes, 3.0) && !hidden(&classes, 4.0));
        let vegetation = Quality::band(1).keep([4.0, 5.0]);
        assert!(hidden(&vegetation, 3.0) && !hidden(&vegetation, 4.0));
        let range = Quality::band(1).valid_range(0.0, 1.0);
        assert!(hidden(&range, 1.5) && !hidden(&range, 0.5) && !hidden(&range, 1.0));
        for rule in [&bits, &confidence, &classes, &vegetation, &range] {
            assert!(hidden(rule, f64::NAN), "no quality, no pixel: {rule}");
        }
        assert!(bits.hidden(&Codes::F64(vec![0.5]), 1, &Tables::default()).unwrap_err().contains("no whole number"));
    }

    #[test]
    fn dilation_equals_its_slow_twin() {
        for (rows, cols, seed) in [(1, 1, 1), (1, 17, 2), (13, 1, 3), (20, 31, 4), (9, 40, 5)] {
            let set = |k: usize| (k * 2_654_435_761 + seed * 97).is_multiple_of(23);
            let cells: Vec<bool> = (0..rows * cols).map(set).collect();
            for radius in [1, 2, 3, 7, 50] {
                let slow: Vec<bool> = (0..rows * cols)
                    .map(|k| {
                        (0..rows * cols).any(|other| {
                            let (dy, dx) = ((k / cols).abs_diff(other / cols), (k % cols).abs_diff(other % cols));
                            cells[other] && dy * dy + dx * dx <= radius * radius
                        })
                    })
                    .collect();
                assert_eq!(dilated(&cells, cols, radius), slow, "{rows} x {cols}, {radius}");
            }
        }
    }

    #[test]
    fn missing_quality_does_not_spread() {
        let rule = Quality::band(1).bits([0]).dilate(1);
        let values = Codes::F64(vec![f64::NAN, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(rule.hidden(&values, 6, &Tables::default()).unwrap(), [true, false, false, true, true, true]);
    }

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
