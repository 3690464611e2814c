#!/usr/bin/env python3
"""Make the small scenes beside this script: input rasters, `fuse.toml`, and the exact fused result.

The expected result comes from a dense textbook filter that shares nothing with the library: every lattice cell that any
observed pixel averages is a state of its own (also beyond the target grid), every day is one prediction of one day, and
all the data of a day are one update in Joseph form. Smoothed results come from the backward pass of Rauch, Tung & Striebel,
stopped LAG days ahead. It reads `fuse.toml` and the rasters as written.

    python3 make_scenes.py            # regenerates every scene; needs numpy, scipy, rasterio, Python 3.11 or later
"""
import datetime
import pathlib
import re
import shutil
import sys
import tomllib
from dataclasses import dataclass

import numpy as np
import rasterio
from rasterio.transform import Affine
from scipy.linalg import block_diag, cho_factor, cho_solve

DAY = datetime.timedelta(days=1)
LAG = 2  # days that the smoothed results look ahead

# ------------------------------------------------------------------------------------------------ grids and footprints


@dataclass
class Grid:
    """North-up raster grid: upper-left corner, cell size (both positive), rows x columns."""

    x0: float
    y0: float
    dx: float
    dy: float
    rows: int
    cols: int

    def transform(self):
        return Affine(self.dx, 0.0, self.x0, 0.0, -self.dy, self.y0)


def cells_between(low, high, size, low_included):
    """Indices i with centre (i + 1/2) * size in [low, high), or in (low, high] if the low end is excluded."""
    near = range(int(np.floor(low / size)) - 2, int(np.ceil(high / size)) + 3)
    centre = [(i, (i + 0.5) * size) for i in near]
    return [i for i, s in centre if (low <= s < high if low_included else low < s <= high)]


def footprint(target, source, kind, i, j):
    """Weights of the target lattice cells (row, column) seen by pixel (i, j); the lattice goes on beyond the grid."""
    if kind == "cell":
        col, row = (source.x0 - target.x0) / target.dx, (target.y0 - source.y0) / target.dy
        assert (source.dx, source.dy) == (target.dx, target.dy) and col == round(col) and row == round(row)
        return {(round(row) + i, round(col) + j): 1.0}
    if kind != "cell" and kind != "uniform":
        fwhm = kind["gaussian_fwhm"]
        x, down = source.x0 + (j + 0.5) * source.dx - target.x0, target.y0 - source.y0 + (i + 0.5) * source.dy
        reach = 1.3 * fwhm
        near = lambda centre, size: range(int(np.floor((centre - reach) / size)) - 1, int(np.ceil((centre + reach) / size)) + 1)
        weights = {}
        for r in near(down, target.dy):
            for c in near(x, target.dx):
                dy, dx = (r + 0.5) * target.dy - down, (c + 0.5) * target.dx - x
                if abs(dy) <= reach and abs(dx) <= reach:
                    weights[r, c] = np.exp(-4 * np.log(2) * (dx**2 + dy**2) / fwhm**2)
        total = sum(weights.values())
        return {cell: weight / total for cell, weight in weights.items()}
    left = source.x0 + j * source.dx - target.x0
    down = target.y0 - source.y0 + i * source.dy  # distance downwards from the grid's top: the top edge is the low end
    cols = cells_between(left, left + source.dx, target.dx, True)
    rows = cells_between(down, down + source.dy, target.dy, True)
    return {(r, c): 1 / (len(rows) * len(cols)) for r in rows for c in cols}


# -------------------------------------------------------------------------------------------------- what the files hold


@dataclass
class Instrument:
    """One instrument: its pixels' footprints, and per day the values (row, column, source band), NaN = missing."""

    footprints: dict
    values: dict
    observes: list  # target band of each source band, or None
    noise_variance: np.ndarray
    bias: np.ndarray


@dataclass
class Scene:
    grid: Grid
    bands: list
    days: list
    size: int
    halo: int
    process_cov: object  # (component, coordinates) -> K_j
    relative: object  # (component, means) -> what the standard deviation of change is multiplied by
    phi: float
    prior_mean: np.ndarray
    prior_cov: object  # (component, coordinates) -> covariance on the day before the first
    instruments: list


def per(value, n):
    """One number or one per component (or band)."""
    return np.broadcast_to(np.asarray(value, float), (n,)).copy()


def correlation(kernel, distance, length):
    if kernel == "none":
        return (distance == 0).astype(float)
    r = distance / length
    if kernel == "exponential":
        return np.exp(-r)
    if kernel == "matern32":
        return (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r)
    if kernel == "matern52":
        return (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)
    raise ValueError(kernel)


def likeness(folder, process, xy):
    """exp(-d) of the scaled features of every two cells; cells beyond the raster have those of the nearest one, as have holes."""
    cfg = process["features"]
    grid = raster_grid(folder / cfg["raster"])
    with rasterio.open(folder / cfg["raster"]) as f:
        values = f.read()[cfg.get("bands", slice(None))].astype(float)
    # Holes have the features of the nearest whole cell within 16 cells, the upper and left one of several.
    whole = np.argwhere(np.isfinite(values).all(0))
    filled = values.copy()
    for r, c in np.argwhere(~np.isfinite(values).all(0)):
        d2 = ((whole - (r, c)) ** 2).sum(1)
        k = np.lexsort((whole[:, 1], whole[:, 0], d2))[0]
        if d2[k] <= 16**2:
            filled[:, r, c] = values[:, whole[k, 0], whole[k, 1]]
    values = filled
    row = np.clip(np.floor((grid.y0 - xy[:, 1]) / grid.dy).astype(int), 0, grid.rows - 1)
    col = np.clip(np.floor((xy[:, 0] - grid.x0) / grid.dx).astype(int), 0, grid.cols - 1)
    scaled = values[:, row, col] / per(cfg["scale"], len(values))[:, None]
    alike = np.exp(-np.sqrt(((scaled[:, :, None] - scaled[:, None, :]) ** 2).sum(0)))
    return np.where(np.eye(len(xy), dtype=bool), 1.0, np.nan_to_num(alike, nan=0.0))


