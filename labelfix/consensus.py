"""Consensus: one label for each item, where a row of findings is one annotator's answer about it.

Each answer's soft label is what images, its annotator's record and all other answers make of the item, seen from that
answer; their mean is the item's. An answer that is known to be right decides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelfix.findings import LISTED_FROM, SOFT, SOFT_LABEL, Findings
from labelfix.rundir import writing

SCHEMA = 1
"""Version of items.parquet."""
KNOWN = 1e6
"""Weight of an answer that is known to be right, or as good as."""


def items_of(findings: Findings) -> pa.Table:
    """Return id, image, label, confidence, soft_label, soft_label_other, answers and agree of each item.

    In the order of the items' first rows. `label` is the likeliest class and `confidence` its probability, null where
    no answer could be judged; `answers` are the rows with a label, and `agree` says how many of them say `label`.
    Probabilities of at most 16 classes are listed, descending.
    """
    ids = findings.table.column("id").combine_chunks().dictionary_encode()
    item, count = ids.indices.to_numpy().astype(np.int64), len(ids.dictionary)
    row, number, p = findings.listed()
    K = len(findings.classes)
    weight = np.where(findings.column("suspicion") == 0, KNOWN, 1.0)
    judged = np.zeros(len(findings), bool)
    judged[row] = True
    total = np.bincount(item[judged], weight[judged], count)
    pair, of_pair = np.unique(item[row] * K + number, return_inverse=True)
    mass = np.bincount(of_pair, p * weight[row], len(pair)) / total[pair // K]
    order = np.lexsort((-mass, pair // K))
    owner, named, mass = pair[order] // K, pair[order] % K, mass[order]
    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    kept = (place == 0) | ((place < SOFT) & (mass >= LISTED_FROM))
    best = np.full(count, -1)
    best[owner[place == 0]] = named[place == 0]
    given = findings.numbers("label")
    first = np.full(count, len(findings))
    np.minimum.at(first, item, np.arange(len(findings)))
    classes = pa.array(findings.classes, pa.string())
    flat = pa.StructArray.from_arrays(
        [classes.take(pa.array(named[kept])), pa.array(mass[kept], pa.float32())],
        fields=list(SOFT_LABEL.value_type),
    )
    lengths = np.bincount(owner[kept], minlength=count)
    unjudged = lengths == 0
    ends = pa.array(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), mask=np.append(unjudged, False)
    )
    listed = np.bincount(owner[kept], mass[kept], count)
    confidence = np.zeros(count)
    confidence[owner[place == 0]] = mass[place == 0]
    return pa.table({
        "id": ids.dictionary,
        "image": findings.table.column("image").combine_chunks().take(pa.array(first)),
        "label": classes.take(pa.array(best, mask=unjudged)),
        "confidence": pa.array(confidence, pa.float32(), mask=unjudged),
        "soft_label": pa.ListArray.from_arrays(ends, flat),
        "soft_label_other": pa.array((1.0 - listed).clip(0.0, 1.0), pa.float32(), mask=unjudged),
        "answers": pa.array(np.bincount(item[given >= 0], minlength=count)),
        "agree": pa.array(np.bincount(item[(given >= 0) & (given == best[item])], minlength=count)),
    })  # fmt: skip


def write_items(findings: Findings, path: Path) -> None:
    """Write items.parquet; its version is in the metadata."""
    table = items_of(findings).replace_schema_metadata({b"labelfix": str(SCHEMA).encode()})
    with writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
