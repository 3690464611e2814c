//! Principal components in one pass: the true basis comes back, noise is told from signal, missing values and settings are
//! judged, and memory does not grow with the dates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[cfg(all(feature = "gdal", feature = "zarr"))]
#[path = "support/numpy.rs"]
mod numpy;
mod support;

use nalgebra::DMatrix;
use ndarray::{Array2, Array4, s};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rasterfuse::Result;
use rasterfuse::geometry::{Date, Grid, PixelRegion};
use rasterfuse::source::{MemorySource, RasterSource, Slice};
use rasterfuse::spectral::{BandScale, SpectralPca};

use support::{assert_says, day, grid};

/// Hyperspectral images of a scene of four components.
struct Scene {
    wavelengths: Vec<f64>,
    /// (band, component)
    basis: DMatrix<f64>,
    /// Without noise, (time, band, y, x).
    clean: Array4<f64>,
    noise_variance: Vec<f64>,
}

impl Scene {
    /// Spectra that vary smoothly over `bands`, scores that vary over cells and dates, the first component a hundred times more
    /// than the last. Not a multiple of anything that pixels are summed by.
    fn new(bands: usize, dates: usize, noise_variance: impl Fn(usize) -> f64) -> Self {
        let wavelengths: Vec<f64> = (0..bands).map(|band| 425.0 + 2000.0 * band as f64 / bands as f64).collect();
        let share = |band: usize| (band as f64 + 0.5) / bands as f64;
        let column = |band: usize, j: usize| (2.0 / bands as f64).sqrt() * ((j as f64 + 0.7) * 3.0 * share(band)).cos();
        let basis = DMatrix::from_fn(bands, 4, column);
        let mut rng = StdRng::seed_from_u64(11);
        let waves: Vec<[f64; 4]> = (0..24).map(|_| std::array::from_fn(|_| rng.sample(StandardNormal))).collect();
        let score = |j: usize, t: usize, row: usize, col: usize| -> f64 {
            let deviation = [0.7, 0.35, 0.15, 0.06][j];
            let wave =
                |w: &[f64; 4]| (0.3 * w[0] * row as f64 + 0.3 * w[1] * col as f64 + w[2] * t as f64 + 9.0 * w[3]).sin();
            deviation * waves.iter().skip(6 * j).take(6).map(wave).sum::<f64>() / 3.0_f64.sqrt()
        };
        let clean = Array4::from_shape_fn((dates, bands, 31, 29), |(t, band, row, col)| {
            0.3 + 0.1 * share(band) + (0..4).map(|j| basis[(band, j)] * score(j, t, row, col)).sum::<f64>()
        });
        Self { wavelengths, basis, clean, noise_variance: (0..bands).map(noise_variance).collect() }
    }

    fn noisy(&self) -> Array4<f64> {
        let mut rng = StdRng::seed_from_u64(5);
        let mut values = self.clean.clone();
        for ((_, band, ..), value) in values.indexed_iter_mut() {
            *value += self.noise_variance[band].sqrt() * rng.sample::<f64, _>(StandardNormal);
        }
        values
    }
}

fn source(values: Array4<f64>) -> MemorySource {
    let (dates, bands, rows, cols) = values.dim();
    let names = (1..=bands).map(|band| format!("b{band}")).collect();
    MemorySource::new(grid((rows, cols)), (0..dates as i32).map(day).collect(), names, values).unwrap()
}

/// The largest principal angle in degrees between what the columns span.
fn angle(found: &Array2<f64>, basis: &DMatrix<f64>) -> f64 {
    let found = DMatrix::from_fn(found.nrows(), found.ncols(), |row, col| found[(row, col)]);
    let cosines = found.qr().q().tr_mul(&basis.clone().qr().q()).singular_values();
    cosines.min().clamp(-1.0, 1.0).acos().to_degrees()
}

