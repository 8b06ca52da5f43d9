"""The architecture that a checkpoint probably has, guessed from the names and shapes of its tensors.

A telling tensor gives the family; widths and depths give parts of the name. The few candidates that remain are made on
the meta device, where they take no memory, and compared tensor by tensor.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

LIMIT = 24  # candidates that are made
CLOSE = 0.8  # the share of equal tensors from which an architecture is named
SMALL = 10**6  # numbers: below it are only the tiny networks that timm keeps for tests
WIDTHS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1408: "giant"}
EFFICIENT = {1280: "b0", 1408: "b2", 1536: "b3", 1792: "b4", 2048: "b5", 2304: "b6", 2560: "b7"}

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Family:
    """Architectures whose checkpoints have the tensor `telling`.

    modules : of timm that make them; none for torchvision's.
    hints : parts of the name, from widths and depths; candidates with more of them are tried first.
    prefixes : of torchvision's names.
    """

    telling: str
    modules: tuple[str, ...] = ()
    hints: Callable[[State], list[str]] = lambda state: []
    prefixes: tuple[str, ...] = ()


def _count(state: State, pattern: str) -> int:
    """How many different numbers stand in the group of a pattern of tensor names."""
    return len({found.group(1) for name in state if (found := re.match(pattern, name))})


def _resnet(state: State) -> list[str]:
    blocks = sum(_count(state, rf"layer{k}\.(\d+)\.") for k in (1, 2, 3, 4))
    convolutions = 3 if "layer1.0.conv3.weight" in state else 2
    wide = ["wide"] if state["layer1.0.conv1.weight"].shape[0] == 128 else []
    return [str(convolutions * blocks + 2), *wide]


def _transformer(state: State) -> list[str]:
    patches = state.get("patch_embed.proj.weight")
    if patches is None or patches.ndim != 4:
        return []
    width, _, patch, _ = patches.shape
    return [WIDTHS.get(width, "vit"), f"patch{patch}"]


def _efficientnet(state: State) -> list[str]:
    if "conv_head.bias" in state or "conv_head.weight" not in state:
        return ["mobilenetv3"]
    if not any(".se." in name for name in state):
        return ["lite"]
    return [EFFICIENT.get(len(state["conv_head.weight"]), "efficientnet")]


def _regnet(state: State) -> list[str]:
    return ["regnety" if "s1.b1.se.fc1.weight" in state else "regnetx"]


def _convnext(state: State) -> list[str]:
    width = len(state["stages.0.blocks.0.conv_dw.weight"])
    deep = _count(state, r"stages\.2\.blocks\.(\d+)\.") > 9
    return [{96: "small" if deep else "tiny", 128: "base", 192: "large", 256: "xlarge"}.get(width, "t")]


def _swin(state: State) -> list[str]:
    width = len(state.get("patch_embed.proj.weight", ()))
    deep = _count(state, r"layers\.2\.blocks\.(\d+)\.") > 6
    return [{96: "small" if deep else "tiny", 128: "base", 192: "large"}.get(width, "t")]


FAMILIES = (
    Family("layer1.0.conv1.weight", ("resnet", "senet", "res2net", "resnest"), _resnet),
    Family("blocks.0.attn.qkv.weight", ("vision_transformer", "deit", "beit", "eva"), _transformer),
    Family("conv_stem.weight", ("efficientnet", "mobilenetv3", "ghostnet"), _efficientnet),
    Family("stages.0.blocks.0.conv_dw.weight", ("convnext",), _convnext),
    Family("layers.0.blocks.0.attn.relative_position_bias_table", ("swin_transformer",), _swin),
    Family("s1.b1.conv1.conv.weight", ("regnet",), _regnet),
    Family("features.denseblock1.denselayer1.norm1.weight", ("densenet",)),
    Family("pre_logits.fc1.weight", ("vgg",)),
    Family("classifier.6.weight", prefixes=("vgg", "alexnet")),
    Family("conv_proj.weight", prefixes=("vit_",)),
    Family("features.0.0.weight", prefixes=("mobilenet_", "efficientnet_", "convnext_", "swin_")),
    Family("stage2.0.branch2.0.weight", prefixes=("shufflenet_",)),
    Family("layers.0.weight", prefixes=("mnasnet",)),
)


def likely_architecture(state: State, named: str = "") -> str | None:
    """The name of an architecture that most tensors of a state dict fit, or None.

    named : the name that the user gave; candidates like it are tried first.
    """
    best, most = None, CLOSE
    wanted = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name, shapes in _candidates(state, named):
        equal = sum(wanted.get(key) == shape for key, shape in shapes.items())
        share = equal / max(len(shapes), len(wanted))
        if share > most:
            best, most = name, share
        if len(shapes) == len(wanted) and equal >= len(shapes) - 2:  # all but the head's weight and bias
            break
    return best


def likely_sentence(state: State, named: str) -> str:
    """What a message about a checkpoint that does not fit adds: its likely architecture, or the library it is of."""
    if any(re.search(r"\.(embeddings|embedder)\.", name) for name in state):
        return "; its names are those of the library transformers: give the folder with its config.json"
    likely = likely_architecture(state, named)
    return f": it looks like {likely}" if likely and likely != named else ""


def _candidates(state: State, named: str) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Yield names and tensor shapes of architectures of the family, the most likely first."""
    family = next((family for family in FAMILIES if family.telling in state), None)
    if family is None:
        return
    if family.prefixes:
        from .torchvision_model import PREFIX, bare, names

        choices = [name for name in names() if name.removeprefix(PREFIX).startswith(family.prefixes)]
        make = bare
    else:
        import timm  # heavy, and only needed here

        choices = [name for module in family.modules for name in timm.list_models(module=module)]
        choices += timm.list_models("test_*")
        make = timm.create_model
    small = sum(tensor.numel() for tensor in state.values()) < SMALL
    hints = ["test"] if small else family.hints(state)
    order = sorted(choices, key=lambda name: (-_agreeing(name, hints), len(name), name))
    for name in order[:LIMIT]:
        with torch.device("meta"):
            model = make(name, num_classes=2)
        yield name, {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def _agreeing(name: str, hints: list[str]) -> int:
    """How many hints the name has; a number counts as a whole only."""
    return sum(bool(re.search(rf"(?<!\d){hint}(?!\d)" if hint.isdecimal() else hint, name)) for hint in hints)
