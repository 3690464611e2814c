//! Earlier averages over the pixels of composites: which are kept, and when.

use std::sync::Arc;

use crate::engine::carried::Carried;
use crate::geometry::Date;
use crate::model::{CompositeModel, Model, Part, StateLayout, Support};

/// Keeps averages over the footprints of composites as time passes the days that stand for their windows.
#[derive(Debug)]
pub(in crate::engine) struct Earlier {
    support: Arc<Support>,
    /// Instruments that observe the part.
    composites: Vec<(usize, CompositeModel)>,
    scratch: Vec<f64>,
}

impl Earlier {
    /// Of the instruments that observe a part.
    pub(super) fn new(model: &Model, part: &Part, support: &Arc<Support>) -> Self {
        let composites = model.instruments.iter().enumerate().filter(|(k, _)| !part.bands[*k].rows.is_empty());
        let composites = composites.filter_map(|(k, instrument)| Some((k, instrument.composite.clone()?)));
        Self { support: Arc::clone(support), composites: composites.collect(), scratch: Vec::new() }
    }

    /// The first day from `from` on, before `until`, that is kept.
    pub(super) fn next_kept(&self, from: Date, until: Date) -> Option<Date> {
        self.composites.iter().filter_map(|(_, composite)| composite.next_kept(from, until)).min()
    }

    /// Keeps the averages of a day, which the state describes.
    pub(super) fn keep(&mut self, day: Date, layout: &StateLayout, state: &mut Carried) {
        for (k, composite) in self.composites.iter().filter(|(_, composite)| composite.keeps(day)) {
            let averages = layout.averages(&self.support, *k, composite.place(day));
            averages.for_each(|(at, sum)| state.set_sum(at, sum, &mut self.scratch));
        }
    }
}
