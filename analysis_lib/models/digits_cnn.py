"""The small network of the `digits` benchmark."""

import torch
from torch import nn


class DigitsCNN(nn.Module):
    """A small network for 16x16 digits with timm's interface.

    That is: forward_features, forward_head, get_classifier and feature_info.
    """

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, num_classes)
        self.feature_info = [{"module": f"blocks.{last}"} for last in (2, 5, 8)]  # as timm names stages

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.head(x)

    def get_classifier(self) -> nn.Linear:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))
