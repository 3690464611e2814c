//! A plan as a short table.

use std::fmt;

use bytesize::ByteSize;

use super::{InstrumentPlan, Plan};
use crate::describe::Encoding;
use crate::engine::progress::spoken;

/// Amplifications below this are not printed.
const NOTABLE: f64 = 1.05;

/// Bands listed one by one at most.
const LISTED: usize = 12;

/// `1.5 GiB` and the like.
fn human(bytes: u64) -> impl fmt::Display {
    ByteSize::b(bytes).display().iec()
}

impl fmt::Display for InstrumentPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} dates", self.name, self.dates)?;
        if let Some((first, last)) = self.span {
            write!(f, " from {first} to {last}")?;
        }
        let of = |bands: &[(String, String)]| match bands {
            // With a spectral basis all bands observe the same components, and there may be hundreds.
            [(first, observed), .., (last, other)] if observed == other => {
                format!("{} bands, {first} to {last} -> {observed}", bands.len())
            }
            _ => bands.iter().map(|(from, to)| format!("{from} -> {to}")).collect::<Vec<_>>().join(", "),
        };
        write!(f, "; {}", of(&self.bands))?;
        match self.unused_bands.as_slice() {
            [] => {}
            [first, .., last] if self.unused_bands.len() > LISTED => {
                write!(f, "; unused: {} bands, {first} to {last}", self.unused_bands.len())?;
            }
            unused => write!(f, "; unused: {}", unused.join(", "))?,
        }
        write!(f, "; covers {:.0} % of the target", 100.0 * self.coverage)?;
        if self.read_amplification > NOTABLE {
            write!(f, "; reads each pixel {:.1} times", self.read_amplification)?;
        }
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, cols) = self.target_shape;
        let (tile_rows, tile_cols) = self.tile_shape;
        writeln!(f, "target    {rows} x {cols} cells, {} dates out, {} observed", self.dates, self.observed_dates)?;
        for instrument in &self.instruments {
            writeln!(f, "input     {instrument}")?;
        }
        for bands in &self.bands_together {
            writeln!(f, "bands     {} together: one covariance", bands.join(", "))?;
        }
        if let Some(why) = &self.bands_apart {
            writeln!(f, "bands     apart: {why}")?;
        }
        write!(f, "tiles     {} of {tile_rows} x {tile_cols} cells; ", self.tiles)?;
        if self.independent_cells {
            writeln!(f, "independent cells, filtered one by one, of {} states", self.states_per_window)?;
        } else {
            let Self { windows, states_per_window, independent_parts, .. } = self;
            writeln!(
                f,
                "{windows} windows of at most {states_per_window} states in {independent_parts} independent parts"
            )?;
        }
        let Self { batch_dates, threads, lag, precision, .. } = self;
        let threads = if *threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
        let past = if *lag == 0 { ": values rest on the past only" } else { "" };
        writeln!(f, "batches   {batch_dates} dates on {threads}, {precision} covariances, lag {lag}{past}")?;
        if !self.independent_cells {
            let time = spoken(self.filter_time());
            writeln!(f, "time      filtering: up to about {time} on {threads}, very roughly; less under clouds")?;
        }
        writeln!(f, "memory    {} of {} allowed:", human(self.memory_bytes()), human(self.budget_bytes))?;
        writeln!(
            f,
            "          states {} (lag {}), slices {}, output {}, scratch {},",
            human(self.state_bytes),
            human(self.lag_bytes),
            human(self.slice_bytes),
            human(self.output_bytes),
            human(self.workspace_bytes)
        )?;
        writeln!(
            f,
            "          checkpoint {}, reading {}, program {}{}",
            human(self.checkpoint_scratch_bytes),
            human(self.reading_bytes),
            human(self.program_bytes),
            if self.store_memory_bytes == 0 {
                String::new()
            } else {
                format!(", store {}", human(self.store_memory_bytes))
            }
        )?;
        write!(
            f,
            "store     {} in {} files{}; checkpoints: full {}, light {}; before compression; kept: {}",
            human(self.store_bytes),
            self.store_objects,
            if self.encoding == Encoding::default() { String::new() } else { format!(" ({})", self.encoding) },
            human(self.full_checkpoint_bytes),
            human(self.light_checkpoint_bytes),
            self.checkpoint
        )?;
        for warning in &self.warnings {
            write!(f, "\nwarning   {warning}")?;
        }
        Ok(())
    }
}
