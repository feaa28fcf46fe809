"""Recordings: packing, outputs, inputs, files."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import dropstats as ds
from dropstats import formats
from dropstats import recording as recordings
from dropstats.recording import arrays

SLICES = Path(__file__).with_name("recordings")


def masks(trials=20, shape=(13,), p=0.3, seed=0):
    return np.random.default_rng(seed).random((trials, *shape)) >= p


@pytest.mark.parametrize("shape", [(1,), (8,), (13,), (3, 5), (2, 3, 4), (0,)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
def test_masks_come_back_flattened_with_their_shape_kept(shape, dtype):
    given = masks(shape=shape)
    recording = ds.Recording.from_masks(given.astype(dtype), p=0.3, source="here")
    assert np.array_equal(recording.masks(), given.reshape(20, -1))
    assert (recording.trials, recording.n, recording.shape) == (20, int(np.prod(shape)), shape)
    assert (recording.p, recording.source, recording.scales, recording.dtype) == (0.3, "here", None, None)
    assert recording.packed.dtype == np.uint8
    assert recording.packed.shape == (20, -(-recording.n // 8))
    assert recording.dropped == given.size - given.sum()
    assert recording.judged == given.size


def test_masks_are_streamed_by_slices():
    given = masks()
    recording = ds.Recording.from_masks(given)
    assert np.array_equal(recording.masks(3, 7), given[3:7])
    assert np.array_equal(recording.masks(18), given[18:])
    assert recording.known_masks(18).shape == (2, 13)
    assert recording.known_masks().all()


def test_a_list_of_arrays_is_one_mask_an_item():
    given = masks(shape=(2, 3))
    assert np.array_equal(ds.Recording.from_masks(list(given)).packed, ds.Recording.from_masks(given).packed)
    assert np.array_equal(ds.Recording.from_masks(iter(given)).packed, ds.Recording.from_masks(given).packed)
    assert np.array_equal(ds.Recording.from_masks(given.tolist()).packed, ds.Recording.from_masks(given).packed)


def test_a_recording_does_not_change_with_its_source_nor_by_hand():
    given = masks()
    recording = ds.Recording.from_masks(given)
    before = recording.packed.copy()
    given[:] = False
    assert np.array_equal(recording.packed, before)
    with pytest.raises(ValueError, match="read-only"):
        recording.packed[0] = 0


@pytest.mark.parametrize("slices", [8, 16, 2**22])
def test_slices_do_not_change_what_is_read(monkeypatch, slices):
    monkeypatch.setattr(arrays, "SLICE", slices)
    given = masks(shape=(3, 13))
    inputs = np.random.default_rng(1).normal(size=given.shape)
    inputs[4] = 0
    outputs = np.where(given, inputs / 0.7, 0)
    recording = ds.Recording.from_outputs(outputs, inputs=inputs)
    assert np.array_equal(ds.Recording.from_masks(given).masks(), given.reshape(20, -1))
    assert np.array_equal(recording.masks(), (given & (inputs != 0)).reshape(20, -1))
    assert np.array_equal(recording.known_masks(), (inputs != 0).reshape(20, -1))
    assert recording.dropped == np.count_nonzero(~given & (inputs != 0))
    assert recording.unscaled == 0


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            [[1, 0], [2, 1]],
            ValueError,
            r"masks must hold 0 \(dropped\) and 1 \(kept\) only; got 2.0 at index \(1, 0\)",
        ),
        ([[1.0, np.nan]], ValueError, r"got nan at index \(0, 1\)"),
        ([[1.0, -1.0]], ValueError, r"got -1.0 at index \(0, 1\)"),
        (
            [1, 0, 1],
            ValueError,
            r"masks must have shape \(trials, ...\), trials >= 1; got shape \(3,\); give a single",
        ),
        ([], ValueError, r"masks must have shape \(trials, ...\), trials >= 1; got shape \(0,\)"),
        (np.ones((0, 4)), ValueError, r"got shape \(0, 4\)"),
        ([[1, 0], [1]], ValueError, r"masks must all have the first one's shape \(2,\); got \(1,\), index 1"),
        ([["a", "b"]], TypeError, "masks must be booleans or real numbers; got dtype str"),
        ([[None, 1]], TypeError, "masks must be booleans or real numbers; got dtype object"),
        ([[1j, 1]], TypeError, "got dtype complex128"),
    ],
)
def test_bad_masks_are_named(given, error, message):
    with pytest.raises(error, match=message):
        ds.Recording.from_masks(given)


def test_p_is_a_probability():
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\]; got 1.5"):
        ds.Recording.from_masks([[1]], p=1.5)


# ---- outputs -------------------------------------------------------------------------------------------


def test_scales_are_counted_exactly():
    kept = masks(100, (50,))
    recording = ds.Recording.from_outputs(kept * np.float32(1 / 0.7), p=0.3)
    assert recording.scales == {float(np.float32(1 / 0.7)): kept.sum()}
    assert recording.dtype == "float32"
    assert recording.scale_tolerance == 0
    assert np.array_equal(recording.masks(), kept)


def test_many_scales_are_told_apart_up_to_a_bound():
    rng = np.random.default_rng(0)
    few = rng.integers(0, 8, (30, 40)) / 4.0
    recording = ds.Recording.from_outputs(few)
    values, counts = np.unique(few[few != 0], return_counts=True)
    assert recording.scales == dict(zip(values.tolist(), counts.tolist(), strict=True))
    noise = rng.normal(size=(50, 40))
    recording = ds.Recording.from_outputs(noise)
    assert len(recording.scales) == 1000
    assert recording.other_scales == 1000
    assert recording.distinct_scales == 2000
    assert recording.dropped == 0
    # the same values again in every call are no other values
    again = ds.Recording.from_outputs(np.tile(noise.ravel(), (40, 1)))
    assert (again.other_scales, again.distinct_scales) == (40 * 1000, 2000)


def test_distinct_values_are_counted_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(arrays, "SLICE", 2**10)
    noise = np.random.default_rng(0).normal(size=(50, 1000))
    assert ds.Recording.from_outputs(noise).distinct_scales == 50_000
    assert ds.Recording.from_outputs(np.concatenate([noise, noise + 1])).distinct_scales == 2**16
    assert ds.Recording.from_outputs(noise * 0 + 2).distinct_scales == 1
    assert ds.Recording.from_masks(noise * 0).distinct_scales == 0


def test_nan_is_neither_kept_nor_dropped():
    outputs = np.array([[2.0, np.nan, 0.0], [2.0, 2.0, np.inf]])
    recording = ds.Recording.from_outputs(outputs)
    assert recording.known_masks().tolist() == [[True, False, True], [True, True, True]]
    assert recording.masks().tolist() == [[True, False, False], [True, True, True]]
    assert (recording.nans, recording.infs, recording.dropped, recording.judged) == (1, 1, 1, 5)
    assert recording.scales == {2.0: 3, np.inf: 1}


def test_negative_zero_is_zero():
    assert ds.Recording.from_outputs([[-0.0, 1.0]]).dropped == 1


def test_booleans_carry_no_values():
    recording = ds.Recording.from_outputs(masks())
    assert recording.scales is None
    assert recording.dtype is None


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("seed", range(5))
def test_the_scale_is_found_from_any_inputs(dtype, seed):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(10, 2000)).astype(dtype)
    scale = np.dtype(dtype).type(1 / 0.7)
    recording = ds.Recording.from_outputs(np.where(masks(10, (2000,)), inputs * scale, 0), inputs=inputs)
    (found,) = recording.scales
    assert recording.unscaled == 0
    assert abs(found / float(scale) - 1) <= recording.scale_tolerance < max(np.finfo(dtype).eps / 2, 1e-15)
    # the next number of the dtype is told apart (in float64 the sums themselves are rounded as much)
    assert (
        dtype == "float64"
        or abs(found / float(np.nextafter(scale, np.dtype(dtype).type(2))) - 1) > recording.scale_tolerance
    )


def test_inputs_that_are_powers_of_two_give_the_scale_exactly():
    inputs = np.exp2(np.random.default_rng(0).integers(-3, 3, (5, 100))).astype(np.float32)
    recording = ds.Recording.from_outputs(inputs * np.float32(1 / 0.9), inputs=inputs)
    assert recording.scales == {float(np.float32(1 / 0.9)): 500}
    assert recording.scale_tolerance == 0


def test_one_input_may_serve_every_call():
    inputs = np.random.default_rng(0).normal(size=(4, 5))
    kept = masks(30, (4, 5))
    recording = ds.Recording.from_outputs(np.where(kept, inputs * 1.25, 0), inputs=inputs)
    assert np.array_equal(recording.masks(), kept.reshape(30, -1))
    assert recording.unscaled == 0


@pytest.mark.parametrize("as_outputs", [np.asarray, list])
@pytest.mark.parametrize("as_inputs", [np.asarray, list])
def test_lists_and_arrays_may_be_mixed(as_outputs, as_inputs):
    inputs = np.random.default_rng(0).normal(size=(30, 4, 5))
    kept = masks(30, (4, 5))
    recording = ds.Recording.from_outputs(as_outputs(np.where(kept, inputs * 1.25, 0)), inputs=as_inputs(inputs))
    assert np.array_equal(recording.masks(), kept.reshape(30, -1))
    assert recording.unscaled == 0


def test_rules_that_outputs_break_are_counted():
    inputs = np.array([[0.0, 0.0, 1.0, 3.0, np.inf, np.inf, np.nan, np.nan, 2.0, 5.0]])
    outputs = np.array([[0.0, 0.1, 2.0, 6.5, np.inf, np.nan, np.nan, 0.0, np.nan, np.inf]])
    recording = ds.Recording.from_outputs(outputs, inputs=inputs)
    assert recording.known_masks()[0].tolist() == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
        False,
        False,
        True,
    ]
    assert recording.masks()[0].tolist() == [False, False, True, True, True, False, False, False, False, True]
    assert recording.nonzero == 1  # 0 became 0.1
    assert recording.nans == 2  # inf and 2 became NaN
    assert recording.infs == 1  # 5 became inf
    assert (recording.nan_inputs, recording.nan_inputs_dropped) == (2, 1)
    assert recording.unscaled == 1  # 3 became 6.5


def test_infinities_count_where_the_input_was_finite():
    inputs = np.array([[1.0, 2.0, np.inf, -np.inf, np.inf, np.nan]])
    outputs = np.array([[np.inf, -np.inf, np.inf, 3.0, np.inf, np.inf]])
    recording = ds.Recording.from_outputs(outputs, inputs=inputs)
    assert (recording.infs, recording.unscaled, recording.nan_inputs, recording.nan_inputs_dropped) == (2, 1, 1, 0)


def test_a_mask_applied_by_multiplication_is_seen_where_the_input_is_infinite_or_nan():
    inputs = np.ones((40, 50))
    inputs[:, :10] = np.inf
    inputs[:, 10:20] = np.nan
    kept = masks(40, (50,))
    good = ds.Recording.from_outputs(np.where(kept, inputs / 0.7, 0), inputs=inputs)
    with np.errstate(invalid="ignore"):
        bad = ds.Recording.from_outputs(kept * inputs / 0.7, inputs=inputs)
    assert good.nans == 0
    assert good.nan_inputs_dropped == np.count_nonzero(~kept[:, 10:20])
    assert bad.nans == np.count_nonzero(~kept[:, :10])
    assert bad.nan_inputs_dropped == 0


def test_the_smallest_numbers_are_not_called_unscaled():
    inputs = np.array([[6e-8, 1e-7, 2e-5, 1.0]], np.float16).repeat(20, 0)
    recording = ds.Recording.from_outputs(inputs * np.float16(1 / 0.9), inputs=inputs)
    assert recording.unscaled == 0


@pytest.mark.parametrize("shape", [(3,), (5, 3), (20, 3), (19, 13)])
def test_inputs_must_have_the_outputs_shape(shape):
    with pytest.raises(ValueError, match=r"inputs must have the outputs' shape \(20, 13\) or \(13,\); got"):
        ds.Recording.from_outputs(masks() * 1.0, inputs=np.ones(shape))


def test_inputs_of_several_shapes_are_refused():
    with pytest.raises(ValueError, match="inputs must all have one shape"):
        ds.Recording.from_outputs([np.ones(3), np.ones(3)], inputs=[np.ones(3), np.ones(2)])


def test_numbers_that_cannot_be_outputs_are_refused():
    with pytest.raises(TypeError, match="outputs must be booleans or real numbers; got dtype complex128"):
        ds.Recording.from_outputs(np.ones((2, 2), complex))


def test_a_recording_says_what_it_holds():
    assert repr(ds.Recording.from_masks([[1, 0]], p=0.5, source="here")) == (
        "Recording(trials=1, shape=(2,), p=0.5, source='here', dropped=1, judged=2)"
    )
    three = ds.Recording.from_outputs([[1.5, 2.0, 3.0, np.nan, 0.0]])
    assert repr(three) == (
        "Recording(trials=1, shape=(5,), p=None, source='', dropped=1, judged=4, scales={1.5: 1, 2.0: 1, 3.0: 1}, "
        "dtype='float64', nans=1)"
    )
    four = ds.Recording.from_outputs([[1.5, 2.0, 3.0, 4.0, 4.0]])
    assert "scales={4.0: 2, 1.5: 1, 2.0: 1, ...}, dtype" in repr(four)


# ---- record --------------------------------------------------------------------------------------------


def test_record_calls_exactly_as_often_as_said():
    calls = []

    def call():
        calls.append(None)
        return np.where(masks(1, (4, 6), seed=len(calls))[0], 2.0, 0.0)

    recording = ds.record(call, 7, p=0.5, source="mine")
    assert len(calls) == 7
    assert recording.shape == (4, 6)
    assert recording.source == "mine"
    expected = [masks(1, (4, 6), seed=k + 1)[0].ravel() for k in range(7)]
    assert np.array_equal(recording.masks(), expected)
    assert set(recording.scales) == {2.0}


def test_record_takes_booleans_integers_and_single_numbers_as_masks():
    assert ds.record(lambda: masks()[0], 3).scales is None
    assert ds.record(lambda: masks()[0].astype(int), 3).scales is None
    assert ds.record(lambda: True, 3).shape == ()
    assert ds.record(lambda: [1.25, 0.0], 3).scales == {1.25: 3}


def test_record_shows_progress():
    seen = {}

    def bar(turns, **settings):
        seen.update(settings)
        for turn in turns:
            seen["turns"] = seen.get("turns", 0) + 1
            yield turn

    ds.record(lambda: masks()[0], 10, progress=bar)
    assert seen["total"] == 10
    assert seen["turns"] == 10


def test_record_shows_a_bar_of_its_own(capsys):
    assert ds.record(lambda: masks()[0], 1e1, progress=True).trials == 10
    assert "recording: 100%" in capsys.readouterr().err
    ds.record(lambda: masks()[0], 10)
    assert capsys.readouterr().err == ""


def test_record_names_what_is_wrong():
    with pytest.raises(TypeError, match="call must be callable without arguments; got ndarray"):
        ds.record(masks(), 10)
    with pytest.raises(ValueError, match="trials must be at least 1; got 0"):
        ds.record(lambda: masks()[0], 0)
    sizes = iter(range(3, 10))
    with pytest.raises(ValueError, match=r"outputs must all have the first one's shape \(3,\); got \(4,\)"):
        ds.record(lambda: np.ones(next(sizes)), 5)
    with pytest.raises(TypeError, match="outputs must be booleans or real numbers; got dtype object"):
        ds.record(lambda: None, 5)


# ---- files ---------------------------------------------------------------------------------------------


def fields(recording):
    plain = {name: getattr(recording, name) for name in recording.__dataclass_fields__}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in plain.items()}


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_masks_of_no_neuron_come_back(tmp_path, shape):
    recording = ds.Recording.from_masks(np.ones((4, *shape)))
    recording.save(tmp_path / "a.npz")
    assert fields(ds.Recording.load(tmp_path / "a.npz")) == fields(recording)
    assert (recording.dropped, recording.judged, recording.mask_drops().tolist()) == (0, 0, [0] * 4)


@pytest.mark.parametrize("shape", [(13,), (16,), (3, 5), ()])
def test_a_saved_recording_comes_back(tmp_path, shape):
    given = masks(shape=shape) * 1.25
    given[0] = np.nan
    recording = ds.Recording.from_outputs(given if shape else given[:, None], p=0.2, source="somewhere")
    path = tmp_path / "any name"  # exactly this one: nothing is appended
    recording.save(path)
    assert fields(ds.Recording.load(path)) == fields(recording)
    assert ds.Recording.load(str(path), p=0.25).p == 0.25
    with np.load(path) as content:
        assert content["version"] == 1
        assert content["shape"].tolist() == [20, recording.n]
        assert content["scale"] == 1.25


def test_a_saved_recording_with_inputs_comes_back(tmp_path):
    inputs = np.random.default_rng(0).normal(size=(20, 13))
    recording = ds.Recording.from_outputs(np.where(masks(), inputs * 1.3, 7.0), inputs=inputs)
    assert recording.unscaled
    assert recording.input_bins is not None
    recording.save(tmp_path / "a.npz")
    assert fields(ds.Recording.load(tmp_path / "a.npz")) == fields(recording)


@pytest.mark.parametrize(
    ("name", "rate", "scale"),
    [
        ("jax-0.10.2-bfloat16-n512-p0.05", 0.0470, None),
        ("tensorflow-2.21.0-bfloat16-n1024-p0.3", 0.3047, 1.4296875),
        ("tensorflow-2.21.0-float32-n1024-p0.1", 0.1, float(np.float32(1 / 0.9))),
        ("torch-2.13.0-cpu-n131072-p0.1", 0.1, None),
        ("torch-2.3.1-cpu-n131072-p0.1", 0.1, None),
    ],
)
def test_recordings_of_frameworks_are_read(name, rate, scale):
    recording = ds.Recording.load(SLICES / f"{name}.npz")
    n, p = name.split("-n")[1].split("-p")
    assert (recording.n, recording.p) == (int(n), float(p))
    assert recording.dropped / recording.judged == pytest.approx(rate, abs=0.002)
    assert recording.source.startswith(name.split("-")[0])
    assert recording.scales == (None if scale is None else {scale: recording.judged - recording.dropped})


def test_a_saved_recording_of_several_scales_comes_back(tmp_path):
    outputs = masks() * np.where(np.arange(13) < 5, 1.25, 2.0)
    outputs[3, 0] = 3.0
    recording = ds.Recording.from_outputs(outputs)
    assert recording.neuron_scales is not None
    recording.save(tmp_path / "a.npz")
    back = ds.Recording.load(tmp_path / "a.npz")
    assert str(fields(back)) == str(fields(recording))  # nan is not itself


def write(path, **content):
    np.savez(path, **content)
    return path


def test_masks_packed_in_their_own_shape_are_read(tmp_path):
    given = masks(6, (3, 5, 13))
    path = write(tmp_path / "a.npz", keep=np.packbits(given, axis=-1), shape=np.array([6, 3, 5, 13]))
    recording = ds.Recording.load(path)
    assert np.array_equal(recording.masks(), given.reshape(6, -1))
    assert recording.shape == (3, 5, 13)
    assert recording.p is None


def test_masks_packed_flat_may_name_their_own_shape(tmp_path):
    given = masks(6, (3, 5, 13))
    packed = np.packbits(given.reshape(6, -1), axis=1)
    recording = ds.Recording.load(write(tmp_path / "a.npz", keep=packed, shape=np.array([6, 3, 5, 13])))
    assert np.array_equal(recording.masks(), given.reshape(6, -1))
    assert recording.shape == (3, 5, 13)


def test_a_recording_may_name_several_scales_and_its_source_in_bytes(tmp_path):
    keep = np.packbits(masks(8, (16,), p=0), axis=1)
    path = write(tmp_path / "a.npz", keep=keep, shape=[8, 16], scale=[1.0, 1.25], source=b"here", p=[0.2])
    recording = ds.Recording.load(path)
    assert recording.scales == {1.0: 64, 1.25: 64}
    assert (recording.source, recording.p) == ("here", 0.2)


def test_bits_beyond_the_last_neuron_are_not_neurons(tmp_path):
    path = write(tmp_path / "a.npz", keep=np.full((4, 2), 255, np.uint8), shape=np.array([4, 13]))
    assert ds.Recording.load(path).dropped == 0


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float32"])
@pytest.mark.parametrize("save", ["npy", "npz"])
def test_a_plain_array_of_masks_is_read(tmp_path, dtype, save):
    given = masks(shape=(3, 5))
    path = tmp_path / f"a.{save}"
    np.save(path, given.astype(dtype)) if save == "npy" else np.savez(path, given.astype(dtype))
    recording = ds.Recording.load(path, p=0.3)
    assert np.array_equal(recording.masks(), given.reshape(20, -1))
    assert (recording.shape, recording.p, recording.scales) == ((3, 5), 0.3, None)
    assert ds.Recording.load(path).p is None


def test_a_plain_array_may_hold_one_mask_but_not_none(tmp_path):
    np.save(tmp_path / "one.npy", masks(1))
    assert ds.Recording.load(tmp_path / "one.npy").trials == 1
    np.save(tmp_path / "none.npy", np.ones((0, 4)))
    with pytest.raises(ValueError, match=r"an array of shape \(0, 4\), where \(trials, ...\) is needed"):
        ds.Recording.load(tmp_path / "none.npy")


def test_a_plain_array_of_outputs_is_read(tmp_path):
    np.save(tmp_path / "a.npy", masks() * np.float16(1 / 0.7))
    recording = ds.Recording.load(tmp_path / "a.npy")
    assert recording.scales == {float(np.float16(1 / 0.7)): masks().sum()}
    assert recording.dtype == "float16"


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"keep": np.zeros((4, 2), np.uint8)}, "keep without shape"),
        ({"keep": np.zeros((4, 3), np.uint8), "shape": [4, 13]}, r"keep of shape \(4, 3\) and dtype uint8"),
        ({"keep": np.zeros((4, 13)), "shape": [4, 13]}, r"keep of shape \(4, 13\) and dtype float64"),
        (
            {"keep": np.zeros((4, 2), np.uint8), "shape": [13]},
            r"shape \[13\], where \(trials, ...\) is needed",
        ),
        ({"keep": np.zeros((4, 2), np.uint8), "shape": [4.0, 13.0]}, r"shape \[4.0, 13.0\]"),
        ({"keep": np.zeros((0, 2), np.uint8), "shape": [0, 13]}, r"shape \[0, 13\]"),
        ({"keep": np.zeros((4, 2), np.uint8), "shape": [-4, 13]}, r"shape \[-4, 13\]"),
        (
            {"keep": np.zeros((4, 2), np.uint8), "shape": [4, 13], "version": 2},
            "version 2, where this",
        ),
        ({"keep": np.zeros((4, 2), np.uint8), "shape": [4, 13], "p": [0.1, 0.2]}, r"p of shape \(2,\)"),
        ({"keep": np.zeros((4, 2), np.uint8), "shape": [4, 13], "p": 1.5}, r"p must be in \[0, 1\]; got 1.5"),
        (
            {"keep": np.zeros((4, 2), np.uint8), "shape": [4, 13], "trailing": [4, 4]},
            r"trailing shape \[4, 4\] of 13 neurons",
        ),
        (
            {"keep": np.full((4, 2), 255, np.uint8), "shape": [4, 13], "known": np.zeros((4, 2), np.uint8)},
            "not known",
        ),
        ({"keep": np.zeros((4, 2), np.uint8), "shape": [4, 13], "scales": [1.0]}, r"scales of shape \(1,\)"),
        ({"weights": np.ones((3, 3)), "bias": np.ones(3)}, "an archive of 'weights', 'bias'"),
        ({"weights": np.random.default_rng(0).normal(size=(30, 3))}, "more than 16 different values"),
        ({"text": np.array([["a", "b"]])}, "an array of dtype <U1"),
        ({"vector": np.ones(5)}, r"an array of shape \(5,\)"),
        ({"table": np.full((3, 3), 2)}, r"masks must hold 0 \(dropped\) and 1 \(kept\) only; got 2.0"),
        ({"words": np.full((3, 3), 0x3F8E, np.uint16)}, r"16270.0 at index \(0, 0\); give 16-bit words"),
        ({"packed": np.full((3, 3), 255, np.uint8)}, r"255.0 at index \(0, 0\); unpack packed bits"),
        ({"inputs": np.ones((2, 3)), "outputs": np.ones((4, 3))}, "inputs must have the outputs' shape"),
        ({}, "an archive of nothing"),
    ],
)
def test_foreign_archives_are_refused_in_one_line(tmp_path, content, got):
    path = write(tmp_path / "a.npz", **content)
    with pytest.raises(ValueError, match=f"a.npz: expected a recording .*; got .*{got}") as error:
        ds.Recording.load(path)
    assert "\n" not in str(error.value)


VALID = {"keep": np.full((4, 2), 255, np.uint8), "shape": np.array([4, 13]), "dtype": "float32"}


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"nans": -3}, "nans -3, where 0 to 52 is needed"),
        ({"unscaled": -1}, "unscaled -1, where 0 to 52"),
        ({"infs": 53}, "infs 53, where 0 to 52"),
        ({"other_scales": 1.5}, r"other_scales of shape \(\) and dtype float64"),
        ({"distinct_scales": -1}, "distinct_scales -1, where 0 to 52"),
        ({"nan_inputs": 2, "nan_inputs_dropped": 3}, "nan_inputs_dropped 3 of 2 NaN inputs"),
        ({"scales": [[np.nan, 52.0]]}, r"scales \[nan\], where distinct numbers other than 0"),
        ({"scales": [[0.0, 52.0]]}, r"scales \[0.0\], where distinct"),
        ({"scales": [[1.5, 20.0], [1.5, 20.0]]}, r"scales \[1.5, 1.5\], where distinct"),
        ({"scales": [[1.5, -3.0]]}, r"scales that occur \[-3.0\] times"),
        ({"scales": [[1.5, 2.5]]}, r"scales that occur \[2.5\] times"),
        ({"scales": [[1.5, np.nan]]}, r"scales that occur \[nan\] times"),
        ({"scales": [[1.5, 53.0]]}, r"scales that occur \[53.0\] times"),
        ({"scales": [[1.5, 40.0], [2.0, 13.0]]}, "scales of 53 kept values, where 52 are kept"),
        ({"scales": [[1.5, 52.0]], "unscaled": 1}, "scales of 53 kept values, where 52 are kept"),
        ({"scale": np.nan}, r"scales \[nan\]"),
        ({"scale": "two"}, r"scale of shape \(\) and dtype <U3"),
        ({"scale_tolerance": -0.5}, r"scale_tolerance -0.5, where \[0, 1\) is needed"),
        ({"scale_tolerance": np.nan}, "scale_tolerance nan"),
        ({"scale_tolerance": 1.0}, "scale_tolerance 1.0"),
        ({"dtype": "posit16"}, "dtype 'posit16', which dropstats does not know"),
        ({"dtype": 32}, r"dtype of shape \(\) and dtype int64"),
        ({"trailing": [13.5]}, r"trailing shape \[13.5\] of 13 neurons"),
        ({"trailing": [-1, -13]}, r"trailing shape \[-1, -13\] of 13 neurons"),
        ({"neuron_scales": np.ones(12)}, r"neuron_scales of shape \(12,\) and dtype float64 for 13 neurons"),
        ({"neuron_scales": np.ones(13, np.int64)}, "neuron_scales of shape .* and dtype int64"),
        ({"input_edges": [0.0]}, "input_counts"),
        (
            {"input_edges": [0.0], "input_counts": [[1, 1, 1], [0, 0, 0]]},
            r"input_edges of shape \(1,\) with input_counts",
        ),
        ({"input_edges": [1.0, 0.0], "input_counts": [[1, 1, 1], [0, 0, 0]]}, r"input_edges of shape \(2,\)"),
        ({"input_edges": [np.nan], "input_counts": [[1, 1], [0, 0]]}, r"input_edges of shape \(1,\)"),
        (
            {"input_edges": [0.0], "input_counts": [[1, 1], [0, 2]]},
            r"input_counts \[\[1, 1\], \[0, 2\]\] of 52",
        ),
        ({"input_edges": [0.0], "input_counts": [[1, 1], [0, -1]]}, "input_counts .* of 52 neurons"),
        ({"input_edges": [0.0], "input_counts": [[50, 3], [0, 1]]}, "input_counts .* of 52 neurons"),
    ],
)
def test_what_values_cannot_say_is_refused(tmp_path, content, got):
    assert ds.Recording.load(write(tmp_path / "valid.npz", **VALID)).dtype == "float32"
    path = write(tmp_path / "a.npz", **{**VALID, **content})
    with pytest.raises(ValueError, match=f"a.npz: expected a recording .*; got .*{got}") as error:
        ds.Recording.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [*formats.DTYPES, "int64", "uint8"])
def test_every_dtype_that_is_written_is_read(tmp_path, dtype):
    assert ds.Recording.load(write(tmp_path / "a.npz", **{**VALID, "dtype": dtype})).dtype == dtype


class Tells:
    """Tells when it is unpickled."""

    opened = False

    def __reduce__(self):
        return (setattr, (Tells, "opened", True))


def test_nothing_is_unpickled(tmp_path):
    last = r"never unpickled|of another kind"
    pickles = {
        "object.npy": lambda path: np.save(path, np.array([[Tells()]]), allow_pickle=True),
        "object.npz": lambda path: np.savez(path, keep=np.array([[Tells()]]), shape=np.array([1, 1])),
        "p.npz": lambda path: np.savez(
            path, keep=np.zeros((1, 1), np.uint8), shape=[1, 1], p=np.array(Tells(), object)
        ),
        "plain.pkl": lambda path: path.write_bytes(pickle.dumps(Tells())),
    }
    for name, make in pickles.items():
        make(tmp_path / name)
        with pytest.raises(ValueError, match=last):
            ds.Recording.load(tmp_path / name)
    assert not Tells.opened


@pytest.mark.parametrize("content", [b"", b"\x00" * 99, b"keep,shape\n1,2\n", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz: expected a recording .*; got (a file|an empty)"):
        ds.Recording.load(path)


@pytest.mark.parametrize("kind", ["save", "npy", "npz"])
def test_no_cut_is_read(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "save":
        ds.Recording.from_outputs(masks(64, (40,)) * 1.25, p=0.2).save(path)
    else:
        with open(path, "wb") as file:
            np.save(file, masks(64, (40,))) if kind == "npy" else np.savez(file, masks(64, (40,)))
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="expected a recording"):
            ds.Recording.load(path)


def test_damage_is_refused_or_does_no_harm(tmp_path):
    path = tmp_path / "a"
    ds.Recording.from_outputs(masks(64, (40,)) * 1.25, p=0.2).save(path)
    whole = path.read_bytes()
    refused = harmless = 0
    for position in range(0, len(whole), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            recording = ds.Recording.load(path)
        except ValueError as error:
            refused += str(error).startswith(f"{path}: expected a recording")
        else:  # dates and the like, which nobody reads
            assert np.array_equal(recording.masks(), masks(64, (40,)))
            harmless += 1
    assert refused + harmless == len(range(0, len(whole), 3))
    assert refused > harmless


def test_an_encrypted_or_oddly_compressed_archive_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("keep.npy", b"x")
    raw = bytearray(buffer.getvalue())
    central = raw.index(b"PK\x01\x02")
    for offset, value in ((6, 1), (8, 99)):  # flags: encrypted; a compression method that is not known
        changed = bytearray(raw)
        changed[offset], changed[central + 2 + offset] = value, value
        path = tmp_path / "a.npz"
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="expected a recording"):
            ds.Recording.load(path)


def test_damage_that_another_compressor_finds_is_refused(tmp_path):
    content = io.BytesIO()
    np.save(content, np.ones((4, 5)))
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("masks.npy", content.getvalue())
    whole = path.read_bytes()
    assert ds.Recording.load(path).n == 5
    start = whole.index(b"masks.npy") + len(b"masks.npy") + 9  # beyond the header and the properties of LZMA
    path.write_bytes(whole[:start] + bytes(40) + whole[start + 40 :])
    with pytest.raises(ValueError, match=r"a\.npz: expected a recording"):  # lzma.LZMAError, a plain Exception
        ds.Recording.load(path)


def test_outputs_are_loaded_with_their_inputs(tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((20, 64)).astype(np.float32)
    outputs = np.where(rng.random((20, 64)) >= 0.5, 2 * inputs, 0)
    path = write(tmp_path / "a.npz", inputs=inputs, outputs=outputs)
    loaded, made = ds.Recording.load(path, 0.5), ds.Recording.from_outputs(outputs, 0.5, inputs)
    assert np.array_equal(loaded.masks(), made.masks())
    assert (loaded.p, loaded.scales, loaded.input_bins is None) == (0.5, made.scales, False)
    assert loaded.source == str(path)


def test_bfloat16_is_loaded_as_numpy_writes_it(tmp_path):
    # 0x3f8e is 1.109375; numpy knows no bfloat16 and writes its two bytes as V2
    words = np.where(ds.Layer(64, 0.1).sample(20, rng=0), 0x3F8E, 0).astype(np.uint16)
    np.save(tmp_path / "a.npy", words.view("V2"))
    recording = ds.Recording.load(tmp_path / "a.npy", 0.1)
    assert set(recording.scales) == {1.109375}
    assert recording.dtype == "bfloat16"
    assert ds.audit(recording)["scale"].message == "1/(1 - p) in bfloat16"


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        ds.Recording.load(tmp_path / "none.npz")


# ---- memory --------------------------------------------------------------------------------------------


def test_a_recording_takes_a_bit_a_neuron(monkeypatch):
    monkeypatch.setattr(recordings.arrays, "SLICE", 2**16)
    import tracemalloc

    outputs = np.ones((64, 2**16), np.float32)
    tracemalloc.start()
    recording = ds.Recording.from_outputs(outputs)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert recording.packed.nbytes == outputs.size // 8
    assert held < 1.1 * outputs.size / 8
    assert peak < held + 20 * 2**16


def test_a_recording_beyond_memory_is_refused():
    with pytest.raises(MemoryError, match="a recording of"):
        ds.record(lambda: True, 2**53)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("masks.npz", r"got 'masks.npz', a path: read a file with Recording.load\(path\)"),
        (Path("masks.npz"), r"a path: read a file with Recording.load\(path\)"),
        (print, r"of type builtin_function_or_method: record a layer with record\(layer, ...\), audit a model with"),
        (None, r"masks must be an array of shape \(trials, ...\); got None of type NoneType"),
        ({"a": 1}, r"got \{'a': 1\} of type dict"),
    ],
)
def test_what_is_no_array_is_refused_with_what_to_do_with_it(value, said):
    with pytest.raises(TypeError, match=said):
        ds.Recording.of(value)


def test_nan_of_infinite_inputs_is_told_from_other_nan():
    inputs = np.array([1.0, np.inf, 2.0, 3.0])
    outputs = np.array([[2.0, np.nan, 4.0, 6.0], [2.0, np.inf, 4.0, 6.0]])
    recording = ds.Recording.from_outputs(outputs, p=0.5, inputs=inputs)
    assert (recording.nans, recording.nans_of_infs) == (1, 1)
    assert "0 times an infinite input" in ds.audit(recording)["edges"].message
    outputs[0, 2] = np.nan
    recording = ds.Recording.from_outputs(outputs, p=0.5, inputs=inputs)
    assert (recording.nans, recording.nans_of_infs) == (2, 1)
    assert ds.audit(recording)["edges"].message == "2 outputs are NaN"
