//! What a sample's values are like.

use std::collections::{BTreeMap, HashMap};

use crate::engine::Sample;
use crate::geometry::Date;
use crate::model::{Model, ObservationModel};

/// What a sample's values are like, for where to begin and what to believe weakly.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DataSummary {
    /// By instrument, in the description's order.
    pub instruments: Vec<InstrumentSummary>,
    /// Number of components.
    pub components: usize,
    /// (width, height) of a cell in CRS units.
    pub cell_size: (f64, f64),
}

/// What an instrument's values are like.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InstrumentSummary {
    /// Its name.
    pub name: String,
    /// Whether its pixels are target cells.
    pub observes_cells: bool,
    /// Bands of its source.
    pub source_bands: usize,
    /// By band that it reads.
    pub bands: Vec<BandSummary>,
    /// The date with most values.
    pub fullest: Option<Date>,
    /// Pixels with a value, each counted once for every date.
    pub pixels: usize,
    /// Those with values in all bands that are read.
    pub complete_pixels: usize,
}

/// Share of an instrument's pixels that must be complete for bands to be together: a pixel that lacks one of them is
/// missing in all.
const LEAST_COMPLETE: f64 = 0.8;

impl InstrumentSummary {
    /// Whether pixels often lack a band that others of them have.
    pub(super) fn lacks_bands(&self) -> bool {
        (self.complete_pixels as f64) < LEAST_COMPLETE * self.pixels as f64
    }
}

/// What a band's values are like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BandSummary {
    /// Position among the source's bands.
    pub source_band: usize,
    /// The component that it observes, where it observes one alone.
    pub component: Option<usize>,
    /// Values.
    pub values: usize,
    /// Their mean, in u.
    pub mean: f64,
    /// Their variance, in u².
    pub variance: f64,
    /// Variance of change between two values of a pixel, one after the other, per day: in u² per day, the median of
    /// squared changes scaled as for normal ones, so that clouds matter little. NaN where no pixel has two values.
    pub change: f64,
    /// The same by the mean: where changes are rare and large, as in composites and filled gaps, several times as
    /// much. NaN likewise.
    pub mean_change: f64,
}

/// Median of χ² with one degree of freedom.
const MEDIAN_OF_SQUARES: f64 = 0.454_936;

impl DataSummary {
    pub(super) fn new(sample: &Sample, model: &Model) -> Self {
        let mut bands: HashMap<(usize, usize), Values> = HashMap::new();
        let mut dates: HashMap<usize, BTreeMap<Date, usize>> = HashMap::new();
        // Bands with a value, by instrument; pixels of a block and a date.
        let mut seen: HashMap<usize, Vec<usize>> = HashMap::new();
        for block in sample.blocks() {
            let mut of_block: HashMap<_, usize> = HashMap::new();
            let mut before = HashMap::new();
            for observed in block.observations() {
                let band = bands.entry((observed.instrument, observed.band)).or_default();
                band.add(observed.value);
                *dates.entry(observed.instrument).or_default().entry(observed.date).or_default() += 1;
                *of_block.entry((observed.instrument, observed.pixel, observed.date)).or_default() += 1;
                let pixel = (observed.instrument, observed.band, observed.pixel);
                if let Some((date, value)) = before.insert(pixel, (observed.date, observed.value)) {
                    let days = f64::from(observed.date.days_since(date));
                    band.changes.push((observed.value - value).powi(2) / days);
                }
            }
            of_block.into_iter().for_each(|((instrument, ..), bands)| seen.entry(instrument).or_default().push(bands));
        }
        let mut summarise = |(k, instrument): (usize, &ObservationModel)| {
            let band = |(band, &source_band): (usize, &usize)| {
                let summary = bands.remove(&(k, band)).unwrap_or_default().summary();
                BandSummary { source_band, component: model.component_of(k, band), ..summary }
            };
            let bands = instrument.source_bands.iter().enumerate().map(band).collect();
            let seen = seen.remove(&k).unwrap_or_default();
            // The earliest of the fullest.
            let counts = dates.remove(&k).unwrap_or_default().into_iter().rev();
            InstrumentSummary {
                name: instrument.name.clone(),
                observes_cells: model.observes_cells(k),
                source_bands: instrument.source.bands().len(),
                bands,
                fullest: counts.max_by_key(|(_, count)| *count).map(|(date, _)| date),
                complete_pixels: seen.iter().filter(|bands| **bands == instrument.source_bands.len()).count(),
                pixels: seen.len(),
            }
        };
        Self {
            instruments: model.instruments.iter().enumerate().map(&mut summarise).collect(),
            components: model.spectrum.components(),
            cell_size: model.target.cell_size(),
        }
    }

    /// What is known of a component: by the instrument that observes cells with most values, or else by any.
    #[must_use]
    pub fn component(&self, component: usize) -> Option<&BandSummary> {
        let of = |instrument: &'_ InstrumentSummary| instrument.observes_cells;
        let bands = self
            .instruments
            .iter()
            .flat_map(|instrument| instrument.bands.iter().map(move |band| (of(instrument), band)).collect::<Vec<_>>());
        let showing = bands.filter(|(_, band)| band.component == Some(component) && band.values > 1);
        showing.max_by_key(|(cells, band)| (*cells, band.values)).map(|(_, band)| band)
    }
}

/// Sums of a band's values.
#[derive(Debug, Default)]
struct Values {
    count: usize,
    mean: f64,
    squares: f64,
    changes: Vec<f64>,
}

impl Values {
    /// Welford's update.
    fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    fn summary(mut self) -> BandSummary {
        let middle = self.changes.len() / 2;
        let change = if self.changes.is_empty() {
            f64::NAN
        } else {
            *self.changes.select_nth_unstable_by(middle, f64::total_cmp).1 / MEDIAN_OF_SQUARES
        };
        let mean_change = self.changes.iter().sum::<f64>() / self.changes.len() as f64;
        BandSummary {
            mean_change,
            values: self.count,
            mean: self.mean,
            variance: self.squares / self.count.max(1) as f64,
            change,
            ..BandSummary::default()
        }
    }
}
