//! The report in the attributes of a store.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::series::Report;

/// The reproducible parts of a report, under their names in JSON. Blocks, times and notes belong to a single run and
/// are left out. `store` is used in messages.
pub(super) fn report_document(report: &Report, store: &Path) -> Result<Value> {
    let mut document = serde_json::to_value(report).map_err(|error| Error::Store {
        path: store.to_path_buf(),
        problem: "the report cannot be written as JSON".into(),
        source: Some(Box::new(error)),
    })?;
    if let Value::Object(document) = &mut document {
        document.retain(|key, _| !matches!(key.as_str(), "blocks" | "timing" | "notes"));
    }
    Ok(document)
}
