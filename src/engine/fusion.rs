//! The checked and planned fusion: everything that its runs read and none of them changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::cells::CellModel;
use super::output::Projection;
use super::plan::Plan;
use super::spare::Spare;
use super::steps::Step;
use super::{Checkpoint, RunOptions};
use crate::describe::OutputSpace;
use crate::error::{Error, Result};
use crate::geometry::{Date, DateRange, Grid, Rect, Tile, Tiling};
use crate::model::{Model, ObservationModel, PriorSlice};
use crate::series::{FusionSink, SeriesIdentity, SeriesLayout, Settings};
use crate::spectral::SpectralBasis;

/// A fusion that has been checked and planned; [`run`](Self::run) it into a sink or [`stream`](Self::stream) its blocks.
///
/// Arrays in, arrays out:
///
/// ```
/// use ndarray::{Array4, s};
/// use rasterfuse::Fusion;
/// use rasterfuse::geometry::{Crs, Date, Grid};
/// use rasterfuse::describe::{Footprint, Instrument, Kernel, Prior, Process};
/// use rasterfuse::sink::MemorySink;
/// use rasterfuse::source::MemorySource;
///
/// let day = |k: i32| Date::from_ymd(2024, 5, 1).map(|first| first + k);
/// let fine = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
/// let coarse = Grid::new(Crs::unknown(), [0.0, 120.0, 0.0, 0.0, 0.0, -120.0], (2, 2))?;
/// // (time, band, y, x): the fine sensor observes 0.2 on the first day, the coarse one 0.3 four days later
/// let sharp = MemorySource::new(fine.clone(), vec![day(0)?], vec!["red".into()], Array4::from_elem((1, 1, 8, 8), 0.2))?;
/// let blurred = MemorySource::new(coarse, vec![day(4)?], vec!["red".into()], Array4::from_elem((1, 1, 2, 2), 0.3))?;
///
/// let fusion = Fusion::builder(fine)
///     .bands(["red"])
///     .process(Process::new(Kernel::Exponential, 100.0, 1e-3))
///     .prior(Prior::new(0.2, 0.01))
///     .instrument(Instrument::new("sharp", sharp).noise_variance(1e-5))
///     .instrument(Instrument::new("blurred", blurred).footprint(Footprint::Uniform).noise_variance(1e-5))
///     .build()?;
/// let mut sink = MemorySink::new();
/// fusion.run(&mut sink)?;
/// let (mean, sd) = sink.into_arrays()?; // (time, band, y, x)
/// assert_eq!(mean.dim(), (5, 1, 8, 8)); // daily
/// assert!((mean[(3, 0, 2, 2)] - 0.2).abs() < 1e-3); // still what the sharp sensor saw
/// let under_a_pixel = mean.slice(s![4, 0, ..4, ..4]).mean();
/// assert!((under_a_pixel.unwrap_or(f64::NAN) - 0.3).abs() < 2e-3); // the average follows the blurred one
/// assert!(sd[(3, 0, 2, 2)] > sd[(0, 0, 2, 2)] && sd[(4, 0, 2, 2)] < sd[(3, 0, 2, 2)]);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Debug)]
pub struct Fusion {
    pub(super) model: Model,
    pub(super) projection: Projection,
    pub(super) space: OutputSpace,
    pub(super) unit: String,
    pub(super) period: DateRange,
    pub(super) steps: Vec<(Date, Step)>,
    pub(super) output: Vec<Date>,
    pub(super) tiling: Tiling,
    /// Offsets that are output: (instrument, band read).
    pub(super) offsets: Vec<(usize, usize)>,
    /// Where all cells are independent: how they are filtered one by one, without windows.
    pub(super) cells: Option<Arc<CellModel>>,
    /// Dates of the output axis that a result waits for, as far as there are so many.
    pub(super) lag: usize,
    pub(super) lag_asked: usize,
    pub(super) plan: Plan,
    pub(super) pool: ThreadPool,
    /// Threads that wait for servers, where more reads are to be in flight than there are threads.
    pub(super) servers: Option<ThreadPool>,
    pub(super) spare: Spare,
    /// What decides the values.
    pub(super) settings: Settings,
    /// Whether sources withhold observations, which are then predicted.
    pub(super) withholds: bool,
    /// The TOML file that describes it, for messages.
    pub(super) file: Option<PathBuf>,
    pub(super) options: RunOptions,
}

impl Fusion {
    /// The target grid.
    #[must_use]
    pub fn target(&self) -> &Grid {
        &self.model.target
    }

    /// Slices that are read ahead of the batch that is filtered, because servers are waited for; 0 where none are.
    pub(super) fn reads_ahead(&self) -> usize {
        self.model.reads_in_flight()
    }

