use std::time::Instant;

use rayon::prelude::*;

use super::{Fusion, Report};
use crate::error::Result;
use crate::sink::FusionSink;

impl Fusion {
    /// Drives the whole fusion into a sink: begin, append every block, commit dates as they become whole, finish.
    ///
    /// # Errors
    /// The first error of a source, a window or the sink. What was committed before it stays readable.
    pub fn run(&self, sink: &mut dyn FusionSink) -> Result<Report> {
        sink.begin(&self.layout())?;
        let mut stream = self.stream();
        let mut blocks_of = vec![0_usize; self.output.len()];
        let mut whole = 0;
        while let Some(batch) = stream.next_batch() {
            let batch = batch?;
            let started = Instant::now();
            let appended = &*sink;
            self.pool.install(|| batch.par_iter().try_for_each(|block| appended.append(block)))?;
            batch.iter().for_each(|block| blocks_of[block.time] += 1);
            let completed = blocks_of[whole..].iter().take_while(|&&blocks| blocks == self.plan.tiles).count();
            if completed > 0 {
                whole += completed;
                sink.commit(whole)?;
            }
            stream.add_write_time(started.elapsed());
        }
        let report = stream.report();
        sink.finish(&report)?;
        Ok(report)
    }
}
