//! `rasterfuse plan`: what a run would take, and how it relates to the store that is there.

use std::path::PathBuf;

use clap::Args;
use rasterfuse::Fusion;
use rasterfuse::config::FusionConfig;
use rasterfuse::engine::{Shard, Start};
use rasterfuse::geometry::Date;
use rasterfuse::series::{ExistingSeries, FusionSink};
use rasterfuse::sink::ZarrSink;
use serde_json::json;

use crate::outcome::Outcome;
use crate::output::{Json, Reporter, say};
use crate::progress::{Meter, OPENING};

/// Print what a run would take, and run nothing.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// Description of the fusion.
    config: PathBuf,
    #[command(flatten)]
    json: Json,
    /// Run a few windows and dates to estimate how long the run will take.
    #[arg(long)]
    calibrate: bool,
    /// Plan for one of n processes that share the run.
    #[arg(long, value_name = "i/n")]
    shard: Option<Shard>,
}

const EXAMPLE: &str = "\
Example:
  rasterfuse plan fusion.toml --calibrate

Check the `input` lines first: dates, where each band goes, how much of the target is covered.
With --json: `plan`, `disk`, `store`, `new_dates` and `time`.";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let config = FusionConfig::read(&arguments.config)?;
    let shard = arguments.shard.filter(|shard| shard.count() > 1);
    let meter = Meter::new();
    meter.announce(OPENING);
    let fusion = config.build_for(shard)?;
    meter.end();
    show(&fusion, &config.sink()?, arguments.calibrate, arguments.json.to())
}

/// What a run would take, what there is, and what is there already.
pub(crate) fn show(fusion: &Fusion, sink: &ZarrSink, calibrate: bool, report: Reporter<'_>) -> Outcome {
    report.check()?;
    let (plan, held) = (fusion.plan(), sink.existing());
    let disk = plan.disk(sink.place())?;
    let time = calibrate.then(|| fusion.calibrate()).transpose()?;
    let mut shown = json!({ "plan": plan, "disk": disk, "time": time });
    match &held {
        Ok(held) => {
            shown["new_dates"] = json!(held.as_ref().and_then(|held| held.new_dates(fusion.output_dates())));
            shown["store"] = json!(held.as_ref().map(ExistingSeries::describe));
        }
        Err(error) => shown["store_error"] = json!(error.to_string()),
    }
    report.json(&shown)?;
    if !report.is_text() {
        return Ok(());
    }
    let human = |bytes: u64| bytesize::ByteSize::b(bytes).display().iec();
    say!("{plan}");
    match disk {
        Some(disk) => say!("disk      at most {} of {} free", human(plan.disk_bytes()), human(disk.free_bytes)),
        None => say!("store     at most {}", human(plan.disk_bytes())),
    }
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

/// How to continue a store, of what is planned now.
fn what_to_do(held: &ExistingSeries, dates: &[Date]) -> String {
    let all = dates.len();
    match (held.new_dates(dates), held.finished) {
        (Some(0), true) => {
            "no date of this plan is new (files that came late are taken in by --append --replay); name another output.store to \
             fuse anew"
                .into()
        }
        (Some(0), false) => "--resume finishes it".into(),
        (Some(new), true) => {
            format!("{new} of the {all} dates of this plan are new: --append adds them, and fuses no other")
        }
        (Some(new), false) => {
            format!("{new} of the {all} dates of this plan are new to it: --append finishes it and adds them")
        }
        (None, _) => {
            "its dates are not the first of this plan: check [time], and whether files are gone, or name another output.store"
                .into()
        }
    }
}
