//! The posterior of a candidate's free numbers, and its derivatives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use nalgebra::DVector;
use rayon::prelude::*;

use super::Candidate;
use super::profile::Maximum;
#[cfg(doc)]
use super::profile::Profile;
use super::scale::Entry;
use super::watch::Stage;
use crate::engine::{ByDate, OfDate, Sample, SampleInputs, SquareSum, possible};
use crate::error::{Error, Result};
use crate::geometry::Date;
use crate::model::{Model, Part};

/// Step of second differences in unbounded numbers: where log-likelihoods are good to 1e-8 they are good to 1e-3, far
/// less than the curvature of weak priors, which is the least that must be resolved.
const STEP: f64 = 4e-3;

/// Step of first differences forward, of which half the curvature is taken off. As that may be known badly, a short
/// one: differences are then good to 1e-3, a thousandth of a standard error where the curvature is 1, as that of weak
/// priors.
const SHORT_STEP: f64 = 2e-5;

/// Scores, each of a date and a block, needed for each number to determine the curvature.
const ENOUGH: usize = 3;

/// Models that are held at once.
const MODELS: usize = 64;

/// How far a number is moved to see whether it matters: a range far below a cell does not, a little more of it.
const FAR: f64 = 3.0;

/// The posterior of a description's numbers, up to a constant: weak priors times the likelihood of a sample.
///
/// Parts of the scene that are filtered separately have likelihoods of their own, each of which depends on some of the
/// numbers: a derivative is worked out from the parts that it concerns alone.
pub(super) struct Objective<'a> {
    sample: &'a Sample,
    candidate: &'a Candidate,
    inputs: SampleInputs,
    /// Of each part, half the log determinant of the factor that whitens its bands.
    log_dets: Vec<f64>,
    /// For each part, the entries that its likelihood depends on.
    depends: Vec<Vec<usize>>,
    /// Blocks that count.
    blocks: usize,
    evaluations: AtomicUsize,
    stage: &'a Stage<'a>,
}

/// Parts that share numbers, and the numbers: a separate optimisation problem.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subproblem {
    parts: Vec<usize>,
    pub(super) entries: Vec<usize>,
}

/// Value, gradient and Hessian of the negative log-posterior in the numbers of a subproblem.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) value: f64,
    pub(super) gradient: Vec<f64>,
    pub(super) hessian: Vec<Vec<f64>>,
}

impl<'a> Objective<'a> {
    /// # Errors
    /// Those of the description with the numbers that the search begins with.
    pub(super) fn new(
        sample: &'a Sample,
        candidate: &'a Candidate,
        blocks: usize,
        stage: &'a Stage<'a>,
    ) -> Result<Self> {
        let start = candidate.entries.iter().map(|entry| entry.number(entry.start)).collect::<Vec<_>>();
        let model = Model::new(&candidate.of_blocks_with_numbers(&start))?;
        let (inputs, evaluations) = (sample.inputs(&model)?, AtomicUsize::new(0));
        if candidate.profile.is_some() && model.parts.iter().any(|part| part.together.is_none()) {
            let why = model.apart.unwrap_or_default();
            let problem = format!(
                "bands cannot be estimated together: {why}; give what differs, or noise in u² and process.bands = \"apart\""
            );
            return Err(Error::setting("process.bands", problem));
        }
        let log_det = |part: &Part| part.together.as_ref().map_or(0.0, |together| together.log_det());
        let log_dets = model.parts.iter().map(log_det).collect();
        let mut this = Self { sample, candidate, inputs, log_dets, depends: Vec::new(), blocks, evaluations, stage };
        this.depends = this.dependencies(model.parts.len())?;
        Ok(this)
    }

