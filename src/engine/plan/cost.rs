//! What a run takes, part by part.

use super::{InstrumentPlan, PlanInput, checkpoint_bytes};
use crate::engine::Precision;
use crate::engine::cells::{CellScratch, STRIP_BYTES, strip_rows};
use crate::engine::seasonal::STRIP_ROWS;
use crate::filter::{State, Workspace};
use crate::geometry::Tiling;
use crate::model::{
    CompositeModel, FeatureModel, FieldModel, NodeStates, ObservationModel, OfInstrument, PartSize, StateCurves,
    VariationModel,
};
use crate::source::RasterSource;
use crate::spectral::pair_count;

/// The program at rest: its code and that of its libraries, what they allocate once, stacks. `rasterfuse fuse` peaks
/// at 59 to 60 MiB on the small scenes of `tests/scenes`, whose other parts take less than 1.5 MiB; without GDAL and
/// zarrs a program of two dozen lines peaks at 13 MiB.
const PROGRAM_BYTES: u64 = if cfg!(any(feature = "gdal", feature = "zarr")) { 64 << 20 } else { 16 << 20 };

/// What a window, and each of its parts, takes whatever its size.
const WINDOW_BYTES: usize = 1024;

/// What [validation](crate::validate) keeps of a pixel and band of a tile: its latest clear value, and a date of
/// withheld values that wait for the next, with something to spare for those of other dates.
pub(crate) const WITHHELD_BYTES: u64 = 160;

/// And of each date of a batch, and that a result waits for, on average: a fifth of the values, if as many are withheld
/// as usual.
const WAITING_BYTES: u64 = 20;

const WORD: u64 = size_of::<f64>() as u64;

/// Memory of a run, by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) program: u64,
    pub(super) reading: u64,
    pub(super) slices: u64,
    pub(super) output: u64,
    pub(super) states: u64,
    /// Part of the states.
    pub(super) lag: u64,
    pub(super) workspace: u64,
    pub(super) checkpoint_scratch: u64,
    /// A store that is kept in memory.
    pub(super) store: u64,
}

impl Memory {
    pub(super) fn total(&self) -> u64 {
        let Self { program, reading, slices, output, states, lag: _, workspace, checkpoint_scratch, store } = *self;
        total([program, reading, slices, output, states, workspace, checkpoint_scratch, store])
    }
}

fn total(parts: impl IntoIterator<Item = u64>) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

fn product(factors: impl IntoIterator<Item = u64>) -> u64 {
    factors.into_iter().fold(1, u64::saturating_mul)
}

/// States and bytes of the largest window.
pub(super) struct WindowCost {
    pub(super) states: usize,
    /// Of which of each part.
    pub(super) part_states: Vec<usize>,
    /// Of which offsets of instruments, in a part.
    pub(super) offsets: usize,
    /// Pixels of each instrument that it sees.
    pub(super) pixels: Vec<usize>,
    /// Scratch memory of a worker.
    workspace: u64,
    /// Correlation between the cells, shared by windows of the same shape.
    shape_bytes: u64,
    /// Different shapes of windows at most; with far samples or features every window may have its own.
    shapes: usize,
    bytes: u64,
    /// Of which for remembered dates.
    lag_bytes: u64,
    /// Whether covariances are counted in float64.
    pub(super) double: bool,
    /// What a checkpoint keeps of it: mean, lower triangle, remembered dates, history, levels.
    checkpoint_bytes: u64,
}

