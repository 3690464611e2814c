//! The minimum of a subproblem's negative log-posterior: Newton steps in a trust region, from the best of several
//! starts.

use std::collections::VecDeque;

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::objective::{Curve, Objective, Subproblem};
use super::scale::Entry;
use crate::error::Result;

/// A minimum is found when a Newton step is predicted to gain less than this of log-likelihood: a fiftieth of a
/// standard error. Where structures are compared less will do, for where they differ by little any of them is good; a
/// few blocks have their minimum elsewhere than all.
const TOLERANCE: f64 = 2e-4;
const ROUGHLY: f64 = 0.1;
const NEAR: f64 = 1.0;

/// The same where numbers are few and weakly believed: a fifth of a standard error.
const PROFILED: f64 = 0.02;

/// A descent ends that has gained less log-likelihood than so many times its tolerance, and than the least, in so
/// many iterations.
const STALLED: (usize, f64, f64) = (5, 5.0, 1e-2);

/// What may be left at the end, all of the curvature being known: a sixteenth of a standard error.
const ARRIVED: f64 = 2e-3;

/// Newton steps at most, of a descent.
const STEPS: usize = 30;

/// Pairs of a step and the change of the gradient on it that correct the Hessian.
const PAIRS: usize = 10;

/// Least change of the gradient that is no error of differences.
const LEAST_CHANGE: f64 = 1e-2;

/// Least curvature that steps reckon with: a tenth of that of a weak prior of a factor of 5.
const LEAST_CURVATURE: f64 = 0.04;

/// How often the full Hessian is computed to check that a descent has converged; otherwise another descent uses it.
const AGAIN: usize = 3;

/// Share of the predicted gain that a descent must have reached for another one to be worth it.
const RIDGE: f64 = 0.1;

/// Share of the largest curvature below which there is none.
const NO_BEND: f64 = 1e-12;

/// Halvings that find how much a step must be shortened, to all digits.
const BISECTIONS: usize = 60;

/// Steps that are not worth a trial.
const SHORTEST: f64 = 1e-4;

/// Longest step in unbounded numbers: a factor of about 7.
const LONGEST: f64 = 2.0;

/// The share of its predicted gain that a step must reach for the region to stay as it is, for it to grow, and for the
/// step to be taken (Nocedal & Wright, algorithm 4.1).
const KEPT: (f64, f64, f64) = (0.25, 0.75, 0.125);

/// Points tried at first, and beyond these for each number of the group; and at most.
const TRIED: (usize, usize, usize) = (12, 5, 64);

/// Share of the blocks that the first search uses, and blocks that it uses at least.
const SOME: (usize, usize) = (4, 2);

/// Starts of the first search.
const STARTS: usize = 2;

/// Iterations that a descent on some of the blocks usually takes, and one on all of them.
const USUAL: (usize, usize) = (16, 13);

/// The best numbers of a subproblem, with their standard errors.
#[derive(Clone, Debug)]
pub(super) struct Optimum {
    /// Unbounded.
    pub(super) theta: Vec<f64>,
    /// Standard error of each, by curvature and scores there; NaN where it is no minimum.
    pub(super) sd: Vec<f64>,
    /// Whether a Newton step predicts hardly any further gain.
    pub(super) converged: bool,
    /// Steps that were taken.
    pub(super) steps: usize,
}

