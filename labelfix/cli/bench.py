"""`labelfix bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from labelfix.cli.live import progress_on_stderr


@click.command()
@click.argument("manifests", nargs=-1, required=True, metavar="MANIFEST...")
@click.option("--truth", metavar="COL", help="Column of true labels.")
@click.option("--label", "labels", multiple=True, metavar="COL",
              help="Column of given labels to judge; repeat for several.")  # fmt: skip
@click.option("--noise", "noises", multiple=True, metavar="FAMILY:RATE",
              help="Wrong labels to inject into the true ones; repeat for several.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", default=3, show_default=True,
              help="Repetitions with other noise, heads and ceiling.")  # fmt: skip
@click.option("--method", "methods", multiple=True, metavar="NAME",
              help="Corrector; repeat, the first is in question.  [default: all, tmlc first]")  # fmt: skip
@click.option("--features", metavar="FILE|COL", help="Embeddings you have: NPY, NPZ, Parquet, or a column.")
@click.option("--pred-probs", metavar="FILE|COL", help="Out-of-sample probabilities made from the --label.")
@click.option("--images", metavar="DIR", help="Where image paths start, if not beside the manifest.")
@click.option("--image-col", metavar="COL", help="Column with image paths or bytes.")
@click.option("--group-col", metavar="COL", help="Column with patient, video, product: never parted.")
@click.option("--id-col", metavar="COL", help="Column of ids: several answers about an item share one.")
@click.option("--annotator-col", metavar="COL", help="Column that says who gave the label.")
@click.option("--cache", type=click.Path(path_type=Path), help="Directory of features shared by all runs.")
@click.option("--weights", type=click.Path(path_type=Path, dir_okay=False), help="Weights of tmlc to judge.")
@click.option("--ceiling/--no-ceiling", "with_ceiling", default=True,
              help="Fit the net on half of the truth as an oracle.  [default: yes]")  # fmt: skip
@click.option("--downstream/--no-downstream", "with_downstream", default=True,
              help="Hold a fifth of the rows out and test classifiers on it.  [default: yes]")  # fmt: skip
@click.option("--device", metavar="NAME", help="cpu, cuda or cuda:1.  [default: a GPU if there is one]")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("labelfix-bench"),
              show_default=True, help="Directory for results.parquet and results.md.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only.")
def bench(
    manifests: tuple[str, ...], quiet: bool, device: str | None, images: str | None, image_col: str | None,
    group_col: str | None, id_col: str | None, annotator_col: str | None, **given: Any,
) -> None:  # fmt: skip
    """Compare methods on data whose true labels are known.

    All methods judge the same evidence and see no truth; beside them stand a
    constant score, doing nothing, and a ceiling: the same net fitted on half of
    the truth. A table may name its truth: FILE:TRUTH, or FILE@EMBEDDINGS:TRUTH.

    \b
    Example:
      labelfix bench flowers.parquet --truth species --noise symmetric:0.1
      labelfix bench cifar10n.parquet --truth label_clean --label label_worst
    \b
    Noise families:
      symmetric, pair, similarity, boundary, annotators, cluster, burst, mixture,
      instance
    """
    from labelfix.benchmarking.running import bench as run_bench
    from labelfix.learn.recipe import Recipe
    from labelfix.readers.interface import Columns

    results = run_bench(
        manifests,
        columns=Columns(image=image_col, group=group_col, id=id_col, annotator=annotator_col, root=images),
        recipe=Recipe() if device is None else Recipe(device=device),
        progress=progress_on_stderr(quiet),
        **given,
    )
    if not quiet:
        from rich.console import Console

        from labelfix.benchmarking.tables import show

        show(results, Console(highlight=False))
        click.echo(f"\nFiles in {given['out']}: results.md, results.parquet")
