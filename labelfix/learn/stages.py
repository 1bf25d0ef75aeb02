"""Stages: what a frozen network says of an image before its last layers bend it to the classes it was trained on.

The last layer but one of an EfficientNet widens its last stage to what ImageNet's classes need. Means of the last four
stages over all positions, and standard deviations of all of these but the last, find more wrong labels than that layer
on every domain tried, with fewer numbers and a cheaper pass (`examples/benchmarks/LOG.md`). Linear probes on several
layers: Evci et al. 2022, Head2Toe, §3.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.efficientnet import EfficientNet
from torch import nn

LAST = 4
"""So many stages are read, from the end."""


class Stages(nn.Module):
    """The stages of an EfficientNet, with a linear classifier on what is read of them where one is wanted."""

    def __init__(self, model: EfficientNet) -> None:
        """Take over the stem and the stages, in eval mode; the model's own last layers are left out."""
        super().__init__()
        self.conv_stem, self.bn1, self.blocks = model.conv_stem, model.bn1, model.blocks
        self.pretrained_cfg = model.pretrained_cfg
        self.classifier: nn.Module = nn.Identity()
        self.eval()
        with torch.inference_mode():
            example = self.conv_stem.weight.new_zeros(1, model.conv_stem.in_channels, 64, 64)
            self.num_features = int(self.forward_features(example).shape[1])

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return float32 features [b, d] of normalised pixels [b, 3, S, S]."""
        x = self.bn1(self.conv_stem(x))
        means, spreads, first = [], [], len(self.blocks) - LAST
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number >= first:
                spread, mean = torch.std_mean(x.float(), dim=(2, 3), correction=0)
                means.append(mean)
                spreads.append(spread)
        return torch.cat([*means, *spreads[:-1]], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features [b, d], or logits [b, K]."""
        logits: torch.Tensor = self.classifier(self.forward_features(x))
        return logits

    def get_classifier(self) -> nn.Module:
        """Return the last layer, as timm's models do."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new linear layer [d, K] at the end, or none for 0, as timm's models do."""
        self.classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()


def read(model: Any) -> Any:
    """Return what turns pixels into features: the stages of an EfficientNet, or any other timm model as it is."""
    return Stages(model) if isinstance(model, EfficientNet) else model
