//! Whether change varies over the scene, and how: what each block says of its variance by itself, and all together.

use std::fmt;

use nalgebra::DVector;
use serde::Serialize;

use super::Estimation;
use super::candidate::for_blocks;
use crate::describe::{Description, Variation};
use crate::engine::ByDate;
use crate::error::Result;
use crate::model::{Kriging, Model};

/// Logarithms of factors that are tried in every block: how many on either side of 0, and their spacing.
const STEPS: (i32, f64) = (10, 0.25);

/// Ranges that are tried, as shares of the largest distance between blocks.
const RANGES: [f64; 5] = [0.1, 0.2, 0.4, 0.8, 1.6];

/// Standard deviations of the factors' logarithm that are tried: the least, the ratio from one to the next, how many.
const SPREADS: (f64, f64, i32) = (0.05, 1.2, 21);

/// What blocks say of the variance of change, given all other numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ChangeByBlock {
    /// Centres (x, y) of the blocks, in the target's CRS.
    pub places: Vec<(f64, f64)>,
    /// For each group of components that is filtered separately (every band, without a spectral basis) and each
    /// block: the logarithm of the likeliest factor of the process variance and its standard error; `None` where the
    /// block does not determine them.
    pub log_factors: Vec<Vec<Option<(f64, f64)>>>,
    /// Standard deviation over the scene of the logarithm, of each group, if change varies; 0 where no block
    /// determines it.
    pub spread: Vec<f64>,
    /// Distance over which factors are similar, in CRS units.
    pub range: f64,
    /// By how much the Bayesian information criterion, over the blocks' estimates, is better with factors that vary
    /// than with the same everywhere.
    pub evidence: f64,
    /// Factors of each component at each place: what the blocks say, each in the light of the others.
    pub factors: Vec<Vec<f64>>,
    /// Factors of each component far from all of them.
    pub elsewhere: Vec<f64>,
}

impl ChangeByBlock {
    /// The factors, interpolated; `None` where evidence that they vary is less than the 6 that is called strong (Kass
    /// & Raftery, *Bayes Factors*, Journal of the American Statistical Association 90, 1995). They are factors of
    /// what the candidate's process says, which should have no [variation](crate::describe::Process::variation) of
    /// its own.
    #[must_use]
    pub fn variation(&self) -> Option<Variation> {
        if !self.varies() {
            return None;
        }
        let new = Variation::new(self.range).elsewhere(self.elsewhere.clone());
        let points = self.places.iter().zip(&self.factors);
        Some(points.fold(new, |all, (place, factors)| all.point(*place, factors.clone())))
    }

    fn varies(&self) -> bool {
        self.evidence >= super::estimation::EVIDENCE
    }

    /// Whether any block determines the factor of a group.
    fn is_determined(&self, group: usize) -> bool {
        self.log_factors[group].iter().any(Option::is_some)
    }
}

impl fmt::Display for ChangeByBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !(0..self.log_factors.len()).any(|group| self.is_determined(group)) {
            return write!(f, "no block shows whether change varies over the scene");
        }
        let verdict = if self.varies() { "varies" } else { "does not vary measurably" };
        let spread = |(group, sd): (usize, &f64)| {
            if self.is_determined(group) { format!("{:.2}", sd.exp()) } else { "unknown".into() }
        };
        let spreads: Vec<String> = self.spread.iter().enumerate().map(spread).collect();
        write!(
            f,
            "change {verdict} over the scene: BIC {:+.1} with factors of its variance (x/÷ {}) similar within {}",
            -self.evidence,
            spreads.join(", "),
            significant(self.range)
        )
    }
}

