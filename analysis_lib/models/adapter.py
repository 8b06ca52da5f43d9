"""timm's interface around a network of another library whose head is one linear layer."""

import copy

import torch
from torch import nn

BLOCKS = 3  # at least so many parts in a row are taken for the stages of a network


class Adapter(nn.Module):
    """A network with `forward_features`, `forward_head`, `get_classifier`, `pretrained_cfg` and `feature_info`.

    network : gives logits (N, C) for images (N, 3, H, W), as a tensor or as the attribute `logits`. Its head, the
    linear layer called `head_place`, is taken out: what remains gives the features (N, D) that entered it.
    looks : what timm states in `pretrained_cfg`: input_size, mean, std, crop_pct, interpolation.
    """

    def __init__(self, network: nn.Module, head_place: str, looks: dict, output_fmt: str = "NCHW"):
        super().__init__()
        self.head_place, self.pretrained_cfg, self.output_fmt = head_place, looks, output_fmt
        self.feature_info = [{"module": f"network.{name}"} for name in stage_places(network)]
        self.head = network.get_submodule(head_place)
        self.network = network
        network.set_submodule(head_place, nn.Identity())

    @property
    def num_classes(self) -> int:
        return self.head.out_features

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        answer = self.network(x)
        return getattr(answer, "logits", answer)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return x if pre_logits else self.head(x)

    def get_classifier(self) -> nn.Linear:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))

    def whole(self) -> nn.Module:
        """A copy of the network as its own library makes it, with the head in its place."""
        whole = copy.deepcopy(self.network)
        whole.set_submodule(self.head_place, copy.deepcopy(self.head))
        return whole


def last_linear(network: nn.Module) -> str | None:
    """The name of the last linear layer, or None if there is none."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else None


def stage_places(network: nn.Module) -> list[str]:
    """The names of the modules that follow one another as stages: sequences side by side, or the parts of one."""
    level = list(network.named_children())
    while level:
        sequences = [name for name, module in level if isinstance(module, (nn.Sequential, nn.ModuleList))]
        if len(sequences) >= BLOCKS:
            return sequences
        longest = max(sequences, key=lambda name: len(network.get_submodule(name)), default=None)
        if longest and len(network.get_submodule(longest)) > 1:
            return [f"{longest}.{name}" for name, _ in network.get_submodule(longest).named_children()]
        level = [(f"{above}.{name}", part) for above, module in level for name, part in module.named_children()]
    return []
