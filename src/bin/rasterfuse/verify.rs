//! `rasterfuse verify`: reads a store again and says whether it is what was written.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use rasterfuse::engine::verify_checkpoints;
use rasterfuse::series::FusionSink;
use rasterfuse::sink::{ZarrSink, verify_watched};
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::output::{Json, say};
use crate::progress::Meter;

/// Problems that are printed; all of them are in the JSON.
const LISTED: usize = 50;

/// Read a whole fused store and its checkpoints, and check that they are what was written.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// The store.
    store: PathBuf,
    #[command(flatten)]
    json: Json,
}

const EXAMPLE: &str = "\
Example, every night:
  rasterfuse verify fused.zarr --json=verified.json

Every chunk is compared with the length and checksum that were recorded when it was written, metadata and coordinates
with each other, checkpoints with the store. Nothing is changed.
With --json: `whole`, `series_id`, `generation`, `state`, `chunks`, `bytes`, `seconds`, `changed`, `faults` (array,
tile, date, problem) and `problems` (path, problem, remedy).

Exit status: 0 all of it is what was written, 3 something is not, 1 there is no series that could be read.";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let shown = arguments.json.to();
    shown.check()?;
    let started = Instant::now();
    let sink = ZarrSink::create(&arguments.store);
    let meter = Meter::new();
    meter.announce("reading all chunks");
    let mut found = verify_watched(sink.place(), &meter)?;
    if let Some(folder) = sink.state_folder() {
        verify_checkpoints(folder, &mut found)?;
    }
    meter.end();
    let seconds = started.elapsed().as_secs_f64();
    let mut report = json!(found);
    (report["whole"], report["seconds"]) = (found.is_whole().into(), seconds.into());
    shown.json(&report)?;
    if shown.is_text() {
        let (id, generation) = (found.series_id.as_deref().unwrap_or("none"), found.generation.unwrap_or(0));
        say!("{}: {}, series {id}, generation {generation}", arguments.store.display(), found.state);
        let mib = found.bytes as f64 / f64::from(1 << 20);
        say!("{} chunks, {mib:.1} MiB read in {seconds:.2} s", found.chunks);
        found.faults.iter().take(LISTED).for_each(|fault| say!("{fault}"));
        found.problems.iter().take(LISTED).for_each(|problem| say!("{problem}"));
    }
    if found.is_whole() {
        if shown.is_text() {
            say!("everything is what was written");
        }
        return Ok(());
    }
    let mends = if found.changed == 0 {
        String::new()
    } else {
        "; remove the chunks that have other bytes, then rasterfuse fuse FUSION.toml --resume makes them again"
            .to_owned()
    };
    let (changed, problems) = (found.changed, found.problems.len());
    let what = format!("{changed} chunks are not what was written, and {problems} other problems{mends}");
    Err(Failure::Damaged(format!("{}: {what}", arguments.store.display())))
}