def covariance(folder, process, p):
    """K_j(s, s') = sum of variance_j (k(|s - s'|; range_j) + nugget_j [s = s']), k combined with the likeness of features, as a
    function of (j, coordinates)."""

    def term(kernel, j, xy):
        variance, length, nugget = (per(kernel.get(k, d), p)[j] for k, d in (("variance", None), ("range", 1.0), ("nugget", 0.0)))
        d = np.sqrt(((xy[:, None, :] - xy[None, :, :]) ** 2).sum(-1))
        k = correlation(kernel["kernel"], d, length)
        if "features" in process:
            alike, w = likeness(folder, process, xy), process["features"].get("weight")
            k = k * alike if w is None else (1 - w) * k + w * alike
        return variance * (k + nugget * np.eye(len(xy)))

    return lambda j, xy: sum(term(kernel, j, xy) for kernel in [process] + process.get("nested", []))


def relative_change(process, p):
    """g with g^2 = 1 - weight + weight (value / level)^2, as a function of (j, values)."""
    if "relative" not in process:
        return lambda j, values: np.ones_like(values)
    weight, level = (per(process["relative"][k], p) for k in ("weight", "level"))
    return lambda j, values: np.sqrt(1 - weight[j] + weight[j] * (values / level[j]) ** 2)


def prior_covariance(folder, cfg, p):
    """The prior's variance on the diagonal, or times the correlation of the process."""
    variance, process_cov = per(cfg["prior"]["variance"], p), covariance(folder, cfg["process"], p)

    def correlated(j, xy):
        k = process_cov(j, xy)
        return variance[j] * k / k[0, 0]

    if cfg["prior"].get("correlation") == "process":
        return correlated
    return lambda j, xy: variance[j] * np.eye(len(xy))


def raster_grid(path):
    with rasterio.open(path) as f:
        t = f.transform
        assert t.b == t.d == 0
        return Grid(t.c, t.f, t.a, -t.e, f.height, f.width)


def read_values(path, cfg):
    """Physical values (row, column, band), NaN = missing."""
    with rasterio.open(path) as f:
        raw = f.read()
        y = raw.astype(float)
        if f.nodata is not None and not np.isnan(f.nodata):
            y[raw == f.nodata] = np.nan
    y = y * cfg.get("scale", 1.0) + cfg.get("offset", 0.0)
    if "valid_range" in cfg:
        low, high = cfg["valid_range"]
        y[(y < low) | (y > high)] = np.nan
    y = np.moveaxis(y, 0, 2)
    if cfg.get("missing", "band") == "pixel":
        used = [b != "" for b in cfg["bands"]]
        y[np.isnan(y[:, :, used]).any(2)] = np.nan
    return y


def read_scene(folder):
    """The scene that `fuse.toml` describes."""
    cfg = tomllib.loads((folder / "fuse.toml").read_text())
    target, bands = cfg["target"], cfg["target"]["bands"]
    if "like" in target:
        grid = raster_grid(folder / target["like"])
    else:
        x0, dx, _, y0, _, dy = target["geotransform"]
        grid = Grid(x0, y0, dx, -dy, *target["shape"])
    instruments = []
    for c in cfg["instrument"]:
        values = {}
        for path in sorted(folder.glob(c["files"])):
            stamp = re.search(c["date"], path.name).group(1)
            values[datetime.datetime.strptime(stamp, c.get("date_format", "%Y%m%d")).date()] = read_values(path, c)
        source = raster_grid(path)
        pixels = [(i, j) for i in range(source.rows) for j in range(source.cols)]
        instruments.append(
            Instrument(
                {a: footprint(grid, source, c["footprint"], *a) for a in pixels},
                values,
                [bands.index(b) if b else None for b in c["bands"]],
                per(c["noise_variance"], len(c["bands"])),
                per(c.get("bias", 0.0), len(c["bands"])),
            )
        )
    held = [day for k in instruments for day in k.values]
    first, last = (
        datetime.date.fromisoformat(cfg.get("time", {}).get(key, str(default)))
        for key, default in (("start", min(held)), ("end", max(held)))
    )
    return Scene(
        grid,
        bands,
        [first + n * DAY for n in range((last - first).days + 1)],
        cfg["window"]["size"],
        cfg["window"]["halo"],
        covariance(folder, cfg["process"], len(bands)),
        relative_change(cfg["process"], len(bands)),
        cfg["process"].get("phi", 1.0),
        per(cfg["prior"]["mean"], len(bands)),
        prior_covariance(folder, cfg, len(bands)),
        instruments,
    )


# ------------------------------------------------------------------------------------------------------------ the filter


