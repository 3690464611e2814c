//! A store proves that it is whole: foreign state is refused, what is missing is named and made again, what has changed
//! is found, and nothing of anybody else is touched.
#![cfg(feature = "zarr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use ndarray::Array4;
use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
use rasterfuse::engine::{Checkpoint, FusionBuilder, OnError, Shard, Start};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::series::FusionSink;
use rasterfuse::sink::{FusedSeries, ZarrFormat, ZarrSink, verify, verify_watched};
use rasterfuse::source::{MemorySource, PassProgress, PassWatch, RasterSource as _};
use rasterfuse::{Error, Fusion};
use support::two_tiles::{RUN, Run, World, complaints, copy, flip, group, refused, state_of, verified};
use support::{FullDisk, assert_says, tree};

#[test]
fn state_of_another_series_or_tile_is_refused_by_name() {
    let world = World::new();
    let (own, other) = (world.made("own.zarr", RUN), world.made("other.zarr", Run { seed: 5, ..RUN }));
    copy(&state_of(&own), &world.path("kept"));
    let before = tree(&own);
    copy(&state_of(&other), &state_of(&own));
    refused(Run::to(14).append(&own), &["own.zarr.state/tile-0-0", "another series"]);
    assert_says(&complaints(&own), &["another series"]);
    copy(&world.path("kept"), &state_of(&own));
    let file = |tile: &str, day: i32| state_of(&own).join(format!("tile-{tile}.{}.state", Date::from_days(day)));
    fs::copy(file("0-0", 10), file("0-1", 10)).unwrap();
    refused(Run::to(14).append(&own), &["tile-0-1", "tile [0, 0]", "renamed"]);
    copy(&world.path("kept"), &state_of(&own));
    fs::rename(file("0-1", 10), file("0-1", 9)).unwrap();
    refused(Run::to(14).append(&own), &["tile-0-1.1970-01-10", "1970-01-11", "renamed"]);
    assert!(before == tree(&own), "a refusal changes nothing");
    copy(&world.path("kept"), &state_of(&own));
    Run::to(14).append(&own).unwrap();
    assert!(tree(&own) == tree(&world.made("whole.zarr", Run::to(14))));
}

#[test]
fn older_copies_of_state_or_store_are_refused_by_name() {
    let world = World::new();
    let store = world.made("fused.zarr", RUN);
    copy(&store, &world.path("old"));
    copy(&state_of(&store), &world.path("old.state"));
    Run::to(14).append(&store).unwrap();
    copy(&store, &world.path("new"));
    copy(&state_of(&store), &world.path("new.state"));
    copy(&world.path("old.state"), &state_of(&store));
    refused(Run::to(18).append(&store), &["tile-0-0.1970-01-11.state", "older copy", "1970-01-15 (generation 2)"]);
    assert_says(&complaints(&store), &["an older copy"]);
    copy(&world.path("new.state"), &state_of(&store));
    copy(&world.path("old"), &store);
    refused(Run::to(18).append(&store), &["generation 2", "the store of generation 1", "the store was replaced"]);
    copy(&world.path("new"), &store);
    Run::to(18).append(&store).unwrap();
    assert!(tree(&store) == tree(&world.made("whole.zarr", Run::to(18))));
}

#[test]
fn chunks_that_are_missing_are_made_again() {
    let world = World::new();
    let whole = tree(&world.made("whole.zarr", Run::to(14)));
    for format in [ZarrFormat::V3, ZarrFormat::V2] {
        let run = Run { format, ..Run::to(14) };
        let store = world.made(&format!("{format:?}.zarr"), run);
        let reference = tree(&store);
        let chunk = |array: &str, time: i32| {
            let c = if format == ZarrFormat::V3 { "c/" } else { "" };
            store.join(format!("{array}/{c}{time}/0/0/1"))
        };
        fs::remove_file(chunk("sd", 6)).unwrap();
        assert_says(&complaints(&store), &["sd of tile [0, 1] on 1970-01-07 is missing"]);
        run.start(&store, Start::Resume, false).unwrap();
        assert!(tree(&store) == reference);
        // An appending run makes them again, too; cut off is as bad as gone.
        let bytes = fs::read(chunk("mean", 0)).unwrap();
        fs::write(chunk("mean", 0), &bytes[1..]).unwrap();
        Run { end: 16, ..run }.append(&store).unwrap();
        assert!(verified(&store).is_whole(), "{}", complaints(&store));
        assert_eq!(fs::read(chunk("mean", 0)).unwrap(), bytes);
        // Without its records nothing of a tile can be known.
        fs::remove_file(store.join("mean/.rasterfuse/tile-0-0.chunks")).unwrap();
        assert_says(&complaints(&store), &["no records of 1 of 2 tiles"]);
        Run { end: 16, ..run }.start(&store, Start::Resume, false).unwrap();
        assert!(verified(&store).is_whole(), "{}", complaints(&store));
    }
    assert!(whole == tree(&world.path("whole.zarr")));
}

