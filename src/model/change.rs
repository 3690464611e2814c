//! A map of how much each place changes, from lazy passes over the data.

mod coarse;
mod levels;

use std::collections::BTreeSet;

use ndarray::{Array2, Array3, Zip};

use self::coarse::CoarseChange;
use self::levels::{Agreement, Half, LEVELS, Level, MARGIN, Sizes, TOGETHER};
use super::observed::{CellObservations, known};
use super::{ObservationModel, shared_bands};
use crate::describe::{Description, Instrument};
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid, PixelRegion};
use crate::source::{Pass, PassWatch, RasterSource, Slice, check_request};
use crate::spectral::{SpectralBasis, Spectrum};

/// Rows and columns of the tiles in which cells are looked at.
const TILE: usize = 256;

/// Tiles from which it follows how far levels are to be believed.
const TILES: usize = 32;

/// Share of the target that a date has to show for what is usual on it to be known.
const SHARE: f64 = 0.05;

/// Factors are this far from 1 at most, either way.
const LARGEST: f64 = 50.0;

/// Longest window, in days.
const LONGEST: i32 = 3660;

/// Collects how a map of change is made; [`fit`](Self::fit) makes it.
///
/// The map is of factors `f(s)` of the variance of change, with a mean of 1:
/// `ln f(s) = λ₀ ln g(s) + Σ_k λ_k (L_k(s) − L_{k−1}(s))`, up to a constant.
///
/// - `g` is the variance of increments over at least [`window_days`](Self::window_days) of the pixels of the coarse
///   instrument with most dates, interpolated between their centres. A composite of several days moves on slowly from
///   day to day, so that shorter increments would not show its change.
/// - `L_k` are from the changes of each cell between successive dates of instruments whose pixels are cells. A change
///   counts by its size over the average on its date of the scene, after division by `√g`: then a date on which all
///   changed says no more than another. `L_k` is twice the logarithm of the average size over the dates and a box of
///   31, 15, 7, 3 and 1 cells a side, with the next larger box as one date more. Sizes beyond three times the average
///   count as three.
/// - `λ` is how far a logarithm is believed: the covariance, over the scene, of its values from the first and the
///   second half of the dates, divided by the variance of that from all of them. It is the share of the variance that
///   lasts, and 0 where the correlation of the halves is within two standard errors of none, boxes that do not
///   overlap being independent (split-half reliability; empirical Bayes, Efron & Morris, *Journal of the American Statistical Association*
///   70, 1975).
///
/// Changes of the season are changes, too: a seasonal mean is not subtracted. Memory is that of a region that is read
/// (256 × 256 cells while it is fitted and written), of 32 tiles, and of six numbers for each coarse pixel and band,
/// whatever the number of dates.
#[derive(Clone, Debug)]
pub struct ChangeBuilder {
    window_days: i32,
}

impl Default for ChangeBuilder {
    fn default() -> Self {
        Self { window_days: 16 }
    }
}

impl ChangeBuilder {
    /// As [`fit_watched`](Self::fit_watched), for a description whose inputs are opened.
    ///
    /// # Errors
    /// As [`fit_watched`](Self::fit_watched).
    pub fn fit_to(&self, description: &Description, watch: &dyn PassWatch) -> Result<ChangeMap> {
        let Some(target) = &description.target.grid else {
            return Err(Error::setting("target", "the grid is not opened"));
        };
        let instruments = &description.instrument;
        let bands = match &description.target.bands {
            Some(bands) => bands.clone(),
            None => shared_bands(instruments)?,
        };
        self.fit_watched(target, &bands, description.opened_basis().map(AsRef::as_ref), instruments, watch)
    }

    /// Days between two values of a coarse pixel that make an increment; those up to half as many more apart do too.
    /// Default: 16, the window of common composites.
    #[must_use]
    pub fn window_days(mut self, days: i32) -> Self {
        self.window_days = days;
        self
    }

