//! Whether the headers of a stack's files agree: nodata, stored type, scale and offset, unit, names of bands.

use std::path::Path;

use super::LocatedGranule;
use super::layout::StackLayout;
use crate::error::shown;
use crate::geometry::Date;
use crate::source::Calibration;
use crate::source::gdal::{BandTags, RasterHeader};

/// What is done about files of a stack whose headers differ from those of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Headers {
    /// Differences that would change what values mean are refused: scale, offset, unit, integers among floats that a
    /// given scale is for, bands whose order is not known. The others are reported.
    #[default]
    Meaning,
    /// Every difference is refused.
    Strict,
    /// Every difference is reported, none is refused.
    Warn,
}

/// A property in which headers may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Order,
    Names,
    Unnamed,
    Scale,
    Unusable,
    Unit,
    Unitless,
    Mixture,
    Type,
    Nodata,
    Useless,
    Range,
}

/// The files of a granule at one position whose headers say the same.
#[derive(Debug)]
pub(super) struct Alike {
    pub(super) file: usize,
    /// In the order of the stack's first file.
    pub(super) tags: Vec<BandTags>,
    names: Vec<String>,
    reordered: bool,
    /// The granules that they belong to.
    pub(super) members: Vec<usize>,
}

/// The headers of all files, those that say the same together.
#[derive(Debug, Default)]
pub(super) struct HeaderLog {
    pub(super) alike: Vec<Alike>,
}

/// What the comparison came to.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// One sentence for each property.
    pub(super) told: Vec<String>,
    /// What is refused.
    pub(super) refused: Vec<Refused>,
}

/// A granule that is refused for the file at one position.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) granule: usize,
    pub(super) file: usize,
    pub(super) problem: String,
}

/// The file of a granule at a position, or what stands for a granule without files.
pub(super) fn path_in(part: &LocatedGranule, file: usize) -> &Path {
    part.files.get(file).map_or(part.name(), |file| &file.path)
}

impl Alike {
    /// The first of the files.
    pub(super) fn first<'a>(&self, parts: &'a [LocatedGranule]) -> &'a Path {
        self.members
            .first()
            .and_then(|&granule| parts.get(granule))
            .map_or(Path::new(""), |part| path_in(part, self.file))
    }

    /// The day of the earliest.
    fn date(&self, parts: &[LocatedGranule]) -> Option<Date> {
        self.members.iter().filter_map(|&granule| Some(parts.get(granule)?.date)).min()
    }
}

impl HeaderLog {
    /// Adds a file: the `granule` it belongs to, its position in it, and where its bands are in another order, the position
    /// of each.
    pub(super) fn add(&mut self, granule: usize, file: usize, header: &RasterHeader, order: Option<&[usize]>) {
        let reordered = order.is_some();
        let tags: Vec<BandTags> = match order {
            None => header.tags.clone(),
            Some(order) => order.iter().filter_map(|&own| header.tags.get(own).cloned()).collect(),
        };
        let same = |held: &&mut Alike| {
            held.file == file && held.tags == tags && held.names == header.bands && held.reordered == reordered
        };
        match self.alike.iter_mut().find(same) {
            Some(held) => held.members.push(granule),
            None => {
                self.alike.push(Alike { file, tags, names: header.bands.clone(), reordered, members: vec![granule] });
            }
        }
    }

    /// Forgets the files of granules that do not count; `kept` says of each whether it does. The others are numbered anew.
    pub(super) fn keep(&mut self, kept: &[bool]) {
        let mut before = 0;
        let number = |kept: &bool| {
            let new = kept.then_some(before);
            before += usize::from(*kept);
            new
        };
        let new: Vec<Option<usize>> = kept.iter().map(number).collect();
        for alike in &mut self.alike {
            let members = std::mem::take(&mut alike.members).into_iter();
            alike.members = members.filter_map(|granule| new.get(granule).copied().flatten()).collect();
        }
        self.alike.retain(|alike| !alike.members.is_empty());
    }