    pub(super) fn entries(&self) -> &'a [Entry] {
        &self.candidate.entries
    }

    /// Which entries each part depends on, found by moving each number and comparing likelihoods, so that no rule can
    /// miss a dependence.
    fn dependencies(&self, parts: usize) -> Result<Vec<Vec<usize>>> {
        // As few blocks as show every band of every instrument.
        let mut observed = vec![BTreeSet::new()];
        for block in self.sample.blocks() {
            let mut all = observed[observed.len() - 1].clone();
            all.extend(block.observations().map(|value| (value.instrument, value.band)));
            observed.push(all);
        }
        let blocks = observed.iter().position(|some| some.len() == observed[observed.len() - 1].len()).unwrap_or(1);
        let all: Vec<usize> = (0..self.entries().len()).collect();
        let mut depends = self.moved_by(&all, parts, blocks)?;
        // What matters nowhere there may matter in other blocks.
        let idle = |entry: &usize| depends.iter().all(|entries| !entries.contains(entry));
        let idle: Vec<usize> = all.into_iter().filter(idle).collect();
        if !idle.is_empty() {
            for (entries, more) in depends.iter_mut().zip(self.moved_by(&idle, parts, self.blocks)?) {
                entries.extend(more);
                entries.sort_unstable();
            }
        }
        Ok(depends)
    }

    /// Which of some entries move the likelihood of each part.
    fn moved_by(&self, entries: &[usize], parts: usize, blocks: usize) -> Result<Vec<Vec<usize>>> {
        let start = self.start();
        let point =
            |entry: Option<&usize>| moved(&start, &entry.map(|&entry| (entry, FAR)).into_iter().collect::<Vec<_>>());
        let tries = std::iter::once(None).chain(entries.iter().map(Some));
        let points: Vec<_> = tries.flat_map(|entry| (0..parts).map(move |part| (part, entry))).collect();
        let points: Vec<_> = points.into_iter().map(|(part, entry)| (part, point(entry))).collect();
        let values = self.log_likelihoods(&points, blocks)?;
        let (base, moved) = values.split_at(parts);
        let of_part = |part: usize| {
            // Where the likelihood breaks down nothing can be concluded: the number may matter.
            let differs = |k: &usize| base[part] != moved[k * parts + part] || base[part].is_infinite();
            (0..entries.len()).filter(differs).map(|k| entries[k]).collect()
        };
        Ok((0..parts).map(of_part).collect())
    }

    /// Where the numbers begin, unbounded.
    pub(super) fn start(&self) -> Vec<f64> {
        self.entries().iter().map(|entry| entry.start).collect()
    }

    /// The numbers of a point.
    pub(super) fn numbers(&self, theta: &[f64]) -> Vec<f64> {
        self.entries().iter().zip(theta).map(|(entry, theta)| entry.number(*theta)).collect()
    }

    /// Groups of parts and numbers that are independent of each other.
    pub(super) fn groups(&self) -> Vec<Subproblem> {
        let mut groups: Vec<Subproblem> = Vec::new();
        for (part, depends) in self.depends.iter().enumerate() {
            let mut group = Subproblem { parts: vec![part], entries: depends.clone() };
            let (joined, apart): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|other| other.entries.iter().any(|entry| depends.contains(entry)));
            for other in joined {
                group.parts.extend(other.parts);
                group.entries.extend(other.entries);
            }
            group.parts.sort_unstable();
            group.entries.sort_unstable();
            group.entries.dedup();
            groups = apart;
            groups.push(group);
        }
        groups.retain(|group| !group.entries.is_empty());
        groups
    }

    /// Likelihoods computed so far, each of one part and one block.
    pub(super) fn evaluations(&self) -> usize {
        self.evaluations.load(Ordering::Relaxed)
    }

    /// Whether the search is to end with the best so far.
    pub(super) fn stops(&self) -> bool {
        self.stage.stops()
    }

    /// Likelihoods of single blocks that a gradient of a group takes, for each block.
    pub(super) fn gradient_effort(&self, group: &Subproblem) -> usize {
        group.parts.iter().map(|&part| 1 + self.depends[part].len()).sum()
    }

    /// Whether some numbers begin with what has been found of them.
    pub(super) fn is_known(&self) -> bool {
        self.candidate.is_known()
    }

    /// Whether a good part of the numbers is found in closed form, and what is believed of the others is worth a start.
    pub(super) fn is_profiled(&self) -> bool {
        self.candidate.profile.is_some()
    }

    /// Blocks of the sample that count.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The log-likelihood of all parts.
    pub(super) fn log_likelihood(&self, theta: &[f64]) -> Result<f64> {
        let points: Vec<_> = (0..self.depends.len()).map(|part| (part, theta.to_vec())).collect();
        Ok(self.log_likelihoods(&points, self.blocks())?.into_iter().sum())
    }

    /// What the weak priors take away from the log-likelihood of a point: half the squared distances of the numbers
    /// that any part depends on.
    pub(super) fn penalty(&self, theta: &[f64]) -> f64 {
        let observed: BTreeSet<usize> = self.depends.iter().flatten().copied().collect();
        observed.into_iter().map(|entry| self.entries()[entry].penalty(theta[entry])[0]).sum()
    }

    /// Log-likelihoods of (part, point) in the first blocks, at their largest where a part is
    /// [profiled](Profile); negative infinity where the arithmetic breaks down.
    fn log_likelihoods(&self, points: &[(usize, Vec<f64>)], blocks: usize) -> Result<Vec<f64>> {
        let mut values = Vec::with_capacity(points.len());
        for points in points.chunks(MODELS) {
            let dates = self.by_date(points, blocks)?.into_iter().map(joined);
            values.extend(points.iter().zip(dates).map(|((part, _), dates)| {
                let value = dates.and_then(|dates| match &self.candidate.profile {
                    None => Some(total(&dates)),
                    Some(profile) => Some(profile.maximum(&summed(&dates), self.log_dets[*part])?.log_likelihood),
                });
                value.filter(|value| value.is_finite()).unwrap_or(f64::NEG_INFINITY)
            }));
        }
        Ok(values)
    }

    /// What is found in closed form of a part at a point.
    pub(super) fn maximum(&self, part: usize, theta: &[f64]) -> Result<Option<Maximum>> {
        let Some(profile) = &self.candidate.profile else { return Ok(None) };
        let dates = self.by_date(&[(part, theta.to_vec())], self.blocks)?.into_iter().next().and_then(joined);
        Ok(dates.and_then(|dates| profile.maximum(&summed(&dates), self.log_dets[part])))
    }

    /// What the dates of each point add, and their total. Points follow each other by parts, each part's first the
    /// centre, where what is found in closed form is found for all of them: derivatives of totals there are those of
    /// the dates (the envelope theorem). `None` where the arithmetic breaks down.
    fn around_centres(&self, points: &[(usize, Vec<f64>)], blocks: usize) -> Result<Option<Vec<Around>>> {
        let Some(dates) = self.by_date(points, blocks)?.into_iter().map(joined).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let Some(profile) = &self.candidate.profile else {
            let around = |dates: Vec<OfDate>| Around { total: total(&dates), dates, scale: Vec::new() };
            return Ok(Some(dates.into_iter().map(around).collect()));
        };
        let mut centre: Option<(usize, Maximum)> = None;
        let mut around = |((part, _), mut dates): (&(usize, Vec<f64>), Vec<OfDate>)| {
            let log_det = self.log_dets[*part];
            let own = profile.maximum(&summed(&dates), log_det)?;
            let total = own.log_likelihood;
            if centre.as_ref().is_none_or(|(known, _)| known != part) {
                centre = Some((*part, own));
            }
            let (_, maximum) = centre.as_ref()?;
            let mut scale = Vec::with_capacity(dates.len());
            for of in &mut dates {
                let by_scale;
                let squares = of.squares.as_ref().map(|squares| maximum.adds(squares, log_det));
                (of.log_likelihood, by_scale) = squares.unwrap_or_default();
                scale.push(by_scale);
            }
            Some(Around { total, dates, scale })
        };
        Ok(points.iter().zip(dates).map(&mut around).collect())
    }

    /// As [`log_likelihoods`](Self::log_likelihoods), date by date.
    fn by_date(&self, points: &[(usize, Vec<f64>)], blocks: usize) -> Result<Vec<Vec<Option<ByDate>>>> {
        self.evaluations.fetch_add(points.len() * blocks, Ordering::Relaxed);
        let mut values = Vec::with_capacity(points.len());
        for points in points.chunks(MODELS) {
            let models = points.par_iter().map(|point| self.model(point)).collect::<Result<Vec<_>>>()?;
            values.extend(self.sample.by_date(&models, &self.inputs, blocks)?);
        }
        self.stage.show(self.evaluations());
        Ok(values)
    }

    /// The model of a part at a point; none where its numbers cannot be.
    fn model(&self, (part, theta): &(usize, Vec<f64>)) -> Result<Option<Model>> {
        let model = possible(Model::new(&self.candidate.of_blocks_with_numbers(&self.numbers(theta))))?;
        let effects: Option<Vec<_>> =
            self.candidate.profile.as_ref().map(|profile| profile.effects.iter().map(|(effect, _)| *effect).collect());
        Ok(model.map(|model| match &effects {
            None => model.of_part(*part),
            Some(effects) => model.of_part(*part).with_effects(effects),
        }))
    }

    /// Negative log-posterior of a group at points whose other entries are `base`'s; infinite where the filter breaks
    /// down.
    pub(super) fn values(
        &self,
        group: &Subproblem,
        base: &[f64],
        points: &[Vec<f64>],
        blocks: usize,
    ) -> Result<Vec<f64>> {
        let whole = |own: &[f64]| group.whole(base, own);
        let tried: Vec<_> =
            points.iter().flat_map(|own| group.parts.iter().map(move |&part| (part, whole(own)))).collect();
        let values = self.log_likelihoods(&tried, blocks)?;
        let value = |(own, parts): (&Vec<f64>, &[f64])| {
            let penalty: f64 =
                group.entries.iter().zip(own).map(|(&k, &theta)| self.entries()[k].penalty(theta)[0]).sum();
            penalty - parts.iter().sum::<f64>()
        };
        Ok(points.iter().zip(values.chunks(group.parts.len())).map(value).collect())
    }

    /// Value and derivatives at a point, by central differences; and the gradient of the log-likelihood
    /// that each date adds, all blocks together. `None` where a neighbour breaks down.
    pub(super) fn curve(
        &self,
        group: &Subproblem,
        base: &[f64],
        own: &[f64],
        blocks: usize,
    ) -> Result<Option<(Curve, Vec<Vec<f64>>)>> {
        let theta = group.whole(base, own);
        let (mut along, mut across) = (Vec::new(), Vec::new());
        for &part in &group.parts {
            let own = &self.depends[part];
            along.push((part, theta.clone()));
            for (k, &entry) in own.iter().enumerate() {
                along.extend([STEP, -STEP].map(|step| (part, moved(&theta, &[(entry, step)]))));
                for &other in &own[..k] {
                    across.extend([STEP, -STEP].map(|step| (part, moved(&theta, &[(entry, step), (other, step)]))));
                }
            }
        }
        // Dates are kept separate along the axes only: they are many.
        let along = self.around_centres(&along, blocks)?;
        let across = self.log_likelihoods(&across, blocks)?;
        Ok(along.and_then(|along| self.differences(group, own, &along, &across)))
    }

    /// Derivatives of differences along the axes, date by date, and across them.
    fn differences(
        &self,
        group: &Subproblem,
        own: &[f64],
        along: &[Around],
        across: &[f64],
    ) -> Option<(Curve, Vec<Vec<f64>>)> {
        let mut along = along.iter().map(|around| (-around.total, &around.dates));
        let mut across = across.iter().map(|value| -value);
        let n = group.entries.len();
        let mut curve = Curve::flat(n);
        let mut scores: BTreeMap<Date, Vec<f64>> = BTreeMap::new();
        for &part in &group.parts {
            let at = self.places(group, part);
            let (centre, _) = along.next()?;
            curve.value += centre;
            let mut arounds = Vec::with_capacity(at.len());
            for (k, &row) in at.iter().enumerate() {
                let ((plus, above), (minus, below)) = (along.next()?, along.next()?);
                curve.gradient[row] += (plus - minus) / (2.0 * STEP);
                curve.hessian[row][row] += (plus - 2.0 * centre + minus) / (STEP * STEP);
                for (&col, around) in at[..k].iter().zip(&arounds) {
                    let diagonal = across.next()? + across.next()?;
                    let mixed = (diagonal - (plus + minus) - around + 2.0 * centre) / (2.0 * STEP * STEP);
                    curve.hessian[row][col] += mixed;
                    curve.hessian[col][row] += mixed;
                }
                arounds.push(plus + minus);
                for (sign, dates) in [(1.0, above), (-1.0, below)] {
                    for of in dates.iter().filter(|of| of.dof > 0) {
                        let score = scores.entry(of.date).or_insert_with(|| vec![0.0; n]);
                        score[row] += sign * of.log_likelihood / (2.0 * STEP);
                    }
                }
            }
        }
        self.add_priors(group, own, &mut curve);
        curve.is_finite().then(|| (curve, scores.into_values().collect()))
    }

    /// As [`curve`](Self::curve), at the cost of the gradient alone. The Hessian is the one `known`; or else the sum
    /// of outer products of what each date adds to the gradient of each block, which is expected to be the same
    /// (Berndt, Hall, Hall & Hausman, *Estimation and inference in nonlinear structural models*, Annals of Economic
    /// and Social Measurement 3/4, 1974), less what all values of a part add in common: far from the minimum, where
    /// the gradient is large, that would be most of it.
    pub(super) fn curve_by_scores(
        &self,
        group: &Subproblem,
        base: &[f64],
        own: &[f64],
        known: Option<&[Vec<f64>]>,
        blocks: usize,
    ) -> Result<Option<Curve>> {
        let theta = group.whole(base, own);
        let mut points = Vec::new();
        for &part in &group.parts {
            points.push((part, theta.clone()));
            points.extend(self.depends[part].iter().map(|&entry| (part, moved(&theta, &[(entry, SHORT_STEP)]))));
        }
        // What each date adds to each block.
        let values = self.around_centres(&points, blocks)?;
        let Some((mut curve, scores)) = values.and_then(|values| self.slopes(group, &values)) else { return Ok(None) };
        if known.is_none() && scores < ENOUGH * group.entries.len() {
            return Ok(self.curve(group, base, own, blocks)?.map(|(curve, _)| curve));
        }
        for (k, (slope, row)) in curve.gradient.iter_mut().zip(known.unwrap_or(&curve.hessian)).enumerate() {
            *slope -= 0.5 * SHORT_STEP * row[k];
        }
        self.add_priors(group, own, &mut curve);
        if let Some(known) = known {
            curve.hessian = known.to_vec();
        }
        Ok(curve.is_finite().then_some(curve))
    }

    /// Value, gradient and the outer products of scores, from what each date adds at a point and a short step along
    /// each axis; and how many scores there are. `None` where a date is not there at every point.
    fn slopes(&self, group: &Subproblem, values: &[Around]) -> Option<(Curve, usize)> {
        let mut values = values.iter();
        let mut curve = Curve::flat(group.entries.len());
        let mut scores = usize::MAX;
        for &part in &group.parts {
            let at = self.places(group, part);
            let Around { total, scale, dates: centre } = values.next()?;
            curve.value -= total;
            let scale = DVector::from_column_slice(scale);
            let dof = DVector::from_iterator(centre.len(), centre.iter().map(|of| of.dof as f64));
            scores = scores.min(centre.iter().filter(|of| of.dof > 0).count());
            let mut scores: Vec<DVector<f64>> = Vec::with_capacity(at.len());
            for &row in &at {
                let ahead = &values.next().filter(|ahead| ahead.dates.len() == centre.len())?.dates;
                let slopes = ahead.iter().zip(centre).map(|(a, b)| (b.log_likelihood - a.log_likelihood) / SHORT_STEP);
                let score = DVector::from_iterator(centre.len(), slopes);
                let slope = score.sum();
                curve.gradient[row] += slope;
                let mut score = score - &dof * (slope / dof.sum().max(1.0));
                // What a common factor would do as well says nothing: the factor is found in closed form.
                if scale.norm_squared() > 0.0 {
                    let share = score.dot(&scale) / scale.norm_squared();
                    score.axpy(-share, &scale, 1.0);
                }
                scores.push(score);
            }
            for (&row, a) in at.iter().zip(&scores) {
                at.iter().zip(&scores).for_each(|(&col, b)| curve.hessian[row][col] += a.dot(b));
            }
        }
        Some((curve, scores))
    }

    /// Where in a group the numbers are that one of its parts depends on.
    fn places(&self, group: &Subproblem, part: usize) -> Vec<usize> {
        self.depends[part].iter().filter_map(|entry| group.entries.binary_search(entry).ok()).collect()
    }

    /// Adds value, slope and curvature of the weak priors.
    fn add_priors(&self, group: &Subproblem, own: &[f64], curve: &mut Curve) {
        for (k, (&entry, &theta)) in group.entries.iter().zip(own).enumerate() {
            let [value, slope, curvature] = self.entries()[entry].penalty(theta);
            curve.value += value;
            curve.gradient[k] += slope;
            curve.hessian[k][k] += curvature;
        }
    }
}

