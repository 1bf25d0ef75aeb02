"""Descent: the same steps as torch's own AdamW, and no compiler."""

from __future__ import annotations

import subprocess
import sys

import torch

from labelfix.learn.descent import AdamW

TRAINING = """
import sys
import numpy as np
from labelfix.learn import probe
from labelfix.learn.features import Features
from labelfix.learn.recipe import Recipe
from labelfix.progress import Silent

x = Features.from_array(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
labels = np.arange(60, dtype=np.int32) % 2
probe.train(x, np.arange(60), labels, np.arange(60) % 3, 2, Recipe(device="cpu"), "rows", Silent())
print("torch._dynamo" in sys.modules)
"""


def test_steps_are_those_of_torchs_own_class_to_the_bit():
    torch.manual_seed(0)
    start = torch.randn(7, 5), torch.randn(5)
    theirs = [torch.nn.Parameter(value.clone()) for value in start]
    ours = [value.clone() for value in start]
    groups = [{"params": [theirs[0]], "weight_decay": 0.5}, {"params": [theirs[1]], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.99), fused=True)
    descent = AdamW(ours, (0.5, 0.0), betas=(0.9, 0.99))
    for step in range(20):
        slopes = [torch.randn_like(value) for value in start]
        for group in optimiser.param_groups:
            group["lr"] = 0.1 / (step + 1)
        for value, slope in zip(theirs, slopes, strict=True):
            value.grad = slope.clone()
        optimiser.step()
        descent.step(slopes, 0.1 / (step + 1))
        assert all(torch.equal(a.detach(), b) for a, b in zip(theirs, ours, strict=True))
    assert not torch.equal(start[0], ours[0])


def test_training_heads_does_not_import_torchs_compiler():
    printed = subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split() == ["False"]
