//! Whether the chunks that records name are there as they were written.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::{Map, Value};

use super::files::{ChunkFiles, Damage};
use super::ledger::{LedgerOf, TileLedger, is_damage};
use super::metadata::Documents;
use super::stamp::ChunkStamp;
use super::store::io_error;
use super::{TILED, ZarrFormat, overviews};
use crate::error::{ChunkFault, Result};
use crate::geometry::Date;
use crate::series::{HeldBlocks, SeriesLayout};
use crate::storage::Folder;

/// Dates whose records are in memory at a time.
const ROWS: usize = 1024;

/// Says what is wrong with the files of chunks, each by its name, if anything.
type Compare<'a> = &'a mut dyn FnMut(&[(String, ChunkStamp)]) -> io::Result<Vec<Option<String>>>;

/// The chunks of a store and what is recorded of them.
pub(super) struct Chunks<'a> {
    folder: &'a dyn Folder,
    id: &'a str,
    dates: &'a [Date],
    form: Form,
    arrays: Vec<&'static str>,
}

/// How chunks are named and kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) format: ZarrFormat,
    pub(super) dates_per_object: usize,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(folder: &'a dyn Folder, layout: &'a SeriesLayout, format: ZarrFormat) -> Self {
        let arrays = Documents::new(layout, format).tiled();
        let form = Form { format, dates_per_object: layout.encoding.dates_per_object };
        Self::of((folder, &layout.identity.id), &layout.dates, form, arrays)
    }

    /// Those of arrays in the order of their records.
    pub(super) fn of(
        (folder, id): (&'a dyn Folder, &'a str),
        dates: &'a [Date],
        form: Form,
        arrays: Vec<&'static str>,
    ) -> Self {
        Self { folder, id, dates, form, arrays }
    }

    /// What there is of a tile on some dates, by the lengths of files; where something is missing, by their contents: the
    /// others may be of a copy that was made while the series grew.
    pub(super) fn held(&self, tile: (usize, usize), times: Range<usize>) -> Result<HeldBlocks> {
        let held = self.look(tile, times.clone(), &mut |chunks| {
            let lengths = self.files().lengths(chunks.iter().map(|(name, _)| name.as_str()))?;
            Ok(lengths.into_iter().zip(chunks).map(|(length, (_, stamp))| length_differs(length, *stamp)).collect())
        })?;
        if held.count == 0 { Ok(held) } else { self.read(tile, times, &mut |_| {}) }
    }

    /// What there is of a tile on some dates, by the contents of files; `count` is given the length of each.
    pub(super) fn read(
        &self,
        tile: (usize, usize),
        times: Range<usize>,
        count: &mut dyn FnMut(u64),
    ) -> Result<HeldBlocks> {
        self.look(tile, times, &mut |chunks| {
            let mut files = self.files();
            let differs = |(name, stamp): &(String, ChunkStamp)| {
                // Of a file that is too long no more is read than shows it.
                let contents = match files.contents(name, stamp.bytes.saturating_add(1)) {
                    Err(error) if is_damage(&error) => return Ok(Some(format!("cannot be read: {error}"))),
                    Err(error) => return Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
                    Ok(Err(damage)) => return Ok(length_differs(Err(damage), *stamp)),
                    Ok(Ok(contents)) => contents,
                };
                count(contents.len() as u64);
                if contents.len() as u64 > stamp.bytes {
                    let length = files.lengths(std::iter::once(name.as_str()))?.pop();
                    return Ok(length_differs(length.unwrap_or(Ok(0)), *stamp));
                }
                Ok(content_differs(&contents, *stamp))
            };
            chunks.iter().map(differs).collect()
        })
    }

    /// The files of its chunks.
    fn files(&self) -> ChunkFiles<'a> {
        ChunkFiles::new(self.folder, self.form.dates_per_object)
    }

    /// What there is of a tile on some dates, as `differ` finds it.
    fn look(&self, tile: (usize, usize), times: Range<usize>, differ: Compare<'_>) -> Result<HeldBlocks> {
        let mut held = HeldBlocks::default();
        let of = LedgerOf { id: self.id, tile, arrays: self.arrays.len() };
        let add = |held: &mut HeldBlocks, array: &str, time: usize, problem: String| {
            if let Some(date) = self.dates.get(time) {
                held.add(ChunkFault::new(array, tile, (time, *date), problem));
            }
        };
        let path = self.folder.path();
        let ledger = match TileLedger::read(self.folder, of) {
            Ok(Some(ledger)) => ledger,
            // What cannot be read now may be whole.
            Err(error) if !is_damage(&error) => return Err(io_error(path, "cannot read records", error)),
            none => {
                let problem = match none {
                    Err(error) => format!("is not recorded: {error}"),
                    Ok(_) => "is not recorded".to_owned(),
                };
                for (time, array) in times.flat_map(|time| self.arrays.iter().map(move |array| (time, array))) {
                    add(&mut held, array, time, problem.clone());
                }
                return Ok(held);
            }
        };
        held.saved = ledger.saved;
        for first in times.clone().step_by(ROWS) {
            let some = first..(first + ROWS).min(times.end);
            let rows = ledger.rows(some.clone()).map_err(|error| io_error(path, "cannot read records", error))?;
            let mut chunks = Vec::new();
            let mut of_chunks = Vec::new();
            for (time, row) in some.zip(rows) {
                for (k, array) in self.arrays.iter().enumerate() {
                    match row.as_ref().and_then(|row| row.get(k)) {
                        None => add(&mut held, array, time, "is not recorded".to_owned()),
                        Some(stamp) => {
                            chunks.push((self.form.name(array, time, tile), *stamp));
                            of_chunks.push((*array, time));
                        }
                    }
                }
            }
            let problems = differ(&chunks).map_err(|error| io_error(path, "cannot read chunks", error))?;
            for ((array, time), problem) in of_chunks.into_iter().zip(problems) {
                if let Some(problem) = problem {
                    add(&mut held, array, time, problem);
                }
            }
        }
        Ok(held)
    }
}

