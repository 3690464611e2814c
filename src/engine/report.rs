use std::fmt;
use std::time::Duration;

use super::window::PixelCount;
use crate::filter::Innovation;
use crate::geometry::Date;

/// Ratio of normalised innovation squared to its degrees of freedom beyond which something other than tuning is wrong.
const SUSPICIOUS_RATIO: f64 = 20.0;

/// Share of an instrument's pixels refused by its gate beyond which something other than clouds is wrong.
const SUSPICIOUS_SHARE: f64 = 0.2;

/// What a run did and how well the observations fitted.
///
/// Windows overlap by their halos, so a pixel counts once in every window that uses it: sums over windows form a composite
/// likelihood, good for comparing settings of the same windows. They do not depend on tiles or threads.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// One entry per instrument.
    pub instruments: Vec<InstrumentReport>,
    /// Windows filtered.
    pub windows: usize,
    /// Windows that were carried on in float64 because float32 would have lost their digits.
    pub widened_windows: usize,
    /// Blocks (tile × date) put out.
    pub blocks: usize,
    /// Where the time went.
    pub timing: Timing,
}

/// Fit of one instrument, date by date.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct InstrumentReport {
    /// Its name.
    pub name: String,
    /// Dates on which any window saw a value of it.
    pub dates: Vec<DateDiagnostics>,
}

/// Fit of one instrument on one date, summed over windows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DateDiagnostics {
    /// The date.
    pub date: Date,
    /// Pixels on the target grid that held a value, each counted once.
    pub pixels: u64,
    /// Of them, pixels that the instrument's gate refused; judged by the window that holds the pixel's centre.
    pub refused: u64,
    /// Scalar values used.
    pub values: u64,
    /// Degrees of freedom of `nis`.
    pub dof: u64,
    /// Normalised innovation squared; near `dof` when the model is right.
    pub nis: f64,
    /// Log-likelihood, all constants included.
    pub log_likelihood: f64,
}

/// Wall time by activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// Building window supports and initial states.
    pub setup: Duration,
    /// Reading slices.
    pub read: Duration,
    /// Filtering.
    pub filter: Duration,
    /// Writing blocks.
    pub write: Duration,
}

impl DateDiagnostics {
    /// Normalised innovation squared over its degrees of freedom: near 1 when the model is right, above when the intervals
    /// are too narrow, below when too wide. NaN when every pixel was refused.
    #[must_use]
    pub fn nis_ratio(&self) -> f64 {
        self.nis / self.dof as f64
    }
}

impl InstrumentReport {
    /// The date that fits worst: the one with the largest [`DateDiagnostics::nis_ratio`] of those with values used.
    #[must_use]
    pub fn worst(&self) -> Option<&DateDiagnostics> {
        self.dates.iter().filter(|date| date.dof > 0).max_by(|a, b| a.nis_ratio().total_cmp(&b.nis_ratio()))
    }

    /// Sum over the dates; its `date` is the last one. `None` when no value of the instrument was seen.
    #[must_use]
    pub fn total(&self) -> Option<DateDiagnostics> {
        self.dates.iter().copied().reduce(|a, b| DateDiagnostics {
            date: b.date,
            pixels: a.pixels + b.pixels,
            refused: a.refused + b.refused,
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
        for instrument in &self.instruments {
            if let Some(total) = instrument.total().filter(|total| total.nis_ratio() > SUSPICIOUS_RATIO) {
                writeln!(
                    f,
                    "warning: {} lies far from what the model expects (nis/dof {:.0}): check its scale, offset and unit, unmasked \
                     clouds, and noise_variance",
                    instrument.name,
                    total.nis_ratio()
                )?;
            }
        }
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
                     the prior, and run without the gate to see how far it lies off",
                    instrument.name
                )?;
            }
        }
        if self.widened_windows > 0 {
            writeln!(
                f,
                "{} of {} windows were carried on in float64: float32 has not digits enough for their variances and noise",
                self.widened_windows, self.windows
            )?;
        }
        let Timing { setup, read, filter, write } = self.timing;
        write!(
            f,
            "{} windows, {} blocks; setup {:.2} s, read {:.2} s, filter {:.2} s, write {:.2} s",
            self.windows,
            self.blocks,
            setup.as_secs_f64(),
            read.as_secs_f64(),
            filter.as_secs_f64(),
            write.as_secs_f64()
        )
    }
}

/// A sum that does not depend on the order of its terms: fixed point with 2⁻⁴⁰ resolution, exact addition.
///
/// Tiles and threads decide in which order windows finish; the report must not.
#[derive(Clone, Copy, Debug)]
struct OrderFreeSum(Option<i128>);

impl Default for OrderFreeSum {
    fn default() -> Self {
        Self(Some(0))
    }
}

impl OrderFreeSum {
    const SCALE: f64 = (1_u64 << 40) as f64;
    const LARGEST: f64 = 1e37;

    fn add(&mut self, value: f64) {
        let term = (value * Self::SCALE).round();
        // A term that is no number, or beyond any sum's range, spoils the sum for good instead of passing for zero.
        let fits = term.abs() < Self::LARGEST;
        self.0 = self.0.filter(|_| fits).and_then(|sum| sum.checked_add(term as i128));
    }

    fn value(self) -> f64 {
        self.0.map_or(f64::NAN, |sum| sum as f64 / Self::SCALE)
    }
}

/// Sums of one instrument on one date while windows report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FitSums {
    pixels: u64,
    refused: u64,
    values: u64,
    dof: u64,
    nis: OrderFreeSum,
    log_likelihood: OrderFreeSum,
}

impl FitSums {
    pub(super) fn add(&mut self, innovation: &Innovation) {
        self.values += innovation.values as u64;
        self.dof += innovation.dof as u64;
        self.nis.add(innovation.nis);
        self.log_likelihood.add(innovation.log_likelihood);
    }

    pub(super) fn count(&mut self, count: &PixelCount) {
        self.pixels += count.seen;
        self.refused += count.refused;
    }

    /// `None` when no window saw anything.
    pub(super) fn diagnostics(&self, date: Date) -> Option<DateDiagnostics> {
        (self.values > 0 || self.pixels > 0).then(|| DateDiagnostics {
            date,
            pixels: self.pixels,
            refused: self.refused,
            values: self.values,
            dof: self.dof,
            nis: self.nis.value(),
            log_likelihood: self.log_likelihood.value(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_order() {
        let terms: Vec<f64> = (0..1000).map(|k| (f64::from(k) * 0.7).sin() * 10.0_f64.powi(k % 12)).collect();
        let (mut forward, mut backward) = (OrderFreeSum::default(), OrderFreeSum::default());
        terms.iter().for_each(|t| forward.add(*t));
        terms.iter().rev().for_each(|t| backward.add(*t));
        assert_eq!(forward.value().to_bits(), backward.value().to_bits());
        backward.add(f64::NAN);
        assert!(backward.value().is_nan());
        assert!((forward.value() - terms.iter().sum::<f64>()).abs() < 1e-3);
    }
}
