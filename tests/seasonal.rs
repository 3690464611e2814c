//! Seasonal means: what is fitted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::f64::consts::TAU;
use std::sync::Mutex;

use ndarray::{Array4, s};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rasterfuse::Error;
use rasterfuse::describe::{Footprint, Instrument};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::model::{ChangeBuilder, SeasonalBuilder};
use rasterfuse::seasonal::SeasonalMean;
use rasterfuse::source::{MemorySource, PassProgress, PassWatch};
use rasterfuse::spectral::SpectralBasis;

fn grid(size: f64, shape: (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], shape).unwrap()
}

fn bands(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// The curve that the scenes of these tests are made of.
fn curve(date: Date, row: usize, col: usize) -> f64 {
    let year = f64::from(date.days_since_epoch()) / 365.2425;
    0.4 + 0.01 * row as f64 + (0.2 + 0.005 * col as f64) * (TAU * year).cos() + 0.05 * (2.0 * TAU * year).sin()
}

/// Three years of the curves with a little noise; where `seen` says.
fn scene(
    shape: (usize, usize),
    seen: impl Fn(&mut StdRng, usize, usize, usize) -> Option<f64>,
) -> (Vec<Date>, Array4<f64>) {
    let mut rng = StdRng::seed_from_u64(5);
    let dates: Vec<Date> = (0..90).map(|k| Date::from_days(16_500 + 12 * k)).collect();
    let values = Array4::from_shape_fn((dates.len(), 1, shape.0, shape.1), |(time, _, row, col)| {
        let noise = rng.random_range(-0.01..0.01);
        seen(&mut rng, time, row, col).map_or(f64::NAN, |error| curve(dates[time], row, col) + noise + error)
    });
    (dates, values)
}

fn source(shape: (usize, usize), (dates, values): (Vec<Date>, Array4<f64>)) -> MemorySource {
    MemorySource::new(grid(10.0, shape), dates, bands(&["ndvi"]), values).unwrap()
}

/// Root mean square error over all cells and a year of dates.
fn error(mean: &SeasonalMean) -> f64 {
    let dates = (0..36).map(|k| Date::from_days(17_000 + 10 * k));
    let squares = dates.flat_map(|date| {
        let mean = mean.mean(date, &mean.grid().region()).unwrap();
        mean.indexed_iter().map(|((_, row, col), mu)| (mu - curve(date, row, col)).powi(2)).collect::<Vec<_>>()
    });
    let squares: Vec<f64> = squares.collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

#[test]
fn curves_are_found_under_leftover_clouds() {
    let shape = (9, 10);
    let cloudy = |rng: &mut StdRng, _: usize, _: usize, _: usize| match rng.random_range(0.0..1.0) {
        u if u < 0.4 => None,
        u if u < 0.46 => Some(-0.5),
        _ => Some(0.0),
    };
    let fit = |builder: SeasonalBuilder| {
        let instrument = Instrument::new("s2", source(shape, scene(shape, cloudy))).noise_variance(1e-4);
        builder.fit(&grid(10.0, shape), &bands(&["ndvi"]), None, &[instrument]).unwrap()
    };
    let (robust, plain) = (fit(SeasonalBuilder::default()), fit(SeasonalBuilder::default().robust(None)));
    assert!(error(&robust) < 0.015, "{}", error(&robust));
    assert!(error(&plain) > 3.0 * error(&robust), "{}", error(&plain));
    let scatter = |mean: &SeasonalMean| mean.scatter(&mean.grid().region()).unwrap().mean().unwrap();
    assert!(scatter(&robust) < 0.06 && scatter(&plain) > 2.0 * scatter(&robust), "{}", scatter(&robust));
}

#[test]
fn neighbours_help_where_a_cell_has_little_data() {
    let shape = (12, 12);
    // A cell that is seen four times, in spring.
    let rare = |_: &mut StdRng, time: usize, row: usize, col: usize| {
        ((row, col) != (5, 6) || [6, 7, 8, 9].contains(&time)).then_some(0.0)
    };
    let fit = |builder: SeasonalBuilder| {
        let instrument = Instrument::new("s2", source(shape, scene(shape, rare))).noise_variance(1e-4);
        builder.fit(&grid(10.0, shape), &bands(&["ndvi"]), None, &[instrument]).unwrap()
    };
    let (helped, alone) = (fit(SeasonalBuilder::default()), fit(SeasonalBuilder::default().without_neighbours()));
    let autumn = Date::from_ymd(2016, 10, 1).unwrap();
    let off = |mean: &SeasonalMean| {
        (mean.mean(autumn, &mean.grid().region()).unwrap()[(0, 5, 6)] - curve(autumn, 5, 6)).abs()
    };
    assert!(off(&helped) < 0.01, "{} {}", off(&helped), off(&alone));
}

/// Tiles, several instruments on parts of the target, dates of both.
#[test]
fn tiles_change_no_bit() {
    let shape = (40, 37);
    let holes = |rng: &mut StdRng, _: usize, _: usize, _: usize| (rng.random_range(0.0..1.0) < 0.5).then_some(0.0);
    let instruments = || {
        let whole = source(shape, scene(shape, holes));
        let (dates, values) = scene((20, 30), holes);
        let later = dates.iter().map(|date| *date + 5).collect();
        let part = Grid::new(Crs::unknown(), [50.0, 10.0, 0.0, -120.0, 0.0, -10.0], (20, 30)).unwrap();
        let part = MemorySource::new(part, later, bands(&["ndvi"]), values).unwrap();
        [Instrument::new("a", whole).noise_variance(1e-4), Instrument::new("b", part).noise_variance(1e-4).bias(0.03)]
    };
    let builder = SeasonalBuilder::default().neighbours(1, 3.0).passes(2);
    let fit = |builder: SeasonalBuilder| {
        builder.prepare(&grid(10.0, shape), &bands(&["ndvi"]), None, &instruments()).unwrap()
    };
    let whole = fit(builder.clone()).tiles().next().unwrap().unwrap();
    assert_eq!(whole.region.shape(), shape);
    let tiled = fit(builder.memory_bytes(100_000));
    let mut tiles = 0;
    for tile in tiled.tiles() {
        let tile = tile.unwrap();
        let (rows, cols) = (tile.region.rows.clone(), tile.region.cols.clone());
        assert_eq!(tile.coefficients, whole.coefficients.slice(s![.., .., rows.clone(), cols.clone()]));
        assert_eq!(tile.scatter, whole.scatter.slice(s![.., rows, cols]));
        tiles += 1;
    }
    assert!(tiles > 3, "{tiles}");
    let message = |builder: SeasonalBuilder| {
        builder.prepare(&grid(10.0, shape), &bands(&["ndvi"]), None, &instruments()).unwrap_err().to_string()
    };
    assert!(message(SeasonalBuilder::default().memory_bytes(1000)).contains("seasonal.memory"));
}

/// Of a spectral basis, the components are fitted: least squares of the bands where all are there.
#[test]
fn components_of_a_basis_have_means() {
    let shape = (6, 5);
    let (dates, scores) = scene(shape, |_, _, _, _| Some(0.0));
    let matrix = ndarray::array![[0.6, 0.8], [0.8, -0.6], [0.5, 0.1]];
    let mean = ndarray::array![0.2, 0.3, 0.4];
    let basis = SpectralBasis::new(vec![450.0, 550.0, 650.0], mean.clone(), matrix.clone()).unwrap();
    let values = Array4::from_shape_fn((dates.len(), 3, 6, 5), |(t, b, r, c)| {
        let score = scores[(t, 0, r, c)];
        mean[b] + matrix[(b, 0)] * score - matrix[(b, 1)] * 0.5 * score
    });
    let names = bands(&["b1", "b2", "b3"]);
    let emit = MemorySource::new(grid(10.0, shape), dates.clone(), names.clone(), values.clone()).unwrap();
    let builder = SeasonalBuilder::default();
    let emit = Instrument::new("emit", emit).noise_variance([1e-4, 2e-4, 1e-3]);
    let fitted = builder.fit(&grid(10.0, shape), &names, Some(&basis), &[emit]).unwrap();
    assert_eq!(fitted.components().len(), 2);
    let date = Date::from_days(17_000);
    let mu = fitted.mean(date, &grid(10.0, shape).region()).unwrap();
    assert!((mu[(0, 3, 3)] - curve(date, 3, 3)).abs() < 0.01 && (mu[(1, 3, 3)] + 0.5 * curve(date, 3, 3)).abs() < 0.01);

    // Fewer bands than components tell nothing.
    let one = values.slice_move(s![.., 0..1, .., ..]).to_owned();
    let pan = MemorySource::new(grid(10.0, shape), dates, bands(&["b1"]), one).unwrap();
    let pan = Instrument::new("pan", pan).noise_variance(1e-4);
    let refused = builder.fit(&grid(10.0, shape), &names, Some(&basis), &[pan]).unwrap_err().to_string();
    assert!(refused.contains("\"pan\": response") && refused.contains("leave the instrument out"), "{refused}");
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let shape = (6, 6);
    let target = grid(10.0, shape);
    let s2 = || Instrument::new("s2", source(shape, scene(shape, |_, _, _, _| Some(0.0)))).noise_variance(1e-4);
    let message = |builder: SeasonalBuilder, names: &[&str], instrument: Instrument| {
        builder.fit(&target, &bands(names), None, &[instrument]).unwrap_err().to_string()
    };
    let builder = SeasonalBuilder::default;
    for (bad, key) in [
        (builder().harmonics(0), "seasonal.harmonics"),
        (builder().harmonics(9), "seasonal.harmonics"),
        (builder().period_days(0.0), "seasonal.period_days"),
        (builder().ridge(0.0), "seasonal.ridge"),
        (builder().robust(-1.0), "seasonal.robust"),
        (builder().passes(0), "seasonal.passes"),
        (builder().neighbours(0, 1.0), "seasonal.neighbours"),
        (builder().neighbours(2, f64::NAN), "seasonal.neighbours"),
    ] {
        let text = message(bad, &["ndvi"], s2());
        assert!(text.contains(key), "{text}");
    }
    let text = message(builder(), &["ndvi", "evi"], s2());
    assert!(text.contains("\"evi\""), "{text}");
    let coarse =
        MemorySource::new(grid(30.0, (2, 2)), vec![Date::from_days(1)], bands(&["ndvi"]), Array4::zeros((1, 1, 2, 2)));
    let coarse = Instrument::new("modis", coarse.unwrap()).footprint(Footprint::Uniform).noise_variance(1e-4);
    let text = message(builder(), &["ndvi"], coarse);
    assert!(text.contains("\"modis\": footprint") && text.contains("leave the instrument out"), "{text}");
}

/// How well the mean alone predicts what it has not seen, by what it is fitted with: the table of the documentation.
#[cfg(feature = "gdal")]
mod ablation {
    use std::path::Path;
    use std::sync::Arc;

    use ndarray::Array2;
    use rasterfuse::Fusion;
    use rasterfuse::source::{RasterSource, RasterStack};

    use super::*;

    /// A date's values of a block of 30 × 30 cells.
    struct Block {
        time: usize,
        first: (usize, usize),
        truth: Array2<f64>,
    }

    /// The scene, its dates and all their values.
    fn scene() -> (Grid, Vec<Date>, Array4<f64>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/s2_ndvi");
        let stack = RasterStack::builder("s2ndvi_*.tif", r"s2ndvi_(\d{8})").folder(folder).open().unwrap();
        let (target, dates) = (stack.grid().clone(), stack.dates().to_vec());
        let (rows, cols) = target.shape();
        let mut all = Array4::zeros((dates.len(), 1, rows, cols));
        for (time, &date) in dates.iter().enumerate() {
            all.slice_mut(s![time, .., .., ..]).assign(&stack.read(date, &[0], &target.region()).unwrap().values);
        }
        (target, dates, all)
    }

    /// Takes blocks out of ten dates, of cells that are mostly clear.
    fn withhold(values: &mut Array4<f64>, seed: u64) -> Vec<Block> {
        let mut rng = StdRng::seed_from_u64(seed);
        let (times, _, rows, cols) = values.dim();
        let mut blocks: Vec<Block> = Vec::new();
        while blocks.len() < 10 {
            let (time, row, col) =
                (rng.random_range(0..times), rng.random_range(0..=rows - 30), rng.random_range(0..=cols - 30));
            let mut block = values.slice_mut(s![time, 0, row..row + 30, col..col + 30]);
            if blocks.iter().all(|other| other.time != time) && block.iter().filter(|v| v.is_finite()).count() > 800 {
                blocks.push(Block { time, first: (row, col), truth: block.to_owned() });
                block.fill(f64::NAN);
            }
        }
        blocks
    }

    #[test]
    #[ignore = "measures; needs the rasters of Sentinel-2 NDVI beside the crate"]
    fn ablation() {
        let (target, dates, all) = scene();
        // Of each cell one observation in so many is kept.
        let measure = |builder: &SeasonalBuilder, every: u32| {
            // All; from April to October; all without the mean error of each block.
            let (mut squares, mut counts) = ([0.0; 3], [0.0; 3]);
            for seed in 0..8 {
                let mut values = all.clone();
                let blocks = withhold(&mut values, seed);
                let mut rng = StdRng::seed_from_u64(seed);
                values.mapv_inplace(|value| if rng.random_ratio(1, every) { value } else { f64::NAN });
                let source = MemorySource::new(target.clone(), dates.clone(), bands(&["ndvi"]), values).unwrap();
                let instrument = Instrument::new("s2", source).noise_variance(1e-4);
                let mean = builder.fit(&target, &bands(&["ndvi"]), None, &[instrument]).unwrap();
                for Block { time, first, truth } in blocks {
                    let mu = mean.mean(dates[time], &target.region()).unwrap();
                    let errors = truth.indexed_iter().filter(|(_, value)| value.is_finite());
                    let errors: Vec<f64> =
                        errors.map(|((row, col), v)| mu[(0, first.0 + row, first.1 + col)] - v).collect();
                    let n = errors.len() as f64;
                    let sum: f64 = errors.iter().map(|error| error * error).sum();
                    let common = errors.iter().sum::<f64>() / n;
                    let month: u32 = dates[time].format("%m").parse().unwrap();
                    let growing = if (4..=10).contains(&month) { 1.0 } else { 0.0 };
                    let of = [(sum, n), (growing * sum, growing * n), (sum - n * common * common, n)];
                    for (k, (sum, n)) in of.into_iter().enumerate() {
                        squares[k] += sum;
                        counts[k] += n;
                    }
                }
            }
            [0, 1, 2].map(|k| (squares[k] / counts[k]).sqrt())
        };
        let report = |name: &str, builder: SeasonalBuilder| {
            let [all, growing, within] = measure(&builder, 1);
            let thinned = measure(&builder, 6);
            let thinned = thinned.map(|rmse| format!("{rmse:.4}")).join("  ");
            println!("{name:<40} {all:.4}  {growing:.4}  {within:.4}     {thinned}");
        };
        println!("{:<40} all     Apr-Oct within     one observation in six kept: the same", "RMSE");
        let base = SeasonalBuilder::default;
        report("defaults", base());
        for harmonics in 1..=4 {
            report(&format!("harmonics {harmonics}"), base().harmonics(harmonics));
        }
        for ridge in [0.01, 0.3, 1.0, 3.0, 10.0] {
            for harmonics in [2, 3] {
                report(&format!("harmonics {harmonics}, ridge {ridge}"), base().harmonics(harmonics).ridge(ridge));
            }
        }
        report("robust off", base().robust(None));
        for degrees in [1.0, 2.0, 4.0, 8.0] {
            report(&format!("robust, {degrees} degrees"), base().robust(degrees));
        }
        for passes in [2, 3, 6] {
            report(&format!("{passes} passes"), base().passes(passes));
        }
        report("without neighbours", base().without_neighbours());
        report("without neighbours, robust off", base().without_neighbours().robust(None));
        for radius in [2, 4, 8] {
            for strength in [1.0, 4.0, 16.0] {
                report(
                    &format!("neighbours {radius} cells, {strength} observations"),
                    base().neighbours(radius, strength),
                );
            }
        }
    }

    /// What the mean does for a fusion of the same dates, in blocks withheld from both.
    #[test]
    #[ignore = "measures; needs the rasters of Sentinel-2 NDVI beside the crate"]
    fn fused() {
        use rasterfuse::describe::OutputDates;
        use rasterfuse::describe::{Kernel, Prior, Process};
        use rasterfuse::engine::FusionBuilder;
        use rasterfuse::sink::MemorySink;

        let (target, dates, all) = scene();
        let mut values = all.clone();
        let blocks = withhold(&mut values, 1);
        let source = Arc::new(MemorySource::new(target.clone(), dates.clone(), bands(&["ndvi"]), values).unwrap());
        let instrument = || Instrument::new("s2", Arc::clone(&source)).noise_variance(4e-4);
        let mean = SeasonalBuilder::default().fit(&target, &bands(&["ndvi"]), None, &[instrument()]).unwrap();
        let builder = |lag: usize| {
            Fusion::builder(target.clone())
                .bands(["ndvi"])
                .window(6, 4)
                .far_samples(60, 400.0)
                .output(OutputDates::Observed)
                .lag(lag)
                .instrument(instrument())
        };
        let walk = |variance: f64| Process::new(Kernel::Exponential, 300.0, variance).nugget(0.05);
        let measure = |name: &str, builder: FusionBuilder| {
            let mut sink = MemorySink::new();
            builder.build().unwrap().run(&mut sink).unwrap();
            let (fused, sd) = sink.into_arrays().unwrap();
            let (mut sum, mut inside, mut n) = (0.0, 0, 0);
            for Block { time, first, truth } in &blocks {
                for ((row, col), value) in truth.indexed_iter().filter(|(_, value)| value.is_finite()) {
                    let at = (*time, 0, first.0 + row, first.1 + col);
                    let error = fused[at] - value;
                    sum += error * error;
                    inside += i32::from(error.abs() < 1.645 * (sd[at] * sd[at] + 4e-4).sqrt());
                    n += 1;
                }
            }
            println!("{name:<44} {:.4}  {:.2}", (sum / f64::from(n)).sqrt(), f64::from(inside) / f64::from(n));
        };
        println!("{:<44} RMSE    90 % intervals hold", "");
        for lag in [0, 6] {
            let how = if lag == 0 { "filtered" } else { "lag 6" };
            let prior = Prior::new(0.5, 0.05);
            measure(&format!("{how}, random walk"), builder(lag).process(walk(3e-4)).prior(prior));
            for phi in [0.9, 0.97] {
                // Anomalies of standard deviation 0.12.
                let process = walk(0.0144 * (1.0 - phi * phi)).phi(phi);
                let builder = builder(lag).process(process).prior(Prior::new(0.0, 0.0144));
                measure(&format!("{how}, seasonal mean, phi {phi}"), builder.seasonal(mean.clone()));
            }
        }
    }
}

/// Keeps the shares that are shown, and stops once a share is reached.
#[derive(Debug)]
struct Until {
    share: f64,
    shown: Mutex<Vec<(&'static str, f64)>>,
}

impl Until {
    fn share(share: f64) -> Self {
        Self { share, shown: Mutex::new(Vec::new()) }
    }

    fn shown(&self) -> Vec<(&'static str, f64)> {
        self.shown.lock().unwrap().clone()
    }
}

impl PassWatch for Until {
    fn progress(&self, progress: &PassProgress) {
        self.shown.lock().unwrap().push((progress.doing, progress.share));
    }

    fn stops(&self) -> bool {
        self.shown.lock().unwrap().last().is_some_and(|(_, share)| *share >= self.share)
    }
}

#[test]
fn passes_show_their_shares_and_end_when_asked() {
    let shape = (6, 5);
    let instruments = [Instrument::new("s2", source(shape, scene(shape, |_, _, _, _| Some(0.0)))).noise_variance(1e-4)];
    let (target, names, builder) = (grid(10.0, shape), bands(&["ndvi"]), SeasonalBuilder::default().passes(3));
    let prepared = |watch: &Until| builder.prepare_watched(&target, &names, None, &instruments, watch);
    // To the end: every date of the scene once, and three times for the cells.
    let all = Until::share(2.0);
    let fit = prepared(&all).unwrap();
    assert_eq!(fit.tiles_watched(&all).filter_map(Result::ok).count(), 1);
    let shown = all.shown();
    let of = |doing: &str| shown.iter().filter(|(what, _)| *what == doing).map(|(_, share)| *share).collect::<Vec<_>>();
    assert_eq!((of("curve of the scene").len(), of("curves of the cells").len()), (90, 270));
    let expected: Vec<f64> = (0..270).map(|k| f64::from(k) / 270.0).collect();
    assert!(of("curves of the cells").iter().zip(&expected).all(|(share, expected)| (share - expected).abs() < 1e-12));
    // Ended by the watch, at once: in each pass, and where a map of change is made.
    let half = Until::share(0.5);
    assert!(matches!(prepared(&half), Err(Error::Interrupted)));
    assert_eq!(half.shown().len(), 46);
    let half = Until::share(0.5);
    let ended: Vec<_> = fit.tiles_watched(&half).collect();
    assert!(matches!(&ended[..], [Err(Error::Interrupted)]));
    let half = Until::share(0.5);
    let map = ChangeBuilder::default().fit_watched(&target, &names, None, &instruments, &half);
    assert!(matches!(map, Err(Error::Interrupted)));
    assert_eq!(half.shown().len(), 46);
}
