//! Columns together against a state for each column, and against dense formulas.

use std::sync::Arc;

use nalgebra::DMatrix;

use super::super::{
    BandModel, BlockCov, Channel, CompressionCache, Innovation, NumericalError, ProcessBlock, Season, Workspace,
};
use super::*;

const COLUMNS: usize = 3;
/// States of the field; those after it are offsets of instruments.
const FIELD: usize = 60;
/// Instrument, number of pixels and noise variance of each group.
const GROUPS: [(usize, usize, f64); 3] = [(2, 17, 0.05), (0, 71, 0.02), (5, 40, 0.3)];

/// A number in (-1, 1) that looks random.
fn noise(k: usize) -> f64 {
    let x = (k as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// A field, offsets with memory of two instruments, and a constant one of the third, by season.
fn dynamics() -> Dynamics {
    let block = |len, transition, variance, range: f64| ProcessBlock {
        len,
        transition,
        variance,
        correlation: Arc::new(BlockCov::dense(len, |i, j| (-(i.abs_diff(j) as f64) / range).exp())),
    };
    let blocks = vec![block(FIELD, 0.97, 0.02, 6.0), block(2, 0.8, 0.3, 0.1), block(1, 1.0, 0.0, 1.0)];
    Dynamics::new(blocks).with_seasons(vec![Season { cosine: 0.4, sine: 0.2 }])
}

/// Row `pixel` of a group on a date: states, weights and noise variance.
fn row(date: usize, group: usize, pixel: usize) -> (Vec<u32>, Vec<f64>, f64) {
    let at = (pixel * 7 + date * 3 + group) % (FIELD - 4);
    let cells = if group == 1 { at..at + 1 } else { at..at + 4 };
    let mut states: Vec<u32> = cells.map(|state| state as u32).collect();
    let mut weights = vec![1.0 / states.len() as f64; states.len()];
    if group != 1 || pixel.is_multiple_of(2) {
        states.push((FIELD + group) as u32);
        weights.push(1.0);
    }
    (states, weights, GROUPS[group].2 * (1.5 + noise(date + 100 * pixel)))
}

fn value(date: usize, group: usize, pixel: usize, column: usize) -> f64 {
    noise(10_000 * date + 1000 * group + 10 * pixel + column) + column as f64 * 0.3
}

fn log_det(pixel: usize) -> f64 {
    0.1 * pixel as f64 - 1.0
}

/// The pixels of a date, all columns together.
fn observe_together(date: usize, observations: &mut Observations) {
    observations.clear();
    observations.set_columns(COLUMNS);
    for (group, (instrument, pixels, _)) in GROUPS.into_iter().enumerate() {
        observations.begin_group(instrument);
        for pixel in 0..pixels {
            let (states, weights, variance) = row(date, group, pixel);
            let channel = Channel { offset: 0, scale: 1.0, states: &states, weights: &weights };
            let values: Vec<f64> = (0..COLUMNS).map(|column| value(date, group, pixel, column)).collect();
            observations.push_together(variance, log_det(pixel), channel, &values);
        }
    }
}

/// The same pixels, one column of them as bands of their own.
fn observe(date: usize, column: usize, observations: &mut Observations) {
    observations.clear();
    for (group, (instrument, pixels, _)) in GROUPS.into_iter().enumerate() {
        observations.begin_group(instrument);
        for pixel in 0..pixels {
            let (states, weights, variance) = row(date, group, pixel);
            let channel = |_| Channel { offset: 0, scale: 1.0, states: &states, weights: &weights };
            let bands = BandModel::new(vec![1.0], vec![variance], vec![0.0]);
            observations.push_noisy_pixel(&bands, channel, &[value(date, group, pixel, column)], &[variance]);
        }
    }
}

fn start_mean(column: usize, i: usize) -> f64 {
    noise(77 + 1000 * column + i)
}

fn start<T: Real>(columns: usize) -> State<T> {
    let mut state = State::new(FIELD + 3).with_parallel(columns - 1).cast::<T>();
    for i in 0..state.n() {
        (0..=i).for_each(|j| state.cov.set(i, j, (-(i.abs_diff(j) as f64) / 5.0).exp()));
        (0..columns).for_each(|column| state.column_mut(column)[i] = start_mean(column, i));
    }
    state
}

fn with_lags<T: Real>(state: State<T>, lag: usize) -> State<T> {
    let sums = (0..40).map(|k| if k % 3 == 0 { vec![(FIELD, 0.5), (k + 7, -0.25)] } else { Vec::new() });
    state.with_lags(vec![0..20, 30..50], lag).with_lagged_sums(sums.collect())
}

fn close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} {b}");
}

