//! Layout of the state vector of a window's part, and the process blocks and initial variances of its further
//! layers.

use std::sync::Arc;

use super::field::FieldComponent;
use super::nodes::NodeStates;
use super::offset::MOST_LAYERS;
use super::{Averaged, FieldModel, ObservationModel, PartBands, Pixel, PriorSlice, ProcessModel, Support};
use crate::filter::{BlockCov, Channel, ProcessBlock, State};
use crate::geometry::Date;

/// Weights of the offsets of one pixel: 1 each.
const ONES: [f64; MOST_LAYERS] = [1.0; MOST_LAYERS];

/// Layout of the state vector of a part of a window: component by component the spatial states of the first field,
/// then those of each further field, then instrument by instrument and band by band the offsets of its layers, then
/// instrument by instrument and component by component the earlier averages over its pixels.
#[derive(Clone, Debug)]
pub(crate) struct StateLayout {
    components: usize,
    /// Number of spatial states of a component.
    spatial: usize,
    /// Further fields.
    fields: Vec<StateRuns>,
    /// Offsets by instrument.
    offsets: Vec<StateRuns>,
    /// Earlier averages by instrument, place by place those of all pixels.
    earlier: Vec<StateRuns>,
    n: usize,
}

/// What a pixel's value consists of beyond its footprint as it is now; kept from pixel to pixel.
#[derive(Clone, Debug, Default)]
pub(crate) struct PixelTerms {
    /// Its offsets, as positions among those of a band.
    pub(crate) offsets: Vec<u32>,
    /// What is averaged on the day.
    averaged: Averaged,
    /// Where the earlier averages over the first pixel stand among those of a component.
    places: Vec<u32>,
}

impl PixelTerms {
    /// Those of an instrument's pixels on a day, but for offsets.
    pub(crate) fn begin(&mut self, instrument: &ObservationModel, day: Date, pixels: usize) {
        match &instrument.composite {
            Some(composite) => composite.on(day, &mut self.averaged),
            None => self.averaged.set_present(),
        }
        self.places.clear();
        self.places.extend((0..self.averaged.weights.len()).map(|place| (place * pixels) as u32));
    }
}

/// Runs of states of equal length: one for each component of a field or of earlier averages, or for each band of an
/// instrument's offsets.
#[derive(Clone, Copy, Debug)]
struct StateRuns {
    first: usize,
    len: usize,
}

/// Size of a part, independent of the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartSize {
    pub(crate) components: usize,
    /// Means that share each covariance.
    pub(crate) columns: usize,
    /// Number of bands of each instrument that observe the part.
    pub(crate) bands: Vec<usize>,
}

/// States of a window for an instrument.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfInstrument {
    /// Offsets of each band.
    pub(crate) offsets: usize,
    /// Earlier averages of each component.
    pub(crate) earlier: usize,
}

impl PartSize {
    /// Number of states in a window with `of_component` states per component and those of each instrument.
    pub(crate) fn states(&self, of_component: usize, instruments: &[OfInstrument]) -> usize {
        let further = self.bands.iter().zip(instruments).filter(|(bands, _)| **bands > 0);
        let further = further.map(|(bands, of)| bands * of.offsets + self.components * of.earlier);
        of_component * self.components + further.sum::<usize>()
    }
}

impl StateLayout {
    /// The layout of the states of `support` for this number of components, and for the bands that observe them.
    pub(crate) fn new(support: &Support, components: usize, bands: &[PartBands]) -> Self {
        let mut n = support.n() * components;
        let mut runs_of = |len: usize, runs: usize| {
            let first = n;
            n += len * runs;
            StateRuns { first, len }
        };
        let fields = support.fields().map(|nodes| runs_of(nodes.map_or(support.n(), NodeStates::len), components));
        let fields = fields.collect();
        let offsets = bands.iter().enumerate();
        let offsets = offsets.map(|(k, bands)| runs_of(support.offsets(k).per_band(), bands.rows.len())).collect();
        let earlier = bands.iter().enumerate().map(|(k, bands)| {
            let averages = if bands.rows.is_empty() { 0 } else { support.earlier(k) * support.pixel_count(k) };
            runs_of(averages, components)
        });
        let earlier = earlier.collect();
        Self { components, spatial: support.n(), fields, offsets, earlier, n }
    }

    /// Number of states.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Number of components.
    pub(crate) fn components(&self) -> usize {
        self.components
    }

    /// Index of a spatial state of a component in the first field.
    pub(crate) fn state(&self, component: usize, spatial: usize) -> usize {
        component * self.spatial + spatial
    }

