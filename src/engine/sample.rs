//! Blocks of the target with what was observed of them, kept in memory: what parameters are estimated from.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{Array2, s};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::in_flight::InFlight;
use super::steps::Step;
use super::tile::TileReader;
use super::window::{Prediction, Reading, SquareSum, Worker};
use super::windows::{Correlations, TileInputs, WindowSetup, build};
use super::{Fusion, Precision};
use crate::describe::Missing;
use crate::error::{Error, Result};
use crate::geometry::{Date, PixelRegion, Tile, Tiling, Window};
use crate::model::{CompositeModel, Model, ObservationModel, ProcessModel};

/// Blocks looked at for each that is kept: those with most values are.
const CANDIDATES: usize = 2;

/// Correlations of a block that are kept for each part while models are tried: those of a point and of its neighbours
/// along ranges and nuggets.
const CORRELATIONS: usize = 4;

/// Points of the sequence tried for each block that is looked at.
const TRIES: usize = 64;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampling {
    /// Blocks, at most.
    pub(crate) blocks: usize,
    /// The cells of a block.
    pub(crate) cells: BlockCells,
    /// Dates of a block with observations, at most: a stretch of the series.
    pub(crate) dates: usize,
    /// Worker threads; 0 is one per core.
    pub(crate) threads: usize,
}

/// The cells of a block: a square, and further single cells scattered around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BlockCells {
    /// Cells per side of the square.
    pub(crate) side: usize,
    /// Further cells.
    pub(crate) scattered: usize,
    /// How far they lie at most, in cells.
    pub(crate) radius: f64,
}

/// Blocks of the target grid whose squares share no cell, each with a stretch of its observations.
///
/// Without scattered cells every observation belongs to one block, the one that holds its pixel's centre, so that blocks
/// share no data and the likelihood counts each value once. With them a block has all observations of its cells, some of
/// which others have too: a composite likelihood (Varin, Reid & Firth, *An overview of composite likelihood methods*,
/// Statistica Sinica 21, 2011).
#[derive(Debug)]
pub(crate) struct Sample {
    cells: BlockCells,
    tiling: Tiling,
    blocks: Vec<SampleBlock>,
    pool: ThreadPool,
}

/// One block and its observations.
#[derive(Debug)]
pub(crate) struct SampleBlock {
    pub(crate) region: PixelRegion,
    /// The day that the prior describes.
    before: Date,
    readings: Vec<Reading>,
    /// Values that are not missing.
    pub(crate) values: usize,
}

/// What each date adds to the log-likelihood of a block.
pub(crate) type ByDate = Vec<OfDate>;

/// What a date adds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OfDate {
    pub(crate) date: Date,
    pub(crate) log_likelihood: f64,
    /// Degrees of freedom: uncorrelated observations, fewer than values where bands share a component.
    pub(crate) dof: usize,
    /// Of bands together whose effects are looked for, what the log-likelihood is made of; effects are no values.
    pub(crate) squares: Option<SquareSum>,
}

/// One value of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ObservedValue {
    pub(crate) instrument: usize,
    /// Among the bands the instrument reads.
    pub(crate) band: usize,
    /// Pixel (row, column) on the instrument's grid.
    pub(crate) pixel: (usize, usize),
    pub(crate) date: Date,
    pub(crate) value: f64,
}

