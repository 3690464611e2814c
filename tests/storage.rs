//! A series is the same wherever it is kept: one suite that every storage runs.
#![cfg(feature = "zarr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[cfg(feature = "object-store")]
#[path = "storage/server.rs"]
mod server;
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rasterfuse::describe::{Encoding, Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::engine::{Checkpoint, Shard, Start, verify_checkpoints};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::series::{FusionSink, Report, Verification};
use rasterfuse::sink::{FusedSeries, ZarrSink, verify};
use rasterfuse::source::{RasterSource, ZarrCube};
use rasterfuse::storage::Place;
use rasterfuse::{Error, Fusion, Result};
use support::two_tiles::{SIDE, source};
use support::{FullDisk, assert_says};

const LAG: usize = 2;

/// A series of four tiles to a day, of two instruments; `shared` dates of a tile share an object.
fn fusion_of(shared: usize, end: i32, checkpoint: Checkpoint) -> Fusion {
    let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (SIDE, SIDE)).unwrap();
    let coarse = source(120.0, 0..=end, 2);
    Fusion::builder(grid)
        .bands(["red"])
        .start(Date::from_days(0))
        .end(Date::from_days(end))
        .window(4, 1)
        .tile(4, 4)
        .lag(LAG)
        .threads(1)
        .batch_dates(3)
        .checkpoint(checkpoint)
        .encoding(Encoding::float32().dates_per_object(shared))
        .checkpoint_interval(std::time::Duration::ZERO)
        .process(Process::new(Kernel::Exponential, 100.0, 1e-4))
        .prior(Prior::new(0.25, 0.01))
        .instrument(Instrument::new("fine", source(30.0, (0..=end).filter(|day| day % 5 == 1), 1)).noise_variance(1e-4))
        .instrument(Instrument::new("coarse", coarse).footprint(Footprint::Uniform).noise_variance(1e-3))
        .build()
        .unwrap()
}

const FULL: Checkpoint = Checkpoint::Full;

fn run(place: &Place, end: i32, start: Start) -> Result<Report> {
    run_of(1, place, end, start)
}

fn run_of(shared: usize, place: &Place, end: i32, start: Start) -> Result<Report> {
    fusion_of(shared, end, FULL).job().start(start).run(&mut ZarrSink::create(place))
}

/// Dates and the bits of all values that a reader finds.
fn found(place: &Place) -> (Vec<Date>, Vec<u64>) {
    let series = FusedSeries::open(place).unwrap();
    let mut bits = Vec::new();
    for &date in series.dates() {
        let (mean, sd) = series.values(date, &[0], &series.grid().region()).unwrap();
        bits.extend(mean.iter().chain(sd.iter()).map(|value| value.to_bits()));
    }
    (series.dates().to_vec(), bits)
}

fn verified(place: &Place) -> Verification {
    let mut found = verify(place).unwrap();
    verify_checkpoints(place.beside(".state"), &mut found).unwrap();
    found
}

fn is_whole(place: &Place, chunks: u64, what: &str) {
    let found = verified(place);
    assert!(found.is_whole(), "{what}: {:?} {:?}", found.faults, found.problems);
    assert_eq!(found.chunks, chunks, "{what}");
}

/// What each run of the suite is compared with: runs on a disk without any interruption.
struct Expected {
    _folder: tempfile::TempDir,
    short: (Vec<Date>, Vec<u64>),
    long: (Vec<Date>, Vec<u64>),
}

const SHORT: i32 = 6;
const LONG: i32 = 10;

/// Chunks of a series to this day: four tiles, means and standard deviations.
fn chunks(end: i32) -> u64 {
    (end as u64 + 1) * 4 * 2
}

impl Expected {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let make = |end: i32| {
            let place = Place::from(folder.path().join(format!("{end}.zarr")));
            run(&place, end, Start::New).unwrap();
            is_whole(&place, chunks(end), "on a disk");
            found(&place)
        };
        let (short, long) = (make(SHORT), make(LONG));
        Self { _folder: folder, short, long }
    }
}

/// The suite; `place` gives a new place by its name, `shared` is the number of dates to an object.
fn conforms(shared: usize, place: impl Fn(&str) -> Place) {
    let expected = Expected::new();
    makes_the_same_series(shared, &place("whole"), &expected);
    goes_on_where_a_run_ended(shared, &place("resumed"), &expected);
    adds_dates(shared, &place("appended"), &expected);
    is_shared_by_shards(shared, &place("shared"), &expected);
    keeps_two_runs_apart(shared, &place("apart"));
    shows_whole_dates_while_it_is_written(shared, &place("growing"), &expected);
    forgets_checkpoints_that_nobody_wants(shared, &place("off"), &expected);
}

