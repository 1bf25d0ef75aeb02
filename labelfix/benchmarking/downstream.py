"""Downstream: what a classifier trained on repaired labels is worth on rows whose labels are true.

One linear probe for each variant of the labels, with the scan's recipe but without folds. All variants are trained
together, as blocks of one matrix: 4 · rows · width · classes · variants multiply-adds an epoch. The rows they are
tested on took no part in the scan.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from labelfix.learn import probe
from labelfix.learn.features import Features
from labelfix.learn.recipe import Recipe
from labelfix.learn.targets import Targets
from labelfix.progress import Silent

COLUMNS = 512
"""Classes times variants trained at once, at most (or one variant): bounds memory."""


def accuracies(
    features: Features, rows: NDArray[np.intp], variants: Mapping[str, Targets], held: NDArray[np.intp],
    truth: NDArray[np.int32], classes: int, recipe: Recipe,
) -> dict[str, float]:  # fmt: skip
    """Return the accuracy on the rows `held` [m] with `truth` [m] of a probe trained on each variant of `rows` [n]."""
    names, each = list(variants), max(1, COLUMNS // classes)
    found = dict[str, float]()
    for start in range(0, len(names), each):
        some = names[start : start + each]
        chosen = [variants[name] for name in some]
        heads = probe.train_variants(features, rows, chosen, classes, recipe, "", Silent())
        for v, name in enumerate(some):
            found[name] = float((_predict(heads, v, features, held) == truth).mean())
    return found


def _predict(
    heads: probe.Heads, variant: int, features: Features, held: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the class [m] that a variant's head gives the held-out rows."""
    weight, bias = heads.out_of_fold(variant)
    predicted = np.empty(len(held), np.intp)
    for start in range(0, len(held), 8192):
        tested = features.single(held[start : start + 8192])
        predicted[start : start + 8192] = (tested @ weight + bias).argmax(axis=1)
    return predicted
