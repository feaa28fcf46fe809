"""Recorder: a recording call by call is that of all calls together."""

import tracemalloc

import numpy as np
import pytest

import dropstats as ds
from dropstats.recording import arrays


def fields(recording):
    plain = {name: getattr(recording, name) for name in recording.__dataclass_fields__}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in plain.items()}


def added(outputs, inputs=None, **settings):
    recorder = ds.Recorder(**settings)
    for k, output in enumerate(outputs):
        recorder.add(output, None if inputs is None else inputs[k])
        assert recorder.trials == k + 1
    return recorder.recording()


@pytest.mark.parametrize("trials", [1, 3, 20, 50])
@pytest.mark.parametrize("slices", [8, 2**22])
def test_calls_one_by_one_are_calls_together(monkeypatch, trials, slices):
    monkeypatch.setattr(arrays, "SLICE", slices)
    rng = np.random.default_rng(0)
    inputs = rng.choice([-2.0, -0.5, 0.0, 1.0, 4.0, np.nan], size=(20, 3, 5))
    outputs = np.where(rng.random(inputs.shape) >= 0.3, inputs * 1.25, 0.0)
    whole = ds.Recording.from_outputs(outputs, 0.3, inputs, "here")
    assert fields(added(outputs, inputs, p=0.3, source="here", trials=trials)) == fields(whole)
    ones = np.where(outputs == 0, 0.0, 1.25)
    assert fields(added(ones, p=0.3, trials=trials)) == fields(ds.Recording.from_outputs(ones, 0.3))
    assert fields(added(ones != 0)) == fields(ds.Recording.from_masks(ones != 0))


def test_what_is_not_known_may_come_late():
    outputs = np.full((9, 10), 1.25)
    outputs[6, 3] = np.nan
    recording = added(outputs)
    assert recording.known_masks().sum(axis=0).tolist() == [9] * 3 + [8] + [9] * 6
    assert (recording.nans, recording.judged) == (1, 89)


def test_values_are_counted_over_all_calls():
    outputs = np.random.default_rng(0).permutation(2700).reshape(3, 900) + 1.5  # all different
    outputs[:, :2] = np.inf, np.nan
    recording = added(outputs)
    assert (len(recording.scales), recording.distinct_scales) == (1000, 3 * 898 + 1)
    assert (recording.infs, recording.nans, recording.judged) == (3, 3, 3 * 899)
    assert sum(recording.scales.values()) + recording.other_scales == 3 * 899


def test_integers_are_outputs_where_inputs_are_given():
    inputs = np.array([[1, 2, 0], [4, 1, 2]])
    recording = added(3 * inputs * [1, 0, 1], inputs)
    assert recording.scales == {3.0: 3}
    assert recording.known_masks().tolist() == (inputs != 0).tolist()


def test_a_recording_does_not_change_when_calls_are_added():
    recorder = ds.Recorder()
    rows = np.random.default_rng(0).random((40, 13)) >= 0.5
    rows[20:] = ~rows[20:]
    taken = []
    for row in rows:
        recorder.add(np.where(row, 2.0, np.nan))
        taken.append(recorder.recording())
    for k, recording in enumerate(taken):
        np.testing.assert_array_equal(recording.masks(), rows[: k + 1])
        np.testing.assert_array_equal(recording.known_masks(), rows[: k + 1])
        assert recording.scales == {2.0: rows[: k + 1].sum()}


def test_what_was_added_may_change_afterwards():
    recorder, row = ds.Recorder(), np.ones(5, bool)
    recorder.add(row)
    row[:] = False
    assert recorder.recording().dropped == 0


def test_what_does_not_go_together_is_named():
    recorder = ds.Recorder(p=0.1)
    with pytest.raises(ValueError, match="a recording needs at least one call; nothing was added yet"):
        recorder.recording()
    recorder.add(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"must all have the first one's shape \(2, 3\); got \(3, 2\), index 1"):
        recorder.add(np.ones((3, 2)))
    with pytest.raises(ValueError, match="inputs must be given in every call or in none; got a change at index 1"):
        recorder.add(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(TypeError, match="outputs must be booleans or real numbers; got dtype complex128"):
        recorder.add(np.ones((2, 3), complex))
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\]; got 2.0"):
        ds.Recorder(p=2)
    # what was refused left nothing behind
    recorder.add(np.zeros((2, 3)))
    assert recorder.recording().mask_drops().tolist() == [0, 6]
    assert repr(recorder) == "Recorder(p=0.1, source='', trials=2)"


def test_nothing_was_added_where_the_first_call_was_refused():
    recorder = ds.Recorder()
    with pytest.raises(ValueError, match=r"masks must hold 0 \(dropped\) and 1 \(kept\) only; got 2.0"):
        recorder.add(np.array([2, 1, 0]))
    with pytest.raises(ValueError, match="nothing was added yet"):
        recorder.recording()
    recorder.add(np.array([1, 1, 0]))
    assert recorder.recording().masks().tolist() == [[True, True, False]]


def test_a_recorder_holds_bits_only():
    output = np.ones(2**16, np.float32)
    tracemalloc.start()
    recorder = ds.Recorder(trials=64)
    for _ in range(64):
        recorder.add(output)
    recording = recorder.recording()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.1 * recording.packed.nbytes
    assert peak < held + 8 * output.size


# ---- of --------------------------------------------------------------------------------------------------


def test_a_recording_is_itself():
    recording = ds.Recording.from_masks([[1, 0]], p=0.1)
    assert ds.Recording.of(recording) is recording
    assert ds.Recording.of(recording, p=0.2).p == 0.2
    assert recording.p == 0.1


@pytest.mark.parametrize("dtype", [bool, int, np.uint8, np.float32, float])
def test_masks_are_taken_as_masks(dtype):
    given = (np.random.default_rng(0).random((4, 6)) >= 0.5).astype(dtype)
    recording = ds.Recording.of(given, p=0.5, source="here")
    written = str(given.dtype) if given.dtype.kind == "f" else None  # may be outputs that were never scaled
    assert fields(recording) == fields(ds.Recording.from_masks(given, 0.5, "here")) | {"dtype": written}
    assert ds.Recording.of(list(given)).trials == ds.Recording.of(iter(given)).trials == 4


def test_floats_are_outputs():
    outputs = np.where(np.random.default_rng(0).random((4, 6)) >= 0.5, np.float32(2), np.float32(0))
    assert fields(ds.Recording.of(outputs, 0.5)) == fields(ds.Recording.from_outputs(outputs, 0.5))
    with_nan = [[1.0, np.nan, 0.0]]
    assert ds.Recording.of(with_nan).nans == 1
    assert ds.Recording.of([[1.0, np.inf]]).infs == 1
    assert ds.Recording.of([[1.0, -1.0]]).scales == {1.0: 1, -1.0: 1}


def test_integers_that_are_no_mask_are_refused():
    with pytest.raises(ValueError, match=r"masks must hold 0 \(dropped\) and 1 \(kept\) only; got 2.0"):
        ds.Recording.of([[1, 2]])
    with pytest.raises(ValueError, match=r"masks must have shape \(trials, ...\)"):
        ds.Recording.of([1.5, 0.0])