/// Variances of a scene along its own principal axes, largest first.
fn principal_variances(values: &Array4<f64>) -> Vec<f64> {
    let (dates, bands, rows, cols) = values.dim();
    let pixels = dates * rows * cols;
    let mut spectra = DMatrix::from_fn(pixels, bands, |pixel, band| {
        let (t, place) = (pixel / (rows * cols), pixel % (rows * cols));
        values[(t, band, place / cols, place % cols)]
    });
    for mut column in spectra.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    let mut singular = spectra.singular_values().as_slice().to_vec();
    singular.sort_by(|a, b| b.total_cmp(a));
    singular.iter().map(|value| value * value / (pixels - 1) as f64).collect()
}

#[test]
fn the_basis_of_a_scene_comes_back_from_its_images() {
    let scene = Scene::new(212, 4, |_| 1e-6);
    let images = source(scene.noisy());
    let variances = principal_variances(&scene.clean);
    let noises = [BandScale::Noise(vec![1e-6]), BandScale::EstimatedNoise, BandScale::Same, BandScale::Deviation];
    for scale in noises {
        let pca = SpectralPca::builder(scene.wavelengths.clone()).scale(scale.clone()).fit(&images).unwrap();
        let found = pca.basis();
        assert_eq!((found.components(), pca.pixels()), (4, 4 * 31 * 29), "{scale:?}");
        assert!(angle(found.matrix(), &scene.basis) < 2.0, "{scale:?}: {}", angle(found.matrix(), &scene.basis));
        let gram = found.matrix().t().dot(found.matrix());
        assert!(gram.indexed_iter().all(|((a, b), v)| (v - f64::from(a == b)).abs() < 1e-12), "{scale:?}");
        for (j, (got, expected)) in pca.variances().iter().zip(&variances).enumerate() {
            assert!((got / expected - 1.0).abs() < 0.01, "{scale:?}, component {j}: {got}, not {expected}");
        }
        assert!(pca.explained().sum::<f64>() > 0.999);
        for (band, mean) in found.mean().iter().enumerate() {
            let expected = scene.clean.slice(s![.., band, .., ..]).mean().unwrap();
            assert!((mean - expected).abs() < 5.0 * (1e-6 / pca.pixels() as f64).sqrt(), "{scale:?} {band}");
        }
        for column in found.matrix().columns() {
            let largest = column.iter().copied().fold(0.0, |most: f64, v| if v.abs() > most.abs() { v } else { most });
            assert!(largest > 0.0, "{scale:?}");
        }
    }
}

/// Noise as strong as the weakest components in a fifth of the bands.
#[test]
fn known_and_estimated_noise_is_told_from_signal() {
    let variance = |band: usize| if band.is_multiple_of(5) { 1e-3 } else { 1e-6 };
    let scene = Scene::new(60, 4, variance);
    let images = source(scene.noisy());
    let fit = |scale| SpectralPca::builder(scene.wavelengths.clone()).scale(scale).fit(&images).unwrap();
    let known = fit(BandScale::Noise(scene.noise_variance.clone()));
    let estimated = fit(BandScale::EstimatedNoise);
    let expected = principal_variances(&scene.clean);
    for pca in [&known, &estimated] {
        assert_eq!(pca.basis().components(), 4);
        assert!(angle(pca.basis().matrix(), &scene.basis) < 2.0);
        for (got, expected) in pca.variances().iter().zip(&expected) {
            assert!((got / expected - 1.0).abs() < 0.01, "{got}, not {expected}");
        }
    }
    for (got, expected) in estimated.noise_variance().unwrap().iter().zip(&scene.noise_variance) {
        assert!((got / expected - 1.0).abs() < 0.25, "{got}, not {expected}");
    }
    assert!((known.scale()[0] / 1e-3_f64.sqrt() - 1.0).abs() < 1e-9);
    // Without that knowledge noise passes for components.
    assert!(fit(BandScale::Same).basis().components() > 4);
    assert_eq!(fit(BandScale::Same).noise_variance(), None);
    // Nothing but noise has no components; the chosen number is kept otherwise.
    let empty = source(&scene.noisy() - &scene.clean);
    let message = SpectralPca::builder(scene.wavelengths.clone())
        .scale(BandScale::Noise(scene.noise_variance.clone()))
        .fit(&empty);
    assert_says(
        &message.unwrap_err().to_string(),
        &["components", "none stand out of the noise", "smaller noise_variance"],
    );
    let builder = SpectralPca::builder(scene.wavelengths.clone()).scale(BandScale::EstimatedNoise);
    assert_eq!(builder.clone().components(2).fit(&images).unwrap().basis().components(), 2);
    assert_eq!(builder.clone().explained(0.5).fit(&images).unwrap().basis().components(), 1);
    let message = builder.components(9).fit(&images).unwrap_err().to_string();
    assert_says(&message, &["components: 9", "only 4 stand out of the noise", "at most 4"]);
}

