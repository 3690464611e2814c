//! Report of a run: statistics, and the fit of the observations.

mod advice;
mod json;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Scores;
use crate::geometry::Date;
#[cfg(feature = "zarr")]
pub(crate) use json::StoredReport;

/// Largest share of an instrument's pixels that its gate may refuse without a warning.
const SUSPICIOUS_SHARE: f64 = 0.2;

/// Statistics of a run, and the fit of the observations.
///
/// Windows overlap by their halos, so a pixel counts once in every window that uses it. Sums over windows therefore
/// form a composite likelihood, suitable for comparing settings with the same windows. Where all cells are
/// independent ([`Plan::independent_cells`](crate::engine::Plan::independent_cells)), every value counts once, and
/// the likelihood is that of the model. The sums do not depend on tiles or threads.
///
/// Its text is a short table, with a line for each instrument that is far from the expectation of the model. `serde`
/// serialises it with the names of its fields, except `scores`, which is `truth` and present only with reference
/// data, and adds `log_likelihood`. Dates are text, times are in seconds (`timing.filter_seconds`). An instrument is
/// a table by columns (`dates`, `pixels`, `refused`, `values`, `dof`, `nis`, `log_likelihood`) with their sums in
/// `total`, where `nis_ratio` is near 1 when the model is right. The attributes of the store contain everything
/// except blocks and timing under the same names.
///
/// ```
/// # use rasterfuse::Fusion;
/// # use rasterfuse::geometry::{Crs, Date, Grid};
/// # use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
/// # use rasterfuse::sink::MemorySink;
/// # use rasterfuse::source::MemorySource;
/// # let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
/// # let days = vec![Date::from_days(0), Date::from_days(4)];
/// # let source = MemorySource::new(grid.clone(), days, vec!["red".into()], ndarray::Array4::zeros((2, 1, 8, 8)))?;
/// # let builder = Fusion::builder(grid).bands(["red"]).process(Process::new(Kernel::None, 0.0, 1e-3))
/// #     .prior(Prior::new(0.0, 0.01)).instrument(Instrument::new("fine", source).noise_variance(1e-5));
/// let report = builder.build()?.run(&mut MemorySink::new())?;
/// println!("{report}");
/// let json = serde_json::to_value(&report).unwrap();
/// let fine = &json["instruments"][0];
/// assert_eq!(fine["dates"], serde_json::json!(["1970-01-01", "1970-01-05"]));
/// assert_eq!(fine["pixels"], serde_json::json!([64, 64]));
/// assert_eq!((&fine["total"]["values"], &json["log_likelihood"]), (&128.into(), &report.log_likelihood().into()));
/// assert!(json["timing"]["filter_seconds"].is_f64());
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// One entry per instrument.
    pub instruments: Vec<InstrumentReport>,
    /// Number of filtered windows; 0 where cells are independent and filtered one by one.
    pub windows: usize,
    /// Windows that continued in float64 because an update would have exceeded the precision of float32.
    pub widened_windows: usize,
    /// Slices that could not be read and were skipped, by date ([`OnError::Skip`](crate::engine::OnError::Skip)).
    pub skipped: Vec<SkippedSlice>,
    /// Windows or independent cells whose arithmetic broke down, NaN from then on
    /// ([`OnError::Skip`](crate::engine::OnError::Skip)).
    pub failed_windows: Vec<FailedWindow>,
    /// Instruments and bands of which not one value was used
    /// ([`OnError::Skip`](crate::engine::OnError::Skip)).
    pub unused: Vec<UnusedInput>,
    /// Sentences about suspicious values: undeclared fill values, units that differ.
    pub notes: Vec<String>,
    /// Scores of this run's blocks against reference data, where these were given
    /// ([`JudgedSink`](crate::sink::JudgedSink)).
    pub scores: Option<Scores>,
    /// Number of blocks (tile × date) that this run has output.
    pub blocks: usize,
    /// Duration of each activity.
    pub timing: Timing,
}

/// A slice that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SkippedSlice {
    /// Its instrument.
    pub instrument: String,
    /// Its date.
    pub date: Date,
    /// Number of tiles that were processed without it.
    pub tiles: u64,
    /// The error message of one of them.
    pub reason: String,
}

/// A window, or independent cell, whose arithmetic broke down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailedWindow {
    /// First cell row of the window, or row of the cell.
    pub row: usize,
    /// First cell column of the window, or column of the cell.
    pub col: usize,
    /// The date of the update that failed. With a lag, results that waited for it are NaN as well.
    pub date: Date,
    /// The numerical failure.
    pub reason: String,
}

