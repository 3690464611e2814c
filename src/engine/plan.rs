//! The plan of a run: tiles, batches, memory and disk space, computed before the run starts and printed for people.

mod bytes;
mod cost;
mod display;
mod json;
mod reads;
#[cfg(test)]
mod tests;
mod tile;
mod window;
mod work;

use serde::Serialize;

use super::steps::Step;
use super::{Checkpoint, Precision, RunOptions};
use crate::describe::Encoding;
use crate::error::{Error, Result};
use crate::geometry::{Date, DateRange, Tiling};
use crate::model::{Model, ObservationModel, PartSize};
use crate::source::RasterSource;
use crate::storage::Place;
use cost::Costs;
pub(crate) use cost::WITHHELD_BYTES;

/// Full checkpoints up to this are kept by default, however small the output.
const SMALL_CHECKPOINT: u64 = 4 << 30;

/// Cells of a tile below which its chunks are unwieldy.
const SMALL_TILE: usize = 32 * 32;

/// What a run will take, known before it starts.
///
/// Printed it is a short table. `serde` serialises it, with the fields here by their names, `memory_bytes` and
/// `disk_bytes`: sizes are in bytes, shapes are `[rows, columns]`, dates text, the bands of instruments `[source
/// band, target band]`.
///
/// ```
/// # use rasterfuse::Fusion;
/// # use rasterfuse::geometry::{Crs, Date, Grid};
/// # use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
/// # use rasterfuse::source::MemorySource;
/// # let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
/// # let days = vec![Date::from_days(0), Date::from_days(4)];
/// # let source = MemorySource::new(grid.clone(), days, vec!["red".into()], ndarray::Array4::zeros((2, 1, 8, 8)))?;
/// # let builder = Fusion::builder(grid).bands(["red"]).process(Process::new(Kernel::Exponential, 100.0, 1e-3))
/// #     .prior(Prior::new(0.2, 0.01)).instrument(Instrument::new("fine", source).noise_variance(1e-5));
/// let fusion = builder.build()?; // headers only
/// let plan = fusion.plan();
/// println!("{plan}");
/// assert_eq!((plan.dates, plan.windows), (5, 4)); // daily; windows of 4 x 4 cells
/// assert!(plan.memory_bytes() < plan.budget_bytes);
/// let json = serde_json::to_value(plan).unwrap();
/// assert_eq!(json["target_shape"], serde_json::json!([8, 8]));
/// assert_eq!(json["memory_bytes"], plan.memory_bytes());
/// assert_eq!(json["instruments"][0]["span"], serde_json::json!(["1970-01-01", "1970-01-05"]));
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Target cells (rows, columns).
    pub target_shape: (usize, usize),
    /// Output dates.
    pub dates: usize,
    /// Dates on which something is read.
    pub observed_dates: usize,
    /// Cells per tile (rows, columns); also the output chunk.
    pub tile_shape: (usize, usize),
    /// Number of tiles.
    pub tiles: usize,
    /// Whether all cells are independent of each other: they are filtered one by one, and there are no windows.
    pub independent_cells: bool,
    /// Number of windows; 0 where cells are independent.
    pub windows: usize,
    /// States of the largest window (spatial states × components), or of an independent cell.
    pub states_per_window: usize,
    /// Groups of components that no observation couples; their states are filtered separately.
    pub independent_parts: usize,
    /// Groups of bands that share one covariance, which the same instruments observe with proportional noise.
    pub bands_together: Vec<Vec<String>>,
    /// Why bands are filtered apart, where they were to be together unless something hinders it.
    pub bands_apart: Option<String>,
    /// Floating-point operations of filtering if nothing is cloudy; 0 where cells are independent.
    pub operations: f64,
    /// Dates read, filtered and written together.
    pub batch_dates: usize,
    /// Worker threads.
    pub threads: usize,
    /// Memory allowed.
    pub budget_bytes: u64,
    /// Dates of the output axis that each result waits for.
    pub lag: usize,
    /// Arithmetic of the covariances.
    pub precision: Precision,
    /// Memory of the program at rest: its code, that of its libraries, what they allocate once.
    pub program_bytes: u64,
    /// Memory of reading in addition to the slices: GDAL's block cache and open files.
    pub reading_bytes: u64,
    /// Memory of input slices: a batch that is filtered and one that is read ahead.
    pub slice_bytes: u64,
    /// Memory of output: what the windows give, the blocks made of it, and blocks that are encoded and written behind.
    pub output_bytes: u64,
    /// Memory of the states of one tile, remembered dates included.
    pub state_bytes: u64,
    /// How much of it is for the dates that a lag remembers.
    pub lag_bytes: u64,
    /// Scratch memory of all workers.
    pub workspace_bytes: u64,
    /// Memory in which a checkpoint's windows are compressed.
    pub checkpoint_scratch_bytes: u64,
    /// Memory in which the store and its checkpoints are kept, before compression: all of it in `memory:`, and what an
    /// overlay keeps there.
    pub store_memory_bytes: u64,
    /// How the store holds numbers.
    pub encoding: Encoding,
    /// Overviews in the store.
    pub overviews: usize,
    /// Size of the output before compression.
    pub store_bytes: u64,
    /// Files or objects that hold it, at most: a chunk of nothing but missing values has none.
    pub store_objects: u64,
    /// What will be kept at the end: full, light or off.
    pub checkpoint: Checkpoint,
    /// Size before compression of a checkpoint of all window states of all tiles.
    pub full_checkpoint_bytes: u64,
    /// Size before compression of a checkpoint of the cells alone: their means, and their covariances among the
    /// components that are filtered together.
    pub light_checkpoint_bytes: u64,
    /// What each instrument brings.
    pub instruments: Vec<InstrumentPlan>,
    /// Likely mistakes that are not errors.
    pub warnings: Vec<String>,
}