#[test]
fn no_date_becomes_visible_without_its_chunks() {
    let world = World::new();
    let store = world.path("fused.zarr");
    let fusion = RUN.fusion(Checkpoint::Full);
    let shard = |index| fusion.job().shard(Shard::new(index, 2).unwrap()).run(&mut ZarrSink::create(&store));
    shard(0).unwrap();
    shard(1).unwrap();
    let chunk = store.join("mean/c/4/0/0/1");
    fs::remove_file(&chunk).unwrap();
    let finalize = || fusion.job().finalize(&mut ZarrSink::create(&store));
    let error = finalize().unwrap_err();
    assert!(matches!(error, Error::Incomplete { .. }), "{error}");
    assert_says(&error.to_string(), &["1 chunk is", "mean of tile [0, 1] on 1970-01-05 is missing", "resume"]);
    assert!(FusedSeries::open(&store).unwrap().dates().is_empty());
    shard(1).unwrap();
    finalize().unwrap();
    assert!(tree(&store) == tree(&world.made("whole.zarr", RUN)));
}

#[test]
fn dates_that_no_checkpoint_has_passed_are_looked_at() {
    let world = World::new();
    let once = |builder: FusionBuilder| {
        builder.tile(8, 8).checkpoint_interval(std::time::Duration::from_hours(1)).build().unwrap()
    };
    let whole = world.path("whole.zarr");
    once(RUN.builder()).run(&mut ZarrSink::create(&whole)).unwrap();
    let store = world.path("fused.zarr");
    once(RUN.broken(9)).run(&mut ZarrSink::create(&store)).unwrap_err();
    let visible = FusedSeries::open(&store).unwrap().dates().len();
    assert!(visible > 5 && verified(&store).saved.iter().all(|(_, saved)| saved.is_none()));
    fs::remove_file(store.join("mean/c/5/0/0/0")).unwrap();
    once(RUN.builder()).job().start(Start::Resume).run(&mut ZarrSink::create(&store)).unwrap();
    assert!(verified(&store).is_whole(), "{}", complaints(&store));
    assert_eq!(fs::read(store.join("mean/c/5/0/0/0")).unwrap(), fs::read(whole.join("mean/c/5/0/0/0")).unwrap());
}

#[test]
fn checkpoints_outlive_a_store_that_is_away() {
    let world = World::new();
    let store = world.made("fused.zarr", RUN);
    let (whole, state) = (tree(&store), tree(&state_of(&store)));
    fs::rename(&store, world.path("away")).unwrap();
    for start in [Start::Resume, Start::Append] {
        refused(RUN.start(&store, start, true), &["fused.zarr.state", "checkpoints", "Put it back"]);
    }
    assert!(tree(&state_of(&store)) == state && !store.exists());
    fs::rename(world.path("away"), &store).unwrap();
    Run::to(14).append(&store).unwrap();
    // What cannot be looked at is not absent.
    let error = ZarrSink::create(world.path(&"x".repeat(300))).existing().unwrap_err();
    assert_says(&error.to_string(), &["cannot tell whether it exists"]);
    // To a new series what is left of another does not matter.
    fs::remove_dir_all(&store).unwrap();
    RUN.start(&store, Start::New, false).unwrap();
    assert!(tree(&store) == whole && verified(&store).is_whole());
}

