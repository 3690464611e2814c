//! Files on servers: the same values as from a folder, errors that say what a server answered, many reads in flight.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, missing_docs)]

#[path = "support/server.rs"]
mod server;
mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ndarray::{Array4, Axis};
use rasterfuse::config::FusionConfig;
use rasterfuse::engine::OnError;
use rasterfuse::geometry::{Grid, PixelRegion};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::{Granule, RasterSource, RasterStack, Remote, Resampling};
use rasterfuse::{Error, Result};
use server::{Answer, Request, Server};
use support::{Missing, Sample, Tiff, Truth, assert_says, grid, same};
use tempfile::TempDir;

const SIDE: usize = 96;

/// Quick to give up.
fn hasty() -> Remote {
    Remote::default().timeout_seconds(1.0).retries(2).retry_seconds(0.05)
}

/// Files of a band each, `scene_20240101_red.tif`, of several blocks.
fn shelf(dates: usize) -> (TempDir, Truth) {
    let folder = TempDir::new().unwrap();
    let truth = Truth::new(grid((SIDE, SIDE)), dates, &["red", "nir"]);
    for (date, values) in truth.dates.iter().zip(truth.values.outer_iter()) {
        for (band, plane) in truth.bands.iter().zip(values.outer_iter()) {
            let tiff = Tiff {
                crs: Some("EPSG:32633"),
                sample: Sample::F64,
                missing: Missing::Nodata(-1.0),
                options: &["TILED=YES", "BLOCKXSIZE=32", "BLOCKYSIZE=32"],
                ..Tiff::new(&truth.grid, plane.insert_axis(Axis(0)))
            };
            tiff.write(&folder.path().join(name(*date, band)));
        }
    }
    (folder, truth)
}

fn name(date: rasterfuse::geometry::Date, band: &str) -> String {
    format!("scene_{}_{band}.tif", date.format("%Y%m%d"))
}

fn server(folder: &Path, rule: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
    Server::new(folder, Duration::ZERO, rule)
}

/// The stack of a server's files, by their names in full.
fn listed(server: &Server, truth: &Truth, remote: Remote) -> rasterfuse::source::StackBuilder {
    let granule = |date| {
        let files = truth.bands.iter().map(|band| server.url(&format!("{}?sig=secret&se=1", name(date, band))));
        Granule::new(date, files)
    };
    let granules: Vec<Granule> = truth.dates.iter().copied().map(granule).collect();
    RasterStack::from_granules(granules).source_bands(["red", "nir"]).remote(remote)
}

fn entire() -> PixelRegion {
    PixelRegion::new(0..SIDE, 0..SIDE)
}

/// Every value of a stack.
fn values(stack: &RasterStack) -> Result<Array4<f64>> {
    let (rows, cols) = stack.grid().shape();
    let slices = stack.dates().iter().map(|date| stack.read(*date, &[0, 1], &PixelRegion::new(0..rows, 0..cols)));
    let slices = slices.collect::<Result<Vec<_>>>()?;
    let views: Vec<_> = slices.iter().map(|slice| slice.values.view()).collect();
    Ok(ndarray::stack(Axis(0), &views).unwrap())
}

fn assert_same(found: &Array4<f64>, truth: &Array4<f64>) {
    assert_eq!(found.dim(), truth.dim());
    assert!(found.iter().zip(truth).all(|(a, b)| same(*a, *b)));
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => {
            let text = format!("{error} / {error:?}");
            assert!(!text.contains("secret"), "a signature is shown: {text}");
            text
        }
    }
}

