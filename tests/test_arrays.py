"""Arrays of other libraries, by classes that do what these do and refuse what these refuse."""

import enum
import operator
import sys
import types

import numpy as np
import pytest

import dropstats as ds
from dropstats import formats
from dropstats.recording import arrays

# Measured on paddle 3.3.1, mlx 0.32.4 and torch 2.13.0; of cupy by its documentation.


class Fake:
    """An array of values with a dtype of its own; comparisons give the same class."""

    abs_of = compare = (*formats.DTYPES, "bool", "int64")

    def __init__(self, values, name="float32"):
        self.held = np.asarray(values)
        self.name = name

    @property
    def shape(self):
        return self.held.shape

    def like(self, values, name=None):
        return type(self)(values, name or self.name)

    def __getitem__(self, index):
        return self.like(self.held[index])

    def reshape(self, shape):
        return self.like(self.held.reshape(shape))

    def compared(self, other, how):
        if self.name not in self.compare:
            raise RuntimeError(f"not implemented for {self.name}")
        return self.like(how(self.held, other.held if isinstance(other, Fake) else other), "bool")

    __eq__ = lambda self, other: self.compared(other, operator.eq)  # noqa: E731
    __ne__ = lambda self, other: self.compared(other, operator.ne)  # noqa: E731
    __le__ = lambda self, other: self.compared(other, operator.le)  # noqa: E731
    __and__ = lambda self, other: self.compared(other, operator.and_)  # noqa: E731
    __hash__ = None

    def combined(self, other, how):
        return self.like(how(self.held, other.held if isinstance(other, Fake) else other))

    __mul__ = lambda self, other: self.combined(other, operator.mul)  # noqa: E731
    __sub__ = lambda self, other: self.combined(other, operator.sub)  # noqa: E731
    __add__ = lambda self, other: self.combined(other, operator.add)  # noqa: E731

    def __abs__(self):
        if self.name not in self.abs_of:
            raise RuntimeError(f"abs is not registered for {self.name}")
        return self.like(abs(self.held))

    def __array__(self, dtype=None, copy=None):
        raise NotImplementedError


class Torch(Fake):
    """Has gradients, knows no comparison of 8-bit floats, and numpy knows no bfloat16 of it."""

    compare = abs_of = ("float64", "float32", "float16", "bfloat16", "bool", "int64")

    def __init__(self, values, name="float32", gradient=True):
        super().__init__(values, name)
        self.gradient = gradient and name != "bool"

    class Dtype(str):
        """Written torch.float32."""

    @property
    def dtype(self):
        return self.Dtype(f"torch.{self.name}")

    def detach(self):
        return type(self)(self.held, self.name, False)

    def cpu(self):
        return self.detach() if not self.gradient else self

    def float(self):
        return type(self)(self.held.astype(np.float32), "float32", self.gradient)

    def numpy(self):
        if self.gradient:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        if self.name == "bfloat16" or "float8" in self.name:
            raise TypeError(f"Got unsupported ScalarType {self.name}")
        return self.held.astype(self.name)


class Paddle(Torch):
    """Writes FLOAT32, has no abs of narrow floats, and numpy gets their bits."""

    abs_of = ("float64", "float32")

    @property
    def dtype(self):
        return enum.Enum("DataType", [self.name.upper()])[self.name.upper()]

    @property
    def shape(self):
        return list(self.held.shape)

    def reshape(self, shape):
        return self.like(self.held.reshape(shape))

    def numpy(self):
        if self.name in formats.DTYPES[3:]:
            return np.zeros(self.held.shape, np.uint16)
        return self.held.astype(self.name)


class OldPaddle(Paddle):
    """Writes VarType.FP32."""

    @property
    def dtype(self):
        return "VarType." + {"float64": "FP64", "float32": "FP32", "float16": "FP16", "bfloat16": "BF16"}.get(
            self.name, self.name.upper()
        )


class Dtype:
    """One of mlx' dtypes, which have no name."""

    def __init__(self, name):
        self.written = name

    def __str__(self):
        return f"mlx.core.{self.written}"


