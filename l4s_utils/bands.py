"""The fourteen bands of Landslide4Sense and the sets of them that the experiments use.

A file's value is a raw integer divided by the band's `raw_mean`, so multiplying by
`raw_mean` gives the integer back. Sensor names, wavelengths and resolutions are those
of the Sentinel-2 MSI user guide (Sentinel-2A) and of the ALOS PALSAR terrain product.
Band B8A is not part of the data.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from l4s_utils.errors import UsageError, choose


@dataclass(frozen=True)
class Band:
    """One band: its place in the files, what it measures and how it was scaled.

    index: position on the last axis of `img`, from 0.
    wavelength: centre in nm, None for terrain.
    resolution: of the sensor in metres, before the data set brought it to about 10 m.
    unit: of the raw integer (reflectance x 10,000, degrees or metres).
    raw_mean: raw integer / raw_mean = the value in the file.
    """

    index: int
    name: str
    title: str
    sensor: str
    wavelength: float | None
    resolution: float
    unit: str
    raw_mean: float


_S2, _ALOS = "Sentinel-2 MSI", "ALOS PALSAR"
_DN = "reflectance x 10,000"

BANDS = (
    Band(0, "B1", "coastal aerosol", _S2, 442.7, 60, _DN, 1111.81236406),
    Band(1, "B2", "blue", _S2, 492.4, 10, _DN, 824.63171476),
    Band(2, "B3", "green", _S2, 559.8, 10, _DN, 663.41636217),
    Band(3, "B4", "red", _S2, 664.6, 10, _DN, 445.17289745),
    Band(4, "B5", "red edge 1", _S2, 704.1, 20, _DN, 645.8582926),
    Band(5, "B6", "red edge 2", _S2, 740.5, 20, _DN, 1547.73508126),
    Band(6, "B7", "red edge 3", _S2, 782.8, 20, _DN, 1960.44401001),
    Band(7, "B8", "near infrared", _S2, 832.8, 10, _DN, 1941.32229668),
    Band(8, "B9", "water vapour", _S2, 945.1, 60, _DN, 674.07572865),
    Band(9, "B10", "cirrus", _S2, 1373.5, 60, _DN, 9.04787384),
    Band(10, "B11", "short-wave infrared 1", _S2, 1613.7, 20, _DN, 1113.98338755),
    Band(11, "B12", "short-wave infrared 2", _S2, 2202.4, 20, _DN, 519.90397929),
    Band(12, "slope", "slope", _ALOS, None, 12.5, "degrees", 20.29228266),
    Band(13, "elevation", "elevation", _ALOS, None, 12.5, "metres", 772.83144788),
)
BY_NAME = {band.name: band for band in BANDS}
SENTINEL2 = tuple(band.name for band in BANDS if band.sensor == _S2)


def _at(*positions):
    return tuple(BANDS[i].name for i in positions)


# The paper numbers its bands from 0 and prints "RGB" as 2, 3, 4 and "NIR" as 5. Read so, they are
# green, red, red edge 1 and red edge 2: the sets ending in _PRINTED. The others are what the words say.
SETS = {
    "ALL": tuple(BY_NAME),
    "RGB": ("B4", "B3", "B2"),
    "HEIGHT": ("slope", "elevation"),
    "RGB_HEIGHT": ("B4", "B3", "B2", "slope", "elevation"),
    "RGB_HEIGHT_NIR": ("B4", "B3", "B2", "B8", "slope", "elevation"),
    "RGB_PRINTED": _at(2, 3, 4),
    "RGB_HEIGHT_PRINTED": _at(2, 3, 4, 12, 13),
    "RGB_HEIGHT_NIR_PRINTED": _at(2, 3, 4, 5, 12, 13),
    # Figure 2. Its caption does not say which three bands SWIR means: B10, B11, B12 here.
    "SWIR": ("B10", "B11", "B12"),
    "NGB": ("B8", "B3", "B2"),
    "RGB_NIR": ("B4", "B3", "B2", "B8"),
    "RGB_SWIR": ("B4", "B3", "B2", "B10", "B11", "B12"),
    "RGB_NIR_SWIR": ("B4", "B3", "B2", "B8", "B10", "B11", "B12"),
}


def names(bands: str | Iterable[str]) -> tuple[str, ...]:
    """Band names of a set (`"RGB"`), of one band (`"B8"`) or of a list of names.

    Raises UsageError for a name that is neither a set nor a band, or a band named twice.
    """
    if isinstance(bands, str):
        if bands in BY_NAME:
            return (bands,)
        return SETS[choose("band set", bands, (*SETS, *BY_NAME))]
    chosen = tuple(choose("band", name, BY_NAME) for name in bands)
    if not chosen or len(set(chosen)) < len(chosen):
        raise UsageError(f"bands {', '.join(chosen) or '(none)'}: name at least one, and each once")
    return chosen


def indices(bands: str | Iterable[str]) -> list[int]:
    """Positions of the bands on the last axis of a file's `img`, in the order asked for."""
    return [BY_NAME[name].index for name in names(bands)]


def raw_means(bands: str | Iterable[str]) -> np.ndarray:
    """Raw mean of each band, float64 (C,)."""
    return np.array([BY_NAME[name].raw_mean for name in names(bands)])


def table():
    """All bands as a DataFrame, one row a band."""
    import pandas as pd

    return pd.DataFrame([vars(band) for band in BANDS]).set_index("index")
