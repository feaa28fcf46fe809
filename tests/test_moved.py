"""Kept values of other neurons: the order of the axes is found, and none where there is none."""

import numpy as np
import pytest

import dropstats as ds
from dropstats.recording import arrays


def moved(shape, axes, dtype=np.float32, trials=3, seed=0):
    """Return inputs of a shape, and outputs that hold them with their axes in another order, read flat."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(dtype)
    y = x.transpose(axes).reshape(shape) * dtype(1 / 0.75)
    return x, np.where(rng.random((trials, *shape)) >= 0.25, y, 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((8, 12), (1, 0)), ((3, 4, 5), (0, 2, 1)), ((2, 3, 4, 5), (0, 2, 3, 1)), ((2, 3, 4, 5), (0, 3, 1, 2))],
)
def test_the_order_of_the_axes_is_found(shape, axes, dtype):
    x, y = moved(shape, axes, dtype)
    recording = ds.Recording.from_outputs(y, p=0.25, inputs=x)
    assert recording.moved == (shape, axes)
    message = ds.audit(recording)["scale"].message
    assert f"another neuron's: that of x.reshape{shape}.transpose{axes}" in message
    assert ("channels first taken for channels last" in message) == (len(shape) == 4)


def test_outputs_written_to_memory_of_another_order_are_named_by_that_order():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 5)).astype(np.float32)
    y = x.reshape(2, 4, 5, 6).transpose(0, 3, 1, 2) * np.float32(2)  # as to channels-last memory
    assert ds.Recording.from_outputs(y[None], inputs=x).moved == ((2, 4, 5, 6), (0, 3, 1, 2))


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 6, 10, 12, 15, 20, 30])
def test_rows_and_columns_of_a_flat_mask_are_found(rows):
    x = np.random.default_rng(0).uniform(1, 2, 60)
    y = x.reshape(rows, 60 // rows).T.reshape(1, 60)
    assert ds.Recording.from_outputs(y, inputs=x).moved == ((rows, 60 // rows), (1, 0))


def test_inputs_of_0_and_1_are_inputs():
    x, _ = moved((3, 4, 5), (2, 0, 1))
    x.flat[::7], x.flat[1::7] = 0, 1
    y = x.transpose(2, 0, 1).reshape(1, 3, 4, 5) * np.float32(2)
    assert ds.Recording.from_outputs(y, inputs=x).moved == ((3, 4, 5), (2, 0, 1))


def test_the_first_call_that_is_wrong_is_looked_at():
    x, y = moved((8, 12), (1, 0), trials=4)
    y[:2] = np.where(y[:2] != 0, x * np.float32(1 / 0.75), 0)
    assert ds.Recording.from_outputs(y, inputs=x).moved == ((8, 12), (1, 0))
    recorder = ds.Recorder()
    for one in y:
        recorder.add(one, x)
    assert recorder.recording().moved == ((8, 12), (1, 0))


def test_the_call_that_is_looked_at_is_the_first_wrong_one():
    x, y = moved((8, 12), (1, 0), trials=3)
    other = x.reshape(6, 16).transpose(1, 0).reshape(8, 12)  # no order of these axes
    y[0], y[2] = 2 * x, 2 * other
    y[1] = 2 * x.transpose(1, 0).reshape(8, 12)  # whose first and last value are right
    assert ds.Recording.from_outputs(y, inputs=x).moved == ((8, 12), (1, 0))
    recorder = ds.Recorder()
    for one in y:
        recorder.add(one, x)
    assert recorder.recording().moved == ((8, 12), (1, 0))


def test_no_order_is_looked_for_where_calls_are_read_in_parts(monkeypatch):
    monkeypatch.setattr(arrays, "SLICE", 64)
    x, y = moved((8, 12), (1, 0))
    recording = ds.Recording.from_outputs(y, inputs=x)
    assert recording.unscaled
    assert recording.moved is None


@pytest.mark.parametrize("spoiled", ["one value", "noise", "shuffled"])
def test_values_in_no_order_of_axes_are_only_counted(spoiled):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8, 12))
    y = np.array([2 * x])
    if spoiled == "one value":
        y[0, 3, 4] = 7
    else:
        y = 2 * rng.permutation(x.reshape(-1)).reshape(1, 8, 12) if spoiled == "shuffled" else rng.normal(size=y.shape)
    recording = ds.Recording.from_outputs(y, p=0.5, inputs=x)
    assert recording.unscaled
    assert recording.moved is None
    assert "another neuron's" not in ds.audit(recording)["scale"].message


def test_right_values_and_few_kept_ones_are_in_no_other_order():
    x, y = moved((8, 12), (1, 0), trials=1)
    assert ds.Recording.from_outputs(np.where(y != 0, x * 2, 0), inputs=x).moved is None
    kept = np.flatnonzero(y)
    y.reshape(-1)[kept[8:]] = 0
    assert ds.Recording.from_outputs(y, inputs=x).moved == ((8, 12), (1, 0))
    y.reshape(-1)[kept[7:]] = 0
    assert ds.Recording.from_outputs(y, inputs=x).moved is None
    assert ds.Recording.from_outputs(np.ones((3, 8, 12))).moved is None


def test_files_hold_the_order_and_parts_do_not(tmp_path):
    x, y = moved((3, 4, 5), (0, 2, 1))
    recording = ds.Recording.from_outputs(y, inputs=x)
    recording.save(tmp_path / "a.npz")
    assert ds.Recording.load(tmp_path / "a.npz").moved == ((3, 4, 5), (0, 2, 1))
    assert recording.calls(1).moved is None
    assert recording.by_group(np.arange(60) // 5).moved is None


@pytest.mark.parametrize("table", [[[3, 4, 5], [0, 2, 2]], [[3, 4, 6], [0, 2, 1]], [3, 4, 5], [[3.0, 4, 5], [0, 2, 1]]])
def test_files_that_hold_no_order_are_refused(table, tmp_path):
    x, y = moved((3, 4, 5), (0, 2, 1))
    ds.Recording.from_outputs(y, inputs=x).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as fields:
        np.savez(tmp_path / "b.npz", **dict(fields) | {"moved": np.array(table)})
    with pytest.raises(ValueError, match=r"moved .* a shape of 60 neurons and its axes are needed"):
        ds.Recording.load(tmp_path / "b.npz")
