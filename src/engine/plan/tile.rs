//! Which tile and batch make the most of a budget.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::cost::Costs;
use super::reads::blocks;
use crate::error::{Error, Result};

/// Cells of a tile at most, which is also a chunk of the output: larger ones are unwieldy. A window is never parted.
const LARGEST_AREA: usize = 256 * 256;

/// Every width of whole windows up to this many cells is tried.
const NARROW: usize = 256;

/// So many blocks of the storage side by side are tried as a width; beyond, what sticks out at the ends matters little.
const MOST_BLOCKS: usize = 32;

/// Dates of a batch unless given, halved while memory is too small.
const BATCH: usize = 8;

/// Tiles for each of several processes at least, so that none waits long for another's last.
const TILES_PER_SHARD: usize = 4;

/// Tile and dates per batch: as given, or the best that the budget allows.
pub(super) fn choose(costs: &Costs<'_>) -> Result<((usize, usize), usize)> {
    let input = costs.input();
    let (rows, cols) = input.model.target.shape();
    let clip = |tile: (usize, usize)| (tile.0.min(rows), tile.1.min(cols));
    let step = input.tile_step();
    let smallest = clip(input.tile.unwrap_or((step, step)));
    check_overviews(input.overviews, smallest, (rows, cols))?;
    let most = input.steps.len().max(1);
    let (first, last) = input.options.batch_dates.map_or((BATCH, 1), |dates| (dates, dates));
    let mut batch = first.min(most);
    while batch > last && !fits(costs, smallest, batch) {
        batch /= 2;
    }
    if !fits(costs, smallest, batch) {
        return Err(Error::Memory {
            budget_bytes: input.budget_bytes,
            needed_bytes: costs.memory(smallest, batch).total(),
            states: costs.window.states,
            tile_rows: smallest.0,
            tile_cols: smallest.1,
            batch_dates: batch,
        });
    }
    Ok((if input.tile.is_some() { smallest } else { best(costs, smallest, batch) }, batch))
}

/// Refuses tiles whose edges lie within cells of an overview, unless the grid ends there.
fn check_overviews(levels: usize, tile: (usize, usize), grid: (usize, usize)) -> Result<()> {
    let cells = 1 << levels;
    let whole = |tile: usize, grid: usize| tile >= grid || tile.is_multiple_of(cells);
    if whole(tile.0, grid.0) && whole(tile.1, grid.1) {
        return Ok(());
    }
    let (rows, cols) = tile;
    let problem = format!(
        "{levels} need tiles of a multiple of {cells} cells a side, and output.tile is [{rows}, {cols}]; give such tiles, or fewer \
         overviews"
    );
    Err(Error::setting("output.overviews", problem))
}

fn fits(costs: &Costs<'_>, tile: (usize, usize), batch: usize) -> bool {
    costs.memory(tile, batch).total() <= costs.input().budget_bytes
}

/// The tile that reads least more than it must; of these the largest, then the squarest. Candidates are, for each
/// width, the tallest that fits and the tallest of whole blocks of each instrument.
fn best(costs: &Costs<'_>, smallest: (usize, usize), batch: usize) -> (usize, usize) {
    let input = costs.input();
    let size = input.tile_step();
    let (rows, cols) = input.model.target.shape();
    let windows = rows.div_ceil(input.window.0) * cols.div_ceil(input.window.0);
    let tiles =
        if input.options.shards > 1 { input.options.shards.saturating_mul(TILES_PER_SHARD).min(windows) } else { 1 };
    let area = LARGEST_AREA.max(smallest.0 * smallest.1);
    let may = |tile: (usize, usize)| {
        tile.0 * tile.1 <= area && rows.div_ceil(tile.0) * cols.div_ceil(tile.1) >= tiles && fits(costs, tile, batch)
    };
    let mut widths: BTreeSet<usize> = (1..=(NARROW / size).max(1)).map(|k| k * size).collect();
    let blocks = blocks(input);
    // So many blocks, filled up to whole windows.
    let filled = |k: usize, cells: f64| ((k as f64 * cells).ceil() as usize).next_multiple_of(size);
    for &(_, across) in &blocks {
        widths.extend((1..=MOST_BLOCKS).map(|k| filled(k, across)));
    }
    widths.retain(|&width| width < cols);
    widths.extend([smallest.1, cols]);
    let mut candidates = BTreeSet::from([smallest]);
    for width in widths {
        let height = |k: usize| (k * size).min(rows);
        // Heights that may be come before those that may not.
        let (mut good, mut bad) = (0, rows.div_ceil(size) + 1);
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            if may((height(middle), width)) { good = middle } else { bad = middle }
        }
        if good > 0 {
            let tallest = height(good);
            let whole = blocks.iter().map(|(down, _)| filled((tallest as f64 / down).floor() as usize, *down));
            let whole = whole.filter(|&height| height > 0 && height < tallest);
            candidates.extend(whole.chain([tallest]).map(|height| (height, width)));
        }
    }
    let merit = |tile: &(usize, usize)| {
        let tenths = (10.0 * amplification(costs, *tile)).round() as u64;
        (tenths, Reverse(tile.0 * tile.1), tile.0.max(tile.1))
    };
    candidates.into_iter().min_by_key(merit).unwrap_or(smallest)
}

/// Mean over the instruments, by what each brings in.
fn amplification(costs: &Costs<'_>, tile: (usize, usize)) -> f64 {
    let input = costs.input();
    let (mut sum, mut weights) = (0.0, 0.0);
    for (instrument, plan) in input.model.instruments.iter().zip(costs.instruments()) {
        let weight = input.needed_pixels(instrument) as f64 * (instrument.source_bands.len() * plan.dates) as f64;
        sum += weight * input.read_amplification(instrument, tile);
        weights += weight;
    }
    if weights > 0.0 { sum / weights } else { 1.0 }
}
