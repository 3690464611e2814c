//! The crate's error type: every variant carries what a person needs to act on it.

use std::path::PathBuf;

use crate::engine::SettingDifference;
use crate::filter::NumericalError;
use crate::geometry::{Crs, Date};

/// Result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a foreign library, kept as the source of ours.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What can go wrong, with the file, date, band or key at fault.
///
/// `Debug` prints the same sentence as `Display`, so that programs whose `main` returns a [`Result`] tell their users what to do.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot work; `key` is its name in the builder and in the TOML file.
    #[error("{key}: {problem}")]
    Setting {
        /// The setting, for example `process.variance` or `instrument "modis": noise_variance`.
        key: String,
        /// What is wrong with it and what would do.
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
        "{what} is in another CRS than the target grid ({}, target {}); {}",
        found,
        expected,
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
    /// A file pattern that matches no file.
    #[error("files = {pattern:?} matches no file; {problem}")]
    NoFiles {
        /// The pattern, with the folder it was resolved against.
        pattern: String,
        /// What of it is not there.
        problem: String,
    },
    /// A file whose name holds no date.
    #[error("{}: {problem} (date = '{pattern}', date_format = {format:?})", path.display())]
    NoDate {
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
        "two files on {date}: {} and {}; narrow `files`, or give mosaic = true to lay them over one another",
        first.display(), second.display()
    )]
    DuplicateDate {
        /// The date.
        date: Date,
        /// The file met first.
        first: PathBuf,
        /// The other file.
        second: PathBuf,
    },
    /// A file that belongs with others and is not there.
    #[error("{}{}: {what} is missing, {pattern} matches nothing that goes with it; {advice}", path.display(), on_date(*date))]
    NoPartner {
        /// The file that is there.
        path: PathBuf,
        /// Its date, when it has one.
        date: Option<Date>,
        /// What is missing: a band, `quality`, data.
        what: String,
        /// Where it was looked for.
        pattern: String,
        /// What to do.
        advice: String,
    },
    /// A raster that cannot be opened.
    #[error("cannot open raster {}{}: {problem}", path.display(), on_date(*date))]
    Open {
        /// The file.
        path: PathBuf,
        /// Its date, when it has one.
        date: Option<Date>,
        /// What GDAL said.
        problem: String,
        /// The library's error.
        #[source]
        source: Option<BoxedError>,
    },
    /// A raster that differs from the others of its stack.
    #[error("{} ({date}): {problem}", path.display())]
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
        /// Pixel rows asked for.
        rows: std::ops::Range<usize>,
        /// Pixel columns asked for.
        cols: std::ops::Range<usize>,
        /// What is wrong and what to do.
        problem: String,
        /// The library's error.
        #[source]
        source: Option<BoxedError>,
    },
    /// A window whose covariance broke down in floating point.
    #[error(
        "cell or window at cells [{row}, {col}], {date}: {source}; check that noise_variance is not many orders of magnitude below the \
         prior and process variances, and that the inputs hold no absurd values (valid_range hides them)"
    )]
    Numerical {
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
    /// An output store that is there already.
    #[error(
        "{} exists already ({state}); go on with it by --resume or --append (Start::Resume, Start::Append), choose another `output.store`, or remove it first",
        path.display()
    )]
    StoreExists {
        /// The store.
        path: PathBuf,
        /// What it holds.
        state: String,
    },
    /// A place that holds something else.
    #[error("{} is taken ({state}); choose another `output.store`, or remove it first", path.display())]
    Occupied {
        /// The place.
        path: PathBuf,
        /// What it holds.
        state: String,
    },
    /// A series that was made with other settings than the run that would go on with it.
    #[error(
        "cannot go on with {}: it was made with other settings: {}; take back the change, or choose another `output.store`{}",
        path.display(), list(differences), tile_advice(differences)
    )]
    SettingsDiffer {
        /// The store.
        path: PathBuf,
        /// What differs.
        differences: Vec<SettingDifference>,
    },
    /// A series that cannot be gone on with.
    #[error("cannot go on with {}: {problem}", path.display())]
    CannotContinue {
        /// The store.
        path: PathBuf,
        /// Why, and what to do.
        problem: String,
    },
    /// An observation that has arrived after its date was passed.
    #[error(
        "cannot go on with {}: instrument {instrument:?} has a new date {date}, but the series has passed {passed}; replay the dates \
         since then (--replay), or keep the file out of `files`",
        path.display()
    )]
    LateDate {
        /// The store.
        path: PathBuf,
        /// The instrument.
        instrument: String,
        /// The date that came late.
        date: Date,
        /// What the series has passed.
        passed: Date,
    },
    /// Another process works on the same series.
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
        /// Tiles (row, column) that are missing.
        missing: Vec<(usize, usize)>,
        /// How many there are.
        tiles: usize,
    },
    /// A run whose parts have ended before their time, without an error that says why.
    #[error("the run was interrupted")]
    Interrupted,
    /// A disk that will not hold the results.
    #[error(
        "{}: at most {} will be written, but the disk has {} free; make space, write elsewhere (`output.store`), or go on \
         regardless with run.check_disk = false",
        path.display(), size(*needed_bytes, true), size(*free_bytes, false)
    )]
    DiskSpace {
        /// The store.
        path: PathBuf,
        /// What the run may write.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// A checkpoint that cannot be read or written.
    #[error(
        "checkpoint {}: {problem}; if it is damaged, remove it and go on with --resume --replay or --append --replay",
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
    /// A store that cannot be read.
    #[error("cannot open store {}: {problem}", path.display())]
    OpenStore {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A truth that does not fit or cannot be read.
    #[error("truth {}: {problem}", path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what would do.
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
    /// A memory budget that no tile fits into.
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
    #[error("cannot start {threads} worker threads")]
    Threads {
        /// Threads asked for; 0 is one per core.
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

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// A [`Error::Setting`] from borrowed parts.
    pub(crate) fn setting(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), problem: problem.into() }
    }
}

