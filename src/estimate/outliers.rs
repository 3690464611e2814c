//! What masks missed: gates, and variances that outliers have widened.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::Estimation;
use super::check::{LEAST_DATES, SelfCheck};
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
const FOLLOW: u8 = 5;

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

/// The factor of all variances with which 90 % intervals hold a share of the values; at most 1.
fn scale<'a>(errors: impl Iterator<Item = &'a (f64, f64)>, held: f64) -> f64 {
    let mut needed: Vec<f64> = errors.map(|(square, variance)| square / variance).collect();
    let at = (held * needed.len() as f64) as usize;
    if at >= needed.len() {
        return 1.0;
    }
    let (_, needed, _) = needed.select_nth_unstable_by(at, f64::total_cmp);
    let factor = *needed / HALF_WIDTH_90.powi(2);
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

    /// Those with which intervals of withheld dates and of gaps hold enough. What is unknown of a whole date is change of
    /// all ranges; what is unknown of a gap is what is left within short ranges.
    fn new(tried: &Tried, process: &Process) -> Self {
        let dates = tried.scale();
        let gaps = if tried.gaps.is_empty() { dates } else { scale(tried.gaps.values().flatten(), HELD[1]) };
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

/// Squared errors and variances by instrument and band.
type Errors = BTreeMap<(usize, usize), Vec<(f64, f64)>>;

/// Values that were withheld, as they are predicted with a gate.
struct Tried {
    /// Of whole dates, with the variances of the description.
    dates: Errors,
    /// Of gaps; empty where the blocks have no scattered cells.
    gaps: Errors,
    /// Predictions that failed, which are in no score.
    missing: u64,
}

impl Tried {
    /// The factor of all variances with which intervals of withheld dates hold enough.
    fn scale(&self) -> f64 {
        scale(self.dates.values().flatten(), HELD[0])
    }

    /// By which share the CRPS of withheld dates is smaller than others', each with all variances multiplied: the mean of
    /// instruments and bands, which may have different units.
    fn gain(&self, factor: f64, other: &Self, of_other: f64) -> f64 {
        let both = self.dates.iter().filter_map(|(of, errors)| Some((errors, other.dates.get(of)?)));
        let ratios: Vec<f64> = both.map(|(new, old)| crps(new, factor) / crps(old, of_other)).collect();
        1.0 - ratios.iter().sum::<f64>() / ratios.len() as f64
    }
}

impl Estimation {
    /// The description with variances multiplied, and with gates for cell-sized instruments that have none, whose
    /// threshold is a multiple of that of [`GATE`] under the variances of the description. Nothing where no instrument
    /// can have such a gate.
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
        let checks = self.self_check(description)?;
        let together = is_together(description);
        let Some(process) = description.process.given() else { return Ok((checks, None)) };
        if checks.iter().all(|check| check.dates < LEAST_DATES) {
            return Ok((checks, None));
        }
        let plain = self.tried(description, 1.0)?;
        let mut best: Option<(Tried, f64)> = None;
        for share in SHARES {
            // With variances as small, so that every threshold is that of the same quantile.
            let factor = if together { share } else { 1.0 };
            let Some((gated, _)) = self.gated(description, share, Factors::all(factor)) else { break };
            let tried = self.tried(&gated, factor)?;
            let known = best.as_ref().map_or(&plain, |(tried, _)| tried);
            let scale = |tried: &Tried| if together { tried.scale() } else { 1.0 };
            let better = tried.gain(scale(&tried), known, scale(known)) > 0.0;
            if tried.missing > plain.missing || !better {
                break;
            }
            best = Some((tried, share));
        }
        let Some((tried, share)) = best else { return Ok((checks, None)) };
        let factors = if together { Factors::new(&tried, process) } else { Factors::all(1.0) };
        let Some((gated, gate)) = self.gated(description, share, factors) else { return Ok((checks, None)) };
        let with = self.tried(&gated, 1.0)?;
        let gain = with.gain(1.0, &plain, 1.0);
        let kept = gain > WORTH && with.missing <= plain.missing;
        let trial = Some(GateTrial { gate, scale: factors.total(process), gain, kept });
        if !kept {
            return Ok((checks, trial));
        }
        *description = gated;
        Ok((self.self_check(description)?, trial))
    }

    /// Predicts what is withheld under a description whose variances were multiplied.
    fn tried(&self, description: &Description, multiplied: f64) -> Result<Tried> {
        let mut tried = Tried { dates: Errors::new(), gaps: Errors::new(), missing: 0 };
        // Without scattered cells a gap is a whole date.
        let gaps = self.sample.cells().scattered > 0;
        for gap in [false, true].into_iter().filter(|gap| !gap || gaps) {
            for (k, of) in self.withhold(description, gap)?.iter().enumerate() {
                tried.missing += of.check().score.missing;
                let errors = if gap { &mut tried.gaps } else { &mut tried.dates };
                for (band, known) in &of.errors {
                    let plain = known.iter().map(|(square, variance)| (*square, variance / multiplied));
                    errors.entry((k, *band)).or_default().extend(plain);
                }
            }
        }
        Ok(tried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::{Kernel, NestedKernel};

    #[test]
    fn variances_shrink_as_far_as_intervals_still_hold() {
        // Of twenty squares nineteen are 1.3: within the interval as long as the variance is above 1.3 / 2.7055.
        let mixed = |small: f64| (0..100).map(|k| (if k % 20 == 0 { 1e6 } else { small }, 1.0)).collect::<Vec<_>>();
        assert!((scale(mixed(1.3).iter(), 0.9) - 1.3 / 2.705_543).abs() < 1e-6);
        assert!((scale(mixed(0.1).iter(), 0.9) - 0.1 / 2.705_543).abs() < 1e-6);
        // Too narrow already; more outliers than intervals may leave out; nothing known.
        assert_eq!(
            (scale(mixed(3.0).iter(), 0.9), scale(mixed(0.1).iter(), 0.96), scale([].iter(), 0.9)),
            (1.0, 1.0, 1.0)
        );
    }

    #[test]
    fn bands_count_alike_whatever_their_units() {
        let of = |first: f64, second: f64| Tried {
            dates: Errors::from([((0, 0), vec![(first, 1.0); 9]), ((0, 1), vec![(1e6 * second, 1e6); 3])]),
            gaps: Errors::new(),
            missing: 0,
        };
        // Without errors the CRPS is smaller than with those of a standard deviation by as much in each band.
        let (one, other) = (of(0.0, 1.0).gain(1.0, &of(1.0, 1.0), 1.0), of(1.0, 0.0).gain(1.0, &of(1.0, 1.0), 1.0));
        assert!(one > 0.1 && (one - other).abs() < 1e-12, "{one} {other}");
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
        // Squares of 0.9 in intervals of variance 2.7055: dates need a third of it, gaps all.
        let all = |square: f64| vec![(square, 1.0); 100];
        let of = |square: f64| Errors::from([((0, 0), all(square))]);
        let errors = Tried { dates: of(2.705_543 / 3.0), gaps: of(2.705_543), missing: 0 };
        for process in [&long_last, &long_first] {
            let factors = Factors::new(&errors, process);
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
        let one = Factors::new(&errors, &process((300.0, 1e-4), None));
        assert!((one.long - 1.0).abs() < 1e-6 && one.short == one.long);
    }
}
