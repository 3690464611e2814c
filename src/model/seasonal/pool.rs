//! Averages of planes of cells over neighbourhoods.

/// Averages over neighbouring cells that have observations. Cells `d` rows away have the weight
/// `(1 − d²/(radius + 1)²)²`, and likewise columns.
#[derive(Debug)]
pub(super) struct Pool {
    shape: (usize, usize),
    /// Weights of neighbours `-radius` to `radius` away; empty without neighbours.
    kernel: Vec<f64>,
    /// Sum of the weights of the neighbours with observations.
    weights: Vec<f64>,
    averages: Vec<f64>,
    line: Vec<f64>,
}

impl Pool {
    pub(super) fn new(shape: (usize, usize), radius: Option<usize>) -> Self {
        let weight = |k: i64, radius: i64| (1.0 - (k as f64 / (radius + 1) as f64).powi(2)).powi(2);
        let kernel =
            radius.map(|radius| (-(radius as i64)..=radius as i64).map(|k| weight(k, radius as i64)).collect());
        Self { shape, kernel: kernel.unwrap_or_default(), weights: Vec::new(), averages: Vec::new(), line: Vec::new() }
    }

    /// Sets the number of observations of each cell. Cells without observations do not enter averages.
    pub(super) fn observed(&mut self, counts: &[f64]) {
        if self.kernel.is_empty() {
            return;
        }
        self.weights.clear();
        self.weights.extend(counts.iter().map(|count| f64::from(u8::from(*count > 0.0))));
        smooth(&mut self.weights, self.shape, &self.kernel, &mut self.line);
    }

    /// Averages planes of cells; 0 where no neighbour has an observation. Does nothing without neighbours.
    pub(super) fn average(&mut self, planes: &[f64]) {
        if self.kernel.is_empty() {
            return;
        }
        self.averages.clear();
        self.averages.extend_from_slice(planes);
        for plane in self.averages.chunks_exact_mut(self.shape.0 * self.shape.1) {
            smooth(plane, self.shape, &self.kernel, &mut self.line);
            for (sum, weight) in plane.iter_mut().zip(&self.weights) {
                *sum = if *weight > 0.0 { *sum / weight } else { 0.0 };
            }
        }
    }

    pub(super) fn averages(&self) -> &[f64] {
        &self.averages
    }
}

/// Sums over each cell's neighbours with their weights: along rows, then along columns. The order is fixed, so the
/// sum of a cell does not depend on the rest of the plane.
fn smooth(plane: &mut [f64], (rows, cols): (usize, usize), kernel: &[f64], line: &mut Vec<f64>) {
    let radius = kernel.len() / 2;
    let mut along = |first: usize, step: usize, n: usize| {
        line.clear();
        line.extend((0..n).map(|k| plane[first + k * step]));
        for k in 0..n {
            let (from, to) = (k.saturating_sub(radius), (k + radius + 1).min(n));
            let weights = &kernel[from + radius - k..];
            plane[first + k * step] = line[from..to].iter().zip(weights).map(|(value, weight)| value * weight).sum();
        }
    };
    (0..rows).for_each(|row| along(row * cols, 1, cols));
    (0..cols).for_each(|col| along(col, cols, rows));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_those_of_the_neighbours_that_were_seen() {
        let (shape, radius) = ((5, 6), 2);
        let count = |cell: usize| f64::from(u8::from(cell % 7 != 3)) * (1.0 + cell as f64);
        let counts: Vec<f64> = (0..30).map(count).collect();
        let values: Vec<f64> = (0..30).map(|cell| if count(cell) > 0.0 { (cell as f64).sin() } else { 0.0 }).collect();
        let mut pool = Pool::new(shape, Some(radius));
        pool.observed(&counts);
        pool.average(&values);
        let weight = |d: usize| (1.0 - (d as f64 / 3.0).powi(2)).max(0.0).powi(2);
        for cell in 0..30_usize {
            let (mut sum, mut total) = (0.0, 0.0);
            for other in (0..30_usize).filter(|&other| counts[other] > 0.0) {
                let w = weight((cell / 6).abs_diff(other / 6)) * weight((cell % 6).abs_diff(other % 6));
                (sum, total) = (sum + w * values[other], total + w);
            }
            assert!((pool.averages()[cell] - sum / total).abs() < 1e-14);
        }
    }
}
