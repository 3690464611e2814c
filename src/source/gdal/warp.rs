//! Opens a raster as a view on another grid through GDAL's virtual formats (VRT). A first dataset turns every missing
//! value of the file into NaN; a second one resamples it, block by block, as it is read.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ::gdal::errors::GdalError;
use ::gdal::raster::{ColorInterpretation, GdalDataType, RasterBand};
use ::gdal::{Dataset, Metadata};

use super::address::gdal_name;
use super::hdf5::Listening;
use super::numbers::{Format, Numbers};
use super::place::grid_of;
use super::server::Requests;
use super::transform::middle_longitude;
use super::turn::Turned;
use super::view::{KEY, Valid, View};
use super::{QuietErrors, open, open_error, same_crs};
use crate::error::{Error, Result, shown};
use crate::geometry::{Date, Grid};

/// Largest error of a pixel location, in native pixels: within a block GDAL interpolates between locations that it
/// has computed.
///
/// A hundredth of a pixel is far below the geolocation error of any sensor and costs almost nothing, because
/// projections are nearly linear across a few hundred pixels.
const MAX_ERROR: f64 = 0.01;

/// Leaves the range of a NetCDF file to [`Numbers`]: GDAL knows it only where both bounds are there.
const OWN_RANGE: &str = "<OpenOptions><OOI key=\"HONOUR_VALID_RANGE\">NO</OOI></OpenOptions>";

/// Bound of a table of floats.
const FARTHEST: f64 = 1e308;

/// Makes every description unique.
///
/// GDAL returns one shared dataset to all that open the same description on the same thread, but a view may by then
/// be in use on other threads.
static SERIAL: AtomicU64 = AtomicU64::new(0);

impl View {
    /// Opens a file as this view: all bands, or `only` one of them by position, with the same names, scale and
    /// offset, as float64 with NaN where missing. `own` is the size of its pixels in those of the view, which sets
    /// the width of the kernel, where that is not the view's own. Also returns whether any of the bands holds integers of
    /// 64 bits, not all of which float64 holds.
    ///
    /// # Errors
    /// [`Error::Open`] when GDAL cannot open it or it has no geotransform, [`Error::Grid`] when it is not north-up.
    pub(in crate::source) fn open(
        &self,
        path: &Path,
        date: Option<Date>,
        (own, only): (Option<(f64, f64)>, Option<usize>),
        valid: Option<Valid<'_>>,
    ) -> Result<(Dataset, bool)> {
        let _requests = Requests::of(path, self.drivers.remote());
        let _listening = Listening::to(path);
        let file = open(path, date, &self.drivers)?;
        // Not the whole header: of a series of many dates each opens its view.
        let native = grid_of(path, &file, date)?;
        let native = match &self.assumed {
            Some(crs) => Grid::new(crs.clone(), native.geotransform(), native.shape())?,
            None => native,
        };
        let turned = Turned::new(&shown(path), &native, &self.grid)?;
        let _quiet = QuietErrors::new();
        let failed = |error: &GdalError| open_error(path, date, error);
        let held: Vec<usize> = only.map_or_else(|| (1..=file.raster_count()).collect(), |only| vec![only + 1]);
        let unmasked = self
            .unmasked(path, &file, (&held, turned.first_column), valid)
            .map_err(|error| failed(&error))?
            .ok_or_else(|| Error::Open {
                path: path.to_path_buf(),
                date,
                problem: format!("its path is not UTF-8 text, which `{KEY}` needs; rename it"),
                source: None,
            })?;
        let sized = (&turned.grid, own.unwrap_or(self.native));
        let text = self.describe(&file, sized, &unmasked, &held).map_err(|error| failed(&error))?;
        let is_wide =
            |index: &usize| file.rasterband(*index).is_ok_and(|band| band.band_type().bits() == 64 && !is_float(&band));
        let wide = held.iter().any(is_wide);
        drop(file);
        let opened = open(Path::new(&text), date, &self.drivers.clone().with(["VRT"]));
        opened.map(|dataset| (dataset, wide)).map_err(|error| match error {
            // The error names the path of the file, not the description.
            Error::Open { problem, source, .. } => Error::Open { path: path.to_path_buf(), date, problem, source },
            other => other,
        })
    }

