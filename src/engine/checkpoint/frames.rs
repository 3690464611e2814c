//! File format of checkpoints: a header and frames, and a mark at their end. Each frame has its length and a checksum of
//! all bytes from the first frame on, so that none can be missing, exchanged or there twice.

use std::io::{self, Read, Write};

use crc32fast::Hasher;
use rayon::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::Fusion;
use crate::engine::compress::{compressed, damaged, decompressing};

/// Start of every file; the last byte is the version.
const MAGIC: &[u8; 8] = b"RFSTATE\x03";

/// In place of the length of a frame after the last one.
const END: u64 = u64::MAX;

/// Writes a checkpoint.
pub(super) struct FrameWriter<W> {
    file: W,
    /// Of everything so far.
    checksum: Hasher,
}

impl<W: Write> FrameWriter<W> {
    /// Begins with a header.
    pub(super) fn new(file: W, header: &impl Serialize) -> io::Result<Self> {
        // As it is made: records of long series are large as text.
        Self::with_header(file, &compressed(|encoder| Ok(serde_json::to_writer(encoder, header)?))?)
    }

    /// Begins with a header that is text and compressed.
    pub(super) fn with_header(mut file: W, header: &[u8]) -> io::Result<Self> {
        file.write_all(MAGIC)?;
        let mut frames = Self { file, checksum: Hasher::new() };
        frames.write(header)?;
        Ok(frames)
    }

    pub(super) fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let len = (frame.len() as u64).to_le_bytes();
        self.checksum.update(&len);
        self.checksum.update(frame);
        self.file.write_all(&len)?;
        self.file.write_all(&self.checksum.clone().finalize().to_le_bytes())?;
        self.file.write_all(frame)
    }

    /// Writes the frames of the items, a few at a time so that memory stays bounded.
    pub(super) fn write_all<T: Sync>(
        &mut self,
        fusion: &Fusion,
        items: &[T],
        snapshot: impl Fn(&T) -> io::Result<Vec<u8>> + Sync,
    ) -> io::Result<()> {
        for items in items.chunks(2 * fusion.pool.current_num_threads()) {
            let frames: io::Result<Vec<Vec<u8>>> = fusion.pool.install(|| items.par_iter().map(&snapshot).collect());
            frames?.iter().try_for_each(|frame| self.write(frame))?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.checksum.update(&END.to_le_bytes());
        self.file.write_all(&END.to_le_bytes())?;
        self.file.write_all(&self.checksum.finalize().to_le_bytes())
    }
}

/// Reads a checkpoint.
pub(super) struct FrameReader<R> {
    file: R,
    /// Of everything so far.
    checksum: Hasher,
}

impl<R: Read> FrameReader<R> {
    pub(super) fn new(mut file: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic)?;
        if magic == *MAGIC {
            Ok(Self { file, checksum: Hasher::new() })
        } else {
            Err(damaged("it is not a checkpoint, or one of another version"))
        }
    }

    /// The header, which comes first.
    pub(super) fn header<H: DeserializeOwned>(&mut self) -> io::Result<H> {
        // As it is read: records of long series are large as text.
        Ok(serde_json::from_reader(decompressing(&self.read()?)?)?)
    }

    /// The next frame.
    pub(super) fn read(&mut self) -> io::Result<Vec<u8>> {
        self.next()?.ok_or_else(|| damaged("it holds fewer states than it should"))
    }

    /// The next frame; `None` after the last one, which must be the end of the file.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (mut len, mut crc) = ([0; 8], [0; 4]);
        self.file.read_exact(&mut len).and_then(|()| self.file.read_exact(&mut crc)).map_err(cut_short)?;
        self.checksum.update(&len);
        let len = u64::from_le_bytes(len);
        let mut frame = Vec::new();
        if len != END {
            // Grows while it is read: a damaged length must not allocate all memory.
            self.file.by_ref().take(len).read_to_end(&mut frame)?;
            if frame.len() as u64 != len {
                return Err(damaged("it is cut short"));
            }
            self.checksum.update(&frame);
        }
        if self.checksum.clone().finalize().to_le_bytes() != crc {
            return Err(damaged("its bytes have changed"));
        }
        match len {
            END if self.file.read(&mut [0])? > 0 => Err(damaged("something follows its end")),
            END => Ok(None),
            _ => Ok(Some(frame)),
        }
    }

    pub(super) fn read_all<T: Send>(
        &mut self,
        fusion: &Fusion,
        items: &mut [T],
        restore: impl Fn(&mut T, &[u8]) -> io::Result<()> + Sync,
    ) -> io::Result<()> {
        for items in items.chunks_mut(2 * fusion.pool.current_num_threads()) {
            let frames: Vec<Vec<u8>> = items.iter().map(|_| self.read()).collect::<io::Result<_>>()?;
            fusion
                .pool
                .install(|| items.par_iter_mut().zip(frames).try_for_each(|(item, frame)| restore(item, &frame)))?;
        }
        Ok(())
    }

    /// Refuses a file that holds more than was read of it.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.next()?.is_none() { Ok(()) } else { Err(damaged("it holds more states than it should")) }
    }

    /// Reads to the end and refuses a file of which anything is damaged.
    pub(super) fn check(mut self) -> io::Result<()> {
        while self.next()?.is_some() {}
        Ok(())
    }
}

