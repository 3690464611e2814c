//! The area of interest: a box, or what a vector file holds, in cells that fit those of the source.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, missing_docs)]

mod support;

use std::fs;

use ndarray::Array3;
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::{Crs, Extent, Grid, PixelRegion};
use rasterfuse::sink::FusedSeries;
use rasterfuse::source::RasterSource;
use rasterfuse::source::gdal::envelope;
use support::{Sample, Tiff, assert_says, day};
use tempfile::TempDir;

/// A scene of 40 x 60 cells of 10 m, whose values name their cells.
struct World(TempDir);

impl World {
    fn new() -> Self {
        let world = Self(TempDir::new().unwrap());
        let values = Array3::from_shape_fn((1, 40, 60), |(_, row, col)| 0.001 * (100 * row + col) as f64);
        let names = vec!["red".to_owned()];
        Tiff { crs: Some("EPSG:32633"), sample: Sample::F64, names, ..Tiff::new(&Self::scene(), values.view()) }
            .write(&world.0.path().join("scene_20240101.tif"));
        world
    }

    fn scene() -> Grid {
        let utm = Crs::from_epsg(32633).unwrap();
        Grid::new(utm, [500_000.0, 10.0, 0.0, 5_100_000.0, 0.0, -10.0], (40, 60)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// The store of a fusion onto this target, or what is said against it.
    fn fused(&self, target: &str) -> Result<FusedSeries, String> {
        self.write(
            "fusion.toml",
            &format!(
                "[target]\n{target}\nbands = [\"red\"]\n[process]\nkernel = \"none\"\nvariance = 1e-4\n\
                 [prior]\nmean = 0.2\nvariance = 100.0\n[[instrument]]\nname = \"one\"\nfiles = \"scene_*.tif\"\n\
                 date = '_(\\d{{8}})'\nnoise_variance = 1e-12\n[output]\nstore = \"fused.zarr\"\n[run]\nmemory = \"1GiB\"\n"
            ),
        );
        let _ = fs::remove_dir_all(self.0.path().join("fused.zarr"));
        let _ = fs::remove_dir_all(self.0.path().join("fused.zarr.state"));
        let config = FusionConfig::read(self.0.path().join("fusion.toml")).map_err(|error| error.to_string())?;
        let run = || config.build()?.run(&mut config.sink()?);
        run().map_err(|error| error.to_string())?;
        Ok(FusedSeries::open(self.0.path().join("fused.zarr")).unwrap())
    }

    /// Fails unless the target is this part of the scene, with its values.
    fn is_part(&self, target: &str, region: &PixelRegion) {
        let series = self.fused(target).unwrap();
        let (top, left) = (region.rows.start, region.cols.start);
        assert_eq!(World::scene().lattice_offset(series.grid()), Some((top as i64, left as i64)), "{target}");
        assert_eq!(series.grid().shape(), region.shape(), "{target}");
        let (mean, _) = series.values(day(0), &[0], &series.grid().region()).unwrap();
        for ((_, row, col), value) in mean.indexed_iter() {
            let expected = 0.001 * (100 * (row + top) + col + left) as f64;
            assert!((value - expected).abs() < 1e-5, "{target}: {value} at ({row}, {col}), not {expected}");
        }
    }

    fn refuses(&self, target: &str, words: &[&str]) {
        assert_says(&self.fused(target).map(|_| ()).unwrap_err(), words);
    }
}

/// A triangle with these corners.
fn geojson(corners: [(f64, f64); 3], crs: &str) -> String {
    let points: Vec<String> = corners.iter().chain([&corners[0]]).map(|(x, y)| format!("[{x:.9}, {y:.9}]")).collect();
    format!(
        "{{\"type\": \"FeatureCollection\", \"crs\": {{\"type\": \"name\", \"properties\": {{\"name\": \"{crs}\"}}}}, \"features\": \
         [{{\"type\": \"Feature\", \"properties\": {{}}, \"geometry\": {{\"type\": \"Polygon\", \"coordinates\": [[{}]]}}}}]}}",
        points.join(", ")
    )
}

#[test]
fn a_box_is_covered_by_cells_whose_lines_are_multiples_of_their_size() {
    let world = World::new();
    let target = |edges: &str| format!("bbox = [{edges}]\nresolution = 10.0\ncrs = \"EPSG:32633\"");
    // Rows 5 to 12, columns 20 to 30, exactly and with edges inside of cells.
    let part = PixelRegion::new(5..12, 20..30);
    world.is_part(&target("500200, 5099880, 500300, 5099950"), &part);
    world.is_part(&target("500203, 5099889, 500291, 5099941"), &part);
    let series = world.fused(&target("500203, 5099889, 500291, 5099941")).unwrap();
    assert_eq!(series.grid().crs(), &Crs::from_epsg(32633).unwrap());
    // A grid in Rust is the same one.
    let area = Extent { left: 500_203.0, bottom: 5_099_889.0, right: 500_291.0, top: 5_099_941.0 };
    assert_eq!(series.grid(), &Grid::covering(Crs::from_epsg(32633).unwrap(), &area, (10.0, 10.0)).unwrap());
}

#[test]
fn a_part_of_a_raster_keeps_its_cells() {
    let world = World::new();
    world.is_part(
        "like = \"scene_20240101.tif\"\nbbox = [500203, 5099889, 500291, 5099941]",
        &PixelRegion::new(5..12, 20..30),
    );
    // Beyond the scene there are no cells.
    world.is_part(
        "like = \"scene_20240101.tif\"\nbbox = [400000, 5099889, 500020, 5199941]",
        &PixelRegion::new(0..12, 0..2),
    );
    world.write(
        "aoi.geojson",
        &geojson([(500_203.0, 5_099_889.0), (500_291.0, 5_099_900.0), (500_250.0, 5_099_941.0)], "EPSG:32633"),
    );
    world.is_part("like = \"scene_20240101.tif\"\ncrop = \"aoi.geojson\"", &PixelRegion::new(5..12, 20..30));
}

#[test]
fn shapes_of_another_crs_are_brought_into_that_of_the_raster() {
    let world = World::new();
    // On the central meridian of the zone x is 500 km, and y follows from the length of the meridian: corners by PROJ.
    let corner = |x: f64, y: f64| {
        use gdal::spatial_ref::{AxisMappingStrategy, CoordTransform, SpatialRef};
        let (mut utm, mut degrees) = (SpatialRef::from_epsg(32633).unwrap(), SpatialRef::from_epsg(4326).unwrap());
        utm.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
        degrees.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
        let (mut xs, mut ys) = ([x], [y]);
        CoordTransform::new(&utm, &degrees).unwrap().transform_coords(&mut xs, &mut ys, &mut []).unwrap();
        (xs[0], ys[0])
    };
    let corners = [corner(500_203.0, 5_099_889.0), corner(500_291.0, 5_099_889.0), corner(500_291.0, 5_099_941.0)];
    assert!((corners[0].0 - 15.0).abs() < 0.01 && (corners[0].1 - 46.05).abs() < 0.05, "{corners:?}");
    world.write("aoi.geojson", &geojson(corners, "OGC:CRS84"));
    world.is_part("like = \"scene_20240101.tif\"\ncrop = \"aoi.geojson\"", &PixelRegion::new(5..12, 20..30));
    let area = envelope(&world.0.path().join("aoi.geojson"), &Crs::from_epsg(32633).unwrap()).unwrap();
    assert!((area.left - 500_203.0).abs() < 1.0 && (area.top - 5_099_941.0).abs() < 1.0, "{area:?}");
}

#[test]
fn what_is_no_area_is_refused_with_what_would_do() {
    let world = World::new();
    let like = "like = \"scene_20240101.tif\"\n";
    world.refuses("bbox = [500200, 5099880, 500300, 5099950]", &["target.bbox", "`resolution`", "`crs`", "`like`"]);
    world.refuses(
        "bbox = [500300, 5099880, 500200, 5099950]\nresolution = 10.0\ncrs = \"EPSG:32633\"",
        &["target.bbox", "left < right"],
    );
    world.refuses(
        "bbox = [500200, 5099880, 500300, 5099950]\nresolution = 0.0\ncrs = \"EPSG:32633\"",
        &["target.resolution", "positive"],
    );
    world
        .refuses(&format!("{like}bbox = [15.0, 46.0, 15.1, 46.1]"), &["target.bbox", "outside the grid", "x before y"]);
    world.refuses(&format!("{like}resolution = 10.0"), &["target", "`like` gives CRS and cells"]);
    world.refuses("crop = \"aoi.geojson\"", &["target", "`crop`"]);
    world.refuses(&format!("{like}crop = \"aoi.geojson\"\nbbox = [0, 0, 1, 1]"), &["target.crop", "one of them"]);
    world.refuses(&format!("{like}crop = \"gone.gpkg\""), &["target.crop", "gone.gpkg", "No such file"]);
    world.write("empty.geojson", "{\"type\": \"FeatureCollection\", \"features\": []}");
    world.refuses(&format!("{like}crop = \"empty.geojson\""), &["target.crop", "empty.geojson", "no shape"]);
    world.write("far.geojson", &geojson([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], "OGC:CRS84"));
    world.refuses(&format!("{like}crop = \"far.geojson\""), &["target.crop", "outside the grid"]);
    world.refuses(
        "geotransform = [500003.0, 10.0, 0.0, 5099997.0, 0.0, -10.0]\nshape = [4, 4]\ncrs = \"EPSG:32633\"",
        &["have the same size, but lie between those of the target", "`like` in [target]"],
    );
    assert!(Crs::from_epsg(1).unwrap_err().to_string().contains("EPSG:1"));
}
