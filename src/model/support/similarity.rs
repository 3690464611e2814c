//! Correlation of process noise that depends on the similarity of cells.

use std::sync::Arc;

use super::Support;
use crate::filter::BlockCov;
use crate::geometry::Rect;
use crate::model::features::{Combination, Similarity};
use crate::model::{Average, Correlation};

/// A cell that represents a state, alone or with others.
struct RepresentativeCell<'a> {
    at: (i64, i64),
    weight: f64,
    features: &'a [f64],
}

impl Support {
    /// Correlation between all states where similar cells change in a similar way. Where similarity matters, an
    /// average is replaced by the [cells that represent it](Average::spread); elsewhere it is exact. Either way the
    /// result is the covariance of averages of a field, hence positive semi-definite, and so is the sum.
    pub(super) fn similarity_correlation(&self, correlation: &Correlation, similarity: &Similarity) -> BlockCov {
        let cell = |&(row, col): &(i64, i64)| Average::cell(row, col);
        let cells: Vec<Average> = self.cells.iter().map(cell).collect();
        let averages: Vec<&Average> = cells.iter().chain(&self.remainders).collect();
        let samples: Vec<Vec<RepresentativeCell<'_>>> =
            averages.iter().map(|average| represent(average, correlation, similarity)).collect();
        let n_cells = self.cells.len();
        let entry = |i: usize, j: usize| {
            let near = |a: (i64, i64), b: (i64, i64)| correlation.smooth(a.0 - b.0, a.1 - b.1);
            let (a, b) = (averages[i], averages[j]);
            // Averages share cells only with averages.
            let nugget = match (i < n_cells, j < n_cells) {
                (true, _) => correlation.nugget() * f64::from(i == j),
                (false, true) => 0.0,
                (false, false) => correlation.nugget_between(a, b),
            };
            nugget
                + match similarity.combine {
                    Combination::Times => sum(&samples[i], &samples[j], near),
                    Combination::Plus(weight) => {
                        let far = if i < n_cells {
                            near(self.cells[i], self.cells[j])
                        } else {
                            correlation.between_averages(a, b) - nugget
                        };
                        (1.0 - weight) * far + weight * sum(&samples[i], &samples[j], |_, _| 1.0)
                    }
                }
        };
        let cells: Arc<[f64]> = BlockCov::pack(n_cells, entry);
        BlockCov::new(self.n(), n_cells, cells, entry)
    }
}

/// The cells that represent an average. Each cell of the average adds its weight to the representative with which it
/// is most correlated, so that the shares of classes are preserved.
fn represent<'a>(
    average: &Average,
    correlation: &Correlation,
    similarity: &'a Similarity,
) -> Vec<RepresentativeCell<'a>> {
    // As logarithms, by displacement: the same ones are asked for again and again.
    let hull =
        average.rects().iter().copied().reduce(|hull, rect| hull.hull(&rect)).unwrap_or_else(|| Rect::cell(0, 0));
    let (rows, cols) = (hull.bottom - hull.top, hull.right - hull.left);
    let far: Vec<f64> = match similarity.combine {
        Combination::Times => {
            Rect::new(0..rows, 0..cols).cells().map(|(dr, dc)| -correlation.smooth(dr, dc).ln()).collect()
        }
        Combination::Plus(_) => vec![0.0; (rows * cols) as usize],
    };
    let sample = |at| RepresentativeCell { at, weight: 0.0, features: similarity.at(at) };
    let mut samples: Vec<RepresentativeCell<'_>> = average.spread().iter().copied().map(sample).collect();
    for cell in average.rects().iter().flat_map(Rect::cells) {
        let features = similarity.at(cell);
        // Of equal ones the nearest.
        let dissimilarity = |sample: &RepresentativeCell<'_>| {
            let apart = (cell.0 - sample.at.0, cell.1 - sample.at.1);
            let distance = if apart == (0, 0) { 0.0 } else { Similarity::distance(features, sample.features) };
            let far = far[(apart.0.abs() * cols + apart.1.abs()) as usize];
            (distance + far, apart.0 * apart.0 + apart.1 * apart.1)
        };
        let nearest = (0..samples.len()).map(|k| (k, dissimilarity(&samples[k])));
        let nearest = nearest.min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        if let Some((k, _)) = nearest {
            samples[k].weight += average.weight(cell.0, cell.1) / average.total();
        }
    }
    samples
}

