//! Whatever happens to the files of a store and its state is named or mended: no panic, no hang, nothing silent.
#![cfg(feature = "zarr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rasterfuse::engine::Start;
use rasterfuse::sink::FusedSeries;
use rasterfuse::source::RasterSource as _;
use support::two_tiles::{RUN, Run, World, complaints, copy, refused, state_of, verified};
use support::{assert_says, tree};

/// A finished series, which is put back after each damage.
struct Kept {
    world: World,
    store: PathBuf,
}

impl Kept {
    fn new(run: Run) -> Self {
        let world = World::new();
        let store = world.made("fused.zarr", run);
        copy(&store, &world.path("kept"));
        copy(&state_of(&store), &world.path("kept.state"));
        Self { world, store }
    }

    fn restore(&self) {
        copy(&self.world.path("kept"), &self.store);
        copy(&self.world.path("kept.state"), &state_of(&self.store));
    }

    fn at(&self, name: &str) -> PathBuf {
        self.store.join(name)
    }

    /// The newest checkpoint of the second tile.
    fn checkpoint(&self) -> PathBuf {
        state_of(&self.store).join("tile-0-1.1970-01-11.state")
    }

    fn append(&self) -> rasterfuse::Result<rasterfuse::series::Report> {
        Run::to(14).append(&self.store)
    }
}

fn exchange(a: &Path, b: &Path) {
    let aside = a.with_extension("aside");
    fs::rename(a, &aside).unwrap();
    fs::rename(b, a).unwrap();
    fs::rename(aside, b).unwrap();
}

/// What takes longer than this waits for something that never comes.
fn soon<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    wait.recv_timeout(Duration::from_mins(1)).unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[test]
fn exchanged_chunks_are_found() {
    let kept = Kept::new(RUN);
    for (a, b, words) in [
        (
            "mean/c/3/0/0/0",
            "mean/c/3/0/0/1",
            ["mean of tile [0, 0] on 1970-01-04", "mean of tile [0, 1] on 1970-01-04"],
        ),
        ("mean/c/3/0/0/0", "sd/c/3/0/0/0", ["mean of tile [0, 0] on 1970-01-04", "sd of tile [0, 0] on 1970-01-04"]),
        ("sd/c/3/0/0/1", "sd/c/9/0/0/1", ["sd of tile [0, 1] on 1970-01-04", "sd of tile [0, 1] on 1970-01-10"]),
    ] {
        exchange(&kept.at(a), &kept.at(b));
        let found = verified(&kept.store);
        assert_eq!(found.changed, 2);
        assert_says(&complaints(&kept.store), &words);
        kept.restore();
    }
    assert!(verified(&kept.store).is_whole());
}

#[test]
fn records_that_are_cut_off_are_made_again() {
    let kept = Kept::new(RUN);
    let whole = tree(&kept.store);
    let records = kept.at("mean/.rasterfuse/tile-0-1.chunks");
    let bytes = fs::read(&records).unwrap();
    for len in [0, 7, 67, 68, 75, 110, bytes.len() - 28, bytes.len() - 1] {
        fs::write(&records, &bytes[..len]).unwrap();
        let said = complaints(&kept.store);
        assert_says(&said, &["tile [0, 1] on 1970-01-11 is not recorded"]);
        RUN.start(&kept.store, Start::Resume, false).unwrap();
        assert!(whole == tree(&kept.store) && verified(&kept.store).is_whole(), "cut at {len}");
        kept.restore();
    }
}

#[test]
fn checkpoints_that_lost_or_gained_states_hide_nothing() {
    let kept = Kept::new(RUN);
    let before = tree(&kept.store);
    let file = kept.checkpoint();
    let bytes = fs::read(&file).unwrap();
    // Magic, then frames of a length, a checksum and as many bytes, then a mark.
    let mut ends = vec![8];
    loop {
        let at = *ends.last().unwrap();
        let len = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        if len == u64::MAX {
            break;
        }
        ends.push(at + 12 + len as usize);
    }
    assert!(ends.len() > 3, "{ends:?}");
    let (last, end) = (ends[ends.len() - 2], ends[ends.len() - 1]);
    let double = [&bytes[..end], &bytes[last..]].concat();
    let fewer = [&bytes[..last], &bytes[end..]].concat();
    for (bytes, words) in [
        (&bytes[..end], "cut short"),
        (&bytes[..last], "cut short"),
        (&bytes[..8], "cut short"),
        (&[], "tile-0-1"),
        (&double, "changed"),
        (&fewer, "changed"),
        (&[&bytes[..], &bytes[last..]].concat(), "follows its end"),
    ] {
        fs::write(&file, bytes).unwrap();
        assert_says(&complaints(&kept.store), &["tile-0-1.1970-01-11.state", words]);
        // With its lag, appending hides the last dates first.
        refused(kept.append(), &["tile-0-1.1970-01-11.state", words]);
        assert!(before == tree(&kept.store), "{words}");
    }
}

