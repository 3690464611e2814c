//! Structures that a table may have where it is left to be chosen.

use super::beliefs::FAR_RANGE_CELLS;
use super::together::is_together;
use crate::describe::{
    Bands, Description, Features, Free, Kernel, Key, NestedKernel, Number, Numbers, OffsetLayer, Prior, Process,
    Structure,
};

/// Cells per side of the blocks of a further field whose range is estimated: it must not change with the range.
pub(super) const FIELD_BLOCK: usize = (FAR_RANGE_CELLS / 8.0) as usize;

/// A table whose structure is to be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FreeTable {
    Prior,
    /// Offset layers of an instrument, by its position.
    Offsets(usize),
    Process,
}

/// Something to try after the first structure of a table: its name, and what it changes.
pub(super) struct Step {
    pub(super) name: String,
    /// Whether its name follows that of the structure that it changes.
    adds: bool,
    change: Box<dyn Fn(&mut Description)>,
}

impl Step {
    /// The description with the change, and the name of the structure that it then has.
    pub(super) fn after(&self, name: &str, description: &Description) -> (String, Description) {
        let mut changed = description.clone();
        (self.change)(&mut changed);
        let name = if self.adds { format!("{name}, {}", self.name) } else { self.name.clone() };
        (name, changed)
    }
}

fn free() -> Numbers {
    Free::default().into()
}

fn free_ratio() -> Numbers {
    Numbers::ratio(Free::default())
}

impl FreeTable {
    /// The tables that are free, in the order in which their structures are chosen. What matters most comes first;
    /// offsets of instruments must be distinguished from change.
    pub(crate) fn find(description: &Description) -> Vec<Self> {
        let prior = description.prior.is_free().then_some(Self::Prior);
        let offsets = description.instrument.iter().enumerate().filter(|(_, instrument)| instrument.has_free_offsets());
        let process = description.process.is_free().then_some(Self::Process);
        prior.into_iter().chain(offsets.map(|(index, _)| Self::Offsets(index))).chain(process).collect()
    }

    /// Its place.
    pub(crate) fn key(&self, description: &Description) -> Key {
        match self {
            Self::Process => "process".into(),
            Self::Prior => "prior".into(),
            Self::Offsets(index) => description.instrument[*index].key().name("offset_layer"),
        }
    }

    /// Gives it the structure that is tried first, which stands for the table while those of others are compared;
    /// with its name.
    pub(super) fn put_first(&self, description: &mut Description) -> String {
        match self {
            Self::Process => {
                let (process, name) = simplest(description.seasonal.is_some(), is_together(description));
                description.process = Structure::Given(process);
                name.into()
            }
            Self::Prior => {
                let variance = if is_together(description) { free_ratio() } else { free() };
                description.prior = Structure::Given(Prior::new(free(), variance).correlated());
                "correlated as the process".into()
            }
            Self::Offsets(index) => {
                if is_together(description) {
                    description.instrument[*index].offset_layer = Some(errors().into());
                    return "per pixel, drifting, and per acquisition".into();
                }
                description.instrument[*index].offset_layer = Some(drifting().into());
                "per pixel, drifting".into()
            }
        }
    }

    /// What is tried after the first structure, in this order; `reference` are features of a reference image, if
    /// there is one.
    pub(super) fn steps(&self, description: &Description, reference: Option<&Features>) -> Vec<Step> {
        match *self {
            Self::Process => additions(description.seasonal.is_some(), is_together(description), reference),
            Self::Prior => Vec::new(),
            Self::Offsets(_) if is_together(description) => Vec::new(),
            Self::Offsets(index) => vec![Step {
                name: "per pixel, forgotten".into(),
                adds: false,
                change: Box::new(move |description| {
                    let layers = vec![OffsetLayer::per_pixel(free()).phi(free())];
                    description.instrument[index].offset_layer = Some(layers.into());
                }),
            }],
        }
    }
}

/// An offset of each pixel that drifts. There is no structure without offsets: where the fine instrument looks once
/// or twice, likelihood cannot distinguish offsets from change, and leaving them out costs far more than having them
/// where they are small.
fn drifting() -> Vec<OffsetLayer> {
    vec![OffsetLayer::per_pixel(free()).drift(free())]
}

/// Errors of coarse images that are always there: lasting differences of each pixel that drift, and what all pixels of an
/// acquisition have in common. Offsets that are forgotten within days would take change for errors, and leave intervals
/// too narrow.
fn errors() -> Vec<OffsetLayer> {
    vec![OffsetLayer::per_pixel(free_ratio()).drift(free_ratio()), acquisition()]
}

/// What all pixels of an acquisition have in common.
pub(super) fn acquisition() -> OffsetLayer {
    OffsetLayer::per_acquisition(free_ratio())
}

/// The simplest process: change of single cells in addition to the kernel is free. About a mean function it is drawn
/// back; without one the state would be drawn towards zero.
fn simplest(seasonal: bool, together: bool) -> (Process, &'static str) {
    let simplest = Process::new(Kernel::Exponential, free(), free()).nugget(free());
    if together {
        let both = simplest.nested(Kernel::Exponential, free(), free_ratio()).bands(Bands::Together);
        return if seasonal { (both.phi(free()), "two ranges, reverting to the mean") } else { (both, "two ranges") };
    }
    if seasonal { (simplest.phi(free()), "one range, reverting to the mean") } else { (simplest, "one range") }
}