fn makes_the_same_series(shared: usize, place: &Place, expected: &Expected) {
    assert!(ZarrSink::create(place).existing().unwrap().is_none());
    run_of(shared, place, LONG, Start::New).unwrap();
    assert!(found(place) == expected.long);
    is_whole(place, chunks(LONG), "after a run");
    assert!(matches!(run_of(shared, place, LONG, Start::New), Err(Error::StoreExists { .. })));
    run_of(shared, place, LONG, Start::Resume).unwrap();
    is_a_cube_to_others(place, expected);
    let sink = ZarrSink::create(place);
    assert_eq!(sink.tile_shape().unwrap(), Some((4, 4)));
    assert!(sink.existing().unwrap().unwrap().finished);
}

/// Its means can be fused with something else, wherever it is.
fn is_a_cube_to_others(place: &Place, expected: &Expected) {
    let cube = ZarrCube::builder(place).variable("mean").open().unwrap();
    assert_eq!((cube.dates(), cube.bands()), (&expected.long.0[..], &["red".to_owned()][..]));
    let mut bits = expected.long.1.chunks(SIDE * SIDE).step_by(2);
    for &date in cube.dates() {
        let means = cube.read(date, &[0], &cube.grid().region()).unwrap().values;
        assert!(means.iter().map(|value| value.to_bits()).eq(bits.next().unwrap().iter().copied()), "{date}");
    }
}

fn goes_on_where_a_run_ended(shared: usize, place: &Place, expected: &Expected) {
    for blocks in [3, 10, 17] {
        let mut sink = FullDisk::after(ZarrSink::create(place), blocks);
        let ended = fusion_of(shared, LONG, FULL).job().start(Start::Resume).run(&mut sink);
        assert_says(&ended.unwrap_err().to_string(), &["disk full"]);
        let verified = verified(place);
        assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    }
    run_of(shared, place, LONG, Start::Resume).unwrap();
    assert!(found(place) == expected.long);
    is_whole(place, chunks(LONG), "after it was resumed");
}

fn adds_dates(shared: usize, place: &Place, expected: &Expected) {
    run_of(shared, place, SHORT, Start::Append).unwrap();
    assert!(found(place) == expected.short);
    let generation = verified(place).generation;
    run_of(shared, place, LONG, Start::Append).unwrap();
    assert!(found(place) == expected.long);
    assert!(verified(place).generation > generation);
    is_whole(place, chunks(LONG), "after dates were added");
}

fn is_shared_by_shards(shared: usize, place: &Place, expected: &Expected) {
    let shard = |index: usize| {
        let shard = Shard::new(index, 3).unwrap();
        fusion_of(shared, LONG, FULL).job().start(Start::Resume).shard(shard).run(&mut ZarrSink::create(place))
    };
    let finalize = || fusion_of(shared, LONG, FULL).job().finalize(&mut ZarrSink::create(place));
    shard(1).unwrap();
    assert!(matches!(finalize(), Err(Error::Unfinished { .. })));
    std::thread::scope(|scope| {
        for index in [0, 2] {
            scope.spawn(move || shard(index).unwrap());
        }
    });
    assert!(FusedSeries::open(place).unwrap().dates().is_empty(), "shards show nothing");
    finalize().unwrap();
    assert!(found(place) == expected.long);
    is_whole(place, chunks(LONG), "after shards");
}

fn keeps_two_runs_apart(shared: usize, place: &Place) {
    let tried = AtomicBool::new(false);
    let second = fusion_of(shared, LONG, FULL);
    let other = Place::from(place);
    let first = fusion_of(shared, LONG, FULL);
    let job = first.job().progress(|_| {
        if !tried.swap(true, Ordering::SeqCst) {
            let refused = second.job().start(Start::Resume).run(&mut ZarrSink::create(&other));
            assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
        }
    });
    job.run(&mut ZarrSink::create(place)).unwrap();
    assert!(tried.load(Ordering::SeqCst));
    run_of(shared, place, LONG, Start::Resume).unwrap();
}

fn shows_whole_dates_while_it_is_written(shared: usize, place: &Place, expected: &Expected) {
    let (looks, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let fusion = fusion_of(shared, LONG, FULL);
    let job = fusion.job().progress(|_| {
        let (dates, bits) = found(place);
        let each = expected.long.1.len() / expected.long.0.len();
        assert!(dates == expected.long.0[..dates.len()] && bits == expected.long.1[..dates.len() * each]);
        looks.fetch_add(1, Ordering::SeqCst);
        most.fetch_max(dates.len(), Ordering::SeqCst);
    });
    job.run(&mut ZarrSink::create(place)).unwrap();
    assert!(looks.load(Ordering::SeqCst) > 3 && most.load(Ordering::SeqCst) <= expected.long.0.len());
    assert!(found(place) == expected.long);
}

fn forgets_checkpoints_that_nobody_wants(shared: usize, place: &Place, expected: &Expected) {
    let fusion = fusion_of(shared, LONG, Checkpoint::Off);
    fusion.job().run(&mut ZarrSink::create(place)).unwrap();
    assert!(found(place) == expected.long);
    is_whole(place, chunks(LONG), "without checkpoints");
    fusion.job().start(Start::Resume).run(&mut ZarrSink::create(place)).unwrap();
}

#[test]
fn a_disk_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(1, |name| Place::from(folder.path().join("deep").join(name)));
}

