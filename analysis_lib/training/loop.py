"""The one training loop: batches in a named order, a learning rate per step, BatchNorm in train mode.

After every epoch it calls a callback with the model and then writes a resume file, which commits the epoch. A run that
is killed at any moment continues from the last commit and ends with the same bytes. The method decides which weights
are trained, on which loss, and at which learning rate.
"""

import math
from collections.abc import Callable

import torch
from torch import nn

from ..core import processes
from ..core.errors import UserError
from ..core.progress import log, progress
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for, seed_for
from .distributed import check_batches, loss_function
from .method import Method, TrainingData
from .optimizers import create_optimizer, parameter_groups
from .resume import commit, resume
from .warm_up import warm_up


def train(
    model: nn.Module, method: Method, data: TrainingData, spec: RunSpec, after_epoch: Callable[[int, nn.Module], None]
) -> None:
    """Train `model` in place on the data and leave it at the last epoch.

    `after_epoch(0, model)` is called for the untrained model, then once per epoch. At learning rate 0, and where the
    method freezes every weight, only BatchNorm's statistics move. Several processes train together, each on its share
    of every batch, inside `global_batchnorm`. Raises UserError for a single image, or a batch of one, that gives
    BatchNorm no variance, for a batch with fewer images than processes, and when the loss is not finite.
    """
    if len(data.rows) < 2:
        raise UserError(
            f"run {spec.run_id} has {len(data.rows)} image to train on and needs 2; give more images of seen classes"
        )
    method.prepare(model, data)
    trained = spec.lr > 0 and any(parameter.requires_grad for parameter in model.parameters())
    optimizer = create_optimizer(parameter_groups(model, spec), spec) if trained else None
    history = resume(model, method, optimizer, spec)
    processes.wait()  # until all have read the file, before the first process writes the next
    if not history:
        after_epoch(0, model)
        history = [{"epoch": 0}]
        commit(model, method, optimizer, spec, history)
    for epoch in range(len(history), spec.epochs + 1):
        measured = train_epoch(model, method, optimizer, data, spec, epoch)
        history.append({"epoch": epoch, **measured})
        if epoch == spec.epochs:
            method.finish(model, data)
        after_epoch(epoch, model)
        commit(model, method, optimizer, spec, history)
        log(
            f"{spec.run_id} epoch {epoch}/{spec.epochs}: loss {history[-1]['loss']:.3f}, training accuracy "
            f"{100 * history[-1]['train_accuracy']:.1f} %"
        )


def train_epoch(
    model: nn.Module,
    method: Method,
    optimizer: torch.optim.Optimizer | None,
    data: TrainingData,
    spec: RunSpec,
    epoch: int,
) -> dict[str, float]:
    """One epoch; arguments as in `train`, `optimizer` None if no weight moves.

    Returns the mean loss and the accuracy over n images, each measured on its batch before the step.
    """
    method.before_epoch(model, (epoch - 1) / spec.epochs)
    share = processes.share()
    own = [share.rank] if share.world > 1 else []
    torch.manual_seed(seed_for("noise", spec.run_id, epoch, *own))  # for models with dropout or drop path
    generator = generator_for("loader", spec.run_id, epoch)
    batches = method.batches(data, epoch, generator)
    check_batches(batches, spec.run_id)
    loss_of = loss_function(model, method, trained=optimizer is not None)
    first, steps = (epoch - 1) * len(batches), spec.epochs * len(batches)
    loss_sum, right, n = 0.0, 0, 0
    title = f"{spec.run_id} epoch {epoch}/{spec.epochs}"
    for number, (x, y) in enumerate(progress(data.in_order(batches, generator), title, len(batches))):
        with torch.set_grad_enabled(optimizer is not None):
            try:
                loss, logits = loss_of(x, y)
            except ValueError as error:
                if len(x) > 1:
                    raise
                raise UserError(
                    f"run {spec.run_id} has a batch of one image, in which BatchNorm finds no variance ({error}); give "
                    "a batch size of 3 or more, which leaves no image alone"
                ) from None
            loss = loss * (share.world * len(y) / len(batches[number]))  # its mean over processes is the batch's
        if optimizer is not None:
            for group in optimizer.param_groups:
                rate = spec.lr * method.rate(first + number, steps) * warm_up(first + number, steps, spec.warmup)
                group["lr"] = rate * group.get("lr_scale", 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_step(model, optimizer, first + number, steps)
        value = processes.total(loss).item() / share.world  # waits for a GPU, so only now
        if not math.isfinite(value):
            raise UserError(
                f"the loss became {value} in run {spec.run_id} at epoch {epoch}, step {number + 1}; lower the learning "
                f"rate (now {spec.lr:g})"
            )
        loss_sum += value * len(batches[number])
        right += (logits.argmax(1) == y).sum().item()
        n += len(batches[number])
    right = processes.total(torch.tensor(right, device=y.device)).item()
    return {"loss": loss_sum / n, "train_accuracy": right / n, "n": n}
