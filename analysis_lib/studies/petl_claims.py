"""What is claimed about parameter-efficient methods, as decision rules that were written before the runs were read."""

from collections.abc import Sequence

import pandas as pd

from ..analysis.gamma.estimators import NONE
from ..analysis.stats.claims import Claim, Contrast, State
from ..analysis.stats.sample_numbers import SampleNumbers
from ..runs.run_set import PRE_TRAINED
from .fine_tuning_methods import NCM
from .method_differences import STAND_IN, judged
from .petl import FULL, TITLES

SOURCE = "ours"


def claims_about(methods: Sequence[str]) -> tuple[Claim, ...]:
    """Five families of decision rules: for each method, two on its own and three against full fine-tuning."""
    found = []
    for name in methods:
        title, plain, shifted = TITLES[name], State(name, NONE), State(name, STAND_IN)
        own = (
            ("one constant", "gains over all classes by one constant, from stand-ins", shifted, plain, "acc_yy"),
            ("features", "separates absent classes better than the pre-trained network, by class means (oracle)",
             State(name, NCM), State(PRE_TRAINED, NCM), "acc_uy"),
        )  # fmt: skip
        against = (
            ("absent classes", "keeps more of the absent classes than full fine-tuning, without a shift",
             plain, State(FULL, NONE), "acc_uy"),
            ("after the shift", "beats full fine-tuning over all classes, each with its stand-ins",
             shifted, State(FULL, STAND_IN), "acc_yy"),
            ("curve", "has a higher seen-absent curve (AUSUC) than full fine-tuning",
             State(name), State(FULL), "ausuc"),
        )  # fmt: skip
        for family, words, a, b, metric in own if name == FULL else (*own, *against):
            found.append(Claim(family, f"{title} {words}", Contrast(a, b, metric), "above", 0, SOURCE))
    return tuple(found)


def verdicts(numbers: SampleNumbers, methods: Sequence[str]) -> pd.DataFrame:
    """The claims about every method: the columns of `claims.judge`, and method. numbers : of all of their networks."""
    table = judged(numbers, claims_about(methods))
    table.insert(1, "method", [contrast.a.checkpoint for contrast in table["quantity"]])
    return table
