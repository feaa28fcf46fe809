"""What torch models draw on CUDA, where no device is needed: fake tensors, and stand-ins that bear the kernels' names.

A stand-in has the arguments and the results of torch's own kernel, by its schema, and draws its mask itself; what is
seen of it is what is seen of the kernel.
"""

import math
import re
from functools import partial

import numpy as np
import pytest

import dropstats as ds

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("seeded_torch")]

from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.nn import functional  # noqa: E402

from dropstats.models.torch import attention, compiled, generators, operations  # noqa: E402

ATEN = torch.ops.aten
NONE = torch.empty(0)


class Function(nn.Module):
    """A module that declares a rate, and calls a function of its input and this rate while it trains."""

    def __init__(self, function, dropout=0.2, asked=None):
        super().__init__()
        self.function, self.dropout, self.asked = function, dropout, dropout if asked is None else asked

    def forward(self, x):
        return self.function(x, self.asked) if self.training else x


def watched(model, x, calls=30):
    with torch.no_grad(), ds.watch(model) as draws:
        for _ in range(calls):
            model(x)
    return draws.audit()


# Stand-ins


def weights(query, key, causal):
    found = query.float() @ key.float().transpose(-1, -2) / math.sqrt(query.shape[-1])
    if causal:
        found = found.masked_fill(torch.ones(found.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
    return torch.softmax(found, -1)


def kept(shape, p, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(int(seed))) >= p


def attend(query, key, value, p, causal):
    """Attention whose mask is drawn from a number that the generator gives, as of a seed and an offset."""
    seed = torch.empty((), dtype=torch.int64).random_()
    plain = weights(query, key, causal)
    output = plain * kept(plain.shape, p, seed) / (1 - p) @ value.float()
    return output.to(query.dtype), torch.empty(plain.shape[:-1]), seed


def flash(query, key, value, dropout_p=0.0, is_causal=False, return_debug_mask=False, *, scale=None):
    output, sums, seed = attend(query, key, value, dropout_p, is_causal)
    return output, sums, NONE, NONE, query.shape[-2], key.shape[-2], seed, torch.zeros(()), NONE


def flash_backward(
    grad_out, query, key, value, out, logsumexp, cum_seq_q, cum_seq_k, max_q, max_k, dropout_p, is_causal, seed, offset,
    *, scale=None, other=0,
):  # fmt: skip
    plain = weights(query, key, is_causal)
    scaled = kept(plain.shape, dropout_p, seed + other) / (1 - dropout_p)
    inner = grad_out @ value.transpose(-1, -2) * scaled
    inner = plain * (inner - (inner * plain).sum(-1, keepdim=True)) / math.sqrt(query.shape[-1])
    return inner @ key, inner.transpose(-1, -2) @ query, (plain * scaled).transpose(-1, -2) @ grad_out


def efficient(query, key, value, attn_bias, compute_log_sumexp, dropout_p=0.0, is_causal=False, *, scale=None):
    output, sums, seed = attend(query, key, value, dropout_p, is_causal)
    return output, sums, seed, torch.zeros(())


def cudnn(
    query, key, value, attn_bias, compute_log_sumexp, dropout_p=0.0, is_causal=False, return_debug_mask=False, *,
    scale=None,
):  # fmt: skip
    output, sums, seed = attend(query, key, value, dropout_p, is_causal)
    return output, sums, NONE, NONE, query.shape[-2], key.shape[-2], seed, torch.zeros(()), NONE


def flash_forward(
    query, key, value, cum_seq_q, cum_seq_k, max_q, max_k, dropout_p, is_causal, return_debug_mask, *, scale=None,
    window_size_left=None, window_size_right=None, seqused_k=None, alibi_slopes=None, block_table=None, num_splits=None,
):  # fmt: skip
    turned = (tensor.transpose(1, 2) for tensor in (query, key, value))
    output, sums, seed = attend(*turned, dropout_p, is_causal)
    return output.transpose(1, 2), sums, seed, torch.zeros(()), NONE


def fused_dropout(x, p, generator=None):
    kept = torch.rand(x.shape, generator=generator) < p
    return x * kept / p, kept.to(torch.uint8)


def fused_dropout_in_fours(x, p, generator=None):
    kept = (torch.rand(x.numel() // 4, generator=generator) < p).repeat_interleave(4).reshape(x.shape)
    return x * kept / p, kept.to(torch.uint8)


def lstm(
    x, weight, stride, buffer, hx, cx, mode, hidden_size, proj_size, layers, batch_first, dropout, train, both,
    batch_sizes, state,
):  # fmt: skip
    output = torch.rand(*x.shape[:2], hidden_size)
    return output, hx.clone(), cx.clone(), NONE, NONE


KERNELS = {
    "_scaled_dot_product_flash_attention": flash,
    "_scaled_dot_product_flash_attention_backward": flash_backward,
    "_scaled_dot_product_efficient_attention": efficient,
    "_scaled_dot_product_cudnn_attention": cudnn,
    "_flash_attention_forward": flash_forward,
    "_fused_dropout": fused_dropout,
    "_masked_scale": lambda gradient, mask, scale: gradient * mask * scale,
    "_cudnn_rnn": lstm,
}


@pytest.fixture
def kernels():
    """Stand-ins on the CPU, under the names of kernels that only CUDA has; a test may put others in their place."""
    library, used = torch.library.Library("aten", "IMPL"), dict(KERNELS)
    for name in used:
        library.impl(name, lambda *args, name=name, **options: used[name](*args, **options), "CPU")
    yield used
    library._destroy()


def call_flash(x, p):
    return ATEN._scaled_dot_product_flash_attention(x, x, x, p, True)[0]


def call_efficient(x, p):
    return ATEN._scaled_dot_product_efficient_attention(x, x, x, None, False, p, True)[0]


def call_cudnn(x, p):
    return ATEN._scaled_dot_product_cudnn_attention(x, x, x, None, False, p, True)[0]


def call_flash_forward(x, p):
    y = x.transpose(1, 2)
    return ATEN._flash_attention_forward(y, y, y, None, None, 20, 20, p, True, False)[0].transpose(1, 2)


def call_lstm(x, p):
    state = torch.zeros(2, x.shape[1], 8, device=x.device, dtype=x.dtype)
    weights = [torch.zeros(32, 8, device=x.device, dtype=x.dtype) for _ in range(4)]
    return ATEN._cudnn_rnn(x, weights, 2, None, state, state, 2, 8, 0, 2, False, p, True, False, [], None)[0]


ATTENTION = [call_flash, call_efficient, call_cudnn, call_flash_forward]


# What keeps its mask to itself


@pytest.mark.parametrize("call", ATTENTION)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_fused_attention_is_judged(kernels, call, dtype):
    x = torch.randn(2, 3, 20, 8, dtype=dtype)
    report = watched(Function(call), x)
    assert report.passed, str(report)
    (site,) = report.sites.values()
    assert (site.p, site.n, site.draws, site.dtype) == (0.2, 2 * 3 * 20 * 20, 30, str(dtype).removeprefix("torch."))
    # of keys that a causal mask hides it cannot be told
    assert site.observed_rate == pytest.approx(0.2, abs=0.02)
    other = watched(Function(call, asked=0.4), x)
    assert "declares dropout = 0.2; draws in it are at 0.4" in other["coverage"].message


@pytest.mark.parametrize("call", ATTENTION)
def test_the_mask_of_fused_attention_is_the_one_that_was_used(kernels, call):
    # values that are a part of the identity show some columns of the mask
    q, k = torch.randn(2, 2, 3, 20, 8)
    v = torch.eye(20)[None, None, :, :8].expand(2, 3, 20, 8).contiguous()
    turned = call is call_flash_forward
    name = {call_flash: "flash", call_efficient: "efficient", call_cudnn: "cudnn"}.get(call)
    func = ATEN._flash_attention_forward if turned else getattr(ATEN, f"_scaled_dot_product_{name}_attention")
    given = [x.transpose(1, 2) if turned else x for x in (q, k, v)]
    given += {call_flash: [], call_flash_forward: [None, None, 20, 20]}.get(call, [None, False])
    given += [0.3, False] + [False] * turned
    state = torch.get_rng_state()
    output = func.default(*given)[0]
    used, after = (output.transpose(1, 2) if turned else output) != 0, torch.get_rng_state()
    call = attention.Call(func.default, tuple(given), {}, state)
    mask, known, shape = attention.mask(call)
    assert torch.equal(mask[..., :8], used)
    assert known.all()
    assert shape == mask.shape == (2, 3, 20, 20)
    # as much of the batch as is asked for
    assert torch.equal(attention.mask(call, 900)[0], mask[:1])
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("other", [0, 1])
def test_the_gradient_of_fused_attention_is_held_against_its_mask(kernels, other):
    # a backward pass that draws its mask from another seed
    kernels["_scaled_dot_product_flash_attention_backward"] = partial(flash_backward, other=other)
    model = nn.Sequential(nn.Linear(8, 8), Function(call_flash))
    report = ds.audit_model(model, torch.randn(2, 3, 20, 8), calls=16)
    assert report.passed is not bool(other), str(report)
    message = report["gradient"].message
    if other:
        assert re.fullmatch(r"0\.3\d* of the gradients at 1 are zero, or not, in disagreement with the mask", message)
    else:
        assert message == "gradients are zero exactly where neurons were dropped, at 1 site"


def test_packed_sequences_are_listed_with_their_rate(kernels):
    def call(x, p):
        ends = torch.tensor([0, 20, 40])
        return ATEN._flash_attention_forward(x, x, x, ends, ends, 20, 20, p, False, False)[0]

    listed = "_flash_attention_forward at p = 0.2 in float32 on cpu, whose sequences are packed into one (2 times)"
    x = torch.randn(2, 20, 3, 8)
    report = watched(Function(call), x, 2)
    assert report.unjudged == {"Function": f"no mask came of {listed}"}
    assert report["coverage"].verdict == "pass"
    assert watched(Function(call, asked=0.5), x, 2)["coverage"].message.endswith(
        "the model declares dropout = 0.2; draws in it are at 0.5"
    )


def test_a_gradient_of_attention_draws_nothing():
    for name in ("_scaled_dot_product_cudnn_attention_backward", "_cudnn_attention_backward"):
        func = getattr(ATEN, name).default
        assert operations._role(func)[0] == "other"
        assert attention.places(func) is None


def test_a_rate_that_an_operation_of_another_library_takes_is_seen():
    @torch.library.custom_op("dropstats_tests::dropping", mutates_args=())
    def dropping(x: torch.Tensor, p_dropout: float) -> torch.Tensor:
        return x * (torch.rand(x.shape) >= p_dropout)

    listed = "dropstats_tests.dropping at p = 0.2 in float32 on cpu (3 times)"
    report = watched(Function(dropping), torch.ones(4, 8), 3)
    assert report.unjudged == {"Function": f"no mask came of {listed}"}
    assert watched(Function(dropping, asked=0.3), torch.ones(4, 8), 3)["coverage"].verdict == "fail"


def test_the_recurrent_layer_of_cudnn_is_listed_with_its_rate(kernels):
    x = torch.randn(4, 5, 8)
    report = watched(Function(call_lstm, 0.3), x, 3)
    assert report.unjudged == {"Function": "no mask came of _cudnn_rnn at p = 0.3 in float32 on cpu (3 times)"}
    assert report["coverage"].verdict == "pass"
    report = watched(Function(call_lstm, 0.3, asked=0.7), x, 3)
    assert "the model declares dropout = 0.3; draws in it are at 0.7" in report["coverage"].message
    with pytest.raises(ValueError, match="nothing was drawn"):
        watched(Function(call_lstm, 0.3, asked=0.0), x, 3)


# What returns its mask


def test_fused_dropout_takes_the_probability_to_keep(kernels):
    model = Function(lambda x, p: torch._fused_dropout(x, 1 - p)[0])
    report = ds.audit_model(model, torch.ones(8, 64, dtype=torch.half), calls=30)
    assert report.passed, str(report)
    (site,) = report.sites.values()
    assert (site.p, site.dtype, site.trials) == (0.2, "float16", 30)


def test_channels_that_drop_in_fours_are_found(kernels):
    # as pytorch/pytorch#198333 tells it of compiled dropout on CUDA
    kernels["_fused_dropout"] = fused_dropout_in_fours
    model = Function(lambda x, p: torch._fused_dropout(x, 1 - p)[0], 0.1)
    report = ds.audit_model(model, torch.ones(4, 64), calls=64)
    assert not report.passed
    (site,) = report.sites.values()
    assert site["dispersion"].message.startswith("groups of 4 neighbours drop together")
    assert report["coverage"].verdict == "pass"


# Fake tensors


FAKE = {
    "native_dropout": lambda x, p: torch.native_dropout(x, p, True)[0],
    "_fused_dropout": lambda x, p: torch._fused_dropout(x, 1 - p)[0],
    "_cudnn_rnn": call_lstm,
    "_scaled_dot_product_flash_attention": call_flash,
    "_scaled_dot_product_efficient_attention": call_efficient,
    "_scaled_dot_product_cudnn_attention": call_cudnn,
    "_flash_attention_forward": lambda x, p: ATEN._flash_attention_forward(x, x, x, None, None, 20, 20, p, True, False)[
        0
    ],
}


@pytest.mark.parametrize("operation", FAKE)
@pytest.mark.parametrize(("dtype", "device"), [(torch.float16, "cuda:0"), (torch.bfloat16, "cuda:1")])
def test_fake_tensors_on_cuda_are_listed_with_rate_dtype_and_device(operation, dtype, device):
    shape = (4, 6, 8) if operation == "_cudnn_rnn" else (4, 2, 6, 8)
    reports = []
    with FakeTensorMode():
        x = torch.empty(shape, dtype=dtype, device=device)
        for asked in (0.2, 0.5):
            reports.append(watched(nn.Sequential(Function(FAKE[operation], asked=asked)), x, 3))
    report, wrong = reports
    assert not report.passed
    assert not report.failures
    name = str(dtype).removeprefix("torch.")
    listed = f"no mask came of {operation} at p = 0.2 in {name} on {device}, without data (3 times)"
    assert report.unjudged == {"0": listed}
    assert report["coverage"].message == "the one declared rate is drawn at"
    assert wrong["coverage"].message.endswith("0 declares dropout = 0.2; draws in it are at 0.5")


@pytest.mark.parametrize("kind", ["meta", "cuda"])
def test_a_model_of_tensors_without_data_is_watched(kind):
    model = nn.Sequential(nn.Dropout(0.2), nn.Tanh(), nn.AlphaDropout(0.1))
    with FakeTensorMode() if kind == "cuda" else torch.device("meta"):
        report = watched(model, torch.empty(4, 8, device=kind), 3)
    assert set(report.unjudged) <= {"0", "2"}
    assert all("without data" in text for text in report.unjudged.values())
    assert not report.failures


# CUDA graphs


def test_what_is_captured_in_a_graph_is_listed_and_not_read(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(operations, "read", None)  # a copy to the host would end the capture
    model = nn.Sequential(nn.Dropout(0.2), nn.Tanh(), Function(torch.native_dropout, 0.1))
    model[2].function = lambda x, p: torch.native_dropout(x, p, True)[0]
    report = watched(model, torch.ones(4, 8), 1)
    assert report.unjudged == {
        "0": "no mask came of bernoulli_, captured in a CUDA graph, whose replays are not seen (1 time)",
        "2": "no mask came of native_dropout at p = 0.1 in float32 on cpu, captured in a CUDA graph, "
        "whose replays are not seen (1 time)",
    }


def test_a_module_that_replays_a_graph_is_named():
    model = nn.Sequential(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2)), nn.Dropout(0.1))

    def replay(x):  # as torch.cuda.make_graphed_callables puts in place of forward
        return torch.tanh(x)

    replay.__module__ = "torch.cuda.graphs"
    model[0].forward = replay
    x = torch.ones(64, 8)
    report = watched(model, x)
    assert report.passed, str(report)
    assert list(report.sites) == ["1"]
    assert report["coverage"].message == "the one declared rate is drawn at; not seen: 0.1"
    assert "replayed by a CUDA graph" in report.unjudged["0.1"]
    with pytest.raises(
        ValueError, match=r"no draw could be seen; 1: it is replayed by a CUDA graph, which shows no draw"
    ):
        watched(model[0], x)


def test_copies_in_other_threads_are_named():
    model = nn.DataParallel(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2)))
    assert compiled.out_of_sight(model) == {}  # without devices it calls the module itself
    model.device_ids = [0, 1]
    ((path, why),) = compiled.out_of_sight(model).items()
    assert path == "module.1"
    assert why == "DataParallel runs copies of it in other threads: watch it on one device, or by ranks"


# Memory, random states


def test_a_mask_that_there_is_no_memory_for_is_listed_and_the_random_state_is_kept(kernels):
    x, runs = torch.randn(2, 3, 20, 8), []

    def full(query, key, value, dropout_p=0.0, *rest, **options):
        runs.append(dropout_p)
        if len(runs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return flash(query, key, value, dropout_p)

    kernels["_scaled_dot_product_flash_attention"] = full
    torch.manual_seed(3)
    report = watched(Function(call_flash), x, 1)
    after = torch.get_rng_state()
    runs.clear()
    torch.manual_seed(3)
    call_flash(x, 0.2)
    assert torch.equal(torch.get_rng_state(), after)
    ((_, text),) = report.unjudged.items()
    assert text.endswith("at p = 0.2 in float32 on cpu, which there is no memory to run again (1 time)")


class Device:
    """A stand-in for torch.cuda: the random states of two devices."""

    def __init__(self):
        self.states = {0: torch.tensor([7]), 1: torch.tensor([8])}

    def is_initialized(self):
        return True

    def get_rng_state(self, device):
        return self.states[device.index].clone()

    def set_rng_state(self, state, device):
        self.states[device.index] = state.clone()


def test_the_random_state_of_every_device_is_kept(monkeypatch):
    cuda = Device()
    monkeypatch.setattr(torch, "get_device_module", lambda device: cuda)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))

    class Draws(nn.Module):
        def __init__(self, evaluation):
            super().__init__()
            self.drop, self.evaluation = nn.Dropout(0.2), evaluation

        def forward(self, x):
            if self.training or self.evaluation:
                cuda.states[1] += 1
            return self.drop(x)

    x = torch.ones(8, 64)
    assert ds.audit_model(Draws(False), x, calls=8).passed
    assert [int(state) for state in cuda.states.values()] == [7, 8]
    report = ds.audit_model(Draws(True), x, calls=8)
    assert report["evaluation"].message == "a pass in evaluation mode changes the model's random state"
    assert [int(state) for state in cuda.states.values()] == [7, 8]
    with generators.kept(torch.device("cuda", 1)):
        cuda.states[1] += 1
    assert int(cuda.states[1]) == 8


