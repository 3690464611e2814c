//! Working memory of reading a stack, without the returned slice.

use super::RasterStack;

const WORD: u64 = size_of::<f64>() as u64;

/// Bytes per quality number, with what is derived from it: verdict, hidden or not, distance to a hidden one.
const NUMBER_IN_VIEW: u64 = WORD + 1 + 1 + 2 + 1;
const NUMBER: u64 = 2 + 1 + 1 + 2 + 1;

impl RasterStack {
    /// Working memory to read this number of bands with (rows, columns) of pixels.
    pub(super) fn scratch(&self, bands: u64, (rows, cols): (u64, u64)) -> u64 {
        let product = |factors: &[u64]| factors.iter().fold(1, |product: u64, factor| product.saturating_mul(*factor));
        let pixels = product(&[rows, cols]);
        let all_bands = product(&[pixels, bands, WORD]);
        let noise = u64::from(self.uncertainty.is_some());
        // The granule's block in addition to the date's, and files whose pixels are not cells in addition to the
        // granule's block.
        let several = self.first_part.windows(2).any(|pair| pair[1] - pair[0] > 1);
        let granule = if several { all_bands.saturating_mul(1 + noise) } else { 0 };
        let data = self.parts.iter().flat_map(|part| part.files.iter().take(self.layout.data_files));
        let coarser = if data.into_iter().any(|file| !file.placement.location.is_same()) { all_bands } else { 0 };
        // Rules are evaluated one after another; their masks stay in memory.
        let rule = |index: usize| {
            let (rule, _) = &self.quality[index];
            let margin = 2 * rule.margin() as u64;
            let (cut, number) = match &self.views {
                Some(views) => (views.flags()[index].location.pixels_per_cell(), NUMBER_IN_VIEW),
                None => {
                    let planes = self.layout.quality[index].first();
                    let location =
                        self.parts.iter().find_map(|part| Some(part.files.get(planes?.file)?.placement.location));
                    (location.map_or((1, 1), |location| location.pixels_per_cell()), NUMBER)
                }
            };
            let side = |pixels: u64, cut: usize| pixels.saturating_mul(cut as u64).saturating_add(margin);
            product(&[side(rows, cut.0), side(cols, cut.1), number])
        };
        let largest = (0..self.quality.len()).map(rule).max().unwrap_or(0);
        let masks = if self.quality.is_empty() { 0 } else { product(&[pixels, bands.saturating_add(1)]) };
        [product(&[pixels, WORD]), granule, coarser, largest, masks].into_iter().fold(0, u64::saturating_add)
    }
}
