//! What masks missed: gates, and variances that outliers have widened.

use std::fmt;

use serde::Serialize;
use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::Estimation;
use super::check::{LEAST_DATES, SelfCheck, Withheld};
use super::together::is_together;
use crate::describe::{Description, Number, Numbers, Process, Quantity};
use crate::error::Result;
use crate::model::LEAST_GATE;
use crate::series::{HALF_WIDTH_90, gaussian_crps};

/// The quantile whose threshold is tried first.
const GATE: f64 = 0.999;

/// Shares of that threshold that are tried, one after the other as long as withheld dates are predicted better.
const SHARES: [f64; 4] = [1.0, 0.5, 0.25, 0.125];

/// Refusals in a row after which a pixel passes: a change that lasts must not be refused for good.
const FOLLOW: u32 = 5;

/// Share of the values of withheld dates, and of withheld gaps, that 90 % intervals still hold with smaller variances. The
/// check of dates is optimistic, because numbers were fitted to them; values of gaps in hazy dates are hazy themselves.
const HELD: [f64; 2] = [0.9, 0.87];

/// How much smaller the factor of the longest range is at most than that of the others.
const LEAST_LONG: f64 = 0.1;

/// By which share the score must be better.
const WORTH: f64 = 0.005;

/// Gates of cell-sized instruments that have none and smaller variances, tried on withheld dates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GateTrial {
    /// The quantile.
    pub gate: f64,
    /// What all variances are multiplied by.
    pub scale: f64,
    /// By which share the CRPS of withheld values is smaller with both.
    pub gain: f64,
    /// Whether the description has them.
    pub kept: bool,
}

impl fmt::Display for GateTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, scale, gain, kept } = self;
        let what = if *kept { "written" } else { "left out" };
        write!(
            f,
            "gate = {gate} and variances times {scale:.2} change the CRPS of withheld values by {:+.1} %: {what}",
            -100.0 * gain
        )
    }
}

/// The factor of all variances with which 90 % intervals hold a share of the values, whose squared errors are given in
/// variances; at most 1.
fn scale(squares: impl Iterator<Item = f64>, held: f64) -> f64 {
    let mut squares: Vec<f64> = squares.collect();
    let at = (held * squares.len() as f64) as usize;
    if at >= squares.len() {
        return 1.0;
    }
    let (_, square, _) = squares.select_nth_unstable_by(at, f64::total_cmp);
    let factor = *square / HALF_WIDTH_90.powi(2);
    if factor > 0.0 { factor.min(1.0) } else { 1.0 }
}

/// Mean CRPS of values with all variances multiplied, in u.
fn crps(errors: &[(f64, f64)], factor: f64) -> f64 {
    let of = |(square, variance): &(f64, f64)| gaussian_crps(square.sqrt(), (factor * variance).sqrt());
    errors.iter().map(of).sum::<f64>() / errors.len() as f64
}

/// Factors of variances of bands together.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Factors {
    /// Of the component of change with the longest range, where there are several: haze is over all cells.
    long: f64,
    /// Of all other change, and of noise.
    short: f64,
}

impl Factors {
    /// The same for all.
    fn all(factor: f64) -> Self {
        Self { long: factor, short: factor }
    }

    /// Those with which intervals hold enough, where `dates` is the factor that withheld dates need and `gaps` that of
    /// gaps, if any was tried. What is unknown of a whole date is change of all ranges; what is unknown of a gap is what is
    /// left within short ranges.
    fn new(dates: f64, gaps: Option<f64>, process: &Process) -> Self {
        let gaps = gaps.unwrap_or(dates);
        let Some((_, ratio)) = longest(process).filter(|_| gaps > dates) else {
            return Self::all(dates.max(gaps));
        };
        let long = (dates * (1.0 + ratio) - gaps) / ratio;
        Self { long: long.clamp(LEAST_LONG * gaps, gaps), short: gaps }
    }

    /// Of all change of a date.
    fn total(self, process: &Process) -> f64 {
        let ratio = longest(process).map_or(0.0, |(_, ratio)| ratio);
        (self.short + ratio * self.long) / (1.0 + ratio)
    }
}

