//! Bands that share one covariance: which they are, and the correlation between them.

use nalgebra::DMatrix;

use super::{ObservationModel, PriorModel, ProcessModel};
use crate::describe::BandScale;
use crate::error::{Error, Result};

/// Relative difference of ratios that are taken for the same: they are products of the same two numbers.
const SAME: f64 = 1e-9;

/// Where the correlation between bands is described.
const CORRELATION: &str = "process.band_correlation";

/// Bands whose states `X` (states × bands) are matrix-normal: `Cov(x_b(s), x_c(s')) = C_bc P(s, s') / C_11`, `P` the
/// covariance of the first of them, which stands for all (West & Harrison, *Bayesian Forecasting and Dynamic Models*,
/// 2nd ed., chapter 16).
///
/// Gains do not depend on the band. With `C = C_11 L Lᵀ` the columns of `X L⁻ᵀ` are independent, each of covariance
/// `P`: the filter carries them beside each other.
#[derive(Clone, Debug)]
pub(crate) struct Together {
    /// The bands' components; the first stands for all.
    pub(crate) components: Vec<usize>,
    /// L, lower triangular, its first entry 1. **Shape** (bands, bands).
    factor: DMatrix<f64>,
    /// What each instrument observes of them.
    pub(crate) bands: Vec<TogetherBands>,
    /// Effects on the mean that are looked for beside the bands' values, each one more column.
    pub(crate) effects: Vec<Effect>,
    /// Whether covariance and effects are looked for.
    sought: bool,
    /// How windows learn the covariance, where they do.
    pub(crate) scale: Option<LearnedScale>,
}

/// How windows learn the covariance between bands, checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LearnedScale {
    /// Degrees of freedom of the prior.
    pub(crate) dof: f64,
    /// Days after which what was learned counts for 1/e.
    pub(crate) memory: Option<f64>,
}

/// What an instrument observes of bands together; nothing, or each band once.
#[derive(Clone, Debug, Default)]
pub(crate) struct TogetherBands {
    /// For each band its position among those read.
    pub(crate) rows: Vec<usize>,
    /// Value of each where all components are zero, in u.
    pub(crate) offsets: Vec<f64>,
    /// Usual noise variance of each, in u².
    pub(crate) noise: Vec<f64>,
}

/// A number that all means depend on linearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The mean before the first day.
    PriorMean,
    /// The bias of an instrument.
    Bias(usize),
}

impl Together {
    /// Numbers that each pixel of a date has: the bands' values and the effects.
    pub(crate) fn columns(&self) -> usize {
        self.components.len() + self.effects.len()
    }

    /// `Σ ln L_bb`.
    pub(crate) fn log_det(&self) -> f64 {
        self.factor.diagonal().iter().map(|entry| entry.ln()).sum()
    }

    /// `C_bc / C_11` of two of the bands, the covariance of whitened bands being `scale`.
    pub(crate) fn scaled(&self, b: usize, c: usize, scale: &DMatrix<f64>) -> f64 {
        (self.factor.row(b) * scale).dot(&self.factor.row(c))
    }

    /// `C_bc / C_11` of two of the bands.
    pub(crate) fn relative(&self, b: usize, c: usize) -> f64 {
        self.factor.row(b).dot(&self.factor.row(c))
    }

    /// Looks for the covariance between bands, and for effects.
    pub(super) fn looks_for(&mut self, effects: &[Effect]) {
        (self.effects, self.sought) = (effects.to_vec(), true);
    }

    /// Whether the covariance between bands is looked for.
    pub(crate) fn is_sought(&self) -> bool {
        self.sought
    }

    /// The factor between a band's whitened values and its own, where bands do not correlate.
    pub(crate) fn size(&self, band: usize) -> f64 {
        self.factor[(band, band)]
    }

    /// `L⁻¹ y` in place of `y`.
    pub(crate) fn whiten(&self, values: &mut [f64]) {
        for b in 0..values.len().min(self.components.len()) {
            let known: f64 = (0..b).map(|c| self.factor[(b, c)] * values[c]).sum();
            values[b] = (values[b] - known) / self.factor[(b, b)];
        }
    }

    /// A band's value of whitened ones.
    pub(crate) fn value(&self, band: usize, whitened: impl Fn(usize) -> f64) -> f64 {
        (0..=band).map(|c| self.factor[(band, c)] * whitened(c)).sum()
    }