float32 = Dtype("float32")  # as the module of mlx' dtypes has it


class Mlx(Fake):
    """Casts to its own dtypes only, and numpy knows no bfloat16 of it."""

    @property
    def dtype(self):
        return Dtype(self.name)

    def astype(self, dtype):
        if not isinstance(dtype, Dtype):
            raise TypeError("astype(): incompatible function arguments")
        return type(self)(self.held.astype(dtype.written), dtype.written)

    def __array__(self, dtype=None, copy=None):
        if self.name == "bfloat16":
            raise ValueError("'bfloat16' is not a valid PEP 3118 buffer format string")
        return self.held.astype(self.name)


class Cupy(Fake):
    """Is moved by get alone."""

    @property
    def dtype(self):
        return np.dtype(self.name)

    def astype(self, dtype):
        return type(self)(self.held.astype(dtype), dtype)

    def get(self):
        return self.held.astype(self.name)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")


LIBRARIES = [
    *((library, dtype) for library in (Torch, Paddle) for dtype in formats.DTYPES),
    *((OldPaddle, dtype) for dtype in formats.DTYPES[:4]),
    *((Mlx, dtype) for dtype in ("float32", "float16", "bfloat16", "float64")),
    *((Cupy, dtype) for dtype in formats.DTYPES[:3]),
]


def kept(shape=(20, 3, 5)):
    return np.random.default_rng(0).random(shape) >= 0.3


@pytest.mark.parametrize(("library", "dtype"), LIBRARIES)
def test_outputs_are_read(library, dtype):
    scale = formats.rounded(1 / 0.7, dtype)
    recording = ds.Recording.from_outputs(library(kept() * scale, dtype), p=0.3)
    np.testing.assert_array_equal(recording.masks(), kept().reshape(20, -1))
    assert (recording.scales, recording.dtype, recording.shape) == ({scale: kept().sum()}, dtype, (3, 5))
    assert recording.distinct_scales == 1


@pytest.mark.parametrize(("library", "dtype"), LIBRARIES)
def test_many_values_nan_and_infinities_are_read(library, dtype):
    values = np.array([[0, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, np.nan]])
    if formats._FORMATS[dtype].infinite:
        values = np.append(values, [[np.inf]], axis=1)
    recording = ds.Recording.from_outputs(library(values, dtype))
    assert (recording.nans, recording.dropped, len(recording.scales)) == (1, 1, values.size - 2)
    assert recording.infs == formats._FORMATS[dtype].infinite


@pytest.mark.parametrize(("library", "dtype"), LIBRARIES)
@pytest.mark.parametrize("other", [None, np.asarray])
def test_inputs_are_held_against_outputs(library, dtype, other):
    rng, scale = np.random.default_rng(1), formats.rounded(1 / 0.7, dtype)
    inputs = formats.rounded(rng.standard_normal((20, 3, 5)), dtype)
    inputs[:, 0] = 0
    outputs = np.where(kept(), formats.rounded(inputs * scale, dtype), 0)
    given = other(inputs) if other else library(inputs, dtype)
    recording = ds.Recording.from_outputs(library(outputs, dtype), p=0.3, inputs=given)
    known = (inputs != 0).reshape(20, -1)
    np.testing.assert_array_equal(recording.known_masks(), known)
    np.testing.assert_array_equal(recording.masks(), (outputs != 0).reshape(20, -1))
    (found,) = recording.scales
    assert abs(found - scale) <= recording.scale_tolerance * scale
    assert (recording.unscaled, recording.nans, recording.nonzero, recording.infs) == (0, 0, 0, 0)
    assert recording.input_bins.known.sum() == known.sum()
    assert recording.input_bins.dropped.sum() == recording.dropped
    wrong = library(np.where(outputs != 0, outputs * 4, 0), dtype)  # half of them below their rounding, were they right
    wrong.held[:, 1] = outputs[:, 1]
    assert ds.Recording.from_outputs(wrong, inputs=given).unscaled > 0


