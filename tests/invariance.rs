//! What must not change a bit of the result: tiles, threads, batches, the way it is driven.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use ndarray::Array4;
use proptest::prelude::*;
use rasterfuse::Fusion;
use rasterfuse::describe::OutputDates;
use rasterfuse::describe::{
    AcquisitionGroups, Features, Field, Footprint, Instrument, Kernel, Missing, OffsetLayer, Prior, Process, Variation,
};
use rasterfuse::engine::{FusionBuilder, Precision};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::series::Report;
use rasterfuse::sink::MemorySink;
use rasterfuse::source::MemorySource;

const ROWS: usize = 19;
const COLS: usize = 23;

fn grid(x0: f64, y0: f64, size: f64, shape: (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [x0, size, 0.0, y0, 0.0, -size], shape).unwrap()
}

/// Values that look random, a fifth of them missing.
fn values(dates: usize, bands: usize, (rows, cols): (usize, usize), seed: u64) -> Array4<f64> {
    Array4::from_shape_fn((dates, bands, rows, cols), |(t, b, r, c)| {
        let k = (((t * 7 + b) * 131 + r) * 131 + c) as u64 ^ seed;
        let x = k.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ (x >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let unit = (x >> 11) as f64 / (1_u64 << 53) as f64;
        if unit < 0.2 { f64::NAN } else { unit }
    })
}

fn source(grid: Grid, days: &[i32], seed: u64) -> Arc<MemorySource> {
    let values = values(days.len(), 2, grid.shape(), seed);
    let dates = days.iter().copied().map(Date::from_days).collect();
    Arc::new(MemorySource::new(grid, dates, vec!["red".into(), "nir".into()], values).unwrap())
}

/// Features on a larger grid than the target's, with holes.
fn reference() -> Arc<MemorySource> {
    source(grid(-60.0, 30.0, 30.0, (ROWS + 2, COLS + 5)), &[0], 3)
}

fn fusion() -> FusionBuilder {
    fusion_with([false; 7])
}

/// With float32, with a state-dependent process covariance, with gates, with change that goes with level and place and a correlated prior,
/// with seasons, and noise, change and weights by what innovations tell, with features, with further fields and offsets of all kinds.
fn fusion_with([single, adaptive, gated, relative, adapting, alike, layers]: [bool; 7]) -> FusionBuilder {
    let fine = source(grid(0.0, 0.0, 30.0, (ROWS, COLS)), &[3, 9], 1);
    let coarse = source(grid(-100.0, 80.0, 170.0, (5, 6)), &[1, 2, 3, 4, 7], 2);
    let sharp = Instrument::new("fine", fine).noise_variance(1e-3);
    let process =
        Process::new(Kernel::Exponential, 150.0, [1e-2, 2e-2]).nested(Kernel::Matern32, 600.0, 1e-3).phi(0.98);
    let factors = source(grid(0.0, 0.0, 30.0, (ROWS, COLS)), &[1], 5);
    let uneven = Variation::of(factors);
    let process = if relative { process.relative([1.0, 0.5], 0.4).variation(uneven) } else { process };
    let process = if adapting { process.season(1.0, -0.5) } else { process };
    let process = process.inflate(adapting);
    let sharp = if adapting { sharp.robust(4.0) } else { sharp };
    let process = if alike { process.features(Features::new(reference(), 0.3).bands([1])) } else { process };
    let fields = [
        Field::new(Kernel::Matern32, 400.0, 5e-3).phi(0.9).block(2),
        Field::new(Kernel::Exponential, 100.0, [2e-3, 1e-3]).phi(0.5).block(1),
    ];
    let process = if layers { fields.into_iter().fold(process, Process::field) } else { process };
    let groups = AcquisitionGroups::new([1, 2, 4, 5].map(|day| (Date::from_days(day), format!("path {}", day % 2))));
    let offsets = [
        OffsetLayer::per_pixel([1e-2, 2e-2]).drift(1e-3),
        OffsetLayer::per_window(1e-2).phi(0.7),
        OffsetLayer::per_acquisition(1e-2),
        OffsetLayer::per_group(1e-2, groups),
    ];
    let blurred = Instrument::new("coarse", coarse).footprint(Footprint::Uniform);
    let blurred = blurred.noise_variance([1e-2, 2e-2]).missing(Missing::Pixel).inflate(adapting);
    Fusion::builder(grid(0.0, 0.0, 30.0, (ROWS, COLS)))
        .bands(["red", "nir"])
        .window(3, 2)
        .far_samples(3, 400.0)
        .process(if adaptive { process.adaptive(0.4, 0.1) } else { process })
        .prior(if relative { Prior::new(0.4, 0.2).correlated() } else { Prior::new(0.4, 0.2) })
        .precision(if single { Precision::F32 } else { Precision::F64 })
        .instrument(if gated { sharp.gate(0.9).follow(2) } else { sharp })
        .instrument(if layers { offsets.into_iter().fold(blurred, Instrument::offset_layer) } else { blurred })
}

fn run(builder: FusionBuilder) -> (Array4<f64>, Array4<f64>, Report) {
    let mut sink = MemorySink::new();
    let report = builder.build().unwrap().run(&mut sink).unwrap();
    let (mean, sd) = sink.into_arrays().unwrap();
    (mean, sd, report)
}

fn assert_same_bits(a: &Array4<f64>, b: &Array4<f64>) {
    assert_eq!(a.dim(), b.dim());
    for ((at, x), y) in a.indexed_iter().zip(b) {
        assert!(x.to_bits() == y.to_bits(), "{at:?}: {x:e} and {y:e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn tiles_threads_and_batches_change_no_bit(
        tile in (1..ROWS + 4, 1..COLS + 4),
        threads in 1..4_usize,
        batch in 1..12_usize,
        lag in prop_oneof![Just(0), 0..12_usize],
        options in any::<[bool; 7]>(),
    ) {
        let offsets = options[6] && lag == 0;
        let fusion = || fusion_with(options).lag(lag).offsets(offsets);
        let (mut sink, mut other_sink) = (MemorySink::new(), MemorySink::new());
        let report = fusion().tile(64, 64).threads(1).build().unwrap().run(&mut sink).unwrap();
        let other = fusion().tile(tile.0, tile.1).threads(threads).batch_dates(batch).build().unwrap();
        let other = other.run(&mut other_sink).unwrap();
        if offsets {
            let ((mean, sd), (other_mean, other_sd)) = (sink.offsets().unwrap(), other_sink.offsets().unwrap());
            assert_same_bits(&mean, &other_mean);
            assert_same_bits(&sd, &other_sd);
        }
        let ((mean, sd), (other_mean, other_sd)) = (sink.into_arrays().unwrap(), other_sink.into_arrays().unwrap());
        assert_same_bits(&mean, &other_mean);
        assert_same_bits(&sd, &other_sd);
        prop_assert_eq!(&report.instruments, &other.instruments);
        prop_assert_eq!((report.windows, report.widened_windows), (other.windows, other.widened_windows));
    }

    /// Windows of several hundred states: several panels, dates of many blocks, some windows leaving float32 on the way.
    #[test]
    fn large_windows_are_no_exception(tile in 3..ROWS, threads in 1..4_usize, batch in 1..12_usize, lag in 0..3_usize) {
        let fusion = || fusion_with([true, true, true, true, false, true, false]).window(5, 7).far_samples(0, 0.0).prior(Prior::new(0.4, [0.2, 400.0])).lag(lag);
        let (mean, sd, report) = run(fusion().tile(64, 64).threads(1));
        let (other_mean, other_sd, other) = run(fusion().tile(tile, tile).threads(threads).batch_dates(batch));
        assert_same_bits(&mean, &other_mean);
        assert_same_bits(&sd, &other_sd);
        prop_assert_eq!(&report.instruments, &other.instruments);
        prop_assert!(report.widened_windows > 0);
        prop_assert_eq!(report.widened_windows, other.widened_windows);
    }
}

#[test]
fn the_iterator_yields_what_a_run_writes_and_stops_when_dropped() {
    let (mean, sd, _) = run(fusion().tile(8, 8));
    let fusion = fusion().tile(8, 8).build().unwrap();
    let mut seen = 0;
    for block in fusion.stream() {
        let block = block.unwrap();
        for ((band, row, col), value) in block.mean.indexed_iter() {
            let at = (block.time, band, block.region.rows.start + row, block.region.cols.start + col);
            assert_eq!(value.to_bits(), mean[at].to_bits());
            assert_eq!(block.uncertainty[(band, row, col)].to_bits(), sd[at].to_bits());
            seen += 1;
        }
    }
    assert_eq!(seen, mean.len());
    assert_eq!(fusion.stream().take(3).count(), 3);
}

#[test]
fn fewer_dates_put_out_are_the_same_dates() {
    let (daily, daily_sd, _) = run(fusion());
    let dates: Vec<Date> = [2, 5, 9].map(Date::from_days).to_vec();
    let (some, some_sd, _) = run(fusion().output(OutputDates::Dates(dates)));
    let (observed, _, _) = run(fusion().output(OutputDates::Observed));
    for (k, day) in [1, 4, 8].into_iter().enumerate() {
        assert_eq!(some.index_axis(ndarray::Axis(0), k), daily.index_axis(ndarray::Axis(0), day));
        assert_eq!(some_sd.index_axis(ndarray::Axis(0), k), daily_sd.index_axis(ndarray::Axis(0), day));
    }
    assert_eq!(observed.dim().0, 6);
    assert_eq!(observed.index_axis(ndarray::Axis(0), 5), daily.index_axis(ndarray::Axis(0), 8));
}

#[test]
fn instruments_may_come_in_any_order() {
    let target = || grid(0.0, 0.0, 30.0, (6, 6));
    let fine = || Instrument::new("fine", source(target(), &[3], 1)).noise_variance(1e-3);
    let coarse = || {
        let source = source(grid(-20.0, 10.0, 100.0, (3, 3)), &[2, 3], 2);
        Instrument::new("coarse", source).footprint(Footprint::Uniform).noise_variance(1e-2)
    };
    let base = || {
        let process = Process::new(Kernel::Matern52, 100.0, 1e-2);
        Fusion::builder(target()).bands(["red", "nir"]).process(process).prior(Prior::new(0.4, 0.2))
    };
    let (a, a_sd, _) = run(base().instrument(fine()).instrument(coarse()));
    let (b, b_sd, _) = run(base().instrument(coarse()).instrument(fine()));
    for ((at, x), y) in a.indexed_iter().zip(&b) {
        assert!((x - y).abs() < 1e-10 * a_sd[at]);
        assert!((a_sd[at] - b_sd[at]).abs() < 1e-10 * a_sd[at]);
    }
}

/// Far cells only split what the remainders hold together, as long as they bring in no pixel that is not seen anyway.
#[test]
fn far_samples_split_remainders_exactly() {
    // Gaussian footprints overlap, so that a far cell lies under several pixels.
    far_samples_split(&[Footprint::Uniform]);
    far_samples_split(&[Footprint::Gaussian { fwhm: 120.0 }]);
    far_samples_split(&[Footprint::Gaussian { fwhm: 120.0 }, Footprint::Gaussian { fwhm: 100.0 }, Footprint::Uniform]);
}

fn far_samples_split(footprints: &[Footprint]) {
    let with = |far: usize| {
        let process = Process::new(Kernel::Exponential, 100.0, 1e-2).nugget(0.1).phi(0.9);
        let builder = Fusion::builder(grid(0.0, 0.0, 30.0, (6, 6))).bands(["red", "nir"]).window(2, 2);
        let builder = builder.far_samples(far, 200.0).process(process).prior(Prior::new(0.4, 0.2));
        run(footprints.iter().enumerate().fold(builder, |builder, (k, footprint)| {
            let coarse = source(grid(0.0, 0.0, 90.0, (2, 2)), &[1, 2, 4], 5 + k as u64);
            let coarse = Instrument::new(format!("coarse {k}"), coarse).footprint(*footprint);
            builder.instrument(coarse.noise_variance(1e-3))
        }))
    };
    let (mean, sd, _) = with(0);
    for far in [1, 5, 20] {
        let (other, other_sd, _) = with(far);
        mean.iter().zip(&other).for_each(|(x, y)| assert!((x - y).abs() < 1e-12));
        sd.iter().zip(&other_sd).for_each(|(x, y)| assert!((x - y).abs() < 1e-12));
    }
}

/// Halo and windows: with independent cells and fine pixels only, the halo has nothing to say.
#[test]
fn independent_cells_need_no_context() {
    let target = || grid(0.0, 0.0, 30.0, (7, 5));
    let with = |size, halo| {
        let process = Process::new(Kernel::None, 0.0, 1e-2);
        let fine = Instrument::new("fine", source(target(), &[1, 2, 5], 3)).noise_variance(1e-3);
        let builder = Fusion::builder(target()).bands(["red", "nir"]).process(process).prior(Prior::new(0.4, 0.2));
        run(builder.instrument(fine).window(size, halo))
    };
    let (a, a_sd, _) = with(1, 0);
    let (b, b_sd, _) = with(4, 2);
    a.iter().zip(&b).for_each(|(x, y)| assert!((x - y).abs() < 1e-13));
    a_sd.iter().zip(&b_sd).for_each(|(x, y)| assert!((x - y).abs() < 1e-13));
}
