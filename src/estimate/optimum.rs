//! The minimum of a group's negative log-posterior: Newton steps in a trust region, from the best of several starts.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use argmin::core::{
    CostFunction, Error as ArgminError, Executor, Gradient, Hessian, IterState, KV, Problem, Solver, TerminationReason,
    TerminationStatus,
};
use argmin::solver::trustregion::{Steihaug, TrustRegion};
use nalgebra::{DMatrix, DVector};

use super::objective::{Curve, Group, Objective};
use super::parameter::Entry;

/// A minimum is found when a Newton step promises less than this of log-likelihood: a fiftieth of a standard error. Where structures
/// are compared less will do, for where they differ by little any of them is good; a few blocks have their minimum elsewhere than all.
const TOLERANCE: f64 = 2e-4;
const ROUGHLY: f64 = 0.1;
const NEAR: f64 = 1.0;

/// A descent ends that has gained less log-likelihood than so many times its tolerance, and than the least, in so many iterations.
const STALLED: (usize, f64, f64) = (5, 5.0, 1e-2);

/// What may be left at the end, all of the curvature being known: a sixteenth of a standard error.
const ARRIVED: f64 = 2e-3;

/// Newton steps at most, of a descent.
const STEPS: u64 = 30;

/// Pairs of a step and the change of the gradient on it that correct the Hessian.
const PAIRS: usize = 10;

/// Least change of the gradient that is no error of differences.
const LEAST_CHANGE: f64 = 1e-2;

/// Least curvature that steps reckon with: a tenth of that of a weak prior of a factor of 5.
const LEAST_CURVATURE: f64 = 0.04;

/// How often the full Hessian is asked whether a descent has arrived; but for the last time, another one goes on with it.
const AGAIN: usize = 4;

/// Share of what a step promised that a descent must have gained for another one to be worth it.
const RIDGE: f64 = 0.1;

/// Longest step in unbounded numbers: a factor of about 7.
const LONGEST: f64 = 2.0;

/// Points tried at first, and beyond these for each number of the group; and at most.
const TRIED: (usize, usize, usize) = (12, 5, 64);

/// Share of the blocks that the first search uses, and blocks that it uses at least.
const SOME: (usize, usize) = (4, 2);

/// Starts of the first search.
const STARTS: usize = 2;

/// Where a group's numbers are best, and how sharply.
#[derive(Clone, Debug)]
pub(super) struct Optimum {
    /// Unbounded.
    pub(super) theta: Vec<f64>,
    /// Standard error of each, by curvature and scores there; NaN where it is no minimum.
    pub(super) sd: Vec<f64>,
    /// Whether a Newton step promises hardly anything more.
    pub(super) converged: bool,
}

/// Looks for the best numbers of a group; the other entries are `base`'s. `None` when the likelihood breaks down wherever it is
/// tried.
///
/// A few blocks are searched from the best of points all over the range, then all blocks from what was best of these, at last with the
/// Hessian of differences; `roughly` is content with less, and works out no standard errors.
pub(super) fn search(objective: &Objective<'_>, group: &Group, base: &[f64], roughly: bool) -> Option<Optimum> {
    let all = objective.blocks();
    let some = all.div_ceil(SOME.0).max(SOME.1).min(all);
    let descent = |start: Vec<f64>| descend(objective, group, base, (start, None), (some, NEAR));
    let mut found: Vec<Descended> = scan(objective, group, base, some).into_iter().filter_map(descent).collect();
    found.sort_by(|a, b| a.curve.value.total_cmp(&b.curve.value));
    let best = |start: Descended| descend(objective, group, base, (start.theta, None), (all, ROUGHLY));
    let Descended { theta, curve } = found.into_iter().find_map(best)?;
    let mut optimum = Optimum { sd: vec![f64::NAN; theta.len()], theta, converged: false };
    if roughly && promise(&curve.gradient, &curve.hessian).is_some_and(|left| left < ROUGHLY) {
        optimum.converged = true;
        return Some(optimum);
    }
    let (tolerance, arrived) = if roughly { (ROUGHLY, ROUGHLY) } else { (TOLERANCE, ARRIVED) };
    for again in (0..AGAIN).rev() {
        // Scores tell roughly of the curvature: whether this is the end, and standard errors, go by the Hessian of differences.
        let Some((full, scores)) = objective.curve(group, base, &optimum.theta, all) else { break };
        if !roughly {
            optimum.sd = deviations(objective, group, &optimum.theta, (&full, &scores));
        }
        // The gradient is that of short steps, which was followed; over the long ones of the Hessian third derivatives count.
        let short = objective.curve_by_scores(group, base, &optimum.theta, Some(&full.hessian), all);
        let left = short.and_then(|short| promise(&short.gradient, &full.hessian));
        optimum.converged = left.is_some_and(|left| left < arrived);
        if optimum.converged || again == 0 {
            break;
        }
        let start = (optimum.theta.clone(), Some(definite(&full.hessian)));
        let Some(Descended { theta, curve }) = descend(objective, group, base, start, (all, tolerance)) else { break };
        optimum.theta = theta;
        // On a ridge that hardly rises another Hessian would gain as little.
        if full.value - curve.value < RIDGE * left.unwrap_or(arrived) {
            break;
        }
    }
    Some(optimum)
}

