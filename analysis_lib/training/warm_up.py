"""Warm-up: the learning rate rises in even steps at the start of training."""

import math


def warm_up(step: int, steps: int, fraction: float) -> float:
    """The factor on the learning rate of step 0, 1, ... of all `steps`: 1/k, 2/k, ... and 1 from the k-th step on.

    k is the given fraction of all steps, rounded up. At 0 there is no warm-up.
    """
    rising = math.ceil(fraction * steps - 1e-9)  # 0.07 * 100 is a little above 7
    return min(1.0, (step + 1) / rising) if rising else 1.0
