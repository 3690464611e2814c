//! Blocks of the target with what was observed of them, kept in memory: what parameters are estimated from.

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::in_flight::InFlight;
use super::tile::TileReader;
use super::window::{Reading, Worker};
use super::{Checkpoint, Fusion, FusionBuilder, MemoryBudget, OutputDates, Precision, windows};
use crate::error::{Error, Result};
use crate::geometry::{Date, PixelRegion, Tile, Tiling};
use crate::model::Missing;

/// Blocks looked at for each that is kept: those with most values are.
const CANDIDATES: usize = 2;

/// Points of the sequence tried for each block that is looked at.
const TRIES: usize = 64;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sampling {
    /// Blocks, at most.
    pub(crate) blocks: usize,
    /// Cells per side of a block.
    pub(crate) side: usize,
    /// Dates of a block with observations, at most: a stretch of the series.
    pub(crate) dates: usize,
    /// Worker threads; 0 is one per core.
    pub(crate) threads: usize,
}

/// Blocks of the target grid that share no cell, each with a stretch of its observations.
///
/// Every observation belongs to one block, the one that holds its pixel's centre, so that blocks share no data and the
/// likelihood counts each value once.
#[derive(Debug)]
pub(crate) struct Sample {
    side: usize,
    blocks: Vec<Block>,
    pool: ThreadPool,
}

/// One block and what is known of it.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) region: PixelRegion,
    /// Its centre (x, y) in the target's CRS.
    pub(crate) centre: (f64, f64),
    /// The day that the prior describes.
    before: Date,
    readings: Vec<Reading>,
    /// Values that are not missing.
    pub(crate) values: usize,
}

/// What each date adds to the log-likelihood of a block.
pub(crate) type ByDate = Vec<OfDate>;

/// What a date adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OfDate {
    pub(crate) date: Date,
    pub(crate) log_likelihood: f64,
    /// Degrees of freedom: uncorrelated observations that were seen, fewer than values where bands share a component.
    pub(crate) dof: usize,
}

/// One value of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) instrument: usize,
    /// Among the bands the instrument reads.
    pub(crate) band: usize,
    /// Pixel (row, column) on the instrument's grid.
    pub(crate) pixel: (usize, usize),
    pub(crate) date: Date,
    pub(crate) value: f64,
}

/// A description with numbers for everything, ready to be judged by a [`Sample`].
#[derive(Debug)]
pub(crate) struct Trial(Fusion);

impl Trial {
    /// Builds the model for blocks of `side` cells. Without lag, in float64, and without gates, robust updates and inflation: what is
    /// refused, or believed less, must not depend on the parameters.
    pub(crate) fn new(description: FusionBuilder, side: usize) -> Result<Self> {
        let mut fusion = description
            .window(side, 0)
            .far_samples(0, 0.0)
            .tile(side, side)
            .output(OutputDates::Observed)
            .put_out_offsets(false)
            .lag(0)
            .precision(Precision::F64)
            .checkpoint(Checkpoint::Off)
            .memory(MemoryBudget::Bytes(u64::MAX))
            .batch_dates(1)
            .shards(1)
            .threads(1)
            .build()?;
        // Independent cells are filtered as windows, too: the likelihood is the same.
        fusion.cells = None;
        fusion.tiling = Tiling::new(fusion.target.shape(), (side, side), side, 0);
        for instrument in &mut fusion.instruments {
            (instrument.gate, instrument.robust, instrument.inflate) = (None, None, false);
        }
        fusion.process.inflate = false;
        Ok(Self(fusion))
    }

    /// Groups of components that are filtered apart.
    pub(crate) fn parts(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        self.0.parts.iter().map(|part| part.components.as_slice())
    }

    /// The same, of one part alone: windows then work out the correlations of its components only.
    pub(crate) fn of_part(mut self, part: usize) -> Self {
        let mut index = 0..;
        self.0.parts.retain(|_| index.next() == Some(part));
        self.0.process.keep(self.0.parts.iter().flat_map(|part| &part.components));
        self
    }

    /// The same with a process variance of the first field so many times as large.
    pub(crate) fn with_change(mut self, factor: f64) -> Self {
        self.0.process.components.iter_mut().for_each(|component| component.variance *= factor);
        self
    }

    /// Number of components.
    pub(crate) fn components(&self) -> usize {
        self.0.spectrum.components()
    }

