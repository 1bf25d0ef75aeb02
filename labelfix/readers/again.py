"""Images of a finished run, found again where its record says they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from labelfix.errors import InputError
from labelfix.manifest import Images
from labelfix.readers import read
from labelfix.readers.images import FileImages
from labelfix.readers.storage import Place, is_url

NO_IMAGES = "the scan was given no images"


def images_again(record: dict[str, Any], names: pa.StringArray, root: str | None = None) -> Images:
    """Return the images of a run by row of its manifest; each may still be unreadable.

    `record` is run.json, `names` [N] the column image of its findings. `root` is where they are now, if they have
    moved: the directory or URL that holds the image files, or the table that they are in. Raises InputError with the
    reason why no image can be found.
    """
    if names.null_count == len(names):
        raise InputError(NO_IMAGES)
    where = root or seen_from(record, "images")
    if where and record.get("images") != "":
        place = Place(where)
        if place.local and not place.is_directory():
            raise InputError(
                f"{where}: there is no such directory; pass --images with the one that holds the images"
            )
        return FileImages(place, names)
    source = root or seen_from(record, "source")
    if not source:
        raise InputError("the run does not say where its images are; pass --images with their directory")
    chosen = {f"{role}_col": column for role, column in (record.get("columns") or {}).items()}
    images = read(source, with_images=False, **chosen).images
    if images is None or len(images) != len(names):
        raise InputError(f"{source}: no longer holds the {len(names):,} images of the scan")
    return images


def seen_from(record: dict[str, Any], name: str) -> str:
    """Return a path of run.json as it is found from here, "" for none: the scan may have run in another directory."""
    path = str(record.get(name) or "")
    if not path or is_url(path):
        return path
    there = str(Path(record.get("directory") or ".") / path)
    return there if Place(there).exists() or not Place(path).exists() else path
