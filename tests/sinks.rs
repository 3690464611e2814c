//! Every sink keeps the same promises: one suite that each implementation runs, then what is particular to stores on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, missing_docs)]

mod support;

use std::path::Path;
use std::sync::Arc;

use ndarray::{Array4, Axis, Slice, s};
use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
use rasterfuse::engine::FusionBuilder;
use rasterfuse::geometry::Date;
use rasterfuse::series::{FusedBlock, FusionSink, Report, SeriesLayout};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::RasterSource;
use rasterfuse::{Error, Fusion};
use support::{Fault, FaultySource, Truth, assert_says, day, grid};
use tempfile::TempDir;

/// Days of the series; longer than a batch, so that a run commits more than once.
const DAYS: usize = 12;

/// Bands with names that are long, short and not ASCII.
const BANDS: [&str; 3] = ["nir", "grün/2", "近赤外"];

/// What a reader finds: dates, mean and standard deviation (time, band, y, x) as float32.
#[derive(Debug)]
struct Series {
    dates: Vec<Date>,
    mean: Array4<f32>,
    sd: Array4<f32>,
}

impl Series {
    fn first(&self, dates: usize) -> Self {
        let cut = |values: &Array4<f32>| values.slice_axis(Axis(0), Slice::from(..dates)).to_owned();
        Self { dates: self.dates[..dates].to_vec(), mean: cut(&self.mean), sd: cut(&self.sd) }
    }
}

/// To the bit, any NaN to any NaN.
impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Array4<f32>, b: &Array4<f32>| {
            a.dim() == b.dim() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
        };
        self.dates == other.dates && same(&self.mean, &other.mean) && same(&self.sd, &other.sd)
    }
}

/// Observed on days 0, 4 and 8.
fn observed() -> Arc<dyn RasterSource> {
    Arc::new(Truth::new(grid((7, 11)), 3, &BANDS).source())
}

fn failing_on(date: Date) -> Arc<dyn RasterSource> {
    Arc::new(FaultySource { inner: observed(), date, fault: Fault::Fail })
}

fn builder(source: Arc<dyn RasterSource>) -> FusionBuilder {
    Fusion::builder(grid((7, 11)))
        .bands(BANDS)
        .start(day(0))
        .end(day(DAYS as i32 - 1))
        .window(2, 1)
        .threads(2)
        .process(Process::new(Kernel::Exponential, 60.0, 3.0))
        .prior(Prior::new(100.0, 900.0))
        .instrument(Instrument::new("camera", source).noise_variance(4.0))
}

/// Four tiles, those on the right and below clipped.
fn tiled() -> Fusion {
    builder(observed()).tile(4, 6).build().unwrap()
}

/// The blocks of a run, made to hold numbers that float32 rounds and NaN, in no particular order.
fn blocks(fusion: &Fusion) -> Vec<FusedBlock> {
    let mut blocks: Vec<_> = fusion.stream().collect::<rasterfuse::Result<_>>().unwrap();
    let odd = [f64::NAN, 1e30, -1e-60, -0.0, f64::MIN_POSITIVE, 0.1, 16_777_217.0];
    for (block, value) in blocks.iter_mut().zip(odd.iter().cycle()) {
        block.mean[(0, 0, 0)] = *value;
        block.uncertainty.slice_mut(s![1, .., -1]).fill(value.abs());
    }
    blocks.sort_by_key(|block| (block.time * 5 + block.tile.0 * 7 + block.tile.1 * 3) % 11);
    blocks
}

/// What the blocks make when put together.
fn assembled(layout: &SeriesLayout, blocks: &[FusedBlock]) -> Series {
    let shape = (layout.dates.len(), layout.bands.len(), layout.grid.rows(), layout.grid.cols());
    let mut mean = Array4::zeros(shape);
    let mut sd = mean.clone();
    for block in blocks {
        let place = s![block.time, .., block.region.rows.clone(), block.region.cols.clone()];
        mean.slice_mut(place).assign(&block.mean.mapv(|v| v as f32));
        sd.slice_mut(place).assign(&block.uncertainty.mapv(|v| v as f32));
    }
    Series { dates: layout.dates.clone(), mean, sd }
}

/// From several threads at once, as the engine does.
fn append_all(sink: &dyn FusionSink, blocks: &[FusedBlock]) {
    std::thread::scope(|scope| {
        for part in blocks.chunks(blocks.len().div_ceil(4)) {
            scope.spawn(move || part.iter().for_each(|block| sink.append(block).unwrap()));
        }
    });
}