/// A source stored in blocks, which may tell its noise.
#[derive(Debug)]
struct Stored {
    inner: MemorySource,
    block: (usize, usize),
    noise: Option<Vec<f64>>,
}

impl RasterSource for Stored {
    fn grid(&self) -> &Grid {
        self.inner.grid()
    }

    fn dates(&self) -> &[Date] {
        self.inner.dates()
    }

    fn bands(&self) -> &[String] {
        self.inner.bands()
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        let mut slice = self.inner.read(date, bands, region)?;
        if let Some(noise) = &self.noise {
            let told = |(band, ..): (usize, usize, usize)| noise[bands[band]];
            slice.noise_variance = Some(ndarray::Array3::from_shape_fn(slice.values.dim(), told));
        }
        Ok(slice)
    }

    fn origin(&self) -> String {
        self.inner.origin()
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        Some(self.block)
    }
}

#[test]
fn what_slices_tell_of_their_noise_counts() {
    let variance = |band: usize| 1e-6 * (1.0 + band as f64);
    let scene = Scene::new(20, 3, variance);
    let told = (0..20).map(|band| if band == 7 { f64::NAN } else { variance(band) }).collect();
    let images = Stored { inner: source(scene.noisy()), block: (31, 29), noise: Some(told) };
    let fit = |source: &dyn RasterSource, given: Vec<f64>| {
        SpectralPca::builder(scene.wavelengths.clone()).scale(BandScale::Noise(given)).fit(source).unwrap()
    };
    let (by_slices, by_bands) = (fit(&images, vec![variance(7)]), fit(&images.inner, scene.noise_variance.clone()));
    for (a, b) in by_slices.noise_variance().unwrap().iter().zip(by_bands.noise_variance().unwrap()) {
        assert!((a / b - 1.0).abs() < 1e-12);
    }
    assert!((by_slices.basis().matrix() - by_bands.basis().matrix()).iter().all(|v| v.abs() < 1e-9));

    let zero = Stored { inner: source(scene.noisy()), block: (31, 29), noise: Some(vec![0.0; 20]) };
    let builder = SpectralPca::builder(scene.wavelengths.clone()).scale(BandScale::Noise(vec![1e-6]));
    assert_says(&builder.fit(&zero).unwrap_err().to_string(), &["noise_variance", "give 0 for band 1 (425 nm)"]);
}

#[test]
fn threads_and_runs_change_no_bit_and_storage_only_rounding() {
    let scene = Scene::new(30, 3, |_| 1e-6);
    let fit = |block: (usize, usize)| {
        let images = Stored { inner: source(scene.noisy()), block, noise: None };
        SpectralPca::builder(scene.wavelengths.clone()).scale(BandScale::EstimatedNoise).fit(&images).unwrap()
    };
    let first = fit((31, 29));
    for threads in [1, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let again = pool.install(|| fit((31, 29)));
        assert_eq!((again.basis(), again.variances()), (first.basis(), first.variances()));
    }
    let other = fit((7, 4));
    assert!((other.basis().matrix() - first.basis().matrix()).iter().all(|v| v.abs() < 1e-9));
}

