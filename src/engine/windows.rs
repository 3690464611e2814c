//! The windows of a tile: construction, batches, and assembly of blocks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::Array3;
use rayon::prelude::*;

use super::fusion::names;
use super::output::Layer;
use super::progress::Within;
use super::refusals::Refusals;
use super::summary::Summary;
use super::window::{FirstStates, OutCell, Reading, WindowOutput, WindowState, Worker};
use super::{Fusion, OnError, Precision};
use crate::error::{Error, Result};
use crate::filter::BlockCov;
use crate::geometry::{Date, PixelRegion, Rect, Tiling, Window};
use crate::model::{
    FeatureValues, Model, ObservationModel, Part, PriorSlice, ProcessModel, SeasonalSlice, Support, VariationValues,
};
use crate::series::{BlockOffsets, FailedWindow, FusedBlock};
use crate::spectral::pair;

/// What windows are built from.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowSetup<'a> {
    pub(super) model: &'a Model,
    /// Dates of the output axis that a result waits for.
    pub(super) lag: usize,
    pub(super) precision: Precision,
    /// Whether windows predict what sources withhold.
    pub(super) withholds: bool,
    /// Offsets that are output: (instrument, band read).
    pub(super) offsets: &'a [(usize, usize)],
}

impl Fusion {
    /// What its windows are built from.
    pub(super) fn window_setup(&self) -> WindowSetup<'_> {
        WindowSetup {
            model: &self.model,
            lag: self.lag,
            precision: self.options.precision,
            withholds: self.withholds,
            offsets: &self.offsets,
        }
    }
}

/// The windows of a tile and what is read for them. It does not depend on the numbers of the description.
#[derive(Debug)]
pub(super) struct TileInputs {
    pub(super) windows: Vec<(Window, Arc<Support>)>,
    /// Features of the cells, by which they change together.
    features: Option<FeatureValues>,
    /// How much more or less than others they change.
    variation: Option<VariationValues>,
    /// The mean function, where change is proportional to the level.
    mean: Option<SeasonalSlice>,
    pub(super) prior: PriorSlice,
}

/// Correlations of the states of each window, in the order of the process's.
pub(super) type Correlations = Vec<Vec<Arc<BlockCov>>>;

impl TileInputs {
    /// # Errors
    /// Those of reading features, map of change, mean function and prior.
    pub(super) fn new(
        model: &Model,
        tiling: &Tiling,
        tile: &PixelRegion,
        prior: impl FnOnce(&Rect) -> Result<PriorSlice>,
    ) -> Result<Self> {
        let observers: Vec<_> = model.instruments.iter().map(ObservationModel::observer).collect();
        let (shape, cell_size) = (model.target.shape(), model.target.cell_size());
        let windows: Vec<Window> = tiling.windows(tile).collect();
        let support = |window: Window| {
            let support = Support::new(&window, shape, cell_size, model.far, &observers, &model.process.fields);
            (window, Arc::new(support))
        };
        let windows: Vec<_> = windows.into_par_iter().map(support).collect();
        let extents = windows.iter().map(|(_, support)| support.extent());
        let extent = extents.reduce(|a, b| a.hull(&b)).unwrap_or_else(|| Rect::new(0..0, 0..0));
        let mean = model.seasonal.as_ref().filter(|_| model.process.is_relative());
        let (features, variation) = (model.process.features.as_ref(), model.process.variation.as_ref());
        Ok(Self {
            mean: mean.map(|mean| mean.slice(&model.target, &extent)).transpose()?,
            features: features.map(|features| features.read(&model.target, &extent)).transpose()?,
            variation: variation.map(|variation| variation.read(&model.target, &extent)).transpose()?,
            prior: prior(&extent)?,
            windows,
        })
    }

    /// The correlations of the windows' states.
    pub(super) fn correlations(&self, process: &ProcessModel) -> Correlations {
        // Most windows have the same cells but for their place, hence the same correlation between them.
        let mut shared: HashMap<_, Vec<Arc<[f64]>>> = HashMap::new();
        for (_, support) in &self.windows {
            shared.entry(support.shape_key()).or_insert_with(|| {
                // Similarity depends on the window's own features.
                let cells = |(k, correlation)| match process.similar {
                    similar if k < similar => Arc::new([]) as Arc<[f64]>,
                    _ => support.cell_correlation(correlation),
                };
                process.correlations.iter().enumerate().map(cells).collect()
            });
        }
        let similarity = process.features.as_ref().zip(self.features.as_ref());
        let similarity = similarity.map(|(features, values)| features.scale(values));
        let of_window = |(_, support): &(Window, Arc<Support>)| {
            support.correlations(process, &shared[&support.shape_key()], similarity.as_ref())
        };
        self.windows.par_iter().map(of_window).collect()
    }
}

