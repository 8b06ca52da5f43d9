"""Named random streams, and random numbers that are equal on every processor."""

import hashlib

import torch

GRID = 2.0**-24  # spacing of random draws


def seed_for(*names: object) -> int:
    """A 63-bit seed for a named stream, e.g. `seed_for("split", "emoji", 0)`. Streams do not affect each other."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(*names: object) -> torch.Generator:
    """A CPU generator for a named stream. It gives the same numbers whatever device is used."""
    return torch.Generator().manual_seed(seed_for(*names))


def on_grid(x: torch.Tensor) -> torch.Tensor:
    """`x` (float64) rounded to multiples of GRID, so that a draw is the same number on every processor.

    Roots, logarithms and fused products differ between processors in the last bits of a float64. The grid is a billion
    times coarser than those bits. Numbers up to 1 on the grid are exact in float32 too.
    """
    return (x / GRID).round() * GRID


def normal_draws(shape: tuple[int, ...], *names: object) -> torch.Tensor:
    """Standard normal numbers, float64 on the CPU, from a named stream: the same on every processor."""
    return on_grid(torch.randn(shape, dtype=torch.float64, generator=generator_for(*names)))
