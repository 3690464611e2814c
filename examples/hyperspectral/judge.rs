//! How good the spectra are: against the truth, by regions of the spectrum, and against the last hyperspectral image.

use std::fmt;
use std::ops::Range;

use ndarray::{ArrayView1, s};

use crate::Spectra;
use crate::common::score::Score;
use crate::twin::{Seen, Twin};

/// Parts of the spectrum, in nm.
const REGIONS: [(&str, Range<f64>); 5] = [
    ("visible", 400.0..700.0),
    ("nir", 700.0..1400.0),
    ("swir1", 1400.0..1900.0),
    ("swir2", 1900.0..2500.0),
    ("all", 400.0..2500.0),
];

/// The comparison over all cells and days that a hyperspectral image was there for before.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Of the fused spectra and of the last image, by region.
    regions: [[Score; 2]; REGIONS.len()],
    /// Mean angle between spectrum and truth in degrees.
    angles: [f64; 2],
    /// How many cells and days those are, and of how many.
    compared: usize,
    all: usize,
}

impl Verdict {
    pub(crate) fn new(twin: &Twin, hyper: &Seen, fused: &Spectra<'_>) -> Self {
        let mut regions = [[Score::default(); 2]; REGIONS.len()];
        let (mut angles, mut compared) = ([0.0; 2], 0);
        for (time, row, col) in ndarray::indices((twin.dates.len(), twin.target.rows(), twin.target.cols())) {
            let Some(last) = last_clear(twin, hyper, time, (row, col)) else { continue };
            let truth = twin.truth.slice(s![time, .., row, col]);
            let (mean, sd) = fused.at(time, (row, col));
            for ((_, region), scores) in REGIONS.iter().zip(&mut regions) {
                for (band, _) in twin.wavelengths_nm.iter().enumerate().filter(|(_, nm)| region.contains(nm)) {
                    scores[0].add(mean[band], sd[band], truth[band]);
                    scores[1].add(last[band], f64::NAN, truth[band]);
                }
            }
            angles[0] += angle(ArrayView1::from(&mean), truth);
            angles[1] += angle(last, truth);
            compared += 1;
        }
        let all = twin.dates.len() * twin.target.rows() * twin.target.cols();
        Self { regions, angles: angles.map(|sum| sum / compared as f64), compared, all }
    }
}

/// The spectrum of the pixel over a cell in the last image that saw it.
pub(crate) fn last_clear<'a>(
    twin: &Twin,
    hyper: &'a Seen,
    time: usize,
    (row, col): (usize, usize),
) -> Option<ArrayView1<'a, f64>> {
    let side = twin.target.rows() / hyper.grid.rows();
    let images = hyper.dates.iter().enumerate().filter(|(_, date)| **date <= twin.dates[time]);
    let mut spectra = images.rev().map(|(index, _)| hyper.values.slice(s![index, .., row / side, col / side]));
    spectra.find(|spectrum| spectrum.iter().all(|value| !value.is_nan()))
}

/// The angle between two spectra, in degrees.
fn angle(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    (a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()).clamp(-1.0, 1.0).acos().to_degrees()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "against the truth, all wavelengths, on the {} of {} cells and days with a clear hyperspectral image before",
            self.compared, self.all
        )?;
        write!(
            f,
            "{:<8} {:>11} {:>16} {:>9} {:>18}",
            "region", "RMSE fused", "RMSE last image", "mean sd", "in 90 % interval"
        )?;
        for ((name, _), [fused, last]) in REGIONS.iter().zip(&self.regions) {
            let (rmse, naive, sd, inside) = (fused.rmse(), last.rmse(), fused.mean_sd(), 100.0 * fused.coverage());
            write!(f, "\n{name:<8} {rmse:>11.4} {naive:>16.4} {sd:>9.4} {inside:>16.1} %")?;
        }
        let [fused, last] = self.angles;
        write!(f, "\nspectral angle {fused:.2}°, of the last image {last:.2}°")
    }
}
