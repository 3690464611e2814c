//! Choice of the withheld pixels and dates.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::geometry::Date;

/// Default share of the dates that are withheld completely.
const USUAL_SHARE_OF_DATES: f64 = 0.1;

/// Default side of a block in pixels, and the number of blocks that an image then has at least along its shorter
/// side.
const USUAL_BLOCK: usize = 8;
const LEAST_BLOCKS: usize = 4;

/// Larger shares would change the character of the fusion.
const LARGEST_SHARE: f64 = 0.5;

/// The withheld share of an instrument.
///
/// Its first date is never withheld, and an instrument with a single date withholds nothing: the fusion needs a
/// start. With two dates, the second is withheld completely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Withhold {
    share: f64,
    block: Option<usize>,
    dates: Option<usize>,
}

impl Default for Withhold {
    /// A tenth of the pixels in blocks, and a tenth of the dates, at least one.
    fn default() -> Self {
        Self { share: 0.1, block: None, dates: None }
    }
}

impl Withhold {
    /// Withholds nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { share: 0.0, block: None, dates: Some(0) }
    }

    /// Share of the blocks that is withheld on every date, except the first and those withheld completely; 0 to 0.5.
    /// Default: 0.1.
    #[must_use]
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// Pixels per side of a block. Default: 8, or less where the image would have fewer than four blocks along a
    /// side.
    #[must_use]
    pub fn block(mut self, pixels: usize) -> Self {
        self.block = Some(pixels);
        self
    }

    /// Number of dates that are withheld completely, spread over the period; at most all but the first. Default: a
    /// tenth, at least one.
    #[must_use]
    pub fn dates(mut self, dates: usize) -> Self {
        self.dates = Some(dates);
        self
    }
}

/// How a value was withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WithheldKind {
    /// In a block of pixels; other pixels of the date were used.
    Block,
    /// With all pixels of its date.
    Date,
}

/// The withheld pixels of an instrument: a function of date and pixel, so that no mask is stored.
#[derive(Clone, Debug, Default)]
pub(super) struct WithholdingMask {
    seed: u64,
    share: f64,
    block: usize,
    /// Dates withheld completely.
    full_dates: Vec<Date>,
    /// Dates on which blocks are withheld.
    block_dates: Vec<Date>,
}

impl WithholdingMask {
    /// For an instrument with (rows, columns) of pixels and the `dates` of the period.
    pub(super) fn new(
        (seed, name): (u64, &str),
        withhold: Withhold,
        (rows, cols): (usize, usize),
        dates: &[Date],
    ) -> Result<Self> {
        let Withhold { share, block, dates: full_dates } = withhold;
        if !(0.0..=LARGEST_SHARE).contains(&share) {
            let problem = format!("{share} must be a share from 0 to {LARGEST_SHARE}");
            return Err(Error::setting(format!("validation: instrument {name:?}: share"), problem));
        }
        if block == Some(0) {
            let problem = "0 pixels; give at least 1";
            return Err(Error::setting(format!("validation: instrument {name:?}: block"), problem));
        }
        let usual = USUAL_BLOCK.min(rows.min(cols) / LEAST_BLOCKS).max(1);
        let seed = hash([seed, u64::from(crc32fast::hash(name.as_bytes()))]);
        let candidates = dates.get(1..).unwrap_or_default();
        let usual_dates = (candidates.len() as f64 * USUAL_SHARE_OF_DATES).round().max(1.0) as usize;
        let count = full_dates.unwrap_or(usual_dates).min(candidates.len());
        // One date from each of equally long stretches, so that the dates are spread.
        let one_of = |k: usize| {
            let stretch = k * candidates.len() / count..(k + 1) * candidates.len() / count;
            candidates[stretch.start + (hash([seed, 1, k as u64]) % stretch.len() as u64) as usize]
        };
        let full_dates: Vec<Date> = (0..count).map(one_of).collect();
        let block_dates =
            candidates.iter().copied().filter(|date| share > 0.0 && full_dates.binary_search(date).is_err()).collect();
        Ok(Self { seed, share, block: block.unwrap_or(usual), full_dates, block_dates })
    }

    /// Every date on which something may be withheld.
    pub(super) fn dates(&self) -> impl Iterator<Item = Date> + '_ {
        self.full_dates.iter().chain(&self.block_dates).copied()
    }

    /// Dates withheld completely.
    pub(super) fn full_dates(&self) -> &[Date] {
        &self.full_dates
    }

    /// Share and side of the blocks, where there are any.
    pub(super) fn blocks(&self) -> Option<(f64, usize)> {
        (!self.block_dates.is_empty()).then_some((self.share, self.block))
    }

    /// How values of a date are withheld, if any are.
    pub(super) fn kind(&self, date: Date) -> Option<WithheldKind> {
        let among = |dates: &[Date]| dates.binary_search(&date).is_ok();
        if among(&self.full_dates) {
            Some(WithheldKind::Date)
        } else {
            among(&self.block_dates).then_some(WithheldKind::Block)
        }
    }

    /// Whether a pixel (row, column) is withheld on a date of this kind.
    pub(super) fn holds(&self, kind: WithheldKind, date: Date, (row, col): (usize, usize)) -> bool {
        if kind == WithheldKind::Date {
            return true;
        }
        let day = u64::from(date.days_since_epoch().cast_unsigned());
        // Block edges move from date to date.
        let shift = hash([self.seed, 2, day]);
        let side = self.block as u64;
        let (row, col) = ((row as u64 + shift % side) / side, (col as u64 + (shift >> 32) % side) / side);
        let drawn = (hash([self.seed, 3, day, row, col]) >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < self.share
    }
}

