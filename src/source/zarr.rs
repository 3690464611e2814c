//! Zarr cubes with axes for time, band, y and x in any order, read through zarrs.

mod axes;
mod bounded;
mod chunks;
mod elements;
mod folder;
mod georeference;
mod open;
mod variable;

use std::ops::Range;
use std::path::Path;

use ndarray::Array3;

pub use axes::DimensionNames;
pub(crate) use bounded::bound_codecs;
use chunks::ChunkCache;
use elements::Elements;
pub use open::CubeBuilder;
use variable::Variable;

use super::cf::Acquisitions;
use super::{Calibration, Losses, RasterSource, Remote, Slice, check_request};
use crate::error::{BoxedError, Error, Result};
use crate::geometry::{Date, Grid, PixelRegion};
use crate::storage::Place;

/// A group of a Zarr store (v2 or v3), in a folder or on a server: one variable with a band axis, or one variable for
/// each band.
///
/// Opening reads metadata and coordinates. Reading decodes only the chunks that meet the region. Chunks that hold
/// many dates are cached, so that the dates of a tile share them ([`CubeBuilder::cache_bytes`]).
///
/// ```no_run
/// use rasterfuse::source::{RasterSource, ZarrCube};
/// let cube = ZarrCube::builder("sentinel2.zarr").variables(["red", "nir"]).open()?;
/// println!("{} dates of {:?} on {}", cube.dates().len(), cube.bands(), cube.grid());
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Debug)]
pub struct ZarrCube {
    place: Place,
    remote: Remote,
    grid: Grid,
    acquisitions: Acquisitions,
    bands: Vec<String>,
    variables: Vec<Variable>,
    /// Whether (y, x) are stored against the order of raster pixels: y coordinates that increase, x coordinates that
    /// decrease.
    flipped: (bool, bool),
    calibration: Calibration,
    cache: ChunkCache,
}

/// Copies of decoded and encoded chunks that a reader holds while it decodes one chunk.
const COPIES: u64 = 3;

impl ZarrCube {
    /// A cube in the group at a place: a folder, or a URL (`s3://`, `gs://`, `az://`, `https://` with the feature
    /// `object-store`).
    #[must_use]
    pub fn builder(place: impl Into<Place>) -> CubeBuilder {
        CubeBuilder::new(place.into())
    }

    /// The place of the store, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.name()
    }

    /// The variable of a band, and the position of the band along the band axis, if there is one.
    fn variable_of(&self, band: usize) -> (usize, Option<usize>) {
        match &self.variables[..] {
            [only] if only.axes.band.is_some() => (0, Some(band)),
            _ => (band, None),
        }
    }

    /// Stored rows and columns of a region.
    fn stored(&self, region: &PixelRegion) -> (Range<usize>, Range<usize>) {
        let flip = |range: &Range<usize>, length: usize, flipped: bool| {
            if flipped { length - range.end..length - range.start } else { range.clone() }
        };
        let (rows, cols) = self.grid.shape();
        (flip(&region.rows, rows, self.flipped.0), flip(&region.cols, cols, self.flipped.1))
    }

    /// Reads the `wanted` bands of one variable at one position in time. Each entry is (number of the plane in
    /// `planes`, position along the band axis).
    fn read_variable(
        &self,
        index: usize,
        time: u64,
        wanted: &[(usize, usize)],
        region: &PixelRegion,
        planes: &mut [f64],
    ) -> Result<(), zarrs::array::ArrayError> {
        let variable = &self.variables[index];
        let (axes, size) = (variable.axes, &variable.chunk);
        let (rows, cols) = self.stored(region);
        let chunks = |range: &Range<usize>, axis: usize| {
            range.start as u64 / size[axis]..(range.end as u64).div_ceil(size[axis])
        };
        let band_chunk = |band: usize| axes.band.map_or(0, |axis| band as u64 / size[axis]);
        let mut band_chunks: Vec<u64> = wanted.iter().map(|&(_, band)| band_chunk(band)).collect();
        band_chunks.sort_unstable();
        band_chunks.dedup();
        let mut chunk = vec![0; size.len()];
        chunk[axes.time] = time / size[axes.time];
        for held_bands in band_chunks {
            if let Some(axis) = axes.band {
                chunk[axis] = held_bands;
            }
            for (y, x) in chunks(&rows, axes.y).flat_map(|y| chunks(&cols, axes.x).map(move |x| (y, x))) {
                (chunk[axes.y], chunk[axes.x]) = (y, x);
                let part = variable.part(&chunk);
                let elements = self.cache.get((index, chunk.clone()), || variable.decode(&part))?;
                let held = DecodedChunk { elements: &elements, ranges: part.to_ranges() };
                for &(plane, band) in wanted.iter().filter(|(_, band)| band_chunk(*band) == held_bands) {
                    let out = &mut planes[plane * region.len()..(plane + 1) * region.len()];
                    held.copy_to(&axes, time, band, (&rows, &cols), out);
                }
            }
        }
        Ok(())
    }
}

/// A decoded chunk and its position in the array.
struct DecodedChunk<'a> {
    elements: &'a Elements,
    ranges: Vec<Range<u64>>,
}

