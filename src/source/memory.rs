//! [`MemorySource`]: a raster source on arrays in memory.

use ndarray::{Array3, Array4, Axis, s};

use super::{RasterSource, Slice, check_request};
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid, PixelRegion};

/// A source in memory: the reference implementation, and the way to fuse plain arrays.
///
/// ```
/// use ndarray::Array4;
/// use rasterfuse::geometry::{Crs, Date, Grid, PixelRegion};
/// use rasterfuse::source::{MemorySource, RasterSource};
///
/// let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (4, 5))?;
/// let date = Date::from_ymd(2024, 5, 2)?;
/// let source = MemorySource::new(grid, vec![date], vec!["red".into()], Array4::from_elem((1, 1, 4, 5), 0.1))?;
/// let slice = source.read(date, &[0], &PixelRegion::new(1..3, 0..5))?;
/// assert_eq!(slice.values.dim(), (1, 2, 5));
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemorySource {
    grid: Grid,
    dates: Vec<Date>,
    bands: Vec<String>,
    values: Array4<f64>,
    noise_variance: Option<Array4<f64>>,
}

impl MemorySource {
    /// A source over `values` of **shape** (time, band, y, x), NaN or infinite where missing.
    ///
    /// # Errors
    /// [`Error::Setting`] when the shape does not match the dates, bands and grid, or when the dates do not increase.
    pub fn new(grid: Grid, dates: Vec<Date>, bands: Vec<String>, mut values: Array4<f64>) -> Result<Self> {
        let expected = (dates.len(), bands.len(), grid.rows(), grid.cols());
        if values.dim() != expected {
            let found = values.dim();
            return Err(Error::setting(
                "values",
                format!("shape {found:?}, but the dates, bands and grid make (time, band, y, x) = {expected:?}"),
            ));
        }
        if let Some(pair) = dates.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(Error::setting("dates", format!("{} is followed by {}; sort them", pair[0], pair[1])));
        }
        values.mapv_inplace(|v| if v.is_finite() { v } else { f64::NAN });
        Ok(Self { grid, dates, bands, values, noise_variance: None })
    }

    /// Sets the noise variance of every value, in u²; **shape** as the values, NaN where it is unknown.
    ///
    /// # Errors
    /// [`Error::Setting`] when the shape differs from that of the values.
    pub fn with_noise_variance(mut self, noise_variance: Array4<f64>) -> Result<Self> {
        if noise_variance.dim() != self.values.dim() {
            let (found, expected) = (noise_variance.dim(), self.values.dim());
            let problem = format!("shape {found:?}, but the values have {expected:?}");
            return Err(Error::setting("noise_variance", problem));
        }
        self.noise_variance = Some(noise_variance);
        Ok(self)
    }
}

impl RasterSource for MemorySource {
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
        let time = check_request(self, date, bands, region)?;
        let (rows, cols) = region.shape();
        let part = |held: &Array4<f64>| {
            let mut part = Array3::zeros((bands.len(), rows, cols));
            for (mut out, &band) in part.axis_iter_mut(Axis(0)).zip(bands) {
                out.assign(&held.slice(s![time, band, region.rows.clone(), region.cols.clone()]));
            }
            part
        };
        let mut slice = Slice::new(date, region.clone(), part(&self.values));
        slice.noise_variance = self.noise_variance.as_ref().map(part);
        Ok(slice)
    }

    fn knows_noise(&self) -> bool {
        self.noise_variance.is_some()
    }

    fn origin(&self) -> String {
        "arrays in memory".into()
    }
}
