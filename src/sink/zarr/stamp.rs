//! What is recorded of a chunk.

/// Length and CRC-32 of a chunk: 0 and 0 of one that holds nothing but NaN and is not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkStamp {
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl ChunkStamp {
    /// Length of a stamp in a file of records.
    pub(super) const LEN: usize = 12;

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, crc: crc32fast::hash(bytes) }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[8..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// The stamp in [`LEN`](Self::LEN) bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (len, crc) = bytes.split_at(8);
        Self {
            bytes: u64::from_le_bytes(len.try_into().unwrap_or_default()),
            crc: u32::from_le_bytes(crc.try_into().unwrap_or_default()),
        }
    }
}
