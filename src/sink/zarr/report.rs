use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::series::Report;

/// The parts of a report that a rerun reproduces, by their names in JSON; blocks and times are those of one run. `store` is for
/// messages.
pub(super) fn report_document(report: &Report, store: &Path) -> Result<Value> {
    let mut document = serde_json::to_value(report).map_err(|error| Error::Store {
        path: store.to_path_buf(),
        problem: "the report cannot be put down as JSON".into(),
        source: Some(Box::new(error)),
    })?;
    if let Value::Object(document) = &mut document {
        document.retain(|key, _| !matches!(key.as_str(), "blocks" | "timing"));
    }
    Ok(document)
}
