//! Test that a window allocates no memory after its first batches.

use std::sync::Arc;

use ndarray::Array4;

use super::*;
use crate::describe::{Footprint, Instrument, Kernel, Prior, Process, Variation};
use crate::engine::in_flight::InFlight;
use crate::engine::tile::{States, TileReader, TileState};
use crate::geometry::{Crs, Grid};
use crate::source::MemorySource;
use crate::{Fusion, Precision, Result};

/// After the first batches a window allocates no memory, whatever the batch contains.
#[test]
fn later_batches_allocate_nothing() -> Result<()> {
    let grid = |size: f64, side: usize| Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], (side, side));
    let source = |size: f64, side: usize| -> Result<_> {
        let values = Array4::from_shape_fn((40, 2, side, side), |(t, b, r, c)| {
            let missing = b == 0 && (t + r + c) % 5 == 0;
            if missing { f64::NAN } else { 0.3 + 0.01 * ((t * 7 + b * 3 + r * 5 + c) % 4) as f64 }
        });
        let dates = (0..40).map(Date::from_days).collect();
        Ok(Arc::new(MemorySource::new(grid(size, side)?, dates, vec!["red".into(), "nir".into()], values)?))
    };
    for (lag, precision) in [(0, Precision::F64), (2, Precision::F64), (2, Precision::F32)] {
        let uneven = Variation::of(source(30.0, 12)?);
        let coarse = Instrument::new("coarse", source(70.0, 6)?).footprint(Footprint::Uniform);
        let fusion = Fusion::builder(grid(30.0, 12)?)
            .bands(["red", "nir"])
            .process(
                Process::new(Kernel::Exponential, 100.0, 1e-3)
                    .phi(0.99)
                    .adaptive(0.5, 0.1)
                    .relative(0.5, 0.3)
                    .variation(uneven),
            )
            .prior(Prior::new(0.3, 0.01))
            .instrument(Instrument::new("fine", source(30.0, 12)?).noise_variance(1e-3).gate(0.99))
            .instrument(coarse.noise_variance(1e-3))
            .tile(12, 12)
            .lag(lag)
            .precision(precision)
            .build()?;
        let Some(tile) = fusion.tiling.tile(0) else { panic!("no tile") };
        let reader = TileReader::new(&fusion, &tile)?;
        let read = |steps| reader.read(&fusion, steps, &InFlight::default());
        let batches = fusion.steps.chunks(8).map(read).collect::<Result<Vec<_>>>()?;
        let tile = TileState::first(&fusion, tile)?;
        let States::Windows(mut windows) = tile.states else { panic!("no windows") };
        let mut worker = Worker::new(fusion.model.parts.len());
        for (k, batch) in batches.iter().enumerate() {
            let last = k + 1 == batches.len();
            for window in &mut windows {
                let mut step =
                    || window.advance(batch, last, &fusion.model.instruments, &fusion.model.parts, &mut worker);
                let mut done = Ok(());
                let counted = allocation_counter::measure(|| done = step());
                done?;
                // The first batch brings every pattern of missing bands; the last one also flushes the lag.
                let settled = k >= 1 && !last;
                assert!(!settled || counted.count_total == 0, "batch {k}: {} allocations", counted.count_total);
            }
        }
    }
    Ok(())
}
