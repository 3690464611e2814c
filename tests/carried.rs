//! What a state carries beyond mean and covariance: its past, its history, another precision; and pixels judged one by one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use rasterfuse::filter::{CompressionCache, NumericalError, Observations, Real, Saved, State, Workspace};
use support::problem::{COMPONENTS, Problem, assert_same, dense, noise, problem};

impl Problem {
    /// The observations of a date: a part of the pixels, which differs from date to date.
    fn observe(&self, date: usize, observations: &mut Observations, cache: &mut CompressionCache) {
        observations.clear();
        for (k, sensor) in self.sensors.iter().enumerate() {
            self.push(
                k,
                (0..sensor.pixels.len()).filter(|pixel| !(pixel + date + k).is_multiple_of(3)),
                observations,
                cache,
            );
        }
    }

    /// The same problem with values that the start predicts, noise added: those drawn at random contradict each other by
    /// hundreds of standard deviations.
    fn plausible(mut self) -> Self {
        let mean = self.start().mean;
        for (k, sensor) in self.sensors.iter_mut().enumerate() {
            for (pixel, (states, weights, values)) in sensor.pixels.iter_mut().enumerate() {
                for (band, value) in values.iter_mut().enumerate() {
                    let seen = (0..COMPONENTS).flat_map(|j| states.iter().zip(weights.iter()).map(move |e| (j, e)));
                    let clear: f64 = seen
                        .map(|(j, (state, weight))| {
                            sensor.design[band * COMPONENTS + j] * weight * mean[j * self.spatial + *state as usize]
                        })
                        .sum();
                    let error = noise(self.seed, 1000 * k + 10 * pixel + band) * (3.0 * sensor.noise[band]).sqrt();
                    *value = if value.is_nan() { f64::NAN } else { 0.1 + clear + error };
                }
            }
        }
        self
    }

    /// Dense rows, residuals `y - c` and noise variances of the same.
    fn rows(&self, date: usize) -> (DMatrix<f64>, DVector<f64>, Vec<f64>) {
        let n = self.spatial * COMPONENTS;
        let (mut rows, mut data, mut noise) = (Vec::new(), Vec::new(), Vec::new());
        for (k, sensor) in self.sensors.iter().enumerate() {
            for (_, (states, weights, values)) in
                sensor.pixels.iter().enumerate().filter(|(pixel, _)| !(pixel + date + k).is_multiple_of(3))
            {
                for (band, value) in values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
                    let mut row = DVector::zeros(n);
                    for (j, (state, weight)) in
                        (0..COMPONENTS).flat_map(|j| states.iter().zip(weights).map(move |entry| (j, entry)))
                    {
                        row[j * self.spatial + *state as usize] += weight * sensor.design[band * COMPONENTS + j];
                    }
                    rows.push(row.transpose());
                    data.push(value - 0.1);
                    noise.push(sensor.noise[band]);
                }
            }
        }
        let h = if rows.is_empty() { DMatrix::zeros(0, n) } else { DMatrix::from_rows(&rows) };
        (h, DVector::from_vec(data), noise)
    }
}

/// Conditions a joint Gaussian on `y = H x(first states) + ε`.
fn condition(mean: &mut DVector<f64>, cov: &mut DMatrix<f64>, h: &DMatrix<f64>, y: &DVector<f64>, noise: &[f64]) {
    if y.is_empty() {
        return;
    }
    let n = h.ncols();
    let cross = cov.columns(0, n) * h.transpose();
    let s = h * cross.rows(0, n) + DMatrix::from_diagonal(&DVector::from_column_slice(noise));
    let factor = s.cholesky().unwrap();
    *mean += &cross * factor.solve(&(y - h * mean.rows(0, n)));
    *cov -= &cross * factor.solve(&cross.transpose());
}

