//! Layout of a stack: the file and band of every plane, the same for every granule.

use std::path::Path;

use super::granule::Granule;
use crate::error::{Error, Result, shown};
use crate::source::gdal::RasterHeader;
use crate::source::quality::AncillaryLocation;
use crate::source::{Quality, Uncertainty};

/// A band of one of a granule's files, both by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plane {
    pub(super) file: usize,
    pub(super) band: usize,
}

/// Files and bands of every granule.
#[derive(Clone, Debug)]
pub(super) struct StackLayout {
    /// Number of data files; those of quality and uncertainty follow.
    pub(super) data_files: usize,
    /// Number of all files.
    pub(super) files: usize,
    /// The source's bands.
    pub(super) bands: Vec<Plane>,
    /// Their names.
    pub(super) names: Vec<String>,
    /// The planes of each quality rule: one for all bands, or one for each.
    pub(super) quality: Vec<Vec<Plane>>,
    /// The uncertainty plane of each band; empty without uncertainty.
    pub(super) uncertainty: Vec<Plane>,
}

impl StackLayout {
    /// The layout of a granule, given the headers of all its files.
    pub(super) fn new(
        granule: &Granule,
        headers: &[RasterHeader],
        source_bands: Option<&[String]>,
        quality: &[Quality],
        uncertainty: Option<&Uncertainty>,
    ) -> Result<Self> {
        let files = &granule.files;
        let one_each = source_bands.is_some_and(|bands| {
            bands.len() == files.len()
                && (bands.len() > 1 || headers.first().is_some_and(|header| header.bands.len() == 1))
        });
        if !one_each && files.len() != 1 {
            let (found, path) = (files.len(), shown(granule.name()));
            return Err(Error::setting(
                "files",
                format!(
                    "{found} files of {} ({path}); give one that holds all bands, or one for each of `source_bands`",
                    granule.date
                ),
            ));
        }
        let (bands, names) = match source_bands {
            Some(names) if one_each => {
                ((0..names.len()).map(|file| Plane { file, band: 0 }).collect::<Vec<_>>(), names.to_vec())
            }
            Some(names) => {
                let find = |name: &String| {
                    Ok(Plane { file: 0, band: band_of(granule.name(), &headers[0], name, "source_bands")? })
                };
                (names.iter().map(find).collect::<Result<Vec<_>>>()?, names.to_vec())
            }
            None => {
                let name = |(index, name): (usize, &String)| {
                    if name.is_empty() { format!("band{}", index + 1) } else { name.clone() }
                };
                let names: Vec<String> = headers[0].bands.iter().enumerate().map(name).collect();
                ((0..names.len()).map(|band| Plane { file: 0, band }).collect(), names)
            }
        };
        let mut layout = Self {
            data_files: files.len(),
            files: files.len(),
            bands,
            names,
            quality: Vec::new(),
            uncertainty: Vec::new(),
        };
        let mut listed = granule.quality.iter();
        for rule in quality {
            let planes = match &rule.location {
                AncillaryLocation::Band(band) => vec![layout.data_band(granule, headers, band, "quality.band")?],
                AncillaryLocation::Files(_) | AncillaryLocation::Listed => {
                    let n = listed.next().map_or(0, Vec::len);
                    let planes: Vec<Plane> =
                        layout.append(n).into_iter().map(|plane| Plane { band: rule.layer - 1, ..plane }).collect();
                    if let Some(plane) = planes.iter().find(|plane| plane.band >= headers[plane.file].bands.len()) {
                        let (path, held) = (
                            &granule.quality.concat()[plane.file - layout.data_files],
                            headers[plane.file].bands.len(),
                        );
                        return Err(Error::setting(
                            "quality.layer",
                            format!("{} of {}, which holds {held} bands; count from 1", rule.layer, shown(path)),
                        ));
                    }
                    if n != 1 && n != layout.bands.len() {
                        return Err(layout.miscounted("quality", granule, n));
                    }
                    planes
                }
            };
            layout.quality.push(planes);
        }
        if let Some(rule) = uncertainty {
            layout.uncertainty = layout.uncertainty_planes(rule, granule, headers)?;
        }
        Ok(layout)
    }