impl Sample {
    /// Reads blocks of what a fusion observes, spread over the target by an Owen-scrambled Sobol sequence, whose
    /// third dimension chooses the stretch of the series where it is longer than asked for. Of the blocks looked at
    /// those with most values are kept.
    ///
    /// # Errors
    /// Those of reading; [`Error::Setting`] when no block holds a value.
    pub(crate) fn read(fusion: &Fusion, sampling: Sampling) -> Result<Self> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(sampling.threads)
            .thread_name(|index| format!("rasterfuse-estimate-{index}"))
            .build()
            .map_err(|error| Error::Threads { threads: sampling.threads, source: Box::new(error) })?;
        let (rows, cols) = fusion.model.target.shape();
        let side = sampling.cells.side;
        let tiling = Tiling::new((rows, cols), (side, side), side, 0);
        let grid = (rows.div_ceil(side), cols.div_ceil(side));
        let wanted = sampling.blocks.saturating_mul(CANDIDATES).min(grid.0 * grid.1);
        let mut places: Vec<((usize, usize), f64)> = Vec::new();
        for k in 0..wanted.saturating_mul(TRIES) as u32 {
            if places.len() == wanted {
                break;
            }
            let [row, col, time] = [0, 1, 2].map(|dimension| f64::from(sobol_burley::sample(k, dimension, 0)));
            let place = ((row * rows as f64) as usize / side, (col * cols as f64) as usize / side);
            if !places.iter().any(|(known, _)| *known == place) {
                places.push((place, time));
            }
        }
        let block = |((row, col), time): ((usize, usize), f64)| {
            let along = |k: usize, end: usize| k * side..((k + 1) * side).min(end);
            let tile = Tile { index: (row, col), region: PixelRegion::new(along(row, rows), along(col, cols)) };
            SampleBlock::read(fusion, &tiling, tile, &sampling, time)
        };
        let mut blocks = pool.install(|| places.into_par_iter().map(block).collect::<Result<Vec<_>>>())?;
        let mut by_values: Vec<usize> = (0..blocks.len()).collect();
        by_values.sort_by_key(|&k| std::cmp::Reverse(blocks[k].values));
        let kept = &by_values[..by_values.len().min(sampling.blocks)];
        let mut index = 0..;
        blocks.retain(|block| index.next().is_some_and(|k| kept.contains(&k)) && block.values > 0);
        if blocks.is_empty() {
            let problem =
                "no value in any of the sampled blocks; check time, masks and valid_range, or use more windows";
            return Err(Error::setting("estimate.windows", problem));
        }
        Ok(Self { cells: sampling.cells, tiling, blocks, pool })
    }

    pub(crate) fn cells(&self) -> BlockCells {
        self.cells
    }

    pub(crate) fn blocks(&self) -> &[SampleBlock] {
        &self.blocks
    }

    /// What is read for each block, for all models of this structure: it does not depend on their numbers.
    ///
    /// # Errors
    /// Those of reading what the model refers to.
    pub(crate) fn inputs(&self, model: &Model) -> Result<SampleInputs> {
        let of_block = |block: &SampleBlock| {
            TileInputs::new(model, &self.tiling, &block.region, |extent| model.prior.read(&model.target, extent))
        };
        let blocks = self.install(|| self.blocks.par_iter().map(of_block).collect::<Result<Vec<_>>>())?;
        let with_readings = |(tile, block): (TileInputs, &SampleBlock)| BlockInputs {
            tile,
            readings: Reading::counted(&block.readings, &model.instruments),
            recent: Mutex::default(),
        };
        let capacity = CORRELATIONS * model.parts.len();
        Ok(SampleInputs { blocks: blocks.into_iter().zip(&self.blocks).map(with_readings).collect(), capacity })
    }

    /// Log-likelihood of the first `blocks` blocks under each of some models, date by date; `None` where the
    /// arithmetic breaks down, and for what is no model. Reads nothing. Blocks in parallel; models that correlate
    /// states in the same way share the work.
    ///
    /// # Errors
    /// What has nothing to do with numbers.
    pub(crate) fn by_date(
        &self,
        models: &[Option<Model>],
        inputs: &SampleInputs,
        blocks: usize,
    ) -> Result<Vec<Vec<Option<ByDate>>>> {
        let blocks = blocks.min(self.blocks.len());
        let of_block = |k: usize| -> Result<Vec<Option<ByDate>>> {
            let of_model = |model: &Option<Model>| {
                let Some(model) = model else { return Ok(None) };
                let correlations = inputs.correlations(k, model);
                possible(self.blocks[k].log_likelihood(model, &inputs.blocks[k], &correlations))
            };
            models.iter().map(of_model).collect()
        };
        let by_block =
            self.install(|| (0..blocks).into_par_iter().with_max_len(1).map(of_block).collect::<Result<Vec<_>>>())?;
        let mut by_block: Vec<_> = by_block.into_iter().map(Vec::into_iter).collect();
        Ok(models.iter().map(|_| by_block.iter_mut().map(|dates| dates.next().flatten()).collect()).collect())
    }

    /// Predictions of the values that `withheld` chooses by block, instrument and date, from the other observations up
    /// to their dates; only pixels of the squares are predicted. `gap` withholds no more than these: scattered cells show
    /// their values of the date. `None` for blocks where the arithmetic breaks down.
    ///
    /// # Errors
    /// What has nothing to do with numbers.
    pub(crate) fn predictions(
        &self,
        model: &Model,
        inputs: &SampleInputs,
        gap: bool,
        withheld: impl Fn(usize, usize, Date) -> bool + Sync,
    ) -> Result<Vec<Option<Vec<Prediction>>>> {
        let of_block = |k: usize| {
            let block = &self.blocks[k];
            let correlations = inputs.correlations(k, model);
            let withheld = |instrument, date| withheld(k, instrument, date);
            possible(block.predictions(model, &inputs.blocks[k], &correlations, gap, withheld))
        };
        self.install(|| (0..self.blocks.len()).into_par_iter().with_max_len(1).map(of_block).collect())
    }

    /// Runs something on the sample's threads.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }
}