fn assert_same<T: Real>(together: &State<T>, columns: &[State<T>], tolerance: f64) {
    for (column, single) in columns.iter().enumerate() {
        for i in 0..single.n() {
            close(together.column(column)[i], single.mean[i], tolerance);
            (0..=i).for_each(|j| close(together.cov.get(i, j), single.cov.get(i, j), tolerance));
        }
        assert_eq!(together.remembered(), single.remembered());
        for k in 0..single.remembered() {
            let (all, own) = (together.lagged_at(k).unwrap(), single.lagged_at(k).unwrap());
            all.column(column).iter().zip(own.mean).for_each(|(a, b)| close(*a, *b, tolerance));
            all.cov.iter().zip(own.cov).for_each(|(a, b)| close(*a, *b, tolerance));
        }
    }
}

/// The fits of all columns as one, with the constants of the pixels of a group.
fn sum(fits: &[Vec<Innovation>], group: usize) -> Innovation {
    let mut sum = Innovation::begin(fits[0][group].instrument);
    for fit in fits.iter().map(|fits| fits[group]) {
        sum.values += fit.values;
        sum.dof += fit.dof;
        sum.nis += fit.nis;
        sum.log_likelihood += fit.log_likelihood;
    }
    sum.log_likelihood -= 0.5 * (0..GROUPS[group].1).map(log_det).sum::<f64>();
    sum
}

/// Runs dates with and without lags; means, covariances, lagged states and fits are those of single columns.
fn columns_equal_states_of_their_own<T: Real>(lag: usize, tolerance: f64) {
    let mut dynamics = dynamics();
    let mut together = with_lags(start::<T>(COLUMNS), lag);
    let mut singles: Vec<State<T>> = (0..COLUMNS)
        .map(|column| {
            let mut single = with_lags(start::<T>(1), lag);
            (0..single.n()).for_each(|i| single.mean[i] = start_mean(column, i));
            single
        })
        .collect();
    let (mut observations, mut workspace) = (Observations::new(), Workspace::new());
    let (mut single, mut small) = (Observations::new(), Workspace::new());
    for date in 0..6 {
        let days = if date % 3 == 2 { 5.0 } else { 1.0 };
        dynamics.start_at(50.0 * date as f64);
        for (column, state) in singles.iter().enumerate() {
            let predicted = |i| together.predicted_parallel(&dynamics, column, i, days);
            (0..state.n()).for_each(|i| close(predicted(i), state.predicted_mean(&dynamics, i, days), tolerance));
        }
        together.predict(&dynamics, days);
        observe_together(date, &mut observations);
        let found = together.update(&observations, &mut workspace).unwrap();
        let fits: Vec<Vec<Innovation>> = singles
            .iter_mut()
            .enumerate()
            .map(|(column, state)| {
                state.predict(&dynamics, days);
                observe(date, column, &mut single);
                state.update(&single, &mut small).unwrap().to_vec()
            })
            .collect();
        assert_eq!(small.squares(0), None);
        for (group, found) in found.iter().enumerate() {
            let expected = sum(&fits, group);
            assert_eq!(
                (found.instrument, found.values, found.dof),
                (expected.instrument, expected.values, expected.dof)
            );
            close(found.nis, expected.nis, tolerance);
            close(found.log_likelihood, expected.log_likelihood, tolerance);
        }
        assert_same(&together, &singles, tolerance);
        together.remember();
        singles.iter_mut().for_each(State::remember);
        assert_same(&together, &singles, tolerance);
    }
}

