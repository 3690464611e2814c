//! Presets of published products: band names, wavelengths, scale, quality bits, file names. The module is above
//! [`describe`](crate::describe): it imports types of sources and spectra, and uses no threads.
//!
//! All numbers come from the guide of the product, which every preset cites. A number that no guide gives is left
//! out.

mod bands;
mod products;
#[cfg(feature = "gdal")]
mod recognise;

use crate::describe::Composite;
use crate::error::{Error, Result};
use crate::source::DayFormat;
use crate::spectral::SpectralResponse;
use products::ALL;

#[cfg(feature = "gdal")]
pub use recognise::Recognised;

/// A product as its user guide describes it.
///
/// ```
/// use rasterfuse::preset::Preset;
/// let hls = Preset::find("hls_s30")?;
/// let red = hls.band("red").map(|band| (band.id, band.name));
/// assert_eq!(red, Some(("B04", "red")));
/// assert_eq!(hls.scale, Some(1e-4));
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Preset {
    /// Its name in TOML, such as `hls_s30`.
    pub name: &'static str,
    /// Full title of the product.
    pub title: &'static str,
    /// Pattern of its files below a folder.
    pub files: &'static str,
    /// Regular expression whose first group is the date.
    pub date: &'static str,
    /// `strftime` form of that group.
    pub date_format: &'static str,
    /// Its bands; empty where they are taken from the file.
    pub bands: &'static [PresetBand],
    /// Factor from stored numbers to reflectance. `None`: the scale of the file.
    pub scale: Option<f64>,
    /// Offset from stored numbers to reflectance. `None`: the offset of the file.
    pub offset: Option<f64>,
    /// An offset that depends on a number in the path: a regular expression and (number, offset) pairs.
    pub offset_by: Option<(&'static str, &'static [(u32, f64)])>,
    /// A file in a folder above the rasters that gives the offset of its product, and the last number of `offset_by` of
    /// which the guide gives one.
    pub offset_known: Option<(&'static str, u32)>,
    /// A regular expression whose groups `id` and `rest` are the acquisition and `first` and `then` its version, as
    /// [`StackBuilder::versions`](crate::source::StackBuilder::versions) takes it.
    pub versions: Option<&'static str>,
    /// Stored numbers that mean "missing".
    pub nodata: &'static [f64],
    /// Reflectances outside this range are missing.
    pub valid_range: Option<(f64, f64)>,
    /// Which pixels its quality rasters hide.
    pub quality: &'static [PresetQuality],
    /// The days that its values are averages of: how many, and where among them the date of a file lies
    /// ([`Composite`]). `None`: one.
    pub composite: Option<(usize, f64)>,
    /// The layer that says of which day each of its pixels is, where it picks one of several.
    pub day: Option<PresetDay>,
    /// Cell size to which coarser bands and quality are repeated, in CRS units of the product.
    pub resolution: Option<f64>,
    /// Where the numbers are published.
    pub citation: Citation,
}

/// A band of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PresetBand {
    /// Common name, the same for all products: coastal, blue, green, red, `red_edge1` to `red_edge3`, nir,
    /// `nir_narrow`, swir1, swir2.
    pub name: &'static str,
    /// The text that replaces `{band}` in the file pattern.
    pub id: &'static str,
    /// Centre wavelength in nm.
    pub centre_nm: f64,
    /// Full width at half maximum in nm.
    pub fwhm_nm: f64,
    /// Typical standard deviation of its error in u, where one is published.
    pub noise_sd: Option<f64>,
}

/// A quality raster of a product and the pixels that it hides, as in [`Quality`](crate::source::Quality).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PresetQuality {
    /// Pattern of its files.
    pub files: &'static str,
    /// Band of the file, counted from 1.
    pub layer: usize,
    /// Any of these bits hides the pixel.
    pub bits: &'static [u32],
    /// (first bit, last bit, values that hide).
    pub fields: &'static [(u32, u32, &'static [u64])],
    /// Classes that hide the pixel.
    pub drop: &'static [f64],
    /// Classes that do not hide the pixel; empty where no class list applies.
    pub keep: &'static [f64],
    /// Number that means "no quality value".
    pub nodata: Option<f64>,
}

/// A layer of a product with the day of each pixel, as [`DaySource`](crate::source::DaySource) takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PresetDay {
    /// The text that replaces `{band}` in the file pattern.
    pub id: &'static str,
    /// What its numbers mean.
    pub format: DayFormat,
    /// Days of a composite, from the date of the file on.
    pub days: usize,
    /// Stored number that means "no day".
    pub nodata: f64,
}

/// Publication of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Citation {
    /// The document.
    pub title: &'static str,
    /// Section or table.
    pub section: &'static str,
    /// Web address.
    pub url: &'static str,
}

