"""From the numbers of FITS images to 8-bit RGB: four recipes, each with a complete record of what it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from embeddings.errors import SommelierError, did_you_mean
from extract.images import ImageError

Array = np.ndarray[Any, Any]
Value = float | tuple[float, ...] | None  # None: derived from the image

PEDESTAL = 2.5  # of the mean image's noise: the sky is a dark grey, and its noise is not cut off at black
STRETCH = 16.0  # of the same: sky and noise as bright as in the Legacy Surveys' pictures
FAINTEST = 1500.0  # the brightest thousandth of an image is at most so many times the noise
OBJECT = 5.0  # of the mean image's noise: what is brighter is an object
FEW_PIXELS = 20  # objects smaller than this set no colour balance
MAX_BALANCE = 8.0  # a band is raised at most so many times above the noise that it has in common with the others
SOFTENING = 2.0  # of the noise: below it the grey recipe is linear
SAMPLE_SIDE = 128  # sky and balance are measured on so many rows and columns: more cost time and change nothing
HUGE = 1e30  # survey software writes such numbers where it has none

# the Legacy Surveys' picture of Galaxy Zoo DECaLS: nanomaggies for one unit in g, r, z; black and white in units
DR2_SCALES = (0.008, 0.014, 0.019)
DR2_RANGE = (-0.5, 300.0)
DR2_COLOUR = 2.5  # times the mean: a band this bright makes its pixel grey

DEFAULTS: dict[str, dict[str, Value]] = {
    "auto": {},
    "lupton": {"minimum": None, "stretch": None, "Q": 8.0},
    "dr2": {"desaturate": 1.0},
    "asinh": {"low": 1.0, "high": 99.9, "softening": None},
}
BANDS = {"lupton": (2, 3), "dr2": (3,), "asinh": (1,)}
PER_BAND = ("minimum", "stretch")
ALLOWED: dict[str, tuple[Callable[[float], bool], str]] = {
    "minimum": (lambda value: True, "a number"),
    "stretch": (lambda value: value > 0, "above 0"),
    "Q": (lambda value: value > 0, "above 0"),
    "desaturate": (lambda value: value in (0, 1), "0 or 1"),
    "low": (lambda value: 0 <= value < 100, "a percentile"),
    "high": (lambda value: 0 < value <= 100, "a percentile"),
    "softening": (lambda value: value > 0, "above 0"),
}

# these go into the provenance: a change of what a recipe does must change its words
AUTO = {
    "minimum": f"auto: each band's sky, less {PEDESTAL} noises of the mean image",
    "stretch": f"auto: {STRETCH} noises of the mean image, bands balanced to equal light of the objects "
    f"(> {OBJECT} noises, at most {MAX_BALANCE}), noise at least 1/{FAINTEST} of percentile 99.9",
    "softening": f"auto: {SOFTENING} noises",
}
SKY = f"statistics of {SAMPLE_SIDE} rows and columns; missing pixels as sky"
RULES = {
    "auto": "by the number of bands",
    "lupton": f"Lupton et al. 2004, bands blue to red, of two green is their mean; {SKY}",
    "dr2": f"arcsinh of g, r, z / {DR2_SCALES} nanomaggies, {DR2_RANGE} to black and white, "
    f"grey where one band is {DR2_COLOUR} of the mean; {SKY}",
    "asinh": f"arcsinh between two percentiles, grey; {SKY}",
}


@dataclass(frozen=True)
class Stretch:
    """
    How the pixels of one to three bands become a picture.

    Parameters
    ----------
    name : {'auto', 'lupton', 'dr2', 'asinh'}
        ``lupton`` is the colour-preserving picture of Lupton et al. [1]_: with the mean intensity
        I = mean((plane - minimum) / stretch) every band is multiplied by f(I) / I,
        f(I) = 0.1 arcsinh(Q I) / arcsinh(0.1 Q), and what exceeds white is divided by its brightest band. Three
        bands, blue to red; of two, green is their mean. ``dr2`` is the picture that Galaxy Zoo DECaLS showed [2]_,
        of g, r and z in nanomaggies; `desaturate` turns sky pixels of one colour grey, as it did. ``asinh`` is a grey
        picture of one band,
        arcsinh(x / softening) / arcsinh(1 / softening), x being 0 at percentile `low` and 1 at `high`. ``auto`` is
        ``asinh`` for one band and ``lupton`` for two or three.
    parameters : tuple of (str, float or tuple of float or None)
        Those left out take their defaults, which are filled in here; None is derived from each image. Sky and noise
        are a band's median, and its distance to percentile 15.87, of what is at most 3 noises above the median.
        `minimum` is the sky less 2.5 noises (of the mean image), `stretch` 16 of them. Units and exposures differ
        between surveys, so the bands are balanced: the objects' median pixel is grey, unless a band would have to be
        raised more than 8 times. Colours then compare within an image; for colours that compare between images give
        `stretch` a value for each band, in the images' unit.

    References
    ----------
    .. [1] Lupton et al. 2004, PASP 116, 133; in the form of astropy's `make_lupton_rgb`.
    .. [2] Walmsley et al. 2022, MNRAS 509, 3966; constants of the code in zooniverse/decals.
    """

    name: str = "auto"
    parameters: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        if self.name not in DEFAULTS:
            raise SommelierError(f"the stretch {self.name!r} is not known. {did_you_mean(self.name, DEFAULTS)}")
        known, given = DEFAULTS[self.name], dict(self.parameters)
        for key, value in given.items():
            if key not in known:
                raise SommelierError(f"the stretch {self.name!r} has no {key!r}. {did_you_mean(key, known)}")
            _check_value(key, value)
        complete = {**known, **given}
        if self.name == "asinh" and not complete["low"] < complete["high"]:  # type: ignore[operator]
            raise SommelierError(f"the stretch 'asinh' needs low < high, not {complete['low']} and {complete['high']}.")
        object.__setattr__(self, "parameters", tuple(complete.items()))

    @classmethod
    def parse(cls, text: str) -> Stretch:
        """
        Read ``name`` or ``name:key=value,...``; ``auto`` is a value, and ``/`` stands between the values of bands.

        Raises
        ------
        SommelierError
            When a name, key or value is not known.
        """
        name, _, rest = text.strip().partition(":")
        given: dict[str, Value] = {}
        for item in filter(None, (part.strip() for part in rest.split(","))):
            key, equals, value = (part.strip() for part in item.partition("="))
            if not equals or key in given:
                problem = f"{key!r} is given twice" if key in given else f"{item!r} is not key=value"
                raise SommelierError(f"--stretch {text!r}: {problem}. Write for example lupton:Q=8,stretch=0.5")
            given[key] = _parse_value(key, value)
        return cls(name.strip(), tuple(given.items()))

    def to_dict(self) -> dict[str, Any]:
        """The record for a provenance: every parameter and rule, so that no two renderings have the same."""
        record: dict[str, Any] = {"name": self.name, "rule": RULES[self.name]}
        if self.name == "auto":
            parts = {"one band": Stretch("asinh"), "two or three bands": Stretch("lupton")}
            return {**record, **{words: part.to_dict() for words, part in parts.items()}}
        for key, value in self.parameters:
            record[key] = AUTO[key] if value is None else list(value) if isinstance(value, tuple) else value
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Stretch:
        """
        The stretch that `to_dict` recorded.

        Raises
        ------
        SommelierError
            When the record is of another version, whose pictures may differ.
        """
        name = str(record.get("name"))
        given: list[tuple[str, Value]] = []
        for key in DEFAULTS.get(name, {}):
            value = record.get(key, "auto")
            if not isinstance(value, str):
                given.append((key, tuple(value) if isinstance(value, list) else value))
        stretch = cls(name, tuple(given))
        if stretch.to_dict() != dict(record):
            raise SommelierError(f"the record of the stretch {name!r} is of another version: {dict(record)}")
        return stretch

    def render(self, planes: Array) -> Array:
        """
        Draw.

        Parameters
        ----------
        planes : (n_bands, height, width) float array
            Blue to red, NaN where missing, row 0 at the bottom as in FITS.

        Returns
        -------
        (height, width, 3) uint8 array
            Row 0 is the top.

        Raises
        ------
        ImageError
            When the recipe is not for so many bands.
        """
        name = self.name
        if name == "auto":
            name = "asinh" if len(planes) == 1 else "lupton"
        if len(planes) not in BANDS[name]:
            wanted = " or ".join(map(str, BANDS[name]))
            bands = "1 band" if len(planes) == 1 else f"{len(planes)} bands"
            raise ImageError(f"{bands}; the stretch {name!r} draws {wanted}: choose bands")
        parameters = dict(self.parameters if name == self.name else Stretch(name).parameters)
        # a unit of 1e-30 or a saturated 1e29 may leave float32; what comes of it is cut to black and white
        with np.errstate(over="ignore", under="ignore"):
            return _to_bytes(RENDERERS[name](_Sky(planes), **parameters))


class _Sky:
    """The planes and their background, which is measured when it is needed: it takes as long as all else."""

    def __init__(self, planes: Array) -> None:
        self._planes, self._whole = planes, np.abs(planes) < HUGE  # False for NaN
        step = max(1, math.ceil(math.sqrt(planes[0].size) / SAMPLE_SIDE))
        self._some = slice(None), slice(None, None, step), slice(None, None, step)

    @cached_property
    def background(self) -> Array:
        """(2, n_bands, 1, 1) float32: the level and the noise."""
        bands = zip(self._planes[self._some], self._whole[self._some], strict=True)
        return np.array([_measure_sky(plane[whole]) for plane, whole in bands], np.float32).T[:, :, None, None]

    @cached_property
    def planes(self) -> Array:
        """(n_bands, height, width) float32: missing pixels at the level of the sky."""
        if self._whole.all():
            return self._planes.astype(np.float32, copy=False)
        return np.where(self._whole, self._planes, self.background[0]).astype(np.float32, copy=False)

    @cached_property
    def sample(self) -> Array:
        """(n_bands, n_pixels) float32: some of the pixels that no band lacks."""
        return self._planes[self._some][:, self._whole[self._some].all(axis=0)].astype(np.float32)


def _measure_sky(values: Array) -> tuple[float, float]:
    """A band's sky and noise, by the rule in `Stretch`; 0 and 1 of nothing, a noise of 1 where all are equal."""
    values = np.sort(values)
    if not len(values):
        return 0.0, 1.0
    brightest, n = float(values[int(0.999 * (len(values) - 1))]), 0
    while n != len(values):
        n = len(values)
        sky = float(values[n // 2])
        noise = sky - float(values[int(0.1587 * n)])  # the faint side, which no object touches
        values = values[: int(np.searchsorted(values, sky + 3 * noise, side="right"))]
    noise = max(noise, (brightest - sky) / FAINTEST)
    return sky, noise if noise > np.finfo(np.float32).tiny else 1.0


def _render_lupton(sky: _Sky, minimum: Value, stretch: Value, Q: float) -> Array:
    units = _balance(sky) if stretch is None else _per_band("stretch", stretch, sky)
    if minimum is None:
        minima = sky.background[0] - PEDESTAL * _mean_noise(sky, units) * units
    else:
        minima = _per_band("minimum", minimum, sky)
    scaled: Array = sky.planes - minima
    scaled /= units
    np.clip(scaled, -1e6, 1e6, out=scaled)
    if len(scaled) == 2:
        scaled = np.stack([scaled[0], scaled.mean(axis=0), scaled[1]])
    intensity = scaled.mean(axis=0)
    lit = np.maximum(intensity, 1e-6)
    scaled *= np.where(intensity > 0, 0.1 * np.arcsinh(Q * lit) / math.asinh(0.1 * Q) / lit, 0)
    scaled /= np.maximum(scaled.max(axis=0), 1)
    return scaled[::-1]


def _mean_noise(sky: _Sky, units: Array) -> float:
    """The noise of the mean of all bands, each in its unit."""
    noise = sky.background[1]
    return float(np.sqrt(np.sum((noise / units) ** 2)) / len(noise))


def _balance(sky: _Sky) -> Array:
    """(n_bands, 1, 1): `STRETCH` times the noise of the mean, in units in which objects are as bright in every band."""
    level, units = sky.background
    signal = (sky.sample - level[:, :, 0]) / units[:, :, 0]
    objects = signal.mean(axis=0) > OBJECT / math.sqrt(len(signal))
    if np.count_nonzero(objects) > FEW_PIXELS:
        light = np.median(signal[:, objects], axis=1)[:, None, None]
        units = units * np.maximum(light / light.max(), 1 / MAX_BALANCE)
    return np.asarray(units * STRETCH * _mean_noise(sky, units))


def _per_band(key: str, value: float | tuple[float, ...], sky: _Sky) -> Array:
    values = np.atleast_1d(np.array(value, np.float32))
    if len(values) not in (1, len(sky.planes)):
        raise ImageError(f"{len(sky.planes)} bands, but the stretch has {len(values)} values of {key}")
    return values[:, None, None]


def _render_dr2(sky: _Sky, desaturate: float) -> Array:
    black, white = map(math.asinh, DR2_RANGE)
    units = np.array(DR2_SCALES, np.float32)[::-1, None, None]
    rgb: Array = sky.planes[::-1] / units
    np.arcsinh(rgb, out=rgb)
    rgb -= black
    rgb /= white - black
    if desaturate:
        # pixels of one colour, mostly noise, turn grey: the weight is 0 where a band is 2.5 times the mean of all
        mean = rgb.mean(axis=0)
        colour = np.where(mean < 0, rgb.min(axis=0), rgb.max(axis=0)) / np.where(mean == 0, 1, mean)
        weight = np.sin(np.pi / 2 * (1 - np.minimum(colour / DR2_COLOUR, 1)))
        grey = mean * (1 - weight)
        faint = grey * (1 - weight) * rgb
        rgb *= weight
        rgb += grey
        rgb += faint
    return rgb


def _render_asinh(sky: _Sky, low: float, high: float, softening: float | None) -> Array:
    plane = sky.planes[0]
    black, white = np.percentile(sky.sample, (low, high)) if sky.sample.size else (0.0, 0.0)
    span = float(white - black) or 1.0
    if softening is None:
        softening = min(SOFTENING * float(sky.background[1].item()) / span, 1.0)
    scaled = np.clip((plane - black) / span, 0, 1)
    grey = np.arcsinh(scaled / softening) / math.asinh(1 / softening)
    return np.broadcast_to(grey, (3, *plane.shape))


RENDERERS: dict[str, Callable[..., Array]] = {"lupton": _render_lupton, "dr2": _render_dr2, "asinh": _render_asinh}


def _to_bytes(rgb: Array) -> Array:
    """(3, height, width) in [0, 1], row 0 at the bottom, to (height, width, 3) uint8, row 0 at the top."""
    image = np.empty((*rgb.shape[1:], 3), np.uint8)
    for channel, plane in enumerate(rgb):
        image[:, :, channel] = np.clip(plane[::-1] * 255, 0, 255)  # cut, not rounded: as in the surveys' pictures
    return image


def _parse_value(key: str, text: str) -> Value:
    if text == "auto":
        return None
    try:
        values = tuple(float(part) for part in text.split("/"))
    except ValueError:
        raise SommelierError(f"the stretch's {key}={text!r} is not a number.") from None
    return values[0] if len(values) == 1 else values


def _check_value(key: str, value: Value) -> None:
    allowed, words = ALLOWED[key]
    if value is None and key not in AUTO:
        raise SommelierError(f"the stretch's {key} is {words}; it is not derived from the image.")
    if isinstance(value, tuple) and key not in PER_BAND:
        raise SommelierError(f"the stretch's {key} is one number, not {len(value)}.")
    for number in value if isinstance(value, tuple) else () if value is None else (value,):
        if not (math.isfinite(number) and allowed(number)):
            raise SommelierError(f"the stretch's {key}={number:g} must be {words}.")
