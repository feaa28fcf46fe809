"""Watching torch models: training loops, compiled code, what is not drawn by torch's operations, ranks, bad input."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dropstats as ds
from dropstats.cli import main

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("seeded_torch")]

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

ROOT = Path(__file__).parent.parent


class Net(nn.Module):
    def __init__(self, p=0.2, q=0.1):
        super().__init__()
        self.first, self.last = nn.Linear(16, 64), nn.Linear(64, 4)
        self.drop, self.q = nn.Dropout(p), q

    def forward(self, x):
        x = functional.dropout(torch.tanh(self.first(x)), self.q, self.training)
        return self.last(self.drop(torch.tanh(x)))


class Modules(nn.Module):
    """Dropout by modules alone, which is all that compiled code shows."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 4)
        self.early, self.late = nn.Dropout(0.3), nn.Dropout(0.1)

    def forward(self, x):
        x = self.early(torch.tanh(self.first(x)))
        return self.last(self.late(torch.relu(self.middle(x))))


def train(model, steps, sizes=(8,)):
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.randn(sizes[step % len(sizes)], 16)).square().mean().backward()
        optimizer.step()


def rates(report):
    return {name: round(site.p, 6) for name, site in report.sites.items()}


def failing(report):
    return {result.name for result in report.results if result.verdict == "fail"}


# Training loops


def test_a_training_loop_is_watched_and_trains_as_without():
    model, other = Net(), Net()
    other.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    with ds.watch(model) as draws:
        train(model, 40)
    torch.manual_seed(1)
    train(other, 40)
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    report = draws.audit()
    assert report.passed, str(report)
    assert rates(report) == {"dropout": 0.1, "drop": 0.2}
    assert (report.passes, report.sites["drop"].draws, report.sites["drop"].n) == (40, 40, 8 * 64)
    assert report["scale"].verdict == report["sites"].verdict == "pass"
    assert report["seeds"].verdict == report["recomputed"].verdict == "not applicable"


def test_batches_of_unlike_size_are_audited_at_the_width_that_loses_least():
    model = Net()
    with ds.watch(model) as draws:
        train(model, 40, (8, 8, 8, 3))
    report = draws.audit()
    assert report.passed, str(report)
    assert (report.sites["drop"].trials, report.sites["drop"].draws, report.sites["drop"].n) == (30, 40, 8 * 64)
    assert "drop: 30 of 40 masks, for the others are shorter" in report.notes


def test_memory_is_bounded_by_the_first_positions_of_each_mask():
    model = Net()
    with ds.watch(model, neurons=2**12) as draws:
        train(model, 40)
    report = draws.audit()
    assert report.passed, str(report)
    for site in report.sites.values():
        assert site.trials == site.draws == 40
        assert 2**11 <= site.trials * site.n <= 2**12
    assert f"drop: the first {report.sites['drop'].n} of 512 neurons of a mask" in report.notes


def test_evaluation_inside_the_block_is_told_apart():
    def run(model):
        with ds.watch(model) as draws:
            for _ in range(4):
                train(model.train(), 10)
                with torch.no_grad():
                    model.eval()(torch.randn(8, 16))
        return draws.audit()

    report = run(Net())
    assert report.passed, str(report)
    assert report["evaluation"].message == "no draw in 4 passes, equal outputs, and the model stays as it is"

    class Always(Net):
        def forward(self, x):
            return functional.dropout(super().forward(x), 0.5)

    report = run(Always())
    assert failing(report) == {"evaluation"}
    assert "draws in evaluation mode at dropout" in report["evaluation"].message


def test_training_left_in_evaluation_mode_is_found_by_state():
    model = Net()
    with ds.watch(model) as draws:
        train(model, 20)
        with torch.no_grad():
            model.eval()(torch.randn(8, 16))
        train(model, 20)  # nobody called model.train()
    report = draws.audit()
    assert failing(report) == {"state"}
    assert "20 passes with gradients in evaluation mode" in report["state"].message


def test_a_rate_changed_while_training_is_found_by_coverage():
    model = Net()
    with ds.watch(model) as draws:
        train(model, 20)
        model.drop.p = 0.5
        train(model, 30)
    report = draws.audit()
    assert "coverage" in failing(report)
    assert "drop declares p = 0.2 and draws at 0.5 (30 of 50 calls)" in report["coverage"].message
    # what the loop does on purpose is said so
    assert "rate" in {result.name.rpartition(": ")[2] for result in report.failures}


