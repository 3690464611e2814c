//! What is made of a description that leaves more to be chosen than numbers: offsets where a bias is asked for, the mean of the year,
//! and a reference image by which cells are alike.

use toml_edit::{Item, Value};

use super::Free;
use super::structure::{FreeTable, free_tables};
use crate::config::FusionConfig;
use crate::config::build::Inputs;
use crate::error::{Error, Result};
use crate::estimate::Estimation;
use crate::geometry::{Date, PixelRegion};
use crate::model::SeasonalMean;
use crate::sink::SeasonalStore;
use crate::source::{Calibration, RasterSource, RasterStack};

/// Far samples of windows that the description does not describe, and cells within which they lie: gaps of some ten cells are then
/// filled from around them.
const FAR_SAMPLES: i64 = 80;
const FAR_CELLS: f64 = 35.0;

/// Days of cell-sized observations from which on a mean of the year is fitted.
const YEARS_DAYS: i32 = 550;

/// Pixels a side of what is looked at of a reference image for its spread.
const MIDDLE: usize = 512;

/// Standard deviations of a reference image's bands over which the likeness of cells falls to 1/e.
const ALIKE: f64 = 4.0;

impl Free {
    /// Whether the prior's numbers are to be those of the data.
    pub(super) fn prior_is_free(&self) -> bool {
        free_tables(&self.document).contains(&FreeTable::Prior)
    }

    /// Whether the process is to be chosen.
    pub(super) fn chooses_structure(&self) -> bool {
        free_tables(&self.document).contains(&FreeTable::Process)
    }

    /// Whether the process may be about a mean of the year.
    pub(super) fn wants_seasonal_mean(&self) -> bool {
        !self.document.contains_key("seasonal") && self.chooses_structure()
    }
}

impl Inputs {
    /// Whether an instrument whose pixels are cells has seen more than one and a half years.
    pub(super) fn span_years(&self) -> bool {
        self.instruments.iter().any(|opened| {
            let (source, dates) = (opened.source.as_ref(), opened.source.dates());
            let long =
                dates.first().zip(dates.last()).is_some_and(|(first, last)| last.days_since(*first) > YEARS_DAYS);
            long && self.target.lattice_offset(source.grid()).is_some()
        })
    }
}

impl FusionConfig {
    /// The description with a seasonal mean, which is fitted and stored beside it.
    pub(super) fn with_seasonal_mean(&self, free: &Free) -> Result<Self> {
        let stem = free.path.file_stem().map_or_else(|| "fusion".into(), |stem| stem.to_string_lossy());
        let name = format!("{stem}.seasonal.zarr");
        let fit = self.seasonal_fit(&SeasonalMean::builder(), &[])?;
        SeasonalStore::create(self.folder.join(&name)).write(&fit)?;
        let mut document = free.document.clone();
        let mut table = toml_edit::Table::new();
        table.insert("mean", toml_edit::value(name));
        document.insert("seasonal", Item::Table(table));
        Self::of(&document.to_string(), self.folder.clone(), free.path.clone())
            .map_err(|error| Error::ConfigFile { path: free.path.clone(), problem: error.to_string() })
    }

    /// A table of features: the image of a cell-sized instrument with most values of the sample, if it has a file to itself.
    pub(super) fn reference(&self, inputs: &Inputs, estimation: &Estimation) -> Result<Option<String>> {
        let target = &inputs.target;
        for (instrument, opened) in estimation.summary().instruments.iter().zip(&inputs.instruments) {
            let source = opened.source.as_ref();
            if !instrument.sees_cells || source.dates().len() < 2 {
                continue;
            }
            let Some(path) = instrument.fullest.and_then(|date| source.path_of(date)) else { continue };
            // A file of its own that lies on the target: what other layouts hold is for the user to name.
            let files = RasterStack::from_files([(Date::from_days(0), path.clone())], Calibration::default());
            let Ok(held) = files else { continue };
            if held.bands().len() != source.bands().len() || target.lattice_offset(held.grid()).is_none() {
                continue;
            }
            let bands: Vec<usize> = instrument.bands.iter().map(|band| band.source_band).collect();
            let scale = spread(&held, &bands)?;
            if scale.iter().all(|sd| *sd > 0.0 && sd.is_finite()) {
                let scale: Vec<String> = scale.iter().map(|sd| format!("{:.3e}", ALIKE * sd)).collect();
                let relative = path.strip_prefix(&self.folder).unwrap_or(&path);
                let raster = Value::from(relative.to_string_lossy().into_owned());
                return Ok(Some(format!("{{ raster = {raster}, bands = {bands:?}, scale = [{}] }}", scale.join(", "))));
            }
        }
        Ok(None)
    }
}

/// A window for cells of a size.
pub(super) fn window((width, height): (f64, f64)) -> Item {
    let mut table = toml_edit::Table::new();
    table.insert("size", toml_edit::value(8));
    table.insert("halo", toml_edit::value(4));
    table.insert("far_samples", toml_edit::value(FAR_SAMPLES));
    table.insert("far_radius", toml_edit::value(FAR_CELLS * width.max(height)));
    Item::Table(table)
}

/// Standard deviation of each band in the middle of a raster.
fn spread(raster: &RasterStack, bands: &[usize]) -> Result<Vec<f64>> {
    let middle = |cells: usize| {
        let half = cells.min(MIDDLE) / 2;
        cells / 2 - half..(cells / 2 + half.max(1)).min(cells)
    };
    let (rows, cols) = raster.grid().shape();
    let region = PixelRegion::new(middle(rows), middle(cols));
    let values = raster.read(Date::from_days(0), bands, &region)?.values;
    let sd = |plane: ndarray::ArrayView2<'_, f64>| {
        let known: Vec<f64> = plane.iter().copied().filter(|value| value.is_finite()).collect();
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        (known.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / known.len() as f64).sqrt()
    };
    Ok(values.outer_iter().map(sd).collect())
}
