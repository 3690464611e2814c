#!/usr/bin/env python3
"""Makes the two folders of docs/first_hour.md: first_hour.py FOLDER. Needs numpy and rasterio.

FOLDER/s2: Sentinel-2-like, a folder for each of ten dates, a file for each band and one of classes (SCL), 20 m, UTM.
FOLDER/modis: daily, two bands in a file, 463 m, sinusoidal projection. Both are cloudy; both see the same generated fields turn green.
"""
import datetime
import pathlib
import sys

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject, transform_bounds

folder = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(1)
SIDE, CELL, MARGIN = 120, 20.0, 60  # cells of the fine images, metres, cells around that MODIS sees too
SIZE = SIDE + 2 * MARGIN
WEST, NORTH, UTM = 450_000.0, 5_120_000.0, "EPSG:32633"
SINUSOIDAL = "+proj=sinu +lon_0=0 +R=6371007.181 +units=m +no_defs"
around = from_origin(WEST - MARGIN * CELL, NORTH + MARGIN * CELL, CELL, CELL)
start = datetime.date(2023, 4, 1)

# Fields: the nearest of some points; each turns green on a day of its own.
points = rng.uniform(0, SIZE, (90, 2))
rows, cols = np.mgrid[:SIZE, :SIZE]
field = np.argmin((rows[..., None] - points[:, 0]) ** 2 + (cols[..., None] - points[:, 1]) ** 2, axis=-1)
onset, speed = rng.uniform(10, 70, 90)[field], rng.uniform(4, 12, 90)[field]
bare, green = rng.uniform(0.16, 0.26, 90)[field], rng.uniform(0.3, 0.5, 90)[field]


def smooth(sigma):
    """A random field of unit variance, smooth over `sigma` cells."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None])
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIZE, SIZE))) * np.exp(-((frequency * sigma * 4) ** 2))).real
    return (noise - noise.mean()) / noise.std()


def write(path, bands, transform, crs, dtype, nodata):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    profile = dict(driver="GTiff", count=count, height=height, width=width, dtype=dtype, compress="deflate")
    with rasterio.open(path, "w", crs=crs, transform=transform, nodata=nodata, **profile) as file:
        file.write(bands.astype(dtype))


drift = 0.01 * smooth(6)
for day in range(92):
    date = start + datetime.timedelta(days=day)
    drift += 0.002 * smooth(6)
    leaf = 1 / (1 + np.exp(-(day - onset) / speed))
    nir = bare + (green - bare) * leaf + drift
    red = 0.16 - 0.11 * leaf + 0.3 * drift
    scene = np.stack([red, nir])
    sky = smooth(15)
    if day % 9 == 2:
        inner = slice(MARGIN, MARGIN + SIDE)
        cloud = (sky > np.quantile(sky, rng.uniform(0.3, 1.0)))[inner, inner]
        seen = np.where(cloud, 0.6, scene[:, inner, inner] + rng.normal(0, 0.005, (2, SIDE, SIDE)))
        transform = from_origin(WEST, NORTH, CELL, CELL)
        name = f"T33TVM_{date:%Y%m%d}"
        for band, values in zip(["B04", "B8A"], seen):
            write(folder / "s2" / f"{date:%Y-%m-%d}" / f"{name}_{band}.tif", values[None] * 1e4, transform, UTM, "uint16", 0)
        classes = np.where(cloud, 9, 4)[None]
        write(folder / "s2" / f"{date:%Y-%m-%d}" / f"{name}_SCL.tif", classes, transform, UTM, "uint8", 0)
    if rng.random() < 0.7:
        # MODIS reads redder and darker than Sentinel-2 by a constant, as other angles and bandpasses make it.
        bounds = (around.c, around.f - SIZE * CELL, around.c + SIZE * CELL, around.f)
        west, south, east, north = transform_bounds(UTM, SINUSOIDAL, *bounds)
        pixel = 463.3127
        west, north = np.floor(west / pixel) * pixel, np.ceil(north / pixel) * pixel
        shape = (2, int((north - south) / pixel), int((east - west) / pixel))
        coarse = np.full(shape, np.nan)
        reproject(scene, coarse, src_transform=around, src_crs=UTM, dst_transform=from_origin(west, north, pixel, pixel),
                  dst_crs=SINUSOIDAL, resampling=Resampling.average, dst_nodata=np.nan)
        coarse += np.array([0.005, -0.02])[:, None, None] + rng.normal(0, 0.006, shape)
        coarse[:, rng.random(shape[1:]) < 0.2] = np.nan
        stored = np.where(np.isnan(coarse), -28672, coarse * 1e4)
        write(folder / "modis" / f"MOD_A{date:%Y%j}.tif", stored, from_origin(west, north, pixel, pixel), SINUSOIDAL, "int16", -28672)
print(f"{len(list(folder.glob('s2/*/*_B04.tif')))} dates in {folder / 's2'}, {len(list(folder.glob('modis/*')))} in {folder / 'modis'}")
