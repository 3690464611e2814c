//! Fusions with a spectral basis against the fixtures of the independent reference (`tests/fixtures/spectra.py`), to 1e-9:
//! responses by centre and width and by table, fewer bands than components, gaps in single bands, both output spaces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/numpy.rs"]
mod numpy;

use std::path::Path;

use ndarray::{Array1, Array2, Array3, Array4, Axis, s};
use numpy::Npz;
use rasterfuse::Fusion;
use rasterfuse::describe::OutputSpace;
use rasterfuse::describe::{Footprint, Instrument, Kernel, Missing, Prior, Process};
use rasterfuse::engine::FusionBuilder;
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::MemorySource;
use rasterfuse::spectral::{SpectralBasis, SpectralResponse};

const SIDE: usize = 4;

fn fixture(name: &str) -> Npz {
    Npz::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
}

fn grid(side: usize) -> Grid {
    let cell = (SIDE * 30 / side) as f64;
    Grid::new(Crs::unknown(), [0.0, cell, 0.0, 0.0, 0.0, -cell], (side, side)).unwrap()
}

fn fusion(case: &mut Npz, kernel: Kernel, missing: Missing, space: OutputSpace, lag: usize) -> Fusion {
    described(case, kernel, missing, lag).space(space).build().unwrap()
}

fn described(case: &mut Npz, kernel: Kernel, missing: Missing, lag: usize) -> FusionBuilder {
    let wavelengths = case.list("waves");
    let names: Vec<String> = wavelengths.iter().map(|wavelength| format!("{wavelength:.1}")).collect();
    let mean: Array1<f64> = case.array("mean");
    let matrix: Array2<f64> = case.array("basis");
    let basis = SpectralBasis::new(wavelengths, mean, matrix).unwrap();
    let curves: Array2<f64> = case.array("table");
    let responses = [
        SpectralResponse::gaussian(case.list("hyper_centres"), case.list("hyper_fwhm")).unwrap(),
        SpectralResponse::tabulated(
            case.list("table_waves"),
            curves.outer_iter().map(|curve| curve.to_vec()).collect(),
        )
        .unwrap(),
        SpectralResponse::gaussian(case.list("two_centres"), case.list("two_fwhm")).unwrap(),
    ];
    let phi = case.scalar("phi");
    let process = Process::new(kernel, case.list("length"), case.list("sigma2")).nugget(0.01).phi(phi);
    let mut builder = Fusion::builder(grid(SIDE))
        .bands(names)
        .basis(basis)
        .window(SIDE, 0)
        .lag(lag)
        .process(process)
        .prior(Prior::new(case.list("x0"), case.list("P0")))
        .start(Date::from_days(1))
        .end(Date::from_days(7));
    for (k, response) in responses.into_iter().enumerate() {
        let values: Array4<f64> = case.array(&format!("inst{k}_values"));
        let (_, side, _, bands) = values.dim();
        let dates = case.list(&format!("inst{k}_times")).into_iter().map(|day| Date::from_days(day as i32));
        let names = (0..bands).map(|band| format!("b{band}")).collect();
        let values = values.permuted_axes([0, 3, 1, 2]).as_standard_layout().into_owned();
        let source = MemorySource::new(grid(side), dates.collect(), names, values).unwrap();
        let footprint = if side == SIDE { Footprint::Cell } else { Footprint::Uniform };
        builder = builder.instrument(
            Instrument::new(format!("sensor {k}"), source)
                .response(response)
                .footprint(footprint)
                .missing(missing)
                .bias(case.list(&format!("inst{k}_bias")))
                .noise_variance(case.list(&format!("inst{k}_var"))),
        );
    }
    builder
}

/// (time, layer, y, x) against (time, cell, layer).
fn assert_equal(got: &Array4<f64>, expected: &Array3<f64>, scale: &Array3<f64>, what: &str) {
    assert_eq!(got.dim(), (expected.dim().0, expected.dim().2, SIDE, SIDE), "{what}");
    for ((time, layer, row, col), value) in got.indexed_iter() {
        let at = (time, row * SIDE + col, layer);
        let (expected, scale) = (expected[at], scale[at]);
        assert!((value - expected).abs() <= 1e-9 * scale, "{what} {at:?}: {value}, not {expected}");
    }
}