#[test]
fn columns_together_equal_columns_alone() {
    columns_equal_states_of_their_own::<f64>(0, 1e-12);
    columns_equal_states_of_their_own::<f64>(3, 1e-12);
    columns_equal_states_of_their_own::<f32>(3, 1e-4);
}

/// H of a date as a dense matrix, and the noise variances.
fn dense_rows(date: usize, n: usize) -> (DMatrix<f64>, Vec<f64>) {
    let pixels = GROUPS.iter().enumerate().flat_map(|(group, (_, pixels, _))| (0..*pixels).map(move |p| (group, p)));
    let rows: Vec<_> = pixels.map(|(group, pixel)| row(date, group, pixel)).collect();
    let mut h = DMatrix::zeros(rows.len(), n);
    for (k, (states, weights, _)) in rows.iter().enumerate() {
        states.iter().zip(weights).for_each(|(state, weight)| h[(k, *state as usize)] += weight);
    }
    (h, rows.iter().map(|row| row.2).collect())
}

/// The innovations whitened by the factor of their joint covariance, all blocks of rows at once.
#[test]
fn squares_are_those_of_the_joint_covariance() {
    let mut state = start::<f64>(COLUMNS);
    let n = state.n();
    let (h, variances) = dense_rows(4, n);
    let cov = DMatrix::from_fn(n, n, |i, j| state.cov.get(i, j));
    let means = DMatrix::from_fn(n, COLUMNS, |i, column| state.column(column)[i]);
    let s = &h * cov * h.transpose() + DMatrix::from_diagonal(&variances.into());
    let pixels = GROUPS.iter().enumerate().flat_map(|(group, (_, pixels, _))| (0..*pixels).map(move |p| (group, p)));
    let pixels: Vec<(usize, usize)> = pixels.collect();
    let y = DMatrix::from_fn(pixels.len(), COLUMNS, |k, column| value(4, pixels[k].0, pixels[k].1, column));
    let factor = s.cholesky().unwrap().l();
    let whitened = factor.solve_lower_triangular(&(y - h * means)).unwrap();

    let (mut observations, mut workspace) = (Observations::new(), Workspace::new());
    observe_together(4, &mut observations);
    assert!(observations.len() > 100, "several blocks");
    state.update(&observations, &mut workspace).unwrap();
    for (group, &(_, rows, _)) in GROUPS.iter().enumerate() {
        let found = workspace.squares(group).unwrap();
        let own = || (0..pixels.len()).filter(|k| pixels[*k].0 == group);
        assert_eq!((found.rows, found.products.len()), (rows, COLUMNS * (COLUMNS + 1) / 2));
        close(found.log_pivots, own().map(|k| factor[(k, k)].ln()).sum(), 1e-9);
        let pairs = (0..COLUMNS).flat_map(|a| (0..=a).map(move |b| (a, b)));
        for (product, (a, b)) in found.products.iter().zip(pairs) {
            close(*product, own().map(|k| whitened[(k, a)] * whitened[(k, b)]).sum(), 1e-9);
        }
    }
    assert_eq!(workspace.squares(GROUPS.len()), None);
}

#[test]
fn squares_of_one_column_on_request() {
    let (mut observations, mut workspace) = (Observations::new(), Workspace::new());
    observations.sum_squares(true);
    observe(1, 0, &mut observations);
    let fits = start::<f64>(1).update(&observations, &mut workspace).unwrap().to_vec();
    for (group, fit) in fits.iter().enumerate() {
        let found = workspace.squares(group).unwrap();
        assert_eq!((found.products, found.rows), (&[fit.nis][..], fit.dof));
    }
    observations.sum_squares(false);
    start::<f64>(1).update(&observations, &mut workspace).unwrap();
    assert_eq!(workspace.squares(0), None);
}

/// A state with lagged states, after some dates.
fn after_dates(lag: usize, dates: usize) -> State {
    let mut state = with_lags(start::<f64>(COLUMNS), lag);
    let (mut observations, mut workspace) = (Observations::new(), Workspace::new());
    for date in 0..dates {
        state.predict(&dynamics(), 1.0);
        observe_together(date, &mut observations);
        state.update(&observations, &mut workspace).unwrap();
        state.remember();
    }
    state
}

