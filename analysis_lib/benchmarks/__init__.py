"""Benchmarks by name, with their recipes and grids. A new one is a file with its `BENCHMARK`, and a line here.

Imports core only.
"""

from ..core.errors import unknown
from . import digits, emoji, emoji_years, folder, glyphs
from .benchmark import Benchmark, Grid

BENCHMARKS: dict[str, Benchmark] = {
    "digits": digits.BENCHMARK,
    "emoji": emoji.BENCHMARK,
    "emoji_years": emoji_years.BENCHMARK,
    "glyphs": glyphs.BENCHMARK,
    "glyphs_display": glyphs.TO_DISPLAY,
    "glyphs_vit": glyphs.VIT,
}


def describe(name: str) -> Benchmark:
    """The benchmark of that name. A user's own manifest gets the gentle recipes and decodes its own image files."""
    return BENCHMARKS.get(name, folder.BENCHMARK)


def builder(name: str) -> Benchmark:
    """The benchmark whose `build_images` a manifest names. Raises UserError for an unknown one."""
    builders = {"folder": folder.BENCHMARK} | BENCHMARKS
    if name not in builders:
        raise unknown("builder", name, builders)
    return builders[name]


def recipe(benchmark: str, profile: str) -> dict:
    """The RunSpec fields of a benchmark's profile. Raises UserError for a profile that it does not have."""
    recipes = describe(benchmark).recipes
    if profile not in recipes:
        raise unknown("profile", profile, recipes)
    return recipes[profile]


def grid(benchmark: str, profile: str) -> Grid:
    """The grid of a benchmark's profile; if it has none, the recipe alone. Raises UserError as `recipe`."""
    fields = recipe(benchmark, profile)
    return describe(benchmark).grids.get(profile) or Grid((fields["lr"],), (fields["epochs"],))
