"""CVAT: "CVAT for images 1.1" and a manifest that keeps the frames in order.

Each frame carries a tag `labelfix` with id, suggestion and suspicion as attributes; the annotator adds a tag with the
right class. So a frame without another tag is one that nobody has answered.
"""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from labelfix.errors import InputError
from labelfix.exporters.answers import Answer, special_words
from labelfix.exporters.queue import Queue, Task, kind
from labelfix.exporters.xml import fit
from labelfix.rundir import output_error, writing

MARK = "labelfix"
ATTRIBUTES = ("sample_id", "queue", "given", "suggested", "confidence", "suspicion", "rank", "drawn_with")
TOOL = "CVAT's XML"


class Cvat:
    """Create the task from the images with the manifest and sorting method `predefined`, then upload the XML."""

    takes_queue: ClassVar[bool] = True
    most: ClassVar[int] = 10_000_000

    def export(self, queue: Queue, out: Path) -> list[Path]:
        """Write a directory: annotations.xml, manifest.jsonl, and images/ where they are not files of their own."""
        words = [fit(name, "the class", TOOL) for name in queue.classes]
        mark = _mark(words)
        root = ET.Element("annotations")
        ET.SubElement(root, "version").text = "1.1"
        labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
        for word in (*words, *special_words(words)):
            _declare(labels, word, ())
        _declare(labels, mark, ATTRIBUTES)
        lines: list[dict[str, Any]] = [{"version": "1.0"}, {"type": "images"}]
        _directory(out)
        for task in queue.tasks():
            content = queue.need(task, "CVAT")
            name, size = _frame(queue, task, content, out), _size(content)
            frame = PurePosixPath(name)
            lines.append({"name": str(frame.with_suffix("")), "extension": frame.suffix} | size)
            about = {"id": str(task.position - queue.start - 1), "name": name} | {
                k: str(v) for k, v in size.items()
            }
            tag = ET.SubElement(ET.SubElement(root, "image", about), "tag", {"label": mark, "source": "auto"})
            for attribute, value in _values(queue, task).items():
                ET.SubElement(tag, "attribute", {"name": attribute}).text = value
        xml, manifest = out / "annotations.xml", out / "manifest.jsonl"
        with writing(xml) as temporary:
            ET.indent(root)
            ET.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)
        with writing(manifest) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        return [xml, manifest]

    def recognises(self, path: Path) -> bool:
        """Say yes to .xml, to a .zip or directory that holds annotations.xml."""
        if path.is_dir():
            return (path / "annotations.xml").is_file()
        if path.suffix.lower() == ".zip":
            return zipfile.is_zipfile(path) and "annotations.xml" in zipfile.ZipFile(path).namelist()
        return path.suffix.lower() == ".xml"

    def answers(self, path: Path) -> list[Answer]:
        """Read what CVAT exports as "CVAT for images 1.1"."""
        root = _parsed(path)
        declared = {name.text or "" for name in root.iterfind("meta//labels/label/name")}
        mark = max((name for name in declared if name.rstrip("*") == MARK), key=len, default=MARK)
        who = root.findtext("meta//assignee/username") or root.findtext("meta//owner/username") or ""
        at = root.findtext("meta/dumped") or ""
        return [_answer(image, mark, who, at, path) for image in root.iterfind("image")]


def _mark(classes: list[str]) -> str:
    name = MARK
    while name in classes:
        name += "*"
    return name


def _declare(labels: ET.Element, name: str, attributes: tuple[str, ...]) -> None:
    label = ET.SubElement(labels, "label")
    ET.SubElement(label, "name").text = name
    ET.SubElement(label, "type").text = "tag"
    held = ET.SubElement(label, "attributes")
    for attribute in attributes:
        one = ET.SubElement(held, "attribute")
        for key, text in (("name", attribute), ("mutable", "False"), ("input_type", "text"), ("default_value", ""),
                          ("values", "")):  # fmt: skip
            ET.SubElement(one, key).text = text


def _values(queue: Queue, task: Task) -> dict[str, str]:
    """Return the attributes as text; a blind queue leaves out what tells."""
    values = {
        "sample_id": fit(task.id, "the id", TOOL),
        "queue": queue.name,
        "given": task.label,
        "suggested": task.suggested,
        "confidence": task.confidence,
        "suspicion": task.suspicion,
        "rank": task.rank,
        "drawn_with": task.drawn_with,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def _frame(queue: Queue, task: Task, content: bytes, out: Path) -> str:
    """Return the frame's name, which must be the image's; images without files of their own are written."""
    if task.image is not None and queue.path(task):
        return fit(task.image, "the image", TOOL)
    name = f"{queue.task_name(task.position)}.{kind(content)}"
    _directory(out / "images")
    with writing(out / "images" / name) as temporary:
        temporary.write_bytes(content)
    return name


def _size(content: bytes) -> dict[str, int]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = ImageOps.exif_transpose(image).size
    except (UnidentifiedImageError, OSError, ValueError):  # CVAT will say so of the frame
        width = height = 0
    return {"width": width, "height": height}


def _directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


def _parsed(path: Path) -> ET.Element:
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                return ET.fromstring(archive.read("annotations.xml"))  # noqa: S314 (the user's own file)
        return ET.parse(path / "annotations.xml" if path.is_dir() else path).getroot()  # noqa: S314 (as above)
    except (OSError, KeyError, ET.ParseError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: is no CVAT XML ({error}); export the task as 'CVAT for images 1.1'"
        ) from error


def _answer(image: ET.Element, mark: str, who: str, at: str, path: Path) -> Answer:
    said, held = [], dict[str, str]()
    for tag in image.iterfind("tag"):
        if tag.get("label") == mark:
            held = {one.get("name", ""): one.text or "" for one in tag.iterfind("attribute")}
        else:
            said.append(tag.get("label", ""))
    name = image.get("name", "")
    return Answer(
        says=said[0] if len(set(said)) == 1 else None,
        where=f"{path}: image {name}",
        id=held.get("sample_id"),
        task=PurePosixPath(name).stem,
        image=name,
        annotator=who,
        at=at,
        queue=held.get("queue", ""),
    )