def test_recomputation_in_a_training_loop():
    class Saving(Net):
        def __init__(self, **options):
            super().__init__()
            self.options = options

        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=False, **self.options)

    for options, verdict in (({}, "pass"), ({"preserve_rng_state": False}, "fail")):
        model = Saving(**options)
        with ds.watch(model) as draws:
            train(model, 20)
        report = draws.audit()
        assert report["recomputed"].verdict == verdict
        if verdict == "pass":
            assert report.passed, str(report)
            assert report["recomputed"].observed >= 20


def test_a_module_called_on_its_own_and_an_exception_leave_nothing_behind():
    model = Net()

    def breaks(module, args):
        raise ArithmeticError("broken")

    handle = model.last.register_forward_pre_hook(breaks)
    with ds.watch(model) as draws:
        for _ in range(20):
            with pytest.raises(ArithmeticError):
                model(torch.randn(8, 16))
            functional.dropout(torch.ones(1000), 0.5)  # none of the model's
        handle.remove()
        for _ in range(20):
            model.drop(torch.ones(8, 64))
    report = draws.audit()
    assert rates(report) == {"dropout": 0.1, "drop": 0.2}
    assert report.sites["drop"].draws == 40
    assert report.passed, str(report)
    assert torch._C._len_torch_dispatch_stack() == 0


def test_autocast_and_small_dtypes_are_named():
    model = Net()
    with ds.watch(model) as draws, torch.autocast("cpu", torch.bfloat16):
        train(model, 30)
    report = draws.audit()
    assert report.passed, str(report)
    assert {site.dtype for site in report.sites.values()} <= {"bfloat16", "float32"}


# Monitors


def test_a_correct_model_raises_no_alarm():
    model = Net()
    with ds.watch(model, monitor=True, on_alarm="raise") as draws:
        train(model, 60, (8, 8, 6, 9))
    assert list(draws.monitors) == ["dropout", "drop"]
    assert draws.monitors["drop"].trials == 45  # masks of fewer rows than the first are left out
    assert draws.monitors["drop"].n == 8 * 64
    assert draws.alarms == {}
    assert draws.audit().passed


