use super::{Kernel, Values};
use crate::error::{Error, Result};

/// Cells of a coarse field's blocks per side at most.
const LARGEST_BLOCK: usize = 1 << 12;

/// A field that is added to the first one, with a kernel, a range, a variance and a memory of its own.
///
/// Fields of the same memory are better [nested](super::Process::nested) in one state. Change over kilometres that is forgotten
/// within weeks, beside change of single fields that stays, needs two: `x(s, t) = x₁(s, t) + x₂(s, t)`, each a process of its
/// own. A field that is smooth over many cells is carried at the centres of blocks of cells and interpolated bilinearly between
/// them, which takes a state per block instead of per cell.
///
/// Its mean before the first day is zero. **Units**: range in CRS units, variances in u² (per day).
///
/// ```
/// use rasterfuse::model::{Field, Kernel, Process};
/// // regional weather, forgotten within about ten days, over lasting change of single fields
/// let regional = Field::new(Kernel::Matern32, 5000.0, 2e-5).phi(0.9);
/// let process = Process::new(Kernel::Exponential, 300.0, 1e-4).field(regional);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    kernel: Kernel,
    range: Values,
    variance: Values,
    phi: Values,
    prior_variance: Option<Values>,
    block: Option<usize>,
}

impl Field {
    /// A random walk (φ = 1) whose steps have the given kernel, range ℓ and variance σ² per day.
    #[must_use]
    pub fn new(kernel: Kernel, range: impl Into<Values>, variance: impl Into<Values>) -> Self {
        let (range, variance) = (range.into(), variance.into());
        Self { kernel, range, variance, phi: Values::Same(1.0), prior_variance: None, block: None }
    }

    /// Transition φ per day: 1 for a random walk, less to pull the field back to zero.
    #[must_use]
    pub fn phi(mut self, phi: impl Into<Values>) -> Self {
        self.phi = phi.into();
        self
    }

    /// Its variance before the first day, in u², correlated in space like its steps. Default: `σ² / (1 - φ²)`, which it then
    /// keeps, with φ < 1; none with φ = 1, whose beginning the prior of the first field describes.
    #[must_use]
    pub fn prior_variance(mut self, variance: impl Into<Values>) -> Self {
        self.prior_variance = Some(variance.into());
        self
    }

    /// Cells per side of its blocks; 1 for a state per cell. Default: a quarter of the shortest range, an eighth with the
    /// exponential kernel. Interpolation between centres that far apart loses at most 7 (Matérn 3/2), 5 (Matérn 5/2) or 10
    /// (exponential) percent of the variance.
    #[must_use]
    pub fn block(mut self, cells: usize) -> Self {
        self.block = Some(cells);
        self
    }

    /// What decides it, by key.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let or_default = |text: Option<String>| text.unwrap_or_else(|| "default".into());
        vec![
            ("kernel".into(), format!("{:?}", self.kernel)),
            ("range".into(), self.range.to_string()),
            ("variance".into(), self.variance.to_string()),
            ("phi".into(), self.phi.to_string()),
            ("prior_variance".into(), or_default(self.prior_variance.as_ref().map(Values::to_string))),
            ("block".into(), or_default(self.block.map(|cells| cells.to_string()))),
        ]
    }

    /// Checks the parameters of `p` components on cells of `cell_size`.
    pub(crate) fn resolve(&self, p: usize, cell_size: (f64, f64), key: &str) -> Result<FieldModel> {
        let key = |name: &str| format!("{key}.{name}");
        let range = match self.kernel {
            Kernel::None => vec![1.0; p],
            _ => self.range.expand_positive(p, &key("range"), "component")?,
        };
        let variance = self.variance.expand_positive(p, &key("variance"), "component")?;
        let phi = self.phi.expand(p, &key("phi"), "component")?;
        if let Some(phi) = phi.iter().find(|phi| !(**phi > 0.0 && **phi <= 1.0)) {
            return Err(Error::setting(key("phi"), format!("{phi} must lie in (0, 1]")));
        }
        let kept =
            |(variance, phi): (&f64, &f64)| if *phi < 1.0 { variance / ((1.0 - phi) * (1.0 + phi)) } else { 0.0 };
        let prior = match &self.prior_variance {
            None => variance.iter().zip(&phi).map(kept).collect(),
            Some(prior) => prior.expand_positive(p, &key("prior_variance"), "component")?,
        };
        let block = match (self.block, self.kernel) {
            (Some(cells), _) if !(1..=LARGEST_BLOCK).contains(&cells) => {
                return Err(Error::setting(key("block"), format!("{cells} cells; give 1 to {LARGEST_BLOCK}")));
            }
            (Some(cells), Kernel::None) if cells > 1 => {
                let problem = "a field of independent cells has no blocks; leave `block` out, or choose a kernel";
                return Err(Error::setting(key("block"), problem));
            }
            (Some(cells), _) => cells,
            (None, Kernel::None) => 1,
            (None, kernel) => {
                let parts = if kernel == Kernel::Exponential { 8.0 } else { 4.0 };
                let shortest = range.iter().copied().fold(f64::INFINITY, f64::min);
                let cells = shortest / parts / cell_size.0.max(cell_size.1);
                cells.clamp(1.0, LARGEST_BLOCK as f64) as usize
            }
        };
        let components = (0..p).map(|j| FieldComponent {
            kernel: self.kernel,
            range: range[j],
            transition: phi[j],
            variance: variance[j],
            prior: prior[j],
            correlation: None,
        });
        Ok(FieldModel { components: components.collect(), block })
    }
}

/// A further field, checked.
#[derive(Clone, Debug)]
pub(crate) struct FieldModel {
    pub(crate) components: Vec<FieldComponent>,
    /// Cells per side of its blocks.
    pub(crate) block: usize,
}

/// One component's part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FieldComponent {
    pub(crate) kernel: Kernel,
    /// ℓ in CRS units.
    pub(crate) range: f64,
    /// φ per day.
    pub(crate) transition: f64,
    /// σ² in u²/day.
    pub(crate) variance: f64,
    /// Before the first day, in u².
    pub(crate) prior: f64,
    /// Index into the process's correlations, of fields without blocks.
    pub(crate) correlation: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_priors_follow_range_and_memory() {
        let field = Field::new(Kernel::Matern32, [1200.0, 2000.0], [3.0, 0.75]).phi([1.0, 0.5]);
        let model = field.resolve(2, (30.0, 25.0), "f").unwrap();
        assert_eq!(model.block, 10);
        assert_eq!((model.components[0].prior, model.components[1].prior), (0.0, 1.0));
        let rough = Field::new(Kernel::Exponential, 1200.0, 1.0).resolve(1, (30.0, 30.0), "f").unwrap();
        assert_eq!(rough.block, 5);
        assert_eq!(Field::new(Kernel::Exponential, 100.0, 1.0).resolve(1, (30.0, 30.0), "f").unwrap().block, 1);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let check = |field: Field, key: &str| {
            let message = field.resolve(2, (30.0, 30.0), "process.field").unwrap_err().to_string();
            assert!(message.starts_with(&format!("process.field.{key}")), "{message}");
        };
        let field = || Field::new(Kernel::Matern52, 300.0, 1.0);
        check(Field::new(Kernel::Matern52, 0.0, 1.0), "range");
        check(Field::new(Kernel::Matern52, 300.0, [1.0, -1.0]), "variance");
        check(field().phi(0.0), "phi");
        check(field().prior_variance(0.0), "prior_variance");
        check(field().block(0), "block");
        check(Field::new(Kernel::None, 0.0, 1.0).block(2), "block");
    }
}
