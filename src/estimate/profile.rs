//! Numbers of bands together that are found in closed form at every point of the search: the covariance between bands,
//! the prior's mean, and biases.

use nalgebra::{Cholesky, DMatrix, Dyn};

use super::{Estimate, Scale};
use crate::describe::{Description, Number};
use crate::engine::SquareSum;
use crate::error::Key;
use crate::model::{Effect, Model, Together};

/// `2 π`, whose logarithm each value adds to minus twice the log-likelihood.
const TAU: f64 = std::f64::consts::TAU;

/// What is found in closed form.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    /// Effects on the means, each with the precision of its prior, in units of that of the bands' values.
    pub(super) effects: Vec<(Effect, f64)>,
}

/// The most likely covariance between bands and effects, the other numbers being what they are.
#[derive(Clone, Debug)]
pub(super) struct Maximum {
    /// Covariance between whitened bands, relative to that of the model. **Shape** (bands, bands).
    pub(super) scale: DMatrix<f64>,
    /// What each effect is, in each whitened band, beyond what was taken. **Shape** (effects, bands).
    pub(super) effects: DMatrix<f64>,
    /// Variance of an effect, relative to that of the bands. **Shape** (effects, effects).
    pub(super) spread: DMatrix<f64>,
    /// Log-likelihood there, priors of effects included.
    pub(super) log_likelihood: f64,
    pub(super) rows: usize,
    factor: Cholesky<f64, Dyn>,
}

impl Profile {
    /// With the squares of all innovations. With `Z = [E F]` the whitened innovations of bands and effects, effects are
    /// the generalised least squares `B = (FᵀF + Λ)⁻¹ FᵀE`, and the covariance is `C = (EᵀE - EᵀF B) / n`, where the
    /// log-likelihood is `-p Σ ln L_ii - n/2 ln|C| - n p/2 (1 + ln 2π)` (West & Harrison, *Bayesian Forecasting and
    /// Dynamic Models*, 2nd ed., chapter 16; effects as regression coefficients of a matrix normal). `log_det` is that
    /// of the factor by which values were whitened. `None` where there is too little to go by.
    pub(super) fn maximum(&self, sum: &SquareSum, log_det: f64) -> Option<Maximum> {
        let (n, effects) = (sum.rows as f64, self.effects.len());
        let all = matrix(sum)?;
        let p = all.nrows().checked_sub(effects)?;
        let [bands, cross, own] = [(0, 0, p, p), (p, 0, effects, p), (p, p, effects, effects)]
            .map(|(row, col, rows, cols)| all.view((row, col), (rows, cols)).into_owned());
        let precision = DMatrix::from_fn(effects, effects, |a, b| if a == b { self.effects[a].1 } else { 0.0 });
        let (found, spread) = if effects == 0 {
            (cross.clone(), own)
        } else {
            let factor = (own + precision).cholesky()?;
            (factor.solve(&cross), factor.inverse())
        };
        let scale = (bands - cross.tr_mul(&found)) / n;
        let factor = scale.clone().cholesky()?;
        let p = p as f64;
        let log_likelihood =
            -p * sum.log_pivots - n * (log_det + 0.5 * factor.ln_determinant()) - 0.5 * n * p * (1.0 + TAU.ln());
        log_likelihood.is_finite().then_some(Maximum {
            scale,
            effects: found,
            spread,
            log_likelihood,
            rows: sum.rows,
            factor,
        })
    }
}

impl Maximum {
    /// What some innovations add to the log-likelihood with this covariance and these effects, and how it would change
    /// with the logarithm of a factor on the covariance.
    pub(super) fn adds(&self, sum: &SquareSum, log_det: f64) -> (f64, f64) {
        let Some(all) = matrix(sum) else { return (0.0, 0.0) };
        let (n, p) = (sum.rows as f64, self.scale.nrows());
        // [I; -B]: what is left of the values without the effects.
        let left = DMatrix::from_fn(all.nrows(), p, |i, j| match i.checked_sub(p) {
            None => f64::from(u8::from(i == j)),
            Some(effect) => -self.effects[(effect, j)],
        });
        let squares = self.factor.solve(&left.tr_mul(&(all * &left))).trace();
        let p = p as f64;
        let log_likelihood = -p * sum.log_pivots
            - n * (log_det + 0.5 * self.factor.ln_determinant())
            - 0.5 * squares
            - 0.5 * n * p * TAU.ln();
        (log_likelihood, 0.5 * (squares - n * p))
    }
}

impl Profile {
    /// Puts what was found for bands together into a description in which the [first
    /// guess](super::beliefs::Beliefs::prepare) stands; returns it with standard errors, those of normal values.
    pub(super) fn put(
        &self,
        maximum: &Maximum,
        together: &Together,
        model: &Model,
        description: &mut Description,
    ) -> Vec<Estimate> {
        let Maximum { scale, effects, spread, rows, .. } = maximum;
        let p = model.spectrum.components();
        let bands = || together.components.iter().enumerate();
        let mut estimates = Vec::new();
        let mut note = |key: &Key, (index, of): (usize, usize), value: f64, scale: Scale, sd: f64| {
            estimates.push(Estimate { key: key.clone(), index, of, value, scale, sd, observed: true });
        };
        if let Some(process) = description.process.given_mut() {
            let key = Key::from("process.variance");
            for (b, &j) in bands() {
                if let Some(Number::Fixed(variance)) = process.variance.written().get_mut(j) {
                    *variance *= scale[(b, b)];
                    note(&key, (j, p), *variance, Scale::Log, (2.0 / *rows as f64).sqrt());
                }
            }
            if process.band_correlation.is_empty() {
                process.band_correlation = (1..p).map(|j| vec![0.0; j]).collect();
            }
            for ((b, &j), (c, &l)) in bands().flat_map(|one| bands().map(move |other| (one, other))) {
                if l < j {
                    process.band_correlation[j - 1][l] = scale[(b, c)] / (scale[(b, b)] * scale[(c, c)]).sqrt();
                }
            }
        }
        for (k, (effect, _)) in self.effects.iter().enumerate() {
            let sd = |b: usize| together.size(b) * (scale[(b, b)] * spread[(k, k)]).sqrt();
            let (numbers, key, places) = match effect {
                Effect::PriorMean => {
                    let numbers = description.prior.given_mut().and_then(|prior| prior.mean.numbers());
                    (numbers, Key::from("prior.mean"), together.components.clone())
                }
                Effect::Bias(instrument) => {
                    let described = &mut description.instrument[*instrument];
                    let key = described.key().name("bias");
                    let source_bands = &model.instruments[*instrument].source_bands;
                    let places = together.bands[*instrument].rows.iter().map(|&row| source_bands[row]).collect();
                    (Some(&mut described.bias), key, places)
                }
            };
            let Some(numbers) = numbers else { continue };
            let written = numbers.written();
            let of = written.len();
            for (b, place) in places.into_iter().enumerate() {
                if let Some(Number::Fixed(value)) = written.get_mut(place) {
                    *value += together.size(b) * effects[(k, b)];
                    note(&key, (place, of), *value, Scale::Linear(sd(b)), 1.0);
                }
            }
        }
        estimates
    }
}

/// The squares as a symmetric matrix; `None` without any.
fn matrix(sum: &SquareSum) -> Option<DMatrix<f64>> {
    let columns = ((8 * sum.products.len() + 1).isqrt() - 1) / 2;
    let at = |i: usize, j: usize| sum.products[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)];
    (columns > 0 && sum.rows > 0).then(|| DMatrix::from_fn(columns, columns, at))
}
