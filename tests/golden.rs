//! The filter and the fixed-lag smoother against the golden cases of an independent NumPy reference, to 1e-9.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/numpy.rs"]
mod numpy;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array1, Array2, Array3, Array4, ArrayD, Axis, s};
use numpy::Npz;
use rasterfuse::describe::Kernel;
use rasterfuse::filter::{
    BandModel, BlockCov, Channel, CompressionCache, Dynamics, Observations, ProcessBlock, State, Workspace,
};

/// One instrument of a case.
struct Sensor {
    /// Sparse rows: (states, weights) per pixel.
    pixels: Vec<(Vec<u32>, Vec<f64>)>,
    bands: BandModel,
    times: Vec<f64>,
    values: Array3<f64>,
}

impl Sensor {
    fn read(case: &mut Npz, k: usize, basis: &Array2<f64>, mean: &Array1<f64>) -> Self {
        let mut get = |name: &str| -> ArrayD<f64> { case.array(&format!("inst{k}_{name}")) };
        let footprint = get("Hs").into_dimensionality::<ndarray::Ix2>().unwrap();
        let response = get("R").into_dimensionality::<ndarray::Ix2>().unwrap();
        let noise = get("var").into_raw_vec_and_offset().0;
        let bias = get("bias").into_dimensionality::<ndarray::Ix1>().unwrap();
        let times = get("times").into_raw_vec_and_offset().0;
        let values = get("Y").into_dimensionality().unwrap();
        let row = |row: ndarray::ArrayView1<'_, f64>| {
            row.iter().enumerate().filter(|(_, w)| **w != 0.0).map(|(i, w)| (i as u32, *w)).unzip()
        };
        let design = response.dot(basis);
        let offset = response.dot(mean) + bias;
        Self {
            pixels: footprint.axis_iter(Axis(0)).map(row).collect(),
            bands: BandModel::new(design.iter().copied().collect(), noise, offset.to_vec()),
            times,
            values,
        }
    }
}

fn assert_close(got: f64, expected: f64, scale: f64, what: &str) {
    assert!((got - expected).abs() <= 1e-9 * scale, "{what}: {got} instead of {expected}");
}

/// A state that remembers, and what its memories should become.
struct Smoother {
    state: State,
    /// (time, cell, component)
    mean: Array3<f64>,
    /// (time, cell, component, component)
    cov: Array4<f64>,
    checked: usize,
}

impl Smoother {
    /// `lag_` looks three days ahead on a daily grid, `rts_` to the end.
    fn of_case(case: &mut Npz, start: &State, times: usize, own_cells: Vec<Range<usize>>) -> Vec<Self> {
        let mut smoothers = Vec::new();
        for (name, lag) in [("lag", 3), ("rts", times)] {
            if case.has(&format!("{name}_comp_mean")) {
                smoothers.push(Self {
                    state: start.clone().with_lags(own_cells.clone(), lag),
                    mean: case.array(&format!("{name}_comp_mean")),
                    cov: case.array(&format!("{name}_comp_cov")),
                    checked: 0,
                });
            }
        }
        smoothers
    }

    fn check_lagged(&mut self, k: usize) {
        let lagged = self.state.lagged_at(k).unwrap();
        let (_, own, p) = self.mean.dim();
        let step = self.checked;
        let pairs = (0..p).flat_map(|a| (0..=a).map(move |b| (a, b)));
        for cell in 0..own {
            let cov = self.cov.slice(s![step, cell, .., ..]);
            for j in 0..p {
                let expected = self.mean[[step, cell, j]];
                assert_close(lagged.mean[j * own + cell], expected, expected.abs().max(1e-3), "smoothed mean");
            }
            for (k, (a, b)) in pairs.clone().enumerate() {
                let scale = (cov[[a, a]] * cov[[b, b]]).sqrt();
                assert_close(lagged.cov[k * own + cell], cov[[a, b]], scale, "smoothed covariance");
            }
        }
        self.checked += 1;
    }
}

/// What the filter must hold after each time.
struct Filtered {
    mean: Array2<f64>,
    cov: Option<Array3<f64>>,
    component_cov: Array4<f64>,
    band_mean: Array3<f64>,
    band_sd: Array3<f64>,
}

impl Filtered {
    fn of_case(case: &mut Npz) -> Self {
        Self {
            mean: case.array("filt_x"),
            cov: case.has("filt_P").then(|| case.array("filt_P")),
            component_cov: case.array("filt_comp_cov"),
            band_mean: case.array("filt_band_mean"),
            band_sd: case.array("filt_band_sd"),
        }
    }

