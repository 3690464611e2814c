//! Granules: the files of an acquisition, before they are opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::geometry::Date;
use crate::source::gdal::RasterHeader;

/// The files that together hold one acquisition, or the part of it that one scene or tile covers.
///
/// ```
/// use rasterfuse::geometry::Date;
/// use rasterfuse::source::Granule;
/// let date = Date::from_ymd(2024, 5, 2)?;
/// let granule = Granule::new(date, ["a/B04.tif", "a/B8A.tif"]).quality(["a/Fmask.tif"]);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Granule {
    pub(super) date: Date,
    pub(super) files: Vec<PathBuf>,
    /// Files of each quality rule, in the order of the rules. Empty for a rule that uses a band of the data.
    pub(super) quality: Vec<Vec<PathBuf>>,
    pub(super) uncertainty: Vec<PathBuf>,
    /// Headers of its files, in the order of [`all_files`](Self::all_files), where a catalogue says them: these files are
    /// opened only to read pixels.
    pub(super) promised: Vec<Option<Arc<RasterHeader>>>,
    /// The offset of its values, where that is its own.
    pub(super) offset: Option<f64>,
    /// The fault that opening the stack found, when the stack is lenient.
    pub(super) fault: Option<(PathBuf, String)>,
}

impl Granule {
    /// The file that holds all bands, or one file for each source band in their order. GDAL's names of subdatasets
    /// are accepted.
    #[must_use]
    pub fn new<P: Into<PathBuf>>(date: Date, files: impl IntoIterator<Item = P>) -> Self {
        let files = files.into_iter().map(Into::into).collect();
        Self {
            date,
            files,
            quality: Vec::new(),
            uncertainty: Vec::new(),
            promised: Vec::new(),
            offset: None,
            fault: None,
        }
    }

    /// The files of the next [`Quality::listed`](crate::source::Quality::listed) of the stack: one for all bands, or
    /// one for each.
    #[must_use]
    pub fn quality<P: Into<PathBuf>>(mut self, files: impl IntoIterator<Item = P>) -> Self {
        self.quality.push(files.into_iter().map(Into::into).collect());
        self
    }

    /// The files of [`Uncertainty::listed`](crate::source::Uncertainty::listed): one that holds a band for each
    /// source band, or one for each.
    #[must_use]
    pub fn uncertainty<P: Into<PathBuf>>(mut self, files: impl IntoIterator<Item = P>) -> Self {
        self.uncertainty = files.into_iter().map(Into::into).collect();
        self
    }

    /// The headers of its files, those of data first, then those of quality, as far as a catalogue says them.
    pub(crate) fn promised(mut self, headers: Vec<Option<Arc<RasterHeader>>>) -> Self {
        self.promised = headers;
        self
    }

    /// The offset of its values, which the stack's own replaces.
    pub(crate) fn offset(mut self, offset: f64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Its date.
    pub(crate) fn date(&self) -> Date {
        self.date
    }

    /// Its first file, which identifies it in messages.
    pub(super) fn name(&self) -> &Path {
        self.files.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Every file: data, quality, uncertainty.
    pub(super) fn all_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().chain(self.quality.iter().flatten()).chain(&self.uncertainty)
    }
}