    /// The planes of the next `n` files.
    fn append(&mut self, n: usize) -> Vec<Plane> {
        let first = self.files;
        self.files += n;
        (first..first + n).map(|file| Plane { file, band: 0 }).collect()
    }

    fn miscounted(&self, key: &str, granule: &Granule, found: usize) -> Error {
        let (n, name) = (self.bands.len(), shown(granule.name()));
        Error::setting(
            key,
            format!("{found} files for {name} ({}); give one, or one for each of its {n} bands", granule.date),
        )
    }

    /// A band of the data file that is not data itself.
    fn data_band(&self, granule: &Granule, headers: &[RasterHeader], band: &str, key: &str) -> Result<Plane> {
        if self.data_files != 1 {
            return Err(Error::setting(
                key,
                format!("{band:?}, but there is a file for each band; name the files by a pattern (`files`)"),
            ));
        }
        Ok(Plane { file: 0, band: band_of(granule.name(), &headers[0], band, key)? })
    }

    fn uncertainty_planes(
        &mut self,
        rule: &Uncertainty,
        granule: &Granule,
        headers: &[RasterHeader],
    ) -> Result<Vec<Plane>> {
        let n = self.bands.len();
        if let Some(AncillaryLocation::Band(_)) = rule.locations.first() {
            let names = rule
                .locations
                .iter()
                .filter_map(|location| if let AncillaryLocation::Band(name) = location { Some(name) } else { None });
            let planes: Vec<Plane> =
                names.map(|name| self.data_band(granule, headers, name, "uncertainty.bands")).collect::<Result<_>>()?;
            if planes.len() != n {
                let listed = planes.len();
                return Err(Error::setting(
                    "uncertainty.bands",
                    format!("{listed} listed; give one for each of the {n} bands"),
                ));
            }
            return Ok(planes);
        }
        let found = granule.uncertainty.len();
        let planes = self.append(found);
        match planes.as_slice() {
            [only] if headers[only.file].bands.len() == n => Ok((0..n).map(|band| Plane { band, ..*only }).collect()),
            planes if planes.len() == n => Ok(planes.to_vec()),
            [only] => Err(Error::setting(
                "uncertainty.files",
                format!(
                    "{} holds {} bands; give a band for each of the {n} bands of the data",
                    shown(&granule.uncertainty[0]),
                    headers[only.file].bands.len()
                ),
            )),
            _ => Err(self.miscounted("uncertainty", granule, found)),
        }
    }

    /// The purpose of a file, for messages: its band, quality rule or uncertainty.
    pub(super) fn purpose(&self, file: usize) -> String {
        let data = self.bands.iter().position(|plane| plane.file == file).filter(|_| self.data_files > 1);
        if let Some(band) = data {
            format!("band {:?}", self.names[band])
        } else if file < self.data_files {
            "data".into()
        } else if self.uncertainty.iter().any(|plane| plane.file == file) {
            "uncertainty".into()
        } else {
            "quality".into()
        }
    }
}

/// The position of a band, by its description or its number, counted from 1.
fn band_of(path: &Path, header: &RasterHeader, name: &str, key: &str) -> Result<usize> {
    let number = || name.strip_prefix("band").unwrap_or(name).parse::<usize>().ok();
    let position = header.bands.iter().position(|held| held == name);
    let position = position.or_else(|| number()?.checked_sub(1).filter(|index| *index < header.bands.len()));
    position.ok_or_else(|| {
        let (n, held) = (header.bands.len(), &header.bands);
        let some: Vec<&String> = held.iter().filter(|held| !held.is_empty()).take(20).collect();
        Error::setting(
            key,
            format!(
                "{name:?} is not a band of {}, which holds {n} {some:?}; give a name of these or a number from 1",
                shown(path)
            ),
        )
    })
}