/// Of a process with nested kernels the position of that with the longest range among them, nothing for the first
/// kernel, and the ratio of its variance to that of all others.
fn longest(process: &Process) -> Option<(Option<usize>, f64)> {
    let first = |numbers: &Numbers| {
        let number = match numbers {
            Numbers::Same(number) | Numbers::Ratio(number) => Some(number),
            Numbers::Each(numbers) => numbers.first(),
        };
        number.and_then(|number| if let Number::Fixed(value) = number { Some(*value) } else { None })
    };
    let range = |range: &Option<Numbers>| range.as_ref().and_then(first).unwrap_or(0.0);
    let ranges: Vec<f64> =
        std::iter::once(&process.range).chain(process.nested.iter().map(|of| &of.range)).map(range).collect();
    let ratios = process.nested.iter().map(|nested| first(&nested.variance).filter(|_| nested.variance.is_ratio()));
    let ratios: Vec<f64> = std::iter::once(Some(1.0)).chain(ratios).collect::<Option<_>>()?;
    let at = (0..ranges.len()).max_by(|&a, &b| ranges[a].total_cmp(&ranges[b]))?;
    let others: f64 = ratios.iter().sum::<f64>() - ratios[at];
    (others > 0.0).then(|| (at.checked_sub(1), ratios[at] / others))
}

/// Multiplies the numbers that are given.
fn multiply(numbers: &mut [Number], factor: f64) {
    for number in numbers {
        if let Number::Fixed(value) = number {
            *value *= factor;
        }
    }
}

/// Multiplies the variances of bands together, and says with what all other ratios are to be multiplied, which are ratios
/// to the variance of the first kernel.
fn scale_process(process: &mut Process, Factors { long, short }: Factors) -> f64 {
    match longest(process).map(|(nested, _)| nested) {
        Some(None) => {
            multiply(process.variance.written(), long);
            process.nested.iter_mut().for_each(|nested| multiply(nested.variance.written(), short / long));
            short / long
        }
        Some(Some(nested)) => {
            multiply(process.variance.written(), short);
            multiply(process.nested[nested].variance.written(), long / short);
            1.0
        }
        None => {
            multiply(process.variance.written(), short);
            1.0
        }
    }
}

/// The description with variances multiplied.
fn scaled(description: &Description, factors: Factors) -> Description {
    let mut scaled = description.clone();
    let Some(process) = scaled.process.given_mut() else { return scaled };
    let of_noise = scale_process(process, factors);
    scaled.visit(&mut |_, quantity, mut place| {
        if quantity.is_ratio() && quantity != Quantity::FarRatio {
            multiply(place.written(), of_noise);
        }
    });
    scaled
}

/// The quantile whose threshold is a multiple of that of [`GATE`], for pixels of some values; the least that a gate may
/// have where it is smaller.
fn quantile(multiple: f64, values: usize) -> Option<f64> {
    let of = ChiSquared::new(values as f64).ok()?;
    let beyond = of.sf(multiple * of.inverse_cdf(GATE)).max(1e-6);
    // Two digits of the share of good pixels that are refused.
    let unit = 10f64.powf(beyond.log10().floor() - 1.0);
    let quantile = 1.0 - (beyond / unit).round() * unit;
    Some(((1e8 * quantile).round() / 1e8).max(LEAST_GATE))
}

/// Withheld values, as they are predicted under a description whose variances were multiplied.
struct Tried {
    withheld: Vec<Withheld>,
    multiplied: f64,
}

impl Tried {
    fn checks(&self) -> Vec<SelfCheck> {
        self.withheld.iter().map(Withheld::check).collect()
    }

    /// Predictions that failed, which are in no score.
    fn missing(&self) -> u64 {
        self.withheld.iter().map(|of| of.check().score.missing).sum()
    }

    /// The factor of all variances, not multiplied, with which intervals hold a share of the values.
    fn scale(&self, held: f64) -> f64 {
        let errors = self.withheld.iter().flat_map(|of| of.errors.values().flatten());
        scale(errors.map(|(square, variance)| square * self.multiplied / variance), held)
    }

    /// By which share the CRPS is smaller than another, each with all its variances, not multiplied, times a factor: the
    /// mean of instruments and bands, which may have different units.
    fn gain(&self, factor: f64, other: &Self, of_other: f64) -> f64 {
        let both = self.withheld.iter().zip(&other.withheld);
        let both =
            both.flat_map(|(new, old)| new.errors.iter().filter_map(|(band, new)| Some((new, old.errors.get(band)?))));
        let ratio = |(new, old): (&Vec<_>, &Vec<_>)| {
            crps(new, factor / self.multiplied) / crps(old, of_other / other.multiplied)
        };
        let ratios: Vec<f64> = both.map(ratio).collect();
        1.0 - ratios.iter().sum::<f64>() / ratios.len() as f64
    }
}

