#!/usr/bin/env python3
"""Opens a store as its readers do. Needs xarray, zarr, rioxarray and zarr-cm.

  interop.py STORE [SCENE]          a fused series, or a seasonal mean; with a scene's folder the values against its expected arrays
  interop.py --gdalinfo TEXT STORE  what `gdalinfo` printed of the first date and band of `mean`, against what xarray says

Checks values, dates, band names, coordinates, missing and fill values, CRS and transform, and the conventions that the attributes name.
"""
import json
import pathlib
import re
import sys

import numpy as np
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr
import zarr
import zarr_cm


def check_series(ds, scene):
    """A fused series; with a scene's folder against its expected arrays."""
    components = "cov" in ds
    spread, layer = ("cov", "component") if components else ("sd", "band")
    assert ds["mean"].dims == ("time", layer, "y", "x") and ds[spread].dims == ("time", "pair" if components else "band", "y", "x"), ds
    # xarray decodes whole numbers with a scale to float64.
    packed = "scale_factor" in ds["mean"].encoding
    assert ds["mean"].dtype == ds[spread].dtype == (np.float64 if packed else np.float32)
    assert ds["time"].dtype.kind == "M" and ds["time"].to_index().is_monotonic_increasing
    days = ds["time"].values.astype("datetime64[D]")
    assert (days.astype("datetime64[ns]") == ds["time"].values).all(), "dates are whole days"

    run = ds.attrs["rasterfuse"]
    assert run["dates_committed"] == run["dates_planned"] == ds.sizes["time"], run
    # After shards there is no report of one run.
    assert all(instrument["name"] for instrument in run.get("report", {}).get("instruments", []))
    assert str(days[-1]) == run["end"] or run["settings"]["time.output"] != "daily", run["end"]

    mean, sd = ds["mean"].values, ds[spread].values
    assert np.isfinite(mean).all() and (np.isfinite(sd).all() if components else (sd > 0).all())
    if "basis" in ds or components:
        assert ds["band"].dtype == np.float64 and ds["band"].attrs["units"] == "nm" and ds["band_name"].dims == ("band",)
    if components:
        # What docs/store.md makes of components, against the textbook's.
        day = ds.isel(time=-1)
        bands = ds["basis_mean"] + xr.dot(ds["basis"], day["mean"], dim="component")
        j, k = np.tril_indices(ds.sizes["component"])
        weights = (1 + (j != k)) * ds["basis"].values[:, j] * ds["basis"].values[:, k]
        band_sd = np.sqrt(xr.dot(xr.DataArray(weights, dims=("band", "pair")), day["cov"], dim="pair").clip(min=0))
        B, C = ds["basis"].values.astype(float), np.zeros((ds.sizes["component"],) * 2)
        for row, col in ((0, 0), (3, 5)):
            C[j, k] = C[k, j] = day["cov"].values[:, row, col]
            assert np.allclose(band_sd.values[:, row, col], np.sqrt(np.einsum("bp,pq,bq->b", B, C, B)), rtol=1e-3)
            assert np.allclose(bands.values[:, row, col], ds["basis_mean"].values + B @ day["mean"].values[:, row, col], rtol=1e-5)

    if "offset" in ds:
        offset, offset_sd = ds["offset"].values, ds["offset_sd"].values
        assert ds["offset"].dims == ds["offset_sd"].dims == ("time", "offset_band", "y", "x")
        assert all(" " in str(name) for name in ds["offset_band"].values), "instrument and band"
        assert (np.isnan(offset) == np.isnan(offset_sd)).all() and (offset_sd[np.isfinite(offset)] > 0).all()
        assert np.isfinite(offset).any() and np.nanstd(offset) > 0

    if scene is not None:
        expected_mean, expected_sd = (np.load(scene / f"expected_{name}.npy") for name in ("mean", "sd"))
        assert mean.shape == expected_mean.shape
        # Half a step of whole numbers; none of float32.
        steps = [0.5 * ds[name].encoding.get("scale_factor", 0.0) for name in ("mean", "sd")]
        assert (np.abs(mean - expected_mean) - steps[0] < 2e-4 * expected_sd).all()
        assert (np.abs(sd - expected_sd) - steps[1] < 2e-4 * expected_sd).all()


def check_seasonal(ds):
    """A seasonal mean."""
    about = ds.attrs["rasterfuse_seasonal"]
    assert ds["coefficient"].dims == ("band", "term", "y", "x") and ds["scatter"].dims == ("band", "y", "x")
    assert [str(name) for name in ds["band"].values] == about["components"]
    assert ds.sizes["term"] == 1 + 2 * about["harmonics"] and str(ds["term"].values[0]) == "mean"
    assert np.isfinite(ds["coefficient"].values).all() and (ds["scatter"].values >= 0).all()


