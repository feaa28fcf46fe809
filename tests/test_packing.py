"""Packed bits and the sums, parts and groups of a recording, held against the same on unpacked masks."""

import itertools
import tracemalloc

import numpy as np
import pytest

import dropstats as ds
from dropstats.recording import arrays, packing

SHAPES = [(1, 1), (3, 8), (20, 13), (300, 5), (7, 100), (600, 64)]


def recording(trials, n, unknown=True, seed=0):
    """A recording with its masks and where they are known; a tenth is not."""
    rng = np.random.default_rng(seed)
    kept, known = rng.random((trials, n)) >= 0.3, rng.random((trials, n)) >= (0.1 if unknown else 0.0)
    inputs = known * 2.0
    return ds.Recording.from_outputs(kept * inputs, p=0.3, inputs=inputs), kept & known, known


@pytest.fixture(params=[None, 64], ids=["whole", "in pieces"], autouse=True)
def blocks(request, monkeypatch):
    """Everything holds whatever the size of the pieces that are worked on."""
    if request.param:
        monkeypatch.setattr(packing, "_BLOCK", request.param)
        monkeypatch.setattr(packing, "_WIDTH", 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("unknown", [False, True])
def test_sums(shape, unknown):
    given, kept, known = recording(*shape, unknown)
    dropped = known & ~kept
    for found, expected in (
        (given.mask_drops(), dropped.sum(axis=1)),
        (given.neuron_drops(), dropped.sum(axis=0)),
        (given.neuron_trials(), known.sum(axis=0)),
    ):
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, expected)
    assert (given.dropped, given.judged) == (dropped.sum(), known.sum())


@pytest.mark.parametrize("shape", [(1, 1), (24, 5), (8, 64), (17, 9), (300, 1000)])
def test_rows_are_turned_into_columns(shape):
    bits = np.random.default_rng(0).random(shape) < 0.3
    packed = np.packbits(bits, axis=1)
    packed.flags.writeable = False
    turned = packing.transposed(packed)
    np.testing.assert_array_equal(turned[:, : shape[1]], np.packbits(bits, axis=0))


@pytest.mark.parametrize("trials", [254, 255, 256, 257, 511, 600])
def test_sums_of_ones_overflow_nowhere(trials):
    for kept in (True, False):
        given = ds.Recording.from_masks(np.full((trials, 20), kept))
        assert given.neuron_drops().tolist() == [0 if kept else trials] * 20
        assert given.mask_drops().tolist() == [0 if kept else 20] * trials


def test_trials_of_neurons_all_known_take_no_memory():
    found = recording(4, 1000, unknown=False)[0].neuron_trials()
    assert found.strides == (0,)
    assert (found == 4).all()


@pytest.mark.parametrize("law", [None, ds.Network(ds.Layer(5, 0.3), ds.Network(ds.Layer(6, 0.3), ds.Layer(2, 0.3)))])
def test_the_tally_is_that_of_the_masks(law):
    given, kept, _ = recording(50, 13, unknown=False)
    assert given.tally(law) == ds.tally(given, law) == ds.tally(kept, law)
    assert len(given.tally(law).layers) == (0 if law is None else 2)


def test_a_tally_needs_neurons_that_are_known():
    given, _, known = recording(20, 13)
    unknown = known.size - known.sum()
    with pytest.raises(ValueError, match=rf"neurons are all known; got {unknown} of 260 of which it is not known"):
        given.tally()
    with pytest.raises(ValueError, match=r"masks must have the law's 4 neurons; got shape \(20, 13\)"):
        given.tally(ds.Layer(4, 0.3))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("unknown", [False, True])