    /// Reads all dates twice, and 32 tiles of large scenes three times. The map is computed where it is read.
    /// `bands` are those of the target. With a `basis`, the components are its scores.
    ///
    /// # Errors
    /// [`Error::Setting`] for a window that cannot be, where no instrument has two dates, or where nothing is found
    /// that lasts; those of reading.
    pub fn fit(
        &self,
        target: &Grid,
        bands: &[String],
        basis: Option<&SpectralBasis>,
        instruments: &[Instrument],
    ) -> Result<ChangeMap> {
        self.fit_watched(target, bands, basis, instruments, &())
    }

    /// As [`fit`](Self::fit), followed by a watch that may end it early.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); [`Error::Interrupted`] where the watch ends it.
    pub fn fit_watched(
        &self,
        target: &Grid,
        bands: &[String],
        basis: Option<&SpectralBasis>,
        instruments: &[Instrument],
        watch: &dyn PassWatch,
    ) -> Result<ChangeMap> {
        if !(1..=LONGEST).contains(&self.window_days) {
            let problem = format!("{}; give 1 day or more, at most {LONGEST}", self.window_days);
            return Err(Error::setting("change.window_days", problem));
        }
        let spectrum = Spectrum::new(bands.to_vec(), basis.cloned().map(std::sync::Arc::new))?;
        let (mut cells, mut coarse) = (Vec::new(), Vec::new());
        for instrument in instruments {
            if instrument.observes_cells(target) {
                match CellObservations::new(instrument, target, &spectrum) {
                    Ok(observations) => cells.push(observations),
                    // Bands that do not determine the components say nothing of them one by one.
                    Err(Error::Setting { .. }) => {}
                    Err(error) => return Err(error),
                }
            } else {
                coarse.push(ObservationModel::new(&known(instrument), target, &spectrum)?);
            }
        }
        coarse.sort_by_key(|model| std::cmp::Reverse(model.source.dates().len()));
        let mut tried = coarse.iter().map(|model| CoarseChange::new(model, self.window_days, target, watch));
        let coarse = tried.find_map(Result::transpose).transpose()?;
        let mut map = ChangeMap {
            target: target.clone(),
            cells,
            coarse,
            usual: Vec::new(),
            reliability: [0.0; LEVELS],
            mean: 0.0,
            scale: 1.0,
            date: [Date::from_days(0)],
            band: ["change".into()],
        };
        map.usual = map.usual_sizes(watch)?;
        map.believe(watch)?;
        if map.reliability.iter().all(|share| *share == 0.0) && map.coarse.is_none() {
            let problem = "no instrument shows places that change more than others on the first and on the second half of its dates";
            return Err(Error::setting("process.variation", problem));
        }
        Ok(map)
    }
}

/// Factors of the variance of change, computed where they are read: a source of one date and one band. Made by
/// [`ChangeBuilder::fit`].
#[derive(Debug)]
pub struct ChangeMap {
    target: Grid,
    cells: Vec<CellObservations>,
    coarse: Option<CoarseChange>,
    /// Usual sizes of change of each instrument, date and plane; NaN where unknown.
    usual: Vec<Vec<Vec<f64>>>,
    /// How far the levels are believed.
    reliability: [f64; LEVELS],
    /// The mean of logarithms, and of what is left of the factors without it.
    mean: f64,
    scale: f64,
    date: [Date; 1],
    band: [String; 1],
}

impl ChangeMap {
    /// How far the change of coarse pixels is believed, from 0 to 1; `None` where there is no coarse instrument that
    /// shows any.
    #[must_use]
    pub fn coarse_reliability(&self) -> Option<f64> {
        self.coarse.as_ref().map(|coarse| coarse.reliability)
    }

    /// How far differences are believed of boxes of 31, 15, 7, 3 and 1 cells a side, each from the next larger, from 0 to
    /// 1.
    #[must_use]
    pub fn reliability(&self) -> [f64; LEVELS] {
        self.reliability
    }

