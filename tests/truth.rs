//! Runs judged by the truth of a simulated scene.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/numpy.rs"]
mod numpy;

use ndarray::{Array1, Array2, Array3, Array4, ShapeBuilder, s};
use numpy::write;
use rasterfuse::Fusion;
use rasterfuse::describe::OutputSpace;
use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
use rasterfuse::geometry::{Crs, Date, Grid, PixelRegion};
use rasterfuse::series::Score;
use rasterfuse::sink::{JudgedSink, MemorySink, Truth};
use rasterfuse::source::MemorySource;
use rasterfuse::spectral::SpectralBasis;
use tempfile::TempDir;

const DAYS: usize = 5;
const BANDS: usize = 3;
const SHAPE: (usize, usize) = (6, 7);

fn grid() -> Grid {
    Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], SHAPE).unwrap()
}

fn basis() -> SpectralBasis {
    let matrix = Array2::from_shape_fn((BANDS, 2), |(band, j)| 0.3 + 0.4 * j as f64 - 0.25 * (band * (j + 1)) as f64);
    SpectralBasis::new(vec![500.0, 600.0, 700.0], Array1::from(vec![0.1, 0.2, 0.3]), matrix).unwrap()
}

/// A field that is no constant in anything.
fn field((day, layer, row, col): (usize, usize, usize, usize)) -> f64 {
    ((3 * day + 5 * layer + 2 * row) as f64 * 0.7).sin() * 0.2 + 0.02 * col as f64
}

fn fusion(space: OutputSpace) -> Fusion {
    let names = || (0..BANDS).map(|band| format!("b{band}"));
    let seen =
        Array4::from_shape_fn((2, BANDS, SHAPE.0, SHAPE.1), |(t, band, row, col)| field((3 * t, band, row, col)) + 0.2);
    let dates = vec![Date::from_days(10), Date::from_days(13)];
    let source = MemorySource::new(grid(), dates, names().collect(), seen).unwrap();
    Fusion::builder(grid())
        .bands(names())
        .basis(basis())
        .space(space)
        .window(4, 1)
        .tile(4, 4)
        .start(Date::from_days(10))
        .end(Date::from_days(9 + DAYS as i32))
        .process(Process::new(Kernel::Exponential, 60.0, 0.01))
        .prior(Prior::new(0.0, 0.5))
        .instrument(Instrument::new("s", source).noise_variance(1e-3))
        .build()
        .unwrap()
}

/// The slow way over whole arrays.
fn assert_scores(score: &Score, cells: impl Iterator<Item = (f64, f64, f64)>) {
    let known: Vec<_> = cells.filter(|(truth, ..)| !truth.is_nan()).collect();
    let n = known.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64, f64)) -> f64| known.iter().map(of).sum::<f64>() / n;
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs().max(1e-3);
    assert_eq!((score.values, score.missing), (known.len() as u64, 0), "{score}");
    assert!(close(score.rmse, mean(&|(truth, value, _)| (value - truth).powi(2)).sqrt()), "{score}");
    assert!(close(score.bias, mean(&|(truth, value, _)| value - truth)), "{score}");
    assert!(close(score.rms_sd, mean(&|(_, _, sd)| sd * sd).sqrt()), "{score}");
    let covered =
        mean(&|(truth, value, sd)| f64::from(u8::from((value - truth).abs() <= 1.644_853_626_951_472_2 * sd)));
    assert!(close(score.coverage_90, covered), "{score}");
    assert!(score.coverage_90 > 0.02 && score.coverage_90 < 0.98, "the test can tell: {score}");
}

