//! Arrays by their documents, and chunks of them.

use std::sync::Arc;

use serde_json::Value;
use zarrs::array::{Array, ArrayMetadata};

use super::ZarrFormat;
use super::group::fixed_width;
use super::store::AtomicStore;
use crate::error::{BoxedError, Error, Result};

pub(super) fn open_array(store: &Arc<AtomicStore>, name: &str, document: Value) -> Result<Array<AtomicStore>> {
    let metadata: ArrayMetadata = serde_json::from_value(document).map_err(|error| store.error(name, error))?;
    Array::new_with_metadata(Arc::clone(store), &format!("/{name}"), metadata).map_err(|error| store.error(name, error))
}

pub(super) fn store_chunk<T>(
    store: &AtomicStore,
    array: &Array<AtomicStore>,
    chunk: &[u64],
    values: Vec<T>,
) -> Result<()>
where
    T: zarrs::array::Element,
{
    array.store_chunk(chunk, values).map_err(|error| store.error(array.path().as_str(), error))
}

/// Writes texts as the only chunk of an array; with the version of the format and the array's document.
pub(super) fn write_texts(
    store: &Arc<AtomicStore>,
    name: &str,
    texts: &[String],
    (format, document): (ZarrFormat, Value),
) -> Result<()> {
    match format {
        ZarrFormat::V2 => store.write(&format!("{name}/0"), &fixed_width(texts)),
        ZarrFormat::V3 => store_chunk(store, &open_array(store, name, document)?, &[0], texts.to_vec()),
    }
}

impl AtomicStore {
    /// An error of another library about an item of this store.
    pub(super) fn error(&self, name: &str, error: impl Into<BoxedError>) -> Error {
        let source = error.into();
        Error::Store {
            path: self.folder().path_of(name.trim_start_matches('/')),
            problem: source.to_string(),
            source: Some(source),
        }
    }
}
