//! Robust updates and inflation: what a slow twin says of them, and intervals that hold what they should on data that break the
//! assumptions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use ndarray::{Array4, s};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};
use rasterfuse::Fusion;
use rasterfuse::describe::OutputDates;
use rasterfuse::describe::{Field, Instrument, Kernel, Prior, Process};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::series::Score;
use rasterfuse::sink::{JudgedSink, MemorySink, Truth};
use rasterfuse::source::MemorySource;
use support::assert_says;

const NOISE: f64 = 4e-4;
const WALK: f64 = 2e-4;
const PRIOR: f64 = 0.01;

fn grid((rows, cols): (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (rows, cols)).unwrap()
}

/// Independent walks of variance `walk` a day, (day, 1, y, x), and what is seen of them, a share of the values being far off.
fn scene(days: usize, (rows, cols): (usize, usize), (walk, far_off): (f64, f64)) -> (Array4<f64>, Array4<f64>) {
    let mut random = StdRng::seed_from_u64(5);
    let mut draw = || -> f64 { StandardNormal.sample(&mut random) };
    let mut truth = Array4::zeros((days, 1, rows, cols));
    let mut seen = truth.clone();
    for ((t, _, row, col), seen) in seen.indexed_iter_mut() {
        let before = if t == 0 { 0.3 + PRIOR.sqrt() * draw() } else { truth[(t - 1, 0, row, col)] };
        truth[(t, 0, row, col)] = before + walk.sqrt() * draw();
        let cloud = (t * 131 + row * 17 + col * 7) % 1000 < (1000.0 * far_off) as usize;
        *seen = truth[(t, 0, row, col)] + NOISE.sqrt() * draw() + if cloud { 0.5 } else { 0.0 };
    }
    (truth, seen)
}

fn dates(days: usize) -> Vec<Date> {
    (0..days as i32).map(Date::from_days).collect()
}

fn instrument(seen: &Array4<f64>, noise: f64) -> Instrument {
    let (days, _, rows, cols) = seen.dim();
    let source = MemorySource::new(grid((rows, cols)), dates(days), vec!["red".into()], seen.clone()).unwrap();
    Instrument::new("s", source).noise_variance(noise)
}

/// Cells over a range of a millimetre are as good as independent.
fn process(variance: f64) -> Process {
    Process::new(Kernel::Exponential, 1e-3, variance)
}

/// How the second half of the series compares with the truth.
fn judge(truth: &Array4<f64>, process: Process, instrument: Instrument) -> Score {
    let (days, _, rows, cols) = truth.dim();
    let later = dates(days)[days / 2..].to_vec();
    let truth = Truth::from_array(later[0], truth.slice(s![days / 2.., .., .., ..]).to_owned());
    let mut sink = JudgedSink::new(MemorySink::new(), truth);
    let fusion = Fusion::builder(grid((rows, cols)))
        .bands(["red"])
        .window(6, 0)
        .process(process)
        .prior(Prior::new(0.3, PRIOR))
        .output(OutputDates::Dates(later))
        .instrument(instrument);
    fusion.build().unwrap().run(&mut sink).unwrap();
    sink.scores().unwrap().all_bands().unwrap()
}

#[test]
fn robust_updates_shrug_off_what_is_far_off() {
    let (truth, seen) = scene(60, (18, 18), (WALK, 0.05));
    let (clean_truth, clean) = scene(60, (18, 18), (WALK, 0.0));
    let best = judge(&clean_truth, process(WALK), instrument(&clean, NOISE));
    let plain = judge(&truth, process(WALK), instrument(&seen, NOISE));
    let robust = judge(&truth, process(WALK), instrument(&seen, NOISE).robust(4.0));
    println!("clean {best:?}\nplain {plain:?}\nrobust {robust:?}");
    assert!(plain.rmse > 3.0 * best.rmse && plain.coverage_90 < 0.85, "{plain:?}");
    assert!(robust.rmse < 1.5 * best.rmse && (robust.coverage_90 - 0.9).abs() < 0.04, "{robust:?}");
    // Where nothing is far off it costs little.
    let needless = judge(&clean_truth, process(WALK), instrument(&clean, NOISE).robust(4.0));
    assert!(needless.rmse < 1.05 * best.rmse && (needless.coverage_90 - 0.9).abs() < 0.03, "{needless:?}");
}

