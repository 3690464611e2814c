//! The process of the components: correlations, variances and transitions, checked and worked out.

use std::collections::BTreeSet;

use super::correlation::{Correlation, CorrelationTerm};
use super::numbers::{ranges, transitions};
use super::{FeatureModel, FieldModel, VariationModel};
use crate::describe::{self, Kernel, Key, Numbers, Process};
use crate::error::Result;
use crate::filter::{self, Relative, Season};

/// Logarithm of a factor of the variance beyond which a description is refused.
const LARGEST_AMPLITUDE: f64 = 20.0;

/// Relative difference of weights that is but rounding.
const ROUNDING: f64 = 1e-13;

/// What numbers are one of each for.
const OF: &str = "component";

/// A process covariance that depends on the state's past.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Adaptive {
    /// α, the share of the covariance that depends on distance.
    pub(crate) weight: f64,
    /// `ℓ_x`, in u.
    pub(crate) scale: f64,
}

impl ProcessModel {
    /// Checks the parameters and works out the correlation of `p` components on cells of `cell_size`.
    ///
    /// # Errors
    /// [`Error::Number`](crate::Error::Number) for numbers that cannot be, [`Error::Setting`](crate::Error::Setting)
    /// for lists of another length and what is left to be estimated.
    pub(crate) fn new(
        process: &Process,
        (features, variation): (Option<FeatureModel>, Option<VariationModel>),
        p: usize,
        cell_size: (f64, f64),
        reach: (i64, i64),
    ) -> Result<Self> {
        let at = Key::from("process");
        let transition = transitions(&process.phi, p, &at.name("phi"), OF)?;
        let adaptive = match &process.adaptive {
            None => None,
            Some(describe::Adaptive { weight, scale }) => {
                let at = at.name("adaptive");
                Some(Adaptive { weight: weight.share(&at.name("weight"))?, scale: scale.positive(&at.name("scale"))? })
            }
        };
        let relative = relatives(process, p)?;
        let seasons = seasons(process, p)?;
        let terms = terms(process, p)?;
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
        // Similarity is for the first field alone, so that the others share no correlation with it then.
        let similar = if features.is_some() { shapes.len() } else { 0 };
        let mut fields = Vec::with_capacity(process.field.len());
        for (k, field) in process.field.iter().enumerate() {
            let mut field = FieldModel::new(field, p, cell_size, &at.name("field").position(k))?;
            for component in field.components.iter_mut().filter(|_| field.block == 1) {
                let term = CorrelationTerm { kernel: component.kernel, range: component.range, weight: 1.0 };
                component.correlation = Some(place(&mut shapes, similar, (vec![term], 0.0)));
            }
            fields.push(field);
        }
        let correlations =
            shapes.into_iter().map(|(terms, nugget)| Correlation::new(terms, nugget, cell_size, reach)).collect();
        let inflate = process.inflate;
        Ok(Self { components, correlations, similar, features, adaptive, variation, inflate, fields })
    }
}

/// One for each component, or none.
fn seasons(process: &Process, p: usize) -> Result<Vec<Season>> {
    let Some(describe::Season { cosine, sine }) = &process.season else { return Ok(Vec::new()) };
    let must = format!("must lie in [-{LARGEST_AMPLITUDE}, {LARGEST_AMPLITUDE}]");
    let expand = |numbers: &Numbers, name: &str| {
        let key = Key::from("process.season").name(name);
        numbers.expand_where((p, OF), &key, |value| value.abs() <= LARGEST_AMPLITUDE, &must)
    };
    let pairs = expand(cosine, "cosine")?.into_iter().zip(expand(sine, "sine")?);
    Ok(pairs.map(|(cosine, sine)| Season { cosine, sine }).collect())
}

