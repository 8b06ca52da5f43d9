"""Features from within a frozen network, beside those that enter its head, and a linear head on all of them."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn.functional import normalize
from torch.nn.utils import skip_init

from ...core.errors import UserError
from ...core.options import bounded
from ...core.seeds import on_grid
from ..backbone import head_name
from ..cosine_head import CosineHead

PRETRAINED, FRESH = "pretrained", "fresh"
Source = tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]


def head_start():
    """A field for how the head starts: `pretrained` or `fresh`, as in `widen_head`."""
    return bounded(PRETRAINED, lambda value: value in (PRETRAINED, FRESH), f"{PRETRAINED} or {FRESH}")


def widen_features(model: nn.Module, sources: Sequence[Source]) -> None:
    """Let the features of the model be, from now on, those that entered its head, and a part from each source.

    sources : modules of the model, each with a function from the module's output to a part (N, W) of the features.
    Every part has unit length, the features that entered the head too. The model itself computes without gradients;
    only what the functions compute has some. A copy of the model does the same.
    """
    model.forward_features = partial(_features, model.forward_features, model.forward_head, sources)
    model.forward_head = partial(_head, model)


def _features(forward, pooled, sources: Sequence[Source], x: torch.Tensor, **options) -> torch.Tensor:
    wanted, parts = torch.is_grad_enabled(), []

    def record(part_of, module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        with torch.set_grad_enabled(wanted):
            parts.append(part_of(output))

    hooks = [module.register_forward_hook(partial(record, part_of)) for module, part_of in sources]
    try:
        with torch.no_grad():
            entering = pooled(forward(x, **options), pre_logits=True)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat([normalize(part.to(entering.dtype)) for part in (entering, *parts)], 1)


def _head(model: nn.Module, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
    return features if pre_logits else model.get_classifier()(features)


def widen_head(model: nn.Module, more: int, start: str, length: torch.Tensor, generator: torch.Generator) -> None:
    """Give the model a linear head that takes `more` features beside those that entered the head before.

    start : `pretrained` keeps the bias and the rows of the head, times `length`, the usual length of its features,
    because they have length 1 now; weights of further features are 0. So logits of all classes start near those of the
    network as it was. `fresh` draws all weights (Kaiming normal by the number of classes), with the bias -log(99), for
    classes that the network does not know. Raises UserError for a cosine head, whose rows say nothing of lengths.
    """
    old = model.get_classifier()
    if isinstance(old, CosineHead):
        raise UserError("further features need a linear head, and this network has a cosine head; give it a linear one")
    width = old.in_features + more
    head = skip_init(nn.Linear, width, old.out_features, device=old.weight.device, dtype=old.weight.dtype)
    with torch.no_grad():
        if start == FRESH:
            drawn = torch.empty(head.weight.shape, dtype=torch.float64)
            nn.init.kaiming_normal_(drawn, mode="fan_out", generator=generator)
            head.weight.copy_(on_grid(drawn))
            head.bias.fill_(-math.log(99))
        else:
            head.weight.zero_()
            head.weight[:, : old.in_features] = old.weight * length
            head.bias.copy_(old.bias)
    model.set_submodule(head_name(model), head.train(old.training))


def expected_length(model: nn.Module) -> torch.Tensor:
    """The length of the features of a vision transformer whose head follows a LayerNorm, without any data: a scalar.

    LayerNorm gives w x + b, where the entries of x have mean 0 and mean square 1 over the channels. If every entry of x
    had so over the images too, the mean square length would be |w|^2 + |b|^2, whose root is returned. Raises UserError
    where the head follows no LayerNorm.
    """
    for norm, last in ((model.fc_norm, True), (model.norm, model.global_pool == "token")):
        if last and isinstance(norm, nn.LayerNorm):
            return torch.cat([norm.weight, norm.bias]).detach().norm()
    raise UserError(
        f"the head of this {type(model).__name__} does not follow a LayerNorm, so the length of its features is not "
        f"known beforehand; set the option start={FRESH}"
    )
