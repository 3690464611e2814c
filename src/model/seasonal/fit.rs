//! The passes over the data: one for the curve of the scene, and several for the curves of the cells, tile by tile.

use std::sync::Arc;

use ndarray::{Array2, Array3, Array4};

use super::builder::SeasonalBuilder;
use super::pool::Pool;
use super::sums::{ComponentSums, System};
use crate::describe::Instrument;
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid, PixelRegion};
use crate::model::observed::CellObservations;
use crate::seasonal::{Harmonics, SeasonalMean, SeasonalTile};
use crate::source::{Pass, PassWatch};
use crate::spectral::{SpectralBasis, Spectrum};

/// Larger tiles are multiples of this size, which is the chunk size of a store.
pub(super) const CHUNK: usize = 256;

/// A seasonal mean that can be fitted tile by tile. Made by [`SeasonalBuilder::prepare`].
#[derive(Debug)]
pub struct SeasonalFit {
    settings: SeasonalBuilder,
    target: Grid,
    components: Vec<String>,
    instruments: Vec<CellObservations>,
    /// One for each component.
    scene: Vec<SceneCurve>,
    tile: (usize, usize),
    margin: usize,
}

/// The curve of the averages of a scene.
#[derive(Clone, Debug, PartialEq)]
struct SceneCurve {
    coefficients: Vec<f64>,
    /// Variance of all values about the curve, in u².
    variance: f64,
}

impl SeasonalBuilder {
    /// Fits the mean of every cell of `target` to all dates of the instruments whose pixels are its cells, and holds
    /// it in memory: `terms + 1` numbers of 4 bytes for each cell and component. `bands` are those of the target.
    /// With a `basis`, the components are its scores.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare), and of reading.
    pub fn fit(
        &self,
        target: &Grid,
        bands: &[String],
        basis: Option<&SpectralBasis>,
        instruments: &[Instrument],
    ) -> Result<SeasonalMean> {
        self.prepare(target, bands, basis, instruments)?.collect()
    }

    /// Like [`fit`](Self::fit), without the tiles: reads everything once to fit the curve of the scene, and returns a
    /// value that [fits tile after tile](SeasonalFit::tiles).
    ///
    /// # Errors
    /// [`Error::Setting`] naming the setting that cannot work, an instrument whose pixels are not cells or whose
    /// bands do not determine the components, or a band that nothing observes; [`Error::CrsMismatch`]; the errors of
    /// reading.
    pub fn prepare(
        &self,
        target: &Grid,
        bands: &[String],
        basis: Option<&SpectralBasis>,
        instruments: &[Instrument],
    ) -> Result<SeasonalFit> {
        self.prepare_watched(target, bands, basis, instruments, &())
    }

    /// As [`prepare`](Self::prepare), followed by a watch that may end it early.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare); [`Error::Interrupted`] where the watch ends it.
    pub fn prepare_watched(
        &self,
        target: &Grid,
        bands: &[String],
        basis: Option<&SpectralBasis>,
        instruments: &[Instrument],
        watch: &dyn PassWatch,
    ) -> Result<SeasonalFit> {
        self.check()?;
        let mut fit = SeasonalFit::new(self, target, bands, basis, instruments)?;
        fit.scene = fit.scene(watch)?;
        Ok(fit)
    }
}

impl SeasonalFit {
    fn new(
        settings: &SeasonalBuilder,
        target: &Grid,
        bands: &[String],
        basis: Option<&SpectralBasis>,
        instruments: &[Instrument],
    ) -> Result<Self> {
        let spectrum = Spectrum::new(bands.to_vec(), basis.cloned().map(Arc::new))?;
        let instruments: Vec<CellObservations> = instruments
            .iter()
            .map(|instrument| CellObservations::new(instrument, target, &spectrum))
            .collect::<Result<_>>()?;
        let components = match basis {
            None => bands.to_vec(),
            Some(basis) => (1..=basis.components()).map(|j| format!("component {j}")).collect(),
        };
        let margin = settings.neighbours.map_or(0, |neighbours| 2 * neighbours.radius * settings.rounds());
        let mut fit = Self {
            settings: settings.clone(),
            target: target.clone(),
            components,
            instruments,
            scene: Vec::new(),
            tile: (0, 0),
            margin,
        };
        fit.tile = fit.choose_tile()?;
        Ok(fit)
    }

