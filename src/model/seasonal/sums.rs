//! Sums over the observations of a tile's cells, and the curves computed from them.

use super::builder::SeasonalBuilder;
use super::pool::Pool;
use crate::seasonal::Harmonics;

/// Number of cells that are processed at once: their sums stay in the first-level cache for all fields.
const PIECE: usize = 256;

/// Smallest weight, in observations, of the curve of the neighbourhood or the scene in a cell's mean.
const LEAST: f64 = 0.01;

/// Smallest scatter about a curve, as a share of the variance of the scene, so that exact data have finite weights.
const LEAST_SCATTER: f64 = 1e-10;

/// The sums of one component over the cells of a tile, and the current curves, as differences from the curve of the
/// scene.
#[derive(Debug)]
pub(super) struct ComponentSums {
    cells: usize,
    terms: usize,
    /// Planes of cells: `Σ w φ φᵀ` (lower triangle row by row), `Σ w φ y`, `Σ w y²`, number of observations.
    fields: Vec<f64>,
    /// Planes of coefficients.
    curves: Vec<f64>,
    /// Scatter about the curve, in u².
    variance: Vec<f64>,
}

/// Number of entries of the triangle of a matrix with `terms` rows.
fn triangle(terms: usize) -> usize {
    terms * (terms + 1) / 2
}

impl ComponentSums {
    pub(super) fn new(cells: usize, terms: usize) -> Self {
        Self {
            cells,
            terms,
            fields: vec![0.0; cells * (triangle(terms) + terms + 2)],
            curves: vec![0.0; cells * terms],
            variance: vec![0.0; cells],
        }
    }

    /// Numbers per cell that a tile needs for each component, and those that all components share during the
    /// solution.
    pub(super) fn numbers(terms: usize) -> (usize, usize) {
        (triangle(terms) + 2 * terms + 3, triangle(terms) + terms + 4)
    }

    /// Starts another pass.
    pub(super) fn clear(&mut self) {
        self.fields.fill(0.0);
    }

    /// Adds the values of all cells on a date with `terms`; NaN where missing. With `degrees` of freedom, each value
    /// is weighted by its distance from the current curve.
    pub(super) fn add(&mut self, values: &[f64], terms: &[f64], scene: f64, degrees: Option<f64>) {
        let cells = self.cells;
        for start in (0..cells).step_by(PIECE) {
            let end = (start + PIECE).min(cells);
            let (mut y, mut w) = ([0.0; PIECE], [0.0; PIECE]);
            let mut any = false;
            for ((y, w), value) in y.iter_mut().zip(&mut w).zip(&values[start..end]) {
                let observed = !value.is_nan();
                any |= observed;
                (*y, *w) = if observed { (value - scene, 1.0) } else { (0.0, 0.0) };
            }
            if !any {
                continue;
            }
            let (triangle, count) = (triangle(self.terms), self.terms);
            let plane = |field: usize| field * cells + start..field * cells + end;
            add(&mut self.fields[plane(triangle + count + 1)], &w, |w, _| w, &y);
            if let Some(degrees) = degrees {
                let mut residual = y;
                for (k, term) in terms.iter().enumerate() {
                    for (r, c) in residual.iter_mut().zip(&self.curves[k * cells + start..k * cells + end]) {
                        *r -= term * c;
                    }
                }
                for ((w, r), variance) in w.iter_mut().zip(&residual).zip(&self.variance[start..end]) {
                    *w *= (degrees + 1.0) / (degrees + r * r / variance);
                }
            }
            let mut field = 0;
            for (k, term) in terms.iter().enumerate() {
                for other in &terms[..=k] {
                    let factor = term * other;
                    add(&mut self.fields[plane(field)], &w, |w, _| w * factor, &y);
                    field += 1;
                }
            }
            for (k, term) in terms.iter().enumerate() {
                add(&mut self.fields[plane(triangle + k)], &w, |w, y| w * y * term, &y);
            }
            add(&mut self.fields[plane(triangle + count)], &w, |w, y| w * y * y, &y);
        }
    }

