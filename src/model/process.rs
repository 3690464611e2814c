use std::collections::BTreeSet;

use super::Values;
use super::correlation::{Correlation, CorrelationTerm};
use crate::error::{Error, Result};
use crate::filter::{self, Relative, Season};
use crate::geometry::Grid;

use super::{FeatureModel, Features, Field, FieldModel, Kernel, Variation, VariationModel};

/// Logarithm of a factor of the variance beyond which it makes no sense.
const LARGEST_AMPLITUDE: f64 = 20.0;

/// How the scene changes: each component walks in time with spatially correlated steps.
///
/// `x(t) = φ^Δt x(t - Δt) + w`, `w ~ N(0, q(Δt) K)`, `K(s, s') = Σ σ² (k(|s - s'|; ℓ) + nugget [s = s'])`, the sum over nested
/// kernels. **Units**: ranges in CRS units, variances in u² per day.
///
/// ```
/// use rasterfuse::model::{Kernel, Process};
/// // field-sized change and, less of it, regional change
/// let process = Process::new(Kernel::Exponential, 300.0, 1e-4).nested(Kernel::Matern32, 5000.0, 2e-5);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    terms: Vec<Term>,
    transition: Values,
    adaptive: Option<Adaptive>,
    features: Option<Features>,
    fields: Vec<Field>,
    /// Weight and level.
    relative: Option<(Values, Values)>,
    variation: Option<Variation>,
    /// Cosine and sine.
    season: Option<(Values, Values)>,
    inflate: bool,
}

/// A process covariance that depends on the state's past.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Adaptive {
    /// α, the share of the covariance that depends on distance.
    pub(crate) weight: f64,
    /// `ℓ_x`, in u.
    pub(crate) scale: f64,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    kernel: Kernel,
    range: Values,
    variance: Values,
    nugget: Values,
}

impl Process {
    /// A random walk (φ = 1) whose steps have the given kernel, range ℓ and variance σ² per day.
    #[must_use]
    pub fn new(kernel: Kernel, range: impl Into<Values>, variance: impl Into<Values>) -> Self {
        let transition = Values::Same(1.0);
        let this = Self {
            terms: Vec::new(),
            transition,
            adaptive: None,
            features: None,
            fields: Vec::new(),
            relative: None,
            variation: None,
            season: None,
            inflate: false,
        };
        this.nested(kernel, range, variance)
    }

    /// Adds another scale of change to the sum of kernels.
    #[must_use]
    pub fn nested(mut self, kernel: Kernel, range: impl Into<Values>, variance: impl Into<Values>) -> Self {
        let (range, variance) = (range.into(), variance.into());
        self.terms.push(Term { kernel, range, variance, nugget: Values::Same(0.0) });
        self
    }

    /// Uncorrelated change of each cell, relative to the variance of the kernel given last.
    #[must_use]
    pub fn nugget(mut self, nugget: impl Into<Values>) -> Self {
        if let Some(term) = self.terms.last_mut() {
            term.nugget = nugget.into();
        }
        self
    }

    /// Transition φ per day: 1 for a random walk, less to pull the state back to zero.
    #[must_use]
    pub fn phi(mut self, phi: impl Into<Values>) -> Self {
        self.transition = phi.into();
        self
    }

    /// Lets cells with like histories change alike: `K ← weight K + (1 - weight) K_x`,
    /// `K_x(s, s') = σ² exp(-d_x(s, s') / scale) + 1e-10 [s = s']`, where `d_x` is the distance between the cells'
    /// precision-weighted histories of fused values. `weight` lies in [0, 1], `scale` is in u.
    #[must_use]
    pub fn adaptive(mut self, weight: f64, scale: f64) -> Self {
        self.adaptive = Some(Adaptive { weight, scale });
        self
    }