/// What an instrument brings to a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InstrumentPlan {
    /// Its name.
    pub name: String,
    /// Dates inside the period.
    pub dates: usize,
    /// First and last of them.
    pub span: Option<(Date, Date)>,
    /// Source bands that are used, each with the target band it observes.
    pub bands: Vec<(String, String)>,
    /// Source bands that are not.
    pub unused_bands: Vec<String>,
    /// Share of the target that any of its files reaches, from 0 to 1.
    pub coverage: f64,
    /// Why it gives nothing, where headers suffice to tell. A run refuses it, unless errors are skipped.
    pub idle: Option<String>,
    /// (rows, columns) of pixels that its storage decodes as a whole.
    pub block_shape: Option<(usize, usize)>,
    /// Pixels decoded for all tiles of a date over those that are needed at least once: neighbouring tiles share
    /// context, and blocks are decoded whole. 1 when it observes nothing of the target.
    pub read_amplification: f64,
}

/// Free space on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskSpace {
    /// Bytes that may still be written, by this user.
    pub free_bytes: u64,
}

/// What the plan is computed from.
pub(super) struct PlanInput<'a> {
    pub(super) model: &'a Model,
    pub(super) options: &'a RunOptions,
    /// Layers of means and uncertainties that are output.
    pub(super) layers: (usize, usize),
    /// Components of each part that is filtered by itself.
    pub(super) parts: &'a [PartSize],
    /// Offsets that are output.
    pub(super) offsets: usize,
    /// How the store holds numbers.
    pub(super) encoding: Encoding,
    /// Overviews that it holds.
    pub(super) overviews: usize,
    /// Where it is.
    pub(super) place: &'a Place,
    /// Covariances of bands that are known of each cell until their indices are made.
    pub(super) covariances: usize,
    /// (size, halo); (1, 0) where cells are independent.
    pub(super) window: (usize, usize),
    pub(super) independent_cells: bool,
    pub(super) period: DateRange,
    pub(super) steps: &'a [(Date, Step)],
    pub(super) dates: usize,
    pub(super) tile: Option<(usize, usize)>,
    pub(super) budget_bytes: u64,
    pub(super) threads: usize,
    pub(super) lag: usize,
    /// The lag asked for, which may be longer than the series.
    pub(super) lag_asked: usize,
    /// Largest variance that any window can reach over the smallest noise variance, where it is known.
    pub(super) largest_ratio: Option<f64>,
    /// Whether sources withhold observations.
    pub(super) withholds: bool,
}