/// Three digits of a number, without an exponent.
fn significant(number: f64) -> String {
    let decimals = (2.0 - number.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{number:.decimals$}")
}

impl Estimation {
    /// Finds out whether the process variance varies over the scene: in every block the likeliest factor, all else
    /// being as `description` says (that of a [fit](Self::fit)), then a field of factors of which the blocks are
    /// noisy observations, by its likelihood (empirical Bayes; Rasmussen & Williams, *Gaussian Processes for Machine
    /// Learning*, section 5.4.1).
    ///
    /// It takes 21 likelihoods of every block, and all blocks are looked at once.
    ///
    /// # Errors
    /// Those of the description.
    pub fn change_by_block(&self, description: &Description) -> Result<ChangeByBlock> {
        let sample = &self.sample;
        let model = Model::new(&for_blocks(description.clone(), sample.cells()))?;
        let groups: Vec<Vec<usize>> = model.parts.iter().map(|part| part.components.clone()).collect();
        let steps: Vec<f64> = (-STEPS.0..=STEPS.0).map(|k| f64::from(k) * STEPS.1).collect();
        let inputs = sample.inputs(&model)?;
        let mut values = Vec::with_capacity(groups.len() * steps.len());
        for group in 0..groups.len() {
            let of_group = model.clone().of_part(group);
            let models: Vec<_> = steps.iter().map(|step| Some(of_group.clone().with_change(step.exp()))).collect();
            let sum = |dates: Option<ByDate>| {
                dates.map_or(f64::NEG_INFINITY, |dates| dates.iter().map(|of| of.log_likelihood).sum::<f64>())
            };
            let tried = sample.by_date(&models, &inputs, self.blocks())?;
            values.extend(tried.into_iter().map(|blocks| blocks.into_iter().map(sum).collect::<Vec<_>>()));
        }
        let places: Vec<(f64, f64)> = sample.blocks().iter().map(|block| block.centre).collect();
        let of_block = |tried: &[Vec<f64>], block: usize| peak(&steps, |k| tried[k][block]);
        let log_factors: Vec<Vec<_>> = values
            .chunks(steps.len())
            .map(|tried| (0..places.len()).map(|block| of_block(tried, block)).collect())
            .collect();
        let components = groups.iter().flatten().max().map_or(0, |last| last + 1);
        Ok(together(places, log_factors, &groups, components))
    }
}

/// Where a curve that is known at equidistant steps is highest, and how sharply: the parabola through the three
/// highest; at an end the end itself. `None` where it does not bend down, or is not known there.
fn peak(steps: &[f64], value: impl Fn(usize) -> f64) -> Option<(f64, f64)> {
    let best = (0..steps.len()).max_by(|&a, &b| value(a).total_cmp(&value(b)))?;
    let middle = best.clamp(1, steps.len() - 2);
    let [before, at, after] = [middle - 1, middle, middle + 1].map(&value);
    let width = steps[1] - steps[0];
    let bend = (before - 2.0 * at + after) / (width * width);
    if !(bend < 0.0 && bend.is_finite()) {
        return None;
    }
    let top = steps[middle] - (after - before) / (2.0 * width * bend);
    Some((top.clamp(steps[0], steps[steps.len() - 1]), (-bend).recip().sqrt()))
}

/// The field that the blocks' estimates are observations of.
fn together(
    places: Vec<(f64, f64)>,
    log_factors: Vec<Vec<Option<(f64, f64)>>>,
    groups: &[Vec<usize>],
    components: usize,
) -> ChangeByBlock {
    let pairs = places.iter().flat_map(|a| places.iter().map(move |b| (a.0 - b.0).hypot(a.1 - b.1)));
    let longest = pairs.fold(f64::MIN_POSITIVE, f64::max);
    let spreads: Vec<f64> = (0..SPREADS.2).map(|k| SPREADS.0 * SPREADS.1.powi(k)).collect();
    let observed: Vec<Observed> = log_factors.iter().map(|known| Observed::new(&places, known)).collect();
    let informed = observed.iter().filter(|one| !one.places.is_empty()).count();
    // The spread of each group by itself at a range, and what all are likely together.
    let at_range = |range: f64| {
        let best = |one: &Observed| {
            let likely = |&spread: &f64| (spread, one.log_likelihood(range, spread));
            let none = (0.0, 0.0);
            let tried = spreads.iter().filter(|_| !one.places.is_empty()).map(likely);
            tried.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(none)
        };
        let found: Vec<(f64, f64)> = observed.iter().map(best).collect();
        let all: f64 = found.iter().map(|(_, likely)| likely).sum();
        (range, found.into_iter().map(|(spread, _)| spread).collect::<Vec<_>>(), all)
    };
    let tried = RANGES.iter().map(|share| at_range(share * longest));
    let (range, spread, likely) =
        tried.max_by(|a, b| a.2.total_cmp(&b.2)).unwrap_or((longest, Vec::new(), f64::NEG_INFINITY));
    let same: f64 = observed.iter().map(|one| one.log_likelihood(range, 0.0)).sum();
    let known = log_factors.iter().flatten().flatten().count();
    let evidence = 2.0 * (likely - same) - (informed + 1) as f64 * (known.max(1) as f64).ln();
    let (mut factors, mut elsewhere) = (vec![vec![1.0; components]; places.len()], vec![1.0; components]);
    for ((one, &spread), group) in observed.iter().zip(&spread).zip(groups) {
        let (mean, means) = one.means(&places, range, spread);
        group.iter().for_each(|&j| elsewhere[j] = mean.exp());
        for (factors, mean) in factors.iter_mut().zip(&means) {
            group.iter().for_each(|&j| factors[j] = mean.exp());
        }
    }
    ChangeByBlock { places, log_factors, spread, range, evidence, factors, elsewhere }
}

/// What some blocks say, with standard errors: noisy values of a field about the likeliest mean.
struct Observed {
    places: Vec<(f64, f64)>,
    values: DVector<f64>,
    noise: Vec<f64>,
}

impl Observed {
    fn new(places: &[(f64, f64)], known: &[Option<(f64, f64)>]) -> Self {
        let known = places.iter().zip(known).filter_map(|(place, known)| known.map(|known| (*place, known)));
        let (places, known): (Vec<_>, Vec<(f64, f64)>) = known.unzip();
        let (values, noise): (Vec<f64>, Vec<f64>) = known.into_iter().unzip();
        Self { places, values: DVector::from_vec(values), noise }
    }

    /// The field of some range and spread, its mean, and what departs from it.
    fn field(&self, range: f64, spread: f64) -> Option<(Kriging, f64, DVector<f64>)> {
        let kriging = Kriging::new(self.places.clone(), &self.noise, range, spread)?;
        let mean = kriging.mean(&self.values);
        Some((kriging, mean, self.values.add_scalar(-mean)))
    }

    /// Up to a constant.
    fn log_likelihood(&self, range: f64, spread: f64) -> f64 {
        let field = self.field(range, spread);
        field.map_or(f64::NEG_INFINITY, |(kriging, _, departures)| kriging.log_likelihood(&departures))
    }

    /// The mean, and what is expected at some places.
    fn means(&self, at: &[(f64, f64)], range: f64, spread: f64) -> (f64, Vec<f64>) {
        let Some((kriging, mean, departures)) = self.field(range, spread) else { return (0.0, vec![0.0; at.len()]) };
        let weights = kriging.weights(&departures);
        (mean, at.iter().map(|&at| mean + weights.dot(&kriging.covariances(at))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Crs, Grid};
    use crate::model::{Average, VariationModel};

    fn places() -> Vec<(f64, f64)> {
        (0..16).map(|k| (f64::from(k % 4) * 1000.0, f64::from(k / 4) * 900.0)).collect()
    }

    #[test]
    fn a_parabola_is_found_and_what_does_not_bend_is_not() {
        let steps: Vec<f64> = (-10..=10).map(|k| f64::from(k) * 0.25).collect();
        let (top, sd) = peak(&steps, |k| -0.5 * ((steps[k] - 0.83) / 0.4).powi(2)).unwrap();
        assert!((top - 0.83).abs() < 1e-12 && (sd - 0.4).abs() < 1e-12);
        let (end, sd) = peak(&steps, |k| -0.5 * ((steps[k] - 9.0) / 2.0).powi(2)).unwrap();
        assert!(end == 2.5 && (sd - 2.0).abs() < 1e-9);
        assert_eq!(peak(&steps, |k| steps[k]), None);
        assert_eq!(peak(&steps, |_| f64::NEG_INFINITY), None);
    }

    #[test]
    fn what_is_the_same_everywhere_is_not_said_to_vary() {
        // Within its standard errors of 1, and of another factor.
        for common in [0.0, 1.5] {
            let known = |k: i32| Some((common + 0.2 * f64::from(k * 7 % 16 - 8) / 8.0, 0.2));
            let found = together(places(), vec![(0..16).map(known).collect()], &[vec![0]], 1);
            assert!(found.evidence < 0.0 && found.variation().is_none(), "{found}");
        }
    }

    #[test]
    fn what_varies_is_interpolated_between_what_is_known() {
        // From the west to the east, by a factor of e each 1500 m; one block does not determine its factor.
        let log = |place: (f64, f64)| place.0 / 1500.0 - 1.0;
        let mut known: Vec<_> = places().iter().map(|&place| Some((log(place), 0.15))).collect();
        known[5] = None;
        let still = vec![Some((0.0, 0.1)); 16];
        let found = together(places(), vec![known, still], &[vec![2], vec![0, 1]], 3);
        assert!(found.evidence > 6.0 && found.variation().is_some(), "{found}");
        for (place, factors) in found.places.iter().zip(&found.factors) {
            assert!((factors[2].ln() - log(*place)).abs() < 0.25, "{place:?} {factors:?}");
            assert!((factors[0] - 1.0).abs() < 0.05 && factors[0] == factors[1], "{place:?} {factors:?}");
        }
        // What is written is the field that was found, between the points and beyond them too.
        let (range, spread) = (found.range, found.spread[0]);
        let grid = Grid::new(Crs::unknown(), [-2000.0, 100.0, 0.0, 5000.0, 0.0, -100.0], (70, 70)).unwrap();
        let written = VariationModel::new(&found.variation().unwrap(), 3).unwrap();
        let one = Observed::new(&found.places, &found.log_factors[0]);
        for (row, col) in [(25, 30), (31, 42), (3, 60), (69, 0)] {
            let (_, expected) = one.means(&[grid.centre(row, col)], range, spread);
            let factor = written.of_states(&grid, &[Average::cell(row, col)])[2][0].powi(2);
            assert!((factor.ln() - expected[0]).abs() < 1e-9, "{row} {col}: {factor}");
        }
        // A group that no block determines is reported as unknown and not counted.
        let also = together(places(), vec![found.log_factors[0].clone(), vec![None; 16]], &[vec![0], vec![1]], 2);
        let alone = together(places(), vec![found.log_factors[0].clone()], &[vec![0]], 1);
        assert_eq!((also.evidence, also.spread[1]), (alone.evidence, 0.0));
        assert!(also.to_string().contains("unknown") && also.factors.iter().all(|factors| factors[1] == 1.0));
        assert!(together(places(), vec![vec![None; 16]], &[vec![0]], 1).to_string().starts_with("no block shows"));
    }
}
