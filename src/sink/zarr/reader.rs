//! Reader of fused series.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array1, Array2, Array3, ArrayD, Dimension, s};
use serde_json::Value;
use zarrs::array::{Array, ArrayMetadata, ArraySubset};

use super::existing::{existing_series, group_attributes};
use super::held::Records;
use super::store::ReadStore;
use super::unpacking::PackedArray;
use crate::describe::OutputSpace;
use crate::error::{BoxedError, Error, Result};
use crate::geometry::{Crs, Date, Grid, PixelRegion};
use crate::series::ExistingSeries;
use crate::source::{RasterSource, Slice, bound_codecs, check_request};
use crate::spectral::SpectralBasis;
use crate::storage::{Folder, Place};

/// Largest length of a coordinate or a basis, which are read as a whole: metadata must not make a program ask for all memory there is.
const MOST_NUMBERS: u64 = 1 << 28;

/// Reads a store that a [`ZarrSink`](super::ZarrSink) wrote: values and standard deviations of bands, and of
/// indices, which follow them. Bands are computed where the store holds components of a spectral basis.
///
/// It is also a [`RasterSource`] whose [slices](Slice) have noise variances: the variances of the series.
///
/// ```no_run
/// use rasterfuse::geometry::PixelRegion;
/// use rasterfuse::sink::FusedSeries;
/// use rasterfuse::source::RasterSource;
/// let series = FusedSeries::open("fused.zarr")?;
/// let last = series.dates()[series.dates().len() - 1];
/// let (mean, sd) = series.values(last, &[0], &PixelRegion::new(0..64, 0..64))?; // (band, y, x)
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Debug)]
pub struct FusedSeries {
    path: PathBuf,
    /// None of stores of earlier versions.
    records: Option<Records>,
    grid: Grid,
    dates: Vec<Date>,
    bands: Vec<String>,
    basis: Option<SpectralBasis>,
    space: OutputSpace,
    unit: String,
    existing: ExistingSeries,
    mean: PackedArray,
    uncertainty: PackedArray,
    /// (rows, columns) of a chunk.
    tile: (usize, usize),
    dates_per_object: usize,
}

impl FusedSeries {
    /// Opens a store and shows the dates that are committed now.
    ///
    /// # Errors
    /// [`Error::OpenStore`] when there is no store of this crate.
    pub fn open(place: impl Into<Place>) -> Result<Self> {
        let place = place.into();
        Self::of((place.name(), &place.reading()?))
    }

