use std::sync::Arc;

use super::{ObservationModel, PartBands, Support};
use crate::filter::{BlockCov, Channel, ProcessBlock, State};

/// The offsets of one pixel count one by one.
const ONES: [f64; MOST_LAYERS] = [1.0; MOST_LAYERS];

/// Offset layers of an instrument at most.
pub(crate) const MOST_LAYERS: usize = 16;

/// Where the states of a part of a window stand: component by component the field's spatial states, then instrument by instrument
/// and band by band the offsets of its layers.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    components: usize,
    /// Spatial states of a component.
    spatial: usize,
    /// By instrument.
    offsets: Vec<Offsets>,
    n: usize,
}

/// How large a part is, whatever the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartSize {
    pub(crate) components: usize,
    /// Bands of each instrument that see it.
    pub(crate) bands: Vec<usize>,
}

impl PartSize {
    /// States in a window of so many spatial ones that sees so many offsets of a band of each instrument.
    pub(crate) fn states(&self, spatial: usize, offsets: &[usize]) -> usize {
        spatial * self.components
            + self.bands.iter().zip(offsets).map(|(bands, offsets)| bands * offsets).sum::<usize>()
    }
}

/// The offsets of an instrument.
#[derive(Clone, Copy, Debug)]
struct Offsets {
    first: usize,
    per_band: usize,
}

impl Layout {
    /// Of the states that `support` makes for so many components, and for the instruments' bands that see them.
    pub(crate) fn new(support: &Support, components: usize, bands: &[PartBands]) -> Self {
        let mut n = support.n() * components;
        let place = |(instrument, bands): (usize, &PartBands)| {
            let offsets = Offsets { first: n, per_band: support.offsets(instrument).per_band() };
            n += offsets.per_band * bands.rows.len();
            offsets
        };
        let offsets = bands.iter().enumerate().map(place).collect();
        Self { components, spatial: support.n(), offsets, n }
    }

    /// Number of states.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Number of components.
    pub(crate) fn components(&self) -> usize {
        self.components
    }

    /// The state of a component's spatial state.
    pub(crate) fn state(&self, component: usize, spatial: usize) -> usize {
        component * self.spatial + spatial
    }

    /// What a channel of an instrument's pixel consists of: a component's average over the footprint, behind the components the
    /// offsets of a band, of which the pixel has those at `offsets` among the band's.
    pub(crate) fn channel<'a>(
        &self,
        instrument: usize,
        channel: usize,
        footprint: Channel<'a>,
        offsets: &'a [u32],
    ) -> Channel<'a> {
        match channel.checked_sub(self.components) {
            None => Channel { offset: self.state(channel, 0), ..footprint },
            Some(band) => {
                let Offsets { first, per_band } = self.offsets[instrument];
                Channel { offset: first + band * per_band, states: offsets, weights: &ONES[..offsets.len()] }
            }
        }
    }

    /// How the offsets move, in the order of their states.
    pub(crate) fn offset_blocks(
        &self,
        support: &Support,
        instruments: &[ObservationModel],
        bands: &[PartBands],
    ) -> Vec<ProcessBlock> {
        let mut blocks: Vec<ProcessBlock> = Vec::new();
        for (k, (instrument, bands)) in instruments.iter().zip(bands).enumerate() {
            for &band in &bands.rows {
                for (layer, states) in instrument.offset_layers.iter().zip(&support.offsets(k).layers) {
                    let offset = layer.bands[band];
                    // Bands and layers of as many offsets share the identity.
                    let known = blocks.iter().find(|block| block.len == states.len());
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

    /// Fills in the offsets' variances before the first day; their means are zero.
    pub(crate) fn start_offsets(
        &self,
        state: &mut State,
        support: &Support,
        instruments: &[ObservationModel],
        bands: &[PartBands],
    ) {
        for (k, (instrument, bands)) in instruments.iter().zip(bands).enumerate() {
            let Offsets { first, per_band } = self.offsets[k];
            for (row, &band) in bands.rows.iter().enumerate() {
                for (layer, states) in instrument.offset_layers.iter().zip(&support.offsets(k).layers) {
                    for i in states.clone().map(|i| first + row * per_band + i) {
                        state.cov.set(i, i, layer.bands[band].variance);
                    }
                }
            }
        }
    }
}
