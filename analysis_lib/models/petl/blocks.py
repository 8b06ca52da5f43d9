"""The blocks of timm's vision transformers, into which modules are inserted."""

from torch import nn

from ...core.errors import UserError

PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def blocks_of(model: nn.Module, title: str) -> list[nn.Module]:
    """The blocks of a vision transformer of timm, each with `PARTS`; title : of the technique that asks.

    Raises UserError for another network, and for blocks of another build.
    """
    from timm.models.vision_transformer import VisionTransformer  # heavy, and only needed here

    if not isinstance(model, VisionTransformer):
        raise UserError(
            f"{title} is inserted into the blocks of a timm vision transformer, and {type(model).__name__} is none; "
            "choose a method for any network, such as bitfit_head or selected"
        )
    blocks = list(model.blocks)
    for part in PARTS:
        for block in blocks:
            place = block
            for name in part.split("."):
                place = getattr(place, name, None)
            if place is None:
                raise UserError(
                    f"{title} needs {part} in every block, and a {type(block).__name__} has none; choose a method for "
                    "any network, such as bitfit_head or selected"
                )
    return blocks
