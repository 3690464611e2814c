//! What goes wrong is said by name: the file, the date, the key at fault, what would do instead, and nothing is left behind.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/numpy.rs"]
mod numpy;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use ndarray::Array3;
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::{Crs, Grid};
use rasterfuse::series::Report;
use rasterfuse::{Error, Fusion, Result};
use support::{Missing, Sample, Tiff, assert_says, program, truncate};
use tempfile::TempDir;

/// A fusion that works; every test breaks it in one place.
const WORKING: &str = r#"[target]
like = "fine_20240101.tif"
bands = ["red", "nir"]

[time]
start = "2024-01-01"
end = "2024-01-06"
output = "daily"

[window]
size = 3
halo = 1

[process]
kernel = "exponential"
range = 60.0
variance = 1e-4
nugget = 0.01
phi = 0.99

[prior]
mean = 0.2
variance = 0.05

[[instrument]]
name = "fine"
files = "fine_*.tif"
date = 'fine_(\d{8})'
bands = ["red", "nir"]
footprint = "cell"
noise_variance = 1e-5

[[instrument]]
name = "coarse"
files = "coarse_*.tif"
date = 'coarse_(\d{8})'
bands = ["red", "nir"]
footprint = "uniform"
noise_variance = 2e-5

[output]
store = "fused.zarr"

[run]
memory = "1GiB"
threads = 2
"#;

/// What says nothing to someone who writes TOML.
const JARGON: [&str; 3] = ["NULL pointer", "FusionBuilder", "panicked"];

/// A break: a text of [`WORKING`], what replaces it, and what the message must say.
type Break<'a> = (&'a str, &'a str, &'a [&'a str]);

/// What makes a raster differ from the plain one.
type Change = Box<dyn FnOnce(Tiff) -> Tiff>;

/// A folder with a fusion and its files: six by eight cells of 30 m on two days, pixels of 90 m on four.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: TempDir::new().unwrap() };
        for date in ["20240101", "20240105"] {
            world.raster(&format!("fine_{date}.tif"), |tiff| tiff);
        }
        for date in ["20240101", "20240102", "20240104", "20240105"] {
            let geotransform = Some([500_000.0, 90.0, 0.0, 5_100_000.0, 0.0, -90.0]);
            world.raster(&format!("coarse_{date}.tif"), |tiff| Tiff {
                values: values((2, 2, 3)),
                geotransform,
                ..tiff
            });
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("fused.zarr")
    }

    /// Writes a raster that differs from a fine one as told.
    fn raster(&self, name: &str, differing: impl FnOnce(Tiff) -> Tiff) {
        let grid = Grid::new(Crs::unknown(), [500_000.0, 30.0, 0.0, 5_100_000.0, 0.0, -30.0], (6, 8)).unwrap();
        let plain = Tiff {
            crs: Some("EPSG:32633"),
            names: vec!["B1".into(), "B2".into()],
            sample: Sample::F32,
            ..Tiff::new(&grid, values((2, 6, 8)).view())
        };
        differing(plain).write(&self.path(name));
    }

    /// Writes the working description with replacements, each of which must hit once.
    fn describe(&self, replacements: &[(&str, &str)]) -> PathBuf {
        let mut text = WORKING.to_owned();
        for (from, to) in replacements {
            assert_eq!(text.matches(from).count(), 1, "{from:?} must occur once");
            text = text.replace(from, to);
        }
        let path = self.path("fusion.toml");
        fs::write(&path, text).unwrap();
        path
    }

    /// What is said when a description cannot work, in words of the file's own. Nothing may have been made.
    fn refusal(&self, replacements: &[(&str, &str)]) -> Result<String, String> {
        let before = self.listing();
        let Err(error) = fuse(&self.describe(replacements)) else {
            return Err(format!("{replacements:?}: accepted"));
        };
        if let Error::Setting { file, .. } | Error::Number { file, .. } | Error::Input { file, .. } = &error
            && file.as_deref() != Some(&self.path("fusion.toml"))
        {
            return Err(format!("{replacements:?}: {error}: names {file:?} in place of its file"));
        }
        let message = error.to_string();
        let after = self.listing();
        if after != before {
            Err(format!("{replacements:?}: left {after:?} behind"))
        } else if let Some(word) = JARGON.iter().find(|word| message.contains(**word)) {
            Err(format!("{replacements:?}: says {word:?}: {message}"))
        } else {
            Ok(message)
        }
    }

    /// Everything in the folder but the description.
    fn listing(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut entries: Vec<_> = entries.filter(|path| !path.ends_with("fusion.toml")).collect();
        entries.sort();
        entries
    }

    fn refuses(&self, replacements: &[(&str, &str)], words: &[&str]) {
        assert_says(&self.refusal(replacements).unwrap(), words);
    }

    /// Tries every break and tells all that are not refused as they should be.
    fn refuses_all(&self, breaks: &[Break<'_>]) {
        let judge = |(from, to, words): &Break<'_>| match self.refusal(&[(from, to)]) {
            Ok(message) if words.iter().all(|word| message.contains(word)) => None,
            Ok(message) => Some(format!("{to:?} should say {words:?}, says: {message}")),
            Err(problem) => Some(problem),
        };
        let failures: Vec<String> = breaks.iter().filter_map(judge).collect();
        assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    }
}

fn values((bands, rows, cols): (usize, usize, usize)) -> Array3<f64> {
    Array3::from_shape_fn((bands, rows, cols), |(b, r, c)| 0.1 + 0.01 * (7 * b + 3 * r + c) as f64)
}

fn build(config: &Path) -> Result<Fusion> {
    FusionConfig::read(config)?.build()
}

/// All that the `fuse` example does.
fn fuse(config: &Path) -> Result<Report> {
    let config = FusionConfig::read(config)?;
    config.build()?.run(&mut config.sink()?)
}

/// Dates a store shows, and whether it is marked complete.
fn shown(store: &Path) -> (u64, bool) {
    let group = fs::read(store.join("zarr.json")).unwrap();
    let group: serde_json::Value = serde_json::from_slice(&group).unwrap();
    let dates = group["consolidated_metadata"]["metadata"]["mean"]["shape"][0].as_u64().unwrap();
    (dates, group["attributes"]["rasterfuse"]["report"].is_object())
}

#[test]
fn the_unbroken_fusion_works() {
    let world = World::new();
    fuse(&world.describe(&[])).unwrap();
    assert_eq!(shown(&world.store()), (6, true));
}

#[test]
fn every_key_that_is_offered_is_accepted() {
    let world = World::new();
    let config = world.describe(&[
        ("halo = 1", "halo = 1\nfar_samples = 2\nfar_radius = 300.0"),
        ("phi = 0.99", "phi = [0.99, 1]\n[[process.nested]]\nkernel = \"matern32\"\nrange = 500\nvariance = 1e-5"),
        (
            "noise_variance = 1e-5",
            "noise_variance = [1e-5, 2e-5]\nbias = 0.0\nscale = 1.0\noffset = 0.0\nvalid_range = [0.0, 1.5]",
        ),
        ("noise_variance = 2e-5", "noise_variance = 2e-5\nmissing = \"pixel\"\ndate_format = \"%Y%m%d\""),
        ("[output]", "[smoothing]\nlag = 0\n[output]\nspace = \"bands\"\nzarr_format = 2\ntile = [4, 4]"),
        ("\"daily\"", "[\"2024-01-03\", 2024-01-04]"),
        ("[\"red\", \"nir\"]\n\n[time]", "[\"red\", \"nir\"]\nunit = \"1\"\n[time]"),
        ("threads = 2", "threads = 2\nprecision = \"f64\""),
    ]);
    assert_eq!(fuse(&config).unwrap().blocks, 2 * 4);
}