/// Builds the windows of a tile as `prior` describes them on `date`.
pub(super) fn build(
    setup: WindowSetup<'_>,
    tile: &PixelRegion,
    inputs: &TileInputs,
    correlations: &Correlations,
    (prior, date): (&PriorSlice, Date),
) -> Result<Vec<WindowState>> {
    let state = |((window, support), correlations): (&(Window, Arc<Support>), &Vec<Arc<BlockCov>>)| {
        let known = (prior, inputs.mean.as_ref(), inputs.variation.as_ref());
        WindowState::new(setup, tile, window, Arc::clone(support), correlations, known, date)
    };
    inputs.windows.par_iter().zip(correlations).map(state).collect()
}

/// Runs every window through the batch; `last` when no other follows. Failed windows are recorded, or returned as an
/// error.
pub(super) fn advance(
    fusion: &Fusion,
    windows: &mut [WindowState],
    (batch, last): (&[Reading], bool),
    workers: &[Mutex<Worker>],
    (summary, within): (&mut Summary, &Within<'_>),
) -> Result<()> {
    let (passed, all) = (AtomicUsize::new(0), windows.len() as f64);
    let run = |window: &mut WindowState| {
        // Each thread of the pool has its own worker. Data that a panic left in it are cleared before use.
        let worker = &workers[rayon::current_thread_index().unwrap_or_default() % workers.len()];
        let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
        let advanced = window.advance(batch, last, &fusion.model.instruments, &fusion.model.parts, &mut worker);
        within.show((passed.fetch_add(1, Ordering::Relaxed) + 1) as f64 / all);
        advanced
    };
    if fusion.options.on_error == OnError::Abort {
        return windows.par_iter_mut().with_max_len(1).try_for_each(run);
    }
    let failed = |window: &mut WindowState| {
        let Err(error) = run(window) else { return None };
        window.counts.then_some(error)
    };
    let errors: Vec<Error> = windows.par_iter_mut().with_max_len(1).filter_map(failed).collect();
    for error in errors {
        match error {
            Error::Numerical { row, col, date, source, .. } => {
                summary.fail(FailedWindow { row, col, date, reason: source.to_string() });
            }
            other => return Err(other),
        }
    }
    Ok(())
}

/// Writes the results of the windows into the blocks of the completed dates, and the covariances of bands that indices
/// need into those of each block.
pub(super) fn assemble(
    fusion: &Fusion,
    windows: &[WindowState],
    blocks: &mut [FusedBlock],
    covariances: &mut [Array3<f64>],
) {
    // Position of each layer of a window's values among all layers of a cell.
    let (means, pairs) = fusion.projection.known();
    let positions: Vec<usize> = fusion.model.parts.iter().flat_map(|part| positions(&part.components, means)).collect();
    let offset_positions: Vec<usize> =
        fusion.model.parts.iter().flat_map(|part| offset_positions(fusion, part)).collect();
    let pairs_of_bands = fusion.projection.indices().pairs();
    let blocks = blocks.par_iter_mut().zip(covariances).enumerate();
    blocks.for_each(|(k, (FusedBlock { mean, uncertainty, offsets, .. }, covariances))| {
        mean.fill(f64::NAN);
        uncertainty.fill(f64::NAN);
        if let Some(offsets) = offsets {
            offsets.mean.fill(f64::NAN);
            offsets.sd.fill(f64::NAN);
        }
        // Components of different parts are independent.
        let mut known = vec![0.0; means + pairs];
        for window in windows {
            let n = window.out.len();
            let date = (positions.len() + 2 * fusion.offsets.len()) * n;
            // The cells of a failed window stay NaN.
            let Some(values) = window.output.values.get(k * date..(k + 1) * date) else { continue };
            let (values, rest) = values.split_at(positions.len() * n);
            if let Some(offsets) = offsets {
                write_offsets(window, &offset_positions, rest, offsets);
            }
            for (index, cell) in window.out.iter().enumerate() {
                for (&position, layer) in positions.iter().zip(values.chunks_exact(n)) {
                    known[position] = layer[index];
                }
                let (x, cov) = known.split_at(means);
                fusion.projection.emit(x, cov, |layer, value| match layer {
                    Layer::Mean(layer) => mean[(layer, cell.row, cell.col)] = value,
                    Layer::Uncertainty(layer) => uncertainty[(layer, cell.row, cell.col)] = value,
                });
                for (layer, &bands) in pairs_of_bands.iter().enumerate() {
                    covariances[(layer, cell.row, cell.col)] = fusion.projection.band_cov(bands, cov);
                }
            }
        }
    });
}

/// Positions of a part's output offsets among all offsets.
fn offset_positions(fusion: &Fusion, part: &Part) -> Vec<usize> {
    let of_instrument = |k: usize| part.rows(k).iter().map(move |&band| (k, band));
    let bands = (0..part.bands.len()).flat_map(of_instrument);
    bands.filter_map(|band| fusion.offsets.iter().position(|known| *known == band)).collect()
}

/// Writes the offsets of a window, mean and variance of each in turn, into a block.
fn write_offsets(window: &WindowState, positions: &[usize], values: &[f64], offsets: &mut BlockOffsets) {
    for (&position, layers) in positions.iter().zip(values.chunks_exact(2 * window.out.len())) {
        let (means, variances) = layers.split_at(window.out.len());
        for ((cell, mean), variance) in window.out.iter().zip(means).zip(variances) {
            offsets.mean[(position, cell.row, cell.col)] = *mean;
            offsets.sd[(position, cell.row, cell.col)] = variance.sqrt();
        }
    }
}

/// Positions of a part's means and covariances among those of all components, whose covariances follow `means` means.
fn positions(components: &[usize], means: usize) -> impl Iterator<Item = usize> + '_ {
    let pairs = components
        .iter()
        .enumerate()
        .flat_map(move |(k, &j)| components[..=k].iter().map(move |&l| means + pair(j, l)));
    components.iter().copied().chain(pairs)
}

