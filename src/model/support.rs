//! The spatial states of a window, their correlation, and the pixels that observe them.

mod correlated;
mod similarity;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::nodes::NodeStates;
use super::offset::OffsetStates;
use super::rows::SparseRows;
use super::{
    Average, Correlation, Effect, FieldModel, Observer, PixelLattice, PriorSlice, ProcessModel, Profile, Similarity,
    Together,
};
use crate::error::Result;
use crate::filter::{BlockCov, Channel, ProcessBlock, State};
use crate::geometry::{Rect, Window};

/// Number of candidates per far sample. Candidates on cells of the window or off the grid are skipped.
const FAR_CANDIDATES: u32 = 16;

/// Single cells around a window that represent long-range correlation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct FarSamples {
    pub(crate) count: usize,
    /// In CRS units.
    pub(crate) radius: f64,
}

/// The spatial states of one window and the pixels that observe them.
///
/// Order of the states: the window's own cells (row by row), the halo, far samples, then footprint remainders. A
/// pixel that covers some of these cells and others as well has a remainder: the average of the field over the rest
/// of its footprint. With it, `y = w · (covered part) + (1 - w) · (remainder)` is exact.
#[derive(Clone, Debug)]
pub(crate) struct Support {
    /// Own, halo and far cells (row, column).
    cells: Vec<(i64, i64)>,
    /// Number of the window's own cells.
    own: usize,
    /// The averages over those parts of footprints that are not among the cells.
    remainders: Vec<Average>,
    pixels: Vec<ObservingPixels>,
    /// The offsets of each instrument.
    offsets: Vec<OffsetStates>,
    /// Earlier averages that are kept of each pixel of each instrument.
    earlier: Vec<usize>,
    /// Further fields: `None` where a field has the spatial states of the first one.
    fields: Vec<Option<NodeStates>>,
}

/// The pixels of one instrument that observe a window, with a sparse row for each.
#[derive(Clone, Debug, Default)]
struct ObservingPixels {
    /// (row, column) on the instrument's grid.
    at: Vec<(u32, u32)>,
    /// Whether the centre of the footprint, or the cell of the grid nearest to it, is among the window's own cells.
    home: Vec<bool>,
    rows: SparseRows,
}

/// A pixel that observes a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pixel<'a> {
    /// Its position among the instrument's pixels.
    pub(crate) index: usize,
    /// (row, column) on the instrument's grid.
    pub(crate) at: (usize, usize),
    /// Whether this window counts the pixel: exactly one window contains its centre.
    pub(crate) home: bool,
    /// Its sparse row over the spatial states.
    pub(crate) footprint: Channel<'a>,
}

/// Remainder states by footprint and its weights.
type RemainderStates = HashMap<Rect, Vec<(Option<Profile>, u32)>>;

/// The initial state of a window, and its own cells without a prior.
#[derive(Clone, Debug)]
pub(crate) struct InitialState {
    pub(crate) state: State,
    /// Own cells that stay NaN: they have no prior, and no instrument observes them.
    pub(crate) uninformed: Vec<bool>,
}

