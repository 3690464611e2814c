use std::fmt;

use bytesize::ByteSize;

use super::Precision;
use super::steps::Step;
use crate::error::{Error, Result};
use crate::filter::{State, Workspace};
use crate::geometry::{Date, DateRange, Grid, Rect, Tiling};
use crate::model::{FarSamples, ObservationModel};

/// Sides of a tile at most, in cells: beyond it chunks of the output get unwieldy and nothing is gained.
const LARGEST_TILE: usize = 256;

/// Cells of a tile below which its chunks are unwieldy.
const SMALL_TILE: u64 = 32 * 32;

/// What a window, and each of its parts, takes whatever its size.
const WINDOW_BYTES: usize = 1024;

/// What a run will take, known before it starts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Target cells (rows, columns).
    pub target_shape: (usize, usize),
    /// Dates put out.
    pub dates: usize,
    /// Dates on which something is read.
    pub observed_dates: usize,
    /// Cells per tile (rows, columns); also the output chunk.
    pub tile_shape: (usize, usize),
    /// Number of tiles.
    pub tiles: usize,
    /// Number of windows.
    pub windows: usize,
    /// States of the largest window (spatial states × components).
    pub states_per_window: usize,
    /// Groups of components that no observation couples; their states are filtered apart.
    pub independent_parts: usize,
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
    /// Memory of the window states of one tile, remembered dates included.
    pub state_bytes: u64,
    /// How much of it is for the dates that a lag remembers.
    pub lag_bytes: u64,
    /// Memory of a batch of input slices.
    pub slice_bytes: u64,
    /// Memory of a batch of output.
    pub output_bytes: u64,
    /// Scratch memory of all workers.
    pub workspace_bytes: u64,
    /// Size of the output before compression.
    pub store_bytes: u64,
    /// What each instrument brings.
    pub instruments: Vec<InstrumentPlan>,
    /// What looks odd without being an error.
    pub warnings: Vec<String>,
}

/// What an instrument brings to a run.
#[derive(Clone, Debug, PartialEq)]
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
    /// Share of the target's extent inside the instrument's, from 0 to 1.
    pub coverage: f64,
}

/// What the plan is worked out from.
pub(super) struct PlanInput<'a> {
    pub(super) target: &'a Grid,
    pub(super) bands: &'a [String],
    /// Components of each part that is filtered by itself.
    pub(super) parts: &'a [usize],
    /// (size, halo)
    pub(super) window: (usize, usize),
    pub(super) far: FarSamples,
    /// Distinct spatial correlations.
    pub(super) correlations: usize,
    pub(super) instruments: &'a [ObservationModel],
    pub(super) period: DateRange,
    pub(super) steps: &'a [(Date, Step)],
    pub(super) dates: usize,
    pub(super) tile: Option<(usize, usize)>,
    pub(super) batch_dates: usize,
    pub(super) budget_bytes: u64,
    pub(super) threads: usize,
    pub(super) lag: usize,
    /// The lag asked for, which may be longer than the series.
    pub(super) lag_asked: usize,
    /// Whether the process covariance depends on the state's past.
    pub(super) adaptive: bool,
    pub(super) precision: Precision,
    /// Largest variance that any window can reach over the smallest noise variance, where it is known.
    pub(super) largest_ratio: Option<f64>,
}