#[test]
fn files_that_are_not_there_or_no_rasters_are_named() {
    let world = World::new();
    fs::write(world.path("text_20240103.tif"), "not a raster").unwrap();
    fs::write(world.path("empty_20240103.tif"), "").unwrap();
    fs::create_dir(world.path("folder_20240103.tif")).unwrap();
    let open = |name: &'static str| ["fusion.toml: instrument \"fine\": cannot open raster", name, "2024-01-03"];
    let none = "fusion.toml: instrument \"fine\": files: no file matches";
    world.refuses_all(&[
        ("files = \"fine_*.tif\"", "files = \"finer_*.tif\"", &[none, "finer_*.tif", "check the folder"]),
        ("files = \"fine_*.tif\"", "files = \"nowhere/*.tif\"", &[none, "nowhere/*.tif", "there is no", "nowhere;"]),
        (
            "files = \"fine_*.tif\"",
            "source_bands = [\"20240102\"]\nfiles = \"fine_{band}.tif\"",
            &[none, "{band} stands for [\"20240102\"]", "there is", "fine_20240101.tif", "`source_bands`"],
        ),
        (
            "files = \"fine_*.tif\"",
            "source_bands = [\"b1\"]\nfiles = \"fine_*.tif\"",
            &[
                "fusion.toml: instrument \"fine\": source_bands",
                "\"b1\" is not a band",
                "fine_20240101.tif",
                "[\"B1\", \"B2\"]",
            ],
        ),
        ("files = \"fine_*.tif\"", "files = \"fine_[*.tif\"", &["instrument \"fine\": files", "fine_[*.tif"]),
        ("files = \"fine_*.tif\"\n", "", &["instrument \"fine\": files", "not given"]),
        ("date = 'fine_(\\d{8})'\n", "", &["instrument \"fine\": date", "not given", "regular expression"]),
        ("fine_20240101.tif", "gone.tif", &["gone.tif", "cannot open", "like"]),
        ("like = \"fine_20240101.tif\"", "like = \".\"", &["cannot open", "like"]),
        ("mean = 0.2", "mean = \"gone.tif\"", &["prior.mean", "gone.tif"]),
        (
            "mean = 0.2",
            "mean = \"text_20240103.tif\"",
            &["fusion.toml: prior.mean: cannot open raster", "text_20240103"],
        ),
        ("fine_*.tif\"\ndate = 'fine_", "text_*.tif\"\ndate = 'text_", &open("text_20240103.tif")),
        ("fine_*.tif\"\ndate = 'fine_", "empty_*.tif\"\ndate = 'empty_", &open("empty_20240103.tif")),
        ("fine_*.tif\"\ndate = 'fine_", "folder_*.tif\"\ndate = 'folder_", &open("folder_20240103.tif")),
    ]);
}

#[test]
fn dates_that_cannot_be_read_are_refused_with_the_file_or_pattern() {
    let world = World::new();
    world.refuses_all(&[
        (
            "'fine_(\\d{8})'",
            "'rough_(\\d{8})'",
            &[
                "fusion.toml: instrument \"fine\": date: ",
                "fine_20240101.tif",
                "rough_",
                "`date` matches neither",
                "narrow",
            ],
        ),
        ("'fine_(\\d{8})'", "'fine_\\d{8}'", &["instrument \"fine\": date", "capture group", "parentheses"]),
        ("'fine_(\\d{8})'", "'fine_(\\d{8}'", &["instrument \"fine\": date", "not a regular expression", "unclosed"]),
        ("'fine_(\\d{8})'", "'fine_(\\d{6})'", &["fine_20240101.tif", "\"202401\"", "%Y%m%d"]),
        ("'fine_(\\d{8})'", "'fine_(x)?'", &["fine_20240101.tif", "`date`"]),
        (
            "'fine_(\\d{8})'",
            "'fine_(\\d{8})'\ndate_format = \"%d%m%Y\"",
            &["fine_20240101.tif", "\"20240101\"", "%d%m%Y", "not a date"],
        ),
        ("'fine_(\\d{8})'", "'fine_(\\d{8})'\ndate_format = \"%Q\"", &["fine_20240101.tif", "%Q"]),
        ("start = \"2024-01-01\"", "start = \"2024-01-32\"", &["line 6", "start", "2024-01-32", "2020-03-08"]),
        ("start = \"2024-01-01\"", "start = 20240101", &["line 6", "start", "20240101"]),
        ("start = \"2024-01-01\"", "start = 10:30:00", &["line 6", "start", "10:30:00", "2020-03-08"]),
        ("\"daily\"", "\"weekly\"", &["line 8", "output", "weekly", "daily"]),
        ("\"daily\"", "[\"2024-01-03\", \"soon\"]", &["line 8", "output", "soon"]),
    ]);
}

#[test]
fn two_files_on_one_date_are_both_named() {
    let world = World::new();
    world.raster("fine_20240105_again.tif", |tiff| tiff);
    world.refuses(
        &[],
        &[
            "fusion.toml: instrument \"fine\": two files on 2024-01-05",
            "fine_20240105.tif",
            "fine_20240105_again.tif",
            "mosaic = true",
        ],
    );
}

#[test]
fn files_that_differ_from_the_rest_of_their_stack_are_named_with_what_differs() {
    let shifted = Some([500_010.0, 30.0, 0.0, 5_100_000.0, 0.0, -30.0]);
    let rotated = Some([500_000.0, 30.0, 1.0, 5_100_000.0, 0.0, -30.0]);
    let south_up = Some([500_000.0, 30.0, 0.0, 5_100_000.0, 0.0, 30.0]);
    let not_finite = Some([500_000.0, f64::NAN, 0.0, 5_100_000.0, 0.0, -30.0]);
    let names = || vec!["B1".into(), "B8".into()];
    let differences: Vec<(Change, &[&str])> = vec![
        (
            Box::new(|tiff| Tiff { values: values((1, 6, 8)), ..tiff }),
            &["2024-01-05", "1 bands, but 2", "fine_20240101"],
        ),
        (Box::new(move |tiff| Tiff { names: names(), ..tiff }), &["2024-01-05", "band 2", "B8", "B2", "fine_20240101"]),
        (Box::new(|tiff| Tiff { values: values((2, 6, 7)), ..tiff }), &["2024-01-05", "6 x 7", "6 x 8", "crop"]),
        (Box::new(move |tiff| Tiff { geotransform: shifted, ..tiff }), &["2024-01-05", "500010", "500000", "warp"]),
        (
            Box::new(|tiff| Tiff { crs: Some("EPSG:32634"), ..tiff }),
            &["2024-01-05", "EPSG:32634", "EPSG:32633", "warp"],
        ),
        (Box::new(|tiff| Tiff { crs: None, ..tiff }), &["2024-01-05", "no CRS", "EPSG:32633"]),
        (Box::new(move |tiff| Tiff { geotransform: rotated, ..tiff }), &["rotated", "warp"]),
        (Box::new(move |tiff| Tiff { geotransform: south_up, ..tiff }), &["north-up", "dy negative"]),
        (Box::new(move |tiff| Tiff { geotransform: not_finite, ..tiff }), &["not finite"]),
        (Box::new(|tiff| Tiff { geotransform: None, ..tiff }), &["2024-01-05", "no geotransform", "gdal_translate"]),
    ];
    for (difference, words) in differences {
        let world = World::new();
        world.raster("fine_20240105.tif", difference);
        let message = world.refusal(&[]).unwrap();
        assert_says(&message, words);
        assert_says(&message, &["fine_20240105.tif"]);
    }
}

