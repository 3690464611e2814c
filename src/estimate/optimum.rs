//! The minimum of a group's negative log-posterior: Newton steps in a trust region, from the best of several starts.

use std::sync::{Mutex, PoisonError};

use argmin::core::{
    CostFunction, Error as ArgminError, Executor, Gradient, Hessian, IterState, KV, Problem, Solver, TerminationReason,
    TerminationStatus,
};
use argmin::solver::trustregion::{Steihaug, TrustRegion};
use nalgebra::{DMatrix, DVector};

use super::objective::{Curve, Group, Objective};
use super::parameter::Entry;

/// A minimum is found when a Newton step promises less than this of log-likelihood: a fiftieth of a standard error. On the way to it,
/// or where structures are compared, less will do: where they differ by little any of them is good.
const TOLERANCE: f64 = 2e-4;
const ROUGHLY: f64 = 2e-2;

/// What may be left at the end, all of the curvature being known: a sixteenth of a standard error.
const ARRIVED: f64 = 2e-3;

/// Newton steps at most.
const STEPS: u64 = 60;

/// Steps after which the Hessian is worked out anew.
const RENEWED: usize = 6;

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
    /// Standard deviation of each, by the curvature there; NaN where it is no minimum.
    pub(super) sd: Vec<f64>,
    /// Whether the last step promised nothing more.
    pub(super) converged: bool,
}

/// Looks for the best numbers of a group; the other entries are `base`'s. `None` when the likelihood breaks down wherever it is
/// tried.
///
/// A few blocks are searched from the best of points all over the range, then all blocks from what was best of these; `roughly`
/// leaves it at that, without standard errors.
pub(super) fn search(objective: &Objective<'_>, group: &Group, base: &[f64], roughly: bool) -> Option<Optimum> {
    let all = objective.blocks();
    let some = all.div_ceil(SOME.0).max(SOME.1).min(all);
    let descent = |start: Vec<f64>| descend(objective, group, base, (start, None), (some, ROUGHLY));
    let mut found: Vec<Descended> = scan(objective, group, base, some).into_iter().filter_map(descent).collect();
    found.sort_by(|a, b| a.curve.value.total_cmp(&b.curve.value));
    let best = found.into_iter().find_map(|Descended { theta, curve, .. }| {
        let curve = curve.scaled(all as f64 / some as f64);
        descend(objective, group, base, (theta, Some(curve)), (all, ROUGHLY))
    })?;
    if roughly {
        let sd = vec![f64::NAN; best.theta.len()];
        let converged = promise(&best.curve.gradient, &best.curve.hessian).is_some_and(|promise| promise < ROUGHLY);
        return Some(Optimum { theta: best.theta, sd, converged });
    }
    // What gradients told of the curvature on the way may be coarse: the last steps, and the standard errors, go by all of it.
    let Descended { theta, curve, age } = descend(objective, group, base, (best.theta, None), (all, TOLERANCE))?;
    let curve = if age == 0 { curve } else { objective.curve(group, base, &theta, all)? };
    let sd = deviations(objective, group, base, &theta, &curve);
    let converged = promise(&curve.gradient, &curve.hessian).is_some_and(|promise| promise < ARRIVED);
    Some(Optimum { theta, sd, converged })
}

/// Standard errors at an optimum: the larger of those that the curvature `H` tells, `H⁻¹`, and those that the scores `g` of dates
/// tell, `H⁻¹ (Σ g gᵀ) H⁻¹` (Huber's sandwich).
///
/// Blocks are near each other: what changes a field changes several of them on the same date, and the curvature counts each as if
/// it were news. Scores of different dates are uncorrelated, for innovations are. With fewer than two dates for each number the
/// curvature alone must do.
fn deviations(objective: &Objective<'_>, group: &Group, base: &[f64], theta: &[f64], curve: &Curve) -> Vec<f64> {
    let n = theta.len();
    let Some(inverse) = symmetric(&curve.hessian).cholesky().map(|factor| factor.inverse()) else {
        return vec![f64::NAN; n];
    };
    let mut variances = inverse.diagonal();
    let scores = objective.scores(group, base, theta);
    if scores.len() > 2 * n {
        let mut spread = DMatrix::zeros(n, n);
        for (k, (&entry, &theta)) in group.entries.iter().zip(theta).enumerate() {
            spread[(k, k)] = objective.entries[entry].penalty(theta)[2];
        }
        // As many degrees of freedom are lost as there are numbers.
        let share = scores.len() as f64 / (scores.len() - n) as f64;
        for score in &scores {
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
    /// Steps since the Hessian was worked out.
    age: usize,
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
/// `start`, whose curvature may be known about.
fn descend(
    objective: &Objective<'_>,
    group: &Group,
    base: &[f64],
    (start, known): (Vec<f64>, Option<Curve>),
    (blocks, tolerance): (usize, f64),
) -> Option<Descended> {
    let latest = Mutex::new(None);
    let problem = Posterior { objective, group, base, blocks, known, latest: &latest };
    let region = TrustRegion::new(Steihaug::new()).with_radius(1.0).ok()?.with_max_radius(LONGEST).ok()?;
    let descent = Executor::new(problem, Descent { region, tolerance })
        .configure(|state| state.param(start).max_iters(STEPS))
        .ctrlc(false)
        .run();
    // Where the way ended at a breakdown of the likelihood, what was reached before still counts.
    drop(descent);
    latest.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The negative log-posterior of a group, as the optimiser sees it.
struct Posterior<'a> {
    objective: &'a Objective<'a>,
    group: &'a Group,
    base: &'a [f64],
    blocks: usize,
    /// About the curvature at the start.
    known: Option<Curve>,
    /// The point whose derivatives were asked for last: gradient and Hessian come together.
    latest: &'a Mutex<Option<Descended>>,
}

impl Posterior<'_> {
    fn curve(&self, theta: &[f64]) -> Result<Curve, ArgminError> {
        let Self { objective, group, base, blocks, known, .. } = self;
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latest) = latest.as_ref().filter(|latest| latest.theta == theta) {
            return Ok(latest.curve.clone());
        }
        let (curve, age) = match (latest.as_ref(), known) {
            (Some(before), _) if before.age < RENEWED => {
                let from = (before.theta.as_slice(), &before.curve);
                (objective.curve_from(group, base, from, theta, *blocks), before.age + 1)
            }
            (None, Some(known)) => (objective.curve_from(group, base, (theta, known), theta, *blocks), 1),
            _ => (objective.curve(group, base, theta, *blocks), 0),
        };
        let curve = curve.ok_or_else(|| ArgminError::msg("the likelihood breaks down beside this point"))?;
        *latest = Some(Descended { theta: theta.to_vec(), curve: curve.clone(), age });
        Ok(curve)
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
        if flat {
            TerminationStatus::Terminated(TerminationReason::SolverConverged)
        } else {
            TerminationStatus::NotTerminated
        }
    }
}

/// What a Newton step promises, `gᵀ H⁻¹ g / 2`; `None` where the curvature is no minimum's.
fn promise(gradient: &[f64], rows: &[Vec<f64>]) -> Option<f64> {
    let gradient = DVector::from_column_slice(gradient);
    let step = symmetric(rows).cholesky()?.solve(&gradient);
    Some(0.5 * step.dot(&gradient))
}

fn symmetric(rows: &[Vec<f64>]) -> DMatrix<f64> {
    DMatrix::from_fn(rows.len(), rows.len(), |i, j| rows[i][j])
}