impl Estimation {
    /// The description with variances multiplied, and with gates for cell-sized instruments that have none, whose
    /// threshold is a multiple of that of [`GATE`] under the variances of the description, and that gate. Nothing where all
    /// such instruments have gates or heavy tails.
    fn gated(&self, description: &Description, share: f64, factors: Factors) -> Option<(Description, f64)> {
        let total = factors.total(description.process.given()?);
        let (mut gated, mut gate) = (scaled(description, factors), None);
        for (instrument, summary) in gated.instrument.iter_mut().zip(&self.summary().instruments) {
            if summary.observes_cells && instrument.gate.is_none() && instrument.robust.is_none() {
                instrument.gate = quantile(share / total, summary.bands.len());
                instrument.follow = instrument.follow.or(Some(FOLLOW));
                gate = gate.or(instrument.gate);
            }
        }
        gate.map(|gate| (gated, gate))
    }

    /// Gives cell-sized instruments gates, and smaller variances to a description of bands together, where withheld dates
    /// are predicted better so: haze and clouds that masks miss widen the variance of change, are taken for change then,
    /// and spoil the dates next to them. Returns the checks of what is kept.
    ///
    /// What a gate lets pass depends on the ratio of its threshold and the variances, how wide intervals are on the
    /// variances alone. So the threshold is chosen first, by the CRPS with the variances that intervals need.
    ///
    /// # Errors
    /// Those of the description.
    pub(super) fn try_gates(&self, description: &mut Description) -> Result<(Vec<SelfCheck>, Option<GateTrial>)> {
        let together = is_together(description);
        let plain = self.tried(description, 1.0)?;
        let checks = plain.checks();
        let Some(process) = description.process.given() else { return Ok((checks, None)) };
        if checks.iter().all(|check| check.dates < LEAST_DATES) {
            return Ok((checks, None));
        }
        let scale = |tried: &Tried| if together { tried.scale(HELD[0]) } else { 1.0 };
        let mut left_out = None;
        let mut best: Option<(Tried, f64, Description)> = None;
        for share in SHARES {
            // With variances as small, so that every threshold is that of the same quantile.
            let factor = if together { share } else { 1.0 };
            let Some((gated, gate)) = self.gated(description, share, Factors::all(factor)) else { break };
            let tried = self.tried(&gated, factor)?;
            let gain = tried.gain(1.0, &plain, 1.0);
            left_out = left_out.or(Some(GateTrial { gate, scale: 1.0, gain, kept: false }));
            let known = best.as_ref().map_or(&plain, |(tried, ..)| tried);
            if tried.missing() > plain.missing() || tried.gain(scale(&tried), known, scale(known)) <= 0.0 {
                break;
            }
            best = Some((tried, share, gated));
        }
        let Some((tried, share, gated)) = best else { return Ok((checks, left_out)) };
        let factors = if together {
            // Without scattered cells a gap is a whole date.
            let gaps = (self.sample.cells().scattered > 0).then(|| self.withhold(&gated, true)).transpose()?;
            let gaps = gaps.map(|withheld| Tried { withheld, ..tried }.scale(HELD[1]));
            Factors::new(scale(&tried), gaps, process)
        } else {
            Factors::all(1.0)
        };
        let Some((gated, gate)) = self.gated(description, share, factors) else { return Ok((checks, None)) };
        let with = self.tried(&gated, 1.0)?;
        let gain = with.gain(1.0, &plain, 1.0);
        let kept = gain > WORTH && with.missing() <= plain.missing();
        let trial = GateTrial { gate, scale: factors.total(process), gain, kept };
        if kept {
            *description = gated;
        }
        Ok((if kept { with.checks() } else { checks }, Some(trial)))
    }

