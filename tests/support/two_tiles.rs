//! Series of two small tiles that two instruments see, in stores that are damaged, copied and mended.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ndarray::Array4;
use rasterfuse::describe::{Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::engine::{Checkpoint, FusionBuilder, Start, verify_checkpoints};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::series::{Report, Verification};
use rasterfuse::sink::{ZarrFormat, ZarrSink, verify};
use rasterfuse::source::{MemorySource, RasterSource};
use rasterfuse::{Fusion, Result};

use super::{Fault, FaultySource, assert_says, tree};

pub(crate) const SIDE: usize = 8;
const LAG: usize = 2;

/// A band of a pattern that no day repeats, over the same place in cells of this size.
pub(crate) fn source(cell: f64, days: impl Iterator<Item = i32>, seed: usize) -> Arc<MemorySource> {
    let days: Vec<i32> = days.collect();
    let side = (SIDE as f64 * 30.0 / cell) as usize;
    let grid = Grid::new(Crs::unknown(), [0.0, cell, 0.0, 0.0, 0.0, -cell], (side, side)).unwrap();
    let values = Array4::from_shape_fn((days.len(), 1, side, side), |(t, _, r, c)| {
        0.2 + 0.001 * ((days[t] as usize * 31 + r * 17 + c * 7 + seed * 1013) % 97) as f64
    });
    let dates = days.into_iter().map(Date::from_days).collect();
    Arc::new(MemorySource::new(grid, dates, vec!["red".into()], values).unwrap())
}

/// A folder with stores of two tiles.
pub(crate) struct World(pub(crate) tempfile::TempDir);

/// What a run is: to which day, from which data, and whether a date that came late is there.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) end: i32,
    pub(crate) seed: usize,
    pub(crate) late: bool,
    pub(crate) format: ZarrFormat,
}

pub(crate) const RUN: Run = Run { end: 10, seed: 1, late: true, format: ZarrFormat::V3 };

impl Run {
    pub(crate) fn to(end: i32) -> Self {
        Self { end, ..RUN }
    }

    pub(crate) fn fusion(self, checkpoint: Checkpoint) -> Fusion {
        self.builder().checkpoint(checkpoint).build().unwrap()
    }

    pub(crate) fn builder(self) -> FusionBuilder {
        self.seen_by(self.coarse())
    }

    pub(crate) fn coarse(self) -> Arc<MemorySource> {
        source(120.0, (0..=self.end).filter(|day| self.late || *day != 7), self.seed + 1)
    }

    /// The same, of which the coarse instrument cannot read one day.
    pub(crate) fn broken(self, day: i32) -> FusionBuilder {
        self.seen_by(Arc::new(FaultySource { inner: self.coarse(), date: Date::from_days(day), fault: Fault::Fail }))
    }

    /// The same, whose coarse instrument is this one.
    pub(crate) fn seen_by(self, coarse: Arc<dyn RasterSource>) -> FusionBuilder {
        let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (SIDE, SIDE)).unwrap();
        let fine = source(30.0, (0..=self.end).filter(|day| day % 5 == 1), self.seed);
        Fusion::builder(grid)
            .bands(["red"])
            .start(Date::from_days(0))
            .end(Date::from_days(self.end))
            .window(4, 1)
            .tile(8, 4)
            .lag(LAG)
            .threads(1)
            .batch_dates(3)
            .checkpoint_interval(Duration::ZERO)
            .process(Process::new(Kernel::Exponential, 100.0, 1e-4))
            .prior(Prior::new(0.25, 0.01))
            .instrument(Instrument::new("fine", fine).noise_variance(1e-4))
            .instrument(Instrument::new("coarse", coarse).footprint(Footprint::Uniform).noise_variance(1e-3))
    }

    pub(crate) fn start(self, store: &Path, start: Start, replay: bool) -> Result<Report> {
        let fusion = self.fusion(Checkpoint::Full);
        fusion.job().start(start).replay(replay).run(&mut ZarrSink::create(store).format(self.format))
    }

    pub(crate) fn append(self, store: &Path) -> Result<Report> {
        self.start(store, Start::Append, false)
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A store that is made in one run.
    pub(crate) fn made(&self, name: &str, run: Run) -> PathBuf {
        let store = self.path(name);
        run.append(&store).unwrap();
        store
    }
}

pub(crate) fn state_of(store: &Path) -> PathBuf {
    let mut name = store.file_name().unwrap().to_os_string();
    name.push(".state");
    store.with_file_name(name)
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for (name, _) in tree(from) {
        let target = to.join(&name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(&name), target).unwrap();
    }
}

pub(crate) fn refused(result: Result<Report>, words: &[&str]) {
    assert_says(&result.unwrap_err().to_string(), words);
}

/// A store as `rasterfuse verify` finds it.
pub(crate) fn verified(store: &Path) -> Verification {
    let mut found = verify(store).unwrap();
    verify_checkpoints(state_of(store), &mut found).unwrap();
    found
}

pub(crate) fn complaints(store: &Path) -> String {
    let found = verified(store);
    let faults = found.faults.iter().map(ToString::to_string);
    faults.chain(found.problems.iter().map(ToString::to_string)).collect::<Vec<_>>().join("\n")
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn group(store: &Path) -> String {
    fs::read_to_string(store.join("zarr.json")).unwrap()
}
