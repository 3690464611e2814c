//! Whether the chunks that records name are there as they were written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::ZarrFormat;
use super::ledger::{ChunkStamp, LedgerOf, TileLedger, is_damage};
use super::metadata::Documents;
use super::store::io_error;
use crate::error::{ChunkFault, Result};
use crate::geometry::Date;
use crate::series::{HeldBlocks, SeriesLayout};

/// Dates whose records are in memory at a time.
const ROWS: usize = 1024;

/// The chunks of a store and what is recorded of them.
pub(super) struct Chunks<'a> {
    root: &'a Path,
    id: &'a str,
    dates: &'a [Date],
    format: ZarrFormat,
    arrays: Vec<&'static str>,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(root: &'a Path, layout: &'a SeriesLayout, format: ZarrFormat) -> Self {
        let arrays = Documents::new(layout, format).tiled();
        Self::of((root, &layout.identity.id), &layout.dates, format, arrays)
    }

    /// Those of arrays in the order of their records.
    pub(super) fn of(
        (root, id): (&'a Path, &'a str),
        dates: &'a [Date],
        format: ZarrFormat,
        arrays: Vec<&'static str>,
    ) -> Self {
        Self { root, id, dates, format, arrays }
    }

    /// What there is of a tile on some dates, by the lengths of files.
    pub(super) fn held(&self, tile: (usize, usize), times: Range<usize>) -> Result<HeldBlocks> {
        self.look(tile, times, &mut |path, stamp| length_differs(path, stamp))
    }

    /// What there is of a tile on some dates; `differs` says what is wrong with the file of a chunk, if anything.
    pub(super) fn look(
        &self,
        tile: (usize, usize),
        times: Range<usize>,
        differs: &mut dyn FnMut(&Path, ChunkStamp) -> io::Result<Option<String>>,
    ) -> Result<HeldBlocks> {
        let mut held = HeldBlocks::default();
        let of = LedgerOf { id: self.id, tile, arrays: self.arrays.len() };
        let add = |held: &mut HeldBlocks, array: &str, time: usize, problem: String| {
            if let Some(date) = self.dates.get(time) {
                held.add(ChunkFault::new(array, tile, (time, *date), problem));
            }
        };
        let mut ledger = match TileLedger::read(self.root, of) {
            Ok(Some(ledger)) => ledger,
            // What cannot be read now may be whole.
            Err(error) if !is_damage(&error) => return Err(io_error(self.root, "cannot read records", error)),
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
            let rows = ledger.rows(some.clone()).map_err(|error| io_error(self.root, "cannot read records", error))?;
            for (time, row) in some.zip(rows) {
                for (k, array) in self.arrays.iter().enumerate() {
                    let path = self.path(array, time, tile);
                    let problem = match row.as_ref().and_then(|row| row.get(k)) {
                        None => Some("is not recorded".to_owned()),
                        Some(stamp) => differs(&path, *stamp).map_err(|error| io_error(&path, "cannot read", error))?,
                    };
                    if let Some(problem) = problem {
                        add(&mut held, array, time, problem);
                    }
                }
            }
        }
        Ok(held)
    }

    /// The file of a chunk.
    pub(super) fn path(&self, array: &str, time: usize, (row, col): (usize, usize)) -> PathBuf {
        match self.format {
            ZarrFormat::V3 => self.root.join(format!("{array}/c/{time}/0/{row}/{col}")),
            ZarrFormat::V2 => self.root.join(format!("{array}/{time}/0/{row}/{col}")),
        }
    }
}

/// What is wrong with the length of a file.
fn length_differs(path: &Path, stamp: ChunkStamp) -> io::Result<Option<String>> {
    let bytes = match fs::metadata(path) {
        Ok(file) => file.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(match (bytes, stamp.bytes) {
        (held, written) if held == written => None,
        (0, _) => Some("is missing".into()),
        (held, 0) => Some(format!("has {held} bytes, but was written as nothing")),
        (held, written) => Some(format!("has {held} bytes, {written} were written")),
    })
}

/// What is wrong with a file, all of it read through `buffer`. Adds the bytes read to `total`.
pub(super) fn content_differs(
    path: &Path,
    stamp: ChunkStamp,
    (buffer, total): (&mut Vec<u8>, &mut u64),
) -> io::Result<Option<String>> {
    if let Some(problem) = length_differs(path, stamp)? {
        return Ok(Some(problem));
    }
    buffer.clear();
    if stamp.bytes > 0 {
        File::open(path)?.read_to_end(buffer)?;
    }
    *total += buffer.len() as u64;
    let found = ChunkStamp::of(buffer);
    let same = found == stamp || stamp == ChunkStamp::default() && buffer.is_empty();
    Ok((!same).then(|| "holds other bytes than were written".into()))
}
