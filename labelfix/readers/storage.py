"""Place: a directory or file behind a path or an fsspec URL, opened anew in each process."""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from labelfix.errors import InputError, LabelfixError, nearest

GLOB = frozenset("*?[")


def is_url(source: str) -> bool:
    """Say whether a source needs fsspec: `memory://…`, `zip://…::…`, `https://…`; not `file://…`."""
    return ("://" in source or "::" in source) and not _is_file_url(source)


def parent(source: str) -> str:
    """Return the directory a source lies in, in the same notation: `zip://a/b.csv::f` → `zip://a::f`."""
    head, link, tail = source.partition("::")
    if link and "://" not in head:  # such as simplecache::https://…
        return f"{head}::{parent(tail)}"
    scheme, slashes, path = head.rpartition("://")
    if scheme.startswith("http"):
        path = urlsplit(f"//{path}").netloc + urlsplit(f"//{path}").path
    return f"{scheme}{slashes}{posixpath.dirname(path)}{link}{tail}" or "."


def leaf(source: str) -> str:
    """Return the last part of a source's path: `zip://a/b.csv::f` → `b.csv`."""
    head, link, tail = source.partition("::")
    if link and "://" not in head:
        return leaf(tail)
    scheme, _, path = head.rpartition("://")
    if scheme.startswith("http"):
        path = urlsplit(f"//{path}").path
    return posixpath.basename(path.rstrip("/"))