#[test]
fn metadata_older_than_the_series_are_refused() {
    let kept = Kept::new(RUN);
    let old = fs::read(kept.at("zarr.json")).unwrap();
    kept.append().unwrap();
    let new = fs::read(kept.at("zarr.json")).unwrap();
    fs::write(kept.at("zarr.json"), &old).unwrap();
    assert_says(&complaints(&kept.store), &["differs from the consolidated metadata", "generation 2"]);
    refused(Run::to(18).append(&kept.store), &["generation 2", "the store of generation 1"]);
    // Of single arrays, beside newer ones of the group.
    fs::write(kept.at("zarr.json"), &new).unwrap();
    let text = fs::read_to_string(kept.at("sd/zarr.json")).unwrap();
    fs::write(kept.at("sd/zarr.json"), text.replacen("15", "11", 1)).unwrap();
    assert_says(&complaints(&kept.store), &["sd/zarr.json", "differs from the consolidated metadata"]);
    Run::to(18).append(&kept.store).unwrap();
    assert!(verified(&kept.store).is_whole());
}

/// No clock decides anything: neither that of this machine nor the times of files.
#[test]
fn times_of_files_do_not_matter() {
    let kept = Kept::new(RUN);
    let reference = tree(&kept.world.made("whole.zarr", Run::to(14)));
    for seconds in [86_400, 4_200_000_000] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for folder in [kept.store.clone(), state_of(&kept.store)] {
            for name in tree(&folder).keys() {
                File::options().write(true).open(folder.join(name)).unwrap().set_modified(time).unwrap();
            }
        }
        kept.append().unwrap();
        assert!(reference == tree(&kept.store) && verified(&kept.store).is_whole());
        kept.restore();
    }
}

#[cfg(unix)]
mod not_files {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn pipe(path: &Path) {
        fs::remove_file(path).unwrap();
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    fn folder(path: &Path) {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }

    fn read(store: PathBuf) -> Result<(), rasterfuse::Error> {
        let series = FusedSeries::open(&store)?;
        for date in series.dates().to_vec() {
            series.values(date, &[0], &series.grid().region())?;
        }
        Ok(())
    }

    #[test]
    fn a_pipe_or_a_folder_in_place_of_a_chunk_is_named() {
        let kept = Kept::new(RUN);
        let whole = tree(&kept.store);
        let chunk = kept.at("mean/c/3/0/0/1");
        for (put, what) in [(pipe as fn(&Path), "a pipe"), (folder, "a folder")] {
            put(&chunk);
            let store = kept.store.clone();
            let said = soon("verify", move || complaints(&store));
            assert_says(&said, &["mean of tile [0, 1] on 1970-01-04", "cannot be read", what]);
            let store = kept.store.clone();
            let error = soon("reading", move || read(store)).unwrap_err().to_string();
            assert_says(&error, &["fused.zarr", "1970-01-04", what]);
            let store = kept.store.clone();
            let resumed = soon("resuming", move || RUN.start(&store, Start::Resume, false));
            if what == "a pipe" {
                resumed.unwrap();
            } else {
                refused(resumed, &["mean/c/3/0/0/1", "directory"]);
                fs::remove_dir(&chunk).unwrap();
                RUN.start(&kept.store, Start::Resume, false).unwrap();
            }
            assert!(whole == tree(&kept.store) && verified(&kept.store).is_whole(), "{what}");
            kept.restore();
        }
    }

    #[test]
    fn a_pipe_or_a_folder_in_place_of_any_other_file_is_named() {
        let kept = Kept::new(RUN);
        let names =
            ["zarr.json", "mean/zarr.json", "time/c/0", "mean/.rasterfuse/tile-0-1.chunks"].map(|name| kept.at(name));
        let state = [kept.checkpoint(), state_of(&kept.store).join(".rasterfuse")];
        for put in [pipe as fn(&Path), folder] {
            for path in names.iter().chain(&state) {
                put(path);
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let store = kept.store.clone();
                soon(&name, move || {
                    let _ = read(store.clone());
                    // A group that cannot be read is no series.
                    match rasterfuse::sink::verify(&store) {
                        Ok(_) => assert!(!verified(&store).is_whole()),
                        Err(error) => assert_says(&error.to_string(), &["fused.zarr"]),
                    }
                    if let Err(error) = Run::to(14).append(&store) {
                        assert_says(&error.to_string(), &["fused.zarr"]);
                    } else {
                        assert!(verified(&store).is_whole(), "{}", complaints(&store));
                    }
                });
                if path.is_dir() {
                    fs::remove_dir(path).unwrap();
                }
                kept.restore();
            }
        }
    }

