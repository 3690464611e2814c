//! The program, killed at any moment, out of disk, or in several processes: the store always opens, what readers see is
//! whole, and in the end the bytes are those of one uninterrupted run.
#![cfg(all(unix, feature = "gdal", feature = "zarr"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ndarray::Array3;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rasterfuse::geometry::{Crs, Grid};
use serde_json::Value;
use support::{Sample, Tiff, assert_says, day, program, tree};

const DAYS: i32 = 48;

/// A folder with images of a fine and a coarse sensor.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        let write = |name: &str, side: usize, cell: f64, k: i32| {
            let grid = Grid::new(Crs::unknown(), [0.0, cell, 0.0, 0.0, 0.0, -cell], (side, side)).unwrap();
            let value = |(b, r, c)| {
                let x = (b * 7919 + r * 104_729 + c * 1299 + k as usize * 15_485) % 1000;
                if x < 150 { f64::NAN } else { 0.2 + 1e-4 * x as f64 }
            };
            let mut tiff = Tiff::new(&grid, Array3::from_shape_fn((2, side, side), value).view());
            tiff.sample = Sample::F32;
            tiff.names = vec!["red".into(), "nir".into()];
            tiff.write(&this.folder.path().join(format!("{name}_{}.tif", day(k).format("%Y%m%d"))));
        };
        for k in 0..DAYS {
            write("coarse", 5, 200.0, k);
            if k % 7 == 3 {
                write("fine", 30, 30.0, k);
            }
        }
        this
    }

    /// A description of the fusion up to a day, into `store`.
    fn config(&self, name: &str, store: &str, end: i32, more: &str) -> PathBuf {
        let (start, end) = (day(0), day(end));
        let text = format!(
            r#"
            target = {{ geotransform = [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], shape = [30, 30], bands = ["red", "nir"] }}
            time = {{ start = "{start}", end = "{end}" }}
            window = {{ size = 4, halo = 3 }}
            process = {{ kernel = "exponential", range = 100.0, variance = 1e-4 }}
            prior = {{ mean = 0.25, variance = 0.01 }}
            smoothing = {{ lag = 2 }}
            output = {{ store = "{store}", tile = [13, 13] }}
            run = {{ memory = "300MiB", checkpoint = "full"{more} }}
            [[instrument]]
            name = "fine"
            files = "fine_*.tif"
            date = '_(\d+)'
            noise_variance = 1e-4
            [[instrument]]
            name = "coarse"
            files = "coarse_*.tif"
            date = '_(\d+)'
            footprint = "uniform"
            noise_variance = 1e-3
            "#
        );
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fuse(&self, config: &Path, arguments: &[&str]) -> Command {
        let mut command = program("fuse");
        command.arg(config).args(arguments).current_dir(self.folder.path());
        command
    }

    fn succeed(&self, config: &Path, arguments: &[&str]) {
        let output = self.fuse(config, arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    }

    fn fail(&self, config: &Path, arguments: &[&str], words: &[&str]) {
        let output = self.fuse(config, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_says(&complaint(&output), words);
    }
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// What the store tells of itself, and whether everything it shows is there: chunks of the first dates like those in
/// `reference`, where they are settled.
fn check_readable(store: &Path, reference: &BTreeMap<String, Vec<u8>>) {
    let Ok(group) = fs::read(store.join("zarr.json")) else { return };
    let group: Value = serde_json::from_slice(&group).expect("the group's document is whole");
    let run = &group["attributes"]["rasterfuse"];
    let (committed, settled) = (run["dates_committed"].as_u64().unwrap(), run["dates_settled"].as_u64().unwrap());
    let shape = &group["consolidated_metadata"]["metadata"]["mean"]["shape"];
    assert_eq!(shape[0].as_u64(), Some(committed));
    for array in ["mean", "sd", "time", "band", "y", "x", "spatial_ref"] {
        let document = fs::read(store.join(array).join("zarr.json")).unwrap();
        serde_json::from_slice::<Value>(&document).expect("an array's document is whole");
    }
    for name in ["mean", "sd"] {
        for date in 0..committed {
            for (row, col) in (0..3).flat_map(|row| (0..3).map(move |col| (row, col))) {
                let chunk = format!("{name}/c/{date}/0/{row}/{col}");
                let bytes = fs::read(store.join(&chunk)).unwrap_or_else(|_| panic!("{chunk} is visible but missing"));
                assert!(date >= settled || reference[&chunk] == bytes, "{chunk} is not what it will be");
            }
        }
    }
}

fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) {
    let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let different: Vec<_> = names.into_iter().filter(|name| a.get(*name) != b.get(*name)).collect();
    assert!(different.is_empty(), "{different:?}");
}

#[test]
fn killed_at_any_moment_and_resumed_or_appended() {
    let world = World::new();
    let reference = world.config("reference.toml", "reference.zarr", DAYS - 1, "");
    let started = Instant::now();
    world.succeed(&reference, &[]);
    let whole = started.elapsed();
    let reference = tree(&world.path("reference.zarr"));
    let store = world.path("fused.zarr");
    let mut random = StdRng::seed_from_u64(4);
    let mut kills = 0;
    // Some days, then some more, then all; with checkpoints at every batch and without.
    for minutes in [0.0, 10.0, 0.0] {
        let more = format!(", checkpoint_minutes = {minutes}");
        for (end, how) in [(20, "--resume"), (33, "--append"), (DAYS - 1, "--append")] {
            let config = world.config("fused.toml", "fused.zarr", end, &more);
            for attempt in 0.. {
                // Ever longer, so that the run ends some time.
                let most = whole.mul_f64(0.2 + 0.1 * f64::from(attempt));
                let mut child = spawn(world.fuse(&config, &[how]));
                std::thread::sleep(most.mul_f64(random.random::<f64>()));
                let _ = child.kill();
                let status = child.wait().unwrap();
                check_readable(&store, &reference);
                if status.success() {
                    break;
                }
                kills += 1;
            }
        }
        assert_same(&reference, &tree(&store));
        fs::remove_dir_all(&store).unwrap();
        fs::remove_dir_all(world.path("fused.zarr.state")).unwrap();
    }
    println!("{kills} runs were killed");
    assert!(kills >= 10, "{kills}");
}

#[test]
fn shards_in_processes_one_of_them_killed() {
    let world = World::new();
    let reference = world.config("reference.toml", "reference.zarr", DAYS - 1, "");
    world.succeed(&reference, &[]);
    let config = world.config("fused.toml", "fused.zarr", DAYS - 1, "");
    let mut shards: Vec<Child> = (0..4)
        .map(|index| {
            // As two schedulers would have it.
            let mut command = world.fuse(&config, &[]);
            if index < 2 {
                command.args(["--shard", &format!("{index}/4")]);
            } else {
                command.env("SLURM_ARRAY_TASK_ID", index.to_string()).env("SLURM_ARRAY_TASK_COUNT", "4");
            }
            spawn(command)
        })
        .collect();
    // Long before it can be done; other moments are tried elsewhere.
    std::thread::sleep(Duration::from_millis(5));
    shards[2].kill().unwrap();
    let succeeded: Vec<bool> = shards.iter_mut().map(|child| child.wait().unwrap().success()).collect();
    assert_eq!(succeeded, [true, true, false, true]);
    world.fail(&config, &["--finalize"], &["not finished", "missing", "of 9 tiles", "shards again"]);
    check_readable(&world.path("fused.zarr"), &tree(&world.path("reference.zarr")));
    // An ordinary run is no way to go on with the killed shard's part unasked.
    world.fail(&config, &[], &["fused.zarr", "exists already", "--resume"]);
    world.succeed(&config, &["--shard", "2/4"]);
    world.succeed(&config, &["--finalize"]);
    world.succeed(&config, &["--finalize"]);
    assert_same(&tree(&world.path("reference.zarr")), &tree(&world.path("fused.zarr")));
}

/// The test itself stands in for the first run, by the lock that every run holds.
#[test]
fn two_runs_at_once_are_kept_apart() {
    let world = World::new();
    let config = world.config("fused.toml", "fused.zarr", 20, "");
    world.succeed(&config, &[]);
    let before = tree(&world.path("fused.zarr"));
    let held = fs::File::open(world.path("fused.zarr.state/run.lock")).unwrap();
    held.lock().unwrap();
    for arguments in [&["--resume"][..], &["--append"], &["--append", "--shard", "0/2"], &["--finalize"]] {
        world.fail(&config, arguments, &["another process", "fused.zarr"]);
    }
    held.unlock().unwrap();
    held.lock_shared().unwrap();
    world.fail(&config, &["--append"], &["another process", "fused.zarr"]);
    world.succeed(&config, &["--append", "--shard", "0/2"]);
    assert_same(&before, &tree(&world.path("fused.zarr")));
}

#[test]
fn other_settings_are_refused_by_name() {
    let world = World::new();
    let config = world.config("fused.toml", "fused.zarr", 20, "");
    world.succeed(&config, &[]);
    let before = tree(&world.path("fused.zarr"));
    let text = fs::read_to_string(&config).unwrap();
    let changed = |from: &str, to: &str| {
        let path = world.path("changed.toml");
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
        path
    };
    for (from, to, words) in [
        ("variance = 1e-4", "variance = 2e-4", &["process.variance was 0.0001, is 0.0002"][..]),
        ("halo = 3", "halo = 4", &["window.halo was 3, is 4"]),
        ("lag = 2", "lag = 1", &["smoothing.lag was 2, is 1"]),
        ("tile = [13, 13]", "tile = [16, 16]", &["output.tile was [13, 13], is [16, 16]"]),
        ("noise_variance = 1e-3", "noise_variance = 1e-3\nscale = 2.0", &["instrument \"coarse\": scale", "2.0"]),
        ("checkpoint = \"full\"", "checkpoint = \"full\", precision = \"f32\"", &["run.precision"]),
        ("tile = [13, 13]", "tile = [13, 13], zarr_format = 2", &["output.zarr_format was 3, is 2"]),
    ] {
        for how in ["--append", "--resume"] {
            world.fail(&changed(from, to), &[how], &[words, &["cannot continue", "fused.zarr"]].concat());
        }
    }
    let longer = changed(&day(20).to_string(), &day(25).to_string());
    world.fail(&longer, &["--resume"], &["planned for 21 dates", "26 dates", "--append"]);
    let shorter = changed(&day(20).to_string(), &day(15).to_string());
    world.fail(&shorter, &["--append"], &["21 dates", "16 dates"]);
    assert_same(&before, &tree(&world.path("fused.zarr")));
    // Threads, memory and the like are free.
    world.succeed(&changed("memory = \"300MiB\"", "memory = \"400MiB\", threads = 1"), &["--resume"]);
    world.succeed(&changed("memory = \"300MiB\"", "memory = \"400MiB\", threads = 1"), &["--append"]);
    assert_same(&before, &tree(&world.path("fused.zarr")));
}

#[test]
fn late_dates_are_refused_or_replayed() {
    let world = World::new();
    let reference = world.config("reference.toml", "reference.zarr", 40, "");
    world.succeed(&reference, &[]);
    let late = world.path(&format!("coarse_{}.tif", day(29).format("%Y%m%d")));
    let hidden = world.path("not-yet-there");
    fs::rename(&late, &hidden).unwrap();
    let with = |end: i32| world.config("fused.toml", "fused.zarr", end, ", keep_checkpoints = 3");
    world.succeed(&with(25), &[]);
    world.succeed(&with(33), &["--append"]);
    fs::rename(&hidden, &late).unwrap();
    let words = &["coarse", &day(29).to_string(), "has passed", &day(33).to_string(), "--replay"];
    world.fail(&with(33), &["--append"], words);
    world.fail(&with(40), &["--append"], words);
    world.succeed(&with(40), &["--append", "--replay"]);
    assert_same(&tree(&world.path("reference.zarr")), &tree(&world.path("fused.zarr")));
    let report = world.fuse(&with(40), &["--resume"]).output().unwrap();
    assert!(report.status.success());
}

#[test]
fn damaged_checkpoints_are_named() {
    let world = World::new();
    let reference = world.config("reference.toml", "reference.zarr", 30, "");
    world.succeed(&reference, &[]);
    let with = |end: i32| world.config("fused.toml", "fused.zarr", end, "");
    world.succeed(&with(20), &[]);
    let state = world.path(&format!("fused.zarr.state/tile-1-1.{}.state", day(20)));
    let whole = fs::read(&state).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for bytes in [&damaged[..], &whole[..whole.len() / 3], &[]] {
        fs::write(&state, bytes).unwrap();
        world.fail(&with(30), &["--append"], &["tile-1-1", "remove it", "--replay"]);
    }
    fs::remove_file(&state).unwrap();
    world.fail(&with(30), &["--append"], &["[1, 1]", "no checkpoint", "--replay"]);
    world.succeed(&with(30), &["--append", "--replay"]);
    assert_same(&tree(&world.path("reference.zarr")), &tree(&world.path("fused.zarr")));
}

/// In a mount namespace with a file system of a megabyte; where there is none to be had, nothing can be tried.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_stops_the_run_and_is_resumed_after() {
    let world = World::new();
    let mount = world.path("small");
    fs::create_dir(&mount).unwrap();
    let program = program("fuse").get_program().to_owned();
    let run = |script: &str| {
        let script = format!("mount -t tmpfs -o size=1200k none small && {script}");
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", &script]).env("FUSE", &program).current_dir(world.folder.path());
        command.output().unwrap()
    };
    if !run("true").status.success() {
        let required = std::env::var_os("RASTERFUSE_REQUIRE_SHARED").is_some();
        assert!(!required, "no mount namespaces here");
        println!("no mount namespaces here: not tried");
        return;
    }
    let reference = world.config("reference.toml", "reference.zarr", DAYS - 1, "");
    world.succeed(&reference, &[]);
    world.config("refused.toml", "small/fused.zarr", DAYS - 1, "");
    let output = run("\"$FUSE\" fuse refused.toml || exit $?");
    assert_eq!(output.status.code(), Some(1));
    assert_says(&complaint(&output), &["small/fused.zarr", "free", "run.check_disk"]);

    world.config("fused.toml", "small/fused.zarr", DAYS - 1, ", check_disk = false");
    let script = "\"$FUSE\" fuse fused.toml; echo status $?; cp -r small halfway; mount -o remount,size=64m small; \
                  \"$FUSE\" fuse fused.toml --resume && cp -r small/fused.zarr whole";
    let output = run(script);
    assert!(output.status.success(), "{}", complaint(&output));
    assert_says(&String::from_utf8_lossy(&output.stdout), &["status 1"]);
    assert_says(&complaint(&output), &["small/fused.zarr", "No space left"]);
    let whole = tree(&world.path("reference.zarr"));
    check_readable(&world.path("halfway/fused.zarr"), &whole);
    assert_same(&whole, &tree(&world.path("whole")));
}

/// How many runs are killed by `long`.
const CRASHES: &str = "RASTERFUSE_CRASHES";

/// A tile of about this many cells a side: 1, 9 and 64 of them.
const TILES: [usize; 3] = [30, 13, 4];

/// `make crash N=1000`: kills at random moments over everything that a run can be (fresh, resumed, appended with a lag,
/// replayed, in shards, finalised; large and small tiles), until so many runs were killed; in the end of each life the
/// bytes are those of one run without trouble, and all of them are what was recorded.
#[test]
#[ignore = "takes minutes to hours: RASTERFUSE_CRASHES says how many runs are killed"]
fn long() {
    let wanted: usize = std::env::var(CRASHES).map_or(100, |text| text.parse().unwrap());
    let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| u64::from(time.subsec_nanos()));
    let seed = std::env::var("RASTERFUSE_CRASH_SEED").map_or_else(|_| clock(), |text| text.parse().unwrap());
    println!("RASTERFUSE_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new();
    let late = world.path(&format!("coarse_{}.tif", day(29).format("%Y%m%d")));
    let hidden = world.path("not-yet-there");
    let (mut kills, mut lives, mut by_kind) = (0, 0, BTreeMap::<&str, usize>::new());
    while kills < wanted {
        let tile = TILES[random.random_range(0..TILES.len())];
        let config = |name: &str, end: i32| {
            let path = world.config(&format!("{name}.toml"), &format!("{name}.zarr"), end, ", checkpoint_minutes = 0");
            let text = fs::read_to_string(&path).unwrap().replace("[13, 13]", &format!("[{tile}, {tile}]"));
            fs::write(&path, text).unwrap();
            path
        };
        let reference = format!("reference{tile}");
        let started = Instant::now();
        if !world.path(&format!("{reference}.zarr")).exists() {
            world.succeed(&config(&reference, DAYS - 1), &[]);
        }
        let whole = started.elapsed().clamp(Duration::from_millis(300), Duration::from_secs(5));
        let store = world.path("fused.zarr");
        let with_late = random.random::<bool>();
        if with_late {
            fs::rename(&late, &hidden).unwrap();
        }
        // Killed until it succeeds.
        let mut bear = |kind: &'static str, config: &Path, arguments: &[&str]| {
            for attempt in 0.. {
                let most = whole.mul_f64(0.2 + 0.1 * f64::from(attempt));
                let mut child = spawn(world.fuse(config, arguments));
                std::thread::sleep(most.mul_f64(random.random::<f64>()));
                let _ = child.kill();
                let status = child.wait().unwrap();
                assert!(
                    status.code().is_none_or(|code| code == 0),
                    "{kind}: {:?}",
                    world.fuse(config, arguments).output()
                );
                if status.success() {
                    break;
                }
                kills += 1;
                *by_kind.entry(kind).or_default() += 1;
            }
            random.random::<bool>()
        };
        let shards = bear("fresh", &config("fused", 20), &["--resume"]);
        if shards {
            for shard in ["0/3", "1/3", "2/3"] {
                bear("shards", &config("fused", 33), &["--append", "--shard", shard]);
            }
            bear("finalize", &config("fused", 33), &["--append", "--finalize"]);
        } else {
            bear("append", &config("fused", 33), &["--append"]);
        }
        if with_late {
            fs::rename(&hidden, &late).unwrap();
            bear("replay", &config("fused", 33), &["--append", "--replay"]);
        }
        bear("append", &config("fused", DAYS - 1), &["--append"]);
        assert_same(&tree(&world.path(&format!("{reference}.zarr"))), &tree(&store));
        let verified = program("verify").arg(&store).output().unwrap();
        assert!(verified.status.success(), "{}", complaint(&verified));
        lives += 1;
        fs::remove_dir_all(&store).unwrap();
        fs::remove_dir_all(world.path("fused.zarr.state")).unwrap();
    }
    println!("{lives} series, {kills} runs were killed: {by_kind:?}");
}
