//! A seasonal mean over the cells of a tile and its surroundings, and the check that it fits the target of a fusion.

use ndarray::Array4;

use crate::error::{Error, Result};
use crate::geometry::{Date, Grid, Rect};
use crate::model::Average;
use crate::seasonal::{Harmonics, SeasonalMean};
use crate::source::same_crs;
use crate::spectral::Spectrum;

impl SeasonalMean {
    /// Refuses a mean with other cells or components than the target.
    pub(crate) fn validate(&self, target: &Grid, spectrum: &Spectrum) -> Result<()> {
        let refuse = |problem: String| Err(Error::setting("seasonal.mean", format!("{}: {problem}", self.origin())));
        let p = spectrum.components();
        let fits = match spectrum.basis() {
            None => self.components() == spectrum.bands(),
            Some(_) => self.components().len() == p,
        };
        if !fits {
            let wanted = match spectrum.basis() {
                None => format!("the target bands are {:?}", spectrum.bands()),
                Some(_) => format!("the basis has {p} components"),
            };
            return refuse(format!("it holds {:?}, but {wanted}; fit it for these", self.components()));
        }
        if !same_crs(self.grid().crs(), target.crs()) {
            return Err(Error::CrsMismatch {
                what: format!("seasonal.mean ({})", self.origin()),
                expected: target.crs().clone(),
                found: self.grid().crs().clone(),
            });
        }
        let covers = target.lattice_offset(self.grid()).is_some_and(|(row, col)| {
            let (rows, cols) = self.grid().shape();
            row <= 0
                && col <= 0
                && row + rows as i64 >= target.rows() as i64
                && col + cols as i64 >= target.cols() as i64
        });
        if !covers {
            return refuse(format!(
                "its grid ({}) does not cover the target grid ({target}) cell by cell",
                self.grid()
            ));
        }
        Ok(())
    }

    /// The curves of the cells of `rect` on the target lattice. Cells beyond the grid have the curve of the nearest
    /// cell.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(crate) fn slice(&self, target: &Grid, rect: &Rect) -> Result<SeasonalSlice> {
        let Some(offset) = target.lattice_offset(self.grid()) else {
            return Err(Error::setting("seasonal.mean", format!("{}: does not fit the target grid", self.origin())));
        };
        let region = rect.nearest(offset, self.grid().shape());
        let coefficients = self.coefficients(&region)?;
        let first = (region.rows.start as i64 + offset.0, region.cols.start as i64 + offset.1);
        Ok(SeasonalSlice { harmonics: self.harmonics(), coefficients, first })
    }
}

/// The curves of cells, starting at cell `first` of the target lattice.
#[derive(Clone, Debug)]
pub(crate) struct SeasonalSlice {
    harmonics: Harmonics,
    /// **Shape** (component, term, y, x).
    coefficients: Array4<f64>,
    first: (i64, i64),
}

impl SeasonalSlice {
    /// Coefficient of a term at a cell, or at the nearest cell of the slice.
    pub(crate) fn coefficient(&self, component: usize, term: usize, (row, col): (i64, i64)) -> f64 {
        let (_, _, rows, cols) = self.coefficients.dim();
        let y = (row - self.first.0).clamp(0, rows as i64 - 1) as usize;
        let x = (col - self.first.1).clamp(0, cols as i64 - 1) as usize;
        self.coefficients[(component, term, y, x)]
    }

    /// Coefficient of a term of an average of cells: means are linear in their coefficients.
    pub(crate) fn coefficient_of(&self, component: usize, term: usize, average: &Average) -> f64 {
        let cells = average.rects().iter().flat_map(Rect::cells);
        let weighed = cells.map(|(row, col)| average.weight(row, col) * self.coefficient(component, term, (row, col)));
        weighed.sum::<f64>() / average.total()
    }

    /// The coefficients of all cells of the slice, **shape** (component, term, y, x).
    pub(crate) fn into_coefficients(self) -> Array4<f64> {
        self.coefficients
    }
}

/// The curves of states. They are added to anomalies to obtain levels.
#[derive(Clone, Debug)]
pub(crate) struct StateCurves {
    harmonics: Harmonics,
    /// The terms of a date.
    terms: Vec<f64>,
    /// The coefficients of each state.
    coefficients: Vec<f64>,
}

impl StateCurves {
    /// The curves of averages of cells, for each of these components.
    pub(crate) fn new(slice: &SeasonalSlice, components: &[usize], averages: &[Average]) -> Self {
        let terms = slice.harmonics.terms();
        let states = components.iter().flat_map(|&j| averages.iter().map(move |average| (j, average)));
        let coefficients =
            states.flat_map(|(j, average)| (0..terms).map(move |k| slice.coefficient_of(j, k, average))).collect();
        Self { harmonics: slice.harmonics, terms: vec![0.0; terms], coefficients }
    }

    /// The means on a date, by state.
    pub(crate) fn on(&mut self, date: Date) -> impl Fn(usize) -> f64 + '_ {
        self.harmonics.evaluate(date, &mut self.terms);
        let (terms, all, n) = (&self.terms, &self.coefficients, self.terms.len());
        move |state| {
            let coefficients = all.get(state * n..(state + 1) * n).unwrap_or_default();
            coefficients.iter().zip(terms).map(|(coefficient, term)| coefficient * term).sum()
        }
    }

    /// Memory of this number of states.
    pub(crate) fn bytes(states: usize, terms: usize) -> usize {
        (states + 1) * terms * size_of::<f64>()
    }
}
