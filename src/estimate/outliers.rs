//! What masks missed: gates, and variances that outliers have widened.

use std::fmt;

use serde::Serialize;

use super::Estimation;
use super::check::{LEAST_DATES, SelfCheck, Withheld};
use super::together::is_together;
use crate::describe::{Description, Number};
use crate::error::Result;
use crate::series::HALF_WIDTH_90;

/// The quantile of a gate that is tried.
const GATE: f64 = 0.999;

/// Squared errors in predicted variances beyond which a value counts no more: the gate of one value.
const LARGEST: f64 = 10.83;

/// Factors of all variances that are tried, the largest first.
const SCALES: [f64; 6] = [1.0, 0.85, 0.7, 0.6, 0.5, 0.4];

/// Share of withheld values that 90 % intervals still hold with smaller variances: the check is optimistic, because
/// numbers were fitted to the same dates.
const HELD: f64 = 0.92;

/// By how much the score of a value must be better.
const WORTH: f64 = 0.01;

/// Gates of cell-sized instruments that have none and smaller variances, tried on withheld dates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GateTrial {
    /// The quantile.
    pub gate: f64,
    /// What all variances are multiplied by.
    pub scale: f64,
    /// By how much the robust score of withheld dates is larger with them, per value.
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
            "gate = {gate} and variances times {scale} change the robust score of withheld values by {gain:+.3}: {what}"
        )
    }
}

/// The mean over values of `-(ln S + min(e² / S, c)) / 2`, with the predicted variance S times a factor: a log score in
/// which a value beyond the gate costs no more than one at it. As in a likelihood of truncated errors, values that masks
/// should have taken do not decide how wide intervals are for all others.
fn robust_score(withheld: &[Withheld], factor: f64) -> f64 {
    let errors = || withheld.iter().flat_map(|of| &of.errors);
    let score = |(square, variance): &(f64, f64)| {
        let variance = factor * variance;
        -0.5 * (variance.ln() + (square / variance).min(LARGEST))
    };
    errors().map(score).sum::<f64>() / errors().count() as f64
}

/// The smallest factor of all variances with which 90 % intervals still hold enough of the values.
fn scale(withheld: &[Withheld]) -> f64 {
    let errors = || withheld.iter().flat_map(|of| &of.errors);
    let holds = |factor: f64| {
        let inside = errors().filter(|(square, variance)| square <= &(HALF_WIDTH_90.powi(2) * factor * variance));
        inside.count() as f64 >= HELD * errors().count() as f64
    };
    SCALES.into_iter().take_while(|&factor| holds(factor)).last().unwrap_or(1.0)
}

/// The description with all variances multiplied: those of bands together are ratios of the process variance.
fn scaled(description: &Description, factor: f64) -> Description {
    let mut scaled = description.clone();
    if let Some(process) = scaled.process.given_mut() {
        for number in process.variance.written() {
            if let Number::Fixed(value) = number {
                *value *= factor;
            }
        }
    }
    scaled
}

impl Estimation {
    /// Gives cell-sized instruments gates, and smaller variances to a description of bands together, where withheld dates
    /// are predicted better so: haze and clouds that masks miss widen the variance of change, are taken for change then,
    /// and spoil the dates next to them. Returns the checks of what is kept.
    ///
    /// # Errors
    /// Those of the description.
    pub(super) fn try_gates(&self, description: &mut Description) -> Result<(Vec<SelfCheck>, Option<GateTrial>)> {
        let plain = self.withhold(description)?;
        let checks: Vec<SelfCheck> = plain.iter().map(Withheld::check).collect();
        let factor = if is_together(description) { scale(&plain) } else { 1.0 };
        let (mut gated, mut any) = (scaled(description, factor), false);
        for (instrument, summary) in gated.instrument.iter_mut().zip(&self.summary().instruments) {
            if summary.observes_cells && instrument.gate.is_none() && instrument.robust.is_none() {
                instrument.gate = Some(GATE);
                any = true;
            }
        }
        if !any || checks.iter().all(|check| check.dates < LEAST_DATES) {
            return Ok((checks, None));
        }
        let with_gates = self.withhold(&gated)?;
        let gain = robust_score(&with_gates, 1.0) - robust_score(&plain, 1.0);
        let missing = |checks: &[SelfCheck]| checks.iter().map(|check| check.score.missing).sum::<u64>();
        let checked: Vec<SelfCheck> = with_gates.iter().map(Withheld::check).collect();
        // Predictions that failed are in no score.
        let kept = gain > WORTH && missing(&checked) <= missing(&checks);
        let trial = Some(GateTrial { gate: GATE, scale: factor, gain, kept });
        if kept {
            *description = gated;
            return Ok((checked, trial));
        }
        Ok((checks, trial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors of predicted variance 1 whose squares are these.
    fn withheld(squares: impl Iterator<Item = f64>) -> Vec<Withheld> {
        let mut of = Withheld::default();
        of.errors.extend(squares.map(|square| (square, 1.0)));
        vec![of]
    }

    #[test]
    fn variances_shrink_as_far_as_intervals_still_hold() {
        // Of twenty squares nineteen are 1.3: within the interval as long as the variance is above 1.3 / 2.7055.
        let mixed = |small: f64| withheld((0..100).map(move |k| if k % 20 == 0 { 1e6 } else { small }));
        assert_eq!(scale(&mixed(1.3)), 0.5);
        assert_eq!(scale(&mixed(0.1)), 0.4);
        // Too narrow already.
        assert_eq!(scale(&mixed(3.0)), 1.0);
    }

    #[test]
    fn what_lies_beyond_the_gate_costs_no_more() {
        let score = |far: f64| robust_score(&withheld([1.0, far].into_iter()), 1.0);
        assert_eq!(score(1e9), score(LARGEST));
        assert!((score(LARGEST) + 0.25 * (1.0 + LARGEST)).abs() < 1e-12);
        // Without outliers the best factor is the mean of squares.
        let plain = withheld([0.5, 1.5, 2.5, 3.5].into_iter());
        assert!([1.0, 1.5, 2.5, 4.0].iter().all(|&factor| robust_score(&plain, factor) <= robust_score(&plain, 2.0)));
    }
}