@dataclass
class Window:
    """Own cells, every state cell, and for each instrument the observed pixels with their rows of H (one component)."""

    own: list
    cells: list
    xy: np.ndarray
    pixels: list  # per instrument: [(pixel, row of weights)]


def make_window(scene, top, left):
    g, s, h = scene.grid, scene.size, scene.halo
    rows, cols = range(top, min(top + s, g.rows)), range(left, min(left + s, g.cols))
    own = [(r, c) for r in rows for c in cols]
    near = {
        (r, c)
        for r in range(max(top - h, 0), min(top + s + h, g.rows))
        for c in range(max(left - h, 0), min(left + s + h, g.cols))
    }
    touching = [[a for a, cells in k.footprints.items() if near & set(cells)] for k in scene.instruments]
    seen = {s for k, pixels in zip(scene.instruments, touching) for a in pixels for s in k.footprints[a]}
    cells = sorted(near | seen)
    at = {s: n for n, s in enumerate(cells)}

    def weights(footprint):
        w = np.zeros(len(cells))
        for cell, weight in footprint.items():
            w[at[cell]] = weight
        return w

    return Window(
        own,
        cells,
        np.array([(g.x0 + (c + 0.5) * g.dx, g.y0 - (r + 0.5) * g.dy) for r, c in cells]),
        [[(a, weights(k.footprints[a])) for a in pixels] for k, pixels in zip(scene.instruments, touching)],
    )


def observations(scene, window, day):
    """H, y (bias removed) and noise variances of all values of one day; the state is component-major."""
    p, n = len(scene.bands), len(window.cells)
    H, y, v = [], [], []
    for k, pixels in zip(scene.instruments, window.pixels):
        if day not in k.values:
            continue
        for (i, j), w in pixels:
            for b, component in enumerate(k.observes):
                value = k.values[day][i, j, b]
                if component is None or np.isnan(value):
                    continue
                row = np.zeros(p * n)
                row[component * n : (component + 1) * n] = w
                H.append(row)
                y.append(value - k.bias[b])
                v.append(k.noise_variance[b])
    return np.array(H), np.array(y), np.array(v)


def update(m, P, H, y, v):
    """Kalman update in Joseph form, with the log-density of the innovation."""
    innovation = y - H @ m
    S = H @ P @ H.T + np.diag(v)
    C = cho_factor(S, lower=True)
    gain = cho_solve(C, H @ P).T
    A = np.eye(len(m)) - gain @ H
    P = A @ P @ A.T + gain @ np.diag(v) @ gain.T
    log_det = 2 * np.log(np.diag(C[0])).sum()
    loglik = -0.5 * (innovation @ cho_solve(C, innovation) + log_det + len(y) * np.log(2 * np.pi))
    return m + gain @ innovation, 0.5 * (P + P.T), loglik


def filter_window(scene, window):
    """Filtered and, LAG days later, smoothed mean and sd (time, component, own cell), and the log-likelihood."""
    p, n = len(scene.bands), len(window.cells)
    Q = block_diag(*(scene.process_cov(j, window.xy) for j in range(p)))
    m, P = np.repeat(scene.prior_mean, n), block_diag(*(scene.prior_cov(j, window.xy) for j in range(p)))
    own = np.array([[j * n + window.cells.index(s) for s in window.own] for j in range(p)])
    g = np.concatenate([scene.relative(j, m[j * n : (j + 1) * n]) for j in range(p)])
    predicted, filtered, added, loglik = [], [], [], 0.0
    for day in scene.days:
        added.append(g[:, None] * Q * g)
        m, P = scene.phi * m, scene.phi**2 * P + added[-1]
        predicted.append((m, P))
        H, y, v = observations(scene, window, day)
        if len(y):
            m, P, ll = update(m, P, H, y, v)
            loglik += ll
            # Components are independent of each other: the level of each is that of its own last update.
            for j in range(p):
                states = slice(j * n, (j + 1) * n)
                if H[:, states].any():
                    g[states] = scene.relative(j, m[states])
        filtered.append((m, P))

    def smoothed(day, last):
        """Rauch, Tung & Striebel from day `last` back to `day`, in the form that keeps P symmetric positive definite."""
        m, P = filtered[last]
        for t in range(last - 1, day - 1, -1):
            gain = scene.phi * cho_solve(cho_factor(predicted[t + 1][1], lower=True), filtered[t][1]).T
            m = filtered[t][0] + gain @ (m - predicted[t + 1][0])
            A = np.eye(len(m)) - scene.phi * gain
            P = A @ filtered[t][1] @ A.T + gain @ (P + added[t + 1]) @ gain.T
        return m, P

    last = len(scene.days) - 1
    lagged = [smoothed(day, min(day + LAG, last)) for day in range(len(scene.days))]
    spread = lambda states: (np.array([m[own] for m, _ in states]), np.array([np.sqrt(np.diag(P)[own]) for _, P in states]))
    return *spread(filtered), *spread(lagged), loglik


def fuse(scene):
    """Expected arrays by name: mean and sd (time, band, y, x), filtered and smoothed, and the sum of the windows'
    log-likelihoods."""
    g = scene.grid
    shape = (len(scene.days), len(scene.bands), g.rows, g.cols)
    expected = {name: np.full(shape, np.nan) for name in ("mean", "sd", "lagged_mean", "lagged_sd")}
    loglik = 0.0
    for top in range(0, g.rows, scene.size):
        for left in range(0, g.cols, scene.size):
            window = make_window(scene, top, left)
            r, c = np.array(window.own).T
            *arrays, ll = filter_window(scene, window)
            for whole, part in zip(expected.values(), arrays):
                whole[:, :, r, c] = part
            loglik += ll
    return expected | {"loglik": np.float64(loglik)}


