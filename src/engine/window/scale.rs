//! The covariance between bands, learned by a window as it runs.
//!
//! In whitened bands the covariance is `Σ ~ IW(ν, Ψ)`, a priori `Ψ = (ν₀ - p - 1) I`, whose mean is the covariance that is
//! described. Every update adds `Ψ ← Ψ₀ + S`, `S ← δ^Δt S + EᵀE`, `ν ← ν₀ + n`, `n ← δ^Δt n + rows`, with the whitened
//! innovations E: the conjugate recursion of the matrix normal (West & Harrison, *Bayesian Forecasting and Dynamic
//! Models*, 2nd ed., section 16.4), discounted as there. What is predicted is matrix-t then; its covariance is that of
//! the filter times `E[Σ] = Ψ / (ν - p - 1)`.

use nalgebra::DMatrix;

use crate::filter::Squares;
use crate::geometry::Date;
use crate::model::LearnedScale;

/// What a part of a window has learned of the covariance between its bands.
#[derive(Clone, Debug)]
pub(in crate::engine) struct BandScale {
    model: LearnedScale,
    bands: usize,
    /// S, the lower triangle row by row.
    squares: Vec<f64>,
    /// n.
    rows: f64,
    /// Day of the latest update, since 1970-01-01.
    day: Option<i32>,
}

impl BandScale {
    pub(in crate::engine) fn new(model: LearnedScale, bands: usize) -> Self {
        Self { model, bands, squares: vec![0.0; bands * (bands + 1) / 2], rows: 0.0, day: None }
    }

    /// Forgets what the days until the next update take.
    pub(super) fn pass_to(&mut self, date: Date) {
        let day = date.days_since_epoch();
        if let (Some(memory), Some(last)) = (self.model.memory, self.day) {
            let kept = (-f64::from(day - last) / memory).exp();
            self.squares.iter_mut().for_each(|square| *square *= kept);
            self.rows *= kept;
        }
        self.day = Some(day);
    }

    /// Learns from the innovations of an instrument on a date.
    pub(super) fn learn(&mut self, squares: Squares<'_>) {
        self.squares.iter_mut().zip(squares.products).for_each(|(sum, square)| *sum += square);
        self.rows += squares.rows as f64;
    }

    /// `E[Σ]`, relative to what is described. **Shape** (bands, bands).
    pub(super) fn mean(&self) -> DMatrix<f64> {
        let prior = self.model.dof - self.bands as f64 - 1.0;
        DMatrix::from_fn(self.bands, self.bands, |i, j| {
            let learned = self.squares[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)];
            (learned + if i == j { prior } else { 0.0 }) / (prior + self.rows)
        })
    }

    pub(in crate::engine) fn append_snapshot(&self, target: &mut Vec<u8>) {
        target.extend_from_slice(&self.day.unwrap_or(i32::MIN).to_le_bytes());
        for value in self.squares.iter().chain([&self.rows]) {
            target.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Returns the bytes that follow its own.
    pub(in crate::engine) fn restore_snapshot<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (day, mut rest) = bytes.split_first_chunk()?;
        self.day = Some(i32::from_le_bytes(*day)).filter(|day| *day != i32::MIN);
        for value in self.squares.iter_mut().chain([&mut self.rows]) {
            let (number, after) = rest.split_first_chunk()?;
            (*value, rest) = (f64::from_le_bytes(*number), after);
        }
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_kept_and_forgotten() {
        let learned = |memory| {
            let mut scale = BandScale::new(LearnedScale { dof: 13.0, memory }, 2);
            for day in [0, 10] {
                scale.pass_to(Date::from_days(day));
                scale.learn(Squares { products: &[40.0, 10.0, 20.0], log_pivots: 0.0, rows: 10 });
            }
            scale
        };
        // Ψ / (ν - p - 1) = (10 I + 2 S) / (10 + 2 · 10).
        let mean = learned(None).mean();
        assert!((mean[(0, 0)] - 3.0).abs() < 1e-12 && (mean[(0, 1)] - 20.0 / 30.0).abs() < 1e-12);
        let kept = (-10.0_f64 / 5.0).exp();
        let expected = (10.0 + 40.0 * (1.0 + kept)) / (10.0 + 10.0 * (1.0 + kept));
        assert!((learned(Some(5.0)).mean()[(0, 0)] - expected).abs() < 1e-12);
        let (scale, mut bytes) = (learned(Some(5.0)), vec![7]);
        scale.append_snapshot(&mut bytes);
        let mut other = BandScale::new(LearnedScale { dof: 13.0, memory: Some(5.0) }, 2);
        assert_eq!(other.restore_snapshot(&bytes[1..]), Some(&[][..]));
        assert_eq!((other.mean(), other.day), (scale.mean(), scale.day));
        assert_eq!(other.restore_snapshot(&bytes[2..]), None);
    }
}
