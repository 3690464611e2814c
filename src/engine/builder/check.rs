//! From a description to a fusion: the model, the days, the plan.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::FusionBuilder;
use crate::describe::{Description, Numbers};
use crate::engine::cells::CellModel;
use crate::engine::output::Projection;
use crate::engine::plan::{Plan, PlanInput};
use crate::engine::settings::settings;
use crate::engine::spare::Spare;
use crate::engine::steps::{Schedule, schedule};
use crate::engine::{Fusion, Precision, RunOptions};
use crate::error::{Error, Result};
use crate::geometry::{DateRange, Tiling};
use crate::model::{Model, ObservationModel, Part};
use crate::storage::Place;

impl FusionBuilder {
    /// Checks everything and plans the run; reads no pixel.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the setting that cannot work, [`Error::Number`] for a number that cannot be,
    /// [`Error::CrsMismatch`] for an instrument in another CRS, [`Error::Memory`] when the budget is too small for
    /// any tile, [`Error::Threads`].
    pub fn build(self) -> Result<Fusion> {
        let file = self.file.clone();
        self.checked().map_err(|error| error.in_description(file.as_deref()))
    }

    fn checked(self) -> Result<Fusion> {
        let Self { description, options, withholds, file } = self;
        options.check()?;
        if description.output.tile.is_some_and(|tile| tile.contains(&0)) {
            return Err(Error::setting("output.tile", "0 cells; give at least [1, 1]"));
        }
        let model = Model::new(&description)?;
        refuse_unobserved(&model)?;
        let output = &description.output;
        let projection = Projection::new(&model, output)?;
        let period = period(&description, &model.instruments)?;
        let Schedule { steps, output: dates } = schedule(period, &description.time, &model.instruments)?;
        let offsets = offsets(&description, &model.instruments)?;
        let pool = pool(options.threads, "")?;
        let (threads, waiting) = (pool.current_num_threads(), model.reads_in_flight());
        let servers = (waiting > threads).then(|| self::pool(waiting, "server-")).transpose()?;
        // A lag beyond the end of the output axis takes memory for nothing. A ring of as many dates as there are
        // never turns, so that it can be enlarged when the series is appended to.
        let lag_asked = description.smoothing.lag;
        let lag = lag_asked.min(dates.len());
        let cells = independent_cells(&description, &options, &model);
        let window = if cells.is_some() { (1, 0) } else { (description.window.size, description.window.halo) };
        let days = f64::from(period.end().days_since(period.start())) + 1.0;
        let mut plan = Plan::new(&PlanInput {
            model: &model,
            options: &options,
            // Each offset is a mean and a standard deviation.
            layers: (projection.layers().0 + offsets.len(), projection.layers().1 + offsets.len()),
            offsets: offsets.len(),
            encoding: output.encoding()?,
            overviews: output.overview_levels()?,
            place: &Place::from(&output.store).options(options.storage),
            covariances: projection.indices().pairs().len(),
            parts: &model.parts.iter().map(Part::size).collect::<Vec<_>>(),
            window,
            independent_cells: cells.is_some(),
            period,
            steps: &steps,
            dates: dates.len(),
            tile: output.tile.map(Into::into),
            budget_bytes: options.memory.bytes()?,
            threads,
            lag,
            lag_asked,
            largest_ratio: largest_ratio(&model, days),
            withholds,
        })?;
        plan.warnings.extend(long_degrees(&description, &model));
        let tiling = Tiling::new(model.target.shape(), plan.tile_shape, window.0, window.1);
        let settings = settings(&description, &model, &options, period, plan.tile_shape)?;
        Ok(Fusion {
            projection,
            space: output.space,
            unit: description.target.unit,
            period,
            steps,
            output: dates,
            tiling,
            model,
            offsets,
            cells,
            lag,
            lag_asked,
            plan,
            pool,
            servers,
            spare: Spare::default(),
            settings,
            withholds,
            file,
            options,
        })
    }
}

/// Degrees of a metre along a meridian.
const DEGREES_PER_METRE: f64 = 1.0 / 111_320.0;

/// A warning where a range of the process is longer than a scene whose units are degrees: it may be meant in metres.
fn long_degrees(description: &Description, model: &Model) -> Option<String> {
    let extent = model.target.extent();
    let (width, height) = (extent.right - extent.left, extent.top - extent.bottom);
    if !model.target.crs().is_geographic() {
        return None;
    }
    let process = description.process.given()?;
    let ranges = process.range.iter().chain(process.nested.iter().filter_map(|nested| nested.range.as_ref()));
    let longest = ranges.filter_map(Numbers::fixed).flatten().fold(0.0, f64::max);
    (longest > width.max(height)).then(|| {
        let crs = model.target.crs();
        format!(
            "a range of {longest} is longer than the scene of {width:.3} x {height:.3}: it is in units of the target's CRS ({crs}), \
             which are degrees; {longest} m are about {:.2e} of them",
            longest * DEGREES_PER_METRE
        )
    })
}