impl Support {
    /// The support of `window` on a grid of `shape` cells of `cell_size`.
    pub(crate) fn new(
        window: &Window,
        shape: (usize, usize),
        cell_size: (f64, f64),
        far: FarSamples,
        observers: &[Observer<'_>],
        fields: &[FieldModel],
    ) -> Self {
        let core = Rect::from(&window.core);
        let padded = window.padded_rect();
        let mut cells: Vec<(i64, i64)> = core.cells().collect();
        let own = cells.len();
        cells.extend(padded.cells().filter(|&(row, col)| !core.contains(row, col)));
        let near = cells.len();
        cells.extend(far_cells(window, shape, cell_size, far));
        let index: HashMap<(i64, i64), u32> = cells.iter().enumerate().map(|(i, &cell)| (cell, i as u32)).collect();

        let mut this = Self {
            cells,
            own,
            remainders: Vec::new(),
            pixels: Vec::new(),
            offsets: Vec::new(),
            earlier: observers.iter().map(|observer| observer.earlier).collect(),
            fields: Vec::new(),
        };
        let mut known = RemainderStates::new();
        for &Observer { lattice, offset_layers, .. } in observers {
            let mut pixels = this.observe(lattice, &padded, near, &index, &mut known);
            let home = |&(row, col): &(u32, u32)| {
                let (row, col) = lattice.nearest_cell(row as usize, col as usize, shape);
                core.contains(row, col)
            };
            pixels.home = pixels.at.iter().map(home).collect();
            this.offsets.push(OffsetStates::new(offset_layers, pixels.at.len()));
            this.pixels.push(pixels);
        }
        let nodes = |field: &FieldModel| {
            let footprints =
                observers.iter().zip(&this.pixels).map(|(observer, pixels)| (observer.lattice, pixels.at.as_slice()));
            (field.block > 1).then(|| NodeStates::new(field.block, this.own_cells(), footprints))
        };
        let fields = fields.iter().map(nodes).collect();
        Self { fields, ..this }
    }

    /// The rows of one instrument; adds the remainders that they need.
    fn observe(
        &mut self,
        lattice: &PixelLattice,
        padded: &Rect,
        near: usize,
        index: &HashMap<(i64, i64), u32>,
        known: &mut RemainderStates,
    ) -> ObservingPixels {
        let mut touched: BTreeSet<(usize, usize)> = BTreeSet::new();
        let region = lattice.covering(padded);
        touched.extend(region.rows.flat_map(|row| region.cols.clone().map(move |col| (row, col))));
        // Far cells, by the pixels that contain them: several where footprints overlap.
        let mut far: BTreeMap<(usize, usize), Vec<(i64, i64)>> = BTreeMap::new();
        for &(row, col) in &self.cells[near..] {
            let region = lattice.covering(&Rect::cell(row, col));
            for pixel in region.rows.flat_map(|row| region.cols.clone().map(move |col| (row, col))) {
                touched.insert(pixel);
                far.entry(pixel).or_default().push((row, col));
            }
        }
        // Rows in the order of the first state that they observe: the filter gathers neighbouring states together.
        let mut touched: Vec<(usize, usize)> = touched.into_iter().collect();
        touched.sort_by_cached_key(|&(row, col)| {
            let covered = lattice.rect(row, col).intersection(padded);
            covered.cells().filter_map(|cell| index.get(&cell)).min().copied().unwrap_or(u32::MAX)
        });
        let mut pixels = ObservingPixels::default();
        for (row, col) in touched {
            let (footprint, profile) = (lattice.rect(row, col), lattice.profile(row, col));
            let total = if profile.is_some() { 1.0 } else { footprint.count() as f64 };
            let weight = |(row, col)| profile.as_ref().map_or(1.0, |profile| profile.weight(row, col)) / total;
            let far = far.get(&(row, col)).map_or(&[][..], Vec::as_slice);
            pixels.at.push((row as u32, col as u32));
            pixels.rows.begin();
            let covered = footprint.intersection(padded);
            for cell in covered.cells().chain(far.iter().copied()) {
                if let Some(&state) = index.get(&cell) {
                    pixels.rows.push(state, weight(cell));
                }
            }
            let rest = uncovered(&footprint, padded, far);
            if !rest.is_empty() {
                // Instruments with the same pixels share the remainder, because it is the same average.
                let rest = Average::new(rest, profile.clone());
                let share = rest.total() / total;
                let same = known.entry(footprint).or_default();
                let remainder = match same.iter().find(|(other, _)| *other == profile) {
                    Some(&(_, remainder)) => remainder,
                    None => {
                        self.remainders.push(rest);
                        let remainder = (self.cells.len() + self.remainders.len() - 1) as u32;
                        same.push((profile, remainder));
                        remainder
                    }
                };
                pixels.rows.push(remainder, share);
            }
        }
        pixels
    }

    /// Number of spatial states.
    pub(crate) fn n(&self) -> usize {
        self.cells.len() + self.remainders.len()
    }

    /// The window's own cells (row, column), which are its first states.
    pub(crate) fn own_cells(&self) -> &[(i64, i64)] {
        &self.cells[..self.own]
    }

    /// The offsets of an instrument.
    pub(crate) fn offsets(&self, instrument: usize) -> &OffsetStates {
        &self.offsets[instrument]
    }

    /// Earlier averages that are kept of each pixel of an instrument.
    pub(crate) fn earlier(&self, instrument: usize) -> usize {
        self.earlier[instrument]
    }

    /// How many pixels of an instrument observe the window.
    pub(crate) fn pixel_count(&self, instrument: usize) -> usize {
        self.pixels[instrument].at.len()
    }

    /// The nodes of each further field; `None` where it has the spatial states of the first one.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Option<&NodeStates>> {
        self.fields.iter().map(Option::as_ref)
    }

