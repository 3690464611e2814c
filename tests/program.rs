//! The program as a shell sees it: help, exit statuses, hints, and the way from folders to a judged series.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "cli"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use ndarray::Array3;
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::source::{Calibration, RasterSource, RasterStack};
use serde_json::Value;
use support::{Sample, Tiff, assert_says, day, program};

const COMMANDS: [&str; 11] =
    ["fuse", "plan", "estimate", "validate", "seasonal", "change", "basis", "init", "verify", "export", "look"];

/// Two folders: ten fine images, twenty coarse ones that average 3 x 3 cells and read a little higher.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        for k in 0..10 {
            world.image("fine", 30.0, 2 * k, 0.0);
        }
        for k in 0..20 {
            world.image("coarse", 90.0, k, 0.01);
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self, folder: &str, pixel: f64, k: i32, bias: f64) {
        let side = (540.0 / pixel) as usize;
        let grid = Grid::new(Crs::unknown(), [0.0, pixel, 0.0, 0.0, 0.0, -pixel], (side, side)).unwrap();
        // Waves that move, and what looks like noise.
        let value = |(band, row, col): (usize, usize, usize)| {
            let (x, y, t) = ((col as f64 + 0.5) * pixel, (row as f64 + 0.5) * pixel, f64::from(k));
            let wave = (x / 70.0 + 0.1 * t).sin() * (y / 90.0 - 0.07 * t).cos();
            let noise = ((row * 7919 + col * 104_729 + k as usize * 1299 + band * 31) % 1000) as f64 / 1000.0 - 0.5;
            0.3 + 0.1 * band as f64 + 0.02 * wave + 0.01 * noise + bias
        };
        let mut tiff = Tiff::new(&grid, Array3::from_shape_fn((2, side, side), value).view());
        (tiff.sample, tiff.names) = (Sample::F32, vec!["red".into(), "nir".into()]);
        fs::create_dir_all(self.path(folder)).unwrap();
        tiff.write(&self.path(&format!("{folder}/image_{}.tif", day(k).format("%Y%m%d"))));
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Output {
        program(command).args(arguments).current_dir(self.folder.path()).output().unwrap()
    }

    fn succeed(&self, command: &str, arguments: &[&str]) -> String {
        let output = self.run(command, arguments);
        assert!(output.status.success(), "{command} {arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fails with the status and these words on stderr.
    fn fail(&self, command: &str, arguments: &[&str], status: i32, words: &[&str]) {
        let output = self.run(command, arguments);
        assert_eq!(output.status.code(), Some(status), "{command} {arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{command} {arguments:?}");
        assert_says(&stderr(&output), words);
    }

    fn add(&self, name: &str, text: &str) {
        let path = self.path(name);
        let held = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, held + text).unwrap();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in COMMANDS {
        let output = program(command).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = String::from_utf8(output.stdout).unwrap();
        assert_says(&help, &["Usage: rasterfuse", "Example", &format!("  rasterfuse {command} "), "--json"]);
        let wrong = program(command).arg("--no-such-flag").output().unwrap();
        assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0), "{command}");
    }
    let help = String::from_utf8(program("help").output().unwrap().stdout).unwrap();
    COMMANDS.iter().for_each(|command| assert!(help.contains(&format!("  {command} ")), "{command}: {help}"));
    assert_says(&help, &["Example", "Exit status: 0"]);
    assert_eq!(program("--version").output().unwrap().status.code(), Some(0));
    assert_eq!(program("fly").output().unwrap().status.code(), Some(2));
}

