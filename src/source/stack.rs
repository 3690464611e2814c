//! Stacks of raster files: dates come from file names, bands from one file or many, and granules of one date are
//! mosaicked.

mod absent;
mod agree;
mod builder;
mod doubts;
mod find;
mod granule;
mod headers;
mod layout;
mod listing;
mod location;
mod metadata;
mod mosaic;
mod placement;
mod scratch;
mod settle;
mod steps;
mod survey;
mod template;
mod versions;
mod views;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use agree::Headers;
pub use builder::StackBuilder;
pub use granule::Granule;

#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
pub(crate) use template::fuzz;

use builder::{Files, Pattern};
use layout::StackLayout;
use placement::Placement;
use steps::OffsetSteps;
use views::Views;

use super::gdal::{
    AlikeTraits, Drivers, Extremes, Pool, RasterHeader, Traits, block_cache_bytes, is_remote, server_cache_bytes,
};
use super::quality::Tables;
use super::{Calibration, Losses, Quality, RasterSource, Slice, Uncertainty, check_request};
use crate::error::{Error, Result};
use crate::geometry::{Crs, Date, Grid, PixelRegion};

/// Dated raster files that GDAL reads, all on one lattice and with the same bands.
///
/// A date has one granule or, with [`mosaic`](StackBuilder::mosaic), several. Each of these covers a part of the grid
/// of the stack. A pixel and band takes its value from the first granule, in order, that holds a valid one. A granule
/// is one file with all bands, or one file for each band, with its quality and uncertainty.
///
/// Opening reads every header and no pixel. The number of files that are open at once is bounded.
///
/// ```no_run
/// use rasterfuse::source::{RasterSource, RasterStack, Quality};
/// let landsat = RasterStack::builder("landsat/landsat_*.tif", r"landsat_(\d{8})").scale(1e-4).open()?;
/// println!("{} dates of {:?} on {}", landsat.dates().len(), landsat.bands(), landsat.grid());
/// let hls = RasterStack::builder("hls/**/HLS.S30.*.{band}.tif", r"\.(\d{7})T")
///     .date_format("%Y%j")
///     .source_bands(["B04", "B8A"])
///     .mosaic(true)
///     .quality(Quality::files("hls/**/HLS.S30.*.Fmask.tif").bits([1, 2, 3]).dilate(2))
///     .open()?;
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Debug)]
pub struct RasterStack {
    origin: String,
    grid: Grid,
    dates: Vec<Date>,
    /// Index of the first part of every date, and the number of parts as the last entry.
    first_part: Vec<usize>,
    parts: Vec<LocatedGranule>,
    layout: StackLayout,
    source_bands: Option<Vec<String>>,
    calibration: Calibration,
    offset_steps: Option<OffsetSteps>,
    quality: Vec<(Quality, Tables)>,
    uncertainty: Option<Uncertainty>,
    /// How files are read on a grid other than their own.
    views: Option<Views>,
    drivers: Drivers,
    /// Whether any file is on a server.
    remote: bool,
    /// The CRS that replaces those of the files.
    crs: Option<Crs>,
    pool: Pool,
    traits: AlikeTraits,
    /// Block shape of the first file.
    block_shape: Option<(usize, usize)>,
    /// Memory of an open file: GDAL's records and one decoded block of all bands.
    open_file_bytes: u64,
    /// Share of the target that files reach, where it was opened for one.
    coverage: Option<f64>,
    /// In what the headers of the files disagree.
    warnings: Vec<String>,
    extremes: Extremes,
}

/// A granule whose location in the stack is known. There is one for every date of a long series, so it is small.
#[derive(Debug)]
struct LocatedGranule {
    date: Date,
    /// Files of data, quality and uncertainty. Empty when the granule is unusable.
    files: Box<[GranuleFile]>,
    /// The offset that its file name selects.
    offset: Option<f64>,
    /// Why it is unusable, when a lenient stack was opened.
    fault: Option<Box<GranuleFault>>,
}

/// Why a granule is unusable.
#[derive(Debug)]
struct GranuleFault {
    /// Its first file, which identifies it in messages.
    granule: PathBuf,
    /// The file at fault.
    path: PathBuf,
    problem: String,
}

#[derive(Debug)]
struct GranuleFile {
    path: Box<Path>,
    /// What a catalogue said of it, in place of its own header.
    promised: Option<Arc<RasterHeader>>,
    placement: Arc<Placement>,
    traits: OnceLock<Arc<Traits>>,
}

impl GranuleFile {
    /// Position in the file of a band, by its position in the first file of the stack.
    fn band(&self, band: usize) -> usize {
        self.placement.order.as_ref().map_or(band, |order| order[band])
    }
}

impl LocatedGranule {
    /// Its first file, which identifies it in messages.
    fn name(&self) -> &Path {
        let sound = self.files.first().map(|file| &*file.path);
        sound.or(self.fault.as_ref().map(|fault| fault.granule.as_path())).unwrap_or(Path::new(""))
    }

