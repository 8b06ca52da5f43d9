"""What a run is: a frozen RunSpec, its id, and the recipe of each profile."""

import hashlib
import json
from dataclasses import MISSING, dataclass, fields

from .errors import unknown


@dataclass(frozen=True)
class RunSpec:
    """One training run. Fields at their default do not enter `run_id`, so a new field must default to no effect.

    `data` is the digest of the manifest and `init` names the starting weights: a weights package, or the run id of
    the pre-training. `seen` overrides the manifest's classes by name. `validation` holds some groups of every class out
    of training and evaluates on those: for choosing hyper-parameters, never for reporting.
    """

    benchmark: str
    data: str
    model: str
    init: str
    seed: int
    epochs: int
    lr: float
    stage: str = "finetune"  # or "pretrain": all classes of the source domain
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 32
    dtype: str = "float32"
    record_every: int = 1  # epochs between stored Outputs; the first and the last are always stored
    seen: tuple[str, ...] = ()
    validation: bool = False

    @property
    def run_id(self) -> str:
        """`<benchmark>-<stage>-s<seed>-<hash>`: the hash covers every non-default field."""
        changed = {f.name: getattr(self, f.name) for f in fields(self) if f.default is MISSING or getattr(self, f.name) != f.default}
        digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.benchmark}-{self.stage}-s{self.seed}-{digest}"


# How the emoji recipe was chosen: bench/choose_recipe.py, on a class split that is never reported.
RECIPES = {
    "digits": {
        "smoke": {"epochs": 4, "lr": 2e-2, "dtype": "float64"},
        "default": {"epochs": 10, "lr": 2e-2},
        "full": {"epochs": 10, "lr": 2e-2},
    },
    "emoji": {
        "smoke": {"epochs": 1, "lr": 2e-2},
        "default": {"epochs": 5, "lr": 2e-2},
        "full": {"epochs": 5, "lr": 2e-2},
    },
}
PRETRAINING = {"epochs": 4, "lr": 5e-2}  # of a network that starts here, on the benchmark's source domain
ANY_BENCHMARK = {"smoke": {"epochs": 1, "lr": 5e-3}, "default": {"epochs": 5, "lr": 5e-3}, "full": {"epochs": 5, "lr": 5e-3}}


@dataclass(frozen=True)
class Grid:
    """Learning rates and epochs, each with each, over which estimators of gamma are compared on the seeds of a study.

    `development` are seeds on which the estimators were chosen, and which are never reported beside the others.
    """

    lr: tuple[float, ...]
    epochs: tuple[int, ...]
    development: tuple[int, ...] = ()


GRIDS = {
    "digits": {
        "smoke": Grid((5e-3, 2e-2), (4,)),
        "default": Grid((5e-3, 2e-2), (10,)),
        "full": Grid((2e-3, 5e-3, 2e-2), (4, 20), development=(10, 11, 12)),
    },
    "emoji": {
        "smoke": Grid((2e-2,), (1,)),
        "default": Grid((5e-3, 2e-2), (5,)),
        "full": Grid((2e-3, 5e-3, 2e-2), (5, 10), development=(10,)),
    },
}


def recipe(benchmark: str, profile: str) -> dict:
    """The RunSpec fields of a benchmark's profile. Raises UserError for a profile that it does not have."""
    recipes = RECIPES.get(benchmark, ANY_BENCHMARK)
    if profile not in recipes:
        raise unknown("profile", profile, recipes)
    return recipes[profile]


def grid(benchmark: str, profile: str) -> Grid:
    """The grid of a benchmark's profile; where it has none, the recipe alone. Raises UserError as `recipe`."""
    fields = recipe(benchmark, profile)
    return GRIDS[benchmark][profile] if benchmark in GRIDS else Grid((fields["lr"],), (fields["epochs"],))
