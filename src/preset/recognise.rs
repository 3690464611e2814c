//! Which products lie in a folder, by the names of their files.

use std::path::{Path, PathBuf};

use super::{Preset, PresetBand};
use crate::error::Result;
use crate::geometry::Date;

/// A product that was recognised in a folder.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recognised {
    /// What it is.
    pub preset: &'static Preset,
    /// Those of its bands that every granule has a file of; all where they are together in one.
    pub bands: Vec<&'static PresetBand>,
    /// Days of its granules, each once, in order.
    pub dates: Vec<Date>,
    /// Its data files, or names of rasters in containers.
    pub files: Vec<PathBuf>,
}

impl Preset {
    /// The products whose files are in `folder` or below it, in the order of [`Preset::all`]. Only names are looked
    /// at; a file without a date is passed over. Two may be found in the same files, as bands of 10 m and of 20 m
    /// are.
    ///
    /// ```no_run
    /// use rasterfuse::preset::Preset;
    /// for found in Preset::recognise("downloads")? {
    ///     println!("{}: {} dates", found.preset.title, found.dates.len());
    ///     let stack = found.preset.stack_of("downloads", &found.bands).open()?;
    /// }
    /// # Ok::<(), rasterfuse::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Open`](crate::Error::Open) when a folder cannot be read.
    pub fn recognise(folder: impl AsRef<Path>) -> Result<Vec<Recognised>> {
        let folder = folder.as_ref();
        let found = Self::all().iter().map(|preset| preset.find_in(folder));
        found.filter_map(Result::transpose).collect()
    }

    fn find_in(&'static self, folder: &Path) -> Result<Option<Recognised>> {
        let granules = self.stack(folder).names()?;
        let has_all = |slot: usize| granules.iter().all(|(_, files)| files.get(slot).is_some_and(Option::is_some));
        let per_band = self.files.contains("{band}");
        let (slots, bands): (Vec<usize>, Vec<&PresetBand>) =
            self.bands.iter().enumerate().filter(|(slot, _)| !per_band || has_all(*slot)).unzip();
        if granules.is_empty() || (per_band && bands.is_empty()) {
            return Ok(None);
        }
        let mut dates: Vec<Date> = granules.iter().map(|(date, _)| *date).collect();
        dates.sort_unstable();
        dates.dedup();
        let of_bands = |files: Vec<Option<PathBuf>>| {
            let wanted = files.into_iter().enumerate().filter(|(slot, _)| !per_band || slots.contains(slot));
            wanted.filter_map(|(_, file)| file).collect::<Vec<_>>()
        };
        let files = granules.into_iter().flat_map(|(_, files)| of_bands(files)).collect();
        Ok(Some(Recognised { preset: self, bands, dates, files }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_recognised_by_name_with_the_bands_that_all_dates_have() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "a/HLS.L30.T33TVM.2023093T100032.v2.0.B04.tif",
            "a/HLS.L30.T33TVM.2023093T100032.v2.0.B05.tif",
            "a/HLS.L30.T33TVM.2023093T100032.v2.0.Fmask.tif",
            "b/HLS.L30.T33TVM.2023109T100032.v2.0.B04.tif",
            "modis/MOD09GA.A2023093.h19v04.061.hdf",
            "other_20230403.tif",
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = Preset::recognise(folder.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|found| found.preset.name).collect();
        assert_eq!(names, ["hls_l30", "mod09ga"]);
        let bands = |k: usize| found[k].bands.iter().map(|band| band.name).collect::<Vec<_>>();
        assert_eq!(bands(0), ["red"]);
        assert_eq!(found[0].dates, ["2023-04-03", "2023-04-19"].map(|date| date.parse().unwrap()));
        assert_eq!((found[0].files.len(), bands(1).len()), (2, 7));
    }
}
