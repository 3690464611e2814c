"""Writes the small cubes beside this script with xarray and zarr-python, as people do.

    pip install xarray zarr numpy netCDF4 && python make_cubes.py

All hold the series of `tests/support/mod.rs` (`Truth::new`), 3 dates x 3 bands x 7 x 11 pixels of 30 m x 20 m; what differs is how it is stored.
Written with xarray 2026.9, zarr 3.1, netCDF4 1.7.
"""

import shutil
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, BloscShuffle

warnings.simplefilter("ignore")
HERE = Path(__file__).parent
BANDS = ["red", "nir", "swir"]
DATES = np.array(["2024-01-01", "2024-01-05", "2024-01-09"], dtype="datetime64[ns]")
Y = 5_200_000.0 - 20.0 * (np.arange(7) + 0.5)
X = 600_000.0 + 30.0 * (np.arange(11) + 0.5)

t, b, r, c = np.meshgrid(np.arange(3), np.arange(3), np.arange(7), np.arange(11), indexing="ij")
VALUES = (1 + (89 * t + 53 * b + 17 * r + 5 * c) % 250).astype("f8")
VALUES[(3 * t + b + 2 * r + 5 * c) % 7 == 0] = np.nan


def cube(**coords):
    return xr.DataArray(
        VALUES, dims=("time", "band", "y", "x"), coords={"time": DATES, "band": BANDS, "y": Y, "x": X}
    ).assign_coords(**coords)


def path(name):
    shutil.rmtree(HERE / name, ignore_errors=True)
    return HERE / name


# What `Dataset.to_zarr` writes when asked for nothing, in either version.
for version in (2, 3):
    cube().to_dataset(name="reflectance").to_zarr(path(f"plain_v{version}.zarr"), zarr_format=version)

# Packed integers, another order of axes, y upwards, times in hours, chunks of several dates; no consolidated metadata.
packed = cube().transpose("band", "x", "y", "time").isel(y=slice(None, None, -1)).to_dataset(name="refl")
packed = packed.rename(band="wavelength", y="northing", x="easting", time="acquired")
packed = packed.assign_coords(wavelength=[665.0, 842.5, 1610.0])
for version in (2, 3):
    packed.to_zarr(
        path(f"packed_v{version}.zarr"),
        zarr_format=version,
        consolidated=False,
        encoding={
            "refl": {"dtype": "int16", "scale_factor": 0.5, "add_offset": -20.0, "_FillValue": -999, "chunks": (2, 6, 4, 2)},
            "acquired": {"units": "hours since 2023-12-31 12:00:00", "dtype": "float64"},
        },
    )

# A variable for each band, float32 with a fill value of its own, in shards with their checksums.
variables = cube().to_dataset(dim="band").fillna(-9999.0)
for name in BANDS:
    variables[name].attrs["grid_mapping"] = "crs"
variables["crs"] = xr.DataArray(0, attrs={"GeoTransform": "600000 30 0 5200000 0 -20", "proj:code": "EPSG:32633"})
encoding = {"dtype": "float32", "_FillValue": -9999.0, "chunks": (1, 4, 4), "shards": (1, 8, 8)}
encoding["compressors"] = [BloscCodec(cname="zstd", shuffle=BloscShuffle.bitshuffle)]
variables.to_zarr(path("sharded_v3.zarr"), zarr_format=3, encoding={name: encoding for name in BANDS})

# zarr-python alone: column-major chunks, zlib, big-endian numbers.
from numcodecs import Zlib  # noqa: E402

group = zarr.create_group(path("fortran_v2.zarr"), zarr_format=2)
array = group.create_array(
    "mean", shape=VALUES.shape, chunks=(1, 3, 4, 5), dtype=">f8", order="F", compressors=Zlib(), fill_value=np.nan
)
array[:] = VALUES
array.attrs["_ARRAY_DIMENSIONS"] = ["time", "band", "lat", "lon"]
for name, values, attributes in [
    ("time", (DATES - np.datetime64("1970-01-01")).astype("timedelta64[D]").astype("i4"), {"units": "days since 1970-1-1"}),
    ("lat", Y, {"units": "degrees_north"}),
    ("lon", X, {"units": "degrees_east"}),
]:
    coordinate = group.create_array(name, data=values)
    coordinate.attrs.update(attributes, _ARRAY_DIMENSIONS=[name])

# NetCDF, for GDAL: one variable over time, and a variable for each band.
single = cube().isel(band=0, drop=True).to_dataset(name="red")
single["red"].attrs["grid_mapping"] = "spatial_ref"
several = cube().to_dataset(dim="band")
for dataset, name in [(single, "series.nc"), (several, "bands.nc")]:
    # Without an EPSG code: a plain name is enough for the tests, which compare the grid.
    dataset = dataset.drop_vars("spatial_ref", errors="ignore")
    for variable in dataset.data_vars:
        dataset[variable].attrs.pop("grid_mapping", None)
    dataset.y.attrs.update(standard_name="projection_y_coordinate", units="m")
    dataset.x.attrs.update(standard_name="projection_x_coordinate", units="m")
    encoding = {v: {"dtype": "int16", "_FillValue": -999, "scale_factor": 0.5, "zlib": True} for v in dataset.data_vars}
    dataset.to_netcdf(HERE / name, encoding=encoding, engine="netcdf4")
