"""`labelfix train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelfix.cli.live import progress_on_stderr
from labelfix.cli.tuning import finetune_options, finetuning

if TYPE_CHECKING:
    from labelfix.learn.recipe import Recipe

LABELS = ("given", "cleanlab-pruned", "pruned", "fixed", "soft", "all")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--labels", multiple=True, type=click.Choice(LABELS), default=("soft",), metavar="NAME",
              help="What to train on: given, pruned, cleanlab-pruned, fixed, soft, or all; repeat for several."
              "  [default: soft]")  # fmt: skip
@click.option("--evaluate", metavar="MANIFEST", help="Held-out images whose labels are right.")
@click.option("--truth", metavar="COL", help="Column of their labels.")
@click.option("--evaluate-images", metavar="DIR", help="Where their paths start, if not beside the manifest.")
@click.option("--evaluate-features", metavar="FILE|COL",
              help="Their embeddings, for a run on embeddings of your own.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False),
              help="Directory for the classifiers.  [default: RUN/trained]")  # fmt: skip
@click.option("--manifest", metavar="MANIFEST", help="What was scanned, if it has moved since.")
@click.option("--images", metavar="DIR", help="Where its image paths start, if they have moved.")
@click.option("--mode", type=click.Choice(["probe", "finetune"]),
              help="Train heads on frozen features, or a whole model.  [default: as scanned]")  # fmt: skip
@click.option("--image-size", type=int, metavar="PIXELS",
              help="Side of the square that models see.  [default: as scanned]")  # fmt: skip
@finetune_options
@click.option("--cache", type=click.Path(path_type=Path), help="Directory of features shared by all runs.")
@click.option("--seed", type=int, metavar="N", help="Of everything drawn at random.  [default: as scanned]")
@click.option("--device", metavar="NAME", help="cpu, cuda or cuda:1.  [default: a GPU if there is one]")
@click.option("--workers", type=click.IntRange(min=0), metavar="N", help="Processes that decode images.")
@click.option("--resume", is_flag=True, help="Keep what is trained already, and continue the rest.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as one JSON document.")
def train(
    run: Path, labels: tuple[str, ...], evaluate: str | None, truth: str | None, evaluate_images: str | None,
    evaluate_features: str | None, out: Path | None, manifest: str | None, images: str | None, cache: Path | None,
    resume: bool, quiet: bool, as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Train classifiers on the labels of RUN, given or corrected.

    Each is saved as one safetensors file with its classes and transforms, and
    judged on held-out images with --evaluate.

    \b
    Example:
      labelfix train run --labels all --evaluate test.csv
    """
    from labelfix.errors import UsageError
    from labelfix.learn.processes import crew

    if evaluate is None and (truth or evaluate_images or evaluate_features):
        raise UsageError(
            "--truth, --evaluate-images and --evaluate-features describe --evaluate; name it too"
        )
    with crew() as leads:
        if not leads:
            return
        from labelfix.origin import reopen
        from labelfix.readers import read
        from labelfix.retraining.running import scanned_with
        from labelfix.retraining.running import train as run_train
        from labelfix.rundir import RunDir

        record = RunDir(run).read()
        scanned = reopen(record, manifest, images)
        held = None
        if evaluate is not None:
            seen = record["brought"] is None
            held = read(evaluate, label_col=truth, images=evaluate_images, with_images=seen, min_classes=1)
        results = run_train(
            run,
            labels=labels,
            recipe=_recipe(scanned_with(record), {k: v for k, v in given.items() if v is not None}),
            out=out,
            evaluate=held,
            features=evaluate_features,
            manifest=scanned,
            cache=cache,
            resume=resume,
            progress=progress_on_stderr(quiet),
        )
    if as_json:
        import json

        click.echo(json.dumps(results.document(), indent=2))
    elif not quiet:
        from rich.console import Console

        from labelfix.retraining.tables import show

        show(results, Console(highlight=False))


def _recipe(scanned: Recipe, chosen: dict[str, Any]) -> Recipe:
    """Take the scan's recipe with the choices of this call."""
    mode = chosen.get("mode", scanned.mode)
    tuning = finetuning(chosen, mode == "finetune", scanned.finetune)
    choices = ("mode", "image_size", "seed", "device", "workers")
    taken = {name: chosen[name] for name in choices if name in chosen}
    return replace(scanned, **taken, finetune=tuning)