impl Plan {
    /// Memory of the whole process by this plan: all its parts, the program itself included.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let parts = [
            self.program_bytes,
            self.reading_bytes,
            self.slice_bytes,
            self.output_bytes,
            self.state_bytes,
            self.workspace_bytes,
            self.checkpoint_scratch_bytes,
            self.store_memory_bytes,
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    /// What the run may write, at most: output and one checkpoint of each tile of the kind that is kept, before
    /// compression.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let checkpoints = (self.full_checkpoint_bytes, self.light_checkpoint_bytes);
        self.store_bytes.saturating_add(checkpoint_bytes(self.checkpoint, checkpoints))
    }

    /// Free space where a store is, or will be when it is made; to compare with [`disk_bytes`](Self::disk_bytes). In
    /// memory that is what the machine has available. `None` where there is no limit: in an object store.
    ///
    /// # Errors
    /// [`Error::Store`] when the system does not report it, or for a URL of no storage.
    pub fn disk(&self, place: impl Into<Place>) -> Result<Option<DiskSpace>> {
        let folder = place.into().reading()?;
        let free_bytes = folder.free_bytes().map_err(|error| Error::Store {
            path: folder.path().to_path_buf(),
            problem: format!("the room on its disk is not known: {error}"),
            source: Some(Box::new(error)),
        })?;
        Ok(free_bytes.map(|free_bytes| DiskSpace { free_bytes }))
    }

    pub(super) fn new(input: &PlanInput<'_>) -> Result<Self> {
        let mut instruments: Vec<InstrumentPlan> =
            input.model.instruments.iter().map(|instrument| input.instrument_plan(instrument)).collect();
        let costs = Costs::new(input, &instruments);
        let (tile_shape, batch_dates) = tile::choose(&costs)?;
        let memory = costs.memory(tile_shape, batch_dates);
        let tiling = Tiling::new(input.model.target.shape(), tile_shape, input.window.0, input.window.1);
        let warnings = input.warnings(&costs, &tiling);
        let operations = if input.independent_cells {
            0.0
        } else {
            work::operations(input, &costs.window, tiling.window_count(), input.lag)
        };
        let (full_checkpoint_bytes, states_per_window) = (costs.full_checkpoint(tile_shape), costs.window.states);
        let light_checkpoint_bytes = costs.light_checkpoint();
        for (plan, instrument) in instruments.iter_mut().zip(&input.model.instruments) {
            plan.read_amplification = input.read_amplification(instrument, tile_shape);
        }
        let (rows, cols) = input.model.target.shape();
        let (store_bytes, checkpoint) = (input.store_bytes(), input.checkpoint(full_checkpoint_bytes));
        Ok(Self {
            target_shape: (rows, cols),
            dates: input.dates,
            observed_dates: input.steps.iter().filter(|(_, step)| !step.instruments.is_empty()).count(),
            tile_shape,
            tiles: tiling.tile_count(),
            independent_cells: input.independent_cells,
            windows: if input.independent_cells { 0 } else { tiling.window_count() },
            states_per_window,
            independent_parts: input.parts.len(),
            bands_together: input.model.bands_together(),
            bands_apart: input.model.apart.clone(),
            operations,
            batch_dates,
            threads: input.threads,
            budget_bytes: input.budget_bytes,
            lag: input.lag,
            precision: input.options.precision,
            program_bytes: memory.program,
            reading_bytes: memory.reading,
            slice_bytes: memory.slices,
            output_bytes: memory.output,
            state_bytes: memory.states,
            lag_bytes: memory.lag,
            workspace_bytes: memory.workspace,
            checkpoint_scratch_bytes: memory.checkpoint_scratch,
            store_memory_bytes: memory.store,
            encoding: input.encoding,
            overviews: input.overviews,
            store_bytes,
            store_objects: input.objects(tiling.tile_count()),
            checkpoint,
            full_checkpoint_bytes,
            light_checkpoint_bytes,
            instruments,
            warnings,
        })
    }
}

