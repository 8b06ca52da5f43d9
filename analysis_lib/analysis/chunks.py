"""Computation over some rows at a time, so that float64 copies of large features or logits never exist as a whole.

Letters: N samples. Fewer than `ROWS` of them are one chunk.
"""

from collections.abc import Callable, Iterator

import torch

ROWS = 4096


def chunks(n: int) -> Iterator[slice]:
    """The numbers 0..n-1 in order, as slices of at most `ROWS`; one empty slice for n = 0."""
    for start in range(0, max(n, 1), ROWS):
        yield slice(start, min(start + ROWS, n))


def by_rows(function: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
    """`function(*tensors)` for a function that computes each row of its result (N, ...) from the same row of each.

    tensors : (N, ...) each.
    """
    n, whole = len(tensors[0]), None
    for rows in chunks(n):
        part = function(*(tensor[rows] for tensor in tensors))
        if whole is None:
            whole = part.new_empty(n, *part.shape[1:])
        whole[rows] = part
    return whole
