//! Whether the axes of a NetCDF raster are evenly spaced: GDAL also takes those for a grid that are nearly so, and places
//! their pixels wrongly.

use std::path::{Path, PathBuf};

use ::gdal::{Dataset, Metadata};

use super::name::container;
use super::{Drivers, open};
use crate::error::{Error, Result};
use crate::geometry::Date;

/// Largest distance of a coordinate from its place on an even axis, in pixels. Coordinates in float32 are rounded.
const TOLERANCE: f64 = 0.1;

/// Refuses a NetCDF raster whose rows or columns are not evenly spaced.
pub(super) fn refuse_uneven(path: &Path, dataset: &Dataset, date: Option<Date>, drivers: &Drivers) -> Result<()> {
    if dataset.driver().short_name() != "netCDF" {
        return Ok(());
    }
    for axis in axes(dataset) {
        let Some(values) = coordinates((path, &axis), dataset.raster_size(), drivers) else { continue };
        if let Some((at, found, expected)) = uneven(&values) {
            let problem = format!(
                "its axis {axis:?} is not evenly spaced: {found} at position {at}, where even steps lead to {expected}; interpolate it to a \
                 regular grid first, for example with xarray's interp or gdalwarp -geoloc"
            );
            return Err(Error::Open { path: path.to_path_buf(), date, problem, source: None });
        }
    }
    Ok(())
}

/// The names of what may be the coordinates of rows and columns, by their attributes.
fn axes(dataset: &Dataset) -> Vec<String> {
    let entries = dataset.metadata_domain("").unwrap_or_default();
    let axis = |entry: &String| {
        let (key, value) = entry.split_once('=')?;
        let (name, attribute) = key.split_once('#')?;
        let is_axis = match attribute {
            "standard_name" => {
                value.ends_with("latitude") || value.ends_with("longitude") || value.starts_with("projection_")
            }
            "units" => value.starts_with("degree") && (value.ends_with("north") || value.ends_with("east")),
            "axis" => value == "X" || value == "Y",
            _ => false,
        };
        is_axis.then(|| name.to_owned())
    };
    let mut axes: Vec<String> = entries.iter().filter_map(axis).collect();
    axes.sort_unstable();
    axes.dedup();
    axes
}

/// The values of a coordinate along one axis of a raster of (columns, rows); `None` for others.
fn coordinates((path, axis): (&Path, &str), (cols, rows): (usize, usize), drivers: &Drivers) -> Option<Vec<f64>> {
    let name = PathBuf::from(format!("NETCDF:\"{}\":{axis}", container(path).to_str()?));
    let line = open(&name, None, drivers).ok()?;
    let (length, height) = line.raster_size();
    if height != 1 || (length != cols && length != rows) {
        return None;
    }
    let band = line.rasterband(1).ok()?;
    Some(band.read_as::<f64>((0, 0), (length, 1), (length, 1), None).ok()?.data().to_vec())
}

/// The position of the coordinate that is farthest from an even axis, what it is, and what it would be; `None` where none
/// is far.
fn uneven(values: &[f64]) -> Option<(usize, f64, f64)> {
    let (&first, &last) = values.first().zip(values.last())?;
    let step = (last - first) / (values.len().max(2) - 1) as f64;
    let expected = |at: usize| first + at as f64 * step;
    let off = |at: usize| (values[at] - expected(at)).abs();
    let worst = (0..values.len()).max_by(|a, b| off(*a).total_cmp(&off(*b)))?;
    let even = off(worst) <= TOLERANCE * step.abs();
    (!even).then(|| (worst, values[worst], expected(worst)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_even_to_a_tenth_of_a_pixel() {
        let even: Vec<f64> = (0..100).map(|k| 46.5 - 0.25 * f64::from(k)).collect();
        assert_eq!(uneven(&even), None);
        let rounded: Vec<f64> = even.iter().map(|value| f64::from((value + 179.0) as f32)).collect();
        assert_eq!(uneven(&rounded), None);
        let mut moved = even.clone();
        moved[40] += 0.05;
        assert_eq!(uneven(&moved).map(|(at, ..)| at), Some(40));
        let wider: Vec<f64> = (0..100).map(|k| f64::from(k) + 0.001 * f64::from(k * k)).collect();
        assert!(uneven(&wider).is_some());
        assert!(uneven(&[1.0, f64::NAN, 3.0]).is_some());
        assert_eq!((uneven(&[7.0]), uneven(&[])), (None, None));
    }
}