    /// The component that a band of an instrument, among those it reads, shows by itself, if it does.
    pub(crate) fn component_of(&self, instrument: usize, band: usize) -> Option<usize> {
        let part = self.0.parts.iter().find(|part| part.bands[instrument].rows.contains(&band))?;
        (part.components.len() == 1).then(|| part.components[0])
    }

    /// Bytes of the states of a block and of what a thread needs to filter it.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.0.plan().state_bytes.saturating_add(self.0.plan().workspace_bytes)
    }

    /// Names of the instruments and, for each band they read, its position in the source.
    pub(crate) fn instruments(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.0.instruments.iter().map(|instrument| (instrument.name.as_str(), instrument.source_bands.as_slice()))
    }

    /// Whether an instrument's pixels are target cells.
    pub(crate) fn sees_cells(&self, instrument: usize) -> bool {
        self.0.instruments[instrument].lattice.first_of_single_cells().is_some()
    }

    /// (width, height) of a cell in CRS units.
    pub(crate) fn cell_size(&self) -> (f64, f64) {
        self.0.target.cell_size()
    }
}

impl Sample {
    /// Reads blocks spread over the target by an Owen-scrambled Sobol sequence, whose third dimension chooses the stretch of
    /// the series where it is longer than asked for. Of the blocks looked at those with most values are kept.
    ///
    /// # Errors
    /// Those of reading; [`Error::Setting`] when no block holds a value.
    pub(crate) fn read(trial: &Trial, sampling: Sampling) -> Result<Self> {
        let fusion = &trial.0;
        let pool = ThreadPoolBuilder::new()
            .num_threads(sampling.threads)
            .thread_name(|index| format!("rasterfuse-estimate-{index}"))
            .build()
            .map_err(|error| Error::Threads { threads: sampling.threads, source: Box::new(error) })?;
        let (rows, cols) = fusion.target.shape();
        let side = sampling.side;
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
            Block::read(fusion, tile, sampling.dates, time)
        };
        let mut blocks = pool.install(|| places.into_par_iter().map(block).collect::<Result<Vec<_>>>())?;
        let mut by_values: Vec<usize> = (0..blocks.len()).collect();
        by_values.sort_by_key(|&k| std::cmp::Reverse(blocks[k].values));
        let kept = &by_values[..by_values.len().min(sampling.blocks)];
        let mut index = 0..;
        blocks.retain(|block| index.next().is_some_and(|k| kept.contains(&k)) && block.values > 0);
        if blocks.is_empty() {
            let problem =
                "no value in any of the blocks looked at; check time, masks and valid_range, or look at more windows";
            return Err(Error::setting("estimate.windows", problem));
        }
        Ok(Self { side, blocks, pool })
    }

    pub(crate) fn side(&self) -> usize {
        self.side
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Log-likelihood of the first `blocks` blocks under each of so many trials: for each trial, for each block. What breaks down
    /// numerically, or is no trial at all, is negative infinity. Blocks and trials in parallel.
    ///
    /// # Errors
    /// What has nothing to do with numbers: those of reading what a trial refers to.
    pub(crate) fn log_likelihoods(
        &self,
        trials: usize,
        trial: impl Fn(usize) -> Result<Trial> + Sync,
        blocks: usize,
    ) -> Result<Vec<Vec<f64>>> {
        let sum = |dates: Option<ByDate>| {
            let sum = dates.map(|dates| dates.iter().map(|of| of.log_likelihood).sum::<f64>());
            sum.filter(|sum| sum.is_finite()).unwrap_or(f64::NEG_INFINITY)
        };
        self.each(trials, trial, blocks, sum)
    }

    /// As [`log_likelihoods`](Self::log_likelihoods), date by date; `None` where it breaks down.
    ///
    /// # Errors
    /// As [`log_likelihoods`](Self::log_likelihoods).
    pub(crate) fn by_date(
        &self,
        trials: usize,
        trial: impl Fn(usize) -> Result<Trial> + Sync,
        blocks: usize,
    ) -> Result<Vec<Vec<Option<ByDate>>>> {
        self.each(trials, trial, blocks, |dates| dates)
    }

    /// What `keep` keeps of the dates of each block under each trial.
    fn each<R: Send>(
        &self,
        trials: usize,
        trial: impl Fn(usize) -> Result<Trial> + Sync,
        blocks: usize,
        keep: impl Fn(Option<ByDate>) -> R + Sync,
    ) -> Result<Vec<Vec<R>>> {
        let blocks = &self.blocks[..blocks.min(self.blocks.len())];
        let of_trial = |k: usize| {
            let trial = possible(trial(k))?;
            let of_block = |block: &Block| {
                let dates = trial.as_ref().map(|trial| possible(block.log_likelihood(&trial.0))).transpose()?;
                Ok(keep(dates.flatten()))
            };
            blocks.par_iter().with_max_len(1).map(of_block).collect()
        };
        self.install(|| (0..trials).into_par_iter().with_max_len(1).map(of_trial).collect())
    }

    /// Runs something on the sample's threads.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }
}