    /// How many dates the instruments whose pixels are cells have in all.
    fn dates_of_cells(&self) -> u64 {
        self.cells.iter().map(|instrument| instrument.dates().len() as u64).sum()
    }

    /// Regions of at most 256 × 256 cells, row by row.
    fn tiles(&self) -> impl ExactSizeIterator<Item = PixelRegion> + use<> {
        let (rows, cols) = self.target.shape();
        let across = cols.div_ceil(TILE);
        (0..rows.div_ceil(TILE) * across).map(move |k| {
            let (top, left) = (k / across * TILE, k % across * TILE);
            PixelRegion::new(top..(top + TILE).min(rows), left..(left + TILE).min(cols))
        })
    }

    /// The square root of the coarse instrument's factor.
    fn coarse_factor(&self, row: usize, col: usize) -> f64 {
        self.coarse.as_ref().map_or(1.0, |coarse| (0.5 * coarse.log(row, col)).exp())
    }

    /// Calls a function with the date's position, the plane's, the sizes of change since each cell's last value over the
    /// coarse factor, NaN where unknown, and the position of that value.
    fn sizes(
        &self,
        instrument: &CellObservations,
        region: &PixelRegion,
        reading: &Pass<'_>,
        mut pass: impl FnMut(usize, usize, &Array2<f64>, &Array2<usize>),
    ) -> Result<()> {
        let factor = |(row, col): (usize, usize)| self.coarse_factor(region.rows.start + row, region.cols.start + col);
        let factors = Array2::from_shape_fn(region.shape(), factor);
        // The last value of each cell and its date, of each plane.
        let mut last: Vec<(Array2<f64>, Array2<usize>)> = Vec::new();
        let (mut plane, mut sizes) = (Array2::zeros(region.shape()), Array2::zeros(region.shape()));
        let mut since = Array2::zeros(region.shape());
        for (position, &date) in instrument.dates().iter().enumerate() {
            let mut planes = 0..;
            reading.read(region.len())?;
            instrument.read(date, region, &mut plane, |_, plane| {
                let Some(k) = planes.next() else { return };
                if last.len() <= k {
                    last.push((Array2::from_elem(region.shape(), f64::NAN), Array2::zeros(region.shape())));
                }
                let (last, seen) = &mut last[k];
                since.assign(seen);
                Zip::from(&mut sizes).and(&mut *last).and(plane).and(&factors).for_each(|size, last, value, factor| {
                    *size = (value - *last).abs() / factor;
                    if !value.is_nan() {
                        *last = *value;
                    }
                });
                Zip::from(seen).and(plane).for_each(|seen, value| {
                    if !value.is_nan() {
                        *seen = position;
                    }
                });
                pass(position, k, &sizes, &since);
            })?;
        }
        Ok(())
    }

    /// The averages of sizes over the scene, of each instrument, date and plane.
    fn usual_sizes(&self, watch: &dyn PassWatch) -> Result<Vec<Vec<Vec<f64>>>> {
        let reading =
            Pass::new(watch, "sizes of change by date", self.dates_of_cells() * self.target.region().len() as u64);
        let enough = SHARE * (self.target.rows() * self.target.cols()) as f64;
        let of_instrument = |instrument: &CellObservations| {
            let mut sums: Vec<Vec<(f64, f64)>> = vec![Vec::new(); instrument.dates().len()];
            for tile in self.tiles() {
                self.sizes(instrument, &tile, &reading, |date, k, sizes, _| {
                    if sums[date].len() <= k {
                        sums[date].resize(k + 1, (0.0, 0.0));
                    }
                    let held = sizes.iter().filter(|size| !size.is_nan());
                    let (count, sum) = held.fold((0.0, 0.0), |(count, sum), size| (count + 1.0, sum + size));
                    (sums[date][k].0, sums[date][k].1) = (sums[date][k].0 + count, sums[date][k].1 + sum);
                })?;
            }
            let mean = |(count, sum): (f64, f64)| if count > enough && sum > 0.0 { sum / count } else { f64::NAN };
            Ok(sums.into_iter().map(|planes| planes.into_iter().map(mean).collect()).collect())
        };
        self.cells.iter().map(of_instrument).collect()
    }

