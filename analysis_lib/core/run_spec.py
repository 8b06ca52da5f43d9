"""RunSpec, the frozen description of one training run, and its id."""

import hashlib
import json
import math
from dataclasses import MISSING, dataclass, fields

from .errors import UserError, unknown

TUNED_ON = ("seen", "all")
HEADS = ("linear", "cosine")


@dataclass(frozen=True)
class RunSpec:
    """One training run. Fields at their default do not enter `run_id`, so a new field must default to no effect.

    `data` is the digest of the manifest. `init` names the starting weights: a weights package, or the run id of the
    pre-training. `seen` lists seen classes by name, in place of the manifest's. With `validation`, some groups of every
    class are held out of training and evaluated: for choosing hyper-parameters, never for reporting. Raises UserError
    for no epochs, a negative or infinite `lr`, a negative `backbone_lr_scale` or `images_per_class`, a `warmup` outside
    0..1, `autocast` in float64, and an unknown `tuned_on` or `head`.
    """

    benchmark: str
    data: str
    model: str
    init: str
    seed: int
    epochs: int
    lr: float
    stage: str = "finetune"  # or "pretrain": all classes of the source domain; "task": the last of `tasks`
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 32
    dtype: str = "float32"
    record_every: int = 1  # epochs between stored Outputs; the first and the last are always stored
    seen: tuple[str, ...] = ()
    validation: bool = False
    method: str = "finetune"  # of `methods.METHODS`
    options: tuple[tuple[str, float | str], ...] = ()  # of the method, where they are not its defaults
    backbone_lr_scale: float = 1.0  # the learning rate of all weights but the head's, as a multiple of `lr`
    tuned_on: str = "seen"  # or "all": training images of absent classes too (oracle); they still count as absent
    tasks: tuple[str, ...] = ()  # of `benchmarks.tasks.TASKS`: learnt one after another, the last of them in this run
    head: str = "linear"  # or "cosine"
    warmup: float = 0.0  # the fraction of all steps in which the learning rate rises to `lr`
    augmented: bool = True  # random crops and flips, as the manifest says
    images_per_class: int = 0  # train on at most so many images of each class; 0 is all
    autocast: bool = False  # forward passes of the backbone in bfloat16, where torch takes that to be safe

    def __post_init__(self):
        if not self.backbone_lr_scale >= 0:  # also refuses NaN
            raise UserError(
                f"backbone_lr_scale is {self.backbone_lr_scale}; give a multiple of the learning rate, 0 or more"
            )
        if self.tuned_on not in TUNED_ON:
            raise unknown("tuned_on", self.tuned_on, TUNED_ON)
        if self.head not in HEADS:
            raise unknown("head", self.head, HEADS)
        if not 0 <= self.warmup < 1:
            raise UserError(f"warmup is {self.warmup}; give a fraction of the steps, from 0 to below 1")
        if self.epochs < 1 or not 0 <= self.lr < math.inf:
            raise UserError(f"a run has {self.epochs} epochs at lr {self.lr}; give 1 or more, and a rate of 0 or more")
        if self.images_per_class < 0:
            raise UserError(f"images_per_class is {self.images_per_class}; give 1 or more, or 0 for all")
        if self.autocast and self.dtype != "float32":
            raise UserError(
                f"autocast computes in bfloat16 in place of float32, and dtype is {self.dtype!r}; set dtype to "
                "'float32' or leave autocast out"
            )

    @property
    def run_id(self) -> str:
        """`<benchmark>-<stage>-s<seed>-<hash>`: the hash covers every non-default field."""
        changed = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.default is MISSING or getattr(self, f.name) != f.default
        }
        digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.benchmark}-{self.stage}-s{self.seed}-{digest}"
