//! Tests of the scalar filter against a textbook filter.

use std::f64::consts::PI;

use super::kernels::ln;
use super::*;

/// A pseudo-random number in [0, 1).
fn unit(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 11) as f64 / (1_u64 << 53) as f64
}

/// Cells, the values of their bands, and which pixels are used.
struct Scene {
    mean: Vec<f64>,
    variance: Vec<f64>,
    values: Vec<Vec<f64>>,
    used: Vec<u64>,
    bands: Vec<ScalarBand>,
}

impl Scene {
    fn new(cells: usize, bands: usize, seed: u64) -> Self {
        let mut seed = seed;
        let mut row =
            |low: f64, high: f64| -> Vec<f64> { (0..cells).map(|_| low + (high - low) * unit(&mut seed)).collect() };
        let (mut mean, variance) = (row(-1.0, 1.0), row(0.01, 2.0));
        let mut values: Vec<Vec<f64>> = (0..bands).map(|_| row(-3.0, 3.0)).collect();
        let used = row(0.0, 1.0).into_iter().map(|u| mask(u < 0.9)).collect();
        for values in &mut values {
            let lost = row(0.0, 1.0);
            values.iter_mut().zip(lost).filter(|(_, u)| *u < 0.3).for_each(|(value, _)| *value = f64::NAN);
        }
        mean[cells / 2] = f64::NAN;
        let band = |k: usize| ScalarBand { noise: 0.1 + 0.3 * k as f64, bias: 0.05 * k as f64 };
        Self { mean, variance, values, used, bands: (0..bands).map(band).collect() }
    }

    /// Updates in runs of the given lengths.
    fn update(&mut self, lengths: impl IntoIterator<Item = usize>) -> (ScalarFit, Vec<usize>) {
        let (mut run, mut fit, mut failed) = (ScalarRun::default(), ScalarFit::default(), Vec::new());
        let mut first = 0;
        for length in lengths.into_iter().chain(std::iter::repeat(RUN)) {
            let last = (first + length).min(self.mean.len());
            if first == last {
                break;
            }
            let mut positions = Vec::new();
            run.compress(Arch::new(), &self.bands, |k| &self.values[k][first..last], &self.used[first..last]);
            let cells = Cells { mean: &mut self.mean[first..last], variance: &mut self.variance[first..last] };
            run.update(Arch::new(), cells, &mut fit, &mut positions);
            failed.extend(positions.into_iter().map(|k| first + k));
            first = last;
        }
        (fit, failed)
    }
}

#[test]
fn logarithms_are_those_of_the_standard_library() {
    let mut seed = 7;
    for k in 0..100_000 {
        let x = (1.0 + unit(&mut seed)) * 2.0_f64.powi(k % 600 - 300);
        assert!((ln(x) - x.ln()).abs() <= 2.0 * f64::EPSILON * x.ln().abs(), "{x:e}");
    }
    for x in [1.0, 0.5, 2.0, 1.0 + f64::EPSILON, 1.0 - f64::EPSILON, f64::MIN_POSITIVE, f64::MAX] {
        assert!((ln(x) - x.ln()).abs() <= 2.0 * f64::EPSILON * x.ln().abs(), "{x:e}");
    }
}

