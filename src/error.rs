//! The error type of the crate. Every variant carries what a person needs to act on it.

mod difference;
mod fault;
mod key;
mod shown;
mod text;

use std::path::{Path, PathBuf};

use crate::filter::NumericalError;
use crate::geometry::{Crs, Date};
pub use difference::SettingDifference;
pub use fault::ChunkFault;
pub use key::{Key, KeyStep};
#[cfg(feature = "gdal")]
pub(crate) use shown::masked;
pub(crate) use shown::shown;
use text::{chunk_list, crs_advice, crs_difference, input, on_date, setting, settings_differ, size, tile_list};

/// Result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of another library, boxed as the source of an [`Error`].
pub type BoxedError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Everything that can go wrong, with the file, date, band or key at fault.
///
/// `Debug` prints the same sentence as `Display`, so that a program whose `main` returns a [`Result`] shows its users
/// what to do.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot work. The message names the file that it was read from, if there is one.
    ///
    /// ```
    /// use rasterfuse::{Fusion, geometry::{Crs, Grid}};
    /// let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
    /// let error = Fusion::builder(grid).build().unwrap_err();
    /// assert_eq!(error.to_string(), "target.bands: not given; name the output bands");
    /// # Ok::<(), rasterfuse::Error>(())
    /// ```
    #[error("{}", setting(file.as_deref(), key, problem))]
    Setting {
        /// The TOML file of the setting, where there is one.
        file: Option<PathBuf>,
        /// Its place in the description, for example `process.variance` or `instrument "modis": noise_variance`.
        /// Methods that set it in code have the name of its key.
        key: Key,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A number of a description that cannot be: a variance that is not positive, a share beyond 1. To an
    /// [estimation](crate::estimate) that tries numbers it is an impossible point.
    #[error("{}", setting(file.as_deref(), key, &format!("{value} {problem}")))]
    Number {
        /// The TOML file that describes it, where there is one.
        file: Option<PathBuf>,
        /// Its place in the description.
        key: Key,
        /// The number.
        value: f64,
        /// What it must be.
        problem: String,
    },
    /// A grid that is not a north-up raster of positive size.
    #[error("{what}: {problem}")]
    Grid {
        /// Which grid.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Two grids that must share a coordinate reference system do not.
    #[error(
        "{what} is in another CRS than the target grid ({}, target {}{}); {}",
        found,
        expected,
        crs_difference(found, expected),
        crs_advice(found, expected)
    )]
    CrsMismatch {
        /// The instrument or file.
        what: String,
        /// CRS of the target grid.
        expected: Crs,
        /// CRS that was found.
        found: Crs,
    },
    /// A text that is not a date.
    #[error("{text:?} is not a date of the form {format}")]
    Date {
        /// The text.
        text: String,
        /// The expected form, in `strftime` notation.
        format: String,
    },
    /// Files of an instrument, or a raster of another key, that cannot be used. The message names the TOML file that
    /// lists them, where there is one.
    #[error("{}", input(file.as_deref(), what, source))]
    Input {
        /// The TOML file that lists them, where there is one.
        file: Option<PathBuf>,
        /// Their owner: `instrument "modis"`, or a key such as `prior.mean`.
        what: String,
        /// What is wrong with them.
        source: Box<Self>,
    },
    /// A file pattern that matches no file.
    #[error("{}", setting(None, &key.into(), &text::no_files(pattern, problem)))]
    NoFiles {
        /// The TOML key of the pattern: `files`, `quality` or `uncertainty`.
        key: String,
        /// The pattern, with the folder it was resolved against.
        pattern: String,
        /// Which part of it does not exist.
        problem: String,
    },
    /// A file name without a date.
    #[error("{}", setting(None, &key.into(), &text::no_date(path, (key, pattern, format), problem)))]
    NoDate {
        /// The TOML key of the regular expression: `date` or `quality.date`.
        key: String,
        /// The file.
        path: PathBuf,
        /// The regular expression.
        pattern: String,
        /// The `strftime` form of its first group.
        format: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Two files of one stack on the same date.
    #[error(
        "two files on {date}: {} and {}; narrow `files`, or give mosaic = true (in code StackBuilder::mosaic) to merge them",
        shown(first),
        shown(second)
    )]
    DuplicateDate {
        /// The date.
        date: Date,
        /// The first file.
        first: PathBuf,
        /// The other file.
        second: PathBuf,
    },
    /// A file whose partner file does not exist.
    #[error("{}{}: {what} is missing, {pattern} matches nothing that goes with it; {advice}", shown(path), on_date(*date))]
    NoPartner {
        /// The file that exists.
        path: PathBuf,
        /// Its date, when it has one.
        date: Option<Date>,
        /// What is missing: a band, `quality`, data.
        what: String,
        /// Pattern of the missing file.
        pattern: String,
        /// What to do.
        advice: String,
    },
    /// A raster that cannot be opened.
    #[error("cannot open raster {}{}: {problem}", shown(path), on_date(*date))]
    Open {
        /// The file.
        path: PathBuf,
        /// Its date, when it has one.
        date: Option<Date>,
        /// The message of GDAL.
        problem: String,
        /// The library's error.
        #[source]
        source: Option<BoxedError>,
    },
    /// A raster that differs from the others of its stack.
    #[error("{} ({date}): {problem}", shown(path))]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// Its date.
        date: Date,
        /// What differs, and from which file.
        problem: String,
    },
    /// Pixels that cannot be read.
    #[error("cannot read {origin} ({date}), band {band}, rows {rows:?}, columns {cols:?}: {problem}")]
    Read {
        /// The file or variable.
        origin: String,
        /// The acquisition date.
        date: Date,
        /// The band's name.
        band: String,
        /// Requested pixel rows.
        rows: std::ops::Range<usize>,
        /// Requested pixel columns.
        cols: std::ops::Range<usize>,
        /// What is wrong and what to do.
        problem: String,
        /// The library's error.
        #[source]
        source: Option<BoxedError>,
    },
    /// An instrument, or a band of one, of which not one value was used.
    /// [`OnError::Skip`](crate::engine::OnError::Skip) makes it a warning of the report.
    #[error(
        "instrument {instrument:?}{}: not one value was used: {reason}; correct it, take the {} out, or say run.on_error = \"skip\" \
         to continue without it",
        band.as_ref().map_or_else(String::new, |band| format!(", band {band:?}")),
        if band.is_some() { "band" } else { "instrument" }
    )]
    NothingUsed {
        /// The instrument.
        instrument: String,
        /// The band of its source; `None` where all are meant.
        band: Option<String>,
        /// What took the values, with numbers, and what to look at.
        reason: String,
    },
    /// A window whose covariance lost positive definiteness in floating point.
    #[error(
        "{}cell or window at cells [{row}, {col}], {date}: {source}; check that noise_variance is not many orders of magnitude below \
         the prior and process variances, and that the inputs hold no absurd values (valid_range hides them)",
        text::in_file(file.as_deref())
    )]
    Numerical {
        /// The TOML file that describes the fusion, where there is one.
        file: Option<PathBuf>,
        /// First cell row of the window, or row of the independent cell.
        row: usize,
        /// First cell column of the window, or column of the independent cell.
        col: usize,
        /// The date of the update.
        date: Date,
        /// What broke down.
        #[source]
        source: NumericalError,
    },
    /// A description that leaves numbers or tables to be estimated. `FusionConfig::estimate` finds them.
    #[error("{}", setting(file.as_deref(), key, &text::left_free(others)))]
    Unestimated {
        /// The TOML file.
        file: Option<PathBuf>,
        /// The first key that is left.
        key: Key,
        /// The others.
        others: Vec<Key>,
    },
    /// An output store that is there already. [`Start`](crate::engine::Start) says how a run relates to it.
    #[error("{} exists already ({state}); resume it, append to it, name another `output.store`, or remove it first", path.display())]
    StoreExists {
        /// The store.
        path: PathBuf,
        /// What it holds.
        state: String,
    },
    /// A path that holds something other than a store.
    #[error("{} is taken ({state}); choose another `output.store`, or remove it first", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
        /// What it holds.
        state: String,
    },
    /// A series that was made with settings other than those of the run that would resume it.
    #[error(
        "cannot continue {}: {}",
        path.display(), settings_differ(differences)
    )]
    SettingsDiffer {
        /// The store.
        path: PathBuf,
        /// What differs.
        differences: Vec<SettingDifference>,
    },
    /// A series that cannot be resumed.
    #[error("cannot continue {}: {problem}", path.display())]
    CannotContinue {
        /// The store.
        path: PathBuf,
        /// Why, and what to do.
        problem: String,
        /// Which other way of running it would continue it, if one would.
        remedy: Option<Remedy>,
    },
    /// An observation that arrived after the series had passed its date.
    #[error(
        "cannot continue {}: instrument {instrument:?} has a new date {date}, but the series has passed {passed}; replay the dates \
         since then, or keep the file out of `files`",
        path.display()
    )]
    LateDate {
        /// The store.
        path: PathBuf,
        /// The instrument.
        instrument: String,
        /// The date of the late observation.
        date: Date,
        /// The last date that the series has passed.
        passed: Date,
    },
    /// A series that another process is working on.
    #[error("another process is at work on {what}; wait for it to end")]
    Locked {
        /// The store or the tile.
        what: String,
    },
    /// A series whose shards have not all been run.
    #[error(
        "{} is not finished: missing {} of {tiles} tiles: {}; run their shards again, then finalise",
        path.display(), missing.len(), tile_list(missing)
    )]
    Unfinished {
        /// The store.
        path: PathBuf,
        /// Missing tiles (row, column).
        missing: Vec<(usize, usize)>,
        /// Number of tiles.
        tiles: usize,
    },
    /// A run whose workers ended early without an error that explains why, or what its watch has ended.
    #[error("the run was interrupted")]
    Interrupted,
    /// A disk, or memory, that has too little space for the results.
    #[error(
        "{}: at most {} will be written, but {} are free there; make space, write elsewhere (`output.store`), or run \
         regardless with run.check_disk = false",
        path.display(), size(*needed_bytes, true), size(*free_bytes, false)
    )]
    DiskSpace {
        /// The store.
        path: PathBuf,
        /// Upper bound on what the run writes.
        needed_bytes: u64,
        /// Free space.
        free_bytes: u64,
    },
    /// A checkpoint that cannot be read or written.
    #[error(
        "checkpoint {}: {problem}; if it is damaged, remove it, and resume or append with a replay",
        path.display()
    )]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What happened.
        problem: String,
        /// The library's error.
        #[source]
        source: Option<BoxedError>,
    },
    /// A checkpoint that belongs to something else: another series, tile or date, or another copy of this series.
    #[error("checkpoint {}: {problem}", path.display())]
    ForeignState {
        /// The file.
        path: PathBuf,
        /// What it belongs to and what to do.
        problem: String,
    },
    /// Chunks of a store that are not there as they were written.
    #[error("{}: {}; resume the run, which makes them again", path.display(), chunk_list(faults, *count))]
    Incomplete {
        /// The store.
        path: PathBuf,
        /// The first of the chunks.
        faults: Vec<ChunkFault>,
        /// Number of all of them.
        count: usize,
    },
    /// A store that cannot be read.
    #[error("cannot open store {}: {problem}", path.display())]
    OpenStore {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file that cannot be exported from a store.
    #[error("cannot export {}: {problem}", path.display())]
    Export {
        /// The store or the file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
        /// The library's error.
        #[source]
        source: Option<BoxedError>,
    },
    /// Reference data that do not fit or cannot be read.
    #[error("truth {}: {problem}", path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what would do.
        problem: String,
    },
    /// An array in a NumPy file that cannot be read or written.
    #[error("{}: {problem}", path.display())]
    Npy {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A store that cannot be written.
    #[error("cannot write store {}: {problem}", path.display())]
    Store {
        /// The store or the file in it.
        path: PathBuf,
        /// What happened.
        problem: String,
        /// The library's error.
        #[source]
        source: Option<BoxedError>,
    },
    /// A memory budget that is too small for any tile.
    #[error(
        "run.memory: the budget of {} is too small; {} would do (tiles of {tile_rows} x {tile_cols} cells, batches of \
         {batch_dates} {}, {states} states per window: a smaller window, halo or lag, or fewer threads, take less)",
        size(*budget_bytes, false),
        size(*needed_bytes, true),
        if *batch_dates == 1 { "date" } else { "dates" }
    )]
    Memory {
        /// The budget.
        budget_bytes: u64,
        /// The smallest budget that works with these settings.
        needed_bytes: u64,
        /// States of the largest window.
        states: usize,
        /// Tile height.
        tile_rows: usize,
        /// Tile width.
        tile_cols: usize,
        /// Dates per batch.
        batch_dates: usize,
    },
    /// A worker pool that cannot be started.
    #[error("cannot start {}", worker_threads(*threads))]
    Threads {
        /// Requested threads; 0 is one per core.
        threads: usize,
        /// The pool's error.
        #[source]
        source: BoxedError,
    },
    /// A description file that cannot be read or understood.
    #[error("{}: {problem}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Line, key and what is wrong.
        problem: String,
    },
}

