"""Features: extracted once, shared by runs, the same bytes however they came about."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from labelfix.errors import ImageUnreadable, InputError
from labelfix.learn.features import Extraction, Features, extract
from labelfix.learn.images import content_key
from labelfix.learn.recipe import Recipe
from labelfix.progress import Silent
from labelfix.rundir import OutputError

RECIPE = Recipe(image_size=32, workers=0, batch_size=16)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Keep tiny forward passes from waiting for each other's threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A backbone that loads at once: what is cached does not depend on how good the features are."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return f"test_resnet@{path}"


class Folder:
    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> bytes:
        try:
            return self.files[index].read_bytes()
        except OSError as error:
            raise ImageUnreadable(str(error.strerror)) from error

    def name(self, index: int) -> str:
        return self.files[index].name


def encoded(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(coarse).resize((40 + seed % 3, 36), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Fifty images, all different."""
    (tmp_path / "images").mkdir()
    files = [tmp_path / "images" / f"{i:03}.jpg" for i in range(50)]
    for i, file in enumerate(files):
        file.write_bytes(encoded(i))
    return Folder(files)


def run(images: Folder, cache: Path, rows: object = None, recipe: Recipe = RECIPE) -> Extraction:
    asked = np.arange(len(images)) if rows is None else np.asarray(rows, dtype=np.intp)
    return extract(images, asked, recipe, cache, Silent())


def all_of(extraction: Extraction) -> np.ndarray:
    return extraction.features.take(np.arange(len(extraction.features)))


def test_each_row_has_the_features_and_key_of_its_own_image(folder: Folder, tmp_path: Path) -> None:
    from labelfix.learn.backbone import load_backbone
    from labelfix.learn.images import decode

    found = run(folder, tmp_path / "cache")
    assert found.features.shape == (50, 1088)
    assert found.features.dtype == np.float16
    assert found.forwarded == 50
    expected = load_backbone(RECIPE)(np.stack([decode(folder.read(i), 32) for i in (7, 31)]))
    assert (found.features.take(np.array([7, 31])) == expected).all()
    assert found.keys[31].tobytes() == content_key(folder.read(31))


def test_a_second_extraction_forwards_nothing_even_under_other_names(folder: Folder, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "cache")
    moved = Folder([file.rename(file.with_name(f"moved-{file.name}")) for file in folder.files][::-1])
    second = run(moved, tmp_path / "cache")
    assert second.forwarded == 0
    assert (all_of(second)[::-1] == all_of(first)).all()


def test_bytes_do_not_depend_on_order_on_workers_or_on_what_was_cached(
    folder: Folder, tmp_path: Path
) -> None:
    half = run(folder, tmp_path / "one", rows=np.arange(0, 50, 2))
    assert half.forwarded == 25
    assert not half.features.take(np.array([1])).any()
    rest = run(folder, tmp_path / "one")
    assert rest.forwarded == 25
    order = np.random.default_rng(0).permutation(50)
    shuffled = run(
        folder, tmp_path / "two", rows=order, recipe=Recipe(image_size=32, workers=2, batch_size=16)
    )
    assert shuffled.forwarded == 50
    assert all_of(rest).tobytes() == all_of(shuffled).tobytes()


def test_equal_images_go_through_the_backbone_once(small: str, folder: Folder, tmp_path: Path) -> None:
    doubled = Folder(folder.files + folder.files[:20])
    found = run(doubled, tmp_path / "cache", recipe=replace(RECIPE, backbone=small))
    assert found.forwarded == 50
    assert (all_of(found)[50:] == all_of(found)[:20]).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_keep_their_rows_and_reasons(
    workers: int, small: str, folder: Folder, tmp_path: Path
) -> None:
    folder.files[3].write_bytes(b"")
    folder.files[17].write_bytes(encoded(17)[:300])
    folder.files[30].unlink()
    recipe = Recipe(small, image_size=32, workers=workers, batch_size=16)
    for forwarded in (47, 0):
        found = run(folder, tmp_path / "cache", recipe=recipe)
        assert found.forwarded == forwarded
        assert sorted(found.unreadable) == [3, 17, 30]
        assert "empty" in found.unreadable[3]
        assert "No such file" in found.unreadable[30]
        has = all_of(found).any(axis=1)
        assert np.flatnonzero(~has).tolist() == [3, 17, 30]


def test_no_readable_image_at_all_is_an_input_error_naming_the_first(folder: Folder, tmp_path: Path) -> None:
    for file in folder.files:
        file.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"none of 50 images can be read; the first, 000\.jpg: not an image"):
        run(folder, tmp_path / "cache")


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "other keys"])
def test_a_damaged_shard_is_made_again(damage: str, small: str, folder: Folder, tmp_path: Path) -> None:
    recipe = replace(RECIPE, backbone=small)
    first = all_of(run(folder, tmp_path / "cache", recipe=recipe))
    (shard,) = (tmp_path / "cache").glob("*/*.safetensors")
    whole = shard.read_bytes()
    broken = {
        "cut": whole[:-100],
        "empty": b"",
        "garbage": b"\xff" * 500,
        "other keys": whole[:-16] + b"\0" * 16,
    }
    shard.write_bytes(broken[damage])
    again = run(folder, tmp_path / "cache", recipe=recipe)
    assert again.forwarded == 50
    assert (all_of(again) == first).all()
    assert shard.read_bytes() == whole