/// Cell by cell and band by band, as in a textbook.
#[test]
fn runs_equal_the_textbook() {
    for bands in 1..5 {
        let mut scene = Scene::new(1000, bands, 3 + bands as u64);
        let (mut mean, mut variance) = (scene.mean.clone(), scene.variance.clone());
        let (mut values, mut dof, mut nis, mut log_likelihood) = (0, 0, 0.0, 0.0);
        for cell in (0..1000).filter(|&cell| scene.used[cell] != 0 && !scene.mean[cell].is_nan()) {
            let (prior_mean, prior_variance) = (mean[cell], variance[cell]);
            let present = || (0..bands).filter(|&band| !scene.values[band][cell].is_nan());
            for band in present() {
                let ScalarBand { noise, bias } = scene.bands[band];
                let innovation = scene.values[band][cell] - bias - mean[cell];
                let s = variance[cell] + noise;
                mean[cell] += variance[cell] / s * innovation;
                variance[cell] -= variance[cell] * variance[cell] / s;
                values += 1;
                log_likelihood -= 0.5 * (innovation * innovation / s + (2.0 * PI * s).ln());
            }
            if present().count() > 0 {
                // All values together are one observation of the cell.
                let precision: f64 = present().map(|band| 1.0 / scene.bands[band].noise).sum();
                let weighted =
                    |band: usize| (scene.values[band][cell] - scene.bands[band].bias) / scene.bands[band].noise;
                let z = present().map(weighted).sum::<f64>() / precision;
                dof += 1;
                nis += (z - prior_mean).powi(2) / (prior_variance + 1.0 / precision);
            }
        }
        let (fit, failed) = scene.update([]);
        assert_eq!((fit.values, fit.dof, failed), (values, dof, vec![]));
        assert!((fit.nis.value() - nis).abs() < 1e-9 * nis, "{} {nis}", fit.nis.value());
        let found = fit.log_likelihood.value();
        assert!((found - log_likelihood).abs() < 1e-9 * log_likelihood.abs(), "{found} {log_likelihood}");
        for cell in 0..1000 {
            assert_eq!(scene.mean[cell].is_nan(), mean[cell].is_nan());
            assert!((scene.mean[cell] - mean[cell]).abs() < 1e-13 || mean[cell].is_nan());
            assert!((scene.variance[cell] - variance[cell]).abs() < 1e-13);
        }
    }
}

#[test]
fn runs_of_any_length_give_the_same_bits() {
    for bands in [1, 3] {
        let (mut one, mut other) = (Scene::new(777, bands, 11), Scene::new(777, bands, 11));
        // Terms that are too large for fixed point in vector instructions.
        for scene in [&mut one, &mut other] {
            scene.values[0][300] = 1e9;
            scene.values[0][301] = 1e12;
        }
        let whole = one.update([]);
        let parted = other.update([1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 7, 7, 7, 100, 250]);
        assert_eq!(whole, parted);
        assert!(whole.0.nis.value() > 1e17);
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&one.mean), bits(&other.mean));
        assert_eq!(bits(&one.variance), bits(&other.variance));
    }
}

#[test]
fn a_mean_that_is_no_number_is_told_and_counts_for_nothing() {
    let mut scene = Scene::new(100, 1, 5);
    scene.used[40] = mask(true);
    let mut sound = Scene::new(100, 1, 5);
    sound.used[40] = 0;
    scene.bands[0].bias = -1e308;
    sound.bands[0].bias = -1e308;
    for scene in [&mut scene, &mut sound] {
        scene.values[0].iter_mut().for_each(|value| *value -= 1e308);
        scene.values[0][40] = 1e308;
    }
    let (fit, failed) = scene.update([]);
    let (expected, none) = sound.update([]);
    assert_eq!((failed, none), (vec![40], vec![]));
    assert_eq!(fit, expected);
    assert!(scene.mean[40].is_nan() && scene.variance[40].is_nan());
}

#[test]
fn walks_are_those_of_the_windows() {
    let prediction = CellPrediction::new(0.9, 0.5, 3.0);
    let (mean, variance) = prediction.apply(2.0, 1.5);
    assert!((mean - 2.0 * 0.9_f64.powi(3)).abs() < 1e-15);
    assert!((variance - (1.5 * 0.9_f64.powi(6) + 0.5 * (1.0 + 0.81 + 0.81 * 0.81))).abs() < 1e-15);
    assert_eq!(CellPrediction::new(0.9, 0.5, 0.0).apply(2.0, 1.5), (2.0, 1.5));
    let (mut means, mut variances) = ([2.0; 9], [1.5; 9]);
    let (mut out_mean, mut out_sd) = ([0.0; 9], [0.0; 9]);
    predict_into(Arch::new(), prediction, (&means, &variances), (&mut out_mean, &mut out_sd));
    Cells { mean: &mut means, variance: &mut variances }.predict(Arch::new(), prediction);
    assert_eq!((means, variances), ([mean; 9], [variance; 9]));
    assert_eq!((out_mean, out_sd), ([mean; 9], [variance.sqrt(); 9]));
}
