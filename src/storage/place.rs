//! Where a store is, as people and code name it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::disk::canonical;
use super::memory::{Memory, MemoryFolder};
#[cfg(feature = "object-store")]
use super::object::ObjectFolder;
use super::options::{Access, StorageOptions};
use super::overlay::{Overlay, OverlayFolder};
use super::{Disk, Folder};
use crate::error::{Error, Result};

/// Start of the name of a store in memory.
const MEMORY: &str = "memory:";

/// Start of the name of a store that begins in memory.
const OVERLAY: &str = "overlay:";

/// Schemes of object stores.
const OBJECTS: [&str; 7] = ["s3", "s3a", "gs", "az", "azure", "abfs", "abfss"];

/// Files that are written to a server at a time.
const WRITES: usize = 16;

/// How long one request is repeated at most, in seconds, however often that is: credentials expire.
#[cfg(feature = "zarr")]
const LONGEST_PATIENCE: f64 = 290.0;

/// Schemes of web servers, which are read and not written.
const WEB: [&str; 2] = ["http", "https"];

/// Where a store is: a folder on a disk, or a URL.
///
/// | name | where |
/// |---|---|
/// | `fused.zarr`, `/data/fused.zarr` | a folder |
/// | `memory:`, `memory:NAME` | memory of this process; the store lives as long as a place, sink or series refers to it |
/// | `overlay:`, `overlay:FOLDER` | memory of this process, and a temporary folder (in `FOLDER`) once that is too little; see [`Place::overlay`] |
/// | `s3://bucket/fused.zarr` | an object store, with the feature `object-store`; also `gs://` and `az://` |
/// | `https://host/cube.zarr` | a web server, with the same feature, to read |
///
/// A folder of such a name is given as `./memory:`.
///
/// ```
/// use rasterfuse::storage::Place;
/// let place = Place::from("memory:tomorrow");
/// assert!(place.is_url() && !Place::from("fused.zarr").is_url());
/// assert_eq!(place.beside(".state").name().to_str(), Some("memory:tomorrow.state"));
/// ```
#[derive(Clone, Debug)]
pub struct Place {
    name: PathBuf,
    /// Of URLs, once they are opened: connections, and what is in memory.
    opened: Arc<OnceLock<Arc<dyn Folder>>>,
    access: Access,
}

impl Place {
    /// A new store in memory that has no name: whoever is to see it is given this place.
    #[must_use]
    pub fn memory() -> Self {
        let folder = MemoryFolder::new(Arc::default(), MEMORY.into());
        Self::opened(Arc::new(folder))
    }

    /// A new store that begins in memory, and moves to a temporary folder in `parent` when it is larger than 10 GiB, or
    /// larger than 1 GiB while less than a quarter of the machine's memory is free, or, smaller, when memory runs out.
    /// Readers may hold it open meanwhile. It ends with the last place, sink or series that refers to it, and so does its
    /// folder: for results that this process alone needs, of any size. A plan counts it only where `output.store` names it.
    #[must_use]
    pub fn overlay(parent: impl Into<PathBuf>) -> Self {
        Self::in_overlay(parent.into(), &StorageOptions::default())
    }

    /// The same with other limits: it is on the disk once it is larger than `large` bytes, or larger than `small` bytes
    /// while less than this share of the machine's memory is `free`, from 0 to 1.
    #[must_use]
    pub fn overlay_within(parent: impl Into<PathBuf>, small: u64, large: u64, free: f64) -> Self {
        let options = StorageOptions {
            keep_in_memory: small,
            move_to_disk: large,
            free_memory: free,
            ..StorageOptions::default()
        };
        Self::in_overlay(parent.into(), &options)
    }

    fn in_overlay(parent: PathBuf, options: &StorageOptions) -> Self {
        let store = Overlay::new(parent, options);
        Self::opened(Arc::new(OverlayFolder::new(Arc::new(store), OVERLAY.into())))
    }