/// Finds the best numbers of a subproblem; the other entries are `base`'s. `None` when the likelihood breaks down
/// wherever it is tried.
///
/// A few blocks are searched from the best of points all over the range, then all blocks from what was best of these,
/// at last with the Hessian of differences; `roughly` uses a larger tolerance and computes no standard errors.
///
/// # Errors
/// What has nothing to do with numbers.
pub(super) fn search(
    objective: &Objective<'_>,
    group: &Subproblem,
    base: &[f64],
    roughly: bool,
) -> Result<Option<Optimum>> {
    let (some, all) = blocks_of(objective);
    let descent = |start: Vec<f64>, known, blocks, tolerance| {
        Descent { objective, group, base, blocks, known, tolerance }.run(start)
    };
    if objective.is_profiled()
        && let Some(optimum) = search_profiled(objective, group, base, roughly)?
    {
        return Ok(Some(optimum));
    }
    let mut found = Vec::new();
    for start in scan(objective, group, base, some)? {
        found.extend(descent(start, None, some, NEAR)?);
    }
    found.sort_by(|a, b| a.curve.value.total_cmp(&b.curve.value));
    let mut best = None;
    for start in found {
        best = descent(start.theta, None, all, ROUGHLY)?.map(|end| Descended { steps: end.steps + start.steps, ..end });
        if best.is_some() {
            break;
        }
    }
    let Some(Descended { theta, curve, steps }) = best else { return Ok(None) };
    let mut optimum = Optimum { sd: vec![f64::NAN; theta.len()], theta, converged: false, steps };
    if objective.stops() {
        return Ok(Some(optimum));
    }
    if roughly && predicted_gain(&curve.gradient, &curve.hessian).is_some_and(|left| left < ROUGHLY) {
        optimum.converged = true;
        return Ok(Some(optimum));
    }
    let (tolerance, arrived, times) = if roughly { (ROUGHLY, ROUGHLY, 2) } else { (TOLERANCE, ARRIVED, AGAIN) };
    for _ in 0..times {
        // Scores give the curvature roughly. Convergence and standard errors use the Hessian of differences.
        let Some((full, scores)) = objective.curve(group, base, &optimum.theta, all)? else { break };
        if !roughly {
            optimum.sd = deviations(objective, group, &optimum.theta, (&full, &scores));
        }
        // The gradient is that of short steps, which was followed; over the long ones of the Hessian third
        // derivatives count.
        let short = objective.curve_by_scores(group, base, &optimum.theta, Some(&full.hessian), all)?;
        let left = short.and_then(|short| predicted_gain(&short.gradient, &full.hessian));
        optimum.converged = left.is_some_and(|left| left < arrived);
        if optimum.converged {
            break;
        }
        let known = Some(definite(&full.hessian));
        let Some(Descended { theta, curve, .. }) = descent(optimum.theta.clone(), known, all, tolerance)? else {
            break;
        };
        optimum.theta = theta;
        // A Hessian is all but the same a step away: another one is worked out only where this one was not enough.
        optimum.converged = predicted_gain(&curve.gradient, &full.hessian).is_some_and(|left| left < arrived);
        // On a ridge that hardly rises another Hessian would gain as little.
        if optimum.converged || full.value - curve.value < RIDGE * left.unwrap_or(arrived) {
            break;
        }
    }
    Ok(Some(optimum))
}

/// The same where most numbers are found in closed form: a descent on a few blocks, and one on all of them.
fn search_profiled(
    objective: &Objective<'_>,
    group: &Subproblem,
    base: &[f64],
    roughly: bool,
) -> Result<Option<Optimum>> {
    let (some, all) = blocks_of(objective);
    let descent = |start: Vec<f64>, blocks, tolerance| {
        Descent { objective, group, base, blocks, known: None, tolerance }.run(start)
    };
    // Ratios are alike everywhere: what is believed of them is a good place to begin. From what other blocks have shown a
    // few blocks alone would only lead away.
    let (mut start, mut before) = (group.own(base), 0);
    if !objective.is_known() {
        let Some(near) = descent(start, some, NEAR)? else { return Ok(None) };
        (start, before) = (near.theta, near.steps);
    }
    let found = descent(start, all, if roughly { ROUGHLY } else { PROFILED })?;
    let Some(Descended { theta, curve, steps }) = found else { return Ok(None) };
    let converged = predicted_gain(&curve.gradient, &curve.hessian).is_some_and(|left| left < ROUGHLY);
    let inverse = matrix(&curve.hessian).cholesky().map(|factor| factor.inverse().diagonal());
    let sd = match inverse {
        Some(variances) if !roughly && !objective.stops() => variances.map(f64::sqrt).as_slice().to_vec(),
        _ => vec![f64::NAN; theta.len()],
    };
    Ok(Some(Optimum { theta, sd, converged, steps: before + steps }))
}

