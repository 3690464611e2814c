//! Records of chunks: for each tile a file that names the length and the checksum of every chunk written.
//!
//! A file has a header (series, tile, its newest checkpoint) and a row of fixed length for each date, so that rows are
//! read by their place, whatever the number of dates. Of the tile at work it is in memory, and the file is replaced
//! before a checkpoint or readers rely on it. The files lie in the folder of the array `mean`, where no
//! reader of Zarr looks for arrays.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::stamp::ChunkStamp;
use super::store::{AtomicStore, io_error};
use crate::error::Result;
use crate::geometry::Date;
use crate::series::Saved;
use crate::storage::Folder;

/// The folder of the records, and of temporary files, in a store.
pub(super) const FOLDER: &str = "mean/.rasterfuse";

/// Start of every file; the last byte is the version.
const MAGIC: &[u8; 8] = b"RFCHUNK\x01";

/// Length of an id.
const ID: usize = 32;

/// Header: magic, id, tile, number of arrays, newest checkpoint (generation 0 without one), checksum.
const HEADER: usize = MAGIC.len() + ID + 3 * 4 + 8 + 4 + 4;

/// The records of one tile, to be read.
#[derive(Debug)]
pub(super) struct TileLedger<'a> {
    folder: &'a dyn Folder,
    name: String,
    arrays: usize,
    pub(super) saved: Option<Saved>,
}

/// What a file of records must be of.
#[derive(Clone, Copy, Debug)]
pub(super) struct LedgerOf<'a> {
    pub(super) id: &'a str,
    pub(super) tile: (usize, usize),
    pub(super) arrays: usize,
}

fn damaged(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

/// Whether an error says that a file holds no records, rather than that it cannot be read.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

fn name_of((row, col): (usize, usize)) -> String {
    format!("{FOLDER}/tile-{row}-{col}.chunks")
}

/// The tiles of which there are records.
pub(super) fn recorded_tiles(folder: &dyn Folder) -> io::Result<Vec<(usize, usize)>> {
    let tile = |name: &String| {
        let (row, col) = name.strip_prefix("tile-")?.strip_suffix(".chunks")?.split_once('-')?;
        Some((row.parse().ok()?, col.parse().ok()?))
    };
    Ok(folder.names(FOLDER)?.iter().filter_map(tile).collect())
}

impl LedgerOf<'_> {
    fn header(&self, saved: Option<Saved>) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend(self.id.as_bytes());
        header.resize(MAGIC.len() + ID, 0);
        for number in [self.tile.0, self.tile.1, self.arrays] {
            header.extend((number as u32).to_le_bytes());
        }
        header.extend(saved.map_or(0, |saved| saved.generation).to_le_bytes());
        header.extend(saved.map_or(0, |saved| saved.date.days_since_epoch()).to_le_bytes());
        header.extend(crc32fast::hash(&header).to_le_bytes());
        header
    }

    /// The newest checkpoint that a header names.
    fn parse(&self, header: &[u8; HEADER]) -> io::Result<Option<Saved>> {
        let crc = header.len() - 4;
        if header[..MAGIC.len()] != *MAGIC {
            return Err(damaged("it holds no records of chunks, or those of another version"));
        }
        if crc32fast::hash(&header[..crc]).to_le_bytes() != header[crc..] {
            return Err(damaged("its header is damaged"));
        }
        let saved = &header[crc - 12..crc];
        let (generation, days) = saved.split_at(8);
        let generation = u64::from_le_bytes(generation.try_into().unwrap_or_default());
        let date = Date::from_days(i32::from_le_bytes(days.try_into().unwrap_or_default()));
        let saved = (generation > 0).then_some(Saved { generation, date });
        let own = self.header(saved);
        let tile = MAGIC.len() + ID..crc - 12;
        if own[..tile.start] != header[..tile.start] {
            return Err(damaged("it belongs to another series"));
        }
        if own[tile.clone()] != header[tile] {
            return Err(damaged("it belongs to another tile, or to other arrays"));
        }
        Ok(saved)
    }
}

