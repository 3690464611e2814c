//! A sink that holds a series in memory.

use std::sync::{Mutex, PoisonError};

use ndarray::{Array4, s};

use crate::error::{Error, Result};
use crate::geometry::Date;
use crate::series::{FusedBlock, FusionSink, Report, SeriesLayout};

/// Collects a full series in memory: the reference implementation, and suitable for small scenes. Unlike all other
/// parts of a run, its memory grows with the number of dates. There is an example at
/// [`Fusion::builder`](crate::Fusion::builder).
#[derive(Debug, Default)]
pub struct MemorySink {
    layout: Option<SeriesLayout>,
    series: Mutex<Option<(Array4<f64>, Array4<f64>)>>,
    offsets: Mutex<Option<(Array4<f64>, Array4<f64>)>>,
    committed: usize,
    report: Option<Report>,
}

impl MemorySink {
    /// An empty sink.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Committed dates.
    #[must_use]
    pub fn dates(&self) -> &[Date] {
        self.layout.as_ref().map_or(&[], |layout| &layout.dates[..self.committed])
    }

    /// Mean and standard deviation of the committed dates, **shape** (time, band, y, x) each; where components are
    /// output, their means, **shape** (time, component, y, x), and covariances, **shape** (time, pair, y, x).
    ///
    /// # Errors
    /// [`Error::Store`] when nothing was written to the sink.
    pub fn into_arrays(self) -> Result<(Array4<f64>, Array4<f64>)> {
        let series = self.series.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mean, uncertainty) = series.ok_or_else(|| failed("nothing was written to this sink".into()))?;
        let committed = s![..self.committed, .., .., ..];
        Ok((mean.slice(committed).to_owned(), uncertainty.slice(committed).to_owned()))
    }

    /// Mean and standard deviation of the output [offsets](SeriesLayout::offsets), **shape** (time, offset, y, x)
    /// each; `None` where there are none.
    #[must_use]
    pub fn offsets(&self) -> Option<(Array4<f64>, Array4<f64>)> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The report of a finished run.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }
}

fn failed(problem: String) -> Error {
    Error::Store { path: "(memory)".into(), problem, source: None }
}

impl FusionSink for MemorySink {
    fn begin(&mut self, layout: &SeriesLayout) -> Result<()> {
        if self.layout.is_some() {
            return Err(Error::CannotContinue {
                path: "(memory)".into(),
                problem: "this sink already holds a series and takes only one; create a new sink".into(),
                remedy: None,
            });
        }
        let empty = |layers: usize| {
            let shape = (layout.dates.len(), layers, layout.grid.rows(), layout.grid.cols());
            Array4::from_elem(shape, f64::NAN)
        };
        let (means, uncertainties) = layout.layers();
        let offsets = layout.offsets.len();
        self.offsets = Mutex::new((offsets > 0).then(|| (empty(offsets), empty(offsets))));
        self.layout = Some(layout.clone());
        self.series = Mutex::new(Some((empty(means), empty(uncertainties))));
        Ok(())
    }

    fn append(&self, block: &FusedBlock) -> Result<()> {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((mean, uncertainty)) = series.as_mut() else {
            return Err(failed("a block was appended before the series was started".into()));
        };
        let target = s![block.time, .., block.region.rows.clone(), block.region.cols.clone()];
        mean.slice_mut(target).assign(&block.mean);
        uncertainty.slice_mut(target).assign(&block.uncertainty);
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some((mean, sd)), Some(offsets_of_block)) = (offsets.as_mut(), &block.offsets) {
            mean.slice_mut(target).assign(&offsets_of_block.mean);
            sd.slice_mut(target).assign(&offsets_of_block.sd);
        }
        Ok(())
    }

    fn commit(&mut self, dates: usize) -> Result<()> {
        let Some(layout) = &self.layout else {
            return Err(failed("dates were committed before the series was started".into()));
        };
        let held = layout.dates.len();
        if dates > held {
            return Err(failed(format!("{dates} dates committed of a series of {held}")));
        }
        self.committed = dates;
        Ok(())
    }

    fn finish(&mut self, report: &Report) -> Result<()> {
        if self.layout.is_none() {
            return Err(failed("the series ended before it was started".into()));
        }
        self.report = Some(report.clone());
        Ok(())
    }
}