/// Blocks of the first search, and all.
fn blocks_of(objective: &Objective<'_>) -> (usize, usize) {
    let all = objective.blocks();
    (all.div_ceil(SOME.0).max(SOME.1).min(all), all)
}

/// Likelihoods of single blocks that the search of a subproblem usually takes.
pub(super) fn usual_effort(objective: &Objective<'_>, group: &Subproblem, roughly: bool) -> usize {
    let (some, all) = blocks_of(objective);
    let gradient = objective.gradient_effort(group);
    let first = if objective.is_profiled() && objective.is_known() { 0 } else { USUAL.0 * some };
    let descents = gradient * (first + USUAL.1 * all);
    if objective.is_profiled() {
        return descents;
    }
    let (tried, starts) = points_tried(objective, group);
    let hessian = if roughly { 0 } else { 2 * gradient * gradient * all };
    tried * some + descents + gradient * USUAL.0 * some * (starts - 1) + hessian
}

/// Standard errors at an optimum: the larger of those from the curvature `H`, `H⁻¹`, and those from the scores `g` of
/// dates, `H⁻¹ (Σ g gᵀ) H⁻¹` (Huber's sandwich).
///
/// Blocks are near each other: what changes a field changes several of them on the same date, and the curvature
/// counts each as independent. Scores of different dates are uncorrelated, for innovations are. With fewer than
/// two dates for each number the curvature alone must do.
fn deviations(
    objective: &Objective<'_>,
    group: &Subproblem,
    theta: &[f64],
    (curve, scores): (&Curve, &[Vec<f64>]),
) -> Vec<f64> {
    let n = theta.len();
    let Some(inverse) = matrix(&curve.hessian).cholesky().map(|factor| factor.inverse()) else {
        return vec![f64::NAN; n];
    };
    let mut variances = inverse.diagonal();
    if scores.len() > 2 * n {
        let mut spread = DMatrix::zeros(n, n);
        for (k, (&entry, &theta)) in group.entries.iter().zip(theta).enumerate() {
            spread[(k, k)] = objective.entries()[entry].penalty(theta)[2];
        }
        // As many degrees of freedom are lost as there are numbers.
        let share = scores.len() as f64 / (scores.len() - n) as f64;
        for score in scores {
            let score = DVector::from_column_slice(score);
            spread.ger(share, &score, &score, 1.0);
        }
        let sandwich = (&inverse * spread * &inverse).diagonal();
        variances.zip_apply(&sandwich, |variance, other| *variance = variance.max(other));
    }
    variances.iter().map(|variance| variance.sqrt()).collect()
}

/// Where a descent ended.
struct Descended {
    theta: Vec<f64>,
    curve: Curve,
    /// Steps that led there.
    steps: usize,
}

/// Points that are tried all over the range, and those from which descents begin.
fn points_tried(objective: &Objective<'_>, group: &Subproblem) -> (usize, usize) {
    if objective.is_known() {
        return (TRIED.0, 1);
    }
    ((TRIED.0 + TRIED.1 * group.entries.len()).min(TRIED.2), STARTS)
}