/// What a process may have in addition, in the order in which it is tried.
fn additions(seasonal: bool, together: bool, reference: Option<&Features>) -> Vec<Step> {
    let add = |name: &str, change: Box<dyn Fn(&mut Process)>| Step {
        name: name.into(),
        adds: true,
        change: Box::new(move |description| {
            if let Some(process) = description.process.given_mut() {
                change(process);
            }
        }),
    };
    // A sum of kernels: change over far more than fields.
    let nested = || NestedKernel::new(Kernel::Exponential, free(), free());
    let further = add("a further range", Box::new(move |process| process.nested.push(nested())));
    if seasonal {
        // Cells whose mean years are similar change together.
        let years = add("similar years", Box::new(|process| process.features = Some(Features::of_seasonal(free()))));
        // Change is more variable at some times of the year.
        let season = add("variance by season", Box::new(|process| *process = process.clone().season(free(), free())));
        let steps = [Some(years), Some(further).filter(|_| !together), Some(season)];
        return steps.into_iter().flatten().collect();
    }
    let similar = reference
        .cloned()
        .map(|features| add("similar cells", Box::new(move |process| process.features = Some(features.clone()))));
    Some(further).filter(|_| !together).into_iter().chain(similar).collect()
}

/// A description all of whose tables are given and all of whose numbers can be, with which its inputs can be read. No
/// estimate begins with these numbers.
pub(super) fn filled(mut description: Description) -> Description {
    for table in FreeTable::find(&description) {
        table.put_first(&mut description);
    }
    take_variation(&mut description);
    description.visit(&mut |_, _, mut place| {
        for number in place.written().iter_mut().filter(|number| number.is_free()) {
            *number = Number::Fixed(0.5);
        }
    });
    description
}

/// Takes out a variation of change that is left to be found, if it is: change is the same everywhere while other
/// numbers are estimated.
pub(super) fn take_variation(description: &mut Description) -> bool {
    let Some(process) = description.process.given_mut() else { return false };
    let free = matches!(process.variation, Some(Structure::Free));
    if free {
        process.variation = None;
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::{Instrument, Raster};
    use crate::geometry::{Crs, Date, Grid};
    use crate::source::MemorySource;

    /// All tables are free.
    fn description(seasonal: bool) -> Description {
        let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (2, 2)).unwrap();
        let values = ndarray::Array4::zeros((1, 1, 2, 2));
        let source = MemorySource::new(grid.clone(), vec![Date::from_days(0)], vec!["red".into()], values).unwrap();
        let mut description = crate::Fusion::builder(grid).description().clone();
        description.instrument.push(Instrument::new("a", source));
        description.instrument[0].offset_layer = Some(Structure::Free);
        if seasonal {
            let text = r#"{ "mean": "mean.zarr" }"#;
            description.seasonal = Some(serde_json::from_str(text).unwrap());
        }
        description
    }

    /// The names of all structures when each that is tried is kept; every one has something to estimate.
    fn names(table: &FreeTable, mut description: Description) -> Vec<String> {
        let reference = Features::new(Raster::named("a.tif"), 1.0);
        let steps = table.steps(&description, Some(&reference));
        let mut name = table.put_first(&mut description);
        let mut names = vec![name.clone()];
        for step in steps {
            (name, description) = step.after(&name, &description);
            assert!(!description.free().is_empty(), "{name}");
            names.push(name.clone());
        }
        names
    }

    #[test]
    fn what_is_kept_is_part_of_the_next() {
        let free = description(false);
        let tables = FreeTable::find(&free);
        assert_eq!(tables, [FreeTable::Prior, FreeTable::Offsets(0), FreeTable::Process]);
        assert_eq!(tables[1].key(&free), "instrument \"a\": offset_layer");
        assert_eq!(names(&tables[0], free.clone()), ["correlated as the process"]);
        assert_eq!(names(&tables[1], free.clone()), ["per pixel, drifting", "per pixel, forgotten"]);
        let process = ["one range", "one range, a further range", "one range, a further range, similar cells"];
        assert_eq!(names(&tables[2], free), process);
        let all = names(&FreeTable::Process, description(true));
        let last = "one range, reverting to the mean, similar years, a further range, variance by season";
        assert_eq!((all.len(), all.last().map(String::as_str)), (4, Some(last)));
    }

    #[test]
    fn what_is_not_kept_is_not_in_the_next() {
        let mut first = description(true);
        let steps = FreeTable::Process.steps(&first, None);
        let name = FreeTable::Process.put_first(&mut first);
        let (name, last) = steps.last().unwrap().after(&name, &first);
        assert_eq!(name, "one range, reverting to the mean, variance by season");
        let process = last.process.given().unwrap();
        assert!(process.nested.is_empty() && process.features.is_none() && process.season.is_some());
    }

    #[test]
    fn filled_descriptions_have_nothing_free() {
        let mut filled = filled(description(false));
        assert!(filled.free().is_empty());
        filled.process.given_mut().unwrap().variation = Some(Structure::Free);
        assert!(take_variation(&mut filled) && filled.free().is_empty() && !take_variation(&mut filled));
    }
}