    #[test]
    fn a_link_in_place_of_a_chunk_is_followed_and_never_written_through() {
        let kept = Kept::new(RUN);
        let whole = tree(&kept.store);
        let (chunk, other) = (kept.at("mean/c/3/0/0/1"), kept.world.path("elsewhere"));
        // To what was written: as good as the file.
        fs::rename(&chunk, &other).unwrap();
        symlink(&other, &chunk).unwrap();
        assert!(verified(&kept.store).is_whole());
        // To something else.
        fs::write(&other, "somebody's notes").unwrap();
        assert_says(&complaints(&kept.store), &["mean of tile [0, 1] on 1970-01-04 has 16 bytes"]);
        RUN.start(&kept.store, Start::Resume, false).unwrap();
        assert!(whole == tree(&kept.store) && !chunk.is_symlink());
        assert_eq!(fs::read(&other).unwrap(), b"somebody's notes");
        // To nothing, and to itself.
        for target in [kept.world.path("nothing"), chunk.clone()] {
            fs::remove_file(&chunk).unwrap();
            symlink(target, &chunk).unwrap();
            let said = match rasterfuse::sink::verify(&kept.store) {
                Ok(_) => complaints(&kept.store),
                Err(error) => error.to_string(),
            };
            assert_says(&said, &["mean"]);
            if let Err(error) = RUN.start(&kept.store, Start::Resume, false) {
                assert_says(&error.to_string(), &["mean/c/3/0/0/1"]);
                fs::remove_file(&chunk).unwrap();
                RUN.start(&kept.store, Start::Resume, false).unwrap();
            }
            assert!(whole == tree(&kept.store) && !chunk.is_symlink());
        }
    }
}

/// What a copy takes while the series grows may be of different moments.
#[test]
fn a_store_copied_while_it_grows_gives_what_was_written_or_an_error() {
    let world = World::new();
    let store = world.made("fused.zarr", Run::to(6));
    let (earlier, later) = (world.path("earlier.zarr"), world.path("later.zarr"));
    copy(&store, &earlier);
    Run::to(12).append(&store).unwrap();
    copy(&store, &later);
    let values = |store: &Path| {
        let series = FusedSeries::open(store).unwrap();
        let read = |date| series.values(date, &[0], &series.grid().region());
        series.dates().iter().map(|date| (*date, read(*date))).collect::<Vec<_>>()
    };
    let written: Vec<_> = [&earlier, &later].map(|store| values(store)).into_iter().flatten().collect();
    let written: Vec<_> = written.into_iter().map(|(date, read)| (date, read.unwrap())).collect();
    let reference = tree(&store);
    let of_chunks = |name: &str| name.starts_with("mean/c/") || name.starts_with("sd/c/");
    let of_records = |name: &str| name.starts_with("mean/.rasterfuse/");
    let mut lost = 0;
    for mix in 1..7 {
        let from = |name: &str| {
            let bit = if of_chunks(name) { 0 } else { 1 + usize::from(of_records(name)) };
            if mix >> bit & 1 == 0 { &earlier } else { &later }
        };
        let mixed = world.path("mixed.zarr");
        let _ = fs::remove_dir_all(&mixed);
        for name in tree(&later).into_keys() {
            let (path, target) = (from(&name).join(&name), mixed.join(&name));
            if path.exists() {
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::copy(path, target).unwrap();
            }
        }
        let mut own = 0;
        for (date, read) in values(&mixed) {
            match read {
                Ok(read) => assert!(written.contains(&(date, read)), "mix {mix}: {date} is nothing that was written"),
                Err(error) => {
                    assert_says(
                        &error.to_string(),
                        &["mixed.zarr", &date.to_string(), "mean", "the chunk of tile", "rasterfuse verify"],
                    );
                    own += 1;
                }
            }
        }
        assert!(own == 0 || !verified(&mixed).is_whole());
        lost += own;
        // With the state of the later moment it goes on to the series that was copied, or says why not.
        copy(&state_of(&store), &state_of(&mixed));
        match Run::to(12).start(&mixed, Start::Resume, false) {
            Ok(_) => assert!(tree(&mixed) == reference, "mix {mix}"),
            Err(error) => assert_says(&error.to_string(), &["mixed.zarr"]),
        }
    }
    // Documents of the later moment speak of chunks that the earlier one did not have.
    assert_eq!(lost, 2 * 6);
}
