"""The relabel loop with an annotator who answers with the truth: how fast do labels get right?

    python loop.py clothing ../clothing/truth.csv:label_true ../clothing/manifest.csv:label
    python loop.py cifar10n-worst cifar10n.parquet:label_clean cifar10n.parquet:label_worst --cache CACHE

Each round scans, asks about 2 % of the rows, merges the answers with `labelfix.merge`, and goes on from the merged
manifest. Orders: tmlc and cleanlab by rank (`--top`), tmlc as `--budget` does it (a tenth of the questions drawn at
random, for estimates), tmlc by rank that learns nothing from answers (only the column that says what a label was before
is taken away: corrected labels are trained on and trusted all the same), and random. Prints Markdown tables and writes
`loop-NAME.svg`. Features are cached, so that a round takes what a re-scan takes. Expected numbers and times: loop.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

import labelfix
from labelfix.benchmarking import metrics

ROUNDS = 5
SHARE = 0.02
UNTAUGHT = "tmlc, untaught"
ORDERS = {"tmlc": "tmlc", "tmlc --budget": "tmlc", UNTAUGHT: "tmlc", "cleanlab": "cleanlab", "random": None}


@dataclass(frozen=True)
class Course:
    """One order's course."""

    accuracy: list[float]
    """Share of right labels after 0, 1, … rounds."""
    seconds: list[float]
    """What each re-scan took; empty for random order."""
    ranking: list[float]
    """Average precision of each scan for the wrong labels that nobody had been asked about."""
    estimates: list[str]
    """What merge said is left, against what is."""
    rates: list[str]
    """What each re-scan estimated of the rows that nobody had answered, against what is."""


