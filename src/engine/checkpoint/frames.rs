//! File format of checkpoints: a header and frames, each with its length and a checksum.

use std::io::{self, BufRead, Read, Write};

use rayon::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::Fusion;
use crate::engine::compress::{compressed, damaged, decompressing};

/// Start of every file; the last byte is the version.
pub(super) const MAGIC: &[u8; 8] = b"RFSTATE\x02";

pub(super) fn write_header(file: &mut impl Write, header: &impl Serialize) -> io::Result<()> {
    file.write_all(MAGIC)?;
    // As it is made: records of long series are large as text.
    write_frame(file, &compressed(|encoder| Ok(serde_json::to_writer(encoder, header)?))?)
}

pub(super) fn read_header<H: DeserializeOwned>(file: &mut impl Read) -> io::Result<H> {
    read_magic(file)?;
    // As it is read, for the same reason.
    Ok(serde_json::from_reader(decompressing(&read_frame(file)?)?)?)
}

fn read_magic(file: &mut impl Read) -> io::Result<()> {
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic == *MAGIC { Ok(()) } else { Err(damaged("it is not a checkpoint, or one of another version")) }
}

/// Reads a file to its end and refuses it where a frame is damaged or cut short.
pub(super) fn check_frames(file: &mut impl BufRead) -> io::Result<()> {
    read_magic(file)?;
    while !file.fill_buf()?.is_empty() {
        read_frame(file)?;
    }
    Ok(())
}

pub(super) fn write_frame(file: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    file.write_all(&(frame.len() as u64).to_le_bytes())?;
    file.write_all(&crc32fast::hash(frame).to_le_bytes())?;
    file.write_all(frame)
}

/// Writes the frames of the items, a few at a time so that memory stays bounded.
pub(super) fn write_frames<T: Sync>(
    file: &mut impl Write,
    fusion: &Fusion,
    items: &[T],
    snapshot: impl Fn(&T) -> io::Result<Vec<u8>> + Sync,
) -> io::Result<()> {
    for items in items.chunks(2 * fusion.pool.current_num_threads()) {
        let frames: io::Result<Vec<Vec<u8>>> = fusion.pool.install(|| items.par_iter().map(&snapshot).collect());
        frames?.iter().try_for_each(|frame| write_frame(file, frame))?;
    }
    Ok(())
}

pub(super) fn read_frames<T: Send>(
    file: &mut impl Read,
    fusion: &Fusion,
    items: &mut [T],
    restore: impl Fn(&mut T, &[u8]) -> io::Result<()> + Sync,
) -> io::Result<()> {
    for items in items.chunks_mut(2 * fusion.pool.current_num_threads()) {
        let frames: Vec<Vec<u8>> = items.iter().map(|_| read_frame(file)).collect::<io::Result<_>>()?;
        fusion.pool.install(|| items.par_iter_mut().zip(frames).try_for_each(|(item, frame)| restore(item, &frame)))?;
    }
    Ok(())
}

pub(super) fn read_frame(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut len, mut crc) = ([0; 8], [0; 4]);
    file.read_exact(&mut len)?;
    file.read_exact(&mut crc)?;
    let len = u64::from_le_bytes(len);
    // Grows while it is read: a damaged length must not allocate all memory.
    let mut frame = Vec::new();
    file.take(len).read_to_end(&mut frame)?;
    if frame.len() as u64 != len {
        return Err(damaged("it is cut short"));
    }
    if crc32fast::hash(&frame).to_le_bytes() == crc { Ok(frame) } else { Err(damaged("its bytes have changed")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::{compress, decompress};

    #[test]
    fn damage_is_noticed() {
        let bytes: Vec<u8> = (0..4000_u32).flat_map(|k| f64::from(k).sqrt().to_le_bytes()).collect();
        let mut file = Vec::new();
        write_frame(&mut file, &compress(&bytes, 8).unwrap()).unwrap();
        let read = |file: &[u8]| read_frame(&mut &*file).and_then(|frame| decompress(&frame, 8));
        assert_eq!(read(&file).unwrap(), bytes);
        assert!(file.len() < bytes.len());
        for k in (0..file.len()).step_by(101) {
            let mut other = file.clone();
            other[k] ^= 0x10;
            assert!(read(&other).is_err(), "byte {k}");
            assert!(read(&file[..k]).is_err(), "cut at {k}");
            let whole = |frames: &[u8]| check_frames(&mut [&MAGIC[..], frames].concat().as_slice());
            assert!(whole(&file).is_ok() && whole(&other).is_err(), "byte {k}");
            assert!(k == 0 || whole(&file[..k]).is_err(), "cut at {k}");
        }
    }
}
