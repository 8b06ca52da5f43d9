"""The one training loop: cross-entropy over all classes, cosine learning rate per step, BatchNorm in train mode.

After every epoch it hands the model to a callback and then writes a checkpoint; that write is what commits the
epoch, so a run killed at any moment continues from the last commit and ends with the same bytes.
"""

import json
import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from . import paths, runtime, store
from .errors import UserError, unknown
from .spec import RunSpec

OPTIMIZERS = {
    "sgd": lambda parameters, spec: torch.optim.SGD(
        parameters, spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, nesterov=spec.momentum > 0),
    "adamw": lambda parameters, spec: torch.optim.AdamW(parameters, spec.lr, weight_decay=spec.weight_decay),
}


def augment(x: torch.Tensor, scale: tuple[float, float], flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Random resized crops, and flips, of a whole batch at once on its own device.

    x : (N, 3, H, W) float. Each crop covers a share of the area drawn from `scale`; see `draw_crops`.
    """
    grid = functional.affine_grid(draw_crops(len(x), scale, flip, generator).to(x), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def draw_crops(n: int, scale: tuple[float, float], flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Square crops that lie inside the image, as affine maps (n, 2, 3) float64 from the crop's to the image's coordinates.

    Both run from -1 to 1. The draws come from a CPU generator and lie on a grid, so every processor and GPU sees the same crops.
    """
    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    side = (scale[0] + (scale[1] - scale[0]) * uniform(n)).sqrt()
    centre = (2 * uniform(n, 2) - 1) * (1 - side)[:, None]
    mirror = torch.where(uniform(n) < 0.5, -1.0, 1.0) if flip else 1.0
    crops = torch.zeros(n, 2, 3, dtype=torch.float64)
    crops[:, 0, 0], crops[:, 1, 1], crops[:, :, 2] = side * mirror, side, centre
    return runtime.on_grid(crops)


def train(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: torch.Tensor,
    spec: RunSpec,
    prepare: Callable[[torch.Tensor, torch.Generator], torch.Tensor],
    after_epoch: Callable[[int, nn.Module], None],
) -> None:
    """Train `model` in place on the given rows and leave it at the last epoch.

    images : (N, 3, H, W) uint8; labels : (N,) int64; rows : row numbers to train on. `prepare` turns uint8 images into
    the batch the model sees. `after_epoch(0, model)` is called for the untrained model, then once per epoch.
    Raises UserError when the loss is not finite.
    """
    if spec.optimizer not in OPTIMIZERS:
        raise unknown("optimizer", spec.optimizer, OPTIMIZERS)
    optimizer = OPTIMIZERS[spec.optimizer](model.parameters(), spec)
    history = _resume(model, optimizer, spec)
    if not history:
        after_epoch(0, model)
        history = [{"epoch": 0}]
        _commit(model, optimizer, spec, history)
    for epoch in range(len(history), spec.epochs + 1):
        history.append({"epoch": epoch} | train_epoch(model, optimizer, images, labels, rows, spec, epoch, prepare))
        after_epoch(epoch, model)
        _commit(model, optimizer, spec, history)
        runtime.log(f"{spec.run_id} epoch {epoch}/{spec.epochs}: loss {history[-1]['loss']:.3f}, "
                    f"training accuracy {100 * history[-1]['train_accuracy']:.1f} %")


def train_epoch(model, optimizer, images, labels, rows, spec, epoch, prepare) -> dict[str, float]:
    """One pass over `rows` in the order of the epoch's own stream; arguments as in `train`.

    Returns the mean loss and the accuracy of the batches as they were seen, over n images.
    """
    model.train()
    torch.manual_seed(runtime.seed_for("noise", spec.run_id, epoch))  # for models with dropout or drop path
    generator = runtime.generator_for("loader", spec.run_id, epoch)
    steps = math.ceil(len(rows) / spec.batch_size)
    batches = rows[torch.randperm(len(rows), generator=generator)].tensor_split(steps)  # even sizes: none dropped, none tiny
    loss_sum, right = 0.0, 0
    for step, batch in enumerate(runtime.progress(batches, f"{spec.run_id} epoch {epoch}/{spec.epochs}")):
        for group in optimizer.param_groups:
            group["lr"] = spec.lr * (1 + math.cos(math.pi * ((epoch - 1) * steps + step) / (spec.epochs * steps))) / 2
        x = prepare(images[batch], generator)
        y = labels[batch].to(x.device)
        logits = model(x)
        loss = functional.cross_entropy(logits, y)
        value = loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not math.isfinite(value):
            raise UserError(f"the loss became {value} in run {spec.run_id} at epoch {epoch}, step {step + 1}; "
                            f"lower the learning rate (now {spec.lr:g})")
        loss_sum += value * len(batch)
        right += (logits.argmax(1) == y).sum().item()
    return {"loss": loss_sum / len(rows), "train_accuracy": right / len(rows), "n": len(rows)}


def _commit(model: nn.Module, optimizer: torch.optim.Optimizer, spec: RunSpec, history: list[dict]) -> None:
    """Write the model, the optimiser's state and the history as one file."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items() if tensor is not None}
    store.write_tensors(paths.run_checkpoint(spec.run_id), tensors, {"history": json.dumps(history)})


def _resume(model: nn.Module, optimizer: torch.optim.Optimizer, spec: RunSpec) -> list[dict]:
    """Load the last committed epoch into model and optimiser; the history is empty when there is none."""
    path = paths.run_checkpoint(spec.run_id)
    if not path.exists():
        return []
    tensors = store.read_tensors(path)
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    state: dict[int, dict] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads(store.read_metadata(path)["history"])
