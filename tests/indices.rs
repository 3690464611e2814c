//! Indices on output are functions of the bands on output, wherever these come from, and change nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use ndarray::{Array4, array, s};
use rasterfuse::Fusion;
use rasterfuse::describe::{Footprint, Instrument, Kernel, OutputSpace, Prior, Process};
use rasterfuse::engine::FusionBuilder;
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::model::SeasonalBuilder;
use rasterfuse::sink::{JudgedSink, MemorySink, Truth};
use rasterfuse::source::MemorySource;
use rasterfuse::spectral::{SpectralBasis, SpectralResponse};
use rasterfuse::validate::{Validation, Withhold};
use support::assert_says;

const NDVI: &str = "(nir - red) / (nir + red)";
const EVI2: &str = "2.5 * (nir - red) / (nir + 2.4 * red + 1)";

fn grid(size: f64, shape: (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], shape).unwrap()
}

/// Numbers between 0 and 1 that look random.
fn unit(k: usize) -> f64 {
    let x = (k as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 29)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Red around 0.1, nir around 0.4, and more, a fifth of them missing.
fn source(grid: &Grid, bands: &[&str], days: impl IntoIterator<Item = i32>) -> MemorySource {
    let days: Vec<i32> = days.into_iter().collect();
    let (rows, cols) = grid.shape();
    let values = Array4::from_shape_fn((days.len(), bands.len(), rows, cols), |(t, b, r, c)| {
        let unit = unit(((days[t] as usize * 7 + b) * 131 + r) * 131 + c);
        if unit < 0.2 { f64::NAN } else { [0.1, 0.4, 0.3, 0.2][b] * (0.5 + unit) }
    });
    let bands = bands.iter().map(ToString::to_string).collect();
    MemorySource::new(grid.clone(), days.into_iter().map(Date::from_days).collect(), bands, values).unwrap()
}

/// A fusion in windows up to a day.
fn windows(end: i32) -> FusionBuilder {
    let fine = Instrument::new("fine", source(&grid(30.0, (12, 13)), &["red", "nir"], (0..=end).step_by(4)));
    let coarse = Instrument::new("coarse", source(&grid(90.0, (4, 5)), &["red", "nir"], (0..=end).step_by(3)));
    Fusion::builder(grid(30.0, (12, 13)))
        .end(Date::from_days(end))
        .tile(8, 8)
        .process(Process::new(Kernel::Exponential, 100.0, [1e-5, 4e-5]))
        .prior(Prior::new([0.1, 0.4], [1e-3, 1e-2]))
        .instrument(fine.noise_variance(1e-5))
        .instrument(coarse.footprint(Footprint::Uniform).noise_variance(2e-5))
}

/// A fusion of independent cells.
fn cells() -> FusionBuilder {
    let fine = Instrument::new("fine", source(&grid(30.0, (12, 13)), &["red", "nir"], (0..9).step_by(4)));
    Fusion::builder(grid(30.0, (12, 13)))
        .tile(8, 8)
        .process(Process::new(Kernel::None, 0.0, [1e-5, 4e-5]))
        .prior(Prior::new([0.1, 0.4], [1e-3, 1e-2]))
        .instrument(fine.noise_variance(1e-5))
}

fn run(builder: FusionBuilder) -> (Array4<f64>, Array4<f64>) {
    let mut sink = MemorySink::new();
    builder.build().unwrap().run(&mut sink).unwrap();
    sink.into_arrays().unwrap()
}

/// NDVI and its standard deviation of red and nir that have these, and a covariance.
fn ndvi((red, nir): (f64, f64), (sd_red, sd_nir): (f64, f64), cov: f64) -> (f64, f64) {
    let sum = nir + red;
    let sd_sum = (sd_red * sd_red + sd_nir * sd_nir + 2.0 * cov).sqrt();
    if sum.abs() < 3.0 * sd_sum {
        return (f64::NAN, f64::NAN);
    }
    let (by_red, by_nir) = (-2.0 * nir / (sum * sum), 2.0 * red / (sum * sum));
    let variance = (by_red * sd_red).powi(2) + (by_nir * sd_nir).powi(2) + 2.0 * by_red * by_nir * cov;
    ((nir - red) / sum, variance.sqrt())
}

fn assert_close(got: f64, expected: f64, what: impl std::fmt::Debug) {
    let close = got.is_nan() && expected.is_nan() || (got - expected).abs() <= 1e-9 * expected.abs();
    assert!(close, "{what:?}: {got}, not {expected}");
}

/// Compares a layer with the NDVI of the first two bands, which are independent.
fn assert_ndvi(mean: &Array4<f64>, sd: &Array4<f64>, layer: usize) {
    let (dates, _, rows, cols) = mean.dim();
    for (t, row, col) in ndarray::indices((dates, rows, cols)) {
        let at = |band: usize| (t, band, row, col);
        let expected = ndvi((mean[at(0)], mean[at(1)]), (sd[at(0)], sd[at(1)]), 0.0);
        assert_close(mean[at(layer)], expected.0, at(layer));
        assert_close(sd[at(layer)], expected.1, at(layer));
    }
}

fn assert_adds_ndvi(builder: &FusionBuilder) {
    let (mean, sd) = run(builder.clone());
    let (with, with_sd) = run(builder.clone().index("evi2", EVI2).index("ndvi", NDVI));
    assert_eq!((mean.dim().1, with.dim().1), (2, 4));
    // Bit by bit, though not every cell holds a number.
    let bits = |values: &Array4<f64>| values.slice(s![.., ..2, .., ..]).mapv(f64::to_bits);
    assert_eq!((bits(&mean), bits(&sd)), (bits(&with), bits(&with_sd)));
    assert_ndvi(&with, &with_sd, 3);
}

#[test]
fn indices_follow_the_bands_of_windows_and_cells() {
    assert!(cells().build().unwrap().plan().independent_cells && !windows(8).build().unwrap().plan().independent_cells);
    for builder in [windows(12), windows(12).lag(3), windows(12).sd_factor([1.5, 0.7]), cells(), cells().sd_factor(3.0)]
    {
        assert_adds_ndvi(&builder);
    }
}

#[test]
fn indices_are_of_the_values_where_the_state_is_the_anomaly() {
    for builder in [windows(8), cells()] {
        let fine = Instrument::new("fine", source(&grid(30.0, (12, 13)), &["red", "nir"], (0..360).step_by(30)));
        let bands = ["red".into(), "nir".into()];
        let mean = SeasonalBuilder::default().without_neighbours().robust(None);
        let mean = mean.fit(&grid(30.0, (12, 13)), &bands, None, &[fine.noise_variance(1e-3)]).unwrap();
        assert_adds_ndvi(&builder.prior(Prior::new(0.0, 1e-3)).seasonal(mean));
    }
}

#[test]
fn where_the_sum_is_hardly_known_there_is_no_index() {
    // A vague prior, before anything is observed.
    let vague = windows(8).prior(Prior::new([0.1, 0.4], 0.09)).start(Date::from_days(-2)).index("ndvi", NDVI);
    let (mean, sd) = run(vague);
    assert_ndvi(&mean, &sd, 2);
    let nan = |day: usize| mean.slice(s![day, 2, .., ..]).iter().filter(|value| value.is_nan()).count();
    assert!(nan(0) == 12 * 13 && nan(2) < 12 * 13, "{} and {}", nan(0), nan(2));
}

#[test]
fn bands_of_a_spectral_basis_are_coupled() {
    let matrix = array![[0.1, 0.02], [0.1, -0.05], [0.02, 0.1], [0.3, 0.1]];
    let basis = SpectralBasis::new(vec![450.0, 550.0, 650.0, 850.0], array![0.05, 0.08, 0.1, 0.4], matrix).unwrap();
    let response = SpectralResponse::gaussian(vec![560.0, 655.0, 840.0], vec![40.0, 30.0, 60.0]).unwrap();
    let sensor = Instrument::new("s", source(&grid(30.0, (6, 7)), &["a", "b", "c"], [0, 3, 4])).response(response);
    let builder = Fusion::builder(grid(30.0, (6, 7)))
        .bands(["450", "550", "650", "850"])
        .basis(basis.clone())
        .sd_factor(1.3)
        .process(Process::new(Kernel::Exponential, 100.0, 0.01))
        .prior(Prior::new(0.0, 0.1))
        .instrument(sensor.noise_variance(1e-5));
    let (x, cov) = run(builder.clone().space(OutputSpace::Components));
    let text = "({850} - {650}) / ({850} + {650})";
    let (mean, sd) = run(builder.clone().index("evi", "2.5 * {850} / (1 + 6 * {450})").index("ndvi", text));
    assert_eq!((x.dim(), cov.dim().1, mean.dim()), ((5, 2, 6, 7), 3, (5, 6, 6, 7)));
    let mut coupled = 0;
    for (t, row, col) in ndarray::indices((5, 6, 7)) {
        let cov = cov.slice(s![t, .., row, col]);
        let (red, nir) = (basis.matrix().row(2), basis.matrix().row(3));
        // Multiplied by the factor already.
        let between =
            red[0] * nir[0] * cov[0] + (red[0] * nir[1] + red[1] * nir[0]) * cov[1] + red[1] * nir[1] * cov[2];
        let at = |band: usize| (t, band, row, col);
        let sds = (sd[at(2)], sd[at(3)]);
        let expected = ndvi((mean[at(2)], mean[at(3)]), sds, between);
        assert_close(mean[at(5)], expected.0, at(5));
        assert_close(sd[at(5)], expected.1, at(5));
        coupled += usize::from((expected.1 / ndvi((mean[at(2)], mean[at(3)]), sds, 0.0).1 - 1.0).abs() > 0.05);
    }
    assert!(coupled > 50, "{coupled}");
    let error = builder.space(OutputSpace::Components).index("ndvi", text).build().unwrap_err();
    assert_says(&error.to_string(), &["output.indices", "components are output"]);
}

#[test]
fn indices_that_cannot_be_are_refused_by_name() {
    let refused =
        |name: &str, text: &str| windows(8).index("ndvi", NDVI).index(name, text).build().unwrap_err().to_string();
    assert_says(&refused("red", "nir"), &["output.indices.red", "name of a band"]);
    assert_says(&refused("ndvi", "nir"), &["output.indices.ndvi", "twice"]);
    assert_says(&refused(" ", "nir"), &["output.indices", "no name"]);
    assert_says(&refused("ratio", "nir / rde"), &["output.indices.ratio", "\"rde\" is no band", "\"red\", \"nir\""]);
    assert_says(
        &refused("ratio", "nir / (red"),
        &["output.indices.ratio", "nir / (red", "\")\" is expected at its end"],
    );
    // An index is no band of others.
    assert_says(&refused("square", "ndvi^2"), &["output.indices.square", "\"ndvi\" is no band"]);
}

#[test]
fn plans_count_indices() {
    let plan = |builder: FusionBuilder| builder.build().unwrap().plan().clone();
    let (plain, with) = (plan(windows(12)), plan(windows(12).index("ndvi", NDVI)));
    assert_eq!(with.store_bytes * 2, plain.store_bytes * 3);
    assert!(with.output_bytes > plain.output_bytes);
}

#[test]
fn scores_and_validation_are_of_bands_alone() {
    let truth = Array4::from_elem((9, 2, 12, 13), 0.3);
    let scores = |builder: FusionBuilder| {
        let mut sink = JudgedSink::new(MemorySink::new(), Truth::from_array(Date::from_days(0), truth.clone()));
        builder.build().unwrap().run(&mut sink).unwrap();
        sink.scores().unwrap().to_string()
    };
    assert_eq!(scores(windows(8)), scores(windows(8).index("ndvi", NDVI)));
    for builder in [windows(12), cells()] {
        let validated = |builder: FusionBuilder| {
            Validation::new().withhold(Withhold::default().share(0.25)).run(builder).unwrap().to_string()
        };
        assert_eq!(validated(builder.clone()), validated(builder.index("ndvi", NDVI)));
    }
}

#[cfg(feature = "zarr")]
mod stores {
    use std::fs;
    use std::path::Path;

    use rasterfuse::engine::{Checkpoint, Start};
    use rasterfuse::series::FusionSink;
    use rasterfuse::sink::{FusedSeries, ZarrFormat, ZarrSink};
    use rasterfuse::source::RasterSource;
    use serde_json::{Value, json};

    use super::*;

    fn with(end: i32) -> FusionBuilder {
        windows(end).checkpoint(Checkpoint::Full).index("ndvi", NDVI).index("evi2", EVI2)
    }

    fn document(path: &Path) -> Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn stores_hold_indices_with_the_bands_and_say_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (mean, sd) = run(with(8));
        for (name, format) in [("3.zarr", ZarrFormat::V3), ("2.zarr", ZarrFormat::V2)] {
            let path = folder.path().join(name);
            with(8).build().unwrap().run(&mut ZarrSink::create(&path).format(format)).unwrap();
            let series = FusedSeries::open(&path).unwrap();
            assert_eq!(series.bands(), ["red", "nir", "ndvi", "evi2"]);
            let (values, sds) = series.values(Date::from_days(7), &[2, 0], &series.grid().region()).unwrap();
            for (got, expected) in [(values, &mean), (sds, &sd)] {
                let expected = expected
                    .index_axis(ndarray::Axis(0), 7)
                    .select(ndarray::Axis(0), &[2, 0])
                    .mapv(|value| f64::from(value as f32));
                assert_eq!(got, expected);
            }
            let attributes = match format {
                ZarrFormat::V3 => document(&path.join("zarr.json"))["attributes"].clone(),
                _ => document(&path.join(".zattrs")),
            };
            assert_eq!(attributes["rasterfuse"]["bands"], json!(["red", "nir"]));
            assert_eq!(
                attributes["rasterfuse"]["indices"].to_string(),
                json!({"ndvi": NDVI, "evi2": EVI2}).to_string()
            );
        }
    }

    #[test]
    fn bands_of_a_basis_go_by_name_where_there_are_indices() {
        let matrix = array![[0.1, 0.02], [0.1, -0.05], [0.3, 0.1]];
        let basis = SpectralBasis::new(vec![550.0, 650.0, 850.0], array![0.08, 0.1, 0.4], matrix).unwrap();
        let response = SpectralResponse::gaussian(vec![560.0, 655.0, 840.0], vec![40.0, 30.0, 60.0]).unwrap();
        let sensor = Instrument::new("s", source(&grid(30.0, (6, 7)), &["a", "b", "c"], [0, 3, 4])).response(response);
        let fusion = Fusion::builder(grid(30.0, (6, 7)))
            .bands(["550", "650", "850"])
            .basis(basis)
            .process(Process::new(Kernel::Exponential, 100.0, 0.01))
            .prior(Prior::new(0.0, 0.1))
            .instrument(sensor.noise_variance(1e-5))
            .index("ratio", "{850} / {650}");
        let path = tempfile::tempdir().unwrap().path().join("basis.zarr");
        fusion.build().unwrap().run(&mut ZarrSink::create(&path)).unwrap();
        let mean = document(&path.join("mean/zarr.json"));
        assert_eq!(mean["shape"], json!([5, 4, 6, 7]));
        assert_eq!(mean["attributes"]["coordinates"], "spatial_ref wavelength");
        let wavelength = document(&path.join("wavelength/zarr.json"));
        assert_eq!((&wavelength["shape"], &wavelength["dimension_names"]), (&json!([4]), &json!(["band"])));
        assert_eq!(document(&path.join("band/zarr.json"))["attributes"]["long_name"], "band name");
        assert_eq!(FusedSeries::open(&path).unwrap().bands(), ["550", "650", "850", "ratio"]);
    }

    #[test]
    fn appended_indices_are_those_of_one_run_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, grown) = (folder.path().join("whole.zarr"), folder.path().join("grown.zarr"));
        with(12).build().unwrap().run(&mut ZarrSink::create(&whole)).unwrap();
        let append = |builder: FusionBuilder| {
            builder.build().unwrap().job().start(Start::Append).run(&mut ZarrSink::create(&grown)).map(|_| ())
        };
        append(with(5)).unwrap();
        let reordered = windows(12).checkpoint(Checkpoint::Full).index("evi2", EVI2).index("ndvi", NDVI);
        let without = windows(12).checkpoint(Checkpoint::Full);
        let other = with(12).index("ratio", "nir / red");
        for builder in [reordered, without, other] {
            assert_says(&append(builder).unwrap_err().to_string(), &["output.indices", NDVI]);
        }
        append(with(12)).unwrap();
        let read = |path: &Path| {
            let series = FusedSeries::open(path).unwrap();
            let of = |day| series.values(Date::from_days(day), &[0, 1, 2, 3], &series.grid().region()).unwrap();
            (0..=12).map(of).map(|(mean, sd)| (mean.mapv(f64::to_bits), sd.mapv(f64::to_bits))).collect::<Vec<_>>()
        };
        assert_eq!(read(&whole), read(&grown));
        let settings = ZarrSink::create(&grown).existing().unwrap().unwrap().settings;
        assert_eq!(settings.get("output.indices").unwrap(), format!("{{ \"ndvi\" = {NDVI:?}, \"evi2\" = {EVI2:?} }}"));
    }
}