def test_other_recipes_do_not_share_features(small: str, folder: Folder, tmp_path: Path) -> None:
    run(folder, tmp_path / "cache", recipe=replace(RECIPE, backbone=small))
    other = run(folder, tmp_path / "cache", recipe=replace(RECIPE, backbone=small, image_size=48))
    assert other.forwarded == 50
    assert len(list((tmp_path / "cache").glob("*/about.json"))) == 2


def _extract_in_process(folder: Folder, cache: Path, recipe: Recipe) -> None:
    torch.set_num_threads(1)
    run(folder, cache, recipe=recipe)


def test_several_processes_may_fill_one_cache_at_once(small: str, folder: Folder, tmp_path: Path) -> None:
    recipe = replace(RECIPE, backbone=small)
    fresh = multiprocessing.get_context("spawn")
    parts = [Folder(folder.files[:35]), Folder(folder.files[15:])]
    runs = [
        fresh.Process(target=_extract_in_process, args=(part, tmp_path / "cache", recipe)) for part in parts
    ]
    for process in runs:
        process.start()
    for process in runs:
        process.join()
    assert [process.exitcode for process in runs] == [0, 0]
    shared = run(folder, tmp_path / "cache", recipe=recipe)
    assert shared.forwarded == 0
    assert (all_of(shared) == all_of(run(folder, tmp_path / "fresh", recipe=recipe))).all()


class Interrupting(Silent):
    """Presses Ctrl-C after some images."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def stage(self, *_: object) -> Iterator[Callable[[int], None]]:
        def advance(count: int) -> None:
            self.left -= count
            if self.left <= 0:
                raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupt_keeps_what_was_done_and_leaves_no_process(
    workers: int, small: str, folder: Folder, tmp_path: Path
) -> None:
    recipe = Recipe(small, image_size=32, workers=workers, batch_size=16)
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(KeyboardInterrupt):
        extract(folder, np.arange(50), recipe, tmp_path / "cache", Interrupting(after=20))
    assert set(psutil.Process().children(recursive=True)) <= before
    assert run(folder, tmp_path / "cache", recipe=recipe).forwarded == 50 - 32


WITHOUT_TIMM = """
import sys
from pathlib import Path
import numpy as np
from labelfix.learn.features import extract
from labelfix.learn.recipe import Recipe
from labelfix.progress import Silent

class Files:
    files = sorted(Path(sys.argv[1]).iterdir())
    def __len__(self): return len(self.files)
    def read(self, index): return self.files[index].read_bytes()

found = extract(Files(), np.arange(50), Recipe(image_size=32, workers=0), Path(sys.argv[2]), Silent())
assert found.forwarded == 0 and found.features.shape == (50, 1088)
assert not {"timm", "torchvision"} & set(sys.modules)
"""


def test_when_all_is_cached_not_even_timm_is_imported(folder: Folder, tmp_path: Path) -> None:
    run(folder, tmp_path / "cache")
    arguments = [str(tmp_path / "images"), str(tmp_path / "cache")]
    subprocess.run([sys.executable, "-c", WITHOUT_TIMM, *arguments], check=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_comes_later_is_wholly_imported_when_the_features_are_there(
    workers: int, small: str, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"labelfix_slow_import_{workers}"  # the features of 50 small images are there sooner
    (tmp_path / f"{name}.py").write_text("import time\ntime.sleep(2)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = Recipe(small, image_size=32, workers=workers)
    extract(folder, np.arange(50), recipe, tmp_path / "cache", Silent(), ["labelfix_of_another_age", name])
    assert sys.modules.pop(name).whole


def test_a_cache_that_cannot_be_written_says_so(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="--cache"):
        run(folder, tmp_path / "file" / "cache")


def test_features_of_several_shards_are_gathered_in_any_order(
    small: str, folder: Folder, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, backbone=small)
    run(folder, tmp_path / "cache", rows=np.arange(20), recipe=recipe)
    once = run(folder, tmp_path / "another", recipe=recipe).features.take(np.arange(50))
    twice = run(folder, tmp_path / "cache", recipe=recipe).features
    for rows in (np.array([49, 0, 19, 20, 0]), np.arange(50), np.arange(0)):
        assert (twice.take(rows) == once[rows]).all()


def test_a_users_own_array_too_large_to_be_loaded_is_converted_by_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = np.random.default_rng(0).normal(size=(9, 4))
    rows = np.array([8, 2, 2])
    loaded = Features.from_array(own).take(rows)
    monkeypatch.setattr("labelfix.learn.features._IN_MEMORY", 0)
    assert (Features.from_array(own).take(rows) == loaded).all()


def test_a_users_own_array_is_wrapped_as_it_is(tmp_path: Path) -> None:
    own = np.random.default_rng(0).normal(size=(9, 4))
    np.save(tmp_path / "own.npy", own)
    features = Features.from_array(np.load(tmp_path / "own.npy", mmap_mode="r"))
    assert features.shape == (9, 4)
    assert (features.take(np.array([8, 2])) == own[[8, 2]].astype(np.float16)).all()
    with pytest.raises(InputError, match=r"\[rows, width\] is needed, but this is float64 \[9\]"):
        Features.from_array(own[:, 0])
    with pytest.raises(InputError, match="do not fit into float16"):
        Features.from_array(own * 1e6)
