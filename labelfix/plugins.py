"""Entry points, loaded lazily: built-ins and plugins come in through the same door."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from labelfix.errors import UsageError, unknown_name

Kind = Literal["readers", "correctors", "exporters", "servers"]


def names(kind: Kind) -> dict[str, EntryPoint]:
    """Return what is installed of a kind, by name.

    Raises UsageError when two packages claim one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"labelfix.{kind}"):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise UsageError(
                f"two packages provide the {kind[:-1]} {point.name!r}: {_package(other)} and "
                f"{_package(point)}; uninstall one of them"
            )
        found[point.name] = point
    return dict(sorted(found.items()))


def load(kind: Kind, name: str) -> Any:
    """Import and return the object behind a name.

    Raises UsageError when the name is unknown or its package cannot be imported.
    """
    found = names(kind)
    if name not in found:
        raise unknown_name(kind[:-1], name, found)
    point = found[name]
    try:
        return point.load()
    except Exception as error:
        raise UsageError(
            f"the {kind[:-1]} {name!r} of package {_package(point)} fails to load: {error}; "
            f"reinstall or uninstall that package"
        ) from error


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
