//! `rasterfuse basis`: finds a spectral basis in hyperspectral images.
//!
//! Reads every date once, in memory that does not grow with them, and writes the files that `[basis]` names.

use std::fmt::Write as _;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use rasterfuse::config::FusionConfig;
use rasterfuse::source::{RasterSource, RasterStack};
use rasterfuse::spectral::{BandScale, SpectralBasis, SpectralPca};
use rasterfuse::{Error, Result, npy};
use serde_json::json;

use crate::outcome::Outcome;
use crate::output::{JsonFile, cannot_write, say};
use crate::paths::relative;
use crate::progress::{Meter, OPENING};

/// Find a spectral basis in hyperspectral images.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// Description of a fusion; the files of its [basis] need not exist yet.
    #[arg(requires = "instrument", required_unless_present = "files")]
    config: Option<PathBuf>,
    /// Which of its instruments.
    #[arg(long, requires = "config")]
    instrument: Option<String>,
    #[command(flatten)]
    direct: Direct,
    /// Folder for the basis.
    #[arg(short, long, default_value = "basis")]
    output: PathBuf,
    /// Number of components.
    #[arg(long, conflicts_with = "explained")]
    components: Option<usize>,
    /// Share of the scene's variance to explain.
    #[arg(long, default_value_t = 0.999)]
    explained: f64,
    /// Count every n-th pixel only.
    #[arg(long, default_value_t = 1, value_name = "n")]
    every: usize,
    /// Noise variance of the values, "estimate" or "none"; default: the description's, or "estimate".
    #[arg(long)]
    noise: Option<Noise>,
    /// Wavelengths to leave out, such as 1340-1460; may be given more than once.
    #[arg(long, value_name = "LOW-HIGH", value_parser = range)]
    without_nm: Vec<RangeInclusive<f64>>,
    /// Print the peak of this process's memory.
    #[arg(long)]
    memory: bool,
    #[command(flatten)]
    json: JsonFile,
}

/// Files without a description.
#[derive(Args, Debug)]
struct Direct {
    /// Wildcard pattern of the files, in place of a description.
    #[arg(long, conflicts_with = "config", requires_all = ["date", "wavelengths"])]
    files: Option<String>,
    /// Regular expression whose first group is the date.
    #[arg(long, requires = "files")]
    date: Option<String>,
    /// `strftime` form of that group.
    #[arg(long, default_value = "%Y%m%d")]
    date_format: String,
    /// Wavelength of each band in nm: a file of numpy.save, or a text of numbers.
    #[arg(long)]
    wavelengths: Option<PathBuf>,
    /// Factor from stored numbers to physical values.
    #[arg(long, requires = "files")]
    scale: Option<f64>,
    /// Physical values outside are missing.
    #[arg(long, requires = "files", num_args = 2, value_names = ["LOW", "HIGH"], allow_negative_numbers = true)]
    valid_range: Option<Vec<f64>>,
}

/// What is known of the noise.
#[derive(Clone, Copy, Debug)]
enum Noise {
    None,
    Estimate,
    Variance(f64),
}

impl FromStr for Noise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "estimate" => Ok(Self::Estimate),
            number => number.parse().map(Self::Variance).map_err(|_| "give a number, \"estimate\" or \"none\"".into()),
        }
    }
}

fn range(text: &str) -> Result<RangeInclusive<f64>, String> {
    let numbers = text.split_once('-').and_then(|(low, high)| Some(low.parse().ok()?..=high.parse().ok()?));
    numbers.ok_or_else(|| "give wavelengths in nm such as 1340-1460".into())
}

const EXAMPLE: &str = "\
Examples, of an instrument of a description, and of files alone:
  rasterfuse basis fusion.toml --instrument emit -o basis
  rasterfuse basis --files 'emit/*.tif' --date 'emit_(\\d{8})' --wavelengths nm.txt -o basis

