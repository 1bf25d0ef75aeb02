"""Images of a finished run, found again where its record says they were."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from labelfix.errors import InputError
from labelfix.manifest import Images
from labelfix.readers import read
from labelfix.readers.images import FileImages
from labelfix.readers.storage import Place

NO_IMAGES = "the scan was given no images"


def images_again(record: dict[str, Any], names: pa.StringArray, root: str | None = None) -> Images:
    """Return the images of a run by row of its manifest; each may still be unreadable.

    `record` is run.json, `names` [N] the column image of its findings, `root` a directory or URL that holds the image
    files now, if they have moved. Images inside a table are found by reading the table again. Raises InputError with
    the reason why no image can be found.
    """
    if names.null_count == len(names):
        raise InputError(NO_IMAGES)
    found_at = record.get("found_at") or {}
    root = root or found_at.get("images")
    if root:
        place = Place(root)
        if place.local and not place.is_directory():
            remedy = "pass --images with the directory that holds them now"
            raise InputError(f"{root}: the images are no longer there; {remedy}")
        return FileImages(place, names)
    source = found_at.get("source")
    if not source:
        raise InputError("the run does not say where its images are; pass --images with their directory")
    chosen = {f"{role}_col": column for role, column in (record.get("columns") or {}).items()}
    images = read(source, with_images=False, **chosen).images
    if images is None or len(images) != len(names):
        raise InputError(f"{source}: no longer holds the {len(names):,} images of the scan")
    return images
