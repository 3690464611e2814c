//! How good the fused series is: against the truth, and against the simplest thing one could do instead.

use std::fmt;

use ndarray::{Array3, Array4, ArrayView3, ArrayView4, Axis, Zip};

use crate::scene::{BANDS, Scene};
use crate::sensors::Acquisitions;

/// Half the width of the central 90 % of a Gaussian, in standard deviations.
pub(crate) const Z90: f64 = 1.645;
/// Where the coverage of a 90 % interval may end up on a scene of finite size.
const COVERAGE: std::ops::RangeInclusive<f64> = 0.85..=0.95;

/// The last clear fine value of each cell; before there is one, the last coarse pixel over it.
#[derive(Debug)]
pub(crate) struct CarriedForward {
    /// **Shape** (time, band, y, x).
    pub(crate) values: Array4<f64>,
    /// Days since the cell was last seen clearly by the fine sensor; NaN before. **Shape** (time, y, x).
    pub(crate) age: Array3<f64>,
}

/// Carries the last clear value forward; `default` stands in before the first.
pub(crate) fn carried_forward(
    scene: &Scene,
    landsat: &Acquisitions,
    modis: &Acquisitions,
    default: [f64; 2],
) -> CarriedForward {
    let truth = scene.truth();
    let (_, _, rows, cols) = truth.dim();
    let (over_row, over_col) = (pixels_over(scene.target.rows_under(&modis.grid), rows), pixels_over(scene.target.cols_under(&modis.grid), cols));
    let mut values = Array4::zeros(truth.dim());
    let mut ages = Array3::zeros((scene.dates.len(), rows, cols));
    let mut today = Array3::from_shape_fn((BANDS.len(), rows, cols), |(band, ..)| default[band]);
    let mut age = ndarray::Array2::from_elem((rows, cols), f64::NAN);
    for (time, date) in scene.dates.iter().enumerate() {
        age += 1.0;
        if let Some(index) = modis.dates.iter().position(|d| d == date) {
            let coarse = modis.values.index_axis(Axis(0), index);
            Zip::indexed(&mut today).for_each(|(band, row, col), value| {
                let pixel = coarse[(band, over_row[row], over_col[col])];
                if age[(row, col)].is_nan() && pixel.is_finite() { *value = pixel }
            });
        }
        if let Some(index) = landsat.dates.iter().position(|d| d == date) {
            let fine = landsat.values.index_axis(Axis(0), index);
            Zip::indexed(&mut today).and(fine).for_each(|(_, row, col), value, fine| {
                if fine.is_finite() { (*value, age[(row, col)]) = (*fine, 0.0) }
            });
        }
        values.index_axis_mut(Axis(0), time).assign(&today);
        ages.index_axis_mut(Axis(0), time).assign(&age);
    }
    CarriedForward { values, age: ages }
}

/// The pixel over each of `n` cells, from the cells under each pixel.
pub(crate) fn pixels_over(under: Vec<std::ops::Range<i64>>, n: usize) -> Vec<usize> {
    (0..n as i64).map(|cell| under.iter().position(|cells| cells.contains(&cell)).unwrap_or(0)).collect()
}

/// Scores of one band, or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Scores {
    fused: f64,
    naive: f64,
    sd: f64,
    inside: f64,
    count: f64,
}

/// The comparison with the truth.
#[derive(Debug)]
pub(crate) struct Verdict {
    bands: Vec<Scores>,
}

impl Verdict {
    pub(crate) fn new(mean: &ArrayView4<'_, f64>, sd: &ArrayView4<'_, f64>, naive: &ArrayView4<'_, f64>, truth: &ArrayView4<'_, f64>) -> Self {
        let band = |band| {
            let of = |array: &ArrayView4<'_, f64>| array.index_axis(Axis(1), band).to_owned();
            score(of(mean).view(), of(sd).view(), of(naive).view(), of(truth).view())
        };
        Self { bands: (0..BANDS.len()).map(band).collect() }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let all = self.bands.iter().fold(Scores::default(), |a, b| a.plus(*b));
        if !COVERAGE.contains(&all.coverage()) { return Err(format!("coverage {:.3}", all.coverage())); }
        if all.fused >= all.naive { return Err("rmse".into()); }
        Ok(())
    }
}

fn score(mean: ArrayView3<'_, f64>, sd: ArrayView3<'_, f64>, naive: ArrayView3<'_, f64>, truth: ArrayView3<'_, f64>) -> Scores {
    let mut s = Scores::default();
    for ((mean, sd), (naive, truth)) in mean.iter().zip(sd).zip(naive.iter().zip(truth)) {
        s.fused += (mean - truth).powi(2);
        s.naive += (naive - truth).powi(2);
        s.sd += sd;
        s.inside += f64::from((mean - truth).abs() <= Z90 * sd);
        s.count += 1.0;
    }
    s
}

impl Scores {
    fn plus(self, o: Self) -> Self {
        Self { fused: self.fused + o.fused, naive: self.naive + o.naive, sd: self.sd + o.sd, inside: self.inside + o.inside, count: self.count + o.count }
    }
    fn coverage(&self) -> f64 { self.inside / self.count }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, s) in BANDS.iter().zip(&self.bands) {
            writeln!(f, "{n} fused {:.4} naive {:.4} cov {:.3} sd {:.4}", (s.fused / s.count).sqrt(), (s.naive / s.count).sqrt(), s.coverage(), s.sd / s.count)?;
        }
        Ok(())
    }
}