#[test]
fn an_instrument_in_another_crs_is_named_with_both() {
    let world = World::new();
    for date in ["20240101", "20240105"] {
        world.raster(&format!("east_{date}.tif"), |tiff| Tiff { crs: Some("EPSG:32634"), ..tiff });
        world.raster(&format!("bare_{date}.tif"), |tiff| Tiff { crs: None, ..tiff });
    }
    let target = "like = \"fine_20240101.tif\"";
    let explicit = "geotransform = [500000, 30, 0, 5100000, 0, -30]\nshape = [6, 8]";
    world.refuses_all(&[
        (
            "fine_*.tif\"\ndate = 'fine_",
            "east_*.tif\"\ndate = 'east_",
            &["instrument \"fine\"", "east_*.tif", "EPSG:32634", "EPSG:32633", "gdalwarp", "reproject"],
        ),
        // Nothing can be warped from or to a CRS that is not known.
        ("fine_*.tif\"\ndate = 'fine_", "bare_*.tif\"\ndate = 'bare_", &["instrument \"fine\"", "no CRS", "-a_srs"]),
        (target, explicit, &["instrument \"fine\"", "no CRS", "EPSG:32633", "target.crs"]),
        ("mean = 0.2", "mean = \"east_20240101.tif\"", &["prior.mean", "east_20240101.tif", "EPSG:32634"]),
    ]);
}

#[test]
fn target_grids_that_cannot_work_are_refused() {
    let world = World::new();
    let like = "like = \"fine_20240101.tif\"";
    let grid =
        |transform: &str, shape: &str| format!("crs = \"EPSG:32633\"\ngeotransform = [{transform}]\nshape = [{shape}]");
    let good = "500000, 30, 0, 5100000, 0, -30";
    let far = grid("800000, 30, 0, 5100000, 0, -30", "6, 8");
    let off = grid("500010, 30, 0, 5100000, 0, -30", "6, 8");
    let cell = ["instrument \"fine\": footprint", "\"cell\"", "500010", "same size", "`like`", "reproject"];
    world.refuses_all(&[
        (like, &far, &["no instrument touches the target grid", "800000", "\"fine\"", "500000"]),
        (like, &off, &cell),
        (like, &grid("500000, 30, 2, 5100000, 0, -30", "6, 8"), &["target", "rotated"]),
        (like, &grid("500000, 30, 0, 5100000, 0, 30", "6, 8"), &["target", "north-up"]),
        (like, &grid("500000, nan, 0, 5100000, 0, -30", "6, 8"), &["target", "not finite"]),
        (like, &grid(good, "0, 8"), &["target", "shape", "no cell"]),
        (like, &grid(good, "6, -8"), &["line 4", "shape"]),
        (like, &grid(good, "6"), &["line 4", "shape"]),
        (like, &grid("500000, 30, 0, 5100000, 0", "6, 8"), &["line 3", "geotransform"]),
        (like, "", &["target", "like", "geotransform", "shape"]),
        (like, &format!("{like}\nshape = [6, 8]"), &["target", "either `like`, or"]),
        (like, &format!("{like}\ncrs = \"EPSG:32633\""), &["target", "either `like`, or"]),
        (like, "crs = \"EPSG:32633\"\nshape = [6, 8]", &["target", "geotransform"]),
        (like, &grid(good, "6, 8").replace("32633", "99"), &["target.crs", "EPSG:99"]),
        (like, &grid(good, "6, 8").replace("EPSG:32633", "moon"), &["target.crs", "moon"]),
    ]);
    let coarse = grid("500000, 60, 0, 5100000, 0, -60", "3, 4");
    world.refuses(
        &[(like, &coarse), ("\"cell\"", "\"uniform\"")],
        &["instrument \"fine\": footprint", "30 x 30", "finer", "60 x 60", "aggregate"],
    );
}

#[test]
fn numbers_that_cannot_be_are_refused_by_key() {
    let noise = "instrument \"fine\": noise_variance";
    let prior = "mean = 0.2\nvariance = 0.05";
    let mut breaks: Vec<(&str, String, Vec<&str>)> = Vec::new();
    for bad in ["0.0", "-1e-5", "nan", "inf", "[1e-5, 0.0]"] {
        breaks.push(("noise_variance = 1e-5", format!("noise_variance = {bad}"), vec![noise, "positive"]));
        breaks.push(("variance = 1e-4", format!("variance = {bad}"), vec!["process.variance", "positive"]));
        breaks.push((prior, format!("mean = 0.2\nvariance = {bad}"), vec!["prior.variance", "positive"]));
        breaks.push(("range = 60.0", format!("range = {bad}"), vec!["process.range", "positive"]));
    }
    for wrong in ["[1.0]", "[1.0, 1.0, 1.0]", "[]"] {
        breaks.push(("noise_variance = 1e-5", format!("noise_variance = {wrong}"), vec![noise, "2 bands"]));
        breaks.push((prior, format!("mean = {wrong}\nvariance = 1"), vec!["prior.mean", "2 components"]));
        breaks.push((prior, format!("mean = 0.2\nvariance = {wrong}"), vec!["prior.variance", "2 components"]));
        for (from, key) in [
            ("variance = 1e-4", "variance"),
            ("range = 60.0", "range"),
            ("nugget = 0.01", "nugget"),
            ("phi = 0.99", "phi"),
        ] {
            breaks.push((from, format!("{key} = {wrong}"), vec!["process.", key, "2 components", "one number or one"]));
        }
    }
    for bad in ["0.0", "-0.5", "1.01", "nan"] {
        breaks.push(("phi = 0.99", format!("phi = {bad}"), vec!["process.phi", "(0, 1]"]));
    }
    for bad in ["-0.1", "nan", "inf"] {
        breaks.push(("nugget = 0.01", format!("nugget = {bad}"), vec!["process.nugget", "zero or positive"]));
    }
    let breaks: Vec<Break<'_>> = breaks.iter().map(|(from, to, words)| (*from, to.as_str(), &words[..])).collect();
    World::new().refuses_all(&breaks);
}

