//! Numbers as compressed bytes with a checksum, for files of states.

use std::io::{self, BufRead, BufReader, BufWriter, Write};

/// Compresses numbers of low redundancy about as well as higher levels, at several times their speed.
const LEVEL: i32 = 1;

/// Matches are looked for in the last 128 KiB: what is further back gains nothing here, and takes memory.
const WINDOW_LOG: u32 = 17;

/// Number of words whose bytes are separated together.
const SHUFFLED: usize = 1024;

pub(super) fn damaged(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// A zstd frame with a checksum. Bytes of equal significance are stored together.
pub(super) fn compress(bytes: &[u8], word: usize) -> io::Result<Vec<u8>> {
    // Of known size: tables are no larger than the bytes need.
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    let mut frame = compressor.compress(&shuffle(bytes, word))?;
    frame.shrink_to_fit();
    Ok(frame)
}

/// A zstd frame with a checksum of what is written, compressed on the way.
pub(super) fn compressed(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut encoder = BufWriter::new(zstd::stream::Encoder::new(Vec::new(), LEVEL)?);
    encoder.get_mut().include_checksum(true)?;
    encoder.get_mut().window_log(WINDOW_LOG)?;
    write(&mut encoder)?;
    encoder.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
}

/// The bytes that were [compressed], as they are read.
pub(super) fn decompressing(frame: &[u8]) -> io::Result<impl BufRead + '_> {
    Ok(BufReader::new(zstd::stream::Decoder::with_buffer(frame)?))
}

pub(super) fn decompress(frame: &[u8], word: usize) -> io::Result<Vec<u8>> {
    Ok(unshuffle(&zstd::stream::decode_all(frame)?, word))
}

/// First bytes of all words, then second bytes, and so on; the bytes of an incomplete word at the end follow.
fn shuffle(bytes: &[u8], word: usize) -> Vec<u8> {
    let words = bytes.len() / word;
    let mut target = bytes.to_vec();
    // A few words at a time: they stay in the cache while their bytes are separated.
    for first in (0..words).step_by(SHUFFLED) {
        let some = SHUFFLED.min(words - first);
        let source = &bytes[first * word..(first + some) * word];
        for byte in 0..word {
            let plane = &mut target[byte * words + first..][..some];
            plane.iter_mut().zip(source.chunks_exact(word)).for_each(|(to, from)| *to = from[byte]);
        }
    }
    target
}

fn unshuffle(bytes: &[u8], word: usize) -> Vec<u8> {
    let words = bytes.len() / word;
    let mut target = bytes.to_vec();
    for first in (0..words).step_by(SHUFFLED) {
        let some = SHUFFLED.min(words - first);
        let source = &mut target[first * word..(first + some) * word];
        for byte in 0..word {
            let plane = &bytes[byte * words + first..][..some];
            source.chunks_exact_mut(word).zip(plane).for_each(|(to, from)| to[byte] = *from);
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_is_undone() {
        for (len, word) in [(0, 8), (7, 8), (8, 8), (35, 8), (10, 1), (33, 4), (20_003, 8)] {
            let bytes: Vec<u8> = (0..len).map(|k| (k * 37 % 251) as u8).collect();
            assert_eq!(unshuffle(&shuffle(&bytes, word), word), bytes);
        }
        assert_eq!(shuffle(&[1, 2, 3, 4, 5], 2), [1, 3, 2, 4, 5]);
    }
}
