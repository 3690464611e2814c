//! Opens a raster as a view on another grid through GDAL's virtual formats (VRT). A first dataset turns every missing
//! value of the file into NaN; a second one resamples it, block by block, as it is read.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ::gdal::errors::GdalError;
use ::gdal::raster::{ColorInterpretation, GdalDataType};
use ::gdal::{Dataset, Metadata};

use super::raster::{fills, holds_signed_bytes};
use super::transform::middle_longitude;
use super::turn::Turned;
use super::view::{KEY, Valid, View};
use super::{Drivers, QuietErrors, open, open_error, same_crs};
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid};

/// Largest error of a pixel location, in native pixels: within a block GDAL interpolates between locations that it
/// has computed.
///
/// A hundredth of a pixel is far below the geolocation error of any sensor and costs almost nothing, because
/// projections are nearly linear across a few hundred pixels.
const MAX_ERROR: f64 = 0.01;

/// Makes every description unique.
///
/// GDAL returns one shared dataset to all that open the same description on the same thread, but a view may by then
/// be in use on other threads.
static SERIAL: AtomicU64 = AtomicU64::new(0);

impl View {
    /// Opens a file as this view: all bands, or `only` one of them by position, with the same names, scale and
    /// offset, as float64 with NaN where missing. `own` is the size of its pixels in those of the view, which sets
    /// the width of the kernel, where that is not the view's own.
    ///
    /// # Errors
    /// [`Error::Open`] when GDAL cannot open it or it has no geotransform, [`Error::Grid`] when it is not north-up.
    pub(in crate::source) fn open(
        &self,
        path: &Path,
        date: Option<Date>,
        (own, only): (Option<(f64, f64)>, Option<usize>),
        valid: Option<Valid<'_>>,
    ) -> Result<Dataset> {
        let file = open(path, date, &self.drivers)?;
        let native = super::header(path, &file, date)?.grid;
        let native = match &self.assumed {
            Some(crs) => Grid::new(crs.clone(), native.geotransform(), native.shape())?,
            None => native,
        };
        let turned = Turned::new(&path.display().to_string(), &native, &self.grid)?;
        let _quiet = QuietErrors::new();
        let failed = |error: &GdalError| open_error(path, date, error);
        let unmasked = self
            .unmasked(path, &file, turned.first_column, valid)
            .map_err(|error| failed(&error))?
            .ok_or_else(|| Error::Open {
                path: path.to_path_buf(),
                date,
                problem: format!("its path is not UTF-8 text, which `{KEY}` needs; rename it"),
                source: None,
            })?;
        let sized = (&turned.grid, own.unwrap_or(self.native));
        let text = self.describe(&file, sized, &unmasked, only).map_err(|error| failed(&error))?;
        drop(file);
        open(Path::new(&text), date, &Drivers::and(["VRT"])).map_err(|error| match error {
            // The error names the path of the file, not the description.
            Error::Open { problem, source, .. } => Error::Open { path: path.to_path_buf(), date, problem, source },
            other => other,
        })
    }

