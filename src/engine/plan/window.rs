//! What the largest window takes: states, memory, and what a checkpoint keeps of it.

use super::PlanInput;
use super::bytes::{WORD, product, total};
use crate::engine::Precision;
use crate::filter::{State, Workspace};
use crate::geometry::Tiling;
use crate::model::{CompositeModel, FieldModel, NodeStates, OfInstrument, PartSize, StateCurves};

/// What a window, and each of its parts, takes whatever its size.
const WINDOW_BYTES: usize = 1024;

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
    pub(super) workspace: u64,
    /// Correlation between the cells, shared by windows of the same shape.
    pub(super) shape_bytes: u64,
    /// Different shapes of windows at most; with far samples or features every window may have its own.
    pub(super) shapes: usize,
    pub(super) bytes: u64,
    /// Of which for remembered dates.
    pub(super) lag_bytes: u64,
    /// Whether covariances are counted in float64.
    pub(super) double: bool,
    /// What a checkpoint keeps of it: mean, lower triangle, remembered dates, history, levels.
    pub(super) checkpoint_bytes: u64,
}

impl WindowCost {
    pub(super) fn new(input: &PlanInput<'_>) -> Self {
        let (size, halo) = input.window;
        let tiling = Tiling::new(input.model.target.shape(), (1, 1), size, halo);
        let side =
            |ranges: &mut dyn Iterator<Item = std::ops::Range<i64>>| ranges.map(|r| r.end - r.start).max().unwrap_or(0);
        let near = (side(&mut tiling.padded_rows()) * side(&mut tiling.padded_cols())) as usize;
        let cells = near + input.model.far.count;
        let ObservedPixels { counts, remainders, entries, followed, states: of_instruments } =
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
        let small = (states * size_of::<f64>() + rows + tails + fixed + curves + followed) as u64;
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
        let checkpoint_bytes = input.parts.iter().zip(&part_states).map(kept);
        let checkpoint_bytes = checkpoint_bytes.fold(history + followed as u64, u64::saturating_add);
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
    /// Pixels of which it is counted how often a gate refuses them.
    followed: usize,
    /// States of each instrument.
    states: Vec<OfInstrument>,
}

impl ObservedPixels {
    /// Of a window of so many `cells`, far ones included.
    fn new(input: &PlanInput<'_>, tiling: &Tiling, cells: usize) -> Self {
        let (mut remainders, mut entries, mut followed) = (0, 0, 0);
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
            followed += if instrument.follow.is_some() { count } else { 0 };
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
        Self { counts, remainders, entries, followed, states }
    }
}

/// What a checkpoint keeps of `n` states of which `lagged` are remembered at `lag` times.
fn kept_bytes(n: usize, lagged: usize, lag: usize, word: u64, columns: usize) -> u64 {
    let (n, lagged, columns) = (n as u64, product([lagged as u64, lag as u64]), columns as u64);
    // Of a remembered state: its covariance with the present ones, its mean and variance then and now.
    let remembered = product([lagged, total([product([n, word]), (2 + columns) * WORD])]);
    total([product([n, n + 1, word]) / 2, product([n, columns, WORD]), remembered])
}
