//! Files that were read and have the extreme of their stored type on many pixels, which looks like an undeclared fill
//! value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::OpenRaster;
use crate::geometry::Date;

/// By date: the file and the stored number.
#[derive(Debug, Default)]
pub(in crate::source) struct Extremes(Mutex<BTreeMap<Date, (PathBuf, f64)>>);

impl Extremes {
    /// Notes what the last read of a file found.
    pub(in crate::source) fn look(&self, raster: &OpenRaster, date: Date, path: &Path) {
        if let Some(stored) = raster.take_extreme() {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(date).or_insert_with(|| (path.to_path_buf(), stored));
        }
    }

    /// A sentence on all of them.
    pub(in crate::source) fn note(&self) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (date, (path, stored)) = known.first_key_value()?;
        Some(format!(
            "{stored}, the extreme of the stored type, is on a tenth of the pixels or more of {} dates, first {} ({date}): where it is \
             a fill value, give nodata = {stored}",
            known.len(),
            path.display()
        ))
    }
}
