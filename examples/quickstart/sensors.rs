//! Two sensors that look at the scene, and the GeoTIFFs they leave.

use std::error::Error;
use std::fs;
use std::path::Path;

use gdal::raster::{Buffer, GdalType};
use gdal::spatial_ref::SpatialRef;
use gdal::{Dataset, DriverManager, Metadata};
use ndarray::{Array4, ArrayView2, ArrayView3, Axis, s};
use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::StandardNormal;
use rasterfuse::geometry::{Date, Grid};

use crate::scene::{BANDS, Scene};

/// Noise variance of each band of the fine and of the coarse sensor, in reflectance².
pub(crate) const LANDSAT_NOISE: [f64; 2] = [9e-6, 2.5e-5];
pub(crate) const MODIS_NOISE: [f64; 2] = [1.6e-5, 6.4e-5];

/// Days between two passes of the fine sensor; the coarse one passes daily.
const LANDSAT_PERIOD: usize = 8;
const MODIS_SIZE: f64 = 240.0;
const MODIS_PIXELS: usize = 14;
/// From the target's corner to the coarse grid's: west and north, and no multiple of the cell size.
const MODIS_OFFSET: (f64, f64) = (-205.0, 160.0);

/// What an int16 file stores: reflectance × 10⁴, and where there is none.
const SCALE: f64 = 1e-4;
const NODATA: i16 = -32_768;

/// All a sensor has seen.
#[derive(Debug)]
pub(crate) struct Acquisitions {
    pub(crate) grid: Grid,
    pub(crate) dates: Vec<Date>,
    /// Reflectance, NaN under clouds. **Shape** (time, band, y, x).
    pub(crate) values: Array4<f64>,
}

/// The fine sensor: a cell a pixel, every eighth day.
pub(crate) fn landsat(scene: &Scene, rng: &mut StdRng) -> Acquisitions {
    let days: Vec<usize> = (0..scene.dates.len()).step_by(LANDSAT_PERIOD).collect();
    look(scene, scene.target.clone(), &days, LANDSAT_NOISE, rng)
}

/// The coarse sensor: every day, on a grid of its own.
pub(crate) fn modis(scene: &Scene, rng: &mut StdRng) -> rasterfuse::Result<Acquisitions> {
    let extent = scene.target.extent();
    let (left, top) = (extent.left + MODIS_OFFSET.0, extent.top + MODIS_OFFSET.1);
    let geotransform = [left, MODIS_SIZE, 0.0, top, 0.0, -MODIS_SIZE];
    let grid = Grid::new(scene.target.crs().clone(), geotransform, (MODIS_PIXELS, MODIS_PIXELS))?;
    let days: Vec<usize> = (0..scene.dates.len()).collect();
    Ok(look(scene, grid, &days, MODIS_NOISE, rng))
}

/// Each pixel averages the cells whose centres lie in it, and adds noise; it is lost when clouds hide half of them.
fn look(scene: &Scene, grid: Grid, days: &[usize], noise: [f64; 2], rng: &mut StdRng) -> Acquisitions {
    let (rows, cols) = (scene.lattice.rows_under(&grid), scene.lattice.cols_under(&grid));
    let shape = (days.len(), BANDS.len(), grid.rows(), grid.cols());
    let values = Array4::from_shape_fn(shape, |(time, band, row, col)| {
        let (y, x) = (&rows[row], &cols[col]);
        let (y, x) = (y.start as usize..y.end as usize, x.start as usize..x.end as usize);
        let cells = scene.reflectance.slice(s![days[time], band, y.clone(), x.clone()]);
        let hidden = scene.clouds.slice(s![days[time], y, x]).iter().filter(|cloud| **cloud).count();
        let error: f64 = rng.sample(StandardNormal);
        if 2 * hidden < cells.len() { cells.mean().unwrap_or(f64::NAN) + noise[band].sqrt() * error } else { f64::NAN }
    });
    Acquisitions { grid, dates: days.iter().map(|&day| scene.dates[day]).collect(), values }
}

impl Acquisitions {
    /// The image of a date, if there is one. **Shape** (band, y, x).
    pub(crate) fn on(&self, date: Date) -> Option<ArrayView3<'_, f64>> {
        let index = self.dates.binary_search(&date).ok()?;
        Some(self.values.index_axis(Axis(0), index))
    }

    /// One int16 GeoTIFF per date, with scale and nodata as products are delivered: `folder/name_20240501.tif`.
    pub(crate) fn write_int16(&self, folder: &Path, name: &str) -> Result<(), Box<dyn Error>> {
        let stored = |value: f64| if value.is_nan() { NODATA } else { (value / SCALE).round() as i16 };
        self.write(folder, name, stored, NODATA.into(), SCALE)
    }

    /// One float32 GeoTIFF per date, NaN where missing.
    pub(crate) fn write_float32(&self, folder: &Path, name: &str) -> Result<(), Box<dyn Error>> {
        self.write(folder, name, |value| value as f32, f64::NAN, 1.0)
    }

    fn write<T: Copy + GdalType>(
        &self,
        folder: &Path,
        name: &str,
        stored: impl Fn(f64) -> T,
        nodata: f64,
        scale: f64,
    ) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(folder)?;
        for (date, image) in self.dates.iter().zip(self.values.outer_iter()) {
            let path = folder.join(format!("{name}_{}.tif", date.to_string().replace('-', "")));
            let file = create::<T>(&path, &self.grid)?;
            for (index, (name, values)) in BANDS.iter().zip(image.outer_iter()).enumerate() {
                let mut band = file.rasterband(index + 1)?;
                band.set_description(name)?;
                band.set_no_data_value(Some(nodata))?;
                band.set_scale(scale)?;
                let (rows, cols) = values.dim();
                band.write((0, 0), (cols, rows), &mut buffer(values, &stored))?;
            }
            file.close()?;
        }
        Ok(())
    }
}

/// A new GeoTIFF on the grid.
fn create<T: GdalType>(path: &Path, grid: &Grid) -> Result<Dataset, Box<dyn Error>> {
    let driver = DriverManager::get_driver_by_name("GTiff")?;
    let mut file = driver.create_with_band_type::<T, _>(path, grid.cols(), grid.rows(), BANDS.len())?;
    file.set_geo_transform(&grid.geotransform())?;
    file.set_spatial_ref(&SpatialRef::from_wkt(grid.crs().wkt())?)?;
    Ok(file)
}

fn buffer<T: Copy + GdalType>(values: ArrayView2<'_, f64>, stored: impl Fn(f64) -> T) -> Buffer<T> {
    let (rows, cols) = values.dim();
    Buffer::new((cols, rows), values.iter().map(|value| stored(*value)).collect())
}