fn check(name: &str, kernel: Kernel, missing: Missing) {
    for (prefix, lag) in [("filt", 0), ("lag", 2)] {
        let mut case = fixture(name);
        let band_mean: Array3<f64> = case.array(&format!("{prefix}_band_mean"));
        let band_sd: Array3<f64> = case.array(&format!("{prefix}_band_sd"));
        let mut sink = MemorySink::new();
        let report = fusion(&mut case, kernel, missing, OutputSpace::Bands, lag).run(&mut sink).unwrap();
        let (mean, sd) = sink.into_arrays().unwrap();
        assert_equal(&mean, &band_mean, &band_sd, "band");
        assert_equal(&sd, &band_sd, &band_sd, "sd of band");
        let loglik = case.scalar("loglik");
        let got = report.log_likelihood();
        assert!((got - loglik).abs() <= 1e-9 * loglik.abs(), "log-likelihood {got}, not {loglik}");

        let cov: Array4<f64> = case.array(&format!("{prefix}_comp_cov"));
        let p = cov.dim().3;
        let pairs: Vec<(usize, usize)> = (0..p).flat_map(|j| (0..=j).map(move |l| (j, l))).collect();
        let layers = |of: &dyn Fn(usize, usize) -> Array2<f64>| {
            let layers: Vec<_> = pairs.iter().map(|&(j, l)| of(j, l)).collect();
            let views: Vec<_> = layers.iter().map(|layer| layer.view()).collect();
            ndarray::stack(Axis(2), &views).unwrap()
        };
        let expected_cov = layers(&|j, l| cov.slice(s![.., .., j, l]).to_owned());
        let variance = |j: usize| cov.slice(s![.., .., j, j]).to_owned();
        let scale = layers(&|j, l| (variance(j) * variance(l)).mapv(f64::sqrt));
        let expected_mean: Array3<f64> = case.array(&format!("{prefix}_comp_mean"));
        let spread = Array3::from_shape_fn(expected_mean.dim(), |(t, cell, j)| cov[(t, cell, j, j)].sqrt());
        let mut sink = MemorySink::new();
        fusion(&mut case, kernel, missing, OutputSpace::Components, lag).run(&mut sink).unwrap();
        let (mean, cov) = sink.into_arrays().unwrap();
        assert_equal(&mean, &expected_mean, &spread, "component");
        assert_equal(&cov, &expected_cov, &scale, "covariance of components");
    }
}

#[test]
fn gaps_in_bands_agree_with_the_reference() {
    check("spectra_bands.npz", Kernel::Matern32, Missing::Band);
}

#[test]
fn fewer_bands_than_components_agree_with_the_reference() {
    check("spectra_pixels.npz", Kernel::Exponential, Missing::Pixel);
}

