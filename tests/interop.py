#!/usr/bin/env python3
"""Opens a store as its readers do: interop.py STORE [SCENE]. Needs xarray, zarr and rioxarray.

Checks dates, band names, coordinates, NaN, CRS and transform, and with a scene's folder the values against its expected arrays.
"""
import json
import pathlib
import sys

import numpy as np
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr

store = pathlib.Path(sys.argv[1])
for options in ({}, {"consolidated": False}):
    ds = xr.open_zarr(store, **options)
    assert ds["mean"].dims == ds["sd"].dims == ("time", "band", "y", "x"), ds
    assert ds["mean"].dtype == ds["sd"].dtype == np.float32
    assert ds["time"].dtype.kind == "M" and ds["time"].to_index().is_monotonic_increasing
    days = ds["time"].values.astype("datetime64[D]")
    assert (days.astype("datetime64[ns]") == ds["time"].values).all(), "dates are whole days"
    assert all(isinstance(str(name), str) and str(name) for name in ds["band"].values)

    run = ds.attrs["rasterfuse"]
    assert run["dates_committed"] == run["dates_planned"] == ds.sizes["time"], run
    assert [i["name"] for i in run["report"]["instruments"]]

    mean, sd = ds["mean"].values, ds["sd"].values
    assert np.isfinite(mean).all() and (sd > 0).all()

    rio = ds["mean"].rio
    assert rio.crs is not None and rio.crs.is_projected
    transform = rio.transform()
    assert transform.e < 0 < transform.a and transform.b == transform.d == 0
    # coordinates are cell centres
    assert np.allclose(ds["x"][0], transform.c + transform.a / 2) and np.allclose(ds["y"][0], transform.f + transform.e / 2)
    assert np.allclose(np.diff(ds["x"]), transform.a) and np.allclose(np.diff(ds["y"]), transform.e)
    assert tuple(ds.attrs["spatial:shape"]) == mean.shape[2:]

    if len(sys.argv) > 2:
        scene = pathlib.Path(sys.argv[2])
        expected_mean, expected_sd = (np.load(scene / f"expected_{n}.npy") for n in ("mean", "sd"))
        assert mean.shape == expected_mean.shape
        assert (np.abs(mean - expected_mean) / expected_sd).max() < 2e-4
        assert (np.abs(sd - expected_sd) / expected_sd).max() < 2e-4

if (store / "zarr.json").exists():
    group = json.loads((store / "zarr.json").read_text())
    for name, document in group["consolidated_metadata"]["metadata"].items():
        assert document == json.loads((store / name / "zarr.json").read_text()), f"{name}: consolidated metadata differ"
print(f"{store.name}: {dict(ds.sizes)}, {ds['mean'].rio.crs.to_string()[:40]}: read by xarray and rioxarray")