    /// The noise variance of the first band that stands for those of a pixel's bands: its usual one times the mean of
    /// what each differs by from its usual one. Noise that is not positive and finite is the usual one.
    pub(crate) fn noise(&self, instrument: usize, own: &[f64]) -> f64 {
        let TogetherBands { rows, noise, .. } = &self.bands[instrument];
        let factor = |(&row, usual): (&usize, &f64)| match own.get(row) {
            Some(own) if *own > 0.0 && own.is_finite() => own / usual,
            _ => 1.0,
        };
        noise[0] * rows.iter().zip(noise).map(factor).sum::<f64>() / rows.len() as f64
    }
}

/// Groups of components that the same instruments observe, one band each, in order; and whether they do: what an
/// instrument observes otherwise stays by itself.
pub(super) fn groups(instruments: &[ObservationModel], singles: &[Vec<usize>]) -> Vec<(Vec<usize>, bool)> {
    let observers = |component: usize| {
        let of = |instrument: &ObservationModel| {
            let weights = instrument.design().column(component);
            let bands = weights.iter().filter(|weight| **weight != 0.0).count();
            (bands, weights.iter().any(|weight| *weight != 0.0 && *weight != 1.0))
        };
        let of: Vec<(usize, bool)> = instruments.iter().map(of).collect();
        let plain = of.iter().all(|(bands, weighted)| *bands <= 1 && !weighted);
        plain.then(|| of.into_iter().map(|(bands, _)| bands == 1).collect::<Vec<bool>>())
    };
    let mut groups: Vec<(Option<Vec<bool>>, Vec<usize>)> = Vec::new();
    for single in singles {
        let seen = if let [component] = single[..] { observers(component) } else { None };
        match groups.iter_mut().find(|(known, _)| seen.is_some() && *known == seen) {
            Some((_, group)) => group.extend(single),
            None => groups.push((seen, single.clone())),
        }
    }
    groups.into_iter().map(|(seen, group)| (group, seen.is_some())).collect()
}

impl Together {
    /// Bands together, where all their variances are proportional; otherwise the key that hinders it, and why.
    ///
    /// # Errors
    /// [`Error::Setting`] for a correlation of another shape, [`Error::Number`] for one that cannot be.
    pub(super) fn new(
        components: &[usize],
        process: &ProcessModel,
        prior: &PriorModel,
        instruments: &[ObservationModel],
        correlation: &[Vec<f64>],
    ) -> Result<std::result::Result<Self, (String, String)>> {
        if let Some(hindrance) = hindrance(components, process, prior, instruments) {
            return Ok(Err(hindrance));
        }
        let first = process.components[components[0]].variance;
        let entry = |b: usize, c: usize| {
            let (j, l) = (components[b], components[c]);
            let of = |j: usize| (process.components[j].variance / first).sqrt();
            let rho = match (j.max(l), j.min(l)) {
                (a, b) if a == b => 1.0,
                (a, b) => correlation.get(a - 1).map_or(0.0, |row| row[b]),
            };
            rho * of(j) * of(l)
        };
        let cov = DMatrix::from_fn(components.len(), components.len(), entry);
        let Some(factor) = cov.cholesky() else {
            let problem = "is not a correlation: not positive definite; give correlations that can be together";
            return Err(Error::setting(CORRELATION, problem));
        };
        let bands = instruments.iter().map(|instrument| {
            let row = |&j: &usize| (0..instrument.design().nrows()).find(|&row| instrument.design()[(row, j)] != 0.0);
            let rows: Vec<usize> = components.iter().filter_map(row).collect();
            let pick = |values: &[f64]| rows.iter().map(|&row| values[row]).collect();
            TogetherBands { offsets: pick(instrument.offsets()), noise: pick(instrument.noise()), rows }
        });
        Ok(Ok(Self {
            components: components.to_vec(),
            factor: factor.l(),
            bands: bands.collect(),
            effects: Vec::new(),
            sought: false,
            scale: None,
        }))
    }
}

