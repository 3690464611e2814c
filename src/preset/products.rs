//! Table of the products.

use super::{Citation, Preset, PresetDay, PresetQuality, bands};
use crate::source::DayFormat;

const QUALITY: PresetQuality =
    PresetQuality { files: "", layer: 1, bits: &[], fields: &[], drop: &[], keep: &[], nodata: None };

const HLS: Preset = Preset {
    name: "hls_l30",
    title: "Harmonized Landsat Sentinel-2 v2.0, L30 (Landsat)",
    files: "**/HLS.L30.*.{band}.tif",
    date: r"\.(\d{7}T\d{6})\.",
    date_format: "%Y%jT%H%M%S",
    bands: bands::HLS_L30,
    scale: Some(1e-4),
    offset: Some(0.0),
    offset_by: None,
    offset_known: None,
    // Version of the product, as in `.v2.0`.
    versions: Some(r"(?P<id>HLS\.[LS]30\.T\w{5}\.\d{7}T\d{6})\.v(?P<first>\d+\.\d+)"),
    nodata: &[-9999.0],
    valid_range: None,
    // Cloud, adjacent to cloud or shadow, cloud shadow.
    quality: &[PresetQuality { files: "**/HLS.L30.*.Fmask.tif", bits: &[1, 2, 3], nodata: Some(255.0), ..QUALITY }],
    composite: None,
    day: None,
    resolution: None,
    citation: Citation {
        title: "Harmonized Landsat Sentinel-2 (HLS) Product User Guide, Product Version 2.0",
        section: "Tables of spectral bands, layers of L30 and S30, and Fmask bits",
        url: "https://lpdaac.usgs.gov/documents/1698/HLS_User_Guide_V2.pdf",
    },
};

const LANDSAT: Preset = Preset {
    name: "landsat_c2_l2_oli",
    title: "Landsat 8-9 Collection 2 Level-2 surface reflectance",
    files: "**/LC0[89]_L2S?_*_SR_{band}.TIF",
    date: r"LC0[89]_L2S._\d{6}_(\d{8})_",
    date_format: "%Y%m%d",
    bands: bands::LANDSAT_OLI,
    scale: Some(2.75e-5),
    offset: Some(-0.2),
    offset_by: None,
    offset_known: None,
    // Real-time (RT) before tiers 1 and 2, then the date of processing.
    versions: Some(r"(?P<id>L[CTE]0\d_L2S._\d{6}_\d{8})_(?P<then>\d{8})_\d{2}_(?:RT|T(?P<tier>[12]))"),
    nodata: &[0.0],
    valid_range: None,
    // Fill, dilated cloud, cirrus, cloud, cloud shadow.
    quality: &[PresetQuality { files: "**/LC0[89]_L2S?_*_QA_PIXEL.TIF", bits: &[0, 1, 2, 3, 4], ..QUALITY }],
    composite: None,
    day: None,
    resolution: None,
    citation: Citation {
        title: "Landsat 8-9 Collection 2 (C2) Level 2 Science Product (L2SP) Guide, LSDS-1619",
        section: "Surface reflectance specifications; pixel quality assessment (QA_PIXEL) bit index",
        url: "https://www.usgs.gov/media/files/landsat-8-9-collection-2-level-2-science-product-guide",
    },
};

const SENTINEL2: Preset = Preset {
    name: "sentinel2_l2a_10m",
    title: "Sentinel-2 Level-2A, SAFE folders, bands of 10 m",
    files: "**/S2?_MSIL2A_*.SAFE/GRANULE/*/IMG_DATA/R10m/*_{band}_10m.jp2",
    date: r"_MSIL2A_(\d{8}T\d{6})_",
    date_format: "%Y%m%dT%H%M%S",
    bands: bands::SENTINEL2_10M,
    scale: Some(1e-4),
    offset: None,
    // BOA_ADD_OFFSET = -1000 and BOA_QUANTIFICATION_VALUE = 10000 from baseline 04.00 on.
    offset_by: Some((r"_N(\d{4})_", &[(0, 0.0), (400, -0.1)])),
    // Baselines up to 05.xx; 99.99 is processing of one's own.
    offset_known: Some(("MTD_MSIL2A.xml", 999)),
    // Baseline; processing of one's own gives way to that of the ground segment.
    versions: Some(r"(?P<id>S2._MSIL2A_\d{8}T\d{6})_N(?:9999|(?P<first>\d{4}))_(?P<rest>R\d{3}_T\w{5})"),
    nodata: &[0.0],
    valid_range: None,
    // No data, saturated or defective, cloud shadows, cloud of medium and high probability, thin cirrus.
    quality: &[PresetQuality {
        files: "**/S2?_MSIL2A_*.SAFE/GRANULE/*/IMG_DATA/R20m/*_SCL_20m.jp2",
        drop: &[0.0, 1.0, 3.0, 8.0, 9.0, 10.0],
        ..QUALITY
    }],
    composite: None,
    day: None,
    resolution: Some(10.0),
    citation: Citation {
        title: "Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD) and Sentinel-2 MSI User Guide",
        section: "Level-2A product: BOA_ADD_OFFSET, scene classification; spatial and spectral resolution (Sentinel-2A)",
        url: "https://sentiwiki.copernicus.eu/web/s2-products",
    },
};