@pytest.mark.parametrize("dtype", formats.DTYPES)
def test_inputs_of_more_digits_may_be_rounded_by_the_implementation(dtype):
    for seed in range(20):
        rng, scale = np.random.default_rng(seed), formats.rounded(1 / 0.7, dtype)
        inputs = rng.standard_normal((20, 3, 5))
        outputs = formats.rounded(formats.rounded(inputs, dtype) * scale, dtype) * (rng.random(inputs.shape) >= 0.3)
        recording = ds.Recording.from_outputs(Torch(outputs, dtype), p=0.3, inputs=inputs)
        assert recording.unscaled == 0
        (found,) = recording.scales
        assert abs(found - scale) <= recording.scale_tolerance * scale


@pytest.mark.parametrize("dtype", formats.DTYPES)
@pytest.mark.parametrize("ones", [False, True])
def test_correctly_rounded_outputs_of_any_format_pass(dtype, ones):
    for seed in range(10):
        rng, p = np.random.default_rng(seed), (0.1, 0.3, 0.5)[seed % 3]
        inputs = np.ones((40, 50)) if ones else formats.rounded(rng.standard_normal((40, 50)), dtype)
        keep = formats.rounded(1 - p, dtype)
        outputs = formats.rounded(inputs / keep, dtype) * (rng.random(inputs.shape) >= p)
        given = None if ones else Torch(inputs, dtype)
        report = ds.audit(ds.Recording.from_outputs(Torch(outputs, dtype), p, given), tests=("scale", "mean"))
        assert report["scale"].verdict == report["mean"].verdict == "pass", report["scale"].message


@pytest.mark.parametrize("library", [Torch, Paddle, OldPaddle, Mlx, Cupy])
@pytest.mark.parametrize("dtype", ["bool", "int64", "float32"])
def test_masks_are_read(library, dtype):
    masks = library(kept().astype(dtype), dtype)
    for recording in (ds.Recording.from_masks(masks), ds.Recording.of(masks), ds.record(lambda: masks[0], 3)):
        np.testing.assert_array_equal(recording.masks(0, 1), kept()[:1].reshape(1, -1))
    assert ds.Recording.of(masks).scales is None
    assert ds.record(lambda: masks[0], 3).scales == (None if dtype != "float32" else {1.0: 3 * kept()[0].sum()})


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("torch.float32", "float32"),
        ("paddle.float32", "float32"),
        ("mlx.core.float32", "float32"),
        ("FLOAT32", "float32"),
        ("VarType.FP32", "float32"),
        ("VarType.BF16", "bfloat16"),
        ("FLOAT8_E4M3FN", "float8_e4m3fn"),
        ("torch.half", "float16"),
        ("double", "float64"),
        ("BOOL", "bool"),
        (np.float32, "float32"),
        (np.bool_, "bool"),
        (np.dtype("bool"), "bool"),
        (np.dtype("int8"), "int8"),
        (np.dtype(np.longdouble), "float64"),
        (enum.Enum("DataType", ["FLOAT16"]).FLOAT16, "float16"),
    ],
)
def test_dtypes_however_they_are_written(written, name):
    class Array:
        dtype = written

    assert arrays.dtype(Array) == name


def test_a_table_without_one_dtype_is_read_as_an_array():
    class Table:
        """Has a shape, as a pandas DataFrame, and a dtype for each column."""

        shape = (2, 3)

        def __array__(self, dtype=None, copy=None):
            return np.array([[1, 0, 1], [0, 1, 1]])

    assert ds.Recording.from_masks(Table()).mask_drops().tolist() == [1, 1]


