//! Read-only access to a Zarr store: a folder on a disk, in memory, in an object store or on a web server.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use zarrs::storage::byte_range::{ByteRange, ByteRangeIterator};
use zarrs::storage::{Bytes, MaybeBytes, MaybeBytesIterator, ReadableStorageTraits, StorageError, StoreKey};

use crate::error::Result;
use crate::storage::{Folder as Storage, Place};

/// Arrays that may say where a cube lies.
const GEOREFERENCES: [&str; 4] = ["spatial_ref", "crs", "epsg", "proj:epsg"];

/// A read-only folder. The file system store of zarrs remembers every key for ever, and cubes have millions of them.
#[derive(Debug)]
pub(super) struct Folder {
    storage: Arc<dyn Storage>,
    /// Whether what is in it can be listed for nothing.
    on_disk: bool,
}

impl Folder {
    pub(super) fn new(place: &Place) -> Result<Self> {
        Ok(Self { storage: place.reading()?, on_disk: !place.is_url() })
    }

    pub(super) fn path(&self) -> &Path {
        self.storage.path()
    }

    /// The contents of a file of the store, if there is one.
    pub(super) fn contents(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.storage.read(name)
    }

    /// A file of JSON, if there is one and it can be parsed.
    pub(super) fn document(&self, name: &str) -> io::Result<Option<Value>> {
        Ok(self.contents(name)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Names of the arrays directly in the folder, sorted. Servers are not asked for lists, which some refuse: there, those
    /// of consolidated metadata, or of the `variables` asked for and what these refer to.
    pub(super) fn arrays(&self, variables: &[String]) -> io::Result<Vec<String>> {
        let known = if self.on_disk { Some(self.listed()?) } else { self.consolidated()? };
        let mut names = match known {
            Some(names) => names,
            None => self.referred(variables)?,
        };
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn listed(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.path().read_dir()? {
            // What cannot be read is told when it is opened.
            if let Some(name) = entry?.file_name().to_str()
                && !matches!(self.metadata(name), Ok(None))
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Names of arrays by the consolidated metadata of v3 or v2, where there are any.
    fn consolidated(&self) -> io::Result<Option<Vec<String>>> {
        let group = self.document("zarr.json")?;
        if let Some(held) =
            group.as_ref().and_then(|group| group.pointer("/consolidated_metadata/metadata")?.as_object())
        {
            let arrays = held.iter().filter(|(_, node)| node.get("node_type").is_some_and(|kind| kind == "array"));
            return Ok(Some(arrays.map(|(name, _)| name.clone()).filter(|name| !name.contains('/')).collect()));
        }
        let group = self.document(".zmetadata")?;
        Ok(group.as_ref().and_then(|group| group.get("metadata")?.as_object()).map(|held| {
            let arrays = held.keys().filter_map(|key| key.strip_suffix("/.zarray"));
            arrays.filter(|name| !name.contains('/')).map(str::to_owned).collect()
        }))
    }

    /// The arrays among some names and what these refer to: their dimensions and grid mappings.
    fn referred(&self, variables: &[String]) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        let mut asked: Vec<String> = variables.to_vec();
        if !asked.is_empty() {
            asked.extend(GEOREFERENCES.map(str::to_owned));
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
            let mapping = attributes.and_then(|held| held.get("grid_mapping")?.as_str());
            others.extend(mapping.and_then(|text| text.split([':', ' ']).next()).map(str::to_owned));
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
        // What is wrong with it is said when it is opened.
        let mut document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if document.is_object() {
            document["attributes"] = self.document(&format!("{name}/.zattrs"))?.unwrap_or_default();
        }
        Ok(Some(document))
    }
}

impl ReadableStorageTraits for Folder {
    fn get(&self, key: &StoreKey) -> std::result::Result<MaybeBytes, StorageError> {
        Ok(self.storage.read(key.as_str())?.map(Bytes::from))
    }

    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        ranges: ByteRangeIterator<'a>,
    ) -> std::result::Result<MaybeBytesIterator<'a>, StorageError> {
        let Some(size) = self.size_key(key)? else { return Ok(None) };
        let key = key.clone();
        let read = move |range: ByteRange| {
            let (start, end) = match range {
                ByteRange::Suffix(length) => (size.saturating_sub(length), size),
                ByteRange::FromStart(..) => (range.start(size), range.end(size)),
            };
            let bytes = self.storage.read_range(key.as_str(), start..end)?.unwrap_or_default();
            if bytes.len() as u64 != end.saturating_sub(start) {
                return Err(StorageError::Other(format!(
                    "{key}: has {size} bytes, and bytes {start} to {end} are asked for"
                )));
            }
            Ok(Bytes::from(bytes))
        };
        Ok(Some(Box::new(ranges.map(read))))
    }

    fn size_key(&self, key: &StoreKey) -> std::result::Result<Option<u64>, StorageError> {
        Ok(self.storage.sizes(&[key.as_str().to_owned()])?.first().copied().flatten())
    }

    fn supports_get_partial(&self) -> bool {
        true
    }
}
