use nalgebra::DVector;

use super::kriging::Kriging;
use super::{Average, Values};
use crate::error::{Error, Result};
use crate::geometry::Grid;

const KEY: &str = "process.variation";

/// How much more, or less, some places change than others: factors of the process variance at points of the scene, interpolated.
///
/// `K(s, s') ← √(f(s) f(s')) K(s, s')` with `K` the covariance of the first field, nested kernels and nugget included. The logarithm of
/// `f` is the simple kriging of those at the points with the correlation `exp(-d / range)` (Cressie, *Statistics for Spatial Data*,
/// revised ed., section 3.4.5): `f` takes every point's factor there, and tends to that of [elsewhere](Self::elsewhere) far from all of them.
///
/// The average over a footprint's rest beyond a window has the mean of `√f` at the centroids of the rectangles that it is made of.
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
    elsewhere: Values,
    points: Vec<((f64, f64), Values)>,
}

impl Variation {
    /// The same factor everywhere, until there are points; `range`, in CRS units, is the distance over which factors are alike.
    #[must_use]
    pub fn new(range: f64) -> Self {
        Self { range, elsewhere: Values::Same(1.0), points: Vec::new() }
    }

    /// The factor far from all points, one for all components or one for each. Default: 1.
    #[must_use]
    pub fn elsewhere(mut self, factor: impl Into<Values>) -> Self {
        self.elsewhere = factor.into();
        self
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
        let own = [("range".into(), format!("{:?}", self.range)), ("elsewhere".into(), self.elsewhere.to_string())];
        own.into_iter().chain(points).collect()
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
                return refuse(
                    "points",
                    format!("({x}, {y}), number {}, must be finite and a place of its own", k + 1),
                );
            }
        }
        let noise = vec![0.0; places.len()];
        let Some(kriging) = Kriging::new(places, &noise, self.range, 1.0) else {
            let problem = "they lie too near each other for this range; leave some out, or shorten it";
            return refuse("points", problem.into());
        };
        let elsewhere = self.elsewhere.expand_positive(p, &format!("{KEY}.elsewhere"), "component")?;
        let elsewhere: Vec<f64> = elsewhere.into_iter().map(f64::ln).collect();
        let mut departures = vec![DVector::zeros(self.points.len()); p];
        for (k, (_, factor)) in self.points.iter().enumerate() {
            let factors = factor.expand_positive(p, &format!("{KEY}.points.factor"), "component")?;
            for ((departures, factor), elsewhere) in departures.iter_mut().zip(factors).zip(&elsewhere) {
                departures[k] = factor.ln() - elsewhere;
            }
        }
        let weights = departures.iter().map(|departures| kriging.weights(departures)).collect();
        Ok(VariationModel { kriging, elsewhere, weights })
    }
}

/// Factors of the standard deviation of change, anywhere.
#[derive(Clone, Debug)]
pub(crate) struct VariationModel {
    kriging: Kriging,
    /// Logarithms far from all points, of each component.
    elsewhere: Vec<f64>,
    /// Of each component.
    weights: Vec<DVector<f64>>,
}

impl VariationModel {
    /// Factors of some states, averages of the target's cells, for each component.
    pub(crate) fn of_states(&self, target: &Grid, states: &[Average]) -> Vec<Vec<f64>> {
        let mut factors = vec![vec![0.0; states.len()]; self.weights.len()];
        for (i, state) in states.iter().enumerate() {
            for (share, (row, col)) in state.parts() {
                let covariances = self.kriging.covariances(target.at(row, col));
                for ((factors, weights), elsewhere) in factors.iter_mut().zip(&self.weights).zip(&self.elsewhere) {
                    factors[i] += share * (0.5 * (elsewhere + weights.dot(&covariances))).exp();
                }
            }
        }
        factors
    }

    /// A bound on the factors of a component's variance.
    pub(crate) fn largest(&self, component: usize) -> f64 {
        let weights = self.weights[component].iter().map(|weight| weight.abs()).sum::<f64>();
        (self.elsewhere[component] + weights).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Crs, Rect};
    use crate::model::Profile;