/// What is kept of the states, where all of them and those of the cells alone take so many bytes.
fn checkpoint_bytes(kept: Checkpoint, (full, light): (u64, u64)) -> u64 {
    match kept {
        Checkpoint::Full => full,
        Checkpoint::Off => 0,
        _ => light,
    }
}

impl PlanInput<'_> {
    /// Threads that read.
    fn readers(&self) -> usize {
        self.threads.max(self.model.reads_in_flight())
    }

    /// Bytes of a cell and date in the store, before compression; offsets are always float32.
    fn cell_bytes(&self) -> u64 {
        self.fused_bytes() + (2 * self.offsets * size_of::<f32>()) as u64
    }

    /// Those of fused values alone.
    fn fused_bytes(&self) -> u64 {
        let fused = self.layers.0 + self.layers.1 - 2 * self.offsets;
        (fused * self.encoding.dtype().bytes()) as u64
    }

    /// Instruments of whose pixels it is counted how often a gate refuses them, a byte of each.
    fn followed(&self) -> u64 {
        self.model.instruments.iter().filter(|instrument| instrument.follow.is_some()).count() as u64
    }

    /// Size of the output before compression.
    fn store_bytes(&self) -> u64 {
        let (rows, cols) = self.model.target.shape();
        let of = |(rows, cols): (usize, usize), cell: u64| {
            [self.dates, rows, cols].into_iter().fold(cell, |bytes, n| bytes.saturating_mul(n as u64))
        };
        let coarse =
            (1..=self.overviews).map(|k| of((rows.div_ceil(1 << k), cols.div_ceil(1 << k)), self.fused_bytes()));
        coarse.fold(of((rows, cols), self.cell_bytes()), u64::saturating_add)
    }

    /// Cells a side that tiles are multiples of: whole windows, and whole cells of the coarsest overview.
    fn tile_step(&self) -> usize {
        // The least common multiple of both, of which the second is a power of two.
        let shared = (self.window.0.trailing_zeros() as usize).min(self.overviews);
        self.window.0 << (self.overviews - shared)
    }

    /// What is kept of the states, if all of them take so many bytes.
    fn checkpoint(&self, full: u64) -> Checkpoint {
        match self.options.checkpoint {
            Checkpoint::Auto if full <= self.store_bytes().max(SMALL_CHECKPOINT) => Checkpoint::Full,
            Checkpoint::Auto => Checkpoint::Light,
            chosen => chosen,
        }
    }

    /// Files or objects of chunks of so many tiles.
    fn objects(&self, tiles: usize) -> u64 {
        let arrays = if self.offsets > 0 { 4 } else { 2 } + 2 * self.overviews as u64;
        let shards = self.dates.div_ceil(self.encoding.dates_per_object.max(1));
        [tiles, shards].into_iter().fold(arrays, |objects, n| objects.saturating_mul(n as u64))
    }

    fn instrument_plan(&self, instrument: &ObservationModel) -> InstrumentPlan {
        let source = &instrument.source;
        let dates: Vec<Date> = {
            let counts = |date: &Date| self.period.contains(instrument.counts_on(*date));
            source.dates().iter().copied().filter(counts).collect()
        };
        let unused = source.bands().iter().enumerate().filter(|(band, _)| !instrument.source_bands.contains(band));
        let coverage = source.coverage().unwrap_or_else(|| self.model.target.coverage(source.grid()));
        InstrumentPlan {
            idle: self.idle(source.as_ref(), dates.is_empty(), coverage),
            name: instrument.name.clone(),
            dates: dates.len(),
            span: dates.first().copied().zip(dates.last().copied()),
            bands: instrument.observed(&self.model.spectrum),
            unused_bands: unused.map(|(_, name)| name.clone()).collect(),
            coverage,
            block_shape: source.block_shape(),
            read_amplification: 1.0,
        }
    }

    /// Why an instrument gives nothing, as far as headers tell: time or place.
    fn idle(&self, source: &dyn RasterSource, no_date: bool, coverage: f64) -> Option<String> {
        let (period, target) = (self.period, &self.model.target);
        if no_date {
            let held = match source.dates() {
                [] => "it has no date".into(),
                [only] => format!("its date is {only}"),
                [first, .., last] => format!("its dates run from {first} to {last}"),
            };
            return Some(format!("it has no date between {} and {} (time); {held}", period.start(), period.end()));
        }
        let grid = source.grid();
        (coverage <= 0.0).then(|| {
            format!(
                "it does not touch the target grid ({target}), and lies on {grid} (place); check CRS, geotransform and unit of its files"
            )
        })
    }

    fn warnings(&self, costs: &Costs<'_>, tiling: &Tiling) -> Vec<String> {
        let mut warnings = Vec::new();
        for (plan, instrument) in costs.instruments().iter().zip(&self.model.instruments) {
            let of_files = instrument.source.warnings();
            let idle = plan.idle.iter().map(|idle| format!("gives nothing: {idle}"));
            let all = of_files.into_iter().chain(idle);
            warnings.extend(all.map(|text| format!("instrument {:?}: {text}", plan.name)));
        }
        for instrument in &self.model.instruments {
            let (start, end) = (self.period.start(), self.period.end());
            let counts = |date: &&Date| **date >= start && **date <= end && instrument.counts_on(**date) > end;
            let late: Vec<Date> = instrument.source.dates().iter().filter(counts).copied().collect();
            if let Some(last) = late.last() {
                let (name, number, last) = (&instrument.name, late.len(), instrument.counts_on(*last));
                warnings.push(format!(
                    "instrument {name:?}: {number} of its dates count after {end}, on the last day of their windows, and are not \
                     used; with time.end = {last}, and the output dates named, they are"
                ));
            }
        }
        for (plan, instrument) in costs.instruments().iter().zip(&self.model.instruments) {
            let (used, unused) = (plan.bands.len(), plan.unused_bands.len());
            if instrument.by_name && self.model.spectrum.basis().is_some() && unused > 0 {
                let text = "have the name of a target band; give it a `response`, or `bands`";
                warnings.push(format!("instrument {:?}: only {used} of its {} bands {text}", plan.name, used + unused));
            }
        }
        if self.lag_asked >= self.dates {
            let (asked, dates) = (self.lag_asked, self.dates);
            let text = "are output: every value uses all observations";
            warnings.push(format!("a lag of {asked}, but only {dates} dates {text}"));
        }
        if self.options.precision == Precision::F32 && costs.window.double {
            let text = "memory is planned for in float64, which windows continue in when float32 loses precision";
            warnings.push(format!("variances may get too large against the noise for float32: {text}"));
        }
        if !self.independent_cells {
            warnings.extend(work::warning(self, &costs.window, tiling.window_count()));
        }
        let (rows, cols) = tiling.tile_shape();
        if tiling.tile_count() > 1 && rows * cols < SMALL_TILE && self.options.shards == 1 {
            let text =
                "make many small chunks and slow reading and writing; more memory or smaller windows make larger tiles";
            warnings.push(format!("tiles of {rows} x {cols} cells {text}"));
        }
        warnings
    }
}