#[test]
fn pixels_with_a_missing_band_do_not_count_and_bands_may_be_left_out() {
    let scene = Scene::new(12, 2, |_| 1e-8);
    let mut values = scene.noisy();
    let whole = SpectralPca::builder(scene.wavelengths.clone()).fit(&source(values.clone())).unwrap();
    // A column that would be another scene, of which one band is missing.
    values.slice_mut(s![.., .., .., 3]).fill(40.0);
    values.slice_mut(s![.., 5, .., 3]).fill(f64::NAN);
    let holed = SpectralPca::builder(scene.wavelengths.clone()).fit(&source(values.clone())).unwrap();
    assert_eq!((holed.pixels(), holed.pixels_with_values()), (2 * 31 * 28, 2 * 31 * 29));
    assert!((holed.basis().mean() - whole.basis().mean()).iter().all(|v| v.abs() < 0.05));

    let left: Vec<usize> = (0..12).filter(|band| !(4..=6).contains(band)).collect();
    let (low, high) = (scene.wavelengths[4], scene.wavelengths[6]);
    let pca = SpectralPca::builder(scene.wavelengths.clone()).without_nm(low..=high).fit(&source(values)).unwrap();
    assert_eq!((pca.bands(), pca.pixels()), (left.as_slice(), 2 * 31 * 29));
    assert_eq!(pca.basis().wavelengths_nm(), left.iter().map(|&b| scene.wavelengths[b]).collect::<Vec<_>>());

    let some = SpectralPca::builder(scene.wavelengths.clone()).every(7).fit(&source(scene.noisy())).unwrap();
    assert!(some.pixels().abs_diff(2 * 31 * 29 / 7) <= 2, "{}", some.pixels());
}

#[test]
fn bands_are_put_in_the_order_of_their_wavelengths() {
    let scene = Scene::new(12, 2, |_| 1e-8);
    let values = scene.noisy();
    let ordered = SpectralPca::builder(scene.wavelengths.clone()).fit(&source(values.clone())).unwrap();
    let turned: Vec<f64> = scene.wavelengths.iter().rev().copied().collect();
    let values = values.slice(s![.., ..;-1, .., ..]).to_owned();
    let pca = SpectralPca::builder(turned).fit(&source(values)).unwrap();
    assert_eq!(pca.bands()[0], 11);
    assert_eq!(pca.basis(), ordered.basis());
}