    /// The pieces of a channel of an instrument's pixel: for a component, its averages over the footprint in each
    /// field, and earlier ones. Channels past the components are bands: their pieces are the pixel's offsets.
    pub(crate) fn channel<'a>(
        &'a self,
        support: &'a Support,
        (instrument, pixel): (usize, Pixel<'a>),
        channel: usize,
        terms: &'a PixelTerms,
    ) -> impl Iterator<Item = Channel<'a>> + use<'a> {
        let PixelTerms { offsets, averaged, places } = terms;
        let band = channel.checked_sub(self.components);
        let beyond = match band {
            None => {
                let StateRuns { first, len } = self.earlier[instrument];
                let offset = first + channel * len + pixel.index;
                Channel { offset, scale: 1.0, states: places, weights: &averaged.weights }
            }
            Some(band) => {
                let StateRuns { first, len } = self.offsets[instrument];
                Channel { offset: first + band * len, scale: 1.0, states: offsets, weights: &ONES[..offsets.len()] }
            }
        };
        let present = band.is_none().then(|| self.present(support, (instrument, pixel), channel));
        let scaled = move |piece: Channel<'a>| Channel { scale: piece.scale * averaged.present, ..piece };
        present.into_iter().flatten().map(scaled).chain(std::iter::once(beyond))
    }

    /// The averages of a component over a pixel's footprint as it is now, in each field.
    pub(crate) fn present<'a>(
        &'a self,
        support: &'a Support,
        (instrument, pixel): (usize, Pixel<'a>),
        component: usize,
    ) -> impl Iterator<Item = Channel<'a>> + Clone + use<'a> {
        let first = Channel { offset: self.state(component, 0), ..pixel.footprint };
        let further = self.fields.iter().enumerate().map(move |(field, runs)| Channel {
            offset: runs.first + component * runs.len,
            ..support.field(field).map_or(pixel.footprint, |nodes| nodes.pixel(instrument, pixel.index))
        });
        std::iter::once(first).chain(further)
    }

    /// The earlier averages at a place, those of each pixel and component of an instrument: where they stand, and what
    /// they would be now.
    pub(crate) fn averages<'a>(
        &'a self,
        support: &'a Support,
        instrument: usize,
        place: usize,
    ) -> impl Iterator<Item = (usize, impl Iterator<Item = Channel<'a>> + Clone + use<'a>)> + use<'a> {
        let StateRuns { first, len } = self.earlier[instrument];
        let pixels = if len == 0 { 0 } else { support.pixel_count(instrument) };
        let of_component = move |component: usize| {
            let at = first + component * len + place * pixels;
            support
                .pixels(instrument)
                .take(pixels)
                .map(move |pixel| (at + pixel.index, self.present(support, (instrument, pixel), component)))
        };
        (0..self.components).flat_map(of_component)
    }

    /// The states of further fields that add to a component of one of the window's own cells, with their weights.
    pub(crate) fn further(
        &self,
        support: &Support,
        component: usize,
        cell: usize,
    ) -> impl Iterator<Item = (usize, f64)> {
        self.fields.iter().zip(support.fields()).flat_map(move |(runs, nodes)| {
            let first = runs.first + component * runs.len;
            let own = nodes.is_none().then_some((first + cell, 1.0));
            let row = nodes.map(|nodes| nodes.cell(cell));
            let entries = row.into_iter().flat_map(|row| row.states.iter().zip(row.weights));
            own.into_iter().chain(entries.map(move |(&state, &weight)| (first + state as usize, weight)))
        })
    }

    /// All states whose sum is a component of one of the window's own cells, with their weights.
    pub(crate) fn cell(&self, support: &Support, component: usize, cell: usize) -> impl Iterator<Item = (usize, f64)> {
        std::iter::once((self.state(component, cell), 1.0)).chain(self.further(support, component, cell))
    }

    /// State indices of the offsets at positions `offsets` among those of an instrument's band.
    pub(crate) fn offset_states<'a>(
        &self,
        (instrument, band): (usize, usize),
        offsets: &'a [u32],
    ) -> impl Iterator<Item = usize> + Clone + use<'a> {
        let StateRuns { first, len } = self.offsets[instrument];
        offsets.iter().map(move |&offset| first + band * len + offset as usize)
    }

    /// Whether cells consist of the first field only.
    pub(crate) fn is_one_field(&self) -> bool {
        self.fields.is_empty()
    }
}