/// Standard errors at an optimum: the larger of those that the curvature `H` tells, `H⁻¹`, and those that the scores `g` of dates
/// tell, `H⁻¹ (Σ g gᵀ) H⁻¹` (Huber's sandwich).
///
/// Blocks are near each other: what changes a field changes several of them on the same date, and the curvature counts each as if
/// it were news. Scores of different dates are uncorrelated, for innovations are. With fewer than two dates for each number the
/// curvature alone must do.
fn deviations(
    objective: &Objective<'_>,
    group: &Group,
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
            spread[(k, k)] = objective.entries[entry].penalty(theta)[2];
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
}

/// The best of points all over the range, best first: where the parameters begin, the middle of the range, and a Sobol sequence.
fn scan(objective: &Objective<'_>, group: &Group, base: &[f64], blocks: usize) -> Vec<Vec<f64>> {
    let entries = || group.entries.iter().map(|&entry| &objective.entries[entry]);
    let mut points = vec![group.own(base), entries().map(Entry::centre).collect()];
    let (count, starts) = if objective.is_known() {
        (TRIED.0, 1)
    } else {
        ((TRIED.0 + TRIED.1 * group.entries.len()).min(TRIED.2), STARTS)
    };
    for k in 0..count as u32 {
        let share =
            |dimension: usize| f64::from(sobol_burley::sample(k, dimension as u32 % 256, (dimension / 256) as u32));
        points.push(entries().enumerate().map(|(dimension, entry)| entry.spread(share(dimension))).collect());
    }
    let values = objective.values(group, base, &points, blocks);
    let mut order: Vec<usize> = (0..points.len()).filter(|&k| values[k].is_finite()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    order.into_iter().take(starts).map(|k| points[k].clone()).collect()
}

/// Newton steps in a trust region (Nocedal & Wright, *Numerical Optimization*, 2nd ed., algorithms 4.1 and 7.2) to a minimum near
/// `start`. The Hessian is `known`, or else what scores tell of it at each point, corrected by the gradients on the way (BFGS, eq.
/// 6.19).
fn descend(
    objective: &Objective<'_>,
    group: &Group,
    base: &[f64],
    (start, known): (Vec<f64>, Option<Vec<Vec<f64>>>),
    (blocks, tolerance): (usize, f64),
) -> Option<Descended> {
    let history = Mutex::new(History::default());
    let problem = Posterior { objective, group, base, blocks, known, history: &history };
    let region = TrustRegion::new(Steihaug::new()).with_radius(1.0).ok()?.with_max_radius(LONGEST).ok()?;
    let descent = Executor::new(problem, Descent { region, tolerance, costs: Vec::new() })
        .configure(|state| state.param(start).max_iters(STEPS))
        .ctrlc(false)
        .run();
    // Where the way ended at a breakdown of the likelihood, what was reached before still counts.
    drop(descent);
    history.into_inner().unwrap_or_else(PoisonError::into_inner).latest
}

/// What is known of a descent so far.
#[derive(Default)]
struct History {
    /// The point whose derivatives were asked for last: gradient and Hessian come together.
    latest: Option<Descended>,
    /// Recent steps, and the change of the gradient on each.
    pairs: VecDeque<(DVector<f64>, DVector<f64>)>,
}

impl History {
    /// Adds a point, whose Hessian is corrected by the pairs so far.
    fn push(&mut self, theta: &[f64], mut curve: Curve) {
        if let Some(before) = &self.latest {
            let difference =
                |to: &[f64], from: &[f64]| DVector::from_column_slice(to) - DVector::from_column_slice(from);
            let (s, y) = (difference(theta, &before.theta), difference(&curve.gradient, &before.curve.gradient));
            if y.norm() > LEAST_CHANGE {
                self.pairs.push_back((s, y));
            }
            if self.pairs.len() > PAIRS {
                self.pairs.pop_front();
            }
        }
        let mut hessian = matrix(&curve.hessian);
        for (s, y) in &self.pairs {
            let hs = &hessian * s;
            let (shs, sy) = (s.dot(&hs), s.dot(y));
            // What keeps it positive definite.
            if sy > 1e-8 * s.norm() * y.norm() && shs > 0.0 {
                hessian.ger(-1.0 / shs, &hs, &hs, 1.0);
                hessian.ger(1.0 / sy, y, y, 1.0);
            }
        }
        for (row, corrected) in curve.hessian.iter_mut().zip(hessian.row_iter()) {
            row.iter_mut().zip(&corrected).for_each(|(entry, corrected)| *entry = *corrected);
        }
        self.latest = Some(Descended { theta: theta.to_vec(), curve });
    }
}

/// The negative log-posterior of a group, as the optimiser sees it.
struct Posterior<'a> {
    objective: &'a Objective<'a>,
    group: &'a Group,
    base: &'a [f64],
    blocks: usize,
    /// The Hessian, if it is known about here.
    known: Option<Vec<Vec<f64>>>,
    history: &'a Mutex<History>,
}