/// The suite: `make` gives a new sink at a path, `read` what a reader finds in it.
fn conforms<S: FusionSink>(make: impl Fn(&Path) -> S, read: impl Fn(S, &Path) -> Series) {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    shows_what_is_committed_and_no_more(&make, &read, &path("growing"));
    refuses_what_comes_out_of_turn(make(&path("early")), make(&path("twice")));
    keeps_whole_dates_of_a_run_that_fails(&make, &read, &path("failing"));
    takes_a_whole_run(&make, &read, &path("whole"));
}

fn shows_what_is_committed_and_no_more<S: FusionSink>(
    make: impl Fn(&Path) -> S,
    read: impl Fn(S, &Path) -> Series,
    path: &Path,
) {
    let fusion = tiled();
    let (layout, blocks) = (fusion.layout(), blocks(&fusion));
    let expected = assembled(&layout, &blocks);
    for committed in [&[][..], &[1], &[3, 4, 9], &[DAYS]] {
        let path = path.with_file_name(format!("growing{committed:?}"));
        let mut sink = make(&path);
        sink.begin(&layout).unwrap();
        append_all(&sink, &blocks);
        for dates in committed {
            sink.commit(*dates).unwrap();
        }
        let dates = committed.last().copied().unwrap_or(0);
        if dates == DAYS {
            sink.finish(&Report::default()).unwrap();
        }
        assert!(read(sink, &path) == expected.first(dates), "after {committed:?}");
    }
}

fn refuses_what_comes_out_of_turn<S: FusionSink>(mut early: S, mut twice: S) {
    let fusion = builder(observed()).tile(7, 11).build().unwrap();
    let block = fusion.stream().next().unwrap().unwrap();
    assert!(matches!(early.append(&block), Err(Error::Store { .. })), "a block before the beginning");
    assert!(matches!(early.commit(1), Err(Error::Store { .. })), "a commit before the beginning");
    assert!(matches!(early.finish(&Report::default()), Err(Error::Store { .. })), "an end before the beginning");
    early.begin(&fusion.layout()).unwrap();
    twice.begin(&fusion.layout()).unwrap();
    let second = twice.begin(&fusion.layout());
    assert!(matches!(second, Err(Error::StoreExists { .. } | Error::CannotContinue { .. })), "a second beginning");
}

fn keeps_whole_dates_of_a_run_that_fails<S: FusionSink>(
    make: impl Fn(&Path) -> S,
    read: impl Fn(S, &Path) -> Series,
    path: &Path,
) {
    let expected = |builder: FusionBuilder| {
        let fusion = builder.build().unwrap();
        let blocks: Vec<_> = fusion.stream().collect::<rasterfuse::Result<_>>().unwrap();
        assembled(&fusion.layout(), &blocks)
    };
    // With one tile the first batch of days is whole before the failure; with several nothing is.
    for (tile, whole) in [((7, 11), 8), ((4, 6), 0)] {
        let with = |source| builder(source).tile(tile.0, tile.1);
        let path = path.with_file_name(format!("failing with {whole} dates"));
        let mut sink = make(&path);
        let error = with(failing_on(day(8))).build().unwrap().run(&mut sink).unwrap_err();
        assert_says(&error.to_string(), &["2024-01-09", "on fire"]);
        assert!(read(sink, &path) == expected(with(observed())).first(whole), "tiles of {tile:?}");
    }
}

fn takes_a_whole_run<S: FusionSink>(make: impl Fn(&Path) -> S, read: impl Fn(S, &Path) -> Series, path: &Path) {
    let fusion = tiled();
    let expected = assembled(&fusion.layout(), &fusion.stream().collect::<rasterfuse::Result<Vec<_>>>().unwrap());
    let mut sink = make(path);
    fusion.run(&mut sink).unwrap();
    assert!(read(sink, path) == expected);
}

#[test]
fn memory_conforms() {
    let read = |sink: MemorySink, _: &Path| {
        let dates = sink.dates().to_vec();
        let (mean, sd) = sink.into_arrays().unwrap();
        Series { dates, mean: mean.mapv(|v| v as f32), sd: sd.mapv(|v| v as f32) }
    };
    conforms(|_| MemorySink::new(), read);
}

