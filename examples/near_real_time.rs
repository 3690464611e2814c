//! A series that grows by a day whenever a file arrives, as in operation:
//!
//! ```text
//! cargo run --release --example near_real_time
//! cargo run --release --example near_real_time -- --out figure.png --light
//! ```
//!
//! Real Landsat and MODIS files (`examples/data/kranj`) arrive in a folder: those of the first twelve days at once, for the variances are
//! measured in them before the series begins, then those of one day after the other. Each time the new dates are fused and
//! appended to one store: only the new files are read, and the filter goes on from the checkpoint beside the store. Printed is what a
//! day costs, which does not grow. At the end one run over all files must give the same bytes. `fuse --append` does the same from a
//! description.
//!
//! On each of these days the store also says what the last one, when Landsat comes again, will bring: the mean as it is, the variance with
//! that of the days between. What these forecasts were worth is printed and drawn, too. No variance knows a date after a forecast's; the
//! structure of the model was chosen on this scene, though (`examples/common/kranj.rs`). The price is seen in the intervals: the first
//! twelve days change by less than the weeks after, so the forecasts are too sure. A series in operation takes its variances from a year
//! before it, or is validated and given a factor (`docs/validation.md`).

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ndarray::{Array2, ArrayView2, Axis};
use plotters::style::text_anchor::HPos;
use rasterfuse::Result;
use rasterfuse::engine::{Checkpoint, Start};
use rasterfuse::geometry::{Date, PixelRegion};
use rasterfuse::sink::{FusedSeries, ZarrSink};
use rasterfuse::source::RasterSource;

use common::canvas::{COARSE, Drawn, FINE, FUSED, LARGE, picture, text};
use common::chart::{AXIS, Chart, Horizontal, LEFT, Layer};
use common::command::{run, say};
use common::kranj::{self, LANDSAT_NOISE, Settings};
use common::score::Score;

/// The band whose forecasts are looked at: nir.
const BAND: usize = 3;
/// Days ahead for which the forecasts are printed.
const AHEAD: [i32; 3] = [21, 14, 7];
/// Days that are there when the series begins. Eleven changes from day to day of 16 MODIS pixels are what variances are measured in.
const BEGUN_WITH: usize = 12;

/// Append one day after the other, and compare with one run over all.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the figure goes.
    #[arg(long, default_value = "near_real_time.png")]
    out: PathBuf,
    /// Keep light checkpoints: smaller, and near what one run gives instead of equal to it.
    #[arg(long)]
    light: bool,
}

fn main() -> ExitCode {
    run(operate)
}

