//! From blocks to the numbers of chunks: float32, float32 rounded by the standard deviation, or whole numbers.
//!
//! Rounding follows Delaunay, Couartouche & Biancamaria, *Evaluation of lossless and lossy algorithms for the
//! compression of scientific datasets in netCDF-4 or HDF5 files* (Geosci. Model Dev. 12, 2019), whose digit rounding
//! takes the number of digits from the value; here the standard deviation says which digits mean something, as Klöwer
//! et al., *Compressing atmospheric data into its real information content* (Nat. Comput. Sci. 1, 2021) ask.

use std::sync::{Mutex, PoisonError};

use ndarray::{Array3, ArrayView3, Zip, s};
use zarrs::array::{Array, ArrayError, CodecOptions};

use super::chunk::padded_chunk;
use super::store::AtomicStore;
use crate::describe::{Encoding, StoredAs};

/// The stored mean and standard deviation that are missing.
pub(super) const MISSING: (i16, u16) = (i16::MIN, u16::MAX);

/// Numbers of a chunk.
#[derive(Debug, PartialEq)]
pub(super) enum Numbers {
    Float32(Vec<f32>),
    Int16(Vec<i16>),
    Uint16(Vec<u16>),
}

impl Numbers {
    /// Writes the chunk, without threads of its own: the engine already uses one per block.
    pub(super) fn store(self, array: &Array<AtomicStore>, chunk: &[u64]) -> Result<(), ArrayError> {
        let options = CodecOptions::default().with_concurrent_target(1);
        match self {
            Self::Float32(values) => array.store_chunk_opt(chunk, values, &options),
            Self::Int16(values) => array.store_chunk_opt(chunk, values, &options),
            Self::Uint16(values) => array.store_chunk_opt(chunk, values, &options),
        }
    }
}

/// A block's means and standard deviations in the shape of full chunks (rows, columns); missing beyond the edge of the
/// grid. `Err` returns which of them, 0 or 1, has a value that is too large for float32, and the first such value.
pub(super) fn pack(
    (mean, sd): (ArrayView3<'_, f64>, ArrayView3<'_, f64>),
    (rows, cols): (usize, usize),
    encoding: &Encoding,
    lost: &Lost,
) -> Result<[Numbers; 2], (usize, f64)> {
    let float = |k: usize, values: ArrayView3<'_, f64>| {
        let chunk = padded_chunk(values, (values.dim().0, rows, cols));
        chunk.map(Numbers::Float32).map_err(|value| (k, value))
    };
    match encoding.values {
        StoredAs::Float32 => Ok([float(0, mean)?, float(1, sd)?]),
        StoredAs::Rounded { share } => {
            let (mut means, mut sds) = (mean.to_owned(), sd.to_owned());
            Zip::from(&mut means).and(&mut sds).for_each(|mean, sd| (*mean, *sd) = rounded((*mean, *sd), share));
            Ok([float(0, means.view())?, float(1, sds.view())?])
        }
        StoredAs::Int16 { scale, add_offset, sd_scale } => {
            let shape = (mean.dim().0, rows, cols);
            let inside = s![.., ..mean.dim().1, ..mean.dim().2];
            let (mut means, mut sds) = (Array3::from_elem(shape, MISSING.0), Array3::from_elem(shape, MISSING.1));
            let mut out = OutOfRange::default();
            Zip::from(means.slice_mut(inside)).and(sds.slice_mut(inside)).and(mean).and(sd).for_each(
                |mean, sd, &value, &spread| {
                    let steps = ((value - add_offset) / scale, spread / sd_scale);
                    (*mean, *sd) = whole(steps).unwrap_or_else(|| {
                        out.add(value, spread);
                        MISSING
                    });
                },
            );
            out.values = mean.len() as u64;
            lost.add(&out);
            Ok([Numbers::Int16(means.into_raw_vec_and_offset().0), Numbers::Uint16(sds.into_raw_vec_and_offset().0)])
        }
    }
}

/// Both as multiples of the largest power of two that is no larger than so much of the standard deviation. What has
/// none is as it was.
fn rounded((mean, sd): (f64, f64), share: f64) -> (f64, f64) {
    let step = (share * sd).log2().floor().exp2();
    if !(step > 0.0 && step.is_finite()) {
        return (mean, sd);
    }
    let round = |value: f64| (value / step).round_ties_even() * step;
    (round(mean), round(sd))
}

/// The nearest whole numbers of steps; `None` where one of them is out of range. A standard deviation has at least one
/// step, NaN is missing.
fn whole((mean, sd): (f64, f64)) -> Option<(i16, u16)> {
    let (mean, sd) = (mean.round_ties_even(), sd.round_ties_even());
    let means = f64::from(-i16::MAX)..=f64::from(i16::MAX);
    let stored_mean = if mean.is_nan() { MISSING.0 } else { means.contains(&mean).then_some(mean as i16)? };
    let most = f64::from(u16::MAX - 1);
    let stored_sd = if sd.is_nan() { MISSING.1 } else { (sd <= most).then_some(sd.max(1.0) as u16)? };
    Some((stored_mean, stored_sd))
}

/// Values that whole numbers cannot hold, of all blocks of a run.
#[derive(Debug, Default)]
pub(super) struct Lost(Mutex<OutOfRange>);

