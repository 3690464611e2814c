//! Parameters that made a scene are found again, wherever the search begins.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Mutex;

use nalgebra::{DMatrix, DVector};
use ndarray::Array4;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rasterfuse::Fusion;
use rasterfuse::describe::{Description, Footprint, Free, Instrument, Kernel, Prior, Process, Structure};
use rasterfuse::engine::FusionBuilder;
use rasterfuse::estimate::{Candidate, Criterion, Estimation, EstimationProgress, EstimationResult, Fit, Watch};
use rasterfuse::geometry::{Crs, Date, Grid, PixelRegion};
use rasterfuse::source::{MemorySource, RasterSource};

/// Cells per side of the scene, and of a coarse pixel.
const SIDE: usize = 24;
const COARSE: usize = 6;
const CELL: f64 = 30.0;

const DAYS: usize = 24;

/// What a scene is made with.
#[derive(Clone, Copy, Debug)]
struct Recipe {
    kernel: Kernel,
    range: f64,
    variance: f64,
    phi: f64,
    fine_noise: f64,
    coarse_noise: f64,
    coarse_bias: f64,
    /// How many times as variable change is in the west.
    west: f64,
    /// Whether cells are alike at the start, as they change, or each for itself.
    alike: bool,
}

const RECIPE: Recipe = Recipe {
    kernel: Kernel::Exponential,
    range: 150.0,
    variance: 2e-4,
    phi: 1.0,
    fine_noise: 4e-5,
    coarse_noise: 1e-5,
    coarse_bias: 0.02,
    west: 1.0,
    alike: false,
};

/// A scene of one field that walks, seen by a fine sensor every fourth day, with gaps, and by a coarse one daily.
struct Scene {
    fine: MemorySource,
    coarse: MemorySource,
    grid: Grid,
}

fn grid(cell: f64, side: usize) -> Grid {
    Grid::new(Crs::unknown(), [0.0, cell, 0.0, 0.0, 0.0, -cell], (side, side)).unwrap()
}

impl Recipe {
    fn scene(&self, bands: &[&str], seed: u64) -> Scene {
        let mut random = StdRng::seed_from_u64(seed);
        let mut normal = move |sd: f64| sd * random.sample::<f64, _>(StandardNormal);
        let n = SIDE * SIDE;
        let place = |k: usize| ((k / SIDE) as f64 * CELL, (k % SIDE) as f64 * CELL);
        let correlation = DMatrix::from_fn(n, n, |i, j| {
            let (a, b) = (place(i), place(j));
            self.kernel.correlation(f64::hypot(a.0 - b.0, a.1 - b.1), self.range) + if i == j { 1e-9 } else { 0.0 }
        });
        let factor = correlation.cholesky().unwrap().l();
        let pixels = SIDE / COARSE;
        let mut fine = Array4::from_elem((DAYS.div_ceil(4), bands.len(), SIDE, SIDE), f64::NAN);
        let mut coarse = Array4::zeros((DAYS, bands.len(), pixels, pixels));
        for band in 0..bands.len() {
            let start = DVector::from_fn(n, |_, _| normal(0.1));
            let mut x = if self.alike { &factor * start } else { start }.add_scalar(0.3);
            for day in 0..DAYS {
                let step = &factor * DVector::from_fn(n, |_, _| normal(self.variance.sqrt()));
                let step =
                    DVector::from_fn(n, |k, _| if k % SIDE < SIDE / 2 { self.west.sqrt() * step[k] } else { step[k] });
                x = x * self.phi + step;
                for (row, col) in (0..SIDE).flat_map(|row| (0..SIDE).map(move |col| (row, col))) {
                    let value = x[row * SIDE + col];
                    if day % 4 == 0 && (row / 3 + col / 5 + day) % 7 != 0 {
                        fine[(day / 4, band, row, col)] = value + normal(self.fine_noise.sqrt());
                    }
                    coarse[(day, band, row / COARSE, col / COARSE)] += value / (COARSE * COARSE) as f64;
                }
                let mut seen = coarse.slice_mut(ndarray::s![day, band, .., ..]);
                seen.mapv_inplace(|value| value + self.coarse_bias + normal(self.coarse_noise.sqrt()));
            }
        }
        let names = || bands.iter().map(ToString::to_string).collect();
        let dates = |step: usize| (0..DAYS).step_by(step).map(|day| Date::from_days(day as i32)).collect();
        Scene {
            fine: MemorySource::new(grid(CELL, SIDE), dates(4), names(), fine).unwrap(),
            coarse: MemorySource::new(grid(CELL * COARSE as f64, pixels), dates(1), names(), coarse).unwrap(),
            grid: grid(CELL, SIDE),
        }
    }
}

/// A number that the search begins with, hardly believed.
fn free(start: f64) -> Free {
    Free::default().start(start).prior(start, 1e6)
}

impl Scene {
    /// A structure of this scene with everything but the prior free.
    fn fusion(&self, kernel: Kernel, bands: &[&str], wrong: f64) -> FusionBuilder {
        let each = |value: f64| vec![free(value); bands.len()];
        let fine = Instrument::new("fine", self.fine.clone()).noise_variance(each(1e-4 / wrong));
        let coarse = Instrument::new("coarse", self.coarse.clone())
            .footprint(Footprint::Uniform)
            .noise_variance(each(1e-4 / wrong))
            .bias(each(0.0));
        Fusion::builder(self.grid.clone())
            .bands(bands.to_vec())
            .process(Process::new(kernel, each(100.0 * wrong), each(1e-4 * wrong)))
            .prior(Prior::new(0.3, 0.01))
            .instrument(fine)
            .instrument(coarse)
    }

