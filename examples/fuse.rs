//! Runs a whole fusion from a TOML file: `cargo run --release --example fuse -- FUSION.toml`.
//!
//! Exit status 0 on success, 1 with one message on any error.

mod common;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use rasterfuse::Fusion;
use rasterfuse::config::FusionConfig;
use rasterfuse::engine::{MemoryBudget, Progress, Shard, Start};
use rasterfuse::geometry::Date;
use rasterfuse::series::{ExistingSeries, FusionSink};
use rasterfuse::sink::{JudgedSink, Truth, ZarrSink};
use serde_json::json;

use common::command::{run, say};

/// Fuse raster time series into one gap-free series with uncertainty.
#[derive(Debug, Parser)]
#[command(version)]
#[allow(clippy::struct_excessive_bools)] // flags are what a command line has
struct Arguments {
    /// Description of the fusion.
    config: PathBuf,
    /// Print what the run would take, and run nothing.
    #[arg(long)]
    plan: bool,
    /// Print one JSON object in place of tables: of --plan `plan`, `disk`, `store`, `new_dates` and `time`, of a run `plan`,
    /// `report` and `total_seconds`.
    #[arg(long)]
    json: bool,
    /// As --plan, and try a few windows and dates to estimate how long the run will take.
    #[arg(long)]
    calibrate: bool,
    /// Finish an interrupted run, to the same bytes; begin it where nothing is there yet.
    #[arg(long, conflicts_with = "append")]
    resume: bool,
    /// Add the dates that the store does not have yet; begin it where nothing is there yet.
    #[arg(long)]
    append: bool,
    /// With --resume or --append: replay dates that came late, and tiles without a checkpoint, instead of refusing them.
    #[arg(long)]
    replay: bool,
    /// Run the i-th of n parts of the tiles, i from 0 or from 1. Without it the environment of a Slurm array or an indexed
    /// Kubernetes job is heeded; 1/1 runs all tiles there too.
    #[arg(long, value_name = "i/n")]
    shard: Option<Shard>,
    /// Compare with the truth of a simulated scene: a .npy file of shape (day, component or band, y, x), the first day being
    /// time.start. RMSE and coverage of 90 % intervals are added to the report.
    #[arg(long, value_name = "TRUTH.npy", conflicts_with = "finalize")]
    truth: Option<PathBuf>,
    /// Make visible what all shards have written, or say which tiles are missing.
    #[arg(long, conflicts_with_all = ["shard", "resume"])]
    finalize: bool,
}

fn main() -> ExitCode {
    run(fuse)
}

fn fuse(arguments: &Arguments) -> rasterfuse::Result<()> {
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
    let fusion = config.build_for(shard)?;
    let mut sink = config.sink()?;
    if plans {
        return show_plan(arguments, &fusion, &sink);
    }
    let start = match (arguments.resume, arguments.append) {
        (true, _) => Start::Resume,
        (_, true) => Start::Append,
        _ => Start::New,
    };
    let started = Instant::now();
    let meter = Meter::new();
    let job = fusion.job().start(start).replay(arguments.replay).check_disk(config.checks_disk());
    let mut job = job.progress(|progress| meter.show(progress));
    if arguments.finalize {
        let report = job.finalize(&mut sink)?;
        if arguments.json {
            say!("{:#}", json!({ "report": report }));
        } else {
            say!("{report}");
        }
        return Ok(());
    }
    if let Some(shard) = shard {
        job = job.shard(shard);
    }
    // Before anything is said of a run that will not be.
    job.check(&sink)?;
    if !arguments.json {
        say!("{}", fusion.plan());
        if let Some(shard) = shard {
            say!("shard     {shard}; nothing is visible before --finalize");
        }
    }
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
    if arguments.json {
        say!("{:#}", json!({ "plan": fusion.plan(), "report": report, "total_seconds": seconds }));
        return Ok(());
    }
    if report.blocks == 0 {
        say!("nothing was left to do; the report is that of earlier runs");
    }
    say!("{report}");
    say!("total {seconds:.2} s");
    Ok(())
}

/// What a run would take, what there is, and what is there already.
fn show_plan(arguments: &Arguments, fusion: &Fusion, sink: &ZarrSink) -> rasterfuse::Result<()> {
    let (plan, held) = (fusion.plan(), sink.existing());
    let disk = plan.disk(&sink.location())?;
    let time = arguments.calibrate.then(|| fusion.calibrate()).transpose()?;
    if arguments.json {
        let mut shown = json!({ "plan": plan, "disk": disk, "time": time });
        match held {
            Ok(held) => {
                shown["new_dates"] = json!(held.as_ref().and_then(|held| held.new_dates(fusion.output_dates())));
                shown["store"] = json!(held.map(|held| held.describe()));
            }
            Err(error) => shown["store_error"] = json!(error.to_string()),
        }
        say!("{shown:#}");
        return Ok(());
    }
    let human = |bytes: u64| bytesize::ByteSize::b(bytes).display().iec();
    say!("{plan}");
    say!("disk      at most {} of {} free", human(plan.disk_bytes()), human(disk.free_bytes));
    match held {
        Ok(Some(held)) => {
            say!("note      the store holds {}; {}", held.describe(), what_to_do(&held, fusion.output_dates()));
            if let Err(error) = fusion.job().start(Start::Append).check(sink) {
                say!("warning   {error}");
            }
        }
        Ok(None) => {}
        Err(error) => say!("warning   {error}"),
    }
    if let Some(time) = time {
        say!("time      {time}");
    }
    Ok(())
}

/// How to go on with a store, of what is planned now.
fn what_to_do(held: &ExistingSeries, dates: &[Date]) -> String {
    let all = dates.len();
    match (held.new_dates(dates), held.finished) {
        (Some(0), true) => {
            "no date of this plan is new (files that came late are taken in by --append --replay); name another output.store to \
             fuse anew"
                .into()
        }
        (Some(0), false) => "--resume finishes it".into(),
        (Some(new), true) => format!("{new} of the {all} dates of this plan are new: --append adds them, and fuses no other"),
        (Some(new), false) => {
            format!("{new} of the {all} dates of this plan are new to it: --append finishes it and adds them")
        }
        (None, _) => {
            "its dates are not the first of this plan: check [time], and whether files are gone, or name another output.store"
                .into()
        }
    }
}

/// Shows how far the run has come: a bar on a terminal, a line every so often otherwise.
struct Meter {
    bar: Option<ProgressBar>,
    told: Mutex<(Instant, usize)>,
}

/// Time between lines.
const INTERVAL: Duration = Duration::from_secs(10);

impl Meter {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, told: Mutex::new((Instant::now(), 0)) }
    }

    fn show(&self, progress: &Progress) {
        let (done, all) = progress.dates;
        if let Some(bar) = &self.bar {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            bar.set_message(progress.to_string());
            return;
        }
        let Ok(mut told) = self.told.lock() else { return };
        let tenth = done * 10 / all.max(1);
        if told.0.elapsed() >= INTERVAL || tenth > told.1 {
            *told = (Instant::now(), tenth);
            eprintln!("{progress}");
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