    /// The levels of the cells of a region that is widened by the margin.
    fn levels(&self, padded: &PixelRegion, reading: &Pass<'_>) -> Result<Vec<Level>> {
        let mut sums = Sizes::new(padded.shape());
        for (instrument, usual) in self.cells.iter().zip(&self.usual) {
            // Where the second half of the dates begins. Changes that end before it are of the first half, those that
            // begin in it of the second: none shares an image with one of the other half.
            let usable = usual.iter().enumerate().filter(|(_, planes)| planes.iter().any(|size| !size.is_nan()));
            let usable: Vec<usize> = usable.map(|(date, _)| date).collect();
            let split = usable.get(usable.len() / 2).copied().unwrap_or(usize::MAX);
            self.sizes(instrument, padded, reading, |date, k, sizes, since| {
                let (usual, planes) = (usual[date][k], usual[date].len());
                if usual.is_nan() {
                    return;
                }
                let half = |since: usize| match () {
                    () if date < split => Half::First,
                    () if since >= split => Half::Second,
                    () => Half::Neither,
                };
                let relative = sizes.indexed_iter().map(|(cell, size)| (cell, half(since[cell]), size / usual));
                sums.add(1.0 / planes as f64, relative);
            })?;
        }
        Ok(sums.levels())
    }

    fn padded(&self, region: &PixelRegion) -> PixelRegion {
        let (rows, cols) = self.target.shape();
        let widen = |cells: &std::ops::Range<usize>, all: usize| {
            cells.start.saturating_sub(MARGIN)..(cells.end + MARGIN).min(all)
        };
        PixelRegion::new(widen(&region.rows, rows), widen(&region.cols, cols))
    }

    /// Finds how far levels are believed and what the mean of factors is, from some tiles.
    fn believe(&mut self, watch: &dyn PassWatch) -> Result<()> {
        let chosen = spread(self.tiles().collect());
        let cells: usize = chosen.iter().map(|region| self.padded(region).len()).sum();
        let reading =
            Pass::new(watch, "change of cells in both halves of the dates", self.dates_of_cells() * cells as u64);
        let mut agreements = [Agreement::default(); LEVELS];
        let mut looked = Vec::with_capacity(chosen.len());
        for region in chosen {
            let padded = self.padded(&region);
            let levels = self.levels(&padded, &reading)?;
            for (agreement, level) in agreements.iter_mut().zip(&levels) {
                agreement.add_level(level, inner(&region, &padded));
            }
            // What is kept of a tile until all are known: one number for each level and cell.
            let added =
                inner(&region, &padded).flat_map(|cell| levels.iter().map(move |level| level.added(cell) as f32));
            looked.push((region.clone(), added.collect::<Vec<f32>>()));
        }
        for ((share, agreement), together) in self.reliability.iter_mut().zip(&agreements).zip(TOGETHER) {
            *share = agreement.reliability(together);
        }
        let mean_of = |this: &Self, value: fn(&Self, f64) -> f64| {
            let (mut sum, mut cells) = (0.0, 0.0);
            for (region, added) in &looked {
                let places = region.rows.clone().flat_map(|row| region.cols.clone().map(move |col| (row, col)));
                for (place, added) in places.zip(added.chunks(LEVELS)) {
                    sum += value(this, this.log(place, added.iter().map(|added| f64::from(*added))));
                    cells += 1.0;
                }
            }
            sum / cells
        };
        self.mean = mean_of(self, |_, log| log);
        self.scale = mean_of(self, Self::bounded);
        Ok(())
    }

