"""A fine-tuned model is recorded as it answers, whatever interrupted its training and whoever shared it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labelfix.errors import ImageUnreadable, InputError, UsageError
from labelfix.learn import classifier, finetune
from labelfix.learn.pixels import write_pixels
from labelfix.learn.recipe import FineTuning, Recipe
from labelfix.learn.recording import Recording
from labelfix.learn.targets import Targets
from labelfix.learn.training import Data, Plan, Training, split
from labelfix.progress import Silent
from labelfix.rundir import RunDir

ROWS, CLASSES, SIZE = 45, 3, 32
RECIPE = Recipe(
    mode="finetune",
    image_size=SIZE,
    precision="float32",
    device="cpu",
    workers=0,
    checkpoints=3,
    finetune=FineTuning(model="test_convnext", scratch=True, epochs=3, batch_size=16),
)
LABELS = (np.arange(ROWS) % CLASSES).astype(np.int32)
AT = np.arange(ROWS)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Drawn:
    """Images of three colours, with noise."""

    def __init__(self) -> None:
        self.gone: set[int] = set()

    def __len__(self) -> int:
        return ROWS

    def pixels(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        colour = np.eye(3)[LABELS[index]] * 120
        return (colour + rng.integers(0, 120, (SIZE, SIZE, 3))).astype(np.uint8)

    def read(self, index: int) -> bytes:
        if index in self.gone:
            raise ImageUnreadable("the file is gone")
        file = io.BytesIO()
        Image.fromarray(self.pixels(index)).save(file, "PNG")
        return file.getvalue()

    def name(self, index: int) -> str:
        return f"{index}.png"


def tuned(path: Path, recipe: Recipe = RECIPE, folds: np.ndarray | None = None, progress=None):
    path.mkdir(exist_ok=True)
    what = Drawn(), AT, LABELS, folds, CLASSES
    return finetune.fine_tune(*what, recipe, "these", RunDir(path), progress or Silent())


def choosing(**choices) -> Recipe:
    return replace(RECIPE, finetune=replace(RECIPE.finetune, **choices))


def plain(model, pixels: np.ndarray) -> np.ndarray:
    """Log-probabilities [n, K] of a model in eval mode, the slow and plain way."""
    config = model.pretrained_cfg
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        return torch.log_softmax(model.eval()(x), dim=1).numpy()


def all_of(recording: Recording) -> np.ndarray:
    return recording.log_p(AT, LABELS)


# ---- what is recorded


def test_each_epoch_says_what_the_model_answers_to_the_unchanged_pixels(tmp_path):
    write_pixels(tmp_path / "pixels.npy", Drawn(), AT, SIZE, RECIPE, lambda _: None)
    data = Data(np.load(tmp_path / "pixels.npy", mmap_mode="r"), Targets.hard(LABELS), CLASSES)
    images = np.stack([Drawn().pixels(i) for i in range(ROWS)])
    np.testing.assert_array_equal(data.pixels, images)
    model = classifier.build(RECIPE, CLASSES)
    training = Training(model, Plan.of(RECIPE, trained=False), RECIPE, 0)
    recording = Recording.create(tmp_path / "r", ROWS, CLASSES, [0.5, 1.0], whole_last=False)
    for epoch in range(2):
        training.learn(data, AT, epoch, lambda _: None)
        training.settle(data, AT)
        training.record(data, AT, recording, epoch, lambda _: None)
        expected = plain(model.model, images)
        np.testing.assert_allclose(all_of(recording)[:, epoch], expected, rtol=2e-3, atol=1e-4)
    assert np.abs(np.diff(all_of(recording), axis=1)).max() > 0.1


def test_the_loss_falls_and_labels_are_learnt(tmp_path):
    seen, unseen = tuned(tmp_path / "run", choosing(epochs=6))
    assert unseen is None
    loss = -all_of(seen)[AT, :, LABELS].mean(axis=0)
    assert loss[-1] < 0.1 < loss[0]
    assert seen.about["progress"] == [1 / 6, 0.5, 1.0]


def test_what_was_chosen_is_written_down(tmp_path):
    seen, _ = tuned(tmp_path / "run")
    told = seen.about["training"]
    assert told == told | {"model": "test_convnext", "weights": "from scratch", "optimiser": "sgd"}
    assert told["learning_rate"] == pytest.approx(0.1 * 16 / 128)
    assert (told["epochs"], told["recorded"]) == (3, [1, 2, 3])


def test_trained_weights_are_the_default_and_ask_for_adamw():
    recipe = Recipe(mode="finetune", image_size=32)
    model = classifier.build(recipe, CLASSES)
    plan = Plan.of(recipe, model.trained)
    assert (model.trained, plan.optimiser, plan.epochs) == (True, "adamw", 10)
    assert plan.learning_rate == pytest.approx(5e-4 * 64 / 256)
    assert plan.recorded[-1] == plan.epochs
    scratch = classifier.build(replace(recipe, finetune=FineTuning(scratch=True)), CLASSES)
    first = "conv_stem.weight"
    assert not torch.equal(scratch.model.state_dict()[first], model.model.state_dict()[first])


def test_only_recordings_are_left(tmp_path):
    tuned(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recorded"]
    tuned(tmp_path / "run")  # taken, not trained again
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recorded"]


def test_the_average_of_the_weights_is_recorded_where_one_is_kept(tmp_path):
    last, _ = tuned(tmp_path / "last")
    average, _ = tuned(tmp_path / "average", choosing(ema=0.9))
    difference = np.abs(all_of(last) - all_of(average))
    assert difference[:, -1].max() > 1e-3
    assert np.isfinite(all_of(average)).all()


# ---- by fold


def test_a_model_of_a_fold_judges_the_fold_and_what_it_learnt_is_asked_of_the_next(tmp_path):
    folds = np.array([0, 0, 1, 3, 3], np.int32)
    zero, one, three = finetune.turns(folds, len(folds))
    assert zero.learnt.tolist() == [2, 3, 4]
    assert {name: rows.tolist() for name, rows in zero.asked.items()} == {
        "out_of_fold": [0, 1],
        "in_sample": [3, 4],
    }
    assert one.asked["out_of_fold"].tolist() == [2]
    assert one.asked["in_sample"].tolist() == [0, 1]
    assert three.learnt.tolist() == [0, 1, 2]
    for turn in (zero, one, three):
        assert not set(turn.asked["out_of_fold"]) & set(turn.learnt)
        assert set(turn.asked["in_sample"]) <= set(turn.learnt)


def test_a_label_out_of_its_fold_changes_nothing_that_is_said_of_its_row(tmp_path):
    folds = (AT // 15).astype(np.int32)
    _, unseen = tuned(tmp_path / "run", choosing(epochs=2), folds)
    row, other = 7, LABELS.copy()
    other[row] = (other[row] + 1) % CLASSES
    (tmp_path / "other").mkdir()
    what = Drawn(), AT, other, folds, CLASSES
    seen, blind = finetune.fine_tune(*what, choosing(epochs=2), "these", RunDir(tmp_path / "other"), Silent())
    np.testing.assert_array_equal(blind.log_p(AT, other)[folds == 0], all_of(unseen)[folds == 0])
    assert not np.array_equal(blind.log_p(AT, other), all_of(unseen))
    assert np.isfinite(seen.log_p(AT, other)).all()
    assert "last" in blind.files


# ---- interruptions


class Stopping(Silent):
    """Interrupts before the n-th stage of a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def stage(self, name, total, unit):
        if name == self.name:
            raise KeyboardInterrupt
        return super().stage(name, total, unit)


