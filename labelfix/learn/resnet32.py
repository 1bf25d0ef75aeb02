"""ResNet-32 for images of 32 pixels, the base model of papers on label noise (He et al. 2016, §4.2), as a timm model.

Three stages of five blocks with 16, 32 and 64 channels; where a stage halves the image, the shortcut drops every
second pixel and pads the new channels with zeros (option A). 464,154 parameters with ten classes. No trained weights.

Importing this module makes the name `resnet32` known to timm.
"""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64)
BLOCKS = 5
"""Of a stage; 6 · 5 + 2 layers have weights."""

default_cfgs = generate_default_cfgs(
    {
        "resnet32": {
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "pool_size": (8, 8),
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "first_conv": "stem.0",
            "classifier": "classifier",
            "license": "apache-2.0",
        }
    }
)
"""timm reads this name; without a URL there are no weights to fetch."""


class ResNet32(nn.Module):
    """Images [n, 3, S, S] → logits [n, K], or pooled features [n, 64] when K is 0."""

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_features = self.head_hidden_size = WIDTHS[-1]
        self.global_pool, self.drop_rate = global_pool, drop_rate
        first = nn.Conv2d(in_chans, WIDTHS[0], 3, 1, 1, bias=False)
        self.stem = nn.Sequential(first, nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(inplace=True))
        befores = (WIDTHS[0], *WIDTHS)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(_Block(before, width), *(_Block(width, width) for _ in range(BLOCKS - 1)))
                for before, width in zip(befores, WIDTHS, strict=False)
            )
        )
        self.reset_classifier(num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new last layer in, or none for 0 classes."""
        self.num_classes = num_classes
        self.global_pool = self.global_pool if global_pool is None else global_pool
        self.classifier: nn.Module = nn.Linear(WIDTHS[-1], num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the map [n, 64, S / 4, S / 4]."""
        return self.stages(self.stem(x))  # type: ignore[no-any-return]  # torch.nn is loosely typed

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the map and classify it; `pre_logits` stops before the last layer."""
        if self.global_pool:
            x = x.mean(dim=(2, 3))
        x = functional.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.classifier(x)

    def forward(self, x: Tensor) -> Tensor:
        """All of it."""
        return self.forward_head(self.forward_features(x))


class _Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.grown = width - before
        self.conv1 = nn.Conv2d(before, width, 3, 2 if self.grown else 1, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        if self.grown:
            half = self.grown // 2
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.grown - half))
        return functional.relu(out + x)


@register_model
def resnet32(pretrained: bool = False, **options: Any) -> ResNet32:
    """Build it; `timm.create_model("resnet32")` calls this."""
    model: ResNet32 = build_model_with_cfg(ResNet32, "resnet32", pretrained, **options)
    return model
