//! Variances that are given as ratios to the process variance, as variances.

use std::borrow::Cow;

use super::instrument::target_bands;
use crate::describe::{Description, Key, Numbers, PriorField, Structure};
use crate::error::{Error, Result};

/// The description with a variance in place of every ratio.
///
/// # Errors
/// [`Error::Setting`] for a ratio that is to be estimated, and for one where there is no process variance to compare
/// with.
pub(super) fn resolve<'a>(description: &'a Description, bands: &[String]) -> Result<Cow<'a, Description>> {
    let mut any = false;
    // Nothing is changed: only the copy's numbers are visited.
    let mut resolved = description.clone();
    resolved.visit(&mut |_, quantity, _| any |= quantity.is_ratio());
    if !any {
        return Ok(Cow::Borrowed(description));
    }
    let process = description.process.chosen("process")?;
    let variance = process.variance.expand_positive(bands.len(), &Key::from("process.variance"), "component")?;
    if let Structure::Given(process) = &mut resolved.process {
        let at = Key::from("process");
        for (k, nested) in process.nested.iter_mut().enumerate() {
            nested.variance = nested.variance.of_units(&variance, &at.name("nested").position(k).name("variance"))?;
        }
        for (k, field) in process.field.iter_mut().enumerate() {
            let at = at.name("field").position(k);
            field.variance = field.variance.of_units(&variance, &at.name("variance"))?;
            if let Some(prior) = &mut field.prior_variance {
                *prior = prior.of_units(&variance, &at.name("prior_variance"))?;
            }
        }
    }
    if let Structure::Given(prior) = &mut resolved.prior
        && let PriorField::Constant(numbers) = &mut prior.variance
    {
        *numbers = numbers.of_units(&variance, &Key::from("prior.variance"))?;
    }
    for instrument in &mut resolved.instrument {
        let at = instrument.key();
        let layers = instrument.offset_layer.as_ref().and_then(Structure::given).into_iter().flatten();
        let of_layers = layers.flat_map(|layer| std::iter::once(&layer.variance).chain(&layer.drift));
        if !instrument.noise_variance.iter().chain(of_layers).any(Numbers::is_ratio) {
            continue;
        }
        if instrument.response.is_some() || description.basis.is_some() {
            let problem = "is a ratio to the process variance of a band, but with a spectral basis components change, not \
                           bands; give variances in u²";
            return Err(Error::setting(at.name("noise_variance"), problem));
        }
        let observed = target_bands(instrument, instrument.opened()?.as_ref(), bands)?;
        // Of a band that is not used nothing depends on the number.
        let units: Vec<f64> = observed.into_iter().map(|band| variance[band.unwrap_or_default()]).collect();
        if let Some(noise) = &mut instrument.noise_variance {
            *noise = noise.of_units(&units, &at.name("noise_variance"))?;
        }
        if let Some(Structure::Given(layers)) = &mut instrument.offset_layer {
            for (k, layer) in layers.iter_mut().enumerate() {
                let at = at.name("offset_layer").position(k);
                layer.variance = layer.variance.of_units(&units, &at.name("variance"))?;
                if let Some(drift) = &mut layer.drift {
                    *drift = drift.of_units(&units, &at.name("drift"))?;
                }
            }
        }
    }
    Ok(Cow::Owned(resolved))
}