/// One for each component, or none.
fn relatives(process: &Process, p: usize) -> Result<Vec<Relative>> {
    let Some(describe::Relative { weight, level }) = &process.relative else { return Ok(Vec::new()) };
    let at = Key::from("process.relative");
    let possible = |value: f64| (0.0..=1.0).contains(&value);
    let weight = weight.expand_where((p, OF), &at.name("weight"), possible, "must lie in [0, 1]")?;
    let level = level.expand_positive(p, &at.name("level"), OF)?;
    Ok(weight.into_iter().zip(level).map(|(weight, level)| Relative { weight, level }).collect())
}

/// The kernels of each component: that of the process, and those nested in it.
fn terms(process: &Process, p: usize) -> Result<Vec<Vec<TermOfComponent>>> {
    let Process { kernel, range, variance, nugget, nested, .. } = process;
    let at = Key::from("process");
    let first = (at.clone(), *kernel, range.as_ref(), variance, nugget);
    let others = nested.iter().enumerate().map(|(k, nested)| {
        let at = at.name("nested").position(k);
        (at, nested.kernel, nested.range.as_ref(), &nested.variance, &nested.nugget)
    });
    let term = |(at, kernel, range, variance, nugget): (Key, Kernel, Option<&Numbers>, &Numbers, &Numbers)| {
        let range = ranges(kernel, range, p, &at.name("range"))?;
        let variance = variance.expand_positive(p, &at.name("variance"), OF)?;
        let possible = |value: f64| value >= 0.0 && value.is_finite();
        let nugget = nugget.expand_where((p, OF), &at.name("nugget"), possible, "must be zero or positive")?;
        let of = |j: usize| TermOfComponent { kernel, range: range[j], variance: variance[j], nugget: nugget[j] };
        Ok((0..p).map(of).collect())
    };
    std::iter::once(first).chain(others).map(term).collect()
}

/// Kernels and nugget that components share.
type Shape = (Vec<CorrelationTerm>, f64);

/// Position of a shape among those known from the `first` on, to which it is added when it is new.
fn place(shapes: &mut Vec<Shape>, first: usize, shape: Shape) -> usize {
    if let Some(known) = shapes[first..].iter().position(|known| is_same(known, &shape)) {
        return first + known;
    }
    shapes.push(shape);
    shapes.len() - 1
}

/// Whether two shapes differ by the rounding of their weights alone, as those of proportional variances do.
fn is_same((terms, nugget): &Shape, (others, other): &Shape) -> bool {
    let same = |a: f64, b: f64| (a - b).abs() <= ROUNDING * a.abs();
    let term = |(a, b): (&CorrelationTerm, &CorrelationTerm)| {
        (a.kernel, a.range) == (b.kernel, b.range) && same(a.weight, b.weight)
    };
    terms.len() == others.len() && terms.iter().zip(others).all(term) && same(*nugget, *other)
}

/// The parameters of one kernel for one component.
struct TermOfComponent {
    kernel: Kernel,
    range: f64,
    variance: f64,
    nugget: f64,
}

/// The process of `p` components, checked; components with the same correlation share a table.
#[derive(Clone, Debug)]
pub(crate) struct ProcessModel {
    pub(crate) components: Vec<Component>,
    pub(crate) correlations: Vec<Correlation>,
    /// How many of them, the first, depend on the similarity of cells.
    pub(crate) similar: usize,
    pub(crate) features: Option<FeatureModel>,
    pub(crate) adaptive: Option<Adaptive>,
    /// How change varies over the scene.
    pub(crate) variation: Option<VariationModel>,
    /// Whether change is inflated according to the innovations.
    pub(crate) inflate: bool,
    /// Fields added to the first.
    pub(crate) fields: Vec<FieldModel>,
}

impl ProcessModel {
    /// Whether the variance of change depends on the level.
    pub(crate) fn is_relative(&self) -> bool {
        self.components.iter().any(|component| component.relative.is_some())
    }

    /// How the change of some components depends on the level; empty where it does not.
    pub(crate) fn relative(&self, components: &[usize]) -> Vec<Relative> {
        components.iter().filter_map(|&j| self.components[j].relative).collect()
    }