/// Models of the further layers of a part, in addition to the layout of their states.
pub(crate) struct Layers<'a> {
    pub(crate) layout: &'a StateLayout,
    pub(crate) support: &'a Support,
    pub(crate) process: &'a ProcessModel,
    /// Correlation between the spatial states, for each correlation of the process.
    pub(crate) correlations: &'a [Arc<BlockCov>],
    pub(crate) instruments: &'a [ObservationModel],
    pub(crate) components: &'a [usize],
    /// By instrument.
    pub(crate) bands: &'a [PartBands],
    /// (width, height) of a cell in CRS units.
    pub(crate) cell_size: (f64, f64),
}

impl Layers<'_> {
    /// Process blocks, in the order of their states.
    pub(crate) fn blocks(&self) -> Vec<ProcessBlock> {
        let mut blocks = Vec::new();
        for (index, field) in self.process.fields.iter().enumerate() {
            for &j in self.components {
                let FieldComponent { transition, variance, .. } = field.components[j];
                let correlation = self.correlation(index, field, j);
                blocks.push(ProcessBlock { len: correlation.n(), transition, variance, correlation });
            }
        }
        let fields = blocks.len();
        for (k, (instrument, bands)) in self.instruments.iter().zip(self.bands).enumerate() {
            for &band in &bands.rows {
                for (layer, states) in instrument.offset_layers.iter().zip(&self.support.offsets(k).layers) {
                    let offset = layer.bands[band];
                    // Bands and layers with equally many offsets share the identity matrix.
                    let correlation = identity(&blocks[fields..], states.len());
                    let (len, transition, variance) = (states.len(), offset.transition, offset.drift);
                    blocks.push(ProcessBlock { len, transition, variance, correlation });
                }
            }
        }
        // Earlier averages stay as they were.
        for (k, _) in self.bands.iter().enumerate().filter(|(_, bands)| !bands.rows.is_empty()) {
            let len = self.support.pixel_count(k);
            for _ in 0..self.components.len() * self.support.earlier(k) {
                let correlation = identity(&blocks[fields..], len);
                blocks.push(ProcessBlock { len, transition: 1.0, variance: 0.0, correlation });
            }
        }
        blocks
    }

    /// Sets their initial variances; their means are zero. A prior of the sum of all fields belongs to the first
    /// field, and the others start at zero variance.
    pub(crate) fn start(&self, state: &mut State, prior: &PriorSlice) {
        let fields = if prior.is_of_all_fields() { &[] } else { self.process.fields.as_slice() };
        for (index, field) in fields.iter().enumerate() {
            let StateRuns { first, len } = self.layout.fields[index];
            for (k, &j) in self.components.iter().enumerate() {
                let prior = field.components[j].prior;
                if prior > 0.0 {
                    let (first, correlation) = (first + k * len, self.correlation(index, field, j));
                    for (a, b) in (0..len).flat_map(|a| (0..=a).map(move |b| (a, b))) {
                        state.cov.set(first + a, first + b, prior * correlation.get(a, b));
                    }
                }
            }
        }
        for (k, (instrument, bands)) in self.instruments.iter().zip(self.bands).enumerate() {
            let StateRuns { first, len } = self.layout.offsets[k];
            for (row, &band) in bands.rows.iter().enumerate() {
                for (layer, states) in instrument.offset_layers.iter().zip(&self.support.offsets(k).layers) {
                    for i in states.clone().map(|i| first + row * len + i) {
                        state.cov.set(i, i, layer.bands[band].variance);
                    }
                }
            }
        }
        // Before the first day nothing changed.
        let mut scratch = Vec::new();
        for k in 0..self.instruments.len() {
            for place in 0..self.support.earlier(k) {
                let averages = self.layout.averages(self.support, k, place);
                averages.for_each(|(at, sum)| state.set_sum(at, sum, &mut scratch));
            }
        }
    }

    /// Correlation between the states of a further field.
    fn correlation(&self, index: usize, field: &FieldModel, component: usize) -> Arc<BlockCov> {
        let FieldComponent { kernel, range, correlation, .. } = field.components[component];
        match (self.support.field(index), correlation) {
            (Some(nodes), _) => Arc::new(BlockCov::dense(nodes.len(), |i, j| {
                kernel.correlation(nodes.distance(i, j, field.block, self.cell_size), range)
            })),
            (None, correlation) => Arc::clone(&self.correlations[correlation.unwrap_or_default()]),
        }
    }
}

/// The identity matrix, shared with a block of as many states that has it.
fn identity(blocks: &[ProcessBlock], len: usize) -> Arc<BlockCov> {
    let known = blocks.iter().find(|block| block.len == len);
    let fresh = || Arc::new(BlockCov::dense(len, |i, j| f64::from(i == j)));
    known.map_or_else(fresh, |known| Arc::clone(&known.correlation))
}
