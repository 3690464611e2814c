//! Spatial correlation of the initial state.

use std::sync::Arc;

use super::Support;
use crate::filter::{BlockCov, State};
use crate::model::{PriorSlice, ProcessModel};

impl Support {
    /// Gives the initial state of some components, so far independent between cells, the correlation of the process:
    /// `P(i, i') = sd_i sd_i' C(i, i') / C(s, s)`, where `sd_i` is the prior standard deviation of a cell, or the
    /// mean one of the cells of an average. Where the standard deviation is uniform, the result is exactly the
    /// covariance of the field and its averages. Elsewhere it is that of a field whose standard deviation is constant
    /// within each average, so it stays positive semi-definite.
    pub(crate) fn correlate(
        &self,
        state: &mut State,
        components: &[usize],
        prior: &PriorSlice,
        process: &ProcessModel,
        correlations: &[Arc<BlockCov>],
    ) {
        let n = self.n();
        for (k, &j) in components.iter().enumerate() {
            let (first, index) = (k * n, process.components[j].correlation);
            let of_cell = process.correlations[index].between_cells((0, 0), (0, 0)).sqrt();
            let cells = self.cells.iter().map(|&(row, col)| prior.sd(j, row, col));
            let averages = self.remainders.iter().map(|average| prior.mean_sd(j, average));
            // Cells without a prior are observed by no instrument.
            let known = |sd: f64| if sd.is_nan() { 0.0 } else { sd / of_cell };
            let sd: Vec<f64> = cells.chain(averages).map(known).collect();
            for b in 0..n {
                let column = &mut state.cov.column_mut(first + b)[..n - b];
                for ((value, correlation), sd_a) in
                    column.iter_mut().zip(correlations[index].column(b).flatten()).zip(&sd[b..])
                {
                    *value = sd_a * sd[b] * correlation;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;
    use crate::describe::{Footprint, Kernel, Prior, PriorField, Process};
    use crate::filter::Dynamics;
    use crate::geometry::{Crs, Date, Grid, PixelRegion, Rect, Tiling};
    use crate::model::{FarSamples, Observer, PixelLattice, PriorModel};
    use crate::source::MemorySource;
    use crate::{Error, Result};

    const PHI: f64 = 0.9;

    fn grid(corner: f64, size: f64, side: usize) -> Result<Grid> {
        Grid::new(Crs::unknown(), [-corner, size, 0.0, corner, 0.0, -size], (side, side))
    }

    /// The first window's state under a prior, on cells of 30 under pixels of 75 of which most see it in part.
    fn state(prior: &Prior) -> Result<(Support, State, Dynamics)> {
        let target = grid(0.0, 30.0, 6)?;
        let lattices = [
            PixelLattice::new(&target, &grid(40.0, 75.0, 4)?, Footprint::Uniform, "a")?,
            PixelLattice::new(&target, &grid(40.0, 75.0, 4)?, Footprint::Gaussian { fwhm: 70.0 }, "b")?,
        ];
        let tiling = Tiling::new((6, 6), (6, 6), 3, 1);
        let Some(window) = tiling.windows(&PixelRegion::new(0..6, 0..6)).next() else { panic!("no window") };
        let observers =
            [&lattices[0], &lattices[1]].map(|lattice| Observer { lattice, offset_layers: &[], earlier: 0 });
        let support = Support::new(&window, (6, 6), (30.0, 30.0), FarSamples::default(), &observers, &[]);
        let process = Process::new(Kernel::Exponential, 90.0, 2e-4).nugget(0.1).nested(Kernel::Matern32, 400.0, 1e-4);
        let process = ProcessModel::new(&process.phi(PHI), (None, None), 1, (30.0, 30.0), (20, 20))?;
        let cells: Vec<_> = process.correlations.iter().map(|c| support.cell_correlation(c)).collect();
        let correlations = support.correlations(&process, &cells, None);
        let slice = PriorModel::new(prior, &target, 1)?.read(&target, &support.extent())?;
        let mut state = support.initial_state(support.n(), &[0], None, &slice, &["a", "b"])?.state;
        assert!(slice.is_correlated() && !support.remainders.is_empty());
        support.correlate(&mut state, &[0], &slice, &process, &correlations);
        let dynamics = Dynamics::new(support.field_blocks(&process, &correlations, &[0]));
        Ok((support, state, dynamics))
    }

    #[test]
    fn a_stationary_prior_is_one_that_prediction_keeps() -> Result<()> {
        let variance = (2e-4 * 1.1 + 1e-4) / (1.0 - PHI * PHI);
        let (support, start, dynamics) = state(&Prior::new(0.0, variance).correlated())?;
        let mut state = start.clone();
        state.predict(&dynamics, 7.0);
        for i in 0..support.n() {
            for j in 0..=i {
                assert!((state.cov.get(i, j) - start.cov.get(i, j)).abs() < 1e-15 + 1e-12 * variance, "{i} {j}");
            }
        }
        assert!((start.cov.get(0, 0) - variance).abs() < 1e-15);
        Ok(())
    }

    #[test]
    fn cells_of_a_raster_keep_their_own_variances() -> Result<()> {
        let sd = |row: i64, col: i64| 0.1 + 0.02 * row.clamp(0, 5) as f64 + 0.01 * col.clamp(0, 5) as f64;
        let of = |values| MemorySource::new(grid(0.0, 30.0, 6)?, vec![Date::from_days(0)], vec!["v".into()], values);
        let variances = Array4::from_shape_fn((1, 1, 6, 6), |(_, _, row, col)| sd(row as i64, col as i64).powi(2));
        let with = |values| Ok::<_, Error>(Prior::new(0.0, PriorField::raster(of(values)?)).correlated());
        let (support, raster, _) = state(&with(variances.clone())?)?;
        let (_, plain, _) = state(&Prior::new(0.0, 1.0).correlated())?;
        let levels: Vec<f64> = support.cells.iter().map(|&(row, col)| sd(row, col)).collect();
        let mean = |average: &crate::model::Average| {
            let cells = || average.rects().iter().flat_map(Rect::cells);
            let total: f64 = cells().map(|(row, col)| average.weight(row, col)).sum();
            cells().map(|(row, col)| average.weight(row, col) * sd(row, col)).sum::<f64>() / total
        };
        let levels: Vec<f64> = levels.into_iter().chain(support.remainders.iter().map(mean)).collect();
        for i in 0..support.n() {
            for j in 0..=i {
                let expected = levels[i] * levels[j] * plain.cov.get(i, j);
                assert!((raster.cov.get(i, j) - expected).abs() < 1e-14, "{i} {j}");
            }
        }
        // A cell without a prior that an instrument observes is still refused.
        let mut holed = variances;
        holed[(0, 0, 1, 1)] = f64::NAN;
        let message = state(&with(holed)?).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("[1, 1]") && message.contains("\"a\""), "{message}");
        Ok(())
    }
}
