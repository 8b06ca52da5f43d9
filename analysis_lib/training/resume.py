"""The resume file of a run: model, optimiser and history after an epoch."""

import json

import torch
from torch import nn

from ..core import files, paths
from ..core.run_spec import RunSpec


def commit(model: nn.Module, optimizer: torch.optim.Optimizer, spec: RunSpec, history: list[dict]) -> None:
    """Write the model, the optimiser's state and the history as one file."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items() if tensor is not None}
    files.write_tensors(paths.run_checkpoint(spec.run_id), tensors, {"history": json.dumps(history)})


def resume(model: nn.Module, optimizer: torch.optim.Optimizer, spec: RunSpec) -> list[dict]:
    """Load the last committed epoch into model and optimiser, and return the history; it is empty if there is none."""
    path = paths.run_checkpoint(spec.run_id)
    if not path.exists():
        return []
    tensors = files.read_tensors(path)
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    state: dict[int, dict] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads(files.read_metadata(path)["history"])