    /// Lets cells with like features, of a reference image for example, change alike.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = Some(features);
        self
    }

    /// Adds a field with a memory of its own; its components add to those of the first.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// Lets change go with the level: `K(s, s') ← g(s) g(s') K(s, s')`, `g(s)² = 1 - weight + weight (value(s) / level)²`, so that
    /// with a weight of 1 the standard deviation of change is proportional to the value, and process variances are those at
    /// `level`. `weight` lies in [0, 1]; `level`, in u, is positive.
    ///
    /// `value` is the mean of the state (of a footprint's rest, its average) after the window's last update of the components
    /// that are filtered together, or of the prior before the first, with the seasonal mean of that date added where there is
    /// one: it does not change while nothing is observed. So neither does the result depend on which dates are put out.
    #[must_use]
    pub fn relative(mut self, weight: impl Into<Values>, level: impl Into<Values>) -> Self {
        self.relative = Some((weight.into(), level.into()));
        self
    }

    /// Lets some places change more than others, by factors of the variance of the first field, nested kernels and nugget included.
    #[must_use]
    pub fn variation(mut self, variation: Variation) -> Self {
        self.variation = Some(variation);
        self
    }

    /// Lets change be more variable at some times of the year: the variance of the first field is multiplied by
    /// `exp(cosine cos ω + sine sin ω)`, `ω = 2π d / 365.2425`, d days from 1 January 1970. Numbers from -20 to 20; 0 and 0 is the same all year,
    /// a cosine of 0.7 twice the variance in January and half of it in July.
    #[must_use]
    pub fn season(mut self, cosine: impl Into<Values>, sine: impl Into<Values>) -> Self {
        self.season = Some((cosine.into(), sine.into()));
        self
    }

    /// Whether the variances stated are the least: every window multiplies those of the field, and of [further ones](Self::field), by a
    /// factor that it learns from the normalised innovations of all instruments, by groups of components that are filtered apart (by
    /// band, without a spectral basis); a few tens of dates tell. Default: no.
    #[must_use]
    pub fn inflate(mut self, inflate: bool) -> Self {
        self.inflate = inflate;
        self
    }

    /// Every parameter by its key.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![("phi".to_owned(), self.transition.to_string())];
        for (k, Term { kernel, range, variance, nugget }) in self.terms.iter().enumerate() {
            let key = |name: &str| if k == 0 { name.to_owned() } else { format!("nested {k}: {name}") };
            settings.push((key("kernel"), format!("{kernel:?}")));
            settings.push((key("range"), range.to_string()));
            settings.push((key("variance"), variance.to_string()));
            settings.push((key("nugget"), nugget.to_string()));
        }
        if let Some(Adaptive { weight, scale }) = self.adaptive {
            settings.push(("adaptive.weight".into(), format!("{weight:?}")));
            settings.push(("adaptive.scale".into(), format!("{scale:?}")));
        }
        let features = self.features.iter().flat_map(Features::settings);
        settings.extend(features.map(|(key, value)| (format!("features.{key}"), value)));
        for (k, field) in self.fields.iter().enumerate() {
            settings
                .extend(field.settings().into_iter().map(|(key, value)| (format!("field {}: {key}", k + 1), value)));
        }
        if let Some((weight, level)) = &self.relative {
            settings.push(("relative.weight".into(), weight.to_string()));
            settings.push(("relative.level".into(), level.to_string()));
        }
        let variation = self.variation.iter().flat_map(Variation::settings);
        settings.extend(variation.map(|(key, value)| (format!("variation.{key}"), value)));
        if let Some((cosine, sine)) = &self.season {
            settings.push(("season.cosine".into(), cosine.to_string()));
            settings.push(("season.sine".into(), sine.to_string()));
        }
        settings.extend(self.inflate.then(|| ("inflate".into(), "true".into())));
        settings
    }

    /// Checks the parameters and works out the correlation of `p` components on cells of `cell_size`.
    pub(crate) fn resolve(&self, p: usize, cell_size: (f64, f64), reach: (i64, i64)) -> Result<ProcessModel> {
        let transition = self.transition.expand(p, "process.phi", "component")?;
        if let Some(phi) = transition.iter().find(|phi| !(**phi > 0.0 && **phi <= 1.0)) {
            return Err(Error::setting("process.phi", format!("{phi} must lie in (0, 1]")));
        }
        if let Some(Adaptive { weight, scale }) = self.adaptive {
            if !(0.0..=1.0).contains(&weight) {
                return Err(Error::setting("process.adaptive.weight", format!("{weight} must lie in [0, 1]")));
            }
            if !(scale > 0.0 && scale.is_finite()) {
                return Err(Error::setting("process.adaptive.scale", format!("{scale} must be positive")));
            }
        }
        let relative = self.resolve_relative(p)?;
        let seasons = self.resolve_seasons(p)?;
        let variation = self.variation.as_ref().map(|variation| variation.resolve(p)).transpose()?;
        let terms = self.terms.iter().map(|term| term.resolve(p)).collect::<Result<Vec<_>>>()?;
        let mut shapes: Vec<Shape> = Vec::new();
        let mut components = Vec::with_capacity(p);
        for (j, &transition) in transition.iter().enumerate() {
            let variance: f64 = terms.iter().map(|term| term[j].variance).sum();
            let weighted: Vec<_> = terms
                .iter()
                .map(|term| CorrelationTerm {
                    kernel: term[j].kernel,
                    range: term[j].range,
                    weight: term[j].variance / variance,
                })
                .collect();
            let nugget = terms.iter().map(|term| term[j].nugget * term[j].variance / variance).sum();
            let correlation = place(&mut shapes, 0, (weighted, nugget));
            let relative = relative.get(j).copied();
            let season = seasons.get(j).copied();
            components.push(Component { transition, variance, correlation, relative, season });
        }
        // Likeness is for the first field alone, so that the others share no correlation with it then.
        let alike = if self.features.is_some() { shapes.len() } else { 0 };
        let mut fields = Vec::with_capacity(self.fields.len());
        for (k, field) in self.fields.iter().enumerate() {
            let mut field = field.resolve(p, cell_size, &format!("process.field {}", k + 1))?;
            for component in field.components.iter_mut().filter(|_| field.block == 1) {
                let term = CorrelationTerm { kernel: component.kernel, range: component.range, weight: 1.0 };
                component.correlation = Some(place(&mut shapes, alike, (vec![term], 0.0)));
            }
            fields.push(field);
        }
        let correlations =
            shapes.into_iter().map(|(terms, nugget)| Correlation::new(terms, nugget, cell_size, reach)).collect();
        Ok(ProcessModel {
            components,
            correlations,
            alike,
            features: None,
            adaptive: self.adaptive,
            variation,
            inflate: self.inflate,
            fields,
        })
    }

    /// Checks the features, which [`resolve`](Self::resolve) leaves out, against the target grid.
    pub(crate) fn resolve_features(&self, target: &Grid) -> Result<Option<FeatureModel>> {
        self.features.as_ref().map(|features| features.resolve(target)).transpose()
    }

    /// One for each component, or none.
    fn resolve_seasons(&self, p: usize) -> Result<Vec<Season>> {
        let Some((cosine, sine)) = &self.season else { return Ok(Vec::new()) };
        let expand = |values: &Values, key: &str| {
            let values = values.expand(p, key, "component")?;
            match values.iter().find(|value| value.is_nan() || value.abs() > LARGEST_AMPLITUDE) {
                Some(value) => {
                    Err(Error::setting(key, format!("{value} must lie in [-{LARGEST_AMPLITUDE}, {LARGEST_AMPLITUDE}]")))
                }
                None => Ok(values),
            }
        };
        let pairs = expand(cosine, "process.season.cosine")?.into_iter().zip(expand(sine, "process.season.sine")?);
        Ok(pairs.map(|(cosine, sine)| Season { cosine, sine }).collect())
    }

    /// One for each component, or none.
    fn resolve_relative(&self, p: usize) -> Result<Vec<Relative>> {
        let Some((weight, level)) = &self.relative else { return Ok(Vec::new()) };
        let weight = weight.expand(p, "process.relative.weight", "component")?;
        if let Some(value) = weight.iter().find(|value| !(0.0..=1.0).contains(*value)) {
            return Err(Error::setting("process.relative.weight", format!("{value} must lie in [0, 1]")));
        }
        let level = level.expand_positive(p, "process.relative.level", "component")?;
        Ok(weight.into_iter().zip(level).map(|(weight, level)| Relative { weight, level }).collect())
    }
}