impl Preset {
    /// Every preset.
    #[must_use]
    pub fn all() -> &'static [Self] {
        ALL
    }

    /// The days that its values are averages of, for [`Instrument::composite`](crate::describe::Instrument::composite).
    #[must_use]
    pub fn composite(&self) -> Option<Composite> {
        self.composite.map(|(days, centre)| Composite::new(days).centre(centre))
    }

    /// The preset with this name.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is none; the message lists all presets.
    pub fn find(name: &str) -> Result<&'static Self> {
        ALL.iter().find(|preset| preset.name == name).ok_or_else(|| {
            let names: Vec<&str> = ALL.iter().map(|preset| preset.name).collect();
            Error::setting("preset", format!("there is no {name:?}; there are {}", names.join(", ")))
        })
    }

    /// The band with this common name or product name.
    #[must_use]
    pub fn band(&self, name: &str) -> Option<&'static PresetBand> {
        self.bands.iter().find(|band| band.name == name || band.id == name)
    }

    /// The bands with these names, common or the product's own, in this order.
    ///
    /// # Errors
    /// [`Error::Setting`] for a name that no band has.
    pub fn bands_named<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> Result<Vec<&'static PresetBand>> {
        let find = |name: S| {
            self.band(name.as_ref()).ok_or_else(|| {
                let held: Vec<String> = self.bands.iter().map(|band| format!("{} ({})", band.name, band.id)).collect();
                let (name, preset) = (name.as_ref(), self.name);
                Error::setting("source_bands", format!("{name:?} is not a band of {preset}: {}", held.join(", ")))
            })
        };
        names.into_iter().map(find).collect()
    }

    /// Gaussian spectral response of its bands; `None` where bands are taken from the file.
    #[must_use]
    pub fn response(&self) -> Option<SpectralResponse> {
        response_of(self.bands)
    }

    /// The typical noise variance of each of `bands` in u², where all of them have one.
    #[must_use]
    pub fn noise_variance(bands: &[&PresetBand]) -> Option<Vec<f64>> {
        if bands.is_empty() {
            return None;
        }
        bands.iter().map(|band| band.noise_sd.map(|sd| sd * sd)).collect()
    }
}

/// Gaussian spectral responses of bands; `None` for no bands.
#[must_use]
pub fn response_of<'a>(bands: impl IntoIterator<Item = &'a PresetBand>) -> Option<SpectralResponse> {
    let (centre_nm, fwhm_nm): (Vec<f64>, Vec<f64>) =
        bands.into_iter().map(|band| (band.centre_nm, band.fwhm_nm)).unzip();
    (!centre_nm.is_empty()).then_some(SpectralResponse::Gaussian { centre_nm, fwhm_nm })
}

#[cfg(feature = "gdal")]
mod stack {
    use std::path::Path;

    use super::{Preset, PresetBand, PresetQuality};
    use crate::source::{Quality, RasterStack, StackBuilder};

    impl Preset {
        /// A stack of all its bands from the files below `folder`. All settings of the returned builder can still be
        /// changed.
        ///
        /// ```no_run
        /// use rasterfuse::preset::Preset;
        /// let hls = Preset::find("hls_l30")?.stack("hls").open()?;
        /// # Ok::<(), rasterfuse::Error>(())
        /// ```
        #[must_use]
        pub fn stack(&self, folder: impl AsRef<Path>) -> StackBuilder {
            let bands: Vec<&PresetBand> = self.bands.iter().collect();
            self.stack_of(folder, &bands)
        }

        /// A stack of some of its bands, under their common names. Files of the other bands are not needed.
        ///
        /// ```no_run
        /// use rasterfuse::preset::Preset;
        /// use rasterfuse::source::{RasterSource, Resampling};
        /// let hls = Preset::find("hls_s30")?;
        /// let landsat = Preset::find("landsat_c2_l2_oli")?.stack("landsat").open()?;
        /// let bands = hls.bands_named(["red", "nir_narrow"])?;
        /// let stack = hls.stack_of("hls", &bands).onto(landsat.grid(), Resampling::Nearest).open()?;
        /// # Ok::<(), rasterfuse::Error>(())
        /// ```
        #[must_use]
        pub fn stack_of(&self, folder: impl AsRef<Path>, bands: &[&PresetBand]) -> StackBuilder {
            self.configure(RasterStack::builder(self.files, self.date), bands).folder(folder.as_ref())
        }

        /// Applies the settings of the product to a stack of its files.
        pub(crate) fn configure(&self, mut stack: StackBuilder, bands: &[&PresetBand]) -> StackBuilder {
            stack = stack.date_format(self.date_format).mosaic(true);
            if !bands.is_empty() {
                stack =
                    stack.source_bands(bands.iter().map(|band| band.id)).band_names(bands.iter().map(|band| band.name));
            }
            if let Some(scale) = self.scale {
                stack = stack.scale(scale);
            }
            if let Some(offset) = self.offset {
                stack = stack.offset(offset);
            }
            if let Some((pattern, steps)) = self.offset_by {
                stack = stack.offset_by(pattern, steps.iter().copied());
            }
            if let Some((metadata, last)) = self.offset_known {
                stack = stack.offset_known(metadata, last);
            }
            if let Some(versions) = self.versions {
                stack = stack.versions(versions);
            }
            stack = stack.nodata_values(self.nodata.iter().copied());
            if let Some((low, high)) = self.valid_range {
                stack = stack.valid_range(low, high);
            }
            if let Some(resolution) = self.resolution {
                stack = stack.resolution(resolution);
            }
            self.quality
                .iter()
                .fold(stack, |stack, quality| stack.quality(quality.configure(Quality::files(quality.files))))
        }
    }

    impl PresetQuality {
        /// Applies the rule of the product to its quality files.
        pub(crate) fn configure(&self, mut quality: Quality) -> Quality {
            quality = quality.layer(self.layer).bits(self.bits.iter().copied()).drop(self.drop.iter().copied());
            for (first, last, values) in self.fields {
                quality = quality.field(*first..=*last, values.iter().copied());
            }
            if !self.keep.is_empty() {
                quality = quality.keep(self.keep.iter().copied());
            }
            match self.nodata {
                Some(nodata) => quality.nodata(nodata),
                None => quality,
            }
        }
    }
}