impl Posterior<'_> {
    fn curve(&self, theta: &[f64]) -> Result<Curve, ArgminError> {
        let Self { objective, group, base, blocks, known, .. } = self;
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latest) = history.latest.as_ref().filter(|latest| latest.theta == theta) {
            return Ok(latest.curve.clone());
        }
        let curve = objective.curve_by_scores(group, base, theta, known.as_deref(), *blocks);
        let curve = curve.ok_or_else(|| ArgminError::msg("the likelihood breaks down beside this point"))?;
        history.push(theta, curve);
        history.latest.as_ref().map(|latest| latest.curve.clone()).ok_or_else(|| ArgminError::msg("no point"))
    }
}

impl CostFunction for Posterior<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, theta: &Vec<f64>) -> Result<f64, ArgminError> {
        Ok(self.objective.values(self.group, self.base, std::slice::from_ref(theta), self.blocks)[0])
    }
}

impl Gradient for Posterior<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, theta: &Vec<f64>) -> Result<Vec<f64>, ArgminError> {
        Ok(self.curve(theta)?.gradient)
    }
}

impl Hessian for Posterior<'_> {
    type Param = Vec<f64>;
    type Hessian = Vec<Vec<f64>>;

    fn hessian(&self, theta: &Vec<f64>) -> Result<Vec<Vec<f64>>, ArgminError> {
        Ok(self.curve(theta)?.hessian)
    }
}

type Region = TrustRegion<Steihaug<Vec<f64>, f64>, f64>;
type Iteration = IterState<Vec<f64>, Vec<f64>, (), Vec<Vec<f64>>, (), f64>;

/// A trust region that knows when it has arrived.
struct Descent {
    region: Region,
    tolerance: f64,
    /// Of every step so far.
    costs: Vec<f64>,
}

impl<'a> Solver<Posterior<'a>, Iteration> for Descent {
    fn name(&self) -> &'static str {
        "trust region until it is flat"
    }

    fn init(
        &mut self,
        problem: &mut Problem<Posterior<'a>>,
        state: Iteration,
    ) -> Result<(Iteration, Option<KV>), ArgminError> {
        self.region.init(problem, state)
    }

    fn next_iter(
        &mut self,
        problem: &mut Problem<Posterior<'a>>,
        state: Iteration,
    ) -> Result<(Iteration, Option<KV>), ArgminError> {
        self.region.next_iter(problem, state)
    }

    fn terminate(&mut self, state: &Iteration) -> TerminationStatus {
        let flat = match (state.get_gradient(), state.get_hessian()) {
            (Some(gradient), Some(rows)) => promise(gradient, rows).is_some_and(|promise| promise < self.tolerance),
            _ => false,
        };
        self.costs.push(state.get_cost());
        let (steps, times, least) = STALLED;
        let before = self.costs.len().checked_sub(steps + 1).map(|k| self.costs[k]);
        let stalled = before.is_some_and(|before| before - state.get_cost() < (times * self.tolerance).max(least));
        if flat || stalled {
            TerminationStatus::Terminated(TerminationReason::SolverConverged)
        } else {
            TerminationStatus::NotTerminated
        }
    }
}

/// What a Newton step promises, `gᵀ H⁻¹ g / 2`; `None` where the curvature is no minimum's.
fn promise(gradient: &[f64], rows: &[Vec<f64>]) -> Option<f64> {
    let gradient = DVector::from_column_slice(gradient);
    let step = matrix(rows).cholesky()?.solve(&gradient);
    Some(0.5 * step.dot(&gradient))
}

/// The Hessian with the absolute values of its eigenvalues, none of them below the least: a step goes down along each (Nocedal & Wright,
/// *Numerical Optimization*, 2nd ed., section 3.4).
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

    /// A point of a quadratic whose Hessian is `truth`, and is told to be `told`.
    fn point(theta: &[f64], truth: &DMatrix<f64>, told: f64) -> Curve {
        let gradient = truth * DVector::from_column_slice(theta);
        let hessian = (0..theta.len()).map(|i| (0..theta.len()).map(|j| if i == j { told } else { 0.0 }).collect());
        Curve { value: 0.0, gradient: gradient.as_slice().to_vec(), hessian: hessian.collect() }
    }

    fn walk(truth: &DMatrix<f64>, told: f64, points: &[[f64; 2]]) -> DMatrix<f64> {
        let mut history = History::default();
        points.iter().for_each(|theta| history.push(theta, point(theta, truth, told)));
        matrix(&history.latest.unwrap().curve.hessian)
    }

    #[test]
    fn the_hessian_is_corrected_by_gradients() {
        let truth = DMatrix::from_row_slice(2, 2, &[4.0, 1.0, 1.0, 0.5]);
        let points = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, -1.0]];
        for told in [100.0, 0.01] {
            let hessian = walk(&truth, told, &points);
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