impl<'a> TileLedger<'a> {
    /// The records of a tile; `None` when there are none.
    pub(super) fn read(folder: &'a dyn Folder, of: LedgerOf<'_>) -> io::Result<Option<Self>> {
        let name = name_of(of.tile);
        let Some(header) = folder.read_range(&name, 0..HEADER as u64)? else { return Ok(None) };
        Ok(Some(Self { folder, name, arrays: of.arrays, saved: of.parse(header_of(&header)?)? }))
    }

    /// The chunks of some dates, by date and array; `None` for a date that is not recorded, or whose row is damaged.
    pub(super) fn rows(&self, times: Range<usize>) -> io::Result<Vec<Option<Vec<ChunkStamp>>>> {
        let len = row_len(self.arrays);
        let at = |time: usize| (HEADER + time * len) as u64;
        let bytes = self.folder.read_range(&self.name, at(times.start)..at(times.end))?.unwrap_or_default();
        let row = |time: usize| {
            let at = (time - times.start) * len;
            let (row, crc) = bytes.get(at..at + len)?.split_at(len - 4);
            (row_crc(time, row).to_le_bytes() == crc)
                .then(|| row.chunks_exact(ChunkStamp::LEN).map(ChunkStamp::from_bytes).collect())
        };
        Ok(times.clone().map(row).collect())
    }
}

fn header_of(file: &[u8]) -> io::Result<&[u8; HEADER]> {
    file.first_chunk().ok_or_else(|| damaged("it is shorter than its header"))
}

/// Length of the row of a date.
fn row_len(arrays: usize) -> usize {
    arrays * ChunkStamp::LEN + 4
}

/// A row belongs to its date, so that none is taken for another.
fn row_crc(time: usize, row: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(time as u64).to_le_bytes());
    hasher.update(row);
    hasher.finalize()
}

/// The records that a run writes. Tiles come one after another, so those of one tile are in memory at a time.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Arc<AtomicStore>,
    id: String,
    arrays: usize,
    open: Mutex<Option<Open>>,
}

/// The file of a tile as it is to be.
#[derive(Debug)]
struct Open {
    tile: (usize, usize),
    file: Vec<u8>,
    /// Changed since it was written.
    dirty: bool,
}

impl Ledger {
    pub(super) fn new(store: Arc<AtomicStore>, id: &str, arrays: usize) -> Self {
        Self { store, id: id.into(), arrays, open: Mutex::default() }
    }

    /// Records the chunks of a tile and date, one for each array.
    pub(super) fn set(&self, tile: (usize, usize), time: usize, chunks: &[ChunkStamp]) -> Result<()> {
        let len = row_len(self.arrays);
        let mut row = Vec::with_capacity(len);
        chunks.iter().for_each(|chunk| row.extend(chunk.to_bytes()));
        row.extend(row_crc(time, &row).to_le_bytes());
        self.with(tile, |open| {
            let at = HEADER + time * len;
            if open.file.len() < at + len {
                open.file.resize(at + len, 0);
            }
            open.file[at..at + len].copy_from_slice(&row);
            open.dirty = true;
            Ok(())
        })
    }

    /// Notes the newest checkpoint of a tile: at once, since a process may end here.
    pub(super) fn save(&self, tile: (usize, usize), saved: Saved) -> Result<()> {
        let header = self.of(tile).header(Some(saved));
        self.with(tile, |open| {
            open.file[..HEADER].copy_from_slice(&header);
            open.write(&self.store)
        })
    }