#[test]
fn memory_keeps_the_report_of_a_finished_run_only() {
    let mut sink = MemorySink::new();
    assert!(sink.report().is_none() && sink.dates().is_empty());
    let report = tiled().run(&mut sink).unwrap();
    assert_eq!(sink.report(), Some(&report));
    assert!(MemorySink::new().into_arrays().is_err());
}

#[cfg(feature = "zarr")]
mod stores {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use ndarray::Array4;
    use rasterfuse::Error;
    use rasterfuse::geometry::Date;
    use rasterfuse::series::FusionSink;
    use rasterfuse::series::Report;
    use rasterfuse::sink::{ZarrFormat, ZarrSink};
    use rasterfuse::source::RasterSource;
    use serde_json::Value;
    use tempfile::TempDir;
    use zarrs::array::{Array, ArraySubset, ElementOwned};
    use zarrs::storage::store::MemoryStore;
    use zarrs::storage::{Bytes, StoreKey, WritableStorageTraits};

    use super::support::{Fault, FaultySource, assert_says, day, tree};
    use super::{BANDS, DAYS, Series, append_all, assembled, blocks, builder, conforms, failing_on, observed, tiled};

    const FORMATS: [ZarrFormat; 2] = [ZarrFormat::V3, ZarrFormat::V2];

    fn sink(path: &Path, format: ZarrFormat) -> ZarrSink {
        ZarrSink::create(path).format(format)
    }

    /// A store as another program finds it.
    struct Found(Arc<MemoryStore>, BTreeMap<String, Vec<u8>>);

    impl Found {
        fn at(path: &Path) -> Self {
            let files = tree(path);
            let store = MemoryStore::new();
            for (name, bytes) in &files {
                assert!(!name.contains(".partial"), "{name} was left behind");
                store.set(&StoreKey::new(name).unwrap(), Bytes::copy_from_slice(bytes)).unwrap();
            }
            Self(Arc::new(store), files)
        }

        fn array<T: ElementOwned>(&self, name: &str) -> (Vec<usize>, Vec<T>) {
            let array = Array::open(Arc::clone(&self.0), &format!("/{name}")).unwrap();
            let shape: Vec<usize> = array.shape().iter().map(|n| *n as usize).collect();
            let whole = ArraySubset::new_with_shape(array.shape().to_vec());
            (shape, array.retrieve_array_subset(&whole).unwrap())
        }

        fn values(&self, name: &str) -> Array4<f32> {
            let (shape, values) = self.array(name);
            let [time, band, y, x] = shape[..] else { panic!("{name} has shape {shape:?}") };
            Array4::from_shape_vec((time, band, y, x), values).unwrap()
        }

        fn series(&self) -> Series {
            let days = self.array::<i64>("time").1;
            let dates = days.into_iter().map(|days| Date::from_days(days as i32)).collect();
            Series { dates, mean: self.values("mean"), sd: self.values("sd") }
        }

        fn document(&self, name: &str) -> Value {
            serde_json::from_slice(&self.1[name]).unwrap()
        }

        /// Attributes of the group.
        fn attributes(&self) -> Value {
            if self.1.contains_key("zarr.json") {
                self.document("zarr.json")["attributes"].take()
            } else {
                self.document(".zattrs")
            }
        }
    }

    #[test]
    fn zarr_3_conforms() {
        conforms(|path| sink(path, ZarrFormat::V3), |_, path| Found::at(path).series());
    }

    #[test]
    fn zarr_2_conforms() {
        conforms(|path| sink(path, ZarrFormat::V2), |_, path| Found::at(path).series());
    }

    #[test]
    fn a_reader_sees_the_store_grow_and_its_documents_agree() {
        let fusion = tiled();
        let (layout, blocks) = (fusion.layout(), blocks(&fusion));
        let expected = assembled(&layout, &blocks);
        for format in FORMATS {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("deep/down/fused.zarr");
            let mut sink = sink(&path, format);
            sink.begin(&layout).unwrap();
            check_documents(&Found::at(&path), format, 0);
            append_all(&sink, &blocks);
            check_documents(&Found::at(&path), format, 0);
            for dates in [2, 3, DAYS] {
                sink.commit(dates).unwrap();
                let found = Found::at(&path);
                assert!(found.series() == expected.first(dates), "{format:?}, {dates} dates");
                check_documents(&found, format, dates);
                assert!(found.attributes()["rasterfuse"]["report"].is_null(), "a report before the end");
            }
            sink.finish(&Report::default()).unwrap();
            let found = Found::at(&path);
            assert!(found.series() == expected);
            check_documents(&found, format, DAYS);
            assert!(found.attributes()["rasterfuse"]["report"].is_object());
        }
    }

