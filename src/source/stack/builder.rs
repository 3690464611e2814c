//! Builder of raster stacks.

use std::path::PathBuf;

use super::agree::Headers;
use super::granule::Granule;
use super::steps::OffsetSteps;
use super::versions::Versions;
use crate::error::{Error, Result, shown};
use crate::geometry::{Crs, Date, Grid};
use crate::source::calibration::calibration_setters;
use crate::source::gdal::{Drivers, Lines, opening_setters};
use crate::source::quality::AncillaryLocation;
use crate::source::{Calibration, Quality, Resampling, Uncertainty};

/// Builder of a [`RasterStack`](super::RasterStack); [`open`](Self::open) finishes it.
#[derive(Clone, Debug)]
pub struct StackBuilder {
    pub(super) files: Files,
    pub(super) source_bands: Option<Vec<String>>,
    pub(super) band_names: Option<Vec<String>>,
    pub(super) calibration: Calibration,
    pub(super) offset_steps: Option<OffsetSteps>,
    pub(super) mosaic: bool,
    pub(super) resolution: Option<f64>,
    pub(super) onto: Option<(Grid, Resampling)>,
    pub(super) covering: Option<Grid>,
    pub(super) quality: Vec<Quality>,
    pub(super) uncertainty: Option<Uncertainty>,
    pub(super) lenient: bool,
    pub(super) headers: Headers,
    /// What the bands of files without names observe, in their order.
    pub(super) observed: Option<Vec<String>>,
    pub(super) drivers: Drivers,
    pub(super) crs: Option<Crs>,
    pub(super) versions: Option<Versions>,
    /// The lines on which files were read before, where they are read on another grid.
    pub(super) lines: Option<Lines>,
    /// First and last day.
    pub(super) period: (Option<Date>, Option<Date>),
}

/// Origin of the files.
#[derive(Clone, Debug)]
pub(super) enum Files {
    Pattern(Pattern),
    Listed(Vec<Granule>),
}

/// A pattern of file names and how to read dates from them.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) files: String,
    pub(super) folder: Option<PathBuf>,
    pub(super) date: String,
    pub(super) date_format: String,
}

impl StackBuilder {
    pub(super) fn new(files: Files) -> Self {
        Self {
            files,
            source_bands: None,
            band_names: None,
            calibration: Calibration::default(),
            offset_steps: None,
            mosaic: false,
            resolution: None,
            onto: None,
            covering: None,
            quality: Vec::new(),
            uncertainty: None,
            lenient: false,
            headers: Headers::default(),
            observed: None,
            drivers: Drivers::default(),
            crs: None,
            versions: None,
            lines: None,
            period: (None, None),
        }
    }