    /// The description of the resampling dataset of the bands `held`, in the format of `gdalwarp -of VRT`.
    fn describe(
        &self,
        file: &Dataset,
        (native, size): (&Grid, (f64, f64)),
        source: &str,
        held: &[usize],
    ) -> Result<String, GdalError> {
        let (rows, cols) = self.grid.shape();
        let mut bands = String::new();
        let mut mappings = String::new();
        for (own, index) in (1..=held.len()).zip(held) {
            let band = file.rasterband(*index)?;
            let name = escape(&band.description()?);
            let number = |tag: &str, value: Option<f64>| {
                value.map_or_else(String::new, |value| format!("<{tag}>{value:?}</{tag}>"))
            };
            let (scale, offset) = (number("Scale", band.scale()), number("Offset", band.offset()));
            let _ = write!(
                bands,
                "<VRTRasterBand dataType=\"Float64\" band=\"{own}\" subClass=\"VRTWarpedRasterBand\">\
                 <Description>{name}</Description><NoDataValue>nan</NoDataValue>{offset}{scale}</VRTRasterBand>"
            );
            let _ = write!(
                mappings,
                "<BandMapping src=\"{own}\" dst=\"{own}\"><SrcNoDataReal>nan</SrcNoDataReal>\
                 <SrcNoDataImag>0</SrcNoDataImag><DstNoDataReal>nan</DstNoDataReal><DstNoDataImag>0</DstNoDataImag>\
                 </BandMapping>"
            );
        }
        let (block_rows, block_cols) = self.block;
        let (scale_x, scale_y) = (Self::scale(size.0), Self::scale(size.1));
        let (resampling, source) = (self.resampling.name(), escape(source));
        let transformer = transformer(native, &self.grid);
        Ok(format!(
            "<VRTDataset rasterXSize=\"{cols}\" rasterYSize=\"{rows}\" subClass=\"VRTWarpedDataset\">\
             <Metadata domain=\"IMAGE_STRUCTURE\"><MDI key=\"INTERLEAVE\">PIXEL</MDI></Metadata>{bands}\
             <BlockXSize>{block_cols}</BlockXSize><BlockYSize>{block_rows}</BlockYSize>\
             <GDALWarpOptions><ResampleAlg>{resampling}</ResampleAlg><WorkingDataType>Float64</WorkingDataType>\
             <Option name=\"INIT_DEST\">NO_DATA</Option><Option name=\"UNIFIED_SRC_NODATA\">NO</Option>\
             <Option name=\"ERROR_OUT_IF_EMPTY_SOURCE_WINDOW\">FALSE</Option>\
             <Option name=\"XSCALE\">{scale_x:?}</Option><Option name=\"YSCALE\">{scale_y:?}</Option>\
             <SourceDataset relativeToVRT=\"0\">{source}</SourceDataset>{transformer}\
             <BandList>{mappings}</BandList></GDALWarpOptions></VRTDataset>"
        ))
    }
}

/// Transforms pixels of the view to pixels of the file.
fn transformer(native: &Grid, view: &Grid) -> String {
    let side = |prefix: &str, grid: &Grid| {
        let [left, width, _, top, _, step] = grid.geotransform();
        format!(
            "<{prefix}GeoTransform>{left:?},{width:?},0,{top:?},0,{step:?}</{prefix}GeoTransform>\
             <{prefix}InvGeoTransform>{:?},{:?},0,{:?},0,{:?}</{prefix}InvGeoTransform>",
            -left / width,
            1.0 / width,
            -top / step,
            1.0 / step
        )
    };
    let crs = native.crs();
    // Longitudes run on from the middle of the raster.
    let middle = middle_longitude(native).map_or_else(String::new, |middle| {
        format!("<Options><Option key=\"CENTER_LONG\">{middle:?}</Option></Options>")
    });
    let reprojection = if crs.is_same_text(view.crs()) || same_crs(crs, view.crs()) {
        String::new()
    } else {
        format!(
            "<ReprojectTransformer><ReprojectionTransformer><SourceSRS>{}</SourceSRS><TargetSRS>{}</TargetSRS>{middle}\
             </ReprojectionTransformer></ReprojectTransformer>",
            escape(crs.wkt()),
            escape(view.crs().wkt())
        )
    };
    format!(
        "<Transformer><ApproxTransformer><MaxError>{MAX_ERROR}</MaxError><BaseTransformer><GenImgProjTransformer>\
         {}{}{reprojection}</GenImgProjTransformer></BaseTransformer></ApproxTransformer></Transformer>",
        side("Src", native),
        side("Dst", view)
    )
}