    /// Compares states and, by the basis, bands.
    fn check(&self, step: usize, state: &State, basis: &Array2<f64>, mean: &Array1<f64>) {
        let (states, p) = (state.mean.len(), basis.ncols());
        let n = states / p;
        for i in 0..states {
            assert_close(state.mean[i], self.mean[[step, i]], self.mean[[step, i]].abs().max(1e-3), "mean");
            if let Some(cov) = &self.cov {
                for j in 0..states {
                    let scale = (cov[[step, i, i]] * cov[[step, j, j]]).sqrt();
                    assert_close(state.cov.get(i, j), cov[[step, i, j]], scale, "covariance");
                }
            }
        }
        for cell in 0..self.component_cov.dim().1 {
            let cov = |a: usize, b: usize| state.cov.get(a * n + cell, b * n + cell);
            for (a, b) in (0..p).flat_map(|a| (0..p).map(move |b| (a, b))) {
                assert_close(
                    cov(a, b),
                    self.component_cov[[step, cell, a, b]],
                    cov(a, a).max(cov(b, b)),
                    "component covariance",
                );
            }
            for (band, row) in basis.axis_iter(Axis(0)).enumerate() {
                let value: f64 = mean[band] + (0..p).map(|j| row[j] * state.mean[j * n + cell]).sum::<f64>();
                let variance: f64 =
                    (0..p).flat_map(|a| (0..p).map(move |b| (a, b))).map(|(a, b)| row[a] * row[b] * cov(a, b)).sum();
                assert_close(value, self.band_mean[[step, cell, band]], value.abs(), "band mean");
                assert_close(variance.sqrt(), self.band_sd[[step, cell, band]], variance.sqrt(), "band sd");
            }
        }
    }
}

fn check(path: &Path) {
    let mut case = Npz::open(path);
    let basis: Array2<f64> = case.array("B");
    let mean: Array1<f64> = case.array("mu");
    let coords: Array2<f64> = case.array("coords");
    let (n, p) = (coords.nrows(), basis.ncols());
    let sensors: Vec<Sensor> =
        (0..case.scalar("ninst") as usize).map(|k| Sensor::read(&mut case, k, &basis, &mean)).collect();

    let kernel = [Kernel::Exponential, Kernel::Matern32, Kernel::Matern52][case.scalar("kernel_id") as usize];
    let transition = case.scalar("phi");
    let [variance, range, nugget] = ["sigma2", "length", "nugget"].map(|name| case.array::<ndarray::Ix1>(name));
    let block = |j: usize| {
        let entry = |a: usize, b: usize| {
            let d = f64::hypot(coords[[a, 0]] - coords[[b, 0]], coords[[a, 1]] - coords[[b, 1]]);
            kernel.correlation(d, range[j]) + if a == b { nugget[j] } else { 0.0 }
        };
        ProcessBlock { len: n, transition, variance: variance[j], correlation: Arc::new(BlockCov::dense(n, entry)) }
    };
    let dynamics = Dynamics::new((0..p).map(block).collect());

    let own = case.scalar("ntarget") as usize;
    let times = case.array::<ndarray::Ix1>("times").to_vec();
    let own_cells = (0..p).map(|j| j * n..j * n + own).collect();
    let mut state = State::new(n * p);
    state.mean = case.array::<ndarray::Ix1>("x0").to_vec();
    case.array::<ndarray::Ix1>("P0").iter().enumerate().for_each(|(i, v)| state.cov.set(i, i, *v));
    let mut smoothers = Smoother::of_case(&mut case, &state, times.len(), own_cells);
    assert!(!smoothers.is_empty(), "a case without smoother");
    let expected = Filtered::of_case(&mut case);

    let (mut workspace, mut cache, mut observations) = (Workspace::new(), CompressionCache::new(), Observations::new());
    let (mut log_likelihood, mut before) = (0.0, case.scalar("t_prior"));
    for (step, &time) in times.iter().enumerate() {
        observations.clear();
        for (k, sensor) in sensors.iter().enumerate() {
            let Some(date) = sensor.times.iter().position(|t| *t == time) else { continue };
            observations.begin_group(k);
            for (pixel, (states, weights)) in sensor.pixels.iter().enumerate() {
                let values = sensor.values.slice(s![date, pixel, ..]).to_vec();
                // Both cases drop a pixel when one of its bands is missing.
                if values.iter().all(|v| v.is_finite()) {
                    let channel = |j: usize| Channel { offset: j * n, scale: 1.0, states, weights };
                    observations.push_pixel(&sensor.bands, channel, &values, &mut cache);
                }
            }
        }
        state.predict(&dynamics, time - before);
        for smoother in &mut smoothers {
            smoother.state.predict(&dynamics, time - before);
            smoother.state.update(&observations, &mut workspace).unwrap();
            if smoother.state.remembered() == smoother.state.lag() {
                smoother.check_lagged(0);
            }
            smoother.state.remember();
        }
        before = time;
        log_likelihood +=
            state.update(&observations, &mut workspace).unwrap().iter().map(|i| i.log_likelihood).sum::<f64>();

        expected.check(step, &state, &basis, &mean);
    }
    for mut smoother in smoothers {
        (0..smoother.state.remembered()).for_each(|k| smoother.check_lagged(k));
        assert_eq!(smoother.checked, times.len());
    }
    let expected = case.scalar("loglik");
    assert_close(log_likelihood, expected, expected.abs(), "log-likelihood");
}

#[test]
fn the_filter_agrees_with_the_fixtures() {
    for name in ["tiny", "smoother"] {
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.npz")));
    }
}

/// The cases themselves, with full covariances. They live outside the crate; CI sets `RASTERFUSE_REQUIRE_SHARED`.
#[test]
fn the_filter_agrees_with_the_golden_cases() {
    let cases: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/oracle/cases");
    if !cases.is_dir() {
        assert!(std::env::var_os("RASTERFUSE_REQUIRE_SHARED").is_none(), "no golden cases at {}", cases.display());
        return;
    }
    for name in ["tiny", "smoother"] {
        check(&cases.join(format!("{name}.npz")));
    }
}
