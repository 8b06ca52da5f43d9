"""The two small networks of the benchmark `glyphs`, for 32x32 images, both timm's."""

from torch import nn


def glyphs_resnet(num_classes: int) -> nn.Module:
    """A ResNet with one basic block a stage and half of the usual widths, without pooling behind the stem."""
    from timm.models.resnet import BasicBlock, ResNet  # heavy, and only needed here

    model = ResNet(BasicBlock, (1, 1, 1, 1), channels=(32, 64, 128, 256), num_classes=num_classes)
    model.maxpool = nn.Identity()
    return model


def glyphs_vit(num_classes: int) -> nn.Module:
    """A vision transformer of 6 blocks, 128 wide, on 16 patches of 8x8 pixels."""
    from timm.models.vision_transformer import VisionTransformer  # heavy, and only needed here

    return VisionTransformer(img_size=32, patch_size=8, embed_dim=128, depth=6, num_heads=4, num_classes=num_classes)