#[test]
fn objects_of_several_dates_conform() {
    let folder = tempfile::tempdir().unwrap();
    conforms(4, |name| Place::from(folder.path().join(name)));
    // All dates in one.
    conforms(100, |_| Place::memory());
}

#[test]
fn memory_conforms() {
    conforms(1, |_| Place::memory());
}

#[test]
fn an_overlay_conforms_wherever_it_moves() {
    let folder = tempfile::tempdir().unwrap();
    let parts = || std::fs::read_dir(folder.path()).unwrap().count();
    // In memory to the end, on the disk from the start, and from one to the other in the middle of all that happens.
    for large in [u64::MAX, 0, 10_000] {
        let kept = std::cell::RefCell::new(Vec::new());
        conforms(1, |_| {
            let place = Place::overlay_within(folder.path(), large, large, 0.0);
            kept.borrow_mut().push(place.clone());
            place
        });
        let moved = if large == u64::MAX { 0 } else { kept.borrow().len() };
        assert_eq!(parts(), moved, "moved beyond {large} bytes");
        drop(kept);
        assert_eq!(parts(), 0, "a temporary store ends with the last place that names it");
    }
}

#[test]
fn readers_hold_an_overlay_open_while_it_moves() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::overlay_within(folder.path(), 100_000, 100_000, 0.0);
    run(&place, SHORT, Start::New).unwrap();
    let series = FusedSeries::open(&place).unwrap();
    let region = series.grid().region();
    // The last dates wait for later ones, and change when these come.
    let settled = &series.dates()[..series.dates().len() - LAG];
    let read = || settled.iter().map(|&date| series.values(date, &[0], &region).unwrap()).collect::<Vec<_>>();
    let before = read();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it is in memory");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                assert!(read() == before);
            }
        });
        // Larger stores than the limit, until it has moved.
        run(&place, 150, Start::Append).unwrap();
        ended.store(true, Ordering::SeqCst);
    });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "it has moved");
    is_whole(&place, chunks(150), "after it moved");
}

#[test]
fn memory_is_found_by_its_name_as_long_as_somebody_refers_to_it() {
    let place = Place::from("memory:by-name");
    run(&place, SHORT, Start::New).unwrap();
    assert!(found(&Place::from("memory:by-name")) == found(&place));
    assert!(FusedSeries::open("memory:another").is_err());
    let series = FusedSeries::open(&place).unwrap();
    drop(place);
    assert!(FusedSeries::open("memory:by-name").is_ok(), "a reader holds it");
    drop(series);
    assert!(FusedSeries::open("memory:by-name").is_err());
}

#[test]
fn urls_of_no_storage_are_refused_with_what_there_is() {
    let refused = |name: &str| run(&Place::from(name), SHORT, Start::New).unwrap_err().to_string();
    assert_says(&refused("ftp://host/fused.zarr"), &["ftp:// is no storage", "memory:", "s3"]);
    if cfg!(feature = "object-store") {
        assert_says(&refused("s3://bucket"), &["names no folder in a bucket"]);
        assert_says(&refused("s3://"), &["names no folder in a bucket"]);
    } else {
        assert_says(&refused("s3://bucket/fused.zarr"), &["not in this build", "feature object-store"]);
    }
}

#[cfg(feature = "object-store")]
mod objects {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use rasterfuse::engine::Start;
    use rasterfuse::storage::StorageOptions;

    use super::server::{Answer, Proxy, Server};
    use super::{Expected, LONG, Place, assert_says, chunks, conforms, found, is_whole, run};

    fn soon(place: Place) -> Place {
        place.lease(Duration::from_secs(3)).retry(Duration::from_secs(10))
    }

    #[test]
    fn an_object_store_conforms() {
        let Some(server) = Server::start() else { return };
        conforms(1, |name| soon(Server::place(name, server.address)));
        conforms(4, |name| soon(Server::place(&format!("shared-{name}"), server.address)));
    }