/// Kernels and nugget that components share.
type Shape = (Vec<CorrelationTerm>, f64);

/// Position of a shape among those known from the `first` on, to which it is added when it is new.
fn place(shapes: &mut Vec<Shape>, first: usize, shape: Shape) -> usize {
    if let Some(known) = shapes[first..].iter().position(|known| *known == shape) {
        return first + known;
    }
    shapes.push(shape);
    shapes.len() - 1
}

/// The parameters of one kernel for one component.
struct TermOfComponent {
    kernel: Kernel,
    range: f64,
    variance: f64,
    nugget: f64,
}

impl Term {
    fn resolve(&self, p: usize) -> Result<Vec<TermOfComponent>> {
        let range = match self.kernel {
            Kernel::None => vec![1.0; p],
            _ => self.range.expand_positive(p, "process.range", "component")?,
        };
        let variance = self.variance.expand_positive(p, "process.variance", "component")?;
        let nugget = self.nugget.expand(p, "process.nugget", "component")?;
        if let Some(value) = nugget.iter().find(|value| !(**value >= 0.0 && value.is_finite())) {
            return Err(Error::setting("process.nugget", format!("{value} must be zero or positive")));
        }
        let term = |j: usize| TermOfComponent {
            kernel: self.kernel,
            range: range[j],
            variance: variance[j],
            nugget: nugget[j],
        };
        Ok((0..p).map(term).collect())
    }
}

