"""`labelfix meta-train`."""

from __future__ import annotations

from pathlib import Path

import click

from labelfix.cli.live import progress_on_stderr


@click.command("meta-train")
@click.argument("sources", nargs=-1, metavar="[SOURCES]...")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="File for the weights.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the tasks and of the fit.")
@click.option("--tasks", type=click.IntRange(min=10), metavar="N", default=600, show_default=True,
              help="How many tasks to practise on.")  # fmt: skip
@click.option("--finetuned", type=click.IntRange(min=0), metavar="N", default=0, show_default=True,
              help="Tasks more that a whole network learns from images: 20 s each.")  # fmt: skip
@click.option("--bank", type=click.Path(path_type=Path, file_okay=False),
              help="Directory that keeps the tasks, to continue or reuse them.")  # fmt: skip
@click.option("--without", multiple=True, metavar="NAME",
              help="Fit on no task of this source, to judge the weights on it; the bank keeps them.")  # fmt: skip
def meta_train(
    sources: tuple[str, ...], out: Path, seed: int, tasks: int, finetuned: int, bank: Path | None,
    without: tuple[str, ...],
) -> None:  # fmt: skip
    """Rebuild the weights of the tmlc corrector.

    SOURCES are labelled sets whose labels are right; wrong labels are planted in
    them, in scikit-learn's digits and in generated data. Each is what scan reads,
    and a table may name its columns: FILE:LABELS, or FILE@EMBEDDINGS:LABELS.
    Embeddings are a column of a Parquet FILE.

    \b
    Example:
      labelfix meta-train flowers.parquet:species -o weights.safetensors --seed 1
    """
    from labelfix.metatraining import meta_train as run_meta_train

    run_meta_train(
        sources, out, bank=bank, seed=seed, tasks=tasks, finetuned=finetuned, without=without,
        progress=progress_on_stderr(quiet=False),
    )  # fmt: skip
