//! The observation model of an instrument, and the groups of components that no instrument couples.

use std::sync::Arc;

use nalgebra::DMatrix;

use crate::describe::Missing;
use crate::filter::BandModel;
use crate::geometry::Date;
use crate::model::offset::OffsetModel;
use crate::model::{CompositeModel, Gate, PixelLattice};
use crate::source::RasterSource;
use crate::spectral::Spectrum;

/// An instrument whose settings have been checked against the target.
#[derive(Clone, Debug)]
pub(crate) struct ObservationModel {
    pub(crate) name: String,
    pub(crate) source: Arc<dyn RasterSource>,
    /// Source bands that are read.
    pub(crate) source_bands: Vec<usize>,
    /// Whether they were matched by name alone.
    pub(crate) by_name: bool,
    /// Weights of the components in each band. **Shape** (bands read, components).
    pub(super) design: DMatrix<f64>,
    pub(super) noise: Vec<f64>,
    /// Value of each band where all components are zero: the bias plus the contribution of the basis's mean.
    pub(super) offset: Vec<f64>,
    pub(crate) offset_layers: Vec<OffsetModel>,
    /// The days over which its values are averages, where they are.
    pub(crate) composite: Option<CompositeModel>,
    pub(crate) missing: Missing,
    pub(crate) gate: Option<Gate>,
    /// On how many dates in a row the gate refuses a pixel at most.
    pub(crate) follow: Option<u8>,
    /// Degrees of freedom of heavy tails.
    pub(crate) robust: Option<f64>,
    /// Whether noise is inflated according to the innovations.
    pub(crate) inflate: bool,
    pub(crate) lattice: PixelLattice,
}

/// What windows need to know of an instrument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observer<'a> {
    pub(crate) lattice: &'a PixelLattice,
    pub(crate) offset_layers: &'a [OffsetModel],
    /// Earlier averages that are kept of each of its pixels.
    pub(crate) earlier: usize,
}

/// The observation of one part of the components.
#[derive(Clone, Debug)]
pub(crate) struct PartBands {
    /// Its bands, as positions among the bands read.
    pub(crate) rows: Vec<usize>,
    pub(crate) model: BandModel,
}

impl ObservationModel {
    /// Whether each pixel is compared with the prediction before any pixel is assimilated.
    pub(crate) fn checks_pixels(&self) -> bool {
        self.gate.is_some() || self.robust.is_some()
    }

    /// Factor on the information of a pixel with this normalised innovation squared over `dof` values.
    pub(crate) fn weight(&self, nis: f64, dof: usize) -> f64 {
        self.robust.map_or(1.0, |nu| ((nu + dof as f64) / (nu + nis)).min(1.0))
    }

    /// What windows need to know of it.
    pub(crate) fn observer(&self) -> Observer<'_> {
        let earlier = self.composite.as_ref().map_or(0, CompositeModel::earlier);
        Observer { lattice: &self.lattice, offset_layers: &self.offset_layers, earlier }
    }

    /// The day on which what is dated `date` counts: the last day of a composite's window.
    pub(crate) fn counts_on(&self, date: Date) -> Date {
        date + self.composite.as_ref().map_or(0, CompositeModel::delay)
    }

    /// The date of what counts on a day.
    pub(crate) fn dated(&self, day: Date) -> Date {
        day + -self.composite.as_ref().map_or(0, CompositeModel::delay)
    }

    /// Weights of the components in each band read. **Shape** (bands read, components).
    pub(crate) fn design(&self) -> &DMatrix<f64> {
        &self.design
    }

    /// Default noise variance of each band read, in u².
    pub(crate) fn noise(&self) -> &[f64] {
        &self.noise
    }

    /// Variance of what a new image shows in each band read beyond the fused value, in u²: noise, the offsets of its
    /// acquisition and group, and those that are forgotten by then.
    pub(crate) fn new_image_variance(&self) -> Vec<f64> {
        let offsets = |band: usize| self.offset_layers.iter().map(|layer| layer.new_variance(band)).sum::<f64>();
        self.noise.iter().enumerate().map(|(band, noise)| noise + offsets(band)).collect()
    }

    /// Value of each band read where all components are zero, in u.
    pub(crate) fn offsets(&self) -> &[f64] {
        &self.offset
    }

    /// Whether it observes a component.
    pub(crate) fn observes(&self, component: usize) -> bool {
        self.design.column(component).iter().any(|weight| *weight != 0.0)
    }

    /// The component that a band observes directly and exclusively, if there is one.
    pub(crate) fn component_of(&self, band: usize) -> Option<usize> {
        let row = self.design.row(band);
        let mut terms = row.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
        let (component, weight) = terms.next()?;
        (*weight == 1.0 && terms.next().is_none()).then_some(component)
    }

    /// Mean and standard deviation of a band's observation of a single cell, without noise, given the mean of each
    /// component and the covariance of each pair.
    pub(crate) fn observation_of(
        &self,
        band: usize,
        mean: impl Fn(usize) -> f64,
        cov: impl Fn(usize, usize) -> f64,
    ) -> (f64, f64) {
        let row = self.design.row(band);
        let terms = || row.iter().copied().enumerate().filter(|(_, weight)| *weight != 0.0);
        let value = self.offset[band] + terms().map(|(j, weight)| weight * mean(j)).sum::<f64>();
        let variance: f64 =
            terms().flat_map(|(j, a)| terms().map(move |(l, b)| (j, l, a * b))).map(|(j, l, w)| w * cov(j, l)).sum();
        (value, variance.sqrt())
    }

    /// Noise variance of a band, where a pixel has none of its own.
    pub(crate) fn usual_noise(&self, band: usize) -> f64 {
        self.noise[band]
    }

    /// Upper bound on the reciprocal noise variance of any combination of `components`.
    pub(crate) fn most_information(&self, components: &[usize]) -> f64 {
        let of_row = |(row, noise): (usize, &f64)| {
            components.iter().map(|&j| self.design[(row, j)].powi(2)).sum::<f64>() / noise
        };
        self.noise.iter().enumerate().map(of_row).sum()
    }

    /// Names of the source bands that are read, each with what it observes.
    pub(crate) fn observed(&self, spectrum: &Spectrum) -> Vec<(String, String)> {
        let terms = |row: usize| {
            if spectrum.basis().is_some() {
                return "the spectrum".into();
            }
            let names = spectrum.bands().iter().enumerate().filter(|(j, _)| self.design[(row, *j)] != 0.0);
            names.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(" and ")
        };
        let held = self.source.bands();
        self.source_bands.iter().enumerate().map(|(row, &band)| (held[band].clone(), terms(row))).collect()
    }

    /// The bands that observe any of `components`. No band may observe components of two parts.
    pub(crate) fn part(&self, components: &[usize]) -> PartBands {
        let observes = |row: usize| components.iter().any(|&j| self.design[(row, j)] != 0.0);
        let rows: Vec<usize> = (0..self.design.nrows()).filter(|&row| observes(row)).collect();
        // The offsets of a band are one more channel, which only that band observes.
        let offsets = if self.offset_layers.is_empty() { 0 } else { rows.len() };
        let design = rows.iter().enumerate().flat_map(|(band, &row)| {
            let terms = components.iter().map(move |&j| self.design[(row, j)]);
            terms.chain((0..offsets).map(move |other| if other == band { 1.0 } else { 0.0 }))
        });
        let design = design.collect();
        let pick = |values: &[f64]| rows.iter().map(|&row| values[row]).collect();
        let model = BandModel::new(design, pick(&self.noise), pick(&self.offset));
        PartBands { rows, model }
    }
}

