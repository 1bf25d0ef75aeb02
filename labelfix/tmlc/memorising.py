"""A base learner that learns its labels by heart: stands in for fine-tuning a whole network.

Late epochs then say nothing, and there is no out-of-fold block (Jia et al. 2023, §4, train their detectors on such
trajectories only).
"""

from __future__ import annotations

import numpy as np
import torch

from labelfix.evidence import EvidenceChunk
from labelfix.learn.neighbours import Neighbours
from labelfix.learn.replay import likeliest
from labelfix.tmlc.sources import Task
from labelfix.trajectories import Floats, Ints, belief, summarise


def memorised(task: Task, order: np.ndarray, found: Neighbours, rng: np.random.Generator) -> EvidenceChunk:
    """Return in-sample evidence of a network with one hidden layer, trained on the given labels of the rows `order`."""
    labels = task.given[order]
    log_p = _train(task.x[order], labels, task.classes, rng)
    voters = np.where(found.index >= 0, labels[found.index], -1)
    candidates = likeliest(labels, np.exp(log_p).mean(axis=1), voters)
    rows, block = np.arange(len(labels)), summarise(log_p, candidates)
    votes = found.votes(labels, belief(block.margin[:, :, 0].mean(axis=1)), rows, candidates)
    return EvidenceChunk(rows, labels, task.classes, candidates, block, None, None, *votes)


def _train(x: Floats, labels: Ints, classes: int, rng: np.random.Generator) -> Floats:
    """Train with a drawn width, rate and length; returns log-probabilities [n, E, K] after E of the epochs."""
    hidden, epochs = int(rng.choice([48, 128])), int(rng.choice([12, 20, 36]))
    kept = set(np.unique(np.linspace(1, epochs, int(rng.choice([6, 12]))).astype(int)).tolist())
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 30)))
    inputs = torch.from_numpy((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3))
    target = torch.from_numpy(labels.astype(np.int64))
    first, last = torch.nn.Linear(x.shape[1], hidden), torch.nn.Linear(hidden, classes)
    for layer in (first, last):
        bound = layer.in_features**-0.5
        torch.nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        torch.nn.init.zeros_(layer.bias)
    net = torch.nn.Sequential(first, torch.nn.ReLU(), last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=float(np.exp(rng.uniform(-6.9, -4.6))), fused=True)
    jitter = float(rng.choice([0.0, 0.3]))  # as augmentation does, it delays learning by heart
    batch, recorded = 64, []
    for epoch in range(1, epochs + 1):
        for picked in torch.randperm(len(labels), generator=generator).split(batch):  # type: ignore[no-untyped-call]
            seen = inputs[picked]
            if jitter:
                seen = seen + jitter * torch.randn(seen.shape, generator=generator)
            loss = torch.nn.functional.cross_entropy(net(seen), target[picked])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if epoch in kept:
            with torch.inference_mode():
                recorded.append(torch.log_softmax(net(inputs), dim=1))
    return torch.stack(recorded, dim=1).numpy()