def test_parts(shape, unknown):
    given, kept, known = recording(*shape, unknown)
    n, rng = shape[1], np.random.default_rng(1)
    for columns in (
        slice(None),
        slice(n // 3, n),
        slice(1, n - 1),
        slice(n, 0, -2),
        slice(0, 0),
        rng.integers(n, size=2 * n),
        np.arange(n)[::-1],
        [0],
    ):
        part = given.neurons(columns)
        np.testing.assert_array_equal(part.masks(), kept[:, columns])
        np.testing.assert_array_equal(part.known_masks(), known[:, columns])
        assert part.shape == (part.n,) == (kept[:, columns].shape[1],)
        assert (part.packed[:, -1:] & (255 >> (part.n % 8 or 8))).sum() == 0  # nothing beyond the last neuron
        assert (part.known is None) == known[:, columns].all()
    for calls in ((0, None), (shape[0] // 2, None), (0, 1), (-1, None), (0, 10**6)):
        part = given.calls(*calls)
        np.testing.assert_array_equal(part.masks(), kept[slice(*calls)])
        assert (part.shape, part.p, part.trials) == (given.shape, 0.3, len(kept[slice(*calls)]))


def test_a_part_keeps_what_its_values_surely_say():
    outputs = np.random.default_rng(0).random((20, 30)) >= 0.3
    given = ds.Recording.from_outputs(outputs * 1.25)
    for part, kept in ((given.calls(3, 9), outputs[3:9]), (given.neurons(slice(5, 9)), outputs[:, 5:9])):
        assert part.scales == {1.25: kept.sum()}
        assert part.dtype == "float64"
    nothing = ds.Recording.from_outputs(np.zeros((3, 4)) + np.eye(3, 4)).neurons(slice(3, 4))
    assert (nothing.scales, nothing.dropped) == ({}, 3)
    assert ds.Recording.from_masks(outputs).calls(2).scales is None
    for strange in (np.nan, np.inf):  # which rules were broken only the whole says
        broken = np.where(np.eye(20, 30), strange, outputs)
        part = ds.Recording.from_outputs(broken).calls(0, 5)
        assert (part.nans, part.infs, part.unscaled) == (0, 0, 0)
        assert part.scales == ({1.0: (broken[:5] == 1).sum()} if np.isnan(strange) else None)
    inputs = np.random.default_rng(1).standard_normal(outputs.shape)
    scaled = ds.Recording.from_outputs(outputs * inputs * 1.25, inputs=inputs)
    assert scaled.calls(3).scales == {next(iter(scaled.scales)): outputs[3:].sum()}
    assert scaled.calls(3).scale_tolerance == scaled.scale_tolerance > 0
    inputs[0, 0] = 0.5
    wrong = np.where(outputs, inputs * 1.25, 0)
    wrong[0, 0] = 7.0
    assert ds.Recording.from_outputs(wrong, inputs=inputs).calls(3).scales is None


def network(trials=30, n=40):
    """Outputs of two layers side by side, of scales 1.25 and 2; the last neuron is always dropped."""
    kept = np.random.default_rng(0).random((trials, n)) >= 0.3
    kept[:, -1] = False
    return np.where(kept, np.where(np.arange(n) < 15, 1.25, 2.0), 0.0)


@pytest.mark.parametrize("slices", [8, 16, 2**22])
def test_the_parts_of_a_network_have_a_scale_each(monkeypatch, slices):
    monkeypatch.setattr(arrays, "SLICE", slices)
    outputs = network()
    whole = ds.Recording.from_outputs(outputs, 0.3)
    assert whole.scales == {1.25: (outputs == 1.25).sum(), 2.0: (outputs == 2).sum()}
    assert whole.neuron_scales.tolist() == [1.25] * 15 + [2.0] * 24 + [0.0]
    for columns, scale in ((slice(0, 15), 1.25), (slice(15, 40), 2.0), (np.array([39, 20]), 2.0)):
        part = whole.neurons(columns)
        assert part.scales == {scale: (outputs[:, columns] == scale).sum()}
        assert (part.neuron_scales, part.distinct_scales, part.dtype) == (None, 1, "float64")
    both = whole.neurons(slice(10, 20)).calls(5, 12)
    assert both.scales == {1.25: (outputs[5:12, 10:15] != 0).sum(), 2.0: (outputs[5:12, 15:20] != 0).sum()}
    assert both.neuron_scales.tolist() == [1.25] * 5 + [2.0] * 5


def test_neurons_of_several_scales_are_known_as_such():
    outputs = network()
    outputs[20, 3] = 1.25 * (outputs[19, 3] != 0) + 7
    recording = ds.Recording.from_outputs(outputs)
    assert np.flatnonzero(np.isnan(recording.neuron_scales)).tolist() == [3]
    assert recording.neurons(slice(0, 4)).scales is None
    assert recording.neurons(slice(4, 15)).scales == {1.25: (outputs[:, 4:15] != 0).sum()}
    changing = np.where(np.arange(30)[:, None] < 10, 1.25, 2.0) * (outputs != 0)
    assert ds.Recording.from_outputs(changing).neuron_scales is None
    assert ds.Recording.from_outputs(network() * 0 + 2).neuron_scales is None
    assert ds.Recording.from_outputs(network() * 0).neuron_scales is None
    assert ds.Recording.from_outputs(np.random.default_rng(0).random((3, 5))).neuron_scales is None


@pytest.mark.parametrize("later", [2.0, 1.25])
def test_a_scale_that_changes_after_many_calls_is_several(later):
    recorder = ds.Recorder()
    for call in range(40):
        recorder.add(np.array([1.25, 1.25, 0.0, 0.0] if call < 20 else [later, 1.25, 3.0, 0.0]))
        recorder.add(np.zeros(4))
    recording = recorder.recording()
    assert str(recording.neuron_scales.tolist()) == str([np.nan if later == 2 else 1.25, 1.25, 3.0, 0.0])


@pytest.mark.parametrize("slices", [8, 2**22])
def test_the_scale_of_every_history_of_a_neuron(monkeypatch, slices):
    monkeypatch.setattr(arrays, "SLICE", slices)
    histories = sorted(itertools.product([0.0, 1.25, 2.0], repeat=5), key=lambda one: -len({*one} - {0.0}))
    taken = [{*one} - {0.0} for one in histories]  # first the neurons of two values: they fill pieces of their own
    expected = [np.nan if len(values) > 1 else max(values, default=0.0) for values in taken]
    recorder = ds.Recorder()
    for call in np.transpose(histories):
        recorder.add(call)
    for recording in (recorder.recording(), ds.Recording.from_outputs(np.transpose(histories))):
        np.testing.assert_array_equal(recording.neuron_scales, expected)
        assert not recording.neuron_scales.flags.writeable


def test_a_rate_for_each_neuron_gives_a_scale_for_each():
    rates = np.linspace(0.1, 0.6, 2000)
    kept = np.random.default_rng(0).random((50, 2000)) >= rates
    recording = ds.Recording.from_outputs(np.where(kept, 1 / (1 - rates), 0))
    np.testing.assert_array_equal(recording.neuron_scales, 1 / (1 - rates))
    assert (recording.distinct_scales, len(recording.scales)) == (2000, 1000)


def test_parts_that_there_are_not():
    given = recording(20, 13)[0]
    with pytest.raises(ValueError, match="calls must be among the recording's 20; got 20 to None"):
        given.calls(20)
    with pytest.raises(ValueError, match="calls must be among the recording's 20; got 5 to 5"):
        given.calls(5, 5)
    with pytest.raises(ValueError, match="columns must be integers from 0 to 12; got 13"):
        given.neurons(np.array([0, 13]))
    with pytest.raises(TypeError, match="columns must be integers from 0 to 12"):
        given.neurons(np.array([0.5]))


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("groups", [1, 4, 13, 40])
def test_one_bit_a_group(groups, unknown):
    n = 40
    given, kept, known = recording(30, n, unknown)
    group_of = np.random.default_rng(2).permutation(np.arange(n) % groups)
    reduced = given.by_group(group_of)
    assert (reduced.n, reduced.shape, reduced.trials) == (groups, (groups,), 30)
    bits, sure = reduced.masks(), reduced.known_masks()
    for call in range(30):
        for group in range(groups):
            inside = [(kept[call, j], known[call, j]) for j in np.flatnonzero(group_of == group)]
            first = [bit for bit, is_known in inside if is_known][:1]
            assert sure[call, group] == bool(first)
            assert bits[call, group] == (first[0] if first else False)
    assert reduced.scales == given.scales
    assert (reduced.known is None) == sure.all()


def test_nan_inputs_count_by_the_group():
    inputs = np.ones((2, 12))
    inputs[:, :6] = np.nan
    given = ds.Recording.from_outputs(inputs, inputs=inputs)
    assert given.nan_inputs == 12
    assert given.by_group(np.arange(12) // 5).nan_inputs == 6  # groups of 5, 5 and 2: at least 12 / 2
    assert given.by_group(np.arange(12) // 12).nan_inputs == 1


@pytest.mark.parametrize(
    ("group_of", "error", "message"),
    [
        (np.zeros(12, int), ValueError, r"one group for each of 13 neurons; got shape \(12,\)"),
        (np.full(13, 1), ValueError, "leave no group empty; got none in group 0"),
        (np.full(13, 13), ValueError, "group_of must be integers from 0 to 12; got 13"),
        (np.full(13, 0.5), TypeError, "group_of must be integers"),
    ],
)
def test_bad_groups(group_of, error, message):
    with pytest.raises(error, match=message):
        recording(20, 13)[0].by_group(group_of)


def test_sums_and_parts_stay_within_bounded_memory(request):
    if "pieces" in request.node.name:
        pytest.skip("of blocks of their real size")
    trials, n = 64, 2**20
    packed = np.random.default_rng(0).integers(0, 256, (trials, n // 8), np.uint8)
    given = ds.Recording(trials, n, (n,), 0.5, "", packed)
    for sums in (given.mask_drops, given.neuron_drops, lambda: given.neurons(slice(3, n)), lambda: given.judged):
        tracemalloc.start()
        result = sums()
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak - held < trials * n / 3, result  # unpacked it would be three times that
