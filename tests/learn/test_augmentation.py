"""An augmented image is the image, shifted and perhaps flipped."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelfix.learn.augmentation import Moves, draw, move

SIZE = 16
IMAGE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8))


@given(st.integers(-2, 2), st.integers(-2, 2), st.booleans())
def test_a_move_is_a_crop_of_the_mirror_padded_image(down, right, flipped):
    moved = move(IMAGE, Moves(np.array([down]), np.array([right]), np.array([flipped])))[0].numpy()
    padded = np.pad(IMAGE[0].numpy(), ((2, 2), (2, 2), (0, 0)), mode="reflect")
    expected = padded[2 + down : 2 + down + SIZE, 2 + right : 2 + right + SIZE]
    np.testing.assert_array_equal(moved, expected[:, ::-1] if flipped else expected)


def test_moves_reach_an_eighth_of_the_side_and_flip_every_other_image():
    moves = draw(np.random.default_rng(0), 1000, SIZE)
    for shift in (moves.down, moves.right):
        assert set(shift.tolist()) == {-2, -1, 0, 1, 2}
    assert 0.4 < moves.flipped.mean() < 0.6


def test_images_of_a_batch_move_on_their_own():
    images = IMAGE.repeat(3, 1, 1, 1)
    moves = Moves(np.array([0, 1, 0]), np.array([0, 0, 0]), np.array([False, False, True]))
    together = move(images, moves)
    for i in range(3):
        alone = move(images[i : i + 1], moves.part(slice(i, i + 1)))
        assert torch.equal(together[i : i + 1], alone)
