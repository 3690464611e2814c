//! The slices that a fusion would read, without fusing them: tile by tile, each through all its dates.

use std::time::Instant;

use super::Fusion;
use super::in_flight::InFlight;
use super::progress::Progress;
use super::steps::Step;
use super::tile::TileReader;
use super::window::Reading;
use crate::error::Result;
use crate::geometry::{Date, Tile};

/// Reads the pixels of some instruments under the cells of each tile, in batches of dates, no mean function subtracted.
#[derive(Debug)]
pub(crate) struct TileReadings<'a> {
    fusion: &'a Fusion,
    /// The dates of these instruments.
    steps: Vec<(Date, Step)>,
    next_tile: usize,
    current: Option<(Tile, TileReader, usize)>,
    in_flight: InFlight,
    started: Instant,
}

/// A batch of dates of a tile.
#[derive(Debug)]
pub(crate) struct TileBatch {
    pub(crate) tile: Tile,
    pub(crate) readings: Vec<Reading>,
    /// Whether no other follows of this tile.
    pub(crate) last: bool,
}

impl Fusion {
    /// The slices of the instruments that `wanted` accepts, by their positions.
    pub(crate) fn readings(&self, wanted: impl Fn(usize) -> bool) -> TileReadings<'_> {
        let of_wanted = |(date, step): &(Date, Step)| {
            let instruments: Vec<usize> = step.instruments.iter().copied().filter(|&k| wanted(k)).collect();
            (!instruments.is_empty()).then_some((*date, Step { output: None, instruments }))
        };
        TileReadings {
            fusion: self,
            steps: self.steps.iter().filter_map(of_wanted).collect(),
            next_tile: 0,
            current: None,
            in_flight: InFlight::default(),
            started: Instant::now(),
        }
    }
}

impl TileReadings<'_> {
    /// The next batch, or `None` when all is read or there is nothing to read.
    pub(crate) fn next_batch(&mut self) -> Result<Option<TileBatch>> {
        let fusion = self.fusion;
        let (tile, reader, first) = match self.current.take() {
            Some(current) => current,
            None => {
                let next = fusion.tiling.tile(self.next_tile).filter(|_| !self.steps.is_empty());
                let Some(tile) = next else { return Ok(None) };
                self.next_tile += 1;
                (tile.clone(), TileReader::of_cells(&fusion.model, &tile), 0)
            }
        };
        let end = (first + fusion.plan.batch_dates).min(self.steps.len());
        let steps = &self.steps[first..end];
        let readings = fusion.naming(fusion.pool.install(|| reader.read(fusion, steps, &self.in_flight)))?;
        let last = end == self.steps.len();
        if !last {
            self.current = Some((tile.clone(), reader, end));
        }
        Ok(Some(TileBatch { tile, readings, last }))
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> Progress {
        let (tiles, dates) = (self.fusion.tiling.tile_count(), self.steps.len());
        let (ended, under_way) = match &self.current {
            Some((.., next)) => (self.next_tile - 1, *next),
            None => (self.next_tile, 0),
        };
        Progress {
            tiles: (ended, tiles),
            dates: (ended * dates + under_way, tiles * dates),
            elapsed: self.started.elapsed(),
            ..Progress::default()
        }
    }
}