    /// Compares the files of `parts`, as the stack reads them. `names` are those by which the bands of its first file
    /// are known, `named` whether it gives them itself.
    pub(super) fn differences(
        &self,
        (layout, parts): (&StackLayout, &[LocatedGranule]),
        (names, named): (&[String], bool),
        (calibration, given_offset): (&Calibration, bool),
        rule: Headers,
    ) -> Differences {
        let mut differences = Differences::default();
        let view = Comparison { layout, calibration, given_offset, names, named };
        for kind in [
            Kind::Order,
            Kind::Names,
            Kind::Unnamed,
            Kind::Scale,
            Kind::Unusable,
            Kind::Unit,
            Kind::Unitless,
            Kind::Mixture,
            Kind::Type,
            Kind::Nodata,
            Kind::Useless,
            Kind::Range,
        ] {
            let odd: Vec<Odd<'_>> = (0..layout.files).flat_map(|file| self.odd(kind, file, &view)).collect();
            let Some(first) = odd.iter().min_by_key(|odd| odd.alike.date(parts)) else { continue };
            let files: usize = odd.iter().map(|odd| odd.alike.members.len()).sum();
            let all: usize =
                self.alike.iter().filter(|one| one.file == first.alike.file).map(|one| one.members.len()).sum();
            let date = first.alike.date(parts).map_or_else(String::new, |date| format!(" ({date})"));
            let path = shown(first.alike.first(parts));
            let (found, usual) = (&first.found, &first.usual);
            let count = if files == 1 { format!("1 of {all} files") } else { format!("{files} files") };
            let text = format!("{}: {count}, first {path}{date}: {found}{usual}", kind.what());
            let refuses = rule == Headers::Strict || rule == Headers::Meaning && kind.changes_meaning();
            if !refuses {
                differences.told.push(format!("{text}; {}", kind.advice()));
                continue;
            }
            let problem = format!("{text}; {}, or headers = \"warn\" to read them as they are", kind.advice());
            for Odd { alike, .. } in &odd {
                let refused = |&granule: &usize| Refused { granule, file: alike.file, problem: problem.clone() };
                differences.refused.extend(alike.members.iter().map(refused));
            }
        }
        differences
    }

    /// The groups of files at a position that differ from the first one there.
    fn odd<'a>(&'a self, kind: Kind, file: usize, view: &Comparison<'_>) -> Vec<Odd<'a>> {
        let of_file: Vec<(usize, String)> = self
            .alike
            .iter()
            .enumerate()
            .filter(|(_, alike)| alike.file == file)
            .filter_map(|(at, alike)| Some((at, view.said(kind, alike)?)))
            .collect();
        // Judged by the first file, files that are added later do not change what is refused.
        let usual = match kind {
            Kind::Order | Kind::Useless | Kind::Unusable | Kind::Range => Some(String::new()),
            _ => of_file.first().map(|(_, text)| text.clone()),
        };
        let Some(usual) = usual else { return Vec::new() };
        let odd = of_file.into_iter().filter(|(_, text)| *text != usual);
        let others = if usual.is_empty() { String::new() } else { format!(", the first file {usual}") };
        odd.map(|(at, found)| Odd { alike: &self.alike[at], found, usual: others.clone() }).collect()
    }
}

/// A group of files that differs from the first one.
struct Odd<'a> {
    alike: &'a Alike,
    found: String,
    usual: String,
}

/// How the files are read, as far as it makes differences harmless.
struct Comparison<'a> {
    layout: &'a StackLayout,
    calibration: &'a Calibration,
    given_offset: bool,
    /// Names by which the bands of the first file are known.
    names: &'a [String],
    /// Whether it gives them itself.
    named: bool,
}