    /// The logarithm of a cell's factor up to a constant, given what its levels add.
    fn log(&self, (row, col): (usize, usize), added: impl Iterator<Item = f64>) -> f64 {
        let coarse = self.coarse.as_ref().map_or(0.0, |coarse| coarse.log(row, col));
        let own: f64 = added.zip(self.reliability).map(|(added, share)| 2.0 * share * added).sum();
        coarse + own
    }

    /// The factor of a logarithm, before the mean of all is 1.
    fn bounded(&self, log: f64) -> f64 {
        (log - self.mean).exp().clamp(LARGEST.recip(), LARGEST)
    }
}

/// Tiles for which memory and time suffice, spread over all: the golden ratio's sequence has no favourite column.
fn spread(tiles: Vec<PixelRegion>) -> Vec<PixelRegion> {
    if tiles.len() <= TILES {
        return tiles;
    }
    let golden = 0.5 * (5.0_f64.sqrt() - 1.0);
    let at = |k: usize| ((k as f64 * golden).fract() * tiles.len() as f64) as usize;
    let chosen: BTreeSet<usize> = (0..TILES).map(at).collect();
    chosen.into_iter().map(|k| tiles[k].clone()).collect()
}

/// The cells of a region, as positions in the one that was widened.
fn inner(region: &PixelRegion, padded: &PixelRegion) -> impl Iterator<Item = (usize, usize)> + use<> {
    let (top, left) = (region.rows.start - padded.rows.start, region.cols.start - padded.cols.start);
    let (rows, cols) = region.shape();
    (0..rows).flat_map(move |row| (0..cols).map(move |col| (top + row, left + col)))
}

impl RasterSource for ChangeMap {
    fn grid(&self) -> &Grid {
        &self.target
    }

    fn dates(&self) -> &[Date] {
        &self.date
    }

    fn bands(&self) -> &[String] {
        &self.band
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        check_request(self, date, bands, region)?;
        let padded = self.padded(region);
        let levels = self.levels(&padded, &Pass::unwatched())?;
        let (top, left) = (region.rows.start, region.cols.start);
        let (down, across) = (top - padded.rows.start, left - padded.cols.start);
        let (rows, cols) = region.shape();
        let values = Array3::from_shape_fn((bands.len(), rows, cols), |(_, row, col)| {
            let added = levels.iter().map(|level| level.added((row + down, col + across)));
            let factor = self.bounded(self.log((top + row, left + col), added)) / self.scale;
            factor.clamp(LARGEST.recip(), LARGEST)
        });
        Ok(Slice::new(date, region.clone(), values))
    }