#[cfg(feature = "zarr")]
#[test]
fn bands_are_rebuilt_from_a_store_of_components() {
    use rasterfuse::sink::{FusedSeries, ZarrFormat, ZarrSink};
    use rasterfuse::source::RasterSource;

    let run = |space, sink: &mut dyn rasterfuse::series::FusionSink| {
        let mut case = fixture("spectra_bands.npz");
        fusion(&mut case, Kernel::Matern32, Missing::Band, space, 0).run(sink).unwrap();
    };
    let mut memory = MemorySink::new();
    run(OutputSpace::Bands, &mut memory);
    let (mean, sd) = memory.into_arrays().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, format, space) in [
        ("3.zarr", ZarrFormat::V3, OutputSpace::Components),
        ("2.zarr", ZarrFormat::V2, OutputSpace::Components),
        ("bands.zarr", ZarrFormat::V3, OutputSpace::Bands),
    ] {
        let path = folder.path().join(name);
        run(space, &mut ZarrSink::create(&path).format(format));
        let series = FusedSeries::open(&path).unwrap();
        assert_eq!((series.space(), series.dates().len(), series.bands().len()), (space, 7, 34));
        assert_eq!(series.grid(), &grid(SIDE));
        let region = rasterfuse::geometry::PixelRegion::new(1..4, 0..2);
        for (time, &date) in series.dates().iter().enumerate() {
            let bands = [33, 0, 7];
            let slice = series.read(date, &bands, &region).unwrap();
            let variance = slice.noise_variance.unwrap();
            for ((layer, row, col), value) in slice.values.indexed_iter() {
                let at = (time, bands[layer], row + 1, col);
                // float32, of components and of the basis.
                assert!((value - mean[at]).abs() < 2e-6, "{name} {at:?}: {value}, not {}", mean[at]);
                let spread = variance[(layer, row, col)].sqrt();
                assert!((spread - sd[at]).abs() < 1e-3 * sd[at] + 1e-6, "{name} {at:?}: {spread}, not {}", sd[at]);
            }
        }
    }
    let error = FusedSeries::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("holds no series"), "{error}");
}

/// Components that are filtered together go through checkpoints: full ones to the bit, light ones with their covariances.
#[cfg(feature = "zarr")]
#[test]
fn tomorrows_date_goes_on_from_components() {
    use rasterfuse::engine::{Checkpoint, Start};
    use rasterfuse::sink::{FusedSeries, ZarrSink};
    use rasterfuse::source::RasterSource;

    let folder = tempfile::tempdir().unwrap();
    let region = rasterfuse::geometry::PixelRegion::new(0..SIDE, 0..SIDE);
    let run = |name: &str, end: i32, lag: usize, checkpoint: Checkpoint, start: Start| {
        let mut case = fixture("spectra_bands.npz");
        let builder = described(&mut case, Kernel::Matern32, Missing::Band, lag).space(OutputSpace::Components);
        let builder = builder.end(Date::from_days(end)).tile(2, 4).window(2, 2).checkpoint(checkpoint).replay_days(2);
        let fusion = builder.build().unwrap();
        fusion.job().start(start).run(&mut ZarrSink::create(folder.path().join(name))).unwrap();
    };
    for (lag, checkpoint) in [(0, Checkpoint::Full), (2, Checkpoint::Full), (0, Checkpoint::Light)] {
        let name = |what: &str| format!("{what}-{lag}-{checkpoint}.zarr");
        run(&name("whole"), 7, lag, checkpoint, Start::New);
        run(&name("grown"), 4, lag, checkpoint, Start::New);
        run(&name("grown"), 7, lag, checkpoint, Start::Append);
        let open = |what: &str| FusedSeries::open(folder.path().join(name(what))).unwrap();
        let (whole, grown) = (open("whole"), open("grown"));
        assert_eq!(whole.dates(), grown.dates());
        for &date in whole.dates() {
            let (a, b) = (whole.components(date, &region).unwrap(), grown.components(date, &region).unwrap());
            if checkpoint == Checkpoint::Full {
                assert_eq!(a, b, "{date}, lag {lag}");
                continue;
            }
            let variance = |cov: &Array3<f64>, j: usize, at: (usize, usize)| cov[(j * (j + 3) / 2, at.0, at.1)];
            // What cells have in common is lost, what the components of a cell have is not.
            let mut squares = 0.0;
            for ((j, row, col), value) in a.0.indexed_iter() {
                let (spread, other) = (variance(&a.1, j, (row, col)), variance(&b.1, j, (row, col)));
                squares += (value - b.0[(j, row, col)]).powi(2) / spread;
                assert!((spread / other).ln().abs() < 0.5, "{date}: {spread} and {other}");
            }
            let rms = (squares / a.0.len() as f64).sqrt();
            println!("{date}: {rms:.2} standard deviations");
            assert!(rms < 0.6, "{date}: {rms} standard deviations");
        }
    }
}
