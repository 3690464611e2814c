//! Footprints: the target cells that each pixel of an instrument averages.

use std::collections::BTreeSet;
use std::f64::consts::LN_2;
use std::ops::Range;
use std::sync::Arc;

use super::Profile;
use crate::describe::Footprint;
use crate::error::{Error, Result};
use crate::geometry::{Grid, PixelRegion, Rect};

/// Truncation radius of a Gaussian footprint, in FWHM.
const TRUNCATION: f64 = 1.3;

/// Largest plausible FWHM, in pixels. A larger one is a mistake, mostly of its unit.
const WIDEST: f64 = 10.0;

/// The cells of the target lattice under each pixel of an instrument: a rectangle of rows × columns for each.
#[derive(Clone, Debug)]
pub(crate) struct PixelLattice {
    rows: Vec<Range<i64>>,
    cols: Vec<Range<i64>>,
    /// Weights of the cells along each row and column of pixels; `None`: equal weights.
    weights: Option<SeparableWeights>,
}

/// Weights along the rows of cells for each row of pixels, and along the columns; each sums to 1.
#[derive(Clone, Debug)]
struct SeparableWeights {
    rows: Vec<Arc<[f64]>>,
    cols: Vec<Arc<[f64]>>,
}

impl PixelLattice {
    /// The footprints of an instrument's grid on the target's lattice. Both are in the same CRS.
    pub(crate) fn new(target: &Grid, source: &Grid, footprint: Footprint, instrument: &str) -> Result<Self> {
        let refuse = |problem: String| Error::setting(format!("instrument {instrument:?}: footprint"), problem);
        match footprint {
            Footprint::Cell => {
                let Some((row, col)) = target.lattice_offset(source) else {
                    let ((width, height), (cell_width, cell_height)) = (source.cell_size(), target.cell_size());
                    let same = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b;
                    let advice = if same(width, cell_width) && same(height, cell_height) {
                        "its cells have the same size, but lie between those of the target: take the target's from a file, `like` in \
                         [target] (with `bbox` for a part of it); reproject = \"bilinear\" brings them onto the target's lines"
                    } else if width < cell_width && height < cell_height {
                        "its pixels are finer: is this the intended target? reproject = \"average\" brings them onto its cells"
                    } else {
                        "use \"uniform\" for coarser pixels; reproject = \"nearest\", or warping the files first, brings others onto \
                         the target's lines"
                    };
                    return Err(refuse(format!(
                        "\"cell\" needs pixels that are cells of the target grid, but the source has {source} and the \
                         target {target}; {advice}"
                    )));
                };
                let spans = |first: i64, n: usize| (first..first + n as i64).map(|k| k..k + 1).collect();
                Ok(Self { rows: spans(row, source.rows()), cols: spans(col, source.cols()), weights: None })
            }
            Footprint::Uniform => {
                let ((width, height), (pixel_width, pixel_height)) = (target.cell_size(), source.cell_size());
                if pixel_width < width * (1.0 - 1e-6) || pixel_height < height * (1.0 - 1e-6) {
                    return Err(refuse(format!(
                        "pixels of {pixel_width} x {pixel_height} are finer than the target's cells of {width} x \
                         {height}; choose a finer target grid or aggregate the files first"
                    )));
                }
                Ok(Self { rows: target.rows_under(source), cols: target.cols_under(source), weights: None })
            }
            Footprint::Gaussian { fwhm } => {
                let (width, height) = target.cell_size();
                if !fwhm.is_finite() || fwhm < width.max(height) {
                    return Err(refuse(format!(
                        "a Gaussian of FWHM {fwhm} is narrower than the target's cells of {width} x {height}; write \"uniform\" \
                         or \"cell\", or choose a finer target grid"
                    )));
                }
                let (pixel_width, pixel_height) = source.cell_size();
                if fwhm > WIDEST * pixel_width.max(pixel_height) {
                    return Err(refuse(format!(
                        "a Gaussian of FWHM {fwhm} is wider than {WIDEST} pixels of {pixel_width} x {pixel_height}; give it in units of the \
                         target's CRS ({})",
                        target.crs()
                    )));
                }
                let [left, _, _, top, _, _] = target.geotransform();
                let lines = |centres: Vec<f64>, cell: f64, cells: usize| -> (Vec<_>, Vec<_>) {
                    centres.into_iter().map(|centre| gaussian(centre / cell, fwhm / cell, cells)).unzip()
                };
                let (rows, cols) = target.shape();
                let down = source.y_centres().into_iter().map(|y| top - y).collect();
                let across = source.x_centres().into_iter().map(|x| x - left).collect();
                let (rows, row_weights) = lines(down, height, rows);
                let (cols, col_weights) = lines(across, width, cols);
                Ok(Self { rows, cols, weights: Some(SeparableWeights { rows: row_weights, cols: col_weights }) })
            }
        }
    }