    fn origin(&self) -> String {
        "a map of change".into()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array4, s};
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};
    use rand_distr::StandardNormal;

    use super::*;
    use crate::describe::Footprint;
    use crate::geometry::Crs;
    use crate::source::MemorySource;

    const SIDE: usize = 64;

    fn grid(size: f64, side: usize) -> Grid {
        Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], (side, side)).unwrap()
    }

    /// Cells that walk, those in the west with so many times the variance, on some dates: a cell-sized instrument with
    /// gaps and clouds, and one that sees blocks of 8 × 8 cells.
    fn scene(west: f64, days: i32, seed: u64) -> [Instrument; 2] {
        let mut random = StdRng::seed_from_u64(seed);
        let mut now = Array2::<f64>::zeros((SIDE, SIDE));
        let mut fine = Array4::zeros((days as usize, 1, SIDE, SIDE));
        let mut coarse = Array4::zeros((days as usize, 1, SIDE / 8, SIDE / 8));
        for day in 0..days as usize {
            for ((_, col), value) in now.indexed_iter_mut() {
                let sd = if col < SIDE / 2 { west.sqrt() } else { 1.0 };
                *value += sd * random.sample::<f64, _>(StandardNormal);
            }
            for ((row, col), value) in now.indexed_iter() {
                let cloud = if random.random_bool(0.002) { 1e3 } else { 0.0 };
                let gap = random.random_bool(0.2);
                fine[(day, 0, row, col)] = if gap { f64::NAN } else { value + cloud };
                coarse[(day, 0, row / 8, col / 8)] += value / 64.0;
            }
        }
        let source = |size: f64, values: Array4<f64>| {
            let dates = (0..days).map(Date::from_days).collect();
            MemorySource::new(grid(size, values.dim().2), dates, vec!["red".into()], values).unwrap()
        };
        let fine = Instrument::new("fine", source(10.0, fine));
        [fine, Instrument::new("coarse", source(80.0, coarse)).footprint(Footprint::Uniform)]
    }

    fn map(instruments: &[Instrument]) -> Result<ChangeMap> {
        ChangeBuilder::default().fit(&grid(10.0, SIDE), &["red".into()], None, instruments)
    }

    /// Mean logarithms of the western and the eastern half, cells near the border left out, and the mean factor.
    fn halves(map: &ChangeMap) -> (f64, f64, f64) {
        let factors = map.read(map.date[0], &[0], &map.target.region()).unwrap().values;
        let log = |cols: std::ops::Range<usize>| factors.slice(s![0, .., cols]).mapv(f64::ln).mean().unwrap();
        (log(0..SIDE / 2 - 9), log(SIDE / 2 + 9..SIDE), factors.mean().unwrap())
    }

    #[test]
    fn cells_that_change_more_are_found_among_gaps_and_clouds() {
        let [fine, _] = scene(16.0, 30, 1);
        let found = map(&[fine]).unwrap();
        let (west, east, mean) = halves(&found);
        // Of 16, sizes beyond three times the average being counted as three.
        assert!((8.0..20.0).contains(&(west - east).exp()), "{west} {east}");
        assert!((mean - 1.0).abs() < 1e-6 && found.coarse_reliability().is_none(), "{mean}");
    }

    #[test]
    fn coarse_pixels_show_where_change_is_larger() {
        let [fine, coarse] = scene(16.0, 120, 2);
        let once = MemorySource::new(
            grid(10.0, SIDE),
            vec![Date::from_days(0)],
            vec!["red".into()],
            Array4::from_elem((1, 1, SIDE, SIDE), 0.3),
        );
        let alone = map(&[Instrument::new("once", once.unwrap()), coarse.clone()]).unwrap();
        let (west, east, _) = halves(&alone);
        assert!((8.0..28.0).contains(&(west - east).exp()), "{west} {east}");
        assert!(alone.coarse_reliability().is_some_and(|share| share > 0.9) && alone.reliability() == [0.0; LEVELS]);
        // Cells add nothing to what the coarse pixels say already.
        let both = map(&[fine, coarse]).unwrap();
        let (west, east, _) = halves(&both);
        assert!((8.0..28.0).contains(&(west - east).exp()), "{west} {east}");
    }

    #[test]
    fn change_that_is_the_same_everywhere_gives_no_map() {
        let message = map(&scene(1.0, 40, 3)).unwrap_err().to_string();
        assert!(message.contains("no instrument shows places that change more"), "{message}");
        assert!(ChangeBuilder::default().window_days(0).fit(&grid(10.0, 4), &["red".into()], None, &[]).is_err());
    }

    #[test]
    fn parts_are_those_of_the_whole() {
        let found = map(&scene(4.0, 30, 4)).unwrap();
        let read = |region: &PixelRegion| found.read(found.date[0], &[0], region).unwrap().values;
        let whole = read(&found.target.region());
        let region = PixelRegion::new(13..30, 20..64);
        let part = read(&region);
        let of_whole = whole.slice(s![.., region.rows.clone(), region.cols.clone()]);
        assert!(part.iter().zip(of_whole).all(|(a, b)| (a / b - 1.0).abs() < 1e-9));
    }
}
