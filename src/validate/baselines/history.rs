//! What is known of the pixels of one instrument in one tile: the latest clear values, and withheld values that wait.

use std::collections::VecDeque;

use super::evidence::{Dated, Evidence, FARTHEST_DAYS};
use crate::engine::WITHHELD_BYTES;
use crate::geometry::{Date, PixelRegion};
use crate::source::Slice;
use crate::validate::mask::WithheldKind;

/// What is kept of a pixel and band, with a withheld value, is what the plan counts.
const _: () = assert!(
    2 * size_of::<Dated>() + size_of::<u32>() + size_of::<Withheld>() <= WITHHELD_BYTES as usize,
    "the plan counts less than is kept"
);

/// No pixel of the coarser instrument.
pub(super) const NOWHERE: u32 = u32::MAX;

/// The pixels of one instrument in one tile.
#[derive(Debug)]
pub(super) struct History {
    pub(super) region: PixelRegion,
    /// The latest clear value. **Shape** (band, y, x), flat, as the next ones.
    latest: Vec<Dated>,
    /// Of the coarser instrument at the pixel's place, of the values so far: the one nearest to the latest clear value.
    /// Empty without such an instrument.
    coarse_of_latest: Vec<Dated>,
    /// The value of the coarser instrument at the place, as a position in its history, or [`NOWHERE`]. Empty as long as
    /// nothing of it has been read.
    pub(super) places: Vec<u32>,
    /// Withheld values that are not scored yet, by date.
    pub(super) waiting: VecDeque<WithheldDate>,
}

/// The withheld values of a date, in the order of their positions.
#[derive(Debug)]
pub(super) struct WithheldDate {
    pub(super) date: Date,
    pub(super) kind: WithheldKind,
    pub(super) values: Vec<Withheld>,
}

/// A withheld value, what is known of it so far, and the errors of the fusion; NaN for what is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Withheld {
    /// Position in the history.
    pub(super) at: u32,
    pub(super) value: f64,
    last: Dated,
    pub(super) next: Dated,
    coarse_last: f64,
    pub(super) coarse: f64,
    pub(super) coarse_next: Dated,
    /// Error of the prediction of windows.
    pub(super) window_error: f64,
    /// Error of what is output.
    pub(super) output_error: f64,
}

impl History {
    pub(super) fn new(slice: &Slice, has_coarse: bool) -> Self {
        let values = slice.values.len();
        Self {
            region: slice.region.clone(),
            latest: vec![Dated::NONE; values],
            coarse_of_latest: vec![Dated::NONE; if has_coarse { values } else { 0 }],
            places: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// The latest clear value at a position; none at [`NOWHERE`].
    fn latest_at(&self, at: u32) -> Dated {
        self.latest.get(at as usize).copied().unwrap_or(Dated::NONE)
    }

    /// The latest value of the coarser instrument at the place of a value.
    fn coarse_at(&self, coarse: Option<&Self>, at: usize) -> Dated {
        let place = self.places.get(at).copied().unwrap_or(NOWHERE);
        coarse.map_or(Dated::NONE, |coarse| coarse.latest_at(place))
    }

    /// Learns the clear values of a date; `coarse` has learned its own of that date.
    pub(super) fn learn(&mut self, slice: &Slice, coarse: Option<&Self>) {
        let day = slice.date.days_since_epoch();
        for (at, &value) in slice.values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            self.latest[at] = Dated { day, value };
            if !self.coarse_of_latest.is_empty() {
                self.coarse_of_latest[at] = self.coarse_at(coarse, at);
            }
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        for date in waiting.iter_mut().filter(|date| slice.date.days_since(date.date) <= FARTHEST_DAYS) {
            for withheld in date.values.iter_mut().filter(|withheld| !withheld.next.is_known()) {
                let latest = self.latest_at(withheld.at);
                // Clear values of this date alone: all later ones than the withheld value's have been tried.
                if latest.is_known() && latest.day == day {
                    withheld.next = latest;
                    withheld.coarse_next = self.coarse_at(coarse, withheld.at as usize);
                }
            }
        }
        self.waiting = waiting;
    }

    /// Learns that the coarser instrument has observed on `day`, and has learned it.
    pub(super) fn learn_coarse(&mut self, coarse: &Self, day: i32) {
        for at in 0..self.coarse_of_latest.len() {
            let (seen, latest) = (self.coarse_at(Some(coarse), at), self.latest[at]);
            if latest.is_known() && seen.is_known() && seen.day == day {
                self.coarse_of_latest[at].take_nearer(seen, latest.day);
            }
        }
        let places = &self.places;
        for withheld in self.waiting.iter_mut().flat_map(|date| &mut date.values) {
            let seen = coarse.latest_at(places.get(withheld.at as usize).copied().unwrap_or(NOWHERE));
            if withheld.next.is_known() && seen.is_known() && seen.day == day {
                withheld.coarse_next.take_nearer(seen, withheld.next.day);
            }
        }
    }

    /// Takes up the withheld values of a date, when the coarser instrument has learned its own of that date.
    pub(super) fn withhold(&mut self, slice: &Slice, kind: WithheldKind, coarse: Option<&Self>) {
        let Some(withheld) = &slice.withheld else { return };
        let values = withheld.iter().enumerate().filter(|(_, value)| !value.is_nan()).map(|(at, &value)| Withheld {
            at: at as u32,
            value,
            last: self.latest[at],
            next: Dated::NONE,
            coarse_last: self.coarse_of_latest.get(at).map_or(f64::NAN, |coarse| coarse.value),
            coarse: self.coarse_at(coarse, at).value,
            coarse_next: Dated::NONE,
            window_error: f64::NAN,
            output_error: f64::NAN,
        });
        let date = WithheldDate { date: slice.date, kind, values: values.collect() };
        self.waiting.push_back(date);
    }

    /// The withheld value of a date at a band and a pixel (row, column) of the instrument's grid, if it waits.
    pub(super) fn waiting_at(&mut self, date: Date, band: usize, (row, col): (usize, usize)) -> Option<&mut Withheld> {
        let PixelRegion { rows, cols } = &self.region;
        if !rows.contains(&row) || !cols.contains(&col) {
            return None;
        }
        let at = ((band * rows.len() + row - rows.start) * cols.len() + col - cols.start) as u32;
        let of_date = self.waiting.binary_search_by_key(&date, |waiting| waiting.date).ok()?;
        let values = &mut self.waiting[of_date].values;
        let position = values.binary_search_by_key(&at, |withheld| withheld.at).ok()?;
        Some(&mut values[position])
    }

    /// The band of a position.
    pub(super) fn band(&self, at: u32) -> usize {
        at as usize / self.region.len().max(1)
    }
}

impl Withheld {
    /// Whether nothing that arrives after the day `now` changes what baselines predict; `more` when a clear value may
    /// still come.
    pub(super) fn is_settled(&self, now: i32, more: bool) -> bool {
        if !self.next.is_known() {
            return !more;
        }
        // A later coarse value is farther from the next clear value than the day now.
        self.coarse.is_nan() || now - self.next.day >= (self.coarse_next.day - self.next.day).abs()
    }

    pub(super) fn evidence(&self, day: i32, residuals: [f64; 2]) -> Evidence {
        let Self { last, next, coarse_last, coarse, coarse_next, .. } = *self;
        Evidence { day, last, next, coarse_last, coarse, coarse_next: coarse_next.value, residuals }
    }
}
