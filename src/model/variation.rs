//! Factors of change that vary over the scene, worked out.

use nalgebra::DVector;

use super::Average;
use super::kriging::Kriging;
use crate::describe::{Key, Variation};
use crate::error::{Error, Result};
use crate::geometry::Grid;

const KEY: &str = "process.variation";

impl VariationModel {
    /// Checks a variation, and works out the weights of its points for `p` components.
    ///
    /// # Errors
    /// [`Error::Setting`] and [`Error::Number`] by key.
    pub(crate) fn new(described: &Variation, p: usize) -> Result<Self> {
        let key = |name: &str| Key::from(KEY).name(name);
        let range = described.range;
        if !(range > 0.0 && range.is_finite()) {
            return Err(Error::number(key("range"), range, "must be positive, in CRS units"));
        }
        let places: Vec<(f64, f64)> = described.points.iter().map(|point| point.at).collect();
        if places.is_empty() {
            return Err(Error::setting(key("points"), "none; give some, or leave variation out"));
        }
        for (k, (x, y)) in places.iter().enumerate() {
            if !(x.is_finite() && y.is_finite()) || places[..k].contains(&(*x, *y)) {
                let problem = format!("({x}, {y}), number {}, must be finite and differ from the other points", k + 1);
                return Err(Error::setting(key("points"), problem));
            }
        }
        let noise = vec![0.0; places.len()];
        let Some(kriging) = Kriging::new(places, &noise, range, 1.0) else {
            let problem = "they lie too near each other for this range; leave some out, or shorten it";
            return Err(Error::setting(key("points"), problem));
        };
        let elsewhere = described.elsewhere.expand_positive(p, &key("elsewhere"), "component")?;
        let elsewhere: Vec<f64> = elsewhere.into_iter().map(f64::ln).collect();
        let mut departures = vec![DVector::zeros(described.points.len()); p];
        for (k, point) in described.points.iter().enumerate() {
            let factors = point.factor.expand_positive(p, &key("points").position(k).name("factor"), "component")?;
            for ((departures, factor), elsewhere) in departures.iter_mut().zip(factors).zip(&elsewhere) {
                departures[k] = factor.ln() - elsewhere;
            }
        }
        let weights = departures.iter().map(|departures| kriging.weights(departures)).collect();
        Ok(Self { kriging, elsewhere, weights })
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
    /// Whether some components vary alike.
    pub(crate) fn is_common(&self, components: &[usize]) -> bool {
        let of = |j: usize| (self.elsewhere[j], &self.weights[j]);
        components.windows(2).all(|pair| of(pair[0]) == of(pair[1]))
    }

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
        let variation = Variation::new(50.0).point(a, [4.0, 1.0]).point(b, [0.25, 9.0]);
        let variation = VariationModel::new(&variation, 2).unwrap();
        let states = [Average::cell(10, 20), Average::cell(40, 60), Average::cell(5000, 20)];
        let factors = variation.of_states(&grid(), &states);
        for (found, expected) in factors.iter().flatten().zip([2.0, 0.5, 1.0, 1.0, 3.0, 1.0]) {
            assert!((found - expected).abs() < 1e-12, "{factors:?}");
        }
        assert!(variation.largest(0) >= 4.0 && variation.largest(1) >= 9.0);
        // On the way to a lone point the logarithm falls with the correlation.
        let lone = VariationModel::new(&Variation::new(50.0).point(a, 4.0), 1).unwrap();
        let near = lone.of_states(&grid(), &[Average::cell(10, 25)])[0][0];
        assert!((near.ln() - 2.0_f64.ln() * (-1.0_f64).exp()).abs() < 1e-12);
        // About the factor of elsewhere.
        let about = VariationModel::new(&Variation::new(50.0).elsewhere(16.0).point(a, 4.0), 1).unwrap();
        let of = |row, col| about.of_states(&grid(), &[Average::cell(row, col)])[0][0];
        assert!((of(10, 20) - 2.0).abs() < 1e-12 && (of(5000, 20) - 4.0).abs() < 1e-12);
        assert!((of(10, 25) - 4.0 * 2.0_f64.powf(-(-1.0_f64).exp())).abs() < 1e-12);
    }

    #[test]
    fn averages_have_the_factors_of_their_parts() {
        let variation = VariationModel::new(&Variation::new(300.0).point(grid().centre(10, 10), 4.0), 1).unwrap();
        let rects = [Rect::new(8..13, 8..13), Rect::new(20..21, 8..18)];
        let of = |rects: Vec<Rect>| variation.of_states(&grid(), &[Average::new(rects, None)])[0][0];
        let expected = (25.0 * of(vec![rects[0]]) + 10.0 * of(vec![rects[1]])) / 35.0;
        assert!((of(rects.to_vec()) - expected).abs() < 1e-12);
        assert!((of(vec![rects[0]]) - 2.0).abs() < 1e-12);
        // Where weights are those of a footprint, the part that weighs most counts most: here one of three cells all
        // but alone.
        let profile = Profile { first: (10, 10), rows: [1.0].into(), cols: [1e-9, 1e-9, 1.0].into() };
        let one = variation.of_states(&grid(), &[Average::new(vec![Rect::new(10..11, 10..13)], Some(profile))])[0][0];
        assert!((one - of(vec![Rect::cell(10, 12)])).abs() < 1e-6);
    }

    #[test]
    fn nonsense_is_refused_by_key() {
        let check = |variation: Variation, key: &str| {
            let message = VariationModel::new(&variation, 2).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{KEY}.{key}")), "{message}");
        };
        check(Variation::new(0.0), "range");
        check(Variation::new(1.0), "points");
        check(Variation::new(1.0).point((0.0, 0.0), 1.0).elsewhere(-1.0), "elsewhere");
        check(Variation::new(1.0).point((0.0, 0.0), 0.0), "points 1.factor");
        check(Variation::new(1.0).point((0.0, 0.0), [1.0]), "points 1.factor");
        check(Variation::new(1.0).point((0.0, f64::NAN), 1.0), "points");
        check(Variation::new(1.0).point((0.0, 3.0), 1.0).point((0.0, 3.0), 2.0), "points");
        check(Variation::new(1e20).point((0.0, 3.0), 1.0).point((0.0, 4.0), 2.0), "points");
    }
}
