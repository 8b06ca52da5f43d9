"""Small vision transformers of timm in float64 with random weights, techniques in them, and their forward by hand."""

import torch
from timm.models.vision_transformer import VisionTransformer

from analysis_lib.core.seeds import generator_for, normal_draws
from analysis_lib.models.petl import TECHNIQUES
from analysis_lib.models.petl.inserted import inserted_parameters

D, DEPTH, GRID = 16, 3, (3, 2)  # width, blocks, and patches of 8 pixels
VARIANTS = {
    "usual": {},
    "layer scale, query norm": {"init_values": 0.5, "qk_norm": True, "scale_attn_norm": True, "scale_mlp_norm": True},
    "registers": {"reg_tokens": 2, "no_embed_class": True},
    "mean of patches": {"global_pool": "avg"},
    "no class token": {"global_pool": "avg", "class_token": False},
    "attention pooling": {"global_pool": "map", "class_token": False},
    "as CLIP": {"pre_norm": True, "act_layer": "quick_gelu"},  # and no bias of the patch embedding
    "any size": {"dynamic_img_size": True},
    "no bias": {"qkv_bias": False, "proj_bias": False},
    "no last norm": {"final_norm": False},
}
INSERTING = [  # into blocks, leaving the head as it is
    "difffit",
    "lora",
    "houlsby",
    "pfeiffer",
    "pfeiffer_random",
    "adaptformer",
    "repadapter",
    "convpass",
    "ssf",
    "vpt_shallow",
    "vpt_deep",
    "fact_tt",
    "fact_tk",
]
PROMPTS = ["vpt_shallow", "vpt_deep"]
FOLDING = [name for name in INSERTING if TECHNIQUES[name].folds]


def vit(variant: str = "usual", **changes) -> VisionTransformer:
    """Always with the same weights, none of which is 0 or 1, in eval mode."""
    torch.manual_seed(0)
    shape = {"img_size": (24, 16), "patch_size": 8, "embed_dim": D, "depth": DEPTH, "num_heads": 2, "num_classes": 5}
    network = VisionTransformer(**shape | VARIANTS[variant] | changes).double().eval()
    jitter(network.parameters(), 0.1)
    return network


@torch.no_grad()
def jitter(parameters, size: float) -> None:
    """Add normal numbers, always the same ones."""
    for number, parameter in enumerate(parameters):
        parameter += size * normal_draws(tuple(parameter.shape), "jitter", number)


def images(height: int = 24, width: int = 16) -> torch.Tensor:
    return normal_draws((2, 3, height, width), "images")


def with_inserted(name: str, variant: str = "usual", trained: bool = True, **options) -> VisionTransformer:
    """A network with a technique's modules, whose weights are as at the start, or moved as if they had been trained."""
    network = vit(variant)
    TECHNIQUES[name](**options).insert(network, generator_for("inserted"))
    if trained:
        jitter(inserted_parameters(network), 0.3)
    return network


def walk(network: VisionTransformer, x: torch.Tensor, step, last=lambda x: x) -> torch.Tensor:
    """The logits of a plain network whose blocks are done by hand: x = step(block's number, block, x)."""
    x = network.norm_pre(network._pos_embed(network.patch_embed(x)))
    for number, block in enumerate(network.blocks):
        x = step(number, block, x)
    return network.forward_head(network.norm(last(x)))


def close(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Whether they agree to 1e-10, and are not all 0."""
    return bool(two.abs().max() > 1e-3) and torch.allclose(one, two, rtol=1e-10, atol=1e-10)


def is_uniform(draws: torch.Tensor, bound: float) -> bool:
    """Whether some hundreds of numbers look as drawn evenly from -bound..bound."""
    spread = 3 * draws.square().mean() / bound**2
    return bool(0.97 * bound < draws.abs().max() < bound + 1e-7 and 0.85 < spread < 1.15)