    /// The weights of the cells of one pixel, with sum 1, where they differ.
    pub(crate) fn profile(&self, row: usize, col: usize) -> Option<Profile> {
        let weights = self.weights.as_ref()?;
        Some(Profile {
            first: (self.rows[row].start, self.cols[col].start),
            rows: Arc::clone(&weights.rows[row]),
            cols: Arc::clone(&weights.cols[col]),
        })
    }

    /// Whether the footprints of neighbouring pixels share cells.
    pub(crate) fn overlaps(&self) -> bool {
        self.weights.is_some()
    }

    /// The cells of one pixel.
    pub(crate) fn rect(&self, row: usize, col: usize) -> Rect {
        Rect::new(self.rows[row].clone(), self.cols[col].clone())
    }

    /// The cell of a grid of `shape` cells at the centre of a pixel, or nearest to it.
    pub(crate) fn nearest_cell(&self, row: usize, col: usize, shape: (usize, usize)) -> (i64, i64) {
        let nearest =
            |span: &Range<i64>, cells: usize| (span.start + span.end).div_euclid(2).clamp(0, cells as i64 - 1);
        (nearest(&self.rows[row], shape.0), nearest(&self.cols[col], shape.1))
    }

    /// The pixels that cover at least one cell of `rect`.
    pub(crate) fn covering(&self, rect: &Rect) -> PixelRegion {
        let touching = |spans: &[Range<i64>], start: i64, end: i64| {
            let first = spans.partition_point(|span| span.end <= start);
            first..spans.partition_point(|span| span.start < end).max(first)
        };
        PixelRegion::new(touching(&self.rows, rect.top, rect.bottom), touching(&self.cols, rect.left, rect.right))
    }

    /// Largest extent of a footprint in (rows, columns) of cells.
    pub(crate) fn largest(&self) -> (i64, i64) {
        let longest = |spans: &[Range<i64>]| spans.iter().map(|span| span.end - span.start).max().unwrap_or(0);
        (longest(&self.rows), longest(&self.cols))
    }

    /// The cell of the first pixel, where every pixel is a cell and neighbouring pixels are neighbouring cells.
    pub(crate) fn first_of_single_cells(&self) -> Option<(i64, i64)> {
        let first = |spans: &[Range<i64>]| {
            let first = spans.first()?.start;
            (first..).zip(spans).all(|(cell, span)| *span == (cell..cell + 1)).then_some(first)
        };
        first(&self.rows).zip(first(&self.cols))
    }

    /// Over all windows that combine one of `rows` with one of `cols`: the largest number of pixels that touch a
    /// window, and the largest number of these that extend beyond it.
    pub(crate) fn most_pixels(
        &self,
        rows: impl Iterator<Item = Range<i64>>,
        cols: impl Iterator<Item = Range<i64>>,
    ) -> (usize, usize) {
        // Touching and fully inside, along one axis. Few combinations occur.
        let counts = |spans: &[Range<i64>], window: Range<i64>| {
            let first = spans.partition_point(|span| span.end <= window.start);
            let end = spans.partition_point(|span| span.start < window.end).max(first);
            let inside = |span: &&Range<i64>| span.start >= window.start && span.end <= window.end;
            (end - first, spans[first..end].iter().filter(inside).count())
        };
        let down: BTreeSet<_> = rows.map(|window| counts(&self.rows, window)).collect();
        let across: BTreeSet<_> = cols.map(|window| counts(&self.cols, window)).collect();
        let both = || down.iter().flat_map(|a| across.iter().map(move |b| (a.0 * b.0, a.1 * b.1)));
        (
            both().map(|(touching, _)| touching).max().unwrap_or(0),
            both().map(|(all, inside)| all - inside).max().unwrap_or(0),
        )
    }
}