impl WindowState {
    /// The window on `date`, from the prior.
    fn new(
        setup: WindowSetup<'_>,
        tile: &PixelRegion,
        window: &Window,
        support: Arc<Support>,
        correlations: &[Arc<BlockCov>],
        (prior, mean, variation): (&PriorSlice, Option<&SeasonalSlice>, Option<&VariationValues>),
        date: Date,
    ) -> Result<Self> {
        let WindowSetup { model, lag, precision, withholds, offsets, .. } = setup;
        let averages = if mean.is_some() || variation.is_some() { support.averages() } else { Vec::new() };
        let factors = variation.map(|variation| variation.of_states(&averages)).unwrap_or_default();
        let names = &names(&model.instruments);
        let states = FirstStates {
            model,
            names,
            lag,
            precision,
            support: &support,
            correlations,
            prior,
            mean,
            averages,
            factors,
            date,
        };
        let parts = model.parts.iter().map(|part| states.of(part)).collect::<Result<Vec<_>>>()?;
        let counts = tile.rows.contains(&window.core.rows.start) && tile.cols.contains(&window.core.cols.start);
        let out = out_cells(&support, tile);
        let pixels = |instrument: usize| vec![None; support.pixels(instrument).count()];
        let last_observed = withholds.then(|| (0..model.instruments.len()).map(pixels).collect());
        let refusals = Refusals::new(&model.instruments, |instrument| support.pixel_count(instrument));
        let holding = |k: usize| {
            let wanted = offsets.iter().any(|(instrument, _)| *instrument == k);
            wanted.then(|| support.pixels_of_cells(k, &model.instruments[k].lattice))
        };
        let offset_pixels =
            if offsets.is_empty() { Vec::new() } else { (0..model.instruments.len()).map(holding).collect() };
        Ok(Self {
            support,
            parts,
            out,
            offset_pixels,
            counts,
            widened: false,
            failed: false,
            output: WindowOutput::default(),
            last_observed: last_observed.unwrap_or_default(),
            refusals,
        })
    }
}

/// The window's own cells inside the tile.
fn out_cells(support: &Support, tile: &PixelRegion) -> Vec<OutCell> {
    let cells = support.own_cells().iter().map(|&(row, col)| (row as usize, col as usize)).enumerate();
    cells
        .filter(|(_, (row, col))| tile.rows.contains(row) && tile.cols.contains(col))
        .map(|(state, (row, col))| OutCell { state, row: row - tile.rows.start, col: col - tile.cols.start })
        .collect()
}