impl Comparison<'_> {
    /// What files say of a property, as text that is equal where it means the same; `None` where it does not matter.
    fn said(&self, kind: Kind, alike: &Alike) -> Option<String> {
        let data = alike.file < self.layout.data_files;
        let layout = self.layout;
        let planes = layout.bands.iter().chain(layout.quality.iter().flatten()).chain(&layout.uncertainty);
        let mut bands: Vec<usize> = planes.filter(|plane| plane.file == alike.file).map(|plane| plane.band).collect();
        bands.sort_unstable();
        bands.dedup();
        let tags: Vec<&BandTags> = bands.iter().filter_map(|&band| alike.tags.get(band)).collect();
        let each = |say: &dyn Fn(&BandTags) -> String| {
            let mut texts: Vec<String> = tags.iter().map(|tags| say(tags)).collect();
            texts.dedup();
            texts.join(", ")
        };
        // An attribute of float32 says the same as one of float64.
        let number = |tag: Option<f64>, none: f64| format!("{:?}", tag.unwrap_or(none) as f32);
        match kind {
            Kind::Order => Some(if alike.reordered { format!("{:?}", alike.names) } else { String::new() }),
            Kind::Names | Kind::Unnamed => {
                let several = data && layout.data_files == 1 && layout.bands.len() > 1;
                let has_names = alike.names.iter().any(|name| !name.is_empty());
                // Where the first file has names, the layout follows them; where it has none, names that are known from
                // elsewhere tell the order as well.
                let tells = !self.named && self.names.iter().all(|name| alike.names.contains(name));
                (several && self.named == (kind == Kind::Unnamed))
                    .then(|| if has_names && !tells { "bands have names".into() } else { "bands have none".into() })
            }
            Kind::Scale => data.then(|| {
                each(&|tags| {
                    let scale = self.calibration.scale.map_or_else(|| number(tags.scale, 1.0), |_| String::new());
                    let offset = if self.given_offset { String::new() } else { number(tags.offset, 0.0) };
                    match (scale.as_str(), offset.as_str()) {
                        ("", "") => String::new(),
                        (scale, "") => format!("scale {scale}"),
                        ("", offset) => format!("offset {offset}"),
                        (scale, offset) => format!("scale {scale}, offset {offset}"),
                    }
                })
            }),
            Kind::Unusable => (data && self.calibration.scale.is_none()).then(|| {
                let unusable = tags.iter().find_map(|tags| tags.unusable_scale.clone());
                unusable.unwrap_or_default()
            }),
            Kind::Unit => data.then(|| each(&|tags| tags.plain_unit())).filter(|unit| !unit.is_empty()),
            Kind::Unitless => {
                data.then(|| if each(&|tags| tags.plain_unit()).is_empty() { "none".into() } else { "one".into() })
            }
            Kind::Range => data.then(|| {
                let odd = tags.iter().find_map(|tags| tags.odd_range);
                odd.map_or_else(String::new, |(low, high)| format!("[{low}, {high}]"))
            }),
            Kind::Mixture => (data && self.calibration.scale.is_some_and(|scale| scale != 1.0))
                .then(|| each(&|tags| if tags.is_float() { "floats".into() } else { "integers".into() })),
            Kind::Type => Some(each(&|tags| tags.sample.clone())),
            Kind::Nodata => Some(each(&|tags| match tags.missing().filter(|nodata| !self.is_given(data, *nodata)) {
                Some(nodata) => format!("{nodata:?}"),
                None => "none".into(),
            })),
            Kind::Useless => {
                let useless = tags.iter().find(|tags| tags.nodata.is_some() && !tags.holds_nodata());
                Some(useless.map_or_else(String::new, |tags| {
                    format!("{:?}, which {} cannot hold", tags.nodata.unwrap_or(f64::NAN), tags.sample)
                }))
            }
        }
    }

    /// Whether a number is missing in all files, whatever their tags.
    fn is_given(&self, data: bool, nodata: f64) -> bool {
        data && self.calibration.nodata.contains(&nodata)
    }
}

impl Kind {
    fn what(self) -> &'static str {
        match self {
            Self::Order => "bands in another order, which are read by their names",
            Self::Names | Self::Unnamed => "names of bands differ",
            Self::Scale => "scale and offset tags differ",
            Self::Unusable => "a scale that is not applied",
            Self::Unit => "units differ",
            Self::Unitless => "a unit that some files lack",
            Self::Mixture => "integers and floats under one `scale`",
            Self::Type => "stored types differ",
            Self::Nodata => "nodata tags differ",
            Self::Useless => "a nodata tag that hides nothing",
            Self::Range => "an attribute valid_range that looks like that of other numbers than those that are stored",
        }
    }

    /// Whether values of such files would mean something else than the others.
    fn changes_meaning(self) -> bool {
        matches!(self, Self::Names | Self::Scale | Self::Unusable | Self::Unit | Self::Mixture)
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Order => "check that the names are right",
            Self::Names => {
                "whether the order is the same is not known: write the names into all of them, or into none, or make them two instruments"
            }
            Self::Unnamed => "bands without names are assumed to be in the order of the first file",
            Self::Scale => "correct the tags, or give `scale` and `offset` for all of them",
            Self::Unusable => "give `scale`",
            Self::Unit => "convert them, or make an instrument of each",
            Self::Mixture => "make an instrument of each, with its own `scale`",
            Self::Type | Self::Unitless => "check that they are of one product",
            Self::Nodata => "give `nodata` for all of them",
            Self::Useless => "give the number that is missing as `nodata`, or remove the tag",
            Self::Range => "stored numbers outside are missing: remove the attribute where it does not fit",
        }
    }
}
