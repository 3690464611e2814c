//! Tables of the bands of each sensor.

use super::PresetBand;

/// Standard deviation of a surface reflectance ρ under the specified accuracy of these products, 0.005 + 0.05 ρ, at ρ
/// = 0.2.
const SPECIFIED_SD: f64 = 0.005 + 0.05 * 0.2;

const fn band(name: &'static str, id: &'static str, centre_nm: f64, fwhm_nm: f64) -> PresetBand {
    PresetBand { name, id, centre_nm, fwhm_nm, noise_sd: Some(SPECIFIED_SD) }
}

/// Bands without published noise.
const fn without_noise<const N: usize>(mut bands: [PresetBand; N]) -> [PresetBand; N] {
    let mut k = 0;
    while k < N {
        bands[k].noise_sd = None;
        k += 1;
    }
    bands
}

/// OLI and OLI-2: centres and widths from the band limits that USGS publishes.
const OLI: [PresetBand; 7] = [
    band("coastal", "B1", 443.0, 16.0),
    band("blue", "B2", 482.0, 60.0),
    band("green", "B3", 561.5, 57.0),
    band("red", "B4", 654.5, 37.0),
    band("nir", "B5", 865.0, 28.0),
    band("swir1", "B6", 1608.5, 85.0),
    band("swir2", "B7", 2200.5, 187.0),
];

pub(super) const LANDSAT_OLI: &[PresetBand] = &OLI;

/// TM and ETM+: the values of ETM+, from the band limits that USGS publishes.
pub(super) const LANDSAT_TM: &[PresetBand] = &[
    band("blue", "B1", 485.0, 70.0),
    band("green", "B2", 560.0, 80.0),
    band("red", "B3", 660.0, 60.0),
    band("nir", "B4", 835.0, 130.0),
    band("swir1", "B5", 1650.0, 200.0),
    band("swir2", "B7", 2220.0, 260.0),
];

const fn renamed(band: PresetBand, name: &'static str, id: &'static str) -> PresetBand {
    PresetBand { name, id, ..band }
}

pub(super) const HLS_L30: &[PresetBand] = &[
    renamed(OLI[0], "coastal", "B01"),
    renamed(OLI[1], "blue", "B02"),
    renamed(OLI[2], "green", "B03"),
    renamed(OLI[3], "red", "B04"),
    renamed(OLI[4], "nir_narrow", "B05"),
    renamed(OLI[5], "swir1", "B06"),
    renamed(OLI[6], "swir2", "B07"),
];

/// Bands that OLI also has are adjusted to the bandpass of OLI; the others are those of MSI.
pub(super) const HLS_S30: &[PresetBand] = &[
    renamed(OLI[0], "coastal", "B01"),
    renamed(OLI[1], "blue", "B02"),
    renamed(OLI[2], "green", "B03"),
    renamed(OLI[3], "red", "B04"),
    MSI[4],
    MSI[5],
    MSI[6],
    MSI[7],
    renamed(OLI[4], "nir_narrow", "B8A"),
    renamed(OLI[5], "swir1", "B11"),
    renamed(OLI[6], "swir2", "B12"),
];

/// MSI of Sentinel-2A.
const MSI: [PresetBand; 11] = [
    band("coastal", "B01", 442.7, 21.0),
    band("blue", "B02", 492.4, 66.0),
    band("green", "B03", 559.8, 36.0),
    band("red", "B04", 664.6, 31.0),
    band("red_edge1", "B05", 704.1, 15.0),
    band("red_edge2", "B06", 740.5, 15.0),
    band("red_edge3", "B07", 782.8, 20.0),
    band("nir", "B08", 832.8, 106.0),
    band("nir_narrow", "B8A", 864.7, 21.0),
    band("swir1", "B11", 1613.7, 91.0),
    band("swir2", "B12", 2202.4, 175.0),
];

pub(super) const SENTINEL2_10M: &[PresetBand] = &[MSI[1], MSI[2], MSI[3], MSI[7]];

pub(super) const SENTINEL2_20M: &[PresetBand] =
    &[MSI[1], MSI[2], MSI[3], MSI[4], MSI[5], MSI[6], MSI[8], MSI[9], MSI[10]];

/// MODIS bands 1 to 7, from their limits.
const MODIS: [PresetBand; 7] = [
    band("red", "b01", 645.0, 50.0),
    band("nir", "b02", 858.5, 35.0),
    band("blue", "b03", 469.0, 20.0),
    band("green", "b04", 555.0, 20.0),
    band("nir2", "b05", 1240.0, 20.0),
    band("swir1", "b06", 1640.0, 24.0),
    band("swir2", "b07", 2130.0, 50.0),
];

pub(super) const MOD09: &[PresetBand] = &MODIS;

pub(super) const MCD43: &[PresetBand] = &without_noise([
    renamed(MODIS[0], "red", "Band1"),
    renamed(MODIS[1], "nir", "Band2"),
    renamed(MODIS[2], "blue", "Band3"),
    renamed(MODIS[3], "green", "Band4"),
    renamed(MODIS[4], "nir2", "Band5"),
    renamed(MODIS[5], "swir1", "Band6"),
    renamed(MODIS[6], "swir2", "Band7"),
]);

/// VIIRS imagery bands, from their limits.
const IMAGERY: [PresetBand; 3] =
    [band("red", "I1", 640.0, 80.0), band("nir", "I2", 865.5, 39.0), band("swir1", "I3", 1610.0, 60.0)];

/// VIIRS moderate bands, from their limits.
const MODERATE: [PresetBand; 9] = [
    band("coastal", "M1", 412.0, 20.0),
    band("blue", "M2", 445.0, 18.0),
    band("blue2", "M3", 488.0, 20.0),
    band("green", "M4", 555.0, 20.0),
    band("red", "M5", 672.0, 20.0),
    band("nir", "M7", 865.5, 39.0),
    band("nir2", "M8", 1240.0, 20.0),
    band("swir1", "M10", 1610.0, 60.0),
    band("swir2", "M11", 2250.0, 50.0),
];

pub(super) const VIIRS_I: &[PresetBand] = &IMAGERY;
pub(super) const VIIRS_M: &[PresetBand] = &MODERATE;
pub(super) const VNP43_I: &[PresetBand] = &without_noise(IMAGERY);
pub(super) const VNP43_M: &[PresetBand] = &without_noise(MODERATE);
