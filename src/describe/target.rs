//! Where and when: the grid of the result, its bands, the days of the series, the windows.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::OutputDates;
use crate::geometry::{Date, Grid};

/// The grid of the result and its bands: the table `[target]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Target {
    /// The grid, once it is opened.
    #[serde(skip)]
    pub grid: Option<Grid>,
    /// A raster whose grid is the target's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<PathBuf>,
    /// Coordinate reference system of the grid that follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crs: Option<String>,
    /// `[x0, dx, 0, y0, 0, dy]`, from the upper-left corner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geotransform: Option<[f64; 6]>,
    /// `[rows, columns]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<[usize; 2]>,
    /// `[left, bottom, right, top]`: with `resolution` and `crs` the area that cells cover, with `like` the part of that
    /// raster's grid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bbox: Option<[f64; 4]>,
    /// Size of a cell in units of `crs`, with `bbox`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<f64>,
    /// A vector file whose envelope is the part of the grid of `like`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<PathBuf>,
    /// Names of the output bands. Default: those that all instruments observe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bands: Option<Vec<String>>,
    /// Wavelengths of a spectral basis, in nm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wavelengths_nm: Option<Vec<f64>>,
    /// Unit of the bands.
    #[serde(default = "dimensionless")]
    pub unit: String,
}

fn dimensionless() -> String {
    "1".into()
}

impl Target {
    /// A grid whose bands are those that all instruments observe.
    #[must_use]
    pub fn new(grid: Grid) -> Self {
        Self {
            grid: Some(grid),
            like: None,
            crs: None,
            geotransform: None,
            shape: None,
            bbox: None,
            resolution: None,
            crop: None,
            bands: None,
            wavelengths_nm: None,
            unit: dimensionless(),
        }
    }
}

/// The days of the series: the table `[time]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Time {
    /// First day. Default: the first that the instruments hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Date>,
    /// Last day, included. Default: the last that the instruments hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Date>,
    /// Dates that are output.
    pub output: OutputDates,
    /// First day of a series that is to be appended to: the start, where none is given and no file is earlier.
    #[serde(skip)]
    pub began: Option<Date>,
    /// Dates of a series that is to be appended to. They belong to it whether files of them are still there or not.
    #[serde(skip)]
    pub held: Vec<Date>,
}

/// The windows that cells are estimated in: the table `[window]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Window {
    /// Core cells per side.
    pub size: usize,
    /// Context cells around them.
    pub halo: usize,
    /// Single cells around the window, for long-range correlation.
    pub far_samples: usize,
    /// Distance within which they lie, in CRS units.
    pub far_radius: f64,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: 4, halo: 4, far_samples: 0, far_radius: 0.0 }
    }
}