fn operate(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let archive = by_date(&kranj::folder())?;
    let (Some(first), Some(last)) = (archive.keys().next().copied(), archive.keys().last().copied()) else {
        return Err("examples/data/kranj holds no rasters".into());
    };
    let work = tempfile::tempdir()?;
    let inbox = work.path().join("inbox");
    fs::create_dir_all(&inbox)?;
    let checkpoint = if arguments.light { Checkpoint::Light } else { Checkpoint::Full };
    let store = work.path().join("daily.zarr");
    let open = |folder: &Path, name: &str| kranj::open(folder, &format!("{name}_*.tif"));
    let begins = archive.keys().nth(BEGUN_WITH - 1).copied().unwrap_or(last);
    // A series keeps its settings. They are measured once, in what there is when it begins.
    let settings = Settings::measure(&open(&kranj::folder(), "landsat")?, &open(&kranj::folder(), "modis")?, begins)?;
    say!("variances are measured in the files to {begins}\n");
    let describe = |today: Date| {
        let builder = settings.fusion(open(&inbox, "landsat")?, open(&inbox, "modis")?.into());
        builder.start(first).end(today).checkpoint(checkpoint).build()
    };

    say!("{:<11} {:>6} {:>8} {:>11} {:>11}  {}", "today", "files", "seconds", "memory", "checkpoint", "store ends");
    let mut forecasts = Vec::new();
    let mut arrived = 0;
    for (&today, files) in &archive {
        for file in files {
            fs::copy(file, inbox.join(file.file_name().unwrap_or_default()))?;
            arrived += 1;
        }
        if today < begins {
            continue;
        }
        let began = Instant::now();
        // What is due every morning, from headers to the checkpoint.
        let fusion = describe(today)?;
        fusion.job().start(Start::Append).run(&mut ZarrSink::create(&store))?;
        let seconds = began.elapsed().as_secs_f64();

        let series = FusedSeries::open(&store)?;
        let ends = series.dates().last().map_or_else(String::new, Date::to_string);
        let (memory, state) = (memory_mib(), size(&store.with_extension("zarr.state"))? as f64 / 1_048_576.0);
        say!(
            "{today:<11} {:>6} {seconds:>8.2} {memory:>7.0} MiB {state:>7.1} MiB  {ends}",
            std::mem::take(&mut arrived)
        );
        forecasts.push(Forecast::of(&series, today, last, settings.daily_variance(BAND))?);
    }

    let whole = work.path().join("whole.zarr");
    let fusion = describe(last)?;
    let began = Instant::now();
    fusion.run(&mut ZarrSink::create(&whole))?;
    let seconds = began.elapsed().as_secs_f64();
    let (files, different) = compare(&store, &whole)?;
    say!("\none run over all {} days takes {seconds:.2} s", fusion.output_dates().len());
    say!("{files} files of the store, {different} of them other than those of the one run");
    if different > 0 && !arguments.light {
        return Err("appending day by day gave another store than one run".into());
    }

    // The last file to arrive, which none of the forecasts knew.
    let landsat = open(&inbox, "landsat")?;
    let seen = kranj::image(&landsat, landsat.dates().len() - 1)?;
    let seen = seen.index_axis(Axis(0), BAND);
    say!(
        "\nnir of {last} as forecast\n{:<11} {:>8} {:>9} {:>18}",
        "days before",
        "RMSE",
        "mean sd",
        "in 90 % interval"
    );
    for forecast in forecasts.iter().filter(|forecast| AHEAD.contains(&last.days_since(forecast.today))) {
        let score = forecast.score(seen);
        let ahead = last.days_since(forecast.today);
        let (rmse, sd, inside) = (score.rmse(), score.mean_sd(), 100.0 * score.coverage());
        say!("{ahead:<11} {rmse:>8.4} {sd:>9.4} {inside:>16.1} %");
    }
    say!(
        "intervals are as wide as the change until {begins} was large: calm days before livelier ones make them too narrow"
    );
    draw(&arguments.out, &FusedSeries::open(&store)?, first, &forecasts, seen)?;
    say!("\nfigure    {}", arguments.out.display());
    say!("total     {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Rasters of a folder by the date in their names; what other programs leave beside them (`.aux.xml`) is none.
fn by_date(folder: &Path) -> Result<BTreeMap<Date, Vec<PathBuf>>, Box<dyn Error>> {
    let mut dates: BTreeMap<Date, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "tif") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let Some((_, digits)) = name.split_once('_') else { continue };
        dates.entry(Date::parse(digits, "%Y%m%d")?).or_default().push(path);
    }
    Ok(dates)
}

/// What is known today, and what it says of a later day.
#[derive(Debug)]
struct Forecast {
    today: Date,
    mean: Array2<f64>,
    /// Standard deviation of what is forecast.
    later_sd: Array2<f64>,
}

impl Forecast {
    /// From the end of the store: a random walk stays where it is, and its variance grows by that of each day.
    fn of(series: &FusedSeries, today: Date, later: Date, daily_variance: f64) -> Result<Self> {
        let (mean, sd) = series.values(today, &[BAND], &series.grid().region())?;
        let (mean, sd) = (mean.index_axis_move(Axis(0), 0), sd.index_axis_move(Axis(0), 0));
        let grown = f64::from(later.days_since(today)) * daily_variance;
        Ok(Self { today, mean, later_sd: sd.mapv(|sd| (sd * sd + grown).sqrt()) })
    }

    /// Against what was seen then, which has noise of its own.
    fn score(&self, seen: ArrayView2<'_, f64>) -> Score {
        Score::of_estimates(&self.mean, &self.later_sd.mapv(|sd| (sd * sd + LANDSAT_NOISE).sqrt()), seen)
    }
}

