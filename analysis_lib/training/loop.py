"""The one training loop: batches in a named order, a cosine learning rate per step, BatchNorm in train mode.

After every epoch it calls a callback with the model and then writes a resume file, which commits the epoch. A run that
is killed at any moment continues from the last commit and ends with the same bytes. The method decides which weights
are trained, and on which loss.
"""

import math
from collections.abc import Callable

import torch
from torch import nn

from ..core.errors import UserError
from ..core.progress import log, progress
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for, seed_for
from .method import Method
from .optimizers import create_optimizer, parameter_groups
from .resume import commit, resume


def train(
    model: nn.Module,
    method: Method,
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: torch.Tensor,
    spec: RunSpec,
    augmented: Callable[[torch.Tensor, torch.Generator], torch.Tensor],
    after_epoch: Callable[[int, nn.Module], None],
) -> None:
    """Train `model` in place on the given rows and leave it at the last epoch.

    images : (N, 3, H, W) uint8; labels : (N,) int64; rows : row numbers to train on. `augmented` turns uint8 images
    into the batch the model sees. `after_epoch(0, model)` is called for the untrained model, then once per epoch.
    Raises UserError when the loss is not finite.
    """
    method.prepare(model)
    optimizer = create_optimizer(parameter_groups(model, spec), spec)
    history = resume(model, optimizer, spec)
    if not history:
        after_epoch(0, model)
        history = [{"epoch": 0}]
        commit(model, optimizer, spec, history)
    for epoch in range(len(history), spec.epochs + 1):
        measured = train_epoch(model, method, optimizer, images, labels, rows, spec, epoch, augmented)
        history.append({"epoch": epoch, **measured})
        if epoch == spec.epochs:
            method.finish(model)
        after_epoch(epoch, model)
        commit(model, optimizer, spec, history)
        log(
            f"{spec.run_id} epoch {epoch}/{spec.epochs}: loss {history[-1]['loss']:.3f}, training accuracy "
            f"{100 * history[-1]['train_accuracy']:.1f} %"
        )


def train_epoch(model, method, optimizer, images, labels, rows, spec, epoch, augmented) -> dict[str, float]:
    """One pass over `rows` in the order of the epoch's own stream; arguments as in `train`.

    Returns the mean loss and the accuracy over n images, each measured on its batch before the step.
    """
    model.train()
    torch.manual_seed(seed_for("noise", spec.run_id, epoch))  # for models with dropout or drop path
    generator = generator_for("loader", spec.run_id, epoch)
    steps = math.ceil(len(rows) / spec.batch_size)
    # batches of nearly equal size: no image is dropped, and no batch is tiny
    batches = rows[torch.randperm(len(rows), generator=generator)].tensor_split(steps)
    loss_sum, right = 0.0, 0
    for step, batch in enumerate(progress(batches, f"{spec.run_id} epoch {epoch}/{spec.epochs}")):
        rate = spec.lr * (1 + math.cos(math.pi * ((epoch - 1) * steps + step) / (spec.epochs * steps))) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1)
        x = augmented(images[batch], generator)
        y = labels[batch].to(x.device)
        with torch.set_grad_enabled(spec.lr > 0):  # at rate 0 only BatchNorm's statistics move
            loss, logits = method.loss(model, x, y)
        value = loss.item()
        if spec.lr > 0:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        method.after_step(model)
        if not math.isfinite(value):
            raise UserError(
                f"the loss became {value} in run {spec.run_id} at epoch {epoch}, step {step + 1}; lower the learning "
                f"rate (now {spec.lr:g})"
            )
        loss_sum += value * len(batch)
        right += (logits.argmax(1) == y).sum().item()
    return {"loss": loss_sum / len(rows), "train_accuracy": right / len(rows), "n": len(rows)}
