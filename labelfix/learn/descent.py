"""Descent: AdamW (Loshchilov & Hutter 2019) in torch's functional form.

The classes of `torch.optim` import torch's compiler when the first is made, which takes two to four seconds: as long as
the heads of 50,000 rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.optim.adamw import adamw

EPS = 1e-8
"""Added to the root of the mean square, as everywhere."""


class AdamW:
    """Moves values in place, each with a weight decay of its own; the same to the bit as `torch.optim.AdamW`, fused."""

    def __init__(
        self, values: Sequence[torch.Tensor], weight_decay: Sequence[float], betas: tuple[float, float]
    ) -> None:
        self._betas = betas
        self._states = [
            (
                value,
                decay,
                torch.zeros_like(value),
                torch.zeros_like(value),
                torch.zeros((), device=value.device),
            )
            for value, decay in zip(values, weight_decay, strict=True)
        ]

    def step(self, slopes: Sequence[torch.Tensor], rate: float) -> None:
        """Take a step down the slopes of all values at a learning rate."""
        beta1, beta2 = self._betas
        for (value, decay, mean, square, steps), slope in zip(self._states, slopes, strict=True):
            adamw(
                [value], [slope], [mean], [square], [], [steps],
                fused=True, amsgrad=False, beta1=beta1, beta2=beta2, lr=rate, weight_decay=decay, eps=EPS,
                maximize=False,
            )  # fmt: skip
