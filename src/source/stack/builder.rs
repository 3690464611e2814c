use std::path::PathBuf;

use super::granule::Granule;
use super::steps::OffsetSteps;
use crate::error::{Error, Result};
use crate::geometry::Grid;
use crate::source::calibration::calibration_setters;
use crate::source::quality::Place;
use crate::source::{Calibration, Quality, Resampling, Uncertainty};

/// Collects what a [`RasterStack`](super::RasterStack) needs; [`open`](Self::open) makes it.
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
}

/// Where the files come from.
#[derive(Clone, Debug)]
pub(super) enum Files {
    Pattern(Pattern),
    Listed(Vec<Granule>),
}

/// A pattern of file names and what to make of them.
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
        }
    }

    /// Folder that relative patterns, those of quality and uncertainty too, are resolved against; default: the current one.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        if let Files::Pattern(pattern) = &mut self.files {
            pattern.folder = Some(folder.into());
        }
        self
    }

    /// `strftime` form of the date's capture group, with or without a time of day (UTC), which is dropped; default `%Y%m%d`.
    #[must_use]
    pub fn date_format(mut self, format: impl Into<String>) -> Self {
        if let Files::Pattern(pattern) = &mut self.files {
            pattern.date_format = format.into();
        }
        self
    }

    /// The bands to read, in this order: what `{band}` stands for in the pattern, or bands of the file by name (their
    /// description) or number from 1. Default: all bands of the file.
    #[must_use]
    pub fn source_bands<S: Into<String>>(mut self, bands: impl IntoIterator<Item = S>) -> Self {
        self.source_bands = Some(bands.into_iter().map(Into::into).collect());
        self
    }

    /// Names of the bands in place of their own, one for each.
    #[must_use]
    pub fn band_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.band_names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    calibration_setters!();

    /// An offset for each granule, told by the number in the first group of `pattern` in the path of its first file: that of
    /// the last of `steps` (number, offset), ascending, whose number is not larger. Takes the place of an offset given before; one
    /// given later takes its place. Sentinel-2's baseline:
    /// `offset_by(r"_N(\d{4})_", [(0, 0.0), (400, -0.1)])`.
    #[must_use]
    pub fn offset_by(mut self, pattern: impl Into<String>, steps: impl IntoIterator<Item = (u32, f64)>) -> Self {
        self.offset_steps = Some(OffsetSteps::new(pattern.into(), steps.into_iter().collect()));
        self.calibration.offset = None;
        self
    }

    /// Lets a date have several granules, each of which covers a part of the stack's grid. Where they overlap, the first that
    /// holds a valid value gives it: the first by path (of its first band), or as listed. Default: every date has one file of
    /// the same grid.
    #[must_use]
    pub fn mosaic(mut self, mosaic: bool) -> Self {
        self.mosaic = mosaic;
        self
    }

    /// With [`mosaic`](Self::mosaic), makes the stack's grid cover `target`, whatever granules there are: a new granule then does
    /// not change it, and a series can be appended to. Default: the grid is the smallest that holds all granules.
    #[must_use]
    pub fn covering(mut self, target: &Grid) -> Self {
        self.covering = Some(target.clone());
        self
    }

    /// Cell size of the stack, in CRS units, where bands have several: pixels of the coarser are repeated. The coarser sizes
    /// must be whole multiples of it.
    #[must_use]
    pub fn resolution(mut self, resolution: f64) -> Self {
        self.resolution = Some(resolution);
        self
    }

    /// Reads the files, whatever their grids and CRS, on a grid whose lines are lines of `target`: pixels are whole numbers of
    /// its cells, as close to their native size as can be. A raster whose pixels become single cells has the footprint
    /// [`Cell`](crate::describe::Footprint::Cell), a coarser one [`Uniform`](crate::describe::Footprint::Uniform). Values are resampled
    /// before scale, offset and valid range apply; missing ones (nodata, NaN, mask bands, alpha) count as none. What a quality
    /// raster hides is looked up pixel by pixel, and where values are interpolated its neighbours are hidden too. Takes the place
    /// of a [`resolution`](Self::resolution) given before. Default: the files are read as they are.
    #[must_use]
    pub fn onto(mut self, target: &Grid, resampling: Resampling) -> Self {
        self.resolution = None;
        self.onto = Some((target.clone(), resampling));
        self
    }

    /// Hides pixels by a quality raster; several rules add up.
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

    /// Takes the noise variance of every pixel from the product's own uncertainty.
    #[must_use]
    pub fn uncertainty(mut self, uncertainty: Uncertainty) -> Self {
        self.uncertainty = Some(uncertainty);
        self
    }

    /// Keeps the dates of files that cannot be opened or do not match the others: reading them is the error that opening them
    /// would have been. For runs that pass over what cannot be read
    /// ([`OnError::Skip`](crate::engine::OnError::Skip)). Default: opening the stack fails.
    #[must_use]
    pub fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// What it is a stack of, for messages.
    pub(super) fn origin(&self) -> String {
        match &self.files {
            Files::Pattern(pattern) => {
                super::template::Template::new("files", &pattern.files, pattern.folder.as_deref()).text().to_owned()
            }
            Files::Listed(granules) => match granules.as_slice() {
                [one] => one.name().display().to_string(),
                many => format!("a list of {} granules", many.len()),
            },
        }
    }

    /// Refuses what no file could mend.
    pub(super) fn validate(&self) -> Result<()> {
        self.calibration.validate()?;
        if let Some(resolution) = self.resolution.filter(|size| !size.is_finite() || *size <= 0.0) {
            return Err(Error::setting("resolution", format!("{resolution} must be finite and positive")));
        }
        if self.resolution.is_some() && self.onto.is_some() {
            let problem = "reprojected pixels have a size of their own; give either `resolution` or `reproject`";
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
            let problem = "the list names files of uncertainty, but nothing says what they hold; give `uncertainty`, such as \
                           { kind = \"sd\" }, or leave them out of the list";
            return Err(Error::setting("uncertainty", problem));
        }
        let listed = self.quality.iter().filter(|rule| !matches!(rule.place, Place::Band(_))).count();
        let patterns = self.quality.iter().any(|rule| matches!(rule.place, Place::Files(_)))
            || self.uncertainty.iter().flat_map(|rule| &rule.places).any(|place| matches!(place, Place::Files(_)));
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
                    granule.name().display(),
                    granule.date,
                    granule.files.len(),
                    granule.quality.len()
                ),
            )),
            None => Ok(()),
        }
    }
}
