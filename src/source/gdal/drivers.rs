//! Which of GDAL's drivers may open a file: those that read the file itself, and no other file, nor the network.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::ptr;

use ::gdal::{Dataset, GdalOpenFlags, Metadata};

use super::QuietErrors;
use super::address::gdal_name;
use super::name::container;
use super::server::Requests;
use crate::source::Remote;

/// The methods of a builder that has the fields `crs` and `drivers`.
macro_rules! opening_setters {
    () => {
        /// The CRS of the files. It replaces those that they give.
        #[must_use]
        pub fn crs(mut self, crs: crate::geometry::Crs) -> Self {
            self.crs = Some(crs);
            self
        }

        /// Also opens files with these GDAL drivers, such as `VRT` or `WMS`, by which a file names other files or servers to
        /// be read. Default: only formats that hold their pixels themselves, whatever the name of a file ends in, so that
        /// files of unknown origin open nothing else. A file that is named in full and ends in `.vrt` is opened anyway.
        #[must_use]
        pub fn drivers<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
            self.drivers = self.drivers.with(names);
            self
        }

        /// How servers are asked for files that are addresses or in GDAL's file systems: time limits, repetitions, reads in
        /// flight.
        #[must_use]
        pub fn remote(mut self, remote: crate::source::Remote) -> Self {
            self.drivers = self.drivers.asking(remote);
            self
        }
    };
}

pub(in crate::source) use opening_setters;

/// Formats that hold their pixels themselves.
const PLAIN: [&str; 42] = [
    "GTiff",
    "COG",
    "netCDF",
    "HDF4",
    "HDF4Image",
    "HDF5",
    "HDF5Image",
    "BAG",
    "KEA",
    "GRIB",
    "JP2OpenJPEG",
    "JP2KAK",
    "JP2ECW",
    "JP2MrSID",
    "JP2Grok",
    "JPEG",
    "JPEGXL",
    "PNG",
    "WEBP",
    "GIF",
    "BIGGIF",
    "BMP",
    "PNM",
    "ENVI",
    "EHdr",
    "EIR",
    "GenBin",
    "ROI_PAC",
    "AAIGrid",
    "GRASSASCIIGrid",
    "HFA",
    "NITF",
    "RST",
    "SAGA",
    "RMF",
    "SRTMHGT",
    "DTED",
    "USGSDEM",
    "GSAG",
    "GSBG",
    "GS7BG",
    "XYZ",
];

/// Formats whose pixels are elsewhere, or may be: in other files, or on a server.
const REFERRING: [&str; 22] = [
    "VRT",
    "DERIVED",
    "WMS",
    "WCS",
    "WMTS",
    "OGCAPI",
    "STACTA",
    "STACIT",
    "GTI",
    "MRF",
    "EEDAI",
    "DAAS",
    "PLMosaic",
    "NGW",
    "Zarr",
    "SENTINEL2",
    "SAFE",
    "RPFTOC",
    "ERS",
    "PCIDSK",
    "GPKG",
    "MBTiles",
];

/// Files that GDAL opens with a raster wherever they lie beside it: masks, overviews, statistics.
const BESIDE: [&str; 3] = [".msk", ".ovr", ".aux.xml"];

/// The drivers that may open the files of a source, and how servers are asked for them.
#[derive(Clone, Debug, Default)]
pub(in crate::source) struct Drivers {
    also: Vec<String>,
    /// Whether a person gave the name of each file in full: one that ends in `.vrt` is meant as a VRT.
    named: bool,
    /// How servers are asked for remote files.
    remote: Remote,
}

impl Drivers {
    /// The same for files whose names are given in full.
    pub(in crate::source) fn named(self) -> Self {
        Self { named: true, ..self }
    }

