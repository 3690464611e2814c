//! Who describes a fusion in code is told which call to change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use ndarray::Array4;
use rasterfuse::describe::OutputDates;
use rasterfuse::describe::OutputSpace;
use rasterfuse::describe::{Features, Field, Footprint, Instrument, Kernel, OffsetLayer, Prior, Process, Variation};
use rasterfuse::engine::{FusionBuilder, MemoryBudget};
use rasterfuse::estimate::{Candidate, Criterion, Estimation};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::seasonal::SeasonalMean;
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
    assert!(
        message.contains("run.keep_checkpoints (FusionBuilder::keep_checkpoints): 0; give at least 1"),
        "{message}"
    );
}

#[test]
fn every_setting_names_the_call_that_takes_it() {
    let layer = || OffsetLayer::per_pixel(1e-4);
    let features = || Features::new(source(30.0, 8), 0.1);
    let day = Date::from_days;
    let cases: Vec<(&str, FusionBuilder)> = vec![
        ("FusionBuilder::bands", empty()),
        ("FusionBuilder::bands", working().bands(["red", "red"])),
        ("FusionBuilder::bands", with_bands([]).instrument(other().observes(["nir"]))),
        ("FusionBuilder::instrument", empty().bands(["red"])),
        ("FusionBuilder::instrument", with(fine())),
        ("FusionBuilder::process", empty().bands(["red"]).instrument(fine())),
        ("FusionBuilder::prior", empty().bands(["red"]).instrument(fine()).process(process())),
        ("FusionBuilder::space", working().space(OutputSpace::Components)),
        ("FusionBuilder::sd_factor", working().sd_factor(-1.0)),
        ("FusionBuilder::put_out_offsets", working().put_out_offsets(true)),
        ("FusionBuilder::tile", working().tile(0, 4)),
        ("FusionBuilder::memory", working().memory(MemoryBudget::Bytes(0))),
        ("FusionBuilder::memory", working().memory(MemoryBudget::Fraction(2.0))),
        ("FusionBuilder::threads", working().threads(1 << 20)),
        ("FusionBuilder::batch_dates", working().batch_dates(0)),
        ("FusionBuilder::shards", working().shards(0)),
        ("FusionBuilder::window", working().window(0, 4)),
        ("FusionBuilder::window", working().window(4, 1 << 30)),
        ("FusionBuilder::far_samples", working().far_samples(4, -1.0)),
        ("FusionBuilder::output", working().output(OutputDates::Dates(vec![day(9)]))),
        ("FusionBuilder::start", working().start(day(2)).end(day(1))),
        (
            "Fusion::builder",
            Fusion::builder(Grid::new(Crs::unknown(), [999_990.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8)).unwrap())
                .bands(["red"])
                .process(process())
                .prior(Prior::new(0.2, 0.01))
                .instrument(fine()),
        ),
        ("Prior::new", working().prior(Prior::new(f64::NAN, 0.01))),
        ("Prior::new", working().prior(Prior::new(0.2, [0.1, 0.2]))),
        ("Process::new", walks(Process::new(Kernel::Exponential, 0.0, 1e-3))),
        ("Process::new", walks(Process::new(Kernel::None, 0.0, -1.0))),
        ("Process::nugget", walks(process().nugget(-1.0))),
        ("Process::phi", walks(process().phi(1.5))),
        ("Process::adaptive", walks(process().adaptive(2.0, 0.1))),
        ("Process::adaptive", walks(process().adaptive(0.5, 0.0))),
        ("Process::relative", walks(process().relative(2.0, 0.1))),
        ("Process::season", walks(process().season(f64::NAN, 0.0))),
        ("Process::season", walks(process().season(0.0, 30.0))),
        ("Variation::new", walks(process().variation(Variation::new(-1.0)))),
        ("Variation::point", walks(process().variation(Variation::new(1.0).point((0.0, 0.0), -1.0)))),
        ("Variation::point", walks(process().variation(Variation::new(1.0).point((f64::NAN, 0.0), 1.0)))),
        ("Features::bands", walks(process().features(features().bands([3])))),
        ("Features::plus", walks(process().features(features().plus(2.0)))),
        ("Features::new", walks(process().features(Features::new(source(30.0, 8), 0.0)))),
        ("Field::new", walks(process().field(Field::new(Kernel::Matern32, -5.0, 1e-4)))),
        ("Field::phi", walks(process().field(Field::new(Kernel::Matern32, 500.0, 1e-4).phi(0.0)))),
        ("Field::block", walks(process().field(Field::new(Kernel::Matern32, 500.0, 1e-4).block(0)))),
        ("Instrument::noise_variance", with(Instrument::new("other", source(30.0, 8)))),
        ("Instrument::noise_variance", with(other().noise_variance([1e-5, 1e-5]))),
        ("Instrument::bias", with(other().bias(f64::INFINITY))),
        ("Instrument::observes", with(other().observes(["blue"]))),
        ("Instrument::footprint", with(Instrument::new("other", source(60.0, 4)).noise_variance(1e-5))),
        ("Instrument::footprint", with(other().footprint(Footprint::Gaussian { fwhm: -1.0 }))),
        ("Instrument::gate", with(other().gate(1.0))),
        ("Instrument::robust", with(other().robust(0.0))),
        ("OffsetLayer::phi", with(other().offset_layer(layer().phi(2.0)))),
        ("OffsetLayer::drift", with(other().offset_layer(layer().drift(-1.0)))),
        ("OffsetLayer::per_pixel", with(other().offset_layer(OffsetLayer::per_pixel(0.0)))),
    ];
    let wrong: Vec<String> = cases
        .into_iter()
        .map(|(call, builder)| (call, refusal(builder)))
        .filter(|(call, message)| !message.contains(&format!("({call}")))
        .map(|(call, message)| format!("{call}: {message}"))
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
    assert!(message.starts_with("instrument \"other\": gate (Instrument::gate): 2"), "{message}");
    let message = refusal(working().output(OutputDates::Dates(vec![Date::from_days(40)])));
    assert!(message.contains("1970-02-10 lies outside 1970-01-01 to 1970-01-03"), "{message}");
    let error = working().bands(["red", "red"]).build().unwrap_err();
    assert!(matches!(&error, Error::Setting { file: None, key, .. } if key == "target.bands"), "{error}");
}

#[test]
fn what_is_built_on_a_fusion_names_its_calls_too() {
    let says = |result: Result<String, Error>, call: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(&format!("({call}")), "{call}: {message}");
    };
    let validated = |validation: Validation| validation.run(working()).map(|report| report.to_string());
    says(validated(Validation::new().withhold(Withhold::default().share(2.0))), "Validation::withhold");
    says(validated(Validation::new().withhold_of("gone", Withhold::default())), "Validation::withhold_of");
    says(Estimation::builder().blocks(0).read(working()).map(|_| String::new()), "EstimationBuilder::blocks");
    says(Estimation::builder().side(0).read(working()).map(|_| String::new()), "EstimationBuilder::side");
    let estimation = Estimation::builder().read(working()).unwrap();
    says(estimation.choose(&[] as &[Candidate], Criterion::Bic).map(|_| String::new()), "Estimation::choose");
    let fitted = SeasonalMean::builder().harmonics(0).fit(&grid(30.0, 8), &["red".to_owned()], None, &[fine()]);
    says(fitted.map(|_| String::new()), "SeasonalBuilder::harmonics");
}