/// Counts, and the extremes of what was lost.
#[derive(Clone, Copy, Debug, Default)]
struct OutOfRange {
    /// Pairs of mean and standard deviation looked at.
    values: u64,
    lost: u64,
    /// Smallest and largest mean, and largest standard deviation, among those lost.
    extremes: Option<(f64, f64, f64)>,
}

impl OutOfRange {
    fn add(&mut self, mean: f64, sd: f64) {
        self.lost += 1;
        let (low, high, most) = self.extremes.unwrap_or((mean, mean, sd));
        self.extremes = Some((low.min(mean), high.max(mean), most.max(sd)));
    }
}

impl Lost {
    fn add(&self, of_block: &OutOfRange) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values += of_block.values;
        all.lost += of_block.lost;
        if let Some((low, high, sd)) = of_block.extremes {
            let (a, b, c) = all.extremes.unwrap_or((low, high, sd));
            all.extremes = Some((a.min(low), b.max(high), c.max(sd)));
        }
    }

    /// What a report says of them; nothing where nothing was lost.
    pub(super) fn note(&self, encoding: &Encoding) -> Option<String> {
        let all = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (low, high, most) = all.extremes?;
        let StoredAs::Int16 { scale, add_offset, sd_scale } = encoding.values else { return None };
        let reach = scale * f64::from(i16::MAX);
        Some(format!(
            "{} of {} values written are out of the range of int16 and missing in the store, mean and sd: their means are {low} to \
             {high}, their largest sd {most}; the store holds means of {} to {} and sds up to {}. Give a larger output.scale or \
             output.sd_scale, an output.add_offset, or dtype = \"float32\"",
            all.lost,
            all.values,
            add_offset - reach,
            add_offset + reach,
            sd_scale * f64::from(u16::MAX - 1)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_keeps_what_is_above_a_share_of_the_sd() {
        let mut bits = 0;
        for k in 0..1000 {
            let (mean, sd) = (0.05 + f64::from(k) * 1.234_567e-3, 0.002 + f64::from(k % 77) * 9.1e-4);
            let (m, s) = rounded((mean, sd), 0.01);
            assert!((m - mean).abs() <= 0.005 * sd && (s - sd).abs() <= 0.005 * sd && s > 0.0, "{mean} {sd}: {m} {s}");
            // What is stored is what was rounded: float32 has all of its digits.
            assert!(f64::from(m as f32) == m && f64::from(s as f32) == s);
            bits += (m as f32).to_bits().trailing_zeros();
        }
        assert!(bits > 1000 * 10, "{bits}");
        assert_eq!(rounded((0.3, 0.0), 0.01), (0.3, 0.0));
        let (mean, sd) = rounded((f64::NAN, f64::NAN), 0.01);
        assert!(mean.is_nan() && sd.is_nan());
        assert_eq!(rounded((0.3, f64::INFINITY), 0.01), (0.3, f64::INFINITY));
    }

    #[test]
    fn whole_numbers_neither_wrap_nor_forget_the_sd() {
        assert_eq!(whole((12.4, 3.6)), Some((12, 4)));
        // Never 0: that would be a value without doubt.
        assert_eq!(whole((0.0, 0.01)), Some((0, 1)));
        assert_eq!(whole((0.0, 0.0)), Some((0, 1)));
        assert_eq!(whole((32_767.4, 65_534.4)), Some((i16::MAX, 65_534)));
        assert_eq!(whole((-32_767.0, 1.0)), Some((-32_767, 1)));
        for out in [(32_768.0, 1.0), (-32_768.0, 1.0), (1.0, 65_535.0), (f64::INFINITY, 1.0), (0.0, f64::INFINITY)] {
            assert_eq!(whole(out), None, "{out:?}");
        }
        assert_eq!(whole((f64::NAN, f64::NAN)), Some(MISSING));
        assert_eq!(whole((1.0, f64::NAN)), Some((1, MISSING.1)));
    }

    #[test]
    fn blocks_at_the_edge_are_padded_and_losses_are_counted() {
        let mean = Array3::from_shape_fn((1, 2, 2), |(_, row, col)| [[0.1, 9.0], [f64::NAN, -0.2]][row][col]);
        let sd = Array3::from_elem((1, 2, 2), 0.01);
        let (encoding, lost) = (Encoding::int16(1e-4), Lost::default());
        let packed = pack((mean.view(), sd.view()), (2, 3), &encoding, &lost).unwrap();
        let (none, nothing) = MISSING;
        assert_eq!(packed[0], Numbers::Int16(vec![1000, none, none, none, -2000, none]));
        assert_eq!(packed[1], Numbers::Uint16(vec![1000, nothing, nothing, 1000, 1000, nothing]));
        let note = lost.note(&encoding).unwrap();
        assert!(note.contains("1 of 4 values") && note.contains("9 to 9") && note.contains("3.2767"), "{note}");
        assert_eq!(Lost::default().note(&encoding), None);
        let huge = Array3::from_elem((1, 2, 2), 1e300);
        assert_eq!(pack((huge.view(), sd.view()), (2, 2), &Encoding::rounded(0.01), &lost), Err((0, 1e300)));
    }
}