impl Plan {
    /// Memory of the run by this plan, on top of what the program takes at rest: its code, GDAL and GDAL's block cache.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let rest = self.slice_bytes + self.output_bytes + self.workspace_bytes;
        self.state_bytes.saturating_add(rest)
    }

    pub(super) fn new(input: &PlanInput<'_>) -> Result<Self> {
        let window = WindowCost::new(input);
        let plan_of = |tile_shape| input.plan(&window, tile_shape);
        let plan = match input.tile {
            Some((rows, cols)) => plan_of((rows.min(input.target.rows()), cols.min(input.target.cols()))),
            None => {
                let size = input.window.0;
                let longest = input.target.rows().max(input.target.cols()).min(LARGEST_TILE.max(size));
                // The largest square of whole windows that fits; the smallest when none does.
                let shape = |k: usize| ((k * size).min(input.target.rows()), (k * size).min(input.target.cols()));
                let fits = |k: &usize| plan_of(shape(*k)).memory_bytes() <= input.budget_bytes;
                plan_of(shape((1..=longest.div_ceil(size)).rev().find(fits).unwrap_or(1)))
            }
        };
        if plan.memory_bytes() > input.budget_bytes {
            return Err(Error::Memory {
                budget_bytes: input.budget_bytes,
                needed_bytes: plan.memory_bytes(),
                states: plan.states_per_window,
                tile_rows: plan.tile_shape.0,
                tile_cols: plan.tile_shape.1,
            });
        }
        Ok(plan)
    }
}

/// States and bytes of the largest window.
struct WindowCost {
    states: usize,
    /// Scratch memory of a worker.
    workspace: u64,
    /// Correlation between the cells, shared by windows of the same shape.
    shape_bytes: u64,
    /// Different shapes of windows at most; with far samples every window may have its own.
    shapes: usize,
    bytes: u64,
    /// Of which for remembered dates.
    lag_bytes: u64,
    /// Whether covariances are counted in float64.
    double: bool,
}

impl WindowCost {
    fn new(input: &PlanInput<'_>) -> Self {
        let (size, halo) = input.window;
        let tiling = Tiling::new(input.target.shape(), (1, 1), size, halo);
        let side =
            |ranges: &mut dyn Iterator<Item = std::ops::Range<i64>>| ranges.map(|r| r.end - r.start).max().unwrap_or(0);
        let near = (side(&mut tiling.padded_rows()) * side(&mut tiling.padded_cols())) as usize;
        let cells = near + input.far.count;
        let (mut pixels, mut remainders) = (0, 0);
        for instrument in input.instruments {
            let most = instrument.lattice.most_pixels(tiling.padded_rows(), tiling.padded_cols());
            pixels += most.0 + input.far.count;
            // A far cell brings in at most one more pixel, seen in part.
            let coarse = instrument.lattice.largest() != (1, 1);
            remainders += most.1 + if coarse { input.far.count } else { 0 };
        }
        let n = cells + remainders;
        let states = n * input.parts.iter().sum::<usize>();
        // A row's entries: every cell once per instrument, a remainder per pixel.
        let rows = (cells * input.instruments.len() + pixels) * 12 + pixels * 12 + cells * 16;
        let tails = input.correlations * remainders * n * size_of::<f64>();
        let fixed = WINDOW_BYTES * (1 + input.parts.len());
        let small = (states * size_of::<f64>() + rows + tails + fixed) as u64;
        let own = size.min(input.target.rows()) * size.min(input.target.cols());
        // What a state can have seen before it is forgotten.
        let dates = if input.lag > 0 { input.steps.len() } else { 1 };
        let fits = input.largest_ratio.is_some_and(|ratio| State::<f32>::always_fits(ratio, pixels * dates));
        let double = input.precision == Precision::F64 || !fits;
        let state_bytes = if double { State::<f64>::bytes } else { State::<f32>::bytes };
        let states_of = |lag: usize| {
            let parts = input.parts.iter().map(|c| state_bytes(n * c, own * c, lag));
            parts.fold(0, u64::saturating_add)
        };
        let history = if input.adaptive { State::<f64>::history_bytes(states, n) } else { 0 };
        let lag_bytes = states_of(input.lag).saturating_sub(states_of(0));
        let bytes = small.saturating_add(states_of(0)).saturating_add(lag_bytes).saturating_add(history);
        let largest = input.parts.iter().max().copied().unwrap_or(1);
        let rows = (n + input.lag * own) * largest;
        let workspace = Workspace::<f64>::bytes(rows)
            + match input.precision {
                Precision::F64 => 0,
                // And the copy of a state that an update may have to be undone to.
                Precision::F32 => {
                    let copy = State::<f32>::bytes(n * largest, own * largest, input.lag);
                    Workspace::<f32>::bytes(rows) + usize::try_from(copy).unwrap_or(usize::MAX / 4)
                }
            };
        let shapes = if input.far.count == 0 { tiling.window_shapes() } else { usize::MAX };
        let shape_bytes = (input.correlations * cells * (cells + 1) / 2 * size_of::<f64>()) as u64;
        Self { states, workspace: workspace as u64, bytes, shape_bytes, shapes, lag_bytes, double }
    }
}