/// Refuses a correlation that is not one for `p` bands: rows of 1, 2, … numbers between -1 and 1.
///
/// # Errors
/// [`Error::Setting`], [`Error::Number`].
pub(super) fn check_correlation(rows: &[Vec<f64>], p: usize) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let shaped = rows.len() + 1 == p && rows.iter().enumerate().all(|(k, row)| row.len() == k + 1);
    if !shaped {
        let problem = format!(
            "is no lower triangle for {p} bands; give {} rows: that of the second band with the first, that of the third with \
             the first two, and so on",
            p.saturating_sub(1)
        );
        return Err(Error::setting(CORRELATION, problem));
    }
    match rows.iter().flatten().find(|rho| rho.is_nan() || rho.abs() >= 1.0) {
        Some(rho) => Err(Error::number(CORRELATION, *rho, "must lie between -1 and 1")),
        None => Ok(()),
    }
}

/// How windows learn the covariance of `p` bands, checked.
///
/// # Errors
/// [`Error::Number`] by key.
pub(super) fn learned(scale: Option<BandScale>, p: usize) -> Result<Option<LearnedScale>> {
    let Some(BandScale { dof, memory, .. }) = scale else { return Ok(None) };
    if !(dof > p as f64 + 1.0 && dof.is_finite()) {
        let must = format!("must be more than {}, the number of bands plus one", p + 1);
        return Err(Error::number("process.scale.dof", dof, must));
    }
    if let Some(memory) = memory.filter(|memory| !(*memory > 0.0 && memory.is_finite())) {
        return Err(Error::number("process.scale.memory", memory, "must be a positive number of days"));
    }
    Ok(Some(LearnedScale { dof, memory }))
}

/// What hinders components from being filtered together: a key, and why.
fn hindrance(
    components: &[usize],
    process: &ProcessModel,
    prior: &PriorModel,
    instruments: &[ObservationModel],
) -> Option<(String, String)> {
    let first = components[0];
    let scale = |j: usize| process.components[j].variance / process.components[first].variance;
    let proportional = |j: usize, own: f64, of_first: f64| (own - scale(j) * of_first).abs() <= SAME * own.abs();
    let differs = |key: &str| Some((key.to_owned(), "differs from band to band".to_owned()));
    let apart = |key: String| {
        let problem = "is not the same multiple of the process variance in each band; give { ratio = … }";
        Some((key, problem.to_owned()))
    };
    if process.adaptive.is_some() {
        return Some(("process.adaptive".into(), "depends on the history of each band".into()));
    }
    if process.is_relative() {
        return Some(("process.relative".into(), "depends on the level of each band".into()));
    }
    if process.variation.as_ref().is_some_and(|variation| !variation.is_common(components)) {
        return differs("process.variation");
    }
    for &j in &components[1..] {
        let (own, of_first) = (&process.components[j], &process.components[first]);
        if own.transition != of_first.transition {
            return differs("process.phi");
        }
        if own.correlation != of_first.correlation {
            return differs("process.range");
        }
        if own.season != of_first.season {
            return differs("process.season");
        }
        for (k, field) in process.fields.iter().enumerate() {
            let (own, of_first) = (&field.components[j], &field.components[first]);
            let shape =
                (own.kernel, own.range, own.transition) == (of_first.kernel, of_first.range, of_first.transition);
            if !shape {
                return differs(&format!("process.field {}", k + 1));
            }
            if !proportional(j, own.variance, of_first.variance) || !proportional(j, own.prior, of_first.prior) {
                return apart(format!("process.field {}.variance", k + 1));
            }
        }
        match (prior.constant_variance(j), prior.constant_variance(first)) {
            (Some(own), Some(of_first)) if proportional(j, own, of_first) => {}
            _ => return apart("prior.variance".into()),
        }
    }
    for instrument in instruments {
        let row = |j: usize| (0..instrument.design().nrows()).find(|&row| instrument.design()[(row, j)] != 0.0);
        let Some(of_first) = row(first) else { continue };
        let key = |name: &str| format!("instrument {:?}: {name}", instrument.name);
        for &j in &components[1..] {
            let own = row(j)?;
            if !proportional(j, instrument.usual_noise(own), instrument.usual_noise(of_first)) {
                return apart(key("noise_variance"));
            }
            for (k, layer) in instrument.offset_layers.iter().enumerate() {
                let (own, of_first) = (layer.bands[own], layer.bands[of_first]);
                if own.transition != of_first.transition {
                    return differs(&key(&format!("offset_layer {}.phi", k + 1)));
                }
                if !proportional(j, own.variance, of_first.variance) || !proportional(j, own.drift, of_first.drift) {
                    return apart(key(&format!("offset_layer {}", k + 1)));
                }
            }
        }
    }
    None
}