#[test]
fn other_settings_that_cannot_work_are_refused_by_key() {
    let world = World::new();
    world.raster("prior_small.tif", |tiff| Tiff { values: values((2, 5, 8)), ..tiff });
    world.raster("prior_bands.tif", |tiff| Tiff { values: values((3, 6, 8)), ..tiff });
    let fine = "noise_variance = 1e-5";
    let features =
        |raster: &str, more: &str| format!("[process.features]\nraster = \"{raster}\"\nscale = 0.1\n{more}\n");
    world.refuses_all(&[
        (fine, "noise_variance = 1e-5\nbias = nan", &["instrument \"fine\": bias", "finite"]),
        (fine, "noise_variance = 1e-5\nbias = [0.0]", &["instrument \"fine\": bias", "2 bands"]),
        (fine, "noise_variance = 1e-5\nscale = 0.0", &["instrument \"fine\": scale", "not zero"]),
        (fine, "noise_variance = 1e-5\noffset = inf", &["instrument \"fine\": offset", "finite"]),
        (fine, "noise_variance = 1e-5\nvalid_range = [1.5, 0.0]", &["instrument \"fine\": valid_range", "low <= high"]),
        (fine, "noise_variance = 1e-5\nvalid_range = [0.0]", &["valid_range", "line"]),
        (fine, "noise_variance = 1e-5\nmissing = \"both\"", &["missing", "both", "pixel", "line"]),
        ("phi = 0.99", "relative = { weight = 1.5, level = 0.2 }", &["process.relative.weight", "[0, 1]"]),
        ("phi = 0.99", "relative = { weight = 1.0, level = 0.0 }", &["process.relative.level", "positive"]),
        ("phi = 0.99", "relative = { weight = 1.0 }", &["process.relative.level: not given"]),
        ("phi = 0.99", "season = { cosine = 0.5 }", &["process.season.sine: not given", "April"]),
        ("phi = 0.99", "season = { cosine = 0.5, sine = 50.0 }", &["process.season.sine", "20"]),
        ("phi = 0.99", "variation = { }", &["process.variation.map: not given"]),
        ("phi = 0.99", "variation = { map = \"none.tif\" }", &["process.variation.map", "no raster", "none.tif"]),
        ("phi = 0.99", "variation = { map = \"prior_small.tif\" }", &["process.variation.map", "cover"]),
        ("phi = 0.99", "variation = { map = \"prior_bands.tif\" }", &["process.variation.map", "one for all"]),
        ("phi = 0.99", &features("none.tif", ""), &["process.features.raster", "no raster", "none.tif"]),
        ("phi = 0.99", &features("prior_small.tif", ""), &["process.features", "prior_small.tif", "cover"]),
        ("phi = 0.99", &features("prior_bands.tif", "bands = [0, 3]"), &["process.features.bands", "3", "0 to 2"]),
        ("phi = 0.99", &features("prior_bands.tif", "bands = [1, 1]"), &["process.features.bands", "twice"]),
        ("phi = 0.99", &features("prior_bands.tif", "bands = []"), &["process.features.bands", "no band"]),
        ("phi = 0.99", &features("prior_bands.tif", "weight = 0.5"), &["process.features.weight", "plus"]),
        ("phi = 0.99", &features("prior_bands.tif", "combine = \"plus\""), &["process.features.weight", "not given"]),
        ("phi = 0.99", &features("prior_bands.tif", "combine = \"minus\""), &["combine", "minus", "plus", "line"]),
        ("phi = 0.99", &features("prior_bands.tif", "seasonal = true"), &["process.features", "either", "not both"]),
        ("phi = 0.99", "features = { scale = 0.1 }", &["process.features", "name a raster", "seasonal = true"]),
        ("phi = 0.99", "features = { scale = 0.1, seasonal = true }", &["process.features", "there is no [seasonal]"]),
        (
            "phi = 0.99",
            &features("prior_bands.tif", "combine = \"plus\"\nweight = 1.5"),
            &["process.features.weight", "[0, 1]"],
        ),
        ("mean = 0.2", "mean = inf", &["prior.mean", "finite"]),
        ("mean = 0.2", "mean = 0.2\ncorrelation = \"both\"", &["correlation", "both", "process", "line"]),
        ("mean = 0.2", "mean = \"prior_small.tif\"", &["prior.mean", "prior_small.tif", "cover"]),
        ("mean = 0.2", "mean = \"prior_bands.tif\"", &["prior.mean", "prior_bands.tif", "3 bands"]),
        ("range = 60.0\n", "", &["process.range", "not given", "CRS"]),
        ("size = 3", "size = 0", &["window.size", "at least 1"]),
        ("halo = 1", "halo = 1\nfar_samples = 3", &["window.far_radius", "positive"]),
        ("halo = 1", "halo = 1\nfar_samples = 3\nfar_radius = nan", &["window.far_radius", "positive"]),
        ("end = \"2024-01-06\"", "end = \"2023-12-31\"", &["time", "2023-12-31", "precedes", "2024-01-01"]),
        (
            "start = \"2024-01-01\"\nend = \"2024-01-06\"",
            "start = \"2024-02-01\"",
            &["time: start 2024-02-01 is after the last observation of all instruments, 2024-01-05", "or an end"],
        ),
        (
            "start = \"2024-01-01\"\nend = \"2024-01-06\"",
            "end = \"2023-12-31\"",
            &["time: end 2023-12-31 precedes the first observation of all instruments, 2024-01-01", "or a start"],
        ),
        ("\"daily\"", "[\"2024-01-07\"]", &["time.output", "2024-01-07", "2024-01-01", "2024-01-06"]),
        ("\"daily\"", "[\"2024-01-02\", \"2024-01-02\"]", &["time.output", "2024-01-02", "twice"]),
        ("\"daily\"", "[]", &["time.output", "no date"]),
        ("store =", "tile = [0, 0]\nstore =", &["output.tile", "[1, 1]"]),
        ("store =", "tile = [3, 0]\nstore =", &["output.tile", "[1, 1]"]),
        ("store =", "zarr_format = 4\nstore =", &["output.zarr_format", "4", "3 or 2"]),
    ]);
    world.refuses(
        &[
            ("start = \"2024-01-01\"\nend = \"2024-01-06\"", "start = \"2024-01-02\"\nend = \"2024-01-02\""),
            ("\"coarse_*.tif", "\"coarse_20240101.tif"),
            ("\"daily\"", "\"observed\""),
        ],
        &["time.output", "no date", "time.start", "time.end"],
    );
}

#[test]
fn bands_that_are_held_under_another_name_are_told_with_the_list_that_would_do() {
    let world = World::new();
    for date in ["20240101", "20240105"] {
        world.raster(&format!("upper_{date}.tif"), |tiff| Tiff { names: vec!["Nir".into(), "RED".into()], ..tiff });
        world.raster(&format!("bare_{date}.tif"), |tiff| Tiff { names: vec![], ..tiff });
    }
    let files = "fine_*.tif\"\ndate = 'fine_(\\d{8})'\nbands = [\"red\", \"nir\"]";
    let of = |name: &str| format!("{name}_*.tif\"\ndate = '{name}_(\\d{{8}})'");
    world.refuses_all(&[
        (
            files,
            &of("upper"),
            &["instrument \"fine\": bands", "[\"Nir\", \"RED\"]", "case counts", "such as [\"nir\", \"red\"]"],
        ),
        (files, &of("bare"), &["[\"band1\", \"band2\"]", "such as [\"red\", \"nir\"]"]),
    ]);
}

#[test]
fn a_band_that_nobody_observes_is_refused_with_those_that_are_unused() {
    let world = World::new();
    for date in ["20240101", "20240105"] {
        world.raster(&format!("half_{date}.tif"), |tiff| Tiff { names: vec!["Red".into(), "nir".into()], ..tiff });
    }
    let coarse = WORKING.find("[[instrument]]\nname = \"coarse\"").unwrap()..WORKING.find("[output]").unwrap();
    let half =
        ("fine_*.tif\"\ndate = 'fine_(\\d{8})'\nbands = [\"red\", \"nir\"]", "half_*.tif\"\ndate = 'half_(\\d{8})'");
    world.refuses(
        &[(&WORKING[coarse], ""), half],
        &["target.bands", "no instrument observes \"red\"", "unused are [\"Red\"]", "`bands`"],
    );
}