#[test]
fn folders_become_a_series_without_a_line_written_by_hand() {
    let world = World::new();
    let said = world.succeed("init", &["fine", "coarse", "--json", "init.json"]);
    assert_says(&said, &["fine: image_*.tif; 10 dates from 2024-01-01", "coarse", "red, nir", "estimate fusion.toml"]);
    let text = fs::read_to_string(world.path("fusion.toml")).unwrap();
    FusionConfig::parse(&text, world.path("")).unwrap();
    let words = [
        "like = \"fine/image_20240101.tif\"",
        "bands = [\"red\", \"nir\"]",
        "# image_*.tif: 20 dates from 2024-01-01 to 2024-01-20; pixels of 90 x 90",
        "files = \"coarse/image_*.tif\"",
        "date = 'image_(\\d{8})'",
        "footprint = \"cell\"",
        "footprint = \"uniform\"",
        "lag = 8",
    ];
    assert_says(&text, &words);
    assert_eq!(json(&fs::read(world.path("init.json")).unwrap())["instruments"][1]["name"], "coarse");

    let hint = "hint: rasterfuse estimate fusion.toml, then rasterfuse fuse fusion.estimated.toml";
    world.fail("fuse", &["fusion.toml"], 1, &["error: fusion.toml: ", "left to \"estimate\"", hint]);
    world.add("fusion.toml", "\n[estimate]\nwindows = 2\nwindow = 6\n");
    let estimated = json(world.succeed("estimate", &["fusion.toml", "--json", "-"]).as_bytes());
    assert_eq!(estimated["finished"], true);
    assert_eq!(estimated["checks"][0]["instrument"], "fine");
    assert!(estimated["instruments"][0]["new_image_variance"][1].as_f64().is_some_and(|variance| variance > 0.0));
    let plan = json(world.succeed("plan", &["fusion.estimated.toml", "--json"]).as_bytes());
    assert_eq!(plan["plan"]["instruments"][0]["name"], "fine");
    assert!(!world.path("fused.zarr").exists());
    let said = world.succeed("fuse", &["fusion.estimated.toml", "--json=fuse.json"]);
    assert_says(
        &said,
        &["log-likelihood", "total", "xarray.open_zarr(\"fused.zarr\")", "rasterfuse export fused.zarr"],
    );
    assert_eq!(json(&fs::read(world.path("fuse.json")).unwrap())["plan"], plan["plan"]);
    let hint = "hint: --resume finishes an interrupted run, --append adds the dates";
    world.fail("fuse", &["fusion.estimated.toml"], 1, &["fused.zarr exists already", "append to it", hint]);
    let text = fs::read_to_string(world.path("fusion.estimated.toml")).unwrap();
    let packed = |keys: &str| {
        let text = text.replacen("[output]", &format!("[output]\n{keys}"), 1);
        fs::write(world.path("packed.toml"), text).unwrap();
    };
    packed("dtype = \"int16\"");
    world.fail("plan", &["packed.toml"], 1, &["packed.toml", "output.scale: not given", "1e-4"]);
    packed("dtype = \"int8\"");
    world.fail("plan", &["packed.toml"], 1, &["packed.toml", "output.dtype", "int16"]);
    packed("dtype = \"int16\"\nscale = 1e-4\ncodec = \"zstd\"");
    assert_says(&world.succeed("plan", &["packed.toml"]), &["int16 in steps of 0.0001", "zstd, level 3"]);
    world.fail("fuse", &["packed.toml", "--append"], 1, &["output.dtype", "int16"]);
    let scores = json(world.succeed("validate", &["fusion.estimated.toml", "--json", "-"]).as_bytes());
    let compared = scores["instruments"][0]["baselines"].as_array().unwrap();
    assert!(compared.iter().any(|of| of["rows"].as_array().unwrap().iter().any(|row| row["predictor"] == "last")));
    let plain = world.succeed("validate", &["fusion.estimated.toml", "--no-baselines", "--json", "-"]);
    assert_eq!(json(plain.as_bytes())["instruments"][0]["baselines"], Value::Array(Vec::new()));
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

#[test]
#[cfg(unix)]
fn an_interrupted_estimation_leaves_the_best_so_far() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let world = World::new();
    world.succeed("init", &["fine", "coarse"]);
    fs::write(world.path("best.toml"), "kept").unwrap();
    let mut child = program("estimate")
        .args(["fusion.toml", "-o", "best.toml"])
        .current_dir(world.folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut said, mut interrupted) = (Vec::new(), false);
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("stage 1 of ") && !interrupted {
            interrupted = true;
            let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
            assert!(killed.success());
        }
        said.push(line);
    }
    let said = said.join("\n");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert_says(&said, &["interrupted: ending with the best so far", "error: interrupted: "]);
    // What was there before is still there; what was found lies beside it, if anything was.
    assert_eq!(fs::read_to_string(world.path("best.toml")).unwrap(), "kept");
    if said.contains("best.partial.toml") {
        let text = fs::read_to_string(world.path("best.partial.toml")).unwrap();
        assert!(text.starts_with("# Not finished: ") && !text.contains("\"estimate\""), "{text}");
        world.succeed("plan", &["best.partial.toml"]);
    } else {
        assert_says(&said, &["before anything was found", "nothing is written"]);
    }
    // A first look is one that is finished.
    let quick = json(world.succeed("estimate", &["fusion.toml", "--quick", "--json", "-"]).as_bytes());
    assert_eq!((&quick["finished"], &quick["choices"]), (&Value::Bool(true), &Value::Array(Vec::new())));
    let text = fs::read_to_string(world.path("fusion.estimated.toml")).unwrap();
    assert!(text.starts_with("# A first look: "), "{text}");
    assert!(!world.path("fusion.estimated.partial.toml").exists());
}

