"""The fine-tuning runs of a profile, the run that trains their starting network, and sequences of tasks."""

from collections.abc import Sequence
from dataclasses import replace

from ..benchmarks import describe, recipe
from ..benchmarks.manifest import NO_NETWORK, SOURCE, Manifest, load_manifest
from ..core.errors import UserError, unknown
from ..core.run_spec import RunSpec
from ..models.pretrained import WEIGHTS, has_weights

RANDOM = "random"  # what a network that is trained from scratch starts from


def plan(benchmark: str, profile: str, seeds: Sequence[int], **changes) -> list[RunSpec]:
    """The fine-tuning runs of a profile, one per seed; `changes` replace fields of the recipe, and `init`.

    Raises UserError for an unknown benchmark, profile or starting network, and for no seed or a repeated one.
    """
    return plan_on(load_manifest(benchmark), profile, seeds, **changes)


def plan_on(manifest: Manifest, profile: str, seeds: Sequence[int], **changes) -> list[RunSpec]:
    """`plan` for a manifest that is read already. Raises as there."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(
            f"seeds are {list(seeds)}; give at least one, and each once: a repeated seed is no further sample"
        )
    fields = {"benchmark": manifest.name, "data": manifest.digest, "model": manifest.head.model}
    fields |= recipe(manifest.name, profile)
    fields |= changes
    if "init" not in fields:
        fields["init"] = starting_network(manifest, fields.get("dtype", "float32"))
    elif not has_weights(fields["init"]):
        raise unknown("weights", fields["init"], WEIGHTS)
    return [RunSpec(**fields, seed=seed) for seed in seeds]


def starting_network(manifest: Manifest, dtype: str) -> str:
    """What fine-tuning starts from: named weights, or the run id of the training on source images.

    Raises UserError where no network is named yet, for weights that do not exist, and for a source domain without
    images.
    """
    weights = manifest.head.weights
    if NO_NETWORK in (weights, manifest.head.model):
        raise UserError(
            f"benchmark {manifest.name!r} names no network yet; give it one with `python -m analysis_lib manifest "
            f"network {manifest.name} --model ARCH --weights FILE`"
        )
    if weights == SOURCE:
        if not describe(manifest.name).source_images and not len(manifest.rows(SOURCE)):
            raise UserError(
                f"benchmark {manifest.name!r} trains its network on source images and has none; add rows of the split "
                f"{SOURCE!r}, or name weights"
            )
        return pretraining(manifest, dtype).run_id
    if not has_weights(weights):
        raise unknown("weights", weights, [*WEIGHTS, SOURCE])
    return weights


def upper_bound(spec: RunSpec) -> RunSpec:
    """The same run fine-tuned on the training images of all classes (*oracle*), as the paper's upper bound.

    It keeps the seed, so the same classes count as absent. With more images an epoch, it takes more steps. Only the
    pre-trained and the final Outputs are stored. Source: paper, row "Oracle" of its tables.
    """
    return replace(spec, tuned_on="all", record_every=spec.epochs)


def pretraining(manifest: Manifest, dtype: str) -> RunSpec:
    """The run that trains a benchmark's starting network on all classes of its source domain."""
    return RunSpec(
        benchmark=manifest.name,
        data=manifest.digest,
        model=manifest.head.model,
        init=manifest.head.backbone or RANDOM,
        seed=0,
        stage="pretrain",
        dtype=dtype,
        **describe(manifest.name).source_recipe,
    )


def sequence(spec: RunSpec, tasks: Sequence[str]) -> list[RunSpec]:
    """The runs that learn `tasks` one after another, with the recipe, method and seed of a fine-tuning run.

    The first starts from the network that `spec` starts from, each other one from the run before it.
    """
    specs, init = [], spec.init
    for learnt in range(1, len(tasks) + 1):
        changes = {"stage": "task", "tasks": tuple(tasks[:learnt]), "record_every": spec.epochs}
        specs.append(replace(spec, init=init, **changes))
        init = specs[-1].run_id
    return specs


def run_before(spec: RunSpec, manifest: Manifest) -> RunSpec | None:
    """The run whose network a run starts from; None if it starts from named weights."""
    if len(spec.tasks) > 1:
        start = replace(spec, init=starting_network(manifest, spec.dtype))
        return sequence(start, spec.tasks)[-2]
    return None if has_weights(spec.init) else pretraining(manifest, spec.dtype)