    fn estimation(&self, bands: &[&str]) -> Estimation {
        self.estimation_on(0, bands)
    }

    fn estimation_on(&self, threads: usize, bands: &[&str]) -> Estimation {
        let fusion = self.fusion(Kernel::Exponential, bands, 1.0);
        Estimation::builder().blocks(9).side(8).threads(threads).read(&fusion).unwrap()
    }
}

/// What a fusion is described as, to be fitted.
fn candidate(estimation: &Estimation, name: &str, fusion: &FusionBuilder) -> Candidate {
    estimation.candidate(name, fusion.description()).unwrap()
}

/// Everything free, with an exponential kernel.
fn fit(estimation: &Estimation, scene: &Scene, bands: &[&str], wrong: f64) -> Fit {
    estimation.fit(&candidate(estimation, "exponential", &scene.fusion(Kernel::Exponential, bands, wrong))).unwrap()
}

/// How far the estimates are from the truth, in standard errors.
fn distances(fit: &Fit, recipe: &Recipe) -> Vec<f64> {
    let truth = [recipe.range, recipe.variance, recipe.fine_noise, recipe.coarse_noise, recipe.coarse_bias];
    let per_key = fit.estimates.len() / truth.len();
    fit.estimates.iter().enumerate().map(|(k, estimate)| estimate.distance(truth[k / per_key])).collect()
}

#[test]
fn what_made_a_scene_is_found_within_two_standard_errors() {
    let bands = ["red", "nir"];
    let scene = RECIPE.scene(&bands, 1);
    let estimation = scene.estimation(&bands);
    assert_eq!(estimation.blocks(), 9);
    let fit = fit(&estimation, &scene, &bands, 1.0);
    println!("{fit}");
    assert!(fit.converged);
    let distances = distances(&fit, &RECIPE);
    assert!(distances.iter().all(|distance| *distance < 2.0), "{distances:?}");
}