#[test]
fn shards_replay_what_stays_broken_once() {
    let world = World::new();
    let store = world.path("fused.zarr");
    let fusion = |builder: FusionBuilder| builder.on_error(OnError::Skip).checkpoint(Checkpoint::Full).build().unwrap();
    let replay = |fusion: &Fusion, index: usize| {
        let job = fusion.job().start(Start::Append).replay(true).shard(Shard::new(index, 2).unwrap());
        job.run(&mut ZarrSink::create(&store)).unwrap();
    };
    let finalize = |fusion: &Fusion| fusion.job().start(Start::Append).finalize(&mut ZarrSink::create(&store));
    let identity = || ZarrSink::create(&store).existing().unwrap().unwrap().identity.unwrap();
    let broken = fusion(RUN.broken(7));
    broken.run(&mut ZarrSink::create(&store)).unwrap();
    let first = tree(&store);
    replay(&broken, 0);
    assert!(identity().replaying);
    // The other tile must try again, too.
    assert!(matches!(finalize(&broken).unwrap_err(), Error::Unfinished { missing, .. } if missing == [(0, 1)]));
    replay(&broken, 1);
    let report = finalize(&broken).unwrap();
    assert!(report.to_string().contains("on fire") && !identity().replaying, "{report}");
    assert_eq!(identity().generation, 2, "one replay is one generation");
    let chunks = |tree: &std::collections::BTreeMap<String, Vec<u8>>| {
        tree.iter().filter(|(name, _)| name.contains("/c/")).map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>()
    };
    assert!(chunks(&first) == chunks(&tree(&store)));
    let repaired = fusion(RUN.builder());
    (0..2).for_each(|index| replay(&repaired, index));
    finalize(&repaired).unwrap();
    assert!(chunks(&tree(&store)) == chunks(&tree(&world.made("whole.zarr", RUN))));
}

#[test]
fn without_checkpoints_what_is_missing_is_still_named() {
    let world = World::new();
    let store = world.path("fused.zarr");
    let run = |start: Start, replay: bool| {
        let fusion = RUN.fusion(Checkpoint::Off);
        fusion.job().start(start).replay(replay).run(&mut ZarrSink::create(&store))
    };
    run(Start::New, false).unwrap();
    let reference = tree(&store);
    run(Start::Resume, false).unwrap();
    fs::remove_file(store.join("mean/c/4/0/0/1")).unwrap();
    refused(run(Start::Resume, false), &["mean of tile [0, 1] on 1970-01-05 is missing"]);
    run(Start::Resume, true).unwrap();
    assert!(tree(&store) == reference);
}

