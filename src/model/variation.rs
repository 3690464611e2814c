use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use super::{Average, Values};
use crate::error::{Error, Result};
use crate::geometry::Grid;

const KEY: &str = "process.variation";

/// How much more, or less, some places change than others: factors of the process variance at points of the scene, interpolated.
///
/// `K(s, s') ← √(f(s) f(s')) K(s, s')` with `K` the covariance of the first field, nested kernels and nugget included. The logarithm of
/// `f` is the simple kriging of those at the points with the correlation `exp(-d / range)` (Cressie, *Statistics for Spatial Data*,
/// revised ed., section 3.4.5): `f` takes every point's factor there, and tends to 1 far from all of them.
///
/// The average over a footprint's rest beyond a window has the mean of `√f` at the centres of the rectangles that it is made of.
///
/// ```
/// use rasterfuse::model::{Kernel, Process, Variation};
/// // change in the north twice as variable as on average, in the south half
/// let variation = Variation::new(20_000.0).point((500_000.0, 5_150_000.0), 2.0).point((500_000.0, 5_100_000.0), 0.5);
/// let process = Process::new(Kernel::Exponential, 300.0, 1e-4).variation(variation);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Variation {
    range: f64,
    points: Vec<((f64, f64), Values)>,
}

impl Variation {
    /// The same factor, 1, everywhere, until there are points; `range`, in CRS units, is the distance over which factors are alike.
    #[must_use]
    pub fn new(range: f64) -> Self {
        Self { range, points: Vec::new() }
    }

    /// Adds a place, (x, y) in the target's CRS, and the factor of the variance there: one for all components or one for each.
    #[must_use]
    pub fn point(mut self, place: (f64, f64), factor: impl Into<Values>) -> Self {
        self.points.push((place, factor.into()));
        self
    }

    /// What decides it, by key.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let point = |(x, y): (f64, f64), factor: &Values| (format!("point ({x:?}, {y:?})"), factor.to_string());
        let points = self.points.iter().map(|(place, factor)| point(*place, factor));
        std::iter::once(("range".into(), format!("{:?}", self.range))).chain(points).collect()
    }

    /// Checks it, and works out the weights of its points for `p` components.
    pub(crate) fn resolve(&self, p: usize) -> Result<VariationModel> {
        let refuse = |key: &str, problem: String| Err(Error::setting(format!("{KEY}.{key}"), problem));
        if !(self.range > 0.0 && self.range.is_finite()) {
            return refuse("range", format!("{} must be positive, in CRS units", self.range));
        }
        let places: Vec<(f64, f64)> = self.points.iter().map(|(place, _)| *place).collect();
        for (k, (x, y)) in places.iter().enumerate() {
            if !(x.is_finite() && y.is_finite()) || places[..k].contains(&(*x, *y)) {
                let problem = format!("({x}, {y}), the {}th, must be finite and a place of its own", k + 1);
                return refuse("points", problem);
            }
        }
        let kriging = Kriging::new(self.range, places)?;
        let mut logs = vec![Vec::with_capacity(self.points.len()); p];
        for (_, factor) in &self.points {
            let factors = factor.expand_positive(p, &format!("{KEY}.points.factor"), "component")?;
            logs.iter_mut().zip(factors).for_each(|(logs, factor)| logs.push(factor.ln()));
        }
        let weights = logs.into_iter().map(|logs| kriging.weights(logs)).collect();
        Ok(VariationModel { kriging, weights })
    }
}

/// The correlation of a field that is known at some places.
#[derive(Clone, Debug)]
struct Kriging {
    range: f64,
    places: Vec<(f64, f64)>,
    factor: Cholesky<f64, Dyn>,
}

impl Kriging {
    fn new(range: f64, places: Vec<(f64, f64)>) -> Result<Self> {
        let entry = |i: usize, j: usize| exponential(places[i], places[j], range);
        let factor = Cholesky::new(DMatrix::from_fn(places.len(), places.len(), entry)).ok_or_else(|| {
            let problem = "places lie too near each other for this range; leave some out, or shorten it";
            Error::setting(format!("{KEY}.points"), problem)
        })?;
        Ok(Self { range, places, factor })
    }

    /// What the values at the places weigh together: a value elsewhere is the sum of these times its correlations.
    fn weights(&self, values: Vec<f64>) -> DVector<f64> {
        self.factor.solve(&DVector::from_vec(values))
    }

