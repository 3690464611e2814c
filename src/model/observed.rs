//! Observations of the components by an instrument whose pixels are target cells.

use nalgebra::{DMatrix, DVector};
use ndarray::{Array2, Axis, s};

use super::ObservationModel;
use crate::describe::{Instrument, Missing};
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid, PixelRegion};
use crate::spectral::Spectrum;

/// Largest condition number of the bands' weights at which components can be determined.
const WORST_CONDITION: f64 = 1e6;

/// An instrument whose pixels are target cells.
#[derive(Debug)]
pub(in crate::model) struct CellObservations {
    model: ObservationModel,
    /// Cell of its first pixel.
    first: (i64, i64),
    inverse: Inverse,
}

/// Conversion from bands to components.
#[derive(Debug)]
enum Inverse {
    /// Every band read observes one component: its index and weight.
    Single(Vec<(usize, f64)>),
    /// Components are combinations of all bands, by least squares: **shape** (component, band).
    Joint(DMatrix<f64>),
}

impl CellObservations {
    /// # Errors
    /// [`Error::Setting`] where pixels are not single cells, or bands do not determine the components.
    pub(in crate::model) fn new(instrument: &Instrument, target: &Grid, spectrum: &Spectrum) -> Result<Self> {
        let model = ObservationModel::new(&known(instrument), target, spectrum)?;
        let Some(first) = model.lattice.first_of_single_cells() else {
            let problem = "a seasonal mean needs pixels that are target cells, and these are not; leave the instrument out, \
                           or choose another target";
            return Err(Error::setting(format!("instrument {:?}: footprint", model.name), problem));
        };
        let inverse = inverse(&model)?;
        Ok(Self { model, first, inverse })
    }

    pub(in crate::model) fn name(&self) -> &str {
        &self.model.name
    }

    pub(in crate::model) fn dates(&self) -> &[Date] {
        self.model.source.dates()
    }

    /// Bytes per pixel of a slice while it is read.
    pub(in crate::model) fn bytes_per_cell(&self) -> u64 {
        2 * (self.model.source_bands.len() * size_of::<f64>()) as u64
    }

    /// Calls a function with every plane of component values over `region` on a date: NaN where missing, with the
    /// bias and the mean of the basis subtracted. Bands that observe the same component give one plane each.
    pub(in crate::model) fn read(
        &self,
        date: Date,
        region: &PixelRegion,
        plane: &mut Array2<f64>,
        mut pass: impl FnMut(usize, &Array2<f64>),
    ) -> Result<()> {
        let (rows, cols) = self.model.source.grid().shape();
        let local = |cells: &std::ops::Range<usize>, first: i64, n: usize| {
            let at = |cell: usize| (cell as i64 - first).clamp(0, n as i64) as usize;
            at(cells.start)..at(cells.end)
        };
        let pixels = PixelRegion::new(local(&region.rows, self.first.0, rows), local(&region.cols, self.first.1, cols));
        if pixels.is_empty() {
            return Ok(());
        }
        let mut values = self.model.source.read(date, &self.model.source_bands, &pixels)?.values;
        for (mut band, offset) in values.axis_iter_mut(Axis(0)).zip(self.model.offsets()) {
            band.mapv_inplace(|value| if value.is_finite() { value - offset } else { f64::NAN });
        }
        if self.model.missing == Missing::Pixel {
            let holes = values.sum_axis(Axis(0));
            for mut band in values.axis_iter_mut(Axis(0)) {
                band.zip_mut_with(&holes, |value, hole| *value = if hole.is_nan() { f64::NAN } else { *value });
            }
        }
        let top = (pixels.rows.start as i64 + self.first.0) as usize - region.rows.start;
        let left = (pixels.cols.start as i64 + self.first.1) as usize - region.cols.start;
        let part = s![top..top + pixels.rows.len(), left..left + pixels.cols.len()];
        match &self.inverse {
            Inverse::Single(terms) => {
                for (band, &(component, weight)) in values.axis_iter(Axis(0)).zip(terms) {
                    plane.fill(f64::NAN);
                    plane.slice_mut(part).zip_mut_with(&band, |out, value| *out = value / weight);
                    pass(component, plane);
                }
            }
            Inverse::Joint(inverse) => {
                for component in 0..inverse.nrows() {
                    plane.fill(f64::NAN);
                    let mut part = plane.slice_mut(part);
                    part.fill(0.0);
                    // A missing band makes the sum NaN.
                    for (band, weight) in values.axis_iter(Axis(0)).zip(inverse.row(component)) {
                        part.zip_mut_with(&band, |out, value| *out += weight * value);
                    }
                    pass(component, plane);
                }
            }
        }
        Ok(())
    }
}

/// An instrument with something in the place of numbers that are yet to be found: all bands count the same, and are taken
/// for unbiased.
pub(in crate::model) fn known(instrument: &Instrument) -> Instrument {
    let mut instrument = instrument.clone();
    if instrument.noise_variance.as_ref().is_none_or(|noise| noise.has_free() || noise.is_ratio()) {
        instrument.noise_variance = Some(1.0.into());
    }
    if instrument.bias.has_free() {
        instrument.bias = 0.0.into();
    }
    instrument.offset_layer = None;
    instrument
}

fn inverse(model: &ObservationModel) -> Result<Inverse> {
    let design = model.design();
    let single = |row: usize| {
        let mut terms =
            design.row(row).iter().copied().enumerate().filter(|(_, weight)| *weight != 0.0).collect::<Vec<_>>();
        if terms.len() == 1 { terms.pop() } else { None }
    };
    if let Some(terms) = (0..design.nrows()).map(single).collect::<Option<Vec<_>>>() {
        return Ok(Inverse::Single(terms));
    }
    // Least squares in units of the noise: (Mᵀ V⁻¹ M)⁻¹ Mᵀ V⁻¹.
    let scale = DVector::from_iterator(design.nrows(), model.noise().iter().map(|noise| noise.sqrt().recip()));
    let white = DMatrix::from_fn(design.nrows(), design.ncols(), |row, j| design[(row, j)] * scale[row]);
    let svd = white.svd(true, true);
    let (largest, smallest) = (svd.singular_values.max(), svd.singular_values.min());
    let enough = design.nrows() >= design.ncols() && smallest * WORST_CONDITION > largest;
    let inverse = if enough { svd.pseudo_inverse(0.0).ok() } else { None };
    let Some(inverse) = inverse else {
        let problem = format!(
            "its {} bands do not determine the {} components of the basis, so no seasonal mean can be fitted to them; leave \
             the instrument out",
            design.nrows(),
            design.ncols()
        );
        return Err(Error::setting(format!("instrument {:?}: response", model.name), problem));
    };
    Ok(Inverse::Joint(DMatrix::from_fn(inverse.nrows(), inverse.ncols(), |j, row| inverse[(j, row)] * scale[row])))
}
