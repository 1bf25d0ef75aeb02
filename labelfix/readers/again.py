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

    `record` is run.json, `names` [N] the column image of its findings. `root` is where they are now, if they have
    moved: the directory or URL that holds the image files, or the table that they are in. Raises InputError with the
    reason why no image can be found.
    """
    if names.null_count == len(names):
        raise InputError(NO_IMAGES)
    found_at = record.get("found_at") or {}
    inside_table = found_at.get("images") == ""
    where = root or found_at.get("images")
    if where and not inside_table:
        place = Place(where)
        if place.local and not place.is_directory():
            raise InputError(
                f"{where}: there is no such directory; pass --images with the one that holds the images"
            )
        return FileImages(place, names)
    source = root or found_at.get("source") or record.get("source")
    if not source:
        raise InputError("the run does not say where its images are; pass --images with their directory")
    chosen = {f"{role}_col": column for role, column in (record.get("columns") or {}).items()}
    images = read(source, with_images=False, **chosen).images
    if images is None or len(images) != len(names):
        raise InputError(f"{source}: no longer holds the {len(names):,} images of the scan")
    return images