def main() -> None:
    """Run all orders."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("truth", help="FILE:COLUMN")
    parser.add_argument("given", help="FILE:COLUMN")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    truth_file, truth_col = asked.truth.rsplit(":", 1)
    source, label_col = asked.given.rsplit(":", 1)
    right = labelfix.read(truth_file, label_col=truth_col, with_images=False)
    truth = np.array([right.classes[k] for k in right.labels])
    found = {order: follow(order, source, label_col, truth, asked) for order in ORDERS}
    print(table(found))
    Path(f"loop-{asked.name}.svg").write_text(drawing(found, asked.name), encoding="utf-8")


def follow(order: str, source: str, label_col: str, truth: np.ndarray, asked: argparse.Namespace) -> Course:
    """Go through the rounds in one order."""
    accuracy, seconds, ranking, estimates, rates = [], [], [], [], []
    images, rng = str(Path(source).parent.absolute()), np.random.default_rng(asked.seed)
    with tempfile.TemporaryDirectory() as place:
        for number in range(ROUNDS + 1):
            manifest = labelfix.read(source, label_col=label_col, images=images)
            labels = np.array([manifest.classes[k] for k in manifest.labels])
            accuracy.append(float((labels == truth).mean()))
            print(f"# {asked.name}, {order}, round {number}: {accuracy[-1]:.4f}", flush=True)
            if number == ROUNDS:
                return Course(accuracy, seconds, ranking, estimates, rates)
            run, out = Path(place) / f"run{number}", Path(place) / f"round{number}{Path(source).suffix}"
            count = round(SHARE * len(truth))
            if ORDERS[order] is None:
                free = np.flatnonzero(
                    np.ones(len(truth), bool) if manifest.trusted is None else ~manifest.trusted
                )
                tasks = [{"id": str(manifest.ids[i]), "at": int(i)} for i in rng.permutation(free)[:count]]
                findings = random_run(manifest, run, asked)
            else:
                began = time.perf_counter()
                correctors, recipe = [ORDERS[order]], labelfix.Recipe(seed=asked.seed)
                findings = labelfix.scan(manifest, recipe, correctors=correctors, out=run, cache=asked.cache)
                seconds.append(time.perf_counter() - began)
                open_ = np.ones(len(truth), bool) if manifest.trusted is None else ~manifest.trusted
                score = findings.column(f"{ORDERS[order]}.score").astype(np.float64)
                ranking.append(metrics.average_precision(score[open_], (labels != truth)[open_]))
                real, said = (labels != truth)[open_].mean(), findings.meta["estimated_errors"]
                rates.append(f"{said['rate']:.1%} ({said['low']:.1%} to {said['high']:.1%}); {real:.1%}")
                how = {"budget": count} if "budget" in order else {"top": count}
                labelfix.export(findings, "jsonl", run / "queue.jsonl", **how)
                lines = (run / "queue.jsonl").read_text(encoding="utf-8").split("\n")
                tasks = [json.loads(line) for line in lines if line]
                position = {str(id_): i for i, id_ in enumerate(manifest.ids)}
                tasks = [{**task, "at": position[task["id"]]} for task in tasks]
            answers = run / "answers.jsonl"
            said = [{**task, "answer": str(truth[task["at"]])} for task in tasks]
            answers.write_text("".join(json.dumps(one) + "\n" for one in said), encoding="utf-8")
            merged = labelfix.merge(findings, answers, out, images=images)
            if merged.left is not None:
                wrong = int((labels != truth).sum()) - merged.precision[0] - merged.audit[0]
                left = merged.left
                estimates.append(f"{left.value:,.0f} ({left.low:,.0f} to {left.high:,.0f}); {wrong:,}")
            if order == UNTAUGHT:
                forget(out)
            source = str(out)
    raise AssertionError


def forget(path: Path) -> None:
    """Take away what labels were before their answers."""
    csv = path.suffix == ".csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False) if csv else pq.read_table(path)
    if csv:
        table.drop(columns="labelfix.previous_label").to_csv(path, index=False)
    else:
        pq.write_table(table.drop_columns("labelfix.previous_label"), path)


def random_run(manifest: labelfix.Manifest, run: Path, asked: argparse.Namespace) -> labelfix.Findings:
    """Scan once, for a run that answers can be merged into; nothing of it is looked at."""
    recipe = labelfix.Recipe(seed=asked.seed)
    return labelfix.scan(manifest, recipe, correctors=["mean-loss"], out=run, cache=asked.cache)


def table(found: dict[str, Course]) -> str:
    """Say it as Markdown."""
    rounds = " | ".join(f"round {n}" for n in range(1, ROUNDS + 1))
    lines = [f"| order | start | {rounds} | re-scan, seconds |", "|---" * (ROUNDS + 3) + "|"]
    for order, course in found.items():
        cells = " | ".join(f"{100 * share:.2f} %" for share in course.accuracy)
        lines.append(f"| {order} | {cells} | {', '.join(f'{s:.0f}' for s in course.seconds) or '–'} |")
    lines += ["", f"| average precision of what is left | start | {rounds.rsplit(' | ', 1)[0]} |"]
    lines.append("|---" * (ROUNDS + 1) + "|")
    for order, course in found.items():
        if course.ranking:
            lines.append(f"| {order} | {' | '.join(f'{value:.3f}' for value in course.ranking)} |")
    lines += ["", "Errors left after each round, estimated (90 % interval); really:"]
    lines += [f"round {n}: {said}" for n, said in enumerate(found["tmlc --budget"].estimates, 1)]
    lines += ["", "Error rate of unanswered rows as each re-scan estimates it (90 % interval); really:"]
    for order in ("tmlc", "tmlc --budget"):
        lines += [f"{order}, after {n} rounds: {said}" for n, said in enumerate(found[order].rates)]
    return "\n".join(lines)


def drawing(found: dict[str, Course], name: str) -> str:
    """Draw the courses as SVG."""
    shares = [share for course in found.values() for share in course.accuracy]
    low, high = min(shares), max(shares)
    colours = dict(zip(found, ("#1f6fb4", "#7fb2dd", "#4a9d6f", "#d1701f", "#888888"), strict=True))

    def at(number: int, share: float) -> str:
        return f"{60 + 360 / ROUNDS * number:.0f},{250 - 220 * (share - low) / max(high - low, 1e-9):.1f}"

    parts = [f'<text x="60" y="18">{name}: share of right labels after rounds of 2 %</text>']
    for i, (order, course) in enumerate(found.items()):
        points = " ".join(at(n, share) for n, share in enumerate(course.accuracy))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colours[order]}" stroke-width="2"/>')
        parts.append(f'<text x="440" y="{60 + 20 * i}" fill="{colours[order]}">{order}</text>')
    parts += [f'<text x="{54 + 360 / ROUNDS * n:.0f}" y="275">{n}</text>' for n in range(ROUNDS + 1)]
    parts += [f'<text x="4" y="{y}">{100 * share:.1f} %</text>' for y, share in ((254, low), (34, high))]
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="560" height="290" font-family="sans-serif" font-size="13">'
    return f'{head}<rect width="560" height="290" fill="white"/>{"".join(parts)}</svg>\n'


if __name__ == "__main__":
    main()