/// A hash of a list of numbers that looks random. Each number is added to the hash of the preceding ones, which is
/// mixed by the finaliser of `SplitMix64` (Steele, Lea & Flood, *Fast Splittable Pseudorandom Number Generators*,
/// OOPSLA 2014).
fn hash<const N: usize>(numbers: [u64; N]) -> u64 {
    numbers.into_iter().fold(0, |state: u64, number| {
        let z = state.wrapping_add(number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
#[allow(clippy::cast_lossless)] // counts
mod tests {
    use super::*;

    fn days(n: i32) -> Vec<Date> {
        (0..n).map(|k| Date::from_days(100 + 3 * k)).collect()
    }

    fn mask(seed: u64, withhold: Withhold, dates: i32) -> WithholdingMask {
        WithholdingMask::new((seed, "a"), withhold, (64, 80), &days(dates)).unwrap()
    }

    #[test]
    fn a_share_of_blocks_is_drawn_anew_on_each_date() {
        let mask = mask(5, Withhold::default().share(0.3).dates(4), 41);
        let (mut held, mut all, mut seams, mut neighbours) = (0, 0, 0, 0);
        for &date in &mask.block_dates {
            for (row, col) in (0..64).flat_map(|row| (0..80).map(move |col| (row, col))) {
                let here = mask.holds(WithheldKind::Block, date, (row, col));
                held += u64::from(here);
                all += 1;
                if col > 0 {
                    neighbours += 1;
                    seams += u64::from(here != mask.holds(WithheldKind::Block, date, (row, col - 1)));
                }
            }
        }
        let share = held as f64 / all as f64;
        assert!((share - 0.3).abs() < 0.02, "{share}");
        // Neighbours differ at one seam in eight, where 2 · 0.3 · 0.7 of the blocks do.
        let seams = seams as f64 / neighbours as f64;
        assert!((seams - 0.42 / 8.0).abs() < 0.01, "{seams}");
        let pattern =
            |date: Date| (0..80).map(|col| mask.holds(WithheldKind::Block, date, (20, col))).collect::<Vec<_>>();
        assert_ne!(pattern(mask.block_dates[0]), pattern(mask.block_dates[1]));
    }

    #[test]
    fn dates_are_spread_and_the_first_is_kept() {
        let other = mask(6, Withhold::default().dates(4), 41);
        let mask = mask(5, Withhold::default().dates(4), 41);
        assert_eq!((mask.full_dates.len(), mask.block_dates.len()), (4, 36));
        assert_eq!(mask.kind(Date::from_days(100)), None);
        for (k, date) in mask.full_dates.iter().enumerate() {
            let position = (date.days_since_epoch() - 100) as usize / 3 - 1;
            assert!((k * 10..k * 10 + 10).contains(&position), "{position}");
            assert_eq!(mask.kind(*date), Some(WithheldKind::Date));
        }
        assert_ne!(mask.full_dates, other.full_dates, "another seed");
    }

    #[test]
    fn something_is_always_left() {
        let usual = Withhold::default();
        let two = mask(0, usual, 2);
        assert_eq!((two.full_dates(), two.blocks()), (&days(2)[1..], None));
        assert_eq!(mask(0, usual, 1).dates().count(), 0);
        assert_eq!(mask(0, usual, 0).dates().count(), 0);
        assert_eq!(mask(0, usual.dates(99), 5).full_dates(), &days(5)[1..]);
        assert_eq!(mask(0, Withhold::nothing(), 9).dates().count(), 0);
        let three = mask(0, usual, 3);
        assert_eq!((three.full_dates().len(), three.blocks()), (1, Some((0.1, 8))));
        assert_eq!(WithholdingMask::new((0, "modis"), usual, (4, 4), &days(9)).unwrap().blocks(), Some((0.1, 1)));
    }

    #[test]
    fn shares_and_blocks_that_cannot_be_are_refused() {
        let refused =
            |withhold: Withhold| WithholdingMask::new((0, "a"), withhold, (9, 9), &days(9)).unwrap_err().to_string();
        for share in [-0.1, 0.6, f64::NAN] {
            assert!(refused(Withhold::default().share(share)).contains("share"));
        }
        assert!(refused(Withhold::default().block(0)).contains("block"));
    }
}
