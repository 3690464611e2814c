//! Curves of a seasonal mean as a raster of features, for the similarity of cells.

use std::f64::consts::TAU;

use ndarray::{Array3, s};

use super::SeasonalMean;
use crate::error::Result;
use crate::geometry::{Date, Grid, PixelRegion};
use crate::source::{RasterSource, Slice, check_request};

/// Number of points of the period at which a curve is sampled: enough for four harmonics.
pub(crate) const PHASES: usize = 8;

/// The mean of every cell at evenly spaced points of its period, component by component, divided by `√PHASES`. The
/// Euclidean distance of the points of two cells is the root mean square difference of their curves, in u.
#[derive(Clone, Debug)]
pub(crate) struct SeasonalCurves {
    mean: SeasonalMean,
    dates: [Date; 1],
    names: Vec<String>,
}

impl SeasonalCurves {
    pub(crate) fn new(mean: SeasonalMean) -> Self {
        let phases =
            |component: &String| (0..PHASES).map(|k| format!("{component} at {k}/{PHASES}")).collect::<Vec<_>>();
        let names = mean.components.iter().flat_map(phases).collect();
        Self { dates: [mean.harmonics.reference()], names, mean }
    }
}

impl RasterSource for SeasonalCurves {
    fn grid(&self) -> &Grid {
        self.mean.grid()
    }

    fn dates(&self) -> &[Date] {
        &self.dates
    }

    fn bands(&self) -> &[String] {
        &self.names
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        check_request(self, date, bands, region)?;
        let coefficients = self.mean.coefficients(region)?;
        let (rows, cols) = region.shape();
        let mut values = Array3::zeros((bands.len(), rows, cols));
        for (mut plane, band) in values.outer_iter_mut().zip(bands) {
            let (component, phase) = (band / PHASES, (band % PHASES) as f64 / PHASES as f64);
            for term in 0..self.mean.harmonics.terms() {
                let angle = TAU * term.div_ceil(2) as f64 * phase;
                // For each harmonic the cosine comes first. The mean is the cosine of harmonic zero.
                let factor = if term % 2 == 1 || term == 0 { angle.cos() } else { angle.sin() };
                plane.scaled_add(factor / (PHASES as f64).sqrt(), &coefficients.slice(s![component, term, .., ..]));
            }
        }
        Ok(Slice::new(date, region.clone(), values))
    }

    fn origin(&self) -> String {
        self.mean.origin()
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.mean.settings()
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        self.mean.source().block_shape()
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        self.mean.source().handle_bytes(readers)
    }

    fn scratch_bytes(&self, bands: usize, shape: (u64, u64)) -> u64 {
        // All coefficients are read, whichever phases are requested.
        let layers = self.mean.source().bands().len();
        let plane = shape.0.saturating_mul(shape.1).saturating_mul(size_of::<f64>() as u64);
        self.mean.source().scratch_bytes(layers, shape).saturating_add(plane.saturating_mul((layers + bands) as u64))
    }

    fn shared_cache_bytes(&self) -> u64 {
        self.mean.source().shared_cache_bytes()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, Array4};

    use super::*;
    use crate::geometry::Crs;
    use crate::seasonal::Harmonics;

    #[test]
    fn curves_are_those_of_the_mean_and_their_distance_is_rms() {
        let grid = Grid::new(Crs::unknown(), [0.0, 1.0, 0.0, 0.0, 0.0, -1.0], (2, 3)).unwrap();
        let coefficients =
            Array4::from_shape_fn((2, 5, 2, 3), |(j, k, y, x)| ((3 * j + 5 * k + 7 * y + 11 * x) as f32).sin());
        let harmonics = Harmonics::new(2, 80.0);
        let components = vec!["red".to_owned(), "nir".to_owned()];
        let scatter = Array3::zeros((2, 2, 3));
        let mean = SeasonalMean::from_arrays(grid.clone(), components, harmonics, coefficients, scatter).unwrap();
        let curves = SeasonalCurves::new(mean.clone());
        let region = grid.region();
        let all: Vec<usize> = (0..2 * PHASES).collect();
        let values = curves.read(curves.dates()[0], &all, &region).unwrap().values;
        for phase in 0..PHASES {
            let on_the_day = mean.mean(harmonics.reference() + 10 * phase as i32, &region).unwrap();
            for ((component, y, x), expected) in on_the_day.indexed_iter() {
                let found = values[(component * PHASES + phase, y, x)] * (PHASES as f64).sqrt();
                assert!((found - expected).abs() < 1e-12, "{component} {phase}: {found} instead of {expected}");
            }
        }
        // The mean square of a difference over the year, from its coefficients (Parseval).
        let held = mean.coefficients(&region).unwrap();
        let apart = |k: usize| held[(0, k, 0, 0)] - held[(0, k, 1, 2)];
        let expected = apart(0).powi(2) + (1..5).map(|k| apart(k).powi(2)).sum::<f64>() / 2.0;
        let found: f64 = (0..PHASES).map(|k| (values[(k, 0, 0)] - values[(k, 1, 2)]).powi(2)).sum();
        assert!((found - expected).abs() < 1e-12);
    }
}