/// What is read for each block, and the correlations of its states that were computed last.
#[derive(Debug)]
pub(crate) struct SampleInputs {
    blocks: Vec<BlockInputs>,
    /// How many correlations of a block are kept.
    capacity: usize,
}

/// What is read for a block.
#[derive(Debug)]
struct BlockInputs {
    tile: TileInputs,
    /// The block's observations on the days on which they count, where these are not the dates of files.
    readings: Option<Vec<Reading>>,
    recent: Mutex<VecDeque<CachedCorrelations>>,
}

/// The correlations of a block under a process.
#[derive(Debug)]
struct CachedCorrelations {
    process: ProcessModel,
    correlations: Arc<Correlations>,
}

impl SampleInputs {
    /// The correlations of a block's states under a model.
    fn correlations(&self, block: usize, model: &Model) -> Arc<Correlations> {
        let BlockInputs { tile, recent: cache, .. } = &self.blocks[block];
        let lock = || cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recent = lock();
        let position = recent.iter().position(|cached| cached.process.correlates_as(&model.process));
        if let Some(found) = position.and_then(|position| recent.remove(position)) {
            let correlations = Arc::clone(&found.correlations);
            recent.push_front(found);
            return correlations;
        }
        drop(recent);
        let correlations = Arc::new(tile.correlations(&model.process));
        let mut recent = lock();
        recent.truncate(self.capacity - 1);
        recent
            .push_front(CachedCorrelations { process: model.process.clone(), correlations: Arc::clone(&correlations) });
        correlations
    }
}

