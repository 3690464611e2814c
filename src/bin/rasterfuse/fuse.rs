//! `rasterfuse fuse`: runs a whole fusion from a description into a store.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use rasterfuse::Fusion;
use rasterfuse::config::FusionConfig;
use rasterfuse::engine::{MemoryBudget, Shard, Start};
use rasterfuse::series::FusionSink;
use rasterfuse::sink::{JudgedSink, Truth, ZarrSink};
use serde_json::json;

use crate::outcome::Outcome;
use crate::output::{Json, say};
use crate::plan;
use crate::progress::{Meter, OPENING};

/// Fuse raster time series into one gap-free series with uncertainty.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
#[allow(clippy::struct_excessive_bools)] // flags are what a command line has
pub(crate) struct Arguments {
    /// Description of the fusion.
    config: PathBuf,
    /// Print what the run would take, and run nothing: `rasterfuse plan`.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    json: Json,
    /// Like --plan, and run a few windows and dates to estimate how long the run will take.
    #[arg(long)]
    calibrate: bool,
    /// Finish an interrupted run; the output is then byte-identical. Begins a run where there is none.
    #[arg(long, conflicts_with = "append")]
    resume: bool,
    /// Add the dates that the store does not have yet. Begins a series where there is none.
    #[arg(long)]
    append: bool,
    /// With --resume or --append: replay dates that came late, and tiles without a checkpoint, instead of refusing
    /// them.
    #[arg(long)]
    replay: bool,
    /// Run the i-th of n parts of the tiles, i from 0 or from 1. Without it the environment of a Slurm array or an
    /// indexed Kubernetes job counts; 1/1 runs all tiles there too.
    #[arg(long, value_name = "i/n")]
    shard: Option<Shard>,
    /// Compare with the truth of a simulated scene: a .npy file of shape (day, component or band, y, x), the first
    /// day being time.start. RMSE and coverage of 90 % intervals are added to the report.
    #[arg(long, value_name = "TRUTH.npy", conflicts_with = "finalize")]
    truth: Option<PathBuf>,
    /// Make visible what all shards have written, or name the missing tiles.
    #[arg(long, conflicts_with_all = ["shard", "resume"])]
    finalize: bool,
}

const EXAMPLE: &str = "\
Example; the second command when new files have arrived:
  rasterfuse fuse fusion.toml
  rasterfuse fuse fusion.toml --append

A run that was killed is finished by --resume. The shards of a run are ended by --finalize.
With --json: `plan`, `report` and `total_seconds`; of --plan what `rasterfuse plan` gives.";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let shown = arguments.json.to();
    shown.check()?;
    let mut config = FusionConfig::read(&arguments.config)?;
    if arguments.finalize {
        // It filters nothing.
        config = config.with_memory(MemoryBudget::Bytes(u64::MAX));
    }
    let plans = arguments.plan || arguments.calibrate;
    let shard = match arguments.shard {
        // A single shard is an ordinary run; but an array job of one, resubmitted, is still part of a whole.
        Some(shard) => Some(shard).filter(|shard| shard.count() > 1),
        None if plans || arguments.finalize => None,
        None => Shard::from_env()?,
    };
    let meter = Meter::new();
    meter.announce(OPENING);
    let fusion = config.build_for(shard)?;
    meter.end();
    let mut sink = config.sink()?;
    if plans {
        return plan::show(&fusion, &sink, arguments.calibrate, shown);
    }
    let start = match (arguments.resume, arguments.append) {
        (true, _) => Start::Resume,
        (_, true) => Start::Append,
        _ => Start::New,
    };
    let started = Instant::now();
    let mut job = fusion.job().start(start).replay(arguments.replay).check_disk(config.checks_disk());
    if arguments.finalize {
        let report = job.finalize(&mut sink)?;
        shown.json(&json!({ "report": report }))?;
        if shown.is_text() {
            say!("{report}");
            say_how_to_open(&config.sink()?, &fusion);
        }
        return Ok(());
    }
    if let Some(shard) = shard {
        job = job.shard(shard);
    }
    // Before anything is said of a run that will not be.
    job.check(&sink)?;
    if shown.is_text() {
        say!("{}", fusion.plan());
        if let Some(shard) = shard {
            say!("shard     {shard}; nothing is visible before --finalize");
        }
    }
    let meter = Meter::new();
    meter.announce("setting up the first tile");
    let job = job.progress(|progress| meter.show(progress.dates, progress));
    let report = match &arguments.truth {
        None => job.run(&mut sink),
        Some(path) => {
            let mut judged = JudgedSink::new(sink, Truth::read(fusion.period().start(), path)?);
            job.run(&mut judged).map(|mut report| {
                report.scores = judged.scores();
                report
            })
        }
    };
    meter.end();
    let (report, seconds) = (report?, started.elapsed().as_secs_f64());
    shown.json(&json!({ "plan": fusion.plan(), "report": report, "total_seconds": seconds }))?;
    if !shown.is_text() {
        return Ok(());
    }
    if report.blocks == 0 {
        say!("nothing was left to do; the report is that of earlier runs");
    }
    say!("{report}");
    say!("total {seconds:.2} s");
    if shard.is_none() {
        say_how_to_open(&config.sink()?, &fusion);
    }
    Ok(())
}

/// Says what reads the store.
fn say_how_to_open(sink: &ZarrSink, fusion: &Fusion) {
    let store = sink.location().display().to_string();
    let two = sink.settings().iter().any(|(key, value)| key == "output.zarr_format" && value == "2");
    let gdal = if two { "GDAL" } else { "GDAL 3.12 or later" };
    say!("open it   Python: xarray.open_zarr({store:?})[\"mean\"]");
    // GDAL has names of its own for servers.
    if !store.contains("://") {
        say!("          {gdal}: gdalinfo 'ZARR:\"{store}\":/mean:0:0' (the first date and band)");
    }
    if let Some(last) = fusion.layout().dates.last() {
        say!("          GeoTIFF: rasterfuse export {store} --date {last}; a picture: rasterfuse look {store}");
    }
}