/// The process of `p` components, checked; components that correlate alike share a table.
#[derive(Clone, Debug)]
pub(crate) struct ProcessModel {
    pub(crate) components: Vec<Component>,
    pub(crate) correlations: Vec<Correlation>,
    /// How many of them, the first, go by likeness.
    pub(crate) alike: usize,
    pub(crate) features: Option<FeatureModel>,
    pub(crate) adaptive: Option<Adaptive>,
    /// How change varies over the scene.
    pub(crate) variation: Option<VariationModel>,
    /// Whether change is inflated by what innovations tell.
    pub(crate) inflate: bool,
    /// Fields added to the first.
    pub(crate) fields: Vec<FieldModel>,
}

impl ProcessModel {
    /// Whether change goes with the level.
    pub(crate) fn is_relative(&self) -> bool {
        self.components.iter().any(|component| component.relative.is_some())
    }

    /// How the change of some components goes with the level; none where it does not.
    pub(crate) fn relative(&self, components: &[usize]) -> Vec<Relative> {
        components.iter().filter_map(|&j| self.components[j].relative).collect()
    }

    /// Forgets the correlations of all components but these; the others must not be asked for any more.
    pub(crate) fn keep<'a>(&mut self, components: impl Iterator<Item = &'a usize>) {
        let mut used = BTreeSet::new();
        for &j in components {
            used.insert(self.components[j].correlation);
            used.extend(self.fields.iter().filter_map(|field| field.components[j].correlation));
        }
        let place = |correlation: usize| used.iter().position(|&k| k == correlation).unwrap_or_default();
        for component in &mut self.components {
            component.correlation = place(component.correlation);
        }
        for component in self.fields.iter_mut().flat_map(|field| &mut field.components) {
            component.correlation = component.correlation.map(place);
        }
        let mut index = 0..;
        self.correlations.retain(|_| index.next().is_some_and(|k| used.contains(&k)));
        self.alike = used.range(..self.alike).count();
    }

    /// Whether change is the same at every level, everywhere and all year.
    pub(crate) fn is_even(&self) -> bool {
        let seasonal = self.components.iter().any(|component| component.season.is_some());
        !self.is_relative() && self.variation.is_none() && !seasonal
    }

    /// Factors of the standard deviation of change that every state has: those that hold now, and those of its place.
    pub(crate) fn factors(&self) -> u64 {
        let of_places = u64::from(self.variation.is_some());
        of_places + u64::from(self.is_relative()).max(of_places)
    }

    /// How the change of some components varies with the time of year; none where it does not.
    pub(crate) fn seasons(&self, components: &[usize]) -> Vec<Season> {
        components.iter().filter_map(|&j| self.components[j].season).collect()
    }

    /// Largest variance that component `j` of a cell can reach in `days` from a prior variance, in u²; without bound where
    /// it goes with the level.
    pub(crate) fn largest_variance(&self, j: usize, prior: f64, days: f64) -> Option<f64> {
        let Component { transition, variance, correlation, relative, season } = self.components[j];
        if relative.is_some() {
            return None;
        }
        let variance = variance * season.map_or(1.0, |season| season.largest());
        let variance = variance * self.variation.as_ref().map_or(1.0, |variation| variation.largest(j));
        // The state-dependent covariance adds no more than the other does, jitter aside.
        let cell = self.correlations[correlation].between_cells((0, 0), (0, 0));
        Some(prior + filter::growth(transition, days) * variance * cell.max(1.0))
    }
}

