//! Where the states of a window stand, and the channels through which pixels see them.

use std::sync::Arc;

use super::field::FieldComponent;
use super::nodes::NodeStates;
use super::offset::MOST_LAYERS;
use super::{FieldModel, ObservationModel, PartBands, Pixel, PriorSlice, ProcessModel, Support};
use crate::filter::{BlockCov, Channel, ProcessBlock, State};

/// The offsets of one pixel count one by one.
const ONES: [f64; MOST_LAYERS] = [1.0; MOST_LAYERS];

/// Where the states of a part of a window stand: component by component the spatial states of the first field, then those of each
/// further field, then instrument by instrument and band by band the offsets of its layers.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    components: usize,
    /// Spatial states of a component.
    spatial: usize,
    /// Further fields.
    fields: Vec<Place>,
    /// Offsets by instrument.
    offsets: Vec<Place>,
    n: usize,
}

/// Runs of states of the same length: a field's of each component, an instrument's offsets of each band.
#[derive(Clone, Copy, Debug)]
struct Place {
    first: usize,
    len: usize,
}

/// How large a part is, whatever the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartSize {
    pub(crate) components: usize,
    /// Bands of each instrument that see it.
    pub(crate) bands: Vec<usize>,
}

impl PartSize {
    /// States in a window of so many of each component, that sees so many offsets of a band of each instrument.
    pub(crate) fn states(&self, of_component: usize, offsets: &[usize]) -> usize {
        let offsets = self.bands.iter().zip(offsets).map(|(bands, offsets)| bands * offsets);
        of_component * self.components + offsets.sum::<usize>()
    }
}

impl Layout {
    /// Of the states that `support` makes for so many components, and for the instruments' bands that see them.
    pub(crate) fn new(support: &Support, components: usize, bands: &[PartBands]) -> Self {
        let mut n = support.n() * components;
        let mut place = |len: usize, runs: usize| {
            let first = n;
            n += len * runs;
            Place { first, len }
        };
        let fields = support.fields().map(|nodes| place(nodes.map_or(support.n(), NodeStates::len), components));
        let fields = fields.collect();
        let offsets = bands.iter().enumerate();
        let offsets = offsets.map(|(k, bands)| place(support.offsets(k).per_band(), bands.rows.len())).collect();
        Self { components, spatial: support.n(), fields, offsets, n }
    }

    /// Number of states.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Number of components.
    pub(crate) fn components(&self) -> usize {
        self.components
    }

    /// The state of a component's spatial state in the first field.
    pub(crate) fn state(&self, component: usize, spatial: usize) -> usize {
        component * self.spatial + spatial
    }

    /// What a channel of an instrument's pixel consists of: a component's averages over the footprint, of each field; behind the
    /// components the offsets of a band, of which the pixel has those at `offsets` among the band's.
    pub(crate) fn channel<'a>(
        &'a self,
        support: &'a Support,
        (instrument, pixel): (usize, Pixel<'a>),
        channel: usize,
        offsets: &'a [u32],
    ) -> impl Iterator<Item = Channel<'a>> + use<'a> {
        let band = channel.checked_sub(self.components);
        let first = match band {
            None => Channel { offset: self.state(channel, 0), ..pixel.footprint },
            Some(band) => {
                let Place { first, len } = self.offsets[instrument];
                Channel { offset: first + band * len, states: offsets, weights: &ONES[..offsets.len()] }
            }
        };
        let fields = if band.is_none() { self.fields.as_slice() } else { &[] };
        let further = fields.iter().zip(support.fields()).map(move |(place, nodes)| Channel {
            offset: place.first + channel * place.len,
            ..nodes.map_or(pixel.footprint, |nodes| nodes.pixel(instrument, pixel.index))
        });
        std::iter::once(first).chain(further)
    }

    /// The states of further fields that add to a component of one of the window's own cells, with their weights.
    pub(crate) fn further(
        &self,
        support: &Support,
        component: usize,
        cell: usize,
    ) -> impl Iterator<Item = (usize, f64)> {
        self.fields.iter().zip(support.fields()).flat_map(move |(place, nodes)| {
            let first = place.first + component * place.len;
            let own = nodes.is_none().then_some((first + cell, 1.0));
            let row = nodes.map(|nodes| nodes.cell(cell));
            let entries = row.into_iter().flat_map(|row| row.states.iter().zip(row.weights));
            own.into_iter().chain(entries.map(move |(&state, &weight)| (first + state as usize, weight)))
        })
    }

    /// All states that make a component of one of the window's own cells, with their weights.
    pub(crate) fn cell(&self, support: &Support, component: usize, cell: usize) -> impl Iterator<Item = (usize, f64)> {
        std::iter::once((self.state(component, cell), 1.0)).chain(self.further(support, component, cell))
    }

    /// The offsets at `offsets` among those of an instrument's band, as states.
    pub(crate) fn offset_states<'a>(
        &self,
        (instrument, band): (usize, usize),
        offsets: &'a [u32],
    ) -> impl Iterator<Item = usize> + Clone + use<'a> {
        let Place { first, len } = self.offsets[instrument];
        offsets.iter().map(move |&offset| first + band * len + offset as usize)
    }

    /// Whether cells consist of the first field alone.
    pub(crate) fn is_one_field(&self) -> bool {
        self.fields.is_empty()
    }
}

/// What a part's further layers are made of, beside the places of their states.
pub(crate) struct Layers<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) support: &'a Support,
    pub(crate) process: &'a ProcessModel,
    /// Between the spatial states, for each of the process's correlations.
    pub(crate) correlations: &'a [Arc<BlockCov>],
    pub(crate) instruments: &'a [ObservationModel],
    pub(crate) components: &'a [usize],
    /// By instrument.
    pub(crate) bands: &'a [PartBands],
    /// (width, height) of a cell in CRS units.
    pub(crate) cell_size: (f64, f64),
}

impl Layers<'_> {
    /// How they move, in the order of their states.
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
                    // Bands and layers of as many offsets share the identity.
                    let known = blocks[fields..].iter().find(|block| block.len == states.len());
                    let correlation = known.map_or_else(
                        || Arc::new(BlockCov::dense(states.len(), |i, j| f64::from(i == j))),
                        |known| Arc::clone(&known.correlation),
                    );
                    let (len, transition, variance) = (states.len(), offset.transition, offset.drift);
                    blocks.push(ProcessBlock { len, transition, variance, correlation });
                }
            }
        }
        blocks
    }

    /// Fills in their variances as a window begins; their means are zero. A prior of the sum of all fields is the first field's
    /// alone: of the others nothing remains to be said.
    pub(crate) fn start(&self, state: &mut State, prior: &PriorSlice) {
        let fields = if prior.is_of_all_fields() { &[] } else { self.process.fields.as_slice() };
        for (index, field) in fields.iter().enumerate() {
            let Place { first, len } = self.layout.fields[index];
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
            let Place { first, len } = self.layout.offsets[k];
            for (row, &band) in bands.rows.iter().enumerate() {
                for (layer, states) in instrument.offset_layers.iter().zip(&self.support.offsets(k).layers) {
                    for i in states.clone().map(|i| first + row * len + i) {
                        state.cov.set(i, i, layer.bands[band].variance);
                    }
                }
            }
        }
    }

    /// Between the states of a further field.
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
