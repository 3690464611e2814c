//! Calls of settings: errors name settings by their TOML keys, and programs in Rust have calls instead.

/// Keys without the numbers of list entries, each with the calls that set it. Settings of an instrument that are not
/// listed belong to its source, whose builder has methods of these names. Keys of a stack of files come without an
/// instrument.
const CALLS: [(&str, &str); 95] = [
    ("target", "Fusion::builder"),
    ("target.bands", "FusionBuilder::bands"),
    ("target.wavelengths_nm", "SpectralBasis::new"),
    ("target.crs", "crs_from_definition"),
    ("basis", "FusionBuilder::basis"),
    ("basis.mean", "SpectralBasis::new"),
    ("basis.matrix", "SpectralBasis::new"),
    ("time", "FusionBuilder::start, FusionBuilder::end"),
    ("time.output", "FusionBuilder::output"),
    ("window.size", "FusionBuilder::window"),
    ("window.halo", "FusionBuilder::window"),
    ("window.far_samples", "FusionBuilder::far_samples"),
    ("window.far_radius", "FusionBuilder::far_samples"),
    ("process", "FusionBuilder::process"),
    ("process.range", "Process::new"),
    ("process.variance", "Process::new"),
    ("process.nugget", "Process::nugget"),
    ("process.phi", "Process::phi"),
    ("process.nested.range", "Process::nested"),
    ("process.nested.variance", "Process::nested"),
    ("process.nested.nugget", "Process::nugget"),
    ("process.adaptive.weight", "Process::adaptive"),
    ("process.adaptive.scale", "Process::adaptive"),
    ("process.relative.weight", "Process::relative"),
    ("process.relative.level", "Process::relative"),
    ("process.season.cosine", "Process::season"),
    ("process.season.sine", "Process::season"),
    ("process.variation.range", "Variation::new"),
    ("process.variation.elsewhere", "Variation::elsewhere"),
    ("process.variation.points", "Variation::point"),
    ("process.variation.points.factor", "Variation::point"),
    ("process.features.raster", "Features::new"),
    ("process.features.scale", "Features::new"),
    ("process.features.bands", "Features::bands"),
    ("process.features.weight", "Features::plus"),
    ("process.field.range", "Field::new"),
    ("process.field.variance", "Field::new"),
    ("process.field.phi", "Field::phi"),
    ("process.field.prior_variance", "Field::prior_variance"),
    ("process.field.block", "Field::block"),
    ("prior", "FusionBuilder::prior"),
    ("prior.mean", "Prior::new"),
    ("prior.variance", "Prior::new"),
    ("instrument", "FusionBuilder::instrument"),
    ("instrument: noise_variance", "Instrument::noise_variance"),
    ("instrument: bias", "Instrument::bias"),
    ("instrument: bands", "Instrument::observes"),
    ("instrument: response", "Instrument::response"),
    ("instrument: footprint", "Instrument::footprint"),
    ("instrument: gate", "Instrument::gate"),
    ("instrument: robust", "Instrument::robust"),
    ("instrument: offset_layer", "Instrument::offset_layer"),
    ("instrument: offset_layer.variance", "OffsetLayer::per_pixel and the like"),
    ("instrument: offset_layer.phi", "OffsetLayer::phi"),
    ("instrument: offset_layer.drift", "OffsetLayer::drift"),
    ("instrument: offset_layer.group", "OffsetLayer::per_group"),
    ("output.space", "FusionBuilder::space"),
    ("output.sd_factor", "FusionBuilder::sd_factor"),
    ("output.offsets", "FusionBuilder::put_out_offsets"),
    ("output.tile", "FusionBuilder::tile"),
    ("run.memory", "FusionBuilder::memory"),
    ("run.threads", "FusionBuilder::threads"),
    ("run.replay_days", "FusionBuilder::replay_days"),
    ("run.checkpoint_minutes", "FusionBuilder::checkpoint_interval"),
    ("run.keep_checkpoints", "FusionBuilder::keep_checkpoints"),
    ("batch_dates", "FusionBuilder::batch_dates"),
    ("shards", "FusionBuilder::shards"),
    ("seasonal", "SeasonalMean::builder"),
    ("seasonal.mean", "FusionBuilder::seasonal"),
    ("seasonal.harmonics", "SeasonalBuilder::harmonics"),
    ("seasonal.period_days", "SeasonalBuilder::period_days"),
    ("seasonal.ridge", "SeasonalBuilder::ridge"),
    ("seasonal.robust", "SeasonalBuilder::robust"),
    ("seasonal.passes", "SeasonalBuilder::passes"),
    ("seasonal.neighbours", "SeasonalBuilder::neighbours"),
    ("seasonal.memory", "SeasonalBuilder::memory_bytes"),
    ("estimate", "Estimation::choose"),
    ("estimate.windows", "EstimationBuilder::blocks"),
    ("estimate.window", "EstimationBuilder::side"),
    ("estimate.dates", "EstimationBuilder::dates"),
    ("validation", "Validation::withhold"),
    ("validation: instrument", "Validation::withhold_of"),
    ("validation: instrument: share", "Validation::withhold, Validation::withhold_of"),
    ("validation: instrument: block", "Validation::withhold, Validation::withhold_of"),
    ("preset", "Preset::find"),
    ("files", "RasterStack::builder, RasterStack::from_granules"),
    ("date", "RasterStack::builder, SeriesBuilder::date"),
    ("source_bands", "StackBuilder::source_bands"),
    ("quality", "StackBuilder::quality"),
    ("quality.band", "Quality::band"),
    ("quality.date", "Quality::date"),
    ("quality.layer", "Quality::layer"),
    ("uncertainty", "StackBuilder::uncertainty"),
    ("uncertainty.bands", "Uncertainty::bands"),
    ("uncertainty.files", "Uncertainty::files"),
];

