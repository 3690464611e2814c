//! What a fusion is, as a tree of plain values: target, process, prior, instruments, windows, smoothing and output.
//!
//! [`FusionBuilder`](crate::engine::FusionBuilder) fills a [`Description`], TOML is read into it, stores keep it to
//! recognise their series, and an [estimation](crate::estimate) finds its free numbers. A [`Key`] names every place in
//! it. Memory, threads and checkpoints depend on the machine and are not part of it.

mod composite;
mod encoding;
mod features;
mod footprint;
mod groups;
mod handle;
mod index;
mod instrument;
mod kernel;
mod number;
mod offset;
mod output;
mod prior;
mod process;
mod stored;
mod structure;
mod target;
mod variation;
mod visit;

use serde::{Deserialize, Serialize};

pub use crate::error::Key;
pub use composite::Composite;
pub use encoding::{Codec, Dtype, Encoding, StoredAs};
pub use features::{Combine, Features};
pub use footprint::Footprint;
pub use groups::AcquisitionGroups;
pub use handle::{Basis, BasisFiles, Groups, MeanFunction, Raster, Response, ResponseKeys, Seasonal};
pub use index::{Index, Indices};
pub use instrument::{Instrument, Missing};
pub use kernel::Kernel;
pub use number::{Free, Number, Numbers};
pub use offset::{OffsetLayer, Sharing};
pub use output::{Output, OutputDates, OutputSpace, Smoothing};
pub use prior::{Prior, PriorCorrelation, PriorField};
pub use process::{Adaptive, BandScale, Bands, Field, NestedKernel, Process, Relative, Season};
pub use structure::{Choosable, Structure};
pub use target::{Target, Time, Window};
pub use variation::Variation;
pub use visit::Quantity;

pub(crate) use visit::{NumberRef, Visit};

/// The word that stands for what is to be estimated.
pub const ESTIMATE: &str = "estimate";

/// A whole fusion.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Description {
    /// The grid of the result and its bands.
    pub target: Target,
    /// The days of the series.
    #[serde(default)]
    pub time: Time,
    /// The windows that cells are estimated in.
    #[serde(default)]
    pub window: Window,
    /// How the scene changes.
    pub process: Structure<Process>,
    /// What is known before the first observation.
    pub prior: Structure<Prior>,
    /// The mean function, which the state is the anomaly about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seasonal: Option<Seasonal>,
    /// The spectral basis, where the components are not the bands themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// The instruments.
    pub instrument: Vec<Instrument>,
    /// How many dates a result waits for.
    #[serde(default)]
    pub smoothing: Smoothing,
    /// What the result is and where it goes.
    pub output: Output,
}

impl Description {
    /// Calls `visit` with every number that may be estimated, always in the same order.
    pub(crate) fn visit(&mut self, visit: &mut visit::Visitor<'_>) {
        self.process.visit(&Key::from("process"), visit);
        self.prior.visit(&Key::from("prior"), visit);
        for instrument in &mut self.instrument {
            instrument.visit(&instrument.key(), visit);
        }
    }

    /// What is to be estimated: tables whose structure is to be chosen, and free numbers.
    #[must_use]
    pub fn free(&self) -> Vec<Key> {
        let mut free = Vec::new();
        if self.prior.is_free() {
            free.push("prior".into());
        }
        for instrument in self.instrument.iter().filter(|instrument| instrument.has_free_offsets()) {
            free.push(instrument.key().name("offset_layer"));
        }
        if self.process.is_free() {
            free.push("process".into());
        }
        let varies = self.process.given().and_then(|process| process.variation.as_ref());
        if varies.is_some_and(Structure::is_free) {
            free.push(Key::from("process").name("variation"));
        }
        self.clone().visit(&mut |key, _, mut place| {
            let written = place.written();
            let list = written.len() > 1;
            for (index, _) in written.iter().enumerate().filter(|(_, number)| number.is_free()) {
                free.push(if list { key.position(index) } else { key.clone() });
            }
        });
        free
    }

    /// The mean function, once it is opened.
    pub(crate) fn mean_function(&self) -> Option<&crate::seasonal::SeasonalMean> {
        match self.seasonal.as_ref().map(|seasonal| &seasonal.mean) {
            Some(MeanFunction::Open(mean)) => Some(mean),
            _ => None,
        }
    }

    /// The spectral basis, once it is opened.
    pub(crate) fn opened_basis(&self) -> Option<&std::sync::Arc<crate::spectral::SpectralBasis>> {
        match &self.basis {
            Some(Basis::Open(basis)) => Some(basis),
            _ => None,
        }
    }
}
