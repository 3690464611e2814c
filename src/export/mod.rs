//! Dates of fused series as files of other formats: cloud optimised GeoTIFFs with a STAC item beside each.
//!
//! Several stores are one mosaic. Nothing is held in memory as a whole: a block is read, written and forgotten.

mod cog;
mod mosaic;
mod place;
mod preview;
mod stac;
mod statistics;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::geometry::{Date, Extent, Grid};
use crate::storage::replace;
use cog::Image;
use mosaic::Mosaic;
pub use preview::{CellValue, Preview};
pub use statistics::BandStatistics;

/// Writes dates of one or several fused series as files.
///
/// ```no_run
/// use rasterfuse::export::Export;
/// use rasterfuse::geometry::Date;
/// let export = Export::open(["fused.zarr"])?.bands(&["nir"])?;
/// let written = export.cog(Date::from_ymd(2024, 4, 18)?, "images".as_ref())?; // images/fused_2024-04-18.tif
/// println!("{}: {} bytes, beside it {}", written.image.display(), written.bytes, written.item.display());
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Debug)]
pub struct Export {
    mosaic: Mosaic,
    /// The part that is written.
    grid: Grid,
    /// Positions of the bands that are written.
    bands: Vec<usize>,
    overwrite: bool,
}

/// What was written of a date.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Exported {
    /// The date.
    pub date: Date,
    /// The GeoTIFF.
    pub image: PathBuf,
    /// The STAC item that describes it.
    pub item: PathBuf,
    /// Size of the GeoTIFF.
    pub bytes: u64,
    /// What its bands hold, in order: means, then standard deviations.
    pub bands: Vec<BandStatistics>,
}

impl Export {
    /// Opens stores, which must have the same bands, CRS and cells; where several hold a value the first counts.
    ///
    /// # Errors
    /// [`Error::OpenStore`] for what is no store, [`Error::Export`] when there is none, or when they do not fit together.
    pub fn open<P: Into<PathBuf>>(stores: impl IntoIterator<Item = P>) -> Result<Self> {
        let mosaic = Mosaic::open(stores.into_iter().map(Into::into).collect())?;
        let (grid, bands) = (mosaic.grid().clone(), (0..mosaic.bands().len()).collect());
        Ok(Self { mosaic, grid, bands, overwrite: false })
    }

    /// Writes the cells that this area touches, in units of the CRS.
    ///
    /// # Errors
    /// [`Error::Grid`] when it touches none.
    pub fn bbox(mut self, area: &Extent) -> Result<Self> {
        self.grid = self.mosaic.grid().cropped(area)?;
        Ok(self)
    }

    /// Writes these bands and indices, in this order.
    ///
    /// # Errors
    /// [`Error::Export`] for a name that there is not, with those that there are.
    pub fn bands<S: AsRef<str>>(mut self, names: &[S]) -> Result<Self> {
        let held = self.mosaic.bands();
        let position = |name: &S| {
            let name = name.as_ref();
            held.iter()
                .position(|held| held == name)
                .ok_or_else(|| self.refuse(format!("there is no band {name:?}; it has {held:?}")))
        };
        self.bands = names.iter().map(position).collect::<Result<_>>()?;
        if self.bands.is_empty() { Err(self.refuse("no band is named".into())) } else { Ok(self) }
    }

    /// Whether files of the same name are replaced; otherwise they are refused. Default: no.
    #[must_use]
    pub fn overwrite(mut self, yes: bool) -> Self {
        self.overwrite = yes;
        self
    }

    /// The dates that all stores show.
    #[must_use]
    pub fn dates(&self) -> &[Date] {
        self.mosaic.dates()
    }

    /// Names of the bands and indices that the stores hold.
    #[must_use]
    pub fn band_names(&self) -> &[String] {
        self.mosaic.bands()
    }

    /// Unit of the bands.
    #[must_use]
    pub fn unit(&self) -> &str {
        self.mosaic.unit()
    }

    /// The grid that is written.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Refuses a date that is not there, with the nearest ones.
    ///
    /// # Errors
    /// [`Error::Export`].
    pub fn check(&self, date: Date) -> Result<()> {
        self.mosaic.check(date).map_err(|problem| self.refuse(problem))
    }

    /// Writes a date into a folder, which is made if it is not there: `NAME_DATE.tif`, a cloud optimised GeoTIFF of
    /// float32 with a band of each mean and then of each standard deviation, NaN where there is none, and
    /// `NAME_DATE.json`, a STAC item. `NAME` is that of the first store. Each file appears at once when it is whole.
    ///
    /// # Errors
    /// [`Error::Export`] for a date that is not there, files that are there already, a GDAL without the driver COG, and
    /// what cannot be written; [`Error::Read`] for a damaged store.
    pub fn cog(&self, date: Date, folder: &Path) -> Result<Exported> {
        self.check(date)?;
        let name = format!("{}_{date}", self.mosaic.name());
        let (image, item) = (folder.join(format!("{name}.tif")), folder.join(format!("{name}.json")));
        let failed = |path: &Path, error: io::Error| Error::Export {
            path: path.to_path_buf(),
            problem: error.to_string(),
            source: Some(Box::new(error)),
        };
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        for path in [&image, &item] {
            if !self.overwrite && path.exists() {
                let problem = "there is such a file already; remove it, or allow that it is replaced".into();
                return Err(Error::Export { path: path.clone(), problem, source: None });
            }
        }
        let names: Vec<&str> = self.bands.iter().map(|band| self.mosaic.bands()[*band].as_str()).collect();
        let described = Image { grid: &self.grid, names: &names, unit: self.mosaic.unit(), tags: self.tags(date) };
        let bands = cog::write(&image, &described, &self.mosaic.blocks(&self.grid), &mut |region| {
            self.mosaic.read(date, &self.bands, (&self.grid, region))
        })?;
        let document = stac::item(&name, date, &described, &bands)?;
        let text = serde_json::to_vec_pretty(&document).map_err(|error| failed(&item, error.into()))?;
        replace(&item, folder, true, |file| file.write_all(&text)).map_err(|error| failed(&item, error))?;
        let bytes = fs::metadata(&image).map_err(|error| failed(&image, error))?.len();
        Ok(Exported { date, image, item, bytes, bands })
    }

    /// What the file says of itself.
    fn tags(&self, date: Date) -> Vec<(&'static str, String)> {
        vec![
            ("TIFFTAG_DATETIME", date.format("%Y:%m:%d 00:00:00")),
            ("TIFFTAG_SOFTWARE", format!("rasterfuse {}", env!("CARGO_PKG_VERSION"))),
            ("DATE", date.to_string()),
            ("SERIES", self.mosaic.series_ids().join(" ")),
            ("SETTINGS", self.mosaic.settings()),
        ]
    }

    fn refuse(&self, problem: String) -> Error {
        Error::Export { path: self.mosaic.path().to_path_buf(), problem, source: None }
    }
}