#[test]
fn what_cannot_work_is_refused_with_the_fix() {
    let scene = Scene::new(12, 2, |_| 1e-8);
    let (wavelengths, values) = (scene.wavelengths.clone(), scene.noisy());
    let images = source(values.clone());
    let builder = SpectralPca::builder(wavelengths.clone());
    let refused = |builder: &rasterfuse::spectral::PcaBuilder, source: &MemorySource, words: &[&str]| {
        assert_says(&builder.fit(source).unwrap_err().to_string(), words);
    };
    let micrometres: Vec<f64> = wavelengths.iter().map(|value| value / 1000.0).collect();
    refused(&SpectralPca::builder(micrometres), &images, &["wavelengths_nm", "micrometres", "multiply them by 1000"]);
    refused(
        &SpectralPca::builder(&wavelengths[..11]),
        &images,
        &["wavelengths_nm: 11", "12 bands", "one for each band"],
    );
    let mut twice = wavelengths.clone();
    twice[8] = twice[2];
    refused(&SpectralPca::builder(twice), &images, &["wavelengths_nm", "bands 3 and 9"]);
    refused(&builder.clone().components(0), &images, &["components: 0"]);
    refused(&builder.clone().explained(1.5), &images, &["explained: 1.5", "0.999"]);
    refused(&builder.clone().every(0), &images, &["every: 0", "1 for all"]);
    refused(&builder.clone().without_nm(0.0..=9e9), &images, &["without_nm", "leave out less"]);
    let noisy = |noise: Vec<f64>| builder.clone().scale(BandScale::Noise(noise));
    refused(&noisy(vec![1e-6, 1e-6]), &images, &["noise_variance", "2 values for 12 bands"]);
    refused(&noisy(vec![0.0]), &images, &["noise_variance", "must be positive"]);

    // Water vapour, and what is never there.
    let mut holed = values.clone();
    holed.slice_mut(s![.., 3..6, .., ..]).fill(f64::NAN);
    holed.slice_mut(s![.., 9, .., ..]).fill(f64::NAN);
    let runs = format!("{}-{}, {}-{}", wavelengths[3], wavelengths[5], wavelengths[9], wavelengths[9]);
    refused(&builder, &source(holed), &["bands: ", "in memory", "4 to 6", "10 (", "`bands`", "leave these out", &runs]);
    refused(&builder, &source(values.mapv(|_| f64::NAN)), &["no pixel holds any value", "nodata"]);
    let mut patchy = values.clone();
    patchy.indexed_iter_mut().for_each(|((_, band, row, _), v)| *v = if row % 2 == band % 2 { f64::NAN } else { *v });
    refused(&builder, &source(patchy), &["only 0 have all 12 bands", "leave out"]);

    // Without spread, or without noise to estimate.
    refused(&builder, &source(values.mapv(|_| 0.25)), &["components: none have any variance"]);
    let mut flat = values.clone();
    flat.slice_mut(s![.., 2, .., ..]).fill(0.25);
    refused(&builder.clone().scale(BandScale::Deviation), &source(flat), &["scale", "band 3 (", "never varies"]);
    let estimating = builder.scale(BandScale::EstimatedNoise);
    refused(
        &estimating,
        &source(scene.clean.clone()),
        &["noise_variance", "without noise of its own", "BandScale::Noise"],
    );
    let few = source(values.slice(s![..1, .., ..2, ..5]).to_owned());
    refused(&estimating, &few, &["10 pixels are too few", "12 bands", "BandScale::Noise"]);
}

#[cfg(all(feature = "gdal", feature = "zarr"))]
mod files {
    use std::fs;
    use std::path::Path;
    use std::process::Output;

    use ndarray::{Array1, Axis};

    use super::*;
    use support::{Sample, Tiff, program};

    /// Images of the scene in files, float32 in blocks.
    fn write(scene: &Scene, folder: &Path) {
        for (k, values) in scene.noisy().axis_iter(Axis(0)).enumerate() {
            let name = format!("emit_{}.tif", day(3 * k as i32).format("%Y%m%d"));
            let mut tiff = Tiff::new(&grid((31, 29)), values);
            (tiff.sample, tiff.options) =
                (Sample::F32, &["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16", "INTERLEAVE=BAND"]);
            tiff.write(&folder.join(name));
        }
    }

    fn description(folder: &Path, wavelengths: &[f64]) {
        let text = format!(
            r#"
            [target]
            geotransform = [600000.0, 30.0, 0.0, 5200000.0, 0.0, -20.0]
            shape = [31, 29]
            bands = ["one"]
            [process]
            kernel = "none"
            variance = 1e-4
            [prior]
            mean = 0.0
            variance = 1.0
            [basis]
            mean = "found/basis_mean.npy"
            matrix = "found/basis.npy"
            [[instrument]]
            name = "emit"
            files = "emit_*.tif"
            date = 'emit_(\d{{8}})'
            noise_variance = 1e-6
            response = {{ centre_nm = {wavelengths:?}, fwhm_nm = {:?} }}
            [output]
            store = "fused.zarr"
            "#,
            vec![8.6; wavelengths.len()]
        );
        fs::write(folder.join("fuse.toml"), text).unwrap();
    }

    fn run(folder: &Path, arguments: &[&str]) -> Output {
        program("basis").current_dir(folder).args(arguments).output().unwrap()
    }