/// An instrument, or a band of one, of which not one value was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnusedInput {
    /// The instrument.
    pub instrument: String,
    /// The band of its source; `None` where all are meant.
    pub band: Option<String>,
    /// What took the values, with numbers.
    pub reason: String,
}

/// Fit of one instrument, date by date.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct InstrumentReport {
    /// Its name.
    pub name: String,
    /// Dates on which any window used a value of it.
    pub dates: Vec<DateDiagnostics>,
    /// Dates that were read and had nothing left: missing, masked or out of range.
    pub empty: Vec<Date>,
}

/// Fit of one instrument on one date, summed over windows or cells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DateDiagnostics {
    /// The date.
    pub date: Date,
    /// Pixels on the target grid that held a value, each counted once.
    pub pixels: u64,
    /// Number of these pixels that the gate of the instrument refused, counted by the window that contains the centre
    /// of the pixel, or by its cell.
    pub refused: u64,
    /// Pixels that held a value but lacked a band of a group of bands together, and were missing therefore; they are
    /// not among `pixels`.
    pub incomplete: u64,
    /// Scalar values used.
    pub values: u64,
    /// Degrees of freedom of `nis`.
    pub dof: u64,
    /// Normalised innovation squared; near `dof` when the model is right.
    pub nis: f64,
    /// Log-likelihood, all constants included.
    pub log_likelihood: f64,
}

/// Wall time by activity. Reading and writing run in parallel to filtering, so the times add up to more than the
/// duration of the run. Filtering waited for them during `wait_read` and `wait_write`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// Construction of window supports and initial states, or restoring them from a checkpoint.
    pub setup: Duration,
    /// Reading slices.
    pub read: Duration,
    /// Filtering.
    pub filter: Duration,
    /// Writing blocks and making them visible.
    pub write: Duration,
    /// Writing checkpoints.
    pub checkpoint: Duration,
    /// Time that filtering waited for slices: long when the source is slow.
    pub wait_read: Duration,
    /// Time that filtering waited for blocks to be written: long when the sink is slow.
    pub wait_write: Duration,
}

impl DateDiagnostics {
    /// Normalised innovation squared divided by its degrees of freedom: near 1 when the model is right, larger when
    /// intervals are too narrow, smaller when they are too wide. NaN when every pixel was refused.
    #[must_use]
    pub fn nis_ratio(&self) -> f64 {
        self.nis / self.dof as f64
    }
}

impl DateDiagnostics {
    /// The [ratio](Self::nis_ratio), infinite where values were used and it is not a number: the worst case.
    fn misfit(&self) -> f64 {
        let ratio = self.nis_ratio();
        if ratio.is_nan() && self.dof > 0 { f64::INFINITY } else { ratio }
    }
}

impl InstrumentReport {
    /// The date with the worst fit: the largest [`DateDiagnostics::nis_ratio`] of the dates with values. One that is
    /// not a number is worse than any.
    #[must_use]
    pub fn worst(&self) -> Option<&DateDiagnostics> {
        self.dates.iter().filter(|date| date.dof > 0).max_by(|a, b| a.misfit().total_cmp(&b.misfit()))
    }

    /// Sum over the dates; its `date` is the last one. `None` when no value of the instrument was used.
    #[must_use]
    pub fn total(&self) -> Option<DateDiagnostics> {
        self.dates.iter().copied().reduce(|a, b| DateDiagnostics {
            date: b.date,
            pixels: a.pixels + b.pixels,
            refused: a.refused + b.refused,
            incomplete: a.incomplete + b.incomplete,
            values: a.values + b.values,
            dof: a.dof + b.dof,
            nis: a.nis + b.nis,
            log_likelihood: a.log_likelihood + b.log_likelihood,
        })
    }
}

impl Report {
    /// Log-likelihood of all observations, summed over windows.
    #[must_use]
    pub fn log_likelihood(&self) -> f64 {
        self.instruments.iter().filter_map(InstrumentReport::total).map(|total| total.log_likelihood).sum()
    }
}

