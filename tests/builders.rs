//! Who describes a fusion in code is told which key to change; methods have the names of keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use ndarray::Array4;
use rasterfuse::describe::OutputDates;
use rasterfuse::describe::OutputSpace;
use rasterfuse::describe::{Features, Field, Footprint, Instrument, Kernel, OffsetLayer, Prior, Process, Variation};
use rasterfuse::engine::{FusionBuilder, MemoryBudget};
use rasterfuse::estimate::{Candidate, Criterion, Estimation};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::model::SeasonalBuilder;
use rasterfuse::source::MemorySource;
use rasterfuse::validate::{Validation, Withhold};
use rasterfuse::{Error, Fusion};

fn grid(cell: f64, side: usize) -> Grid {
    Grid::new(Crs::unknown(), [0.0, cell, 0.0, 0.0, 0.0, -cell], (side, side)).unwrap()
}

fn source(cell: f64, side: usize) -> MemorySource {
    let dates = (0..3).map(Date::from_days).collect();
    MemorySource::new(grid(cell, side), dates, vec!["red".into()], Array4::from_elem((3, 1, side, side), 0.2)).unwrap()
}

fn fine() -> Instrument {
    Instrument::new("fine", source(30.0, 8)).noise_variance(1e-5)
}

fn process() -> Process {
    Process::new(Kernel::Exponential, 100.0, 1e-3)
}

fn empty() -> FusionBuilder {
    Fusion::builder(grid(30.0, 8))
}

fn working() -> FusionBuilder {
    empty().bands(["red"]).process(process()).prior(Prior::new(0.2, 0.01)).instrument(fine())
}

fn with_bands<const N: usize>(bands: [&str; N]) -> FusionBuilder {
    working().bands(bands)
}

fn with(instrument: Instrument) -> FusionBuilder {
    working().instrument(instrument)
}

fn walks(process: Process) -> FusionBuilder {
    working().process(process)
}

fn other() -> Instrument {
    Instrument::new("other", source(30.0, 8)).noise_variance(1e-5)
}

/// The message of a description that cannot work.
fn refusal(builder: FusionBuilder) -> String {
    builder.build().err().map_or_else(|| "accepted".into(), |error| error.to_string())
}

#[test]
fn no_checkpoint_at_all_is_not_kept_as_one() {
    let message = refusal(working().keep_checkpoints(0));
    assert!(message.starts_with("run.keep_checkpoints: 0; give at least 1"), "{message}");
}

