//! Fills a description in code, and makes a fusion of it.

mod check;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Checkpoint, Fusion, MemoryBudget, OnError, Precision, RunOptions};
use crate::describe::{
    Basis, Description, Encoding, Indices, Instrument, MeanFunction, Numbers, Output, OutputDates, OutputSpace, Prior,
    Process, Seasonal, Smoothing, Structure, Target, Time, Window,
};
use crate::error::Result;
use crate::geometry::{Date, Grid};
use crate::seasonal::SeasonalMean;
use crate::source::RasterSource;
use crate::spectral::SpectralBasis;

/// Fills the description of a fusion; [`build`](Self::build) checks it. Methods that set a key have its name.
#[derive(Clone, Debug)]
pub struct FusionBuilder {
    description: Description,
    options: RunOptions,
    /// Whether sources withhold observations, which are then predicted.
    withholds: bool,
    /// The TOML file that says all this, for messages.
    file: Option<PathBuf>,
}

impl FusionBuilder {
    pub(super) fn new(target: Grid) -> Self {
        let description = Description {
            target: Target::new(target),
            time: Time::default(),
            window: Window::default(),
            process: Structure::Free,
            prior: Structure::Free,
            seasonal: None,
            basis: None,
            instrument: Vec::new(),
            smoothing: Smoothing::default(),
            output: Output::default(),
        };
        Self { description, options: RunOptions::default(), withholds: false, file: None }
    }

    /// A fusion that is described already; `file` is the TOML file that describes it, which errors then name.
    #[cfg(all(feature = "config", feature = "gdal", feature = "zarr"))]
    pub(crate) fn described(description: Description, options: RunOptions, file: Option<PathBuf>) -> Self {
        Self { description, options, withholds: false, file }
    }

    /// What has been described so far.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// How a run will be carried out.
    #[must_use]
    pub fn options(&self) -> &RunOptions {
        &self.options
    }

    /// The same with another description, such as one whose numbers were [estimated](crate::estimate).
    #[must_use]
    pub fn describe(mut self, description: Description) -> Self {
        self.description = description;
        self
    }

    /// Names of the output bands. Default: the names that the instruments observe, where all observe the same, in the
    /// order of the first.
    #[must_use]
    pub fn bands<S: Into<String>>(mut self, bands: impl IntoIterator<Item = S>) -> Self {
        let bands: Vec<String> = bands.into_iter().map(Into::into).collect();
        self.description.target.bands = (!bands.is_empty()).then_some(bands);
        self
    }

    /// Describes the bands by the components of a spectral basis, whose wavelengths are those of the
    /// [bands](Self::bands), in order: process, prior and windows then describe components. Default: the components
    /// are the bands.
    #[must_use]
    pub fn basis(mut self, basis: SpectralBasis) -> Self {
        self.description.basis = Some(Basis::Open(Arc::new(basis)));
        self
    }

    /// What is output; default: the bands.
    #[must_use]
    pub fn space(mut self, space: OutputSpace) -> Self {
        self.description.output.space = space;
        self
    }

    /// What the standard deviations are multiplied by on output, one number or one per band (one, where components
    /// are output): the factor by which [`Validation`](crate::validate::Validation) found intervals too narrow or too
    /// wide. The filter itself is not changed. Default 1.
    #[must_use]
    pub fn sd_factor(mut self, factor: impl Into<Numbers>) -> Self {
        self.description.output.sd_factor = factor.into();
        self
    }

    /// Adds a function of the target bands to the output, after the bands and the indices before it: an
    /// [expression](crate::describe::Index) of their names, with its standard deviation to first order. Default: none.
    ///
    /// ```
    /// # use rasterfuse::Fusion;
    /// # use rasterfuse::geometry::{Crs, Date, Grid};
    /// # use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
    /// # use rasterfuse::sink::MemorySink;
    /// # use rasterfuse::source::MemorySource;
    /// # let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (4, 4))?;
    /// # let values = ndarray::Array4::from_shape_fn((1, 2, 4, 4), |(_, band, ..)| [0.1, 0.3][band]);
    /// # let bands = vec!["red".into(), "nir".into()];
    /// # let source = MemorySource::new(grid.clone(), vec![Date::from_days(0)], bands, values)?;
    /// # let builder = Fusion::builder(grid).process(Process::new(Kernel::Exponential, 100.0, 1e-3))
    /// #     .prior(Prior::new(0.2, 0.01)).instrument(Instrument::new("fine", source).noise_variance(1e-6));
    /// let fusion = builder.index("ndvi", "(nir - red) / (nir + red)").build()?;
    /// let mut sink = MemorySink::new();
    /// fusion.run(&mut sink)?;
    /// let (mean, sd) = sink.into_arrays()?; // (time, band, y, x): red, nir, ndvi
    /// assert!((mean[(0, 2, 1, 1)] - 0.5).abs() < 1e-3 && sd[(0, 2, 1, 1)] < 5e-3);
    /// # Ok::<(), rasterfuse::Error>(())
    /// ```
    #[must_use]
    pub fn index(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        self.description.output.indices.add(name, expression);
        self
    }