/// The best of points all over the range, best first: where the numbers begin, the middle of the range, and a Sobol
/// sequence.
fn scan(objective: &Objective<'_>, group: &Subproblem, base: &[f64], blocks: usize) -> Result<Vec<Vec<f64>>> {
    let entries = || group.entries.iter().map(|&entry| &objective.entries()[entry]);
    let mut points = vec![group.own(base), entries().map(Entry::centre).collect()];
    let (count, starts) = points_tried(objective, group);
    for k in 0..count as u32 {
        let share =
            |dimension: usize| f64::from(sobol_burley::sample(k, dimension as u32 % 256, (dimension / 256) as u32));
        points.push(entries().enumerate().map(|(dimension, entry)| entry.spread(share(dimension))).collect());
    }
    let values = objective.values(group, base, &points, blocks)?;
    let mut order: Vec<usize> = (0..points.len()).filter(|&k| values[k].is_finite()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    Ok(order.into_iter().take(starts).map(|k| points[k].clone()).collect())
}

/// Newton steps in a trust region (Nocedal & Wright, *Numerical Optimization*, 2nd ed., algorithm 4.1) to a
/// minimum. The Hessian is `known`, or else what scores give for it at each point, corrected by the gradients on the
/// way (BFGS, eq. 6.19).
struct Descent<'a> {
    objective: &'a Objective<'a>,
    group: &'a Subproblem,
    base: &'a [f64],
    blocks: usize,
    known: Option<Vec<Vec<f64>>>,
    /// It ends where a Newton step predicts a smaller gain.
    tolerance: f64,
}

impl Descent<'_> {
    /// From `start` on; `None` where the likelihood breaks down there.
    fn run(&self, start: Vec<f64>) -> Result<Option<Descended>> {
        let Some(curve) = self.curve(&start)? else { return Ok(None) };
        let mut here = Descended { theta: start, curve, steps: 0 };
        let mut pairs = VecDeque::new();
        let mut radius = 1.0;
        let mut values = vec![here.curve.value];
        for _ in 0..STEPS {
            if self.objective.stops()
                || predicted_gain(&here.curve.gradient, &here.curve.hessian).is_some_and(|gain| gain < self.tolerance)
            {
                break;
            }
            let gradient = DVector::from_column_slice(&here.curve.gradient);
            let hessian = matrix(&here.curve.hessian);
            let step = bounded_step(&gradient, &hessian, radius);
            let predicted = -(gradient.dot(&step) + 0.5 * step.dot(&(&hessian * &step)));
            let there: Vec<f64> = here.theta.iter().zip(&step).map(|(theta, step)| theta + step).collect();
            let value = self.objective.values(self.group, self.base, std::slice::from_ref(&there), self.blocks)?[0];
            let share = (here.curve.value - value) / predicted;
            if share.is_nan() || share < KEPT.0 {
                radius = 0.25 * step.norm();
            } else if share > KEPT.1 && step.norm() > 0.99 * radius {
                radius = (2.0 * radius).min(LONGEST);
            }
            if share > KEPT.2 {
                // Where the way ends at a breakdown of the likelihood, what was reached before counts.
                let Some(curve) = self.curve(&there)? else { break };
                let next = corrected(&here, there, curve, &mut pairs);
                here = next;
                values.push(here.curve.value);
            } else if radius < SHORTEST {
                break;
            } else {
                continue;
            }
            let (steps, times, least) = STALLED;
            let before = values.len().checked_sub(steps + 1).map(|k| values[k]);
            if before.is_some_and(|before| before - here.curve.value < (times * self.tolerance).max(least)) {
                break;
            }
        }
        Ok(Some(here))
    }

    fn curve(&self, theta: &[f64]) -> Result<Option<Curve>> {
        self.objective.curve_by_scores(self.group, self.base, theta, self.known.as_deref(), self.blocks)
    }
}