#[test]
fn an_estimation_does_not_replace_its_description() {
    let world = World::new();
    world.succeed("init", &["fine", "coarse"]);
    let text = fs::read_to_string(world.path("fusion.toml")).unwrap();
    fs::write(world.path("mine.partial.toml"), &text).unwrap();
    // Neither by what it writes at the end, nor by the best so far, which lies beside it.
    let words = ["is the description itself", "name another file"];
    world.fail("estimate", &["fusion.toml", "-o", "fusion.toml"], 1, &words);
    world.fail("estimate", &["mine.partial.toml", "-o", "mine.toml"], 1, &words);
    assert_eq!(fs::read_to_string(world.path("fusion.toml")).unwrap(), text);
    assert_eq!(fs::read_to_string(world.path("mine.partial.toml")).unwrap(), text);
}

#[test]
fn init_overwrites_nothing_and_says_what_it_looked_at() {
    let world = World::new();
    world.add("fusion.toml", "mine");
    world.fail("init", &["fine"], 1, &["fusion.toml exists already", "--force"]);
    assert_eq!(fs::read_to_string(world.path("fusion.toml")).unwrap(), "mine");
    world.succeed("init", &["fine", "--force"]);
    FusionConfig::read(world.path("fusion.toml")).unwrap();
    fs::create_dir(world.path("empty")).unwrap();
    world.add("empty/readme.txt", "nothing here");
    world.fail("init", &["empty", "-o", "other.toml"], 1, &["no dated rasters in empty", "no raster (tif", "20230403"]);
    world.fail("init", &["gone", "-o", "other.toml"], 1, &["gone: there is no such folder"]);
    world.fail("init", &[], 2, &["<FOLDERS>"]);
    assert!(!world.path("other.toml").exists());
}

/// Two instruments in one folder, one of them in files of single bands with a raster of classes.
#[test]
fn init_separates_instruments_bands_and_quality_by_their_names() {
    let world = World::new();
    fs::create_dir(world.path("both")).unwrap();
    for k in 0..10 {
        let date = day(2 * k).format("%Y%m%d");
        let image = world.path(&format!("fine/image_{date}.tif"));
        for word in ["B04", "B8A"] {
            fs::copy(&image, world.path(&format!("both/T33TVM_{date}_{word}.tif"))).unwrap();
        }
        let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (18, 18)).unwrap();
        let mut classes = Tiff::new(&grid, Array3::from_elem((1, 18, 18), 4.0).view());
        classes.sample = Sample::U8;
        classes.write(&world.path(&format!("both/T33TVM_{date}_SCL.tif")));
        fs::copy(world.path(&format!("coarse/image_{date}.tif")), world.path(&format!("both/terra_{date}.tif")))
            .unwrap();
    }
    let said = world.succeed("init", &["both"]);
    let text = fs::read_to_string(world.path("fusion.toml")).unwrap();
    let words = [
        "files = \"both/*_*_{band}.tif\"",
        "source_bands = [\"B04\", \"B8A\"]",
        "quality = { files = \"both/*_*_SCL.tif\", drop = [0, 1, 3, 8, 9, 10] }",
        "name = \"terra\"",
        "bands = [\"B04\", \"B8A\"]   # CHECK",
    ];
    assert_says(&text, &words);
    assert_says(&said, &["terra: terra_*.tif; 10 dates"]);
}