impl DecodedChunk<'_> {
    /// Copies the values of one date and band into a plane of the stored `rows` and `cols`.
    fn copy_to(
        &self,
        axes: &axes::CubeAxes,
        time: u64,
        band: usize,
        (rows, cols): (&Range<usize>, &Range<usize>),
        out: &mut [f64],
    ) {
        let mut strides = vec![1; self.ranges.len()];
        for axis in (1..strides.len()).rev() {
            strides[axis - 1] = strides[axis] * (self.ranges[axis].end - self.ranges[axis].start) as usize;
        }
        let from = |axis: usize, position: usize| (position - self.ranges[axis].start as usize) * strides[axis];
        let both = |axis: usize, range: &Range<usize>| {
            range.start.max(self.ranges[axis].start as usize)..range.end.min(self.ranges[axis].end as usize)
        };
        let first = from(axes.time, time as usize) + axes.band.map_or(0, |axis| from(axis, band));
        let across = both(axes.x, cols);
        for row in both(axes.y, rows) {
            let line = (row - rows.start) * cols.len();
            let line = &mut out[line + across.start - cols.start..line + across.end - cols.start];
            self.elements.copy(first + from(axes.y, row) + from(axes.x, across.start), strides[axes.x], line);
        }
    }
}

/// Reverses the rows, the columns or both of a plane with `cols` values per row.
fn flip(plane: &mut [f64], cols: usize, (rows_flipped, cols_flipped): (bool, bool)) {
    if rows_flipped {
        plane.reverse();
    }
    // The full reversal has reversed the rows as well.
    if rows_flipped != cols_flipped {
        plane.chunks_mut(cols).for_each(<[f64]>::reverse);
    }
}

impl RasterSource for ZarrCube {
    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dates(&self) -> &[Date] {
        &self.acquisitions.dates
    }

    fn bands(&self) -> &[String] {
        &self.bands
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        self.read_by(&self.calibration, date, bands, region)
    }

    fn losses(&self, date: Date, band: usize, region: &PixelRegion) -> Result<Losses> {
        Losses::of_range(&self.calibration, |calibration| Ok(self.read_by(calibration, date, &[band], region)?.values))
    }

    fn warnings(&self) -> Vec<String> {
        let odd = |variable: &Variable| {
            let (low, high) = variable.odd_range()?;
            let (held, of) = if variable.is_float() {
                ("floats without a scale", "packed integers")
            } else {
                ("packed integers", "values")
            };
            Some(format!(
                "variable {:?} holds {held}, and its attribute valid_range, [{low}, {high}], looks like that of {of}: stored numbers \
                 outside are missing; remove the attribute where it does not fit",
                variable.name
            ))
        };
        self.variables.iter().filter_map(odd).collect()
    }

    fn origin(&self) -> String {
        let names: Vec<_> = self.variables.iter().map(|variable| variable.name.as_str()).collect();
        format!("{}: {}", self.place.name().display(), names.join(", "))
    }

    fn settings(&self) -> Vec<(String, String)> {
        let names: Vec<_> = self.variables.iter().map(|variable| &variable.name).collect();
        let mut settings = vec![("variables".into(), format!("{names:?}"))];
        settings.extend(self.calibration.settings());
        settings
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        let lengths = |axis: fn(&axes::CubeAxes) -> usize| {
            self.variables.iter().map(|variable| variable.chunk[axis(&variable.axes)] as usize).max()
        };
        lengths(|axes| axes.y).zip(lengths(|axes| axes.x))
    }

    fn reads_in_flight(&self) -> Option<usize> {
        self.place.is_remote().then(|| self.remote.reads_in_flight())
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        let largest = self.variables.iter().map(Variable::chunk_bytes).max().unwrap_or(0);
        largest.saturating_mul(self.cache.capacity() as u64 + COPIES * readers as u64)
    }
}

impl ZarrCube {
    fn read_by(&self, calibration: &Calibration, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        let time = u64::from(self.acquisitions.positions[check_request(self, date, bands, region)?]);
        let (rows, cols) = region.shape();
        let failed = |variable: &Variable, band: usize, error: BoxedError| Error::Read {
            origin: format!("{}: {}", self.place.name().display(), variable.name),
            date,
            band: self.bands[band].clone(),
            rows: region.rows.clone(),
            cols: region.cols.clone(),
            problem: match error.downcast_ref::<zarrs::array::ArrayError>() {
                // What a server or a disk said.
                Some(zarrs::array::ArrayError::StorageError(_)) => error.to_string(),
                _ => format!("{error}; a chunk may be damaged: write the store again, or leave the date out"),
            },
            source: Some(error),
        };
        let mut planes = vec![0.0; bands.len() * region.len()];
        for (index, variable) in self.variables.iter().enumerate() {
            let of_it = |(plane, &band): (usize, &usize)| {
                let (variable, position) = self.variable_of(band);
                (variable == index).then_some((plane, position.unwrap_or(0)))
            };
            let wanted: Vec<_> = bands.iter().enumerate().filter_map(of_it).collect();
            let Some(&(first, _)) = wanted.first().filter(|_| !region.is_empty()) else { continue };
            self.read_variable(index, time, &wanted, region, &mut planes)
                .map_err(|error| failed(variable, bands[first], Box::new(error)))?;
            for (plane, _) in wanted {
                let plane = &mut planes[plane * region.len()..(plane + 1) * region.len()];
                variable.packing.hide(variable.integer_bits(), plane);
                if let Some(largest) = variable.largest().filter(|_| calibration.valid_range.is_none())
                    && let Some(stored) = plane.iter().find(|stored| stored.is_finite() && stored.abs() > largest)
                {
                    let problem = format!(
                        "it holds {stored:e}, which can be no value and nothing declares missing: give it as `nodata`"
                    );
                    return Err(failed(variable, bands[first], problem.into()));
                }
                calibration.apply(variable.packing.scale, variable.packing.offset, plane);
                flip(plane, cols, self.flipped);
            }
        }
        let values = Array3::from_shape_vec((bands.len(), rows, cols), planes)
            .map_err(|error| failed(&self.variables[0], 0, Box::new(error)))?;
        Ok(Slice::new(date, region.clone(), values))
    }
}