impl WindowCost {
    fn new(input: &PlanInput<'_>) -> Self {
        let (size, halo) = input.window;
        let tiling = Tiling::new(input.model.target.shape(), (1, 1), size, halo);
        let side =
            |ranges: &mut dyn Iterator<Item = std::ops::Range<i64>>| ranges.map(|r| r.end - r.start).max().unwrap_or(0);
        let near = (side(&mut tiling.padded_rows()) * side(&mut tiling.padded_cols())) as usize;
        let cells = near + input.model.far.count;
        let ObservedPixels { counts, remainders, entries, states: of_instruments } =
            ObservedPixels::new(input, &tiling, cells);
        let (n, pixels) = (cells + remainders, counts.iter().sum::<usize>());
        let components: usize = input.parts.iter().map(|part| part.components).sum();
        let of_fields = field_states(input, (side(&mut tiling.padded_rows()), side(&mut tiling.padded_cols())), n);
        let of_component = n + of_fields.iter().sum::<usize>();
        let part_states: Vec<usize> =
            input.parts.iter().map(|part| part.states(of_component, &of_instruments)).collect();
        let states = part_states.iter().sum();
        let rows = entries * 12 + pixels * 12 + cells * 16;
        let tails = input.model.process.correlations.len() * remainders * n * size_of::<f64>();
        // Offsets of each part share an identity, and earlier averages have that of an offset of each pixel.
        let squares = of_instruments.iter().map(|of| of.offsets.pow(2) + of.earlier.pow(2)).sum::<usize>();
        let identities = input.parts.len() * squares * size_of::<f64>();
        // Coarse fields have a correlation of each component and weights of each pixel and cell of their own.
        let coarse = input.model.process.fields.iter().zip(&of_fields).filter(|(field, _)| field.block > 1);
        let coarse =
            coarse.map(|(_, nodes)| components * nodes * (nodes + 1) / 2 * size_of::<f64>() + nodes * pixels * 12);
        let fixed = WINDOW_BYTES * (1 + input.parts.len()) + identities + coarse.sum::<usize>();
        let curves = input.model.seasonal.as_ref().filter(|_| input.model.process.is_relative());
        let curves = curves.map_or(0, |mean| StateCurves::bytes(n * mean.components().len(), mean.harmonics().terms()));
        let small = (states * size_of::<f64>() + rows + tails + fixed + curves) as u64;
        let own = size.min(input.model.target.rows()) * size.min(input.model.target.cols());
        // What a state can have observed before it is forgotten.
        let dates = if input.lag > 0 { input.steps.len() } else { 1 };
        let fits = input.largest_ratio.is_some_and(|ratio| State::<f32>::always_fits(ratio, pixels * dates));
        let double = input.options.precision == Precision::F64 || !fits;
        let state_bytes = if double { State::<f64>::bytes } else { State::<f32>::bytes };
        let states_of = |lag: usize| {
            let parts = input.parts.iter().zip(&part_states);
            let parts = parts.map(|(part, &states)| {
                let lagged = own * part.components;
                let further = State::<f64>::further_bytes(states, lagged, lag, part.columns - 1);
                state_bytes(states, lagged, lag).saturating_add(further)
            });
            parts.fold(0, u64::saturating_add)
        };
        let history =
            if input.model.process.adaptive.is_some() { State::<f64>::history_bytes(n * components, n) } else { 0 };
        let history = history + input.model.process.factors() * State::<f64>::factor_bytes(states);
        let lag_bytes = states_of(input.lag).saturating_sub(states_of(0));
        let bytes = small.saturating_add(states_of(0)).saturating_add(lag_bytes).saturating_add(history);
        let largest = part_states.iter().max().copied().unwrap_or(1);
        let lagged = own * input.parts.iter().map(|part| part.components).max().unwrap_or(1);
        let rows = largest + input.lag * lagged;
        let columns = input.parts.iter().map(|part| part.columns).max().unwrap_or(1);
        let workspace = Workspace::<f64>::bytes(rows)
            + Workspace::<f64>::further_bytes(rows, columns - 1)
            + match input.options.precision {
                Precision::F64 => 0,
                // And the copy of a state that an update may have to be undone to.
                Precision::F32 => {
                    let copy = State::<f32>::bytes(largest, lagged, input.lag);
                    Workspace::<f32>::bytes(rows) + usize::try_from(copy).unwrap_or(usize::MAX / 4)
                }
            };
        let shared = input.model.far.count == 0 && input.model.process.features.as_ref().is_none();
        let shapes = if shared { tiling.window_shapes() } else { usize::MAX };
        let shape_bytes = (input.model.process.correlations.len() * cells * (cells + 1) / 2 * size_of::<f64>()) as u64;
        let word = if double { size_of::<f64>() } else { size_of::<f32>() };
        let kept = |(part, &states): (&PartSize, &usize)| {
            kept_bytes(states, own * part.components, input.lag, word as u64, part.columns)
        };
        let checkpoint_bytes = input.parts.iter().zip(&part_states).map(kept).fold(history, u64::saturating_add);
        Self {
            states,
            part_states,
            offsets: of_instruments.iter().map(|of| of.offsets).sum(),
            pixels: counts,
            workspace: workspace as u64,
            bytes,
            shape_bytes,
            shapes,
            lag_bytes,
            double,
            checkpoint_bytes,
        }
    }
}