#[test]
fn bands_that_all_instruments_observe_need_not_be_listed() {
    let world = World::new();
    let unnamed = world.describe(&[("bands = [\"red\", \"nir\"]\n\n[time]", "[time]")]);
    let unnamed = build(&unnamed).unwrap();
    let named = build(&world.describe(&[])).unwrap();
    assert_eq!((unnamed.bands(), unnamed.settings()), (named.bands(), named.settings()));
    let bands = "bands = [\"red\", \"nir\"]\nfootprint = \"cell\"";
    world.refuses(
        &[("bands = [\"red\", \"nir\"]\n\n[time]", "[time]"), (bands, "bands = [\"red\", \"\"]\nfootprint = \"cell\"")],
        &["target.bands: not given", "\"fine\" observes", "\"coarse\"", "name the output bands"],
    );
}

#[test]
fn bands_and_names_that_do_not_fit_are_refused() {
    let world = World::new();
    let bands = "bands = [\"red\", \"nir\"]";
    let (target, fine) = (format!("{bands}\n\n[time]"), format!("{bands}\nfootprint = \"cell\""));
    let on = |bands: &str, of: &str| of.replace("[\"red\", \"nir\"]", bands);
    world.refuses_all(&[
        (&fine, &on("[\"red\", \"nri\"]", &fine), &["instrument \"fine\": bands", "\"nri\"", "\"nir\""]),
        (&fine, &on("[\"red\", \"Nir\"]", &fine), &["instrument \"fine\": bands", "\"Nir\""]),
        (&fine, &on("[\"red\"]", &fine), &["instrument \"fine\": bands", "1 listed", "holds 2", "B1", "not used"]),
        (&fine, &on("[\"red\", \"nir\", \"\"]", &fine), &["instrument \"fine\": bands", "3 listed", "holds 2"]),
        (&fine, &on("[\"\", \"\"]", &fine), &["instrument \"fine\": bands", "none of the bands"]),
        (
            &fine,
            "footprint = \"cell\"",
            &["instrument \"fine\": bands", "B1", "red", "case counts", "list the target band"],
        ),
        (&target, &on("[\"red\", \"red\"]", &target), &["target.bands", "\"red\"", "twice"]),
        (&target, &on("[\"red\", \"\"]", &target), &["target.bands", "without a name"]),
        (&target, &on("[]", &target), &["target.bands", "empty", "leave it out"]),
        ("name = \"coarse\"", "name = \"fine\"", &["instrument", "\"fine\"", "apart"]),
    ]);
}

#[test]
fn keys_that_are_not_known_are_named_with_their_line() {
    let world = World::new();
    for (from, to) in [
        ("[time]", "[tmie]\nx = 1\n[time]"),
        ("[target]", "verbose = true\n[target]"),
        ("size = 3", "szie = 3"),
        ("variance = 1e-4", "varience = 1e-4"),
        ("footprint = \"cell\"", "footprnt = \"cell\""),
        ("noise_variance = 2e-5", "noise_varaince = 2e-5"),
        ("halo = 1", "halo = 1\nHalo = 2"),
        ("store =", "shop = 1\nstore ="),
        ("threads = 2", "treads = 2"),
        ("mean = 0.2", "mean = 0.2\nmedian = 0.3"),
        ("phi = 0.99", "phi = 0.99\n[[process.nested]]\nkernel = \"none\"\nvariance = 1\nphi2 = 1"),
    ] {
        let message = world.refusal(&[(from, to)]).unwrap();
        let text = WORKING.replace(from, to);
        let line = text.lines().position(|line| !WORKING.contains(line)).unwrap();
        let key = text.lines().nth(line).unwrap();
        let (line, key) = if key.contains("process.nested") { (line + 4, "phi2") } else { (line + 1, key) };
        let key = key.trim_matches(['[', ']']).split(' ').next().unwrap();
        assert_says(&message, &["fusion.toml", &format!("line {line}"), key, "unknown key"]);
    }
}

#[test]
fn values_of_the_wrong_type_and_missing_tables_are_named() {
    let world = World::new();
    let without = |name: &str| {
        let start = WORKING.find(&format!("[{name}]")).unwrap();
        let end = WORKING[start..].find("\n\n").map_or(WORKING.len(), |end| start + end + 1);
        WORKING[start..end].to_owned()
    };
    let (target, process, prior, output) = (without("target"), without("process"), without("prior"), without("output"));
    world.refuses_all(&[
        ("size = 3", "size = \"3\"", &["line 11", "size", "fusion.toml"]),
        ("size = 3", "size = 3.0", &["line 11", "size"]),
        ("size = 3", "size = -3", &["line 11", "size"]),
        ("range = 60.0", "range = \"far\"", &["line 16", "range", "number"]),
        ("range = 60.0", "range = [60.0, \"x\"]", &["line 16", "range"]),
        ("variance = 1e-4", "variance = \"guess\"", &["line 17", "variance", "number"]),
        ("variance = 1e-4", "variance = \"estimate\"", &["process.variance", "estimate first"]),
        ("\"exponential\"", "\"gaussian\"", &["line 15", "kernel", "gaussian", "exponential", "matern32"]),
        ("\"cell\"", "\"point\"", &["footprint", "point", "cell", "uniform"]),
        ("\"cell\"", "{ gaussian = 500 }", &["footprint", "gaussian", "gaussian_fwhm"]),
        ("mean = 0.2", "mean = true", &["line 22", "mean"]),
        ("name = \"fine\"", "name = 7", &["name", "line 26"]),
        ("store = \"fused.zarr\"", "store = 7", &["store"]),
        ("store = \"fused.zarr\"", "store = \"fused.zarr\"\ntile = 3", &["tile"]),
        ("store = \"fused.zarr\"", "store = \"fused.zarr\"\nspace = \"both\"", &["space", "both", "bands"]),
        ("threads = 2", "threads = -1", &["threads"]),
        ("threads = 2", "precision = \"f16\"", &["precision", "f16", "f64"]),
        ("[window]", "[window", &["line 10", "fusion.toml"]),
        (&target, "", &["fusion.toml: target: not given; add a table [target] with like"]),
        (&process, "", &["fusion.toml: process: not given; add a table [process] with kernel"]),
        (&prior, "", &["fusion.toml: prior: not given; add a table [prior] with mean and variance"]),
        (&output, "", &["fusion.toml: output: not given; add a table [output] with store"]),
        ("name = \"fine\"\n", "", &["fusion.toml: instrument 1.name: not given; give a name"]),
        ("noise_variance = 1e-5\n", "", &["fusion.toml: instrument \"fine\": noise_variance: not given; state"]),
        ("store = \"fused.zarr\"\n", "", &["fusion.toml: output.store: not given; give the folder"]),
        ("kernel = \"exponential\"\n", "", &["fusion.toml: process.kernel: not given; give \"exponential\""]),
        ("variance = 1e-4\n", "", &["fusion.toml: process.variance: not given; give", "u² per day"]),
        ("mean = 0.2\n", "", &["fusion.toml: prior.mean: not given; give what is believed"]),
    ]);
    let instruments = &WORKING[WORKING.find("[[instrument]]").unwrap()..WORKING.find("[output]").unwrap()];
    world.refuses(&[(instruments, "")], &["fusion.toml: instrument: not given; add a table [[instrument]]"]);
    world.refuses(&[(instruments, ""), ("[target]", "instrument = []\n[target]")], &["instrument", "[[instrument]]"]);
}

