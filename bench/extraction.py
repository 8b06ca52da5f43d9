"""Features and logits of a checkpoint: `runs.outputs.extract` against a plain loop over the same images as PNG files.

Every form is in a process of its own. All give the same logits, which is checked.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import torch
from png_folder import loader, normalized, write_pngs
from rows import Apart, Row, compare_rates, in_turns

from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import Manifest, load_manifest
from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.core.device import deterministic, reuse_memory
from analysis_lib.models.create import create_model
from analysis_lib.models.pretrained import named_weights
from analysis_lib.runs.outputs import extract

BATCH, COUNT, ROUNDS = 64, 256, 5


def rows() -> Iterator[Row]:
    manifest, index = chosen()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write_pngs(Path(folder), load_images(manifest), manifest.labels, index)
        makers = {
            "ours": extracting,
            "plain loop": partial(plain_loop, folder, 0),
            "plain loop, two workers": partial(plain_loop, folder, 2),
        }
        forms = [stack.enter_context(closing(Apart(make))) for make in makers.values()]
        logits, *others = [form() for form in forms]
        assert all(torch.allclose(other, logits, atol=1e-3) for other in others)
        times = dict(zip(makers, in_turns(*forms, rounds=ROUNDS)))
    ours = times.pop("ours")
    for other, seconds in times.items():
        yield compare_rates("extraction", f"{manifest.head.model}: {other}", COUNT, ours, seconds, 1.3)


def chosen() -> tuple[Manifest, torch.Tensor]:
    """The benchmark and the row numbers of some of its test images, by label and then by row."""
    manifest = load_manifest("emoji")
    index = manifest.rows("test")[:COUNT].sort().values
    return manifest, index[manifest.labels[index].argsort(stable=True)]


def starting_network(manifest: Manifest) -> torch.nn.Module:
    model = create_model(manifest.head.model, len(manifest.class_names))
    model.load_state_dict(named_weights(manifest.head.weights, model, manifest.head.class_ids))
    return model


def extracting():
    """Outputs of the suite, as `runs.execute` records them; gives the logits."""
    deterministic()
    reuse_memory()
    manifest, index = chosen()
    model, images = starting_network(manifest).to(memory_format=torch.channels_last), load_images(manifest)
    normalize = normalizer(manifest.head.mean, manifest.head.std, torch.float32, torch.device("cpu"))
    return lambda: extract(model, images, manifest.labels, index, normalize, BATCH).logits


def plain_loop(folder: str, workers: int):
    """Features and logits of the PNG files, batch by batch; gives the logits."""
    manifest, _ = chosen()
    model = starting_network(manifest).eval()
    batches = loader(folder, normalized(manifest.head), BATCH, workers, False)

    @torch.no_grad()
    def evaluate():
        found = []
        for x, _ in batches:
            features = model.forward_head(model.forward_features(x), pre_logits=True)
            found.append((features, model.get_classifier()(features)))
        features, logits = (torch.cat(parts) for parts in zip(*found))
        return logits

    return evaluate