    fn succeed(folder: &Path, arguments: &[&str]) -> String {
        let output = run(folder, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_program_finds_the_basis_and_writes_what_a_description_needs() {
        let scene = Scene::new(60, 4, |_| 1e-6);
        let folder = tempfile::tempdir().unwrap();
        write(&scene, folder.path());
        description(folder.path(), &scene.wavelengths);
        let text = succeed(folder.path(), &["fuse.toml", "--instrument", "emit", "-o", "found"]);
        assert_says(
            &text,
            &["3596 of 3596 pixels on 4 dates", "all 60 bands", "[basis]", "mean = \"found/basis_mean.npy\""],
        );
        let matrix: Array2<f64> = numpy::read(folder.path().join("found/basis.npy"));
        assert!(angle(&matrix, &scene.basis) < 2.0);
        let snippet = fs::read_to_string(folder.path().join("found/basis.toml")).unwrap();
        let snippet: toml_edit::DocumentMut = snippet.parse().unwrap();
        let count = |table: &str, key: &str| snippet[table][key].as_array().unwrap().len();
        assert_eq!(
            [count("target", "bands"), count("target", "wavelengths_nm"), count("prior", "variance")],
            [60, 60, 4]
        );

        // The same without a description.
        let wavelengths: Array1<f64> = numpy::read(folder.path().join("found/wavelengths_nm.npy"));
        assert_eq!(wavelengths.to_vec(), scene.wavelengths);
        let lines: Vec<String> = scene.wavelengths.iter().map(ToString::to_string).collect();
        fs::write(folder.path().join("nm.txt"), lines.join("\n")).unwrap();
        let direct =
            ["--files", "emit_*.tif", "--date", r"emit_(\d{8})", "--noise", "1e-6", "-o", "again", "--wavelengths"];
        for file in ["nm.txt", "found/wavelengths_nm.npy"] {
            succeed(folder.path(), &[&direct[..], &[file]].concat());
            let again: Array2<f64> = numpy::read(folder.path().join("again/basis.npy"));
            assert_eq!(again, matrix);
        }
    }

    #[test]
    fn the_program_refuses_with_file_and_fix() {
        let scene = Scene::new(6, 1, |_| 1e-6);
        let folder = tempfile::tempdir().unwrap();
        write(&scene, folder.path());
        description(folder.path(), &scene.wavelengths.iter().map(|value| value / 1000.0).collect::<Vec<_>>());
        let direct = ["--files", "emit_*.tif", "--date", r"emit_(\d{8})", "--wavelengths", "um.txt"];
        fs::write(folder.path().join("um.txt"), "0.425\n0.5\n0.6\n0.7\n0.8\n0.9\n").unwrap();
        for (arguments, words) in [
            (&["fuse.toml", "--instrument", "emit"][..], &["fuse.toml", "micrometres", "by 1000"][..]),
            (&["fuse.toml", "--instrument", "emmit"], &["\"emmit\"", "[\"emit\"]"]),
            (&direct, &["um.txt", "micrometres", "by 1000"]),
            (&["fuse.toml"], &["--instrument"]),
        ] {
            let output = run(folder.path(), arguments);
            assert!(!output.status.success(), "{arguments:?}");
            assert_says(&String::from_utf8_lossy(&output.stderr), words);
        }
        assert!(!folder.path().join("basis").exists());
    }

    /// 4 dates and 40 of the same scene.
    #[cfg(target_os = "linux")]
    #[test]
    fn ten_times_the_dates_take_no_more_memory() {
        let [few, many] = [4, 40].map(|dates| {
            let folder = tempfile::tempdir().unwrap();
            let scene = Scene::new(60, dates, |_| 1e-6);
            write(&scene, folder.path());
            description(folder.path(), &scene.wavelengths);
            let text = succeed(folder.path(), &["fuse.toml", "--instrument", "emit", "--memory"]);
            let peak = text.rsplit_once("peak memory ").unwrap().1.trim().trim_end_matches(" KiB");
            peak.parse::<f64>().unwrap()
        });
        assert!(many <= 1.05 * few, "4 dates peak at {few} KiB, 40 at {many} KiB");
    }
}
