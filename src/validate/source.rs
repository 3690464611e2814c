//! A source that withholds a part of its values.

use std::path::PathBuf;
use std::sync::Arc;

use ndarray::Array3;

use super::mask::WithholdingMask;
use crate::error::Result;
use crate::geometry::{Date, Grid, PixelRegion};
use crate::source::{RasterSource, Slice};

/// A source that withholds some values: readers get them as missing, and the slice carries them separately.
#[derive(Debug)]
pub(super) struct WithholdingSource {
    inner: Arc<dyn RasterSource>,
    mask: WithholdingMask,
}

impl WithholdingSource {
    pub(super) fn new(inner: Arc<dyn RasterSource>, mask: WithholdingMask) -> Self {
        Self { inner, mask }
    }

    pub(super) fn mask(&self) -> &WithholdingMask {
        &self.mask
    }
}

impl RasterSource for WithholdingSource {
    fn grid(&self) -> &Grid {
        self.inner.grid()
    }

    fn dates(&self) -> &[Date] {
        self.inner.dates()
    }

    fn bands(&self) -> &[String] {
        self.inner.bands()
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        let mut slice = self.inner.read(date, bands, region)?;
        let Some(kind) = self.mask.kind(date) else { return Ok(slice) };
        let mut withheld = Array3::from_elem(slice.values.dim(), f64::NAN);
        for (r, row) in region.rows.clone().enumerate() {
            for (c, col) in region.cols.clone().enumerate() {
                if self.mask.holds(kind, date, (row, col)) {
                    for band in 0..bands.len() {
                        std::mem::swap(&mut withheld[(band, r, c)], &mut slice.values[(band, r, c)]);
                    }
                }
            }
        }
        slice.withheld = Some(withheld);
        Ok(slice)
    }

    fn knows_noise(&self) -> bool {
        self.inner.knows_noise()
    }

    fn origin(&self) -> String {
        self.inner.origin()
    }

    fn path_of(&self, date: Date) -> Option<PathBuf> {
        self.inner.path_of(date)
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.inner.settings()
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        self.inner.block_shape()
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        self.inner.handle_bytes(readers)
    }

    fn scratch_bytes(&self, bands: usize, shape: (u64, u64)) -> u64 {
        self.inner.scratch_bytes(bands, shape)
    }

    fn shared_cache_bytes(&self) -> u64 {
        self.inner.shared_cache_bytes()
    }
}