    /// Predicts withheld dates under a description whose variances were multiplied.
    fn tried(&self, description: &Description, multiplied: f64) -> Result<Tried> {
        Ok(Tried { withheld: self.withhold(description, false)?, multiplied })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::{Kernel, NestedKernel};

    #[test]
    fn variances_shrink_as_far_as_intervals_still_hold() {
        // Of twenty squares nineteen are 1.3: within the interval as long as the variance is above 1.3 / 2.7055.
        let mixed = |small: f64| (0..100).map(move |k| if k % 20 == 0 { 1e6 } else { small });
        assert!((scale(mixed(1.3), 0.9) - 1.3 / 2.705_543).abs() < 1e-6);
        assert!((scale(mixed(0.1), 0.9) - 0.1 / 2.705_543).abs() < 1e-6);
        // Too narrow already; more outliers than intervals may leave out; nothing known.
        assert_eq!((scale(mixed(3.0), 0.9), scale(mixed(0.1), 0.96), scale([].into_iter(), 0.9)), (1.0, 1.0, 1.0));
    }

    /// Withheld values of two bands, of units that differ by a thousand.
    fn tried(first: f64, second: f64, multiplied: f64) -> Tried {
        let mut of = Withheld::default();
        of.errors.insert(0, vec![(first, multiplied); 9]);
        of.errors.insert(1, vec![(1e6 * second, 1e6 * multiplied); 3]);
        Tried { withheld: vec![of], multiplied }
    }

    #[test]
    fn bands_count_alike_whatever_their_units() {
        let known = tried(1.0, 1.0, 1.0);
        // Without errors the CRPS is smaller than with those of a standard deviation by as much in each band.
        let (one, other) = (tried(0.0, 1.0, 1.0).gain(1.0, &known, 1.0), tried(1.0, 0.0, 1.0).gain(1.0, &known, 1.0));
        assert!(one > 0.1 && (one - other).abs() < 1e-12, "{one} {other}");
        // Variances that were multiplied are compared as if they were not.
        let multiplied = tried(0.0, 1.0, 0.25);
        assert!((multiplied.gain(1.0, &known, 1.0) - one).abs() < 1e-12);
        assert!((multiplied.scale(0.9) - tried(0.0, 1.0, 1.0).scale(0.9)).abs() < 1e-12);
    }

    #[test]
    fn quantiles_are_those_of_the_thresholds() {
        // Abramowitz & Stegun, Handbook of Mathematical Functions, table 26.8: 10.828 and, of four values, 18.467.
        assert_eq!(quantile(1.0, 1), Some(0.999));
        assert_eq!(quantile(9.488 / 18.467, 4), Some(0.95));
        assert_eq!(quantile(0.1, 4), Some(LEAST_GATE));
        assert_eq!(quantile(100.0, 4), Some(0.999_999));
    }

    /// A process of a kernel and one more, each with its range and variance, the second relative to the first.
    fn process(first: (f64, f64), second: Option<(f64, f64)>) -> Process {
        let kernel = Kernel::Exponential;
        let nested = second.map(|(range, ratio)| {
            let (range, variance) = (Some(range.into()), Numbers::ratio(ratio));
            NestedKernel { kernel, range, variance, nugget: 0.0.into() }
        });
        Process { nested: nested.into_iter().collect(), ..Process::new(kernel, first.0, first.1) }
    }

    #[test]
    fn haze_is_change_of_the_longest_range() {
        let long_last = process((300.0, 1e-4), Some((7000.0, 8.0)));
        let long_first = process((7000.0, 8e-4), Some((300.0, 0.125)));
        assert_eq!(longest(&long_last), Some((Some(0), 8.0)));
        assert_eq!(longest(&long_first), Some((None, 8.0)));
        assert_eq!(longest(&process((300.0, 1e-4), None)), None);
        // Dates need a third of the variance, gaps all.
        for process in [&long_last, &long_first] {
            let factors = Factors::new(1.0 / 3.0, Some(1.0), process);
            assert!((factors.short - 1.0).abs() < 1e-6 && (factors.long - 0.25).abs() < 1e-6, "{factors:?}");
            assert!((factors.total(process) - 1.0 / 3.0).abs() < 1e-6);
            let mut scaled = process.clone();
            let of_noise = scale_process(&mut scaled, factors);
            // Noise stays in the scale of short ranges.
            let noise = |process: &Process| process.variance.fixed().unwrap()[0];
            assert!((noise(&scaled) * of_noise / noise(process) - 1.0).abs() < 1e-6);
            let variances = |process: &Process| {
                let first = process.variance.fixed().unwrap()[0];
                let Numbers::Ratio(Number::Fixed(ratio)) = process.nested[0].variance else { panic!("no ratio") };
                let mut both = [first, first * ratio];
                both.sort_by(f64::total_cmp);
                both
            };
            let ([short, long], [before, _]) = (variances(&scaled), variances(process));
            assert!((short / before - 1.0).abs() < 1e-6 && (long / before - 2.0).abs() < 1e-5, "{short} {long}");
        }
        // One range: what both need.
        let one = Factors::new(1.0 / 3.0, Some(1.0), &process((300.0, 1e-4), None));
        assert!((one.long - 1.0).abs() < 1e-6 && one.short == one.long);
    }
}
