//! Read-only access to a Zarr store: a folder on a disk, in memory, in an object store or on a web server.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use zarrs::storage::byte_range::{ByteRange, ByteRangeIterator};
use zarrs::storage::{Bytes, MaybeBytes, MaybeBytesIterator, ReadableStorageTraits, StorageError, StoreKey};

use crate::error::Result;
use crate::storage::{Folder as Storage, Place};

/// Arrays that may be the grid mapping of a variable that names none.
pub(super) const GRID_MAPPINGS: [&str; 2] = ["spatial_ref", "crs"];

/// Arrays of one number, that of a CRS in the EPSG registry.
pub(super) const EPSG: [&str; 2] = ["epsg", "proj:epsg"];

/// Names of files of metadata.
const METADATA: [&str; 5] = ["zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"];

/// A read-only folder. The file system store of zarrs remembers every key for ever, and cubes have millions of them.
#[derive(Debug)]
pub(super) struct Folder {
    storage: Arc<dyn Storage>,
    /// Whether it can be listed without requests.
    on_disk: bool,
    opening: Mutex<Opening>,
}

/// What is known while a cube is opened.
#[derive(Debug, Default)]
struct Opening {
    /// Metadata that were read from a server, each of which is asked for several times.
    metadata: BTreeMap<String, Option<Bytes>>,
    /// What could not be read first: metadata that are optional are not missing because a server fails.
    failure: Option<String>,
}

/// Names of arrays in a folder.
#[derive(Debug)]
pub(super) enum Arrays {
    All(Vec<String>),
    /// Those that were asked for, and what they refer to.
    Known(Vec<String>),
}

impl Folder {
    pub(super) fn new(place: &Place) -> Result<Self> {
        Ok(Self { storage: place.reading()?, on_disk: !place.is_url(), opening: Mutex::default() })
    }

    pub(super) fn path(&self) -> &Path {
        self.storage.path()
    }

    /// Ends the opening of a cube.
    ///
    /// # Errors
    /// What could not be read, even where that did not seem to matter.
    pub(super) fn opened(&self) -> std::result::Result<(), String> {
        let opening = std::mem::take(&mut *self.opening.lock().unwrap_or_else(PoisonError::into_inner));
        opening.failure.map_or(Ok(()), Err)
    }

    /// The contents of a file of the store, if there is one.
    fn contents(&self, name: &str) -> io::Result<Option<Bytes>> {
        let opening = || self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = !self.on_disk && METADATA.iter().any(|file| name.ends_with(file));
        if is_kept && let Some(known) = opening().metadata.get(name) {
            return Ok(known.clone());
        }
        let bytes = self.storage.read(name).map_err(|error| {
            let error = io::Error::new(error.kind(), format!("{name}: {error}"));
            opening().failure.get_or_insert_with(|| error.to_string());
            error
        })?;
        let bytes = bytes.map(Bytes::from);
        if is_kept {
            opening().metadata.insert(name.to_owned(), bytes.clone());
        }
        Ok(bytes)
    }