#[test]
fn starts_wrong_by_a_hundred_end_at_the_same_numbers() {
    let bands = ["red"];
    let scene = RECIPE.scene(&bands, 2);
    let estimation = scene.estimation(&bands);
    let fits = [1.0, 100.0, 0.01].map(|wrong| fit(&estimation, &scene, &bands, wrong));
    for fit in &fits {
        println!("{fit}");
        assert!(fit.converged);
        for (a, b) in fit.estimates.iter().zip(&fits[0].estimates) {
            assert!(b.distance(a.value) < 0.05, "{}: {} and {}", a.key, a.value, b.value);
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let scene = RECIPE.scene(&["red"], 5);
    let [one, three] = [1, 3].map(|threads| fit(&scene.estimation_on(threads, &["red"]), &scene, &["red"], 1.0));
    assert_eq!(one.estimates, three.estimates);
    assert_eq!((one.log_likelihood, one.evaluations), (three.log_likelihood, three.evaluations));
}

#[test]
fn likelihood_chooses_the_structure() {
    let bands = ["red"];
    let recipe = Recipe { kernel: Kernel::Matern52, range: 90.0, ..RECIPE };
    let scene = recipe.scene(&bands, 3);
    let estimation = scene.estimation(&bands);
    let candidates = [("exponential", Kernel::Exponential), ("matern52", Kernel::Matern52), ("none", Kernel::None)]
        .map(|(name, kernel)| candidate(&estimation, name, &scene.fusion(kernel, &bands, 1.0)));
    let choice = estimation.choose(&candidates, Criterion::Bic).unwrap();
    println!("{}", choice.table().join("\n"));
    assert_eq!(choice.best().candidate, "matern52");
    // Without a kernel the range means nothing: it is left as it was, and not counted.
    let none = &choice.fits()[2];
    assert!(none.of(&"process.range".into()).all(|range| !range.observed));
    assert_eq!(none.parameters(), 4);
}

#[test]
fn candidates_that_cannot_be_fitted_are_passed_over_and_named() {
    let scene = RECIPE.scene(&["red"], 4);
    let estimation = scene.estimation(&["red"]);
    let good = scene.fusion(Kernel::None, &["red"], 1.0);
    // There is no process to fit numbers of.
    let bad = candidate(&estimation, "bad", &good.clone().process(Structure::Free));
    let (good, bad) = (candidate(&estimation, "good", &good), || bad.clone());
    let said = "process: not given, or left to be estimated";
    let choice = estimation.choose(&[bad(), good], Criterion::Bic).unwrap();
    assert_eq!(choice.best().candidate, "good");
    let failed: Vec<_> = choice.failed().collect();
    assert!(matches!(failed[..], [("bad", reason)] if reason.contains(said)), "{failed:?}");
    let error = estimation.choose(&[bad()], Criterion::Bic).unwrap_err();
    assert!(error.to_string().contains(said), "{error}");
    let error = estimation.choose(&[], Criterion::Bic).unwrap_err();
    assert!(error.to_string().contains("no candidate"), "{error}");
    // What was chosen begins the next comparison as it is.
    let mut next = estimation.comparison(Criterion::Bic);
    next.begin(&choice, "as before");
    assert!(!next.challenge(&bad()));
    let again = next.choice().unwrap();
    assert_eq!((again.best().candidate.as_str(), &again.best().numbers), ("as before", &choice.best().numbers));
}

/// Counts what it is shown, and ends an estimation after some steps.
#[derive(Debug)]
struct Counted {
    stages: Mutex<Vec<EstimationProgress>>,
    steps: usize,
}

impl Counted {
    fn stopping_after(steps: usize) -> Self {
        Self { stages: Mutex::default(), steps }
    }
}

impl Watch for Counted {
    fn progress(&self, progress: &EstimationProgress) {
        self.stages.lock().unwrap().push(progress.clone());
    }

    fn stops(&self) -> bool {
        self.stages.lock().unwrap().len() > self.steps
    }
}

/// All of the process left to be chosen.
fn open_process(scene: &Scene, bands: &[&str]) -> FusionBuilder {
    let mut fusion = scene.fusion(Kernel::Exponential, bands, 1.0);
    let mut description = fusion.description().clone();
    description.process = Structure::Free;
    description.instrument.iter_mut().for_each(|instrument| instrument.offset_layer = Some(Vec::new().into()));
    fusion = fusion.describe(description);
    fusion
}

#[test]
fn a_watch_sees_every_stage_and_the_best_after_it() {
    let scene = RECIPE.scene(&["red"], 1);
    let fusion = open_process(&scene, &["red"]);
    let estimation = Estimation::builder().blocks(4).side(5).read(&fusion).unwrap();
    let watch = Counted::stopping_after(usize::MAX);
    let best = Mutex::new(Vec::<EstimationResult>::new());
    let keep = |result: &EstimationResult| best.lock().unwrap().push(result.clone());
    let result = estimation.estimate_watched(fusion.description(), Criterion::Bic, None, None, &watch, &keep).unwrap();
    let (stages, best) = (watch.stages.into_inner().unwrap(), best.into_inner().unwrap());
    // Two structures, the last fit and the check, each begun in its turn.
    let count = 4;
    let mut begun: Vec<_> = stages.iter().map(|progress| progress.stage).collect();
    begun.dedup();
    assert_eq!(begun, (1..=count).map(|stage| (stage, count)).collect::<Vec<_>>());
    assert!(stages.windows(2).all(|pair| pair[0].elapsed <= pair[1].elapsed));
    assert!(stages.iter().any(|progress| progress.remaining.is_some()));
    let line = stages.last().unwrap().to_string();
    assert!(line.starts_with("stage 4 of 4, predicting withheld dates: "), "{line}");
    // The first structure is always the best at first; the last is that of the whole fit.
    assert!(best.len() >= 2 && best.iter().all(|best| !best.finished && best.description.free().is_empty()));
    assert_eq!(best.last().unwrap().fit.estimates, result.fit.estimates);
    assert!(result.finished && result.checks.len() == 1 && result.checks[0].instrument == "fine");
    // Nothing is said of the time left before it can be known.
    let first = stages.iter().find_map(|progress| progress.remaining).unwrap();
    assert!(first > stages.last().unwrap().elapsed / 100, "{first:?}");
}

#[test]
fn an_estimation_that_is_ended_early_has_the_best_so_far() {
    let scene = RECIPE.scene(&["red"], 1);
    let fusion = open_process(&scene, &["red"]);
    let estimation = Estimation::builder().blocks(4).side(5).read(&fusion).unwrap();
    let all = estimation.estimate(fusion.description(), Criterion::Bic, None).unwrap();
    let mut before = f64::NEG_INFINITY;
    for steps in [0, 12, 40] {
        let watch = Counted::stopping_after(steps);
        let result = estimation.estimate_watched(fusion.description(), Criterion::Bic, None, None, &watch, &|_| ());
        let result = result.unwrap();
        assert!(!result.finished && result.checks.is_empty(), "{steps}");
        // It can be fused with, and is the better the later.
        assert!(
            result.description.free().is_empty() && fusion.clone().describe(result.description.clone()).build().is_ok()
        );
        let reached = estimation.log_likelihood(&result.description).unwrap();
        let whole = estimation.log_likelihood(&all.description).unwrap();
        println!("{steps} steps: {reached}, of {whole}");
        assert!(reached >= before - 1.0 && reached < whole + 1.0);
        assert_eq!(steps == 0, result.fit.steps == 0, "{steps}");
        before = reached;
    }
}

#[test]
fn intervals_of_right_numbers_hold_and_those_of_wrong_ones_do_not() {
    let scene = RECIPE.scene(&["red", "nir"], 6);
    let estimation = scene.estimation(&["red", "nir"]);
    let with = |factor: f64| {
        let fine = Instrument::new("fine", scene.fine.clone()).noise_variance(RECIPE.fine_noise * factor);
        let coarse = Instrument::new("coarse", scene.coarse.clone())
            .footprint(Footprint::Uniform)
            .noise_variance(RECIPE.coarse_noise * factor)
            .bias(RECIPE.coarse_bias);
        let fusion = Fusion::builder(scene.grid.clone())
            .bands(["red", "nir"])
            .process(Process::new(RECIPE.kernel, RECIPE.range, RECIPE.variance * factor))
            .prior(Prior::new(0.3, 0.01))
            .instrument(fine)
            .instrument(coarse);
        let mut checks = estimation.self_check(fusion.description()).unwrap();
        assert_eq!(checks.len(), 1, "coarse pixels are no cells");
        checks.remove(0)
    };
    let (right, narrow, wide) = (with(1.0), with(0.1), with(10.0));
    println!("{right}\n{narrow}\n{wide}");
    // All dates but the first, of blocks that look at the same days.
    assert_eq!((right.instrument.as_str(), right.dates), ("fine", DAYS / 4 - 1));
    assert!(right.holds() && (right.score.coverage_90 - 0.9).abs() < 0.03, "{right}");
    assert!(right.coverage_90_error > 0.0 && right.coverage_90_error < 0.1, "{right}");
    assert!(!narrow.holds() && narrow.score.coverage_90 < 0.5 && !wide.holds());
    // Predictions do not depend on a factor of all variances, nor on what is withheld.
    assert!((right.score.rmse - narrow.score.rmse).abs() < 0.05 * right.score.rmse);
    let step = (RECIPE.variance * 4.0 + RECIPE.fine_noise).sqrt();
    assert!(right.score.rmse < 1.3 * step && right.score.rmse > 0.5 * step, "{} {step}", right.score.rmse);
}

#[test]
fn gates_are_written_where_withheld_dates_are_predicted_better_with_them() {
    // One date in fourteen is haze: far from what cells are, all over the scene.
    let days = 42;
    let mut random = StdRng::seed_from_u64(8);
    let mut normal = move |sd: f64| sd * random.sample::<f64, _>(StandardNormal);
    let mut scene = |haze: f64| {
        let mut x = 0.3;
        let values = Array4::from_shape_fn((days, 1, 12, 12), |(day, _, row, col)| {
            if (row, col) == (0, 0) {
                x += normal(0.003);
            }
            let hazy = day % 14 == 9;
            x + normal(0.004) + if hazy { haze * (1.0 + 0.2 * (day as f64).sin()) } else { 0.0 }
        });
        let grid = grid(CELL, 12);
        let dates = (0..days).map(|day| Date::from_days(day as i32)).collect();
        let source = MemorySource::new(grid.clone(), dates, vec!["red".into()], values).unwrap();
        let fusion = Fusion::builder(grid)
            .bands(["red"])
            .prior(Prior::new(0.3, 0.01))
            .instrument(Instrument::new("fine", source).noise_variance(Free::default()));
        let mut description = fusion.description().clone();
        description.process = Structure::Free;
        let fusion = fusion.describe(description);
        let estimation = Estimation::builder().blocks(2).side(3).scattered(8).read(&fusion).unwrap();
        estimation.estimate(fusion.description(), Criterion::Bic, None).unwrap()
    };
    let clear = scene(0.0);
    println!("{:?}", clear.gates);
    assert!(clear.gates.is_none_or(|trial| !trial.kept && trial.gain < 0.005));
    assert_eq!(clear.description.instrument[0].gate, None);
    let hazy = scene(0.3);
    println!("{:?}", hazy.gates);
    let trial = hazy.gates.unwrap();
    assert!(trial.kept && trial.gain > 0.01, "{trial}");
    let instrument = &hazy.description.instrument[0];
    assert_eq!((instrument.gate, instrument.follow), (Some(trial.gate), Some(5)));
}

#[test]
fn bands_are_together_unless_one_is_often_missing() {
    let scene = RECIPE.scene(&["red", "nir"], 7);
    let region = PixelRegion::new(0..SIDE, 0..SIDE);
    let dates = scene.fine.dates().to_vec();
    let estimated = |lacking: bool| {
        let mut values = Array4::from_elem((dates.len(), 2, SIDE, SIDE), f64::NAN);
        for (mut of_date, &date) in values.outer_iter_mut().zip(&dates) {
            of_date.assign(&scene.fine.read(date, &[0, 1], &region).unwrap().values);
            if lacking {
                of_date.slice_mut(ndarray::s![1, ..SIDE / 2, ..]).fill(f64::NAN);
            }
        }
        let names = vec!["red".into(), "nir".into()];
        let fine = MemorySource::new(scene.grid.clone(), dates.clone(), names, values).unwrap();
        let fusion = Fusion::builder(scene.grid.clone())
            .bands(["red", "nir"])
            .prior(Prior::new(Free::default(), Free::default()))
            .instrument(Instrument::new("fine", fine).noise_variance(Free::default()));
        let mut description = fusion.description().clone();
        description.process = Structure::Free;
        let fusion = fusion.describe(description);
        let estimation = Estimation::builder().blocks(2).side(3).scattered(8).read(&fusion).unwrap();
        estimation.estimate(fusion.description(), Criterion::Bic, None).unwrap().description
    };
    let is_ratio = |description: &Description| {
        description.instrument[0].noise_variance.as_ref().is_some_and(rasterfuse::describe::Numbers::is_ratio)
    };
    assert!(is_ratio(&estimated(false)));
    assert!(!is_ratio(&estimated(true)), "half of the pixels lack a band");
}

#[test]
fn a_quick_estimation_looks_at_less() {
    let scene = RECIPE.scene(&["red"], 1);
    let fusion = open_process(&scene, &["red"]);
    let estimation = |quick| Estimation::builder().side(4).quick(quick).read(&fusion).unwrap();
    let [whole, quick] = [false, true].map(|quick| {
        let estimation = estimation(quick);
        (estimation.values(), estimation.estimate(fusion.description(), Criterion::Bic, None).unwrap())
    });
    assert!(quick.0 < whole.0 && quick.1.choices.is_empty() && !whole.1.choices.is_empty());
    assert!(quick.1.finished && quick.1.fit.evaluations < whole.1.fit.evaluations);
    assert!(quick.1.fit.estimates.iter().all(|estimate| estimate.sd.is_nan()));
}

#[cfg(all(feature = "gdal", feature = "zarr"))]
mod described {
    use rasterfuse::config::FusionConfig;
    use rasterfuse::describe::{Features, Key};
    use rasterfuse::model::ChangeBuilder;
    use rasterfuse::source::{Calibration, RasterStack};

    use super::support::{Tiff, assert_says};
    use super::*;

    /// A description of the scene's files, its numbers free.
    const TEXT: &str = r#"
[target]
like = "fine/fine_19700101.tif"
bands = ["red"]

[process]   # the scene
kernel = "exponential"
range = "estimate"    # of fields
variance = ["estimate"]
nugget = 0.0

[prior]
mean = "estimate"
variance = 0.01

[[instrument]]
name = "fine"
files = "fine/fine_*.tif"
date = 'fine_(\d{8})'
noise_variance = "estimate"

[[instrument]]
name = "coarse"   # sees averages
files = "coarse/coarse_*.tif"
date = 'coarse_(\d{8})'
footprint = "uniform"
noise_variance = 1e-5
bias = "estimate"
offset_layer = []

[estimate]
windows = 9
window = 8

[output]
store = "fused.zarr"
"#;

    fn write(scene: &Scene, folder: &std::path::Path) {
        for (name, source) in [("fine", &scene.fine), ("coarse", &scene.coarse)] {
            std::fs::create_dir(folder.join(name)).unwrap();
            for &date in source.dates() {
                let (rows, cols) = source.grid().shape();
                let region = PixelRegion::new(0..rows, 0..cols);
                let mut tiff = Tiff::new(source.grid(), source.read(date, &[0], &region).unwrap().values.view());
                tiff.names = vec!["red".into()];
                tiff.write(&folder.join(name).join(format!("{name}_{}.tif", date.to_string().replace('-', ""))));
            }
        }
    }

    #[test]
    fn a_file_with_estimate_in_it_becomes_one_with_numbers() {
        let folder = tempfile::tempdir().unwrap();
        write(&RECIPE.scene(&["red"], 1), folder.path());
        let path = folder.path().join("fuse.toml");
        std::fs::write(&path, TEXT).unwrap();
        let config = FusionConfig::read(&path).unwrap();
        assert_says(&config.build().unwrap_err().to_string(), &["process.range", "estimate first"]);
        let estimated = config.estimate().unwrap();
        println!("{estimated}\n{}", estimated.text);
        assert!(estimated.result.fit.converged);
        let (range, bias) = ("process.range".into(), Key::of_instrument("coarse").name("bias"));
        assert!(estimated.result.fit.of(&range).all(|range| range.distance(RECIPE.range) < 2.0));
        assert!(estimated.result.fit.of(&bias).all(|bias| bias.distance(RECIPE.coarse_bias) < 2.0));
        let (check, text) = estimated.text.split_once('\n').unwrap();
        assert!(
            check.starts_with("# fine: 5 dates withheld in turn, ") && check.contains("90 % intervals hold "),
            "{check}"
        );
        // Every line but those with numbers is the user's own.
        for (ours, theirs) in text.lines().zip(TEXT.lines()) {
            if theirs.contains("\"estimate\"") {
                assert!(ours.contains('#') && !ours.contains("estimate"), "{ours}");
                assert!(ours.starts_with(theirs.split_once('=').unwrap().0));
            } else {
                assert_eq!(ours, theirs);
            }
        }
        assert!(estimated.text.contains("# of fields; x/÷ "));
        assert_eq!(estimated.default_path(), folder.path().join("fuse.estimated.toml"));
        estimated.write(estimated.default_path()).unwrap();
        let config = FusionConfig::read(estimated.default_path()).unwrap();
        assert!(config.build().is_ok());
        assert_says(&config.estimate().unwrap_err().to_string(), &["nothing is left to estimate"]);
    }

    #[test]
    fn whole_tables_are_given_the_likeliest_structure() {
        let folder = tempfile::tempdir().unwrap();
        write(&RECIPE.scene(&["red"], 1), folder.path());
        let tables = TEXT.find("[process]").unwrap()..TEXT.find("[[instrument]]").unwrap();
        let mut text = TEXT.to_owned();
        text.replace_range(tables, "process = \"estimate\"\nprior = { mean = 0.3, variance = 0.01 }\n");
        // Keys of the root come before all tables.
        let at = text.find("[target]").unwrap();
        let start = text.find("process = ").unwrap();
        let end = text.find("[[instrument]]").unwrap();
        let moved = text[start..end].to_owned();
        text.replace_range(start..end, "");
        text.insert_str(at, &moved);
        // A bias that is free is taken for more than a constant, what the scene has not is estimated as little.
        let text = text.replace("offset_layer = []\n", "");
        let estimated = FusionConfig::parse(&text, folder.path()).unwrap().estimate().unwrap();
        println!("{estimated}\n{}", estimated.text);
        let chosen = estimated.result.choices.iter().map(|(table, choice)| (table, choice.best().candidate.as_str()));
        let chosen: Vec<_> = chosen.collect();
        assert!(*chosen[1].0 == "process" && chosen[1].1 == "one range");
        let layers = Key::of_instrument("coarse").name("offset_layer");
        let offsets = &estimated.result.fit.numbers[&layers.position(0).name("variance")];
        assert!(*chosen[0].0 == layers && offsets[0] < 1e-4, "{offsets:?}");
        assert!(estimated.text.starts_with("# Structures of instrument \"coarse\": offset_layer that were compared:"));
        assert!(estimated.text.contains("# Structures of process that were compared:"));
        assert!(FusionConfig::parse(&estimated.text, folder.path()).unwrap().build().is_ok());
    }

    /// The prior is estimated with the rest: what the series wanders to later does not bend it, nor range and noise with it.
    #[test]
    fn a_free_prior_and_what_is_free_beside_it_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = Recipe { alike: true, variance: 2e-3, ..RECIPE };
        write(&recipe.scene(&["red"], 7), folder.path());
        let text = TEXT.replace("variance = 0.01", "variance = \"estimate\"").replace("nugget = 0.0\n", "");
        let text = text.replace("noise_variance = 1e-5", "noise_variance = \"estimate\"");
        let estimated = FusionConfig::parse(&text, folder.path()).unwrap().estimate().unwrap();
        println!("{estimated}\n{}", estimated.text);
        for (key, truth) in [
            ("process.range", recipe.range),
            ("process.variance", recipe.variance),
            ("prior.mean", 0.3),
            ("prior.variance", 0.01),
            ("instrument \"fine\": noise_variance", recipe.fine_noise),
            ("instrument \"coarse\": noise_variance", recipe.coarse_noise),
        ] {
            let key = Key::from(key);
            let found: Vec<_> = estimated.result.fit.of(&key).collect();
            assert!(!found.is_empty() && found.iter().all(|one| one.distance(truth) < 2.0), "{key}: {found:?}");
        }
        assert!(estimated.text.contains("correlation = \"process\""));
    }

    #[test]
    fn a_map_of_change_is_written_where_it_predicts_better() {
        let folder = tempfile::tempdir().unwrap();
        write(&Recipe { west: 30.0, ..RECIPE }.scene(&["red"], 4), folder.path());
        let file = folder.path().join("scene.toml");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            FusionConfig::read(&file).unwrap()
        };
        let config = read(&TEXT.replace("nugget = 0.0", "nugget = 0.0\nvariation = \"estimate\" # is it?"));
        assert_says(&config.build().unwrap_err().to_string(), &["left to \"estimate\"", "process.variation"]);
        let estimated = config.estimate().unwrap();
        println!("{}", estimated.text);
        let trial = estimated.result.change.unwrap();
        assert!(trial.kept && (trial.gain > 0.0 || trial.log_likelihood > 0.0), "{trial}");
        assert!(estimated.text.contains("\nvariation = { map = \"scene.change.tif\" } # is it?\n"));
        assert!(estimated.to_string().contains("a map of change") && estimated.text.contains("# a map of change"));
        let fused = FusionConfig::parse(&estimated.text, folder.path()).unwrap();
        assert!(fused.build().is_ok());
        // What is written is what was tried, and another estimation does not replace it.
        let map = config.change_map(&ChangeBuilder::default()).unwrap();
        let written = RasterStack::from_files(
            [(Date::from_days(0), folder.path().join("scene.change.tif"))],
            Calibration::default(),
        );
        let written = written.unwrap();
        let read_all =
            |source: &dyn RasterSource| source.read(source.dates()[0], &[0], &source.grid().region()).unwrap().values;
        assert_eq!(written.bands(), ["change"]);
        assert_eq!(read_all(&map).mapv(|factor| factor as f32), read_all(&written).mapv(|factor| factor as f32));
        assert!(config.estimate().unwrap().text.contains("map = \"scene.change-2.tif\""));
        // With nothing else to estimate, in a table within braces; and where nothing varies the word goes.
        let mut text = TEXT
            .replace("mean = \"estimate\"", "mean = 0.3")
            .replace("bias = \"estimate\"", "bias = 0.02")
            .replace("noise_variance = \"estimate\"", "noise_variance = 4e-5");
        let (start, end) = (text.find("[process]").unwrap(), text.find("[prior]").unwrap());
        text.replace_range(start..end, "");
        let text = format!(
            "process = {{ kernel = \"exponential\", range = 150.0, variance = 2e-4, variation = \"estimate\" }}\n{text}"
        );
        let other = tempfile::tempdir().unwrap();
        write(&RECIPE.scene(&["red"], 6), other.path());
        for (folder, varies) in [(&folder, true), (&other, false)] {
            let estimated = FusionConfig::parse(&text, folder.path()).unwrap().estimate().unwrap();
            assert_eq!(estimated.text.contains("variation = {"), varies, "{}", estimated.text);
            assert!(FusionConfig::parse(&estimated.text, folder.path()).unwrap().build().is_ok());
        }
    }

    /// Two classes whose years run apart, over two years: the process is drawn back to a seasonal mean, unless the prior is given.
    #[test]
    fn long_series_are_given_a_seasonal_mean() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("fine")).unwrap();
        let (grid, side) = (grid(CELL, 12), 12);
        let mut random = StdRng::seed_from_u64(5);
        for k in 0..26 {
            let date = Date::from_days(17_000 + 28 * k);
            let swing = (std::f64::consts::TAU * f64::from(28 * k) / 365.2425).cos();
            let day: f64 = random.sample(StandardNormal);
            let values = ndarray::Array3::from_shape_fn((1, side, side), |(_, row, col)| {
                let class = if (row / 3 + col / 4) % 2 == 0 { 0.25 } else { 0.05 };
                let noise: f64 = random.sample(StandardNormal);
                0.5 - class * swing + 0.03 * day + 0.01 * noise
            });
            let mut tiff = Tiff::new(&grid, values.view());
            tiff.names = vec!["red".into()];
            tiff.write(&folder.path().join(format!("fine/fine_{}.tif", date.to_string().replace('-', ""))));
        }
        let first = Date::from_days(17_000).to_string().replace('-', "");
        let text = |prior: &str| {
            format!(
                "process = \"estimate\"\nprior = {prior}\ntarget = {{ like = \"fine/fine_{first}.tif\", bands = [\"red\"] }}\n\
                 output = {{ store = \"fused.zarr\" }}\nestimate = {{ windows = 2, window = 6 }}\n[[instrument]]\nname = \"fine\"\n\
                 files = \"fine/fine_*.tif\"\ndate = 'fine_(\\d{{8}})'\nnoise_variance = 1e-4\n"
            )
        };
        let path = folder.path().join("fuse.toml");
        let estimate = |prior: &str| {
            std::fs::write(&path, text(prior)).unwrap();
            FusionConfig::read(&path).unwrap().estimate().unwrap()
        };
        // A mean of that name may be that of a series that goes on.
        let taken = folder.path().join("fuse.seasonal.zarr");
        std::fs::create_dir(&taken).unwrap();
        let free = estimate("\"estimate\"");
        println!("{free}\n{}", free.text);
        assert_eq!(std::fs::read_dir(&taken).unwrap().count(), 0);
        assert!(
            free.text.contains("[seasonal]\nmean = \"fuse.seasonal-2.zarr\"")
                && free.text.contains("[window]\nsize = 8")
        );
        // A prior has one structure, which is not compared with others.
        let [(table, choice)] = &free.result.choices[..] else { panic!("{:?}", free.result.choices) };
        let names: Vec<_> = choice.fits().iter().map(|fit| fit.candidate.as_str()).collect();
        assert!(
            *table == "process" && names.len() == 4 && names[1] == "one range, reverting to the mean, similar years"
        );
        assert!(FusionConfig::parse(&free.text, folder.path()).unwrap().build().is_ok());

        let given = estimate("{ mean = 0.5, variance = 0.05 }");
        assert!(!given.text.contains("[seasonal]") && !given.text.contains("phi"), "{}", given.text);
    }

    #[test]
    fn what_cannot_be_estimated_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(&RECIPE.scene(&["red"], 1), folder.path());
        let refused = |from: &str, to: &str, words: &[&str]| {
            let config = FusionConfig::parse(&TEXT.replace(from, to), folder.path());
            let message = config.and_then(|config| config.estimate()).unwrap_err().to_string();
            assert_says(&message, words);
        };
        refused("windows = 9", "windows = 0", &["estimate.windows", "at least 1"]);
        refused("windows = 9", "window_count = 9", &["estimate.window_count: unknown key", "windows"]);
        refused("kernel = \"exponential\"", "kernel = \"estimate\"", &["found \"estimate\"", "exponential", "line 7"]);
        refused("[\"estimate\"]", "[1e-4, \"estimate\"]", &["process.variance"]);
        // A single cell, in which the centre of no coarse pixel lies.
        refused(
            "windows = 9\nwindow = 8",
            "windows = 1\nwindow = 1",
            &["estimate.windows", "no block holds a value of \"coarse\""],
        );
        let small = "store = \"fused.zarr\"\n[run]\nmemory = \"4KiB\"";
        refused("store = \"fused.zarr\"", small, &["estimate.window", "8 cells a side", "4.0 KiB"]);
    }

    /// Lists in tables of an instrument, where a comment must not take the rest of the list with it.
    #[test]
    fn numbers_in_lists_of_nested_tables_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        write(&RECIPE.scene(&["red"], 1), folder.path());
        let layer = "[[instrument.offset_layer]]\nper = \"pixel\"\nvariance = [\"estimate\"]\ndrift = 1e-7\n";
        let far = "[[process.field]]\nkernel = \"exponential\"\nrange = [\"estimate\"]\nvariance = 1e-5\n";
        let text = TEXT.replace("offset_layer = []\n", layer).replace("[prior]\n", &format!("{far}\n[prior]\n"));
        let estimated = FusionConfig::parse(&text, folder.path()).unwrap().estimate().unwrap();
        let lists: Vec<&str> = estimated.text.lines().filter(|line| line.starts_with("variance = [")).collect();
        assert!(lists.len() == 2 && lists.iter().all(|line| line.contains("] # ")), "{lists:?}");
        assert!(FusionConfig::parse(&estimated.text, folder.path()).unwrap().build().is_ok(), "{}", estimated.text);
        // Blocks of the field do not follow its range.
        let range = "process.field 1.range".into();
        assert!(estimated.result.fit.of(&range).count() == 1, "{estimated}");
        assert!(!estimated.result.fit.of(&range).any(|range| range.sd.is_nan()), "{estimated}");
    }

    #[test]
    fn damaged_images_are_passed_over_where_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        write(&RECIPE.scene(&["red"], 1), folder.path());
        let image = folder.path().join("coarse/coarse_19700105.tif");
        let bytes = std::fs::read(&image).unwrap();
        std::fs::write(&image, &bytes[..bytes.len() - 64]).unwrap();
        let message = FusionConfig::parse(TEXT, folder.path()).and_then(|config| config.estimate()).unwrap_err();
        assert_says(&message.to_string(), &["coarse_19700105.tif"]);
        let text = TEXT.to_owned() + "[run]\non_error = \"skip\"\n";
        assert!(FusionConfig::parse(&text, folder.path()).unwrap().estimate().unwrap().result.fit.converged);
    }

    #[test]
    fn errors_of_reading_are_no_breakdown() {
        let folder = tempfile::tempdir().unwrap();
        let scene = RECIPE.scene(&["red"], 6);
        let path = folder.path().join("land.tif");
        Tiff::new(&scene.grid, ndarray::Array3::ones((1, SIDE, SIDE)).view()).write(&path);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 64]).unwrap();
        let land = RasterStack::from_files([(Date::from_days(0), path)], Calibration::default()).unwrap();
        let process = Process::new(Kernel::Exponential, free(100.0), free(1e-4)).features(Features::new(land, 1.0));
        let torn = scene.fusion(Kernel::Exponential, &["red"], 1.0).process(process);
        let estimation = scene.estimation(&["red"]);
        let error = estimation.fit(&candidate(&estimation, "", &torn)).unwrap_err();
        assert_says(&error.to_string(), &["land.tif"]);
    }

    #[test]
    fn what_is_the_same_everywhere_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut scene = RECIPE.scene(&["red"], 1);
        let dates = || (0..DAYS).map(|day| Date::from_days(day as i32)).collect();
        let same = |cell: f64, side: usize| {
            let values = Array4::from_elem((DAYS, 1, side, side), 0.25);
            MemorySource::new(grid(cell, side), dates(), vec!["red".into()], values).unwrap()
        };
        scene.fine = same(CELL, SIDE);
        scene.coarse = same(CELL * COARSE as f64, SIDE / COARSE);
        write(&scene, folder.path());
        let text = TEXT.replace("[\"estimate\"]", "1e-4").replace("mean = \"estimate\"", "mean = 0.3");
        let config = FusionConfig::parse(&text, folder.path());
        let message = config.and_then(|config| config.estimate()).unwrap_err().to_string();
        assert_says(&message, &["noise_variance", "the same everywhere"]);
    }

    /// Scales are in the units of the raster, hundreds here, and one for each of its bands where they are a list.
    #[test]
    fn the_scale_of_features_is_found_in_their_units() {
        let folder = tempfile::tempdir().unwrap();
        let scene = RECIPE.scene(&["red"], 1);
        write(&scene, folder.path());
        let land = |factor: f64| {
            ndarray::Array3::from_shape_fn((2, SIDE, SIDE), |(band, row, col)| {
                factor * (((row / 6 + col / 8 + band) % 3) as f64 + 0.1 * ((7 * row + 3 * col) % 5) as f64)
            })
        };
        let image = land(300.0);
        Tiff::new(&scene.grid, image.view()).write(&folder.path().join("land.tif"));
        let with = |scale: &str| {
            let features = format!("[process.features]\nraster = \"land.tif\"\nscale = {scale}\n\n[prior]\n");
            let text = TEXT.replace("[prior]\n", &features);
            FusionConfig::parse(&text, folder.path()).and_then(|config| config.estimate())
        };
        for (scale, count) in [("\"estimate\"", 1), ("[\"estimate\", \"estimate\"]", 2)] {
            let estimated = with(scale).unwrap();
            println!("{estimated}");
            let scales: Vec<f64> =
                estimated.result.fit.of(&"process.features.scale".into()).map(|estimate| estimate.value).collect();
            // The scene knows nothing of the raster: likeness that matters little is what is found.
            assert!(scales.len() == count && scales.iter().all(|scale| *scale > 300.0), "{scales:?}");
        }
        let message = with("[\"estimate\", \"estimate\", \"estimate\"]").unwrap_err().to_string();
        assert_says(&message, &["process.features.scale"]);
    }
}