/// States of each further field in a window of so many rows and columns, halo included, with `n` spatial states: nodes of
/// coarse fields lie around the window, and around each far cell.
fn field_states(input: &PlanInput<'_>, sides: (i64, i64), n: usize) -> Vec<usize> {
    let reach = input.model.instruments.iter().map(|instrument| instrument.lattice.largest());
    let reach = reach.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
    let of_field = |field: &FieldModel| match field.block {
        1 => n,
        block => NodeStates::most(block, sides, reach) + input.model.far.count * NodeStates::most(block, (1, 1), reach),
    };
    input.model.process.fields.iter().map(of_field).collect()
}

/// What the instruments observe of the largest window.
struct ObservedPixels {
    /// Pixels of each instrument.
    counts: Vec<usize>,
    /// Pixels that reach beyond the window.
    remainders: usize,
    /// Weights of cells in footprints.
    entries: usize,
    /// States of each instrument.
    states: Vec<OfInstrument>,
}

impl ObservedPixels {
    /// Of a window of so many `cells`, far ones included.
    fn new(input: &PlanInput<'_>, tiling: &Tiling, cells: usize) -> Self {
        let (mut remainders, mut entries) = (0, 0);
        let mut counts = Vec::with_capacity(input.model.instruments.len());
        let mut states = Vec::with_capacity(input.model.instruments.len());
        for instrument in &input.model.instruments {
            let most = instrument.lattice.most_pixels(tiling.padded_rows(), tiling.padded_cols());
            // A far cell brings in the pixels that hold it, of which a part is outside the window.
            let (rows, cols) = input.model.target.shape();
            let cells_of = |n: usize| (0..n as i64).map(|k| k..k + 1);
            let far_pixels = if input.model.far.count == 0 {
                0
            } else {
                input.model.far.count * instrument.lattice.most_pixels(cells_of(rows), cells_of(cols)).0
            };
            let count = most.0 + far_pixels;
            counts.push(count);
            states.push(OfInstrument {
                offsets: instrument.offset_layers.iter().map(|layer| layer.count(count)).sum(),
                earlier: count * instrument.composite.as_ref().map_or(0, CompositeModel::earlier),
            });
            // Every cell once, or, where footprints overlap, in each pixel at most, and a remainder per pixel.
            let (height, width) = instrument.lattice.largest();
            let largest = ((height * width) as usize).min(cells);
            entries += most.0 + if instrument.lattice.overlaps() { most.0 * largest } else { cells };
            let coarse = instrument.lattice.largest() != (1, 1);
            remainders += most.1 + if coarse { far_pixels } else { 0 };
        }
        Self { counts, remainders, entries, states }
    }
}

/// Means and covariances that are known of a cell.
fn known_layers(part: &PartSize) -> u64 {
    // Those that share a covariance are all output.
    let components = part.components.max(part.columns);
    (components + pair_count(components)) as u64
}

/// What a checkpoint keeps of `n` states of which `lagged` are remembered at `lag` times.
fn kept_bytes(n: usize, lagged: usize, lag: usize, word: u64, columns: usize) -> u64 {
    let (n, lagged, columns) = (n as u64, product([lagged as u64, lag as u64]), columns as u64);
    // Of a remembered state: its covariance with the present ones, its mean and variance then and now.
    let remembered = product([lagged, total([product([n, word]), (2 + columns) * WORD])]);
    total([product([n, n + 1, word]) / 2, product([n, columns, WORD]), remembered])
}