    fn of(&self, tile: (usize, usize)) -> LedgerOf<'_> {
        LedgerOf { id: &self.id, tile, arrays: self.arrays }
    }

    fn with(&self, tile: (usize, usize), change: impl FnOnce(&mut Open) -> Result<()>) -> Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.as_mut() {
            Some(open) if open.tile == tile => change(open),
            before => {
                before.map_or(Ok(()), |before| before.flush(&self.store))?;
                change(open.insert(Open::new(&self.store, self.of(tile))?))
            }
        }
    }

    /// Writes what is only in memory; it survives a power loss after the next sync of the store.
    pub(super) fn flush(&self) -> Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_mut().map_or(Ok(()), |open| open.flush(&self.store))
    }
}

impl Open {
    fn new(store: &AtomicStore, of: LedgerOf<'_>) -> Result<Self> {
        let name = name_of(of.tile);
        let held = store.folder().read(&name);
        let held = held.map_err(|error| io_error(&store.folder().path_of(&name), "cannot read", error))?;
        // A run that was killed at its beginning leaves nothing. What belongs to something else, or is damaged, has been
        // found before, and everything is written again.
        let whole = held.filter(|file| header_of(file).and_then(|header| of.parse(header)).is_ok());
        Ok(Self { tile: of.tile, file: whole.unwrap_or_else(|| of.header(None)), dirty: false })
    }

    fn flush(&mut self, store: &AtomicStore) -> Result<()> {
        if self.dirty { self.write(store) } else { Ok(()) }
    }

    fn write(&mut self, store: &AtomicStore) -> Result<()> {
        store.write(&name_of(self.tile), &self.file)?;
        self.dirty = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::storage::Disk;

    const OF: LedgerOf<'static> = LedgerOf { id: "0123456789abcdef0123456789abcdef", tile: (0, 3), arrays: 2 };

    fn chunks(k: usize) -> Vec<ChunkStamp> {
        (0..2).map(|array| ChunkStamp { bytes: (k * 7 + array) as u64, crc: k as u32 * 1_000_003 }).collect()
    }

    #[test]
    fn rows_come_back_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Folder> = Arc::new(Disk::new(folder.path()));
        let ledger = Ledger::new(Arc::new(AtomicStore::hidden(Arc::clone(&disk))), OF.id, 2);
        // Tiles in turn, dates in any order and twice.
        for (tile, time, k) in [((0, 3), 4, 9), ((0, 4), 0, 1), ((0, 3), 2, 2), ((0, 3), 4, 4)] {
            ledger.set(tile, time, &chunks(k)).unwrap();
        }
        let saved = Saved { generation: 3, date: Date::from_days(20_000) };
        ledger.save((0, 3), saved).unwrap();
        let read = |of| TileLedger::read(&*disk, of);
        let tile = read(OF).unwrap().unwrap();
        assert_eq!(tile.saved, Some(saved));
        let expected = vec![None, Some(chunks(2)), None, Some(chunks(4)), None];
        assert_eq!(tile.rows(1..6).unwrap(), expected);
        assert!(read(LedgerOf { tile: (5, 5), ..OF }).unwrap().is_none());
        for (of, words) in [
            (LedgerOf { id: "ffff456789abcdef0123456789abcdef", ..OF }, "another series"),
            (LedgerOf { arrays: 3, ..OF }, "other arrays"),
        ] {
            assert!(read(of).unwrap_err().to_string().contains(words));
        }
        let path = |tile| folder.path().join(name_of(tile));
        fs::copy(path((0, 4)), path((0, 3))).unwrap();
        assert!(read(OF).unwrap_err().to_string().contains("another tile"));
        // One bit anywhere.
        ledger.set((0, 5), 0, &chunks(5)).unwrap();
        ledger.flush().unwrap();
        let of = LedgerOf { tile: (0, 5), ..OF };
        let path = path((0, 5));
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 4;
            fs::write(&path, &other).unwrap();
            let found = read(of).map(|tile| tile.unwrap().rows(0..1).unwrap());
            assert!(found.is_err() || found.unwrap() == [None], "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            let found = read(of).map(|tile| tile.unwrap().rows(0..1).unwrap());
            assert!(found.is_err() || found.unwrap() == [None], "cut at {at}");
        }
    }
}