#[test]
fn snapshots_and_saved_copies_restore_all_columns() {
    for (lag, longer, dates) in [(3, 3, 2), (3, 3, 5), (3, 4, 3)] {
        let (mut state, mut bytes) = (after_dates(lag, dates), Vec::new());
        state.append_snapshot(&mut bytes);
        bytes.push(7);
        let mut restored = with_lags(start::<f64>(COLUMNS), longer);
        assert_eq!(restored.restore_snapshot(&bytes), Ok(&[7][..]));
        if lag == longer {
            let mut again = Vec::new();
            restored.append_snapshot(&mut again);
            assert_eq!(again, bytes[..bytes.len() - 1]);
        }
        // It continues as if nothing had happened.
        let (mut observations, mut workspace) = (Observations::new(), Workspace::new());
        observe_together(9, &mut observations);
        for state in [&mut state, &mut restored] {
            state.predict(&dynamics(), 2.0);
            state.update(&observations, &mut workspace).unwrap();
        }
        assert_eq!((&state.mean, &state.parallel, &state.cov), (&restored.mean, &restored.parallel, &restored.cov));
        for k in 0..state.remembered() {
            let (a, b) = (state.lagged_at(k).unwrap(), restored.lagged_at(k).unwrap());
            assert_eq!((a.mean, a.parallel, a.cov), (b.mean, b.parallel, b.cov));
        }
        assert!(with_lags(start::<f64>(COLUMNS), longer).restore_snapshot(&bytes[..bytes.len() / 2]).is_err());

        let (before, mut saved) = (state.clone(), super::super::Saved::default());
        state.save(&mut saved);
        state.update(&observations, &mut workspace).unwrap();
        assert_ne!(state.parallel, before.parallel);
        state.restore(&saved);
        assert_eq!(state, before);
        assert_eq!(state.cast::<f32>().cast::<f64>().parallel, before.parallel);
    }
}

#[test]
fn without_further_means_snapshots_have_none() {
    let (mut plain, mut none, mut some) = (Vec::new(), Vec::new(), Vec::new());
    let mut state = with_lags(State::new(FIELD + 3), 2);
    state.remember();
    state.append_snapshot(&mut plain);
    let mut state = with_lags(State::new(FIELD + 3).with_parallel(0), 2);
    state.remember();
    state.append_snapshot(&mut none);
    let mut state = with_lags(State::new(FIELD + 3).with_parallel(2), 2);
    state.remember();
    state.append_snapshot(&mut some);
    assert_eq!(plain, none);
    assert_eq!(some.len() - plain.len(), 2 * (FIELD + 3 + 40) * 8);
    assert_eq!(State::<f64>::further_bytes(FIELD + 3, 40, 1, 2), 2 * (FIELD as u64 + 3 + 40) * 8);
}

#[test]
fn scaled_and_retained_pixels_equal_pushed_ones() {
    let (mut changed, mut pushed, mut workspace) = (Observations::new(), Observations::new(), Workspace::new());
    observe_together(2, &mut changed);
    let factor = |pixel: usize| if pixel.is_multiple_of(3) { 7.0 } else { 0.5 };
    (0..changed.pixels()).for_each(|pixel| changed.scale_noise(pixel, factor(pixel)));
    changed.retain(|pixel| pixel % 5 != 1);
    let mut index = 0;
    pushed.set_columns(COLUMNS);
    for (group, (instrument, pixels, _)) in GROUPS.into_iter().enumerate() {
        pushed.begin_group(instrument);
        for pixel in 0..pixels {
            let (states, weights, variance) = row(2, group, pixel);
            let channel = Channel { offset: 0, scale: 1.0, states: &states, weights: &weights };
            let values: Vec<f64> = (0..COLUMNS).map(|column| value(2, group, pixel, column)).collect();
            if index % 5 != 1 {
                pushed.push_together(variance * factor(index), log_det(pixel), channel, &values);
            }
            index += 1;
        }
    }
    assert_eq!((changed.len(), changed.pixels()), (pushed.len(), pushed.pixels()));
    close(changed.information(), pushed.information(), 1e-14);
    let (mut a, mut b) = (start::<f64>(COLUMNS), start::<f64>(COLUMNS));
    let first = a.update(&changed, &mut workspace).unwrap().to_vec();
    for (first, second) in first.iter().zip(b.update(&pushed, &mut workspace).unwrap()) {
        assert_eq!((first.values, first.dof), (second.values, second.dof));
        close(first.log_likelihood, second.log_likelihood, 1e-12);
    }
    (0..COLUMNS).for_each(|c| a.column(c).iter().zip(b.column(c)).for_each(|(a, b)| close(*a, *b, 1e-12)));
    changed.retain(|_| false);
    assert!(changed.is_empty());
    assert_eq!(changed.len(), 0);
}