    fn grid() -> Grid {
        Grid::new(Crs::unknown(), [0.0, 10.0, 0.0, 1000.0, 0.0, -10.0], (100, 100)).unwrap()
    }

    #[test]
    fn points_have_their_factors_and_far_away_there_is_none() {
        let (a, b) = (grid().centre(10, 20), grid().centre(40, 60));
        let variation = Variation::new(50.0).point(a, [4.0, 1.0]).point(b, [0.25, 9.0]).resolve(2).unwrap();
        let states = [Average::cell(10, 20), Average::cell(40, 60), Average::cell(5000, 20)];
        let factors = variation.of_states(&grid(), &states);
        for (found, expected) in factors.iter().flatten().zip([2.0, 0.5, 1.0, 1.0, 3.0, 1.0]) {
            assert!((found - expected).abs() < 1e-12, "{factors:?}");
        }
        assert!(variation.largest(0) >= 4.0 && variation.largest(1) >= 9.0);
        // On the way to a lone point the logarithm falls with the correlation.
        let lone = Variation::new(50.0).point(a, 4.0).resolve(1).unwrap();
        let beside = lone.of_states(&grid(), &[Average::cell(10, 25)])[0][0];
        assert!((beside.ln() - 2.0_f64.ln() * (-1.0_f64).exp()).abs() < 1e-12);
        // About the factor of elsewhere.
        let about = Variation::new(50.0).elsewhere(16.0).point(a, 4.0).resolve(1).unwrap();
        let of = |row, col| about.of_states(&grid(), &[Average::cell(row, col)])[0][0];
        assert!((of(10, 20) - 2.0).abs() < 1e-12 && (of(5000, 20) - 4.0).abs() < 1e-12);
        assert!((of(10, 25) - 4.0 * 2.0_f64.powf(-(-1.0_f64).exp())).abs() < 1e-12);
    }

    #[test]
    fn averages_have_the_factors_of_their_parts() {
        let variation = Variation::new(300.0).point(grid().centre(10, 10), 4.0).resolve(1).unwrap();
        let rects = [Rect::new(8..13, 8..13), Rect::new(20..21, 8..18)];
        let of = |rects: Vec<Rect>| variation.of_states(&grid(), &[Average::new(rects, None)])[0][0];
        let expected = (25.0 * of(vec![rects[0]]) + 10.0 * of(vec![rects[1]])) / 35.0;
        assert!((of(rects.to_vec()) - expected).abs() < 1e-12);
        assert!((of(vec![rects[0]]) - 2.0).abs() < 1e-12);
        // Where weights are those of a footprint, the part that weighs most counts most: here one of three cells all but alone.
        let profile = Profile { first: (10, 10), rows: [1.0].into(), cols: [1e-9, 1e-9, 1.0].into() };
        let one = variation.of_states(&grid(), &[Average::new(vec![Rect::new(10..11, 10..13)], Some(profile))])[0][0];
        assert!((one - of(vec![Rect::cell(10, 12)])).abs() < 1e-6);
    }

    #[test]
    fn nonsense_is_refused_by_key() {
        let check = |variation: Variation, key: &str| {
            let message = variation.resolve(2).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{KEY}.{key}")), "{message}");
        };
        check(Variation::new(0.0), "range");
        check(Variation::new(1.0).elsewhere(-1.0), "elsewhere");
        check(Variation::new(1.0).point((0.0, 0.0), 0.0), "points.factor");
        check(Variation::new(1.0).point((0.0, 0.0), [1.0]), "points.factor");
        check(Variation::new(1.0).point((0.0, f64::NAN), 1.0), "points");
        check(Variation::new(1.0).point((0.0, 3.0), 1.0).point((0.0, 3.0), 2.0), "points");
        check(Variation::new(1e20).point((0.0, 3.0), 1.0).point((0.0, 4.0), 2.0), "points");
        assert!(Variation::new(1.0).resolve(2).is_ok());
    }
}