impl View {
    /// The description of a float64 dataset of the bands `held`, counted from 1, on the file's own grid. It is NaN at
    /// nodata (of the file, or as given) and where a mask band or alpha hides the value. `None` when the description cannot
    /// express the path.
    fn unmasked(
        &self,
        path: &Path,
        file: &Dataset,
        (held, cut): (&[usize], Option<usize>),
        valid: Option<Valid<'_>>,
    ) -> Result<Option<String>, GdalError> {
        let name = gdal_name(path);
        let Some(path) = name.to_str() else { return Ok(None) };
        let alpha = alpha_of(file)?;
        let (size, serial) = (file.raster_size(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let (path, format) = (escape(path), Format::of(Path::new(path), file));
        let options = if format == Format::Other { "" } else { OWN_RANGE };
        let of_file = |index: usize, stored: &Stored| match cut {
            None => complex_source(&path, index, stored, options),
            Some(first) => {
                halves(size, first).map(|half| complex_source(&path, index, stored, &(half + options))).concat()
            }
        };
        let mask = alpha.map_or_else(String::new, |index| {
            let source = of_file(index, &Stored::default());
            format!("<MaskBand><VRTRasterBand dataType=\"Byte\">{source}</VRTRasterBand></MaskBand>")
        });
        let described = held
            .iter()
            .map(|&index| Ok((index, self.stored((file, format), index, valid)?)))
            .collect::<Result<Vec<_>, GdalError>>()?;
        let dataset = |bands: &[Described]| {
            let sources = bands.iter().map(|(index, (stored, _))| of_file(*index, stored));
            let dataset = virtual_dataset(size, serial, sources, &mask);
            if alpha.is_none() {
                return dataset;
            }
            // GDAL treats alpha as a mask only in files of two or four bands. Here it masks all bands except itself.
            let inner = escape(&dataset);
            let masked = |(own, (index, _)): (usize, &Described)| {
                complex_source(&inner, own, &Stored { masked: Some(*index) != alpha, ..Stored::default() }, "")
            };
            virtual_dataset(size, serial, (1..).zip(bands).map(masked), "")
        };
        if described.iter().all(|(_, (_, further))| further.is_empty()) {
            return Ok(Some(dataset(&described)));
        }
        // A source knows one missing number, so that each further one takes a dataset around the last: of one band each,
        // because every band names all that is within it.
        let layered = described.iter().map(|band| {
            let mut source = complex_source(&escape(&dataset(std::slice::from_ref(band))), 1, &Stored::default(), "");
            for number in &band.1.1 {
                let inner = escape(&virtual_dataset(size, serial, std::iter::once(source), ""));
                source = complex_source(&inner, 1, &Stored { nodata: Some(*number), ..Stored::default() }, "");
            }
            source
        });
        Ok(Some(virtual_dataset(size, serial, layered, "")))
    }

    /// What the numbers of a band are, and those that are missing beyond what its source can say.
    fn stored(
        &self,
        (file, format): (&Dataset, Format),
        index: usize,
        valid: Option<Valid<'_>>,
    ) -> Result<(Stored, Vec<f64>), GdalError> {
        let band = file.rasterband(index)?;
        let (flags, numbers) = (band.mask_flags()?, Numbers::of(&band, format));
        let signed = numbers.signed;
        let ordinary = |own: &f64| self.rule.as_ref().is_some_and(|rule| !rule.takes_for_unknown(*own));
        let own = numbers.nodata.filter(|own| !ordinary(own));
        let declared: Vec<f64> = numbers.fills.into_iter().filter(|fill| !ordinary(fill)).collect();
        let by_nodata = flags.is_nodata() && !flags.is_per_dataset() && (signed || own.is_none());
        let round =
            |number: &f64| if band.band_type() == GdalDataType::Float32 { f64::from(*number as f32) } else { *number };
        // GDAL compares bytes, which a negative number never meets; and a mask of the file makes it forget the number.
        let own = own.filter(|_| signed || flags.is_per_dataset() || flags.is_alpha());
        let given = own.iter().chain(&self.nodata).chain(&declared);
        let mut missing: Vec<f64> = given.map(round).collect();
        missing.retain(|number| !number.is_nan());
        missing.sort_by(f64::total_cmp);
        missing.dedup();
        let masked = !(flags.is_all_valid() || by_nodata);
        let range = valid.and_then(|valid| valid.range(index - 1, band.scale(), band.offset()));
        let within = |(low, high): (f64, f64), (own_low, own_high): (f64, f64)| (low.max(own_low), high.min(own_high));
        let range = range.into_iter().chain(numbers.range).reduce(within);
        if let Some(whole) = whole_numbers(&band, signed) {
            let table =
                (signed || range.is_some() || !missing.is_empty()).then(|| table(whole, range, &missing, signed));
            return Ok((Stored { masked, nodata: None, table }, Vec::new()));
        }
        // A number in addition to the mask makes GDAL forget the mask.
        let nodata = (!(masked || missing.is_empty())).then(|| missing.remove(0));
        // Numbers between two entries stay as they are; those beyond take the last one.
        let table = range.map(|(low, high)| {
            let (low, high) = (low.max(-FARTHEST), high.min(FARTHEST));
            format!("{:?}:nan,{low:?}:{low:?},{high:?}:{high:?},{:?}:nan", low.next_down(), high.next_up())
        });
        Ok((Stored { masked, nodata, table }, missing))
    }
}

/// A band by its number, with what its numbers are.
type Described = (usize, (Stored, Vec<f64>));

/// What the numbers of a band are.
#[derive(Clone, Debug, Default)]
struct Stored {
    /// Whether a mask of the file says which are missing.
    masked: bool,
    /// The number that is missing.
    nodata: Option<f64>,
    /// What each number becomes, as GDAL's table.
    table: Option<String>,
}

fn is_float(band: &RasterBand<'_>) -> bool {
    matches!(band.band_type(), GdalDataType::Float32 | GdalDataType::Float64)
}

/// The band that holds the opacity of the others, counted from 1.
fn alpha_of(file: &Dataset) -> Result<Option<usize>, GdalError> {
    for index in 1..=file.raster_count() {
        if file.rasterband(index)?.color_interpretation() == ColorInterpretation::AlphaBand {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Smallest and largest number of a type of integers all of which a table can tell apart.
fn whole_numbers(band: &RasterBand<'_>, signed: bool) -> Option<(f64, f64)> {
    match band.band_type() {
        GdalDataType::UInt8 if signed => Some((i8::MIN.into(), i8::MAX.into())),
        GdalDataType::UInt8 => Some((0.0, u8::MAX.into())),
        GdalDataType::UInt16 => Some((0.0, u16::MAX.into())),
        GdalDataType::Int16 => Some((i16::MIN.into(), i16::MAX.into())),
        GdalDataType::UInt32 => Some((0.0, u32::MAX.into())),
        GdalDataType::Int32 => Some((i32::MIN.into(), i32::MAX.into())),
        _ => None,
    }
}

/// GDAL's table for integers: those outside of the range and those that are `missing` become NaN, the others stay. Between
/// two entries GDAL follows the line, which is exact where both stay, and never asked for where one does not.
fn table((least, most): (f64, f64), range: Option<(f64, f64)>, missing: &[f64], signed: bool) -> String {
    let (low, high) = range.map_or((least, most), |(low, high)| (low.ceil(), high.floor()));
    let is_value = |number: f64| (low..=high).contains(&number) && !missing.contains(&number);
    let around = |number: f64| [number - 1.0, number, number + 1.0];
    let mut entries: Vec<f64> = if signed {
        (0..256).map(|step| least + f64::from(step)).collect()
    } else {
        [least, most, low, high].iter().chain(missing).flat_map(|number| around(*number)).collect()
    };
    entries.retain(|number| number.fract() == 0.0 && (least..=most).contains(number));
    // A signed byte is looked up by the unsigned one that it is stored as.
    let key = |number: f64| if signed && number < 0.0 { number + 256.0 } else { number };
    entries.sort_by(|a, b| key(*a).total_cmp(&key(*b)));
    entries.dedup();
    let entry = |number: &f64| {
        if is_value(*number) { format!("{}:{number}", key(*number)) } else { format!("{}:nan", key(*number)) }
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(",")
}

/// The parts of a raster that is cut before the column `first`, which comes first then: from where, to where.
fn halves((cols, rows): (usize, usize), first: usize) -> [String; 2] {
    [(first, 0, cols - first), (0, cols - first, first)].map(|(from, to, width)| {
        let rect = |name: &str, left: usize| {
            format!("<{name} xOff=\"{left}\" yOff=\"0\" xSize=\"{width}\" ySize=\"{rows}\"/>")
        };
        rect("SrcRect", from) + &rect("DstRect", to)
    })
}

/// A source of all of a raster, or of the `part` that is described.
fn complex_source(file: &str, band: usize, stored: &Stored, part: &str) -> String {
    let nodata = stored.nodata.map_or_else(String::new, |nodata| format!("<NODATA>{nodata:?}</NODATA>"));
    let mask = if stored.masked { "<UseMaskBand>true</UseMaskBand>" } else { "" };
    let table = stored.table.as_ref().map_or_else(String::new, |table| format!("<LUT>{table}</LUT>"));
    format!(
        "<ComplexSource><SourceFilename relativeToVRT=\"0\" shared=\"0\">{file}</SourceFilename>\
         <SourceBand>{band}</SourceBand>{part}{nodata}{table}{mask}</ComplexSource>"
    )
}

fn virtual_dataset(
    (cols, rows): (usize, usize),
    serial: u64,
    sources: impl Iterator<Item = String>,
    mask: &str,
) -> String {
    let mut bands = String::new();
    for (band, source) in (1..).zip(sources) {
        let _ = write!(
            bands,
            "<VRTRasterBand dataType=\"Float64\" band=\"{band}\"><NoDataValue>nan</NoDataValue>{source}</VRTRasterBand>"
        );
    }
    format!(
        "<VRTDataset rasterXSize=\"{cols}\" rasterYSize=\"{rows}\"><Metadata><MDI key=\"view\">{serial}</MDI></Metadata>\
         {mask}{bands}</VRTDataset>"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
