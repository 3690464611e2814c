//! A stack of raster files: one file per date, bands inside, dates taken from the file names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use regex::Regex;

use super::gdal::{Aligned, DatedFile, DatedFiles, RasterHeader, Resampling, block_cache_bytes};
use super::{Calibration, RasterSource, Slice, check_request, same_crs};
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid, PixelRegion};

/// Raster files that GDAL reads, one per date, all on one grid with the same bands.
///
/// Opening reads every header and no pixel. At any time only a bounded number of files is open.
///
/// ```no_run
/// use rasterfuse::source::{RasterSource, RasterStack};
/// let landsat = RasterStack::builder("landsat/landsat_*.tif", r"landsat_(\d{8})").scale(1e-4).open()?;
/// println!("{} dates of {:?} on {}", landsat.dates().len(), landsat.bands(), landsat.grid());
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Debug)]
pub struct RasterStack {
    origin: String,
    grid: Grid,
    dates: Vec<Date>,
    files: DatedFiles,
    /// Of the first file.
    block_shape: Option<(usize, usize)>,
    /// What a file takes while it is open: GDAL's own records and a decoded block of all bands.
    open_file_bytes: u64,
}

/// Collects what a [`RasterStack`] needs; [`open`](Self::open) makes it.
#[derive(Clone, Debug)]
pub struct StackBuilder {
    pattern: String,
    folder: Option<PathBuf>,
    date_pattern: String,
    date_format: String,
    calibration: Calibration,
    onto: Option<(Grid, Resampling)>,
    lenient: bool,
}

impl RasterStack {
    /// A stack of the files that match the wildcard `pattern` (`*`, `?`, `[...]`, `**`), dated by the first capture group
    /// of the regular expression `date_pattern`, looked for in the file name and then in the whole path.
    #[must_use]
    pub fn builder(pattern: impl Into<String>, date_pattern: impl Into<String>) -> StackBuilder {
        StackBuilder {
            pattern: pattern.into(),
            folder: None,
            date_pattern: date_pattern.into(),
            date_format: "%Y%m%d".into(),
            calibration: Calibration::default(),
            onto: None,
            lenient: false,
        }
    }

    /// A stack of the given files, in any order.
    ///
    /// # Errors
    /// As [`StackBuilder::open`].
    pub fn from_files(files: impl IntoIterator<Item = (Date, PathBuf)>, calibration: Calibration) -> Result<Self> {
        let files: Vec<_> = files.into_iter().map(|(date, path)| DatedFile::new(date, path)).collect();
        if files.is_empty() {
            return Err(Error::setting("files", "an empty list"));
        }
        let origin = match files.as_slice() {
            [one] => one.path.display().to_string(),
            many => format!("a list of {} files", many.len()),
        };
        Self::new(origin, files, calibration, None, false)
    }

    fn new(
        origin: String,
        mut files: Vec<DatedFile>,
        calibration: Calibration,
        onto: Option<(Grid, Resampling)>,
        lenient: bool,
    ) -> Result<Self> {
        calibration.validate()?;
        files.sort_by(|a, b| (a.date, &a.path).cmp(&(b.date, &b.path)));
        if let Some(pair) = files.windows(2).find(|pair| pair[0].date == pair[1].date) {
            return Err(Error::DuplicateDate {
                date: pair[0].date,
                first: pair[0].path.clone(),
                second: pair[1].path.clone(),
            });
        }
        let mut aligned = onto.as_ref().map(|(target, _)| Aligned::new(target));
        let mut reference = read_headers(&origin, &mut files, aligned.as_mut(), lenient)?;
        let view = match (&aligned, &onto) {
            (Some(aligned), Some((_, resampling))) => Some(Arc::new(aligned.view(*resampling)?)),
            _ => None,
        };
        if let Some(view) = &view {
            reference.open_bytes = view.open_bytes(&reference);
            reference.block_shape = Some(view.block_shape());
            reference.grid = view.grid().clone();
        }
        let name =
            |(index, name): (usize, &String)| if name.is_empty() { format!("band{}", index + 1) } else { name.clone() };
        let bands = reference.bands.iter().enumerate().map(name).collect();
        let dates = files.iter().map(|file| file.date).collect();
        let RasterHeader { grid, block_shape, .. } = reference;
        let open_file_bytes = reference.open_bytes;
        let files = DatedFiles::new(files, bands, calibration).on(view);
        Ok(Self { origin, grid, dates, files, block_shape, open_file_bytes })
    }