/// A cell as it was known on each day, and what each day said of the last one.
fn draw(path: &Path, series: &FusedSeries, begin: Date, forecasts: &[Forecast], seen: ArrayView2<'_, f64>) -> Drawn {
    let (Some(first), Some(last)) = (forecasts.first(), forecasts.last()) else { return Ok(()) };
    let cell = changed(&first.mean, seen);
    let end = f64::from(last.today.days_since(begin));
    let day = |date: Date| f64::from(date.days_since(begin));
    let place = PixelRegion::new(cell.0..cell.0 + 1, cell.1..cell.1 + 1);
    let of_store = |&date: &Date| {
        let (mean, sd) = series.values(date, &[BAND], &place)?;
        Ok((day(date), mean[(0, 0, 0)], sd[(0, 0, 0)]))
    };
    let known = series.dates().iter().map(of_store).collect::<Result<Vec<_>>>()?;
    // Before the last day, which knows it.
    let before = forecasts.iter().filter(|forecast| forecast.today < last.today);
    let foretold = before.map(|forecast| (day(forecast.today), forecast.mean[cell], forecast.later_sd[cell]));
    let came = || Layer::targets("Landsat, when it came", FINE, [(end, seen[cell])]);
    let chart = |layers| Chart {
        horizontal: Horizontal::Days(begin),
        from_to: (-0.7, end + 0.7),
        vertical: "nir reflectance",
        limits: None,
        layers,
    };
    let known = chart(vec![Layer::estimate("value of the day, as known on it", FUSED, known), came()]);
    let title = format!("value of {}, as forecast on the day", last.today.format("%-d %B"));
    let foretold = chart(vec![
        Layer::line("", COARSE, [(0.0, seen[cell]), (end, seen[cell])]),
        Layer::estimate(&title, FUSED, foretold),
        came(),
    ]);
    let (low, high) = foretold.span();
    let limits = Some((low.min(known.span().0), high.max(known.span().1)));
    let (width, height, gap, top) = (900, 360, 140, 140);
    let size = ((LEFT + 2 * width + gap + 40) as u32, (top + height + AXIS) as u32);
    picture(path, size, |canvas| {
        let heading = "one cell of 30 m, Kranj 2020: a store that grows by a day whenever a file arrives";
        text(canvas, heading, (LEFT, 36), LARGE, HPos::Left)?;
        for (index, chart) in [known, foretold].into_iter().enumerate() {
            let left = LEFT + index as i32 * (width + gap);
            chart.legend(canvas, "", (left, top - 36))?;
            Chart { limits, ..chart }.draw(canvas, (left, top), (width, height))?;
        }
        Ok(())
    })
}

/// A cell that has changed more than three in four have.
fn changed(first: &Array2<f64>, seen: ArrayView2<'_, f64>) -> (usize, usize) {
    let change = (&seen - first).mapv(f64::abs);
    let mut cells: Vec<_> = change.indexed_iter().filter(|(_, change)| !change.is_nan()).collect();
    cells.sort_by(|a, b| a.1.total_cmp(b.1));
    cells.get(cells.len() * 3 / 4).map_or((0, 0), |(cell, _)| *cell)
}

/// Memory of this process now, where the system tells.
fn memory_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Files below a folder, by their paths relative to it.
fn files(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                let is_records = path.ends_with(".rasterfuse");
                folders.extend((!is_records).then_some(path));
            } else if let Ok(relative) = path.strip_prefix(folder) {
                files.insert(relative.to_path_buf(), path.clone());
            }
        }
    }
    Ok(files)
}

/// Bytes of the files below a folder.
fn size(folder: &Path) -> std::io::Result<u64> {
    files(folder)?.values().map(|path| Ok(fs::metadata(path)?.len())).sum()
}

/// What a file of a store holds but for the identity of its series, of which every run draws one.
fn content(path: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    let of_series = |line: &&[u8]| line.windows(8).any(|word| word == b"\"series_");
    Ok(bytes.split(|byte| *byte == b'\n').filter(|line| !of_series(line)).flatten().copied().collect())
}

/// How many files two folders hold, and how many are not the same in both. Records of chunks, which name the series, are
/// left out.
fn compare(a: &Path, b: &Path) -> std::io::Result<(usize, usize)> {
    let (a, b) = (files(a)?, files(b)?);
    let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let mut different = 0;
    for name in &names {
        let same = match (a.get(*name), b.get(*name)) {
            (Some(a), Some(b)) => content(a)? == content(b)?,
            _ => false,
        };
        different += usize::from(!same);
    }
    Ok((names.len(), different))
}
