//! Whether the bands of a description are estimated together.

use crate::describe::{Bands, Description, Free, Instrument, Numbers, OffsetLayer, PriorField, Structure};

/// Whether bands are filtered together with a description, as far as it is given: all noise is a ratio, and the process
/// does not say otherwise.
pub(super) fn is_together(description: &Description) -> bool {
    let ratio = |instrument: &Instrument| instrument.noise_variance.as_ref().is_some_and(Numbers::is_ratio);
    let bands = description.process.given().and_then(|process| process.bands);
    match bands {
        Some(bands) => bands == Bands::Together && description.basis.is_none(),
        None => description.basis.is_none() && description.instrument.iter().all(ratio),
    }
}

/// Whether bands will be estimated together: they [are](is_together), or process and noise are free as a whole, no pixel
/// brings noise of its own, and no variance that is given is one in u², of which bands have as many as there are.
pub(super) fn becomes_together(description: &Description) -> bool {
    let is_free = |instrument: &Instrument| {
        instrument.noise_variance.as_ref().is_some_and(|noise| *noise == Free::default().into() || noise.is_ratio())
    };
    let knows = |instrument: &Instrument| instrument.source.as_ref().is_some_and(|source| source.knows_noise());
    let instruments = &description.instrument;
    let prior = description.prior.given().is_none_or(|prior| match &prior.variance {
        PriorField::Constant(variance) => variance.is_ratio() || *variance == Free::default().into(),
        PriorField::Raster(_) => false,
    });
    let of_ratios = |layer: &OffsetLayer| std::iter::once(&layer.variance).chain(&layer.drift).all(Numbers::is_ratio);
    let offsets = |instrument: &Instrument| {
        instrument.offset_layer.as_ref().and_then(Structure::given).is_none_or(|layers| layers.iter().all(of_ratios))
    };
    let all = description.process.is_free() && instruments.iter().all(is_free) && !instruments.iter().any(knows);
    (all && prior && instruments.iter().all(offsets) && description.basis.is_none())
        || (!description.process.is_free() && is_together(description))
}