/// Refuses target bands of which no instrument says anything: the result would be the prior.
fn refuse_unobserved(model: &Model) -> Result<()> {
    if model.spectrum.basis().is_some() || model.instruments.is_empty() {
        return Ok(());
    }
    let observed = |j: usize| model.instruments.iter().any(|instrument| instrument.observes(j));
    let Some((_, band)) = model.spectrum.bands().iter().enumerate().find(|(j, _)| !observed(*j)) else { return Ok(()) };
    let unused = model.instruments.iter().flat_map(|instrument| {
        let used = &instrument.source_bands;
        let held = instrument.source.bands().iter().enumerate();
        held.filter(|(k, _)| !used.contains(k)).map(|(_, name)| name.as_str()).collect::<Vec<_>>()
    });
    let advice = match unused.collect::<Vec<_>>().as_slice() {
        [] => "check its name, or take it out".into(),
        unused => format!(
            "unused are {unused:?}; list in `bands` what each band of the instrument observes, or take it out of the target"
        ),
    };
    Err(Error::setting(
        "target.bands",
        format!("no instrument observes {band:?}, which would be the prior alone; {advice}"),
    ))
}

fn pool(threads: usize, name: &'static str) -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(move |index| format!("rasterfuse-{name}{index}"))
        .build()
        .map_err(|error| Error::Threads { threads, source: Box::new(error) })
}

/// How cells are filtered one by one, where nothing couples them.
fn independent_cells(description: &Description, options: &RunOptions, model: &Model) -> Option<Arc<CellModel>> {
    let adapts = model.process.inflate || model.instruments.iter().any(|i| i.inflate || i.robust.is_some());
    let plain = description.smoothing.lag == 0 && model.far.count == 0 && options.precision == Precision::F64;
    let cells = (plain && !adapts).then(|| CellModel::new(&model.process, &model.instruments, &model.parts));
    cells.flatten().map(Arc::new)
}

/// Offsets that are output: (instrument, band read).
fn offsets(description: &Description, instruments: &[ObservationModel]) -> Result<Vec<(usize, usize)>> {
    if !description.output.offsets {
        return Ok(Vec::new());
    }
    if description.smoothing.lag > 0 {
        let problem = "offsets are filtered, and with a smoothing lag the values are not; leave out one of them";
        return Err(Error::setting("output.offsets", problem));
    }
    let layered = instruments.iter().enumerate().filter(|(_, instrument)| !instrument.offset_layers.is_empty());
    let bands =
        |(k, instrument): (usize, &ObservationModel)| (0..instrument.source_bands.len()).map(move |band| (k, band));
    let offsets: Vec<_> = layered.flat_map(bands).collect();
    if offsets.is_empty() {
        return Err(Error::setting("output.offsets", "no instrument has an offset_layer"));
    }
    Ok(offsets)
}

/// The days asked for, or those between the first and the last observation.
fn period(description: &Description, instruments: &[ObservationModel]) -> Result<DateRange> {
    let asked = (description.time.start, description.time.end);
    // The dates of files: what counts later than its date is known when files of other instruments have come, too.
    let observed = || instruments.iter().flat_map(|instrument| instrument.source.dates().iter().copied());
    let dates = || observed().chain(description.time.held.iter().copied());
    // A file from before the series is not left out without a word: its settings differ then.
    let earliest = || dates().chain(description.time.began).min();
    let (Some(first), Some(last)) = (asked.0.or_else(earliest), asked.1.or(dates().max())) else {
        return Err(Error::setting("time", "the instruments hold no date; give start and end"));
    };
    match asked {
        (Some(start), None) if last < start => {
            let problem = format!(
                "start {start} is after the last observation of all instruments, {last}, which a series without `end` ends with; \
                 give an earlier start, or an end"
            );
            Err(Error::setting("time", problem))
        }
        (None, Some(end)) if end < first => {
            let problem = format!(
                "end {end} precedes the first observation of all instruments, {first}, which a series without `start` begins \
                 with; give a later end, or a start"
            );
            Err(Error::setting("time", problem))
        }
        _ => DateRange::new(first, last),
    }
}

/// Largest variance that any window can reach in `days` over the smallest noise variance, where both are known.
fn largest_ratio(model: &Model, days: f64) -> Option<f64> {
    let Model { process, prior, instruments, parts, .. } = model;
    // Noise that only the pixels know may be as small as it likes, further layers add variances of
    // their own, and process variances may be learned.
    if process.inflate
        || !process.fields.is_empty()
        || instruments.iter().any(|instrument| instrument.source.knows_noise() || !instrument.offset_layers.is_empty())
    {
        return None;
    }
    let widest = |part: &Part| {
        let variance = |&j: &usize| process.largest_variance(j, prior.constant_variance(j)?, days);
        let variances: Option<Vec<f64>> = part.filtered().iter().map(variance).collect();
        let information = instruments.iter().map(|i| i.most_information(part.filtered())).fold(0.0, f64::max);
        // A combination of several components has at most so many times the largest variance.
        let combined = information * part.filtered().len() as f64;
        variances.map(|variances| variances.into_iter().fold(0.0, f64::max) * combined)
    };
    let ratios: Option<Vec<f64>> = parts.iter().map(widest).collect();
    ratios.map(|ratios| ratios.into_iter().fold(0.0, f64::max))
}