#[test]
fn files_on_servers_are_read_like_those_of_a_folder() -> Result<()> {
    let (folder, truth) = shelf(5);
    let server = server(folder.path(), |_| Answer::Whole);
    let stack = listed(&server, &truth, Remote::default()).open()?;
    assert_same(&values(&stack)?, &truth.values);
    assert_eq!(stack.reads_in_flight(), Some(16));
    // By a pattern, where the server lists its folder; bands alone need no list.
    let pattern = |files: &str| RasterStack::builder(server.url(files), r"_(\d{8})_").source_bands(["red", "nir"]);
    assert_same(&values(&pattern("*_{band}.tif").open()?)?, &truth.values);
    assert_says(&message(pattern("**/scene_*_{band}.tif").open()), &["files", "`**`", "`list`"]);
    let one = pattern(&format!("{}?sig=secret&se=1", name(truth.dates[2], "{band}"))).open()?;
    assert_eq!(one.dates(), &truth.dates[2..3]);
    assert!(!one.origin().contains("secret"));
    // Resampled, and through GDAL's own name of the address.
    let onto = listed(&server, &truth, Remote::default()).onto(stack.grid(), Resampling::Bilinear).open()?;
    let local = truth
        .dates
        .iter()
        .map(|date| Granule::new(*date, truth.bands.iter().map(|band| folder.path().join(name(*date, band)))));
    let local = RasterStack::from_granules(local).source_bands(["red", "nir"]);
    let local = local.onto(stack.grid(), Resampling::Bilinear).open()?;
    assert_same(&values(&onto)?, &values(&local)?);
    let own = format!("/vsicurl/{}", server.url(&name(truth.dates[0], "red")));
    let single = RasterStack::from_granules([Granule::new(truth.dates[0], [own])]).open()?;
    assert!(single.reads_in_flight().is_some());
    // Signed addresses hold for GET alone, and nothing is looked for beside a file.
    let requests = server.requests();
    let odd = requests.iter().find(|request| {
        let file = request.path.split('?').next().unwrap_or_default();
        request.method != "GET" || !(file.contains(".tif") || file.ends_with('/'))
    });
    assert!(odd.is_none(), "{odd:?}");
    Ok(())
}

#[test]
fn a_server_that_refuses_is_quoted_with_what_to_do() {
    let (folder, truth) = shelf(3);
    let gone = name(truth.dates[1], "nir");
    for (status, says) in [
        (404, &["HTTP status 404", "no such file"][..]),
        (403, &["HTTP status 403", "credentials"]),
        (500, &["HTTP status 500", "run.remote.retries"]),
    ] {
        let fails = gone.clone();
        let server =
            server(
                folder.path(),
                move |request| {
                    if request.path.contains(&fails) { Answer::Status(status) } else { Answer::Whole }
                },
            );
        let opened = message(listed(&server, &truth, hasty()).open());
        assert_says(&opened, says);
        assert_says(&opened, &[&server.url(&gone), "2024-01-05"]);
        let tries = server.requests().iter().filter(|request| request.path.contains(&gone)).count();
        assert_eq!(tries, if status == 500 { 3 } else { 1 }, "{status}");
        // Passed over where errors are skipped: the other dates are there, and this one says why it is not.
        let lenient = listed(&server, &truth, hasty()).lenient(true).open().unwrap();
        assert_eq!(lenient.dates(), truth.dates);
        assert!(lenient.read(truth.dates[0], &[0], &entire()).is_ok());
        assert_says(&message(lenient.read(truth.dates[1], &[0], &entire())), says);
    }
}

