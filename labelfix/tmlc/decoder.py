"""SD, subclass decoding: a score for every candidate class and for "none of them" (Li 2025, §3.4).

The paper's C-way output cannot be carried to another number of classes, so weights are shared over candidates and
the others are seen through their mean and maximum: permuting classes permutes the output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SubclassDecoder(nn.Module):
    """Maps [n, C, features] to log-probabilities [n, C + 1]; the last column is "another class"."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()
        )
        self.drop = nn.Dropout(0.1)
        self.linear = nn.Linear(features, 1)  # what is linear in the evidence need not be learnt by the rest
        self.score = nn.Sequential(nn.Linear(3 * hidden, hidden), nn.GELU(), nn.Linear(hidden, 1))
        self.other = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor, others: bool) -> Tensor:
        """`others` says whether there are classes beyond the candidates."""
        each = self.drop(self.embed(features))  # (n, C, hidden)
        pooled = torch.cat([each.mean(dim=1), each.amax(dim=1)], dim=1)  # (n, 2 hidden)
        spread = pooled[:, None].expand(-1, each.shape[1], -1)
        scores = (self.score(torch.cat([each, spread], dim=2)) + self.linear(features))[..., 0]
        other = self.other(pooled) if others else scores.new_full((len(scores), 1), -torch.inf)
        return torch.log_softmax(torch.cat([scores, other], dim=1), dim=1)
