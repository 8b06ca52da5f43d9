"""What a training step of a parameter-efficient method keeps in memory for its backward pass, and what it costs.

The network has random weights and one batch of random images: neither changes the memory. What autograd saves is
counted tensor by tensor, so it is the same on every processor; seconds and peaks are those of this machine.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from ..core.device import deterministic, pick_device, reuse_memory
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..core.workers import in_own_process
from ..methods import create_method
from ..models.create import create_model
from ..training.method import TrainingData
from ..training.optimizers import create_optimizer
from .method_costs import peak_mb

REFERENCE = "vqt"
COMPARED = (REFERENCE, "linear_probe", "finetune", "lora", "houlsby", "vpt_deep")
MATCHED = ("lora", "houlsby", "vpt_deep")
STEPS = 3


@dataclass(frozen=True)
class Case:
    """A network for images of a size, on batches of a size."""

    model: str = "vit_base_patch16_224"
    image_size: int = 224
    batch_size: int = 8
    classes: int = 100

    def data(self, device: torch.device) -> TrainingData:
        """One batch of random images, each of another class."""
        draws = generator_for("images", self)
        shape = (self.batch_size, 3, self.image_size, self.image_size)
        images = torch.randint(256, shape, generator=draws, dtype=torch.uint8)
        rows = torch.arange(self.batch_size)

        def scaled(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return batch.to(device).float() / 128 - 1

        return TrainingData(images, rows % self.classes, rows, self.batch_size, scaled, "memory")

    def network(self) -> nn.Module:
        """The network, always with the same random weights."""
        torch.manual_seed(0)
        return create_model(self.model, self.classes)


def saved_for_backward(model: nn.Module, forward: Callable[[], object]) -> list[torch.Tensor]:
    """The tensors that autograd saves while `forward` runs, but for the model's own weights and buffers."""
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    found = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.detach()  # an output that kept its own graph would never be freed
        if tensor.untyped_storage().data_ptr() not in own:
            found.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return found


def held_mb(tensors: Sequence[torch.Tensor]) -> float:
    """The MB that tensors keep from being freed. Views of the same memory count once, and as all of it."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values()) / 2**20


class Training:
    """A network that a method has prepared for training on a case, in train mode, with an optimiser."""

    def __init__(self, case: Case, name: str, options: dict, device: torch.device):
        self.model, self.method = case.network().to(device), create_method(name, options)
        self.data = case.data(device)
        self.method.prepare(self.model, self.data)
        self.method.before_epoch(self.model, 0.0)
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = create_optimizer(self.trained, RunSpec("", "", case.model, "", seed=0, epochs=1, lr=1e-3))

    def loss(self) -> torch.Tensor:
        """The loss of the batch."""
        return self.method.loss(self.model, *self.data.batch(self.data.rows, generator_for("batch")))[0]

    def step(self) -> None:
        """One step of training."""
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def saved_mb(self) -> float:
        """The MB that one forward pass saves for its backward pass."""
        return held_mb(saved_for_backward(self.model, self.loss))


def saved_mb(case: Case, name: str, options: dict | None = None) -> float:
    """The MB that one forward pass of a method, in train mode, saves for its backward pass."""
    return Training(case, name, options or {}, torch.device("cpu")).saved_mb()


def footprints(case: Case, names: Sequence[str] = COMPARED, device_name: str | None = None) -> pd.DataFrame:
    """A row for each method, beside VQT, which must be among them. Each is measured in a process of its own.

    Columns: method; trainable, the number of trained weights; saved_mb, and times_saved as a multiple of VQT's;
    seconds, the median of some steps after the first, and times as a multiple of VQT's; memory_mb, the most memory that
    the process held (of the device, on a GPU).
    """
    rows = []
    for name in names:
        rows.append(in_own_process(measure, case, name, device_name))
    table = pd.DataFrame(rows)
    reference = table.set_index("method").loc[REFERENCE]
    table["times_saved"] = table["saved_mb"] / reference["saved_mb"]
    table["times"] = table["seconds"] / reference["seconds"]
    return table[["method", "trainable", "saved_mb", "times_saved", "seconds", "times", "memory_mb"]]


def measure(case: Case, name: str, device_name: str | None = None) -> dict[str, object]:
    """What `footprints` says of one method, measured in this process."""
    deterministic()
    reuse_memory()
    device = pick_device(device_name)
    training, seconds = Training(case, name, {}, device), []
    for _ in range(STEPS + 1):
        begin = time.perf_counter()
        training.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    peak = peak_mb(device)  # before the count, which keeps what it counts
    return {
        "method": name,
        "trainable": sum(parameter.numel() for parameter in training.trained),
        "saved_mb": training.saved_mb(),
        "seconds": statistics.median(seconds[1:]),
        "memory_mb": peak,
    }


def matched_depths(case: Case, names: Sequence[str] = MATCHED, queries: int = 1) -> pd.DataFrame:
    """In how many of the last blocks each technique fits into the memory of VQT in all blocks.

    Columns: method; blocks, the largest number whose forward pass saves no more than VQT's; saved_mb with so many,
    which is the head's alone for 0; next_mb with one more; vqt_mb. NaN in next_mb if all blocks fit.
    """
    budget = saved_mb(case, REFERENCE, {"queries": queries})
    head = saved_mb(case, "linear_probe")
    depth = len(case.network().blocks)
    rows = []
    for name in names:
        saved = [head]
        while saved[-1] <= budget and len(saved) <= depth:
            saved.append(saved_mb(case, name, {"blocks": ",".join(str(-last) for last in range(1, len(saved) + 1))}))
        fitting = sum(mb <= budget for mb in saved) - 1
        following = saved[fitting + 1] if fitting < depth else float("nan")
        rows.append((name, fitting, saved[fitting], following, budget))
    return pd.DataFrame(rows, columns=["method", "blocks", "saved_mb", "next_mb", "vqt_mb"])
