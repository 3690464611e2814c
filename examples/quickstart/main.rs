//! From files to a validated result, on a scene whose truth is known:
//!
//! ```text
//! cargo run --release --example quickstart
//! cargo run --release --example quickstart -- --out figure.png --keep quickstart_data
//! ```
//!
//! A fine sensor observes every eighth day, half of the time clouds; a coarse one observes daily. Both are fused into a
//! daily series at the fine resolution. Since the scene was generated, the result can be compared with the truth: are the
//! errors smaller than those of the last clear image, and does the 90 % interval hold the truth 90 % of the time? If not,
//! the program ends with an error.
//!
//! What a real project needs is in [`describe`] and the few lines of [`quickstart`] that run it.

#[path = "../common/mod.rs"]
mod common;
mod judge;
mod picture;
mod scene;
mod sensors;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rasterfuse::Fusion;
use rasterfuse::describe::{Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::sink::{MemorySink, ZarrSink};
use rasterfuse::source::{RasterSource, RasterStack};

use common::command::{run, say};
use judge::{CarriedForward, Fused, Verdict};
use picture::Figure;
use scene::{BANDS, CHANGE_RANGE, CHANGE_VARIANCE, Scene};
use sensors::{LANDSAT_NOISE, MODIS_NOISE};

/// What is believed of each band before anything is seen: typical values, and how far from them a cell may be.
///
/// A prior takes cells as independent while neighbours in a field are alike, so the first coarse images surprise the filter:
/// that is why the report shows `nis/dof` above 1 for modis. After the first clear fine image it is near 1.
const PRIOR_MEAN: [f64; 2] = [0.11, 0.31];
const PRIOR_VARIANCE: [f64; 2] = [1e-3, 5e-3];
/// Cells per side of an estimation window, and of the context around it: more is slower and a little better.
const WINDOW: (usize, usize) = (4, 4);

/// Generate a scene, fuse two sensors that see it, and compare the result with the truth.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the figure goes.
    #[arg(long, default_value = "quickstart.png")]
    out: PathBuf,
    /// Keep the images, the fused series as a Zarr store and a `fuse.toml` in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Another seed makes another scene.
    #[arg(long, default_value_t = 12)]
    seed: u64,
}

fn main() -> ExitCode {
    run(quickstart)
}

fn quickstart(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let temporary = tempfile::tempdir()?;
    let folder = arguments.keep.as_deref().unwrap_or(temporary.path());
    // Better to refuse now than after all the work.
    let store = ZarrSink::create(folder.join("fused.zarr"));
    store.check_absent()?;

    let mut rng = StdRng::seed_from_u64(arguments.seed);
    let scene = Scene::generate(&mut rng)?;
    let landsat = sensors::landsat(&scene, &mut rng);
    let modis = sensors::modis(&scene, &mut rng)?;
    landsat.write_int16(&folder.join("landsat"), "landsat")?;
    modis.write_float32(&folder.join("modis"), "modis")?;
    say!("generated in {:.1} s\n", started.elapsed().as_secs_f64());

    let fusion = describe(folder)?;
    say!("{}\n", fusion.plan());
    let mut sink = MemorySink::new();
    let report = fusion.run(&mut sink)?;
    say!("{report}\n");
    let (mean, sd) = sink.into_arrays()?;
    let fused = Fused { mean, sd };

    let naive = CarriedForward::new(&scene, &landsat, &modis, PRIOR_MEAN);
    let verdict = Verdict::new(&fused, &naive, scene.truth());
    say!("{verdict}\n");
    Figure { scene: &scene, landsat: &landsat, modis: &modis, naive: &naive, fused: &fused }.draw(&arguments.out)?;
    say!("figure    {}", arguments.out.display());
    if let Some(folder) = &arguments.keep {
        keep(&fusion, store, folder)?;
    }
    say!("total     {:.1} s", started.elapsed().as_secs_f64());
    Ok(verdict.check()?)
}

/// The fusion of the images in `folder`.
fn describe(folder: &Path) -> rasterfuse::Result<Fusion> {
    // Opening reads headers only. Dates come from the file names, scale and nodata from the files.
    let stack = |pattern, date| RasterStack::builder(pattern, date).folder(folder).open();
    let landsat = stack("landsat/landsat_*.tif", r"landsat_(\d{8})")?;
    let modis = stack("modis/modis_*.tif", r"modis_(\d{8})")?;
    // Any grid would do; here the fused series is to have the cells of the fine images.
    let target = landsat.grid().clone();
    Fusion::builder(target)
        .bands(BANDS)
        .window(WINDOW.0, WINDOW.1)
        .process(Process::new(Kernel::Exponential, CHANGE_RANGE, CHANGE_VARIANCE))
        .prior(Prior::new(PRIOR_MEAN, PRIOR_VARIANCE))
        .instrument(Instrument::new("landsat", landsat).noise_variance(LANDSAT_NOISE))
        .instrument(
            // A coarse pixel is the average of the cells under it; the grids need not be aligned.
            Instrument::new("modis", modis).footprint(Footprint::Uniform).noise_variance(MODIS_NOISE),
        )
        .build()
}

/// Leaves the fused series as a store, and the same fusion as a file.
fn keep(fusion: &Fusion, mut store: ZarrSink, folder: &Path) -> Result<(), Box<dyn Error>> {
    // A fusion can be run any number of times, into any sink.
    fusion.run(&mut store)?;
    let file = folder.join("fuse.toml");
    fs::write(&file, description())?;
    say!("kept      images, fused.zarr and fuse.toml in {}", folder.display());
    say!("\nNext, run the same fusion from its description, or change something in it first:");
    say!("  rasterfuse fuse {}", file.display());
    Ok(())
}

/// What [`describe`] builds, as `rasterfuse fuse` reads it.
fn description() -> String {
    let (size, halo) = WINDOW;
    format!(
        r#"[target]
like = "landsat/landsat_20240501.tif"
bands = {BANDS:?}

[window]
size = {size}
halo = {halo}

[process]
kernel = "exponential"
range = {CHANGE_RANGE:?}
variance = {CHANGE_VARIANCE:?}

[prior]
mean = {PRIOR_MEAN:?}
variance = {PRIOR_VARIANCE:?}

[[instrument]]
name = "landsat"
files = "landsat/landsat_*.tif"
date = 'landsat_(\d{{8}})'
bands = {BANDS:?}
footprint = "cell"
noise_variance = {LANDSAT_NOISE:?}

[[instrument]]
name = "modis"
files = "modis/modis_*.tif"
date = 'modis_(\d{{8}})'
bands = {BANDS:?}
footprint = "uniform"
noise_variance = {MODIS_NOISE:?}

[output]
store = "fused_from_toml.zarr"
"#
    )
}