/// Runs `dates` dates, five days apart now and then, and calls `after` with each.
fn run<T: Real>(problem: &Problem, state: &mut State<T>, dates: usize, mut after: impl FnMut(usize, &mut State<T>)) {
    let dynamics = problem.dynamics();
    let (mut observations, mut cache, mut workspace) = (Observations::new(), CompressionCache::new(), Workspace::new());
    for date in 0..dates {
        state.predict(&dynamics, days(date));
        problem.observe(date, &mut observations, &mut cache);
        state.update(&observations, &mut workspace).unwrap();
        after(date, state);
    }
}

/// Days from the date before.
fn days(date: usize) -> f64 {
    if date % 3 == 2 { 5.0 } else { 1.0 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against the filter of the whole past: the state of every date stays in the joint distribution for good.
    #[test]
    fn remembered_states_equal_the_joint_distribution(problem in problem(), lag in 1..4_usize) {
        const DATES: usize = 6;
        let (dynamics, n) = (problem.dynamics(), problem.spatial * COMPONENTS);
        let own = problem.spatial.div_ceil(2);
        // Joint mean and covariance: the present first, then the dates so far, the latest last.
        let start = problem.start();
        let (mut mean, mut cov) = dense(&start);
        let mut joint: Vec<(DVector<f64>, DMatrix<f64>)> = Vec::new();
        for date in 0..DATES {
            let transition = DVector::from_fn(mean.len(), |i, _| {
                if i < n { dynamics.transition(i, days(date)) } else { 1.0 }
            });
            mean.component_mul_assign(&transition);
            cov = DMatrix::from_diagonal(&transition) * cov * DMatrix::from_diagonal(&transition);
            let mut still = State::new(n);
            still.predict(&dynamics, days(date));
            let mut present = cov.view_mut((0, 0), (n, n));
            present += dense(&still).1;
            let (h, y, noise) = problem.rows(date);
            condition(&mut mean, &mut cov, &h, &y, &noise);
            joint.push((mean.clone(), cov.clone()));
            // The present joins the past.
            let m = mean.len();
            let index: Vec<usize> = (0..m).chain(0..n).collect();
            mean = mean.select_rows(&index);
            cov = cov.select_rows(&index).select_columns(&index);
        }

        let ranges = (0..COMPONENTS).map(|j| j * problem.spatial..j * problem.spatial + own).collect();
        let mut state = start.with_lags(ranges, lag);
        let check = |state: &State, k: usize, date: usize, given: usize| {
            let lagged = state.lagged_at(k).unwrap();
            let (mean, cov) = &joint[given];
            // Where `date` stands in the joint vector; the last date given is the present itself.
            let first = if date == given { 0 } else { n * (date + 1) };
            for j in 0..COMPONENTS {
                for cell in 0..own {
                    let i = first + j * problem.spatial + cell;
                    let (got, expected) = (lagged.mean[j * own + cell], mean[i]);
                    assert!((got - expected).abs() < 1e-8 * (1.0 + expected.abs()), "mean {date}: {got} {expected}");
                    for b in 0..=j {
                        let k = first + b * problem.spatial + cell;
                        let pair = j * (j + 1) / 2 + b;
                        let (got, expected) = (lagged.cov[pair * own + cell], cov[(i, k)]);
                        let scale = (cov[(i, i)] * cov[(k, k)]).sqrt();
                        assert!((got - expected).abs() < 1e-8 * (scale + 1e-3), "cov {date}: {got} {expected}");
                    }
                }
            }
        };
        let (mut present, mut put_out) = (Vec::new(), 0);
        run(&problem, &mut state, DATES, |date, state| {
            present.push(dense(state));
            if state.remembered() == lag {
                check(state, 0, put_out, date);
                put_out += 1;
            }
            state.remember();
        });
        for k in 0..state.remembered() {
            check(&state, k, put_out, DATES - 1);
            put_out += 1;
        }
        prop_assert_eq!(put_out, DATES);
        // Remembering changes nothing about the present.
        let mut plain = problem.start();
        run(&problem, &mut plain, DATES, |date, state| assert_same(state, &present[date].0, &present[date].1, 1e-10));
    }

    /// Against the sums over the stored history that define the state-dependent covariance.
    #[test]
    fn the_history_equals_its_definition(problem in problem(), weight in 0.0..1.0_f64) {
        const SCALE: f64 = 0.3;
        let dynamics = problem.dynamics();
        let mut state = problem.start().with_history(&dynamics, COMPONENTS, weight, SCALE);
        let mut stored: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
        let (mut observations, mut cache, mut workspace) =
            (Observations::new(), CompressionCache::new(), Workspace::new());
        for date in 0..5 {
            let before = state.clone();
            state.predict(&dynamics, days(date));
            for i in 0..state.n() {
                for j in (0..=i).filter(|j| i / problem.spatial == j / problem.spatial) {
                    let component = i / problem.spatial;
                    let (variance, phi): (f64, f64) = [(0.02, 1.0), (0.05, 0.95)][component];
                    let q = if phi == 1.0 { days(date) } else { (1.0 - phi.powf(2.0 * days(date))) / (1.0 - phi * phi) };
                    let by_place = (-(i.abs_diff(j) as f64) / 4.0).exp();
                    let total = |s: usize| stored.iter().map(|(_, sd)| 1.0 / sd[s]).sum::<f64>();
                    let term = |(mean, sd): &(Vec<f64>, Vec<f64>)| {
                        (mean[i] / sd[i] / total(i) - mean[j] / sd[j] / total(j)).powi(2)
                    };
                    let distance = stored.iter().map(term).sum::<f64>().sqrt();
                    let by_past = (-distance / SCALE).exp() + if i == j { 1e-10 / variance } else { 0.0 };
                    let blended =
                        if stored.is_empty() { by_place } else { weight * by_place + (1.0 - weight) * by_past };
                    let expected = phi.powf(2.0 * days(date)) * before.cov.get(i, j) + q * variance * blended;
                    let got = state.cov.get(i, j);
                    // Distances of like histories are differences of nearly equal numbers under a root.
                    prop_assert!((got - expected).abs() < 1e-8 * (q * variance), "{date} {i} {j}: {got} {expected}");
                    let lazy = before.predicted_cov(&dynamics, j, i, days(date));
                    prop_assert!((lazy - got).abs() < 1e-13, "{lazy} {got}");
                }
            }
            problem.observe(date, &mut observations, &mut cache);
            state.update(&observations, &mut workspace).unwrap();
            if !observations.is_empty() {
                let sd = (0..state.n()).map(|i| state.cov.get(i, i).sqrt()).collect();
                stored.push((state.mean.clone(), sd));
            }
            prop_assert!(dense(&state).1.cholesky().is_some());
        }
    }

    /// What float32 accepts is off by a small part of a standard deviation.
    #[test]
    fn float32_follows_float64(problem in problem()) {
        let problem = problem.plausible();
        let (mut double, mut single) = (problem.start(), problem.start().cast::<f32>());
        let mut past = Vec::new();
        run(&problem, &mut double, 5, |_, state| past.push(dense(state)));
        let dynamics = problem.dynamics();
        let (mut observations, mut cache, mut workspace) =
            (Observations::new(), CompressionCache::new(), Workspace::new());
        let mut saved = Saved::default();
        for (date, (mean, cov)) in past.iter().enumerate() {
            single.predict(&dynamics, days(date));
            problem.observe(date, &mut observations, &mut cache);
            let before = single.clone();
            single.save(&mut saved);
            if let Err(error) = single.update(&observations, &mut workspace) {
                // Noticed, and undone to the last bit.
                prop_assert!(error.to_string().contains("float32"), "{error}");
                single.restore(&saved);
                prop_assert_eq!(single, before);
                break;
            }
            for i in 0..mean.len() {
                let sd = cov[(i, i)].sqrt();
                prop_assert!((single.mean[i] - mean[i]).abs() < 0.02 * sd, "{} {} sd {sd}", single.mean[i], mean[i]);
                prop_assert!((single.cov.get(i, i).sqrt() / sd - 1.0).abs() < 0.02, "{} {}", single.cov.get(i, i), sd * sd);
            }
        }
    }

    /// A pixel's own innovation against the dense one, and the update without some pixels against one that never saw them.
    #[test]
    fn single_pixels_are_judged_and_dropped_exactly(problem in problem(), keep in any::<u64>()) {
        let mut state = problem.start();
        let (mut observations, mut cache) = (Observations::new(), CompressionCache::new());
        let mut workspace = Workspace::new();
        let kept = |pixel: usize| keep >> (pixel % 64) & 1 == 1;
        let (mean, cov) = dense(&state);
        let mut chosen = Observations::new();
        let mut pixel = 0;
        for (k, sensor) in problem.sensors.iter().enumerate() {
            problem.push(k, 0..sensor.pixels.len(), &mut observations, &mut cache);
            let first = pixel;
            let seen: Vec<usize> =
                (0..sensor.pixels.len()).filter(|&p| sensor.pixels[p].2.iter().any(|v| v.is_finite())).collect();
            pixel += seen.len();
            let subset = seen.iter().enumerate().filter(|(at, _)| kept(first + at)).map(|(_, &p)| p);
            problem.push(k, subset, &mut chosen, &mut cache);
            for (at, &p) in seen.iter().enumerate() {
                let (nis, dof) = state.pixel_nis(&observations, first + at, &mut workspace).unwrap();
                let alone = Problem { sensors: vec![support::problem::Sensor {
                    pixels: vec![sensor.pixels[p].clone(); 2], ..sensor.clone() }], ..problem.clone() };
                // Of the two copies the first is left out on date 0.
                let (h, y, noise) = alone.rows(0);
                let innovation = y - &h * &mean;
                let s = &h * &cov * h.transpose() + DMatrix::from_diagonal(&DVector::from_vec(noise));
                let expected = innovation.dot(&s.cholesky().unwrap().solve(&innovation));
                prop_assert_eq!(dof, innovation.len());
                prop_assert!((nis - expected).abs() < 1e-7 * (1.0 + expected), "{nis} {expected}");
            }
        }
        prop_assert_eq!(observations.pixels(), pixel);
        observations.retain(kept);
        prop_assert_eq!(observations.len(), chosen.len());
        let mut other = state.clone();
        let one = state.update(&observations, &mut workspace).unwrap().to_vec();
        let two = other.update(&chosen, &mut workspace).unwrap();
        prop_assert_eq!(&state, &other);
        prop_assert_eq!(&one[..], two);
    }
}

#[test]
fn float32_refuses_variances_far_above_the_noise() {
    let observe = |prior: f64| {
        let bands = rasterfuse::filter::BandModel::new(vec![1.0], vec![1e-6], vec![0.0]);
        let mut observations = Observations::new();
        observations.begin_group(0);
        let channel = rasterfuse::filter::Channel { offset: 0, scale: 1.0, states: &[0], weights: &[1.0] };
        observations.push_pixel(&bands, |_| channel, &[0.5], &mut CompressionCache::new());
        let mut state = State::new(1);
        state.cov.set(0, 0, prior);
        let mut single = state.cast::<f32>();
        let before = single.clone();
        let result = single.update(&observations, &mut Workspace::new()).map(|_| ());
        (result, single == before)
    };
    assert_eq!(observe(0.09), (Ok(()), false));
    assert!(matches!(observe(0.2).0, Err(NumericalError::LostPrecision { kind: "float32", .. })));
    let (result, unchanged) = observe(1.1);
    assert!(matches!(result, Err(NumericalError::RatioTooLarge { kind: "float32", .. })), "{result:?}");
    assert!(unchanged, "a refused update leaves the state alone");
}
