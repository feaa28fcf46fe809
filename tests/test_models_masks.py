"""The masks that a site of a model keeps: bits, of bounded number, whatever the masks' lengths."""

import tracemalloc

import numpy as np
import pytest

from dropstats.models.sites import Masks


def test_bits_are_kept_in_call_order_from_the_first_position_on():
    rng = np.random.default_rng(0)
    given = [rng.random(1000) >= 0.5 for _ in range(300)]
    masks = Masks(2**13)
    for bits in given:
        masks.add(bits, None)
    kept, known = masks.matrix()
    assert known is None
    assert (len(masks), kept.shape[0], masks.left_out) == (300, 128, 172)
    assert kept.shape[1] == 64
    assert np.array_equal(kept, np.stack(given)[:128, :64])


@pytest.mark.parametrize("sizes", [(12, 20, 20, 7, 20), (20, 12), (100, 3, 99, 100), (5,)])
@pytest.mark.parametrize("partly", [False, True])
def test_of_masks_of_unlike_length_those_are_kept_that_lose_the_fewest_neurons(sizes, partly):
    rng = np.random.default_rng(1)
    given = [rng.random(size) >= 0.5 for size in sizes]
    sure = [rng.random(size) >= 0.3 if partly and size > 6 else None for size in sizes]
    masks = Masks(2**10)
    for bits, known in zip(given, sure, strict=True):
        masks.add(bits, known)
    width = max(sizes, key=lambda width: (width * sum(size >= width for size in sizes), -width))
    chosen = [index for index, size in enumerate(sizes) if size >= width]
    kept, known = masks.matrix()
    assert np.array_equal(kept, [given[index][:width] for index in chosen])
    expected = [np.ones(width, bool) if sure[index] is None else sure[index][:width] for index in chosen]
    assert np.array_equal(np.ones_like(kept) if known is None else known, expected)


def test_the_masks_of_few_neurons_take_a_few_bytes_each():
    masks, bits = Masks(2**24), np.ones(8, bool)
    tracemalloc.start()
    for _ in range(20_000):
        masks.add(bits, None)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 20_000 * 2 * (1 + 8) + 2**16
    assert masks.matrix()[0].shape == (20_000, 8)


def test_one_long_mask_does_not_make_room_for_as_many_of_the_short_ones():
    masks = Masks(2**16)
    masks.add(np.ones(2**16, bool), None)
    tracemalloc.start()
    for _ in range(1000):
        masks.add(np.zeros(64, bool), None)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 2**16
    kept, _ = masks.matrix()
    assert kept.shape == (1001, 64)
    assert kept[0].all()
    assert not kept[1:].any()
