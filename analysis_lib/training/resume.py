"""The resume file of a run: model, method, optimiser and history after an epoch."""

import json

import torch
from torch import nn

from ..core import files, paths, processes
from ..core.run_spec import RunSpec
from .method import Method


def commit(
    model: nn.Module, method: Method, optimizer: torch.optim.Optimizer | None, spec: RunSpec, history: list[dict]
) -> None:
    """Write the model, the states of the method and of the optimiser, and the history as one file.

    All processes that train together have the same; the first one writes.
    """
    if not processes.share().is_first:
        return
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"method.{name}": tensor for name, tensor in method.state().items()}
    for index, state in optimizer.state_dict()["state"].items() if optimizer else ():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items() if tensor is not None}
    files.write_tensors(paths.run_checkpoint(spec.run_id), tensors, {"history": json.dumps(history)})


def resume(model: nn.Module, method: Method, optimizer: torch.optim.Optimizer | None, spec: RunSpec) -> list[dict]:
    """Load the last committed epoch into all three, and return the history; it is empty if there is none."""
    path = paths.run_checkpoint(spec.run_id)
    if not path.exists():
        return []
    tensors = files.read_tensors(path)
    model.load_state_dict(_below("model", tensors))
    method.load_state(_below("method", tensors))
    if optimizer:
        state: dict[int, dict] = {}
        for name, tensor in _below("optimizer", tensors).items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads(files.read_metadata(path)["history"])


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with the prefix and a dot, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