    /// Cells that its first `data_files` files cover.
    fn cells(&self, data_files: usize) -> PixelRegion {
        let cells = self.files.iter().take(data_files).map(|file| file.placement.location.cells());
        cells.reduce(|a, b| a.hull(&b)).unwrap_or(PixelRegion::new(0..0, 0..0))
    }

    /// Whether reading it asks a server.
    fn is_remote(&self) -> bool {
        self.files.iter().any(|file| is_remote(&file.path))
    }

    /// The calibration of the stack with the offset of this granule.
    fn calibration(&self, calibration: &Calibration) -> Calibration {
        Calibration { offset: calibration.offset.or(self.offset), ..calibration.clone() }
    }
}

impl RasterStack {
    /// A stack of the files that match the wildcard `pattern` (`*`, `?`, `[...]`, `**`, and `{band}` where there is a
    /// file for each of [`source_bands`](StackBuilder::source_bands)). The first capture group of the regular
    /// expression `date_pattern` gives the date. It is searched in the file name first, then in the full path.
    ///
    /// A raster inside a container has GDAL's name, with the path in quotes: `NETCDF:"cubes/*.nc":{band}`.
    #[must_use]
    pub fn builder(pattern: impl Into<String>, date_pattern: impl Into<String>) -> StackBuilder {
        StackBuilder::new(Files::Pattern(Pattern {
            files: pattern.into(),
            folder: None,
            date: date_pattern.into(),
            date_format: "%Y%m%d".into(),
        }))
    }

    /// A stack of the given granules, by date. Granules of one date are mosaicked in the order given.
    #[must_use]
    pub fn from_granules(granules: impl IntoIterator<Item = Granule>) -> StackBuilder {
        StackBuilder::new(Files::Listed(granules.into_iter().collect()))
    }

    /// A stack of the given files, one per date, in any order.
    ///
    /// # Errors
    /// As [`StackBuilder::open`].
    pub fn from_files(files: impl IntoIterator<Item = (Date, PathBuf)>, calibration: Calibration) -> Result<Self> {
        Self::from_granules(files.into_iter().map(|(date, path)| Granule::new(date, [path])))
            .calibration(calibration)
            .open()
    }

    /// The data files of each date, in mosaic order.
    pub fn files(&self) -> impl Iterator<Item = (Date, &Path)> {
        let data = self.layout.data_files;
        self.parts.iter().flat_map(move |part| {
            let sound = part.files.iter().take(data).map(|file| &*file.path);
            sound.chain(part.fault.iter().map(|fault| fault.granule.as_path())).map(|path| (part.date, path))
        })
    }
}

impl StackBuilder {
    /// Finds and dates the files and reads their headers.
    ///
    /// # Errors
    /// [`Error::Setting`] for a malformed pattern, calibration or quality rule, or for missing bands;
    /// [`Error::NoFiles`]; [`Error::NoDate`]; [`Error::NoPartner`] for a missing partner file;
    /// [`Error::DuplicateDate`]; [`Error::Open`] for a file that GDAL cannot open; and [`Error::Inconsistent`] when
    /// bands, CRS or lattices differ.
    pub fn open(mut self) -> Result<RasterStack> {
        self.validate()?;
        if matches!(self.files, Files::Listed(_)) {
            self.drivers = self.drivers.named();
        }
        let granules = match &self.files {
            Files::Pattern(pattern) => self.granules(pattern)?,
            Files::Listed(granules) => {
                let mut granules = granules.clone();
                granules.sort_by_key(|granule| granule.date);
                granules
            }
        };
        let granules = self.chosen(granules)?;
        let pair = granules.windows(2).find(|pair| pair[0].date == pair[1].date);
        if let Some(pair) = pair.filter(|_| !self.mosaic) {
            return Err(Error::DuplicateDate {
                date: pair[0].date,
                first: pair[0].name().to_path_buf(),
                second: pair[1].name().to_path_buf(),
            });
        }
        let origin = self.origin();
        let mut survey = self.survey(granules)?;
        if let Some(names) = &self.band_names {
            if names.len() != survey.layout.names.len() {
                let (given, n) = (names.len(), survey.layout.names.len());
                return Err(Error::setting(
                    "band_names",
                    format!("{given} given for {n} bands {:?}", survey.layout.names),
                ));
            }
            survey.layout.names.clone_from(names);
        }
        let mut dates: Vec<Date> = Vec::with_capacity(survey.parts.len());
        let mut first_part = Vec::with_capacity(survey.parts.len() + 1);
        for (index, part) in survey.parts.iter().enumerate() {
            if dates.last() != Some(&part.date) {
                dates.push(part.date);
                first_part.push(index);
            }
        }
        first_part.push(survey.parts.len());
        let quality = match &survey.views {
            None => self.quality,
            // Interpolated values also come from neighbouring pixels.
            Some(views) => {
                self.quality.iter().zip(views.flags()).map(|(rule, flags)| rule.widened(flags.around)).collect()
            }
        };
        let offset_steps = self.offset_steps.filter(|_| self.calibration.offset.is_none());
        Ok(RasterStack {
            origin,
            grid: survey.grid,
            dates,
            first_part,
            remote: survey.parts.iter().any(LocatedGranule::is_remote),
            parts: survey.parts,
            layout: survey.layout,
            source_bands: self.source_bands,
            calibration: self.calibration,
            offset_steps,
            quality: quality.into_iter().map(|rule| (rule, Tables::default())).collect(),
            uncertainty: self.uncertainty,
            views: survey.views,
            drivers: self.drivers,
            crs: self.crs,
            pool: Pool::default(),
            traits: AlikeTraits::default(),
            block_shape: survey.block_shape,
            open_file_bytes: survey.open_file_bytes,
            coverage: survey.coverage,
            warnings: survey.warnings,
            extremes: Extremes::default(),
        })
    }
}

