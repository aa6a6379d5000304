"""The stand-in data set: synthetic patches in the real layout of Landslide4Sense.

Four scenes are made up, each a plane of pixels on which every quantity (terrain, land
cover, landslides, light, haze) is a function of the pixel's place. They are computed in
blocks of tiles with a margin and cut in scan order, so touching tiles continue each other
as in the real TrainData, and neither the blocks nor the number of threads show.

What makes the patches hard is physical: bare fields, river gravel, rock and houses share
the landslides' colour. Fields and gravel lie on flat ground, and all of them differ from
fresh soil in the near or short-wave infrared.
"""

import json
import os
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from filelock import FileLock
from scipy.ndimage import gaussian_filter, uniform_filter
from tqdm import tqdm

from l4s_utils.bands import BANDS
from l4s_utils.errors import InputError, UsageError

VERSION = 1
DEFAULT_PATCHES = 480
MOST_PATCHES = 3799
TILE = 128
PIXEL = 10.0  # metres
MARKER = "stand-in.json"

_BLOCK = 4  # tiles along a block's side
_REACH = 128  # pixels: how far outside a block a landslide may start and still enter it
_FRINGE = 12  # pixels: what filters near a block's border look at
_RAW_MEANS = np.array([band.raw_mean for band in BANDS])
# Nobody's stand-in exceeds the largest raw integers reported of the real files.
_RAW_MAX = np.array([3453, 16296, 20932, 14762, 6441, 6414, 7239, 16138, 2392, 194, 6446, 10222, 82, 3958])


@dataclass(frozen=True)
class Scene:
    """One scene: the real one's place in the collection, and the character of its stand-in.

    patches, columns, rows: of the real scene.
    base, range: mean elevation in metres and how far the regional elevation strays from it.
    relief: height of the hills in metres. sea: fraction of the width lost to flat water.
    green: 0 dry to 1 lush. haze: path radiance relative to a clear day.
    sun: azimuth the light comes from and its height, both in degrees.
    density: number of landslides relative to scene 1. pitch: pixels per 20 m of the sensor.
    """

    number: int
    patches: int
    columns: int
    rows: int
    base: float
    range: float
    relief: float
    sea: float
    green: float
    haze: float
    sun: tuple[float, float]
    density: float
    pitch: float


SCENES = (
    Scene(1, 3034, 41, 74, 2000, 750, 250, 0.0, 0.75, 1.0, (135, 55), 1.0, 1.4),
    Scene(2, 150, 15, 10, 2500, 500, 250, 0.0, 0.30, 0.9, (150, 50), 1.6, 1.4),
    Scene(3, 121, 11, 11, 1500, 350, 230, 0.0, 0.60, 1.1, (120, 55), 0.6, 1.5),
    Scene(4, 494, 26, 19, 900, 180, 180, 0.25, 0.95, 1.1, (140, 60), 1.0, 2.0),
)


class Extent(NamedTuple):
    """A scene as laid out for a number of patches; its last row may be incomplete."""

    scene: Scene
    first: int
    patches: int
    columns: int

    @property
    def rows(self):
        return -(-self.patches // self.columns)


class Window(NamedTuple):
    """A rectangle of a scene's pixels."""

    top: int
    left: int
    height: int
    width: int

    def grown(self, margin):
        return Window(self.top - margin, self.left - margin, self.height + 2 * margin, self.width + 2 * margin)

    def axes(self):
        """Global row (H, 1) and column (1, W) of every pixel, int64."""
        return (
            np.arange(self.top, self.top + self.height)[:, None],
            np.arange(self.left, self.left + self.width)[None],
        )


# --- Noise: functions of global pixel coordinates ---------------------------------------------------


def _uniform(key, *coordinates):
    """Numbers in [0, 1), float32, that depend on the key and the integer coordinates alone."""
    h = np.uint32(zlib.crc32(key.encode()))
    for c in coordinates:
        h = (h ^ (np.asarray(c).astype(np.uint32) * np.uint32(0x9E3779B1))) * np.uint32(0x85EBCA6B)
        h = (h ^ (h >> np.uint32(15))) * np.uint32(0xC2B2AE35)
        h = h ^ (h >> np.uint32(13))
    return (h >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)


def _spline(start, length, wavelength):
    """Lattice points and cubic B-spline weights, (4, length) each, for pixels of one axis."""
    x = np.arange(start, start + length) / wavelength
    cell = np.floor(x).astype(np.int64)
    t = x - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3])
    return cell + np.arange(-1, 3)[:, None], (weights / 6).astype(np.float32)


