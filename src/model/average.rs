//! Averages of a field over cells, and the weights of displacements between them.

use std::sync::{Arc, OnceLock};

use crate::geometry::Rect;

/// Separable weights of the cells of a footprint: row weight times column weight.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile {
    /// First row and first column of the weights.
    pub(crate) first: (i64, i64),
    pub(crate) rows: Arc<[f64]>,
    pub(crate) cols: Arc<[f64]>,
}

/// A weighted average of the field over cells of the target lattice.
#[derive(Clone, Debug)]
pub(crate) struct Average {
    /// Disjoint rectangles of cells.
    rects: Vec<Rect>,
    /// Weights of the cells; `None`: equal weights.
    profile: Option<Profile>,
    /// Sum of the weights.
    total: f64,
    /// Cells that represent it, once they are asked for.
    pub(super) samples: OnceLock<Vec<(i64, i64)>>,
}

impl Profile {
    /// Weight of a row.
    pub(crate) fn row(&self, row: i64) -> f64 {
        self.rows[(row - self.first.0) as usize]
    }

    /// Weight of a column.
    pub(crate) fn col(&self, col: i64) -> f64 {
        self.cols[(col - self.first.1) as usize]
    }

    /// Weight of one of the footprint's cells.
    pub(crate) fn weight(&self, row: i64, col: i64) -> f64 {
        self.row(row) * self.col(col)
    }
}

impl Average {
    pub(crate) fn new(rects: Vec<Rect>, profile: Option<Profile>) -> Self {
        let mut this = Self { rects, profile, total: 0.0, samples: OnceLock::new() };
        let weight = |rect: &Rect| match &this.profile {
            None => rect.count() as f64,
            Some(profile) => {
                let rows: f64 = (rect.top..rect.bottom).map(|row| profile.row(row)).sum();
                rows * (rect.left..rect.right).map(|col| profile.col(col)).sum::<f64>()
            }
        };
        this.total = this.rects.iter().map(weight).sum();
        this
    }

    /// The average that consists of a single cell.
    pub(crate) fn cell(row: i64, col: i64) -> Self {
        Self { rects: vec![Rect::cell(row, col)], profile: None, total: 1.0, samples: OnceLock::new() }
    }

    /// Its cell, where it is one.
    pub(crate) fn single_cell(&self) -> Option<(i64, i64)> {
        match self.rects.as_slice() {
            [rect] if self.profile.is_none() && rect.count() == 1 => Some((rect.top, rect.left)),
            _ => None,
        }
    }

    pub(crate) fn rects(&self) -> &[Rect] {
        &self.rects
    }

    /// Sum of the weights of its cells.
    pub(crate) fn total(&self) -> f64 {
        self.total
    }

    /// Whether all cells have equal weights.
    pub(crate) fn is_plain(&self) -> bool {
        self.profile.is_none()
    }

    /// Weight of one of its cells.
    pub(crate) fn weight(&self, row: i64, col: i64) -> f64 {
        self.profile.as_ref().map_or(1.0, |profile| profile.weight(row, col))
    }

    /// Weights of the row displacements between two rectangles: for each displacement, the summed product weight of
    /// all pairs of rows.
    pub(crate) fn rows_apart(a: (&Self, &Rect), b: (&Self, &Rect)) -> Apart {
        let rows = |(average, rect): (&Self, &Rect)| average.line(rect.top..rect.bottom, Profile::row);
        Apart::new(&rows(a), &rows(b))
    }

    /// Weights of the column displacements between two rectangles.
    pub(crate) fn cols_apart(a: (&Self, &Rect), b: (&Self, &Rect)) -> Apart {
        let cols = |(average, rect): (&Self, &Rect)| average.line(rect.left..rect.right, Profile::col);
        Apart::new(&cols(a), &cols(b))
    }

    fn line(&self, span: std::ops::Range<i64>, weight: impl Fn(&Profile, i64) -> f64) -> WeightedLine {
        let weights = self.profile.as_ref().map(|profile| span.clone().map(|k| weight(profile, k)).collect());
        WeightedLine { first: span.start, len: span.end - span.start, weights }
    }
}

/// Consecutive rows or columns with their weights; without weights, 1 each.
struct WeightedLine {
    first: i64,
    len: i64,
    weights: Option<Vec<f64>>,
}

impl WeightedLine {
    fn weight(&self, k: i64) -> f64 {
        self.weights.as_ref().map_or(1.0, |weights| weights[k as usize])
    }
}

/// Weights of displacements.
pub(crate) struct Apart {
    /// The smallest displacement.
    first: i64,
    weights: Vec<f64>,
}

impl Apart {
    fn new(a: &WeightedLine, b: &WeightedLine) -> Self {
        let first = b.first - a.first - a.len + 1;
        let weight = |index: i64| {
            // Index k of `b` lies `shift` positions further than index k of `a`.
            let shift = first + index + a.first - b.first;
            let (start, end) = (0.max(-shift), a.len.min(b.len - shift));
            if a.weights.is_none() && b.weights.is_none() {
                (end - start) as f64
            } else {
                (start..end).map(|k| a.weight(k) * b.weight(k + shift)).sum()
            }
        };
        Self { first, weights: (0..a.len + b.len - 1).map(weight).collect() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        (self.first..).zip(self.weights.iter().copied())
    }

    /// Weight of displacement zero: pairs of the same row or column.
    pub(crate) fn together(&self) -> f64 {
        usize::try_from(-self.first).ok().and_then(|index| self.weights.get(index)).copied().unwrap_or(0.0)
    }
}