Next to the basis, basis.toml holds the tables [target], [basis], [prior] and [process] to put into a description.";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let shown = arguments.json.to();
    shown.check()?;
    let meter = Meter::new();
    meter.announce(OPENING);
    let Images { source, wavelengths_nm, noise_variance } = open(arguments)?;
    let scale = match (arguments.noise, noise_variance) {
        (Some(Noise::None), _) => BandScale::Same,
        (Some(Noise::Variance(variance)), _) => BandScale::Noise(vec![variance]),
        (None, Some(variances)) => BandScale::Noise(variances),
        (Some(Noise::Estimate), _) | (None, None) => BandScale::EstimatedNoise,
    };
    let mut builder = SpectralPca::builder(wavelengths_nm).scale(scale).every(arguments.every);
    builder = match arguments.components {
        Some(components) => builder.components(components),
        None => builder.explained(arguments.explained),
    };
    for range in &arguments.without_nm {
        builder = builder.without_nm(range.clone());
    }
    let pca = builder.fit_watched(&*source, &meter)?;
    meter.end();
    pca.basis().write(&arguments.output)?;

    let snippet = snippet(&pca, &*source, arguments);
    let path = arguments.output.join("basis.toml");
    fs::write(&path, &snippet).map_err(|error| cannot_write(&path, &error))?;

    shown.json(&json!({
        "folder": arguments.output,
        "origin": source.origin(),
        "dates": source.dates(),
        "pixels": pca.pixels(),
        "pixels_seen": pca.pixels_with_values(),
        "wavelengths_nm": pca.basis().wavelengths_nm(),
        "noise_variance": pca.noise_variance(),
        "variances": pca.variances(),
        "explained": pca.explained().collect::<Vec<_>>(),
        "peak_memory_kib": arguments.memory.then(peak_kib).flatten(),
    }))?;
    if shown.is_text() {
        report(&pca, &*source);
        say!("\nTo paste into the description (also in {}):\n\n{snippet}", path.display());
        if arguments.memory {
            match peak_kib() {
                Some(peak) => say!("peak memory {peak} KiB"),
                None => say!("peak memory unknown; this system has no /proc/self/status"),
            }
        }
    }
    Ok(())
}

/// Prints what was read and what each component explains.
fn report(pca: &SpectralPca, source: &dyn RasterSource) {
    say!(
        "{} of {} pixels on {} dates of {} have all {} bands",
        pca.pixels(),
        pca.pixels_with_values(),
        source.dates().len(),
        source.origin(),
        pca.bands().len()
    );
    match pca.noise_variance() {
        Some(variances) => {
            let mean = variances.iter().sum::<f64>() / variances.len() as f64;
            say!("noise variance {mean:.3e} on average, subtracted");
        }
        None => say!("noise counts as variance of the scene (--noise)"),
    }
    say!("\ncomponent  variance   explained, together");
    let mut together = 0.0;
    for (k, (variance, share)) in pca.variances().iter().zip(pca.explained()).enumerate() {
        together += share;
        say!("{:>9}  {variance:.3e}  {:8.4} %  {:8.4} %", k + 1, 100.0 * share, 100.0 * together);
    }
}

struct Images {
    source: Arc<dyn RasterSource>,
    wavelengths_nm: Vec<f64>,
    /// Of a description.
    noise_variance: Option<Vec<f64>>,
}