#[test]
fn inflation_finds_noise_and_change_that_were_understated() {
    let (truth, seen) = scene(80, (18, 18), (WALK, 0.0));
    let right = judge(&truth, process(WALK), instrument(&seen, NOISE));
    let plain = judge(&truth, process(WALK), instrument(&seen, NOISE / 4.0));
    let inflated = judge(&truth, process(WALK), instrument(&seen, NOISE / 4.0).inflate(true));
    println!("right {right:?}\nunderstated {plain:?}\ninflated {inflated:?}");
    assert!(plain.coverage_90 < 0.8, "{plain:?}");
    assert!((0.87..=0.93).contains(&inflated.coverage_90) && inflated.rmse < 1.03 * right.rmse, "{inflated:?}");

    let plain = judge(&truth, process(WALK / 4.0), instrument(&seen, NOISE));
    let inflated = judge(&truth, process(WALK / 4.0).inflate(true), instrument(&seen, NOISE));
    println!("understated change {plain:?}\ninflated {inflated:?}");
    assert!(plain.coverage_90 < 0.82, "{plain:?}");
    assert!((0.87..=0.93).contains(&inflated.coverage_90) && inflated.rmse < 1.05 * right.rmse, "{inflated:?}");

    // What was right stays so.
    let needless = judge(&truth, process(WALK).inflate(true), instrument(&seen, NOISE).inflate(true));
    assert!(
        (needless.coverage_90 - right.coverage_90).abs() < 0.02 && needless.rmse < 1.02 * right.rmse,
        "{needless:?}"
    );
}

/// One cell, one band: the recursions by hand.
#[test]
fn a_single_cell_is_filtered_as_by_hand() {
    let days = 40;
    let (_, mut seen) = scene(days, (1, 1), (4.0 * WALK, 0.0));
    (5..days).step_by(7).for_each(|t| seen[(t, 0, 0, 0)] += 0.4);
    (3..days).step_by(4).for_each(|t| seen[(t, 0, 0, 0)] = f64::NAN);
    for (robust, noisier, wilder) in
        [(Some(4.0), false, false), (None, true, false), (None, false, true), (Some(2.0), true, true)]
    {
        let mut sensor = instrument(&seen, NOISE / 4.0).inflate(noisier);
        if let Some(dof) = robust {
            sensor = sensor.robust(dof);
        }
        let mut sink = MemorySink::new();
        let fusion = Fusion::builder(grid((1, 1)))
            .bands(["red"])
            .process(process(WALK).inflate(wilder))
            .prior(Prior::new(0.3, PRIOR))
            .instrument(sensor);
        let fusion = fusion.build().unwrap();
        assert!(!fusion.plan().independent_cells);
        fusion.run(&mut sink).unwrap();
        let (mean, sd) = sink.into_arrays().unwrap();

        let (mut m, mut p, mut gap, mut noise_log, mut change_log) = (0.3, PRIOR, 0.0, 0.0_f64, 0.0_f64);
        let learn =
            |log: &mut f64, nis: f64| *log = (*log + 0.1 / 17.0 * (nis.min(5.0) - 1.0)).clamp(0.0, 1e4_f64.ln());
        for t in 0..days {
            let y = seen[(t, 0, 0, 0)];
            gap += 1.0;
            let predicted = p + gap * WALK * change_log.exp();
            if y.is_nan() {
                let at = (t, 0, 0, 0);
                assert!((mean[at] - m).abs() < 1e-12 && (sd[at] - predicted.sqrt()).abs() < 1e-12, "day {t}");
                continue;
            }
            gap = 0.0;
            let mut noise = NOISE / 4.0 * noise_log.exp();
            if let Some(nu) = robust {
                let nis = (y - m).powi(2) / (predicted + noise);
                noise /= f64::min(1.0, (nu + 1.0) / (nu + nis));
            }
            let (innovation, variance) = (y - m, predicted + noise);
            m += predicted / variance * innovation;
            p = predicted - predicted * predicted / variance;
            let nis = innovation * innovation / variance;
            if noisier {
                learn(&mut noise_log, nis);
            }
            if wilder {
                learn(&mut change_log, nis);
            }
            let at = (t, 0, 0, 0);
            assert!((mean[at] - m).abs() < 1e-12 && (sd[at] - p.sqrt()).abs() < 1e-12, "day {t}: {} {m}", mean[at]);
        }
        assert!(!noisier || noise_log > 0.0);
    }
}