/// Groups the components so that no band of any instrument observes two groups.
///
/// Components have independent priors and independent process noise, so groups that no observation couples stay
/// independent: their joint covariance is block-diagonal at all times, and filtering each group separately is exact.
/// Without a spectral basis, every target band is a group of its own.
pub(crate) fn independent_parts(instruments: &[ObservationModel], p: usize) -> Vec<Vec<usize>> {
    let mut label: Vec<usize> = (0..p).collect();
    for row in instruments.iter().flat_map(|instrument| instrument.design.row_iter()) {
        let coupled: Vec<usize> = (0..p).filter(|&j| row[j] != 0.0).map(|j| label[j]).collect();
        if let Some(&first) = coupled.iter().min() {
            label.iter_mut().filter(|label| coupled.contains(*label)).for_each(|label| *label = first);
        }
    }
    let members = |group: usize| (0..p).filter(|&j| label[j] == group).collect::<Vec<_>>();
    (0..p).map(members).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::Footprint;
    use crate::geometry::{Crs, Grid};
    use crate::source::MemorySource;

    fn sensor(rows: &[[f64; 4]]) -> ObservationModel {
        let grid = Grid::new(Crs::unknown(), [0.0, 1.0, 0.0, 0.0, 0.0, -1.0], (1, 1)).unwrap();
        let source = MemorySource::new(grid.clone(), vec![], vec![], ndarray::Array4::zeros((0, 0, 1, 1))).unwrap();
        ObservationModel {
            name: "s".into(),
            source: Arc::new(source),
            source_bands: (0..rows.len()).collect(),
            by_name: false,
            design: DMatrix::from_fn(rows.len(), 4, |i, j| rows[i][j]),
            noise: (0..rows.len()).map(|k| 1.0 + k as f64).collect(),
            offset: vec![0.0; rows.len()],
            offset_layers: Vec::new(),
            composite: None,
            missing: Missing::Band,
            gate: None,
            follow: None,
            robust: None,
            inflate: false,
            lattice: PixelLattice::new(&grid, &grid, Footprint::Cell, "s").unwrap(),
        }
    }

    #[test]
    fn bands_that_see_two_components_couple_them() {
        let single = sensor(&[[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        assert_eq!(independent_parts(std::slice::from_ref(&single), 4), [vec![0], vec![1], vec![2], vec![3]]);
        let mixed = sensor(&[[0.0, 0.0, 0.5, 0.5], [0.3, 0.0, 0.0, 0.7]]);
        assert_eq!(independent_parts(&[single, mixed.clone()], 4), [vec![0, 2, 3], vec![1]]);
        let part = mixed.part(&[0, 2, 3]);
        assert_eq!(part.rows, [0, 1]);
        assert_eq!(part.model.channels(), 3);
        assert!(mixed.part(&[1]).rows.is_empty());
    }
}
