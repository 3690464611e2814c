//! Fusing anomalies about a seasonal mean is fusing what is left of the observations without it, plus the mean.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::f64::consts::LN_2;

use ndarray::{Array2, Array4, s};
use rasterfuse::Fusion;
use rasterfuse::describe::OutputSpace;
use rasterfuse::describe::{Features, Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::engine::FusionBuilder;
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::model::SeasonalBuilder;
use rasterfuse::seasonal::SeasonalMean;
use rasterfuse::sink::MemorySink;
use rasterfuse::source::MemorySource;
use rasterfuse::spectral::SpectralBasis;

const FWHM: f64 = 110.0;

fn grid(x0: f64, y0: f64, size: f64, shape: (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [x0, size, 0.0, y0, 0.0, -size], shape).unwrap()
}

fn target() -> Grid {
    grid(0.0, 0.0, 30.0, (12, 10))
}

fn names(bands: usize) -> Vec<String> {
    (0..bands).map(|band| format!("b{band}")).collect()
}

/// Numbers between 0 and 1 that look random.
fn unit(t: i32, b: usize, r: usize, c: usize, seed: usize) -> f64 {
    let k = (((t as usize * 7 + b) * 131 + r) * 131 + c) as u64 ^ ((seed as u64) << 40);
    let x = k.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 29)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Values of days, a fifth of them missing.
fn values(grid: &Grid, days: &[i32], bands: usize, seed: usize) -> Array4<f64> {
    let (rows, cols) = grid.shape();
    Array4::from_shape_fn((days.len(), bands, rows, cols), |(t, b, r, c)| {
        let unit = unit(days[t], b, r, c, seed);
        if unit < 0.2 { f64::NAN } else { unit }
    })
}

fn source(grid: &Grid, days: &[i32], values: Array4<f64>) -> MemorySource {
    let bands = names(values.dim().1);
    let dates = days.iter().map(|&day| Date::from_days(20_000 + day)).collect();
    MemorySource::new(grid.clone(), dates, bands, values).unwrap()
}

/// Curves that differ from cell to cell.
fn mean(components: usize, basis: Option<&SpectralBasis>) -> SeasonalMean {
    let days: Vec<i32> = (0..12).map(|k| 31 * k).collect();
    let bands = names(basis.map_or(components, SpectralBasis::wavelengths));
    let instrument = Instrument::new("s", source(&target(), &days, values(&target(), &days, bands.len(), 9)));
    let instrument = instrument.noise_variance(1e-3);
    SeasonalBuilder::default().without_neighbours().robust(None).fit(&target(), &bands, basis, &[instrument]).unwrap()
}

/// Cells under a pixel with their weights, row by row and column by column, the long way.
fn footprint(pixels: &Grid, footprint: Footprint, row: usize, col: usize) -> Vec<((i64, i64), f64)> {
    let line = |uniform: Vec<std::ops::Range<i64>>, at: usize, centre: f64| -> Vec<(i64, f64)> {
        match footprint {
            Footprint::Gaussian { fwhm } => {
                let distance = |k: i64| ((k as f64 + 0.5) * 30.0 - centre).abs();
                let cells = (-40..40).filter(|&k| distance(k) <= 1.3 * fwhm);
                cells.map(|k| (k, (-4.0 * LN_2 * (distance(k) / fwhm).powi(2)).exp())).collect()
            }
            _ => uniform[at].clone().map(|k| (k, 1.0)).collect(),
        }
    };
    let (x, y) = pixels.centre(row as i64, col as i64);
    let (rows, cols) = (line(target().rows_under(pixels), row, -y), line(target().cols_under(pixels), col, x));
    let all = rows.iter().flat_map(|(r, u)| cols.iter().map(move |(c, v)| ((*r, *c), u * v)));
    let all: Vec<_> = all.collect();
    let total: f64 = all.iter().map(|(_, weight)| weight).sum();
    all.into_iter().map(|(cell, weight)| (cell, weight / total)).collect()
}

/// What is left of values without the mean, of which band `b` sees `design[(b, j)]` of component `j`.
fn anomalies(
    mean: &SeasonalMean,
    pixels: &Grid,
    seen: Footprint,
    days: &[i32],
    values: &Array4<f64>,
    design: &Array2<f64>,
) -> Array4<f64> {
    let mut left = values.clone();
    let (rows, cols) = target().shape();
    for (t, &day) in days.iter().enumerate() {
        let mu = mean.mean(Date::from_days(20_000 + day), &target().region()).unwrap();
        for (r, c) in (0..pixels.rows()).flat_map(|r| (0..pixels.cols()).map(move |c| (r, c))) {
            for j in 0..design.ncols() {
                let near = |(row, col): (i64, i64)| {
                    mu[(j, row.clamp(0, rows as i64 - 1) as usize, col.clamp(0, cols as i64 - 1) as usize)]
                };
                let average: f64 =
                    footprint(pixels, seen, r, c).into_iter().map(|(cell, weight)| weight * near(cell)).sum();
                for b in 0..design.nrows() {
                    left[(t, b, r, c)] -= design[(b, j)] * average;
                }
            }
        }
    }
    left
}

fn run(builder: FusionBuilder) -> (Array4<f64>, Array4<f64>) {
    let mut sink = MemorySink::new();
    builder.build().unwrap().run(&mut sink).unwrap();
    sink.into_arrays().unwrap()
}

/// Adds the mean, of which layer `b` of the output holds `design[(b, j)]` of component `j`, to results from `first` on.
fn add(mean: &SeasonalMean, first: i32, results: &mut Array4<f64>, design: &Array2<f64>) {
    for t in 0..results.dim().0 {
        let mu = mean.mean(Date::from_days(20_000 + first + t as i32), &target().region()).unwrap();
        for (b, j) in (0..design.nrows()).flat_map(|b| (0..design.ncols()).map(move |j| (b, j))) {
            results.slice_mut(s![t, b, .., ..]).scaled_add(design[(b, j)], &mu.slice(s![j, .., ..]));
        }
    }
}

fn farthest(a: &Array4<f64>, b: &Array4<f64>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Instruments on their pixels: cells, rectangles partly beyond the grid, and overlapping Gaussians.
fn sensors() -> [(&'static str, Grid, Footprint, Vec<i32>); 3] {
    [
        ("fine", target(), Footprint::Cell, vec![3, 9, 17]),
        ("coarse", grid(-50.0, 45.0, 70.0, (6, 6)), Footprint::Uniform, vec![0, 4, 9, 12]),
        ("blurred", grid(-20.0, 30.0, 100.0, (4, 4)), Footprint::Gaussian { fwhm: FWHM }, vec![6, 17]),
    ]
}

#[test]
fn windows_of_any_instruments() {
    let (mean, design) = (mean(2, None), Array2::eye(2));
    let builder = |instruments: Vec<Instrument>, lag: usize, tile: (usize, usize)| {
        let builder = Fusion::builder(target())
            .bands(names(2))
            .end(Date::from_days(20_022)) // after the last observation
            .process(Process::new(Kernel::Exponential, 90.0, [1e-3, 3e-3]).phi([0.9, 1.0]))
            .prior(Prior::new([0.05, 0.0], 0.1))
            .window(3, 2)
            .far_samples(2, 200.0)
            .lag(lag)
            .tile(tile.0, tile.1);
        instruments.into_iter().fold(builder, FusionBuilder::instrument)
    };
    let instruments = |of: &dyn Fn(&Grid, Footprint, &[i32], Array4<f64>) -> Array4<f64>| -> Vec<Instrument> {
        let instrument = |(seed, (name, pixels, seen, days)): (usize, (&str, Grid, Footprint, Vec<i32>))| {
            let values = of(&pixels, seen, &days, values(&pixels, &days, 2, seed));
            let instrument = Instrument::new(name, source(&pixels, &days, values));
            instrument.footprint(seen).noise_variance([1e-3, 2e-3]).bias(0.02).gate(0.9999)
        };
        sensors().into_iter().enumerate().map(instrument).collect()
    };
    let as_they_are = || instruments(&|_, _, _, values| values);
    let left = || instruments(&|pixels, seen, days, values| anomalies(&mean, pixels, seen, days, &values, &design));
    for lag in [0, 3] {
        let (fused, sd) = run(builder(as_they_are(), lag, (12, 10)).seasonal(mean.clone()));
        let (mut twin, twin_sd) = run(builder(left(), lag, (12, 10)));
        add(&mean, 0, &mut twin, &design);
        assert!(farthest(&fused, &twin) < 1e-9, "lag {lag}: {}", farthest(&fused, &twin));
        assert!(farthest(&sd, &twin_sd) < 1e-12);
        let (plain, _) = run(builder(as_they_are(), lag, (12, 10)));
        assert!(farthest(&fused, &plain) > 0.05, "the mean means something");
        let (tiled, tiled_sd) = run(builder(as_they_are(), lag, (5, 4)).seasonal(mean.clone()));
        assert!(fused == tiled && sd == tiled_sd, "tiles change no bit");
    }
}

#[test]
fn independent_cells() {
    let mean = mean(1, None);
    let part = grid(60.0, -30.0, 30.0, (9, 12));
    let builder = |of: &dyn Fn(&Grid, &[i32], Array4<f64>) -> Array4<f64>| {
        let mut builder = Fusion::builder(target())
            .bands(names(1))
            .end(Date::from_days(20_022))
            .process(Process::new(Kernel::None, 0.0, 1e-3).phi(0.9))
            .prior(Prior::new(0.0, 0.1));
        for (name, pixels, days) in [("whole", target(), vec![0, 3, 9]), ("part", part.clone(), vec![3, 12])] {
            let values = of(&pixels, &days, values(&pixels, &days, 1, days.len()));
            builder = builder.instrument(Instrument::new(name, source(&pixels, &days, values)).noise_variance(1e-3));
        }
        builder
    };
    let with = || builder(&|_, _, values| values).seasonal(mean.clone());
    let fusion = with().build().unwrap();
    assert!(fusion.plan().independent_cells);
    let (fused, _) = run(with());
    let left = |pixels: &Grid, days: &[i32], values| {
        anomalies(&mean, pixels, Footprint::Uniform, days, &values, &Array2::eye(1))
    };
    let (mut twin, _) = run(builder(&left));
    add(&mean, 0, &mut twin, &Array2::eye(1));
    assert!(farthest(&fused, &twin) < 1e-9, "{}", farthest(&fused, &twin));
}

#[test]
fn components_of_a_basis() {
    let matrix = ndarray::array![[0.6, 0.8], [0.8, -0.6], [0.5, 0.1]];
    let constant = ndarray::array![0.2, 0.3, 0.4];
    let basis = SpectralBasis::new(vec![450.0, 550.0, 650.0], constant, matrix.clone()).unwrap();
    let mean = mean(2, Some(&basis));
    let pixels = grid(-50.0, 45.0, 70.0, (6, 6));
    let days = [0, 4, 9];
    let seen = values(&pixels, &days, 3, 4);
    let builder = |values: Array4<f64>, space: OutputSpace| {
        Fusion::builder(target())
            .bands(names(3))
            .basis(basis.clone())
            .space(space)
            .process(Process::new(Kernel::Matern32, 90.0, 1e-3))
            .prior(Prior::new(0.0, 0.1))
            .window(4, 2)
            .instrument(
                Instrument::new("c", source(&pixels, &days, values)).footprint(Footprint::Uniform).noise_variance(1e-3),
            )
    };
    let left = anomalies(&mean, &pixels, Footprint::Uniform, &days, &seen, &matrix);
    for (space, design) in [(OutputSpace::Bands, matrix.clone()), (OutputSpace::Components, Array2::eye(2))] {
        let (fused, _) = run(builder(seen.clone(), space).seasonal(mean.clone()));
        let (mut twin, _) = run(builder(left.clone(), space));
        add(&mean, 0, &mut twin, &design);
        assert!(farthest(&fused, &twin) < 1e-9, "{space}: {}", farthest(&fused, &twin));
    }
}

/// Change that goes with the level goes with values, not with anomalies: about a constant mean it is what it is about none.
#[test]
fn levels_are_values() {
    let days: Vec<i32> = (0..12).map(|k| 31 * k).collect();
    let flat = source(&target(), &days, Array4::from_elem((12, 1, 12, 10), 0.25));
    let flat = Instrument::new("flat", flat).noise_variance(1e-3);
    let mean = SeasonalBuilder::default().fit(&target(), &names(1), None, &[flat]).unwrap();
    let builder = |prior: f64| {
        let builder = Fusion::builder(target())
            .bands(names(1))
            .process(Process::new(Kernel::Exponential, 90.0, 1e-3).relative(0.8, 0.3))
            .prior(Prior::new(prior, 0.1))
            .window(4, 2);
        sensors().into_iter().enumerate().fold(builder, |builder, (seed, (name, pixels, seen, days))| {
            let instrument = Instrument::new(name, source(&pixels, &days, values(&pixels, &days, 1, seed)));
            builder.instrument(instrument.footprint(seen).noise_variance(1e-3))
        })
    };
    let (fused, sd) = run(builder(0.0).seasonal(mean));
    let (twin, twin_sd) = run(builder(0.25));
    assert!(farthest(&fused, &twin) < 1e-9 && farthest(&sd, &twin_sd) < 1e-9, "{}", farthest(&fused, &twin));
}

/// Likeness of years is that of a raster of the curves at eight points of the year.
#[test]
fn like_years_change_alike() {
    let mean = mean(2, None);
    let coefficients = mean.coefficients(&target().region()).unwrap();
    let curves = Array4::from_shape_fn((1, 16, 12, 10), |(_, band, r, c)| {
        let (component, angle) = (band / 8, std::f64::consts::TAU * (band % 8) as f64 / 8.0);
        let of = |term: usize| coefficients[(component, term, r, c)];
        let twice = 2.0 * angle;
        let value = of(0) + of(1) * angle.cos() + of(2) * angle.sin() + of(3) * twice.cos() + of(4) * twice.sin();
        value / 8.0_f64.sqrt()
    });
    let by_hand = Features::new(source(&target(), &[0], curves), [vec![0.3; 8], vec![0.6; 8]].concat());
    let builder = |features: Option<Features>| {
        let process = Process::new(Kernel::Exponential, 90.0, 1e-3);
        let process = features.into_iter().fold(process, Process::features);
        let builder = Fusion::builder(target()).bands(names(2)).process(process).prior(Prior::new(0.0, 0.1));
        let builder = builder.seasonal(mean.clone()).window(4, 2);
        sensors().into_iter().enumerate().fold(builder, |builder, (seed, (name, pixels, seen, days))| {
            let instrument = Instrument::new(name, source(&pixels, &days, values(&pixels, &days, 2, seed)));
            builder.instrument(instrument.footprint(seen).noise_variance(1e-3))
        })
    };
    assert_eq!(Features::of_seasonal([0.3, 0.6]), Features::of_seasonal([0.3, 0.6]));
    assert_ne!(Features::of_seasonal([0.3, 0.6]), Features::of_seasonal(0.3));
    let (fused, sd) = run(builder(Some(Features::of_seasonal([0.3, 0.6]))));
    let (twin, twin_sd) = run(builder(Some(by_hand)));
    assert!(farthest(&fused, &twin) < 1e-9 && farthest(&sd, &twin_sd) < 1e-9, "{}", farthest(&fused, &twin));
    let (plain, _) = run(builder(None));
    assert!(farthest(&fused, &plain) > 1e-3, "likeness has no effect");

    let message = |features| builder(Some(features)).build().unwrap_err().to_string();
    let three = message(Features::of_seasonal([0.3, 0.6, 0.9]));
    support::assert_says(&three, &["process.features.scale", "3 values for 2 components"]);
    let bands = message(Features::of_seasonal(0.3).bands([0]));
    support::assert_says(&bands, &["process.features.bands", "count together"]);
}

#[test]
fn means_of_something_else_are_refused() {
    let build = |grid: Grid, bands: usize, mean: SeasonalMean| {
        let values = values(&grid, &[0], bands, 1);
        let instrument = Instrument::new("s", source(&grid, &[0], values)).noise_variance(1e-3);
        let builder = Fusion::builder(grid).bands(names(bands)).process(Process::new(Kernel::None, 0.0, 1e-3));
        builder.prior(Prior::new(0.0, 0.1)).instrument(instrument).seasonal(mean).build()
    };
    let message = |grid: Grid, bands: usize| build(grid, bands, mean(1, None)).unwrap_err().to_string();
    support::assert_says(&message(target(), 2), &["seasonal.mean", "[\"b0\"]", "[\"b0\", \"b1\"]", "fit it"]);
    support::assert_says(&message(grid(0.0, 0.0, 30.0, (13, 10)), 1), &["seasonal.mean", "cover"]);
    let fusion = build(grid(60.0, -30.0, 30.0, (4, 4)), 1, mean(1, None)).unwrap();
    assert!(fusion.settings().get("seasonal.mean").is_some());
    assert!(fusion.plan().memory_bytes() > 0);
}

#[cfg(feature = "zarr")]
mod stored {
    use std::path::Path;

    use rasterfuse::engine::{Checkpoint, Start};
    use rasterfuse::sink::{SeasonalStore, ZarrFormat, ZarrSink};

    use super::*;

    fn fit_of(seed: usize) -> rasterfuse::model::SeasonalFit {
        let days: Vec<i32> = (0..12).map(|k| 31 * k).collect();
        let seen = source(&target(), &days, values(&target(), &days, 1, seed));
        let instrument = Instrument::new("s", seen).noise_variance(1e-3);
        SeasonalBuilder::default().passes(2).prepare(&target(), &names(1), None, &[instrument]).unwrap()
    }

    fn fusion(mean: SeasonalMean, end: i32, checkpoint: Checkpoint) -> Fusion {
        let pixels = grid(-50.0, 45.0, 70.0, (6, 6));
        let days: Vec<i32> = (0..=end).filter(|day| day % 3 != 1).collect();
        let seen = source(&pixels, &days, values(&pixels, &days, 1, 2));
        Fusion::builder(target())
            .bands(names(1))
            .end(Date::from_days(20_000 + end))
            .process(Process::new(Kernel::Exponential, 90.0, 1e-3).phi(0.9))
            .prior(Prior::new(0.0, 0.1))
            .lag(2)
            .tile(6, 5)
            .instrument(Instrument::new("c", seen).footprint(Footprint::Uniform).noise_variance(1e-3))
            .checkpoint(checkpoint)
            .replay_days(30)
            .seasonal(mean)
            .build()
            .unwrap()
    }

    fn fuse(store: &Path, mean: &SeasonalMean, end: i32, start: Start) -> rasterfuse::Result<()> {
        let fusion = fusion(mean.clone(), end, Checkpoint::Full);
        fusion.job().start(start).run(&mut ZarrSink::create(store)).map(drop)
    }

    #[test]
    fn what_is_stored_is_what_was_fitted() {
        let folder = tempfile::tempdir().unwrap();
        let fit = fit_of(3);
        let memory = fit.collect().unwrap();
        for format in [ZarrFormat::V3, ZarrFormat::V2] {
            let path = folder.path().join(format!("{format:?}.zarr"));
            // The second takes the place of the first.
            SeasonalStore::create(&path).format(format).write(&fit_of(4)).unwrap();
            let stored = SeasonalStore::create(&path).format(format).write(&fit).unwrap();
            assert_eq!(
                std::fs::read_dir(folder.path())
                    .unwrap()
                    .filter(|e| e.as_ref().unwrap().path().ends_with(".partial"))
                    .count(),
                0
            );
            assert_eq!((stored.fingerprint(), stored.grid()), (memory.fingerprint(), memory.grid()));
            assert_eq!((stored.harmonics(), stored.components()), (memory.harmonics(), memory.components()));
            let region = rasterfuse::geometry::PixelRegion::new(2..9, 3..10);
            assert_eq!(stored.coefficients(&region).unwrap(), memory.coefficients(&region).unwrap());
            assert_eq!(stored.scatter(&region).unwrap(), memory.scatter(&region).unwrap());
        }
        let other = folder.path().join("other");
        std::fs::create_dir(&other).unwrap();
        support::assert_says(&SeasonalStore::open(&other).unwrap_err().to_string(), &["other", "no seasonal mean"]);
        std::fs::write(other.join("mine"), "precious").unwrap();
        support::assert_says(
            &SeasonalStore::create(&other).write(&fit).unwrap_err().to_string(),
            &["not a seasonal mean"],
        );
        assert!(other.join("mine").exists());
    }

    #[test]
    fn appended_dates_are_those_of_one_run_and_of_one_mean() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mean = SeasonalStore::create(path("seasonal.zarr")).write(&fit_of(3)).unwrap();
        fuse(&path("one"), &mean, 20, Start::New).unwrap();
        for end in [7, 12, 20] {
            fuse(&path("many"), &mean, end, Start::Append).unwrap();
        }
        assert!(support::tree(&path("one")) == support::tree(&path("many")));
        let other = fit_of(4).collect().unwrap();
        let refused = fuse(&path("one"), &other, 25, Start::Append).unwrap_err().to_string();
        support::assert_says(&refused, &["seasonal.mean"]);
    }

    /// Light checkpoints keep anomalies: appending from them puts the mean of each date on top, as a whole run does.
    #[test]
    fn light_checkpoints_keep_anomalies() {
        let folder = tempfile::tempdir().unwrap();
        let mean = fit_of(3).collect().unwrap();
        let store = folder.path().join("light");
        for (end, start) in [(30, Start::New), (40, Start::Append)] {
            let fusion = fusion(mean.clone(), end, Checkpoint::Light);
            fusion.job().start(start).run(&mut ZarrSink::create(&store)).unwrap();
        }
        let exact = folder.path().join("exact");
        fuse(&exact, &mean, 40, Start::New).unwrap();
        let last = |store: &Path| {
            let series = rasterfuse::sink::FusedSeries::open(store).unwrap();
            series.values(Date::from_days(20_040), &[0], &target().region()).unwrap()
        };
        let ((light, _), (whole, sd)) = (last(&store), last(&exact));
        for ((a, b), sd) in light.iter().zip(&whole).zip(&sd) {
            assert!((a - b).abs() < 0.3 * sd, "{a} {b} {sd}");
        }
    }
}

#[cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
mod described {
    use std::path::Path;

    use rasterfuse::config::FusionConfig;
    use rasterfuse::sink::SeasonalStore;

    use super::*;

    #[test]
    fn a_description_fits_a_mean_and_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let scene = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenes/correlated_prior");
        for (name, bytes) in support::tree(&scene).iter().filter(|(name, _)| name.ends_with("tif")) {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let text = std::fs::read_to_string(scene.join("fuse.toml")).unwrap();
        let config = |more: &str| FusionConfig::parse(&format!("{text}\n{more}"), folder.path());
        let message = |more: &str| config(more).and_then(|config| config.build()).unwrap_err().to_string();
        support::assert_says(&message("[seasonal]\nmean = \"none.zarr\""), &["seasonal.mean", "none.zarr"]);
        support::assert_says(&message("[seasonal]\nmean = \"m.zarr\"\nharmonics = 2"), &["harmonics"]);

        // Only the fine instrument's pixels are cells.
        let used = config("[seasonal]\nmean = \"m.zarr\"").unwrap();
        let fit = used.seasonal_fit(&SeasonalBuilder::default(), &[]).unwrap();
        assert_eq!(fit.instruments().map(|(name, _)| name).collect::<Vec<_>>(), ["fine"]);
        SeasonalStore::create(folder.path().join("m.zarr")).write(&fit).unwrap();
        let fusion = used.build().unwrap();
        assert!(fusion.settings().get("seasonal.mean").is_some());
        fusion.run(&mut MemorySink::new()).unwrap();
        let refused = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            used.seasonal_fit(&SeasonalBuilder::default(), &names).unwrap_err().to_string()
        };
        support::assert_says(&refused(&["coarse"]), &["\"coarse\"", "cells"]);
        support::assert_says(&refused(&["modis"]), &["\"modis\"", "[\"fine\", \"coarse\", \"blurred\"]"]);
    }
}