    /// Computes the curves from the sums, in a tile whose neighbourhoods `pool` averages. `scene_variance` is the
    /// variance of all values.
    pub(super) fn solve(&mut self, settings: &SeasonalBuilder, pool: &mut Pool, scene_variance: f64) {
        let (cells, terms) = (self.cells, self.terms);
        let known = triangle(terms) + terms;
        pool.observed(&self.fields[(known + 1) * cells..(known + 2) * cells]);
        let around = settings.neighbours.map(|neighbours| neighbours.strength);
        pool.average(&self.fields[..known * cells]);
        let ridge = |k: usize, level: f64| level + settings.ridge * (Harmonics::order(k).pow(2) as f64);
        // Σ w r² of each cell, and Σ w, which is the first of the sums.
        let mut scatter = [vec![0.0; cells].as_slice(), &self.fields[..cells]].concat();
        let mut system = System::new(terms);
        for (cell, scatter) in scatter[..cells].iter_mut().enumerate() {
            let mut towards = [0.0; System::MOST];
            if around.is_some() {
                system.load(pool.averages(), cells, cell);
                system.shrink(|k| (ridge(k, LEAST), 0.0));
                towards[..terms].copy_from_slice(system.solve());
            }
            system.load(&self.fields, cells, cell);
            system.shrink(|k| (ridge(k, around.unwrap_or(LEAST)), towards[k]));
            let curve = system.solve();
            for (k, c) in curve.iter().enumerate() {
                self.curves[k * cells + cell] = *c;
            }
            // Σ w (y − φᵀ c)² from the sums.
            let mut sum = self.fields[known * cells + cell];
            let mut field = 0;
            for (k, c) in curve.iter().enumerate() {
                sum -= 2.0 * c * self.fields[(triangle(terms) + k) * cells + cell];
                for (l, d) in curve[..=k].iter().enumerate() {
                    let twice = if l < k { 2.0 } else { 1.0 };
                    sum += twice * c * d * self.fields[field * cells + cell];
                    field += 1;
                }
            }
            *scatter = sum.max(0.0);
        }
        let least = (LEAST_SCATTER * scene_variance).max(f64::MIN_POSITIVE);
        pool.average(&scatter);
        let averages = pool.averages();
        for (cell, variance) in self.variance.iter_mut().enumerate() {
            let (mut sum, mut weight) = (scatter[cell], scatter[cells + cell]);
            if let Some(strength) = around
                && averages[cells + cell] > 0.0
            {
                sum += strength * averages[cell] / averages[cells + cell];
                weight += strength;
            }
            *variance = if weight > 0.0 { (sum / weight).max(least) } else { scene_variance.max(least) };
        }
    }

    /// Coefficient of a term at a cell, as the difference from that of the scene.
    pub(super) fn coefficient(&self, term: usize, cell: usize) -> f64 {
        self.curves[term * self.cells + cell]
    }

    /// Scatter about the curve, in u².
    pub(super) fn variance(&self, cell: usize) -> f64 {
        self.variance[cell]
    }
}

/// Adds the contribution of each observation to a piece of a field.
#[inline(always)]
fn add(field: &mut [f64], w: &[f64; PIECE], term: impl Fn(f64, f64) -> f64, y: &[f64; PIECE]) {
    for ((sum, w), y) in field.iter_mut().zip(w).zip(y) {
        *sum += term(*w, *y);
    }
}

/// Normal equations of one curve.
#[derive(Debug)]
pub(super) struct System {
    terms: usize,
    /// Lower triangle, row by row.
    matrix: [f64; System::MOST * (System::MOST + 1) / 2],
    right: [f64; System::MOST],
}

impl System {
    /// Largest number of terms.
    pub(super) const MOST: usize = 13;

    pub(super) fn new(terms: usize) -> Self {
        Self { terms, matrix: [0.0; Self::MOST * (Self::MOST + 1) / 2], right: [0.0; Self::MOST] }
    }

    /// Loads the sums of a cell from planes of `cells`.
    fn load(&mut self, fields: &[f64], cells: usize, cell: usize) {
        let triangle = triangle(self.terms);
        for (k, entry) in self.matrix[..triangle].iter_mut().enumerate() {
            *entry = fields[k * cells + cell];
        }
        for (k, entry) in self.right[..self.terms].iter_mut().enumerate() {
            *entry = fields[(triangle + k) * cells + cell];
        }
    }

    /// Adds an observation `y` with the weight `weight`, on a date with `terms`.
    pub(super) fn add(&mut self, terms: &[f64], y: f64, weight: f64) {
        let mut field = 0;
        for (k, term) in terms.iter().enumerate() {
            for other in &terms[..=k] {
                self.matrix[field] += weight * term * other;
                field += 1;
            }
            self.right[k] += weight * term * y;
        }
    }

    /// Divides all sums by a number.
    pub(super) fn divide(&mut self, by: f64) {
        self.matrix.iter_mut().chain(&mut self.right).for_each(|entry| *entry /= by);
    }

    /// Adds a penalty to each coefficient: a strength, and the value towards which it is shrunk.
    pub(super) fn shrink(&mut self, penalty: impl Fn(usize) -> (f64, f64)) {
        for k in 0..self.terms {
            let (strength, towards) = penalty(k);
            self.matrix[k * (k + 1) / 2 + k] += strength;
            self.right[k] += strength * towards;
        }
    }

    /// The coefficients, by Cholesky decomposition in place. Every coefficient needs a penalty, so that pivots are
    /// positive.
    pub(super) fn solve(&mut self) -> &[f64] {
        let (n, l, x) = (self.terms, &mut self.matrix, &mut self.right);
        let row = |i: usize| i * (i + 1) / 2;
        for i in 0..n {
            for j in 0..=i {
                let known: f64 = (0..j).map(|k| l[row(i) + k] * l[row(j) + k]).sum();
                let rest = l[row(i) + j] - known;
                l[row(i) + j] = if i == j { rest.max(f64::MIN_POSITIVE).sqrt() } else { rest / l[row(j) + j] };
            }
            let known: f64 = (0..i).map(|k| l[row(i) + k] * x[k]).sum();
            x[i] = (x[i] - known) / l[row(i) + i];
        }
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|k| l[row(k) + i] * x[k]).sum();
            x[i] = (x[i] - known) / l[row(i) + i];
        }
        &x[..n]
    }
}