def _noise(window, key, wavelength):
    """Smooth noise (H, W) float32 of mean 0 and standard deviation about 1."""
    rows, wy = _spline(window.top, window.height, wavelength)
    columns, wx = _spline(window.left, window.width, wavelength)
    lattice = _uniform(key, *np.ogrid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    lattice = (lattice - np.float32(0.5)) * np.float32(12**0.5 / 0.479)  # the spline smooths to 0.479
    rows, columns = rows - rows.min(), columns - columns.min()
    across = sum(lattice[:, columns[k]] * wx[k] for k in range(4))
    return sum(across[rows[k]] * wy[k][:, None] for k in range(4))


def _fractal(window, key, wavelength, octaves=3, gain=0.5):
    """Sum of octaves of noise, standard deviation about 1."""
    gains = gain ** np.arange(octaves)
    octave = (_noise(window, f"{key}/{k}", wavelength / 2.03**k) * g for k, g in enumerate(gains))
    return sum(octave) / np.float32(np.hypot.reduce(gains))


def _smoothstep(x, low, high):
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


# --- Terrain ----------------------------------------------------------------------------------------


class Terrain(NamedTuple):
    """Height in metres, slope in degrees, distance to the river in pixels, sea: all (H, W)."""

    height: np.ndarray
    slope: np.ndarray
    river: np.ndarray
    sea: np.ndarray

    def inner(self, margin):
        return Terrain(*(layer[margin:-margin, margin:-margin] for layer in self))


def _gullies(window, key, height, wavelength):
    """Ripples of about [-1, 1] whose furrows run down the slopes, as running water cuts them.

    Around each point of a jittered lattice lies a plane wave across the local slope; the
    waves of the neighbouring points blend into each other and branch. They fade on flat
    ground, where "down" has no meaning.
    """
    gy, gx = np.gradient(gaussian_filter(height, wavelength / 5) / np.float32(PIXEL))
    norm = np.hypot(gy, gx) + np.float32(1e-3)
    gy, gx = gy / norm, gx / norm
    y, x = ((a / wavelength).astype(np.float32) for a in window.axes())
    cell_y, cell_x = np.floor(y), np.floor(x)
    wave, total = np.float32(0), np.float32(1e-6)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            py, px = cell_y + np.float32(i), cell_x + np.float32(j)
            lattice = py.astype(np.int64), px.astype(np.int64)
            dy, dx = y - py - _uniform(key + "/y", *lattice), x - px - _uniform(key + "/x", *lattice)
            weight = np.maximum(1 - (dy * dy + dx * dx) / np.float32(1.7), 0) ** 2
            wave = wave + weight * np.cos(np.float32(2 * np.pi) * (dy * gx - dx * gy))
            total = total + weight
    return wave / total * _smoothstep(norm, 0.1, 0.5)


def _terrain(extent, window, key):
    """Terrain of a window: regional height, hills with sharp valleys, gullies, roughness."""
    scene = extent.scene
    region = max(extent.columns * TILE / 3, 640)
    valleys = _fractal(window, key + "/valleys", 170, 5, 0.42)
    gy, gx = np.gradient(valleys)
    river = np.abs(valleys) / (np.hypot(gy, gx) + np.float32(4e-3))
    side = _fractal(window, key + "/hills", 62, 3, 0.45)
    strength = np.clip(1 + 0.25 * _noise(window, key + "/strength", region / 2), 0.25, 2)
    height = scene.base + scene.range * _fractal(window, key + "/region", region, 2)
    # |noise| has a crease where the noise is 0: a net of valleys, large ones and side valleys.
    main = np.sqrt(valleys * valleys + 0.01) - 0.7
    height = height + scene.relief * strength * (main + 0.45 * np.sqrt(side * side + 0.005))
    away = _smoothstep(river, 1, 10)
    for wavelength, amplitude in ((34, 38), (17, 19), (8.3, 8)):
        ripple = _gullies(window, f"{key}/gully{wavelength}", height, wavelength)
        height = height + amplitude * scene.relief / 250 * away * ripple
    height = height + _noise(window, key + "/rough", 3.1)
    sea = np.zeros(height.shape, bool)
    if scene.sea:
        shore = extent.columns * TILE * scene.sea + 50 * _fractal(window, key + "/shore", 200, 5, 0.6)
        inland = window.axes()[1] - shore
        height = np.maximum(height, 20) * _smoothstep(inland, 0, extent.columns * TILE * 0.3 + 100) + 3
        sea = inland <= 0
    height = np.where(sea, 0, np.maximum(height, 0)).astype(np.float32)
    gy, gx = np.gradient(height, PIXEL)
    return Terrain(height, np.degrees(np.arctan(np.hypot(gy, gx))), river, sea)


# --- Landslides -------------------------------------------------------------------------------------


# How many landslides there are, and how unevenly they are spread over a scene: chosen so that about
# 58 % of the patches hold one and 2.3 % of the pixels are landslide, as in the real TrainData.
DENSITY, CLUSTERING = 0.017, 2.3


class Slides(NamedTuple):
    """bare: cover of fresh soil in [0, 1]. labelled: bool. bright: soil's brightness. All (H, W)."""

    bare: np.ndarray
    labelled: np.ndarray
    bright: np.ndarray


def _starts(extent, window, terrain, key):
    """Landslides that start in a window, as a dict of arrays: one candidate a lattice cell,
    kept with a probability that rises with the slope and varies over the scene."""
    spacing = 14
    cells = np.mgrid[
        window.top // spacing + 1 : (window.top + window.height) // spacing,
        window.left // spacing + 1 : (window.left + window.width) // spacing,
    ].reshape(2, -1)

    def draw(name):
        return _uniform(f"{key}/{name}", *cells)

    y, x = (cells[0] + draw("y")) * spacing - window.top, (cells[1] + draw("x")) * spacing - window.left
    at = y.astype(int), x.astype(int)
    cluster = _fractal(window, key + "/cluster", max(extent.columns * TILE / 8, 220), 3, 0.6)[at]
    chance = DENSITY * extent.scene.density * np.exp(CLUSTERING * cluster) * _smoothstep(terrain.slope[at], 18, 42)
    kept = draw("kept") < np.minimum(chance, 0.6)
    kept &= (y > 2) & (x > 2) & (y < window.height - 3) & (x < window.width - 3)
    width = np.minimum(1.4 * (1 - draw("width")) ** -0.57, 18)
    slides = {
        "y": y,
        "x": x,
        "width": width,
        "length": np.minimum(width * (2 + 9 * draw("length") ** 1.5), 105),
        # Most are fresh; the rest are partly overgrown.
        "fresh": np.where(draw("old") < 0.30, 0.25 + 0.5 * draw("age"), 0.75 + 0.25 * draw("age")),
        "bright": 0.8 + 0.5 * draw("bright"),
        "seen": draw("case") > 0.04,
        "labelled": draw("case") < 0.93,
        "shift_y": 2.0 * (draw("shift_y") - 0.5),
        "shift_x": 2.0 * (draw("shift_x") - 0.5),
        "loose": 1.8 * (draw("loose") - 0.5),
    }
    return {name: values[kept] for name, values in slides.items()}


def _tracks(slides, height):
    """Paths downhill, one step a pixel: positions (steps, n) in y and x, and whether still moving."""
    gy, gx = np.gradient(gaussian_filter(height, 1.5) / np.float32(PIXEL))
    y, x = slides["y"].astype(np.float64), slides["x"].astype(np.float64)
    vy, vx, moving = np.zeros_like(y), np.zeros_like(x), np.ones(len(y), bool)
    track = []
    for step in range(int(slides["length"].max(initial=0)) + 1):
        track.append((y, x, moving))
        at = np.clip(y, 0, height.shape[0] - 1).astype(int), np.clip(x, 0, height.shape[1] - 1).astype(int)
        fall = np.hypot(gy[at], gx[at])
        # Inertia keeps a slide straight over small steps; it stops where the ground is flat.
        vy, vx = 0.6 * vy - gy[at] / (fall + 1e-6), 0.6 * vx - gx[at] / (fall + 1e-6)
        speed = np.hypot(vy, vx) + 1e-6
        y, x = y + vy / speed, x + vx / speed
        moving = moving & (step < slides["length"]) & (fall > np.tan(np.radians(9)))
    return [np.array(part) for part in zip(*track, strict=True)]


def _stamp(canvas, y, x, radius, *extra):
    """Raise `canvas` (H, W) to the depth inside a disc; set the extra (layer, value) where raised."""
    reach = int(radius) + 3
    top, left = max(int(y) - reach, 0), max(int(x) - reach, 0)
    view = np.s_[top : max(int(y) + reach + 1, 0), left : max(int(x) + reach + 1, 0)]
    part = canvas[view]
    dy = np.arange(top, top + part.shape[0], dtype=np.float32)[:, None] - y
    dx = np.arange(left, left + part.shape[1], dtype=np.float32) - x
    depth = radius - np.sqrt(dy * dy + dx * dx)
    if extra:
        raised = depth > part
        for layer, value in extra:
            layer[view][raised] = value
    np.maximum(part, depth, out=part)


def _landslides(extent, window, terrain, key):
    """Draw every landslide that starts in the window; see `Slides`."""
    slides = _starts(extent, window, terrain, key)
    ys, xs, moving = _tracks(slides, terrain.height)
    shape = terrain.height.shape
    depth, label = np.full(shape, -9, np.float32), np.full(shape, -9, np.float32)
    fresh, bright = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    for i, width in enumerate(slides["width"]):
        steps = max(int(moving[:, i].sum()), 2)
        for k in range(0, min(steps, len(ys)), max(int(width / 2), 1)):
            # A narrow head, a body, a tongue.
            radius = width * (0.55 + 0.45 * np.sin(np.pi * min(k / steps + 0.15, 1)))
            y, x = ys[k, i], xs[k, i]
            if slides["seen"][i]:
                _stamp(depth, y, x, radius, (fresh, slides["fresh"][i]), (bright, slides["bright"][i]))
            if slides["labelled"][i]:
                y, x = y + slides["shift_y"][i], x + slides["shift_x"][i]
                _stamp(label, y, x, radius + slides["loose"][i])
    ragged = _noise(window, key + "/ragged", 2.6) * np.float32(0.9)
    patchy = np.clip(1 + 0.25 * _noise(window, key + "/patchy", 3), 0, 1)
    land = ~terrain.sea
    bare = np.clip(depth + ragged + 0.5, 0, 1) * fresh * patchy * land
    return Slides(bare, (label + 0.8 * ragged > 0) & land, bright)


# --- Land cover and light ---------------------------------------------------------------------------

# Reflectance x 10,000 in sunlight of what covers the ground, B1 ... B12 without B8A; B10 sees no ground.
COVER = {
    "forest": (80, 110, 225, 130, 390, 1600, 2100, 2130, 2200, 0, 1100, 440),
    "meadow": (130, 190, 390, 310, 720, 1900, 2350, 2400, 2500, 0, 1850, 900),
    "dry grass": (190, 270, 460, 640, 950, 1750, 2050, 2150, 2300, 0, 2150, 1230),
    "soil": (450, 610, 840, 1040, 1280, 1680, 1880, 1860, 1900, 0, 2450, 1850),
    "field": (260, 360, 570, 760, 1040, 1800, 2150, 2250, 2400, 0, 2150, 1250),
    "crop": (140, 220, 470, 290, 800, 2400, 3000, 3100, 3100, 0, 1600, 700),
    "rock": (440, 560, 650, 700, 800, 1050, 1200, 1250, 1300, 0, 1500, 1250),
    "gravel": (430, 580, 710, 760, 850, 1080, 1180, 1180, 1200, 0, 1150, 800),
    "water": (150, 180, 210, 140, 150, 100, 90, 80, 60, 0, 40, 20),
    "house": (800, 1000, 1100, 1150, 1250, 1550, 1700, 1750, 1800, 0, 1900, 1600),
}
COVER = {name: np.array(values, np.float32) for name, values in COVER.items()}

# Light scattered by clear air at sea level, same bands; it fades with height.
PATH = np.array((1070, 790, 500, 275, 210, 150, 120, 110, 90, 8, 25, 12), np.float32)
# How much of it haze and thin cirrus (per unit of B10) add.
HAZE = np.array((330, 300, 270, 240, 210, 150, 130, 120, 40, 0, 60, 30), np.float32)
CIRRUS = np.array((1.2, 1.2, 1.2, 1.1, 1.0, 0.9, 0.9, 0.9, 1.6, 1.0, 0.7, 0.4), np.float32)
# Sensor noise in raw counts.
NOISE = np.array((3, 6, 6, 6, 7, 12, 14, 16, 10, 0.7, 10, 9), np.float32)


def _line(window, key, wavelength):
    """Distance in pixels to the zero line of a noise: something that winds through the land."""
    n = _noise(window, key, wavelength)
    gy, gx = np.gradient(n)
    return np.abs(n) / (np.hypot(gy, gx) + 1e-3)


def _parcels(window, key, height, width, angle):
    """One number in [0, 1) for each parcel of a rotated grid of fields (sizes in pixels)."""
    y, x = window.axes()
    c, s = np.cos(angle), np.sin(angle)
    row = np.floor((c * y + s * x) / height).astype(np.int64)
    column = np.floor((c * x - s * y) / width + _uniform(key + "/stagger", row)).astype(np.int64)
    return _uniform(key, row, column)


def _land_cover(extent, window, terrain, slides, key):
    """Share of each cover (dict of (H, W) layers, laid over each other in this order)."""
    green, slope, height = extent.scene.green, terrain.slope, terrain.height
    patch = _fractal(window, key + "/meadows", 60, 4, 0.6)
    dry = _fractal(window, key + "/dryness", 110, 4, 0.65)
    flat = 1 - _smoothstep(slope, 11, 22)
    farmed = _smoothstep(_fractal(window, key + "/farmed", 130, 2), 0.2, 0.7) * flat * (height < 3000)
    farmed[terrain.river < 4] = 0
    parcel = _parcels(window, key + "/parcels", 7, 11, 0.4)
    gravel_width = np.clip(0.3 + 2.0 * _fractal(window, key + "/gravel", 45, 4, 0.7), 0.0, 8)
    # The water wanders over its gravel bed.
    stream = np.abs(terrain.river - np.abs(1.5 * _noise(window, key + "/stream", 14)))
    road = _line(window, key + "/road", 75)
    road_here = (slope < 32) & (_noise(window, key + "/roads", 160) > 0.2)
    rock = _fractal(window, key + "/rock", 20, 4, 0.7) + 0.035 * (slope - 45) + (height - 2600) / 2600
    layers = {
        "meadow": 0.8 * _smoothstep(patch + 0.6 * (height - 2300) / 1500, 0.5, 1.5),
        "dry grass": 0.85 * _smoothstep(dry + 1.6 * (0.55 - green) + (height - 2700) / 900, 0.9, 1.7),
        "rock": _smoothstep(rock, 2.0, 2.7),
        "crop": farmed * (parcel > 0.35),
        "field": farmed * (parcel < 0.17),
        "house": farmed * (_uniform(key + "/house", *(a // 2 for a in window.axes())) < 0.06) * (parcel > 0.75),
        "gravel": np.clip(gravel_width - terrain.river + 0.5, 0, 1),
    }
    layers["field"] = np.maximum(layers["field"], 0.7 * np.clip(1.2 - road, 0, 1) * road_here)
    layers = {name: uniform_filter(np.asarray(layer, np.float32), 2) for name, layer in layers.items()}
    layers["soil"] = slides.bare
    layers["water"] = np.maximum(0.7 * np.clip(1.3 - stream, 0, 1), terrain.sea)
    return layers


def _sunlight(scene, height, texture):
    """Light on the ground relative to flat ground, (H, W): sun on the slopes, and the sky."""
    azimuth, altitude = np.radians(scene.sun)
    gy, gx = np.gradient(height, PIXEL)
    # Rows run south, so a slope that faces the sun falls towards it.
    facing = -gx * np.sin(azimuth) + gy * np.cos(azimuth)
    direct = (np.sin(altitude) + np.cos(altitude) * facing) / np.sqrt(1 + gx * gx + gy * gy) / np.sin(altitude)
    return (0.27 + 0.73 * np.maximum(direct, 0)) * texture


def _radiance(extent, window, terrain, slides, key):
    """What the sensor would record at full resolution, float32 (12, H, W), in raw counts."""
    layers = _land_cover(extent, window, terrain, slides, key)
    trees = 1 + 0.10 * _noise(window, key + "/trees", 1.3) + 0.08 * _fractal(window, key + "/stands", 30, 3, 0.7)
    light = _sunlight(extent.scene, terrain.height, trees)
    age = 1 + 0.10 * _fractal(window, key + "/age", 45, 3, 0.7)
    haze = extent.scene.haze + 0.35 * _fractal(window, key + "/haze", 170, 2)
    kilometres = terrain.height / 1000
    air = np.exp(-kilometres / 8)
    low = np.exp(-kilometres / 1.1) * haze
    veil = np.maximum(_fractal(window, key + "/cirrus", 260, 4, 0.6) - 1.2, 0) ** 2 * 22
    cirrus = veil + 38 * np.exp(np.minimum((kilometres - 3.2) / 0.3, 0.8))
    vapour = np.clip(0.28 + 0.10 * kilometres, 0.2, 0.6)
    counts = np.empty((12, window.height, window.width), np.float32)
    for b in range(12):
        ground = COVER["forest"][b] * age
        for name, share in layers.items():
            colour = COVER[name][b] * (slides.bright if name == "soil" else np.float32(1))
            ground = ground + share * (colour - ground)
        seen = vapour if b == 8 else 1
        noise = NOISE[b] * _noise(window, f"{key}/sensor{b}", 1)
        counts[b] = PATH[b] * air + HAZE[b] * low + CIRRUS[b] * cirrus + ground * light * seen + noise
    return counts


# --- Sensor and files -------------------------------------------------------------------------------


def _coarsen(layer, window, cell, angle):
    """A layer as a sensor with cells of `cell` pixels sees it, its grid turned by `angle`:
    each pixel takes the mean around the centre of the cell it lies in."""
    y, x = window.axes()
    c, s = np.cos(angle), np.sin(angle)
    v, u = np.floor((c * y + s * x) / cell) + 0.5, np.floor((c * x - s * y) / cell) + 0.5
    row = np.rint(cell * (c * v - s * u) - 0.5 - window.top).astype(int).clip(0, window.height - 1)
    column = np.rint(cell * (c * u + s * v) - 0.5 - window.left).astype(int).clip(0, window.width - 1)
    return uniform_filter(layer, max(round(cell), 1))[row, column]


def _block(extent, seed, window):
    """Raw integers uint16 (H, W, 14) and mask uint8 (H, W) of a window of a scene."""
    scene, key = extent.scene, f"{seed}/{extent.scene.number}"
    wide = window.grown(_REACH)
    terrain = _terrain(extent, wide, key)
    slides = _landslides(extent, wide, terrain, key)
    margin, near = _REACH - _FRINGE, window.grown(_FRINGE)
    terrain = terrain.inner(margin)
    slides = Slides(*(layer[margin:-margin, margin:-margin] for layer in slides))
    layers = [*_radiance(extent, near, terrain, slides, key), terrain.slope, terrain.height]
    angle = 0.02 if scene.pitch != 2 else 0.0
    for band in BANDS:
        if band.resolution in (20, 60):
            cell = scene.pitch * band.resolution / 20
            layers[band.index] = _coarsen(layers[band.index], near, cell, angle)
        elif band.resolution == 12.5:
            layers[band.index] = _coarsen(layers[band.index], near, 1.25, angle)
    raw = np.rint(np.stack(layers, axis=-1)).clip(0, _RAW_MAX).astype(np.uint16)
    cut = np.s_[_FRINGE:-_FRINGE, _FRINGE:-_FRINGE]
    return raw[cut], slides.labelled[cut].astype(np.uint8)


def _layout(patches):
    """Extents of the four scenes for a number of patches, in the real proportions."""
    ideal = np.array([scene.patches for scene in SCENES]) * patches / MOST_PATCHES
    counts = np.floor(ideal).astype(int)
    for i in np.argsort(counts - ideal, kind="stable")[: patches - counts.sum()]:
        counts[i] += 1
    extents, first = [], 1
    for scene, count in zip(SCENES, counts.tolist(), strict=True):
        if count:
            columns = max(1, round((count * scene.columns / scene.rows) ** 0.5))
            extents.append(Extent(scene, first, count, columns))
            first += count
    return extents


def _tiles(extent):
    """(id, scene, row, column) of every tile of a scene, in scan order."""
    return [(extent.first + n, extent.scene.number, *divmod(n, extent.columns)) for n in range(extent.patches)]


def _jobs(extents):
    """Blocks of touching tiles: (extent, tiles) each."""
    for extent in extents:
        blocks = {}
        for tile in _tiles(extent):
            blocks.setdefault((tile[2] // _BLOCK, tile[3] // _BLOCK), []).append(tile)
        yield from ((extent, tiles) for tiles in blocks.values())


def _save(path, key, array):
    with h5py.File(path, "w") as file:
        file[key] = array


def _write_block(root, seed, extent, tiles):
    """Compute a block and write its tiles; returns how many."""
    rows, columns = [tile[2] for tile in tiles], [tile[3] for tile in tiles]
    top, left = min(rows), min(columns)
    size = (max(rows) + 1 - top) * TILE, (max(columns) + 1 - left) * TILE
    raw, mask = _block(extent, seed, Window(top * TILE, left * TILE, *size))
    for number, _, row, column in tiles:
        y, x = (row - top) * TILE, (column - left) * TILE
        cut = np.s_[y : y + TILE, x : x + TILE]
        _save(root / "img" / f"image_{number}.h5", "img", raw[cut] / _RAW_MEANS)
        _save(root / "mask" / f"mask_{number}.h5", "mask", mask[cut])
    return len(tiles)


def _write_all(root, patches, seed, progress):
    """Write the whole data set into an empty folder."""
    extents = _layout(patches)
    for kind in ("img", "mask"):
        (root / "TrainData" / kind).mkdir(parents=True)
    tiles = [tile for extent in extents for tile in _tiles(extent)]
    lines = ["id,scene,row,column", *(",".join(map(str, tile)) for tile in tiles)]
    (root / "tiles.csv").write_text("\n".join(lines) + "\n")
    marker = {"name": "stand-in", "version": VERSION, "patches": patches, "seed": seed}
    (root / MARKER).write_text(json.dumps(marker, indent=2) + "\n")
    # NumPy and SciPy let go of the interpreter while they work, so threads are enough.
    with (
        ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool,
        tqdm(total=patches, unit="patch", desc="stand-in", disable=None if progress else True) as bar,
    ):
        futures = [pool.submit(_write_block, root / "TrainData", seed, *job) for job in _jobs(extents)]
        try:
            for future in as_completed(futures):
                bar.update(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _check_replaceable(out):
    """Raise InputError unless `out` is free, an empty folder or an older stand-in."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        if json.loads((out / MARKER).read_text())["name"] == "stand-in":
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"{out} exists and is not a stand-in data set (it has no {MARKER}): choose another folder or remove it"
    )


def write(out: str | os.PathLike, patches: int = DEFAULT_PATCHES, seed: int = 0, progress: bool = True) -> Path:
    """Write the stand-in data set and return its folder.

    OUT/TrainData/img/image_N.h5 holds `img`, float64 (128, 128, 14): raw integers divided by
    each band's `raw_mean`. OUT/TrainData/mask/mask_N.h5 holds `mask`, uint8 (128, 128), 1 where
    there is a landslide. N runs from 1 to `patches`. OUT/tiles.csv (id, scene, row, column)
    says which tiles touch; OUT/stand-in.json marks the folder.

    The same seed and number of patches give the same bytes. The folder appears in one step,
    complete, in place of an older stand-in if there is one.

    Raises UsageError for a number of patches outside 1 ... 3799, InputError where `out`
    exists and is something else.
    """
    if not 1 <= patches <= MOST_PATCHES:
        raise UsageError(f"{patches} patches: choose from 1 to {MOST_PATCHES}, the number of real ones")
    out = Path(out).absolute()
    _check_replaceable(out)
    aside = out.with_name(f".{out.name}-{os.getpid()}")
    new, old = aside / "new", aside / "old"
    shutil.rmtree(aside, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        _write_all(new, patches, seed, progress)
        _check_replaceable(out)
        if out.exists():
            os.replace(out, old)
        os.replace(new, out)
    finally:
        if old.exists() and not out.exists():
            os.replace(old, out)
        shutil.rmtree(aside, ignore_errors=True)
    return out


def ensure(folder) -> Path:
    """The stand-in data set in `folder`, written now if it is not there; for default data."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        return folder if (folder / MARKER).is_file() else write(folder)