    /// Opens the store in a folder, of this name.
    pub(super) fn of((path, folder): (&Path, &Arc<dyn Folder>)) -> Result<Self> {
        let path = path.to_path_buf();
        let opening = Opening { path: &path, store: Arc::new(ReadStore::new(folder)) };
        let attributes = attributes_of((&path, &**folder))?;
        let series = existing_series(&attributes).map_err(|problem| refuse(&path, problem))?;
        let bands = attributes["rasterfuse"]["bands"].as_array().into_iter().flatten();
        let indices = attributes["rasterfuse"]["indices"].as_object().into_iter().flat_map(|indices| indices.keys());
        let bands = bands.filter_map(Value::as_str).chain(indices.map(String::as_str));
        let bands: Vec<String> = bands.map(str::to_owned).collect();
        let space = match attributes["rasterfuse"]["space"].as_str() {
            Some("components") => OutputSpace::Components,
            _ => OutputSpace::Bands,
        };
        let basis = match space {
            OutputSpace::Bands => None,
            OutputSpace::Components => {
                let wavelengths: Array1<f64> = opening.read_all("band")?;
                let mean: Array1<f32> = opening.read_all("basis_mean")?;
                let matrix: Array2<f32> = opening.read_all("basis")?;
                Some(SpectralBasis::new(wavelengths.to_vec(), mean.mapv(f64::from), matrix.mapv(f64::from))?)
            }
        };
        let (mean, dates_per_object) = opening.chunks("mean")?;
        let (uncertainty, _) = opening.chunks(if basis.is_some() { "cov" } else { "sd" })?;
        let days: Array1<i64> = opening.read_all("time")?;
        if days.len() != series.visible {
            let problem = format!("its array time has {} dates, its attributes say {}", days.len(), series.visible);
            return Err(refuse(&path, problem));
        }
        let day = |day: &i64| i32::try_from(*day).map(Date::from_days);
        let dates = days.iter().map(day).collect::<std::result::Result<_, _>>();
        let dates = dates.map_err(|_| refuse(&path, "its array time holds days beyond any calendar".into()))?;
        let chunk = mean.chunk_shape(&[0; 4]).map_err(|error| opening.failed("mean", error))?;
        let tile = match chunk.as_slice() {
            [_, _, rows, cols] => (rows.get() as usize, cols.get() as usize),
            _ => return Err(refuse(&path, "its array mean does not have four dimensions".into())),
        };
        let layers = mean.shape()[1];
        if basis.is_none() && layers != bands.len() as u64 {
            return Err(refuse(
                &path,
                format!("its array mean has {layers} layers for {} bands and indices", bands.len()),
            ));
        }
        let grid = opening.grid(&mean)?;
        let packed = |array: Array<ReadStore>| {
            let name = array.path().as_str().trim_start_matches('/').to_owned();
            PackedArray::new(array).map_err(|problem| opening.failed(&name, problem))
        };
        let (mean, uncertainty) = (packed(mean)?, packed(uncertainty)?);
        // Of components the basis has the unit.
        let of_bands = if basis.is_some() { opening.array("basis_mean")? } else { opening.array("mean")? };
        let unit = of_bands.attributes().get("units").and_then(Value::as_str).unwrap_or("1").to_owned();
        let records = series.identity.as_ref().map(|identity| identity.id.clone());
        Ok(Self {
            path,
            records: records.map(|id| Records::new(folder, &id, series.visible, dates_per_object)),
            grid,
            dates,
            bands,
            basis,
            space,
            unit,
            existing: series,
            mean,
            uncertainty,
            tile,
            dates_per_object,
        })
    }

    /// The contents of the store.
    #[must_use]
    pub fn space(&self) -> OutputSpace {
        self.space
    }

    /// Unit of the bands.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// What the store says of its series: settings, planned dates, identity.
    #[must_use]
    pub fn existing(&self) -> &ExistingSeries {
        &self.existing
    }

    /// Dates of a tile that share a file or object.
    #[must_use]
    pub fn dates_per_object(&self) -> usize {
        self.dates_per_object
    }

    /// The spectral basis of a store of components.
    #[must_use]
    pub fn basis(&self) -> Option<&SpectralBasis> {
        self.basis.as_ref()
    }

    /// Means and standard deviations of some bands (positions among [`bands`](RasterSource::bands)) on a date, each
    /// of **shape** (band, y, x), in u.
    ///
    /// # Errors
    /// [`Error::Read`] when the series does not hold the date, band or region, or when the store is damaged.
    pub fn values(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<(Array3<f64>, Array3<f64>)> {
        let time = check_request(self, date, bands, region)?;
        let layers = |array: &PackedArray| self.layers(array, date, time, region);
        let (mean, uncertainty) = (layers(&self.mean)?, layers(&self.uncertainty)?);
        let Some(basis) = &self.basis else {
            let pick = |layers: &Array3<f64>| layers.select(ndarray::Axis(0), bands);
            return Ok((pick(&mean), pick(&uncertainty)));
        };
        let (rows, cols) = region.shape();
        let mut values = Array3::zeros((bands.len(), rows, cols));
        let mut sd = values.clone();
        let (mut x, mut cov) = (Vec::new(), Vec::new());
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            x.clear();
            x.extend(mean.slice(s![.., row, col]));
            cov.clear();
            cov.extend(uncertainty.slice(s![.., row, col]));
            for (layer, &band) in bands.iter().enumerate() {
                (values[(layer, row, col)], sd[(layer, row, col)]) = basis.band(band, &x, &cov);
            }
        }
        Ok((values, sd))
    }