/// Nothing where numbers are impossible, or the filter fails with them; other errors do not depend on numbers.
pub(crate) fn possible<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Number { .. } | Error::Numerical { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Dates on which something is observed. Windows of composites overlap: of those that share more than half of their days
/// every other is left out. What so many averages of the same days say of change is how the product weighs them, which
/// is never quite as described: their differences, which have next to no noise, would be taken for change.
fn observed(steps: &[(Date, Step)], instruments: &[ObservationModel]) -> Vec<(Date, Step)> {
    let mut latest: Vec<Option<Date>> = vec![None; instruments.len()];
    let apart = |k: usize| instruments[k].composite.as_ref().map_or(0, CompositeModel::days) / 2;
    let mut observed = Vec::with_capacity(steps.len());
    for (date, step) in steps {
        let mut step = step.clone();
        step.instruments.retain(|&k| {
            let far = latest[k].is_none_or(|latest| date.days_since(latest) >= apart(k));
            if far {
                latest[k] = Some(*date);
            }
            far
        });
        if !step.instruments.is_empty() {
            observed.push((*date, step));
        }
    }
    observed
}

impl SampleBlock {
    fn read(fusion: &Fusion, tiling: &Tiling, tile: Tile, sampling: &Sampling, time: f64) -> Result<Self> {
        let Sampling { dates, cells, .. } = *sampling;
        let model = &fusion.model;
        let observed = observed(&fusion.steps, &model.instruments);
        let spare = observed.len().saturating_sub(dates);
        let first = ((time * (spare + 1) as f64) as usize).min(spare);
        let stretch = &observed[first..observed.len().min(first + dates)];
        let before = if first == 0 { fusion.before_first() } else { observed[first].0 + -1 };
        let windows: Vec<Window> = tiling.windows(&tile.region).collect();
        let reader = TileReader::of_windows(model, &tile, &windows)?;
        let mut readings = reader.read(fusion, stretch, &InFlight::default())?;
        let inputs = TileInputs::new(model, tiling, &tile.region, |extent| model.prior.read(&model.target, extent))?;
        let mut values = 0;
        for reading in &mut readings {
            reading.output = false;
            for (instrument, slice) in &mut reading.slices {
                let mut kept = Array2::from_elem((slice.region.shape().0, slice.region.shape().1), false);
                let pixels = inputs.windows.iter().flat_map(|(_, support)| support.pixels(*instrument));
                for pixel in pixels.filter(|pixel| pixel.home || cells.scattered > 0) {
                    kept[(pixel.at.0 - slice.region.rows.start, pixel.at.1 - slice.region.cols.start)] = true;
                }
                let all_bands = model.instruments[*instrument].missing == Missing::Pixel;
                for ((row, col), kept) in kept.indexed_iter() {
                    let mut pixel = slice.values.slice_mut(s![.., row, col]);
                    if !kept || (all_bands && pixel.iter().any(|value| value.is_nan())) {
                        pixel.fill(f64::NAN);
                    }
                    values += pixel.iter().filter(|value| !value.is_nan()).count();
                }
            }
            reading.slices.retain(|(_, slice)| slice.values.iter().any(|value| !value.is_nan()));
        }
        readings.retain(|reading| !reading.slices.is_empty());
        Ok(Self { region: tile.region, before, readings, values })
    }

    /// Every value that is not missing, in the order of dates.
    pub(crate) fn observations(&self) -> impl Iterator<Item = ObservedValue> + '_ {
        self.readings
            .iter()
            .flat_map(|reading| reading.slices.iter().map(|(k, slice)| (reading.date, *k, slice)))
            .flat_map(|(date, instrument, slice)| {
                let first = (slice.region.rows.start, slice.region.cols.start);
                slice.values.indexed_iter().filter(|(_, value)| !value.is_nan()).map(
                    move |((band, row, col), &value)| ObservedValue {
                        instrument,
                        band,
                        pixel: (first.0 + row, first.1 + col),
                        date,
                        value,
                    },
                )
            })
    }

    /// Dates on which an instrument has values, in order.
    pub(crate) fn dates_of(&self, instrument: usize) -> impl Iterator<Item = Date> + '_ {
        let holds = move |reading: &&Reading| reading.slices.iter().any(|(k, _)| *k == instrument);
        self.readings.iter().filter(holds).map(|reading| reading.date)
    }

    /// Predictions of the values of the instruments and dates that are withheld.
    fn predictions(
        &self,
        model: &Model,
        inputs: &BlockInputs,
        correlations: &Correlations,
        gap: bool,
        withheld: impl Fn(usize, Date) -> bool,
    ) -> Result<Vec<Prediction>> {
        let setup = WindowSetup { model, lag: 0, precision: Precision::F64, withholds: true, offsets: &[] };
        let prior = model.prior.over(&inputs.tile.prior);
        let mut windows = build(setup, &self.region, &inputs.tile, correlations, (&prior, self.before))?;
        let mut worker = Worker::new(model.parts.len());
        let mut predictions = Vec::new();
        for reading in inputs.readings.as_ref().unwrap_or(&self.readings) {
            let is_withheld = |instrument: usize| withheld(instrument, reading.date);
            let any = reading.slices.iter().any(|(instrument, _)| is_withheld(*instrument));
            let mut shown = if any { Cow::Owned(reading.withholding(is_withheld)) } else { Cow::Borrowed(reading) };
            if gap && any {
                inputs.tile.windows.iter().for_each(|(_, support)| shown.to_mut().show_around(support));
            }
            for window in &mut windows {
                window.advance(std::slice::from_ref(&*shown), false, &model.instruments, &model.parts, &mut worker)?;
                predictions.append(&mut window.output.predictions);
            }
        }
        Ok(predictions)
    }

    /// Prediction-error decomposition: what each date adds to the log-likelihood.
    fn log_likelihood(&self, model: &Model, inputs: &BlockInputs, correlations: &Correlations) -> Result<ByDate> {
        let setup = WindowSetup { model, lag: 0, precision: Precision::F64, withholds: false, offsets: &[] };
        let prior = model.prior.over(&inputs.tile.prior);
        let mut windows = build(setup, &self.region, &inputs.tile, correlations, (&prior, self.before))?;
        let readings = inputs.readings.as_ref().unwrap_or(&self.readings);
        // A worker remembers what it made of noise and design: those of another model are others.
        let mut worker = Worker::new(model.parts.len());
        let mut dates = Vec::with_capacity(readings.len());
        let gathers_squares = model.gathers_squares();
        for window in &mut windows {
            window.output.gathers_squares = gathers_squares;
            for reading in readings.chunks(1) {
                window.advance(reading, false, &model.instruments, &model.parts, &mut worker)?;
                let (date, innovations) = (reading[0].date, &window.output.innovations);
                let log_likelihood = innovations.iter().map(|(_, innovation)| innovation.log_likelihood).sum();
                let dof = innovations.iter().map(|(_, innovation)| innovation.dof).sum();
                let squares = gathers_squares.then(|| window.output.squares.clone());
                dates.push(OfDate { date, log_likelihood, dof, squares });
            }
        }
        Ok(dates)
    }
}