    /// The nodes of a further field; `None` where it has the spatial states of the first one.
    pub(crate) fn field(&self, field: usize) -> Option<&NodeStates> {
        self.fields[field].as_ref()
    }

    /// Pixels of an instrument that observe the window.
    pub(crate) fn pixels(&self, instrument: usize) -> impl Iterator<Item = Pixel<'_>> {
        let pixels = &self.pixels[instrument];
        pixels.at.iter().enumerate().map(move |(k, &(row, col))| Pixel {
            index: k,
            at: (row as usize, col as usize),
            home: pixels.home[k],
            footprint: pixels.rows.row(k),
        })
    }

    /// (row, column) of one of these pixels on the instrument's grid.
    pub(crate) fn pixel_at(&self, instrument: usize, index: usize) -> (usize, usize) {
        let (row, col) = self.pixels[instrument].at[index];
        (row as usize, col as usize)
    }

    /// The pixel of an instrument that contains each of the window's own cells, as a position among those that
    /// observe the window; the first one where footprints overlap.
    pub(crate) fn pixels_of_cells(&self, instrument: usize, lattice: &PixelLattice) -> Vec<Option<u32>> {
        let at = &self.pixels[instrument].at;
        let places: HashMap<(u32, u32), u32> = at.iter().copied().zip(0..).collect();
        let pixel = |&(row, col): &(i64, i64)| {
            let region = lattice.covering(&Rect::cell(row, col));
            places.get(&(region.rows.start as u32, region.cols.start as u32)).copied().filter(|_| !region.is_empty())
        };
        self.own_cells().iter().map(pixel).collect()
    }

    /// The spatial states as averages of cells.
    pub(crate) fn averages(&self) -> Vec<Average> {
        let cells = self.cells.iter().map(|&(row, col)| Average::cell(row, col));
        cells.chain(self.remainders.iter().cloned()).collect()
    }

    /// Smallest rectangle that contains the cells of every state, remainders included.
    pub(crate) fn extent(&self) -> Rect {
        let rects = self.remainders.iter().flat_map(|remainder| remainder.rects().iter().copied());
        let cells = self.cells.iter().map(|&(row, col)| Rect::cell(row, col));
        cells.chain(rects).reduce(|a, b| a.hull(&b)).unwrap_or_else(|| Rect::new(0..0, 0..0))
    }

    /// The cells relative to the first: windows of the same shape have the same correlation between their cells.
    pub(crate) fn shape_key(&self) -> Vec<(i64, i64)> {
        let first = self.cells.first().copied().unwrap_or_default();
        self.cells.iter().map(|&(row, col)| (row - first.0, col - first.1)).collect()
    }

    /// Correlation between the cells, packed for [`BlockCov::new`].
    pub(crate) fn cell_correlation(&self, correlation: &Correlation) -> Arc<[f64]> {
        BlockCov::pack(self.cells.len(), |i, j| correlation.between_cells(self.cells[i], self.cells[j]))
    }

    /// Correlation between all states; the correlation between the cells is shared.
    fn correlation(&self, correlation: &Correlation, cells: &Arc<[f64]>) -> BlockCov {
        let n_cells = self.cells.len();
        BlockCov::new(self.n(), n_cells, Arc::clone(cells), |i, j| {
            let remainder = &self.remainders[i - n_cells];
            if j < n_cells {
                let (row, col) = self.cells[j];
                correlation.between_averages(remainder, &Average::cell(row, col))
            } else {
                correlation.between_averages(remainder, &self.remainders[j - n_cells])
            }
        })
    }

    /// Correlation between all states, for each correlation of the process; `cells` is
    /// [`cell_correlation`](Self::cell_correlation) for each. With `similarity`, those of the first field depend on the
    /// similarity of cells.
    pub(crate) fn correlations(
        &self,
        process: &ProcessModel,
        cells: &[Arc<[f64]>],
        similarity: Option<&Similarity>,
    ) -> Vec<Arc<BlockCov>> {
        let pairs = process.correlations.iter().zip(cells).enumerate();
        let between = |(k, (correlation, cells))| match similarity {
            Some(similarity) if k < process.similar => self.similarity_correlation(correlation, similarity),
            _ => self.correlation(correlation, cells),
        };
        pairs.map(|pair| Arc::new(between(pair))).collect()
    }

    /// Process blocks of the field's states for some components. State vector: component-major, `x[j n + i]`.
    pub(crate) fn field_blocks(
        &self,
        process: &ProcessModel,
        correlations: &[Arc<BlockCov>],
        components: &[usize],
    ) -> Vec<ProcessBlock> {
        let block = |&j: &usize| {
            let component = &process.components[j];
            ProcessBlock {
                len: self.n(),
                transition: component.transition,
                variance: component.variance,
                correlation: Arc::clone(&correlations[component.correlation]),
            }
        };
        components.iter().map(block).collect()
    }

    /// The initial state, from the prior. It has `states` entries; the first are those of some components. Cells are
    /// independent, so remainders are correlated through the cells that they share.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) where an instrument observes a cell that a prior raster leaves empty.
    pub(crate) fn initial_state(
        &self,
        states: usize,
        components: &[usize],
        together: Option<&Together>,
        prior: &PriorSlice,
        names: &[&str],
    ) -> Result<InitialState> {
        let (n, n_cells) = (self.n(), self.cells.len());
        let mut state = State::new(states);
        let mut uninformed = vec![false; self.cells.len()];
        for (k, &j) in components.iter().enumerate() {
            let first = k * n;
            for (i, &(row, col)) in self.cells.iter().enumerate() {
                let (mean, variance) = (prior.mean(j, row, col), prior.cov(j, j, row, col));
                if mean.is_nan() || variance.is_nan() {
                    uninformed[i] = true;
                    continue;
                }
                state.mean[first + i] = mean;
            }
            for (a, remainder) in self.remainders.iter().enumerate() {
                state.mean[first + n_cells + a] = prior.mean_of(j, remainder);
            }
            for (l, &other) in components[..=k].iter().enumerate() {
                self.initial_cov(&mut state, (first, j), (l * n, other), prior);
            }
        }
        if let Some(together) = together {
            state = self.together(state, together, prior, &mut uninformed);
        }
        self.check_uninformed(&state, components.len() * n, &uninformed, prior, names)?;
        uninformed.truncate(self.own);
        Ok(InitialState { state, uninformed })
    }

    /// Gives a state of the first of some bands the means of all of them, [whitened](Together::whiten), and those of
    /// the effects. Where the prior of any is empty, so is the first's.
    fn together(&self, state: State, together: &Together, prior: &PriorSlice, uninformed: &mut [bool]) -> State {
        let mut state = state.with_parallel(together.columns() - 1);
        let bands = together.components.len();
        let mut means = vec![0.0; bands];
        for i in 0..self.n() {
            for (mean, &j) in means.iter_mut().zip(&together.components) {
                *mean = match self.cells.get(i) {
                    Some(&(row, col)) => prior.mean(j, row, col),
                    None => prior.mean_of(j, &self.remainders[i - self.cells.len()]),
                };
            }
            let empty = means.iter().any(|mean| mean.is_nan());
            match uninformed.get_mut(i) {
                Some(uninformed) if empty || *uninformed => {
                    *uninformed = true;
                    means.fill(0.0);
                }
                None if empty => {
                    state.mean[i] = f64::NAN;
                    continue;
                }
                _ => together.whiten(&mut means),
            }
            for (column, mean) in means.iter().enumerate() {
                state.column_mut(column)[i] = *mean;
            }
            for (k, effect) in together.effects.iter().enumerate() {
                // What is left of observations that are all zero when the mean is one more than was taken.
                state.column_mut(bands + k)[i] = if *effect == Effect::PriorMean { -1.0 } else { 0.0 };
            }
        }
        state
    }

    /// Sets the covariance of two components, each given by its first state and its index.
    fn initial_cov(
        &self,
        state: &mut State,
        (first, j): (usize, usize),
        (other, l): (usize, usize),
        prior: &PriorSlice,
    ) {
        if j != l && !prior.couples() {
            return;
        }
        for (i, &(row, col)) in self.cells.iter().enumerate() {
            let cov = prior.cov(j, l, row, col);
            if !cov.is_nan() {
                state.cov.set(first + i, other + i, cov);
            }
        }
        let n_cells = self.cells.len();
        for (a, remainder) in self.remainders.iter().enumerate() {
            for (b, near) in self.remainders[..=a].iter().enumerate() {
                let cov = prior.cov_of((j, l), remainder, near);
                state.cov.set(first + n_cells + a, other + n_cells + b, cov);
                state.cov.set(first + n_cells + b, other + n_cells + a, cov);
            }
        }
    }

    /// Refuses a prior without values where an instrument observes.
    fn check_uninformed(
        &self,
        state: &State,
        end: usize,
        uninformed: &[bool],
        prior: &PriorSlice,
        names: &[&str],
    ) -> Result<()> {
        let n = self.n();
        for (instrument, name) in names.iter().enumerate() {
            for pixel in self.pixels(instrument) {
                for &i in pixel.footprint.states {
                    let i = i as usize;
                    let unknown = |k: usize| state.mean[k].is_nan() || state.cov.get(k, k).is_nan();
                    let empty = uninformed.get(i).copied().unwrap_or_else(|| (i..end).step_by(n).any(unknown));
                    if empty {
                        let cell = self.cells.get(i).copied().unwrap_or_else(|| {
                            let rect = self.remainders[i - self.cells.len()].rects()[0];
                            (rect.top, rect.left)
                        });
                        return Err(prior.without_value(cell, name));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The part of a footprint that is neither in the padded window nor a far cell.
fn uncovered(footprint: &Rect, padded: &Rect, far: &[(i64, i64)]) -> Vec<Rect> {
    let mut rects = Vec::new();
    footprint.subtract_into(padded, &mut rects);
    for &(row, col) in far {
        let mut cut = Vec::with_capacity(rects.len() + 3);
        rects.iter().for_each(|rect| rect.subtract_into(&Rect::cell(row, col), &mut cut));
        rects = cut;
    }
    rects
}

/// Distinct cells of the grid within the radius of the core's centre and outside `padded`, from an Owen-scrambled
/// Sobol sequence in the disc (area-preserving polar map). The pattern is the same around every window.
pub(crate) fn far_cells(
    window: &Window,
    shape: (usize, usize),
    cell_size: (f64, f64),
    far: FarSamples,
) -> Vec<(i64, i64)> {
    let (core, padded) = (Rect::from(&window.core), window.padded_rect());
    let grid = Rect::new(0..shape.0 as i64, 0..shape.1 as i64);
    let centre = ((core.top + core.bottom) as f64 / 2.0, (core.left + core.right) as f64 / 2.0);
    let mut found = Vec::new();
    for k in 0..(far.count as u32).saturating_mul(FAR_CANDIDATES) {
        if found.len() == far.count {
            break;
        }
        let radius = far.radius * f64::from(sobol_burley::sample(k, 0, 0)).sqrt();
        let angle = std::f64::consts::TAU * f64::from(sobol_burley::sample(k, 1, 0));
        let row = (centre.0 + radius * angle.sin() / cell_size.1).floor() as i64;
        let col = (centre.1 + radius * angle.cos() / cell_size.0).floor() as i64;
        if grid.contains(row, col) && !padded.contains(row, col) && !found.contains(&(row, col)) {
            found.push((row, col));
        }
    }
    found
}