fn open(arguments: &Arguments) -> Result<Images> {
    let given = arguments.direct.wavelengths.as_deref().map(read_wavelengths).transpose()?;
    let missing = || {
        Error::setting(
            "wavelengths",
            "the description does not give them; set response = { centre_nm = [...], .. } or --wavelengths FILE",
        )
    };
    match (&arguments.config, &arguments.instrument, &arguments.direct.files, &arguments.direct.date) {
        (Some(config), Some(name), ..) => {
            let instrument = FusionConfig::read(config)?.source(name)?;
            let described = || instrument.wavelengths_nm.map(|numbers| in_nm(numbers, config)).transpose();
            let wavelengths_nm = given.map_or_else(described, |given| Ok(Some(given)))?.ok_or_else(missing)?;
            Ok(Images { source: instrument.source, wavelengths_nm, noise_variance: instrument.noise_variance })
        }
        (_, _, Some(files), Some(date)) => {
            let direct = &arguments.direct;
            let mut builder = RasterStack::builder(files, date).date_format(&direct.date_format);
            if let Some(scale) = direct.scale {
                builder = builder.scale(scale);
            }
            if let Some([low, high]) = direct.valid_range.as_deref() {
                builder = builder.valid_range(*low, *high);
            }
            let source = Arc::new(builder.open()?);
            Ok(Images { source, wavelengths_nm: given.ok_or_else(missing)?, noise_variance: None })
        }
        _ => Err(Error::setting("config", "give a description and --instrument, or --files, --date and --wavelengths")),
    }
}

/// Numbers of an array file, or of a text, separated by spaces, commas or lines.
fn read_wavelengths(path: &Path) -> Result<Vec<f64>> {
    let failed = |problem: String| Error::setting("wavelengths", format!("{}: {problem}", path.display()));
    let numbers: Vec<f64> = if path.extension().is_some_and(|extension| extension == "npy") {
        npy::read::<ndarray::Ix1>(path).map_err(|error| Error::setting("wavelengths", error.to_string()))?.to_vec()
    } else {
        let text = fs::read_to_string(path).map_err(|error| failed(format!("cannot read: {error}")))?;
        let words = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        let number = |word: &str| {
            word.parse()
                .map_err(|_| failed(format!("{word:?} is no number; write one wavelength in nm per line, no header")))
        };
        words.map(number).collect::<Result<_>>()?
    };
    in_nm(numbers, path)
}

/// Refuses micrometres, naming the file; the library would, without it.
fn in_nm(numbers: Vec<f64>, path: &Path) -> Result<Vec<f64>> {
    if numbers.iter().all(|number| *number < 100.0) {
        let problem = "the wavelengths look like micrometres; give nanometres: multiply them by 1000";
        return Err(Error::setting("wavelengths", format!("{}: {problem}", path.display())));
    }
    Ok(numbers)
}

/// What a description needs to use the basis.
fn snippet(pca: &SpectralPca, source: &dyn RasterSource, arguments: &Arguments) -> String {
    let numbers = |values: &[f64]| values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ");
    let short =
        |values: &mut dyn Iterator<Item = f64>| values.map(|v| format!("{v:.3e}")).collect::<Vec<_>>().join(", ");
    let wavelengths = pca.basis().wavelengths_nm();
    let names: Vec<String> = wavelengths.iter().map(|value| format!("\"{value} nm\"")).collect();
    let dates = source.dates();
    let days = dates.first().zip(dates.last()).map_or(1, |(first, last)| last.days_since(*first).max(1));
    let variances = pca.variances();
    let mut text = String::new();
    let _ = writeln!(text, "[target] # these two replace its own");
    let _ = writeln!(text, "bands = [{}]", names.join(", "));
    let _ = writeln!(text, "wavelengths_nm = [{}]\n", numbers(wavelengths));
    let _ = writeln!(text, "[basis]");
    for (key, file) in [("mean", SpectralBasis::MEAN_FILE), ("matrix", SpectralBasis::MATRIX_FILE)] {
        let path = relative(&arguments.output.join(file), arguments.config.as_deref()).display().to_string();
        let _ = writeln!(text, "{key} = {path:?}");
    }
    let _ = writeln!(text, "\n[prior]\nmean = 0.0");
    let _ = writeln!(text, "variance = [{}]\n", short(&mut variances.iter().copied()));
    let _ =
        writeln!(text, "[process] # a starting guess: the variances of the scene over the {days} days of these images");
    let _ = writeln!(text, "variance = [{}]", short(&mut variances.iter().map(|variance| variance / f64::from(days))));
    text
}

/// The largest resident memory so far, where the system has it.
fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