    /// Reads in parallel, on threads that wait for servers where there are some.
    pub(super) fn reading<R: Send>(&self, read: impl FnOnce() -> R + Send) -> R {
        match &self.servers {
            Some(servers) => servers.install(read),
            None => read(),
        }
    }

    /// Threads for reading or writing, in addition to those that filter: as many, or more where they wait.
    pub(super) fn io_pool(&self, name: &'static str, least: usize) -> Result<ThreadPool> {
        let threads = self.pool.current_num_threads().max(least);
        ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(move |index| format!("rasterfuse-{name}-{index}"))
            .build()
            .map_err(|error| Error::Threads { threads, source: Box::new(error) })
    }

    /// Names of the output bands.
    #[must_use]
    pub fn bands(&self) -> &[String] {
        self.model.spectrum.bands()
    }

    /// The spectral basis, where the components are not the bands themselves.
    #[must_use]
    pub fn basis(&self) -> Option<&SpectralBasis> {
        self.model.spectrum.basis().map(AsRef::as_ref)
    }

    /// First and last day of the series.
    #[must_use]
    pub fn period(&self) -> DateRange {
        self.period
    }

    /// The output dates, in order.
    #[must_use]
    pub fn output_dates(&self) -> &[Date] {
        &self.output
    }

    /// What the run will take.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What decides the values of the series.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A result whose error, if it is of a setting, names the TOML file that says it.
    pub(super) fn naming<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.in_description(self.file.as_deref()))
    }

    /// What it was described as, worked out.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The instruments, in order.
    pub(crate) fn instruments(&self) -> &[ObservationModel] {
        &self.model.instruments
    }

    /// Dates that a result waits for, and whether cells are filtered one by one, without windows.
    pub(crate) fn lag_and_independence(&self) -> (usize, bool) {
        (self.lag_asked, self.cells.is_some())
    }

    /// The tiles with their positions.
    pub(super) fn tiles(&self) -> impl Iterator<Item = (usize, Tile)> + '_ {
        (0..self.tiling.tile_count()).filter_map(|index| Some((index, self.tiling.tile(index)?)))
    }

    /// The day that the prior describes.
    pub(super) fn before_first(&self) -> Date {
        self.period.start() + -1
    }

    /// The prior of the cells of a rectangle.
    pub(super) fn first_prior(&self, extent: &Rect) -> Result<PriorSlice> {
        self.model.prior.read(&self.model.target, extent)
    }

    /// Of those instruments that have offsets of groups: the group, layer by layer, of what they acquired on a date.
    pub(super) fn groups_on(&self, date: Date, instruments: &[usize]) -> BTreeMap<usize, Vec<Option<String>>> {
        let groups = |&instrument: &usize| {
            let model = &self.model.instruments[instrument];
            let date = model.dated(date);
            let groups: Vec<_> = model.offset_layers.iter().filter_map(|layer| layer.group_on(date)).collect();
            (!groups.is_empty()).then(|| (instrument, groups.into_iter().map(|group| group.map(Into::into)).collect()))
        };
        instruments.iter().filter_map(groups).collect()
    }

    /// What is kept at the end of a run: full, light or off.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        self.plan.checkpoint
    }

    /// What the sink receives before the first block.
    pub(super) fn layout_for(&self, sink: &dyn FusionSink) -> SeriesLayout {
        let mut layout = self.layout();
        sink.settings().into_iter().for_each(|(key, value)| layout.settings.insert(key, value));
        layout
    }

    /// Instrument and band of each offset that is output.
    fn offset_names(&self) -> Vec<String> {
        let name = |&(instrument, band): &(usize, usize)| {
            let instrument = &self.model.instruments[instrument];
            format!("{} {}", instrument.name, instrument.source.bands()[instrument.source_bands[band]])
        };
        self.offsets.iter().map(name).collect()
    }

    /// Description of a new series, which a sink receives before the first block. Each has an identity of its own.
    #[must_use]
    pub fn layout(&self) -> SeriesLayout {
        SeriesLayout {
            grid: self.model.target.clone(),
            bands: self.model.spectrum.bands().to_vec(),
            basis: self.model.spectrum.basis().cloned(),
            space: self.space,
            indices: self.projection.indices().list().to_vec(),
            unit: self.unit.clone(),
            offsets: self.offset_names(),
            dates: self.output.clone(),
            lag: self.lag_asked,
            tile_shape: self.tiling.tile_shape(),
            encoding: self.plan.encoding,
            overviews: self.plan.overviews,
            settings: self.settings.clone(),
            identity: SeriesIdentity::random(),
        }
    }
}

/// Names of the instruments, in order.
pub(super) fn names(instruments: &[ObservationModel]) -> Vec<&str> {
    instruments.iter().map(|instrument| instrument.name.as_str()).collect()
}