# ---------------------------------------------------------------------------------------------------- making input files


@dataclass
class Input:
    """What to write for one instrument: its grid, days after the scene's `day0`, and how its files look."""

    grid: Grid
    days: list
    gaps: float = 0.0  # part of the (pixel, band) values that are missing
    cloud: float = 0.0  # part of the pixels that miss all bands
    empty: tuple = ()  # days whose file holds nothing but missing values
    outliers: int = 0  # values far outside the valid range, per file
    dtype: str = "float32"
    nodata: float = None  # None: NaN without a nodata tag


def simulate(rng, folder, cfg, grid, inputs, days):
    """Truth (day, component, lattice cell) on a lattice that holds every pixel, and the cell index of (row, column)."""
    seen = {s for c in cfg["instrument"] for i in range(inputs[c["name"]].grid.rows) for j in range(inputs[c["name"]].grid.cols)
            for s in footprint(grid, inputs[c["name"]].grid, c["footprint"], i, j)}
    cells = sorted(seen)
    xy = np.array([(grid.x0 + (c + 0.5) * grid.dx, grid.y0 - (r + 0.5) * grid.dy) for r, c in cells])
    p, process = len(cfg["target"]["bands"]), cfg["process"]
    k = covariance(folder, process, p)
    root = [np.linalg.cholesky(k(j, xy) + 1e-12 * np.eye(len(xy))) for j in range(p)]
    prior = prior_covariance(folder, cfg, p)
    x = per(cfg["prior"]["mean"], p)[:, None] + np.array(
        [np.linalg.cholesky(prior(j, xy)) @ z for j, z in enumerate(rng.standard_normal((p, len(xy))))])
    truth = []
    for _ in days:
        x = process.get("phi", 1.0) * x + np.array([root[j] @ rng.standard_normal(len(xy)) for j in range(p)])
        truth.append(x)
    return truth, {s: n for n, s in enumerate(cells)}


def write_inputs(rng, folder, cfg, crs, grid, inputs, day0):
    bands = cfg["target"]["bands"]
    first, last = min(min(i.days) for i in inputs.values()), max(max(i.days) for i in inputs.values())
    truth, at = simulate(rng, folder, cfg, grid, inputs, range(first, last + 1))
    for c in cfg["instrument"]:
        given, nb = inputs[c["name"]], len(c["bands"])
        g, noise, bias = given.grid, per(c["noise_variance"], nb), per(c.get("bias", 0.0), nb)
        for day in given.days:
            y = np.empty((nb, g.rows, g.cols))
            for i in range(g.rows):
                for j in range(g.cols):
                    seen = footprint(grid, g, c["footprint"], i, j)
                    cells, weights = [at[s] for s in seen], np.array(list(seen.values()))
                    for b, name in enumerate(c["bands"]):
                        y[b, i, j] = truth[day - first][bands.index(name), cells] @ weights if name else rng.uniform(0, 0.5)
            y += bias[:, None, None] + np.sqrt(noise)[:, None, None] * rng.standard_normal(y.shape)
            for _ in range(given.outliers):
                y[rng.integers(nb), rng.integers(g.rows), rng.integers(g.cols)] = rng.choice([-0.35, 1.6])
            y[(rng.random(y.shape) < given.gaps) | (rng.random(y.shape[1:]) < given.cloud)[None]] = np.nan
            if day in given.empty:
                y[:] = np.nan
            stored = (y - c.get("offset", 0.0)) / c.get("scale", 1.0)
            if given.dtype != "float32":
                stored = np.clip(np.round(stored), -32000, 32000)
            if given.nodata is not None:
                stored = np.where(np.isnan(stored), given.nodata, stored)
            stamp = (day0 + day * DAY).strftime(c.get("date_format", "%Y%m%d"))
            path = folder / c["files"].replace("*", stamp)
            path.parent.mkdir(parents=True, exist_ok=True)
            with rasterio.open(
                path, "w", driver="GTiff", width=g.cols, height=g.rows, count=nb, dtype=given.dtype, crs=crs,
                transform=g.transform(), nodata=given.nodata, compress="deflate",
            ) as f:
                f.write(stored.astype(given.dtype))


