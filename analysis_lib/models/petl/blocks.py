"""The blocks of timm's vision transformers, into which modules are inserted; some of them, or all."""

from collections.abc import Sequence

from torch import nn

from ...core.errors import UserError

PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
ALL = "all"
ANY_NETWORK = "choose a technique for any network: bitfit_head, normalisation or selected"


def is_vision_transformer(model: nn.Module) -> bool:
    """Whether a network is one of timm's."""
    from timm.models.vision_transformer import VisionTransformer  # heavy, and only needed here

    return isinstance(model, VisionTransformer)


def is_usual(block: nn.Module) -> bool:
    """Whether a block normalises what enters its attention, and then what enters its MLP, as the techniques expect."""
    from timm.models.vision_transformer import Block

    return isinstance(block, Block) and set(PARTS) <= {name for name, _ in block.named_modules()}


def blocks_of(model: nn.Module, title: str, which: str = ALL) -> list[nn.Module]:
    """The blocks of a vision transformer of timm, each with `PARTS`; title : of the technique that asks.

    which : as in `chosen`. Raises UserError for another network, for blocks of another build, and as `chosen`.
    """
    if not is_vision_transformer(model):
        raise UserError(
            f"{title} is inserted into the blocks of a timm vision transformer, and {type(model).__name__} is none; "
            f"{ANY_NETWORK}"
        )
    blocks = list(model.blocks)
    for block in blocks:
        if not is_usual(block):
            raise UserError(
                f"{title} needs blocks that go through {', '.join(PARTS)} in this order, and the "
                f"{type(block).__name__} of this network does not; {ANY_NETWORK}"
            )
    return chosen(blocks, title, which)


def chosen(blocks: Sequence[nn.Module], title: str, which: str) -> list[nn.Module]:
    """Those of the blocks that `which` names: all, or numbers such as `10,11`, where -1 is the last.

    Raises UserError for what is no number of a block.
    """
    if which == ALL:
        return list(blocks)
    numbers = range(-len(blocks), len(blocks))
    written = which.split(",")
    wrong = [text for text in written if text.strip() not in map(str, numbers)]
    if wrong:
        raise UserError(
            f"option blocks of {title!r} names {wrong[0]!r}; give {ALL}, or numbers from {numbers[0]} to {numbers[-1]} "
            "with commas between"
        )
    return [blocks[number] for number in sorted({int(text) % len(blocks) for text in written})]
