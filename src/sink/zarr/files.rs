//! Lengths and contents of chunks, which have a file each or share one with those of other dates.

use std::collections::BTreeMap;
use std::io;

use super::sharding::{Index, Place, shard_of};
use crate::storage::Folder;

/// Why a chunk cannot be looked at: its file is there, but not as it was written.
pub(super) type Damage = String;

/// Looks at chunks by their names, such as `mean/c/17/0/3/4`.
pub(super) struct ChunkFiles<'a> {
    folder: &'a dyn Folder,
    /// Dates to a shard; 1 where each chunk has a file.
    dates: usize,
    /// Shards that were looked at.
    indices: BTreeMap<String, Result<Option<Index>, Damage>>,
}

impl<'a> ChunkFiles<'a> {
    pub(super) fn new(folder: &'a dyn Folder, dates: usize) -> Self {
        Self { folder, dates, indices: BTreeMap::new() }
    }

    /// Lengths of chunks; 0 of those that are not there.
    pub(super) fn lengths<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> io::Result<Vec<Result<u64, Damage>>> {
        if self.dates <= 1 {
            let names: Vec<String> = names.map(str::to_owned).collect();
            return Ok(self.folder.sizes(&names)?.into_iter().map(|size| Ok(size.unwrap_or(0))).collect());
        }
        let length = |place: Option<Place>| place.map_or(0, |(_, place)| place.end - place.start);
        names.map(|name| Ok(self.place(name)?.map(length))).collect()
    }

    /// A chunk, or its first `most` bytes; nothing of one that is not there.
    pub(super) fn contents(&mut self, name: &str, most: u64) -> io::Result<Result<Vec<u8>, Damage>> {
        let (file, range) = if self.dates <= 1 {
            (name.to_owned(), 0..most)
        } else {
            match self.place(name)? {
                Err(damage) => return Ok(Err(damage)),
                Ok(None) => return Ok(Ok(Vec::new())),
                Ok(Some((file, place))) => (file, place.start..place.end.min(place.start.saturating_add(most))),
            }
        };
        Ok(Ok(self.folder.read_range(&file, range)?.unwrap_or_default()))
    }

    /// The shard that holds a chunk, and where.
    fn place(&mut self, chunk: &str) -> io::Result<Result<Option<Place>, Damage>> {
        let Some((shard, position)) = shard_of(chunk, self.dates) else { return Ok(Ok(None)) };
        if !self.indices.contains_key(&shard) {
            let index = match Index::read(self.folder, &shard, self.dates) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error.to_string()),
                index => Ok(index?),
            };
            self.indices.insert(shard.clone(), index);
        }
        match self.indices.get(&shard) {
            Some(Err(damage)) => Ok(Err(damage.clone())),
            Some(Ok(Some(index))) => Ok(Ok(index.of(position).map(|place| (shard, place)))),
            _ => Ok(Ok(None)),
        }
    }
}