fn cut_short(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { damaged("it is cut short") } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::{compress, decompress};

    /// The frames of a file with the header `header`, each with its bytes.
    fn written(frames: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = FrameWriter::new(&mut file, &"header").unwrap();
        frames.iter().for_each(|frame| writer.write(frame).unwrap());
        writer.finish().unwrap();
        file
    }

    fn check(file: &[u8]) -> Result<(), String> {
        FrameReader::new(file).and_then(FrameReader::check).map_err(|error| error.to_string())
    }

    #[test]
    fn damage_is_noticed() {
        let bytes: Vec<u8> = (0..4000_u32).flat_map(|k| f64::from(k).sqrt().to_le_bytes()).collect();
        let file = written(&[&compress(&bytes, 8).unwrap()]);
        let mut reader = FrameReader::new(&*file).unwrap();
        assert_eq!(reader.header::<String>().unwrap(), "header");
        assert_eq!(decompress(&reader.read().unwrap(), 8).unwrap(), bytes);
        reader.finish().unwrap();
        assert!(file.len() < bytes.len());
        check(&file).unwrap();
        for k in (0..file.len()).step_by(101).chain([file.len() - 1]) {
            let mut other = file.clone();
            other[k] ^= 0x10;
            assert!(check(&other).is_err(), "byte {k}");
            assert!(check(&file[..k]).is_err(), "cut at {k}");
        }
    }

    #[test]
    fn frames_that_are_missing_exchanged_or_doubled_are_noticed() {
        let frames = [&b"first"[..], b"other", b"third"];
        let file = written(&frames);
        let len = 12 + frames[0].len();
        let end = file.len() - 12;
        let (head, states) = file[..end].split_at(end - 3 * len);
        let parts: Vec<&[u8]> = states.chunks(len).collect();
        for (order, words) in [
            (&[0, 1, 2][..], ""),
            (&[1, 0, 2], "changed"),
            (&[0, 0, 1, 2], "changed"),
            (&[0, 1, 2, 2], "changed"),
            (&[0, 2], "changed"),
            (&[0, 1], "changed"),
            (&[], "changed"),
        ] {
            let states = order.iter().flat_map(|k| parts[*k].iter().copied());
            let other: Vec<u8> = head.iter().copied().chain(states).chain(file[end..].iter().copied()).collect();
            let found = check(&other);
            assert!(if words.is_empty() { found.is_ok() } else { found.unwrap_err().contains(words) }, "{order:?}");
        }
        assert_eq!(check(&file[..end]).unwrap_err(), "it is cut short");
        assert_eq!(check(&[&file[..], b"x"].concat()).unwrap_err(), "something follows its end");
        // Less or more is read than there is.
        let mut reader = FrameReader::new(&*file).unwrap();
        reader.read().unwrap();
        assert!(reader.finish().unwrap_err().to_string().contains("more states"));
        let mut reader = FrameReader::new(&*file).unwrap();
        (0..4).for_each(|_| drop(reader.read().unwrap()));
        assert!(reader.read().unwrap_err().to_string().contains("fewer states"));
    }
}
