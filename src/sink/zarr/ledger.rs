//! Records of chunks: for each tile a file that names the length and the checksum of every chunk written.
//!
//! A file has a header (series, tile, its newest checkpoint) and a row of fixed length for each date, so that rows are
//! written and read in place, whatever the number of dates. The files lie in the folder of the array `mean`, where no
//! reader of Zarr looks for arrays.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::geometry::Date;
use crate::series::Saved;

/// The folder of the records, and of temporary files, in a store.
pub(super) const FOLDER: &str = "mean/.rasterfuse";

/// Start of every file; the last byte is the version.
const MAGIC: &[u8; 8] = b"RFCHUNK\x01";

/// Length of an id.
const ID: usize = 32;

/// Header: magic, id, tile, number of arrays, newest checkpoint (generation 0 without one), checksum.
const HEADER: usize = MAGIC.len() + ID + 3 * 4 + 8 + 4 + 4;

/// Length and CRC-32 of a chunk: 0 and 0 of one that holds nothing but NaN and is not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkStamp {
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl ChunkStamp {
    const LEN: usize = 12;

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, crc: crc32fast::hash(bytes) }
    }
}

/// The records of one tile.
#[derive(Debug)]
pub(super) struct TileLedger {
    path: PathBuf,
    file: File,
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

fn path_of(root: &Path, (row, col): (usize, usize)) -> PathBuf {
    root.join(FOLDER).join(format!("tile-{row}-{col}.chunks"))
}

/// The tiles of which there are records.
pub(super) fn recorded_tiles(root: &Path) -> Vec<(usize, usize)> {
    let tile = |entry: io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let (row, col) = name.strip_prefix("tile-")?.strip_suffix(".chunks")?.split_once('-')?;
        Some((row.parse().ok()?, col.parse().ok()?))
    };
    fs::read_dir(root.join(FOLDER)).into_iter().flatten().filter_map(tile).collect()
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

impl TileLedger {
    /// The records of a tile, to be read; `None` when there are none.
    pub(super) fn read(root: &Path, of: LedgerOf<'_>) -> io::Result<Option<Self>> {
        let path = path_of(root, of.tile);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => Self::new(path, file?, of).map(Some),
        }
    }

    /// The records of a tile, to be written; begun where there are none.
    fn write(root: &Path, of: LedgerOf<'_>) -> io::Result<Self> {
        let path = path_of(root, of.tile);
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(root.join(FOLDER))?;
                open()?
            }
            file => file?,
        };
        // A run that was killed at its beginning leaves less than a header. What belongs to something else, or is
        // damaged, has been found before, and everything is written again.
        match Self::new(path.clone(), file.try_clone()?, of) {
            Err(error) if is_damage(&error) => {
                file.set_len(0)?;
                file.rewind()?;
                file.write_all(&of.header(None))?;
                Self::new(path, file, of)
            }
            // What cannot be read now may be whole.
            ledger => ledger,
        }
    }

    fn new(path: PathBuf, mut file: File, of: LedgerOf<'_>) -> io::Result<Self> {
        let mut header = [0; HEADER];
        file.rewind()?;
        file.read_exact(&mut header)?;
        Ok(Self { path, file, arrays: of.arrays, saved: of.parse(&header)? })
    }

    fn row_len(&self) -> usize {
        self.arrays * ChunkStamp::LEN + 4
    }

    fn seek(&mut self, time: usize) -> io::Result<()> {
        let at = HEADER as u64 + time as u64 * self.row_len() as u64;
        self.file.seek(SeekFrom::Start(at)).map(drop)
    }

    fn set(&mut self, time: usize, chunks: &[ChunkStamp]) -> io::Result<()> {
        let mut row = Vec::with_capacity(self.row_len());
        for chunk in chunks {
            row.extend(chunk.bytes.to_le_bytes());
            row.extend(chunk.crc.to_le_bytes());
        }
        row.extend(row_crc(time, &row).to_le_bytes());
        self.seek(time)?;
        self.file.write_all(&row)
    }

    /// The chunks of some dates, by date and array; `None` for a date that is not recorded, or whose row is damaged.
    pub(super) fn rows(&mut self, times: Range<usize>) -> io::Result<Vec<Option<Vec<ChunkStamp>>>> {
        let len = self.row_len();
        self.seek(times.start)?;
        let mut bytes = Vec::new();
        (&mut self.file).take((times.len() * len) as u64).read_to_end(&mut bytes)?;
        let row = |time: usize| {
            let at = (time - times.start) * len;
            let (row, crc) = bytes.get(at..at + len)?.split_at(len - 4);
            (row_crc(time, row).to_le_bytes() == crc).then(|| row.chunks_exact(ChunkStamp::LEN).map(stamp).collect())
        };
        Ok(times.clone().map(row).collect())
    }
}

