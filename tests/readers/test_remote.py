"""The same sources behind fsspec URLs: in memory, in an archive, on a web server."""

from __future__ import annotations

import re
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path

import fsspec
import pytest

import labelfix
from labelfix.errors import ImageUnreadable, InputError
from labelfix.manifest import Images


class Quiet(SimpleHTTPRequestHandler):
    """Serves whole files, as the standard library's server does."""

    def log_message(self, *_: object) -> None: ...


class Ranges(Quiet):
    """Serves the parts asked for, as object stores do."""

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not asked or not path.is_file():
            return super().do_GET()
        data = path.read_bytes()
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(data[first : last + 1])
        return None


@pytest.fixture(params=[Quiet, Ranges], ids=["whole-files", "ranges"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(request.param, directory=str(tmp_path))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An image folder with a table beside it."""
    for name in ("images/cat/1.png", "images/dog/2 #.png", "images/dog/3.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "m.csv").write_text(
        "image,label\nimages/cat/1.png,cat\nimages/dog/2 #.png,dog\nimages/dog/3.png,dog\n"
    )
    return tmp_path


def contents(images: Images | None) -> list[bytes]:
    assert images is not None
    return [images.read(i) for i in range(len(images))]


def in_memory(data: Path) -> str:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in data.rglob("*"):
        if path.is_file():
            memory.pipe(f"/data/{path.relative_to(data)}", path.read_bytes())
    return "memory://data"


def zipped(data: Path) -> Path:
    archive = data / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(data.rglob("*")):
            if path.is_file() and path != archive:
                file.write(path, path.relative_to(data))
    return archive


def test_a_table_and_its_images_in_memory(data: Path) -> None:
    manifest = labelfix.read(f"{in_memory(data)}/m.csv")
    assert manifest.digest == labelfix.read(data / "m.csv").digest
    assert contents(manifest.images)[1] == b"images/dog/2 #.png"


def test_a_table_and_its_images_in_an_archive(data: Path) -> None:
    manifest = labelfix.read(f"zip://m.csv::{zipped(data)}")
    assert manifest.digest == labelfix.read(data / "m.csv").digest
    assert contents(manifest.images)[2] == b"images/dog/3.png"


def test_a_table_here_with_images_elsewhere(data: Path) -> None:
    assert (
        contents(labelfix.read(data / "m.csv", images=f"zip://::{zipped(data)}").images)[0]
        == b"images/cat/1.png"
    )


def test_a_table_and_its_images_on_a_web_server(data: Path, server: str) -> None:
    manifest = labelfix.read(f"{server}/m.csv?signature=secret")
    assert manifest.digest == labelfix.read(data / "m.csv").digest
    assert contents(manifest.images)[1] == b"images/dog/2 #.png"


def test_rows_may_name_web_addresses(data: Path, server: str) -> None:
    table = data / "web.csv"
    table.write_text(f"url,label\n{server}/images/cat/1.png,cat\n{server}/gone.png,dog\n")
    images = labelfix.read(table).images
    assert images is not None
    assert images.read(0) == b"images/cat/1.png"
    with pytest.raises(ImageUnreadable, match="file not found"):
        images.read(1)


def test_a_forked_worker_reads_from_a_web_server_that_its_parent_reads_from(data: Path, server: str) -> None:
    images = labelfix.read(f"{server}/m.csv").images
    here = contents(images)
    with get_context("fork").Pool(2) as pool:
        assert pool.map(contents, [images, images]) == [here, here]


def test_embedded_images_in_memory_in_an_archive_and_on_a_web_server(embedded: Path, server: str) -> None:
    here = labelfix.read(embedded)
    archive = zipped(embedded.parent)
    for source in (
        f"{server}/embedded.parquet?signature=secret",
        f"zip://embedded.parquet::{archive}",
        f"{in_memory(embedded.parent)}/embedded.parquet",
        f"{in_memory(embedded.parent)}/*.parquet",
        "memory://data/emb*.parquet",
    ):
        manifest = labelfix.read(source)
        assert manifest.digest == here.digest
        assert contents(manifest.images) == contents(here.images)


def test_image_folders_in_memory_and_in_an_archive(data: Path) -> None:
    here = labelfix.read(data / "images")
    for source in (f"{in_memory(data)}/images", f"zip://images::{zipped(data)}"):
        manifest = labelfix.read(source)
        assert manifest.digest == here.digest
        assert contents(manifest.images) == contents(here.images)


def test_a_whole_archive_is_an_image_folder(data: Path) -> None:
    manifest = labelfix.read(f"zip://::{zipped(data / 'images')}")
    assert manifest.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("memory://data/n.csv", r"memory://data/n\.csv: there is no such file .*did you mean 'm\.csv'"),
        ("memory://data/*.parquet", r"no table matches this pattern"),
        (
            "nosuch://x/m.csv",
            r"nosuch://x/m\.csv: cannot be opened \(Protocol not known: nosuch\); check the URL",
        ),
        (
            "zip://m.csv::/nowhere/a.zip",
            r"zip://m\.csv::/nowhere/a\.zip: there is no /nowhere/a\.zip; check the URL",
        ),
    ],
    ids=["missing", "pattern", "protocol", "archive"],
)
def test_a_url_that_leads_nowhere_says_why(data: Path, source: str, message: str) -> None:
    in_memory(data)
    with pytest.raises(InputError, match=message):
        labelfix.read(source)


def test_a_missing_page_says_so(server: str) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: the server does not answer or has no such file; check"):
        labelfix.read(f"{server}/gone.csv")


def test_a_server_that_is_down_says_so() -> None:
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/m\.csv: the server does not answer"):
        labelfix.read("http://127.0.0.1:9/m.csv")