def check_place(ds, name, store):
    """CRS, transform, coordinates and fill value of an array."""
    rio = ds[name].rio
    assert rio.crs is not None and rio.crs.is_projected
    transform = rio.transform()
    assert transform.e < 0 < transform.a and transform.b == transform.d == 0
    # Coordinates are cell centres.
    assert np.allclose(ds["x"][0], transform.c + transform.a / 2) and np.allclose(ds["y"][0], transform.f + transform.e / 2)
    assert np.allclose(np.diff(ds["x"]), transform.a) and np.allclose(np.diff(ds["y"]), transform.e)
    group = zarr.open_group(store, mode="r")
    missing = {"int16": -32768, "uint16": 65535}.get(str(group[name].dtype))
    if missing is None:
        assert np.isnan(group[name].fill_value), "missing values are NaN"
    else:
        assert group[name].fill_value == missing == ds[name].encoding["_FillValue"], "missing values are the type's extreme"

    # Conventions of the group and of the array: those they name, and valid by them.
    for attributes in (ds.attrs, ds[name].attrs):
        found = {"proj", "spatial"} | ({"multiscales"} if "multiscales" in attributes else set())
        assert set(zarr_cm.detect_revisions(attributes)) == found
        zarr_cm.validate_all(attributes)
        a, b, c, d, e, f = attributes["spatial:transform"]
        assert np.allclose((a, b, c, d, e, f), tuple(transform)[:6])
        assert tuple(attributes["spatial:shape"]) == ds[name].shape[-2:]
        assert attributes["spatial:dimensions"] == ["y", "x"]


def check_overviews(ds, store):
    """Overviews are averages of the series, where and as coarse as the convention's layout says."""
    layout = ds.attrs["multiscales"]["layout"]
    steps = {name: 0.5 * ds[name].encoding.get("scale_factor", 0.0) for name in ("mean", "sd")}
    derived = [entry for entry in layout if "derived_from" in entry]
    assert len(layout) == len(derived) + 2 and derived, layout
    for entry in derived:
        name, times = entry["derived_from"], int(entry["transform"]["scale"][-1])
        group, array = entry["asset"].rsplit("/", 1)
        coarse = xr.open_zarr(store, group=group)
        assert array == name and list(coarse[name].shape[-2:]) == entry["spatial:shape"] == coarse.attrs["spatial:shape"]
        assert (coarse["time"].values == ds["time"].values).all() and (coarse["band"].values == ds["band"].values).all()
        averages = ds[name].astype(float).coarsen(y=times, x=times, boundary="pad").mean()
        assert np.allclose(coarse[name], averages, rtol=1e-5, atol=2 * steps[name] + 1e-9), entry
        transform, fine = coarse[name].rio.transform(), ds[name].rio.transform()
        assert np.allclose((transform.a, transform.e, transform.c, transform.f), (times * fine.a, times * fine.e, fine.c, fine.f))
        assert np.allclose(entry["spatial:transform"], tuple(transform)[:6]) and coarse[name].rio.crs == ds[name].rio.crs
        zarr_cm.validate_all(coarse.attrs)


def check_consolidated(store):
    """Consolidated metadata are those of the arrays."""
    if (store / "zarr.json").exists():
        held = json.loads((store / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
        documents = {name: json.loads((store / name / "zarr.json").read_text()) for name in held}
        # Groups have the documents of their own arrays, too.
        [document.pop("consolidated_metadata", None) for document in documents.values() if document["node_type"] == "group"]
    else:
        held = json.loads((store / ".zmetadata").read_text())["metadata"]
        documents = {name: json.loads((store / name).read_text()) for name in held}
    assert held and held == documents, "consolidated metadata differ"


def check_gdalinfo(text, store):
    """What GDAL says of a store, against what xarray does."""
    ds = xr.open_zarr(store)
    size = re.search(r"Size is (\d+), (\d+)", text)
    assert (int(size[2]), int(size[1])) == ds["mean"].shape[-2:], size[0]
    origin = re.search(r"Origin = \(([-\d.]+),([-\d.]+)\)", text)
    pixel = re.search(r"Pixel Size = \(([-\d.]+),([-\d.]+)\)", text)
    found = [float(pixel[1]), float(origin[1]), float(pixel[2]), float(origin[2])]
    transform = ds["mean"].rio.transform()
    assert np.allclose(found, [transform.a, transform.c, transform.e, transform.f]), (found, transform)
    print(f"{store}: read by GDAL")


def main():
    if sys.argv[1] == "--gdalinfo":
        return check_gdalinfo(pathlib.Path(sys.argv[2]).read_text(), pathlib.Path(sys.argv[3]))
    store = pathlib.Path(sys.argv[1])
    for options in ({}, {"consolidated": False}):
        ds = xr.open_zarr(store, **options)
        if "coefficient" in ds:
            check_seasonal(ds)
            names = ["coefficient", "scatter"]
        else:
            check_series(ds, pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None)
            names = [name for name in ("mean", "sd", "cov", "offset", "offset_sd") if name in ds]
        for name in names:
            check_place(ds, name, store)
    if "multiscales" in ds.attrs:
        check_overviews(ds, store)
    check_consolidated(store)
    print(f"{store}: {dict(ds.sizes)}, {ds[names[0]].rio.crs.to_string()[:40]}: read by xarray, rioxarray and zarr-cm")


main()