    /// The description of the resampling dataset, in the format of `gdalwarp -of VRT`.
    fn describe(
        &self,
        file: &Dataset,
        (native, size): (&Grid, (f64, f64)),
        source: &str,
        only: Option<usize>,
    ) -> Result<String, GdalError> {
        let (rows, cols) = self.grid.shape();
        let mut bands = String::new();
        let mut mappings = String::new();
        let held = only.map_or(1..=file.raster_count(), |only| only + 1..=only + 1);
        for (own, index) in (1..).zip(held) {
            let band = file.rasterband(index)?;
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
                "<BandMapping src=\"{index}\" dst=\"{own}\"><SrcNoDataReal>nan</SrcNoDataReal>\
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
    /// The description of a float64 dataset on the file's own grid. It is NaN at nodata (of the file, or as given) and
    /// where a mask band or alpha hides the value. `None` when the description cannot express the path.
    fn unmasked(
        &self,
        path: &Path,
        file: &Dataset,
        cut: Option<usize>,
        valid: Option<Valid<'_>>,
    ) -> Result<Option<String>, GdalError> {
        let Some(path) = path.to_str() else { return Ok(None) };
        let bands = 1..=file.raster_count();
        let (declared, mut stored, mut further) = (fills(file)?, Vec::new(), Vec::new());
        let mut alpha = None;
        for index in bands.clone() {
            let band = file.rasterband(index)?;
            let (flags, signed) = (band.mask_flags()?, holds_signed_bytes(&band));
            let ordinary = |own: f64| self.rule.as_ref().is_some_and(|rule| !rule.takes_for_unknown(own));
            let own = band.no_data_value().filter(|own| !ordinary(*own));
            let by_nodata = flags.is_nodata() && !flags.is_per_dataset() && (signed || own.is_none());
            let round = |number: &f64| {
                if band.band_type() == GdalDataType::Float32 { f64::from(*number as f32) } else { *number }
            };
            // GDAL compares bytes, which a negative number never meets.
            let own = own.filter(|_| signed);
            let mut missing: Vec<f64> = own.into_iter().chain(self.nodata.iter().chain(&declared).map(round)).collect();
            missing.dedup();
            let masked = !(flags.is_all_valid() || by_nodata);
            // A number in addition to the mask makes GDAL forget the mask.
            let first = (!(masked || missing.is_empty())).then(|| missing.remove(0));
            let range = valid.and_then(|valid| valid.range(index - 1, band.scale(), band.offset()));
            stored.push(Stored { masked, signed, nodata: first, range });
            further.push(missing);
            if band.color_interpretation() == ColorInterpretation::AlphaBand {
                alpha = alpha.or(Some(index));
            }
        }
        let (size, serial) = (file.raster_size(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let file = escape(path);
        let of_file = |index: usize, stored: Stored| match cut {
            None => complex_source(&file, index, stored, ""),
            Some(first) => halves(size, first).map(|half| complex_source(&file, index, stored, &half)).concat(),
        };
        let mask = alpha.map(|index| {
            let source = of_file(index, Stored { nodata: stored[index - 1].nodata, ..Stored::default() });
            format!("<MaskBand><VRTRasterBand dataType=\"Byte\">{source}</VRTRasterBand></MaskBand>")
        });
        let sources = bands.clone().map(|index| of_file(index, stored[index - 1]));
        let mut dataset = virtual_dataset(size, serial, sources, mask.as_deref().unwrap_or_default());
        if let Some(alpha) = alpha {
            // GDAL treats alpha as a mask only in files of two or four bands. Here it masks all bands except itself.
            let inner = escape(&dataset);
            let all = |index| Stored { masked: index != alpha, ..Stored::default() };
            dataset = virtual_dataset(
                size,
                serial,
                bands.clone().map(|index| complex_source(&inner, index, all(index), "")),
                "",
            );
        }
        // A source knows one missing number, so that each further one takes a dataset around the last.
        for k in 0..further.iter().map(Vec::len).max().unwrap_or(0) {
            let inner = escape(&dataset);
            let layer = |index: usize| Stored { nodata: further[index - 1].get(k).copied(), ..Stored::default() };
            dataset = virtual_dataset(
                size,
                serial,
                bands.clone().map(|index| complex_source(&inner, index, layer(index), "")),
                "",
            );
        }
        Ok(Some(dataset))
    }
}

/// What the numbers of a band are.
#[derive(Clone, Copy, Debug, Default)]
struct Stored {
    /// Whether a mask of the file says which are missing.
    masked: bool,
    /// Whether bytes are signed.
    signed: bool,
    /// The number that is missing.
    nodata: Option<f64>,
    /// Numbers outside are missing.
    range: Option<(f64, f64)>,
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
fn complex_source(file: &str, band: usize, stored: Stored, part: &str) -> String {
    let Stored { masked, signed, nodata, range } = stored;
    // It is compared with the byte.
    let byte = |nodata: f64| if signed && nodata < 0.0 { nodata + 256.0 } else { nodata };
    let nodata = nodata.map_or_else(String::new, |nodata| format!("<NODATA>{:?}</NODATA>", byte(nodata)));
    let mask = if masked { "<UseMaskBand>true</UseMaskBand>" } else { "" };
    let table = match (signed, range) {
        // Between whole numbers the table is never asked.
        (true, None) => "<LUT>0:0,127:127,128:-128,255:-1</LUT>".into(),
        (true, Some((low, high))) => {
            let entry = |byte: u8| {
                let value = f64::from(byte.cast_signed());
                if (low..=high).contains(&value) { format!("{byte}:{value}") } else { format!("{byte}:nan") }
            };
            format!("<LUT>{}</LUT>", (0..=u8::MAX).map(entry).collect::<Vec<_>>().join(","))
        }
        // Numbers between two entries stay as they are; those beyond take the last one.
        (false, Some((low, high))) => {
            format!("<LUT>{:?}:nan,{low:?}:{low:?},{high:?}:{high:?},{:?}:nan</LUT>", low.next_down(), high.next_up())
        }
        (false, None) => String::new(),
    };
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