/// The call that sets this key.
pub(super) fn call(key: &str) -> Option<&'static str> {
    let key = anonymous(key);
    CALLS.iter().find(|(known, _)| *known == key).map(|(_, call)| *call)
}

/// A key without names of instruments and numbers of list entries: `instrument "a": offset_layer 2.phi` and
/// `instrument "b": offset_layer 1.phi` become equal.
fn anonymous(key: &str) -> String {
    // Names are printed by `Debug`, so that a quote in one is escaped.
    let mut plain = String::with_capacity(key.len());
    let (mut quoted, mut escaped) = (false, false);
    for letter in key.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            _ => plain.push(letter),
        }
    }
    let mut key = String::with_capacity(plain.len());
    for word in plain.split(' ').filter(|word| !word.is_empty()) {
        let rest = word.trim_start_matches(|letter: char| letter.is_ascii_digit());
        if !key.is_empty() && rest.len() == word.len() && !rest.starts_with(':') {
            key.push(' ');
        }
        key.push_str(rest);
    }
    key
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_and_numbers_do_not_hide_the_call() {
        for (key, expected) in [
            ("process.variance", "Process::new"),
            ("instrument \"a.b: \\\" 7\": noise_variance", "Instrument::noise_variance"),
            ("instrument \"modis\": offset_layer 2.phi", "OffsetLayer::phi"),
            ("instrument \"modis\": offset_layer", "Instrument::offset_layer"),
            ("process.field 1.block", "Field::block"),
            ("validation: instrument \"x\": share", "Validation::withhold, Validation::withhold_of"),
        ] {
            assert_eq!(call(key), Some(expected), "{key}: {}", anonymous(key));
        }
        assert_eq!(call("instrument \"modis\": files"), None);
    }

    /// Every file of the library as text.
    fn sources(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![std::fs::read_to_string(path).unwrap()] })
            .collect()
    }

    #[test]
    fn every_call_that_is_named_is_there() {
        let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        let gone = |call: &&str| {
            let (implementation, name) = match call.split_once("::") {
                Some((kind, name)) => (format!("impl {kind} {{"), name),
                None => (String::new(), *call),
            };
            let function = format!("pub fn {name}");
            let is_there = |text: &&String| {
                let after = |rest: &str| rest.starts_with(['(', '<']);
                text.contains(&implementation) && text.split(&function).skip(1).any(after)
            };
            sources.iter().find(is_there).is_none()
        };
        let calls = CALLS.iter().flat_map(|(_, calls)| calls.trim_end_matches(" and the like").split(", "));
        let gone: Vec<&str> = calls.filter(gone).collect();
        assert!(gone.is_empty(), "{gone:?}");
    }
}