    /// Removes all indices.
    #[must_use]
    pub(crate) fn without_indices(mut self) -> Self {
        self.description.output.indices = Indices::default();
        self
    }

    /// Whether the sum of all [offset layers](Instrument::offset_layer) is output with every date, for each cell and
    /// each band of an instrument that has layers: the offset of the pixel that holds the cell. Filtered, so there
    /// may be no lag. Default: no.
    #[must_use]
    pub fn offsets(mut self, yes: bool) -> Self {
        self.description.output.offsets = yes;
        self
    }

    /// How a store holds the numbers: float32 as it is, rounded or as int16, and the compression. Default: float32.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.description.output.set_encoding(&encoding);
        self
    }

    /// Writes so many overviews of bands into a store, each with cells of twice the size of the one before. Tiles are then
    /// of a multiple of 2, 4, 8, … cells a side. Default: none.
    #[must_use]
    pub fn overviews(mut self, levels: usize) -> Self {
        self.description.output.overviews = Some(levels);
        self
    }

    /// Unit of the bands, for the output's metadata; default "1".
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.description.target.unit = unit.into();
        self
    }

    /// First day of the series; observations before it are not used. Default: the first the instruments hold.
    #[must_use]
    pub fn start(mut self, start: Date) -> Self {
        self.description.time.start = Some(start);
        self
    }

    /// Last day of the series, included. Default: the last the instruments hold.
    #[must_use]
    pub fn end(mut self, end: Date) -> Self {
        self.description.time.end = Some(end);
        self
    }

    /// Which dates are output; default: every day.
    #[must_use]
    pub fn output(mut self, output: OutputDates) -> Self {
        self.description.time.output = output;
        self
    }

    /// Core cells per side of an estimation window and context cells around it; default 4 and 4. No effect where
    /// all cells are independent ([`Plan::independent_cells`](super::Plan::independent_cells)).
    #[must_use]
    pub fn window(mut self, size: usize, halo: usize) -> Self {
        (self.description.window.size, self.description.window.halo) = (size, halo);
        self
    }

    /// Single cells spread over `radius` (CRS units) around every window for long-range correlation; default none.
    #[must_use]
    pub fn far_samples(mut self, count: usize, radius: f64) -> Self {
        (self.description.window.far_samples, self.description.window.far_radius) = (count, radius);
        self
    }

    /// How the scene changes. Required; [`Structure::Free`] leaves it to an [estimation](crate::estimate).
    #[must_use]
    pub fn process(mut self, process: impl Into<Structure<Process>>) -> Self {
        self.description.process = process.into();
        self
    }

    /// What is known before the first day. Required; [`Structure::Free`] leaves it to an
    /// [estimation](crate::estimate).
    #[must_use]
    pub fn prior(mut self, prior: impl Into<Structure<Prior>>) -> Self {
        self.description.prior = prior.into();
        self
    }

    /// A mean function: the state is the anomaly about the mean of each cell on each date, and so are process,
    /// [prior](Self::prior) and gates; observations and results are values. Default: none.
    #[must_use]
    pub fn seasonal(mut self, mean: SeasonalMean) -> Self {
        self.description.seasonal = Some(Seasonal { mean: MeanFunction::Open(mean) });
        self
    }

    /// Later dates of the output axis whose observations each value uses: its expectation given all observations up to
    /// and including so many output dates later, or to the end of the series (fixed-lag smoothing). With 0, the
    /// default, values rest on the past only.
    ///
    /// A lag takes memory and time in proportion: at most about (1 + 2 lag × own cells / cells) times those of the
    /// filter.
    #[must_use]
    pub fn lag(mut self, dates: usize) -> Self {
        self.description.smoothing.lag = dates;
        self
    }

    /// Adds an instrument; at least one is required.
    #[must_use]
    pub fn instrument(mut self, instrument: Instrument) -> Self {
        self.description.instrument.push(instrument);
        self
    }

    /// Tile shape (rows, columns) in cells, which is also the output chunk; default: the one that, within the memory
    /// budget, makes the sources decode least.
    #[must_use]
    pub fn tile(mut self, rows: usize, cols: usize) -> Self {
        self.description.output.tile = Some([rows, cols]);
        self
    }

    /// Arithmetic of the covariances; default float64.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options.precision = precision;
        self
    }

    /// Memory the whole process may take; default a quarter of the machine's.
    #[must_use]
    pub fn memory(mut self, memory: MemoryBudget) -> Self {
        self.options.memory = memory;
        self
    }

    /// Dates read, filtered and written together; default 8, or as many as memory allows for a tile of one window.
    /// More keep workers busier between batches and take more memory.
    #[must_use]
    pub fn batch_dates(mut self, dates: usize) -> Self {
        self.options.batch_dates = Some(dates);
        self
    }

    /// How many processes share the run, so that there are tiles for each: at least four, unless the tile is given or
    /// the target has too few windows. Default 1. Every process must be given the same number.
    #[must_use]
    pub fn shards(mut self, processes: usize) -> Self {
        self.options.shards = processes;
        self
    }

    /// Worker threads; 0, the default, is one per core.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = threads;
        self
    }

    /// What a run does when slices cannot be read or windows fail numerically; default: it ends.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.options.on_error = on_error;
        self
    }

    /// What is kept of the window states at the end of a run, for the dates that will be appended.
    #[must_use]
    pub fn checkpoint(mut self, checkpoint: Checkpoint) -> Self {
        self.options.checkpoint = checkpoint;
        self
    }

    /// Days that appending replays where only a [light checkpoint](Checkpoint::Light) is kept; default 30.
    #[must_use]
    pub fn replay_days(mut self, days: u32) -> Self {
        self.options.replay_days = days;
        self
    }

    /// How often the states of the current tile are saved, so that a killed run loses no more than this;
    /// default every ten minutes.
    #[must_use]
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.options.checkpoint_interval = interval;
        self
    }

    /// How many checkpoints of each tile are kept, at least 1 (the default); late dates are replayed from
    /// older ones. None are kept with [`Checkpoint::Off`].
    #[must_use]
    pub fn keep_checkpoints(mut self, count: usize) -> Self {
        self.options.keep_checkpoints = count;
        self
    }

    /// Gives every instrument the source that `withhold` makes of it; windows then predict what is withheld.
    ///
    /// # Errors
    /// Those of `withhold`; [`Error::Setting`](crate::Error::Setting) for an instrument that is not opened.
    pub(crate) fn withhold<S: RasterSource + 'static>(
        mut self,
        mut withhold: impl FnMut(&str, &Arc<dyn RasterSource>) -> Result<Arc<S>>,
    ) -> Result<Self> {
        for instrument in &mut self.description.instrument {
            let source = withhold(&instrument.name, instrument.opened()?)?;
            instrument.source = Some(source);
        }
        self.withholds = true;
        Ok(self)
    }
}

