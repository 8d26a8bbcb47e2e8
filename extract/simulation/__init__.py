"""The simulated sky: one population of galaxies as three surveys and their volunteers see it."""

from extract.simulation.sky import Sky, simulate_sky

__all__ = ["Sky", "simulate_sky"]