#[test]
fn a_description_that_cannot_be_read_is_named() {
    let world = World::new();
    let says = |path: &Path, words: &[&str]| assert_says(&fuse(path).unwrap_err().to_string(), words);
    says(&world.path("gone.toml"), &["gone.toml", "cannot read"]);
    says(world.folder.path(), &[world.folder.path().to_str().unwrap(), "cannot read"]);
    fs::write(world.path("latin.toml"), b"[target]\nbands = [\"gr\xfcn\"]").unwrap();
    says(&world.path("latin.toml"), &["latin.toml", "UTF-8"]);
    fs::write(world.path("empty.toml"), "").unwrap();
    says(&world.path("empty.toml"), &["empty.toml: target: not given; add a table [target]"]);
}

#[test]
fn spectral_settings_that_do_not_fit_are_refused_by_key() {
    let world = World::new();
    let basis = |mean: &str, matrix: &str| format!("[basis]\nmean = \"{mean}\"\nmatrix = \"{matrix}\"\n[prior]");
    let folder = world.folder.path();
    numpy::write(folder.join("mean.npy"), &ndarray::array![0.1, 0.3]);
    numpy::write(folder.join("matrix.npy"), &ndarray::array![[1.0], [0.5]]);
    numpy::write(folder.join("three.npy"), &ndarray::array![[1.0], [0.5], [0.1]]);
    let wavelengths = |text: &'static str| ("like = \"fine_20240101.tif\"\nbands = [\"red\", \"nir\"]", text);
    let nm = wavelengths("like = \"fine_20240101.tif\"\nbands = [\"red\", \"nir\"]\nwavelengths_nm = [650, 860]");
    let good = basis("mean.npy", "matrix.npy");
    let good = ("[prior]", good.as_str());
    let response = |text: &str| format!("noise_variance = 1e-5\nresponse = {text}");
    let fine = "noise_variance = 1e-5";
    let missing = basis("none.npy", "matrix.npy");
    let three = basis("mean.npy", "three.npy");
    for (changes, says) in [
        (vec![good], vec!["target.wavelengths_nm", "not given", "[basis]"]),
        (vec![nm], vec!["target.wavelengths_nm", "there is none"]),
        (vec![nm, ("[prior]", missing.as_str())], vec!["none.npy"]),
        (vec![nm, ("[prior]", three.as_str())], vec!["three.npy", "(3, 1)", "2 wavelengths"]),
        (
            vec![
                wavelengths("like = \"fine_20240101.tif\"\nbands = [\"red\", \"nir\"]\nwavelengths_nm = [0.65, 0.86]"),
                good,
            ],
            vec!["target.wavelengths_nm", "micrometres", "1000"],
        ),
        (
            vec![wavelengths("like = \"fine_20240101.tif\"\nbands = [\"red\"]\nwavelengths_nm = [650, 860]"), good],
            vec!["basis", "1 target band"],
        ),
        (vec![("store =", "space = \"components\"\nstore =")], vec!["output.space", "basis"]),
        (
            vec![("\"uniform\"", "{ gaussian_fwhm = 5.0 }")],
            vec!["instrument \"coarse\": footprint", "narrower", "uniform"],
        ),
    ] {
        world.refuses(&changes, &says);
    }
    for (text, says) in [
        ("{ centre_nm = [600, 800] }", vec!["instrument \"fine\": response", "fwhm_nm"]),
        ("{ centre_nm = [600, 800], fwhm_nm = [20] }", vec!["response", "one"]),
        ("{ centre_nm = [0.65, 0.86], fwhm_nm = [0.02, 0.02] }", vec!["response", "micrometres", "1000"]),
        (
            "{ centre_nm = [650, 11000], fwhm_nm = [200, 500] }",
            vec!["response", "band 2", "10500", "650", "860", "leave the band out"],
        ),
        ("{ table = \"none.csv\" }", vec!["none.csv"]),
    ] {
        let with = response(text);
        world.refuses(&[nm, good, (fine, &with)], &says);
    }
    let lonely = response("{ centre_nm = [600, 800], fwhm_nm = [20, 20] }");
    world.refuses(&[(fine, &lonely)], &["instrument \"fine\": response", "basis", "`bands`"]);
}

#[test]
fn cubes_that_are_not_there_and_keys_that_do_not_go_with_them_are_named() {
    let cube = "zarr = \"cube.zarr\"\nvariable = \"reflectance\"";
    let files = "files = \"fine_*.tif\"\ndate = 'fine_(\\d{8})'";
    let noise = "noise_variance = 1e-5";
    World::new().refuses_all(&[
        (files, cube, &["cube.zarr", "cannot open"]),
        (noise, "noise_variance = 1e-5\nvariable = \"x\"", &["instrument \"fine\": variable", "`zarr`"]),
        (noise, "noise_variance = 1e-5\nzarr = \"cube.zarr\"", &["instrument \"fine\": files", "leave it out"]),
    ]);
}

#[test]
fn settings_of_smoothing_gates_and_precision_are_checked() {
    let fine = "noise_variance = 1e-5";
    let adaptive = |keys: &'static str| ("phi = 0.99", keys);
    let world = World::new();
    for (change, says) in [
        (adaptive("phi = 0.99\n[process.adaptive]\nweight = 1.2\nscale = 0.05"), "process.adaptive.weight"),
        (adaptive("phi = 0.99\n[process.adaptive]\nweight = 0.2\nscale = -1.0"), "process.adaptive.scale"),
        (adaptive("phi = 0.99\n[process.adaptive]\nweight = 0.2"), "process.adaptive.scale: not given; give the scale"),
        ((fine, "noise_variance = 1e-5\ngate = 99.9"), "instrument \"fine\": gate"),
        ((fine, "noise_variance = 1e-5\ngate = 1.0"), "such as 0.999"),
        ((fine, "noise_variance = 1e-5\nrobust = 0.0"), "instrument \"fine\": robust: 0 must be a positive number"),
        ((fine, "noise_variance = 1e-5\ninflate = 2.0"), "inflate"),
        (adaptive("phi = 0.99\ninflate = \"yes\""), "inflate"),
        (("name = \"fine\"", "name = \" \""), "instrument.name: an instrument without a name"),
        (("[output]", "[output]\nsd_factor = -1.0"), "output.sd_factor"),
        (("[output]", "[output]\nsd_factor = 1e-60"), "output.sd_factor: 0.00"),
        (("[output]", "[output]\nsd_factor = 1e60"), "must be from 1e-6 to 1e6"),
        (("[output]", "[output]\nsd_factor = [1.0, 1.1, 1.2]"), "3 values for 2 bands"),
        (
            ("[output]", "[output]\nindices = { ratio = \"nir / rde\" }"),
            "output.indices.ratio: \"nir / rde\": \"rde\" is no band",
        ),
        (("[output]", "[output]\nindices = { ratio = \"nir / red)\" }"), "output.indices.ratio"),
        (("[output]", "[output]\nindices = { ratio = 1.0 }"), "output.indices.ratio: found 1.0"),
        (("[output]", "[output]\nindices = [\"nir\"]"), "such as { ndvi ="),
        (("[output]", "[output]\nindices = { red = \"nir\" }"), "name of a band"),
        (("[output]", "[output.indices]\n\"a\" = \"nir\"\n'a' = \"red\"\n[output]"), "duplicate key"),
        (("[output]", "[smoothing]\nlag = -1\n[output]"), "lag"),
        (("[output]", "[smoothing]\nlag = 2.5\n[output]"), "lag"),
        (("threads = 2", "threads = 2\nprecision = \"f16\""), "precision"),
    ] {
        world.refuses(&[change], &[says]);
    }
}

