//! A sink that scores blocks against reference data.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ndarray::{Array3, ArrayView1, ArrayView3, s};

use super::Truth;
use crate::describe::OutputSpace;
use crate::error::{Error, Result};
use crate::series::{
    ExistingSeries, FusedBlock, FusionSink, HeldBlocks, Report, Saved, ScoreSums, Scores, SeriesLayout,
};
use crate::spectral::{SpectralBasis, pair};
use crate::storage::Place;

/// A sink that compares blocks with the truth of a simulated scene, and adds the scores to the report.
///
/// A truth with as many layers as the spectral basis has components consists of components, even where there are as
/// many bands. Only blocks that this run writes are scored; a run that resumes or extends a series scores the new
/// dates.
#[derive(Debug)]
pub struct JudgedSink<S> {
    sink: S,
    truth: Truth,
    layout: Option<SeriesLayout>,
    sums: Mutex<LayerSums>,
}

/// By component and by band.
#[derive(Clone, Debug, Default)]
struct LayerSums {
    components: Vec<ScoreSums>,
    bands: Vec<ScoreSums>,
}

impl<S: FusionSink> JudgedSink<S> {
    /// Scores the blocks that `sink` receives.
    pub fn new(sink: S, truth: Truth) -> Self {
        Self { sink, truth, layout: None, sums: Mutex::default() }
    }

    /// The inner sink.
    pub fn into_inner(self) -> S {
        self.sink
    }

    /// The scores so far; `None` without any block, as in a run that has nothing left to do.
    pub fn scores(&self) -> Option<Scores> {
        let layout = self.layout.as_ref()?;
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let components = sums.components.iter().enumerate();
        Some(Scores::new(
            components.map(|(j, sums)| (format!("component {}", j + 1), sums)),
            layout.bands.iter().cloned().zip(&sums.bands),
        ))
    }

    fn layout(&self) -> Result<&SeriesLayout> {
        self.layout.as_ref().ok_or_else(|| self.refuse("the series has not been started".into()))
    }

    fn refuse(&self, problem: String) -> Error {
        Error::Truth { path: self.truth.location(), problem }
    }

    /// Refuses a truth that does not fit the series.
    fn check_truth(&mut self, layout: &SeriesLayout) -> Result<()> {
        let [_, layers, rows, cols] = self.truth.shape();
        let components = layout.basis.as_ref().map(|basis| basis.components());
        let bands = layout.bands.len();
        let known = layers == bands || Some(layers) == components;
        if !known || (rows, cols) != layout.grid.shape() {
            let (target_rows, target_cols) = layout.grid.shape();
            let of = components.map_or_else(String::new, |components| format!("{components} components or "));
            return Err(self.refuse(format!(
                "its days have shape ({layers}, {rows}, {cols}); {of}{bands} bands of {target_rows} x {target_cols} cells are needed"
            )));
        }
        self.layout = Some(layout.clone());
        Ok(())
    }

    /// Compares a block with the truth.
    fn score_block(&self, block: &FusedBlock) -> Result<()> {
        let layout = self.layout()?;
        let Some(truth) = self.truth.on(block.date, &block.region)? else { return Ok(()) };
        let basis = layout.basis.as_deref();
        let of_components = basis.filter(|basis| truth.dim().0 == basis.components());
        let fused = basis.filter(|_| layout.space == OutputSpace::Components);
        let components = fused.and(of_components).map_or(0, SpectralBasis::components);
        let none = |layers: usize| vec![ScoreSums::default(); layers];
        let mut sums = LayerSums { components: none(components), bands: none(layout.bands.len()) };
        for_each_cell(block.mean.view(), block.uncertainty.view(), &truth, |mean, uncertainty, truth| {
            for (j, sums) in sums.components.iter_mut().enumerate() {
                sums.add(truth[j], (mean[j], uncertainty[pair(j, j)].sqrt()), 0.0);
            }
            for (band, sums) in sums.bands.iter_mut().enumerate() {
                let truth = of_components.map_or_else(|| truth[band], |basis| basis.band(band, truth, &[]).0);
                let of_bands = || (mean[band], uncertainty[band]);
                sums.add(truth, fused.map_or_else(of_bands, |basis| basis.band(band, mean, uncertainty)), 0.0);
            }
        });
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).merge(sums);
        Ok(())
    }
}

/// Calls a function with the layers of each cell of three arrays of the same cells.
fn for_each_cell(
    mean: ArrayView3<'_, f64>,
    uncertainty: ArrayView3<'_, f64>,
    truth: &Array3<f64>,
    mut call: impl FnMut(&[f64], &[f64], &[f64]),
) {
    let (_, rows, cols) = mean.dim();
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    let fill = |target: &mut Vec<f64>, layers: ArrayView1<'_, f64>| {
        target.clear();
        target.extend(layers);
    };
    for row in 0..rows {
        for col in 0..cols {
            fill(&mut a, mean.slice(s![.., row, col]));
            fill(&mut b, uncertainty.slice(s![.., row, col]));
            fill(&mut c, truth.slice(s![.., row, col]));
            call(&a, &b, &c);
        }
    }
}

impl LayerSums {
    fn merge(&mut self, other: Self) {
        for (own, other) in [(&mut self.components, other.components), (&mut self.bands, other.bands)] {
            own.resize_with(own.len().max(other.len()), ScoreSums::default);
            own.iter_mut().zip(&other).for_each(|(own, other)| own.merge(other));
        }
    }
}

impl<S: FusionSink> FusionSink for JudgedSink<S> {
    fn writes_in_flight(&self) -> Option<usize> {
        self.sink.writes_in_flight()
    }

    fn begin(&mut self, layout: &SeriesLayout) -> Result<()> {
        self.check_truth(layout)?;
        self.sink.begin(layout)
    }

    fn existing(&self) -> Result<Option<ExistingSeries>> {
        self.sink.existing()
    }

    fn reopen(&mut self, layout: &SeriesLayout, visible: usize) -> Result<()> {
        self.check_truth(layout)?;
        self.sink.reopen(layout, visible)
    }

    fn join(&mut self, layout: &SeriesLayout) -> Result<()> {
        self.check_truth(layout)?;
        self.sink.join(layout)
    }

    fn held(&self, layout: &SeriesLayout, tile: (usize, usize), dates: usize) -> Result<HeldBlocks> {
        self.sink.held(layout, tile, dates)
    }

    fn saved(&self, tile: (usize, usize), saved: Saved) -> Result<()> {
        self.sink.saved(tile, saved)
    }

    fn sweep(&self) -> Result<()> {
        self.sink.sweep()
    }

    fn append(&self, block: &FusedBlock) -> Result<()> {
        self.score_block(block)?;
        self.sink.append(block)
    }

    fn flush(&self) -> Result<()> {
        self.sink.flush()
    }

    fn commit(&mut self, dates: usize) -> Result<()> {
        self.sink.commit(dates)
    }

    fn finish(&mut self, report: &Report) -> Result<()> {
        let report = Report { scores: self.scores(), ..report.clone() };
        self.sink.finish(&report)
    }

    fn notes(&self) -> Vec<String> {
        self.sink.notes()
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.sink.settings()
    }

    fn state_folder(&self) -> Option<Place> {
        self.sink.state_folder()
    }

    fn location(&self) -> PathBuf {
        self.sink.location()
    }
}
