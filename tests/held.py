#!/usr/bin/env python3
"""What readers of a store see while dates are made anew: one that opens it, and one that holds it open. Needs xarray and zarr.

  held.py RASTERFUSE FOLDER    runs the program in FOLDER, which must be empty

A date comes late and is replayed. Every dataset that is opened meanwhile shows whole dates of one state; one that was opened
before shows old or new chunks, never missing ones, and the generation of the series tells that it must be opened again.
"""
import datetime
import json
import pathlib
import subprocess
import sys

import numpy as np
import xarray as xr

DAYS, LATE, SIDE = 60, 30, 24
program, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
folder.mkdir(exist_ok=True)
store = folder / "fused.zarr"

# A cube of daily images; the late day is missing at first.
rng = np.random.default_rng(3)
days = [np.datetime64("2024-01-01") + k for k in range(DAYS)]
x, y = 15.0 + 30.0 * np.arange(SIDE), -15.0 - 30.0 * np.arange(SIDE)
values = rng.normal(0.3, 0.02, (DAYS, 1, SIDE, SIDE))
cube = xr.Dataset({"reflectance": (("time", "band", "y", "x"), values)}, {"time": days, "band": ["red"], "y": y, "x": x})
description = """
target = { geotransform = [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], shape = [24, 24], bands = ["red"] }
time = { start = "2024-01-01", end = "2024-02-29" }
window = { size = 4, halo = 4 }
process = { kernel = "exponential", range = 100.0, variance = 1e-4 }
prior = { mean = 0.25, variance = 0.01 }
smoothing = { lag = 2 }
output = { store = "fused.zarr", tile = [8, 24] }
run = { checkpoint = "full" }
[[instrument]]
name = "fine"
zarr = "cube.zarr"
variable = "reflectance"
noise_variance = 1e-4
"""
(folder / "fuse.toml").write_text(description)


def write(cube):
    cube.to_zarr(folder / "cube.zarr", mode="w", zarr_format=3)


def run():
    return json.loads((store / "zarr.json").read_text())["attributes"]["rasterfuse"]


def read(dataset):
    return dataset["mean"].load().values


command = [str(program), "fuse", str(folder / "fuse.toml")]
write(cube.isel(time=[k for k in range(DAYS) if k != LATE]))
subprocess.run(command, check=True, capture_output=True)
held = xr.open_zarr(store)
before, generation = read(xr.open_zarr(store)), run()["series_generation"]
assert before.shape[0] == DAYS and np.isfinite(before).all()

write(cube)
replay = subprocess.Popen([*command, "--append", "--replay"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
fresh, states = [], []
while replay.poll() is None:
    told = run()["series_generation"]
    dataset = xr.open_zarr(store)
    fresh.append((told, read(dataset), run()["series_generation"]))
    states.append(xr.open_zarr(store)["mean"].shape[0])
    mixed = read(held.copy())
    assert np.isfinite(mixed).all(), "a reader that holds the store finds something missing"
assert replay.returncode == 0
after = read(xr.open_zarr(store))
assert after.shape == before.shape and run()["series_generation"] == generation + 1, "readers can tell"
changed = np.flatnonzero((before != after).any(axis=(1, 2, 3)))
assert changed.min() == LATE - 2, changed  # the lag before the late date

for first, seen, last in fresh:
    n = seen.shape[0]
    one = any((seen == whole[:n]).all() for whole in (before, after))
    assert one or first != last, f"a fresh reader of {n} dates sees a mixture"
    # What is being made anew is hidden.
    assert first == generation or n <= LATE - 2 or (seen == after[:n]).all()
assert min(states) <= LATE - 2, states
print(f"{len(fresh)} datasets were opened during the replay, with {sorted(set(states))} dates")