#[test]
fn memory_that_is_no_size_is_refused_and_said_how_to_write() {
    let world = World::new();
    let memory = |value: &'static str| ("memory = \"1GiB\"", value);
    for (value, says) in [
        ("memory = \"lots\"", "lots"),
        ("memory = \"\"", "\"\""),
        ("memory = \"2 quarts\"", "2 quarts"),
        ("memory = \"-1GiB\"", "-1GiB"),
        ("memory = true", "true"),
        ("memory = 2", "found 2"),
        ("memory = 0", "found 0"),
        ("memory = 0.0", "0"),
        ("memory = -0.25", "-0.25"),
        ("memory = 1.5", "1.5"),
        ("memory = nan", "NaN"),
        ("memory = \"0B\"", "0 bytes"),
    ] {
        world.refuses(&[memory(value)], &["memory", says, "\"2GiB\""]);
    }
}

#[test]
fn memory_that_is_too_small_is_refused_with_the_smallest_that_works() {
    let world = World::new();
    let budget = |bytes: u64| format!("memory = \"{bytes}B\"");
    for extra in ["", "tile = [6, 8]\n", "tile = [2, 5]\n"] {
        let store = format!("{extra}store = \"fused.zarr\"");
        let with = |bytes: u64| {
            build(&world.describe(&[("memory = \"1GiB\"", &budget(bytes)), ("store = \"fused.zarr\"", &store)]))
        };
        let refused = with(1000).unwrap_err();
        let Error::Memory { needed_bytes, .. } = refused else { panic!("{refused}") };
        let message = refused.to_string();
        assert_says(&message, &["run.memory", "1000 bytes", " MiB would do"]);
        // What a person would copy from the message.
        let (_, told) = message.split_once("too small; ").unwrap();
        let (told, _) = told.split_once(" would do").unwrap();
        let enough =
            world.describe(&[("memory = \"1GiB\"", &format!("memory = {told:?}")), ("store = \"fused.zarr\"", &store)]);
        assert_eq!(fuse(&enough).map_err(|error| error.to_string()).unwrap().windows, 6);
        fs::remove_dir_all(world.store()).unwrap();
        let planned = with(needed_bytes).unwrap();
        assert!(planned.plan().memory_bytes() <= needed_bytes);
        let almost = with(needed_bytes - 1).unwrap_err();
        assert!(matches!(almost, Error::Memory { needed_bytes: n, .. } if n == needed_bytes), "{almost}");
        fuse(&world.path("fusion.toml")).unwrap_err(); // the last description is the one that almost works
        assert!(!world.store().exists());
    }
}

#[test]
fn a_target_smaller_than_the_default_window_is_fine() {
    let world = World::new();
    let cell = "crs = \"EPSG:32633\"\ngeotransform = [500030, 30, 0, 5099940, 0, -30]\nshape = [1, 1]";
    let config = world.describe(&[("like = \"fine_20240101.tif\"", cell), ("size = 3\nhalo = 1\n", "")]);
    assert_eq!(fuse(&config).map_err(|error| error.to_string()).unwrap().blocks, 6);
}

#[test]
fn sizes_beyond_all_bounds_are_refused_by_key() {
    let world = World::new();
    let huge = "9223372036854775807";
    for key in ["size = 3", "halo = 1"] {
        world.refuses(&[(key, &format!("{}{huge}", &key[..key.len() - 1]))], &["window"]);
    }
    for samples in ["1000000", "3000000000", huge] {
        let far = format!("halo = 1\nfar_radius = 90.0\nfar_samples = {samples}");
        world.refuses(&[("halo = 1", &far)], &["window"]);
    }
    // A tile is as large as the target at most.
    let tile = format!("tile = [{huge}, {huge}]\nstore =");
    assert_eq!(build(&world.describe(&[("store =", &tile)])).unwrap().plan().tile_shape, (6, 8));
}

#[test]
fn a_store_that_exists_or_cannot_be_is_refused() {
    let world = World::new();
    fuse(&world.describe(&[])).unwrap();
    let before = support::tree(&world.store());
    let words = ["fused.zarr", "a finished run with 6 dates", "resume it", "append to it", "output.store", "remove"];
    world.refuses(&[], &words);
    let config = FusionConfig::parse(&fs::read_to_string(world.path("fusion.toml")).unwrap(), world.path("")).unwrap();
    let message = config.build().unwrap().run(&mut config.sink().unwrap()).unwrap_err().to_string();
    assert_says(&message, &["a finished run with 6 dates", "resume it", "append to it", "output.store"]);
    assert!(!message.contains("--"), "{message}");
    assert!(support::tree(&world.store()) == before);
    fs::write(world.path("file"), "").unwrap();
    world.refuses(&[("fused.zarr", "file")], &["file", "is taken"]);
    world.refuses(&[("fused.zarr", "file/fused.zarr")], &["cannot write store", "file/fused.zarr"]);
    world.refuses(&[("fused.zarr", "")], &["output.store"]);
    world.refuses(&[("fused.zarr", ".")], &["is taken", "not empty"]);
}

#[test]
fn files_that_vanish_or_break_between_building_and_running_are_named_and_show_nothing() {
    for (name, damage, words) in [
        ("fine_20240105.tif", (|path| fs::remove_file(path).unwrap()) as fn(&Path), &["cannot open raster"][..]),
        ("coarse_20240104.tif", |path| truncate(path, 20), &["cannot read", "band B", "truncated", "replace it"]),
        ("coarse_20240102.tif", |path| fs::write(path, "no raster").unwrap(), &["cannot open raster"]),
    ] {
        let world = World::new();
        let config = FusionConfig::read(world.describe(&[])).unwrap();
        let fusion = config.build().unwrap();
        damage(&world.path(name));
        let error = fusion.run(&mut config.sink().unwrap()).unwrap_err();
        let date = format!("2024-01-{}", &name[name.len() - 6..name.len() - 4]);
        assert_says(&error.to_string(), words);
        assert_says(&error.to_string(), &[world.path(name).to_str().unwrap(), &date]);
        assert_eq!(shown(&world.store()), (0, false));
    }
}

#[test]
fn a_prior_raster_with_holes_is_refused_where_an_instrument_looks() {
    let world = World::new();
    let mut holed = values((2, 6, 8));
    holed[(1, 4, 7)] = f64::NAN;
    world.raster("prior.tif", |tiff| Tiff { values: holed, missing: Missing::Nodata(-9999.0), ..tiff });
    let config = world.describe(&[("mean = 0.2", "mean = \"prior.tif\"")]);
    let message = fuse(&config).unwrap_err().to_string();
    assert_says(&message, &["prior.mean", "prior.tif", "no value at or near cell [", "instrument \"", "fill"]);
    assert_eq!(shown(&world.store()), (0, false));
}

fn fuse_in(folder: &Path, arguments: &[&str]) -> Output {
    program("fuse").args(arguments).current_dir(folder).output().unwrap()
}

