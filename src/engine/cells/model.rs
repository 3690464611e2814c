//! Process and observation models of the cell-by-cell filter.

use crate::describe::Missing;
use crate::filter::{CellPrediction, ScalarBand};
use crate::geometry::PixelRegion;
use crate::model::{Gate, ObservationModel, Part, ProcessModel};

/// Process and observation models of the cell-by-cell filter, for independent cells.
#[derive(Debug)]
pub(in crate::engine) struct CellModel {
    components: Vec<CellProcess>,
    pub(super) instruments: Vec<CellInstrument>,
}

/// The process of a component of a cell.
#[derive(Clone, Copy, Debug)]
struct CellProcess {
    /// φ per day.
    transition: f64,
    /// Process variance of a cell in u² per day.
    variance: f64,
}

/// An instrument whose pixels are cells.
#[derive(Debug)]
pub(super) struct CellInstrument {
    /// Its position among the instruments.
    pub(super) index: usize,
    /// Cell of the target lattice of its first pixel.
    first: (i64, i64),
    pub(super) observed: Vec<ObservedComponent>,
    pub(super) missing: Missing,
    pub(super) gate: Option<Gate>,
}

/// A component that an instrument observes, in one band or several.
#[derive(Debug)]
pub(super) struct ObservedComponent {
    pub(super) component: usize,
    /// Its bands, as positions among the bands read.
    pub(super) rows: Vec<usize>,
    pub(super) bands: Vec<ScalarBand>,
}

impl CellModel {
    /// The model, where process and instruments leave cells and components independent, and no pixel has its own
    /// noise variance.
    pub(in crate::engine) fn new(
        process: &ProcessModel,
        instruments: &[ObservationModel],
        parts: &[Part],
    ) -> Option<Self> {
        let white = process.correlations.iter().all(crate::model::Correlation::is_white);
        let noisy = instruments.iter().any(|instrument| instrument.source.knows_noise());
        // Offsets and earlier averages couple cells, or are states themselves.
        let offsets =
            instruments.iter().any(|instrument| !instrument.offset_layers.is_empty() || instrument.composite.is_some());
        if !white
            || noisy
            || offsets
            || !process.fields.is_empty()
            || process.adaptive.is_some()
            || !process.is_even()
            || process.features.is_some()
            || parts.iter().any(|part| part.components.len() != 1 || part.together.is_some())
        {
            return None;
        }
        let components = process.components.iter().map(|component| CellProcess {
            transition: component.transition,
            variance: component.variance * process.correlations[component.correlation].between_cells((0, 0), (0, 0)),
        });
        let instrument = |(index, instrument): (usize, &ObservationModel)| {
            let observed = parts.iter().filter(|part| !part.bands[index].rows.is_empty()).map(|part| {
                let bands = &part.bands[index];
                let scalar = bands.model.noise_variances().iter().zip(bands.model.offsets());
                Some(ObservedComponent {
                    component: *part.components.first()?,
                    rows: bands.rows.clone(),
                    bands: bands
                        .model
                        .is_plain()
                        .then(|| scalar.map(|(&noise, &bias)| ScalarBand { noise, bias }).collect())?,
                })
            });
            Some(CellInstrument {
                index,
                first: instrument.lattice.first_of_single_cells()?,
                observed: observed.collect::<Option<_>>()?,
                missing: instrument.missing,
                gate: instrument.gate.clone(),
            })
        };
        Some(Self {
            components: components.collect(),
            instruments: instruments.iter().enumerate().map(instrument).collect::<Option<_>>()?,
        })
    }

    /// Number of components.
    pub(super) fn components(&self) -> usize {
        self.components.len()
    }

    /// The prediction of a component over `dt_days`.
    pub(super) fn prediction(&self, component: usize, dt_days: f64) -> CellPrediction {
        let CellProcess { transition, variance } = self.components[component];
        CellPrediction::new(transition, variance, dt_days)
    }
}

impl CellInstrument {
    /// Row and column in a tile of the first pixel of a region; it may lie beyond the tile.
    pub(super) fn first_pixel(&self, pixels: &PixelRegion, tile: &PixelRegion) -> (i64, i64) {
        (
            self.first.0 + pixels.rows.start as i64 - tile.rows.start as i64,
            self.first.1 + pixels.cols.start as i64 - tile.cols.start as i64,
        )
    }
}