const MOD09GA: Preset = Preset {
    name: "mod09ga",
    title: "MODIS daily surface reflectance MOD09GA/MYD09GA v6.1, 500 m bands",
    files: r#"HDF4_EOS:EOS_GRID:"**/M[OY]D09GA.A*.hdf":MODIS_Grid_500m_2D:sur_refl_{band}_1"#,
    date: r"\.A(\d{7})\.",
    date_format: "%Y%j",
    bands: bands::MOD09,
    scale: Some(1e-4),
    offset: Some(0.0),
    offset_by: None,
    offset_known: None,
    // Collection, then the time of production.
    versions: Some(r"(?P<id>[MV]\w+\.A\d{7}\.h\d{2}v\d{2})\.(?P<first>\d{3})\.(?P<then>\d{13})"),
    nodata: &[-28672.0],
    valid_range: Some((-0.01, 1.6)),
    // Cloudy or mixed, cloud shadow, average or high cirrus, internal cloud flag, adjacent to cloud.
    quality: &[PresetQuality {
        files: r#"HDF4_EOS:EOS_GRID:"**/M[OY]D09GA.A*.hdf":MODIS_Grid_1km_2D:state_1km_1"#,
        bits: &[2, 10, 13],
        fields: &[(0, 1, &[1, 2]), (8, 9, &[2, 3])],
        nodata: Some(65535.0),
        ..QUALITY
    }],
    composite: None,
    day: None,
    resolution: None,
    citation: Citation {
        title: "MODIS Surface Reflectance User's Guide, Collections 6 and 6.1",
        section: "Science data sets of MOD09GA; 1 km state QA bits; accuracy 0.005 + 0.05 reflectance",
        url: "https://modis-land.gsfc.nasa.gov/pdf/MOD09_UserGuide_v1.4.pdf",
    },
};

const MCD43A4: Preset = Preset {
    name: "mcd43a4",
    title: "MODIS nadir BRDF-adjusted reflectance MCD43A4 v6.1",
    files: r#"HDF4_EOS:EOS_GRID:"**/MCD43A4.A*.hdf":MOD_Grid_BRDF:Nadir_Reflectance_{band}"#,
    bands: bands::MCD43,
    nodata: &[32767.0],
    valid_range: Some((0.0, 3.2766)),
    // 0: full inversion; 1: magnitude inversion.
    quality: &[PresetQuality {
        files: r#"HDF4_EOS:EOS_GRID:"**/MCD43A4.A*.hdf":MOD_Grid_BRDF:BRDF_Albedo_Band_Mandatory_Quality_{band}"#,
        keep: &[0.0],
        nodata: Some(255.0),
        ..QUALITY
    }],
    citation: Citation {
        title: "MCD43A4 v061, MODIS/Terra+Aqua BRDF/Albedo Nadir BRDF-Adjusted Reflectance Daily L3 Global 500 m",
        section: "Layers; mandatory quality; 16 days of data, dated by the ninth",
        url: "https://lpdaac.usgs.gov/products/mcd43a4v061/",
    },
    composite: Some((16, 0.5)),
    ..MOD09GA
};

