//! Cache of decoded chunks, shared by all reading threads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::elements::Elements;

/// Key of a chunk: the number of its variable, and the indices of the chunk.
pub(super) type ChunkKey = (usize, Vec<u64>);

/// A chunk that some thread decodes or has decoded.
type ChunkCell = Arc<Mutex<Option<Arc<Elements>>>>;

/// The most recently used decoded chunks, up to a fixed number. Threads that request the same chunk wait for the one
/// that decodes it.
///
/// A chunk of many dates is decoded once for all of them as long as the chunks under a tile fit.
#[derive(Debug)]
pub(super) struct ChunkCache {
    capacity: usize,
    /// Ordered by use, the most recent last.
    held: Mutex<VecDeque<(ChunkKey, ChunkCell)>>,
}

impl ChunkCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, held: Mutex::default() }
    }

    /// Largest number of chunks in the cache.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The chunk, decoded by `decode` unless it is cached.
    pub(super) fn get<E>(
        &self,
        key: ChunkKey,
        decode: impl FnOnce() -> Result<Elements, E>,
    ) -> Result<Arc<Elements>, E> {
        if self.capacity == 0 {
            return decode().map(Arc::new);
        }
        let cell = self.cell(key);
        let mut content = cell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(elements) = &*content {
            return Ok(Arc::clone(elements));
        }
        let elements = Arc::new(decode()?);
        *content = Some(Arc::clone(&elements));
        Ok(elements)
    }

    /// The cell of a chunk, empty when it is new.
    fn cell(&self, key: ChunkKey) -> ChunkCell {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let position = held.iter().position(|(other, _)| *other == key);
        let entry = position.and_then(|position| held.remove(position)).unwrap_or_else(|| (key, ChunkCell::default()));
        let cell = Arc::clone(&entry.1);
        held.push_back(entry);
        let evicted = (held.len() > self.capacity).then(|| held.pop_front());
        drop(held);
        drop(evicted); // freeing may take a while; not under the lock
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunks_used_last_are_held_and_no_more() {
        let cache = ChunkCache::new(2);
        let mut decoded = Vec::new();
        for index in [0, 1, 0, 2, 0, 1, 1] {
            let elements: Result<_, ()> = cache.get((0, vec![index]), || {
                decoded.push(index);
                Ok(Elements::U8(vec![index as u8]))
            });
            let mut value = [0.0];
            elements.unwrap().copy(0, 1, &mut value);
            assert_eq!(value[0], index as f64);
        }
        assert_eq!(decoded, [0, 1, 2, 1]);
        assert_eq!(cache.held.lock().unwrap().len(), 2);
        assert!(cache.get((1, vec![0]), || Err("damaged")).is_err());
        assert!(cache.get((1, vec![0]), || Ok::<_, ()>(Elements::U8(vec![]))).is_ok(), "errors are not held");
    }

    #[test]
    fn threads_share_one_decoding() {
        let (cache, count) = (ChunkCache::new(1), Mutex::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let decode = || {
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        *count.lock().unwrap() += 1;
                        Ok::<_, ()>(Elements::U8(vec![1]))
                    };
                    cache.get((0, vec![0]), decode).unwrap();
                });
            }
        });
        assert_eq!(*count.lock().unwrap(), 1);
    }
}