/// Works out what tiles of any shape take.
pub(super) struct Costs<'a> {
    input: &'a PlanInput<'a>,
    pub(super) window: WindowCost,
    instruments: &'a [InstrumentPlan],
    reading: u64,
}

impl<'a> Costs<'a> {
    pub(super) fn new(input: &'a PlanInput<'a>, instruments: &'a [InstrumentPlan]) -> Self {
        let sources = || {
            let observed =
                input.model.instruments.iter().map(|instrument| (instrument.source.as_ref(), input.readers()));
            let seasonal = input.model.seasonal.as_ref().map(|mean| (mean.source(), 2));
            let features = input.model.process.features.as_ref().map(FeatureModel::source);
            let variation = input.model.process.variation.as_ref().map(VariationModel::source);
            let once = input.model.prior.sources().chain(features).chain(variation).map(|source| (source, 1));
            observed.chain(once).chain(seasonal)
        };
        let cache = sources().map(|(source, _)| source.shared_cache_bytes()).max().unwrap_or(0);
        let handles = total(sources().map(|(source, readers)| source.handle_bytes(readers)));
        Self { input, window: WindowCost::new(input), instruments, reading: cache.saturating_add(handles) }
    }

    pub(super) fn input(&self) -> &'a PlanInput<'a> {
        self.input
    }