    /// Those of formats that hold their pixels themselves, and those of these names.
    pub(in crate::source) fn with(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { also: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// The same, and servers are asked like this.
    pub(in crate::source) fn asking(self, remote: Remote) -> Self {
        Self { remote, ..self }
    }

    /// How servers are asked.
    pub(in crate::source) fn remote(&self) -> &Remote {
        &self.remote
    }

    /// GDAL's names of those that may open a file.
    pub(super) fn of(&self, path: &Path) -> Vec<&str> {
        let is_virtual = self.named && path.extension().is_some_and(|end| end.eq_ignore_ascii_case("vrt"));
        let also = self.also.iter().map(String::as_str).chain(is_virtual.then_some("VRT"));
        PLAIN.into_iter().chain(also).collect()
    }

    /// The problem of a file whose pixels are elsewhere, where that is not asked for: GDAL would read what it names.
    pub(super) fn referring(&self, path: &Path) -> Option<String> {
        let driver = identified(path, &self.remote)
            .filter(|driver| !self.of(path).iter().any(|name| name.eq_ignore_ascii_case(driver)))?;
        Some(format!(
            "GDAL takes it for {driver}, which may name other files or servers to be read; if that is meant and the file is trusted, \
             give drivers = [{driver:?}]"
        ))
    }

    /// The problem of a file of a format that is not among those that may be opened.
    pub(super) fn other_format(&self, path: &Path) -> Option<String> {
        let known = |driver: &String| !self.of(path).iter().any(|name| name.eq_ignore_ascii_case(driver));
        let driver = identify(path, &self.remote, None).filter(known)?;
        Some(format!(
            "GDAL takes it for {driver}, which is not among the formats that are opened unasked; if that is what it is, give \
             drivers = [{driver:?}]"
        ))
    }

    /// The problem of masks and overviews of an open file, which GDAL opens in turn.
    pub(super) fn referring_beside(&self, path: &Path, dataset: &Dataset) -> Option<String> {
        let named = dataset.metadata_item("OVERVIEW_FILE", "OVERVIEWS");
        let elsewhere = named.filter(|named| !named.starts_with(":::BASE:::"));
        // A plain file that is gone is not opened: rasters are read at their full size.
        let elsewhere = elsewhere.filter(|named| Path::new(named).exists() || !is_plain(named));
        if let Some(named) = &elsewhere
            && !Path::new(named).is_file()
        {
            return Some(format!("its .aux.xml names overviews {named:?}, which is no file; take that out"));
        }
        let mut others = beside(path).into_iter().chain(elsewhere.map(PathBuf::from));
        others.find_map(|other| Some(format!("{} goes with it: {}", other.display(), self.referring(&other)?)))
    }
}

/// Whether a text can only be the path of a file, and neither a server's, nor a description in itself.
fn is_plain(text: &str) -> bool {
    !text.starts_with("/vsi") && !text.contains([':', '<', '{'])
}

/// The problem of a path, before GDAL sees it: a pipe or a device, which would be waited for, also of a file beside it.
pub(super) fn waiting(path: &Path) -> Option<String> {
    let file = container(path);
    let lone = no_file(&file);
    lone.or_else(|| {
        beside(path).iter().find_map(|other| Some(format!("{} goes with it: {}", other.display(), no_file(other)?)))
    })
}

/// Files that exist and that GDAL opens with a raster because of their names.
fn beside(path: &Path) -> Vec<PathBuf> {
    let file = container(path);
    let others = BESIDE.iter().map(|end| with_end(&file, end));
    others.filter(|other| other.exists()).collect()
}

/// A path with more at its end.
fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut whole = path.as_os_str().to_owned();
    whole.push(end);
    whole.into()
}

/// The problem of a path at which there is neither a file nor a folder.
fn no_file(path: &Path) -> Option<String> {
    let kind = path.metadata().ok()?.file_type();
    (!kind.is_file() && !kind.is_dir()).then(|| "it is a pipe, a socket or a device, and no file".into())
}

/// The driver for pixels that are elsewhere to which GDAL would give a file.
fn identified(path: &Path, remote: &Remote) -> Option<String> {
    identify(path, remote, Some(&REFERRING))
}

/// The driver, among some or all, to which GDAL would give a file.
#[allow(unsafe_code)]
fn identify(path: &Path, remote: &Remote, among: Option<&[&str]>) -> Option<String> {
    let _quiet = QuietErrors::new();
    let _requests = Requests::of(path, remote);
    let path = CString::new(gdal_name(path).to_str()?).ok()?;
    let names: Vec<CString> = among.unwrap_or_default().iter().filter_map(|name| CString::new(*name).ok()).collect();
    let mut list: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    list.push(ptr::null());
    let all = among.is_none();
    // SAFETY: the path and the list, which is null for all drivers or ends in null, live until the call returns; GDAL
    // copies neither. The name is a static string of the driver.
    unsafe {
        let driver = gdal_sys::GDALIdentifyDriverEx(
            path.as_ptr(),
            GdalOpenFlags::GDAL_OF_RASTER.bits(),
            if all { ptr::null() } else { list.as_ptr() },
            ptr::null(),
        );
        if driver.is_null() {
            return None;
        }
        let name = gdal_sys::GDALGetDriverShortName(driver);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}