class Place:
    """A directory or file; picklable, and safe to carry over a fork."""

    def __init__(self, url: str) -> None:
        self.url = url
        """As the user wrote it."""
        self.local = not is_url(url)
        """Whether plain file calls reach it."""
        self._opened: tuple[int, Any, str] | None = None
        plain = url.removeprefix("file://") if _is_file_url(url) else url
        self._path = os.path.abspath(Path(plain).expanduser()) if self.local else ""  # noqa: PTH100 (normalises ..)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __repr__(self) -> str:
        return f"Place({self.url!r})"

    @property
    def path(self) -> str:
        """What the filesystem calls it; absolute and normalised if local."""
        return self._path if self.local else self._open()[1]

    def join(self, name: str) -> str:
        """Return the filesystem's path of a name below this place."""
        if not name:
            return self.path
        if is_url(name):  # a row may name a web address
            return name
        if not self.local and self.path.startswith("http"):
            name = quote(name)
        return f"{self.path.rstrip('/')}/{name}" if self.path else name

    def shown(self, name: str) -> str:
        """Return a name below this place as the user would write it."""
        if not name:
            return self.url
        if is_url(name):
            return name
        head, link, tail = self.url.partition("::")
        if link and "://" not in head:
            return f"{head}::{Place(tail).shown(name)}"
        if head in {"", "."}:
            return name
        return f"{head}{'' if head.endswith('/') else '/'}{name}{link}{tail}"

    def exists(self, name: str = "") -> bool:
        """Say whether there is a file or directory."""
        path = self.join(name)
        if self.local:
            return os.path.exists(path)  # noqa: PTH110 (as cheap as can be)
        try:
            return bool(self._fs().exists(path))
        except LabelfixError:
            raise
        except Exception as error:
            raise InputError(
                f"{self.shown(name)}: cannot be reached ({error}); check access and URL"
            ) from error

    def is_directory(self) -> bool:
        """Say whether it can be listed; a web address never counts as a directory."""
        if self.local:
            return Path(self.path).is_dir()
        try:
            return not self.path.startswith("http") and bool(self._fs().isdir(self.path))
        except OSError:
            return False

    def read(self, name: str = "") -> bytes:
        """Return a whole file; raises OSError as the filesystem does, FileNotFoundError above all."""
        path = self.join(name)
        if self.local:
            with open(path, "rb") as file:  # noqa: PTH123 (a Path costs as much as the read)
                return file.read()
        try:
            return bytes(self._fs().cat_file(path))
        except KeyError as error:  # archives
            raise FileNotFoundError(path) from error

    def open(self, name: str = "") -> BinaryIO:
        """Open a file for random access; where the server cannot do that, a temporary copy of it."""
        path = self.join(name)
        if self.local:
            return open(path, "rb")  # noqa: PTH123 (the caller closes it)
        file: BinaryIO = self._fs().open(path, "rb")
        try:
            if file.seekable():
                file.seek(-1, os.SEEK_END)
                file.read(1)
                file.seek(0)
                return file
        except (ValueError, OSError):  # a web server without range requests
            pass
        file.close()
        copy = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        with self._fs().open(path, "rb", block_size=0) as whole:
            shutil.copyfileobj(whole, copy)
        copy.seek(0)
        return copy

    def listing(self) -> list[str]:
        """Return what lies directly in this directory; nothing when that cannot be known."""
        try:
            if self.local:
                return sorted(os.listdir(self.path))  # noqa: PTH208 (names are wanted)
            return sorted(posixpath.basename(p.rstrip("/")) for p in self._fs().ls(self.path, detail=False))
        except Exception:  # noqa: BLE001 (a listing only serves hints; each filesystem fails in its own way)
            return []

    def walk(self) -> Iterator[tuple[str, list[str]]]:
        """Yield (directory relative to this place, its files), top down, but for hidden directories."""
        top = self.path
        seen: set[str] = set()
        steps = os.walk(top, followlinks=True) if self.local else self._fs().walk(top)
        for directory, below, files in steps:
            relative = directory[len(top) :].strip("/")
            if self.local:
                real = os.path.realpath(directory)
                again = real in seen  # a link that leads back up
                seen.add(real)
                below[:] = [] if again else sorted(name for name in below if not is_hidden(name))
                if again:
                    continue
            if not any(is_hidden(part) for part in relative.split("/")):
                yield relative, sorted(name for name in files if name)

    def glob(self) -> list[str]:
        """Return the names that this place's pattern matches, relative to the part before the pattern."""
        base = Place(before_glob(self.url))
        if self.local:
            pattern = os.path.relpath(self.path, base.path)
            return sorted(str(p.relative_to(base.path)) for p in Path(base.path).glob(pattern) if p.is_file())
        top = len(base.path.rstrip("/"))
        return sorted(p[top:].lstrip("/") for p in self._fs().glob(self.path))

    def missing(self) -> InputError:
        """Build the error for a source that is not there."""
        if self.url.startswith("http"):
            return InputError(f"{self.url}: the server does not answer or has no such file; check the URL")
        around = Place(parent(self.url))
        near = [name for name in around.listing() if not name.startswith(".")]
        where = f"; in {around.url}: {nearest(leaf(self.url), near)}" if near else ""
        return InputError(f"{self.url}: there is no such file or directory{where}")

    def _fs(self) -> Any:
        return self._open()[0]

    def _open(self) -> tuple[Any, str]:
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            try:
                # A shared filesystem may hold another process's connections, or an old listing.
                opened, path = fsspec.url_to_fs(self.url, skip_instance_cache=True)
            except FileNotFoundError as error:
                raise InputError(
                    f"{self.url}: there is no {error.filename or 'such file'}; check the URL"
                ) from error
            except ImportError as error:
                raise InputError(
                    f"{self.url}: {str(error).strip('.')} (with pip), or copy the file here"
                ) from error
            except Exception as error:
                raise InputError(f"{self.url}: cannot be opened ({error}); check the URL") from error
            self._opened = (os.getpid(), opened, path)
        return self._opened[1:]


def is_hidden(name: str) -> bool:
    """Say whether a file or directory is none of the user's: .DS_Store, .git, __MACOSX."""
    return name.startswith(".") or name == "__MACOSX"


def before_glob(source: str) -> str:
    """Return the directory before the first part that holds a `*`, `?` or `[`."""
    while GLOB & set(source.partition("::")[0].split("://")[-1]):
        source = parent(source)
    return source


def _is_file_url(source: str) -> bool:
    return source.startswith("file://") and "::" not in source