    /// Means and covariances of the components on a date, **shape** (component, y, x) and (pair, y, x), the lower
    /// triangle row by row. For a store of bands: their means and standard deviations.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub fn components(&self, date: Date, region: &PixelRegion) -> Result<(Array3<f64>, Array3<f64>)> {
        let time = check_request(self, date, &[], region)?;
        Ok((self.layers(&self.mean, date, time, region)?, self.layers(&self.uncertainty, date, time, region)?))
    }

    /// All layers of an array. A chunk that is missing though it was written, as in a copy that was made while the series
    /// grew, would be read as one without values.
    fn layers(&self, array: &PackedArray, date: Date, time: usize, region: &PixelRegion) -> Result<Array3<f64>> {
        let range = |range: &std::ops::Range<usize>| range.start as u64..range.end as u64;
        let name = array.array().path().as_str().trim_start_matches('/');
        let failed = |problem: String| Error::Read {
            origin: self.path.display().to_string(),
            date,
            band: name.into(),
            rows: region.rows.clone(),
            cols: region.cols.clone(),
            problem,
            source: None,
        };
        let at = time as u64;
        let subset = [at..at + 1, 0..array.array().shape()[1], range(&region.rows), range(&region.cols)];
        let values = array.read(&ArraySubset::new_with_ranges(&subset)).map_err(failed)?;
        let values = values.slice_move(s![0, .., .., ..]);
        let (height, width) = (self.tile.0.max(1), self.tile.1.max(1));
        let (top, left) = (region.rows.start, region.cols.start);
        for PixelRegion { rows, cols } in region.parts((height, width)) {
            let (row, col) = (rows.start / height, cols.start / width);
            let own = values.slice(s![.., rows.start - top..rows.end - top, cols.start - left..cols.end - left]);
            let nothing = own.iter().all(|value| value.is_nan());
            if let Some(records) = self.records.as_ref().filter(|_| nothing) {
                let lost = records.loss(name, (row, col), time);
                let lost =
                    lost.map_err(|error| failed(format!("cannot tell whether its chunk is missing: {error}")))?;
                if let Some(problem) = lost {
                    return Err(failed(format!(
                        "the chunk of tile [{row}, {col}] {problem}; `rasterfuse verify` finds all that are, and says what mends them"
                    )));
                }
            }
        }
        Ok(values)
    }
}

/// A store that is being opened.
pub(super) struct Opening<'a> {
    pub(super) path: &'a Path,
    pub(super) store: Arc<ReadStore>,
}