/// The point reached from `before`, its Hessian corrected by recent steps and the change of the gradient on each.
fn corrected(
    before: &Descended,
    theta: Vec<f64>,
    mut curve: Curve,
    pairs: &mut VecDeque<(DVector<f64>, DVector<f64>)>,
) -> Descended {
    let difference = |to: &[f64], from: &[f64]| DVector::from_column_slice(to) - DVector::from_column_slice(from);
    let (s, y) = (difference(&theta, &before.theta), difference(&curve.gradient, &before.curve.gradient));
    if y.norm() > LEAST_CHANGE {
        pairs.push_back((s, y));
    }
    if pairs.len() > PAIRS {
        pairs.pop_front();
    }
    let mut hessian = matrix(&curve.hessian);
    for (s, y) in pairs.iter() {
        let hs = &hessian * s;
        let (shs, sy) = (s.dot(&hs), s.dot(y));
        // What keeps it positive definite.
        if sy > 1e-8 * s.norm() * y.norm() && shs > 0.0 {
            hessian.ger(-1.0 / shs, &hs, &hs, 1.0);
            hessian.ger(1.0 / sy, y, y, 1.0);
        }
    }
    curve.hessian = hessian.row_iter().map(|row| row.iter().copied().collect()).collect();
    Descended { theta, curve, steps: before.steps + 1 }
}

/// The step that minimises `gᵀ s + sᵀ H s / 2` within a radius: `-(H + λ)⁻¹ g` with the least `λ ≥ 0` for which it is
/// short enough and `H + λ` has no negative curvature (Moré & Sorensen, *Computing a trust region step*, SIAM Journal on
/// Scientific and Statistical Computing 4, 1983). Numbers are few, so it costs nothing beside a likelihood, and a step
/// that is short of it in flat directions would have to be made up for by many.
fn bounded_step(gradient: &DVector<f64>, hessian: &DMatrix<f64>, radius: f64) -> DVector<f64> {
    let SymmetricEigen { eigenvectors, eigenvalues } = hessian.clone().symmetric_eigen();
    let along = eigenvectors.tr_mul(gradient);
    let step = |shift: f64| along.zip_map(&eigenvalues, |slope, bend| -slope / (bend + shift).max(f64::MIN_POSITIVE));
    let least = eigenvalues.min();
    let size = eigenvalues.amax().max(f64::MIN_POSITIVE);
    // Of a bend that is none, what rounding leaves.
    let mut low = (NO_BEND * size - least).max(0.0);
    if step(low).norm() <= radius {
        let mut along = step(low);
        if least < 0.0 {
            // No slope along what bends down: either way along it leads to the border.
            along[eigenvalues.imin()] += (radius * radius - along.norm_squared()).max(0.0).sqrt();
        }
        return eigenvectors * along;
    }
    let mut high = low + gradient.norm() / radius;
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        if step(middle).norm() > radius { low = middle } else { high = middle }
    }
    eigenvectors * step(high)
}

/// The gain that a Newton step predicts, `gᵀ H⁻¹ g / 2`; `None` where the curvature is no minimum's.
fn predicted_gain(gradient: &[f64], rows: &[Vec<f64>]) -> Option<f64> {
    let gradient = DVector::from_column_slice(gradient);
    let step = matrix(rows).cholesky()?.solve(&gradient);
    Some(0.5 * step.dot(&gradient))
}

/// The Hessian with the absolute values of its eigenvalues, none of them below the least: a step goes down along each
/// (Nocedal & Wright, *Numerical Optimization*, 2nd ed., section 3.4).
fn definite(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut eigen = matrix(rows).symmetric_eigen();
    eigen.eigenvalues.apply(|value| *value = value.abs().max(LEAST_CURVATURE));
    let definite = eigen.recompose();
    definite.row_iter().map(|row| row.iter().copied().collect()).collect()
}