class Stuck(Net):
    """Sets the seed anew in every step from the fourth on."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls >= 4:
            torch.manual_seed(0)
        return super().forward(x)


def test_an_alarm_is_raised_at_the_step_that_shows_it():
    model, steps = Stuck(), []

    def loop():
        for _ in range(20):
            train(model, 1)
            steps.append(1)

    with ds.watch(model, monitor=True, on_alarm="raise") as draws, pytest.raises(RuntimeError, match="dropout at"):
        loop()
    assert len(steps) == 4  # the fifth step draws what the fourth drew
    assert torch._C._len_torch_dispatch_stack() == 0
    assert all(alarm.check == "duplicates" for alarm in draws.alarms.values())


def test_alarms_warn_or_call_a_function():
    with ds.watch(model := Stuck(), monitor=True), pytest.warns(RuntimeWarning, match="dropout at drop"):
        train(model, 8)
    told = {}
    with ds.watch(model := Stuck(), monitor=True, on_alarm=told.__setitem__) as draws:
        train(model, 12)
    assert set(told) == set(draws.alarms) == {"dropout", "drop"}
    assert all(alarm.step <= 6 for alarm in told.values())
    assert not draws.audit().passed


def test_a_wrong_rate_is_told_of_the_site_at_fault():
    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop_rate = 0.1

        def forward(self, x):
            return x * (torch.randint(0, 128, x.shape) >= 13) / 0.9 if self.training else x

    Rounded.__name__ = "RoundedDropout"
    model, told = nn.Sequential(nn.Linear(16, 2**12), nn.Dropout(0.1), Rounded()), {}
    with ds.watch(model, monitor=True, on_alarm=told.__setitem__):
        for _ in range(60):
            model(torch.randn(16, 16))
    assert list(told) == ["2"]
    assert told["2"].check == "rate"


def test_bad_monitors():
    with pytest.raises(
        ValueError, match="on_alarm must be 'warn', 'raise' or a function of a site and an alarm; got 3"
    ):
        ds.watch(Net(), monitor=True, on_alarm=3).__enter__()
    with pytest.raises(ValueError, match="false_alarm must be in"):
        ds.watch(Net(), monitor=True, false_alarm=2).__enter__()
    with ds.watch(Net()) as draws:
        assert draws.monitors == draws.alarms == {}


# Laws, p


def test_p_and_laws_of_sites_are_taken():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout2d(0.2), nn.Dropout(0.3))
    x = torch.randn(4, 3, 10, 10)
    assert ds.audit_model(model, x, calls=32, laws={"1": ds.Layer(8, 0.2), "2": ds.Layer(8 * 64, 0.3)}).passed
    report = ds.audit_model(model, x, calls=32, p={"1": 0.5})
    assert report.sites["1"]["rate"].verdict == "fail"
    assert report.sites["1"].p == 0.5
    assert report.sites["2"].passed
    with pytest.raises(ValueError, match=r"p and laws must name sites of the model, which are 1, 2; got '7'"):
        ds.audit_model(model, x, calls=4, p={"7": 0.1})
    with pytest.raises(ValueError, match=r"law of '1' must have as many neurons as a mask, 32, or a divisor; got 7"):
        ds.audit_model(model, x, calls=4, laws={"1": ds.Layer(7, 0.1)})
    with pytest.raises(ValueError, match="whole masks must be kept: neurons=2048"):
        ds.audit_model(
            nn.Sequential(nn.Dropout(0.5)), torch.ones(512), calls=4, neurons=1024, laws={"0": ds.Layer(512, 0.5)}
        )


# What no operation of torch draws


class Hidden(nn.Module):
    """Dropout of an extension: drawn by numpy, so that no operation of torch is seen."""

    def __init__(self, p, right=True):
        super().__init__()
        self.p_drop, self.right = p, right
        self.rng = np.random.default_rng(0)

    def forward(self, x):
        return HiddenFunction.apply(x, self) if self.training else x


class HiddenFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, module):
        keep = torch.from_numpy(module.rng.random(tuple(x.shape)) >= module.p_drop)
        ctx.save_for_backward(keep if module.right else keep.roll(1))
        ctx.scale = 1 / (1 - module.p_drop)
        return torch.where(keep, x * ctx.scale, 0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0] * ctx.scale, None


Hidden.__name__ = "HiddenDropout"


def test_a_module_that_draws_by_itself_is_seen_by_its_outputs():
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), Hidden(0.25), nn.Linear(64, 64), nn.Tanh(), Hidden(0.5))
    with ds.watch(model) as draws:
        train(model, 60)
    report = draws.audit()
    assert report.passed, str(report)
    assert {site.recorder for site in report.sites.values()} == {"outputs"}
    assert rates(report) == {"2": 0.25, "5": 0.5}
    assert report["coverage"].observed == 2
    assert report["scale"].observed == 2


@pytest.mark.parametrize("right", [True, False])
def test_gradients_of_a_module_that_draws_by_itself_are_compared_on_ones(right):
    model = nn.Sequential(nn.Linear(16, 64), Hidden(0.25, right))
    report = ds.audit_model(model, torch.randn(8, 16), calls=8)
    assert report["gradient"].verdict == ("pass" if right else "fail")
    assert "seeds" in failing(report)  # numpy's generator is none that a seed of torch's reaches


@torch.library.custom_op("dropstats_tests::attention", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def fused_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout_p: float, is_causal: bool
) -> torch.Tensor:
    """Attention that keeps its mask to itself, as kernels of accelerators do."""
    return functional.scaled_dot_product_attention(query, key, value, None, dropout_p, is_causal)


class Fused(nn.Module):
    def __init__(self, p, asked=None):
        super().__init__()
        self.attention_dropout, self.asked = p, p if asked is None else asked
        self.last = nn.Linear(8, 8)

    def forward(self, x):
        q = self.last(x)
        return fused_attention(q, x, x, self.asked if self.training else 0.0, True)


def test_the_mask_of_fused_attention_is_shown():
    x = torch.randn(2, 3, 20, 8)
    with torch.no_grad():
        report = ds.audit_model(Fused(0.2), x, calls=32)
        assert report.passed, str(report)
        site = report.sites["fused_attention"]
        assert (site.n, site.p) == (2 * 3 * 20 * 20, 0.2)
        # of keys that a causal mask hides it cannot be told
        assert site.observed_rate == pytest.approx(0.2, abs=0.02)
        other = ds.audit_model(Fused(0.2, asked=0.4), x, calls=32)
        assert failing(other) == {"coverage"}


# Compiled code


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_model_is_seen_as_compiled(in_place):
    model = Modules()
    if in_place:
        model.compile(backend="aot_eager", fullgraph=True)
    compiled = model if in_place else torch.compile(model, backend="aot_eager", fullgraph=True)
    train(compiled, 2)  # compiled before it is watched
    with ds.watch(compiled) as draws:
        train(compiled, 60)
    report = draws.audit()
    assert report.passed, str(report)
    assert rates(report) == {"early": 0.3, "late": 0.1}
    assert {site.recorder for site in report.sites.values()} == {"outputs"}
    assert report.sites["early"].draws == 60
    assert report["scale"].observed == 2
    seen = len(draws.sites)
    train(compiled, 2)
    assert len(draws.sites) == seen
    assert draws.sites.passes == 60
    assert not any(module._forward_hooks for module in model.modules())


def test_a_compiled_model_is_audited_and_what_it_hides_is_named():
    class Hides(Modules):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(64, 4, 0.2, batch_first=True)

        def forward(self, x):
            x = self.early(torch.tanh(self.first(x)))
            x = functional.dropout(self.attention(x, x, x)[0], 0.4, self.training)
            return self.last(self.late(torch.tanh(self.middle(x))))

    model = torch.compile(Hides(), backend="aot_eager", fullgraph=True)
    report = ds.audit_model(model, torch.randn(4, 8, 16), calls=16)
    assert report.passed, str(report)
    assert report.model == "Hides"
    assert list(report.sites) == ["early", "late"]
    assert list(report.unjudged) == ["attention", "dropout"]
    assert "not seen: attention, dropout" in report["coverage"].message
    assert report["evaluation"].verdict == report["state"].verdict == report["seeds"].verdict == "pass"


def test_a_compiled_part_of_an_eager_model():
    model = nn.Sequential(nn.Dropout(0.4), Modules(), nn.Dropout(0.2))
    model[1] = torch.compile(model[1], backend="aot_eager")
    with ds.watch(model) as draws:
        train(model, 40)
    report = draws.audit()
    assert rates(report) == {"0": 0.4, "1.early": 0.3, "1.late": 0.1, "2": 0.2}
    assert [site.recorder for site in report.sites.values()] == ["operations", "outputs", "outputs", "operations"]
    assert report.passed, str(report)


class Frozen(nn.Module):
    """Drops the same neurons in each call."""

    def __init__(self):
        super().__init__()
        self.drop_rate = 0.3
        self.register_buffer("mask", torch.rand(64) >= 0.3)

    def forward(self, x):
        return x * self.mask / 0.7 if self.training else x


Frozen.__name__ = "FrozenDropout"


def test_a_frozen_mask_is_found_in_compiled_code():
    model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), Frozen())
    compiled = torch.compile(model, backend="aot_eager")
    with ds.watch(compiled) as draws:
        train(compiled, 20)
    report = draws.audit()
    assert not report.passed
    assert report.sites["2"].failures


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about itself
def test_inductor():
    model = torch.compile(Modules(), fullgraph=True)
    with ds.watch(model) as draws:
        train(model, 40)
    report = draws.audit()
    assert report.passed, str(report)
    assert rates(report) == {"early": 0.3, "late": 0.1}


# Ranks

RANK = """
import sys, torch, torch.distributed as dist
import dropstats as ds
rank, file, seed, out = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
torch.manual_seed(7)
nn = torch.nn
net = nn.Sequential(nn.Linear(16, 64), nn.Dropout(0.2), nn.Linear(64, 64), nn.Dropout(0.2))
model = torch.nn.parallel.DistributedDataParallel(net)
torch.manual_seed(seed + rank)
optimizer = torch.optim.SGD(model.parameters(), 1e-3)
with ds.watch(model) as draws:
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.ones(4, 16)).square().mean().backward()
        optimizer.step()
