"""The fit depends on the seed only, and learns to find planted errors; the weights carry their card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from labelfix.metatraining import digits
from labelfix.progress import Silent
from labelfix.tmlc.bank import Lesson, build_bank, load_bank
from labelfix.tmlc.examining import is_late, late_sources
from labelfix.tmlc.metatrain import fit, meta_train
from labelfix.tmlc.net import TMLCNet, load_net
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
    ours, theirs = (np.mean([_precision(net, lesson) for lesson in lessons[10:]]) for net in (one, untrained))
    assert ours > theirs


def _precision(net: TMLCNet, lesson: Lesson) -> float:
    with torch.inference_mode():
        log_q = net(
            torch.from_numpy(lesson.sequence).float(), torch.from_numpy(lesson.static).float(), lesson.others
        )
    return float(average_precision_score(lesson.target != 0, -log_q[:, 0].numpy()))


def test_no_source_is_on_both_sides_of_the_parting(tmp_path: Path) -> None:
    half = digits()
    sets = [CleanSet(name, half.x[::3], half.y[::3]) for name in ("a", "b", "c")]
    build_bank(sets, tmp_path / "bank", seed=0, tasks=12, progress=Silent(), processes=1)
    lessons = load_bank(tmp_path / "bank", 12)
    late = late_sources(lessons)
    sides = [
        {lesson.source for at, lesson in enumerate(lessons) if is_late(lesson.source, at, late) == side}
        for side in (False, True)
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
