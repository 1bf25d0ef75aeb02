"""Meta-training is resumable, depends on the seed only, and learns to find planted errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from labelfix.progress import Silent
from labelfix.tmlc.metatrain import build_bank, examine, fit, load_bank, meta_train
from labelfix.tmlc.net import load_net
from labelfix.tmlc.sources import CleanSet


def digits() -> CleanSet:
    from sklearn.datasets import load_digits

    data = load_digits()
    return CleanSet("digits", data.data.astype(np.float32), data.target.astype(np.int32))


def test_a_bank_is_continued_where_it_stopped_and_does_not_depend_on_that(tmp_path: Path) -> None:
    build_bank([digits()], tmp_path / "one", seed=1, tasks=4, progress=Silent(), processes=1)
    build_bank([digits()], tmp_path / "two", seed=1, tasks=2, progress=Silent(), processes=1)
    first = (tmp_path / "two" / "lesson-00000.npz").stat().st_mtime_ns
    build_bank([digits()], tmp_path / "two", seed=1, tasks=4, progress=Silent(), processes=1)
    assert (tmp_path / "two" / "lesson-00000.npz").stat().st_mtime_ns == first
    for one, two in zip(load_bank(tmp_path / "one", 4), load_bank(tmp_path / "two", 4), strict=True):
        np.testing.assert_array_equal(one.static, two.static)
        np.testing.assert_array_equal(one.target, two.target)


def test_weights_are_the_same_for_the_same_seed_and_beat_an_untrained_net(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    build_bank([digits()], tmp_path / "bank", seed=2, tasks=12, progress=Silent(), processes=1)
    lessons = load_bank(tmp_path / "bank", 12)
    one = fit(lessons[:10], 0, Silent(), steps=100, encoder_hidden=8, decoder_hidden=16)
    two = fit(lessons[:10], 0, Silent(), steps=100, encoder_hidden=8, decoder_hidden=16)
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    untrained = fit(lessons[:10], 0, Silent(), steps=2, encoder_hidden=8, decoder_hidden=16)
    ours, theirs = (examine(net, lessons[10:])["held_out_average_precision"] for net in (one, untrained))
    assert ours > theirs


def test_the_weights_file_carries_its_card(tmp_path: Path) -> None:
    card = meta_train(
        [digits()], tmp_path / "w.safetensors", bank=tmp_path / "bank", seed=0, tasks=10, progress=Silent(),
        command="x", steps=3,
    )  # fmt: skip
    _, loaded = load_net(tmp_path / "w.safetensors")
    assert loaded == card
    assert card["tasks"] == 10
    assert card["sources"]