impl Fusion {
    /// Starts the description of a fusion onto `target`. It needs a process, a prior and an instrument with its
    /// noise; everything else has a default: bands that all instruments observe, the time from the first observation
    /// to the last, every day, windows of 4 × 4 cells with 4 around them, a quarter of the memory, all cores.
    ///
    /// ```
    /// # use rasterfuse::geometry::{Crs, Date, Grid};
    /// # use rasterfuse::source::MemorySource;
    /// # let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
    /// # let days = vec![Date::from_days(0), Date::from_days(2)];
    /// # let source = MemorySource::new(grid.clone(), days, vec!["red".into()], ndarray::Array4::from_elem((2, 1, 8, 8), 0.2))?;
    /// use rasterfuse::Fusion;
    /// use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
    /// use rasterfuse::sink::MemorySink;
    ///
    /// let mut sink = MemorySink::new();
    /// Fusion::builder(grid)
    ///     .process(Process::new(Kernel::Exponential, 100.0, 1e-4)) // range in CRS units, variance per day
    ///     .prior(Prior::new(0.3, 0.05)) // mean and variance of every cell
    ///     .instrument(Instrument::new("fine", source).noise_variance(1e-5))
    ///     .build()?
    ///     .run(&mut sink)?;
    /// let (mean, sd) = sink.into_arrays()?; // (time, band, y, x)
    /// assert_eq!(mean.dim(), (3, 1, 8, 8));
    /// assert!((mean[(1, 0, 4, 4)] - 0.2).abs() < 0.01 && sd[(1, 0, 4, 4)] < 0.02);
    /// # Ok::<(), rasterfuse::Error>(())
    /// ```
    #[must_use]
    pub fn builder(target: Grid) -> FusionBuilder {
        FusionBuilder::new(target)
    }
}