    fn correlations(&self, place: (f64, f64)) -> DVector<f64> {
        DVector::from_iterator(
            self.places.len(),
            self.places.iter().map(|&known| exponential(known, place, self.range)),
        )
    }
}

/// `exp(-d / range)`.
pub(crate) fn exponential((x, y): (f64, f64), (other_x, other_y): (f64, f64), range: f64) -> f64 {
    (-(x - other_x).hypot(y - other_y) / range).exp()
}

/// Factors of the standard deviation of change, anywhere.
#[derive(Clone, Debug)]
pub(crate) struct VariationModel {
    kriging: Kriging,
    /// Of each component.
    weights: Vec<DVector<f64>>,
}

impl VariationModel {
    /// Factors of some states, averages of the target's cells: those of all for the first of the components, then for the next.
    pub(crate) fn of_states(&self, target: &Grid, states: &[Average], components: &[usize]) -> Vec<f64> {
        let mut factors = vec![0.0; states.len() * components.len()];
        for (i, state) in states.iter().enumerate() {
            let cells: i64 = state.rects().iter().map(|rect| rect.count() as i64).sum();
            for rect in state.rects() {
                let share = rect.count() as f64 / cells as f64;
                let correlations = self.kriging.correlations(target.middle(rect));
                for (k, &j) in components.iter().enumerate() {
                    factors[k * states.len() + i] += share * (0.5 * self.weights[j].dot(&correlations)).exp();
                }
            }
        }
        factors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Crs, Rect};

    fn grid() -> Grid {
        Grid::new(Crs::unknown(), [0.0, 10.0, 0.0, 1000.0, 0.0, -10.0], (100, 100)).unwrap()
    }

    #[test]
    fn points_have_their_factors_and_far_away_there_is_none() {
        let (a, b) = (grid().centre(10, 20), grid().centre(40, 60));
        let variation = Variation::new(50.0).point(a, [4.0, 1.0]).point(b, [0.25, 9.0]).resolve(2).unwrap();
        let states = [Average::cell(10, 20), Average::cell(40, 60), Average::cell(5000, 20)];
        let factors = variation.of_states(&grid(), &states, &[1, 0]);
        for (found, expected) in factors.iter().zip([1.0, 3.0, 1.0, 2.0, 0.5, 1.0]) {
            assert!((found - expected).abs() < 1e-12, "{factors:?}");
        }
        // On the way to a lone point the logarithm falls with the correlation.
        let lone = Variation::new(50.0).point(a, 4.0).resolve(1).unwrap();
        let beside = lone.of_states(&grid(), &[Average::cell(10, 25)], &[0])[0];
        assert!((beside.ln() - 2.0_f64.ln() * (-1.0_f64).exp()).abs() < 1e-12);
    }

    #[test]
    fn averages_have_the_factors_of_their_parts() {
        let variation = Variation::new(300.0).point(grid().centre(10, 10), 4.0).resolve(1).unwrap();
        let rects = [Rect::new(8..13, 8..13), Rect::new(20..21, 8..18)];
        let of = |rects: Vec<Rect>| variation.of_states(&grid(), &[Average::new(rects, None)], &[0])[0];
        let expected = (25.0 * of(vec![rects[0]]) + 10.0 * of(vec![rects[1]])) / 35.0;
        assert!((of(rects.to_vec()) - expected).abs() < 1e-12);
        assert!((of(vec![rects[0]]) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn nonsense_is_refused_by_key() {
        let check = |variation: Variation, key: &str| {
            let message = variation.resolve(2).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{KEY}.{key}")), "{message}");
        };
        check(Variation::new(0.0), "range");
        check(Variation::new(1.0).point((0.0, 0.0), 0.0), "points.factor");
        check(Variation::new(1.0).point((0.0, 0.0), [1.0]), "points.factor");
        check(Variation::new(1.0).point((0.0, f64::NAN), 1.0), "points");
        check(Variation::new(1.0).point((0.0, 3.0), 1.0).point((0.0, 3.0), 2.0), "points");
        check(Variation::new(1e20).point((0.0, 3.0), 1.0).point((0.0, 4.0), 2.0), "points");
        assert!(Variation::new(1.0).resolve(2).is_ok());
    }
}
