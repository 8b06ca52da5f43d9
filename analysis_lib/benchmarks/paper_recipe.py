"""The recipe of the paper's published code, whose length is counted in gradient steps."""

from .benchmark import GENTLE
from .manifest import Manifest

STEPS = 500  # of a round; the published code calls a round an epoch and measures after each


def with_paper(rounds: int, weight_decay: float) -> dict[str, dict]:
    """The gentle recipes of one's own images, and the profile `paper`: `rounds` of 500 steps of 64 images each."""
    published = {
        "lr": 1e-3,
        "weight_decay": weight_decay,
        "batch_size": 64,
        "backbone_lr_scale": 0.1,
        "steps": rounds * STEPS,
        "record_every": STEPS,
    }
    return GENTLE | {"paper": published}


def in_epochs(fields: dict, manifest: Manifest) -> dict:
    """A recipe of `steps`, counted in epochs: whole passes over the manifest's fine-tuning images, at least one.

    `steps` becomes the nearest number of `epochs`, and `record_every` the nearest number of epochs to as many steps.
    Where the seen classes are a share drawn by the seed, the fine-tuning images are that share of the training images.
    """
    labels = manifest.labels[manifest.rows("train")]
    seen = manifest.head.seen
    if isinstance(seen, float):
        images = round(seen * len(labels))
    else:
        split = manifest.class_split(0)
        images = int(split.is_seen(labels).sum())
    per_epoch = -(-images // fields["batch_size"])  # rounded up, as the training loop divides them
    rest = {name: value for name, value in fields.items() if name not in ("steps", "record_every")}
    epochs, every = (max(1, round(fields[name] / per_epoch)) for name in ("steps", "record_every"))
    return rest | {"epochs": epochs, "record_every": min(every, epochs)}