impl Report {
    /// What gave nothing: whole inputs, and single dates.
    fn write_empty(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for UnusedInput { instrument, band, reason } in &self.unused {
            let band = band.as_ref().map_or_else(String::new, |band| format!(", band {band:?},"));
            writeln!(f, "warning: not one value of {instrument}{band} was used: {reason}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "warning: {note}"))?;
        for InstrumentReport { name, dates, empty } in self.instruments.iter().filter(|one| !one.empty.is_empty()) {
            let shown: Vec<String> = empty.iter().take(LISTED).map(Date::to_string).collect();
            let more = if empty.len() > LISTED { ", ..." } else { "" };
            writeln!(
                f,
                "empty: {} of {} dates of {name} had nothing left (missing, masked or out of range): {}{more}",
                empty.len(),
                empty.len() + dates.len(),
                shown.join(", ")
            )?;
        }
        Ok(())
    }

    /// Pixels that bands together could not use.
    fn write_incomplete(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for instrument in &self.instruments {
            let Some(total) = instrument.total().filter(|total| total.incomplete > 0) else { continue };
            let all = total.pixels + total.incomplete;
            writeln!(
                f,
                "bands together: {} of {all} pixels of {} lack a band of their group and were not used",
                total.incomplete, instrument.name
            )?;
            if total.incomplete as f64 > SUSPICIOUS_SHARE * all as f64 {
                writeln!(
                    f,
                    "warning: bands of {} are often missing one without the others: leave out the band that lacks most, or give \
                     process.bands = \"apart\", noise and other variances in u²",
                    instrument.name
                )?;
            }
        }
        Ok(())
    }
}

/// Largest number of skipped slices and failed windows in the text. The report and the store hold all of them.
const LISTED: usize = 10;

fn more(f: &mut fmt::Formatter<'_>, count: usize, what: &str) -> fmt::Result {
    if count > LISTED { writeln!(f, "... {count} {what} in all") } else { Ok(()) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:>6} {:>10} {:>8} {:>12} {:>8} {:>16}   worst date",
            "instrument", "dates", "pixels", "refused", "values", "nis/dof", "log-likelihood"
        )?;
        for instrument in &self.instruments {
            let total = instrument.total();
            let (pixels, refused) = total.map_or((0, 0), |total| (total.pixels, total.refused));
            write!(f, "{:<16} {:>6} {pixels:>10} {refused:>8}", instrument.name, instrument.dates.len())?;
            match (total, instrument.worst()) {
                (Some(total), Some(worst)) => writeln!(
                    f,
                    " {:>12} {:>8.3} {:>16.1}   {} ({:.3})",
                    total.values,
                    total.nis_ratio(),
                    total.log_likelihood,
                    worst.date,
                    worst.nis_ratio()
                )?,
                _ => writeln!(f, " {:>12}", 0)?,
            }
        }
        self.write_empty(f)?;
        advice::write(f, &self.instruments)?;
        for instrument in &self.instruments {
            let (Some(total), Some(most)) =
                (instrument.total(), instrument.dates.iter().max_by_key(|date| date.refused))
            else {
                continue;
            };
            if total.refused > 0 {
                writeln!(
                    f,
                    "gate: {} refused {} of {} pixels, most on {} ({} of {})",
                    instrument.name, total.refused, total.pixels, most.date, most.refused, most.pixels
                )?;
            }
            if total.refused as f64 > SUSPICIOUS_SHARE * total.pixels as f64 {
                writeln!(
                    f,
                    "warning: {} lost more than a fifth of its pixels to its gate: check its scale, offset and unit, noise_variance and \
                     the prior, and run without the gate to see how far off it is",
                    instrument.name
                )?;
            }
        }
        self.write_incomplete(f)?;
        if self.widened_windows > 0 {
            writeln!(
                f,
                "{} of {} windows continued in float64: float32 lacks the precision for their variances and noise",
                self.widened_windows, self.windows
            )?;
        }
        for SkippedSlice { instrument, date, tiles, reason } in self.skipped.iter().take(LISTED) {
            writeln!(f, "skipped: {instrument} on {date} in {tiles} tiles: {reason}")?;
        }
        more(f, self.skipped.len(), "skipped slices")?;
        let (what, all) =
            if self.windows == 0 { ("cell", "failed cells") } else { ("window at cells", "failed windows") };
        for FailedWindow { row, col, date, reason } in self.failed_windows.iter().take(LISTED) {
            writeln!(f, "failed: {what} [{row}, {col}], NaN from {date} on: {reason}")?;
        }
        more(f, self.failed_windows.len(), all)?;
        if let Some(scores) = &self.scores {
            writeln!(f, "{scores}")?;
        }
        let Timing { setup, read, filter, write, checkpoint, wait_read, wait_write } = self.timing;
        if self.windows > 0 {
            write!(f, "{} windows, ", self.windows)?;
        }
        write!(f, "{} blocks; ", self.blocks)?;
        let times =
            [("setup", setup), ("read", read), ("filter", filter), ("write", write), ("checkpoint", checkpoint)];
        for (name, time) in times.into_iter().filter(|(name, time)| *name != "checkpoint" || !time.is_zero()) {
            write!(f, "{name} {:.2} s, ", time.as_secs_f64())?;
        }
        let (wait_read, wait_write) = (wait_read.as_secs_f64(), wait_write.as_secs_f64());
        write!(f, "waited {wait_read:.2} s for reading, {wait_write:.2} s for writing")
    }
}