/// A row belongs to its date, so that none is taken for another.
fn row_crc(time: usize, row: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(time as u64).to_le_bytes());
    hasher.update(row);
    hasher.finalize()
}

fn stamp(bytes: &[u8]) -> ChunkStamp {
    let (len, crc) = bytes.split_at(8);
    ChunkStamp {
        bytes: u64::from_le_bytes(len.try_into().unwrap_or_default()),
        crc: u32::from_le_bytes(crc.try_into().unwrap_or_default()),
    }
}

/// The records that a run writes. Tiles come one after another, so one file is open at a time.
#[derive(Debug)]
pub(super) struct Ledger {
    root: PathBuf,
    id: String,
    arrays: usize,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    tile: (usize, usize),
    ledger: TileLedger,
    /// Written since the last sync.
    dirty: bool,
}

impl Ledger {
    pub(super) fn new(root: &Path, id: &str, arrays: usize) -> Self {
        Self { root: root.to_path_buf(), id: id.into(), arrays, open: Mutex::default() }
    }

    /// Records the chunks of a tile and date, one for each array. Returns the file of another tile that must be
    /// synced, if any.
    pub(super) fn set(&self, tile: (usize, usize), time: usize, chunks: &[ChunkStamp]) -> io::Result<Option<PathBuf>> {
        self.with(tile, |ledger| ledger.set(time, chunks))
    }

    /// Notes the newest checkpoint of a tile.
    pub(super) fn save(&self, tile: (usize, usize), saved: Saved) -> io::Result<Option<PathBuf>> {
        let header = self.of(tile).header(Some(saved));
        self.with(tile, |ledger| {
            ledger.saved = Some(saved);
            ledger.file.rewind()?;
            ledger.file.write_all(&header)
        })
    }

    fn of(&self, tile: (usize, usize)) -> LedgerOf<'_> {
        LedgerOf { id: &self.id, tile, arrays: self.arrays }
    }

    fn with(
        &self,
        tile: (usize, usize),
        write: impl FnOnce(&mut TileLedger) -> io::Result<()>,
    ) -> io::Result<Option<PathBuf>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = None;
        if open.as_ref().is_none_or(|open| open.tile != tile) {
            let ledger = TileLedger::write(&self.root, self.of(tile))?;
            let before = open.replace(Open { tile, ledger, dirty: false });
            left = before.filter(|before| before.dirty).map(|before| before.ledger.path);
        }
        if let Some(open) = open.as_mut() {
            open.dirty = true;
            write(&mut open.ledger)?;
        }
        Ok(left)
    }

    /// The file that must be synced, if any.
    pub(super) fn take_dirty(&self) -> Option<PathBuf> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut().filter(|open| open.dirty)?;
        open.dirty = false;
        Some(open.ledger.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: LedgerOf<'static> = LedgerOf { id: "0123456789abcdef0123456789abcdef", tile: (0, 3), arrays: 2 };

    fn chunks(k: usize) -> Vec<ChunkStamp> {
        (0..2).map(|array| ChunkStamp { bytes: (k * 7 + array) as u64, crc: k as u32 * 1_000_003 }).collect()
    }

    #[test]
    fn rows_come_back_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path(), OF.id, 2);
        // Tiles in turn, dates in any order and twice.
        for (tile, time, k) in [((0, 3), 4, 9), ((0, 4), 0, 1), ((0, 3), 2, 2), ((0, 3), 4, 4)] {
            ledger.set(tile, time, &chunks(k)).unwrap();
        }
        assert!(ledger.take_dirty().is_some() && ledger.take_dirty().is_none());
        let saved = Saved { generation: 3, date: Date::from_days(20_000) };
        ledger.save((0, 3), saved).unwrap();
        let read = |of| TileLedger::read(folder.path(), of);
        let mut tile = read(OF).unwrap().unwrap();
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
        let path = path_of(folder.path(), (0, 3));
        fs::copy(path_of(folder.path(), (0, 4)), &path).unwrap();
        assert!(read(OF).unwrap_err().to_string().contains("another tile"));
        // One bit anywhere.
        ledger.set((0, 5), 0, &chunks(5)).unwrap();
        let of = LedgerOf { tile: (0, 5), ..OF };
        let (path, whole) = (path_of(folder.path(), (0, 5)), fs::read(path_of(folder.path(), (0, 5))).unwrap());
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