/// A way of running that continues a series where another cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// [`Start::Append`](crate::engine::Start::Append), which adds dates.
    Append,
    /// The same of every shard, before the run is finalised.
    AppendShards,
    /// [`Job::replay`](crate::engine::Job::replay), which begins again before what came late.
    Replay,
}

/// The number of worker threads, as text.
fn worker_threads(threads: usize) -> String {
    match threads {
        0 => "a worker thread for each core".into(),
        1 => "a worker thread".into(),
        many => format!("{many} worker threads"),
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// An [`Error::Setting`] with its key and problem; also for sources and sinks outside this crate.
    #[must_use]
    pub fn setting(key: impl Into<Key>, problem: impl Into<String>) -> Self {
        Self::Setting { file: None, key: key.into(), problem: problem.into() }
    }

    /// An [`Error::Number`] with its key and what the number must be.
    pub(crate) fn number(key: impl Into<Key>, value: f64, problem: impl Into<String>) -> Self {
        Self::Number { file: None, key: key.into(), value, problem: problem.into() }
    }

    /// An error of a setting under the key that it has in a description.
    #[cfg(feature = "gdal")]
    pub(crate) fn under_key(self, key: impl Into<Key>) -> Self {
        match self {
            Self::Setting { file, problem, .. } => Self::Setting { file, key: key.into(), problem },
            other => other,
        }
    }

    /// Adds the instrument `name` to an error in a setting or in files.
    pub(crate) fn of_instrument(self, name: &str) -> Self {
        match self {
            Self::Setting { file, key, problem } => Self::Setting { file, key: key.inside_instrument(name), problem },
            Self::Number { file, key, value, problem } => {
                Self::Number { file, key: key.inside_instrument(name), value, problem }
            }
            other => other.of_input(&format!("instrument {name:?}")),
        }
    }

    /// Adds `what`, an instrument or a key, to an error in files.
    pub(crate) fn of_input(self, what: &str) -> Self {
        match self {
            Self::NoFiles { .. }
            | Self::NoDate { .. }
            | Self::DuplicateDate { .. }
            | Self::NoPartner { .. }
            | Self::Open { .. }
            | Self::Inconsistent { .. }
            | Self::Grid { .. } => Self::Input { file: None, what: what.to_owned(), source: Box::new(self) },
            other => other,
        }
    }

    /// Adds the TOML file at `path` to an error in its contents.
    pub(crate) fn in_description(self, path: Option<&Path>) -> Self {
        let Some(path) = path else { return self };
        let (file, within) = (Some(path.to_path_buf()), |what: String| format!("{}: {what}", path.display()));
        match self {
            Self::Setting { file: None, key, problem } => Self::Setting { file, key, problem },
            Self::Number { file: None, key, value, problem } => Self::Number { file, key, value, problem },
            Self::Input { file: None, what, source } => Self::Input { file, what, source },
            Self::Numerical { file: None, row, col, date, source } => Self::Numerical { file, row, col, date, source },
            Self::Unestimated { file: None, key, others } => Self::Unestimated { file, key, others },
            Self::Grid { what, problem } if what == "target" => Self::Grid { what: within(what), problem },
            other => other,
        }
    }
}