    pub(super) fn instruments(&self) -> &'a [InstrumentPlan] {
        self.instruments
    }

    /// What tiles of `tile` cells take with so many dates to a batch.
    pub(super) fn memory(&self, tile: (usize, usize), batch: usize) -> Memory {
        if self.input.independent_cells {
            return self.memory_of_cells(tile, batch);
        }
        let (input, window) = (self.input, &self.window);
        let (size, threads) = (input.window.0, input.threads as u64);
        let across = |cells: usize, total: usize| {
            // A tile that is not made of whole windows may cut one more on each side.
            let straddle = usize::from(!cells.is_multiple_of(size) && cells < total);
            cells.div_ceil(size) + straddle
        };
        let windows = across(tile.0, input.model.target.rows()) * across(tile.1, input.model.target.cols());
        let shapes = window.shapes.min(windows) as u64;
        let windows = windows as u64;
        Memory {
            program: PROGRAM_BYTES,
            reading: self.reading,
            slices: self.slices(tile, batch),
            output: self.output(tile, batch, windows),
            states: total([product([window.bytes, windows]), product([window.shape_bytes, shapes])]),
            lag: product([window.lag_bytes, windows]),
            workspace: product([window.workspace, threads]),
            checkpoint_scratch: product([2, window.checkpoint_bytes, threads]),
            store: self.kept(tile),
        }
    }

    /// The same where cells are independent: mean and variance of each component, and no windows.
    fn memory_of_cells(&self, tile: (usize, usize), batch: usize) -> Memory {
        let (input, threads) = (self.input, self.input.threads as u64);
        let (rows, instruments) = (strip_rows(tile.1), input.model.instruments.len());
        let state = 2 * WORD * input.model.spectrum.components() as u64;
        let (bands, slices) = (tile.0.div_ceil(rows) as u64, (instruments * batch + 1) as u64);
        Memory {
            program: PROGRAM_BYTES,
            reading: self.reading,
            slices: self.slices(tile, batch),
            output: self.output(tile, batch, 0),
            states: total([
                product([tile.0 as u64, tile.1 as u64, state]),
                product([bands, slices, STRIP_BYTES as u64]),
            ]),
            lag: 0,
            workspace: product([CellScratch::bytes(instruments) as u64, threads]),
            checkpoint_scratch: product([4, (rows * tile.1) as u64, state, threads]),
            store: self.kept(tile),
        }
    }

    /// Two batches of slices, one being filtered while the next is read, and those that are read ahead from servers; what reading takes for each thread;
    /// and the prior's rasters.
    fn slices(&self, tile: (usize, usize), batch: usize) -> u64 {
        let (mut held, mut scratch, mut most) = (0_u64, 0, 0);
        for (instrument, plan) in self.input.model.instruments.iter().zip(self.instruments) {
            let grid = instrument.source.grid();
            let hull = instrument.lattice.covering(&self.input.whole());
            let (rows, cols) = self.input.pixels(tile, grid.cell_size());
            let (rows, cols) = (rows + self.beyond(instrument).0, cols + self.beyond(instrument).1);
            let pixels = product([rows.min(hull.rows.len() as u64), cols.min(hull.cols.len() as u64)]);
            let slices = plan.dates.min(2 * batch + self.input.model.reads_in_flight()) as u64;
            let planes = if instrument.source.knows_noise() { 2 } else { 1 };
            held = held.saturating_add(product([planes, pixels, instrument.source_bands.len() as u64, WORD, slices]));
            if self.input.withholds {
                let kept = WITHHELD_BYTES + WAITING_BYTES * plan.dates.min(self.input.lag.saturating_add(batch)) as u64;
                held = held.saturating_add(product([pixels, instrument.source_bands.len() as u64, kept]));
            }
            let shape = (rows.min(hull.rows.len() as u64), cols.min(hull.cols.len() as u64));
            scratch = scratch.max(instrument.source.scratch_bytes(instrument.source_bands.len(), shape));
            most += plan.dates.min(batch + self.input.model.reads_in_flight());
        }
        let reading = product([scratch, most.min(self.input.readers()) as u64]);
        let around = |source: &dyn RasterSource| {
            // Around the cells of a tile also those under pixels that reach beyond them.
            let reach = self.input.model.instruments.iter().map(|instrument| instrument.lattice.largest());
            let reach = reach.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
            let (rows, cols) = self.input.pixels(tile, source.grid().cell_size());
            let (rows, cols) = (rows + 2 * reach.0 as u64, cols + 2 * reach.1 as u64);
            let (all_rows, all_cols) = source.grid().shape();
            product([rows.min(all_rows as u64), cols.min(all_cols as u64)])
        };
        let prior = |source: &dyn RasterSource| product([around(source), source.bands().len() as u64, WORD]);
        let process = &self.input.model.process;
        let features = process.features.as_ref().map(|features| (features.source(), features.cell_bytes()));
        let variation = process.variation.as_ref().map(|variation| (variation.source(), variation.cell_bytes()));
        let of_process = features.into_iter().chain(variation).map(|(source, bytes)| product([around(source), bytes]));
        total([
            held,
            reading,
            total(of_process),
            total(self.input.model.prior.sources().map(prior)),
            self.seasonal(tile),
        ])
    }

    /// The curves of a tile's cells and of the pixels read for it, and a strip of cells from which those of coarse
    /// pixels are averaged, as it is read.
    fn seasonal(&self, tile: (usize, usize)) -> u64 {
        let Some(mean) = self.input.model.seasonal.as_ref() else { return 0 };
        let curve = product([mean.components().len() as u64, mean.harmonics().terms() as u64, WORD]);
        let mut held = product([tile.0 as u64, tile.1 as u64]);
        let mut strip = held;
        for instrument in &self.input.model.instruments {
            let (rows, cols) = self.input.pixels(tile, instrument.source.grid().cell_size());
            let (rows, cols) = (rows + self.beyond(instrument).0, cols + self.beyond(instrument).1);
            held = held.saturating_add(product([rows, cols]));
            let (height, width) = instrument.lattice.largest();
            let (near_rows, near_cols) = self.input.pixels(tile, self.input.model.target.cell_size());
            let high = near_rows.saturating_add(2 * height as u64).min((STRIP_ROWS.max(height)) as u64);
            strip = strip.max(product([high, near_cols.saturating_add(2 * width as u64)]));
        }
        // What a store decodes is float32, and becomes float64.
        total([product([held, curve]), product([strip, curve, 3]) / 2])
    }

    /// (rows, columns) of pixels around a tile whose footprints reach into it, where footprints overlap.
    fn beyond(&self, instrument: &ObservationModel) -> (u64, u64) {
        if !instrument.lattice.overlaps() {
            return (0, 0);
        }
        let ((height, width), (cell_width, cell_height)) =
            (instrument.lattice.largest(), self.input.model.target.cell_size());
        let (pixel_width, pixel_height) = instrument.source.grid().cell_size();
        let pixels = |cells: i64, cell: f64, pixel: f64| (cells as f64 * cell / pixel).ceil() as u64;
        (pixels(height, cell_height, pixel_height), pixels(width, cell_width, pixel_width))
    }

    /// Three batches of output: what the windows give, the blocks made of it, and blocks being written, of which each
    /// thread encodes one: float32 copies of mean and standard deviation, as they are and compressed; chunks that share an
    /// object with later dates. One batch has the covariances of bands for indices.
    fn output(&self, tile: (usize, usize), batch: usize, windows: u64) -> u64 {
        let input = self.input;
        // A tile's last batch also emits what waits for the lag.
        let dates = batch.saturating_add(input.lag).min(input.dates) as u64;
        let layers = (input.layers.0 + input.layers.1) as u64;
        let known = input.parts.iter().map(known_layers).sum::<u64>() + 2 * input.offsets as u64;
        let cells = (tile.0 * tile.1) as u64;
        let own =
            (input.window.0.min(input.model.target.rows()) * input.window.0.min(input.model.target.cols())) as u64;
        let values = product([dates, known, own]);
        // The buffers of the windows grow by doubling.
        let grown = values.checked_next_power_of_two().unwrap_or(u64::MAX);
        let results = product([windows, grown, WORD]);
        let blocks = product([2, dates, layers, cells, WORD]);
        let encoding = product([dates.min(input.threads as u64), layers, cells, 2 * size_of::<f32>() as u64]);
        let covariances = product([dates, input.covariances as u64, cells, WORD]);
        // Chunks that wait for the others of their object, and the object that is written.
        let shared = input.encoding.dates_per_object;
        let waiting =
            if shared > 1 { dates.saturating_add(3 * shared as u64).min((input.dates + shared) as u64) } else { 0 };
        let waiting = product([waiting, cells, input.cell_bytes()]);
        // Sums and numbers of values of a tile, and half of each once more for each overview, which threads make.
        let coarse = if input.overviews > 0 { 2 * input.threads as u64 } else { 0 };
        let overviews = product([coarse.min(2 * dates), layers, cells, 2 * WORD]);
        total([results, blocks, covariances, encoding, waiting, overviews])
    }

    /// What is kept in memory of the store and of a checkpoint of each tile.
    fn kept(&self, tile: (usize, usize)) -> u64 {
        let full = self.full_checkpoint(tile);
        let checkpoint = checkpoint_bytes(self.input.checkpoint(full), (full, self.light_checkpoint()));
        self.input.place.memory_bytes(self.input.store_bytes().saturating_add(checkpoint))
    }

    /// A checkpoint of every window of every tile; windows that straddle tiles are kept by each.
    pub(super) fn full_checkpoint(&self, tile: (usize, usize)) -> u64 {
        if self.input.independent_cells {
            return self.light_checkpoint();
        }
        let size = self.input.window.0;
        let windows = |tile: usize, total: usize| -> u64 {
            let starts = (0..total).step_by(tile.max(1));
            starts.map(|start| ((start + tile).min(total).div_ceil(size) - start / size) as u64).sum()
        };
        let (rows, cols) = self.input.model.target.shape();
        product([windows(tile.0, rows), windows(tile.1, cols), self.window.checkpoint_bytes])
    }

    /// A checkpoint of the cells alone: means and the covariances among the components of each cell that are filtered
    /// together.
    pub(super) fn light_checkpoint(&self) -> u64 {
        let kept: u64 = self.input.parts.iter().map(known_layers).sum();
        let (rows, cols) = self.input.model.target.shape();
        product([rows as u64, cols as u64, kept, WORD])
    }
}
