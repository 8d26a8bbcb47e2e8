"""Where on a mosaic a galaxy lies: cut-outs by the celestial WCS."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from astropy.io import fits

from extract.images import MIN_SIDE, ImageError


def find_cutout(
    header: fits.Header, band_axis: int | None, sides: tuple[int, int], arcsec: float, ra: float, dec: float
) -> tuple[slice, slice]:
    """
    The rows and columns of a square around a position, by astropy's `Cutout2D`.

    Parameters
    ----------
    header : Header
        With a celestial WCS.
    band_axis : int or None
        Which numpy axis of the image holds bands.
    sides : (height, width)
        Of the image, in pixels.
    arcsec : float
        The square's side.
    ra, dec : float
        Its centre, in degrees ICRS.

    Raises
    ------
    ImageError
        When there is no position or WCS, or the square does not lie on the image.
    """
    from astropy.coordinates import SkyCoord  # half a second for these, for cut-outs only
    from astropy.nddata import Cutout2D, NoOverlapError, PartialOverlapError
    from astropy.wcs import NoConvergence
    from astropy.wcs.utils import proj_plane_pixel_scales

    if not (math.isfinite(ra) and abs(dec) <= 90):
        raise ImageError("no position is known: a cut-out needs ra and dec")
    place = f"{ra:.5f} {dec:+.5f}"
    try:
        wcs = _read_wcs(header, band_axis)
        # to a thousandth, for else the last digit of a WCS decides between two pixels
        x, y = (float(np.round(v, 3)) for v in wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg")))
        # in pixels, for Cutout2D takes the scale of the other axis where pixels are oblong
        shape = [round(arcsec / (3600 * scale)) for scale in proj_plane_pixel_scales(wcs)[::-1]]
        nothing = np.broadcast_to(np.uint8(0), sides)  # the slices alone are wanted: the pixels are read by them
        cut = Cutout2D(nothing, (x, y), shape, mode="strict")
    except ImageError:
        raise
    except PartialOverlapError:
        raise ImageError(f"a cut-out of {arcsec:g} arcsec at {place} runs off the image") from None
    except (NoOverlapError, ValueError, NoConvergence):  # far from the image a projection has no pixel
        raise ImageError(f"the position {place} is not on the image") from None
    rows, columns = cut.slices_original
    if min(cut.shape) < MIN_SIDE:
        height, width = cut.shape
        raise ImageError(
            f"a cut-out of {arcsec:g} arcsec is {width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed"
        )
    return rows, columns


def _read_wcs(header: fits.Header, band_axis: int | None) -> Any:
    """The celestial WCS of an image's two axes on the sky; FITS counts them the other way round."""
    from astropy.wcs import WCS

    try:
        wcs = WCS(header, naxis=[2, 3] if band_axis == 2 else [1, 2])
    except Exception as error:  # wcslib has a dozen kinds
        raise ImageError(f"its WCS cannot be used: {' '.join(str(error).split())}") from None
    if not wcs.has_celestial:
        raise ImageError("its header has no celestial WCS to cut by")
    return wcs