impl Curve {
    fn flat(n: usize) -> Self {
        Self { value: 0.0, gradient: vec![0.0; n], hessian: vec![vec![0.0; n]; n] }
    }

    fn is_finite(&self) -> bool {
        let all = self.gradient.iter().chain(self.hessian.iter().flatten());
        self.value.is_finite() && all.copied().all(f64::is_finite)
    }
}

impl Subproblem {
    /// The point whose entries are `own` in the group and `base`'s elsewhere.
    fn whole(&self, base: &[f64], own: &[f64]) -> Vec<f64> {
        let mut theta = base.to_vec();
        self.entries.iter().zip(own).for_each(|(&entry, &value)| theta[entry] = value);
        theta
    }

    /// The group's entries of a point.
    pub(super) fn own(&self, theta: &[f64]) -> Vec<f64> {
        self.entries.iter().map(|&entry| theta[entry]).collect()
    }
}

/// What a point adds to the log-likelihood of a part.
struct Around {
    total: f64,
    /// By dates, each of a block.
    dates: Vec<OfDate>,
    /// Of each, its derivative by the logarithm of the covariance between bands, where that is found in closed form.
    scale: Vec<f64>,
}

fn total(dates: &[OfDate]) -> f64 {
    dates.iter().map(|of| of.log_likelihood).sum()
}

