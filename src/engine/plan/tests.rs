//! Plans of made-up scenes: what they count, and that they keep to the budget.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::Plan;
use crate::describe::{Footprint, Instrument, Kernel, Prior, Process};
use crate::engine::{FusionBuilder, MemoryBudget, Precision};
use crate::geometry::{Crs, Date, Grid, PixelRegion, Rect};
use crate::source::{RasterSource, Slice};
use crate::{Error, Fusion, Result};

const MIB: u64 = 1 << 20;

/// A source that is only looked at.
#[derive(Clone, Debug)]
struct Sight {
    grid: Grid,
    dates: Vec<Date>,
    bands: Vec<String>,
    block: Option<(usize, usize)>,
    handle: u64,
    cache: u64,
}

impl Sight {
    fn new(grid: Grid, dates: i32, block: Option<(usize, usize)>) -> Self {
        let dates = (0..dates).map(Date::from_days).collect();
        Self { grid, dates, bands: vec!["red".into()], block, handle: 0, cache: 0 }
    }
}

impl RasterSource for Sight {
    fn grid(&self) -> &Grid {
        &self.grid
    }

    fn dates(&self) -> &[Date] {
        &self.dates
    }

    fn bands(&self) -> &[String] {
        &self.bands
    }

    fn read(&self, date: Date, _: &[usize], _: &PixelRegion) -> Result<Slice> {
        panic!("a plan reads nothing, not even {date}")
    }

    fn origin(&self) -> String {
        "a test".into()
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        self.block
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        self.handle * readers as u64
    }

    fn shared_cache_bytes(&self) -> u64 {
        self.cache
    }
}

/// Square cells; the corner is so many cells right of and below the origin.
fn grid(cell: f64, corner: (f64, f64), shape: (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [30.0 * corner.1, cell, 0.0, -30.0 * corner.0, 0.0, -cell], shape).unwrap()
}

fn builder(target: Grid) -> FusionBuilder {
    Fusion::builder(target)
        .bands(["red"])
        .process(Process::new(Kernel::Exponential, 100.0, 1e-4))
        .prior(Prior::new(0.2, 0.01))
        .threads(1)
        .memory(MemoryBudget::Bytes(1 << 40))
}

/// One instrument on the target's cells.
fn plain(shape: (usize, usize), dates: i32, block: Option<(usize, usize)>) -> FusionBuilder {
    let target = grid(30.0, (0.0, 0.0), shape);
    let source = Sight::new(target.clone(), dates, block);
    builder(target).instrument(Instrument::new("fine", source).noise_variance(1e-4))
}

fn plan(builder: FusionBuilder) -> Plan {
    builder.build().unwrap().plan().clone()
}