/// One component's part.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    /// φ per day.
    pub(crate) transition: f64,
    /// Σ σ² in u²/day.
    pub(crate) variance: f64,
    /// Index into the correlations.
    pub(crate) correlation: usize,
    /// How change goes with the level, for all components or none.
    pub(crate) relative: Option<Relative>,
    /// How change varies with the time of year, for all components or none.
    pub(crate) season: Option<Season>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_that_correlate_alike_share_a_table() {
        let process = Process::new(Kernel::Exponential, [300.0, 300.0, 200.0], [1.0, 4.0, 1.0]).nugget(0.01);
        let model = process.resolve(3, (30.0, 30.0), (10, 10)).unwrap();
        assert_eq!(model.correlations.len(), 2);
        assert_eq!(model.components[1].correlation, 0);
        assert_eq!(model.components[1].variance, 4.0);
    }

    #[test]
    fn what_goes_by_likeness_does_so_when_components_are_left_out() {
        let field = Field::new(Kernel::Exponential, 900.0, 1.0).block(1);
        let process = Process::new(Kernel::Exponential, [300.0, 200.0], 1.0).field(field);
        let mut model = process.resolve(2, (30.0, 30.0), (10, 10)).unwrap();
        // As with features: the first two by likeness, not that of the field.
        model.alike = 2;
        assert_eq!(model.correlations.len(), 3);
        model.keep([1].iter());
        assert_eq!((model.correlations.len(), model.alike, model.components[1].correlation), (2, 1, 0));
        assert_eq!(model.fields[0].components[1].correlation, Some(1));
    }

    #[test]
    fn nested_kernels_add_up() {
        let process =
            Process::new(Kernel::Exponential, 100.0, 3.0).nugget(0.5).nested(Kernel::Matern52, 1000.0, 1.0).nugget(0.1);
        let model = process.resolve(1, (30.0, 30.0), (4, 4)).unwrap();
        let variance = model.components[0].variance;
        let expected = 3.0 * Kernel::Exponential.correlation(60.0, 100.0) + Kernel::Matern52.correlation(60.0, 1000.0);
        let correlation = &model.correlations[0];
        assert!((variance * correlation.between_cells((0, 0), (0, 2)) - expected).abs() < 1e-14);
        assert!((variance * correlation.between_cells((0, 0), (0, 0)) - (3.0 * 1.5 + 1.1)).abs() < 1e-14);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let check = |process: Process, key: &str| {
            let message = process.resolve(2, (30.0, 30.0), (2, 2)).unwrap_err().to_string();
            assert!(message.starts_with(key), "{message}");
        };
        check(Process::new(Kernel::Exponential, 300.0, 0.0), "process.variance");
        check(Process::new(Kernel::Exponential, 300.0, [1.0, 2.0, 3.0]), "process.variance");
        check(Process::new(Kernel::Exponential, -1.0, 1.0), "process.range");
        check(Process::new(Kernel::None, 0.0, 1.0).phi(1.5), "process.phi");
        check(Process::new(Kernel::None, 0.0, 1.0).nugget(-0.5), "process.nugget");
        check(Process::new(Kernel::None, 0.0, 1.0).adaptive(1.1, 0.1), "process.adaptive.weight");
        check(Process::new(Kernel::None, 0.0, 1.0).adaptive(0.2, 0.0), "process.adaptive.scale");
        check(Process::new(Kernel::None, 0.0, 1.0).relative(-0.1, 0.2), "process.relative.weight");
        check(Process::new(Kernel::None, 0.0, 1.0).relative([1.0, f64::NAN], 0.2), "process.relative.weight");
        check(Process::new(Kernel::None, 0.0, 1.0).relative(1.0, [0.2, 0.0]), "process.relative.level");
        check(Process::new(Kernel::None, 0.0, 1.0).relative(1.0, [0.2]), "process.relative.level");
        check(Process::new(Kernel::None, 0.0, 1.0).season(f64::NAN, 0.0), "process.season.cosine");
        check(Process::new(Kernel::None, 0.0, 1.0).season(0.0, [1.0, 30.0]), "process.season.sine");
        assert!(Process::new(Kernel::None, 0.0, 1.0).resolve(2, (30.0, 30.0), (2, 2)).is_ok());
    }
}
