"""The options of fine-tuning, which `labelfix scan` and `labelfix train` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from labelfix.errors import UsageError

if TYPE_CHECKING:
    from labelfix.learn.recipe import FineTuning

Command = TypeVar("Command", bound=Callable[..., Any])

FINETUNE = {
    "model": "--model",
    "scratch": "--from-scratch",
    "epochs": "--finetune-epochs",
    "batch_size": "--finetune-batch",
    "learning_rate": "--finetune-rate",
    "by_fold": "--finetune-folds",
}
"""Choices of fine-tuning and their options."""


def finetune_options(command: Command) -> Command:
    """Add what both commands ask about a model that is fine-tuned."""
    options = (
        click.option("--model", metavar="NAME",
                     help="Model to fine-tune, such as resnet32.  [default: the backbone]"),
        click.option("--from-scratch", "scratch", is_flag=True, help="Fine-tune from random weights."),
        click.option("--finetune-epochs", "epochs", type=int, metavar="N",
                     help="Passes over the images.  [default: 10; 40 from scratch]"),
        click.option("--finetune-batch", "batch_size", type=int, metavar="N",
                     help="Images a step, of all processes together.  [default: 64]"),
        click.option("--finetune-rate", "learning_rate", type=float, metavar="RATE",
                     help="Peak learning rate.  [default: by batch and optimiser]"),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def finetuning(chosen: dict[str, Any], tunes: bool, held: FineTuning | None = None) -> FineTuning:
    """Take what was chosen, the rest from `held`; raises UsageError for choices where nothing is fine-tuned."""
    from dataclasses import replace

    from labelfix.learn.recipe import FineTuning

    tuning = {name: chosen[name] for name in FINETUNE if chosen.get(name, False) is not False}
    if tuning and not tunes:
        options = ", ".join(FINETUNE[name] for name in tuning)
        raise UsageError(f"{options}: means something with --mode finetune only; add it or leave this out")
    return replace(held or FineTuning(), **tuning)