report = draws.audit()
assert report.passed and list(report.sites) == ["module.1", "module.3"], str(report)
draws.save(out)
dist.destroy_process_group()
"""


def ranks(folder, seeds):
    files = [folder / f"rank{rank}.npz" for rank in range(2)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(folder / "meet"), str(seeds[rank]), str(files[rank])],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return {file.stem: ds.Recording.load(file) for file in files}


def test_two_real_processes_are_held_against_each_other(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    independent = ranks(tmp_path / "a", (1, 1))
    assert {recording.p for recording in independent.values()} == {0.2}
    assert ds.audit_streams(independent).passed
    same = ranks(tmp_path / "b", (1, 0))  # the rank is taken off again: one seed on both
    report = ds.audit_streams(same)
    assert not report.passed
    assert "identical masks" in report["agreement"].message
    for folder, expect, status in (("a", "independent", 0), ("b", "independent", 1), ("b", "identical", 0)):
        files = [str(tmp_path / folder / f"rank{rank}.npz") for rank in range(2)]
        assert main(["streams", *files, "--expect", expect]) == status


# Bad input


def test_a_model_without_dropout_is_refused():
    with pytest.raises(ValueError, match="model must have dropout; got Sequential, in which no module declares"):
        ds.audit_model(nn.Sequential(nn.Linear(16, 4), nn.Dropout(0.0)), torch.randn(8, 16))
    with ds.watch(nn.Linear(4, 4)) as draws:
        pass
    with pytest.raises(ValueError, match="nothing was drawn while the model was watched"):
        draws.audit()
    with pytest.raises(ValueError, match="there are no masks to save"):
        draws.save("nowhere.npz")


def test_errors_of_the_model_say_in_which_pass():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        ds.audit_model(Net(), torch.randn(8, 7))
    assert caught.value.__notes__ == [
        "dropstats: raised by the model in training mode, call 1 of 64, on inputs of shape (8, 7)"
    ]

    class Fails(Net):
        def forward(self, x):
            if not self.training:
                raise KeyError("no evaluation")
            return super().forward(x)

    model = Fails()
    with pytest.raises(KeyError, match="no evaluation") as caught:
        ds.audit_model(model, torch.randn(8, 16), calls=4)
    assert caught.value.__notes__ == ["dropstats: raised by the model in evaluation mode"]
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_device_without_memory_left_is_said():
    class Full(Net):
        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    with pytest.raises(torch.OutOfMemoryError, match="out of memory") as caught:
        ds.audit_model(Full(), torch.randn(8, 16))
    assert any("give smaller inputs" in note for note in caught.value.__notes__)


def test_too_few_calls_are_refused():
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.01))
    with pytest.raises(ValueError, match="calls must be at least 2; got 1"):
        ds.audit_model(model, torch.randn(1, 4), calls=1)
    with pytest.raises(ValueError, match=r"calls to test any site: 2 calls drew 16 neurons at 1; p = 0\.01 needs"):
        ds.audit_model(model, torch.randn(1, 4), calls=2)


def test_unknown_kinds_of_models_are_refused():
    for model in ("model", 3, nn.Linear):
        with pytest.raises(TypeError, match=r"model must be .*a torch\.nn\.Module.*; got "):
            ds.audit_model(model, torch.randn(8, 16))
        with pytest.raises(TypeError, match=r"a torch\.nn\.Module"), ds.watch(model):
            pass


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"false_alarm": 0}, ValueError, r"false_alarm must be in \(0, 1\); got 0"),
        ({"calls": "many"}, TypeError, "calls must be an integer; got 'many'"),
        ({"neurons": 10}, ValueError, "neurons must be at least 1024; got 10"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        ds.audit_model(Net(), torch.randn(8, 16), **options)


def test_a_report_says_what_it_has():
    report = ds.audit_model(Net(), torch.randn(8, 16), calls=8)
    with pytest.raises(KeyError, match="no check named 'rate'; the report has coverage, evaluation"):
        report["rate"]
    assert ds.testing.assert_model(Net(), torch.randn(8, 16), calls=8).passed