#[test]
fn verify_names_whatever_has_changed() {
    for format in [ZarrFormat::V3, ZarrFormat::V2] {
        let world = World::new();
        let store = world.made("fused.zarr", Run { format, ..RUN });
        copy(&store, &world.path("kept"));
        copy(&state_of(&store), &world.path("kept.state"));
        let found = verified(&store);
        assert!(found.is_whole(), "{}", complaints(&store));
        assert_eq!(found.chunks, 2 * 2 * 11);
        let c = if format == ZarrFormat::V3 { "c/" } else { "" };
        let at = |name: &str| store.join(name.replace("c/", c));
        let state = |name: &str| state_of(&store).join(name);
        let document = if format == ZarrFormat::V3 { "mean/zarr.json" } else { "mean/.zarray" };
        let check = |words: &[&str], harm: &dyn Fn()| {
            harm();
            let said = complaints(&store);
            assert_says(&said, words);
            copy(&world.path("kept"), &store);
            copy(&world.path("kept.state"), &state_of(&store));
        };
        check(&["mean of tile [0, 0] on 1970-01-04 holds other bytes"], &|| flip(&at("mean/c/3/0/0/0"), 40));
        check(&["sd of tile [0, 1] on 1970-01-04 has"], &|| fs::write(at("sd/c/3/0/0/1"), "x").unwrap());
        check(&["mean of tile [0, 0] on 1970-01-04", "mean of tile [0, 0] on 1970-01-06"], &|| {
            fs::rename(at("mean/c/3/0/0/0"), at("mean/c/aside")).unwrap();
            fs::rename(at("mean/c/5/0/0/0"), at("mean/c/3/0/0/0")).unwrap();
            fs::rename(at("mean/c/aside"), at("mean/c/5/0/0/0")).unwrap();
        });
        check(&["tile [0, 1] on 1970-01-11 is not recorded"], &|| {
            let records = store.join("mean/.rasterfuse/tile-0-1.chunks");
            let bytes = fs::read(&records).unwrap();
            fs::write(records, &bytes[..bytes.len() - 1]).unwrap();
        });
        check(&["another tile"], &|| {
            let records = |tile: &str| store.join(format!("mean/.rasterfuse/tile-{tile}.chunks"));
            fs::copy(records("0-0"), records("0-1")).unwrap();
        });
        check(&["differs from the consolidated metadata"], &|| {
            let text = fs::read_to_string(store.join(document)).unwrap();
            fs::write(store.join(document), text.replacen("11", "9", 1)).unwrap();
        });
        check(&["holds other dates than were planned"], &|| {
            // The smallest change of a day.
            let bytes = fs::read(at("time/c/0")).unwrap();
            let crc = if format == ZarrFormat::V3 { 4 } else { 0 };
            let (days, _) = bytes.split_at(bytes.len() - crc);
            let mut days = days.to_vec();
            days[8 * 4] = 5;
            days[8 * 5] = 4;
            let crc = if crc > 0 { crc32c(&days).to_le_bytes().to_vec() } else { Vec::new() };
            fs::write(at("time/c/0"), [days, crc].concat()).unwrap();
        });
        check(&["its bytes have changed", "replay"], &|| flip(&state("tile-0-1.1970-01-11.state"), 900));
        let y = if format == ZarrFormat::V3 { "y/zarr.json" } else { "y/.zarray" };
        for name in [y, "x/c/0", "band/c/0"] {
            fs::remove_file(at(name)).unwrap();
        }
        assert!(!complaints(&store).is_empty());
        Run { format, ..Run::to(14) }.append(&store).unwrap();
        assert!(verified(&store).is_whole(), "{}", complaints(&store));
        copy(&world.path("kept"), &store);
        copy(&world.path("kept.state"), &state_of(&store));
        check(&["no checkpoint of tile [0, 1]"], &|| fs::remove_file(state("tile-0-1.1970-01-11.state")).unwrap());
        assert!(verified(&store).is_whole());
    }
}

/// The checksum that Zarr's codec `crc32c` appends, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _: i32| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn readers_see_flipped_bits_in_v3() {
    let world = World::new();
    let store = world.made("fused.zarr", RUN);
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    let read = || {
        let series = FusedSeries::open(&store).unwrap();
        series.values(series.dates()[3], &[0], &series.grid().region())
    };
    read().unwrap();
    flip(&store.join("mean/c/3/0/0/1"), 30);
    assert_says(&read().unwrap_err().to_string(), &["fused.zarr", "1970-01-04", "mean", "checksum"]);
}

#[test]
fn a_replay_that_was_interrupted_goes_on_as_one() {
    let world = World::new();
    let reference = tree(&world.made("whole.zarr", Run::to(14)));
    for blocks in 0..20 {
        let store = world.made(&format!("{blocks}.zarr"), Run { late: false, ..Run::to(14) });
        let generation = || ZarrSink::create(&store).existing().unwrap().unwrap().identity.unwrap().generation;
        assert_eq!(generation(), 1);
        let fusion = Run::to(14).fusion(Checkpoint::Full);
        refused(fusion.job().start(Start::Append).run(&mut ZarrSink::create(&store)), &["coarse", "1970-01-08"]);
        let mut sink = FullDisk::after(ZarrSink::create(&store), blocks);
        let replayed = fusion.job().start(Start::Append).replay(true).run(&mut sink);
        // Readers that open it meanwhile see nothing of the dates that are made anew.
        if replayed.is_err() {
            let existing = ZarrSink::create(&store).existing().unwrap().unwrap();
            assert!(existing.is_replaying() && existing.visible <= 5, "{existing:?}");
            fs::rename(state_of(&store), world.path("aside")).unwrap();
            assert_says(&complaints(&store), &["state", "is not there"]);
            fs::rename(world.path("aside"), state_of(&store)).unwrap();
            assert_eq!(FusedSeries::open(&store).unwrap().dates().len(), existing.visible);
        }
        assert_eq!(generation(), 2, "readers can tell");
        Run::to(14).start(&store, Start::Resume, false).unwrap();
        assert!(tree(&store) == reference, "after {blocks} blocks");
        assert!(!ZarrSink::create(&store).existing().unwrap().unwrap().is_replaying());
        assert!(verified(&store).is_whole(), "{}", complaints(&store));
    }
}