def test_a_seed_that_is_drawn_is_no_mask():
    class Seeds(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.2)

        def forward(self, x):
            seed = torch.empty((), dtype=torch.int64).random_()
            torch.empty(3).random_()
            return self.drop(x) + 0 * int(seed)

    report = watched(Seeds(), torch.ones(8, 64))
    assert report.passed, str(report)
    assert list(report.sites) == ["drop"]
    assert list(report.unjudged) == ["random_"]


# Modes of torch


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.drop = nn.Linear(16, 64), nn.Dropout(0.2)
        self.attention = nn.MultiheadAttention(64, 4, 0.1, batch_first=True)
        self.rnn = nn.LSTM(64, 32, 2, dropout=0.3, batch_first=True)

    def forward(self, x):
        x = self.drop(self.first(x))
        x = functional.dropout2d(self.attention(x, x, x)[0], 0.4, self.training)
        return self.rnn(x)[0]


RATES = {"drop": 0.2, "attention": 0.1, "dropout2d": 0.4, "rnn": 0.3}


@pytest.mark.filterwarnings("ignore:dropout2d")  # of an input of three axes
@pytest.mark.parametrize("mode", ["inference", "bfloat16", "float16"])
def test_inference_mode_and_autocast_show_the_same_sites(mode):
    # dropout in inference mode, as for estimates by Monte Carlo: there, torch shows `dropout` instead of what it draws
    around = torch.inference_mode() if mode == "inference" else torch.autocast("cpu", getattr(torch, mode))
    model, x = Net(), torch.randn(8, 6, 16)
    torch.manual_seed(1)
    with ds.watch(model) as draws, around:
        outputs = [model(x) for _ in range(30)]
    torch.manual_seed(1)
    with around:
        assert all(torch.equal(model(x), output) for output in outputs)  # the same numbers as without
    report = draws.audit()
    assert report.passed, str(report)
    assert {name: site.p for name, site in report.sites.items()} == RATES
    assert report["scale"].observed >= 3
    if mode != "inference":
        assert report.sites["drop"].dtype == mode


