//! What is made of a description that leaves more to be chosen than numbers: offsets where a bias is asked for, the mean of the year,
//! and a reference image by which cells are alike.

use toml_edit::{Array, InlineTable, Item, Value};

use super::Free;
use super::fill::written;
use super::structure::{FreeTable, free_tables, prior_is_numbers};
use crate::config::FusionConfig;
use crate::config::build::Inputs;
use crate::config::seasonal::has_cells;
use crate::config::source::Opened;
use crate::error::{Error, Result};
use crate::estimate::Estimation;
use crate::geometry::{Date, Grid, PixelRegion};
use crate::seasonal::SeasonalMean;
use crate::sink::SeasonalStore;
use crate::source::{Calibration, RasterSource, RasterStack};

/// Far samples of windows that the description does not describe, and cells within which they lie: gaps of some ten cells are then
/// filled from around them.
const FAR_SAMPLES: i64 = 80;
const FAR_CELLS: f64 = 35.0;

/// Days of cell-sized observations from which on a mean of the year is fitted.
const YEARS_DAYS: i32 = 550;

/// Dates that a curve of five numbers for each cell should have, clouds being what they are.
const YEARS_DATES: usize = 12;

/// Pixels a side of what is looked at of a reference image for its spread.
const MIDDLE: usize = 512;

/// Standard deviations of a reference image's bands over which the likeness of cells falls to 1/e.
const ALIKE: f64 = 4.0;

impl Free {
    /// Whether nothing is said of the prior but that it is to be estimated.
    pub(super) fn prior_is_free(&self) -> bool {
        free_tables(&self.document).contains(&FreeTable::Prior) || prior_is_numbers(&self.document)
    }

    /// Whether the process is to be chosen.
    pub(super) fn chooses_structure(&self) -> bool {
        free_tables(&self.document).contains(&FreeTable::Process)
    }

    /// Whether the process may be about a mean of the year: not where the prior is given, which would be one of anomalies then.
    pub(super) fn wants_seasonal_mean(&self) -> bool {
        !self.document.contains_key("seasonal") && self.chooses_structure() && self.prior_is_free()
    }
}

impl FusionConfig {
    /// Whether an instrument whose pixels are cells has seen more than one and a half years, often enough for a curve.
    pub(super) fn span_years(&self, inputs: &Inputs) -> Result<bool> {
        for (described, opened) in self.document.instrument.iter().zip(&inputs.instruments) {
            let dates = opened.source.dates();
            let ends = dates.first().zip(dates.last());
            let long = dates.len() >= YEARS_DATES && ends.is_some_and(|(a, b)| b.days_since(*a) > YEARS_DAYS);
            if long && has_cells(&self.instrument(described, &inputs.target, opened)?, &inputs.target) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an instrument, by its position, sees something else than cells: by its footprint or, where that is not written, by
    /// the grid its pixels come in.
    pub(super) fn is_coarse(&self, index: usize, opened: &Opened, target: &Grid) -> bool {
        let described = self.document.instrument.get(index);
        let built = described.and_then(|described| self.instrument(described, target, opened).ok());
        built.is_some_and(|instrument| !has_cells(&instrument, target))
    }

    /// The description with a seasonal mean, which is fitted and stored beside it; `None` where what is seen does not tell one.
    pub(super) fn with_seasonal_mean(&self, free: &Free) -> Result<Option<Self>> {
        let stem = free.path.file_stem().map_or_else(|| "fusion".into(), |stem| stem.to_string_lossy());
        let mut name = format!("{stem}.seasonal.zarr");
        // One that is there may be that of a series which is to go on.
        let mut count = 1;
        while self.folder.join(&name).exists() {
            count += 1;
            name = format!("{stem}.seasonal-{count}.zarr");
        }
        tracing::info!("fitting a seasonal mean, {name}");
        let fit = match self.seasonal_fit(&SeasonalMean::builder(), &[]) {
            Err(error @ Error::Setting { .. }) => {
                tracing::warn!("no seasonal mean is fitted: {error}");
                return Ok(None);
            }
            fit => fit?,
        };
        SeasonalStore::create(self.folder.join(&name)).write(&fit)?;
        tracing::warn!(
            "mean and numbers are fitted to the same values: where cells have few dates, intervals come out too narrow, which \
             withholding values afterwards does not show"
        );
        let mut document = free.document.clone();
        let mut table = toml_edit::Table::new();
        table.insert("mean", toml_edit::value(name));
        document.insert("seasonal", Item::Table(table));
        Self::of(&document.to_string(), self.folder.clone(), free.path.clone())
            .map(Some)
            .map_err(|error| Error::ConfigFile { path: free.path.clone(), problem: error.to_string() })
    }

    /// Standard deviations of the features that the description takes from a raster, where their scale is free.
    pub(super) fn spread_of_features(&self) -> Result<Option<Vec<f64>>> {
        let described = self.document.process.features.as_ref().filter(|_| self.free_scale_of_features());
        let Some(raster) = described.and_then(|features| features.raster.as_ref()) else { return Ok(None) };
        let held = self.undated("process.features.raster", raster)?;
        let bands = described.and_then(|features| features.bands.clone());
        let bands = bands.unwrap_or_else(|| (0..held.bands().len()).collect());
        Ok(Some(spread(&held, &bands)?))
    }

    fn free_scale_of_features(&self) -> bool {
        let free = self.free.as_ref().map(|free| super::slots::find(&free.document)).unwrap_or_default();
        free.iter().any(|slot| slot.keys() == ["process", "features", "scale"])
    }

    /// A table of features: the image of a cell-sized instrument with most values of the sample, if it has a file to itself.
    pub(super) fn reference(&self, inputs: &Inputs, estimation: &Estimation) -> Result<Option<InlineTable>> {
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
                let relative = path.strip_prefix(&self.folder).unwrap_or(&path);
                let raster = relative.to_string_lossy().into_owned();
                let bands: Array = bands.iter().map(|&band| band as i64).collect();
                let scale: Array =
                    scale.iter().map(|sd| ALIKE * sd).map(|scale| written(scale, &format!("{scale:.3e}"))).collect();
                let features: [(&str, Value); 3] =
                    [("raster", raster.into()), ("bands", bands.into()), ("scale", scale.into())];
                return Ok(Some(features.into_iter().collect()));
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