impl PlanInput<'_> {
    fn plan(&self, window: &WindowCost, tile_shape: (usize, usize)) -> Plan {
        let (size, halo) = self.window;
        let tiling = Tiling::new(self.target.shape(), tile_shape, size, halo);
        let across = |cells: usize, total: usize| {
            // A tile that is not made of whole windows may cut one more on each side.
            let straddle = usize::from(!cells.is_multiple_of(size) && cells < total);
            cells.div_ceil(size) + straddle
        };
        let windows = across(tile_shape.0, self.target.rows()) * across(tile_shape.1, self.target.cols());
        let cells = (tile_shape.0 * tile_shape.1) as u64;
        let bands = self.parts.iter().sum::<usize>();
        let word = size_of::<f64>() as u64;
        let batch = self.batch_dates.min(self.steps.len()).max(1) as u64;
        // Results wait once per window and once as blocks; mean and standard deviation.
        // The last batch also flushes what waits for the lag.
        let output = 2 * 2 * (batch + self.lag as u64) * cells * bands as u64 * word;
        let slices: u64 = self.instruments.iter().map(|instrument| self.slice_bytes(instrument, tile_shape)).sum();
        let instruments: Vec<_> = self.instruments.iter().map(|instrument| self.instrument_plan(instrument)).collect();
        let mut warnings = Vec::new();
        for (plan, instrument) in instruments.iter().zip(self.instruments) {
            if plan.coverage == 0.0 {
                let grid = instrument.source.grid();
                warnings.push(format!("instrument {:?} does not touch the target grid ({grid})", plan.name));
            }
            if plan.dates == 0 {
                let (start, end) = (self.period.start(), self.period.end());
                warnings.push(format!("instrument {:?} has no date between {start} and {end}", plan.name));
            }
        }
        if self.lag_asked > self.lag {
            let (asked, dates) = (self.lag_asked, self.dates);
            let text = "are put out: every one of them waits for the last and rests on all observations";
            warnings.push(format!("a lag of {asked}, but only {dates} dates {text}"));
        }
        if self.precision == Precision::F32 && window.double {
            let text = "memory is planned for in float64, which windows go on in where digits run out";
            warnings.push(format!("variances may get too large against the noise for float32: {text}"));
        }
        if tiling.tile_count() > 1 && cells < SMALL_TILE {
            let (rows, cols) = tile_shape;
            let text =
                "make many small chunks and slow reading and writing; more memory or smaller windows make larger tiles";
            warnings.push(format!("tiles of {rows} x {cols} cells {text}"));
        }
        let value = size_of::<f32>() as u64;
        Plan {
            target_shape: self.target.shape(),
            dates: self.dates,
            observed_dates: self.steps.iter().filter(|(_, step)| !step.instruments.is_empty()).count(),
            tile_shape,
            tiles: tiling.tile_count(),
            windows: tiling.window_count(),
            states_per_window: window.states,
            independent_parts: self.parts.len(),
            batch_dates: batch as usize,
            threads: self.threads,
            budget_bytes: self.budget_bytes,
            lag: self.lag,
            precision: self.precision,
            lag_bytes: window.lag_bytes.saturating_mul(windows as u64),
            state_bytes: window
                .bytes
                .saturating_mul(windows as u64)
                .saturating_add(window.shape_bytes.saturating_mul(window.shapes.min(windows) as u64)),
            slice_bytes: batch * slices,
            output_bytes: output,
            workspace_bytes: window.workspace.saturating_mul(self.threads as u64),
            store_bytes: [self.dates, bands, self.target.rows(), self.target.cols()]
                .into_iter()
                .fold(2 * value, |bytes, n| bytes.saturating_mul(n as u64)),
            instruments,
            warnings,
        }
    }

    fn instrument_plan(&self, instrument: &ObservationModel) -> InstrumentPlan {
        let dates: Vec<Date> =
            instrument.source.dates().iter().copied().filter(|date| self.period.contains(*date)).collect();
        InstrumentPlan {
            name: instrument.name.clone(),
            dates: dates.len(),
            span: dates.first().copied().zip(dates.last().copied()),
            bands: instrument.observed(self.bands),
            coverage: self.target.coverage(instrument.source.grid()),
        }
    }

    /// One instrument's slice of one date, over a tile with its context.
    fn slice_bytes(&self, instrument: &ObservationModel, tile_shape: (usize, usize)) -> u64 {
        let halo = self.window.1 as i64;
        let size = self.window.0 as i64;
        let far = |cell: f64| if self.far.count > 0 { (self.far.radius / cell).ceil() as i64 } else { 0 };
        let (width, height) = self.target.cell_size();
        let pad = (halo.max(far(height)) + size, halo.max(far(width)) + size);
        let rect = Rect::new(0..tile_shape.0 as i64 + 2 * pad.0, 0..tile_shape.1 as i64 + 2 * pad.1);
        let (pixel_width, pixel_height) = instrument.source.grid().cell_size();
        let across = |cells: i64, cell: f64, pixel: f64| (cells as f64 * cell / pixel).ceil() as u64 + 2;
        let pixels = across(rect.bottom, height, pixel_height) * across(rect.right, width, pixel_width);
        let (grid_rows, grid_cols) = instrument.source.grid().shape();
        let pixels = pixels.min((grid_rows * grid_cols) as u64);
        pixels * (instrument.source_bands.len() * size_of::<f64>()) as u64
    }
}