    /// Folder against which relative patterns are resolved, including those of quality and uncertainty. Default: the
    /// current one.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        if let Files::Pattern(pattern) = &mut self.files {
            pattern.folder = Some(folder.into());
        }
        self
    }

    /// `strftime` form of the date's capture group, with or without a time of day (UTC), which is dropped; default
    /// `%Y%m%d`.
    #[must_use]
    pub fn date_format(mut self, format: impl Into<String>) -> Self {
        if let Files::Pattern(pattern) = &mut self.files {
            pattern.date_format = format.into();
        }
        self
    }

    /// The bands to read, in this order: the texts that replace `{band}` in the pattern, or bands of the file by name
    /// (their description) or by number from 1. Default: all bands of the file.
    #[must_use]
    pub fn source_bands<S: Into<String>>(mut self, bands: impl IntoIterator<Item = S>) -> Self {
        self.source_bands = Some(bands.into_iter().map(Into::into).collect());
        self
    }

    /// Names that replace those of the bands, one for each.
    #[must_use]
    pub fn band_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.band_names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    calibration_setters!();

    /// An offset that depends on a number in the file name, such as a processing baseline. The first group of
    /// `pattern`, in the path of the granule's first file, is the number. Of `steps` (number, offset), in ascending
    /// order, the last one whose number is not larger applies. It replaces an offset given earlier, and an offset
    /// given later replaces it. Sentinel-2's baseline:
    /// `offset_by(r"_N(\d{4})_", [(0, 0.0), (400, -0.1)])`.
    #[must_use]
    pub fn offset_by(mut self, pattern: impl Into<String>, steps: impl IntoIterator<Item = (u32, f64)>) -> Self {
        self.offset_steps = Some(OffsetSteps::new(pattern.into(), steps.into_iter().collect()));
        self.calibration.offset = None;
        self
    }

    /// Restricts `offset_by` to numbers up to `last`, those of which the product's guide gives the offset, and takes the
    /// offset of a product from its own metadata instead, where a file of this name lies in a folder above its rasters.
    #[must_use]
    pub(crate) fn offset_known(mut self, metadata: &str, last: u32) -> Self {
        self.offset_steps = self.offset_steps.map(|steps| steps.known(metadata.to_owned(), last));
        self
    }

    /// Takes the best of several versions of one acquisition, such as a product that was processed again. The groups `id`
    /// and `rest` of the regular expression, searched in the name of the file and in those of its folders, are the
    /// acquisition, the groups `first`, `tier` and `then` the version: of texts the last one in the order of the alphabet is
    /// the best, of tiers the first one. A [lenient](Self::lenient) stack takes the next version where a file of the best
    /// one cannot be opened.
    /// Others are left out with a warning; presets know the names of their products.
    #[must_use]
    pub fn versions(mut self, pattern: impl Into<String>) -> Self {
        self.versions = Some(Versions(pattern.into()));
        self
    }

    /// Leaves out files dated before `start` or after `end`, without opening them; unless no file is dated between them,
    /// so that it can be said what there is. Default: all are opened.
    #[must_use]
    pub fn period(mut self, start: Option<Date>, end: Option<Date>) -> Self {
        self.period = (start, end);
        self
    }

    /// Allows several granules per date, each of which covers a part of the stack's grid. Where they overlap, the
    /// first with a valid value provides it: the first by path (of its first band), or as listed. Default: every date
    /// has one file of the same grid.
    #[must_use]
    pub fn mosaic(mut self, mosaic: bool) -> Self {
        self.mosaic = mosaic;
        self
    }

    /// With [`mosaic`](Self::mosaic), makes the grid of the stack cover `target`, whatever granules exist. A new
    /// granule then does not change the grid, and a series can be extended. Default: the smallest grid that contains
    /// all granules.
    #[must_use]
    pub fn covering(mut self, target: &Grid) -> Self {
        self.covering = Some(target.clone());
        self
    }

    /// Cell size of the stack, in CRS units, where bands differ in cell size: pixels of coarser bands are repeated.
    /// Coarser sizes must be integer multiples of it.
    #[must_use]
    pub fn resolution(mut self, resolution: f64) -> Self {
        self.resolution = Some(resolution);
        self
    }

    /// Reads the files, whatever their grids and CRS, on a grid aligned with the lines of `target`. Its pixels are
    /// integer numbers of target cells, as close as possible to the native size. A raster whose pixels become single
    /// cells has the footprint [`Cell`](crate::describe::Footprint::Cell), a coarser one
    /// [`Uniform`](crate::describe::Footprint::Uniform). Values are resampled before scale, offset and valid range
    /// apply; missing ones (nodata, NaN, mask bands, alpha) do not contribute. Quality rasters are sampled by the
    /// nearest pixel, and where values are interpolated the neighbours of hidden pixels are hidden too. Replaces a
    /// [`resolution`](Self::resolution) given earlier. Default: the files are read on their own grid.
    #[must_use]
    pub fn onto(mut self, target: &Grid, resampling: Resampling) -> Self {
        self.resolution = None;
        self.onto = Some((target.clone(), resampling));
        self
    }

    /// Takes the lines among those of the target on which files of a series were read before, so that it can be continued
    /// when some of its files are gone.
    #[cfg(all(feature = "config", feature = "zarr"))]
    pub(crate) fn lines(mut self, lines: Option<Lines>) -> Self {
        self.lines = lines;
        self
    }

    /// Hides pixels by a quality raster. Several rules combine: a pixel is hidden where any rule hides it.
    #[must_use]
    pub fn quality(mut self, quality: Quality) -> Self {
        self.quality.push(quality);
        self
    }

    /// Removes every quality rule.
    #[must_use]
    pub fn no_quality(mut self) -> Self {
        self.quality.clear();
        self
    }

    /// Takes the noise variance of every pixel from the uncertainty of the product.
    #[must_use]
    pub fn uncertainty(mut self, uncertainty: Uncertainty) -> Self {
        self.uncertainty = Some(uncertainty);
        self
    }

    /// Retains the dates of files that cannot be opened or do not match the others; the error is then returned when
    /// such a date is read. For runs that skip unreadable data ([`OnError::Skip`](crate::engine::OnError::Skip)).
    /// Default: opening the stack fails.
    #[must_use]
    pub fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// What is done about files whose headers differ from those of the others: nodata, stored type, scale, offset,
    /// unit, names of bands. Default: what would change the meaning of values is refused, the rest is reported
    /// ([`RasterSource::warnings`](crate::source::RasterSource::warnings)).
    #[must_use]
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// What the bands observe, in the order of files that give them no names: a file that gives these names in another
    /// order is read by them.
    #[cfg(all(feature = "config", feature = "zarr"))]
    pub(crate) fn observed(mut self, names: &[String]) -> Self {
        self.observed = Some(names.to_vec());
        self
    }

    opening_setters!();

    /// Description of the files, for messages.
    pub(super) fn origin(&self) -> String {
        match &self.files {
            Files::Pattern(pattern) => {
                super::template::Template::new("files", &pattern.files, pattern.folder.as_deref()).text().to_owned()
            }
            Files::Listed(granules) => match granules.as_slice() {
                [one] => shown(one.name()),
                many => format!("a list of {} granules", many.len()),
            },
        }
    }

    /// Refuses settings that no file could satisfy.
    pub(super) fn validate(&self) -> Result<()> {
        self.calibration.validate()?;
        self.drivers.remote().check()?;
        if let Some(resolution) = self.resolution.filter(|size| !size.is_finite() || *size <= 0.0) {
            return Err(Error::setting("resolution", format!("{resolution} must be finite and positive")));
        }
        if self.resolution.is_some() && self.onto.is_some() {
            let problem = "reprojection decides the size of pixels; give either `resolution` or `reproject`";
            return Err(Error::setting("resolution", problem));
        }
        if let Some(bands) = &self.source_bands {
            if bands.is_empty() {
                return Err(Error::setting("source_bands", "empty; name at least one band"));
            }
            if let Some(twice) = (1..bands.len()).find(|&k| bands[..k].contains(&bands[k])) {
                return Err(Error::setting("source_bands", format!("{:?} is listed twice", bands[twice])));
            }
        }
        for rule in &self.quality {
            rule.validate()?;
        }
        if let Some(uncertainty) = &self.uncertainty {
            uncertainty.validate()?;
        }
        if let Some(steps) = &self.offset_steps {
            steps.compile()?;
        }
        let Files::Listed(granules) = &self.files else { return Ok(()) };
        if granules.is_empty() {
            return Err(Error::setting("files", "an empty list"));
        }
        if self.uncertainty.is_none() && granules.iter().any(|granule| !granule.uncertainty.is_empty()) {
            let problem = "the list names files of uncertainty, but their contents are not declared; give `uncertainty`, such as \
                           { kind = \"sd\" }, or leave them out of the list";
            return Err(Error::setting("uncertainty", problem));
        }
        let listed = self.quality.iter().filter(|rule| !matches!(rule.location, AncillaryLocation::Band(_))).count();
        let patterns = self.quality.iter().any(|rule| matches!(rule.location, AncillaryLocation::Files(_)))
            || self
                .uncertainty
                .iter()
                .flat_map(|rule| &rule.locations)
                .any(|location| matches!(location, AncillaryLocation::Files(_)));
        if patterns {
            return Err(Error::setting(
                "quality",
                "a pattern of files, but the granules are listed; list their quality files",
            ));
        }
        match granules.iter().find(|granule| granule.files.is_empty() || granule.quality.len() != listed) {
            Some(granule) => Err(Error::setting(
                "files",
                format!(
                    "{} ({}) lists {} data files and {} of quality; give at least one, and quality files for each of {listed} rules",
                    shown(granule.name()),
                    granule.date,
                    granule.files.len(),
                    granule.quality.len()
                ),
            )),
            None => Ok(()),
        }
    }
}