    /// Forgets the correlations of all components but these; the others must not be used any more.
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
        self.similar = used.range(..self.similar).count();
    }

    /// Whether states correlate as those of another process of the same structure do.
    pub(crate) fn correlates_as(&self, other: &Self) -> bool {
        let features = match (&self.features, &other.features) {
            (Some(a), Some(b)) => a.has_scale_of(b),
            (None, None) => true,
            _ => false,
        };
        let fields = self.fields.iter().zip(&other.fields).all(|(a, b)| a.correlates_as(b));
        features
            && fields
            && self.similar == other.similar
            && self.correlations.len() == other.correlations.len()
            && self.correlations.iter().zip(&other.correlations).all(|(a, b)| a.is(b))
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

    /// Largest variance that component `j` of a cell can reach in `days` from a prior variance, in u²; without bound
    /// where it depends on the level, or on the place.
    pub(crate) fn largest_variance(&self, j: usize, prior: f64, days: f64) -> Option<f64> {
        let Component { transition, variance, correlation, relative, season } = self.components[j];
        if relative.is_some() || self.variation.is_some() {
            return None;
        }
        let variance = variance * season.map_or(1.0, |season| season.largest());
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
    /// How change depends on the level, for all components or none.
    pub(crate) relative: Option<Relative>,
    /// How change varies with the time of year, for all components or none.
    pub(crate) season: Option<Season>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::Field;

    #[test]
    fn components_of_the_same_correlation_share_a_table() {
        let process = Process::new(Kernel::Exponential, [300.0, 300.0, 200.0], [1.0, 4.0, 1.0]).nugget(0.01);
        let model = ProcessModel::new(&process, (None, None), 3, (30.0, 30.0), (10, 10)).unwrap();
        assert_eq!(model.correlations.len(), 2);
        assert_eq!(model.components[1].correlation, 0);
        assert_eq!(model.components[1].variance, 4.0);
    }

    #[test]
    fn what_goes_by_likeness_does_so_when_components_are_left_out() {
        let field = Field::new(Kernel::Exponential, 900.0, 1.0).block(1);
        let process = Process::new(Kernel::Exponential, [300.0, 200.0], 1.0).field(field);
        let mut model = ProcessModel::new(&process, (None, None), 2, (30.0, 30.0), (10, 10)).unwrap();
        // As with features: the first two depend on similarity, that of the field does not.
        model.similar = 2;
        assert_eq!(model.correlations.len(), 3);
        model.keep([1].iter());
        assert_eq!((model.correlations.len(), model.similar, model.components[1].correlation), (2, 1, 0));
        assert_eq!(model.fields[0].components[1].correlation, Some(1));
    }

    #[test]
    fn nested_kernels_add_up() {
        let process =
            Process::new(Kernel::Exponential, 100.0, 3.0).nugget(0.5).nested(Kernel::Matern52, 1000.0, 1.0).nugget(0.1);
        let model = ProcessModel::new(&process, (None, None), 1, (30.0, 30.0), (4, 4)).unwrap();
        let variance = model.components[0].variance;
        let expected = 3.0 * Kernel::Exponential.correlation(60.0, 100.0) + Kernel::Matern52.correlation(60.0, 1000.0);
        let correlation = &model.correlations[0];
        assert!((variance * correlation.between_cells((0, 0), (0, 2)) - expected).abs() < 1e-14);
        assert!((variance * correlation.between_cells((0, 0), (0, 0)) - (3.0 * 1.5 + 1.1)).abs() < 1e-14);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let check = |process: Process, key: &str| {
            let message = ProcessModel::new(&process, (None, None), 2, (30.0, 30.0), (2, 2)).unwrap_err().to_string();
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
        let sound = Process::new(Kernel::None, 0.0, 1.0);
        assert!(ProcessModel::new(&sound, (None, None), 2, (30.0, 30.0), (2, 2)).is_ok());
    }
}