const MOD09A1: Preset = Preset {
    name: "mod09a1",
    title: "MODIS 8-day surface reflectance MOD09A1/MYD09A1 v6.1, 500 m",
    files: r#"HDF4_EOS:EOS_GRID:"**/M[OY]D09A1.A*.hdf":MOD_Grid_500m_Surface_Reflectance:sur_refl_{band}"#,
    // The bits of MOD09GA's state, at 500 m.
    quality: &[PresetQuality {
        files: r#"HDF4_EOS:EOS_GRID:"**/M[OY]D09A1.A*.hdf":MOD_Grid_500m_Surface_Reflectance:sur_refl_state_500m"#,
        ..MOD09GA.quality[0]
    }],
    // Each pixel is of the best of the days from the date of the file on.
    composite: Some((8, 0.0)),
    // sur_refl_day_of_year, 1 to 366.
    day: Some(PresetDay { id: "day_of_year", format: DayFormat::DayOfYear, days: 8, nodata: 65535.0 }),
    citation: Citation {
        title: "MODIS Surface Reflectance User's Guide, Collections 6 and 6.1",
        section: "Science data sets and state QA of MOD09A1; the date is the first of eight days",
        url: "https://modis-land.gsfc.nasa.gov/pdf/MOD09_UserGuide_v1.4.pdf",
    },
    ..MOD09GA
};

const VNP43IA4: Preset = Preset {
    name: "vnp43ia4",
    title: "VIIRS nadir BRDF-adjusted reflectance VNP43IA4/VJ143IA4 v2, imagery bands of 500 m",
    files: r#"HDF5:"**/V[NJ][P1]43IA4.A*.h5"://HDFEOS/GRIDS/VIIRS_Grid_BRDF/Data_Fields/Nadir_Reflectance_{band}"#,
    bands: bands::VNP43_I,
    quality: &[PresetQuality {
        files: r#"HDF5:"**/V[NJ][P1]43IA4.A*.h5"://HDFEOS/GRIDS/VIIRS_Grid_BRDF/Data_Fields/BRDF_Albedo_Band_Mandatory_Quality_{band}"#,
        ..MCD43A4.quality[0]
    }],
    citation: Citation {
        title: "VNP43IA4 v002, VIIRS/NPP BRDF/Albedo Nadir BRDF-Adjusted Reflectance Daily L3 Global 500 m",
        section: "Layers; mandatory quality; 16 days of data, weighted to the ninth, which dates the file",
        url: "https://lpdaac.usgs.gov/products/vnp43ia4v002/",
    },
    ..MCD43A4
};

const VNP09GA: Preset = Preset {
    name: "vnp09ga_500m",
    title: "VIIRS daily surface reflectance VNP09GA/VJ109GA v2, imagery bands of 500 m",
    files: r#"HDF5:"**/V[NJ][P1]09GA.A*.h5"://HDFEOS/GRIDS/VIIRS_Grid_500m_2D/Data_Fields/SurfReflect_{band}_1"#,
    bands: bands::VIIRS_I,
    quality: &[VIIRS_QF1, VIIRS_QF2],
    citation: Citation {
        title: "Suomi-NPP VIIRS Surface Reflectance User's Guide",
        section: "Science data sets of VNP09GA; quality flags QF1 and QF2",
        url: "https://viirsland.gsfc.nasa.gov/PDF/VIIRS_Surf_Refl_UserGuide_v1.3.pdf",
    },
    ..MOD09GA
};

/// Probably or confidently cloudy.
const VIIRS_QF1: PresetQuality = PresetQuality {
    files: r#"HDF5:"**/V[NJ][P1]09GA.A*.h5"://HDFEOS/GRIDS/VIIRS_Grid_1km_2D/Data_Fields/SurfReflect_QF1_1"#,
    fields: &[(2, 3, &[2, 3])],
    ..QUALITY
};

/// Cloud shadow, heavy aerosol, thin cirrus (reflective, emissive).
const VIIRS_QF2: PresetQuality = PresetQuality {
    files: r#"HDF5:"**/V[NJ][P1]09GA.A*.h5"://HDFEOS/GRIDS/VIIRS_Grid_1km_2D/Data_Fields/SurfReflect_QF2_1"#,
    bits: &[3, 4, 6, 7],
    ..QUALITY
};

const EMIT: Preset = Preset {
    name: "emit_l2a",
    title: "EMIT L2A surface reflectance v1, orthorectified to GeoTIFF; bands as in the file",
    files: "**/EMIT_L2A_RFL_*.tif",
    date: r"EMIT_L2A_RFL_\d{3}_(\d{8}T\d{6})",
    date_format: "%Y%m%dT%H%M%S",
    bands: &[],
    scale: Some(1.0),
    offset: Some(0.0),
    offset_by: None,
    offset_known: None,
    versions: None,
    nodata: &[-9999.0],
    // Bands in deep water vapour absorption hold -0.01.
    valid_range: Some((0.0, 1.5)),
    // The aggregate flag.
    quality: &[PresetQuality {
        files: "**/EMIT_L2A_MASK_*.tif",
        layer: 8,
        drop: &[1.0],
        nodata: Some(-9999.0),
        ..QUALITY
    }],
    composite: None,
    day: None,
    resolution: None,
    citation: Citation {
        title: "EMIT L2A Estimated Surface Reflectance and Uncertainty and Masks 60 m v001",
        section: "Layers of EMIT_L2A_RFL and EMIT_L2A_MASK",
        url: "https://lpdaac.usgs.gov/products/emitl2arflv001/",
    },
};