/// What the program wrote to stderr, without the lines that show how far it came.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let progress = |line: &&str| line.contains(" tile dates");
    text.lines().filter(|line| !progress(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_program_succeeds_with_status_0_a_report_and_no_complaint() {
    let world = World::new();
    world.describe(&[]);
    let plan = fuse_in(world.folder.path(), &["fusion.toml", "--plan"]);
    assert_eq!((plan.status.code(), complaint(&plan)), (Some(0), String::new()));
    assert_says(&String::from_utf8_lossy(&plan.stdout), &["6 x 8 cells", "6 dates out", "4 observed"]);
    assert!(!world.store().exists(), "a plan runs nothing");
    let run = fuse_in(world.folder.path(), &["fusion.toml"]);
    assert_eq!((run.status.code(), complaint(&run)), (Some(0), String::new()));
    assert_says(&String::from_utf8_lossy(&run.stdout), &["fine", "coarse", "log-likelihood", "total"]);
    assert_eq!(shown(&world.store()), (6, true));
}

#[test]
fn the_program_says_how_to_go_on_with_a_store_before_anything_else() {
    let world = World::new();
    world.describe(&[("end = \"2024-01-06\"", "end = \"2024-01-04\"")]);
    assert!(fuse_in(world.folder.path(), &["fusion.toml"]).status.success());
    let says = |arguments: &[&str], words: &[&str]| {
        let output = fuse_in(world.folder.path(), arguments);
        assert!(output.status.success(), "{}", complaint(&output));
        assert_says(&String::from_utf8_lossy(&output.stdout), words);
    };
    says(&["fusion.toml", "--plan"], &["a finished run with 4 dates; no date of this plan is new", "output.store"]);
    world.describe(&[]);
    says(&["fusion.toml", "--plan"], &["a finished run with 4 dates; 2 of the 6 dates of this plan are new: --append"]);
    says(&["fusion.toml", "--plan", "--json"], &["\"new_dates\": 2"]);
    says(&["fusion.toml", "--calibrate"], &["6 dates out", "time      about ", " s: setup "]);
    let refused = fuse_in(world.folder.path(), &["fusion.toml"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "nothing is planned");
    assert_says(&complaint(&refused), &["exists already", "--append"]);
    world.describe(&[("mean = 0.2", "mean = 0.3")]);
    says(&["fusion.toml", "--plan"], &["2 of the 6 dates", "warning", "made with other settings: prior.mean"]);
    let refused = fuse_in(world.folder.path(), &["fusion.toml", "--append"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert_says(&complaint(&refused), &["made with other settings: prior.mean"]);
    world.describe(&[("start = \"2024-01-01\"", "start = \"2024-01-02\"")]);
    says(&["fusion.toml", "--plan"], &["its dates are not the first of this plan"]);
    world.describe(&[]);
    assert!(fuse_in(world.folder.path(), &["fusion.toml", "--append"]).status.success());
    assert_eq!(shown(&world.store()), (6, true));
}

#[test]
fn the_program_that_estimates_says_how_far_it_has_come() {
    let world = World::new();
    world.describe(&[
        ("noise_variance = 2e-5", "noise_variance = 2e-5\nbias = \"estimate\""),
        ("[output]", "[estimate]\nwindows = 1\nwindow = 4\n[output]"),
    ]);
    let output = program("estimate").arg("fusion.toml").current_dir(world.folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let words = [
        "reading blocks of the scene",
        "stage 1 of 4, trying instrument \"coarse\": offset_layer: per pixel, drifting",
        "stage 2 of 4, trying instrument \"coarse\": offset_layer: per pixel, forgotten",
        "stage 4 of 4, predicting withheld dates",
        "numbers to 1 blocks",
    ];
    assert_says(&String::from_utf8_lossy(&output.stderr), &words);
}

#[test]
fn the_program_reports_plan_and_run_as_json() {
    let world = World::new();
    world.describe(&[]);
    let told = |arguments: &[&str]| -> serde_json::Value {
        let output = fuse_in(world.folder.path(), arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let plan = told(&["fusion.toml", "--plan", "--json"]);
    assert_eq!(plan["plan"]["instruments"][1]["name"], "coarse");
    assert!(plan["plan"]["disk_bytes"].as_u64() < plan["disk"]["free_bytes"].as_u64());
    assert!(plan["store"].is_null() && plan["time"].is_null());
    let run = told(&["fusion.toml", "--json"]);
    assert_eq!(run["plan"], plan["plan"]);
    assert_eq!(run["report"]["instruments"][0]["dates"], serde_json::json!(["2024-01-01", "2024-01-05"]));
    // What a rerun reproduces is in the store by the same names.
    let text = fs::read_to_string(world.store().join("zarr.json")).unwrap();
    let group: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, value) in group["attributes"]["rasterfuse"]["report"].as_object().unwrap() {
        assert_eq!(value, &run["report"][key], "{key}");
    }
}

#[test]
fn the_program_fails_with_status_1_and_the_librarys_message_first() {
    let world = World::new();
    fs::write(world.path("text_20240103.tif"), "not a raster").unwrap();
    fs::create_dir(world.path("folder_20240103.tif")).unwrap();
    world.raster("torn_20240103.tif", |tiff| tiff);
    truncate(&world.path("torn_20240103.tif"), 40);
    world.raster("bare_20240103.tif", |tiff| Tiff { crs: None, geotransform: None, ..tiff });
    world.raster("east_20240103.tif", |tiff| Tiff { crs: Some("EPSG:32634"), ..tiff });
    let fine = "fine_*.tif\"\ndate = 'fine_";
    let other = |name: &str| format!("{name}_*.tif\"\ndate = '{name}_");
    for (from, to) in [
        (fine, other("text")),
        (fine, other("folder")),
        (fine, other("torn")),
        (fine, other("bare")),
        (fine, other("east")),
        (fine, other("gone")),
        ("size = 3", "szie = 3".into()),
        ("fine_20240101.tif", "gone.tif".into()),
        ("like = \"fine_20240101.tif\"", "crs = \"EPSG:1\"\ngeotransform = [0, 1, 0, 0, 0, -1]\nshape = [1, 1]".into()),
        ("1GiB", "1kB".into()),
        ("fused.zarr", "text_20240103.tif".into()),
        ("fused.zarr", "text_20240103.tif/fused.zarr".into()),
    ] {
        let config = world.describe(&[(from, &to)]);
        let message = fuse(&config).unwrap_err().to_string();
        let _ = fs::remove_dir_all(world.store());
        let output = fuse_in(Path::new("."), &[config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{to}");
        let complaint = complaint(&output);
        let rest = complaint
            .strip_prefix(&format!("error: {}", message.trim_end()))
            .unwrap_or_else(|| panic!("{to}: {complaint}"));
        assert!(rest.trim_start().is_empty() || rest.trim_start().starts_with("caused by: "), "{to}: {rest}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.contains("log-likelihood") && !said.contains("total"), "{to}: {said}");
        let _ = fs::remove_dir_all(world.store());
    }
}

#[test]
fn the_program_names_arguments_it_does_not_take() {
    let world = World::new();
    world.describe(&[]);
    for argument in ["--plain", "--shard=5/4", "--shard=first"] {
        let output = fuse_in(world.folder.path(), &["fusion.toml", argument]);
        assert_eq!(output.status.code(), Some(2));
        assert_says(&String::from_utf8_lossy(&output.stderr), &["error: ", argument.split('=').next().unwrap()]);
        assert!(output.stdout.is_empty() && !world.store().exists());
    }
    let output = fuse_in(world.folder.path(), &["gone.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_says(&complaint(&output), &["error: gone.toml", "cannot read"]);
    assert_eq!(fuse_in(world.folder.path(), &[]).status.code(), Some(2));
    assert_eq!(fuse_in(world.folder.path(), &["--help"]).status.code(), Some(0));
}