    /// The place as it was named.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// How much of a store of so many bytes is in memory: all in `memory:`, what an overlay keeps there whatever memory is
    /// free.
    pub(crate) fn memory_bytes(&self, store: u64) -> u64 {
        match scheme(&self.name) {
            Some("memory") => store,
            Some("overlay") => store.min(self.access.options.keep_in_memory),
            _ => 0,
        }
    }

    /// Whether it is named by a URL, and not by a path.
    #[must_use]
    pub fn is_url(&self) -> bool {
        scheme(&self.name).is_some()
    }

    /// The same place where a path is relative to `folder`; a URL stays.
    #[must_use]
    pub fn within(&self, folder: &Path) -> Self {
        if self.is_url() { self.clone() } else { folder.join(&self.name).into() }
    }

    /// The place next to it whose name has `suffix` appended, in the same storage.
    #[must_use]
    pub fn beside(&self, suffix: &str) -> Self {
        match self.folder() {
            Ok(folder) => Self::opened(folder.beside(suffix)),
            Err(_) => {
                let mut name = self.name.clone().into_os_string();
                name.push(suffix);
                PathBuf::from(name).into()
            }
        }
    }

    /// Whether it is reached through a network.
    pub(crate) fn is_remote(&self) -> bool {
        scheme(&self.name).is_some_and(|scheme| !["memory", "overlay"].contains(&scheme))
    }

    /// Files that are written at a time, so that the time of a server's answers is not waited for one by one.
    pub(crate) fn writes_in_flight(&self) -> Option<usize> {
        self.is_remote().then_some(WRITES)
    }

    /// The longest time of a request, how often it is repeated, and the pause before the first repetition; times in
    /// seconds. No effect once the place was used, nor on paths.
    #[cfg(feature = "zarr")]
    pub(crate) fn patience(mut self, timeout: f64, retries: u32, pause: f64) -> Self {
        self.access.options.timeout_seconds = timeout;
        self.access.options.retries = retries;
        self.access.options.retry_seconds = LONGEST_PATIENCE;
        self.access.pause = Some(pause);
        self
    }

    /// How a server is waited for, and what an overlay keeps in memory. No effect once the place was used, nor on paths.
    #[must_use]
    pub fn options(mut self, options: StorageOptions) -> Self {
        self.access.options = options;
        self
    }

    /// How long a request to a server that fails, or asks to wait, is repeated before it is an error. Default: two
    /// minutes. No effect once the place was used, nor on paths.
    #[must_use]
    pub fn retry(mut self, time: Duration) -> Self {
        self.access.options.retry_seconds = time.as_secs_f64();
        self
    }

    /// How long a lease, which stands for a lock in an object store, holds when the run that took it is not heard of; it
    /// is renewed three times as often. Another run takes over after this time. Default: 30 seconds. No effect once the
    /// place was used, nor on paths.
    #[must_use]
    pub fn lease(mut self, time: Duration) -> Self {
        self.access.options.lease_seconds = time.as_secs_f64();
        self
    }

