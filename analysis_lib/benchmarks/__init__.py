"""Benchmarks by name, with their recipes and grids. A new one is a file with its `BENCHMARK`, and a line here.

Imports core only.
"""

from ..core.errors import unknown
from . import digits, emoji, emoji_years, folder, glyphs, imagenet_r, imagenet_s, iwildcam, office_home, vtab
from .benchmark import Benchmark, Grid
from .manifest import load_head, load_manifest
from .paper_recipe import in_epochs

BENCHMARKS: dict[str, Benchmark] = {
    "digits": digits.BENCHMARK,
    "emoji": emoji.BENCHMARK,
    "emoji_years": emoji_years.BENCHMARK,
    "glyphs": glyphs.BENCHMARK,
    "glyphs_display": glyphs.TO_DISPLAY,
    "glyphs_vit": glyphs.VIT,
    "office-home": office_home.BENCHMARK,
    "imagenet-r": imagenet_r.BENCHMARK,
    "imagenet-s": imagenet_s.BENCHMARK,
    "vtab": vtab.BENCHMARK,
    "iwildcam": iwildcam.BENCHMARK,
}


def describe(name: str) -> Benchmark:
    """The entry of a benchmark: that of its name, else the one that its head names as its `recipe`, else its builder's.

    A user's own manifest of image files has the builder `folder`, with gentle recipes. Raises UserError for a benchmark
    without a manifest and for an unknown recipe.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    head = load_head(name)
    if head.recipe is None:
        return builder(head.builder)
    if head.recipe not in BENCHMARKS:
        raise unknown(f"recipe of benchmark {name!r}", head.recipe, BENCHMARKS)
    return BENCHMARKS[head.recipe]


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
    fields = recipes[profile]
    return in_epochs(fields, load_manifest(benchmark)) if "steps" in fields else fields


def grid(benchmark: str, profile: str) -> Grid:
    """The grid of a benchmark's profile; if it has none, the recipe alone. Raises UserError as `recipe`."""
    fields = recipe(benchmark, profile)
    return describe(benchmark).grids.get(profile) or Grid((fields["lr"],), (fields["epochs"],))