/// What is said in terms of the library holds for programs of one's own too.
#[test]
fn the_library_names_no_flag_and_no_command() {
    let flag = |line: &str| {
        let mut parts = line.split(" --").skip(1).chain(line.split("(--").skip(1)).chain(line.split("\"--").skip(1));
        parts.any(|rest| rest.starts_with(|letter: char| letter.is_ascii_lowercase()))
    };
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                if path != Path::new("src/bin") {
                    folders.push(path);
                }
                continue;
            }
            for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
                let code = !line.trim_start().starts_with("//");
                let named = flag(line) || line.contains("cargo run") || line.contains("--example");
                assert!(!(code && named), "{}:{}: {line}", path.display(), number + 1);
            }
        }
    }
}

/// The western half changes ten times as much; the map that is written can be fused with.
#[test]
fn a_map_of_change_is_made_and_used() {
    let world = World { folder: tempfile::tempdir().unwrap() };
    let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (64, 64)).unwrap();
    fs::create_dir(world.path("fine")).unwrap();
    for k in 0..16_usize {
        let value = |(_, row, col): (usize, usize, usize)| {
            let mixed = (row * 64 + col + 4096 * k).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let noise = (mixed >> 40) as f64 / f64::from(1 << 24) - 0.5;
            0.3 + if col < 32 { 0.1 } else { 0.01 } * noise
        };
        let mut tiff = Tiff::new(&grid, Array3::from_shape_fn((1, 64, 64), value).view());
        (tiff.sample, tiff.names) = (Sample::F32, vec!["red".into()]);
        tiff.write(&world.path(&format!("fine/image_{}.tif", day(2 * k as i32).format("%Y%m%d"))));
    }
    let description = |process: &str| {
        let first = day(0).format("%Y%m%d");
        format!(
            "[target]\nlike = \"fine/image_{first}.tif\"\nbands = [\"red\"]\n[process]\nkernel = \"none\"\nvariance = 1e-4\n{process}\n\
             [prior]\nmean = 0.3\nvariance = 0.01\n[[instrument]]\nname = \"fine\"\nfiles = \"fine/*.tif\"\ndate = '_(\\d{{8}})'\n\
             noise_variance = 1e-6\n[output]\nstore = \"fused.zarr\"\n"
        )
    };
    world.add("fuse.toml", &description("variation = { map = \"change.tif\" }"));
    world.fail("fuse", &["fuse.toml"], 1, &["process.variation.map", "no raster", "`rasterfuse change` makes a map"]);
    let said = world.succeed("change", &["fuse.toml", "-o", "change.tif"]);
    assert_says(&said, &["64 x 64 cells", "believed to", "variation = { map = \"change.tif\" }"]);
    let map =
        RasterStack::from_files([(Date::from_days(0), world.path("change.tif"))], Calibration::default()).unwrap();
    let factors = map.read(Date::from_days(0), &[0], &grid.region()).unwrap().values;
    let mean = |cols: std::ops::Range<usize>| factors.slice(ndarray::s![0, .., cols]).mean().unwrap();
    assert!(mean(0..24) > 8.0 * mean(40..64), "{} {}", mean(0..24), mean(40..64));
    world.succeed("fuse", &["fuse.toml"]);
    world.fail("change", &["fuse.toml", "--window", "0"], 1, &["change.window_days", "1 day or more"]);
}
