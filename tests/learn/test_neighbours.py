"""Copies are found and only copies; group-mates do not vote; what is unlike anything else stands out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import labelfix
from labelfix.errors import InputError
from labelfix.learn import neighbours
from labelfix.learn.features import Features, extract
from labelfix.learn.neighbours import Neighbours
from labelfix.learn.recipe import Recipe
from labelfix.progress import Silent

CLOTHING = Path(__file__).parent.parent.parent / "examples" / "clothing"


def keys(rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, 16), dtype=np.uint8)


def find(x: np.ndarray, groups: np.ndarray | None = None, k: int = 10) -> Neighbours:
    features = Features.from_array(x.astype(np.float32))
    return neighbours.find(features, np.arange(len(x)), keys(len(x)), groups, k, 0, "test")


def cloud(rows: int = 300, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width))


def saved(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def again(image: Image.Image) -> dict[str, bytes]:
    """The same image as it turns up twice in real collections."""
    larger = image.resize((3 * image.width // 2, 3 * image.height // 2), Image.Resampling.BICUBIC)
    return {
        "png": saved(image, "PNG"),
        "jpeg": saved(image, "JPEG", quality=85),
        "larger": saved(larger, "JPEG", quality=90),
        "brighter": saved(ImageEnhance.Brightness(image).enhance(1.1), "JPEG", quality=90),
    }


def test_an_image_saved_again_resized_or_brightened_is_a_copy_and_no_other_photo_is(tmp_path, cache):
    (tmp_path / "images").mkdir()
    lines = []
    for path in sorted((CLOTHING / "images").glob("*.jpg"))[:150]:
        (tmp_path / "images" / path.name).symlink_to(path)
        lines.append(f"images/{path.name},a\n")
    for number in range(0, 40, 4):
        with Image.open(CLOTHING / "images" / f"{number:04}.jpg") as image:
            for kind, data in again(image).items():
                (tmp_path / "images" / f"{number:04}.{kind}.jpg").write_bytes(data)
                lines.append(f"images/{number:04}.{kind}.jpg,b\n")
    (tmp_path / "m.csv").write_text("file_name,label\n" + "".join(lines), encoding="utf-8")
    manifest = labelfix.read(tmp_path / "m.csv")
    at = np.arange(len(manifest))
    found = extract(manifest.images, at, Recipe(workers=0), cache, Silent())
    copies = neighbours.find(found.features, at, found.keys, None, 10, 0).copies
    photo = np.array([name.split("/")[1].split(".")[0] for name in manifest.image_names])
    for number in np.unique(copies[copies >= 0]):
        assert len(set(photo[copies == number])) == 1, "different photos were taken for copies"
    for kind, share in {"png": 1.0, "jpeg": 1.0, "larger": 0.9, "brighter": 0.9}.items():
        mine = [row for row, name in enumerate(manifest.image_names) if f".{kind}." in name]
        original = [int(np.flatnonzero(photo == photo[row])[0]) for row in mine]
        joined = (copies[mine] >= 0) & (copies[mine] == copies[original])
        assert joined.mean() >= share, kind


def test_equal_bytes_are_copies_even_where_features_say_little():
    x, names = cloud(50, width=2), keys(50)
    names[7] = names[30]
    found = neighbours.find(Features.from_array(x), np.arange(50), names, None, 10, 0)
    assert np.flatnonzero(found.copies >= 0).tolist() == [7, 30]
    assert found.component[7] == found.component[30]


def test_rows_that_are_all_alike_are_still_no_copies():
    # Scans of one organ: every row is within the absolute limit of every other.
    x = np.concatenate([cloud(20, seed=1), cloud(1, seed=2) + 0.02 * cloud(300)])
    assert (find(x).copies == -1).all()


def test_a_burst_longer_than_the_list_of_neighbours_is_one_set_of_copies():
    x = cloud()
    x[:80] = x[0] + 0.01 * cloud(80)
    found = find(x)
    assert (found.copies[:80] == found.copies[0]).all()
    assert (found.copies[80:] == -1).all()
    assert (found.index[:80] >= 80).all()  # its votes come from outside


def test_neither_copies_nor_group_mates_are_neighbours_however_many_they_are():
    x = cloud(400)
    groups = np.full(400, -1, np.int32)
    groups[:100] = 0  # a video: one hundred frames close to each other
    x[:100] = x[0] + 0.5 * cloud(100)
    found = find(x, groups)
    assert (found.component[:100] == found.component[0]).all()
    assert (found.index[:100] >= 100).all()
    assert (found.copies[:100] == -1).all()  # of one group, but not of one image
    labels, sure = np.where(np.arange(400) < 100, 1, 0).astype(np.int32), np.ones(400, np.float32)
    voted, _ = found.votes(labels, sure, np.arange(100), np.array([[0, 1]] * 100))
    np.testing.assert_allclose(voted, [[1, 0]] * 100, atol=1e-6)


def test_neighbours_are_the_nearest_by_cosine():
    x = cloud(200)
    found = find(x)
    z = x - x.mean(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    cosine = z @ z.T
    np.fill_diagonal(cosine, -1)
    for row in (0, 99, 199):
        assert set(found.index[row]) == set(np.argsort(-cosine[row])[:10])
    assert (np.diff(found.similarity.astype(np.float32), axis=1) <= 0).all()


def test_fewer_rows_than_neighbours_leave_places_empty():
    found = find(cloud(6))
    assert (found.index[:, 5:] == -1).all()
    assert (np.sort(found.index[:, :5], axis=1)[0] == [1, 2, 3, 4, 5]).all()
    sure = np.ones(6, np.float32)
    votes, _ = found.votes(np.zeros(6, np.int32), sure, np.arange(6), np.zeros((6, 1), np.int32))
    np.testing.assert_allclose(votes, 1, atol=1e-6)


def test_votes_of_labels_that_nobody_believes_count_for_nothing_among_the_reliable():
    found = find(cloud(200))
    labels, rows = np.arange(200, dtype=np.int32) % 2, np.arange(200)
    candidates = np.broadcast_to(np.array([0, 1], np.int32), (200, 2))
    votes, reliable = found.votes(
        labels, np.where(labels == 1, 0.25, 1.0).astype(np.float32), rows, candidates
    )
    np.testing.assert_allclose(votes.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(reliable, votes * [1.0, 0.25], atol=1e-5)


def test_an_approximate_index_finds_what_an_exact_one_finds(monkeypatch):
    rng = np.random.default_rng(0)
    x = 3 * rng.normal(size=(40, 32))[rng.integers(0, 40, 4000)] + rng.normal(size=(4000, 32))
    exact = find(x)
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 100)
    approximate = find(x)
    same = [len(set(a) & set(b)) for a, b in zip(exact.index, approximate.index, strict=True)]
    assert np.mean(same) > 9


def test_a_few_images_of_another_kind_are_outliers_and_hardly_any_other(cache):
    manifest = labelfix.read(CLOTHING / "manifest.csv")
    at = np.arange(len(manifest))
    found = extract(manifest.images, at, Recipe(workers=0), cache, Silent())
    x = found.features.take(at).astype(np.float32)
    rng = np.random.default_rng(0)
    odd = x.mean(axis=0) + x.std(axis=0) * 1.5 * rng.normal(size=(4, x.shape[1]))  # like no clothing
    outlier = find(np.concatenate([x, odd])).outlier
    assert outlier[600:].all()
    assert outlier[:600].mean() < 0.02


def test_what_was_saved_is_what_is_loaded(tmp_path):
    found = find(cloud(50))
    found.save(tmp_path / "n.safetensors")
    loaded = Neighbours.load(tmp_path / "n.safetensors")
    for name in ("index", "similarity", "component", "copies", "outlier", "vectors"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(found, name))
    np.testing.assert_array_equal(loaded.projection.basis, found.projection.basis)
    assert loaded.fitted_on == "test"


def test_a_damaged_file_is_named(tmp_path):
    find(cloud(50)).save(tmp_path / "n.safetensors")
    data = (tmp_path / "n.safetensors").read_bytes()
    (tmp_path / "n.safetensors").write_bytes(data[:1000])
    with pytest.raises(InputError, match=r"n\.safetensors: the saved neighbours cannot be read"):
        Neighbours.load(tmp_path / "n.safetensors")


@pytest.mark.parametrize("answers", [3, 8, 20, 50])
def test_near_copies_are_found_however_many_answers_there_are_about_each(answers):
    """Rows of one content are many answers about one image; ten images were saved again."""
    x = cloud(200)
    x = np.concatenate([x, x[:10] + 0.005 * cloud(10, seed=1)])
    each = np.repeat(np.arange(len(x)), answers)
    features = Features.from_array(x[each].astype(np.float32))
    found = neighbours.find(features, np.arange(len(each)), keys(len(x))[each], None, 10, 0, "test")
    component = found.component[::answers]
    assert (component[:10] == component[200:]).all()
    assert len(np.unique(component)) == 200


@pytest.mark.parametrize("answers", [1, 3, 50])
def test_neighbours_are_of_ten_images_however_many_answers_there_are_about_each(answers):
    x = cloud(60)
    each = np.repeat(np.arange(len(x)), answers)
    alone, many = (
        find(x),
        neighbours.find(
            Features.from_array(x[each].astype(np.float32)),
            np.arange(len(each)),
            keys(len(x))[each],
            None,
            10,
            0,
            "test",
        ),
    )
    np.testing.assert_array_equal(each[many.index], alone.index[each])
    heard = many.index[(many.index // answers == alone.index[0, 0]).any(axis=1)]
    assert len(np.unique(heard[heard // answers == alone.index[0, 0]])) == answers
