//! Statistics of a run, collected tile by tile in sums that do not depend on order.

mod by_date;
mod read;

use std::collections::BTreeMap;

use ndarray::Axis;
use serde::{Deserialize, Serialize};

use super::cells::CellFit;
use super::window::{PixelCount, WindowOutput};
use crate::filter::{ExactSum, Innovation};
use crate::geometry::Date;
use crate::series::{DateDiagnostics, FailedWindow, InstrumentReport, Report, SkippedSlice};
use crate::source::Slice;
use by_date::ByDate;
use read::ReadDates;

/// Sums of one instrument on one date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct FitSums {
    pixels: u64,
    refused: u64,
    #[serde(default)]
    incomplete: u64,
    values: u64,
    dof: u64,
    nis: ExactSum,
    log_likelihood: ExactSum,
}

impl FitSums {
    fn add(&mut self, innovation: &Innovation) {
        self.values += innovation.values as u64;
        self.dof += innovation.dof as u64;
        self.nis.add(innovation.nis);
        self.log_likelihood.add(innovation.log_likelihood);
    }

    fn count(&mut self, count: &PixelCount) {
        self.pixels += count.observed;
        self.refused += count.refused;
        self.incomplete += count.incomplete;
    }

    fn add_cells(&mut self, fit: &CellFit) {
        self.pixels += fit.pixels;
        self.refused += fit.refused;
        self.values += fit.sums.values;
        self.dof += fit.sums.dof;
        self.nis.merge(fit.sums.nis);
        self.log_likelihood.merge(fit.sums.log_likelihood);
    }

    fn merge(&mut self, other: &Self) {
        self.pixels += other.pixels;
        self.refused += other.refused;
        self.incomplete += other.incomplete;
        self.values += other.values;
        self.dof += other.dof;
        self.nis.merge(other.nis);
        self.log_likelihood.merge(other.log_likelihood);
    }

    /// `None` when no window observed anything.
    fn diagnostics(&self, date: Date) -> Option<DateDiagnostics> {
        (self.values > 0 || self.pixels > 0 || self.incomplete > 0).then(|| DateDiagnostics {
            date,
            pixels: self.pixels,
            refused: self.refused,
            incomplete: self.incomplete,
            values: self.values,
            dof: self.dof,
            nis: self.nis.value(),
            log_likelihood: self.log_likelihood.value(),
        })
    }
}

/// A slice that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Skipped {
    /// Number of tiles that were processed without it.
    tiles: u64,
    /// The error message; of several, the first in alphabetical order, so that the order of tiles does not matter.
    reason: String,
}

impl Skipped {
    fn merge(&mut self, tiles: u64, reason: &str) {
        if self.tiles == 0 || reason < self.reason.as_str() {
            reason.clone_into(&mut self.reason);
        }
        self.tiles += tiles;
    }
}

/// Statistics of some tiles. Dates are days since 1970-01-01, instruments are positions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) windows: usize,
    pub(super) widened: usize,
    /// By date and instrument.
    fits: ByDate<FitSums>,
    /// By date and instrument.
    skipped: ByDate<Skipped>,
    failed: Vec<FailedWindow>,
    #[serde(default)]
    read: ReadDates,
    /// By instrument: which of the bands that it reads have ever held a value.
    #[serde(default)]
    held: BTreeMap<usize, Vec<bool>>,
    /// By instrument and band that it reads: the slice of most values among the first of each tile, as their number and
    /// the median of their sizes.
    #[serde(default)]
    sizes: BTreeMap<usize, Vec<(u64, f64)>>,
}

impl Summary {
    /// Adds the results of a window for a batch; `date` returns the dates of the batch that count.
    pub(super) fn add(&mut self, output: &WindowOutput, date: impl Fn(usize) -> Option<Date>) {
        for (index, fit) in &output.innovations {
            if let Some(date) = date(*index) {
                self.fits.entry(date.days_since_epoch(), fit.instrument).add(fit);
            }
        }
        for (index, count) in &output.pixels {
            if let Some(date) = date(*index) {
                self.fits.entry(date.days_since_epoch(), count.instrument).count(count);
            }
        }
    }

    /// Adds the results of cells for a slice.
    pub(super) fn add_cells(&mut self, date: Date, instrument: usize, fit: &CellFit) {
        if fit.pixels > 0 {
            self.fits.entry(date.days_since_epoch(), instrument).add_cells(fit);
        }
    }

