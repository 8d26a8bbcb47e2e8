"""Where a place on the sky is shown by the survey that saw it."""

from __future__ import annotations

from urllib.parse import quote

# by how a survey's name starts; others are shown by Aladin Lite, which has the whole sky
VIEWERS = {
    "sdss": ("SkyServer", "https://skyserver.sdss.org/dr18/VisualTools/navi?opt=G&ra={ra}&dec={dec}&scale=0.2"),
    "decals": ("Legacy Surveys", "https://www.legacysurvey.org/viewer?ra={ra}&dec={dec}&layer=ls-dr10&zoom=15&mark={ra},{dec}"),
}  # fmt: skip
ELSEWHERE = ("Aladin Lite", "https://aladin.cds.unistra.fr/AladinLite/?target={target}&fov=0.05")
SAME_SURVEY = {"gz2": "sdss", "sloan": "sdss", "desi": "decals", "legacy": "decals"}


def link_viewer(survey: str, ra: float, dec: float) -> tuple[str, str]:
    """
    The viewer of a survey, and its address for a place.

    Parameters
    ----------
    survey : str
        As the store calls it.
    ra, dec : float
        Degrees ICRS.

    Returns
    -------
    name, address : str
    """
    start = survey.lower()
    start = next((name for prefix, name in SAME_SURVEY.items() if start.startswith(prefix)), start)
    name, address = next((viewer for prefix, viewer in VIEWERS.items() if start.startswith(prefix)), ELSEWHERE)
    return name, address.format(ra=f"{ra:.6f}", dec=f"{dec:.6f}", target=quote(f"{ra:.6f} {dec:+.6f}"))
