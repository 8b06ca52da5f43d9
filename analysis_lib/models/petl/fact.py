"""FacT: the changes of all weights are one tensor in factors, as a train (TT) or in Tucker's form (TK)."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from ...core.errors import UserError
from ...core.options import count, part, positive
from .blocks import blocks_of
from .inserted import Inserted, add, attach
from .technique import Technique

LINEARS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


class Factors(nn.Module):
    """The factors that all layers share: U (D, r), and V (r, D), which starts at 0."""

    def __init__(self, channels: int, rank: int):
        super().__init__()
        self.u = nn.Parameter(torch.empty(channels, rank))
        self.v = nn.Parameter(torch.zeros(rank, channels))

    def start(self, generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(len(self.u))
        nn.init.uniform_(self.u, -bound, bound, generator=generator)


class TuckerFactors(Factors):
    """Besides, a core (r, r, r), and a column (r,) for each matrix of D x D of any layer."""

    def __init__(self, channels: int, rank: int, matrices: int):
        super().__init__(channels, rank)
        self.core = nn.Parameter(torch.empty(rank, rank, rank))
        self.columns = nn.Parameter(torch.empty(rank, matrices))

    def start(self, generator: torch.Generator) -> None:
        super().start(generator)
        nn.init.xavier_uniform_(self.core, generator=generator)
        nn.init.xavier_uniform_(self.columns, generator=generator)


class FactoredChange(Inserted):
    """Adds scale * x U T V to the output y of a linear layer from `inputs` * D to `outputs` * D channels.

    T holds a matrix (r, r) for each of these D x D parts of the weight, which are numbered through all layers from
    `first` on. What V adds at the start is 0.
    """

    def __init__(self, factors: Factors, inputs: int, outputs: int, scale: float, dropout: float, first: int):
        super().__init__()
        self.factors = (factors,)  # in a tuple, so that it stays a submodule of the network alone
        self.inputs, self.outputs, self.scale = inputs, outputs, scale
        self.numbers = slice(first, first + inputs * outputs)
        self.dropout = nn.Dropout(dropout)

    def cores(self) -> torch.Tensor:
        """The matrices, (inputs, r, outputs, r)."""
        raise NotImplementedError

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        (factors,) = self.factors
        h = x.unflatten(2, (self.inputs, -1)) @ factors.u
        h = self.dropout(torch.einsum("bnir,irps->bnps", h, self.cores()))
        return y + self.merge * self.scale * (h @ factors.v).flatten(2)

    def folded(self, place: nn.Module) -> dict[str, torch.Tensor]:
        (factors,) = self.factors
        change = torch.einsum("dr,irps,se->peid", factors.u, self.cores(), factors.v).reshape(place.weight.shape)
        return {"weight": place.weight + self.merge * self.scale * change}


class TrainChange(FactoredChange):
    """The matrices are the layer's own."""

    def __init__(self, factors: Factors, inputs: int, outputs: int, scale: float, dropout: float, first: int):
        super().__init__(factors, inputs, outputs, scale, dropout, first)
        rank = factors.u.shape[1]
        self.matrices = nn.Parameter(torch.empty(inputs, rank, outputs, rank))

    def start(self, generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(self.matrices.shape[0] * self.matrices.shape[1])
        nn.init.uniform_(self.matrices, -bound, bound, generator=generator)

    def cores(self) -> torch.Tensor:
        return self.matrices


class TuckerChange(FactoredChange):
    """The matrices are the shared core, weighted by columns of the layer's own."""

    def cores(self) -> torch.Tensor:
        (factors,) = self.factors
        matrices = torch.einsum("rsk,km->mrs", factors.core, factors.columns[:, self.numbers])
        return matrices.unflatten(0, (self.inputs, self.outputs)).transpose(1, 2)


def _parts(model: nn.Module, title: str) -> list[tuple[nn.Linear, int, int]]:
    """Every linear layer of every block, with its numbers of input and output channels as multiples of D.

    Raises UserError for a width that is no multiple.
    """
    found = []
    for block in blocks_of(model, title):
        channels = block.attn.qkv.in_features
        for name in LINEARS:
            linear = block.get_submodule(name)
            if linear.in_features % channels or linear.out_features % channels:
                raise UserError(
                    f"{title} needs layers whose width is a multiple of {channels}, and {name} has "
                    f"{linear.in_features} inputs and {linear.out_features} outputs; choose another technique"
                )
            found.append((linear, linear.in_features // channels, linear.out_features // channels))
    return found


@dataclass
class FacT(Technique):
    """Changes of all linear layers of all blocks in shared factors, of `rank` channels. Source: Jie and Deng 2023."""

    folds = True
    rank: int = count(16)
    scale: float = positive(1.0)
    dropout: float = part(0.1)

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        parts = _parts(model, self.title)
        factors = self.factors(model.embed_dim, sum(inputs * outputs for _, inputs, outputs in parts))
        add(model, factors, generator)
        first = 0
        for linear, inputs, outputs in parts:
            change = self.change(factors, inputs, outputs, self.scale, self.dropout, first)
            attach(linear, change, generator)
            first += inputs * outputs

    def factors(self, channels: int, matrices: int) -> Factors:
        """The factors that all layers share, for so many matrices of D x D."""
        raise NotImplementedError


@dataclass
class FacTTT(FacT):
    """FacT as a tensor train: U and V are shared, the matrices between them are not."""

    title = "FacT-TT"
    change = TrainChange

    def factors(self, channels: int, matrices: int) -> Factors:
        return Factors(channels, self.rank)


@dataclass
class FacTTK(FacT):
    """FacT in Tucker's form: U, V and a core are shared; each matrix has a column of weights."""

    title = "FacT-TK"
    change = TuckerChange

    def factors(self, channels: int, matrices: int) -> Factors:
        return TuckerFactors(channels, self.rank, matrices)
