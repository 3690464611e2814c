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
    components = "cov" in ds
    spread, layer = ("cov", "component") if components else ("sd", "band")
    assert ds["mean"].dims == ("time", layer, "y", "x") and ds[spread].dims == ("time", "pair" if components else "band", "y", "x"), ds
    assert ds["mean"].dtype == ds[spread].dtype == np.float32
    assert ds["time"].dtype.kind == "M" and ds["time"].to_index().is_monotonic_increasing
    days = ds["time"].values.astype("datetime64[D]")
    assert (days.astype("datetime64[ns]") == ds["time"].values).all(), "dates are whole days"
    assert all(isinstance(str(name), str) and str(name) for name in ds["band"].values)

    run = ds.attrs["rasterfuse"]
    assert run["dates_committed"] == run["dates_planned"] == ds.sizes["time"], run
    assert [i["name"] for i in run["report"]["instruments"]]

    mean, sd = ds["mean"].values, ds[spread].values
    assert np.isfinite(mean).all() and (np.isfinite(sd).all() if components else (sd > 0).all())
    if components:
        # The lines of docs/store.md, against the textbook's.
        day = ds.isel(time=-1); bands = ds["basis_mean"] + xr.dot(ds["basis"], day["mean"], dim="component")
        j, k = np.tril_indices(ds.sizes["component"]); weights = (1 + (j != k)) * ds["basis"].values[:, j] * ds["basis"].values[:, k]
        band_sd = np.sqrt(xr.dot(xr.DataArray(weights, dims=("band", "pair")), day["cov"], dim="pair").clip(min=0))
        B, C = ds["basis"].values.astype(float), np.zeros((ds.sizes["component"],) * 2)
        for row, col in ((0, 0), (3, 5)):
            C[j, k] = C[k, j] = day["cov"].values[:, row, col]
            assert np.allclose(band_sd.values[:, row, col], np.sqrt(np.einsum("bp,pq,bq->b", B, C, B)), rtol=1e-3)
            assert np.allclose(bands.values[:, row, col], ds["basis_mean"].values + B @ day["mean"].values[:, row, col], rtol=1e-5)
        assert ds["band"].dtype == np.float64 and ds["band"].attrs["units"] == "nm" and ds["band_name"].dims == ("band",)

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
