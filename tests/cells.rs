//! Independent cells, filtered one by one, against the same problems in windows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use ndarray::Array4;
use proptest::prelude::*;
use rasterfuse::describe::OutputDates;
use rasterfuse::describe::{Footprint, Instrument, Kernel, Missing, Prior, PriorField, Process};
use rasterfuse::engine::{FusionBuilder, OnError};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::series::Report;
use rasterfuse::sink::MemorySink;
use rasterfuse::source::MemorySource;
use rasterfuse::{Error, Fusion};

const ROWS: usize = 13;
const COLS: usize = 17;

fn grid(x0: f64, y0: f64, shape: (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [x0, 30.0, 0.0, y0, 0.0, -30.0], shape).unwrap()
}

fn target() -> Grid {
    grid(0.0, 0.0, (ROWS, COLS))
}

/// Numbers that look random, in [0, 1).
fn unit(k: u64) -> f64 {
    let x = k.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 29)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A fifth of the values is missing.
fn source(grid: Grid, days: &[i32], bands: &[&str], seed: u64) -> Arc<MemorySource> {
    let (rows, cols) = grid.shape();
    let values = Array4::from_shape_fn((days.len(), bands.len(), rows, cols), |(t, b, r, c)| {
        let value = unit((((t * 7 + b) * 131 + r) * 131 + c) as u64 ^ seed);
        if value < 0.2 { f64::NAN } else { value }
    });
    let dates = days.iter().copied().map(Date::from_days).collect();
    let bands = bands.iter().map(|band| (*band).to_owned()).collect();
    Arc::new(MemorySource::new(grid, dates, bands, values).unwrap())
}

#[derive(Clone, Copy, Debug)]
struct Options {
    phi: f64,
    nugget: f64,
    gate: Option<f64>,
    pixel: bool,
    observed: bool,
    raster: bool,
    seed: u64,
}

fn options() -> impl Strategy<Value = Options> {
    let phi = prop_oneof![Just(1.0), 0.8..1.0];
    let gate = prop_oneof![Just(None), (0.5..0.999).prop_map(Some)];
    (phi, 0.0..2.0, gate, any::<[bool; 3]>(), any::<u64>()).prop_map(|(phi, nugget, gate, flags, seed)| {
        let [pixel, observed, raster] = flags;
        Options { phi, nugget, gate, pixel, observed, raster, seed }
    })
}

/// A prior whose last columns, which nobody sees, are empty.
fn raster(seed: u64, low: f64) -> PriorField {
    let values = Array4::from_shape_fn((1, 2, ROWS, COLS), |(_, b, r, c)| {
        let hidden = c + 3 >= COLS && (b == 0 || r % 2 == 0);
        if hidden { f64::NAN } else { low + unit(((b * 131 + r) * 131 + c) as u64 ^ seed) }
    });
    let names = vec!["a".into(), "b".into()];
    PriorField::raster(MemorySource::new(target(), vec![Date::from_days(0)], names, values).unwrap())
}

/// Three instruments, one of them on another grid, one with two channels of a band, and a band that nobody sees. In windows
/// when the kernel is one, of a range too short for any neighbour.
fn problem(options: Options, kernel: Kernel) -> FusionBuilder {
    let Options { phi, nugget, gate, pixel, observed, raster: rasters, seed } = options;
    let seen = if rasters { COLS - 3 } else { COLS };
    let three = source(grid(0.0, 0.0, (ROWS, seen)), &[2, 3, 7, 12], &["red", "nir", "red edge"], seed);
    let shifted = source(grid(-70.0, 100.0, (9, 12)), &[3, 4, 12, 13], &["nir"], seed ^ 1);
    let plain = source(grid(60.0, -90.0, (5, 6)), &[1, 3, 13], &["red", "nir"], seed ^ 2);
    let first = Instrument::new("three", three)
        .observes(["red", "nir", "red"])
        .noise_variance([0.02, 0.03, 0.01])
        .bias([0.01, 0.0, -0.02])
        .missing(if pixel { Missing::Pixel } else { Missing::Band });
    let first = match gate {
        Some(quantile) => first.gate(quantile).follow(2),
        None => first,
    };
    let prior = |value: f64| PriorField::from([value, 2.0 * value]);
    let (mean, variance) = if rasters { (raster(seed, 0.0), raster(seed ^ 5, 0.1)) } else { (prior(0.3), prior(0.2)) };
    Fusion::builder(target())
        .bands(["red", "nir"])
        .end(Date::from_days(15))
        .window(3, 0)
        .process(Process::new(kernel, 0.01, [1e-2, 2e-2]).nugget(nugget).phi([phi, 1.0]))
        .prior(Prior::new(mean, variance))
        .output(if observed { OutputDates::Observed } else { OutputDates::Daily })
        .instrument(first)
        .instrument(Instrument::new("shifted", shifted).footprint(Footprint::Uniform).noise_variance(0.05))
        .instrument(Instrument::new("plain", plain).noise_variance([0.1, 0.001]).missing(Missing::Pixel))
}