    /// Records a slice that was read.
    pub(super) fn read(&mut self, date: Date, instrument: usize, slice: &Slice) {
        self.read.add(instrument, date);
        let held = self.held.entry(instrument).or_default();
        held.resize(slice.values.len_of(Axis(0)), false);
        // A band that has held a value is not looked at again.
        let sizes = self.sizes.entry(instrument).or_default();
        sizes.resize(held.len(), (0, 0.0));
        let first = held.iter_mut().zip(sizes).zip(slice.values.outer_iter()).filter(|((held, _), _)| !**held);
        for ((held, size), plane) in first {
            let mut values: Vec<f64> = plane.iter().filter(|value| !value.is_nan()).map(|value| value.abs()).collect();
            let middle = values.len() / 2;
            if !values.is_empty() {
                *held = true;
                *size = (values.len() as u64, *values.select_nth_unstable_by(middle, f64::total_cmp).1);
            }
        }
    }

    /// The median of the sizes of values of each band that an instrument reads; 0 where there are none.
    pub(super) fn sizes(&self, instrument: usize) -> impl Iterator<Item = f64> + '_ {
        self.sizes.get(&instrument).into_iter().flatten().map(|(_, median)| *median)
    }

    /// Bands, by position among those read, of which no value was ever held; none where statistics are older than
    /// this knowledge.
    pub(super) fn never_held(&self, instrument: usize) -> Vec<usize> {
        let mut of_instrument = self.fits.iter().filter(|(_, index, _)| *index == instrument);
        let known = of_instrument.all(|(day, ..)| self.read.contains(instrument, day));
        let Some(held) = self.held.get(&instrument).filter(|_| known) else { return Vec::new() };
        held.iter().enumerate().filter(|(_, held)| !**held).map(|(band, _)| band).collect()
    }

    /// Records a slice that was missing in one tile.
    pub(super) fn skip(&mut self, date: Date, instrument: usize, reason: &str) {
        self.skipped.entry(date.days_since_epoch(), instrument).merge(1, reason);
    }

    /// Whether a slice was missing in any tile.
    pub(super) fn was_skipped(&self, date: Date, instrument: usize) -> bool {
        self.skipped.get(date.days_since_epoch(), instrument).is_some()
    }

    pub(super) fn fail(&mut self, window: FailedWindow) {
        self.failed.push(window);
    }

    /// Removes the failed windows.
    pub(super) fn forget_failures(&mut self) {
        self.failed.clear();
    }

    /// Removes statistics of dates after `date`; they will be collected again.
    pub(super) fn forget_after(&mut self, date: Date) {
        self.fits.forget_after(date.days_since_epoch());
        self.skipped.forget_after(date.days_since_epoch());
        self.read.forget_after(date);
        self.failed.retain(|window| window.date <= date);
    }

    /// Adds statistics of other tiles, in any order, or of other dates of the same tiles. What is not here yet is taken
    /// over, not copied: there is much of it in long series.
    pub(super) fn merge(&mut self, other: Self) {
        self.windows += other.windows;
        self.widened += other.widened;
        self.fits.merge(other.fits, FitSums::merge);
        self.skipped.merge(other.skipped, |own, other| own.merge(other.tiles, &other.reason));
        self.failed.extend(other.failed);
        self.read.merge(other.read);
        for (instrument, bands) in &other.held {
            let held = self.held.entry(*instrument).or_default();
            held.resize(bands.len(), false);
            held.iter_mut().zip(bands).for_each(|(held, other)| *held |= other);
        }
        for (instrument, bands) in &other.sizes {
            let sizes = self.sizes.entry(*instrument).or_default();
            sizes.resize(bands.len(), (0, 0.0));
            for (size, other) in sizes.iter_mut().zip(bands) {
                // Whatever the order of tiles.
                if (other.0, other.1.to_bits()) > (size.0, size.1.to_bits()) {
                    *size = *other;
                }
            }
        }
    }

    /// The report of the collected statistics, without those of a single run.
    pub(super) fn report(&self, names: &[&str]) -> Report {
        let instrument = |(index, name): (usize, &&str)| {
            let own = self.fits.iter().filter(|(_, instrument, _)| *instrument == index);
            let dates = own.filter_map(|(day, _, sums)| sums.diagnostics(Date::from_days(day)));
            let dates: Vec<DateDiagnostics> = dates.collect();
            let used = |day: &Date| dates.binary_search_by_key(day, |date| date.date).is_ok();
            let empty = self.read.of(index).filter(|day| !used(day)).collect();
            InstrumentReport { name: (*name).to_owned(), dates, empty }
        };
        let skipped = self.skipped.iter().map(|(day, instrument, skipped)| SkippedSlice {
            instrument: names.get(instrument).copied().unwrap_or_default().to_owned(),
            date: Date::from_days(day),
            tiles: skipped.tiles,
            reason: skipped.reason.clone(),
        });
        let mut failed = self.failed.clone();
        failed.sort_by_key(|window| (window.row, window.col));
        Report {
            instruments: names.iter().enumerate().map(instrument).collect(),
            windows: self.windows,
            widened_windows: self.widened,
            skipped: skipped.collect(),
            failed_windows: failed,
            ..Report::default()
        }
    }
}