@pytest.mark.parametrize(
    ("where", "expected"), [("fakes", "fakes 1.2 cuda:0"), ("fakes.core", "fakes 1.2 cuda:0"), ("", "fakes cuda:0")]
)
def test_the_source_is_the_library_its_version_and_the_device(monkeypatch, where, expected):
    class Array(Cupy):
        device = "cuda:0"

    Array.__module__ = "fakes.core.arrays"
    module = types.ModuleType(where or "fakes")
    if where:
        module.__version__ = "1.2"
    monkeypatch.setitem(sys.modules, where or "fakes", module)
    outputs = Array(kept((4, 5)) * 2.0)
    recorder = ds.Recorder()
    recorder.add(outputs[0])
    for recording in (ds.Recording.from_outputs(outputs), ds.Recording.of(outputs), recorder.recording()):
        assert recording.source == expected
    assert ds.Recording.from_outputs(outputs, source="mine").source == "mine"
    assert ds.Recording.from_outputs(np.ones((2, 3))).source == ""


def test_wide_numbers_are_read_as_doubles():
    recording = ds.Recording.from_outputs(np.array([[0, 1, 2]], np.longdouble))
    assert (recording.dtype, recording.scales) == ("float64", {1.0: 1, 2.0: 1})


def test_calls_of_several_dtypes_have_the_coarsest():
    calls = iter([np.ones(3, np.float32), np.ones(3, np.float16), np.ones(3)])
    assert ds.record(lambda: next(calls), 3).dtype == "float16"
    x = np.random.default_rng(0).standard_normal(500).astype(np.float16)
    for order in ((np.float32, np.float16), (np.float16, np.float32)):
        recorder = ds.Recorder()
        for dtype in order:
            recorder.add(x.astype(dtype) * dtype(1 / 0.7), x.astype(dtype))
        recording = recorder.recording()
        assert (recording.unscaled, recording.dtype) == (0, "float16")
        assert abs(next(iter(recording.scales)) - 1 / 0.7) < 2.0**-10


@pytest.mark.parametrize("shape", [(1, 50), (7, 5), (3, 16), (4, 4, 10)])
def test_pieces_hold_every_value_once(monkeypatch, shape):
    monkeypatch.setattr(arrays, "SLICE", 16)
    values = np.arange(np.prod(shape)).reshape(shape)
    seen = []
    for rows, columns, piece in arrays.blocks(values, "values").pieces():
        np.testing.assert_array_equal(piece, values.reshape(shape[0], -1)[rows, columns])
        assert piece.size <= 16
        seen += piece.reshape(-1).tolist()
    assert sorted(seen) == list(range(values.size))


def test_a_mask_without_neurons_is_no_single_mask():
    with pytest.raises(ValueError, match=r"got shape \(3,\); give a single mask in a list$"):
        ds.Recording.from_masks(np.ones(3, bool))
    with pytest.raises(ValueError, match=r"trials >= 1; got shape \(0,\)$"):
        ds.Recording.from_masks(np.ones(0, bool))


def test_a_dtype_that_is_none_of_these_is_refused():
    with pytest.raises(TypeError, match="outputs must be booleans or real numbers; got dtype complex64"):
        ds.Recording.from_outputs(np.ones((2, 2), np.complex64))
    with pytest.raises(ValueError, match=r"dtype must be one of float64, .*; got 'float4_e2m1fn'"):
        ds.Recording.from_outputs(Cupy4(np.ones((2, 2))))


class Cupy4(Cupy):
    """Of a format that nobody has told."""

    dtype = "float4_e2m1fn"


@pytest.mark.parametrize("dtype", formats.DTYPES[3:])
def test_numpy_reads_formats_of_ml_dtypes(dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    held, scale = np.dtype(getattr(ml_dtypes, dtype)), formats.rounded(1 / 0.7, dtype)
    recording = ds.Recording.from_outputs((kept() * scale).astype(held), p=0.3)
    assert (recording.scales, recording.dtype) == ({scale: kept().sum()}, dtype)
    inputs = np.random.default_rng(0).standard_normal(kept().shape).astype(held)
    outputs = np.where(kept(), formats.rounded(inputs.astype(np.float64) * scale, dtype), 0).astype(held)
    recording = ds.Recording.from_outputs(outputs, p=0.3, inputs=inputs)
    assert recording.unscaled == 0
    assert abs(next(iter(recording.scales)) - scale) <= recording.scale_tolerance * scale
