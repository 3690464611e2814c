//! Folders in an object store: Amazon S3 and its relatives, Google Cloud Storage, Azure.
//!
//! An object is put whole or not at all, and seen by all readers from then on, so nothing is renamed and nothing waits for
//! a disk. Locks are leases, which are taken by conditional puts.

mod client;
mod lease;
mod renewal;
mod upload;

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode};
use tokio::task::JoinSet;

use super::options::Access;
use super::{Folder, Guard, Hold, Presence, Replacing, Writer, found};
use client::Client;
use lease::Lease;
use upload::Upload;

/// Requests for lengths at a time.
const HEADS: usize = 32;

/// Attempts to read an object that is replaced meanwhile.
const REPLACED: usize = 5;

/// Times that an answer which broke off on its way is asked for again.
const BROKEN: usize = 3;

/// Pause before the first of them.
const AGAIN: Duration = Duration::from_millis(50);

/// Bytes that a reader asks for at a time.
const PIECE: u64 = 8 << 20;

/// A folder in an object store.
#[derive(Clone, Debug)]
pub(super) struct ObjectFolder {
    client: Arc<Client>,
    /// What names of its objects begin with, without the last `/`.
    prefix: String,
    path: PathBuf,
}

impl ObjectFolder {
    /// The folder at `url`, such as `s3://bucket/fused.zarr`.
    ///
    /// # Errors
    /// What is wrong with the URL or with the settings in the environment.
    pub(super) fn open(url: &str, access: &Access) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("no URL")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        if bucket.is_empty() || prefix.is_empty() {
            return Err("names no folder in a bucket or on a server; give it such as s3://bucket/fused.zarr".into());
        }
        let prefix = if scheme.starts_with("http") {
            if prefix.contains(['?', '#']) {
                return Err("an address of a folder has no query (?) and no fragment (#)".into());
            }
            object_store::path::Path::from_url_path(prefix)
        } else {
            object_store::path::Path::parse(prefix)
        };
        let prefix = prefix.map_err(|error| error.to_string())?.to_string();
        let client = Client::new(scheme, url, access).map_err(|error| error.to_string())?;
        Ok(Self { client: Arc::new(client), prefix, path: url.trim_end_matches('/').into() })
    }

    /// A folder of a server that is part of this process, whose leases hold for so long.
    #[cfg(test)]
    pub(super) fn in_memory(lease: Duration) -> Self {
        let client = Client::of(Arc::new(object_store::memory::InMemory::new()), lease);
        Self { client: Arc::new(client), prefix: "store".into(), path: "test://bucket/store".into() }
    }

    /// The name of an object in its bucket; of the folder itself where `name` is empty.
    fn key(&self, name: &str) -> io::Result<object_store::path::Path> {
        let key = if name.is_empty() { self.prefix.clone() } else { format!("{}/{name}", self.prefix) };
        object_store::path::Path::parse(key).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }
}