impl StackBuilder {
    /// Of granules that were found, those that count: dated in the period, in their best versions.
    fn chosen(&self, granules: Vec<Granule>) -> Result<Vec<Granule>> {
        if let Some(granule) = granules.iter().find(|granule| !granule.date.can_be_observed()) {
            let problem =
                format!("{} cannot be the day of an acquisition; fix `date`, or leave the file out", granule.date);
            return Err(Error::Open { path: granule.name().to_path_buf(), date: None, problem, source: None });
        }
        let granules = self.in_period(granules);
        let Some(versions) = &self.versions else { return Ok(granules) };
        let fault = |granule: &Granule| self.fault_of(granule);
        versions.choose(granules, self.lenient.then_some(&fault))
    }

    /// The granules dated in the period, or all where none is.
    fn in_period(&self, mut granules: Vec<Granule>) -> Vec<Granule> {
        let (start, end) = self.period;
        let inside = |granule: &Granule| {
            start.is_none_or(|start| start <= granule.date) && end.is_none_or(|end| granule.date <= end)
        };
        if granules.iter().any(inside) {
            granules.retain(inside);
        }
        granules
    }
}

impl RasterSource for RasterStack {
    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dates(&self) -> &[Date] {
        &self.dates
    }

    fn bands(&self) -> &[String] {
        &self.layout.names
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        let index = check_request(self, date, bands, region)?;
        let block = self.read_mosaic(index, bands, region)?;
        Ok(Slice { noise_variance: block.noise, ..Slice::new(date, region.clone(), block.values) })
    }

    fn knows_noise(&self) -> bool {
        self.uncertainty.is_some()
    }

    fn origin(&self) -> String {
        self.origin.clone()
    }

    fn path_of(&self, date: Date) -> Option<PathBuf> {
        self.files().find(|(of, _)| *of == date).map(|(_, path)| path.to_path_buf())
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut settings = self.calibration.settings();
        let mut set = |key: &str, value: String| settings.push((key.to_owned(), value));
        if let Some(bands) = &self.source_bands {
            set("source_bands", format!("{bands:?}"));
        }
        if let Some(crs) = &self.crs {
            set("crs", crs.to_string());
        }
        if let Some(views) = &self.views {
            set("reproject", format!("{:?}", views.data.resampling()).to_lowercase());
            if let Some(lines) = views.data.lines() {
                set("lines", lines.to_string());
            }
        }
        if let Some(steps) = &self.offset_steps {
            set("offset_by", steps.to_string());
        }
        for (index, (rule, _)) in self.quality.iter().enumerate() {
            set(&if index == 0 { "quality".into() } else { format!("quality.{}", index + 1) }, rule.to_string());
        }
        if let Some(uncertainty) = &self.uncertainty {
            set("uncertainty", uncertainty.text());
        }
        settings
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn notes(&self) -> Vec<String> {
        self.extremes.note().into_iter().collect()
    }

    fn coverage(&self) -> Option<f64> {
        self.coverage
    }

    fn losses(&self, date: Date, band: usize, region: &PixelRegion) -> Result<Losses> {
        self.losses_of(check_request(self, date, &[band], region)?, band, region)
    }

    fn reads_in_flight(&self) -> Option<usize> {
        self.remote.then(|| self.drivers.remote().reads_in_flight())
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        self.block_shape
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        self.open_file_bytes.saturating_mul(survey::most_open(&self.parts, readers) as u64)
    }

    fn scratch_bytes(&self, bands: usize, shape: (u64, u64)) -> u64 {
        self.scratch(bands as u64, shape)
    }

    fn shared_cache_bytes(&self) -> u64 {
        block_cache_bytes() + if self.remote { server_cache_bytes() } else { 0 }
    }
}