#[test]
fn pixels_are_tested_over_all_columns() {
    let (state, mut workspace) = (start::<f64>(COLUMNS), Workspace::new());
    let (mut together, mut single) = (Observations::new(), Observations::new());
    observe_together(3, &mut together);
    for pixel in [0, 20, 90, 127] {
        let expected: f64 = (0..COLUMNS)
            .map(|column| {
                observe(3, column, &mut single);
                let mut own = start::<f64>(1);
                own.mean.copy_from_slice(state.column(column));
                own.pixel_nis(&single, pixel, &mut workspace).unwrap().0
            })
            .sum();
        let (nis, dof) = state.pixel_nis(&together, pixel, &mut workspace).unwrap();
        assert_eq!(dof, COLUMNS);
        close(nis, expected, 1e-12);
    }
}

#[test]
fn probes_give_every_column() {
    let state = start::<f64>(COLUMNS);
    let (mut together, mut single, mut cache) = (Observations::new(), Observations::new(), CompressionCache::new());
    together.set_columns(COLUMNS);
    together.begin_group(0);
    single.begin_group(0);
    let bands = BandModel::new(vec![1.0], vec![0.3], vec![0.1]);
    for pixel in 0..5 {
        let (states, weights, _) = row(1, 0, pixel);
        // Of two pieces.
        let piece = |from: usize, to: usize| Channel {
            offset: 0,
            scale: 1.0,
            states: &states[from..to],
            weights: &weights[from..to],
        };
        let channel = || [piece(0, 3), piece(3, states.len())];
        together.push_together_probe(channel());
        single.push_probe(&bands, 0, |_| channel(), &mut cache);
        let mut means = [0.0; COLUMNS];
        let variance = state.predicted_together(&together, pixel, &mut means);
        for (column, mean) in means.iter().enumerate() {
            let mut own = start::<f64>(1);
            own.mean.copy_from_slice(state.column(column));
            let expected = own.predicted_observation(&single, pixel);
            close(*mean, expected.0, 1e-12);
            close(variance, expected.1, 1e-12);
        }
        assert_eq!(state.predicted_observation(&together, pixel), (means[0], variance));
    }
}

#[test]
fn a_mean_of_any_column_that_is_not_finite_is_refused() {
    let (mut observations, mut workspace) = (Observations::new(), Workspace::new());
    observe_together(0, &mut observations);
    for column in 0..COLUMNS {
        let mut state = start::<f64>(COLUMNS);
        state.column_mut(column)[FIELD - 1] = f64::MAX;
        state.column_mut(column)[FIELD - 1] *= 2.0;
        assert!(matches!(state.update(&observations, &mut workspace), Err(NumericalError::NotFinite { .. })));
    }
}

#[test]
#[should_panic(expected = "the columns of the state")]
fn observations_have_the_columns_of_the_state() {
    let mut observations = Observations::new();
    observe(0, 0, &mut observations);
    let _ = start::<f64>(COLUMNS).update(&observations, &mut Workspace::new());
}

#[test]
#[should_panic(expected = "no parallel means")]
fn similarity_of_histories_is_for_one_mean() {
    let _ = start::<f64>(COLUMNS).with_history(&dynamics(), 1, 0.5, 0.1);
}

#[test]
#[should_panic(expected = "no history")]
fn a_state_with_a_history_has_one_mean() {
    let _ = start::<f64>(1).with_history(&dynamics(), 1, 0.5, 0.1).with_parallel(1);
}
