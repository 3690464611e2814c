//! How good the fused series is: against the truth, and against the simplest thing one could do instead.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use ndarray::{Array2, Array3, Array4, ArrayView4, Axis, Zip};

use crate::common::score::Score;
use crate::scene::{BANDS, Scene};
use crate::sensors::Acquisitions;

/// Where the coverage of a 90 % interval may end up on one scene, whose cells are far from independent.
const COVERAGE: RangeInclusive<f64> = 0.85..=0.95;

/// What the fusion has put out. **Shape** (time, band, y, x) each.
#[derive(Debug)]
pub(crate) struct Fused {
    pub(crate) mean: Array4<f64>,
    pub(crate) sd: Array4<f64>,
}

/// The last clear fine value of each cell; before there is one, the last coarse pixel over it.
#[derive(Debug)]
pub(crate) struct CarriedForward {
    /// **Shape** (time, band, y, x).
    pub(crate) values: Array4<f64>,
    /// Days since the cell was last seen clearly by the fine sensor; NaN before. **Shape** (time, y, x).
    pub(crate) age: Array3<f64>,
}

impl CarriedForward {
    /// Carries clear values forward; `default` stands in before the first of either sensor.
    pub(crate) fn new(scene: &Scene, landsat: &Acquisitions, modis: &Acquisitions, default: [f64; 2]) -> Self {
        let (_, bands, rows, cols) = scene.truth().dim();
        let (pixel_row, pixel_col) = pixels_over(scene, modis);
        let mut values = Array4::zeros(scene.truth().dim());
        let mut ages = Array3::zeros((scene.dates.len(), rows, cols));
        let mut today = Array3::from_shape_fn((bands, rows, cols), |(band, ..)| default[band]);
        let mut age = Array2::from_elem((rows, cols), f64::NAN);
        for (time, &date) in scene.dates.iter().enumerate() {
            age += 1.0;
            if let Some(coarse) = modis.on(date) {
                Zip::indexed(&mut today).for_each(|(band, row, col), value| {
                    let pixel = coarse[(band, pixel_row[row], pixel_col[col])];
                    if age[(row, col)].is_nan() && !pixel.is_nan() {
                        *value = pixel;
                    }
                });
            }
            if let Some(fine) = landsat.on(date) {
                Zip::indexed(&mut today).and(fine).for_each(|(_, row, col), value, &seen| {
                    if !seen.is_nan() {
                        (*value, age[(row, col)]) = (seen, 0.0);
                    }
                });
            }
            values.index_axis_mut(Axis(0), time).assign(&today);
            ages.index_axis_mut(Axis(0), time).assign(&age);
        }
        Self { values, age: ages }
    }
}

/// Row and column of the coarse pixel over each row and column of the target; the pixels cover all of it.
pub(crate) fn pixels_over(scene: &Scene, coarse: &Acquisitions) -> (Vec<usize>, Vec<usize>) {
    // Cells under each pixel, turned round.
    let over = |under: Vec<Range<i64>>, cells: usize| {
        (0..cells as i64).map(|cell| under.partition_point(|cells| cells.end <= cell)).collect()
    };
    let (target, grid) = (&scene.target, &coarse.grid);
    (over(target.rows_under(grid), target.rows()), over(target.cols_under(grid), target.cols()))
}

/// The comparison with the truth, band by band.
#[derive(Debug)]
pub(crate) struct Verdict {
    bands: Vec<Scores>,
}

/// Of the fused and of the naive series.
#[derive(Clone, Copy, Debug, Default)]
struct Scores {
    fused: Score,
    naive: Score,
}

impl Verdict {
    pub(crate) fn new(fused: &Fused, naive: &CarriedForward, truth: ArrayView4<'_, f64>) -> Self {
        let scores = |band| {
            let of = |series: &Array4<f64>| series.index_axis(Axis(1), band).to_owned();
            let truth = truth.index_axis(Axis(1), band);
            Scores {
                fused: Score::of_estimates(&of(&fused.mean), &of(&fused.sd), truth),
                naive: Score::of(&of(&naive.values), truth),
            }
        };
        Self { bands: (0..BANDS.len()).map(scores).collect() }
    }

    fn total(&self) -> Scores {
        self.bands.iter().fold(Scores::default(), |mut total, band| {
            total.fused += band.fused;
            total.naive += band.naive;
            total
        })
    }

    /// Refuses a result that a user should not trust, and says why.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, scores) in BANDS.iter().zip(&self.bands) {
            let (fused, naive) = (scores.fused.rmse(), scores.naive.rmse());
            if fused >= naive {
                return Err(format!("fusing does not pay: {name} has RMSE {fused:.4}, carried forward {naive:.4}"));
            }
        }
        let coverage = self.total().fused.coverage();
        if !COVERAGE.contains(&coverage) {
            let (low, high) = COVERAGE.into_inner();
            return Err(format!(
                "the uncertainty is not calibrated: the 90 % interval holds the truth in {coverage:.3} of all cases, \
                 which should lie between {low} and {high}"
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "against the truth, all cells and days")?;
        write!(
            f,
            "{:<8} {:>11} {:>21} {:>9} {:>18}",
            "band", "RMSE fused", "RMSE carried forward", "mean sd", "in 90 % interval"
        )?;
        let total = self.total();
        for (name, Scores { fused, naive }) in BANDS.iter().zip(&self.bands).chain([(&"all", &total)]) {
            let (rmse, persistence, sd) = (fused.rmse(), naive.rmse(), fused.mean_sd());
            write!(f, "\n{name:<8} {rmse:>11.4} {persistence:>21.4} {sd:>9.4} {:>16.1} %", 100.0 * fused.coverage())?;
        }
        Ok(())
    }
}
