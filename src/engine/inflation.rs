//! Adaptive inflation of noise and process variances from innovations. Every part of a window learns its factors
//! separately, date by date.
//!
//! The factor on the noise variances of an instrument is `exp(u)`, likewise that on the process variances. After
//! every update
//!
//! `u ← max(0, u + g n / (n + n₀) (min(NIS/n, r) − 1))`
//!
//! with the normalised innovation squared and its `n` degrees of freedom, of the instrument in the window or of all
//! instruments. This is a stochastic approximation (Robbins & Monro 1951) of the factor at which innovations are as
//! large as predicted (Mehra, *On the Identification of Variances and Adaptive Kalman Filtering*, IEEE TAC 15, 1970).
//! Factors are never below 1: stated variances are lower bounds. The factors belong to the state of the window and
//! depend only on its own observations in the order of dates, so tiles, threads and batches do not change them.

use crate::filter::{Dynamics, Innovation};

/// `g`: the share of an excess that a date with many values corrects; the memory is about 1/g dates.
const GAIN: f64 = 0.1;

/// `n₀`: dates with fewer values have less influence.
const HALF_VALUES: f64 = 16.0;

/// `r`: upper bound on the ratio of a single date.
const LARGEST_RATIO: f64 = 5.0;

/// Largest `u`: at a factor of 10⁴ an instrument has almost no influence.
const LARGEST_LOG: f64 = 9.210_340_371_976_184;

/// The factors that a part of a window has learned.
#[derive(Clone, Debug, Default)]
pub(super) struct Inflation {
    /// `u` by instrument; empty when no instrument is inflated.
    noise: Vec<f64>,
    process: Option<ProcessInflation>,
}

#[derive(Clone, Debug)]
struct ProcessInflation {
    log: f64,
    /// Stated variances of the blocks of the dynamics that belong to the field.
    stated: Vec<f64>,
}

impl Inflation {
    /// Factors of 1. `noise`: which instruments are inflated; `process`: how many of the first blocks of `dynamics`
    /// are inflated, if any.
    pub(super) fn new(noise: impl Iterator<Item = bool> + Clone, process: Option<usize>, dynamics: &Dynamics) -> Self {
        let any = noise.clone().any(|inflated| inflated);
        Self {
            noise: if any { noise.map(|_| 0.0).collect() } else { Vec::new() },
            process: process
                .map(|blocks| ProcessInflation { log: 0.0, stated: dynamics.variances().take(blocks).collect() }),
        }
    }

    /// The factor on the noise variances of an instrument.
    pub(super) fn noise_factor(&self, instrument: usize) -> f64 {
        self.noise.get(instrument).map_or(1.0, |log| log.exp())
    }

    /// Updates the factors from the fits of the instruments on a date; `inflated` selects the instruments that learn.
    pub(super) fn learn(&mut self, fits: &[Innovation], inflated: impl Fn(usize) -> bool, dynamics: &mut Dynamics) {
        if !self.noise.is_empty() {
            for fit in fits.iter().filter(|fit| inflated(fit.instrument)) {
                learn(&mut self.noise[fit.instrument], fit.nis, fit.dof);
            }
        }
        if let Some(process) = &mut self.process {
            let (nis, dof) = fits.iter().fold((0.0, 0), |(nis, dof), fit| (nis + fit.nis, dof + fit.dof));
            learn(&mut process.log, nis, dof);
            process.apply(dynamics);
        }
    }

    pub(super) fn append_snapshot(&self, target: &mut Vec<u8>) {
        let logs = self.noise.iter().chain(self.process.iter().map(|process| &process.log));
        logs.for_each(|log| target.extend_from_slice(&log.to_le_bytes()));
    }

    /// Returns the bytes that follow its own.
    pub(super) fn restore_snapshot<'a>(&mut self, mut bytes: &'a [u8], dynamics: &mut Dynamics) -> Option<&'a [u8]> {
        for log in self.noise.iter_mut().chain(self.process.iter_mut().map(|process| &mut process.log)) {
            let (taken, rest) = bytes.split_first_chunk()?;
            (*log, bytes) = (f64::from_le_bytes(*taken), rest);
        }
        if let Some(process) = &self.process {
            process.apply(dynamics);
        }
        Some(bytes)
    }
}

impl ProcessInflation {
    fn apply(&self, dynamics: &mut Dynamics) {
        let factor = self.log.exp();
        self.stated.iter().enumerate().for_each(|(block, stated)| dynamics.set_variance(block, factor * stated));
    }
}

/// One step.
fn learn(log: &mut f64, nis: f64, dof: usize) {
    if dof == 0 || nis.is_nan() {
        return;
    }
    let n = dof as f64;
    let excess = (nis / n).min(LARGEST_RATIO) - 1.0;
    *log = (*log + GAIN * n / (n + HALF_VALUES) * excess).clamp(0.0, LARGEST_LOG);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_settles_where_innovations_are_as_predicted() {
        // Innovations of variance 1 + 4 v, predicted as 1 + f v.
        let (v, mut log) = (2.0, 0.0_f64);
        for _ in 0..200 {
            let ratio = (1.0 + 4.0 * v) / (1.0 + log.exp() * v);
            learn(&mut log, 144.0 * ratio, 144);
        }
        assert!((log.exp() - 4.0).abs() < 1e-6, "{}", log.exp());
        // Smaller ones than predicted leave what is stated; one cloud moves it by little.
        let mut log = 0.3;
        (0..200).for_each(|_| learn(&mut log, 10.0, 144));
        assert_eq!(log, 0.0);
        learn(&mut log, 1e9, 144);
        assert!(log < 0.4);
    }
}
