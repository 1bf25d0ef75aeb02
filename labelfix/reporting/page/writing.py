"""Writing: a run's findings, evidence and images become one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.findings import Findings
from labelfix.manifest import Images
from labelfix.reporting.histories import NOTHING, Histories, read_histories
from labelfix.reporting.page import charts, story
from labelfix.reporting.page.annotators import confused_by
from labelfix.reporting.page.cards import Card, deal
from labelfix.reporting.page.choosing import MEMBERS, choose
from labelfix.reporting.page.embedding import page_data
from labelfix.reporting.page.rendering import render
from labelfix.reporting.pairs import expected_pairs
from labelfix.reporting.pictures import Picture, draw
from labelfix.reporting.summary import summarise
from labelfix.reporting.surroundings import Surrounding, read_surroundings
from labelfix.rundir import RunDir, writing

TOP = 1000
"""Suspects on a page, unless another number is asked for."""
LARGE_BYTES, SMALL_BYTES = 7_500_000, 5_000_000
"""Of all pictures of suspects and of all small ones together, for 1,000 suspects; in the page 4/3 of this."""
FEW, MANY = 384, 224
"""Side of a suspect's picture, for up to 200 of them and for more."""
SMALL = 64
"""Side of the pictures of neighbours and other lists."""


@dataclass(frozen=True)
class Written:
    """What became of a page."""

    suspects: int
    """Shown."""
    total: int
    """Of so many."""
    bytes: int
    """Size of the file."""
    missing: int
    """Suspects whose image could not be shown."""


def write_page(
    path: Path, findings: Findings, record: dict[str, Any], run: Path | None, images: Images | None, top: int = TOP,
    no_images: str = "",
) -> Written:  # fmt: skip
    """Write the page of a run.

    `record` is run.json ({} when there is none), `run` the directory that evidence is read from, None for a lone
    findings file. `images` are by row of the manifest; without them `no_images` says why. Costs memory for the
    pictures and the page, some 60 MB for 1,000 suspects, beside the findings. What cannot be read of images and
    evidence is said on the page. Raises OutputError when the file cannot be written.
    """
    suspicion = np.nan_to_num(findings.column("suspicion").astype(np.float64))
    pairs = expected_pairs(findings, suspicion)
    summary = summarise(findings, record, run, 0, pairs)
    chosen = choose(findings, summary.stop, top)
    suspects = chosen.suspects.rows
    members = [group[:MEMBERS] for group in chosen.conflicts]
    lists = (chosen.ambiguous.rows, chosen.outliers.rows, *members, chosen.unreadable.rows)
    rows = np.unique(np.concatenate([suspects, *lists]).astype(np.intp))
    histories, around, lacking = _evidence(run, rows)
    cards = {card.row: card for card in deal(findings, rows.tolist(), chosen, histories, around)}
    shown = [cards[row] for row in suspects.tolist()]
    large, small = _pictures(images, shown, np.concatenate([*lists[:2], *members]).astype(int).tolist())
    ranked = suspicion[findings.order()]
    html = render(
        summary=summary,
        story=story,
        facts=story.facts(summary, record),
        steps=story.next_steps(run),
        chart=None if summary.stop is None else charts.yield_chart(ranked, summary.stop),
        matrix=charts.matrix(findings.classes, pairs),
        pairs=charts.top_pairs(findings.classes, pairs),
        confused=confused_by(findings),
        chosen=chosen,
        cards=cards,
        suspects=shown,
        members=[group.tolist() for group in members],
        large=large,
        small=small,
        no_images=no_images if images is None else "",
        lacking=lacking,
        data=page_data(findings, histories, shown),
        thumbnails={str(row): picture.uri for row, picture in _of_neighbours(shown, large, small).items()},
    ).encode("utf-8", "replace")
    with writing(path) as temporary:
        temporary.write_bytes(html)
    missing = sum(not large[row].uri for row in suspects.tolist()) if images is not None else len(suspects)
    return Written(len(suspects), chosen.suspects.total, len(html), missing)


def _evidence(
    run: Path | None, rows: NDArray[np.intp]
) -> tuple[Histories, dict[int, Surrounding], list[str]]:
    """Return trajectories and neighbours of rows [n], and sentences about what of them cannot be shown."""
    histories, around, lacking = NOTHING, dict[int, Surrounding](), []
    if run is not None:
        try:
            histories = read_histories(RunDir(run).trajectories, rows)
        except InputError as error:
            lacking.append(str(error))
        try:
            around = read_surroundings(RunDir(run).neighbours, rows)
        except InputError as error:
            lacking.append(str(error))
    if len(rows) and not histories.rows and not lacking:
        lacking.append("No training trajectories were recorded, so none are shown.")
    return histories, around, lacking


def _pictures(
    images: Images | None, suspects: list[Card], listed: list[int]
) -> tuple[dict[int, Picture], dict[int, Picture]]:
    """Return large pictures of the suspects, and small ones of other rows and of the suspects' neighbours."""
    if images is None:
        return {}, {}
    rows = [card.row for card in suspects]
    scale = max(len(rows), 1000) / 1000  # who asks for more than 1,000 gets a larger file
    side = FEW if len(rows) <= 200 else MANY
    large = draw(images, rows, side, int(scale * LARGE_BYTES / max(len(rows), 150)))
    around = {near.row for card in suspects for near in card.neighbours} - set(rows)
    wanted = around | set(listed)
    return large, draw(images, wanted, SMALL, int(scale * SMALL_BYTES / max(len(wanted), 1000)))


def _of_neighbours(
    suspects: list[Card], large: Mapping[int, Picture], small: Mapping[int, Picture]
) -> dict[int, Picture]:
    around = {near.row for card in suspects for near in card.neighbours} - set(large)
    return {row: small[row] for row in sorted(around) if row in small and small[row].uri}
