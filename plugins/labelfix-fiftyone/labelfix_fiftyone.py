"""A live FiftyOne dataset: samples are added once each, in the queue's order; the field `answer` is pulled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from labelfix.errors import UsageError
from labelfix.exporters.queue import Queue, Task
from labelfix.rundir import writing

if TYPE_CHECKING:
    import fiftyone

LOCAL = "local"
DATABASE = "FIFTYONE_DATABASE_URI"
CHUNK = 500
"""Samples added at once."""
ANSWER = "answer"


class FiftyOneServer:
    """What `--push` and `labelfix pull` talk to: FiftyOne's own database, or a MongoDB."""

    def push(self, queue: Queue, url: str, project: str) -> int:
        """Make sure that each task is a sample of the dataset once, and return how many were new.

        Raises UsageError for images that are not files.
        """
        fo = _fiftyone(url)
        wanted = {task.position: _path(queue, task) for task in queue.tasks()}
        if fo.dataset_exists(project):
            dataset = fo.load_dataset(project)
        else:
            dataset = fo.Dataset(project, persistent=True)
            dataset.default_classes = list(queue.classes)
        if not dataset.has_sample_field(ANSWER):
            dataset.add_sample_field(ANSWER, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
        present = _present(dataset, queue.name)
        missing = [task for task in queue.tasks() if task.id not in present]
        for start in range(0, len(missing), CHUNK):
            samples = [
                _sample(fo, queue, task, wanted[task.position]) for task in missing[start : start + CHUNK]
            ]
            dataset.add_samples(samples, dynamic=True, progress=False)
        dataset.persistent = True
        return len(missing)

    def pull(self, url: str, project: str, out: Path) -> Path:
        """Write the answers as labels.json below `out`, as the exporter `fiftyone` reads them, and return `out`."""
        fo = _fiftyone(url)
        if not fo.dataset_exists(project):
            raise UsageError(f"there is no FiftyOne dataset {project!r}; check --project")
        labels = {}
        for sample in fo.load_dataset(project).sort_by("position"):
            answer = sample[ANSWER]
            who = (
                {} if answer is None or not answer.has_field("annotator") else {"annotator": answer.annotator}
            )
            about = {"sample_id": sample.sample_id, "queue": sample.queue, **who}
            said = "" if answer is None else answer.label
            labels[f"{sample.queue}-{sample.position:07d}"] = {"label": said, "attributes": about}
        out.mkdir(exist_ok=True)
        with writing(out / "labels.json") as temporary:
            temporary.write_text(
                json.dumps({"classes": None, "labels": labels}, ensure_ascii=False), encoding="utf-8"
            )
        return out


def _fiftyone(url: str) -> Any:
    """Import it, set to the database: it reads that when it is imported. No usage data are sent."""
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    if url != LOCAL:
        if not url.startswith("mongodb"):
            raise UsageError(f"{url}: is neither {LOCAL!r} nor a mongodb:// address, which FiftyOne needs")
        if urlsplit(url).password:
            raise UsageError(
                f"the URL holds a password, which others can read; set {DATABASE}, and give {LOCAL!r}"
            )
        os.environ[DATABASE] = url
    import fiftyone

    return fiftyone


def _path(queue: Queue, task: Task) -> str:
    path = queue.path(task)
    if not path or not Path(path).is_file():
        raise UsageError(
            f"row {task.id!r}: its image {task.image!r} is no file that FiftyOne could show; pass --images, or export "
            f"a dataset directory with --to fiftyone -o DIR"
        )
    return path


def _present(dataset: fiftyone.Dataset, queue: str) -> set[str]:
    if not dataset.has_sample_field("queue"):
        return set()
    return {
        id_
        for id_, name in zip(dataset.values("sample_id"), dataset.values("queue"), strict=True)
        if name == queue
    }


def _sample(fo: Any, queue: Queue, task: Task, path: str) -> Any:
    told = {}
    if not queue.blind:
        told = {
            "given": fo.Classification(label=task.label),
            "suggested": fo.Classification(label=task.suggested, confidence=task.confidence),
            "suspicion": task.suspicion,
        }
    return fo.Sample(
        path, sample_id=task.id, queue=queue.name, position=task.position, drawn_with=task.drawn_with, **told
    )