    /// The file of each date.
    pub fn files(&self) -> impl Iterator<Item = (Date, &Path)> {
        self.files.files().iter().map(|file| (file.date, file.path.as_path()))
    }
}

impl StackBuilder {
    /// Folder that a relative pattern is resolved against; default: the current one.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// `strftime` form of the date's capture group; default `%Y%m%d`.
    #[must_use]
    pub fn date_format(mut self, format: impl Into<String>) -> Self {
        self.date_format = format.into();
        self
    }

    /// Factor from stored numbers to physical values, in place of the files' own.
    #[must_use]
    pub fn scale(mut self, scale: f64) -> Self {
        self.calibration.scale = Some(scale);
        self
    }

    /// Offset from stored numbers to physical values, in place of the files' own.
    #[must_use]
    pub fn offset(mut self, offset: f64) -> Self {
        self.calibration.offset = Some(offset);
        self
    }

    /// Physical values outside `[low, high]` are missing.
    #[must_use]
    pub fn valid_range(mut self, low: f64, high: f64) -> Self {
        self.calibration.valid_range = Some((low, high));
        self
    }

    /// Reads the files, whatever their grids and CRS, on a grid whose lines are lines of `target`: pixels are whole numbers of
    /// its cells, as close to their native size as can be. A raster whose pixels become single cells has the footprint
    /// [`Cell`](crate::model::Footprint::Cell), a coarser one [`Uniform`](crate::model::Footprint::Uniform). Values are resampled
    /// before scale, offset and valid range apply; missing ones (nodata, NaN, mask bands, alpha) count as none. Default: the
    /// files are read as they are.
    #[must_use]
    pub fn onto(mut self, target: &Grid, resampling: Resampling) -> Self {
        self.onto = Some((target.clone(), resampling));
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

    /// Finds and dates the files and reads their headers.
    ///
    /// # Errors
    /// [`Error::Setting`] for a malformed pattern or calibration, [`Error::NoFiles`], [`Error::NoDate`],
    /// [`Error::DuplicateDate`], [`Error::Open`] for a file GDAL refuses, and [`Error::Inconsistent`] when bands or grids
    /// differ between dates.
    pub fn open(self) -> Result<RasterStack> {
        let files = self.dated_files()?;
        RasterStack::new(self.full_pattern(), files, self.calibration, self.onto, self.lenient)
    }

    /// The pattern with its folder; wildcards in the folder's own name are escaped.
    fn full_pattern(&self) -> String {
        match &self.folder {
            Some(folder) if Path::new(&self.pattern).is_relative() && !folder.as_os_str().is_empty() => {
                format!("{}/{}", glob::Pattern::escape(&folder.to_string_lossy()), self.pattern)
            }
            _ => self.pattern.clone(),
        }
    }

    /// The files that match, with their dates.
    fn dated_files(&self) -> Result<Vec<DatedFile>> {
        let date_pattern = Regex::new(&self.date_pattern)
            .map_err(|error| Error::setting("date", format!("not a regular expression: {error}")))?;
        if date_pattern.captures_len() < 2 {
            let problem = format!("'{}' has no capture group; put the date in parentheses", self.date_pattern);
            return Err(Error::setting("date", problem));
        }
        let paths = glob::glob(&self.full_pattern())
            .map_err(|error| Error::setting("files", format!("{:?} is no wildcard pattern: {error}", self.pattern)))?;
        let mut files = Vec::new();
        for entry in paths {
            let path = entry.map_err(|error| Error::Open {
                path: error.path().to_path_buf(),
                date: None,
                problem: error.error().to_string(),
                source: None,
            })?;
            let date = self.date_of(&path, &date_pattern)?;
            files.push(DatedFile::new(date, path));
        }
        Ok(files)
    }

    fn date_of(&self, path: &Path, pattern: &Regex) -> Result<Date> {
        let no_date = |problem: String| Error::NoDate {
            path: path.to_path_buf(),
            pattern: self.date_pattern.clone(),
            format: self.date_format.clone(),
            problem,
        };
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let whole = path.to_string_lossy();
        let captured = [&name, &whole].into_iter().find_map(|text| pattern.captures(text)?.get(1));
        let Some(text) = captured else {
            return Err(no_date("`date` matches neither its name nor its path; narrow `files` or fix `date`".into()));
        };
        Date::parse(text.as_str(), &self.date_format)
            .map_err(|_| no_date(format!("{:?} is not a date of this format", text.as_str())))
    }
}

/// Reads every header and gives the first, which all others match. With `lenient`, what is wrong with a file is noted with it,
/// as long as there is any file that is right. Where a view is to be `aligned` to the files, their grids may differ.
fn read_headers(
    origin: &str,
    files: &mut [DatedFile],
    mut aligned: Option<&mut Aligned>,
    lenient: bool,
) -> Result<RasterHeader> {
    let mut reference: Option<(DatedFile, RasterHeader)> = None;
    let mut first_error = None;
    for file in files {
        let checked = file.header().and_then(|header| {
            if let Some((first, reference)) = &reference {
                check_bands(first, reference, file, &header)?;
                if aligned.is_none() {
                    check_grid(first, reference, file, &header)?;
                }
            }
            if let Some(aligned) = &mut aligned {
                aligned.add(&file.path.display().to_string(), &header)?;
            }
            Ok(header)
        });
        match checked {
            Ok(header) => _ = reference.get_or_insert_with(|| (file.clone(), header)),
            Err(error) if lenient => {
                file.fault = Some(match &error {
                    Error::Open { problem, .. } | Error::Inconsistent { problem, .. } => problem.clone(),
                    other => other.to_string(),
                });
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match (reference, first_error) {
        (Some((_, header)), _) => Ok(header),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::NoFiles { pattern: origin.to_owned() }),
    }
}

fn differs(first: &DatedFile, file: &DatedFile, problem: String) -> Error {
    Error::Inconsistent {
        path: file.path.clone(),
        date: file.date,
        problem: format!("{problem} ({}, {})", first.path.display(), first.date),
    }
}

fn check_bands(first: &DatedFile, reference: &RasterHeader, file: &DatedFile, header: &RasterHeader) -> Result<()> {
    let differs = |problem: String| differs(first, file, problem);
    if header.bands.len() != reference.bands.len() {
        let (found, expected) = (header.bands.len(), reference.bands.len());
        return Err(differs(format!("{found} bands, but {expected} in the first file of the stack")));
    }
    let renamed = header.bands.iter().zip(&reference.bands).position(|(a, b)| !a.is_empty() && !b.is_empty() && a != b);
    if let Some(band) = renamed {
        let (found, expected) = (&header.bands[band], &reference.bands[band]);
        return Err(differs(format!(
            "band {} is {found:?}, but {expected:?} in the first file of the stack",
            band + 1
        )));
    }
    Ok(())
}

fn check_grid(first: &DatedFile, reference: &RasterHeader, file: &DatedFile, header: &RasterHeader) -> Result<()> {
    let differs = |problem: String| differs(first, file, problem);
    if !same_crs(header.grid.crs(), reference.grid.crs()) {
        let (found, expected) = (header.grid.crs(), reference.grid.crs());
        return Err(differs(format!(
            "CRS {found}, but {expected} in the first file of the stack; give reproject = \"bilinear\", or warp it first"
        )));
    }
    if header.grid.shape() != reference.grid.shape() || reference.grid.lattice_offset(&header.grid) != Some((0, 0)) {
        return Err(differs(format!(
            "grid of {}, but {} in the first file of the stack; give reproject = \"bilinear\", or warp or crop it first",
            header.grid, reference.grid
        )));
    }
    Ok(())
}

impl RasterSource for RasterStack {
    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dates(&self) -> &[Date] {
        &self.dates
    }

    fn bands(&self) -> &[String] {
        self.files.bands()
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        let index = check_request(self, date, bands, region)?;
        let values = self.files.read(index, bands, region)?;
        Ok(Slice::new(date, region.clone(), values))
    }

    fn origin(&self) -> String {
        self.origin.clone()
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut settings = self.files.calibration().settings();
        if let Some(view) = self.files.view() {
            settings.push(("reproject".into(), format!("{:?}", view.resampling()).to_lowercase()));
        }
        settings
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        self.block_shape
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        self.open_file_bytes.saturating_mul(self.files.most_open(readers) as u64)
    }

    fn shared_cache_bytes(&self) -> u64 {
        block_cache_bytes()
    }
}