/// `1.5 GiB` and the like.
fn human(bytes: u64) -> impl fmt::Display {
    ByteSize::b(bytes).display().iec()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, cols) = self.target_shape;
        let (tile_rows, tile_cols) = self.tile_shape;
        writeln!(f, "target    {rows} x {cols} cells, {} dates out, {} observed", self.dates, self.observed_dates)?;
        for instrument in &self.instruments {
            write!(f, "input     {}: {} dates", instrument.name, instrument.dates)?;
            if let Some((first, last)) = instrument.span {
                write!(f, " from {first} to {last}")?;
            }
            let bands: Vec<String> = instrument.bands.iter().map(|(from, to)| format!("{from} -> {to}")).collect();
            writeln!(f, "; {}; covers {:.0} % of the target", bands.join(", "), 100.0 * instrument.coverage)?;
        }
        writeln!(
            f,
            "tiles     {} of {tile_rows} x {tile_cols} cells; {} windows of at most {} states in {} independent parts",
            self.tiles, self.windows, self.states_per_window, self.independent_parts
        )?;
        let Self { batch_dates, threads, lag, precision, .. } = self;
        writeln!(f, "batches   {batch_dates} dates on {threads} threads, {precision} covariances, lag {lag}")?;
        writeln!(
            f,
            "memory    {} of {} allowed: states {} (lag {}), slices {}, output {}, scratch {}",
            human(self.memory_bytes()),
            human(self.budget_bytes),
            human(self.state_bytes),
            human(self.lag_bytes),
            human(self.slice_bytes),
            human(self.output_bytes),
            human(self.workspace_bytes)
        )?;
        write!(f, "store     {} before compression", human(self.store_bytes))?;
        for warning in &self.warnings {
            write!(f, "\nwarning   {warning}")?;
        }
        Ok(())
    }
}
