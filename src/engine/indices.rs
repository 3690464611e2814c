//! The layers of indices: functions of the bands, made of a block's own means and standard deviations.

use ndarray::{Array3, ArrayView3, ArrayViewMut3, Axis};
use rayon::prelude::*;

use crate::describe::{Index, Indices, Output, OutputSpace};
use crate::error::{Error, Result};
use crate::model::{Model, Part};
use crate::series::FusedBlock;
use crate::spectral::{Formula, Stack, pair_count};

/// Rows of cells that are one task.
const ROWS: usize = 64;

/// The indices of a fusion.
#[derive(Debug)]
pub(super) struct IndexLayers {
    list: Vec<Index>,
    formulas: Vec<FormulaOfBlock>,
    /// Number of bands, whose layers precede those of the indices.
    bands: usize,
    /// Pairs of bands whose covariances the indices need; all others are independent.
    pairs: Vec<(usize, usize)>,
}

/// A formula and where its covariances are.
#[derive(Debug)]
struct FormulaOfBlock {
    formula: Formula,
    /// For each pair of the formula's bands, the lower triangle row by row.
    covariances: Vec<Covariance>,
}

#[derive(Clone, Copy, Debug)]
enum Covariance {
    /// The variance of a band.
    Variance(usize),
    /// A layer of the covariances.
    Layer(usize),
    Independent,
}

impl IndexLayers {
    /// # Errors
    /// [`Error::Setting`] when an index cannot be read, has the name of a band or of another index, or when bands are
    /// not output.
    pub(super) fn new(model: &Model, output: &Output) -> Result<Self> {
        let names = model.spectrum.bands();
        let list = output.indices.list().to_vec();
        if !list.is_empty() && output.space == OutputSpace::Components {
            let problem = "indices are functions of bands, and components are output; leave them out, or output bands";
            return Err(Error::setting(Indices::key(), problem));
        }
        let mut formulas = Vec::with_capacity(list.len());
        for (k, Index { name, expression }) in list.iter().enumerate() {
            let refuse = |problem: String| Error::setting(Indices::key().name(name), problem);
            if name.trim().is_empty() {
                return Err(Error::setting(Indices::key(), format!("{expression:?} has no name")));
            }
            if names.contains(name) {
                return Err(refuse("is the name of a band; give the index another name".into()));
            }
            if list[..k].iter().any(|other| other.name == *name) {
                return Err(refuse("is given twice; give each index its own name".into()));
            }
            formulas
                .push(Formula::new(expression, names).map_err(|problem| refuse(format!("{expression:?}: {problem}")))?);
        }
        let couples = |a: usize, b: usize| {
            let together = |part: &Part| part.components.contains(&a) && part.components.contains(&b);
            model.spectrum.basis().is_some() || model.parts.iter().any(together)
        };
        let mut pairs = Vec::new();
        let mut of_block = |formula: Formula| {
            let mut covariances = Vec::with_capacity(pair_count(formula.bands().len()));
            for (j, &a) in formula.bands().iter().enumerate() {
                for &b in &formula.bands()[..j] {
                    covariances.push(if couples(a, b) {
                        Covariance::Layer(pairs.iter().position(|pair| *pair == (a, b)).unwrap_or_else(|| {
                            pairs.push((a, b));
                            pairs.len() - 1
                        }))
                    } else {
                        Covariance::Independent
                    });
                }
                covariances.push(Covariance::Variance(a));
            }
            FormulaOfBlock { formula, covariances }
        };
        let formulas = formulas.into_iter().map(&mut of_block).collect();
        Ok(Self { list, formulas, bands: names.len(), pairs })
    }

    /// The indices, in the order of their layers.
    pub(super) fn list(&self) -> &[Index] {
        &self.list
    }

    /// Pairs of bands whose covariances the indices need.
    pub(super) fn pairs(&self) -> &[(usize, usize)] {
        &self.pairs
    }

    /// Room for the covariances of so many blocks, each of **shape** ([pair](Self::pairs), y, x).
    pub(super) fn room(&self, blocks: usize, (rows, cols): (usize, usize)) -> Vec<Array3<f64>> {
        vec![Array3::zeros((self.pairs.len(), rows, cols)); blocks]
    }

    /// Makes the layers of the indices in blocks whose bands are there, with the covariances of each block.
    pub(super) fn fill(&self, blocks: &mut [FusedBlock], covariances: &[Array3<f64>]) {
        if self.formulas.is_empty() {
            return;
        }
        blocks.par_iter_mut().zip(covariances).for_each(|(block, covariances)| {
            let (mean, mut index_mean) = block.mean.view_mut().split_at(Axis(0), self.bands);
            let (sd, mut index_sd) = block.uncertainty.view_mut().split_at(Axis(0), self.bands);
            let out = index_mean.axis_chunks_iter_mut(Axis(1), ROWS).zip(index_sd.axis_chunks_iter_mut(Axis(1), ROWS));
            let known = mean.axis_chunks_iter(Axis(1), ROWS).zip(sd.axis_chunks_iter(Axis(1), ROWS));
            let strips = known.zip(covariances.axis_chunks_iter(Axis(1), ROWS)).zip(out);
            let strips = strips.map(|(((mean, sd), covariances), out)| (Known { mean, sd, covariances }, out));
            strips.collect::<Vec<_>>().into_par_iter().for_each(|(known, out)| self.fill_strip(&known, out));
        });
    }

    /// Makes the means and standard deviations of the indices in some rows of a block.
    fn fill_strip(&self, known: &Known<'_>, (mut mean, mut sd): (ArrayViewMut3<'_, f64>, ArrayViewMut3<'_, f64>)) {
        let (_, rows, cols) = known.mean.dim();
        let (mut x, mut cov, mut stack) = (Vec::new(), Vec::new(), Stack::default());
        for (layer, FormulaOfBlock { formula, covariances }) in self.formulas.iter().enumerate() {
            for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                x.clear();
                x.extend(formula.bands().iter().map(|&band| known.mean[(band, row, col)]));
                cov.clear();
                cov.extend(covariances.iter().map(|covariance| match *covariance {
                    Covariance::Variance(band) => known.sd[(band, row, col)].powi(2),
                    Covariance::Layer(layer) => known.covariances[(layer, row, col)],
                    Covariance::Independent => 0.0,
                }));
                let at = (layer, row, col);
                (mean[at], sd[at]) = formula.evaluate(&x, &cov, &mut stack);
            }
        }
    }
}

/// What is known of the bands in some rows of a block.
#[derive(Debug)]
struct Known<'a> {
    mean: ArrayView3<'a, f64>,
    sd: ArrayView3<'a, f64>,
    /// **Shape** ([pair](IndexLayers::pairs), y, x).
    covariances: ArrayView3<'a, f64>,
}
