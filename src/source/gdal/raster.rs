//! An open raster: windowed reading, calibration and masks.

use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ::gdal::errors::GdalError;
use ::gdal::raster::{ColorInterpretation, GdalDataType, GdalType, RasterBand};
use ::gdal::{Dataset, Metadata};

use super::extremes::frequent;
use super::server::{Requests, answered, plain};
use super::{Drivers, QuietErrors, RasterHeader, Valid, View, is_remote, message, open, open_error};
use crate::error::{BoxedError, Result};
use crate::geometry::{Date, PixelRegion};
use crate::source::calibration::Converter;
use crate::source::losses::EVERYTHING;
use crate::source::quality::Codes;
use crate::source::{Calibration, Quality, Remote};

/// Largest decoded size of a window of a pixel-interleaved file, all bands together. The window stays in GDAL's cache
/// while its bands are read one after another.
const WINDOW_BYTES: usize = 1 << 20;

/// Largest float that can be a value: nothing on Earth is measured in such numbers, and fill values are.
const LARGEST_FLOAT: f64 = 1e30;

/// Largest difference of a place from what a catalogue says, in pixels.
const PROMISE_TOLERANCE: f64 = 1e-3;

/// Largest integer that float64 holds with all that are smaller.
const LARGEST_INTEGER: f64 = 9_007_199_254_740_992.0;

/// An open dataset and the traits that reading needs.
pub(in crate::source) struct OpenRaster {
    dataset: Dataset,
    traits: Arc<Traits>,
    /// The largest or smallest number of the type, where it was on many pixels and nothing declares it missing.
    extreme: Cell<Option<f64>>,
    /// How its server is asked.
    remote: Option<Remote>,
}

/// Properties of a file, determined once, at the first read.
#[derive(Debug)]
pub(in crate::source) struct Traits {
    /// The band that holds the opacity of the others, counted from 1. GDAL makes a mask of it only in files of two or
    /// four bands.
    alpha: Option<usize>,
    /// (rows, columns) to read at once where a decoded block holds all bands.
    window: Option<(usize, usize)>,
    /// Whether any band has a mask that must be read.
    masked: bool,
    /// Numbers of each band that are missing by attributes of the file, in addition to nodata.
    fills: Vec<Vec<f64>>,
}

/// The traits of the files of a source. Most are alike, and share them.
#[derive(Debug, Default)]
pub(in crate::source) struct AlikeTraits(Mutex<Vec<Arc<Traits>>>);

impl AlikeTraits {
    fn shared(&self, found: Traits) -> Arc<Traits> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = held.iter().find(|held| held.is_same(&found)) {
            return Arc::clone(same);
        }
        let found = Arc::new(found);
        held.push(Arc::clone(&found));
        found
    }
}

impl Traits {
    fn is_same(&self, other: &Self) -> bool {
        let numbers =
            |a: &Vec<f64>, b: &Vec<f64>| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        (self.alpha, self.window, self.masked) == (other.alpha, other.window, other.masked)
            && self.fills.len() == other.fills.len()
            && self.fills.iter().zip(&other.fills).all(|(a, b)| numbers(a, b))
    }

    fn from_dataset(dataset: &Dataset) -> Result<Self, GdalError> {
        let bands =
            (1..=dataset.raster_count()).map(|index| dataset.rasterband(index)).collect::<Result<Vec<_>, _>>()?;
        let alpha = bands.iter().position(|band| band.color_interpretation() == ColorInterpretation::AlphaBand);
        let by_pixel = dataset.metadata_item("INTERLEAVE", "IMAGE_STRUCTURE").is_some_and(|order| order == "PIXEL");
        let window = bands.first().filter(|_| by_pixel && bands.len() > 1).map(|band| {
            let (cols, rows) = band.block_size();
            let (rows, cols) = (rows.max(1), cols.max(1));
            let bytes = rows * cols * bands.len() * band.band_type().bits().div_ceil(8) as usize;
            (rows * (WINDOW_BYTES / bytes.max(1)).max(1), cols)
        });
        let mut masked = false;
        for band in &bands {
            masked |= has_mask(band)?;
        }
        let fills = bands.iter().map(fills).collect();
        Ok(Self { alpha: alpha.map(|position| position + 1), window, masked, fills })
    }
}