fn matrix(rows: &[Vec<f64>]) -> DMatrix<f64> {
    DMatrix::from_fn(rows.len(), rows.len(), |i, j| rows[i][j])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A point of a quadratic whose Hessian is `truth`, and is reported as `reported`.
    fn point(theta: &[f64], truth: &DMatrix<f64>, reported: f64) -> Curve {
        let gradient = truth * DVector::from_column_slice(theta);
        let hessian = (0..theta.len()).map(|i| (0..theta.len()).map(|j| if i == j { reported } else { 0.0 }).collect());
        Curve { value: 0.0, gradient: gradient.as_slice().to_vec(), hessian: hessian.collect() }
    }

    fn walk(truth: &DMatrix<f64>, reported: f64, points: &[[f64; 2]]) -> DMatrix<f64> {
        let mut pairs = VecDeque::new();
        let (first, rest) = points.split_first().unwrap();
        let mut here = Descended { theta: first.to_vec(), curve: point(first, truth, reported), steps: 0 };
        for theta in rest {
            here = corrected(&here, theta.to_vec(), point(theta, truth, reported), &mut pairs);
        }
        matrix(&here.curve.hessian)
    }

    #[test]
    fn steps_minimise_within_their_region() {
        let hessian = DMatrix::from_row_slice(2, 2, &[4.0, 1.0, 1.0, 0.5]);
        let gradient = DVector::from_column_slice(&[1.0, -0.2]);
        let newton = -hessian.clone().cholesky().unwrap().solve(&gradient);
        let near = bounded_step(&gradient, &hessian, 10.0);
        assert!((near - &newton).norm() < 1e-12 && newton.norm() > 1.0);
        let short = bounded_step(&gradient, &hessian, 0.1);
        assert!((short.norm() - 0.1).abs() < 1e-12 && short.dot(&gradient) < 0.0);
        // No other step of that length goes lower.
        let value = |step: &DVector<f64>| gradient.dot(step) + 0.5 * step.dot(&(&hessian * step));
        for k in 0..100 {
            let angle = f64::from(k) * 0.0628;
            let other = DVector::from_column_slice(&[0.1 * angle.cos(), 0.1 * angle.sin()]);
            assert!(value(&short) <= value(&other) + 1e-14);
        }
        // Where the curvature bends down there is no minimum but the border.
        let saddle = DMatrix::from_diagonal(&DVector::from_column_slice(&[1.0, -1.0]));
        assert!((bounded_step(&gradient, &saddle, 3.0).norm() - 3.0).abs() < 1e-9);
        for gradient in [[1.0, 0.0], [0.0, 0.0]] {
            let step = bounded_step(&DVector::from_column_slice(&gradient), &saddle, 3.0);
            assert!((step.norm() - 3.0).abs() < 1e-9 && step[1].abs() > 2.5, "{step}");
        }
    }

    #[test]
    fn the_hessian_is_corrected_by_gradients() {
        let truth = DMatrix::from_row_slice(2, 2, &[4.0, 1.0, 1.0, 0.5]);
        let points = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, -1.0]];
        for reported in [100.0, 0.01] {
            let hessian = walk(&truth, reported, &points);
            let step = DVector::from_column_slice(&[-0.5, -2.0]);
            assert!((&hessian * &step - &truth * &step).norm() < 1e-9, "{hessian}");
            assert!(hessian.clone().cholesky().is_some() && (&hessian - hessian.transpose()).norm() < 1e-9);
        }
    }

    #[test]
    fn gradients_of_no_minimum_and_those_within_their_error_are_left_out() {
        let down = DMatrix::from_diagonal_element(2, 2, -1.0);
        assert_eq!(walk(&down, 5.0, &[[0.0, 0.0], [1.0, 1.0]]), DMatrix::from_diagonal_element(2, 2, 5.0));
        let flat = DMatrix::from_diagonal_element(2, 2, 1e-3);
        assert_eq!(walk(&flat, 5.0, &[[0.0, 0.0], [1.0, 1.0]]), DMatrix::from_diagonal_element(2, 2, 5.0));
    }

    #[test]
    fn steps_go_down_where_the_curvature_is_no_minimums() {
        let found = definite(&[vec![-2.0, 0.0, 0.0], vec![0.0, 3.0, 0.0], vec![0.0, 0.0, 1e-9]]);
        let expected = DMatrix::from_diagonal(&DVector::from_column_slice(&[2.0, 3.0, LEAST_CURVATURE]));
        assert!((matrix(&found) - expected).norm() < 1e-12, "{found:?}");
    }
}
