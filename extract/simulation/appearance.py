"""What can be measured on any picture of a galaxy, real or simulated, to hold one against the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

Array = np.ndarray[Any, Any]

BORDER = 0.1  # of the side: where there is mostly sky
BRIGHT = 4.0  # times the noise above the sky: part of an object
SMOOTHING = 0.008  # of the side: standard deviation of the Gaussian before objects are looked for
MEASURES = ("sky_level", "sky_noise", "half_light_radius", "axis_ratio", "red", "blue", "objects")


def measure_appearance(image: Array) -> dict[str, float]:
    """
    Measure a picture in its own units, as a volunteer sees it.

    Parameters
    ----------
    image : (height, width, 3) uint8 array
        The galaxy in the middle.

    Returns
    -------
    dict of str to float
        ``sky_level`` and ``sky_noise`` of the border, in grey levels of 255 (median, and 1.4826 times the median
        absolute deviation of the mean of the channels); ``half_light_radius`` of the central object as a share of the
        frame's side and its ``axis_ratio`` from second moments; its colours ``red`` = 2.5 log10(R / G) and ``blue`` =
        2.5 log10(B / G); ``objects``, how many objects there are. NaN of what an image without a central object lacks.
    """
    planes = np.asarray(image, np.float64)
    grey = planes.mean(axis=2)
    side = min(grey.shape)
    edge = np.ones(grey.shape, bool)
    width = int(BORDER * side)
    edge[width:-width, width:-width] = False
    level = float(np.median(grey[edge]))
    noise = float(1.4826 * np.median(np.abs(grey[edge] - level)))
    smooth = ndimage.gaussian_filter(grey, SMOOTHING * side)
    sky = float(np.median(smooth[edge]))
    spread = float(1.4826 * np.median(np.abs(smooth[edge] - sky)))
    labels, objects = ndimage.label(smooth > sky + max(BRIGHT * spread, 2.0))
    found = {"sky_level": level, "sky_noise": noise, "objects": float(objects)}
    central = labels[grey.shape[0] // 2, grey.shape[1] // 2]
    if not central:
        return {name: found.get(name, float("nan")) for name in MEASURES}
    return {**found, **_measure_object(planes, labels == central)}


def _measure_object(planes: Array, inside: Array) -> dict[str, float]:
    y, x = np.nonzero(inside)
    outside = np.median(planes[~inside], axis=0)
    light = planes[inside] - outside
    grey = np.maximum(light.mean(axis=1), 0)
    total = max(float(grey.sum()), 1e-9)
    centre = np.array([grey @ y, grey @ x]) / total
    offsets = np.stack([y, x]) - centre[:, None]
    moments = np.linalg.eigvalsh((grey * offsets) @ offsets.T / total + np.eye(2) / 12)  # a pixel's own extent
    radius = np.hypot(*offsets)
    order = np.argsort(radius)
    half = radius[order][np.searchsorted(np.cumsum(grey[order]), total / 2)]
    red, green, blue = np.maximum(light.sum(axis=0), 1.0)
    return {
        "half_light_radius": float(half / min(planes.shape[:2])),
        "axis_ratio": float(np.sqrt(moments[0] / moments[1])),
        "red": float(2.5 * np.log10(red / green)),
        "blue": float(2.5 * np.log10(blue / green)),
    }