    /// The grid of the cells.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.target
    }

    /// Names of the target bands, or of a basis's components.
    #[must_use]
    pub fn components(&self) -> &[String] {
        &self.components
    }

    /// Names and dates of the instruments.
    pub fn instruments(&self) -> impl Iterator<Item = (&str, &[Date])> {
        self.instruments.iter().map(|instrument| (instrument.name(), instrument.dates()))
    }

    /// The terms of the curves.
    #[must_use]
    pub fn harmonics(&self) -> Harmonics {
        self.settings.curve()
    }

    /// (rows, columns) of the tiles, except for those at the right and the bottom.
    #[must_use]
    pub fn tile_shape(&self) -> (usize, usize) {
        self.tile
    }

    /// The largest tile that fits into memory together with its neighbours.
    fn choose_tile(&self) -> Result<(usize, usize)> {
        let (terms, p) = (self.harmonics().terms(), self.components.len());
        let (own, shared) = ComponentSums::numbers(terms);
        let slice = self.instruments.iter().map(CellObservations::bytes_per_cell).max().unwrap_or(0);
        let per_cell = ((p * own + shared + 4) * size_of::<f64>()) as u64 + slice;
        let cells = self.settings.memory_bytes / per_cell;
        let (rows, cols) = self.target.shape();
        if (rows * cols) as u64 <= cells {
            return Ok((rows, cols));
        }
        let least = (2 * self.margin + 1).min(rows) * (2 * self.margin + 1).min(cols);
        if cells < least as u64 {
            let problem = format!(
                "{} bytes, but the smallest tile with its neighbours takes {}; allow more",
                self.settings.memory_bytes,
                least as u64 * per_cell
            );
            return Err(Error::setting("seasonal.memory", problem));
        }
        let round = |side: usize| if side > CHUNK { side / CHUNK * CHUNK } else { side };
        let square = (cells as f64).sqrt() as usize;
        let height = rows.min(square);
        let wide = |height: usize| (cells as usize / height).min(cols);
        let side = |padded: usize, all: usize| if padded >= all { all } else { round(padded - 2 * self.margin) };
        let (height, width) =
            if height == rows { (height, wide(height)) } else { (cells as usize / wide(square), wide(square)) };
        Ok((side(height, rows), side(width, cols)))
    }

    /// Number of full rows that fit into memory.
    fn strip_rows(&self) -> usize {
        let slice =
            self.instruments.iter().map(CellObservations::bytes_per_cell).max().unwrap_or(0) + size_of::<f64>() as u64;
        let row = slice * self.target.cols() as u64;
        ((self.settings.memory_bytes / row) as usize).clamp(1, self.target.rows())
    }

    /// Fits tile after tile, row by row. Tile boundaries do not affect the result.
    pub fn tiles(&self) -> impl Iterator<Item = Result<SeasonalTile>> + '_ {
        self.tiles_watched(&())
    }

    /// As [`tiles`](Self::tiles), followed by a watch. After it has ended the fit, tiles are
    /// [`Error::Interrupted`].
    pub fn tiles_watched<'a>(&'a self, watch: &'a dyn PassWatch) -> impl Iterator<Item = Result<SeasonalTile>> + 'a {
        let readings = (self.settings.rounds() as u64) * self.date_count();
        let cells: u64 = self.regions(self.tile).map(|region| self.padded(&region).len() as u64).sum();
        let pass = Pass::new(watch, "curves of the cells", readings * cells);
        self.regions(self.tile).map(move |region| self.fit(region, &pass))
    }

    /// How many dates the instruments have in all.
    fn date_count(&self) -> u64 {
        self.instruments.iter().map(|instrument| instrument.dates().len() as u64).sum()
    }

    /// A region together with the surrounding cells on which it depends.
    fn padded(&self, region: &PixelRegion) -> PixelRegion {
        let widen = |cells: &std::ops::Range<usize>, all: usize| {
            cells.start.saturating_sub(self.margin)..(cells.end + self.margin).min(all)
        };
        let (rows, cols) = self.target.shape();
        PixelRegion::new(widen(&region.rows, rows), widen(&region.cols, cols))
    }

    fn regions(&self, (height, width): (usize, usize)) -> impl Iterator<Item = PixelRegion> + use<> {
        let (rows, cols) = self.target.shape();
        (0..rows).step_by(height).flat_map(move |row| {
            (0..cols)
                .step_by(width)
                .map(move |col| PixelRegion::new(row..(row + height).min(rows), col..(col + width).min(cols)))
        })
    }

    /// Fits all tiles and holds them in memory.
    ///
    /// # Errors
    /// The errors of reading.
    pub fn collect(&self) -> Result<SeasonalMean> {
        let (rows, cols) = self.target.shape();
        let (p, terms) = (self.components.len(), self.harmonics().terms());
        let mut coefficients = Array4::zeros((p, terms, rows, cols));
        let mut scatter = Array3::zeros((p, rows, cols));
        for tile in self.tiles() {
            let SeasonalTile { region, coefficients: part, scatter: spread } = tile?;
            let PixelRegion { rows, cols } = region;
            coefficients.slice_mut(ndarray::s![.., .., rows.clone(), cols.clone()]).assign(&part);
            scatter.slice_mut(ndarray::s![.., rows, cols]).assign(&spread);
        }
        SeasonalMean::from_arrays(self.target.clone(), self.components.clone(), self.harmonics(), coefficients, scatter)
    }

    /// The curve of the scene: the curve of its average on each date, weighted by the observed share of the scene.
    fn scene(&self, watch: &dyn PassWatch) -> Result<Vec<SceneCurve>> {
        let pass = Pass::new(watch, "curve of the scene", self.date_count() * self.target.region().len() as u64);
        let harmonics = self.harmonics();
        let n = harmonics.terms();
        let mut terms = vec![0.0; n];
        let mut systems: Vec<System> = self.components.iter().map(|_| System::new(n)).collect();
        // Largest number of values on any date, number of all values, their sum and their sum of squares.
        let mut totals = vec![[0.0_f64; 4]; self.components.len()];
        let strip = (self.strip_rows(), self.target.cols());
        for instrument in &self.instruments {
            for &date in instrument.dates() {
                harmonics.evaluate(date, &mut terms);
                let mut sums = vec![[0.0; 3]; self.components.len()];
                for region in self.regions(strip) {
                    let mut plane = Array2::zeros(region.shape());
                    pass.read(region.len())?;
                    instrument.read(date, &region, &mut plane, |component, plane| {
                        // Row by row, so that the height of strips does not change a bit.
                        for row in plane.rows() {
                            let held = || row.iter().filter(|value| !value.is_nan());
                            let row = [held().count() as f64, held().sum(), held().map(|value| value * value).sum()];
                            sums[component].iter_mut().zip(row).for_each(|(sum, row): (&mut f64, f64)| *sum += row);
                        }
                    })?;
                }
                for ((system, [count, sum, squares]), totals) in systems.iter_mut().zip(sums).zip(&mut totals) {
                    if count > 0.0 {
                        system.add(&terms, sum / count, count);
                        *totals = [totals[0].max(count), totals[1] + count, totals[2] + sum, totals[3] + squares];
                    }
                }
            }
        }
        let curve = |((mut system, [most, count, sum, squares]), name): ((System, [f64; 4]), &String)| {
            if most == 0.0 {
                let problem = format!("no instrument whose pixels are cells holds any value of {name:?} in the target");
                return Err(Error::setting("seasonal", problem));
            }
            system.divide(most);
            system.shrink(|k| ((Harmonics::order(k).pow(2) as f64) * self.settings.ridge, 0.0));
            let mean = sum / count;
            Ok(SceneCurve { coefficients: system.solve().to_vec(), variance: (squares / count - mean * mean).max(0.0) })
        };
        systems.into_iter().zip(totals).zip(&self.components).map(curve).collect()
    }

    /// Fits the cells of a region, together with the surrounding cells on which they depend.
    fn fit(&self, region: PixelRegion, pass: &Pass<'_>) -> Result<SeasonalTile> {
        let harmonics = self.harmonics();
        let n = harmonics.terms();
        let padded = self.padded(&region);
        let mut sums: Vec<ComponentSums> =
            self.components.iter().map(|_| ComponentSums::new(padded.len(), n)).collect();
        let mut pool = Pool::new(padded.shape(), self.settings.neighbours.map(|neighbours| neighbours.radius));
        let mut plane = Array2::zeros(padded.shape());
        let mut terms = vec![0.0; n];
        for round in 0..self.settings.rounds() {
            let degrees = self.settings.robust.filter(|_| round > 0);
            sums.iter_mut().for_each(ComponentSums::clear);
            for instrument in &self.instruments {
                for &date in instrument.dates() {
                    harmonics.evaluate(date, &mut terms);
                    pass.read(padded.len())?;
                    instrument.read(date, &padded, &mut plane, |component, plane| {
                        let scene = dot(&self.scene[component].coefficients, &terms);
                        if let Some(values) = plane.as_slice() {
                            sums[component].add(values, &terms, scene, degrees);
                        }
                    })?;
                }
            }
            for (sums, scene) in sums.iter_mut().zip(&self.scene) {
                sums.solve(&self.settings, &mut pool, scene.variance);
            }
        }
        let cell = |row: usize, col: usize| {
            let (row, col) = (region.rows.start + row - padded.rows.start, region.cols.start + col - padded.cols.start);
            row * padded.cols.len() + col
        };
        let (p, (rows, cols)) = (self.components.len(), region.shape());
        let coefficients = Array4::from_shape_fn((p, n, rows, cols), |(j, k, row, col)| {
            (self.scene[j].coefficients[k] + sums[j].coefficient(k, cell(row, col))) as f32
        });
        let scatter =
            Array3::from_shape_fn((p, rows, cols), |(j, row, col)| sums[j].variance(cell(row, col)).sqrt() as f32);
        Ok(SeasonalTile { region, coefficients, scatter })
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
