//! Whatever happens to a run on its way (crashes, resumes, appended dates, shards), the store ends up with the same bytes.
#![cfg(feature = "zarr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ndarray::Array4;
use proptest::prelude::*;
use rasterfuse::Fusion;
use rasterfuse::describe::OutputDates;
use rasterfuse::describe::{
    AcquisitionGroups, Composite, Field, Footprint, Instrument, Kernel, OffsetLayer, Prior, Process, Variation,
};
use rasterfuse::engine::{Checkpoint, FusionBuilder, OnError, Precision, Shard, Start};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::sink::ZarrSink;
use rasterfuse::source::MemorySource;
use support::{FullDisk, assert_says, tree};

const ROWS: usize = 19;
const COLS: usize = 23;
const DAYS: i32 = 24;

fn grid(x0: f64, y0: f64, size: f64, shape: (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [x0, size, 0.0, y0, 0.0, -size], shape).unwrap()
}

/// Values of a day that look random and do not depend on which other days there are, a fifth of them missing.
fn source(grid: Grid, days: impl Iterator<Item = i32>, seed: u64) -> Arc<MemorySource> {
    let days: Vec<i32> = days.collect();
    let (rows, cols) = grid.shape();
    let values = Array4::from_shape_fn((days.len(), 2, rows, cols), |(t, b, r, c)| {
        let k = (((days[t] as usize * 7 + b) * 131 + r) * 131 + c) as u64 ^ seed;
        let x = k.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ (x >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let unit = (x >> 11) as f64 / (1_u64 << 53) as f64;
        if unit < 0.2 { f64::NAN } else { unit }
    });
    let dates = days.into_iter().map(Date::from_days).collect();
    Arc::new(MemorySource::new(grid, dates, vec!["red".into(), "nir".into()], values).unwrap())
}

/// Change that varies over the scene.
fn uneven(target: &Grid) -> Variation {
    let (rows, cols) = target.shape();
    let factors =
        Array4::from_shape_fn((1, 2, rows, cols), |(_, band, row, col)| 0.2 + ((3 * row + 5 * col + band) % 7) as f64);
    let bands = vec!["red".into(), "nir".into()];
    Variation::of(MemorySource::new(target.clone(), vec![Date::from_days(0)], bands, factors).unwrap())
}

/// What may be chosen freely without changing a byte, and what must stay the same.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)]
struct Options {
    single: bool,
    adaptive: bool,
    gated: bool,
    layers: bool,
    /// Change relative to the level.
    relative: bool,
    /// Change that varies over the scene, and with the season.
    uneven: bool,
    lively: bool,
    /// Noise, change and weights by what innovations tell.
    adapting: bool,
    observed: bool,
    /// Independent cells, which are filtered one by one; most of the others then mean nothing.
    cells: bool,
    lag: usize,
    tile: (usize, usize),
}

/// A fusion of what there is up to day `end`.
fn fusion(options: &Options, end: i32) -> FusionBuilder {
    let fine_days = (0..=end).filter(|day| day % 6 == 3);
    let coarse_days = (0..=end).filter(|day| day % 5 != 2);
    let fine = source(grid(0.0, 0.0, 30.0, (ROWS, COLS)), fine_days, 1);
    let coarse = if options.cells { grid(60.0, 90.0, 30.0, (17, 18)) } else { grid(-100.0, 80.0, 170.0, (5, 6)) };
    let coarse = source(coarse, coarse_days, 2);
    let sharp = Instrument::new("fine", fine).noise_variance(1e-3);
    let kernel = if options.cells { Kernel::None } else { Kernel::Exponential };
    let process = Process::new(kernel, 150.0, [1e-2, 2e-2]).phi([0.98, 1.0]);
    let layered = Field::new(Kernel::Matern32, 400.0, 5e-3).phi(0.9);
    let process = if options.layers && !options.cells { process.field(layered) } else { process };
    let options = &Options {
        single: options.single && !options.cells,
        adaptive: options.adaptive && !options.cells,
        layers: options.layers && !options.cells,
        relative: options.relative && !options.cells,
        uneven: options.uneven && !options.cells,
        lively: options.lively && !options.cells,
        adapting: options.adapting && !options.cells,
        lag: if options.cells { 0 } else { options.lag },
        ..options.clone()
    };
    let blurred = Instrument::new("coarse", coarse).footprint(Footprint::Uniform).noise_variance([1e-2, 2e-2]);
    // Groups of dates to come are known beforehand; some dates have none.
    let path = |day: i32| (Date::from_days(day), if day % 3 == 0 { "190" } else { "191" });
    let groups = AcquisitionGroups::new((0..DAYS).filter(|day| day % 7 != 4).map(path));
    let wandering = [
        OffsetLayer::per_pixel([1e-2, 2e-2]).drift(1e-3),
        OffsetLayer::per_window(1e-3).phi(0.7),
        OffsetLayer::per_acquisition(1e-3),
        OffsetLayer::per_group(2e-3, groups),
    ];
    let process = if options.uneven { process.variation(uneven(&grid(0.0, 0.0, 30.0, (ROWS, COLS)))) } else { process };
    let process = if options.lively { process.season([0.5, -1.0], 0.3) } else { process };
    let process = if options.relative { process.relative([1.0, 0.5], 0.4) } else { process };
    let process = process.inflate(options.adapting);
    let sharp = if options.adapting { sharp.robust(4.0).inflate(true) } else { sharp };
    let blurred = blurred.inflate(options.adapting);
    let builder = Fusion::builder(grid(0.0, 0.0, 30.0, (ROWS, COLS)))
        .bands(["red", "nir"])
        .start(Date::from_days(0))
        .window(3, 2)
        .far_samples(if options.cells { 0 } else { 2 }, 400.0)
        .process(if options.adaptive { process.adaptive(0.4, 0.1) } else { process })
        .prior(Prior::new(0.4, [0.2, 40.0]))
        .precision(if options.single { Precision::F32 } else { Precision::F64 })
        .output(if options.observed { OutputDates::Observed } else { OutputDates::Daily })
        .lag(options.lag)
        .tile(options.tile.0, options.tile.1)
        .checkpoint(Checkpoint::Full)
        // Some series end before the first date of an instrument.
        .on_error(OnError::Skip)
        .instrument(if options.gated { sharp.gate(0.9).follow(2) } else { sharp })
        .instrument(if options.layers {
            // Dated by the last of its days: of what counts later a series may have nothing at first.
            let blurred = blurred.composite(Composite::new(5).centre(1.0).every(2));
            wandering.into_iter().fold(blurred, Instrument::offset_layer)
        } else {
            blurred
        })
        .offsets(options.layers && options.lag == 0);
    // The axis ends on a given day, observed or not.
    if options.observed { builder } else { builder.end(Date::from_days(end)) }
}

/// One leg of a series' life: up to a day, in some way.
#[derive(Clone, Debug)]
struct Leg {
    end: i32,
    /// After how many blocks the disk is full, each time until it is not.
    interruptions: Vec<usize>,
    shards: usize,
    threads: usize,
    batch: usize,
    saves_often: bool,
}

fn leg() -> impl Strategy<Value = Leg> {
    let interruptions = proptest::collection::vec(0..40_usize, 0..3);
    (0..DAYS, interruptions, 1..4_usize, 1..3_usize, 1..12_usize, any::<bool>()).prop_map(
        |(end, interruptions, shards, threads, batch, saves_often)| Leg {
            end,
            interruptions,
            shards,
            threads,
            batch,
            saves_often,
        },
    )
}

fn run_leg(options: &Options, leg: &Leg, store: &Path) {
    let builder = fusion(options, leg.end).threads(leg.threads).batch_dates(leg.batch);
    let interval = if leg.saves_often { Duration::ZERO } else { Duration::from_mins(10) };
    let fusion = builder.checkpoint_interval(interval).build().unwrap();
    let job = || fusion.job().start(Start::Append);
    let run = |shard: Option<usize>, left: usize| {
        let mut sink = FullDisk::after(ZarrSink::create(store), left);
        match shard {
            Some(index) => job().shard(Shard::new(index, leg.shards).unwrap()).run(&mut sink),
            None => job().run(&mut sink),
        }
    };
    let shards: Vec<Option<usize>> = if leg.shards == 1 { vec![None] } else { (0..leg.shards).map(Some).collect() };
    for (&left, shard) in leg.interruptions.iter().zip(shards.iter().cycle()) {
        if let Err(error) = run(*shard, left) {
            assert_says(&error.to_string(), &["disk full"]);
        }
        // Readers find a store at any time.
        rasterfuse::series::FusionSink::existing(&ZarrSink::create(store)).unwrap();
    }
    for shard in shards.iter().rev() {
        run(*shard, usize::MAX).unwrap();
    }
    if leg.shards > 1 {
        job().finalize(&mut ZarrSink::create(store)).unwrap();
    }
}

/// Files of a store that differ.
fn differences(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    names.into_iter().filter(|name| a.get(*name) != b.get(*name)).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_bytes_are_the_same(
        flags in any::<[bool; 10]>(),
        lag in 0..6_usize,
        tile in (4..ROWS + 4, 4..COLS + 4),
        mut legs in proptest::collection::vec(leg(), 1..4),
    ) {
        let [single, adaptive, gated, layers, relative, uneven, lively, adapting, observed, cells] = flags;
        let options = Options { single, adaptive, gated, layers, relative, uneven, lively, adapting, observed, cells, lag, tile };
        prop_assert_eq!(fusion(&options, 9).build().unwrap().plan().independent_cells, cells);
        legs.sort_by_key(|leg| leg.end);
        let folder = tempfile::tempdir().unwrap();
        let (one, many) = (folder.path().join("one.zarr"), folder.path().join("many.zarr"));
        let end = legs.last().unwrap().end;
        fusion(&options, end).threads(1).build().unwrap().run(&mut ZarrSink::create(&one)).unwrap();
        for leg in &legs {
            run_leg(&options, leg, &many);
        }
        let differences = differences(&tree(&one), &tree(&many));
        prop_assert!(differences.is_empty(), "{differences:?}");
    }
}
