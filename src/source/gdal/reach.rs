//! What part of the target rasters reach, by sample points.

use super::transform::CrsTransform;
use super::turn::Turned;
use crate::error::Result;
use crate::geometry::Grid;

/// Sample points per side of the target, at most.
const SIDE: usize = 32;

/// Points spread over the target, and which of them some raster holds.
#[derive(Debug)]
pub(in crate::source) struct Reach {
    target: Grid,
    /// (x, y, whether a raster holds it).
    points: Vec<(f64, f64, bool)>,
    /// Whether a raster was added that may hold a part between the points.
    touched: bool,
    /// Whether rasters are read wherever they lie, also a turn of the Earth away.
    turns: bool,
    last: Option<Grid>,
}

impl Reach {
    /// `turns`: whether rasters are read also where they lie a turn of 360 degrees away.
    pub(in crate::source) fn new(target: &Grid, turns: bool) -> Self {
        let (rows, cols) = target.shape();
        let (extent, (down, across)) = (target.extent(), (rows.min(SIDE), cols.min(SIDE)));
        let along = |k: usize, n: usize, from: f64, to: f64| from + (to - from) * (k as f64 + 0.5) / n as f64;
        let point = |k: usize| {
            let x = along(k % across, across, extent.left, extent.right);
            (x, along(k / across, down, extent.top, extent.bottom), false)
        };
        let points = (0..down * across).map(point).collect();
        Self { target: target.clone(), points, touched: false, turns, last: None }
    }

    /// Adds a raster; a grid that follows itself costs nothing.
    ///
    /// # Errors
    /// [`Error::CrsMismatch`](crate::Error::CrsMismatch), [`Error::Setting`](crate::Error::Setting) where there is no
    /// way between the CRS.
    pub(in crate::source) fn add(&mut self, what: &str, native: &Grid) -> Result<()> {
        let full = self.points.iter().all(|(.., held)| *held);
        if full || self.last.as_ref() == Some(native) {
            return Ok(());
        }
        let turned = if self.turns { Turned::new(what, native, &self.target)?.grid } else { native.clone() };
        let transform = CrsTransform::new(what, &turned, &self.target)?.around(&turned, &self.target);
        let extent = turned.extent();
        for (x, y, held) in self.points.iter_mut().filter(|(.., held)| !*held) {
            *held = transform.to_native(*x, *y).is_some_and(|(u, v)| {
                (extent.left..extent.right).contains(&u) && (extent.bottom..extent.top).contains(&v)
            });
        }
        self.touched |= matches!(transform, CrsTransform::Same) && turned.overlaps(&self.target);
        self.last = Some(native.clone());
        Ok(())
    }

    /// Share of the target, from 0 to 1. What lies between the points counts as less than one of them.
    pub(in crate::source) fn share(&self, meets: bool) -> f64 {
        let held = self.points.iter().filter(|(.., held)| *held).count() as f64;
        let least = if self.touched || meets { 0.5 } else { 0.0 };
        held.max(least) / self.points.len().max(1) as f64
    }
}