/// Similarity of two averages: the sum over pairs of cells, each times `weight` of the two.
fn sum(
    a: &[RepresentativeCell<'_>],
    b: &[RepresentativeCell<'_>],
    weight: impl Fn((i64, i64), (i64, i64)) -> f64,
) -> f64 {
    let pair = |x: &RepresentativeCell<'_>, y: &RepresentativeCell<'_>| {
        let similarity = if x.at == y.at { 1.0 } else { (-Similarity::distance(x.features, y.features)).exp() };
        x.weight * y.weight * similarity * weight(x.at, y.at)
    };
    a.iter().map(|x| b.iter().map(|y| pair(x, y)).sum::<f64>()).sum()
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;
    use ndarray::Array4;

    use super::*;
    use crate::Result;
    use crate::describe::{Features, Footprint, Kernel, Process};
    use crate::geometry::{Crs, Date, Grid, PixelRegion, Tiling};
    use crate::model::{FarSamples, FeatureModel, Observer, PixelLattice, ProcessModel};
    use crate::source::MemorySource;

    const SIDE: usize = 40;

    /// Two classes with an oblique edge, and some texture.
    fn feature(row: i64, col: i64) -> f64 {
        let class = if row + 2 * col < 55 { 0.1 } else { 0.4 };
        class + 0.02 * ((row * 7 + col * 13) % 11) as f64 / 11.0
    }

    fn grid(size: f64, side: usize) -> Result<Grid> {
        Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], (side, side))
    }

    #[test]
    fn sampled_averages_are_near_the_exact_ones_and_definite() -> Result<()> {
        let target = grid(30.0, SIDE)?;
        let values = Array4::from_shape_fn((1, 1, SIDE, SIDE), |(_, _, row, col)| feature(row as i64, col as i64));
        let source = MemorySource::new(target.clone(), vec![Date::from_days(0)], vec!["f".into()], values)?;
        let lattices = [
            PixelLattice::new(&target, &grid(400.0, 3)?, Footprint::Uniform, "a")?,
            PixelLattice::new(&target, &grid(400.0, 3)?, Footprint::Gaussian { fwhm: 300.0 }, "b")?,
        ];
        let tiling = Tiling::new((SIDE, SIDE), (SIDE, SIDE), 4, 2);
        let Some(window) = tiling.windows(&PixelRegion::new(12..16, 12..16)).next() else { panic!("no window") };
        let observers =
            [&lattices[0], &lattices[1]].map(|lattice| Observer { lattice, offset_layers: &[], earlier: 0 });
        let support = Support::new(&window, (SIDE, SIDE), (30.0, 30.0), FarSamples::default(), &observers, &[]);
        let process = Process::new(Kernel::Exponential, 300.0, 1.0).nugget(0.05);
        let process = ProcessModel::new(&process, (None, None), 1, (30.0, 30.0), (60, 60))?;
        let correlation = &process.correlations[0];
        for (features, times) in
            [(Features::new(source.clone(), 0.1).times(), true), (Features::new(source.clone(), 0.1).plus(0.6), false)]
        {
            let features = FeatureModel::new(&features, None, &target)?;
            let features = features.scale(&features.read(&target, &support.extent())?);
            let sampled = support.similarity_correlation(correlation, &features);
            let n = support.n();
            assert!(support.remainders.iter().any(|average| average.spread().len() == 32));
            // What is sampled is a field's covariance: definite, whatever the samples.
            let dense = DMatrix::from_fn(n, n, |i, j| sampled.get(i, j)) + DMatrix::identity(n, n) * 1e-12;
            assert!(dense.cholesky().is_some());

            let between = |a: (i64, i64), b: (i64, i64)| {
                let inside = |(row, col): (i64, i64)| feature(row.clamp(0, 39), col.clamp(0, 39));
                let similarity = (-(inside(a) - inside(b)).abs() / 0.1).exp();
                let near = (-30.0 * f64::hypot((a.0 - b.0) as f64, (a.1 - b.1) as f64) / 300.0).exp();
                let nugget = if a == b { 0.05 } else { 0.0 };
                nugget + if times { near * similarity } else { 0.4 * near + 0.6 * similarity }
            };
            let cells = |i: usize| -> Vec<((i64, i64), f64)> {
                if i < support.cells.len() {
                    return vec![(support.cells[i], 1.0)];
                }
                let average = &support.remainders[i - support.cells.len()];
                let cells = average.rects().iter().flat_map(Rect::cells);
                cells.map(|(r, c)| ((r, c), average.weight(r, c) / average.total())).collect()
            };
            let mut worst = 0.0_f64;
            for i in 0..n {
                for j in 0..=i {
                    let exact: f64 = cells(i)
                        .iter()
                        .map(|(a, v)| cells(j).iter().map(|(b, w)| v * w * between(*a, *b)).sum::<f64>())
                        .sum();
                    let off = (sampled.get(i, j) - exact).abs();
                    assert!(i >= support.cells.len() || off < 1e-14, "{i} {j}");
                    worst = worst.max(off);
                }
            }
            println!("off by at most {worst:.4}, times: {times}");
            assert!(worst < 0.03, "a correlation of averages is off by {worst}");
        }
        Ok(())
    }
}