/// Nothing where numbers are impossible, or the filter breaks down with them; other errors are no matter of numbers.
fn possible<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Setting { .. } | Error::Numerical { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Block {
    fn read(fusion: &Fusion, tile: Tile, dates: usize, time: f64) -> Result<Self> {
        let observed: Vec<_> = fusion.steps.iter().filter(|(_, step)| !step.instruments.is_empty()).cloned().collect();
        let spare = observed.len().saturating_sub(dates);
        let first = ((time * (spare + 1) as f64) as usize).min(spare);
        let stretch = &observed[first..observed.len().min(first + dates)];
        let before = if first == 0 { fusion.before_first() } else { observed[first].0 + -1 };
        let mut readings = TileReader::new(fusion, &tile)?.read(fusion, stretch, &InFlight::default())?;
        let windows = windows::build(fusion, &tile.region, before, |extent| fusion.first_prior(extent))?;
        let mut values = 0;
        for reading in &mut readings {
            reading.output = false;
            for (instrument, slice) in &mut reading.slices {
                let mut kept = ndarray::Array2::from_elem((slice.region.shape().0, slice.region.shape().1), false);
                for pixel in windows.iter().flat_map(|window| window.support.pixels(*instrument)).filter(|p| p.home) {
                    kept[(pixel.at.0 - slice.region.rows.start, pixel.at.1 - slice.region.cols.start)] = true;
                }
                let whole = fusion.instruments[*instrument].missing == Missing::Pixel;
                for ((row, col), kept) in kept.indexed_iter() {
                    let mut pixel = slice.values.slice_mut(ndarray::s![.., row, col]);
                    if !kept || (whole && pixel.iter().any(|value| value.is_nan())) {
                        pixel.fill(f64::NAN);
                    }
                    values += pixel.iter().filter(|value| !value.is_nan()).count();
                }
            }
            reading.slices.retain(|(_, slice)| slice.values.iter().any(|value| !value.is_nan()));
        }
        readings.retain(|reading| !reading.slices.is_empty());
        let middle = |cells: &std::ops::Range<usize>| (cells.start + cells.end - 1) as f64 / 2.0;
        let centre = fusion.target.at(middle(&tile.region.rows), middle(&tile.region.cols));
        Ok(Self { region: tile.region, centre, before, readings, values })
    }

    /// Every value that is not missing, in the order of dates.
    pub(crate) fn seen(&self) -> impl Iterator<Item = Seen> + '_ {
        self.readings
            .iter()
            .flat_map(|reading| reading.slices.iter().map(|(k, slice)| (reading.date, *k, slice)))
            .flat_map(|(date, instrument, slice)| {
                let first = (slice.region.rows.start, slice.region.cols.start);
                slice.values.indexed_iter().filter(|(_, value)| !value.is_nan()).map(
                    move |((band, row, col), &value)| Seen {
                        instrument,
                        band,
                        pixel: (first.0 + row, first.1 + col),
                        date,
                        value,
                    },
                )
            })
    }

    /// Prediction-error decomposition: what each date adds to the log-likelihood.
    fn log_likelihood(&self, fusion: &Fusion) -> Result<ByDate> {
        let mut windows = windows::build(fusion, &self.region, self.before, |extent| fusion.first_prior(extent))?;
        // A worker remembers what it made of noise and design: those of another trial are others.
        let mut worker = Worker::new(fusion.parts.len());
        let mut dates = Vec::with_capacity(self.readings.len());
        for window in &mut windows {
            for reading in self.readings.chunks(1) {
                window.advance(reading, false, &fusion.instruments, &fusion.parts, &mut worker)?;
                let (date, innovations) = (reading[0].date, &window.output.innovations);
                let log_likelihood = innovations.iter().map(|(_, innovation)| innovation.log_likelihood).sum();
                let dof = innovations.iter().map(|(_, innovation)| innovation.dof).sum();
                dates.push(OfDate { date, log_likelihood, dof });
            }
        }
        Ok(dates)
    }
}
