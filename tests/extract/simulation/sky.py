"""A mixed sample of galaxies and what three surveys' images show of them, with round numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

KINDS = ("elliptical", "lenticular", "spiral", "irregular")
ODDITIES = ("ring", "lens-or-arc", "disturbed", "irregular", "other", "merger", "dust-lane")
# how much of a structure an image keeps, and the mean signal to noise
SURVEYS = {"sdss": (0.75, 80.0), "decals": (0.9, 160.0), "ukidss": (0.45, 35.0)}


def draw_truth(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(KINDS, n, p=(0.35, 0.2, 0.42, 0.03))
    disk, spiral = kind != "elliptical", kind == "spiral"
    inclination = np.where(disk, np.degrees(np.arccos(rng.random(n))), 0.0)
    thin = rng.uniform(0.12, 0.3, n)
    flat = np.sqrt(np.cos(np.radians(inclination)) ** 2 * (1 - thin**2) + thin**2)
    redshift = rng.uniform(0.02, 0.18, n)
    absmag = rng.normal(-21.3, 0.8, n)
    odd = np.where(rng.random(n) < 0.15, rng.choice(ODDITIES, n), "")
    radius = rng.uniform(1.5, 6, n)
    return pd.DataFrame(
        {
            "galaxy": rng.permutation(3 * n)[:n],
            "ra": rng.uniform(120, 240, n),
            "dec": rng.uniform(-3, 30, n),
            "redshift": redshift,
            "absmag_r": absmag,
            "mag_r": absmag + 5 * np.log10(redshift * 299792.458 / 70 * 1e5) + 0.1,
            "petro_r50": radius,
            "petro_r90": radius * rng.uniform(2.1, 3.4, n),
            "kind": kind,
            "bulge_fraction": np.where(disk, rng.beta(1.3, 5, n), 1.0),
            "bulge_boxy": disk & (rng.random(n) < 0.1),
            "inclination": inclination,
            "axis_ratio": np.where(disk, flat, rng.uniform(0.45, 1, n)),
            "bar_strength": np.where(disk & (rng.random(n) < 0.4), rng.uniform(0.08, 0.3, n), 0.0),
            "bar_length": 0.4,
            "arms": np.where(spiral, rng.choice((1, 2, 3, 4, 5, 6), n, p=(0.05, 0.6, 0.15, 0.1, 0.06, 0.04)), 0),
            "arm_strength": np.where(spiral, rng.uniform(0.4, 1, n), 0.0),
            "pitch": np.clip(rng.normal(22, 8, n), 5, 40),
            "ring_strength": np.where(disk & (rng.random(n) < 0.1), rng.uniform(0.2, 1, n), 0.0),
            "knots": np.where(np.isin(kind, ("spiral", "irregular")), 0.2, 0.0),
            "odd": odd,
            "odd_strength": np.where(odd != "", rng.uniform(0.3, 1, n), 0.0),
        }
    )


def draw_sight(truth: pd.DataFrame, survey: str = "sdss", seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    keeps, snr = SURVEYS[survey]
    n = len(truth)
    face_on = np.clip(1.8 - truth["inclination"] / 45, 0, 1)
    kept = keeps * rng.beta(4, 1.5, n)
    return pd.DataFrame(
        {
            "disk": (truth["kind"] != "elliptical") * kept,
            "arms": 1 - np.exp(-4 * truth["arm_strength"] * kept * face_on),
            "bar": 1 - np.exp(-10 * truth["bar_strength"] * kept * face_on),
            "ring": 1 - np.exp(-4 * truth["ring_strength"] * kept * face_on),
            "odd": 1 - np.exp(-3 * truth["odd_strength"] * kept),
            "clumps": np.where(truth["arms"] > 0, 0.3, 0.0) * kept,
            "bulge_fraction": np.clip(truth["bulge_fraction"] * (1.4 if survey == "ukidss" else 1), 0, 1),
            "axis_ratio": 1 - (1 - truth["axis_ratio"]) * (0.85 if survey == "ukidss" else 0.95),
            "artifact": np.where(rng.random(n) < 0.02, rng.uniform(0.3, 1, n), 0.0),
            "snr": snr * np.exp(rng.normal(0, 0.5, n)),
        }
    )