    /// A setting of the server in place of that of the environment, such as `aws_endpoint`: one of
    /// [S3](https://docs.rs/object_store/latest/object_store/aws/enum.AmazonS3ConfigKey.html),
    /// [Google](https://docs.rs/object_store/latest/object_store/gcp/enum.GoogleConfigKey.html) or
    /// [Azure](https://docs.rs/object_store/latest/object_store/azure/enum.AzureConfigKey.html). No effect once the place
    /// was used, nor on paths.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.access.settings.push((name.into(), value.into()));
        self
    }

    fn opened(folder: Arc<dyn Folder>) -> Self {
        Self { opened: Arc::new(OnceLock::from(Arc::clone(&folder))), ..folder.path().into() }
    }

    /// The folder to write: whichever way a path is spelled, the same one, so that locks and checkpoints are the same for
    /// everybody. It need not exist yet.
    ///
    /// # Errors
    /// [`Error::Occupied`] for a path that names no folder, [`Error::Store`] for a URL of no storage.
    pub(crate) fn folder(&self) -> Result<Arc<dyn Folder>> {
        if scheme(&self.name).is_some_and(|scheme| WEB.contains(&scheme)) {
            let problem = format!(
                "web servers are for cubes to read; for a series give a path, memory:, or a URL of {}",
                OBJECTS.join(", ")
            );
            return Err(Error::Store { path: self.name.clone(), problem, source: None });
        }
        match self.url()? {
            Some(folder) => Ok(folder),
            None => Ok(Arc::new(Disk::new(canonical(&self.name)?))),
        }
    }

    /// The folder to read, as it was named.
    ///
    /// # Errors
    /// [`Error::Store`] for a URL of no storage.
    pub(crate) fn reading(&self) -> Result<Arc<dyn Folder>> {
        Ok(self.url()?.unwrap_or_else(|| Arc::new(Disk::new(&self.name))))
    }

    /// The folder that a URL names; `None` for a path.
    fn url(&self) -> Result<Option<Arc<dyn Folder>>> {
        if let Some(folder) = self.opened.get() {
            return Ok(Some(Arc::clone(folder)));
        }
        let Some(scheme) = scheme(&self.name) else { return Ok(None) };
        let folder = open(&self.name, scheme, &self.access)?;
        Ok(Some(Arc::clone(self.opened.get_or_init(|| folder))))
    }
}

/// `memory`, or what stands before `://`; `None` of a path.
fn scheme(name: &Path) -> Option<&str> {
    let text = name.to_str()?;
    if text.starts_with(MEMORY) {
        return Some("memory");
    }
    if text.starts_with(OVERLAY) {
        return Some("overlay");
    }
    let (scheme, _) = text.split_once("://")?;
    let plain = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    plain.then_some(scheme)
}

fn open(name: &Path, scheme: &str, access: &Access) -> Result<Arc<dyn Folder>> {
    if scheme == "memory" {
        let text = name.to_string_lossy();
        let store = Memory::named(text.trim_start_matches(MEMORY).trim_matches('/'));
        return Ok(Arc::new(MemoryFolder::new(store, name.to_path_buf())));
    }
    if scheme == "overlay" {
        let text = name.to_string_lossy();
        let parent = text.trim_start_matches(OVERLAY);
        let parent = if parent.is_empty() { std::env::temp_dir() } else { parent.into() };
        let store = Arc::new(Overlay::new(parent, &access.options));
        return Ok(Arc::new(OverlayFolder::new(store, name.to_path_buf())));
    }
    let opened = if OBJECTS.contains(&scheme) || WEB.contains(&scheme) {
        open_objects(name, access)
    } else {
        Err(format!("{scheme}:// is no storage; give a path, memory:, or a URL of {}", OBJECTS.join(", ")))
    };
    opened.map_err(|problem| Error::Store { path: name.to_path_buf(), problem, source: None })
}

#[cfg(feature = "object-store")]
fn open_objects(name: &Path, access: &Access) -> std::result::Result<Arc<dyn Folder>, String> {
    Ok(Arc::new(ObjectFolder::open(&name.to_string_lossy(), access)?))
}

#[cfg(not(feature = "object-store"))]
fn open_objects(_: &Path, _: &Access) -> std::result::Result<Arc<dyn Folder>, String> {
    Err("object stores and web servers are not in this build; build it with the feature object-store".into())
}

impl From<PathBuf> for Place {
    fn from(name: PathBuf) -> Self {
        Self { name, opened: Arc::default(), access: Access::default() }
    }
}

impl From<&PathBuf> for Place {
    fn from(name: &PathBuf) -> Self {
        name.clone().into()
    }
}

impl From<&Path> for Place {
    fn from(name: &Path) -> Self {
        name.to_path_buf().into()
    }
}

impl From<&str> for Place {
    fn from(name: &str) -> Self {
        PathBuf::from(name).into()
    }
}

impl From<String> for Place {
    fn from(name: String) -> Self {
        PathBuf::from(name).into()
    }
}

impl From<&Self> for Place {
    fn from(place: &Self) -> Self {
        place.clone()
    }
}
