"""Origin: the manifest that a run was made of, found and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from labelfix.errors import InputError
from labelfix.findings import Findings
from labelfix.manifest import Manifest
from labelfix.readers import read
from labelfix.readers.again import seen_from
from labelfix.readers.storage import Place, is_url
from labelfix.rundir import RunDir


def record_of(findings: Findings) -> dict[str, Any]:
    """Return run.json of the findings' run; {} for a lone file."""
    if findings.run is None or not RunDir(findings.run).run_json.exists():
        return {}
    return RunDir(findings.run).read()


def source_of(record: dict[str, Any], given: str | Path | None = None) -> str:
    """Say where the manifest is: as given, or where run.json, the `record`, says that it was.

    Raises InputError when there is nothing.
    """
    source = str(given or seen_from(record, "source"))
    if not source:
        raise InputError("the run does not say which manifest it was made of; name it with --manifest")
    if "*" not in source and not Place(source).exists():
        raise InputError(f"{source}: the scanned manifest is not there any more; name it with --manifest")
    return source


def scanned(record: dict[str, Any]) -> list[str]:
    """Return what a run was made of, as it is found from here; nothing where that is a URL, or nobody knows."""
    source = seen_from(record, "source")
    return [] if not source or is_url(source) else [source]


def reopen(
    record: dict[str, Any], source: str | Path | None = None, images: str | None = None, min_classes: int = 1
) -> Manifest:
    """Read the manifest again, with the columns that the scan chose; raises InputError.

    `images` is where image paths start; by default where the scan found them. Images need not exist.
    """
    place, columns = source_of(record, source), record.get("columns") or {}
    root = images or seen_from(record, "images") or None
    if images is None and root is not None and not is_url(root) and not Place(root).is_directory():
        root = None
    named = {f"{role}_col": name for role, name in columns.items() if role != "image" or name}
    manifest = read(place, images=root, with_images=False, min_classes=min_classes, **named)
    return replace(manifest, root=manifest.root if manifest.images is not None else "")
