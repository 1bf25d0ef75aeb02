"""`labelfix scan`: the options, and which of them the pipeline is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelfix import __version__
from labelfix.cli.live import progress_on_stderr
from labelfix.cli.report import print_summary, top_option
from labelfix.cli.tuning import finetune_options, finetuning

if TYPE_CHECKING:
    from labelfix.learn.recipe import Recipe
    from labelfix.readers.interface import Columns


@click.command()
@click.argument("manifest")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("labelfix-run"), show_default=True,
              help="Directory for the results.")  # fmt: skip
@click.option("--images", metavar="DIR", help="Where image paths start, if not beside the manifest.")
@click.option("--image-col", metavar="COL", help="Column with image paths or bytes.")
@click.option("--label-col", metavar="COL", help="Column with the labels to check.")
@click.option("--id-col", metavar="COL", help="Column that names each row.")
@click.option("--group-col", metavar="COL", help="Column with patient, video, product: never parted.")
@click.option("--trusted-col", metavar="COL", help="Column that is true where a label is known right.")
@click.option("--annotator-col", metavar="COL", help="Column that says who gave the label.")
@click.option("--split-col", metavar="COL", help="Column with train, validation, test; carried along.")
@click.option("--features", metavar="FILE|COL", help="Embeddings you have: NPY, NPZ, Parquet, or a column.")
@click.option("--pred-probs", metavar="FILE|COL", help="Out-of-sample probabilities of your own model.")
@click.option("--backbone", metavar="NAME", help="Any timm model, or NAME@checkpoint.safetensors.")
@click.option("--image-size", type=int, metavar="PIXELS", help="Side of the square that models see.")
@click.option("--precision", type=click.Choice(["auto", "bfloat16", "float32"]), help="Arithmetic of models.")
@click.option("--mode", type=click.Choice(["probe", "finetune", "auto"]),
              help="Watch heads on frozen features in training, or a whole model.  [default: probe]")  # fmt: skip
@finetune_options
@click.option("--finetune-folds", "by_fold", is_flag=True,
              help="Fine-tune five models, each without a fold that it then judges.")  # fmt: skip
@click.option("-c", "--corrector", "correctors", multiple=True, metavar="NAME", default=("tmlc", "cleanlab"),
              help="Method; repeat for several, the first one ranks.  [default: tmlc, cleanlab]")  # fmt: skip
@click.option("--cache", type=click.Path(path_type=Path), help="Directory of features shared by all runs.")
@click.option("--seed", type=int, metavar="N", help="Of everything drawn at random.  [default: 0]")
@click.option("--device", metavar="NAME", help="cpu, cuda or cuda:1.  [default: a GPU if there is one]")
@click.option("--workers", type=click.IntRange(min=0), metavar="N", help="Processes that decode images.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run in the same directory.")
@click.option("--no-html", is_flag=True, help="Leave report.html out.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
@top_option
def scan(
    manifest: str, out: Path, correctors: tuple[str, ...], quiet: bool, as_json: bool, top: int, **given: Any
) -> None:
    """Rank the labels of MANIFEST by how likely they are wrong.

    MANIFEST is a CSV, TSV, JSONL or Parquet file, a folder of images with a
    folder for each class, a folder of Parquet shards, or a URL of one of these.

    \b
    Example:
      labelfix scan manifest.csv --images photos/ --label-col label -o run
    """
    from labelfix.learn.processes import crew

    chosen = {name: value for name, value in given.items() if value is not None}
    with crew() as leads:
        if not leads:
            return
        progress = progress_on_stderr(quiet)
        progress.note(f"labelfix {__version__}: scanning {manifest}")
        from labelfix.pipeline import scan as run_scan

        findings = run_scan(
            manifest,
            _recipe(chosen),
            correctors=tuple(dict.fromkeys(correctors)),
            out=out,
            columns=_columns(chosen),
            features=chosen.get("features"),
            pred_probs=chosen.get("pred_probs"),
            cache=chosen.get("cache"),
            resume=chosen["resume"],
            report=not chosen["no_html"],
            progress=progress,
        )
    if as_json or not quiet:
        print_summary(findings, out, "json" if as_json else "rich", top, getattr(progress, "noted", set()))


def _recipe(chosen: dict[str, Any]) -> Recipe:
    """Build the recipe; raises UsageError for options of fine-tuning where nothing is fine-tuned."""
    from labelfix.learn.recipe import Recipe

    tuning = finetuning(chosen, chosen.get("mode", "probe") != "probe")
    choices = ("backbone", "image_size", "precision", "seed", "device", "workers", "mode")
    taken = {name: chosen[name] for name in choices if name in chosen}
    return Recipe(**taken, finetune=tuning)


def _columns(chosen: dict[str, Any]) -> Columns:
    from labelfix.readers.interface import Columns

    roles = ("image", "label", "id", "group", "trusted", "annotator", "split")
    named: dict[str, Any] = {role: chosen.get(f"{role}_col") for role in roles}
    return Columns(**named, root=chosen.get("images"))