    /// What is consolidated is what each array says, and so many dates everywhere.
    fn check_documents(found: &Found, format: ZarrFormat, dates: usize) {
        let run = &found.attributes()["rasterfuse"];
        assert_eq!((&run["dates_committed"], &run["dates_planned"]), (&dates.into(), &DAYS.into()));
        let own = |suffix: &str| -> BTreeMap<String, Value> {
            let names = found.1.keys().filter(|name| name.ends_with(suffix));
            names.map(|name| (name.clone(), found.document(name))).collect()
        };
        let (consolidated, own, suffix) = if format == ZarrFormat::V3 {
            let mut own = own("zarr.json");
            let group = own.remove("zarr.json").unwrap();
            (group["consolidated_metadata"]["metadata"].clone(), own, "/zarr.json")
        } else {
            let own = [".zgroup", ".zarray", ".zattrs"].into_iter().flat_map(own).collect();
            (found.document(".zmetadata")["metadata"].clone(), own, "")
        };
        let consolidated = consolidated.as_object().unwrap();
        assert_eq!(consolidated.len(), own.len());
        for (name, document) in &own {
            assert_eq!(consolidated.get(name.trim_end_matches(suffix)), Some(document), "{name}");
        }
        for name in ["mean", "sd", "time"] {
            let document = &consolidated[&if suffix.is_empty() { format!("{name}/.zarray") } else { name.into() }];
            assert_eq!(document["shape"][0], dates, "{name}");
        }
    }

    #[test]
    fn axes_and_band_names_are_those_of_the_layout() {
        let fusion = tiled();
        for format in FORMATS {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("fused.zarr");
            fusion.run(&mut sink(&path, format)).unwrap();
            let found = Found::at(&path);
            assert_eq!(found.array::<f64>("x").1, fusion.target().x_centres());
            assert_eq!(found.array::<f64>("y").1, fusion.target().y_centres());
            assert_eq!(found.array::<i64>("spatial_ref").0, [0_usize; 0]);
            if format == ZarrFormat::V3 {
                assert_eq!(found.array::<String>("band").1, BANDS);
                assert_eq!(found.document("mean/zarr.json")["dimension_names"].as_array().unwrap().len(), 4);
            } else {
                let width = BANDS.iter().map(|band| band.chars().count()).max().unwrap();
                assert_eq!(found.document("band/.zarray")["dtype"], format!("<U{width}"));
                let text: String = found.1["band/0"]
                    .chunks_exact(4)
                    .map(|c| char::from_u32(u32::from_le_bytes(c.try_into().unwrap())).unwrap())
                    .collect();
                let padded = BANDS.map(|band| format!("{band:\0<width$}"));
                assert_eq!(text, padded.concat());
                assert_eq!(found.document("mean/.zattrs")["_ARRAY_DIMENSIONS"][0], "time");
            }
        }
    }

    #[test]
    fn a_path_that_holds_anything_is_refused_by_what_it_holds_and_left_alone() {
        let fusion = tiled();
        let (layout, blocks) = (fusion.layout(), blocks(&fusion));
        for made_by in FORMATS {
            let folder = TempDir::new().unwrap();
            let path = |name: &str| folder.path().join(name);
            fusion.run(&mut sink(&path("finished"), made_by)).unwrap();
            for (name, dates) in [("begun", 0), ("half", 5)] {
                let mut sink = sink(&path(name), made_by);
                sink.begin(&layout).unwrap();
                append_all(&sink, &blocks);
                sink.commit(dates).unwrap();
            }
            fs::create_dir_all(path("foreign")).unwrap();
            fs::write(path("foreign/zarr.json"), "{\"zarr_format\": 3, \"node_type\": \"group\"}").unwrap();
            fs::create_dir_all(path("broken")).unwrap();
            fs::write(path("broken/zarr.json"), "{").unwrap();
            fs::write(path("file"), "do not touch").unwrap();
            let before = tree(folder.path());
            for (name, says) in [
                ("finished", "a finished run with 12 dates"),
                ("begun", "an unfinished run with 0 of 12 dates"),
                ("half", "an unfinished run with 5 of 12 dates"),
                ("foreign", "holds no series"),
                ("broken", "not empty"),
                ("file", "a file"),
            ] {
                for format in FORMATS {
                    let mut sink = sink(&path(name), format);
                    let checked = sink.check_absent().unwrap_err().to_string();
                    let error = fusion.run(&mut sink).unwrap_err();
                    assert!(matches!(error, Error::StoreExists { .. } | Error::Occupied { .. }), "{error}");
                    assert_eq!(error.to_string(), checked);
                    let advice = match error {
                        Error::StoreExists { .. } => "append to it",
                        _ => "output.store",
                    };
                    assert_says(&checked, &[path(name).to_str().unwrap(), says, advice]);
                }
            }
            assert!(tree(folder.path()) == before, "what was there has changed");
        }
    }

