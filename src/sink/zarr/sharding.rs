//! Objects that hold the chunks of several dates: shards of Zarr v3.
//!
//! A shard has the chunks of one tile, in the order of their dates and each encoded by itself; then offset and length of
//! each; then a checksum of these. So the chunks of earlier dates keep their place when later ones are added: whoever has
//! read the index finds them also in the object that has replaced the shard since. A shard belongs to one tile, so
//! processes at work on different tiles never write the same one. (Zarr specification, codec `sharding_indexed`, version
//! 1.0, index at the end.)

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zarrs::storage::Bytes;

use crate::storage::Folder;

/// Offset and length of a chunk in an index.
const ENTRY: usize = 16;

/// Length of the checksum of an index.
const CHECKSUM: usize = 4;

/// Offset and length of a chunk that is not stored.
const NONE: u64 = u64::MAX;

/// The shard that holds a chunk, and its position there: of `mean/c/17/0/3/4`, with ten dates to an object,
/// `mean/c/1/0/3/4` and 7. `None` of what is no chunk of a tile and date.
pub(super) fn shard_of(chunk: &str, dates: usize) -> Option<(String, usize)> {
    let (array, chunk) = chunk.rsplit_once("/c/")?;
    let &[time, layer, row, col] = chunk.split('/').collect::<Vec<_>>().as_slice() else { return None };
    let time: usize = time.parse().ok()?;
    Some((format!("{array}/c/{}/{layer}/{row}/{col}", time.checked_div(dates)?), time % dates))
}

/// The object that holds a chunk, and where the chunk is in it.
pub(super) type Place = (String, Range<u64>);

/// Where the chunks of a shard are in it; `None` of those that are not stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Index(Vec<Option<Range<u64>>>);

impl Index {
    /// The index of a shard of so many dates; `None` where there is no such object.
    ///
    /// # Errors
    /// Of kind `InvalidData` where the object ends in no whole index.
    pub(super) fn read(folder: &dyn Folder, name: &str, dates: usize) -> io::Result<Option<Self>> {
        let end = folder.read_end(name, (dates * ENTRY + CHECKSUM) as u64)?;
        end.map(|end| Self::parse(&end, dates)).transpose()
    }

    /// The index at the end of these bytes.
    fn parse(bytes: &[u8], dates: usize) -> io::Result<Self> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the index of its object is damaged");
        let start = bytes.len().checked_sub(dates * ENTRY + CHECKSUM).ok_or_else(damaged)?;
        let (index, checksum) = bytes[start..].split_at(dates * ENTRY);
        if crc32c::crc32c(index).to_le_bytes() != checksum {
            return Err(damaged());
        }
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let entry = |entry: &[u8]| match (number(&entry[..8]), number(&entry[8..])) {
            (NONE, NONE) => Ok(None),
            (start, length) => start.checked_add(length).map(|end| Some(start..end)).ok_or_else(damaged),
        };
        index.chunks_exact(ENTRY).map(entry).collect::<io::Result<Vec<_>>>().map(Self)
    }

    /// Where a chunk is.
    pub(super) fn of(&self, position: usize) -> Option<Range<u64>> {
        self.0.get(position).cloned().flatten()
    }
}

/// A shard as it is to be written.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    chunks: Vec<Option<Bytes>>,
}

impl Shard {
    /// The shard of this name as it is; nothing of one that is not there. One whose index is damaged holds nothing that
    /// could be found, so its dates are made again.
    fn read(folder: &dyn Folder, name: &str, dates: usize) -> io::Result<Self> {
        let Some(bytes) = folder.read(name)? else { return Ok(Self { chunks: vec![None; dates] }) };
        let Ok(index) = Index::parse(&bytes, dates) else {
            tracing::warn!("{}: its index is damaged", folder.path_of(name).display());
            return Ok(Self { chunks: vec![None; dates] });
        };
        let bytes = Bytes::from(bytes);
        let chunk = |place: Range<u64>| {
            let place = usize::try_from(place.start).ok()?..usize::try_from(place.end).ok()?;
            (place.end <= bytes.len()).then(|| bytes.slice(place))
        };
        let chunks = (0..dates).map(|position| index.of(position).and_then(chunk)).collect();
        Ok(Self { chunks })
    }

    /// Whether none of its chunks is stored; then it is not stored either.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.iter().all(Option::is_none)
    }

    pub(super) fn write(&self, file: &mut dyn Write) -> io::Result<()> {
        let (mut index, mut at) = (Vec::with_capacity(self.chunks.len() * ENTRY + CHECKSUM), 0_u64);
        for chunk in &self.chunks {
            let (start, length) = chunk.as_ref().map_or((NONE, NONE), |chunk| (at, chunk.len() as u64));
            index.extend(start.to_le_bytes());
            index.extend(length.to_le_bytes());
            if let Some(chunk) = chunk {
                file.write_all(chunk)?;
                at += length;
            }
        }
        index.extend(crc32c::crc32c(&index).to_le_bytes());
        file.write_all(&index)
    }
}

/// The shards that a run is filling, of one tile at a time. Each is read when its first chunk comes, and is written when
/// its last has come, when another tile begins, and when what was written must be safe.
#[derive(Debug)]
pub(super) struct OpenShards {
    /// Dates to a shard.
    dates: usize,
    /// Dates of the series.
    planned: usize,
    by_name: Mutex<BTreeMap<String, Open>>,
}

#[derive(Debug)]
struct Open {
    shard: Shard,
    /// Column and row of its tile.
    tile: Vec<String>,
    /// Chunks that came since it was opened.
    came: Vec<bool>,
    /// Changed since it was written.
    dirty: bool,
}