/// Weekly images over three years of cells that change by more in winter: the season is found, and nothing where there is none.
#[test]
fn the_season_of_change_is_found() {
    let (side, weeks) = (6, 156);
    let mut distances = Vec::new();
    for (seed, cosine, sine) in [(11, 1.0, -0.5), (12, 1.0, -0.5), (13, 1.0, -0.5), (14, 0.0, 0.0)] {
        let mut random = StdRng::seed_from_u64(seed);
        let mut values = Array4::from_elem((weeks, 1, side, side), f64::NAN);
        let mut x = vec![0.3; side * side];
        for day in 0..7 * weeks {
            let angle = std::f64::consts::TAU * day as f64 / 365.2425;
            let sd = (1e-4 * f64::exp(cosine * angle.cos() + sine * angle.sin())).sqrt();
            for (k, x) in x.iter_mut().enumerate() {
                *x += sd * random.sample::<f64, _>(StandardNormal);
                if day % 7 == 0 {
                    values[(day / 7, 0, k / side, k % side)] = *x + 0.003 * random.sample::<f64, _>(StandardNormal);
                }
            }
        }
        let dates = (0..weeks).map(|week| Date::from_days(7 * week as i32)).collect();
        let source = MemorySource::new(grid(CELL, side), dates, vec!["red".into()], values).unwrap();
        let weakly = || Free::default().start(0.0).prior(0.0, 1.0);
        let process = Process::new(Kernel::None, 0.0, free(1e-3)).season(weakly(), weakly());
        let fusion = Fusion::builder(grid(CELL, side))
            .process(process)
            .prior(Prior::new(0.3, 0.01))
            .instrument(Instrument::new("fine", source).noise_variance(9e-6));
        let estimation = Estimation::builder().blocks(4).side(3).read(&fusion).unwrap();
        let fit = estimation.fit(&candidate(&estimation, "season", &fusion)).unwrap();
        println!("{fit}");
        for (estimate, truth) in fit.estimates.iter().zip([1e-4, cosine, sine]) {
            assert!(estimate.distance(truth) < 3.0 && estimate.sd < 0.2, "{}: {}", estimate.key, estimate.value);
            distances.push(estimate.distance(truth));
        }
    } // Of twelve numbers in standard errors.
    let square = distances.iter().map(|distance| distance * distance).sum::<f64>() / distances.len() as f64;
    assert!(square < 2.0, "{distances:?}");
}