#[test]
fn a_damaged_checkpoint_hides_nothing() {
    let world = World::new();
    let store = world.made("fused.zarr", RUN);
    let before = tree(&store);
    let state = state_of(&store).join("tile-0-1.1970-01-11.state");
    let whole = fs::read(&state).unwrap();
    for at in [20, whole.len() / 2, whole.len() - 2] {
        fs::write(&state, &whole).unwrap();
        flip(&state, at);
        refused(Run::to(14).append(&store), &["tile-0-1.1970-01-11.state"]);
        assert!(tree(&store) == before, "byte {at}");
    }
    fs::write(&state, &whole[..whole.len() - 2]).unwrap();
    refused(Run::to(14).append(&store), &["tile-0-1.1970-01-11.state", "cut short"]);
    assert!(tree(&store) == before);
}

#[test]
fn metadata_that_were_edited_are_refused_by_key() {
    let world = World::new();
    let store = world.made("fused.zarr", RUN);
    let whole = group(&store);
    for (from, to, words) in [
        ("\"dates_committed\": 11", "\"dates_committed\": 99", &["dates_committed is 99", "dates_planned 11"][..]),
        ("\"dates_planned\": 11", "\"dates_planned\": 3", &["dates_committed is 11"]),
        ("\"dates_settled\": 9", "\"dates_settled\": 11", &["dates_settled is 11"]),
        ("\"dates_finished\": 11", "\"dates_finished\": 12", &["dates_finished is 12"]),
        ("\"series_generation\": 1", "\"series_generation\": -1", &["series_generation"]),
        ("\"dates_committed\": 11", "\"dates_committed\": ", &["zarr.json is damaged"]),
    ] {
        assert!(whole.contains(from), "{from}");
        fs::write(store.join("zarr.json"), whole.replace(from, to)).unwrap();
        for run in [Run::to(14), RUN] {
            refused(run.append(&store), words);
            refused(run.start(&store, Start::Resume, true), words);
        }
        assert_says(&verify(&store).unwrap_err().to_string(), words);
        assert_says(&FusedSeries::open(&store).unwrap_err().to_string(), words);
    }
    // A lag that is not believed: what was settled follows from the run's own.
    let edited = whole.replace("\"lag\": 2", "\"lag\": 0").replace("\"dates_settled\": 9", "\"dates_settled\": 11");
    fs::write(store.join("zarr.json"), edited).unwrap();
    Run::to(14).append(&store).unwrap();
    assert!(tree(&store) == tree(&world.made("whole.zarr", Run::to(14))));
}

#[test]
fn stores_of_earlier_versions_are_refused_by_what_they_lack() {
    let world = World::new();
    let store = world.made("fused.zarr", RUN);
    let older: Vec<String> =
        group(&store).lines().filter(|line| !line.contains("\"series_")).map(ToOwned::to_owned).collect();
    fs::write(store.join("zarr.json"), older.join("\n")).unwrap();
    refused(Run::to(14).append(&store), &["fused.zarr", "earlier version", "no identity"]);
    assert_says(&complaints(&store), &["earlier version", "without records"]);
    // They are read as ever.
    assert_eq!(FusedSeries::open(&store).unwrap().dates().len(), 11);
}

#[test]
fn nothing_of_anybody_else_is_touched() {
    let world = World::new();
    // A store by the name of another one's state.
    let victim = world.made("q.state", RUN);
    let before = tree(&victim);
    refused(RUN.append(&world.path("q")), &["q.state", "marker"]);
    assert!(tree(&victim) == before && !world.path("q").exists());
    // Notes in the folder of checkpoints outlive it.
    let store = world.path("fused.zarr");
    let off = |end: i32, start: Start| {
        let fusion = Run::to(end).fusion(Checkpoint::Off);
        fusion.job().start(start).replay(true).run(&mut ZarrSink::create(&store))
    };
    RUN.append(&store).unwrap();
    let notes = ["notes.txt", "notes.state", "tile-0-0.1970-01-11.state.bak"].map(|name| state_of(&store).join(name));
    notes.iter().for_each(|note| fs::write(note, "mine").unwrap());
    off(14, Start::Append).unwrap();
    assert!(notes.iter().all(|note| note.exists()));
    assert_eq!(fs::read_dir(state_of(&store)).unwrap().count(), notes.len());
    // And are in the way of a new one.
    refused(Run::to(18).start(&store, Start::Append, true), &["fused.zarr.state", "marker"]);
}