pub(super) const ALL: &[Preset] = &[
    HLS,
    Preset {
        name: "hls_s30",
        title: "Harmonized Landsat Sentinel-2 v2.0, S30 (Sentinel-2)",
        files: "**/HLS.S30.*.{band}.tif",
        bands: bands::HLS_S30,
        quality: &[PresetQuality { files: "**/HLS.S30.*.Fmask.tif", ..HLS.quality[0] }],
        ..HLS
    },
    LANDSAT,
    Preset {
        name: "landsat_c2_l2_tm",
        title: "Landsat 4-7 Collection 2 Level-2 surface reflectance",
        files: "**/L[TE]0[457]_L2S?_*_SR_{band}.TIF",
        date: r"L[TE]0[457]_L2S._\d{6}_(\d{8})_",
        bands: bands::LANDSAT_TM,
        // Fill, dilated cloud, cloud, cloud shadow. These sensors have no cirrus band.
        quality: &[PresetQuality { files: "**/L[TE]0[457]_L2S?_*_QA_PIXEL.TIF", bits: &[0, 1, 3, 4], ..QUALITY }],
        citation: Citation {
            title: "Landsat 4-7 Collection 2 (C2) Level 2 Science Product (L2SP) Guide, LSDS-1618",
            url: "https://www.usgs.gov/media/files/landsat-4-7-collection-2-level-2-science-product-guide",
            ..LANDSAT.citation
        },
        ..LANDSAT
    },
    SENTINEL2,
    Preset {
        name: "sentinel2_l2a_20m",
        title: "Sentinel-2 Level-2A, SAFE folders, bands at 20 m",
        files: "**/S2?_MSIL2A_*.SAFE/GRANULE/*/IMG_DATA/R20m/*_{band}_20m.jp2",
        bands: bands::SENTINEL2_20M,
        resolution: Some(20.0),
        ..SENTINEL2
    },
    MOD09GA,
    MCD43A4,
    Preset {
        name: "mcd43a4_geotiff",
        title: "MODIS MCD43A4 v6.1, a GeoTIFF for each layer as AppEEARS exports it",
        files: "**/MCD43A4.061_Nadir_Reflectance_{band}_doy*.tif",
        date: r"_doy(\d{7})",
        quality: &[PresetQuality {
            files: "**/MCD43A4.061_BRDF_Albedo_Band_Mandatory_Quality_{band}_doy*.tif",
            ..MCD43A4.quality[0]
        }],
        ..MCD43A4
    },
    MOD09A1,
    VNP43IA4,
    Preset {
        name: "vnp43ma4",
        title: "VIIRS nadir BRDF-adjusted reflectance VNP43MA4/VJ143MA4 v2, moderate bands of 1 km",
        files: r#"HDF5:"**/V[NJ][P1]43MA4.A*.h5"://HDFEOS/GRIDS/VIIRS_Grid_BRDF/Data_Fields/Nadir_Reflectance_{band}"#,
        bands: bands::VNP43_M,
        quality: &[PresetQuality {
            files: r#"HDF5:"**/V[NJ][P1]43MA4.A*.h5"://HDFEOS/GRIDS/VIIRS_Grid_BRDF/Data_Fields/BRDF_Albedo_Band_Mandatory_Quality_{band}"#,
            ..MCD43A4.quality[0]
        }],
        citation: Citation {
            title: "VNP43MA4 v002, VIIRS/NPP BRDF/Albedo Nadir BRDF-Adjusted Reflectance Daily L3 Global 1 km",
            url: "https://lpdaac.usgs.gov/products/vnp43ma4v002/",
            ..VNP43IA4.citation
        },
        ..VNP43IA4
    },
    VNP09GA,
    Preset {
        name: "vnp09ga_1km",
        title: "VIIRS daily surface reflectance VNP09GA/VJ109GA v2, moderate bands of 1 km",
        files: r#"HDF5:"**/V[NJ][P1]09GA.A*.h5"://HDFEOS/GRIDS/VIIRS_Grid_1km_2D/Data_Fields/SurfReflect_{band}_1"#,
        bands: bands::VIIRS_M,
        ..VNP09GA
    },
    EMIT,
];