@pytest.mark.parametrize("where", ["pixels", "fine-tune 1/3", "record 2/3", "fine-tune 3/3"])
@pytest.mark.parametrize("choices", [{}, {"ema": 0.9, "optimiser": "adamw"}])
def test_an_interrupted_training_ends_with_the_same_bytes(where, choices, tmp_path):
    recipe = choosing(**choices)
    whole, _ = tuned(tmp_path / "whole", recipe)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "run", recipe, progress=Stopping(where))
    assert not (tmp_path / "run" / "recorded").exists()
    resumed, _ = tuned(tmp_path / "run", recipe)
    for name, array in whole.files.items():
        np.testing.assert_array_equal(resumed.files[name], array)


def test_what_was_begun_on_other_rows_is_not_taken_over(tmp_path):
    whole, _ = tuned(tmp_path / "whole")
    (tmp_path / "run").mkdir()
    what, run = (Drawn(), AT[::-1], LABELS[::-1].copy(), None, CLASSES), RunDir(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        finetune.fine_tune(*what, RECIPE, "others", run, Stopping("fine-tune 3/3"))
    resumed, _ = tuned(tmp_path / "run")
    np.testing.assert_array_equal(all_of(resumed), all_of(whole))


# ---- what cannot be


def test_an_image_that_went_away_meanwhile_is_named(tmp_path):
    images = Drawn()
    images.gone.add(3)
    with pytest.raises(InputError, match=r"3\.png: was changed since it was first read \(the file is gone\)"):
        write_pixels(tmp_path / "pixels.npy", images, AT, SIZE, RECIPE, lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_names_epoch_rate_and_remedy(tmp_path):
    recipe = choosing(learning_rate=100.0, weight_decay=100.0, clip_norm=None, epochs=20)
    with pytest.raises(UsageError, match=r"in epoch \d+, at a learning rate of 100; .*--finetune-rate.* 10"):
        tuned(tmp_path / "run", recipe)


def test_batches_too_small_for_batch_norm_are_refused(tmp_path):
    folds = np.where(AT < 1, 0, 1).astype(np.int32)
    with pytest.raises(UsageError, match="1 images in the smallest batch, 1 processes"):
        tuned(tmp_path / "run", folds=folds)


@pytest.mark.parametrize(("rows", "most"), [(129, 64), (10, 4), (64, 64), (65, 64)])
def test_no_batch_is_much_smaller_than_another(rows, most):
    sizes = [len(batch) for batch in split(np.arange(rows), most)]
    assert sum(sizes) == rows
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"model": "resnet23"}, r"unknown backbone 'resnet23'; did you mean"),
        ({"model": "test_convnext@none.safetensors", "scratch": False}, r"none\.safetensors: cannot be read"),
        ({"model": "test_convnext@none.safetensors"}, "names trained weights, but is to start from scratch"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_before_any_work(choices, said):
    with pytest.raises(UsageError, match=said):
        classifier.build(choosing(**choices), CLASSES)


def test_a_model_with_position_embeddings_is_made_for_the_size(tmp_path):
    model = classifier.build(choosing(model="test_vit"), CLASSES)
    assert model.logits(model.model, torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)).shape == (2, CLASSES)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"epochs": 0}, "finetune.epochs is 0, but must lie in 1"),
        ({"batch_size": 3}, "finetune.batch_size is 3"),
        ({"learning_rate": float("nan")}, "finetune.learning_rate is nan"),
        ({"ema": 1.5}, "finetune.ema is 1.5"),
        ({"optimiser": "adam"}, "finetune.optimiser is 'adam', but must be adamw or sgd"),
    ],
)
def test_choices_out_of_range_are_refused(choices, said):
    with pytest.raises(UsageError, match=said):
        FineTuning(**choices)