/// The squares of all dates.
fn summed(dates: &[OfDate]) -> SquareSum {
    let mut sum = SquareSum::default();
    dates.iter().filter_map(|of| of.squares.as_ref()).for_each(|squares| sum += squares);
    sum
}

/// What the dates of all blocks add, one block after the other; `None` where the filter broke down in any.
fn joined(blocks: Vec<Option<ByDate>>) -> Option<Vec<OfDate>> {
    let blocks: Vec<ByDate> = blocks.into_iter().collect::<Option<_>>()?;
    Some(blocks.into_iter().flatten().collect())
}

fn moved(theta: &[f64], by: &[(usize, f64)]) -> Vec<f64> {
    let mut theta = theta.to_vec();
    by.iter().for_each(|&(entry, step)| theta[entry] += step);
    theta
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::super::Estimation;
    use super::*;
    use crate::Fusion;
    use crate::describe::{Features, Field, Footprint, Free, Instrument, Kernel, Numbers, OffsetLayer, Prior, Process};
    use crate::engine::FusionBuilder;
    use crate::geometry::{Crs, Grid};
    use crate::source::MemorySource;

    const SIDE: usize = 6;

    fn grid() -> Grid {
        Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (SIDE, SIDE)).unwrap()
    }

    /// A number that the search begins with, hardly believed.
    fn free(start: f64) -> Free {
        Free::default().start(start).prior(start, 1e6)
    }

    /// Four blocks of what a fusion observes, and its description as something to fit.
    fn sampled(fusion: &FusionBuilder) -> (Estimation, Candidate) {
        let estimation = Estimation::builder().blocks(4).side(3).read(fusion).unwrap();
        let candidate = estimation.candidate("", fusion.description()).unwrap();
        (estimation, candidate)
    }

    /// Cells that change with the days, each a little in its own way, and a description of them.
    fn one_band() -> FusionBuilder {
        let values = Array4::from_shape_fn((20, 1, SIDE, SIDE), |(day, _, row, col)| {
            let (day, cell) = (day as f64, (row * SIDE + col) as f64);
            0.3 + 0.05 * (0.4 * day + 0.05 * cell).sin() + 0.01 * (day * 12.9 + cell * 78.2).sin()
        });
        let dates = (0..20).map(Date::from_days).collect();
        let source = MemorySource::new(grid(), dates, vec!["red".into()], values).unwrap();
        Fusion::builder(grid())
            .bands(["red"])
            .process(Process::new(Kernel::Exponential, free(100.0), free(1e-4)))
            .prior(Prior::new(0.3, 0.01))
            .instrument(Instrument::new("fine", source).noise_variance(free(1e-4)))
    }

    /// Two bands that change over different ranges, by similarity of features, and a further field that does not go
    /// by it. The range of independent change means nothing.
    fn two_bands() -> FusionBuilder {
        let values = Array4::from_shape_fn((8, 2, SIDE, SIDE), |(day, band, row, col)| {
            let (day, cell) = (day as f64, (row * SIDE + col) as f64);
            0.3 + 0.1 * band as f64 + 0.05 * (0.4 * day + 0.3 * cell).sin()
        });
        let names = || vec!["red".into(), "nir".into()];
        let source = MemorySource::new(grid(), (0..8).map(Date::from_days).collect(), names(), values).unwrap();
        let land = Array4::from_shape_fn((1, 1, SIDE, SIDE), |(.., row, col)| ((row + 2 * col) % 3) as f64);
        let land = MemorySource::new(grid(), vec![Date::from_days(0)], vec!["class".into()], land).unwrap();
        let process = Process::new(Kernel::Exponential, [free(100.0), free(250.0)], [free(1e-3), free(2e-3)])
            .nested(Kernel::None, Free::default().start(300.0).prior(30.0, 2.0), 1e-9)
            .features(Features::new(land, 0.5))
            .field(Field::new(Kernel::Exponential, 900.0, 1e-4).block(1));
        Fusion::builder(grid())
            .bands(names())
            .process(process)
            .prior(Prior::new(0.3, 0.01))
            .instrument(Instrument::new("fine", source).noise_variance(1e-4))
    }

    #[test]
    fn parts_have_the_likelihood_of_the_whole() {
        let (estimation, candidate) = sampled(&two_bands());
        assert_eq!(candidate.free_numbers(), 6);
        let stage = Stage::unwatched();
        let objective = Objective::new(&estimation.sample, &candidate, 4, &stage).unwrap();
        assert_eq!(objective.depends, [vec![0, 2], vec![1, 3]]);
        let start = objective.start();
        let parts = objective.log_likelihood(&start).unwrap();
        let whole = estimation.log_likelihood(&candidate.with_numbers(&objective.numbers(&start))).unwrap();
        assert!((parts - whole).abs() < 1e-9 * whole.abs(), "{parts} and {whole}");
        // What no part depends on costs nothing, however far its prior is.
        assert_eq!(objective.penalty(&start), 0.0);
    }

    /// Three bands together that change alike, seen by cells and by coarse pixels with errors of their own.
    fn together() -> FusionBuilder {
        let names = || vec!["red".into(), "nir".into(), "swir".into()];
        let series = |cells: usize, days: i32, step: i32, bias: f64| {
            let side = 2 * SIDE / cells;
            let values = Array4::from_shape_fn(((days / step) as usize, 3, side, side), |(date, band, row, col)| {
                let (day, cell) = (f64::from(date as i32 * step), ((row * side + col) * cells) as f64);
                let noise = (day * 12.9 + cell * 78.2 + band as f64 * 2.1).sin();
                let level = 0.1 + 0.1 * band as f64 + bias;
                level + (0.05 * band as f64 + 0.02) * (0.1 * day + 0.05 * cell).sin() + 0.004 * noise
            });
            let dates = (0..days / step).map(|date| Date::from_days(date * step)).collect();
            let size = 30.0 * cells as f64;
            let grid = Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], (side, side)).unwrap();
            MemorySource::new(grid, dates, names(), values).unwrap()
        };
        let ratio = |start: f64| Numbers::ratio(free(start));
        let process = Process::new(Kernel::Exponential, free(100.0), Free::default()).nugget(free(0.1)).nested(
            Kernel::Exponential,
            free(700.0),
            ratio(0.5),
        );
        let coarse = Instrument::new("coarse", series(4, 24, 2, 0.02)).footprint(Footprint::Uniform);
        let offsets = [OffsetLayer::per_pixel(ratio(30.0)).drift(ratio(0.5)), OffsetLayer::per_acquisition(ratio(3.0))];
        let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (2 * SIDE, 2 * SIDE)).unwrap();
        Fusion::builder(grid)
            .bands(["red", "nir", "swir"])
            .process(process)
            .prior(Prior::new(Free::default(), ratio(40.0)).correlated())
            .instrument(Instrument::new("fine", series(1, 24, 8, 0.0)).noise_variance(ratio(1.0)))
            .instrument(
                coarse
                    .noise_variance(ratio(1.0))
                    .bias(Free::default())
                    .offset_layer(offsets[0].clone())
                    .offset_layer(offsets[1].clone()),
            )
    }

    #[test]
    fn scores_give_the_gradient_of_central_differences() {
        gradients_agree(&one_band());
    }

    #[test]
    fn what_is_found_in_closed_form_does_not_enter_gradients() {
        gradients_agree(&together());
    }

    /// Both gradients, and the Hessian of one by the other.
    fn gradients_agree(fusion: &FusionBuilder) {
        let (estimation, candidate) = sampled(fusion);
        let stage = Stage::unwatched();
        let objective = Objective::new(&estimation.sample, &candidate, 4, &stage).unwrap();
        let groups = objective.groups();
        assert_eq!(groups.len(), 1);
        for away in [0.0, 0.7, -1.1] {
            let base: Vec<f64> = objective.start().iter().map(|theta| theta + away).collect();
            let (exact, by_date) = objective.curve(&groups[0], &base, &base, 4).unwrap().unwrap();
            // Dates add up to the likelihood, of which the priors are no part.
            for (k, (slope, theta)) in exact.gradient.iter().zip(&base).enumerate() {
                let dates: f64 = by_date.iter().map(|score| score[k]).sum();
                let prior = objective.entries()[k].penalty(*theta)[1];
                // Totals follow the best covariance between bands along the step, dates keep that of the centre: they
                // differ by what is of the third order.
                let tolerance = if objective.is_profiled() { 1e-4 } else { 1e-6 };
                assert!((slope + dates - prior).abs() < tolerance * slope.abs().max(1.0), "{slope} {dates} {prior}");
            }
            for known in [Some(exact.hessian.as_slice()), None] {
                let curve = objective.curve_by_scores(&groups[0], &base, &base, known, 4).unwrap().unwrap();
                assert!((curve.value - exact.value).abs() < 1e-9 * exact.value.abs());
                for (slope, expected) in curve.gradient.iter().zip(&exact.gradient) {
                    // What central differences leave out is of the third order, over 4e-3.
                    assert!((slope - expected).abs() < 1e-3 * expected.abs().max(10.0), "{slope} for {expected}");
                }
                assert!(known.is_none_or(|known| curve.hessian == known));
            }
        }
    }
}
