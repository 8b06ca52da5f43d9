"""Tiny randomly initialised networks as other libraries save them."""

import json

import timm
import torch
import torchvision

NAMES = ["ash", "birch", "cedar", "elm"]


def transformer_network(kind, names=NAMES):
    """A ViT or a ResNet of transformers for images of 32 pixels."""
    import transformers

    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: k for k, name in enumerate(names)}}
    if kind == "vit":
        config = transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
            **labels,
        )
        return transformers.ViTForImageClassification(config).eval()
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16], depths=[1, 1, 1], layer_type="basic", **labels
    )
    return transformers.ResNetForImageClassification(config).eval()


def save_transformers(folder, kind="vit", names=NAMES):
    """A folder as `save_pretrained` writes it, with a processor's file."""
    network = transformer_network(kind, names)
    network.save_pretrained(folder)
    processor = {"size": {"height": 32, "width": 32}, "image_mean": [0.4] * 3, "image_std": [0.3] * 3, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return network


def save_timm(folder, names=NAMES, arch="test_resnet"):
    """A folder in timm's format for hubs."""
    torch.manual_seed(0)
    model = timm.create_model(arch, num_classes=len(names or NAMES)).eval()
    looks = {"input_size": (3, 32, 32), "mean": (0.4,) * 3, "std": (0.3,) * 3}
    timm.models.save_for_hf(
        model, folder, model_config={"label_names": names}, safe_serialization=True, data_config=looks
    )
    return model


def torchvision_network(num_classes=4):
    torch.manual_seed(0)
    return torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=num_classes).eval()