/// Truth of components with holes, from an array and from either kind of file, beyond the period and short of it.
#[test]
fn components_and_bands_are_scored_as_the_slow_way_does() {
    let folder = TempDir::new().unwrap();
    // From the first day on, and one day short.
    let mut truth =
        Array4::from_shape_fn((DAYS - 1, 2, SHAPE.0, SHAPE.1), |(t, j, row, col)| 1.5 * field((t, j, row, col)));
    truth[(1, 0, 2, 3)] = f64::NAN;
    let first = Date::from_days(10);
    let (single, double) = (folder.path().join("single.npy"), folder.path().join("double.npy"));
    write(&double, &truth);
    write(&single, &truth.mapv(|value| value as f32));

    let mut plain = MemorySink::new();
    fusion(OutputSpace::Bands).run(&mut plain).unwrap();
    let (band_mean, band_sd) = plain.into_arrays().unwrap();
    let mut plain = MemorySink::new();
    fusion(OutputSpace::Components).run(&mut plain).unwrap();
    let (mean, cov) = plain.into_arrays().unwrap();

    let basis = basis();
    let single_precision = truth.mapv(|value| f64::from(value as f32));
    let cases = [
        (Truth::from_array(first, truth.clone()), &truth),
        (Truth::read(first, &double).unwrap(), &truth),
        (Truth::read(first, &single).unwrap(), &single_precision),
    ];
    for (judge, truth) in cases {
        let mut sink = JudgedSink::new(MemorySink::new(), judge);
        let report = fusion(OutputSpace::Components).run(&mut sink).unwrap();
        assert!(report.scores.is_none(), "the sink knows them");
        let scores = sink.scores().unwrap();
        assert_eq!(sink.into_inner().report().unwrap().scores.as_ref(), Some(&scores));
        assert_eq!((scores.components.len(), scores.bands.len()), (2, BANDS));
        let cells = || ndarray::indices((DAYS - 1, SHAPE.0, SHAPE.1)).into_iter();
        for (j, score) in scores.components.iter().enumerate() {
            let at =
                |(t, row, col)| (truth[(t, j, row, col)], mean[(t, j, row, col)], cov[(t, [0, 2][j], row, col)].sqrt());
            assert_scores(score, cells().map(at));
        }
        for (band, score) in scores.bands.iter().enumerate() {
            let at = |(t, row, col)| {
                let x = truth.slice(s![t, .., row, col]);
                let truth = basis.mean()[band] + basis.matrix().row(band).dot(&x);
                (truth, band_mean[(t, band, row, col)], band_sd[(t, band, row, col)])
            };
            assert_scores(score, cells().map(at));
        }
    }
}

#[test]
fn bands_are_scored_by_a_truth_of_bands() {
    let truth =
        Array4::from_shape_fn((DAYS, BANDS, SHAPE.0, SHAPE.1), |(t, band, row, col)| field((t, band, row, col)) + 0.22);
    let mut plain = MemorySink::new();
    fusion(OutputSpace::Bands).run(&mut plain).unwrap();
    let (mean, sd) = plain.into_arrays().unwrap();
    for space in [OutputSpace::Bands, OutputSpace::Components] {
        let mut sink = JudgedSink::new(MemorySink::new(), Truth::from_array(Date::from_days(10), truth.clone()));
        fusion(space).run(&mut sink).unwrap();
        let scores = sink.scores().unwrap();
        assert!(scores.components.is_empty());
        for (band, score) in scores.bands.iter().enumerate() {
            let cells = ndarray::indices((DAYS, SHAPE.0, SHAPE.1)).into_iter();
            let at = |(t, row, col)| {
                let at = (t, band, row, col);
                (truth[at], mean[at], sd[at])
            };
            assert_scores(score, cells.map(at));
        }
        assert!(scores.to_string().contains("all bands"), "{scores}");
    }
}

#[test]
fn truths_that_do_not_fit_are_refused_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    let first = Date::from_days(10);
    let says = |truth: Truth, words: &[&str]| {
        let mut sink = JudgedSink::new(MemorySink::new(), truth);
        let error = fusion(OutputSpace::Components).run(&mut sink).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(sink.into_inner().into_arrays().is_err(), "nothing was begun");
    };
    says(Truth::from_array(first, Array4::zeros((2, 5, 6, 7))), &["(5, 6, 7)", "2 components or 3 bands", "6 x 7"]);
    says(Truth::from_array(first, Array4::zeros((2, 2, 7, 6))), &["(2, 7, 6)"]);

    let path = folder.path().join("truth.npy");
    let refused = |words: &[&str]| {
        let error = Truth::read(first, &path).unwrap_err().to_string();
        assert!(error.contains("truth.npy") && words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(&["cannot read"]);
    write(&path, &Array3::<f64>::zeros((2, 3, 4)));
    refused(&["[2, 3, 4]", "(day, component or band, y, x)"]);
    write(&path, &Array4::<i32>::zeros((2, 2, 6, 7)));
    refused(&["i4", "float64 or float32"]);
    write(&path, &Array4::<f64>::zeros((2, 2, 6, 7).f()));
    refused(&["Fortran", "ascontiguousarray"]);
    std::fs::write(&path, "no numbers").unwrap();
    refused(&["not a file of numpy.save"]);
    // Cut short, it is found out when it is read.
    write(&path, &Array4::<f64>::zeros((2, 2, 6, 7)));
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 8).unwrap();
    let error = Truth::read(first, &path).unwrap().on(Date::from_days(11), &PixelRegion::new(0..6, 0..7)).unwrap_err();
    assert!(error.to_string().contains("truncated") && error.to_string().contains("1970-01-12"), "{error}");
}