fn crs_advice(found: &Crs, expected: &Crs) -> &'static str {
    if found.is_unknown() {
        "say what CRS its files are in, for example with gdal_edit.py -a_srs"
    } else if expected.is_unknown() {
        "give target.crs"
    } else {
        "warp it first, for example with gdalwarp, or give an instrument reproject = \"nearest\" (in code StackBuilder::onto)"
    }
}

/// `71.3 MiB` and the like, rounded up or down to a number that still is, or is not, enough.
fn size(bytes: u64, up: bool) -> String {
    let units = [("TiB", 40, 100), ("GiB", 30, 100), ("MiB", 20, 10), ("KiB", 10, 10)];
    let Some((unit, shift, parts)) = units.into_iter().find(|(_, shift, _)| bytes >> shift > 0) else {
        return format!("{bytes} bytes");
    };
    let exact = u128::from(bytes) * parts;
    let rounded = if up { exact.div_ceil(1 << shift) } else { exact >> shift };
    let digits = if parts == 100 { 2 } else { 1 };
    format!("{}.{:0digits$} {unit}", rounded / parts, rounded % parts)
}

fn on_date(date: Option<Date>) -> String {
    date.map_or_else(String::new, |date| format!(" ({date})"))
}

/// Of shards that begin at the same moment, each with a plan of its own, the first one's tiles hold.
fn tile_advice(differences: &[SettingDifference]) -> &'static str {
    match differences {
        [one] if one.key == "output.tile" => {
            "; if the tile was chosen by the memory there is, run again: it is the store's then"
        }
        _ => "",
    }
}

fn list(differences: &[SettingDifference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The first few of the tiles.
fn tile_list(tiles: &[(usize, usize)]) -> String {
    const LISTED: usize = 20;
    let names: Vec<String> = tiles.iter().take(LISTED).map(|(row, col)| format!("[{row}, {col}]")).collect();
    let more = if tiles.len() > LISTED { ", ..." } else { "" };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;

    #[test]
    fn rounded_sizes_still_are_or_are_not_enough() {
        for (bytes, down, up) in [
            (1000, "1000 bytes", "1000 bytes"),
            (8 << 20, "8.0 MiB", "8.0 MiB"),
            ((8 << 20) + 1, "8.0 MiB", "8.1 MiB"),
            ((1 << 30) - 1, "1023.9 MiB", "1024.0 MiB"),
            ((5 << 30) / 2 + 1, "2.50 GiB", "2.51 GiB"),
            (u64::MAX, "16777215.99 TiB", "16777216.00 TiB"),
        ] {
            assert_eq!((size(bytes, false).as_str(), size(bytes, true).as_str()), (down, up));
        }
        for k in 0..100_000_u64 {
            let bytes = k * k * 997 + k;
            let read = |up: bool| size(bytes, up).replace(" bytes", " B").parse::<ByteSize>().unwrap().as_u64();
            assert!(read(false) <= bytes && bytes <= read(true), "{bytes}");
        }
    }
}