impl Opening<'_> {
    pub(super) fn failed(&self, name: &str, error: impl Into<BoxedError>) -> Error {
        refuse(self.path, format!("array {name}: {}", error.into()))
    }

    pub(super) fn array(&self, name: &str) -> Result<Array<ReadStore>> {
        bound_codecs();
        Array::open(Arc::clone(&self.store), &format!("/{name}")).map_err(|error| self.failed(name, error))
    }

    /// An array whose chunks may share objects, and how many dates do: as one whose chunks have keys of their own, because
    /// zarrs does not compare the checksums of parts of an object.
    fn chunks(&self, name: &str) -> Result<(Array<ReadStore>, usize)> {
        let array = self.array(name)?;
        let mut document = serde_json::to_value(array.metadata()).map_err(|error| self.failed(name, error))?;
        let Some((dates, codecs)) = shards(&document) else { return Ok((array, 1)) };
        document["codecs"] = codecs;
        document["chunk_grid"]["configuration"]["chunk_shape"][0] = 1.into();
        let metadata: ArrayMetadata = serde_json::from_value(document).map_err(|error| self.failed(name, error))?;
        let store = Arc::new(self.store.sharded(dates));
        let array = Array::new_with_metadata(store, &format!("/{name}"), metadata);
        Ok((array.map_err(|error| self.failed(name, error))?, dates))
    }

    pub(super) fn read_all<T: zarrs::array::ElementOwned, D: Dimension>(
        &self,
        name: &str,
    ) -> Result<ndarray::Array<T, D>> {
        let array = self.array(name)?;
        if array.shape().iter().copied().fold(1, u64::saturating_mul) > MOST_NUMBERS {
            let problem =
                format!("array {name} of shape {:?} is larger than any series has; copy it again", array.shape());
            return Err(refuse(self.path, problem));
        }
        let values: ArrayD<T> =
            array.retrieve_array_subset(&array.subset_all()).map_err(|error| self.failed(name, error))?;
        values.into_dimensionality().map_err(|error| self.failed(name, error))
    }

    /// The grid that `spatial_ref` describes.
    pub(super) fn grid(&self, mean: &Array<ReadStore>) -> Result<Grid> {
        let mapping = self.array("spatial_ref")?;
        let text = |key: &str| mapping.attributes().get(key).and_then(Value::as_str);
        let numbers = text("GeoTransform").unwrap_or_default().split_whitespace().map(str::parse::<f64>);
        let numbers: Vec<f64> = numbers.collect::<std::result::Result<_, _>>().unwrap_or_default();
        let geotransform = <[f64; 6]>::try_from(numbers)
            .map_err(|_| refuse(self.path, "spatial_ref has no GeoTransform of six numbers".into()))?;
        let crs = text("crs_wkt").map_or_else(Crs::unknown, Crs::from_wkt);
        let crs = match mean.attributes().get("proj:code").and_then(Value::as_str) {
            Some(code) => crs.with_code(code),
            None => crs,
        };
        match mean.shape() {
            &[_, _, rows, cols] => Grid::new(crs, geotransform, (rows as usize, cols as usize)),
            _ => Err(refuse(self.path, "its array mean does not have four dimensions".into())),
        }
    }
}

/// The dates of a shard, and the codecs of its chunks, each of one date; `None` of an array without such shards.
fn shards(document: &Value) -> Option<(usize, Value)> {
    let codec = document.pointer("/codecs/0")?;
    let shape = document.pointer("/chunk_grid/configuration/chunk_shape")?.as_array()?;
    let inner = codec.pointer("/configuration/chunk_shape")?.as_array()?;
    let at_end = codec.pointer("/configuration/index_location").is_none_or(|location| location == "end");
    let by_date = codec["name"] == "sharding_indexed" && inner.first()? == 1 && inner[1..] == shape[1..];
    let dates = shape.first()?.as_u64().filter(|dates| *dates > 1 && at_end && by_date)?;
    Some((dates as usize, codec.pointer("/configuration/codecs")?.clone()))
}

pub(super) fn refuse(path: &Path, problem: String) -> Error {
    Error::OpenStore { path: path.to_path_buf(), problem }
}

/// Attributes of the group, of either version of the format; none of a folder without them.
pub(super) fn attributes_of((path, folder): (&Path, &dyn Folder)) -> Result<Value> {
    let consolidated = group_attributes(folder).map_err(|problem| refuse(path, problem))?;
    let own = || serde_json::from_slice(&folder.read(".zattrs").ok()??).ok();
    Ok(consolidated.or_else(own).unwrap_or_default())
}

impl RasterSource for FusedSeries {
    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dates(&self) -> &[Date] {
        &self.dates
    }

    fn bands(&self) -> &[String] {
        &self.bands
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        let (values, sd) = self.values(date, bands, region)?;
        let mut slice = Slice::new(date, region.clone(), values);
        slice.noise_variance = Some(sd.mapv(|sd| sd * sd));
        Ok(slice)
    }

    fn knows_noise(&self) -> bool {
        true
    }

    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        Some(self.tile)
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        // Each reader decodes one chunk of either array at a time.
        let layer = |array: &PackedArray| array.array().shape()[1] * array.bytes() as u64;
        readers as u64 * (layer(&self.mean) + layer(&self.uncertainty)) * (self.tile.0 * self.tile.1) as u64
    }
}
