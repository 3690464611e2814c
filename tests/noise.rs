//! Noise that the pixels know themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use ndarray::{Array4, s};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rasterfuse::Fusion;
use rasterfuse::describe::{Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::filter::{BandModel, Channel, CompressionCache, Observations, State, Workspace};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::MemorySource;

const USUAL: f64 = 4e-4;

fn grid(side: usize, cell: f64) -> Grid {
    Grid::new(Crs::unknown(), [0.0, cell, 0.0, 0.0, 0.0, -cell], (side, side)).unwrap()
}

/// Two bands on four dates: fine pixels whose noise `noise` makes of its indices, and coarse ones of usual noise.
fn fuse(
    kernel: Kernel,
    coarse: bool,
    noise_variance: [f64; 2],
    noise: Option<Array4<f64>>,
) -> (Array4<f64>, Array4<f64>, f64) {
    let mut rng = StdRng::seed_from_u64(5);
    let dates: Vec<Date> = [0, 1, 3, 4].map(Date::from_days).to_vec();
    let names = || vec!["a".to_owned(), "b".to_owned()];
    let mut values = |side: usize| {
        Array4::from_shape_fn((4, 2, side, side), |_| {
            if rng.random_bool(0.2) { f64::NAN } else { rng.random_range(0.1..0.5) }
        })
    };
    let mut fine = MemorySource::new(grid(8, 30.0), dates.clone(), names(), values(8)).unwrap();
    if let Some(noise) = noise {
        fine = fine.with_noise_variance(noise).unwrap();
    }
    let mut builder = Fusion::builder(grid(8, 30.0))
        .bands(names())
        .window(3, 1)
        .process(Process::new(kernel, 90.0, 1e-3))
        .prior(Prior::new(0.3, 0.05))
        .instrument(Instrument::new("fine", fine).noise_variance(noise_variance));
    if coarse {
        let blurred = MemorySource::new(grid(3, 80.0), dates, names(), values(3)).unwrap();
        let blurred = Instrument::new("coarse", blurred).footprint(Footprint::Uniform).noise_variance(1e-4);
        builder = builder.instrument(blurred);
    }
    let mut sink = MemorySink::new();
    let report = builder.build().unwrap().run(&mut sink).unwrap();
    let (mean, sd) = sink.into_arrays().unwrap();
    (mean, sd, report.log_likelihood())
}

/// Values, and log-likelihoods where both are of `windows`: independent cells count every value once.
fn assert_same(a: &(Array4<f64>, Array4<f64>, f64), b: &(Array4<f64>, Array4<f64>, f64), windows: bool) {
    for (x, y) in a.0.iter().zip(&b.0).chain(a.1.iter().zip(&b.1)) {
        assert!((x - y).abs() <= 1e-12 * x.abs(), "{x} and {y}");
    }
    if windows {
        assert!((a.2 - b.2).abs() <= 1e-9 * a.2.abs(), "{} and {}", a.2, b.2);
    }
}

/// The same noise, told by the instrument or by each of its pixels, gives the same: with windows, and where cells are independent.
#[test]
fn noise_of_pixels_counts_as_that_of_the_instrument_would() {
    for (kernel, coarse) in [(Kernel::Exponential, true), (Kernel::None, false)] {
        let by_instrument = fuse(kernel, coarse, [1e-4, 9e-4], None);
        let each = Array4::from_shape_fn((4, 2, 8, 8), |(_, band, ..)| [1e-4, 9e-4][band]);
        assert_same(&by_instrument, &fuse(kernel, coarse, [USUAL, USUAL], Some(each)), coarse);
        // What a pixel does not know, or cannot be, is the instrument's.
        let mut unknown = Array4::from_elem((4, 2, 8, 8), f64::NAN);
        unknown.slice_mut(s![.., .., ..3, ..]).fill(0.0);
        unknown.slice_mut(s![.., .., 3..5, ..]).fill(f64::INFINITY);
        unknown.slice_mut(s![.., .., 5..6, ..]).fill(-1.0);
        assert_same(&by_instrument, &fuse(kernel, coarse, [1e-4, 9e-4], Some(unknown)), coarse);
    }
}

#[test]
fn a_pixel_that_knows_to_be_poor_says_little() {
    let mut noise = Array4::from_elem((4, 2, 8, 8), 1e-4);
    noise.slice_mut(s![.., 0, 2, 5]).fill(1e3);
    let (_, sd, _) = fuse(Kernel::None, false, [1e-4, 1e-4], Some(noise));
    let (_, usual, _) = fuse(Kernel::None, false, [1e-4, 1e-4], None);
    assert!(sd[(4, 0, 2, 5)] > 5.0 * usual[(4, 0, 2, 5)], "{} and {}", sd[(4, 0, 2, 5)], usual[(4, 0, 2, 5)]);
    assert!((sd[(4, 1, 2, 5)] - usual[(4, 1, 2, 5)]).abs() < 1e-12, "its other band");
    assert!((sd[(4, 0, 2, 4)] - usual[(4, 0, 2, 4)]).abs() < 1e-12, "its neighbour");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A pixel with noise of its own is one of an instrument that has that noise.
    #[test]
    fn a_noisy_pixel_is_one_of_a_noisier_instrument(
        design in prop::collection::vec(-2.0..2.0f64, 8),
        own in prop::collection::vec(0.01..2.0f64, 4),
        values in prop::collection::vec(prop::option::weighted(0.8, -1.0..1.0f64), 4),
    ) {
        let values: Vec<f64> = values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect();
        let offsets = vec![0.1, -0.2, 0.0, 0.3];
        let usual = BandModel::new(design.clone(), vec![1.0; 4], offsets.clone());
        let noisier = BandModel::new(design, own.clone(), offsets);
        let channel = |j: usize| Channel { offset: j, scale: 1.0, states: &[0], weights: &[1.0] };
        let update = |push: &dyn Fn(&mut Observations) -> bool| {
            let mut state = State::<f64>::new(2);
            state.cov.set(0, 0, 2.0);
            state.cov.set(1, 1, 1.0);
            state.cov.set(1, 0, 0.3);
            let mut observations = Observations::new();
            observations.begin_group(0);
            let pushed = push(&mut observations);
            let mut workspace = Workspace::new();
            let fits = state.update(&observations, &mut workspace).unwrap().to_vec();
            (pushed, state.mean.clone(), fits.first().map_or(0.0, |fit| fit.log_likelihood))
        };
        let a = update(&|observations| observations.push_noisy_pixel(&usual, channel, &values, &own));
        let b = update(&|observations| observations.push_pixel(&noisier, channel, &values, &mut CompressionCache::new()));
        prop_assert_eq!(a, b);
    }
}