    /// Servers that are busy, fail and lose answers cost time and nothing else.
    #[test]
    fn what_fails_for_a_moment_is_repeated() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::start(server.address, |request| match request {
            _ if request % 5 == 1 => Answer::Status(503),
            _ if request % 7 == 2 => Answer::Status(500),
            _ if request % 11 == 3 => Answer::Status(429),
            _ if request % 13 == 4 => Answer::Cut,
            _ if request % 17 == 5 => Answer::Lose,
            _ => Answer::Pass,
        });
        let place = soon(Server::place("shaky", proxy.address));
        let expected = Expected::new();
        run(&place, super::SHORT, Start::New).unwrap();
        run(&place, LONG, Start::Append).unwrap();
        let steady = soon(Server::place("shaky", server.address));
        assert!(found(&steady) == expected.long && found(&place) == expected.long);
        is_whole(&steady, chunks(LONG), "behind a shaky server");
    }

    /// A server that takes requests and answers none ends the run in the time that was given, with the keys that set it.
    #[test]
    fn a_server_that_hangs_is_not_waited_for_without_end() {
        let Some(server) = Server::start() else { return };
        let proxy = Proxy::start(server.address, |request| if request < 20 { Answer::Pass } else { Answer::Hang });
        let mut options = StorageOptions::default();
        (options.timeout_seconds, options.retry_seconds, options.lease_seconds) = (0.5, 1.5, 3.0);
        let begun = Instant::now();
        let place = Server::place("hung", proxy.address).options(options);
        let ended = run(&place, LONG, Start::New).unwrap_err().to_string();
        assert_says(&ended, &["s3://bucket/deep/hung.zarr", "timeout_seconds", "retry_seconds", "run.storage"]);
        assert!(begun.elapsed() < Duration::from_secs(40), "{:?}: {ended}", begun.elapsed());
        let steady = soon(Server::place("hung", server.address));
        run(&steady, LONG, Start::Resume).unwrap();
        is_whole(&steady, chunks(LONG), "after a server hung");
    }

    /// What reads stores reads them on a server, too.
    #[cfg(feature = "cli")]
    #[test]
    fn stores_on_a_server_are_exported_and_drawn() {
        let Some(server) = Server::start() else { return };
        let folder = tempfile::tempdir().unwrap();
        let local = Place::from(folder.path().join("seen.zarr"));
        let remote = soon(Server::place("seen", server.address));
        run(&local, super::SHORT, Start::New).unwrap();
        super::run_of(4, &remote, super::SHORT, Start::New).unwrap();
        let read = |subcommand: &str, place: &Place, more: &[&str]| {
            let mut command = super::support::program(subcommand);
            command.arg(place.name()).args(more).current_dir(folder.path());
            command.env("AWS_ENDPOINT_URL", format!("http://{}", server.address)).env("AWS_REGION", "us-east-1");
            command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
            let output = command.output().unwrap();
            assert!(output.status.success(), "{subcommand}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let bands = |place: &Place, to: &str| {
            let report = read("export", place, &["--all", "-o", to, "--json"]);
            let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
            let exported = report["exported"].as_array().unwrap().clone();
            exported.iter().map(|one| (one["date"].clone(), one["bands"].clone())).collect::<Vec<_>>()
        };
        let expected = bands(&local, "local");
        assert_eq!(expected.len(), super::SHORT as usize + 1);
        assert_eq!(bands(&remote, "remote"), expected);
        let names = |of: &str| {
            let mut names: Vec<_> =
                std::fs::read_dir(folder.path().join(of)).unwrap().map(|file| file.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names("remote"), names("local"), "named for the store");
        read("look", &remote, &["--cell", "2,3", "-o", "seen.png"]);
        assert!(std::fs::read(folder.path().join("seen.png")).unwrap().starts_with(b"\x89PNG"));
    }

    /// A server that goes away in the middle ends the run with an error that names it, and the run goes on when it is back.
    #[test]
    fn a_server_that_goes_away_tears_nothing() {
        let Some(server) = Server::start() else { return };
        let expected = Expected::new();
        let left = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&left);
        let proxy = Proxy::start(server.address, move |_| {
            let passes = counted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if passes { Answer::Pass } else { Answer::Cut }
        });
        let steady = soon(Server::place("away", server.address));
        let away = || Server::place("away", proxy.address).lease(Duration::from_secs(1)).retry(Duration::from_secs(1));
        for requests in [30, 60, 90] {
            left.store(requests, Ordering::SeqCst);
            let begun = Instant::now();
            let ended = run(&away(), LONG, Start::Resume).unwrap_err().to_string();
            assert_says(&ended, &["s3://bucket/deep/away.zarr"]);
            assert!(begun.elapsed() < Duration::from_mins(1), "{ended}");
            if let Ok(found) = rasterfuse::sink::verify(&steady) {
                assert!(found.faults.is_empty(), "{:?}", found.faults);
            }
        }
        run(&steady, LONG, Start::Resume).unwrap();
        assert!(found(&steady) == expected.long);
        is_whole(&steady, chunks(LONG), "when the server was back");
    }
}