/// The numbers that the attribute `missing_value` of NetCDF declares missing, one or a vector, also where it was carried
/// on into another format: GDAL knows `_FillValue` alone where both are there.
pub(super) fn fills(band: &RasterBand<'_>) -> Vec<f64> {
    let text = band.metadata_item("missing_value", "").unwrap_or_default();
    text.trim_matches(['{', '}']).split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

/// A band that could not be read, by position, and the reason.
pub(in crate::source) struct ReadFailure {
    pub(in crate::source) band: usize,
    error: ReadError,
}

/// Why a band cannot be read.
enum ReadError {
    Gdal(GdalError),
    /// It holds a number that can be no value.
    Strange {
        stored: f64,
        float: bool,
    },
}

impl From<GdalError> for ReadError {
    fn from(error: GdalError) -> Self {
        Self::Gdal(error)
    }
}

impl ReadFailure {
    /// What is wrong with a file, and what to do: `remedy` where it is damaged.
    pub(in crate::source) fn problem(&self, path: &Path, remedy: &str) -> String {
        match &self.error {
            ReadError::Gdal(error) if is_remote(path) => answered(path, &message(error)).unwrap_or_else(|| {
                let said = plain(&message(error));
                format!("{said}; its bytes broke off on the way, or the file is truncated or damaged: {remedy}")
            }),
            ReadError::Gdal(error) => format!("{}; the file may be truncated or damaged: {remedy}", message(error)),
            ReadError::Strange { stored, float: true } => format!(
                "it holds {stored:e}, which looks like a fill value that no tag declares; give nodata = {stored:e}, or `valid_range`"
            ),
            ReadError::Strange { stored, float: false } => format!(
                "it holds the 64-bit integer {stored}, which float64 does not hold to the last digit; give it as `nodata` if it is a \
                 fill value, else convert the file"
            ),
        }
    }

    /// The library's error.
    pub(in crate::source) fn into_source(self) -> Option<BoxedError> {
        match self.error {
            ReadError::Gdal(error) => Some(Box::new(error)),
            ReadError::Strange { .. } => None,
        }
    }
}

impl OpenRaster {
    /// Opens a file or subdataset. Its traits are determined unless they are known. `date` is used only in the error.
    pub(in crate::source) fn open(
        path: &Path,
        date: Date,
        drivers: &Drivers,
        (known, alike): (&OnceLock<Arc<Traits>>, &AlikeTraits),
    ) -> Result<Self> {
        let _requests = Requests::of(path, drivers.remote());
        let dataset = open(path, Some(date), drivers)?;
        let _quiet = QuietErrors::new();
        let traits = match known.get() {
            Some(traits) => Arc::clone(traits),
            None => {
                let found = Traits::from_dataset(&dataset).map_err(|error| open_error(path, Some(date), &error))?;
                Arc::clone(known.get_or_init(|| alike.shared(found)))
            }
        };
        let remote = is_remote(path).then(|| *drivers.remote());
        Ok(Self { dataset, traits, extreme: Cell::default(), remote })
    }

    /// In what the file differs from what a catalogue said of its grid, by which it was planned.
    pub(in crate::source) fn breaks(&self, promised: &RasterHeader) -> Option<String> {
        let ((cols, rows), bands) = (self.dataset.raster_size(), self.dataset.raster_count());
        let shape = promised.grid.shape();
        let (own, said) = (self.dataset.geo_transform().unwrap_or_default(), promised.grid.geotransform());
        let cell = said[1].abs();
        let same = own.iter().zip(said).all(|(own, said)| (own - said).abs() <= PROMISE_TOLERANCE * cell);
        (!same || (rows, cols) != shape || bands < promised.bands.len()).then(|| {
            format!(
                "its item says {} x {} pixels from ({}, {}), but its header {rows} x {cols} from ({}, {}); give item_headers = false, so \
                 that headers are read",
                shape.0, shape.1, said[0], said[3], own[0], own[3]
            )
        })
    }

    /// Opens a file or subdataset as a view, with all of its bands or `only` one of them by position. `native` is the
    /// size of its pixels in those of the view, where that is not the view's own. Values that are not `valid` are missing
    /// before it is resampled.
    pub(in crate::source) fn open_view(
        path: &Path,
        date: Date,
        (view, native): (&View, Option<(f64, f64)>),
        only: Option<usize>,
        valid: Option<Valid<'_>>,
    ) -> Result<Self> {
        let dataset = view.open(path, Some(date), (native, only), valid)?;
        // The view has already turned all missing values into NaN, and it resamples all bands of a block together.
        Ok(Self {
            dataset,
            extreme: Cell::default(),
            remote: is_remote(path).then(|| *view.drivers.remote()),
            traits: Arc::new(Traits {
                alpha: None,
                window: Some(view.block_shape()),
                masked: false,
                fills: Vec::new(),
            }),
        })
    }

    /// Reads a window of the bands at these positions, counted from 0, into row-major planes of calibrated values,
    /// NaN where missing.
    ///
    /// Every block that the window meets is decoded once, whatever the band order in the file and the size of GDAL's
    /// cache.
    pub(in crate::source) fn read(
        &self,
        bands: &[usize],
        region: &PixelRegion,
        calibration: &Calibration,
        planes: &mut [&mut [f64]],
    ) -> Result<(), ReadFailure> {
        let _quiet = QuietErrors::new();
        let _requests = self.requests();
        let failed = |band: usize| move |error: ReadError| ReadFailure { band, error };
        let window = self.traits.window.filter(|_| bands.len() > 1).unwrap_or((usize::MAX, usize::MAX));
        let mut odd = vec![Odd::default(); bands.len()];
        for part in parts(region, window) {
            for ((&band, plane), odd) in bands.iter().zip(&mut *planes).zip(&mut odd) {
                let found = self
                    .physical(band, &part, (calibration, Missing::All), Destination::Plane(plane, region))
                    .map_err(failed(band))?;
                *odd = odd.or(found);
            }
        }
        for ((&band, plane), odd) in bands.iter().zip(&mut *planes).zip(odd) {
            self.mask(band, region, plane).map_err(|error| failed(band)(error.into()))?;
            self.judge(odd, plane).map_err(failed(band))?;
        }
        Ok(())
    }

    /// Whether this many bands of a window can be read one after another without decoding a block twice.
    pub(in crate::source) fn reads_at_once(&self, bands: usize, region: &PixelRegion) -> bool {
        bands == 1 || self.traits.window.is_none_or(|window| parts(region, window).count() == 1)
    }

    /// Like [`read`](Self::read) for one band, whose plane is appended to `values`.
    pub(in crate::source) fn append(
        &self,
        band: usize,
        region: &PixelRegion,
        calibration: &Calibration,
        values: &mut Vec<f64>,
    ) -> Result<(), ReadFailure> {
        let _quiet = QuietErrors::new();
        let _requests = self.requests();
        let start = values.len();
        self.physical(band, region, (calibration, Missing::All), Destination::End(values))
            .and_then(|odd| {
                self.mask(band, region, &mut values[start..])?;
                self.judge(odd, &values[start..])
            })
            .map_err(|error| ReadFailure { band, error })
    }

    /// Reads the stored numbers of a part and converts them to physical values. `missing` says which the file's own nodata
    /// hides. Returns what is odd about them.
    fn physical(
        &self,
        index: usize,
        part: &PixelRegion,
        (calibration, missing): (&Calibration, Missing<'_>),
        target: Destination<'_>,
    ) -> Result<Odd, ReadError> {
        let band = self.dataset.rasterband(index + 1)?;
        let kind = band.band_type();
        // A float32 file stores the float32 nearest to its nodata value.
        let round = |nodata: f64| if kind == GdalDataType::Float32 { f64::from(nodata as f32) } else { nodata };
        let own = self.declared(index, &band).into_iter().filter(|own| missing.holds(*own));
        let missing: Vec<f64> = own.chain(calibration.nodata.iter().copied()).map(round).collect();
        let converter = calibration.converter(band.scale(), band.offset(), &missing);
        let float = matches!(kind, GdalDataType::Float32 | GdalDataType::Float64);
        let limit = match calibration.valid_range {
            Some(EVERYTHING) => f64::INFINITY,
            _ if float => LARGEST_FLOAT,
            _ => LARGEST_INTEGER,
        };
        let limited = || converter.limited(limit);
        let mut odd = Odd { line: converter.line(), limit, float, ..Odd::default() };
        // Numbers are read as stored; the pass that copies them also converts them.
        match kind {
            GdalDataType::UInt8 if holds_signed_bytes(&band) => {
                let values = signed_bytes(&band, part)?;
                odd.watch(&values, [i8::MIN.into(), i8::MAX.into()], (part, converter, target));
            }
            // Zeros of bytes are counts, shares and classes as often as fill values.
            GdalDataType::UInt8 => {
                odd.watch(&stored::<u8>(&band, part)?, [f64::NAN, u8::MAX.into()], (part, converter, target));
            }
            GdalDataType::UInt16 => {
                odd.watch(&stored::<u16>(&band, part)?, [0.0, u16::MAX.into()], (part, converter, target));
            }
            GdalDataType::Int16 => {
                let extremes = [i16::MIN.into(), i16::MAX.into()];
                odd.watch(&stored::<i16>(&band, part)?, extremes, (part, converter, target));
            }
            GdalDataType::UInt32 => odd.strange = convert::<u32>(&band, part, converter, target)?,
            GdalDataType::Int32 => odd.strange = convert::<i32>(&band, part, converter, target)?,
            GdalDataType::Float32 => odd.strange = convert::<f32>(&band, part, limited(), target)?,
            _ => odd.strange = convert::<f64>(&band, part, limited(), target)?,
        }
        Ok(odd)
    }

    /// Numbers that a band itself declares missing.
    fn declared(&self, index: usize, band: &RasterBand<'_>) -> Vec<f64> {
        let fills = self.traits.fills.get(index).map_or(&[][..], Vec::as_slice);
        band.no_data_value().into_iter().chain(fills.iter().copied()).collect()
    }

    /// Options of requests, while it is read from a server.
    fn requests(&self) -> Option<Requests> {
        self.remote.as_ref().map(Requests::new)
    }

    /// Whether a mask or alpha may hide values.
    fn hides(&self) -> bool {
        self.traits.masked || self.traits.alpha.is_some()
    }

    /// Refuses values that can be none, and notes the type's extreme where it looks like a fill value, once masks have
    /// hidden what they hide.
    fn judge(&self, odd: Odd, values: &[f64]) -> Result<(), ReadError> {
        let odd = if self.hides() { odd.among(values) } else { odd };
        if let Some(extreme) = odd.extreme {
            self.extreme.set(Some(extreme));
        }
        odd.strange.map_or(Ok(()), |stored| Err(ReadError::Strange { stored, float: odd.float }))
    }

    /// Sets values that masks and alpha hide to NaN.
    fn mask(&self, index: usize, region: &PixelRegion, values: &mut [f64]) -> Result<(), GdalError> {
        if self.traits.masked {
            let band = self.dataset.rasterband(index + 1)?;
            if has_mask(&band)? {
                hide(&band.open_mask_band()?, region, values)?;
            }
        }
        if let Some(alpha) = self.traits.alpha.filter(|alpha| *alpha != index + 1) {
            hide(&self.dataset.rasterband(alpha)?, region, values)?;
        }
        Ok(())
    }

    /// The largest or smallest number of the stored type that looked like a fill value since the last call.
    pub(in crate::source) fn take_extreme(&self) -> Option<f64> {
        self.extreme.take()
    }

    /// Stored numbers of a quality band; numbers that mean "no value" by the file or the rule are missing.
    pub(in crate::source) fn codes(
        &self,
        index: usize,
        region: &PixelRegion,
        rule: &Quality,
    ) -> Result<Codes, ReadFailure> {
        let _quiet = QuietErrors::new();
        let _requests = self.requests();
        let failed = |error: ReadError| ReadFailure { band: index, error };
        let gdal = |error: GdalError| failed(error.into());
        let band = self.dataset.rasterband(index + 1).map_err(gdal)?;
        let masked = self.hides();
        let missing = || {
            let own = self.declared(index, &band).into_iter().filter(|own| rule.takes_for_unknown(*own));
            own.chain(rule.nodata.iter().copied()).collect()
        };
        match band.band_type() {
            GdalDataType::UInt8 if !masked && !holds_signed_bytes(&band) => {
                Ok(Codes::U8(stored(&band, region).map_err(gdal)?, missing()))
            }
            GdalDataType::UInt16 if !masked => Ok(Codes::U16(stored(&band, region).map_err(gdal)?, missing())),
            GdalDataType::Int16 if !masked => Ok(Codes::I16(stored(&band, region).map_err(gdal)?, missing())),
            _ => {
                let mut values = vec![0.0; region.len()];
                let calibration = Calibration { nodata: rule.nodata.clone(), ..Calibration::stored() };
                let plane = Destination::Plane(&mut values, region);
                let odd = self.physical(index, region, (&calibration, Missing::By(rule)), plane).map_err(failed)?;
                self.mask(index, region, &mut values).map_err(gdal)?;
                // Flags may have the extremes of their type.
                self.judge(Odd { extreme: None, ..odd }, &values).map_err(failed)?;
                Ok(Codes::F64(values))
            }
        }
    }
}

/// Which of the numbers that a file declares missing are so.
#[derive(Clone, Copy)]
enum Missing<'a> {
    All,
    /// Those of flags that the rule takes for unknown.
    By(&'a Quality),
}

impl Missing<'_> {
    fn holds(self, own: f64) -> bool {
        match self {
            Self::All => true,
            Self::By(rule) => rule.takes_for_unknown(own),
        }
    }
}

/// Stored numbers of a band that may be fill values which nothing declares.
#[derive(Clone, Copy, Default)]
struct Odd {
    /// One beyond the largest that can be a value.
    strange: Option<f64>,
    /// The extreme of the type, where it is frequent.
    extreme: Option<f64>,
    /// Scale and offset from stored numbers to values.
    line: (f64, f64),
    limit: f64,
    float: bool,
}

impl Odd {
    /// Converts the stored numbers of a part, and notes which of the type's extremes looks like a fill value.
    fn watch<T: Copy + Into<f64>>(
        &mut self,
        values: &[T],
        extremes: [f64; 2],
        (part, converter, target): (&PixelRegion, Converter<'_>, Destination<'_>),
    ) {
        self.extreme = frequent(values, extremes, |stored| converter.is_value(stored));
        self.strange = converted(values, part, converter, target);
    }

    /// What is odd in one part or in another.
    fn or(self, other: Self) -> Self {
        Self { strange: self.strange.or(other.strange), extreme: self.extreme.or(other.extreme), ..other }
    }

    /// What is still odd among the values that masks leave.
    fn among(self, values: &[f64]) -> Self {
        let (scale, offset) = self.line;
        let beyond = |value: &f64| Some((value - offset) / scale).filter(|stored| stored.abs() >= self.limit);
        let strange = self.strange.and_then(|_| values.iter().find_map(beyond));
        let left = |stored: &f64| frequent(values, [scale * stored + offset, f64::NAN], |_| true).is_some();
        Self { strange, extreme: self.extreme.filter(left), ..self }
    }
}

/// Nodata of a single band needs no mask read. Nodata of all bands together is a mask of the dataset.
fn has_mask(band: &RasterBand<'_>) -> Result<bool, GdalError> {
    let flags = band.mask_flags()?;
    Ok(flags.is_per_dataset() || !(flags.is_all_valid() || flags.is_nodata()))
}

/// Destination of converted numbers.
enum Destination<'a> {
    /// The plane of a region that contains them.
    Plane(&'a mut [f64], &'a PixelRegion),
    /// The end of the vector.
    End(&'a mut Vec<f64>),
}

fn stored<T: GdalType + Copy>(band: &RasterBand<'_>, region: &PixelRegion) -> Result<Vec<T>, GdalError> {
    let (rows, cols) = region.shape();
    let start = (region.cols.start as isize, region.rows.start as isize);
    Ok(band.read_as::<T>(start, (cols, rows), (cols, rows), None)?.into_shape_and_vec().1)
}

/// Whether a band of bytes holds signed ones: before version 3.7 GDAL has no type for them.
pub(super) fn holds_signed_bytes(band: &RasterBand<'_>) -> bool {
    band.band_type() == GdalDataType::UInt8
        && band.metadata_item("PIXELTYPE", "IMAGE_STRUCTURE").is_some_and(|kind| kind == "SIGNEDBYTE")
}

fn signed_bytes(band: &RasterBand<'_>, region: &PixelRegion) -> Result<Vec<i8>, GdalError> {
    Ok(stored::<u8>(band, region)?.into_iter().map(u8::cast_signed).collect())
}

/// Reads a part in the band's own type and converts it. Returns the first number that can be no value.
fn convert<T: GdalType + Copy + Into<f64>>(
    band: &RasterBand<'_>,
    part: &PixelRegion,
    converter: Converter<'_>,
    target: Destination<'_>,
) -> Result<Option<f64>, GdalError> {
    Ok(converted(&stored::<T>(band, part)?, part, converter, target))
}

/// Converts the stored numbers of a part. Returns the first number that can be no value.
fn converted<T: Copy + Into<f64>>(
    values: &[T],
    part: &PixelRegion,
    converter: Converter<'_>,
    target: Destination<'_>,
) -> Option<f64> {
    match target {
        Destination::End(physical) => converter.append(values, physical),
        Destination::Plane(plane, region) => {
            let (left, width) = (part.cols.start - region.cols.start, region.cols.len());
            let mut strange = None;
            for (row, values) in part.rows.clone().zip(values.chunks_exact(part.cols.len().max(1))) {
                let start = (row - region.rows.start) * width + left;
                strange = strange.or(converter.convert(values, &mut plane[start..start + values.len()]));
            }
            strange
        }
    }
}

/// Sets values that a mask hides to NaN.
fn hide(mask: &RasterBand<'_>, region: &PixelRegion, values: &mut [f64]) -> Result<(), GdalError> {
    let opacity = stored::<f64>(mask, region)?;
    for (value, _) in values.iter_mut().zip(&opacity).filter(|(_, opacity)| **opacity == 0.0) {
        *value = f64::NAN;
    }
    Ok(())
}

/// The region, cut along the lines of windows that start at the upper-left corner of the raster.
fn parts(region: &PixelRegion, (rows, cols): (usize, usize)) -> impl Iterator<Item = PixelRegion> + use<> {
    let cut = |range: std::ops::Range<usize>, step: usize| {
        (range.start / step..range.end.div_ceil(step))
            .map(move |k| range.start.max(k * step)..range.end.min(k.saturating_add(1).saturating_mul(step)))
    };
    let (across, cols_range) = (cols, region.cols.clone());
    cut(region.rows.clone(), rows)
        .flat_map(move |rows| cut(cols_range.clone(), across).map(move |cols| PixelRegion::new(rows.clone(), cols)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_region_once_along_the_lines_of_blocks() {
        let region = PixelRegion::new(3..17, 5..9);
        let mut seen = vec![0; region.len()];
        for part in parts(&region, (8, 4)) {
            assert_eq!((part.rows.start / 8, part.cols.start / 4), ((part.rows.end - 1) / 8, (part.cols.end - 1) / 4));
            for (row, col) in part.rows.clone().flat_map(|r| part.cols.clone().map(move |c| (r, c))) {
                seen[(row - 3) * 4 + col - 5] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
        assert_eq!(parts(&region, (usize::MAX, usize::MAX)).collect::<Vec<_>>(), [region]);
    }
}
