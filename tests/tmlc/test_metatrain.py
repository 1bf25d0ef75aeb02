"""The fit depends on the seed only, and learns to find planted errors; the weights carry their card."""

from __future__ import annotations

from pathlib import Path

import torch

from labelfix.metatraining import digits
from labelfix.progress import Silent
from labelfix.tmlc.bank import build_bank, load_bank
from labelfix.tmlc.metatrain import examine, fit, judge, meta_train, second_half
from labelfix.tmlc.net import load_net
from labelfix.tmlc.sources import CleanSet


def test_weights_are_the_same_for_the_same_seed_and_beat_an_untrained_net(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    build_bank([digits()], tmp_path / "bank", seed=2, tasks=12, progress=Silent(), processes=1)
    lessons = load_bank(tmp_path / "bank", 12)
    one = fit(lessons[:10], 0, Silent(), steps=100, encoder_hidden=8, decoder_hidden=16)
    two = fit(lessons[:10], 0, Silent(), steps=100, encoder_hidden=8, decoder_hidden=16)
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    untrained = fit(lessons[:10], 0, Silent(), steps=2, encoder_hidden=8, decoder_hidden=16)
    unseen = lessons[10:]
    ours, theirs = (
        examine([judge(net, lesson) for lesson in unseen], unseen)["unseen_source_average_precision"]
        for net in (one, untrained)
    )
    assert ours > theirs


def test_no_source_is_on_both_sides_of_the_parting(tmp_path: Path) -> None:
    half = digits()
    sets = [CleanSet(name, half.x[::3], half.y[::3]) for name in ("a", "b", "c")]
    build_bank(sets, tmp_path / "bank", seed=0, tasks=12, progress=Silent(), processes=1)
    lessons = load_bank(tmp_path / "bank", 12)
    second = second_half(lessons)
    sides = [
        {lesson.source for lesson, late in zip(lessons, second, strict=True) if late == side}
        for side in (0, 1)
    ]
    assert sides[0] & sides[1] <= {"generated"}
    assert sides[0] - {"generated"}
    assert sides[1] - {"generated"}


def test_the_weights_file_carries_its_card(tmp_path: Path) -> None:
    card = meta_train(
        [digits()], tmp_path / "w.safetensors", bank=tmp_path / "bank", seed=0, tasks=10, progress=Silent(),
        command="x", steps=3,
    )  # fmt: skip
    _, loaded = load_net(tmp_path / "w.safetensors")
    assert loaded == card
    assert card["tasks"] == 10
    assert card["sources"]