/// The cells that a Gaussian covers and their weights, with sum 1; `None` where it covers none of the grid's `cells`.
/// `centre` and FWHM are in cells.
fn gaussian(centre: f64, fwhm: f64, cells: usize) -> (Range<i64>, Arc<[f64]>) {
    let distance = |k: i64| (k as f64 + 0.5 - centre) / fwhm;
    let first = (centre - TRUNCATION * fwhm - 0.5).ceil() as i64;
    let end = (centre + TRUNCATION * fwhm - 0.5).floor() as i64 + 1;
    if end <= 0 || first >= cells as i64 {
        return (first..end, Arc::new([]));
    }
    let weights: Vec<f64> = (first..end).map(|k| (-4.0 * LN_2 * distance(k).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    (first..end, weights.into_iter().map(|weight| weight / sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Crs;

    fn grid(x0: f64, y0: f64, size: f64, shape: (usize, usize)) -> Grid {
        Grid::new(Crs::unknown(), [x0, size, 0.0, y0, 0.0, -size], shape).unwrap()
    }

    #[test]
    fn uniform_footprints_go_on_beyond_the_grid() {
        let target = grid(0.0, 0.0, 10.0, (6, 6));
        let lattice = PixelLattice::new(&target, &grid(-17.0, 12.0, 25.0, (4, 4)), Footprint::Uniform, "m").unwrap();
        assert_eq!(lattice.rect(0, 0), Rect::new(-1..1, -2..1));
        assert_eq!(lattice.covering(&Rect::new(0..2, 0..2)), PixelRegion::new(0..2, 0..2));
        assert_eq!(lattice.most_pixels(std::iter::once(0..2), [0..2, 4..6].into_iter()), (4, 4));
        let total: i64 =
            (0..4).flat_map(|r| (0..4).map(move |c| (r, c))).map(|(r, c)| lattice.rect(r, c).count()).sum();
        assert_eq!(total, 100); // a partition: 100 m x 100 m of 10 m cells
    }

    #[test]
    fn gaussian_footprints_are_centred_and_halve_at_half_their_width() {
        let target = grid(0.0, 0.0, 10.0, (6, 6));
        // The second pixel's centre is that of cell 7, the first's lies on the edge between cells 1 and 2.
        let source = grid(-7.5, 7.5, 55.0, (2, 2));
        let lattice = PixelLattice::new(&target, &source, Footprint::Gaussian { fwhm: 60.0 }, "m").unwrap();
        assert_eq!((lattice.rect(0, 1), lattice.overlaps()), (Rect::new(-6..10, 0..15), true));
        let profile = lattice.profile(0, 1).unwrap();
        assert_eq!((profile.rows.len(), profile.cols.len()), (16, 15));
        assert!((profile.rows.iter().sum::<f64>() - 1.0).abs() < 1e-15);
        assert!((profile.cols[10] / profile.cols[7] - 0.5).abs() < 1e-12, "30 m from the centre");
        assert!(
            (profile.cols[4] - profile.cols[10]).abs() < 1e-15 && (profile.rows[7] - profile.rows[8]).abs() < 1e-15
        );
        assert_eq!(lattice.covering(&Rect::cell(9, 14)), PixelRegion::new(0..2, 1..2));
    }

    #[test]
    fn misfits_are_refused() {
        let target = grid(0.0, 0.0, 10.0, (6, 6));
        assert!(PixelLattice::new(&target, &grid(5.0, 0.0, 10.0, (6, 6)), Footprint::Cell, "x").is_err());
        assert!(PixelLattice::new(&target, &grid(0.0, 0.0, 5.0, (6, 6)), Footprint::Uniform, "x").is_err());
        assert!(PixelLattice::new(&target, &target, Footprint::Gaussian { fwhm: 9.0 }, "x").is_err());
        let shifted = PixelLattice::new(&target, &grid(20.0, 10.0, 10.0, (3, 3)), Footprint::Cell, "x").unwrap();
        assert_eq!(shifted.rect(0, 0), Rect::cell(-1, 2));
        assert!(shifted.covering(&Rect::new(4..6, 0..6)).is_empty());
    }
}