#[test]
fn every_setting_names_its_key() {
    let layer = || OffsetLayer::per_pixel(1e-4);
    let features = || Features::new(source(30.0, 8), 0.1);
    let day = Date::from_days;
    let cases: Vec<(&str, FusionBuilder)> = vec![
        ("target.bands", empty()),
        ("target.bands", working().bands(["red", "red"])),
        ("target.bands", with_bands([]).instrument(other().observes(["nir"]))),
        ("instrument", empty().bands(["red"])),
        ("instrument", with(fine())),
        ("process", empty().bands(["red"]).instrument(fine())),
        ("prior", empty().bands(["red"]).instrument(fine()).process(process())),
        ("output.space", working().space(OutputSpace::Components)),
        ("output.sd_factor", working().sd_factor(-1.0)),
        ("output.sd_factor", working().sd_factor(1e-60)),
        ("output.offsets", working().offsets(true)),
        ("output.tile", working().tile(0, 4)),
        ("run.memory", working().memory(MemoryBudget::Bytes(0))),
        ("run.memory", working().memory(MemoryBudget::Fraction(2.0))),
        ("run.threads", working().threads(1 << 20)),
        ("batch_dates", working().batch_dates(0)),
        ("shards", working().shards(0)),
        ("window.size", working().window(0, 4)),
        ("window.halo", working().window(4, 1 << 30)),
        ("window.far_radius", working().far_samples(4, -1.0)),
        ("time.output", working().output(OutputDates::Dates(vec![day(9)]))),
        ("time", working().start(day(2)).end(day(1))),
        (
            "target",
            Fusion::builder(Grid::new(Crs::unknown(), [999_990.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8)).unwrap())
                .bands(["red"])
                .process(process())
                .prior(Prior::new(0.2, 0.01))
                .instrument(fine()),
        ),
        ("prior.mean", working().prior(Prior::new(f64::NAN, 0.01))),
        ("prior.variance", working().prior(Prior::new(0.2, [0.1, 0.2]))),
        ("process.range", walks(Process::new(Kernel::Exponential, 0.0, 1e-3))),
        ("process.variance", walks(Process::new(Kernel::None, 0.0, -1.0))),
        ("process.nugget", walks(process().nugget(-1.0))),
        ("process.phi", walks(process().phi(1.5))),
        ("process.adaptive.weight", walks(process().adaptive(2.0, 0.1))),
        ("process.adaptive.scale", walks(process().adaptive(0.5, 0.0))),
        ("process.relative.weight", walks(process().relative(2.0, 0.1))),
        ("process.season.cosine", walks(process().season(f64::NAN, 0.0))),
        ("process.season.sine", walks(process().season(0.0, 30.0))),
        ("process.variation.map", walks(process().variation(Variation::of(source(30.0, 4))))),
        ("process.features.bands", walks(process().features(features().bands([3])))),
        ("process.features.weight", walks(process().features(features().plus(2.0)))),
        ("process.features.scale", walks(process().features(Features::new(source(30.0, 8), 0.0)))),
        ("process.field 1.range", walks(process().field(Field::new(Kernel::Matern32, -5.0, 1e-4)))),
        ("process.field 1.phi", walks(process().field(Field::new(Kernel::Matern32, 500.0, 1e-4).phi(0.0)))),
        ("process.field 1.block", walks(process().field(Field::new(Kernel::Matern32, 500.0, 1e-4).block(0)))),
        ("instrument \"other\": noise_variance", with(Instrument::new("other", source(30.0, 8)))),
        ("instrument \"other\": noise_variance", with(other().noise_variance([1e-5, 1e-5]))),
        ("instrument \"other\": bias", with(other().bias(f64::INFINITY))),
        ("instrument \"other\": bands", with(other().observes(["blue"]))),
        ("instrument \"other\": footprint", with(Instrument::new("other", source(60.0, 4)).noise_variance(1e-5))),
        ("instrument \"other\": footprint", with(other().footprint(Footprint::Gaussian { fwhm: -1.0 }))),
        ("instrument \"other\": gate", with(other().gate(1.0))),
        ("instrument \"other\": follow", with(other().follow(5))),
        ("instrument \"other\": follow", with(other().gate(0.999).follow(0))),
        ("instrument \"other\": follow", with(other().gate(0.999).follow(300))),
        ("instrument \"other\": robust", with(other().robust(0.0))),
        ("instrument \"other\": offset_layer 1.phi", with(other().offset_layer(layer().phi(2.0)))),
        ("instrument \"other\": offset_layer 1.drift", with(other().offset_layer(layer().drift(-1.0)))),
        ("instrument \"other\": offset_layer 1.variance", with(other().offset_layer(OffsetLayer::per_pixel(0.0)))),
    ];
    let wrong: Vec<String> = cases
        .into_iter()
        .map(|(key, builder)| (key, refusal(builder)))
        .filter(|(key, message)| !message.starts_with(&format!("{key}: ")))
        .map(|(key, message)| format!("{key}: {message}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn bands_that_all_instruments_observe_need_not_be_named() {
    let named =
        |builder: FusionBuilder| builder.build().map(|fusion| (fusion.bands().to_vec(), fusion.settings().clone()));
    let one = with_bands([]);
    assert_eq!(named(one).unwrap(), named(working()).unwrap());
    let two = with_bands([]).instrument(other().observes(["red"]));
    assert_eq!(named(two).unwrap().0, ["red"]);
    let message = refusal(with_bands([]).instrument(other().observes(["nir"])));
    assert!(message.contains("\"fine\" observes [\"red\"], \"other\" [\"nir\"]"), "{message}");
}

#[test]
fn instruments_dates_and_grids_are_named() {
    let message = refusal(with(other().gate(2.0)));
    assert!(message.starts_with("instrument \"other\": gate: 2"), "{message}");
    let message = refusal(working().output(OutputDates::Dates(vec![Date::from_days(40)])));
    assert!(message.contains("1970-02-10 lies outside 1970-01-01 to 1970-01-03"), "{message}");
    let error = working().bands(["red", "red"]).build().unwrap_err();
    assert!(matches!(&error, Error::Setting { file: None, key, .. } if *key == "target.bands"), "{error}");
}

#[test]
fn what_is_built_on_a_fusion_names_its_keys_too() {
    let says = |result: Result<String, Error>, words: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(words), "{words}: {message}");
    };
    let validated = |validation: Validation| validation.run(working()).map(|report| report.to_string());
    says(
        validated(Validation::new().withhold(Withhold::default().share(2.0))),
        "validation: instrument \"fine\": share: 2",
    );
    says(validated(Validation::new().withhold_of("gone", Withhold::default())), "\"gone\"");
    says(Estimation::builder().blocks(0).read(&working()).map(|_| String::new()), "estimate.windows: 0");
    says(Estimation::builder().side(0).read(&working()).map(|_| String::new()), "estimate.window: 0");
    let estimation = Estimation::builder().read(&working()).unwrap();
    says(estimation.choose(&[] as &[Candidate], Criterion::Bic).map(|_| String::new()), "no candidate");
    let fitted = SeasonalBuilder::default().harmonics(0).fit(&grid(30.0, 8), &["red".to_owned()], None, &[fine()]);
    says(fitted.map(|_| String::new()), "seasonal.harmonics: 0");
}