impl OpenShards {
    /// Of a series of `planned` dates, `dates` of them to a shard.
    pub(super) fn new(dates: usize, planned: usize) -> Self {
        Self { dates, planned, by_name: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Open>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a chunk, `None` of one that is not to be stored. Returns the shards to be written now.
    pub(super) fn put(
        &self,
        folder: &dyn Folder,
        chunk: &str,
        contents: Option<Bytes>,
    ) -> io::Result<Vec<(String, Shard)>> {
        let no_chunk =
            || io::Error::new(io::ErrorKind::InvalidInput, format!("{chunk} is no chunk of a tile and date"));
        let (name, position) = shard_of(chunk, self.dates).ok_or_else(no_chunk)?;
        let tile = name.rsplit('/').take(2).map(str::to_owned).collect::<Vec<_>>();
        let mut open = self.lock();
        let mut ready = Vec::new();
        if open.values().any(|one| one.tile != tile) {
            let others = std::mem::take(&mut *open).into_iter().filter(|(_, one)| one.dirty);
            ready.extend(others.map(|(name, one)| (name, one.shard)));
        }
        if !open.contains_key(&name) {
            let shard = Shard::read(folder, &name, self.dates)?;
            let came = vec![false; self.dates];
            open.insert(name.clone(), Open { shard, tile, came, dirty: false });
        }
        let Some(one) = open.get_mut(&name) else { return Ok(ready) };
        (one.shard.chunks[position], one.came[position], one.dirty) = (contents, true, true);
        if self.is_full(&name, &one.came) {
            ready.extend(open.remove(&name).map(|one| (name, one.shard)));
        }
        Ok(ready)
    }

    /// Whether all chunks of a shard came, as far as the series reaches.
    fn is_full(&self, name: &str, came: &[bool]) -> bool {
        let number = name.rsplit('/').nth(3).and_then(|number| number.parse::<usize>().ok());
        let first = number.unwrap_or(0).saturating_mul(self.dates);
        let last = self.planned.saturating_sub(first).min(self.dates);
        last > 0 && came.iter().take(last).all(|came| *came)
    }

    /// The shards that hold more than was written. They stay open.
    pub(super) fn unwritten(&self) -> Vec<(String, Shard)> {
        let mut open = self.lock();
        let dirty = open.iter_mut().filter(|(_, one)| one.dirty);
        dirty
            .map(|(name, one)| {
                one.dirty = false;
                (name.clone(), one.shard.clone())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(chunks: &[Option<&'static [u8]>]) -> Vec<u8> {
        let chunks = chunks.iter().map(|chunk| chunk.map(Bytes::from_static)).collect();
        let mut bytes = Vec::new();
        Shard { chunks }.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn chunks_are_found_by_their_date() {
        assert_eq!(shard_of("mean/c/17/0/3/4", 10), Some(("mean/c/1/0/3/4".into(), 7)));
        assert_eq!(shard_of("mean/zarr.json", 10), None);
        let bytes = shard(&[Some(b"first"), None, Some(b"3rd"), None]);
        let index = Index::parse(&bytes, 4).unwrap();
        assert_eq!(index.0, [Some(0..5), None, Some(5..8), None]);
        // Chunks that were there keep their place.
        let more = Index::parse(&shard(&[Some(b"first"), None, Some(b"3rd"), Some(b"4th")]), 4).unwrap();
        assert_eq!((more.of(0), more.of(2), more.of(3), more.of(9)), (Some(0..5), Some(5..8), Some(8..11), None));
        for at in 8..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(Index::parse(&other, 4).is_err(), "byte {at}");
        }
        assert!(Index::parse(&bytes[..60], 4).is_err());
    }

    #[test]
    fn shards_are_written_when_they_are_full_and_go_on_from_what_is_there() {
        let folder = crate::storage::Place::memory().folder().unwrap();
        let put = |shards: &OpenShards, chunk: &str, contents: &'static [u8]| {
            let contents = (!contents.is_empty()).then(|| Bytes::from_static(contents));
            let ready = shards.put(&*folder, chunk, contents).unwrap();
            for (name, shard) in &ready {
                folder.replace(name, crate::storage::Replacing::default(), &mut |file| shard.write(file)).unwrap();
            }
            ready.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        // Five dates, three to a shard: the second is full with two.
        let shards = OpenShards::new(3, 5);
        let of = |name: &str| folder.read(name).unwrap().unwrap();
        for (chunk, contents) in [("mean/c/2/0/0/0", b"c"), ("mean/c/0/0/0/0", b"a"), ("mean/c/3/0/0/0", b"d")] {
            assert!(put(&shards, chunk, contents).is_empty(), "{chunk}");
        }
        assert_eq!(put(&shards, "mean/c/1/0/0/0", b""), ["mean/c/0/0/0/0"]);
        assert_eq!(of("mean/c/0/0/0/0"), shard(&[Some(b"a"), None, Some(b"c")]));
        assert_eq!(shards.unwritten().len(), 1);
        assert!(shards.unwritten().is_empty());
        assert_eq!(put(&shards, "mean/c/4/0/0/0", b"e"), ["mean/c/1/0/0/0"]);
        // Two more dates: the shard goes on; another tile writes what is open.
        let shards = OpenShards::new(3, 7);
        assert_eq!(put(&shards, "mean/c/5/0/0/0", b"f"), [""; 0]);
        assert_eq!(put(&shards, "mean/c/5/0/0/1", b"g"), ["mean/c/1/0/0/0"]);
        assert_eq!(of("mean/c/1/0/0/0"), shard(&[Some(b"d"), Some(b"e"), Some(b"f")]));
        let ready = shards.unwritten();
        assert_eq!(ready.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["mean/c/1/0/0/1"]);
    }
}