impl Form {
    /// The name of a chunk, which is that of its file unless chunks share one.
    fn name(self, array: &str, time: usize, (row, col): (usize, usize)) -> String {
        match self.format {
            ZarrFormat::V3 => format!("{array}/c/{time}/0/{row}/{col}"),
            ZarrFormat::V2 => format!("{array}/{time}/0/{row}/{col}"),
        }
    }
}

/// The documents of arrays in the consolidated metadata of a store, by their names there; none where these are damaged.
pub(super) fn documents(folder: &dyn Folder, format: ZarrFormat) -> io::Result<Map<String, Value>> {
    let (name, pointer) = match format {
        ZarrFormat::V3 => ("zarr.json", "/consolidated_metadata/metadata"),
        ZarrFormat::V2 => (".zmetadata", "/metadata"),
    };
    let document = folder.read(name)?.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    Ok(document.and_then(|document| document.pointer(pointer)?.as_object().cloned()).unwrap_or_default())
}

/// The array of this name in the consolidated metadata, if it has a chunk for each tile and date.
pub(super) fn tiled(name: &str) -> Option<&'static str> {
    let array = name.trim_end_matches("/.zarray");
    TILED.into_iter().chain(overviews::all()).find(|known| *known == array)
}

/// Puts arrays in the order of their records.
pub(super) fn in_order(mut arrays: Vec<&'static str>) -> Vec<&'static str> {
    arrays.sort_by_key(|name| TILED.into_iter().chain(overviews::all()).position(|known| known == *name));
    arrays
}

/// What readers know of the records of a store, so that they notice chunks that are gone.
#[derive(Debug)]
pub(super) struct Records {
    folder: Arc<dyn Folder>,
    id: String,
    dates: usize,
    form: OnceLock<(Form, Vec<&'static str>)>,
    dates_per_object: usize,
    /// The tile that was looked at last, with the chunks recorded of each date.
    last: Mutex<Option<((usize, usize), Rows)>>,
}

/// What is recorded of a tile by date: whether each array has a chunk. `None` where the tile has no records.
type Rows = Option<Vec<Option<Vec<bool>>>>;

impl Records {
    pub(super) fn new(folder: &Arc<dyn Folder>, id: &str, dates: usize, dates_per_object: usize) -> Self {
        let (form, last) = (OnceLock::new(), Mutex::default());
        Self { folder: Arc::clone(folder), id: id.into(), dates, form, dates_per_object, last }
    }

    /// Whether the chunk of an array, tile and date is gone: what is wrong with it. Copies without records know nothing
    /// of what is missing.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn loss(&self, array: &str, tile: (usize, usize), time: usize) -> io::Result<Option<&'static str>> {
        let (form, arrays) = self.form()?;
        let Some(column) = arrays.iter().position(|known| *known == array) else { return Ok(None) };
        let name = form.name(array, time, tile);
        let there = || -> io::Result<bool> {
            let lengths =
                ChunkFiles::new(&*self.folder, form.dates_per_object).lengths(std::iter::once(name.as_str()))?;
            // What is damaged is said when it is read.
            Ok(lengths.into_iter().all(|length| !matches!(length, Ok(0))))
        };
        if there()? {
            return Ok(None);
        }
        let said = |rows: &Rows| match rows.as_ref().map(|rows| rows.get(time)) {
            None => None,
            Some(Some(Some(row))) => row.get(column).is_none_or(|stored| *stored).then_some("is missing"),
            Some(_) => Some("is not recorded"),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rows)) = last.as_ref().filter(|(of, _)| *of == tile)
            && said(rows).is_none()
        {
            return Ok(None);
        }
        let rows = self.rows(tile, arrays.len())?;
        let problem = said(&rows);
        *last = Some((tile, rows));
        // A run may have written it just now.
        Ok(if problem.is_some() && there()? { None } else { problem })
    }

    fn form(&self) -> io::Result<&(Form, Vec<&'static str>)> {
        if let Some(form) = self.form.get() {
            return Ok(form);
        }
        let format = if self.folder.has("zarr.json")? { ZarrFormat::V3 } else { ZarrFormat::V2 };
        let arrays = in_order(documents(&*self.folder, format)?.keys().filter_map(|name| tiled(name)).collect());
        Ok(self.form.get_or_init(|| (Form { format, dates_per_object: self.dates_per_object }, arrays)))
    }

    fn rows(&self, tile: (usize, usize), arrays: usize) -> io::Result<Rows> {
        let Some(ledger) = TileLedger::read(&*self.folder, LedgerOf { id: &self.id, tile, arrays })? else {
            tracing::warn!(
                "{}: tile {tile:?} has no records of its chunks; those that are missing are read as missing values",
                self.folder.path().display()
            );
            return Ok(None);
        };
        let rows = ledger.rows(0..self.dates)?;
        let stored = |row: Vec<ChunkStamp>| row.into_iter().map(|stamp| stamp.bytes > 0).collect();
        Ok(Some(rows.into_iter().map(|row| row.map(stored)).collect()))
    }
}

/// What is wrong with the length of a file; 0 of one that is not there.
fn length_differs(held: Result<u64, Damage>, stamp: ChunkStamp) -> Option<String> {
    let held = match held {
        Ok(held) => held,
        Err(damage) => return Some(format!("cannot be found: {damage}")),
    };
    match (held, stamp.bytes) {
        (held, written) if held == written => None,
        (0, _) => Some("is missing".into()),
        (held, 0) => Some(format!("has {held} bytes, but was written as nothing")),
        (held, written) => Some(format!("has {held} bytes, {written} were written")),
    }
}

/// What is wrong with the contents of a file; nothing of one that is not there.
fn content_differs(held: &[u8], stamp: ChunkStamp) -> Option<String> {
    if let Some(problem) = length_differs(Ok(held.len() as u64), stamp) {
        return Some(problem);
    }
    let same = ChunkStamp::of(held) == stamp || stamp == ChunkStamp::default() && held.is_empty();
    (!same).then(|| "holds other bytes than were written".into())
}