#[test]
fn a_store_is_one_whichever_way_it_is_spelled() {
    let world = World::new();
    let store = world.made("fused.zarr", RUN);
    fs::create_dir(world.path("deep")).unwrap();
    Run::to(14).append(&world.path("deep/../fused.zarr")).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&store, world.path("link.zarr")).unwrap();
        Run::to(16).append(&world.path("link.zarr")).unwrap();
        assert!(!world.path("link.zarr.state").exists());
    }
    Run::to(18).append(&store).unwrap();
    assert!(tree(&store) == tree(&world.made("whole.zarr", Run::to(18))));
    let lock = fs::File::open(state_of(&store).join("run.lock")).unwrap();
    lock.lock().unwrap();
    for name in ["fused.zarr", "deep/../fused.zarr", "./fused.zarr/"] {
        refused(Run::to(20).append(&world.path(name)), &["another process"]);
    }
    refused(RUN.append(&world.path("new/..")), &["new/..", "does not exist"]);
    refused(RUN.append(Path::new("")), &["empty"]);
}

/// Stores of this version, of both formats and small, for `fuzz/`: a line `== path` before each file.
#[test]
fn seeds_are_stores_of_this_version() {
    let world = World::new();
    for (name, format) in [("series_v3", ZarrFormat::V3), ("series_v2", ZarrFormat::V2)] {
        let store = world.path(name);
        let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (2, 2)).unwrap();
        let values = Array4::from_elem((2, 1, 2, 2), 0.3);
        let dates = vec![Date::from_days(1), Date::from_days(2)];
        let seen = MemorySource::new(grid.clone(), dates, vec!["red".into()], values).unwrap();
        let fusion = Fusion::builder(grid)
            .bands(["red"])
            .process(Process::new(Kernel::None, 100.0, 1e-4))
            .prior(Prior::new(0.25, 0.01))
            .instrument(Instrument::new("fine", seen).noise_variance(1e-4));
        fusion.build().unwrap().run(&mut ZarrSink::create(&store).format(format)).unwrap();
        let files = tree(&store).into_keys().map(|name| (fs::read(store.join(&name)).unwrap(), name));
        let seed: Vec<Vec<u8>> =
            files.map(|(bytes, name)| [format!("== {name}\n").into_bytes(), bytes].concat()).collect();
        let seed = [b"\n".to_vec(), seed.join(&b"\n"[..])].concat();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/store").join(name);
        if std::env::var_os("RASTERFUSE_WRITE_SEEDS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &seed).unwrap();
        }
        // All but the random id is the same, so the length is.
        let kept = fs::read(&path).unwrap().len();
        assert_eq!(kept, seed.len(), "{name}: write it again with RASTERFUSE_WRITE_SEEDS=1");
    }
}

/// Notes how far a verification is, and ends it after some looks.
#[derive(Debug)]
struct Patience {
    looks: std::sync::Mutex<Vec<f64>>,
    most: usize,
}

impl PassWatch for Patience {
    fn progress(&self, progress: &PassProgress) {
        self.looks.lock().unwrap().push(progress.share);
    }

    fn stops(&self) -> bool {
        self.looks.lock().unwrap().len() >= self.most
    }
}

#[test]
fn verify_says_how_far_it_is_and_can_be_ended() {
    let world = World::new();
    let store = world.made("fused.zarr", RUN);
    let watch = |most| Patience { looks: std::sync::Mutex::default(), most };
    let patient = watch(usize::MAX);
    assert_eq!(verify_watched(&store, &patient).unwrap().chunks, 2 * 2 * 11);
    assert_eq!(*patient.looks.lock().unwrap(), [0.0, 0.5], "one look for each of two tiles");
    assert!(matches!(verify_watched(&store, &watch(1)), Err(Error::Interrupted)));
}