    /// A file of JSON, if there is one and it can be parsed.
    pub(super) fn document(&self, name: &str) -> io::Result<Option<Value>> {
        Ok(self.contents(name)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Names of the arrays directly in the folder, sorted. Servers are not asked for lists, which some refuse: there, those
    /// of consolidated metadata, or of the `variables` asked for and what these refer to.
    pub(super) fn arrays(&self, variables: &[String]) -> io::Result<Arrays> {
        let in_order = |mut names: Vec<String>| {
            names.sort();
            names.dedup();
            names
        };
        if self.on_disk {
            return Ok(Arrays::All(in_order(self.listed()?)));
        }
        Ok(match self.consolidated()? {
            Some(names) => Arrays::All(in_order(names)),
            None => Arrays::Known(in_order(self.referred(variables)?)),
        })
    }

    fn listed(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.path().read_dir()? {
            if let Some(name) = entry?.file_name().to_str()
                && is_array(&self.path().join(name))
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Names of arrays by the consolidated metadata of v3 or v2, where there are any; their metadata are then known.
    fn consolidated(&self) -> io::Result<Option<Vec<String>>> {
        let group = self.document("zarr.json")?;
        let v3 = group.as_ref().and_then(|group| group.pointer("/consolidated_metadata/metadata")?.as_object());
        if let Some(nodes) = v3 {
            let is_array = |node: &Value| node.get("node_type").is_some_and(|kind| kind == "array");
            let arrays = nodes.iter().filter(|(name, node)| is_array(node) && !name.contains('/'));
            let names = arrays.map(|(name, node)| {
                self.know(format!("{name}/zarr.json"), Some(node));
                name.clone()
            });
            return Ok(Some(names.collect()));
        }
        let group = self.document(".zmetadata")?;
        let v2 = group.as_ref().and_then(|group| group.get("metadata")?.as_object());
        Ok(v2.map(|documents| {
            let arrays = documents.keys().filter_map(|key| key.strip_suffix("/.zarray"));
            let arrays: Vec<String> = arrays.filter(|name| !name.contains('/')).map(str::to_owned).collect();
            for name in &arrays {
                for file in ["zarr.json", ".zarray", ".zattrs"].map(|file| format!("{name}/{file}")) {
                    let document = documents.get(&file);
                    self.know(file, document);
                }
            }
            arrays
        }))
    }

    /// Takes a document for the contents of its file, or for none.
    fn know(&self, file: String, document: Option<&Value>) {
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        opening.metadata.insert(file, document.map(|document| document.to_string().into_bytes().into()));
    }

    /// The arrays among some names and what these refer to: their dimensions and grid mappings.
    fn referred(&self, variables: &[String]) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        let mut asked: Vec<String> = variables.to_vec();
        if !asked.is_empty() {
            asked.extend(GRID_MAPPINGS.into_iter().chain(EPSG).map(str::to_owned));
        }
        let mut next = 0;
        while let Some(name) = asked.get(next).cloned() {
            next += 1;
            let Some(metadata) = self.metadata(&name)? else { continue };
            let texts = |list: Option<&Value>| {
                list.and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect()
            };
            let attributes = metadata.get("attributes");
            let mut others: Vec<String> = texts(metadata.get("dimension_names"));
            others.extend(texts(attributes.and_then(|held| held.get("_ARRAY_DIMENSIONS"))));
            others.extend(attributes.and_then(Value::as_object).and_then(grid_mapping).map(str::to_owned));
            others.retain(|other| !asked.contains(other));
            asked.extend(others);
            names.push(name);
        }
        Ok(names)
    }

    /// The metadata of an array, if there is one, with the attributes of v2 among them.
    fn metadata(&self, name: &str) -> io::Result<Option<Value>> {
        let array = |document: &Value| document.get("node_type").is_some_and(|kind| kind == "array");
        if let Some(document) = self.document(&format!("{name}/zarr.json"))?.filter(array) {
            return Ok(Some(document));
        }
        let Some(bytes) = self.contents(&format!("{name}/.zarray"))? else { return Ok(None) };
        // What is wrong with it is reported when it is opened.
        let mut document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if document.is_object() {
            document["attributes"] = self.document(&format!("{name}/.zattrs"))?.unwrap_or_default();
        }
        Ok(Some(document))
    }
}

/// The array that attributes of a variable name as its grid mapping.
pub(super) fn grid_mapping(attributes: &serde_json::Map<String, Value>) -> Option<&str> {
    attributes.get("grid_mapping").and_then(Value::as_str)?.split([':', ' ']).next()
}

/// Whether a folder on a disk is that of an array.
fn is_array(path: &Path) -> bool {
    let v3 = || {
        let file = path.join("zarr.json");
        let document = file.metadata().ok().filter(std::fs::Metadata::is_file).and_then(|_| std::fs::read(file).ok());
        let document = document.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        document.is_some_and(|document| document.get("node_type").is_some_and(|kind| kind == "array"))
    };
    path.join(".zarray").exists() || v3()
}

/// A part of a file; `None` where there is no file. Of one that is shorter than the end of the file there is an error.
fn part(storage: &dyn Storage, name: &str, range: ByteRange) -> io::Result<Option<Bytes>> {
    let bytes = match range {
        ByteRange::FromStart(0, None) => storage.read(name)?,
        ByteRange::FromStart(start, None) => {
            storage.read(name)?.map(|mut bytes| bytes.split_off((start as usize).min(bytes.len())))
        }
        ByteRange::FromStart(start, Some(length)) => {
            let bytes = storage.read_range(name, start..start.saturating_add(length))?;
            if let Some(bytes) = bytes.as_ref().filter(|bytes| (bytes.len() as u64) < length) {
                let problem = format!("it ends {} bytes before the end of a chunk in it", length - bytes.len() as u64);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
            }
            bytes
        }
        ByteRange::Suffix(length) => storage.read_end(name, length)?,
    };
    Ok(bytes.map(Bytes::from))
}

impl ReadableStorageTraits for Folder {
    fn get(&self, key: &StoreKey) -> std::result::Result<MaybeBytes, StorageError> {
        Ok(self.contents(key.as_str())?)
    }

    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        ranges: ByteRangeIterator<'a>,
    ) -> std::result::Result<MaybeBytesIterator<'a>, StorageError> {
        let name = key.as_str();
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
        // Without a request for its size, which some servers refuse as if there were no file.
        let parts =
            ranges.map(|range| part(&*self.storage, name, range).map_err(failed)).collect::<io::Result<Vec<_>>>()?;
        let parts: Option<Vec<Bytes>> = parts.into_iter().collect();
        Ok(parts.map(|parts| Box::new(parts.into_iter().map(Ok)) as _))
    }

    fn size_key(&self, key: &StoreKey) -> std::result::Result<Option<u64>, StorageError> {
        let sizes = self.storage.sizes(&[key.as_str().to_owned()]);
        Ok(sizes?.first().copied().flatten())
    }

    fn supports_get_partial(&self) -> bool {
        true
    }
}
