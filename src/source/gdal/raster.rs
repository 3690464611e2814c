//! An open raster: windowed reading, calibration and masks.

use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use ::gdal::Dataset;
use ::gdal::errors::GdalError;
use ::gdal::raster::GdalDataType;

use super::failure::{ReadError, ReadFailure};
use super::hdf5::{self, Listening};
use super::numbers::Numbers;
use super::odd::Odd;
use super::server::Requests;
use super::stored::{Destination, convert, hide, signed_bytes, stored};
use super::traits::{AlikeTraits, Traits, has_mask};
use super::{Drivers, QuietErrors, RasterHeader, Valid, View, is_remote, open, open_error};
use crate::error::Result;
use crate::geometry::{Date, PixelRegion};
use crate::source::losses::EVERYTHING;
use crate::source::quality::Codes;
use crate::source::{Calibration, Quality, Remote};

/// Largest difference of a place from what a catalogue says, in pixels.
const PROMISE_TOLERANCE: f64 = 1e-3;

/// An open dataset and the traits that reading needs.
pub(in crate::source) struct OpenRaster {
    dataset: Dataset,
    traits: Arc<Traits>,
    /// The largest or smallest number of the type, where it was on many pixels and nothing declares it missing.
    extreme: Cell<Option<f64>>,
    /// How its server is asked.
    remote: Option<Remote>,
    /// Whether HDF5 may read it.
    hdf5: bool,
    /// Whether its floats are made of integers of 64 bits.
    wide: bool,
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
        let _listening = Listening::to(path);
        let traits = match known.get() {
            Some(traits) => Arc::clone(traits),
            None => {
                let found = Traits::of(path, &dataset).map_err(|error| open_error(path, Some(date), &error))?;
                Arc::clone(known.get_or_init(|| alike.shared(found)))
            }
        };
        let remote = is_remote(path).then(|| *drivers.remote());
        Ok(Self { dataset, traits, extreme: Cell::default(), remote, hdf5: hdf5::reads(path), wide: false })
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
        let (dataset, wide) = view.open(path, Some(date), (native, only), valid)?;
        // The view has already turned all missing values into NaN, and it resamples all bands of a block together.
        Ok(Self {
            dataset,
            extreme: Cell::default(),
            remote: is_remote(path).then(|| *view.drivers.remote()),
            hdf5: hdf5::reads(path),
            wide,
            traits: Arc::new(Traits { window: Some(view.block_shape()), ..Traits::default() }),
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
        let _listening = self.hdf5.then(Listening::new);
        let _requests = self.requests();
        let failed = |band: usize| move |error: ReadError| self.failure(band, error);
        let window = self.traits.window.filter(|_| bands.len() > 1).unwrap_or((usize::MAX, usize::MAX));
        let mut odd = vec![Odd::default(); bands.len()];
        for part in region.parts(window) {
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
        bands == 1 || self.traits.window.is_none_or(|window| region.parts(window).count() == 1)
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
        let _listening = self.hdf5.then(Listening::new);
        let _requests = self.requests();
        let start = values.len();
        self.physical(band, region, (calibration, Missing::All), Destination::End(values))
            .and_then(|odd| {
                self.mask(band, region, &mut values[start..])?;
                self.judge(odd, &values[start..])
            })
            .map_err(|error| self.failure(band, error))
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
        let numbers = self.numbers(index);
        let own = numbers.into_iter().flat_map(Numbers::missing).filter(|own| missing.holds(*own));
        let missing: Vec<f64> = own.chain(calibration.nodata.iter().copied()).map(round).collect();
        let converter = calibration.converter(band.scale(), band.offset(), &missing);
        let converter = numbers.and_then(|numbers| numbers.range).map_or(converter, |range| converter.within(range));
        let float = matches!(kind, GdalDataType::Float32 | GdalDataType::Float64) && !self.wide;
        let mut odd = Odd::new(converter.line(), float, calibration.valid_range == Some(EVERYTHING));
        let limit = odd.limit();
        let limited = || converter.limited(limit);
        // Numbers are read as stored; the pass that copies them also converts them.
        match kind {
            GdalDataType::UInt8 if numbers.is_some_and(|numbers| numbers.signed) => {
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

    /// What the stored numbers of a band mean; of a view nothing is left to be said.
    fn numbers(&self, index: usize) -> Option<&Numbers> {
        self.traits.numbers.get(index)
    }

    fn failure(&self, band: usize, error: ReadError) -> ReadFailure {
        ReadFailure { band, error, said: self.hdf5.then(hdf5::said).flatten() }
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
        let _listening = self.hdf5.then(Listening::new);
        let _requests = self.requests();
        let failed = |error: ReadError| self.failure(index, error);
        let gdal = |error: GdalError| failed(error.into());
        let band = self.dataset.rasterband(index + 1).map_err(gdal)?;
        let numbers = self.numbers(index);
        let odd = |numbers: &Numbers| numbers.signed || numbers.range.is_some();
        let plain = !self.hides() && !numbers.is_some_and(odd);
        let missing = || {
            let own = numbers.into_iter().flat_map(Numbers::missing).filter(|own| rule.takes_for_unknown(*own));
            own.chain(rule.nodata.iter().copied()).collect()
        };
        match band.band_type() {
            GdalDataType::UInt8 if plain => Ok(Codes::U8(stored(&band, region).map_err(gdal)?, missing())),
            GdalDataType::UInt16 if plain => Ok(Codes::U16(stored(&band, region).map_err(gdal)?, missing())),
            GdalDataType::Int16 if plain => Ok(Codes::I16(stored(&band, region).map_err(gdal)?, missing())),
            _ => {
                let mut values = vec![0.0; region.len()];
                let calibration = Calibration { nodata: rule.nodata.clone(), ..Calibration::stored() };
                let plane = Destination::Plane(&mut values, region);
                let mut odd = self.physical(index, region, (&calibration, Missing::By(rule)), plane).map_err(failed)?;
                self.mask(index, region, &mut values).map_err(gdal)?;
                // Flags may have the extremes of their type.
                odd.extreme = None;
                self.judge(odd, &values).map_err(failed)?;
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
