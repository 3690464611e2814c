//! Read-only access to the folder of a Zarr store.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use zarrs::storage::byte_range::{ByteRange, ByteRangeIterator};
use zarrs::storage::{Bytes, MaybeBytesIterator, ReadableStorageTraits, StorageError, StoreKey};

/// A read-only folder. The file system store of zarrs remembers every key for ever, and cubes have millions of them.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Names of the arrays directly in the folder, sorted.
    pub(super) fn arrays(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.root.read_dir()? {
            let entry = entry?;
            let is_array = |path: &Path| path.join(".zarray").exists() || is_array_v3(&path.join("zarr.json"));
            if let Some(name) = entry.file_name().to_str().filter(|_| is_array(&entry.path())) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, key: &StoreKey) -> io::Result<Option<File>> {
        let path = self.root.join(key.as_str());
        match plain(&path).and_then(|()| File::open(&path)) {
            Ok(file) => Ok(Some(file)),
            // A path below a file does not exist, either.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Refuses what is no file, such as a pipe, whose opening would wait for ever.
fn plain(path: &Path) -> io::Result<()> {
    let kind = path.metadata()?;
    if kind.is_file() || kind.is_dir() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} is a pipe, a socket or a device, and no file", path.display())))
}

/// The contents of a file of the store, if they can be read.
pub(super) fn contents(path: &Path) -> Option<Vec<u8>> {
    plain(path).ok()?;
    std::fs::read(path).ok()
}

fn is_array_v3(path: &Path) -> bool {
    let document = contents(path).and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    document.is_some_and(|document| document.get("node_type").is_some_and(|kind| kind == "array"))
}

fn read_range(file: &mut File, range: &ByteRange) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    match *range {
        ByteRange::FromStart(offset, None) => {
            file.seek(SeekFrom::Start(offset))?;
            file.read_to_end(&mut bytes)?;
        }
        ByteRange::FromStart(offset, Some(length)) => {
            file.seek(SeekFrom::Start(offset))?;
            bytes.resize(length as usize, 0);
            file.read_exact(&mut bytes)?;
        }
        ByteRange::Suffix(length) => {
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(size.saturating_sub(length)))?;
            file.read_to_end(&mut bytes)?;
        }
    }
    Ok(bytes.into())
}

impl ReadableStorageTraits for Folder {
    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        byte_ranges: ByteRangeIterator<'a>,
    ) -> Result<MaybeBytesIterator<'a>, StorageError> {
        let Some(mut file) = self.open(key)? else { return Ok(None) };
        Ok(Some(Box::new(byte_ranges.map(move |range| Ok(read_range(&mut file, &range)?)))))
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        Ok(match self.open(key)? {
            Some(file) => Some(file.metadata()?.len()),
            None => None,
        })
    }

    fn supports_get_partial(&self) -> bool {
        true
    }
}