#[test]
fn what_a_server_refuses_for_the_moment_is_asked_for_again() -> Result<()> {
    let (folder, truth) = shelf(2);
    for status in [503, 429, 500] {
        let server = server(
            folder.path(),
            move |request| {
                if request.times <= 2 { Answer::Status(status) } else { Answer::Whole }
            },
        );
        assert_same(&values(&listed(&server, &truth, hasty()).open()?)?, &truth.values);
    }
    Ok(())
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let (folder, truth) = shelf(2);
    let server =
        server(
            folder.path(),
            |request| {
                if request.is_late() { Answer::Wait(Duration::from_secs(4)) } else { Answer::Whole }
            },
        );
    let stack = listed(&server, &truth, hasty().retries(1)).open().unwrap();
    let began = Instant::now();
    let said = message(stack.read(truth.dates[0], &[0], &entire()));
    assert_says(&said, &["did not answer in time", "run.remote.timeout_seconds", "2024-01-01", "red"]);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn answers_that_break_off_are_no_holes() -> Result<()> {
    let (folder, truth) = shelf(2);
    let once = server(folder.path(), |request| {
        if request.range.is_some_and(|(first, _)| first == 16384) && request.times == 1 {
            Answer::Broken
        } else {
            Answer::Whole
        }
    });
    assert_same(&values(&listed(&once, &truth, hasty()).open()?)?, &truth.values);
    let late = |request: &Request| if request.is_late() { Answer::Broken } else { Answer::Whole };
    let always = server(folder.path(), late);
    let stack = listed(&always, &truth, hasty()).open()?;
    let said = message(stack.read(truth.dates[1], &[1], &entire()));
    assert_says(&said, &["broke off", &always.url(&name(truth.dates[1], "nir")), "2024-01-05", "nir"]);
    // Credentials that expire while pixels are read.
    let expired = server(folder.path(), |request| if request.is_late() { Answer::Status(403) } else { Answer::Whole });
    let stack = listed(&expired, &truth, hasty()).open()?;
    let said = message(stack.read(truth.dates[0], &[0], &entire()));
    assert_says(&said, &[&expired.url(&name(truth.dates[0], "red")), "2024-01-01"]);
    Ok(())
}

#[test]
fn nothing_that_a_remote_file_names_is_opened() {
    let (folder, truth) = shelf(1);
    let other = format!("{}", folder.path().join(name(truth.dates[0], "red")).display());
    let vrt = format!(
        "<VRTDataset rasterXSize=\"4\" rasterYSize=\"4\"><GeoTransform>0,1,0,0,0,-1</GeoTransform><VRTRasterBand dataType=\"Float64\" \
         band=\"1\"><SimpleSource><SourceFilename>{other}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    );
    fs::write(folder.path().join("scene_20240101.tif"), vrt).unwrap();
    let server = server(folder.path(), |_| Answer::Whole);
    let granule = Granule::new(truth.dates[0], [server.url("scene_20240101.tif")]);
    assert_says(&message(RasterStack::from_granules([granule]).remote(hasty()).open()), &["VRT", "drivers"]);
    let unknown = Granule::new(truth.dates[0], ["ftp://host/scene_20240101.tif"]);
    assert_says(&message(RasterStack::from_granules([unknown]).open()), &["ftp://", "https://"]);
}

/// A description of these files.
fn description(files: &str, target: &Grid, extra: &str) -> String {
    let [left, width, _, top, _, height] = target.geotransform();
    format!(
        "[target]\ncrs = \"EPSG:32633\"\ngeotransform = [{left}, {width}, 0, {top}, 0, {height}]\nshape = [{SIDE}, {SIDE}]\nbands = [\"red\"]\n\
         [process]\nkernel = \"none\"\nvariance = 1.0\n[prior]\nmean = 100.0\nvariance = 1e4\n[output]\nstore = \"out.zarr\"\n\
         [[instrument]]\nname = \"scene\"\n{files}\nnoise_variance = 1.0\n{extra}\n"
    )
}

fn run(text: &str, folder: &Path) -> Result<(Array4<f64>, rasterfuse::series::Report)> {
    let fusion = FusionConfig::parse(text, folder)?.build()?;
    let mut sink = MemorySink::new();
    let report = fusion.run(&mut sink)?;
    Ok((sink.into_arrays()?.0, report))
}

/// Files in lists and patterns of a description.
fn list(folder: &Path, server: &Server, truth: &Truth) {
    let line = |date: &rasterfuse::geometry::Date| format!("{date}, {}\n", server.url(&name(*date, "red")));
    let lines: String = truth.dates.iter().map(line).collect();
    fs::write(folder.join("list.csv"), format!("date, red\n{lines}")).unwrap();
}

#[test]
fn many_reads_are_in_flight_whatever_the_batches() -> Result<()> {
    let (folder, truth) = shelf(24);
    let server = Server::new(folder.path(), Duration::from_millis(15), |_| Answer::Whole);
    list(folder.path(), &server, &truth);
    let text = |files: &str, extra: &str| description(files, &truth.grid, extra);
    let (remote, _) = run(&text("list = \"list.csv\"", "[run]\nthreads = 2\n"), folder.path())?;
    // Observations lie four days apart in batches of eight: more than one batch is read ahead.
    let most = server.most_at_once();
    assert!(most >= 8, "{most} at a time");
    let (local, _) =
        run(&text("files = \"scene_*_{band}.tif\"\ndate = '_(\\d{8})_'\nsource_bands = [\"red\"]", ""), folder.path())?;
    assert_same(&remote, &local);
    let pattern = format!("files = \"{}\"\ndate = '_(\\d{{8}})_'", server.url("scene_*_{band}.tif"));
    let (found, _) = run(&text(&format!("{pattern}\nsource_bands = [\"red\"]"), ""), folder.path())?;
    assert_same(&found, &local);
    Ok(())
}

#[test]
fn dates_that_a_server_loses_are_skipped_and_reported() -> Result<()> {
    let (folder, truth) = shelf(6);
    let lost = name(truth.dates[3], "red");
    let server = server(folder.path(), move |request| {
        if request.path.contains(&lost) && request.is_late() { Answer::Broken } else { Answer::Whole }
    });
    list(folder.path(), &server, &truth);
    let text = |on_error: OnError| {
        let skip = if on_error == OnError::Skip { "skip" } else { "abort" };
        let run = format!(
            "[run]\non_error = \"{skip}\"\nremote = {{ timeout_seconds = 2, retries = 1, retry_seconds = 0.05 }}"
        );
        description("list = \"list.csv\"", &truth.grid, &run)
    };
    assert!(matches!(run(&text(OnError::Abort), folder.path()), Err(Error::Read { .. })));
    let (_, report) = run(&text(OnError::Skip), folder.path())?;
    let told = format!("{report:?}");
    assert_says(&told, &["broke off", "scene_20240113_red.tif"]);
    Ok(())
}

#[test]
fn settings_of_requests_are_checked() {
    let (folder, truth) = shelf(1);
    for (remote, says) in [
        ("timeout_seconds = 0", "run.remote.timeout_seconds"),
        ("retry_seconds = -1", "run.remote.retry_seconds"),
        ("retries = 1000", "run.remote.retries"),
        ("reads = 0", "run.remote.reads"),
    ] {
        let files = "files = \"scene_*_{band}.tif\"\ndate = '_(\\d{8})_'\nsource_bands = [\"red\"]";
        let text = description(files, &truth.grid, &format!("[run]\nremote = {{ {remote} }}"));
        assert_says(&message(run(&text, folder.path())), &[says]);
    }
    let cube = |name: &str| description(&format!("zarr = \"{name}\""), &truth.grid, "");
    assert_says(
        &message(run(&cube("/vsis3/bucket/cube.zarr"), folder.path())),
        &["zarr", "/vsis3/bucket", "give s3://"],
    );
    if cfg!(not(feature = "object-store")) {
        let said = message(run(&cube("s3://bucket/cube.zarr"), folder.path()));
        assert_says(&said, &["s3://bucket/cube.zarr", "feature object-store"]);
    }
}

/// Prints how much faster many reads in flight are than one: `cargo test --features cli --test remote -- --ignored
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
fn latency_is_hidden() -> Result<()> {
    let (folder, truth) = shelf(64);
    let mut took = Vec::new();
    for reads in [1, 16, 32] {
        let server = Server::new(folder.path(), Duration::from_millis(30), |_| Answer::Whole);
        list(folder.path(), &server, &truth);
        let text = description(
            "list = \"list.csv\"",
            &truth.grid,
            &format!("[run]\nthreads = 1\nremote = {{ reads = {reads} }}"),
        );
        let fusion = FusionConfig::parse(&text, folder.path())?.build()?;
        let opened = server.requests().len();
        let began = Instant::now();
        fusion.run(&mut MemorySink::new())?;
        took.push(began.elapsed().as_secs_f64());
        println!(
            "{reads} reads in flight: {} requests in {:.2} s, {} at a time; {:.1} times the rate of one",
            server.requests().len() - opened,
            began.elapsed().as_secs_f64(),
            server.most_at_once(),
            took[0] / began.elapsed().as_secs_f64()
        );
    }
    assert!(took[0] / took[1] > 8.0, "{took:?}");
    Ok(())
}

/// A page of a bucket's list.
fn page(names: &[String], next: Option<&str>) -> String {
    let key = |name: &String| {
        format!(
            "<Contents><Key>d/{name}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><Size>9</Size></Contents>"
        )
    };
    let keys = names.iter().map(key).collect::<Vec<_>>().concat();
    let next = next.map_or_else(String::new, |next| format!("<NextMarker>d/{next}</NextMarker>"));
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><Name>bucket</Name><Prefix>d/</Prefix><MaxKeys>2</MaxKeys>\
         <IsTruncated>{}</IsTruncated>{next}{keys}</ListBucketResult>",
        !next.is_empty()
    )
}

#[test]
fn lists_of_object_stores_are_whole_or_an_error() -> Result<()> {
    let (folder, truth) = shelf(3);
    fs::create_dir_all(folder.path().join("bucket/d")).unwrap();
    let names: Vec<String> = truth.dates.iter().map(|date| name(*date, "red")).collect();
    for name in &names {
        fs::copy(folder.path().join(name), folder.path().join("bucket/d").join(name)).unwrap();
    }
    let (first, second) = (page(&names[..2], Some(&names[1])), page(&names[2..], None));
    for (fails, pattern) in [(0, "**/*.tif"), (1, "*.tif"), (1, "**/*.tif"), (9, "*.tif"), (9, "**/*.tif")] {
        let (first, second) = (first.clone(), second.clone());
        let server = server(folder.path(), move |request| {
            match (request.path.contains("/bucket/?"), request.path.contains("marker=")) {
                (true, true) if request.times <= fails => Answer::Status(503),
                (true, true) => Answer::Body(second.clone()),
                (true, false) => Answer::Body(first.clone()),
                _ => Answer::Whole,
            }
        });
        // No other test of this file reads from a bucket.
        for (key, value) in [
            ("AWS_S3_ENDPOINT", server.url("").trim_start_matches("http://").trim_end_matches('/')),
            ("AWS_HTTPS", "NO"),
            ("AWS_VIRTUAL_HOSTING", "FALSE"),
            ("AWS_NO_SIGN_REQUEST", "YES"),
        ] {
            gdal::config::set_config_option(key, value).unwrap();
        }
        let stack = RasterStack::builder(format!("s3://bucket/d/{pattern}"), r"_(\d{8})_").remote(hasty());
        if fails > 3 {
            assert_says(&message(stack.open()), &["s3://bucket/d", "cannot be listed"]);
        } else {
            assert_eq!(stack.open()?.dates(), truth.dates, "{pattern}, {fails}");
        }
    }
    // A folder that is not to be listed, among others.
    for (inner, name) in ["one", "two"].iter().zip(&names) {
        fs::create_dir_all(folder.path().join(inner)).unwrap();
        fs::copy(folder.path().join(name), folder.path().join(inner).join(name)).unwrap();
    }
    let closed =
        server(
            folder.path(),
            |request| {
                if request.path.ends_with("/two/") { Answer::Status(403) } else { Answer::Whole }
            },
        );
    let stack = RasterStack::builder(closed.url("[ot][nw][eo]/*_red.tif"), r"_(\d{8})_").remote(hasty());
    assert_says(&message(stack.open()), &["cannot be listed", "HTTP status 403"]);
    Ok(())
}