def test_dropout_inside_a_transform_is_seen():
    class Mapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.drop = nn.Linear(16, 64), nn.Dropout(0.3)

        def forward(self, x):
            return torch.func.vmap(lambda row: self.drop(self.first(row)), randomness="different")(x)

    report = ds.audit_model(Mapped(), torch.randn(32, 16), calls=16)
    assert report.passed, str(report)
    assert {name: (site.p, site.n) for name, site in report.sites.items()} == {"drop": (0.3, 32 * 64)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about itself
def test_torchscript_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), torch.jit.script(nn.Dropout(0.2)))
    with pytest.raises(
        TypeError, match=r"model must not be TorchScript, .*: give the module that was scripted; got '1' as"
    ):
        ds.audit_model(model, torch.ones(4, 4))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about itself
def test_channels_of_a_compiled_model_on_the_cpu_do_not_drop_in_fours():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.drop = nn.Conv1d(16, 64, 1), nn.Dropout(0.1)

        def forward(self, x):
            return self.drop(self.conv(x).transpose(1, 2)).sum()

    model = torch.compile(Turned(), fullgraph=True)
    with ds.watch(model) as draws:
        for _ in range(60):
            model(torch.randn(8, 16, 24)).backward()
    report = draws.audit()
    assert report.passed, str(report)
    masks = draws.recording().masks().reshape(60, 8, 24, 16, 4)
    assert np.corrcoef(masks[..., 0].ravel(), masks[..., 1].ravel())[0, 1] == pytest.approx(0, abs=0.02)
