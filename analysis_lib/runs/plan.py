"""The fine-tuning runs of a profile, and the run that trains their starting network."""

from collections.abc import Sequence
from dataclasses import replace

from ..benchmarks import describe, recipe
from ..benchmarks.manifest import Manifest, load_manifest
from ..core.errors import UserError, unknown
from ..core.run_spec import RunSpec
from ..models.pretrained import WEIGHTS

PRETRAINING = {"epochs": 4, "lr": 5e-2}  # of a network trained here from scratch, on the benchmark's source domain


def plan(benchmark: str, profile: str, seeds: Sequence[int], **changes) -> list[RunSpec]:
    """The fine-tuning runs of a profile, one per seed; `changes` replace fields of the recipe.

    Raises UserError for an unknown benchmark, profile or starting network, and for no seed or a repeated one.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(
            f"seeds are {list(seeds)}; give at least one, and each once: a repeated seed is no further sample"
        )
    manifest = load_manifest(benchmark)
    fields = {"benchmark": benchmark, "data": manifest.digest, "model": manifest.head.model}
    fields |= recipe(benchmark, profile)
    fields |= changes
    init = manifest.head.weights
    if init == "source" and describe(benchmark).source_images:
        init = pretraining(manifest, fields.get("dtype", "float32")).run_id
    elif init not in WEIGHTS:
        raise unknown("weights", init, WEIGHTS)
    return [RunSpec(**fields, init=init, seed=seed) for seed in seeds]


def upper_bound(spec: RunSpec) -> RunSpec:
    """The same run fine-tuned on the training images of all classes (*oracle*), as the paper's upper bound.

    It keeps the seed, so the same classes count as absent. With more images an epoch, it takes more steps. Only the
    pre-trained and the final Outputs are stored. Source: paper, row "Oracle" of its tables.
    """
    return replace(spec, tuned_on="all", record_every=spec.epochs)


def pretraining(manifest: Manifest, dtype: str) -> RunSpec:
    """The run that trains a benchmark's starting network on its source domain."""
    return RunSpec(
        benchmark=manifest.name,
        data=manifest.digest,
        model=manifest.head.model,
        init="random",
        seed=0,
        stage="pretrain",
        dtype=dtype,
        **PRETRAINING,
    )