impl Folder for ObjectFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn beside(&self, suffix: &str) -> Arc<dyn Folder> {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        Arc::new(Self {
            client: Arc::clone(&self.client),
            prefix: format!("{}{suffix}", self.prefix),
            path: path.into(),
        })
    }

    fn presence(&self) -> io::Result<Presence> {
        let key = self.key("")?;
        let list = self.client.run(|store| async move { store.list_with_delimiter(Some(&key)).await })?;
        let empty = list.objects.is_empty() && list.common_prefixes.is_empty();
        Ok(if empty { Presence::Nothing } else { Presence::Filled })
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        let key = self.key(name)?;
        let head = key.clone();
        let meta = found(self.client.run(|store| async move { store.head(&head).await }))?;
        Ok(meta.map(|meta| {
            let pieces = Pieces {
                client: Arc::clone(&self.client),
                key,
                tag: meta.e_tag,
                next: 0,
                size: meta.size,
                piece: io::Cursor::default(),
            };
            Box::new(pieces) as Box<dyn Read + Send>
        }))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let key = self.key(name)?;
        let bytes = self.client.run(|store| async move { whole(&*store, &key, GetOptions::default()).await });
        found(bytes)
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> io::Result<Option<Vec<u8>>> {
        if range.is_empty() {
            return Ok(self.has(name)?.then(Vec::new));
        }
        let (key, start) = (self.key(name)?, range.start);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let bytes = found(self.client.run(|store| async move { whole(&*store, &key, options).await }));
        match bytes {
            // Servers refuse a range that begins behind the end.
            Err(error) => match self.sizes(&[name.to_owned()]) {
                Ok(sizes) if sizes.iter().flatten().any(|size| *size <= start) => Ok(Some(Vec::new())),
                _ => Err(error),
            },
            read => read,
        }
    }

    fn read_end(&self, name: &str, length: u64) -> io::Result<Option<Vec<u8>>> {
        let key = self.key(name)?;
        if self.client.reads_ends {
            let options = GetOptions { range: Some(GetRange::Suffix(length)), ..GetOptions::default() };
            return found(self.client.run(|store| async move { whole(&*store, &key, options).await }));
        }
        // Azure has no ranges from the end.
        let read = || {
            let key = key.clone();
            self.client.request(move |store| async move {
                let meta = store.head(&key).await?;
                if meta.size == 0 {
                    return Ok(Vec::new());
                }
                let range = Some(GetRange::Bounded(meta.size.saturating_sub(length)..meta.size));
                let options = GetOptions { range, if_match: meta.e_tag, ..GetOptions::default() };
                whole(&*store, &key, options).await
            })
        };
        let mut tries = 1;
        loop {
            match read() {
                // It was replaced between the two requests.
                Err(object_store::Error::Precondition { .. }) if tries < REPLACED => tries += 1,
                read => return found(read.map_err(|error| self.client.error(error))),
            }
        }
    }

    fn sizes(&self, names: &[String]) -> io::Result<Vec<Option<u64>>> {
        let mut sizes = Vec::with_capacity(names.len());
        for names in names.chunks(HEADS) {
            let keys: Vec<_> = names.iter().map(|name| self.key(name)).collect::<io::Result<_>>()?;
            let some = self.client.run(|store| async move {
                let mut heads = JoinSet::new();
                for (index, key) in keys.into_iter().enumerate() {
                    let store = Arc::clone(&store);
                    heads.spawn(async move { (index, store.head(&key).await) });
                }
                let mut some = vec![None; heads.len()];
                while let Some(head) = heads.join_next().await {
                    match head? {
                        (_, Err(object_store::Error::NotFound { .. })) => {}
                        (index, meta) => some[index] = Some(meta?.size),
                    }
                }
                Ok(some)
            })?;
            sizes.extend(some);
        }
        Ok(sizes)
    }

    fn names(&self, within: &str) -> io::Result<Vec<String>> {
        let key = self.key(within)?;
        let list = self.client.run(|store| async move { store.list_with_delimiter(Some(&key)).await })?;
        Ok(list.objects.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect())
    }

    fn replace(&self, name: &str, _: Replacing<'_>, write: Writer<'_>) -> io::Result<()> {
        self.client.check()?;
        let mut upload = Upload::new(&self.client, self.key(name)?);
        match write(&mut upload) {
            Ok(()) => upload.finish(),
            Err(error) => {
                upload.abort();
                Err(error)
            }
        }
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        self.client.check()?;
        match self.client.put(&self.key(name)?, bytes.to_vec(), PutMode::Create) {
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            put => put.map(|_| true).map_err(|error| self.client.error(error)),
        }
    }

    fn remove(&self, name: &str) -> io::Result<bool> {
        self.client.check()?;
        let key = self.key(name)?;
        Ok(found(self.client.run(|store| async move { store.delete(&key).await }))?.is_some())
    }

    fn lock(&self, name: &str, hold: Hold) -> io::Result<Option<Box<dyn Guard>>> {
        let lease = Lease::take(&self.client, &self.key(name)?, hold)?;
        Ok(lease.map(|lease| Box::new(lease) as Box<dyn Guard>))
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// All bytes of an answer. One that broke off on its way is asked for again: the client repeats requests that fail, and
/// completes answers of objects with an entity tag.
async fn whole(
    store: &dyn ObjectStore,
    key: &object_store::path::Path,
    options: GetOptions,
) -> object_store::Result<Vec<u8>> {
    let (mut left, mut pause) = (BROKEN, AGAIN);
    loop {
        match store.get_opts(key, options.clone()).await?.bytes().await {
            Err(object_store::Error::Generic { .. }) if left > 0 => left -= 1,
            bytes => return bytes.map(Vec::from),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// An object that is read piece by piece; one that is replaced meanwhile is an error.
struct Pieces {
    client: Arc<Client>,
    key: object_store::path::Path,
    tag: Option<String>,
    next: u64,
    size: u64,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.piece.read(buffer)?;
        if read > 0 || self.next >= self.size || buffer.is_empty() {
            return Ok(read);
        }
        let end = (self.next + PIECE).min(self.size);
        let range = Some(GetRange::Bounded(self.next..end));
        let options = GetOptions { range, if_match: self.tag.clone(), ..GetOptions::default() };
        let key = self.key.clone();
        let bytes = self.client.run(|store| async move { whole(&*store, &key, options).await })?;
        if bytes.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server sent nothing of a piece of the object",
            ));
        }
        self.next += bytes.len() as u64;
        self.piece = io::Cursor::new(bytes);
        self.piece.read(buffer)
    }
}