/// Every tile by itself, block by block: the amplification, and the pixels of the largest region.
fn slow_reads(fusion: &Fusion, instrument: usize) -> (f64, i64) {
    let model = &fusion.model.instruments[instrument];
    let raster = Rect::new(0..model.source.grid().rows() as i64, 0..model.source.grid().cols() as i64);
    let block = model.source.block_shape().map_or((1, 1), |(rows, cols)| (rows as i64, cols as i64));
    let (width, height) = fusion.target().cell_size();
    let far = |cell: f64| if fusion.model.far.count > 0 { (fusion.model.far.radius / cell).ceil() as i64 } else { 0 };
    let (mut decoded, mut needed, mut largest) = (0, None::<Rect>, 0);
    for tile in (0..fusion.tiling.tile_count()).filter_map(|index| fusion.tiling.tile(index)) {
        let seen = fusion.tiling.windows(&tile.region).map(|window| {
            let core = Rect::from(&window.core);
            let (rows, cols) = fusion.target().shape();
            let (down, across) = (far(height), far(width));
            let around = Rect::new(
                (core.top - down).max(0)..(core.bottom + down).min(rows as i64),
                (core.left - across).max(0)..(core.right + across).min(cols as i64),
            );
            window.padded_rect().hull(&around)
        });
        let region = Rect::from(&model.lattice.covering(&seen.reduce(|a, b| a.hull(&b)).unwrap()));
        if region.is_empty() {
            continue;
        }
        let blocks: BTreeSet<(i64, i64)> = region.cells().map(|(row, col)| (row / block.0, col / block.1)).collect();
        decoded += blocks
            .into_iter()
            .map(|(row, col)| {
                let (top, left) = (row * block.0, col * block.1);
                Rect::new(top..top + block.0, left..left + block.1).intersection(&raster).count()
            })
            .sum::<i64>();
        largest = largest.max(region.count());
        needed = Some(needed.map_or(region, |known| known.hull(&region)));
    }
    (needed.map_or(1.0, |needed| decoded as f64 / needed.count() as f64), largest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn amplification_is_that_of_every_tiles_blocks(
        shape in (1_usize..40, 1_usize..40),
        tile in (1_usize..20, 1_usize..20),
        window in (1_usize..6, 0_usize..5),
        far in prop_oneof![Just(None), (30.0..200.0).prop_map(Some)],
        block in (1_usize..30, 1_usize..30),
        offset in (-20_i32..20, -20_i32..20),
        coarse in (-9.0..9.0, -9.0..9.0, 30.0..200.0),
    ) {
        let target = grid(30.0, (0.0, 0.0), shape);
        let fine = Sight::new(grid(30.0, (f64::from(offset.0), f64::from(offset.1)), (23, 31)), 3, Some(block));
        let coarse = Sight::new(grid(coarse.2, (coarse.0, coarse.1), (5, 7)), 3, Some((1 + block.0 % 3, 1 + block.1 % 8)));
        let whole = Sight::new(target.clone(), 3, None);
        let coarse = Instrument::new("coarse", coarse).footprint(Footprint::Uniform);
        let mut builder = builder(target)
            .instrument(Instrument::new("fine", fine).noise_variance(1e-4))
            .instrument(coarse.noise_variance(1e-4))
            .instrument(Instrument::new("whole", whole).noise_variance(1e-4))
            .window(window.0, window.1)
            .tile(tile.0, tile.1);
        if let Some(radius) = far {
            builder = builder.far_samples(3, radius);
        }
        let fusion = builder.build().unwrap();
        let mut slices = 0;
        for (k, instrument) in fusion.plan().instruments.iter().enumerate() {
            let (slow, largest) = slow_reads(&fusion, k);
            prop_assert!((instrument.read_amplification - slow).abs() < 1e-9, "{k}: {instrument:?}, not {slow}");
            prop_assert!(instrument.read_amplification >= 1.0);
            slices += largest as u64 * 8 * instrument.dates as u64;
        }
        // Three dates are a single batch.
        prop_assert!(fusion.plan().slice_bytes >= slices, "{} of {slices}", fusion.plan().slice_bytes);
    }

    #[test]
    fn every_plan_fits_its_budget_or_tells_one_that_does(
        budget_mib in 17_u64..400,
        shape in (1_usize..700, 1_usize..700),
        window in (1_usize..9, 0_usize..7),
        lag in 0_usize..9,
        bands in 1_usize..5,
        dates in 1_i32..30,
        batch in prop_oneof![3 => Just(None), 1 => (1_usize..20).prop_map(Some)],
        tile in prop_oneof![3 => Just(None), 1 => (1_usize..300, 1_usize..300).prop_map(Some)],
        threads in 1_usize..4,
        shards in 1_usize..20,
        single in any::<bool>(),
        block in prop_oneof![Just(None), Just(Some((1, 10_000))), Just(Some((256, 256))), Just(Some((16, 48)))],
    ) {
        let target = grid(30.0, (0.0, 0.0), shape);
        let names: Vec<String> = (0..bands).map(|band| format!("b{band}")).collect();
        let block = block.map(|(rows, cols): (usize, usize)| (rows.min(shape.0), cols.min(shape.1)));
        let with = |bytes: u64| {
            let fine = Sight { bands: names.clone(), handle: 300 << 10, cache: 16 * MIB, ..Sight::new(target.clone(), dates, block) };
            let coarse = Sight { bands: names.clone(), cache: 16 * MIB, ..Sight::new(grid(240.0, (-2.0, -3.0), (90, 90)), 2 * dates, None) };
            let coarse = Instrument::new("coarse", coarse).footprint(Footprint::Uniform);
            let mut builder = builder(target.clone())
                .bands(names.clone())
                .instrument(Instrument::new("fine", fine).noise_variance(1e-4))
                .instrument(coarse.noise_variance(1e-4))
                .window(window.0, window.1)
                .lag(lag)
                .threads(threads)
                .shards(shards)
                .precision(if single { Precision::F32 } else { Precision::F64 })
                .memory(MemoryBudget::Bytes(bytes));
            if let Some(batch) = batch {
                builder = builder.batch_dates(batch);
            }
            if let Some((rows, cols)) = tile {
                builder = builder.tile(rows, cols);
            }
            builder.build()
        };
        let check = |plan: &Plan| {
            assert!(plan.memory_bytes() <= plan.budget_bytes, "{plan}");
            assert!(plan.lag_bytes <= plan.state_bytes);
            if tile.is_none() {
                let whole = |side: usize, total: usize| side == total || side.is_multiple_of(window.0);
                assert!(whole(plan.tile_shape.0, shape.0) && whole(plan.tile_shape.1, shape.1), "{plan}");
                assert!(plan.tile_shape.0 * plan.tile_shape.1 <= 256 * 256);
                assert!(shards == 1 || plan.tiles >= (4 * shards).min(plan.windows), "{plan}");
            }
        };
        match with(budget_mib * MIB) {
            Ok(fusion) => check(fusion.plan()),
            Err(Error::Memory { needed_bytes, .. }) => {
                prop_assert!(needed_bytes > budget_mib * MIB);
                check(with(needed_bytes).unwrap().plan());
                let almost = with(needed_bytes - 1).unwrap_err();
                prop_assert!(matches!(almost, Error::Memory { needed_bytes: same, .. } if same == needed_bytes), "{almost}");
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn storage_in_lines_asks_for_tiles_of_whole_lines() {
    // A line is decoded whole: the narrower the tile, the more often.
    let striped = plan(plain((2000, 1500), 10, Some((1, 1500))));
    assert_eq!(striped.tile_shape, (40, 1500));
    // Four lines above and below each tile but at the ends.
    let expected = f64::from(2000 + 49 * 8) / 2000.0;
    assert!((striped.instruments[0].read_amplification - expected).abs() < 1e-12);
    // Less memory makes lower tiles of the same width.
    let tight = plan(plain((2000, 1500), 10, Some((1, 1500))).memory(MemoryBudget::Bytes(striped.memory_bytes() / 2)));
    assert_eq!(tight.tile_shape.1, 1500);
    assert!(tight.tile_shape.0 < 40 && tight.memory_bytes() <= striped.memory_bytes() / 2);
}

#[test]
fn storage_in_blocks_asks_for_tiles_of_blocks() {
    // Without context tiles that are blocks decode each once.
    let aligned = plan(plain((2000, 1500), 10, Some((256, 256))).window(4, 0));
    assert_eq!(aligned.tile_shape, (256, 256));
    assert_eq!(aligned.instruments[0].read_amplification, 1.0);
    // With context they would decode the blocks around, too; no other shape may be better than the one chosen.
    let with = || plain((2000, 1500), 10, Some((256, 256))).window(4, 4);
    let best = plan(with());
    let chosen = best.instruments[0].read_amplification;
    assert!(chosen < plan(with().tile(256, 256)).instruments[0].read_amplification);
    for tile in [(128, 512), (64, 1024), (40, 1500), (252, 260), (248, 248), (128, 128)] {
        let other = plan(with().tile(tile.0, tile.1)).instruments[0].read_amplification;
        assert!(chosen < other + 0.05, "{:?} reads {chosen} times, {tile:?} {other}", best.tile_shape);
    }
    // Where any region costs only itself, large squares share least context.
    assert_eq!(plan(plain((2000, 1500), 10, None)).tile_shape, (256, 256));
    // What fits one tile is one tile.
    let small = plan(plain((200, 300), 10, Some((256, 256))));
    assert_eq!((small.tile_shape, small.tiles), ((200, 300), 1));
}

#[test]
fn the_instrument_that_brings_most_decides() {
    let target = grid(30.0, (0.0, 0.0), (1200, 1200));
    let with = |lines: i32, blocks: i32| {
        let (striped, tiled) =
            (Sight::new(target.clone(), lines, Some((1, 1200))), Sight::new(target.clone(), blocks, Some((240, 240))));
        let instrument = |name, source| Instrument::new(name, source).noise_variance(1e-4);
        let both =
            builder(target.clone()).instrument(instrument("lines", striped)).instrument(instrument("blocks", tiled));
        plan(both.window(4, 0)).tile_shape
    };
    assert_eq!(with(50, 1).1, 1200);
    assert_eq!(with(1, 50), (240, 240));
}

#[test]
fn batches_shrink_before_a_budget_is_refused() {
    let with = |bytes: u64| plain((400, 400), 50, None).window(8, 2).lag(3).memory(MemoryBudget::Bytes(bytes));
    let Err(Error::Memory { needed_bytes, batch_dates, tile_rows, tile_cols, .. }) = with(1).build() else {
        panic!("a byte is not enough")
    };
    assert_eq!((batch_dates, tile_rows, tile_cols), (1, 8, 8));
    let (least, most) = (plan(with(needed_bytes)), plan(with(2 * needed_bytes)));
    assert_eq!((least.batch_dates, least.tile_shape), (1, (8, 8)));
    assert_eq!(most.batch_dates, 8);
    let batches: BTreeSet<usize> = (0..200).map(|k| plan(with(needed_bytes + k * 1024)).batch_dates).collect();
    assert_eq!(batches, BTreeSet::from([1, 2, 4, 8]));
    // A batch that is given stays, and a series may be shorter than one.
    assert_eq!(plan(with(1 << 40).batch_dates(3)).batch_dates, 3);
    let given = with(needed_bytes).batch_dates(8).build().unwrap_err();
    assert!(matches!(given, Error::Memory { batch_dates: 8, .. }), "{given}");
    assert_eq!(plan(plain((9, 9), 5, None)).batch_dates, 5);
}

#[test]
fn processes_that_share_a_run_have_tiles_for_each() {
    let with = |shards: usize| plan(plain((1000, 1000), 10, Some((1, 1000))).shards(shards));
    let alone = with(1);
    assert_eq!(alone.tile_shape, (64, 1000));
    for shards in [2, 5, 10, 100] {
        assert!(with(shards).tiles >= 4 * shards, "{}", with(shards));
    }
    // Of 16 windows there are no more than 16 tiles.
    assert_eq!(plan(plain((16, 16), 10, None).shards(1000)).tiles, 16);
    // A tile that is given stays.
    assert_eq!(plan(plain((1000, 1000), 10, None).shards(100).tile(500, 500)).tiles, 4);
    let none = plain((16, 16), 10, None).shards(0).build().unwrap_err();
    assert!(none.to_string().starts_with("shards: 0 processes"), "{none}");
}

#[test]
fn caches_are_counted_once_and_handles_by_reader() {
    let target = grid(30.0, (0.0, 0.0), (20, 20));
    let source = |handle: u64, cache: u64| Sight { handle, cache, ..Sight::new(target.clone(), 5, None) };
    let instrument = |name: &str, source: Sight| Instrument::new(name, source).noise_variance(1e-4);
    let with = |threads: usize| {
        let both = builder(target.clone()).instrument(instrument("a", source(1000, MIB)));
        plan(both.instrument(instrument("b", source(10, MIB))).threads(threads)).reading_bytes
    };
    assert_eq!((with(1), with(3)), (MIB + 1010, MIB + 3030));
}

#[test]
fn checkpoints_hold_every_window_of_every_tile() {
    // 2 x 3 windows of 4 x 4 cells with all others around: 96 states, two bands apart.
    let target = grid(30.0, (0.0, 0.0), (8, 12));
    let two = || {
        let source = Sight { bands: vec!["red".into(), "nir".into()], ..Sight::new(target.clone(), 5, None) };
        builder(target.clone())
            .bands(["red", "nir"])
            .instrument(Instrument::new("fine", source).noise_variance(1e-4))
            .window(4, 12)
    };
    let state = 96 * 97 / 2 * 8 + 96 * 8;
    let whole = plan(two());
    assert_eq!((whole.states_per_window, whole.independent_parts), (2 * 96, 2));
    assert_eq!(whole.full_checkpoint_bytes, 6 * 2 * state);
    assert_eq!(whole.light_checkpoint_bytes, 8 * 12 * (2 + 2) * 8);
    // Tiles of 8 x 6 cells part the middle column of windows, which both keep.
    assert_eq!(plan(two().tile(8, 6)).full_checkpoint_bytes, 8 * 2 * state);
    assert!(plan(two().lag(2)).full_checkpoint_bytes >= whole.full_checkpoint_bytes + 6 * 2 * (2 * 16 * 96 * 8));
    assert!(whole.checkpoint_scratch_bytes == 2 * 2 * state);
}

#[test]
fn plans_say_what_is_read_in_vain() {
    let target = grid(30.0, (0.0, 0.0), (60, 60));
    let names = ["red", "qa", "b7"].map(String::from);
    let source = Sight { bands: names.to_vec(), ..Sight::new(target.clone(), 5, Some((60, 60))) };
    let fusion = builder(target).instrument(Instrument::new("fine", source).noise_variance(1e-4));
    let whole = plan(fusion.clone()).to_string();
    assert!(whole.contains("red -> red; unused: qa, b7; covers 100 %") && !whole.contains("times"), "{whole}");
    let parted = plan(fusion.tile(20, 20)).to_string();
    assert!(parted.contains("reads each pixel 9.0 times"), "{parted}");
}

#[test]
fn the_whole_process_is_the_sum_of_its_parts_and_the_disk_is_known() {
    let plan = plan(plain((100, 100), 10, None).lag(2));
    let parts = plan.program_bytes
        + plan.reading_bytes
        + plan.slice_bytes
        + plan.output_bytes
        + plan.state_bytes
        + plan.workspace_bytes
        + plan.checkpoint_scratch_bytes;
    assert_eq!(plan.memory_bytes(), parts);
    let folder = tempfile::tempdir().unwrap();
    assert!(plan.disk(folder.path().join("not/yet.zarr")).unwrap().unwrap().free_bytes > 0);
}

#[test]
fn operations_are_those_of_updates_of_all_pixels() {
    let plain = || plain((64, 64), 100, None).window(4, 4);
    let (windows, dates, states) = (256.0, 100.0, 144.0_f64);
    let filtered = plan(plain());
    assert_eq!(filtered.operations, windows * dates * states.powi(3));
    assert!(filtered.warnings.is_empty(), "{:?}", filtered.warnings);
    // Five remembered dates of 16 cells.
    let smoothed = plan(plain().lag(5));
    assert_eq!(smoothed.operations, filtered.operations * (states + 2.0 * 5.0 * 16.0) / states);
    assert!(smoothed.to_string().contains("\ntime      filtering: up to about 5.4 s on 1 thread,"), "{smoothed}");
}

#[test]
fn runs_of_hours_are_warned_of_with_what_to_change() {
    let plan = plan(plain((2000, 2000), 300, None).window(8, 8).lag(4));
    assert!(plan.filter_time().as_secs() > 3600);
    let [warning] = &plan.warnings[..] else { panic!("{:?}", plan.warnings) };
    for part in ["window.size (8)", "window.halo (8)", "smoothing.lag (without it about 33.2 h", "precision = \"f32\""]
    {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    assert!(!warning.contains("far_samples") && !warning.contains("offset"), "{warning}");
}