/// One cell with a further field: change of both fields is inflated alike, and their beginnings are not.
#[test]
fn change_of_further_fields_is_inflated_as_by_hand() {
    const PHI: f64 = 0.8;
    const FIELD: f64 = 3e-4;
    let days = 40;
    let (_, mut seen) = scene(days, (1, 1), (9.0 * WALK, 0.0));
    (3..days).step_by(4).for_each(|t| seen[(t, 0, 0, 0)] = f64::NAN);
    let mut sink = MemorySink::new();
    let fusion = Fusion::builder(grid((1, 1)))
        .bands(["red"])
        .process(process(WALK).field(Field::new(Kernel::Matern32, 100.0, FIELD).phi(PHI).block(1)).inflate(true))
        .prior(Prior::new(0.3, PRIOR))
        .instrument(instrument(&seen, NOISE));
    fusion.build().unwrap().run(&mut sink).unwrap();
    let (mean, sd) = sink.into_arrays().unwrap();

    let (mut m, mut p) = ([0.3, 0.0], [[PRIOR, 0.0], [0.0, FIELD / (1.0 - PHI * PHI)]]);
    let (mut gap, mut log) = (0, 0.0_f64);
    for t in 0..days {
        gap += 1;
        let transition = [1.0, PHI.powi(gap)];
        let grown = [WALK * f64::from(gap), FIELD * (1.0 - PHI.powi(2 * gap)) / (1.0 - PHI * PHI)];
        let ahead = [m[0], transition[1] * m[1]];
        let mut wider = p;
        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            wider[i][j] *= transition[i] * transition[j];
            wider[i][j] += if i == j { log.exp() * grown[i] } else { 0.0 };
        }
        let columns = [wider[0][0] + wider[1][0], wider[0][1] + wider[1][1]];
        let (at, y) = ((t, 0, 0, 0), seen[(t, 0, 0, 0)]);
        if y.is_nan() {
            let (level, variance) = (ahead[0] + ahead[1], columns[0] + columns[1]);
            assert!((mean[at] - level).abs() < 1e-12 && (sd[at] - variance.sqrt()).abs() < 1e-12, "day {t}");
            continue;
        }
        gap = 0;
        let (innovation, variance) = (y - ahead[0] - ahead[1], columns[0] + columns[1] + NOISE);
        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            p[i][j] = wider[i][j] - columns[i] * columns[j] / variance;
        }
        m = [ahead[0] + columns[0] / variance * innovation, ahead[1] + columns[1] / variance * innovation];
        let nis = innovation * innovation / variance;
        log = (log + 0.1 / 17.0 * (nis.min(5.0) - 1.0)).clamp(0.0, 1e4_f64.ln());
        let spread = (p[0][0] + 2.0 * p[0][1] + p[1][1]).sqrt();
        assert!((mean[at] - m[0] - m[1]).abs() < 1e-12 && (sd[at] - spread).abs() < 1e-12, "day {t}");
    }
    assert!(log > 0.0);
}

#[test]
fn degrees_of_freedom_are_checked_and_settings_told() {
    let (_, seen) = scene(2, (3, 3), (WALK, 0.0));
    let build = |instrument: Instrument, process: Process| {
        let fusion = Fusion::builder(grid((3, 3))).bands(["red"]).process(process).prior(Prior::new(0.3, PRIOR));
        fusion.instrument(instrument).build()
    };
    for dof in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = build(instrument(&seen, NOISE).robust(dof), process(WALK)).unwrap_err().to_string();
        assert_says(&error, &["instrument \"s\": robust", "degrees of freedom"]);
    }
    let plain = build(instrument(&seen, NOISE), process(WALK)).unwrap();
    let adapting = build(instrument(&seen, NOISE).robust(4.0).inflate(true), process(WALK).inflate(true)).unwrap();
    let differences = plain.settings().differences(adapting.settings());
    let keys: Vec<&str> = differences.iter().map(|difference| difference.key.as_str()).collect();
    assert_eq!(keys, ["instrument \"s\": inflate", "instrument \"s\": robust", "process.inflate"]);
}
