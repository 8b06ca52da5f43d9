"""The processes that train one run together: started by torchrun or by Ray Train, else this one alone."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from .errors import UserError
from .resources import share_cores

if TYPE_CHECKING:  # heavy: what needs it imports it
    import torch

TORCHRUN = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"}  # what it says in the environment


@dataclass(frozen=True)
class Share:
    """This process's part of the work: number `rank` of `world` processes."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks for all."""
        return self.rank == 0

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's part of (N, ...) rows, a view. The parts differ by one row at most."""
        return rows.tensor_split(self.world)[self.rank]


def share() -> Share:
    """This process's share; the whole unless torch's process group has several members."""
    distributed = sys.modules.get("torch.distributed")  # torch is not loaded only to learn that there is no group
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return Share()
    return Share(distributed.get_rank(), distributed.get_world_size())


def join() -> None:
    """Join the other processes of torchrun; does nothing where it started none, and in a group that exists.

    Each process of a machine takes the GPU of its number, if there are GPUs. Only the first process prints. Raises
    UserError if a machine has fewer GPUs than processes, and for an environment that torchrun does not make.
    """
    if not os.environ.keys() >= TORCHRUN or os.environ["WORLD_SIZE"] == "1" or share().world > 1:
        return
    said = {name: _said(name) for name in (*sorted(TORCHRUN), "MASTER_PORT")}
    if said["RANK"] >= said["WORLD_SIZE"]:
        raise UserError(
            f"RANK is {said['RANK']} of WORLD_SIZE {said['WORLD_SIZE']} processes; start them with torchrun"
        )
    import torch
    from torch import distributed

    backend, gpus, local = "gloo", torch.cuda.device_count(), said["LOCAL_RANK"]
    if gpus:
        if local >= gpus:
            raise UserError(
                f"process {local} finds {gpus} GPUs on this machine and needs one of its own; start at most {gpus} "
                "processes, or set CUDA_VISIBLE_DEVICES to nothing to train on the CPU"
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    # others wait while the first stores what it computed; torchrun ends them if it fails
    distributed.init_process_group(backend, timeout=timedelta(days=1))
    share_cores(said["LOCAL_WORLD_SIZE"])
    if not share().is_first:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)


def _said(name: str) -> int:
    """The number in a variable that torchrun sets. Raises UserError."""
    text = os.environ.get(name, "")
    if not text.isdecimal():
        raise UserError(f"{name} is {text!r} in the environment and no number; start the processes with torchrun")
    return int(text)


def total(x: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, the same on each. In one process it is the tensor itself."""
    if share().world == 1:
        return x
    from torch import distributed

    summed = x.detach().to(_group_device(x.device), copy=True)
    distributed.all_reduce(summed)
    return summed.to(x.device)


def told(fact: bool) -> bool:
    """What the first process says, on all. It makes the others wait for the first."""
    if share().world == 1:
        return fact
    import torch
    from torch import distributed

    answer = torch.tensor(int(fact), device=_group_device(torch.device("cpu")))
    distributed.broadcast(answer, 0)
    return bool(answer)


def wait() -> None:
    """Return once every process is here."""
    if share().world > 1:
        import torch

        total(torch.zeros(1))


def _group_device(device: torch.device) -> torch.device | str:
    """Where the group takes tensors of a device: NCCL alone takes those of GPUs only."""
    from torch import distributed

    return "cuda" if distributed.get_backend() == "nccl" else device