def write_features(rng, path, crs, grid):
    """Three bands of two classes with an oblique edge, and two cells of which not all is known."""
    row, col = np.mgrid[: grid.rows, : grid.cols]
    level = np.where(row + 2 * col < grid.cols + grid.rows // 2, 0.1, 0.4)
    values = np.stack([level + 0.02 * rng.standard_normal(level.shape) for _ in range(3)]).astype("float32")
    values[0, 1, 1] = values[2, 4, 3] = np.nan
    with rasterio.open(path, "w", driver="GTiff", width=grid.cols, height=grid.rows, count=3, dtype="float32", crs=crs,
                       transform=grid.transform(), compress="deflate") as f:
        f.write(values)


def make_scene(folder, seed, toml, grid, inputs, day0, crs="EPSG:32633"):
    """Write one scene: inputs, `fuse.toml`, expected arrays."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "fuse.toml").write_text(toml)
    if "features" in tomllib.loads(toml)["process"]:
        write_features(np.random.default_rng(seed), folder / "features.tif", crs, grid)
    write_inputs(np.random.default_rng(seed), folder, tomllib.loads(toml), crs, grid, inputs, day0)
    scene = read_scene(folder)
    assert scene.grid == grid, "the target of fuse.toml is not the grid the inputs were made for"
    for name, a in fuse(scene).items():
        assert np.isfinite(a).all()
        np.save(folder / f"expected_{name}.npy", a)
    return scene


# -------------------------------------------------------------------------------------------------------------- scenes

X, Y = 500000.0, 5000000.0  # upper-left corner of every target grid


def placed(left, up, dx, dy, rows, cols):
    """Grid whose corner is `left` units left of and `up` units above the target's."""
    return Grid(X - left, Y + up, dx, dy, rows, cols)


def fine_only():
    return placed(0, 0, 30, 30, 5, 7), datetime.date(2024, 6, 1), """\
[target]
crs = "EPSG:32633"
geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -30.0]
shape = [5, 7]
bands = ["ndvi"]
unit = "1"

[time]                      # from the first to the last date of the instrument
output = "daily"

[window]
size = 3
halo = 0

[process]
kernel = "exponential"
range = 90.0
variance = 4.0e-4

[prior]
mean = 0.4
variance = 0.02

[[instrument]]
name = "s2"
files = "s2/s2_*.tif"
date = "s2_(\\\\d{8})"
bands = ["ndvi"]
footprint = "cell"
noise_variance = 1.0e-4

[output]
store = "fused.zarr"
""", {"s2": Input(placed(0, 0, 30, 30, 5, 7), [0, 1, 5, 7], gaps=0.3)}


def misaligned_coarse():
    return placed(0, 0, 30, 30, 9, 11), datetime.date(2020, 3, 8), """\
[target]
like = "fine/fine_20200309.tif"
bands = ["red", "nir"]
unit = "1"

[time]
start = "2020-03-08"
end = "2020-03-16"
output = "daily"

[window]
size = 4
halo = 2

[process]
kernel = "matern32"
range = [120.0, 75.0]
variance = [2.0e-4, 5.0e-4]

[prior]
mean = 0.2
variance = 0.01

[[instrument]]
name = "fine"
files = "fine/fine_*.tif"
date = "fine_(\\\\d{8})"
bands = ["nir", "red"]
footprint = "cell"
noise_variance = [2.0e-5, 1.0e-5]
missing = "pixel"

[[instrument]]
name = "coarse"
files = "coarse/coarse_*.tif"
date = 'coarse_(\\d{8})'
bands = ["red", "nir"]
footprint = "uniform"
noise_variance = 3.0e-5
bias = [0.01, -0.02]
missing = "band"

[output]
store = "fused.zarr"
""", {
        "fine": Input(placed(0, 0, 30, 30, 9, 11), [1, 6], gaps=0.15, cloud=0.1),
        "coarse": Input(placed(62, 43, 100, 100, 4, 4), [0, 1, 2, 4, 6, 8], gaps=0.1, empty=(4,)),
    }


def two_coarse():
    return placed(0, 0, 30, 30, 8, 10), datetime.date(2021, 7, 1), """\
[target]
crs = "EPSG:32633"
geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -30.0]
shape = [8, 10]
bands = ["red", "nir"]
unit = "1"

[time]
start = "2021-07-01"
end = "2021-07-07"
output = "daily"

[window]
size = 3
halo = 1

[process]
kernel = "matern52"
range = [100.0, 160.0]
variance = [3.0e-4, 6.0e-4]
nugget = 0.1
phi = 0.93

[prior]
mean = [0.15, 0.3]
variance = 0.01

[[instrument]]              # shifted: begins above the target's top row and ends beyond its right side
name = "fine"
files = "fine/fine_*.tif"
date = "fine_(\\\\d{8})"
bands = ["red", "nir"]
footprint = "cell"
noise_variance = [1.0e-5, 4.0e-5]
bias = [0.005, -0.01]
missing = "band"

[[instrument]]
name = "wide"
files = "wide/wide_*.tif"
date = "wide_(\\\\d{8})"
bands = ["nir", "red"]
footprint = "uniform"
noise_variance = 5.0e-5
missing = "pixel"

[[instrument]]              # covers the left part of the target only
name = "oblong"
files = "oblong/oblong_*.tif"
date = "oblong_(\\\\d{8})"
bands = ["nir"]
footprint = "uniform"
noise_variance = 2.0e-5
bias = 0.015

[output]
store = "fused.zarr"
""", {
        "fine": Input(placed(-90, 60, 30, 30, 7, 9), [2, 5], gaps=0.2),
        "wide": Input(placed(47, 22, 120, 120, 3, 3), [0, 2, 3, 6], gaps=0.1),
        "oblong": Input(placed(101, 61, 150, 90, 4, 2), [0, 3, 4], gaps=0.1),
    }


def half_open():
    return placed(0, 0, 30, 20, 9, 8), datetime.date(2022, 1, 1), """\
[target]
crs = "EPSG:32633"
geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -20.0]
shape = [9, 8]
bands = ["lst"]
unit = "K"

[time]
start = "2022-01-01"
end = "2022-01-06"
output = "daily"

[window]
size = 4
halo = 1

[process]
kernel = "exponential"
range = 60.0
variance = 0.5

[prior]
mean = 280.0
variance = 20.0

[[instrument]]              # every edge runs through cell centres
name = "centred"
files = "centred/centred_*.tif"
date = "centred_(\\\\d{8})"
bands = ["lst"]
footprint = "uniform"
noise_variance = 0.04

[[instrument]]              # every other edge does: 3 and 2 cells by turns
name = "uneven"
files = "uneven/uneven_*.tif"
date = "uneven_(\\\\d{8})"
bands = ["lst"]
footprint = "uniform"
noise_variance = 0.09

[[instrument]]
name = "fine"
files = "fine/fine_*.tif"
date = "fine_(\\\\d{8})"
bands = ["lst"]
footprint = "cell"
noise_variance = 0.25

[output]
store = "fused.zarr"
""", {
        "centred": Input(placed(45, 30, 60, 40, 6, 6), [0, 1, 3, 5]),
        "uneven": Input(placed(15, 10, 75, 50, 4, 4), [1, 2, 5], gaps=0.1),
        "fine": Input(placed(0, 0, 30, 20, 9, 8), [3], gaps=0.5),
    }


def integers():
    return placed(0, 0, 20, 20, 7, 6), datetime.date(2023, 12, 30), """\
[target]
like = "l8/l8_20231230.tif"
bands = ["blue", "red", "nir"]
unit = "1"

[time]                      # both instruments hold dates before the start, the second one also after the end
start = "2023-12-30"
end = "2024-01-06"
output = "daily"

[window]
size = 3
halo = 1

[process]
kernel = "exponential"
range = [80.0, 60.0, 40.0]
variance = [5.0e-5, 1.0e-4, 4.0e-4]
nugget = 0.02

[prior]
mean = [0.08, 0.12, 0.35]
variance = 0.003

[[instrument]]
name = "l8"
files = "l8/l8_*.tif"
date = "l8_(\\\\d{8})"
bands = ["", "blue", "red", "nir"]
footprint = "cell"
noise_variance = [1.0, 1.0e-5, 2.0e-5, 4.0e-5]
bias = [0.5, 0.0, 0.004, -0.006]
scale = 2.75e-5
offset = -0.2
valid_range = [0.0, 0.65]
missing = "band"

[[instrument]]
name = "modis"
files = "modis/modis_*.tif"
date = '_(\\d{4}-\\d{3})'
date_format = "%Y-%j"
bands = ["nir", "red"]
footprint = "uniform"
noise_variance = [3.0e-5, 1.5e-5]
scale = 1.0e-4
valid_range = [-0.05, 1.0]
missing = "pixel"

[output]
store = "fused.zarr"
""", {
        "l8": Input(placed(0, 0, 20, 20, 7, 6), [-3, 0, 4], gaps=0.1, cloud=0.1, outliers=6, dtype="int16", nodata=-9999),
        "modis": Input(placed(33, 27, 65, 65, 3, 3), [-1, 1, 2, 4, 9], gaps=0.05, outliers=1, dtype="int16", nodata=-28672),
    }


def single_cell():
    return placed(0, 0, 25, 35.5, 5, 6), datetime.date(2019, 2, 26), """\
[target]
like = "fine/fine_20190227.tif"
bands = ["ndvi"]
unit = "1"

[time]
start = "2019-02-26"
end = "2019-03-03"
output = "daily"

[window]
size = 1
halo = 2

[process]
kernel = "exponential"
range = 100.0
variance = 3.0e-4
nugget = 0.05

[prior]
mean = 0.5
variance = 0.02

[[instrument]]
name = "fine"
files = "fine/fine_*.tif"
date = "fine_(\\\\d{8})"
bands = ["ndvi"]
footprint = "cell"
noise_variance = 2.0e-5

[[instrument]]
name = "coarse"
files = "coarse/coarse_*.tif"
date = "coarse_(\\\\d{8})"
bands = ["ndvi"]
footprint = "uniform"
noise_variance = 1.0e-5

[output]
store = "fused.zarr"
""", {
        "fine": Input(placed(0, 0, 25, 35.5, 5, 6), [1, 4], gaps=0.35),
        "coarse": Input(placed(20, 30, 70, 80, 3, 3), [0, 1, 3, 4], gaps=0.1),
    }


def independent_cells():
    return placed(0, 0, 30, 30, 12, 13), datetime.date(2018, 9, 10), """\
[target]
crs = "EPSG:32633"
geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -30.0]
shape = [12, 13]
bands = ["red", "nir"]
unit = "1"

[time]
start = "2018-09-10"
end = "2018-09-15"
output = "daily"

[window]
size = 5
halo = 0

[process]
kernel = "none"
range = 50.0                # has no meaning without a kernel
variance = 2.0e-4
nugget = 0.2
phi = 0.8

[prior]
mean = [0.2, 0.4]
variance = 0.01

[[instrument]]
name = "fine"
files = "fine/fine_*.tif"
date = "fine_(\\\\d{8})"
bands = ["red", "nir"]
footprint = "cell"
noise_variance = 5.0e-5

[[instrument]]              # lower right part only; in step with the cells, not with the windows
name = "coarse"
files = "coarse/coarse_*.tif"
date = "coarse_(\\\\d{8})"
bands = ["nir", "red"]
footprint = "uniform"
noise_variance = [2.0e-5, 1.0e-5]

[output]
store = "fused.zarr"
""", {
        "fine": Input(placed(0, 0, 30, 30, 12, 13), [1, 4], gaps=0.3, nodata=-9999.0),
        "coarse": Input(placed(-120, -150, 90, 90, 3, 3), [0, 1, 5], gaps=0.15, nodata=-9999.0),
    }


def same_pixels():
    return placed(0, 0, 30, 30, 6, 8), datetime.date(2024, 2, 27), """\
[target]
crs = "EPSG:32633"
geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -30.0]
shape = [6, 8]
bands = ["red"]
unit = "1"

[time]
start = "2024-02-27"
end = "2024-03-03"
output = "daily"

[window]
size = 3
halo = 4

[process]
kernel = "matern32"
range = 150.0
variance = 2.0e-4
nugget = 0.01

[prior]
mean = [0.25]
variance = 0.01

[[instrument]]
name = "fine"
files = "fine/fine_*.tif"
date = "fine_(\\\\d{8})"
bands = ["red"]
footprint = "cell"
noise_variance = 1.0e-5

[[instrument]]              # two source bands see the same target band
name = "terra"
files = "terra/terra_*.tif"
date = "terra_(\\\\d{8})"
bands = ["red", "red"]
footprint = "uniform"
noise_variance = [2.0e-5, 8.0e-5]
bias = [0.0, 0.01]

[[instrument]]              # the pixels of terra (one edge in each direction runs through cell centres); first band unused
name = "aqua"
files = "aqua/aqua_*.tif"
date = "aqua_(\\\\d{8})"
bands = ["", "red"]
footprint = "uniform"
noise_variance = 3.0e-5
bias = -0.008

[output]
store = "fused.zarr"
""", {
        "fine": Input(placed(-90, 0, 30, 30, 6, 4), [1], gaps=0.4),
        "terra": Input(placed(35, 55, 100, 100, 3, 3), [0, 1, 3, 5], gaps=0.15),
        "aqua": Input(placed(35, 55, 100, 100, 3, 3), [0, 3, 4], gaps=0.15),
    }


def large_pixels():
    return placed(0, 0, 30, 30, 7, 9), datetime.date(2017, 5, 1), """\
[target]
crs = "EPSG:32633"
geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -30.0]
shape = [7, 9]
bands = ["ndvi"]
unit = "1"

[time]
start = "2017-05-01"
end = "2017-05-05"
output = "daily"

[window]
size = 2
halo = 0

[process]
kernel = "matern52"
range = 200.0
variance = 5.0e-4

[prior]
mean = 0.5
variance = 0.02

[[instrument]]              # a pixel is 9 x 8 cells: most of it lies outside every window
name = "coarse"
files = "coarse/coarse_*.tif"
date = "coarse_(\\\\d{8})"
bands = ["ndvi"]
footprint = "uniform"
noise_variance = 1.0e-5

[[instrument]]
name = "fine"
files = "fine/fine_*.tif"
date = "fine_(\\\\d{8})"
bands = ["ndvi"]
footprint = "cell"
noise_variance = 1.0e-4

[output]
store = "fused.zarr"
""", {
        "coarse": Input(placed(112, 100, 270, 240, 2, 2), [0, 1, 3]),
        "fine": Input(placed(0, 0, 30, 30, 7, 9), [1], gaps=0.5),
    }


def gaussian():
    return placed(0, 0, 30, 25, 7, 8), datetime.date(2021, 4, 1), """\
[target]
crs = "EPSG:32633"
geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -25.0]
shape = [7, 8]
bands = ["ndvi"]
unit = "1"

[time]
start = "2021-04-01"
end = "2021-04-06"
output = "daily"

[window]
size = 4
halo = 1

[process]
kernel = "exponential"
range = 120.0
variance = 4.0e-4
nugget = 0.03
phi = 0.95

[prior]
mean = 0.4
variance = 0.02

[[instrument]]              # centres anywhere between those of the cells; sees beyond its pixels and the grid
name = "blurred"
files = "blurred/blurred_*.tif"
date = "blurred_(\\\\d{8})"
bands = ["ndvi"]
footprint = { gaussian_fwhm = 110.0 }
noise_variance = 1.0e-5

[[instrument]]              # the pixels of the first, other weights
name = "sharper"
files = "sharper/sharper_*.tif"
date = "sharper_(\\\\d{8})"
bands = ["ndvi"]
footprint = { gaussian_fwhm = 70 }
noise_variance = 4.0e-5

[[instrument]]
name = "plain"
files = "plain/plain_*.tif"
date = "plain_(\\\\d{8})"
bands = ["ndvi"]
footprint = "uniform"
noise_variance = 3.0e-5

[output]
store = "fused.zarr"
""", {
        "blurred": Input(placed(25, 40, 95, 85, 3, 3), [0, 1, 3, 5], gaps=0.1),
        "sharper": Input(placed(25, 40, 95, 85, 3, 3), [1, 4], gaps=0.1),
        "plain": Input(placed(40, 20, 100, 90, 3, 3), [1, 2, 5], gaps=0.1),
    }


def correlated_prior():
    return placed(0, 0, 30, 25, 8, 9), datetime.date(2022, 3, 1), """\
[target]
crs = "EPSG:32633"
geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -25.0]
shape = [8, 9]
bands = ["red", "nir"]
unit = "1"

[time]
start = "2022-03-01"
end = "2022-03-06"
output = "daily"

[window]
size = 3
halo = 1

[process]                   # an anomaly: stationary with the prior below
kernel = "exponential"
range = [90.0, 140.0]
variance = [3.0e-4, 6.0e-4]
nugget = 0.05
phi = 0.9

[[process.nested]]
kernel = "matern32"
range = 300.0
variance = 2.0e-4

[prior]
mean = 0.0
variance = [0.0027105, 0.0043684]   # (variance (1 + nugget) + that of the nested kernel) / (1 - phi^2)
correlation = "process"

[[instrument]]
name = "fine"
files = "fine/fine_*.tif"
date = "fine_(\\\\d{8})"
bands = ["red", "nir"]
footprint = "cell"
noise_variance = 2.0e-5

[[instrument]]
name = "coarse"
files = "coarse/coarse_*.tif"
date = "coarse_(\\\\d{8})"
bands = ["nir", "red"]
footprint = "uniform"
noise_variance = 1.0e-5

[[instrument]]
name = "blurred"
files = "blurred/blurred_*.tif"
date = "blurred_(\\\\d{8})"
bands = ["nir"]
footprint = { gaussian_fwhm = 90.0 }
noise_variance = 1.0e-5

[output]
store = "fused.zarr"
""", {
        "fine": Input(placed(0, 0, 30, 25, 8, 9), [2], gaps=0.4),
        "coarse": Input(placed(40, 45, 110, 100, 4, 4), [0, 1, 4], gaps=0.1),
        "blurred": Input(placed(25, 40, 95, 85, 3, 3), [0, 3], gaps=0.1),
    }


def relative_levels():
    return placed(0, 0, 30, 30, 6, 8), datetime.date(2023, 5, 1), """\
[target]
crs = "EPSG:32633"
geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -30.0]
shape = [6, 8]
bands = ["red", "nir"]
unit = "1"

[time]
start = "2023-05-01"
end = "2023-05-09"
output = "daily"

[window]
size = 3
halo = 8                    # every window holds the grid, hence whole pixels: the level is that of cells alone

[process]
kernel = "exponential"
range = [90.0, 140.0]
variance = [3.0e-4, 6.0e-4]
nugget = 0.05
phi = 0.95
relative = { weight = [1.0, 0.6], level = [0.15, 0.3] }

[prior]
mean = [0.1, 0.35]
variance = 0.01

[[instrument]]
name = "fine"
files = "fine/fine_*.tif"
date = "fine_(\\\\d{8})"
bands = ["red", "nir"]
footprint = "cell"
noise_variance = 2.0e-5

[[instrument]]              # in step with the grid; one band alone
name = "coarse"
files = "coarse/coarse_*.tif"
date = "coarse_(\\\\d{8})"
bands = ["nir"]
footprint = "uniform"
noise_variance = 1.0e-5

[output]
store = "fused.zarr"
""", {
        "fine": Input(placed(0, 0, 30, 30, 6, 8), [1, 6], gaps=0.3),
        "coarse": Input(placed(0, 0, 60, 60, 3, 4), [0, 2, 3, 7], gaps=0.2),
    }


def like_features(raster, nested, prior):
    return placed(0, 0, 30, 25, 8, 9), datetime.date(2022, 8, 1), f"""\
[target]
crs = "EPSG:32633"
geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -25.0]
shape = [8, 9]
bands = ["ndvi"]
unit = "1"

[time]
start = "2022-08-01"
end = "2022-08-06"
output = "daily"

[window]
size = 4
halo = 1

[process]
kernel = "matern32"
range = 200.0
variance = 4.0e-4
nugget = 0.02

[process.features]          # of a raster with holes; cells beyond it are like the nearest
raster = "features.tif"
{raster}
{nested}
[prior]
mean = 0.4
variance = 0.02
{prior}
[[instrument]]
name = "fine"
files = "fine/fine_*.tif"
date = "fine_(\\\\d{{8}})"
bands = ["ndvi"]
footprint = "cell"
noise_variance = 1.0e-4

[[instrument]]              # at most 20 cells to a pixel: all of them are taken
name = "coarse"
files = "coarse/coarse_*.tif"
date = "coarse_(\\\\d{{8}})"
bands = ["ndvi"]
footprint = "uniform"
noise_variance = 1.0e-5

[output]
store = "fused.zarr"
""", {
        "fine": Input(placed(0, 0, 30, 25, 8, 9), [1], gaps=0.6),
        "coarse": Input(placed(40, 30, 110, 100, 3, 4), [0, 2, 5], gaps=0.1),
    }


def times_features():
    return like_features("scale = [0.1, 0.2]\nbands = [0, 2]", "", "correlation = \"process\"\n")


def plus_features():
    nested = "\n[[process.nested]]\nkernel = \"exponential\"\nrange = 90.0\nvariance = 1.0e-4\n"
    return like_features("scale = 0.15\ncombine = \"plus\"\nweight = 0.7", nested, "")


SCENES = [
    fine_only, misaligned_coarse, two_coarse, half_open, integers, single_cell, independent_cells, same_pixels, large_pixels, gaussian,
    correlated_prior, relative_levels, times_features, plus_features,
]


def main():
    here = pathlib.Path(__file__).resolve().parent
    for scene in SCENES:
        name = scene.__name__
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        grid, day0, toml, inputs = scene()
        made = make_scene(here / name, list(name.encode()), toml, grid, inputs, day0)
        print(f"{name}: {len(made.days)} days, {len(made.bands)} bands, {grid.rows} x {grid.cols} cells")


if __name__ == "__main__":
    main()
