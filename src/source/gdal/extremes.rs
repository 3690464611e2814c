//! Files that were read and have the extreme of their stored type on many pixels, which looks like an undeclared fill
//! value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::shown;
use crate::geometry::Date;

/// Share of the pixels of a block on which an extreme looks like a fill value, and how many pixels are looked at before
/// all are counted.
const FILL_SHARE: f64 = 0.1;
const PROBES: usize = 64;

/// Which of a type's extremes is on many of some pixels and would be a value there. A few pixels tell whether to count at
/// all.
pub(super) fn frequent<T: Copy + Into<f64>>(
    values: &[T],
    extremes: [f64; 2],
    is_value: impl Fn(f64) -> bool,
) -> Option<f64> {
    let step = (values.len() / PROBES).max(1);
    extremes.into_iter().find(|&extreme| {
        let is_extreme = |value: &&T| (**value).into() == extreme;
        let probed = values.iter().step_by(step).filter(is_extreme).count();
        let enough = |count: usize, of: usize| count > 0 && count as f64 >= FILL_SHARE * of as f64;
        enough(probed, values.len().div_ceil(step))
            && enough(values.iter().filter(is_extreme).count(), values.len())
            && is_value(extreme)
    })
}

/// By date: the file and the stored number.
#[derive(Debug, Default)]
pub(in crate::source) struct Extremes(Mutex<BTreeMap<Date, (PathBuf, f64)>>);

impl Extremes {
    /// Notes the number that a read of a file found.
    pub(in crate::source) fn note_in(&self, stored: Option<f64>, date: Date, path: &Path) {
        if let Some(stored) = stored {
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
            shown(path)
        ))
    }
}