    #[test]
    fn an_empty_folder_is_as_good_as_none() {
        let folder = TempDir::new().unwrap();
        sink(folder.path(), ZarrFormat::V3).check_absent().unwrap();
        tiled().run(&mut sink(folder.path(), ZarrFormat::V3)).unwrap();
        assert_eq!(Found::at(folder.path()).series().dates.len(), DAYS);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let path = folder.path().join("file/fused.zarr");
        let error = tiled().run(&mut sink(&path, ZarrFormat::V3)).unwrap_err();
        assert!(matches!(error, Error::Store { .. }), "{error}");
        assert_says(&error.to_string(), &[path.to_str().unwrap(), "cannot create the folder"]);
        #[cfg(unix)]
        {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(folder.path().join("nowhere/at/all"), &link).unwrap();
            let error = tiled().run(&mut sink(&link, ZarrFormat::V3)).unwrap_err();
            assert_says(&error.to_string(), &[link.to_str().unwrap()]);
        }
    }

    #[test]
    fn a_store_that_becomes_unwritable_on_the_way_keeps_what_was_committed() {
        let fusion = tiled();
        let (layout, blocks) = (fusion.layout(), blocks(&fusion));
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("fused.zarr");
        let mut sink = sink(&path, ZarrFormat::V3);
        sink.begin(&layout).unwrap();
        let (early, late): (Vec<_>, Vec<_>) = blocks.iter().cloned().partition(|block| block.time < 4);
        append_all(&sink, &early);
        sink.commit(4).unwrap();
        // A file where a folder of chunks should go.
        fs::write(path.join("mean/c/4"), "").unwrap();
        let block = late.iter().find(|block| block.time == 4).unwrap();
        let message = sink.append(block).unwrap_err().to_string();
        assert_says(&message, &["mean", "cannot write store"]);
        assert!(Found::at(&path).series() == assembled(&layout, &blocks).first(4));
    }

    #[test]
    fn a_run_that_fails_is_not_marked_complete_and_says_how_far_it_came() {
        for format in FORMATS {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("fused.zarr");
            let fusion = builder(failing_on(day(8))).tile(7, 11).build().unwrap();
            fusion.run(&mut sink(&path, format)).unwrap_err();
            let found = Found::at(&path);
            check_documents(&found, format, 8);
            assert!(found.attributes()["rasterfuse"]["report"].is_null());
            let message = sink(&path, format).check_absent().unwrap_err().to_string();
            assert_says(&message, &["an unfinished run with 8 of 12 dates"]);
        }
    }

    #[test]
    fn two_runs_write_the_same_bytes_whatever_the_threads_and_the_pace() {
        for format in FORMATS {
            let folder = TempDir::new().unwrap();
            let written = |name: &str, source: Arc<dyn RasterSource>, threads: usize| {
                let path = folder.path().join(name);
                builder(source).tile(4, 6).threads(threads).build().unwrap().run(&mut sink(&path, format)).unwrap();
                tree(&path)
            };
            let first = written("first", observed(), 1);
            let fault = Fault::Wait(Duration::from_millis(5));
            let slow = Arc::new(FaultySource { inner: observed(), date: day(4), fault });
            for (name, source, threads) in [("again", observed(), 1), ("threads", observed(), 5), ("slow", slow, 3)] {
                let other = written(name, source, threads);
                assert!(first.keys().eq(other.keys()), "{name}: other files");
                let differing: Vec<_> = first.keys().filter(|file| first[*file] != other[*file]).collect();
                assert!(differing.is_empty(), "{name}: {differing:?} differ");
            }
        }
    }
}
