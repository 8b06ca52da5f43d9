"""How torch's threads wait for one another."""

import os

CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # by either of them a user decides
SPINCOUNT = "10000"


def sleep_soon() -> None:
    """Let OpenMP's threads wait in a loop for a few microseconds only, then sleep. Child processes inherit it.

    GNU's OpenMP else lets them turn for milliseconds, which starves another job on the same cores; `bench/cpu_path.py`
    measures it. What the user has set stays. It has no effect in a process that imported torch before: the library
    reads its environment when it is loaded.
    """
    if not any(name in os.environ for name in CHOICES):
        os.environ["GOMP_SPINCOUNT"] = SPINCOUNT
