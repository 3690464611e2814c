//! What a run takes, part by part.

use super::bytes::{WORD, product, total};
use super::window::WindowCost;
use super::{InstrumentPlan, PlanInput, checkpoint_bytes};
use crate::engine::cells::{CellScratch, STRIP_BYTES, strip_rows};
use crate::engine::seasonal::STRIP_ROWS;
use crate::model::{FeatureModel, ObservationModel, PartSize, VariationModel};
use crate::source::RasterSource;
use crate::spectral::pair_count;

/// The program at rest: its code and that of its libraries, what they allocate once, stacks. `rasterfuse fuse` peaks
/// at 59 to 60 MiB on the small scenes of `tests/scenes`, whose other parts take less than 1.5 MiB; without GDAL and
/// zarrs a program of two dozen lines peaks at 13 MiB.
const PROGRAM_BYTES: u64 = if cfg!(any(feature = "gdal", feature = "zarr")) { 64 << 20 } else { 16 << 20 };

/// What [validation](crate::validate) keeps of a pixel and band of a tile: its latest clear value, and a date of
/// withheld values that wait for the next, with something to spare for those of other dates.
pub(crate) const WITHHELD_BYTES: u64 = 160;

/// And of each date of a batch, and that a result waits for, on average: a fifth of the values, if as many are withheld
/// as usual.
const WAITING_BYTES: u64 = 20;

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

/// Means and covariances that are known of a cell.
fn known_layers(part: &PartSize) -> u64 {
    // Those that share a covariance are all output.
    let components = part.components.max(part.columns);
    (components + pair_count(components)) as u64
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
        let state = 2 * WORD * input.model.spectrum.components() as u64 + input.followed();
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
        let writers = input.threads.max(input.place.writes_in_flight().unwrap_or(0)) as u64;
        let encoding = product([dates.min(writers), layers, cells, 2 * size_of::<f32>() as u64]);
        let covariances = product([dates, input.covariances as u64, cells, WORD]);
        // Chunks that wait for the others of their object, and the object that is written.
        let shared = input.encoding.dates_per_object;
        let waiting =
            if shared > 1 { dates.saturating_add(3 * shared as u64).min((input.dates + shared) as u64) } else { 0 };
        let waiting = product([waiting, cells, input.cell_bytes()]);
        // Sums and numbers of values of a tile, and half of each once more for each overview, which threads make.
        let coarse = if input.overviews > 0 { 2 * writers } else { 0 };
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
            let (rows, cols) = self.input.model.target.shape();
            let refusals = product([rows as u64, cols as u64, self.input.followed()]);
            return self.light_checkpoint().saturating_add(refusals);
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