fn run(builder: FusionBuilder) -> (Array4<f64>, Array4<f64>, Report) {
    let mut sink = MemorySink::new();
    let report = builder.build().unwrap().run(&mut sink).unwrap();
    let (mean, sd) = sink.into_arrays().unwrap();
    (mean, sd, report)
}

fn assert_close(a: &Array4<f64>, b: &Array4<f64>) {
    assert_eq!(a.dim(), b.dim());
    for ((at, x), y) in a.indexed_iter().zip(b) {
        assert!((x.is_nan() && y.is_nan()) || (x - y).abs() < 1e-12, "{at:?}: {x:e} and {y:e}");
    }
}

fn assert_same_bits(a: &Array4<f64>, b: &Array4<f64>) {
    assert_eq!(a.dim(), b.dim());
    a.indexed_iter().zip(b).for_each(|((at, x), y)| assert_eq!(x.to_bits(), y.to_bits(), "{at:?}: {x:e} and {y:e}"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn cells_are_what_windows_make_of_them(options in options(), tile in (1..ROWS + 4, 1..COLS + 4)) {
        let cells = problem(options, Kernel::None).tile(tile.0, tile.1);
        let plan = cells.clone().build().unwrap().plan().clone();
        prop_assert!(plan.independent_cells && plan.windows == 0 && plan.states_per_window == 2);
        let windows = problem(options, Kernel::Exponential);
        prop_assert!(!windows.clone().build().unwrap().plan().independent_cells);
        let (mean, sd, report) = run(cells);
        let (expected, expected_sd, other) = run(windows);
        assert_close(&mean, &expected);
        assert_close(&sd, &expected_sd);
        for (a, b) in report.instruments.iter().zip(&other.instruments) {
            prop_assert_eq!(a.dates.len(), b.dates.len());
            for (a, b) in a.dates.iter().zip(&b.dates) {
                prop_assert_eq!((a.date, a.pixels, a.refused, a.values, a.dof), (b.date, b.pixels, b.refused, b.values, b.dof));
                prop_assert!((a.nis - b.nis).abs() < 1e-9 * (1.0 + b.nis), "{} {}", a.nis, b.nis);
                prop_assert!((a.log_likelihood - b.log_likelihood).abs() < 1e-9 * (1.0 + b.log_likelihood.abs()));
            }
        }
    }

    #[test]
    fn tiles_threads_and_batches_change_no_bit(
        options in options(),
        tile in (1..ROWS + 4, 1..COLS + 4),
        threads in 1..4_usize,
        batch in 1..12_usize,
        window in (1..6_usize, 0..4_usize),
    ) {
        let fusion = || problem(options, Kernel::None);
        let (mean, sd, report) = run(fusion().tile(64, 64).threads(1));
        let other = fusion().tile(tile.0, tile.1).threads(threads).batch_dates(batch).window(window.0, window.1);
        let (other_mean, other_sd, other) = run(other);
        assert_same_bits(&mean, &other_mean);
        assert_same_bits(&sd, &other_sd);
        prop_assert_eq!(report.instruments, other.instruments);
    }
}

#[test]
fn whatever_couples_cells_asks_for_windows() {
    let base = || {
        problem(
            Options { phi: 1.0, nugget: 0.0, gate: None, pixel: false, observed: false, raster: false, seed: 1 },
            Kernel::None,
        )
    };
    let cells = |builder: FusionBuilder| builder.build().unwrap().plan().independent_cells;
    assert!(cells(base()));
    assert!(!cells(base().lag(1)));
    assert!(!cells(base().far_samples(2, 100.0)));
    assert!(!cells(base().precision(rasterfuse::Precision::F32)));
    assert!(!cells(base().process(Process::new(Kernel::None, 0.0, 0.1).adaptive(0.5, 0.1))));
    assert!(!cells(base().process(Process::new(Kernel::None, 0.0, 0.1).nested(Kernel::Matern32, 100.0, 0.1))));
    assert!(cells(base().process(Process::new(Kernel::None, 0.0, 0.1).nested(Kernel::None, 100.0, 0.1))));
    let coarse = Grid::new(Crs::unknown(), [0.0, 60.0, 0.0, 0.0, 0.0, -60.0], (3, 3)).unwrap();
    let coarse = Instrument::new("coarse", source(coarse, &[5], &["red"], 9)).footprint(Footprint::Uniform);
    assert!(!cells(base().instrument(coarse.noise_variance(0.1))));
}

#[test]
fn plans_speak_of_cells() {
    let base = || {
        problem(
            Options { phi: 1.0, nugget: 0.0, gate: None, pixel: false, observed: false, raster: false, seed: 1 },
            Kernel::None,
        )
    };
    let plan = base().build().unwrap().plan().clone();
    assert!(plan.to_string().contains("independent cells, filtered one by one, of 2 states"), "{plan}");
    assert_eq!(plan.full_checkpoint_bytes, plan.light_checkpoint_bytes);
    assert_eq!(plan.full_checkpoint_bytes, (2 * 2 * 8 * ROWS * COLS) as u64);
    assert!(
        plan.state_bytes >= plan.full_checkpoint_bytes && plan.state_bytes < 2 * plan.full_checkpoint_bytes + 65_536
    );
    // Tiles read nothing around them, whatever the halo.
    let parted = base().window(4, 8).tile(5, 6).build().unwrap().plan().clone();
    assert!(parted.instruments.iter().all(|instrument| instrument.read_amplification == 1.0), "{parted}");
}

/// An observation whose difference from any prediction is infinite.
fn absurd() -> FusionBuilder {
    let mut values = Array4::from_elem((4, 2, ROWS, COLS), 0.0);
    values[(1, 1, 4, 7)] = 1e308;
    values[(1, 0, 2, 3)] = 1e308;
    values[(2, 0, 4, 7)] = 1e308;
    values[(2, 1, 12, 16)] = 1e308;
    values.mapv_inplace(|value| value - 1e308);
    values.mapv_inplace(|value| if value == 0.0 { 1e308 } else { value });
    let names = vec!["red".into(), "nir".into()];
    let source = MemorySource::new(target(), (1..5).map(Date::from_days).collect(), names, values).unwrap();
    Fusion::builder(target())
        .bands(["red", "nir"])
        .process(Process::new(Kernel::None, 0.0, 1e-2))
        .prior(Prior::new(0.0, 0.1))
        .instrument(Instrument::new("absurd", source).noise_variance(0.1).bias(-1e308))
}

#[test]
fn a_cell_that_breaks_down_is_named() {
    for tile in [(64, 64), (4, 5)] {
        let error = absurd().tile(tile.0, tile.1).build().unwrap().run(&mut MemorySink::new()).unwrap_err();
        let Error::Numerical { row, col, date, .. } = error else { panic!("{error}") };
        assert_eq!((row, col, date), (2, 3, Date::from_days(2)));
    }
}

#[test]
fn a_cell_that_breaks_down_is_nan_from_then_on() {
    let skip = |rows, cols, batch| run(absurd().on_error(OnError::Skip).tile(rows, cols).batch_dates(batch));
    let (mean, sd, report) = skip(64, 64, 8);
    let failed: Vec<_> = report.failed_windows.iter().map(|cell| (cell.row, cell.col, cell.date)).collect();
    let day = Date::from_days;
    assert_eq!(failed, [(2, 3, day(2)), (4, 7, day(2)), (12, 16, day(3))]);
    for ((time, _, row, col), value) in mean.indexed_iter() {
        let since = match (row, col) {
            (2, 3) | (4, 7) => 1,
            (12, 16) => 2,
            _ => 9,
        };
        assert_eq!(value.is_nan(), time >= since, "{time} {row} {col}");
    }
    mean.iter().zip(&sd).for_each(|(mean, sd)| assert_eq!(mean.is_nan(), sd.is_nan()));
    // Seen on the day they fail, but of no weight then and not seen after it.
    let cells = (ROWS * COLS) as u64;
    let counts: Vec<_> = report.instruments[0].dates.iter().map(|date| (date.pixels, date.values)).collect();
    assert_eq!(
        counts,
        [(cells, 2 * cells), (cells, 2 * cells - 2), (cells - 2, 2 * cells - 5), (cells - 3, 2 * cells - 6)]
    );
    let (other, other_sd, other_report) = skip(5, 6, 1);
    assert_same_bits(&mean, &other);
    assert_same_bits(&sd, &other_sd);
    assert_eq!((report.instruments, report.failed_windows), (other_report.instruments, other_report.failed_windows));
}

#[test]
fn a_prior_may_not_be_silent_where_an_instrument_looks() {
    let options = Options { phi: 1.0, nugget: 0.0, gate: None, pixel: false, observed: false, raster: true, seed: 1 };
    let all = source(target(), &[5], &["red"], 3);
    let say = |kernel| {
        let builder = problem(options, kernel).instrument(Instrument::new("all", Arc::clone(&all)).noise_variance(0.1));
        let error = builder.build().unwrap().run(&mut MemorySink::new()).unwrap_err().to_string();
        assert!(error.contains("which instrument \"all\" observes; fill the raster or give a number"), "{error}");
        error.split(" at or near").next().unwrap().to_owned()
    };
    assert_eq!(say(Kernel::None), say(Kernel::Exponential));
}
