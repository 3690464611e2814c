//! What a fusion can be asked for beyond filtering: gates, a lag, float32, a state-dependent process; through the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use ndarray::{Array4, Axis, s};
use rasterfuse::Fusion;
use rasterfuse::describe::OutputDates;
use rasterfuse::describe::{Features, Footprint, Instrument, Kernel, Missing, Prior, Process, Variation};
use rasterfuse::engine::{FusionBuilder, OnError, Precision};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::series::Report;
use rasterfuse::sink::MemorySink;
use rasterfuse::source::MemorySource;

const SIDE: usize = 12;
const DAYS: usize = 12;
const BANDS: [&str; 3] = ["red", "nir", "swir"];
/// Standard deviation of the sensor's noise, in u.
const NOISE_SD: f64 = 0.01;

fn grid(size: f64, side: usize) -> Grid {
    Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], (side, side)).unwrap()
}

/// A number in (-1, 1) that looks random.
fn noise(k: usize) -> f64 {
    let x = (k as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// A smooth scene that greens slowly, seen every day with noise of [`NOISE_SD`]; (time, band, y, x).
fn clear() -> Array4<f64> {
    Array4::from_shape_fn((DAYS, BANDS.len(), SIDE, SIDE), |(t, b, r, c)| {
        let level = 0.2 + 0.1 * b as f64 + 0.02 * ((r as f64 / 4.0).sin() + (c as f64 / 5.0).cos());
        let error = noise(((t * 3 + b) * SIDE + r) * SIDE + c) * 3.0_f64.sqrt() * NOISE_SD;
        level + 0.001 * t as f64 + error
    })
}

fn source(values: Array4<f64>, size: f64) -> Arc<MemorySource> {
    let dates = (0..values.dim().0 as i32).map(Date::from_days).collect();
    let grid = grid(size, values.dim().2);
    Arc::new(MemorySource::new(grid, dates, BANDS.map(String::from).to_vec(), values).unwrap())
}

fn sensor(values: Array4<f64>) -> Instrument {
    Instrument::new("sensor", source(values, 30.0)).noise_variance(NOISE_SD * NOISE_SD)
}

fn fusion(instrument: Instrument) -> FusionBuilder {
    Fusion::builder(grid(30.0, SIDE))
        .bands(BANDS)
        .window(4, 2)
        .process(Process::new(Kernel::Exponential, 150.0, 2e-5))
        .prior(Prior::new(0.3, 0.02))
        .instrument(instrument)
}

fn run(builder: FusionBuilder) -> (Array4<f64>, Array4<f64>, Report) {
    let mut sink = MemorySink::new();
    let report = builder.build().unwrap().run(&mut sink).unwrap();
    let (mean, sd) = sink.into_arrays().unwrap();
    (mean, sd, report)
}

/// Clouds that nobody masked: brighter, in all bands, over some pixels of some dates, by 12 standard deviations of the noise.
fn planted(t: usize, r: usize, c: usize) -> bool {
    t >= 3 && t.is_multiple_of(3) && (r + 2 * t) % SIDE < 4 && (c + t) % SIDE < 5
}

#[test]
fn gates_refuse_planted_clouds_and_not_the_rest() {
    let clean = clear();
    let mut cloudy = clean.clone();
    for ((t, _, r, c), value) in cloudy.indexed_iter_mut() {
        if planted(t, r, c) {
            *value += 12.0 * NOISE_SD;
        }
    }
    let (mean, _, report) = run(fusion(sensor(cloudy.clone()).gate(0.999)));
    let mut good_refused = 0;
    for date in &report.instruments[0].dates {
        let t = date.date.days_since(Date::from_days(0)) as usize;
        let clouds = (0..SIDE * SIDE).filter(|k| planted(t, k / SIDE, k % SIDE)).count() as u64;
        assert_eq!(date.pixels, (SIDE * SIDE) as u64, "{t}: each pixel counts once");
        assert!(date.refused >= clouds, "{t}: {} refused, {clouds} planted", date.refused);
        good_refused += date.refused - clouds;
    }
    assert!(good_refused <= 8, "{good_refused} of 1728 good pixels refused, 0.1 % expected");

    // As good as if the clouds had been masked, and far better than with them.
    let mut masked = clean;
    masked.indexed_iter_mut().filter(|((t, _, r, c), _)| planted(*t, *r, *c)).for_each(|(_, v)| *v = f64::NAN);
    let (expected, sd, _) = run(fusion(sensor(masked)));
    let (fooled, _, ungated) = run(fusion(sensor(cloudy)));
    assert_eq!(ungated.instruments[0].total().unwrap().refused, 0);
    let worst = |mean: &Array4<f64>| {
        mean.iter().zip(&expected).zip(&sd).map(|((m, e), s)| (m - e).abs() / s).fold(0.0, f64::max)
    };
    assert!(worst(&mean) < 1.5, "gated: {} sd from masked", worst(&mean));
    assert!(worst(&fooled) > 4.0, "not gated: {} sd", worst(&fooled));
    let ratio = report.instruments[0].total().unwrap().nis_ratio();
    assert!((0.8..1.2).contains(&ratio), "nis/dof {ratio}");
}

/// A pixel is judged by all its bands together, also when they are filtered apart, and falls with all of them.
#[test]
fn a_pixel_is_refused_with_all_its_bands() {
    let mut values = clear();
    // Six standard deviations in one band alone: 36 of 3 degrees of freedom, beyond the 0.999 quantile of 16.3.
    values[(6, 1, 5, 5)] += 6.0 * NOISE_SD;
    let (mean, _, report) = run(fusion(sensor(values.clone()).gate(0.999)));
    assert!(report.instruments[0].dates[6].refused >= 1);
    values.slice_mut(s![6, .., 5, 5]).fill(f64::NAN);
    let (masked, _, _) = run(fusion(sensor(values).gate(0.999)));
    assert_eq!(mean.slice(s![6, .., 5, 5]), masked.slice(s![6, .., 5, 5]));
}

/// A clear-cut lies beyond the gate for good; with `follow` it is taken for a change after some dates.
#[test]
fn a_change_that_lasts_is_followed() {
    let mut values = clear();
    // A cloud of one date, and from date 6 on another surface.
    values.slice_mut(s![4, .., 5..8, 5..8]).mapv_inplace(|value| value + 0.5);
    values.slice_mut(s![6.., .., 2..5, 2..5]).mapv_inplace(|value| value + 0.5);
    let (refused, _, _) = run(fusion(sensor(values.clone()).gate(0.999)));
    let (followed, _, _) = run(fusion(sensor(values.clone()).gate(0.999).follow(3)));
    let far = |mean: &Array4<f64>, t: usize| (mean[(t, 0, 3, 3)] - values[(t, 0, 3, 3)]).abs() > 0.3;
    assert!((6..12).all(|t| far(&refused, t)));
    assert_eq!((6..12).map(|t| far(&followed, t)).collect::<Vec<_>>(), [true, true, true, false, false, false]);
    assert!((0..12).all(|t| (followed[(t, 0, 6, 6)] - 0.3).abs() < 0.2), "the cloud passed");
    // Cells that have forgotten most of a value when the next comes: all later ones pass, not one in four.
    for ((_, band, _, _), value) in values.indexed_iter_mut() {
        *value -= 0.2 + 0.1 * band as f64;
    }
    let reverting = |sensor: Instrument| {
        let process = Process::new(Kernel::Exponential, 150.0, 1e-3).phi(0.3);
        run(fusion(sensor).process(process).prior(Prior::new(0.0, 1e-3))).0
    };
    let far = |mean: &Array4<f64>, t: usize| (mean[(t, 0, 3, 3)] - values[(t, 0, 3, 3)]).abs() > 0.3;
    assert!((6..12).all(|t| far(&reverting(sensor(values.clone()).gate(0.999)), t)));
    let followed = reverting(sensor(values.clone()).gate(0.999).follow(3));
    assert_eq!((6..12).map(|t| far(&followed, t)).collect::<Vec<_>>(), [true, true, true, false, false, false]);
}

#[test]
fn pixels_of_any_grid_count_once() {
    // 5 x 5 pixels of 100 m over 12 x 12 cells of 30 m: none is in step, the last ones reach beyond the grid.
    let coarse = clear().slice(s![.., .., ..4, ..4]).to_owned();
    let coarse = Instrument::new("coarse", source(coarse, 100.0)).footprint(Footprint::Uniform);
    let (_, _, report) = run(fusion(coarse.noise_variance(1e-3)).window(5, 3));
    assert!(report.instruments[0].dates.iter().all(|date| date.pixels == 16), "{report}");
}

#[test]
fn gating_an_instrument_away_leaves_the_prediction() {
    let values = clear() + 100.0;
    let all = || fusion(sensor(values.clone()).gate(0.999));
    // Of such an instrument nothing is left, which is an error unless it may be passed over.
    let refused = all().build().unwrap().run(&mut MemorySink::new()).unwrap_err().to_string();
    assert!(refused.contains("its gate refused 1728 of 1728 pixels"), "{refused}");
    let (mean, sd, report) = run(all().on_error(OnError::Skip));
    let total = report.instruments[0].total().unwrap();
    assert_eq!((total.values, total.refused), (0, total.pixels));
    assert!(mean.iter().all(|value| (value - 0.3).abs() < 1e-12));
    assert!((sd[(DAYS - 1, 0, 0, 0)].powi(2) - (0.02 + 2e-5 * DAYS as f64)).abs() < 1e-12);
    assert!(report.to_string().contains("warning: sensor lost more than a fifth"), "{report}");
    assert!(report.to_string().contains("1728 of 1728 pixels"), "{report}");
}

#[test]
fn a_lag_uses_later_dates_and_ends_like_the_filter() {
    let mut values = clear();
    values.slice_mut(s![4..8, .., .., ..]).fill(f64::NAN);
    let (filtered, filtered_sd, _) = run(fusion(sensor(values.clone())));
    for lag in [1, 3, DAYS, 5 * DAYS] {
        let (smoothed, smoothed_sd, _) = run(fusion(sensor(values.clone())).lag(lag));
        for (narrow, wide) in smoothed_sd.iter().zip(&filtered_sd) {
            assert!(narrow <= &(wide * (1.0 + 1e-9)), "later data may not widen: {narrow} {wide}");
        }
        let last = DAYS - 1;
        for (a, b) in smoothed.index_axis(Axis(0), last).iter().zip(filtered.index_axis(Axis(0), last)) {
            assert!((a - b).abs() < 1e-12);
        }
        // In the gap, five days from the next clear date, only a long lag sees its end.
        let gain = filtered_sd[(4, 0, 5, 5)] / smoothed_sd[(4, 0, 5, 5)];
        assert_eq!(gain > 1.1, lag > 3, "lag {lag}: {gain}");
    }
}

/// Dates of the output axis, not days, are what a lag counts; past its end all data count.
#[test]
fn a_lag_counts_output_dates() {
    let dates = |days: &[i32]| OutputDates::Dates(days.iter().copied().map(Date::from_days).collect());
    let (daily, daily_sd, _) = run(fusion(sensor(clear())).lag(4));
    let (some, some_sd, _) = run(fusion(sensor(clear())).output(dates(&[2, 6, 9])).lag(1));
    let (whole, whole_sd, _) = run(fusion(sensor(clear())).lag(DAYS));
    for (k, (mean, sd), day) in [(0, (&daily, &daily_sd), 2), (2, (&whole, &whole_sd), 9)] {
        for (a, b) in some.index_axis(Axis(0), k).iter().zip(mean.index_axis(Axis(0), day)) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        for (a, b) in some_sd.index_axis(Axis(0), k).iter().zip(sd.index_axis(Axis(0), day)) {
            assert!((a / b - 1.0).abs() < 1e-10, "{a} {b}");
        }
    }
}

#[test]
fn float32_is_close_where_it_is_safe_and_widened_where_it_is_not() {
    let values = || sensor(clear()).missing(Missing::Pixel);
    for lag in [0, 2] {
        let (mean, sd, _) = run(fusion(values()).lag(lag));
        let single = || fusion(values()).lag(lag).precision(Precision::F32);
        let (single_mean, single_sd, report) = run(single());
        assert_eq!(report.widened_windows, 0);
        for (((m, s), m32), s32) in mean.iter().zip(&sd).zip(&single_mean).zip(&single_sd) {
            assert!((m - m32).abs() < 1e-3 * s && (s32 / s - 1.0).abs() < 1e-3, "{m} {m32} {s} {s32}");
        }
        assert!(sd.iter().zip(&single_sd).any(|(a, b)| a != b), "float32 was not used");
        // A prior 10⁷ times as wide as the noise: every window must leave float32, and the result is float64's.
        let wide = Prior::new(0.3, 1e7 * NOISE_SD * NOISE_SD);
        let (expected, expected_sd, _) = run(fusion(values()).lag(lag).prior(wide.clone()));
        let (widened, widened_sd, report) = run(single().prior(wide));
        assert_eq!(report.widened_windows, report.windows);
        assert!(report.to_string().contains("float64"), "{report}");
        for (((m, s), w), ws) in expected.iter().zip(&expected_sd).zip(&widened).zip(&widened_sd) {
            assert!((m - w).abs() < 1e-4 * s && (ws / s - 1.0).abs() < 1e-4, "{m} {w}");
        }
    }
}

/// Smooth fields gather the information of many pixels, and many instruments that of one cell: both cost float32 digits
/// long before a single pixel's noise tells. What the windows cannot hold they must notice.
#[test]
fn float32_notices_when_information_piles_up() {
    let with = |kernel: Kernel, range: f64, sensors: usize, ratio: f64, lag: usize| {
        let noise = NOISE_SD * NOISE_SD;
        let mut builder = Fusion::builder(grid(30.0, SIDE)).bands(BANDS).window(4, 8).lag(lag);
        for k in 0..sensors {
            let instrument = Instrument::new(format!("sensor{k}"), source(clear(), 30.0));
            builder = builder.instrument(instrument.noise_variance(noise));
        }
        builder
            .process(Process::new(kernel, range, 0.3 * ratio * noise))
            .prior(Prior::new(0.3, 0.5 * ratio * noise))
            .output(OutputDates::Dates((0..4).map(Date::from_days).collect()))
            .end(Date::from_days(3))
    };
    let mut worst = 0.0_f64;
    for (kernel, range, sensors) in [
        (Kernel::Matern52, 3000.0, 1),
        (Kernel::Matern32, 1000.0, 1),
        (Kernel::Exponential, 3000.0, 1),
        (Kernel::None, 0.0, 20),
    ] {
        for ratio in [2e3, 2e4, 2e5, 9e5] {
            for lag in [0, 3] {
                let (mean, sd, _) = run(with(kernel, range, sensors, ratio, lag));
                let (single, single_sd, report) =
                    run(with(kernel, range, sensors, ratio, lag).precision(Precision::F32));
                let (mut off, mut off_sd) = (0.0_f64, 0.0_f64);
                for (((m, s), m32), s32) in mean.iter().zip(&sd).zip(&single).zip(&single_sd) {
                    (off, off_sd) = (off.max((m - m32).abs() / s), off_sd.max((s32 / s - 1.0).abs()));
                }
                println!(
                    "{kernel:?} {range} m, {sensors} sensors, ratio {ratio:e}, lag {lag}: mean off by {off:.1e} sd, sd by \
                     {off_sd:.1e}; {} of {} windows widened",
                    report.widened_windows, report.windows
                );
                assert!(report.widened_windows <= report.windows);
                worst = worst.max(off).max(off_sd);
            }
        }
    }
    assert!(worst < 0.05, "off by {worst}");
}

#[test]
fn plans_tell_what_lag_and_precision_take() {
    let plan = |builder: FusionBuilder| builder.build().unwrap().plan().clone();
    let base = || fusion(sensor(clear())).tile(SIDE, SIDE).window(4, 4);
    let (filter, smoother) = (plan(base()), plan(base().lag(3)));
    assert_eq!((filter.lag_bytes, smoother.lag), (0, 3));
    // Three lags of 16 own cells against 144 states, for each of nine windows and three bands.
    assert!(smoother.lag_bytes >= 9 * 3 * 3 * 16 * 144 * 8, "{}", smoother.lag_bytes);
    assert!(smoother.state_bytes - filter.state_bytes == smoother.lag_bytes);
    let single = plan(base().precision(Precision::F32));
    assert!(single.state_bytes < filter.state_bytes);
    // Windows that may leave float32 are planned for in float64.
    let unsafe_prior = Prior::new(0.3, 1e7 * NOISE_SD * NOISE_SD);
    let wide = plan(base().precision(Precision::F32).prior(unsafe_prior));
    assert!(wide.state_bytes >= filter.state_bytes && wide.to_string().contains("planned for in float64"), "{wide}");
    let endless = plan(base().lag(1000));
    assert_eq!(endless.lag, DAYS, "a lag ends with the series");
    assert!(endless.to_string().contains("a lag of 1000, but only 12 dates"), "{endless}");
}

#[test]
fn an_adaptive_process_of_weight_one_is_the_plain_one() {
    let with = |weight: f64| {
        let process = Process::new(Kernel::Exponential, 150.0, 2e-5).adaptive(weight, 0.01);
        let mut values = clear();
        values.slice_mut(s![5.., .., .., 6..]).fill(f64::NAN);
        run(fusion(sensor(values)).process(process))
    };
    let mut values = clear();
    values.slice_mut(s![5.., .., .., 6..]).fill(f64::NAN);
    let (plain, plain_sd, _) = run(fusion(sensor(values)));
    let (one, one_sd, _) = with(1.0);
    plain.iter().zip(&one).for_each(|(a, b)| assert!((a - b).abs() < 1e-12));
    plain_sd.iter().zip(&one_sd).for_each(|(a, b)| assert!((a - b).abs() < 1e-12));
    let (half, _, report) = with(0.2);
    assert!(plain.iter().zip(&half).any(|(a, b)| (a - b).abs() > 1e-4));
    let ratio = report.instruments[0].total().unwrap().nis_ratio();
    assert!((0.7..1.4).contains(&ratio), "{ratio}");
}

/// After the last observation a cell's variance grows with the square of its level, and a coarser axis of dates is as good as a
/// finer one, smoothed or not.
#[test]
fn change_relative_to_the_level_goes_with_it_whatever_is_put_out() {
    let mut values = clear();
    values.slice_mut(s![7.., .., .., ..]).fill(f64::NAN);
    let with = |kernel: Kernel, phi: f64, values: &Array4<f64>| {
        let process = Process::new(kernel, 150.0, 2e-5).phi(phi).relative(1.0, [0.2, 0.3, 0.4]);
        fusion(sensor(values.clone())).process(process)
    };
    let (mean, sd, _) = run(with(Kernel::None, 1.0, &values));
    assert!(!with(Kernel::None, 1.0, &values).build().unwrap().plan().independent_cells);
    for ((band, r, c), last) in mean.index_axis(Axis(0), 6).indexed_iter() {
        let level = [0.2, 0.3, 0.4][band];
        let grown = sd[(10, band, r, c)].powi(2) - sd[(6, band, r, c)].powi(2);
        assert!((grown / (4.0 * 2e-5 * (last / level).powi(2)) - 1.0).abs() < 1e-9, "{band} {r} {c}: {grown}");
    }
    values.slice_mut(s![2..5, .., .., ..]).fill(f64::NAN);
    for lag in [0, 2] {
        let builder = || with(Kernel::Exponential, 0.95, &values).lag(lag);
        let dates = |days: &[i32]| OutputDates::Dates(days.iter().copied().map(Date::from_days).collect());
        let (daily, daily_sd, _) = run(builder().lag(if lag == 0 { 0 } else { DAYS }));
        let (some, some_sd, _) = run(builder().output(dates(&[3, 8, 11])));
        for (k, day) in [3, 8, 11].into_iter().enumerate() {
            for (a, b) in some.index_axis(Axis(0), k).iter().zip(daily.index_axis(Axis(0), day)) {
                assert!((a - b).abs() < 1e-12, "lag {lag}, day {day}: {a} {b}");
            }
            for (a, b) in some_sd.index_axis(Axis(0), k).iter().zip(daily_sd.index_axis(Axis(0), day)) {
                assert!((a / b - 1.0).abs() < 1e-10, "lag {lag}, day {day}: {a} {b}");
            }
        }
    }
}

/// After the last observation a cell's variance grows as the days of the year say, whether all days are put out or only the last.
#[test]
fn change_varies_with_the_season() {
    let mut values = clear();
    values.slice_mut(s![7.., .., .., ..]).fill(f64::NAN);
    let (phi, cosine, sine) = (0.9, [2.0, -1.0, 0.0], 0.7);
    for kernel in [Kernel::None, Kernel::Exponential] {
        let process = || Process::new(kernel, 150.0, 2e-5).phi(phi).season(cosine, sine);
        let (_, sd, _) = run(fusion(sensor(values.clone())).process(process()));
        let last = OutputDates::Dates(vec![Date::from_days(10)]);
        let (_, once, _) = run(fusion(sensor(values.clone())).process(process()).output(last));
        for (band, r, c) in ndarray::indices(sd.index_axis(Axis(0), 0).raw_dim()) {
            let of = |day: usize| sd[(day, band, r, c)].powi(2);
            let mut expected = of(6);
            for day in 7..=10 {
                let angle = std::f64::consts::TAU * f64::from(day) / 365.2425;
                expected = phi * phi * expected + 2e-5 * (cosine[band] * angle.cos() + sine * angle.sin()).exp();
            }
            assert!((of(10) / expected - 1.0).abs() < 1e-9, "{band} {r} {c}: {} {expected}", of(10));
            assert!((once[(0, band, r, c)].powi(2) / expected - 1.0).abs() < 1e-9);
        }
    }
}

/// Factors of change by band and cell.
fn map(bands: usize, factor: impl Fn(usize, usize, usize) -> f64) -> Variation {
    let values = Array4::from_shape_fn((1, bands, SIDE, SIDE), |(_, band, row, col)| factor(band, row, col));
    let names = (0..bands).map(|band| format!("factor {band}")).collect();
    Variation::of(MemorySource::new(grid(30.0, SIDE), vec![Date::from_days(0)], names, values).unwrap())
}

/// After the last observation a cell's variance grows as fast as its place says.
#[test]
fn change_varies_from_place_to_place() {
    let mut values = clear();
    values.slice_mut(s![7.., .., .., ..]).fill(f64::NAN);
    let with = |process: Process| fusion(sensor(values.clone())).process(process);
    let walks = || Process::new(Kernel::None, 0.0, 2e-5);
    let factor = |band: usize, row: usize, col: usize| [5.0, 0.3, 1.0][band] * (1.0 + (row * 7 + col * 3) as f64 % 5.0);
    let varying = walks().variation(map(3, factor));
    assert!(!with(varying.clone()).build().unwrap().plan().independent_cells);
    let (_, sd, _) = run(with(varying));
    for (band, r, c) in ndarray::indices(sd.index_axis(Axis(0), 0).raw_dim()) {
        let grown = sd[(10, band, r, c)].powi(2) - sd[(6, band, r, c)].powi(2);
        let expected = 4.0 * 2e-5 * factor(band, r, c);
        assert!((grown / expected - 1.0).abs() < 1e-9, "{band} {r} {c}: {grown} {expected}");
    }
    // The same factor everywhere is another variance; footprints' rests, nested kernels and nuggets too.
    let near = |variance: f64| {
        Process::new(Kernel::Exponential, 150.0, variance).nugget(0.1).nested(Kernel::Matern32, 900.0, 0.5 * variance)
    };
    let everywhere = map(1, |_, _, _| 4.0);
    // Pixels that reach beyond their windows, whose weights are alike or not.
    let coarse = |builder: FusionBuilder, footprint: Footprint| {
        builder.instrument(Instrument::new("coarse", source(clear(), 70.0)).footprint(footprint).noise_variance(1e-4))
    };
    for footprint in [Footprint::Uniform, Footprint::Gaussian { fwhm: 90.0 }] {
        let (mean, sd, _) = run(coarse(with(near(2e-5).variation(everywhere.clone())).window(3, 1), footprint));
        let (expected, expected_sd, _) = run(coarse(with(near(8e-5)).window(3, 1), footprint));
        assert!(mean.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(sd.iter().zip(&expected_sd).all(|(a, b)| (a / b - 1.0).abs() < 1e-6));
    }
}

/// A scene of two classes with a ragged edge, of which one changes under clouds: what the coarse sensor sees of the change is that
/// class's alone, and cells of it are told by a reference image.
#[test]
fn likeness_of_features_keeps_edges_sharp() {
    let side = 24;
    let greens = |r: usize, c: usize| (2 * r + 3 * c + (r * 5 + c * 3) % 7) % 29 < 13;
    let truth = |t: usize, r: usize, c: usize| match (greens(r, c), t) {
        (true, 3..) => 0.45,
        (true, _) => 0.2,
        (false, _) => 0.5,
    };
    let dates = |days: &[i32]| days.iter().copied().map(Date::from_days).collect::<Vec<_>>();
    let of = |size: f64, side: usize, days: &[i32], values: Array4<f64>| {
        Arc::new(MemorySource::new(grid(size, side), dates(days), vec!["red".into()], values).unwrap())
    };
    let fine = Array4::from_shape_fn((1, 1, side, side), |(_, _, r, c)| truth(0, r, c) + 0.003 * noise(r * 31 + c));
    let coarse = Array4::from_shape_fn((8, 1, 4, 4), |(t, _, r, c)| {
        let under = (0..36).map(|k| truth(t, r * 6 + k / 6, c * 6 + k % 6)).sum::<f64>() / 36.0;
        under + 0.003 * noise(7000 + t * 16 + r * 4 + c)
    });
    let error = |features: Option<Features>| {
        let process = Process::new(Kernel::Matern32, 600.0, 4e-3);
        let builder = Fusion::builder(grid(30.0, side))
            .bands(["red"])
            .window(4, 4)
            .process(features.map_or(process.clone(), |features| process.features(features)))
            .prior(Prior::new(0.35, 0.04))
            .instrument(Instrument::new("fine", of(30.0, side, &[0], fine.clone())).noise_variance(1e-5))
            .instrument(
                Instrument::new("coarse", of(180.0, 4, &[0, 1, 2, 3, 4, 5, 6, 7], coarse.clone()))
                    .footprint(Footprint::Uniform)
                    .noise_variance(1e-5),
            );
        let (mean, _, _) = run(builder);
        let squares =
            mean.index_axis(Axis(0), 7).indexed_iter().map(|((_, r, c), m)| (m - truth(7, r, c)).powi(2)).sum::<f64>();
        (squares / (side * side) as f64).sqrt()
    };
    let plain = error(None);
    let reference = || of(30.0, side, &[0], fine.clone());
    let times = error(Some(Features::new(reference(), 0.02)));
    let plus = error(Some(Features::new(reference(), 0.02).plus(0.9)));
    println!("root mean square error: {plain:.5} plain, {times:.5} times, {plus:.5} plus");
    assert!(times < 0.25 * plain && plus < 0.1 * plain, "{plain} {times} {plus}");
}
