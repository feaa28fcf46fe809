"""Audits of whole torch models: correct ones pass, and each check fails on a model that has its defect."""

import json

import numpy as np
import pytest

import dropstats as ds

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("seeded_torch")]

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

CHECKS = ["coverage", "evaluation", "state", "seeds", "recomputed", "gradient", "sites", "scale", "mean"]


def rates(report):
    return {name: round(site.p, 6) for name, site in report.sites.items()}


def failing(report):
    return {result.name for result in report.results if result.verdict == "fail"}


class Around(nn.Module):
    """A linear layer, then a function or module, then another linear layer."""

    def __init__(self, inner, width=64):
        super().__init__()
        self.first, self.last = nn.Linear(16, width), nn.Linear(width, 4)
        self.inner = inner

    def forward(self, x):
        return self.last(self.inner(torch.tanh(self.first(x))))


class Function(nn.Module):
    """A module that calls a function of its input and its mode."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x, self.training)


def audited(inner, calls=64, **options):
    return ds.audit_model(Around(inner), torch.randn(8, 16), calls=calls, **options)


def mask_of(x, training, make):
    return make(x) if training else x


# Progress


def test_progress_is_shown_and_an_interrupt_leaves_the_model_as_it_was():
    seen = []

    def shown(items, stop=None, **options):
        seen.append((options["desc"], options["total"]))
        for index, item in enumerate(items):
            if index == stop:
                raise KeyboardInterrupt
            yield item

    assert audited(nn.Dropout(0.1), calls=8, progress=shown).sites
    assert seen[:2] == [("passes in training mode", 8), ("auditing", 1)]
    model = Around(nn.Dropout(0.1)).eval()
    before = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        ds.audit_model(model, torch.zeros(8, 16), calls=8, progress=lambda items, **options: shown(items, 3, **options))
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(TypeError, match=r"progress must be True, False or a function .*; got 3"):
        audited(nn.Dropout(0.1), progress=3)


# Correct models


def encoder(p=0.1, layers=2, width=32):
    layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=p, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def test_an_encoder_passes_and_every_site_is_named_and_held_to_its_p():
    report = ds.audit_model(encoder(), torch.randn(8, 16, 32))
    assert report.passed, str(report)
    assert bool(report)
    # four draws a layer: attention, after attention, inside and after the feed-forward part
    names = [f"layers.{i}.{part}" for i in (0, 1) for part in ("self_attn", "dropout1", "dropout", "dropout2")]
    assert list(report.sites) == names
    assert set(rates(report).values()) == {0.1}
    assert [result.name for result in report] == CHECKS
    assert report["coverage"].observed == 8
    attention = report.sites["layers.0.self_attn"]
    assert attention.passed
    assert (attention.mode, attention.dtype, attention.device) == ("training", "float32", "cpu")
    assert (attention.draws, attention.n, attention.recorder) == (64, 8 * 4 * 16 * 16, "operations")
    assert attention["scale"].verdict == "pass"


def test_a_whole_transformer_passes():
    model = nn.Transformer(32, 4, 2, 2, 64, dropout=0.2, batch_first=True)
    report = ds.audit_model(model, torch.randn(4, 12, 32), torch.randn(4, 10, 32), calls=32)
    assert report.passed, str(report)
    assert len(report.sites) == 2 * 4 + 2 * 6
    assert set(rates(report).values()) == {0.2}


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_draw_between_their_layers(cell):
    report = ds.audit_model(cell(16, 32, 3, dropout=0.3, batch_first=True), torch.randn(8, 12, 16), calls=32)
    assert report.passed, str(report)
    assert rates(report) == {f"{cell.__name__}:1": 0.3, f"{cell.__name__}:2": 0.3}
    assert report["gradient"].verdict == "pass"


class Zoo(nn.Module):
    """Dropout in every way that a model may write it."""

    def __init__(self):
        super().__init__()
        self.alpha, self.channels, self.identity = nn.AlphaDropout(0.2), nn.Dropout1d(0.25), nn.Dropout(0.0)
        self.features = nn.FeatureAlphaDropout(0.3)
        self.inplace = nn.Dropout(0.1, inplace=True)
        self.share = 0.35

    def forward(self, x):
        if self.training:
            x = x * torch.bernoulli(torch.full_like(x, 0.9)) / 0.9
            x = x * torch.bernoulli(x.detach(), 0.85)
            x = torch.where(torch.rand(x.shape) < self.share, 0.0, x)
            x = x.masked_fill(torch.rand_like(x) < 0.15, 0)
            x = x * (torch.randint(0, 10, x.shape) != 0)
            x = x * (torch.empty_like(x).uniform_(-1, 1) > -0.6)
            x = x * (1 - (torch.rand(x.shape) > 0.7).float())
            x = x * torch.floor(0.8 + torch.rand(x.shape))
            x = torch.native_dropout(x, 0.4, True)[0]
        x = functional.dropout(x, 0.45, self.training)
        x = self.inplace(self.features(self.channels(self.alpha(self.identity(x)))) + 0)
        q = x.unflatten(-1, (2, -1)).transpose(1, 2)
        return functional.scaled_dot_product_attention(q, q, q, dropout_p=0.5 if self.training else 0.0)


def test_every_way_to_write_dropout_is_read():
    report = ds.audit_model(Zoo(), torch.randn(16, 24, 16))
    assert report.passed, str(report)
    assert rates(report) == {
        "bernoulli:1": 0.1,
        "bernoulli:2": 0.15,
        "rand:1": 0.35,
        "rand_like": 0.15,
        "randint": 0.1,
        "uniform_": 0.2,
        "rand:2": 0.3,
        "rand:3": 0.2,
        "native_dropout": 0.4,
        "dropout": 0.45,
        "alpha": 0.2,
        "channels": 0.25,
        "features": 0.3,
        "inplace": 0.1,
        "scaled_dot_product_attention": 0.5,
    }
    assert report.sites["channels"].n == 16 * 24  # a bit a channel
    assert "bernoulli:1 (p = 0.1)" in report["coverage"].message


class SharedInside(nn.Module):
    """One dropout module used twice, and a generator of its own."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.3)
        self.generator = torch.Generator()

    def forward(self, x):
        x = self.drop(x)[:, :32]
        if self.training:
            x = x * (torch.rand(x.shape, generator=self.generator) >= 0.2)
        return torch.cat([self.drop(x)] * 2, -1)


def test_a_module_that_draws_twice_has_two_sites_and_an_own_generator_is_put_back():
    inner = SharedInside()
    before = inner.generator.get_state()
    report = audited(inner)
    assert report.passed, str(report)
    assert rates(report) == {"inner.drop:1": 0.3, "inner.rand": 0.2, "inner.drop:2": 0.3}
    assert [site.n for site in report.sites.values()] == [8 * 64, 8 * 32, 8 * 32]
    assert torch.equal(inner.generator.get_state(), before)


def test_a_draw_that_is_no_mask_is_listed():
    class Noisy(nn.Module):
        def forward(self, x):
            return functional.dropout(x + torch.randn_like(x) + torch.rand(64), 0.2, True) if self.training else x

    report = audited(Noisy(), calls=32)
    assert report.passed
    assert report.unjudged == {
        "inner.randn_like": "no mask came of randn_like (32 times)",
        "inner.rand": "no mask came of rand (32 times)",
    }
    assert "seen, not tested" in str(report)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout2d(0.2))
    x = torch.randn(4, 3, 12, 12)
    model[1].eval()
    model(x).sum().backward()
    seen = lambda: [  # noqa: E731
        *(buffer.clone() for buffer in model.buffers()),
        *(parameter.grad.clone() for parameter in model.parameters()),
        torch.get_rng_state(),
        x.clone(),
        torch.tensor([module.training for module in model.modules()]),
    ]
    before, hooks = seen(), sum(len(module._forward_hooks) for module in model.modules())
    report = ds.audit_model(model, x, calls=16)
    assert report.passed, str(report)
    assert all(map(torch.equal, before, seen()))
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks == 0


def test_equal_calls_give_equal_reports_and_json():
    model, x = encoder(layers=1), torch.randn(4, 8, 32)
    first, second = (ds.audit_model(model, x, calls=8).to_json() for _ in range(2))
    assert first == second
    plain = json.loads(first)
    assert plain["version"] == 2
    assert plain["sites"]["layers.0.self_attn"]["recorder"] == "operations"
    assert {result["name"] for result in plain["results"]} == set(CHECKS)


def test_a_mapping_of_inputs_is_keywords_where_the_model_takes_them():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.2)

        def forward(self, a, b):
            return {"sum": self.drop(a + b)}

    class Whole(Named):
        def forward(self, batch):
            return super().forward(**batch)

    batch = {"a": torch.ones(8, 64), "b": torch.ones(8, 64)}
    for model in (Named(), Whole()):
        assert ds.audit_model(model, batch, calls=16).passed
    assert ds.audit_model(Named(), batch["a"], b=batch["b"], calls=16).passed


class Skipping(nn.Module):
    """Skips its layers at random."""

    def __init__(self, layers=3, p=0.4):
        super().__init__()
        self.layers = nn.ModuleList(nn.Dropout(0.1) for _ in range(layers))
        self.layerdrop = p

    def forward(self, x):
        for layer in self.layers:
            if self.training and torch.rand([]) < self.layerdrop:
                continue
            x = layer(x)
        return x


def test_layers_that_are_skipped_at_random_pass():
    report = audited(Skipping(), calls=128)
    assert report.passed, str(report)
    assert rates(report) == {f"inner.rand:{i + 1}": 0.4 for i in range(3)} | {
        f"inner.layers.{i}": 0.1 for i in range(3)
    }
    assert 60 < report.sites["inner.layers.2"].draws < 95


# Attention whose dropout module is never called


class Attention(nn.Module):
    def __init__(self, p=0.1):
        super().__init__()
        self.drop = nn.Dropout(0.1)
        self.p = p

    def forward(self, x):
        q = x.unflatten(-1, (4, 4, 4))
        p = self.p if self.training else 0.0
        return functional.scaled_dot_product_attention(q, q, q, dropout_p=p).flatten(1)


def test_a_dropout_module_that_is_never_called_counts_where_a_function_draws_at_its_p():
    assert audited(Attention()).passed
    report = audited(Attention(0.2))
    assert failing(report) == {"coverage"}
    assert "inner.drop declares p = 0.1 and never drew" in report["coverage"].message


# Defects, each found by its check


def test_dropout_without_training_is_found_by_evaluation():
    report = audited(Function(lambda x, training: functional.dropout(x, 0.2)))
    assert failing(report) == {"evaluation"}
    message = report["evaluation"].message
    assert "draws in evaluation mode at inner.dropout" in message
    assert "different outputs" in message
    assert "random state" in message


def test_an_evaluation_that_changes_buffers_is_found():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.drop(x)

    report = audited(Counting(), calls=8)
    assert report["evaluation"].verdict == "fail"
    assert "changes the model's buffers" in report["evaluation"].message


class Scheduled(nn.Module):
    """Dropout whose p grows with every call."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.1)
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        if self.calls > 5:
            self.drop.p = 0.3
        return self.drop(x)


def test_a_p_changed_by_a_schedule_is_found_by_coverage():
    inner = Scheduled()
    report = audited(inner)
    assert {"coverage"} <= failing(report)
    assert "inner.drop declares p = 0.1 and draws at 0.3 (59 of 64 calls)" in report["coverage"].message
    assert report.sites["inner.drop"]["rate"].verdict == "fail"
    assert inner.drop.p == 0.1


def test_a_module_that_never_draws_is_found_by_coverage():
    class Forgets(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused, self.dropout_rate = nn.Dropout(0.2), nn.Dropout(0.3), 0.15

        def forward(self, x):
            return self.used(x)

    report = audited(Forgets())
    assert failing(report) == {"coverage"}
    message = report["coverage"].message
    assert "inner.unused declares p = 0.3 and never drew" in message
    assert "inner declares dropout_rate = 0.15; draws in it are at 0.2" in message
    assert report["coverage"].observed == 1


def test_keep_probability_given_as_p_is_found_by_the_site():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = 0.1

        def forward(self, x):
            return x * torch.empty_like(x).bernoulli_(self.dropout) / self.dropout if self.training else x

    report = audited(Keeps())
    assert not report.passed
    assert "keep probability given as p" in report.sites["inner"]["rate"].message
    assert "coverage" in failing(report)


def test_dropout_left_off_after_evaluation_is_found_by_state():
    class Forgetful(nn.Dropout):
        def train(self, mode=True):
            if not mode:
                self.p = 0.0
            return super().train(mode)

    model = Forgetful(0.2)
    report = audited(model)
    assert failing(report) == {"state"}
    assert "nothing is drawn at inner" in report["state"].message
    assert model.p == 0.2


class Cached(nn.Module):
    """Draws a mask once and uses it for ever; `own` makes a generator of the same seed in each call."""

    def __init__(self, own=False):
        super().__init__()
        self.drop_rate, self.own = 0.2, own
        self.mask = None

    def forward(self, x):
        if not self.training:
            return x
        generator = torch.Generator().manual_seed(1) if self.own else None
        if self.mask is None or self.own:
            self.mask = torch.rand(x.shape, generator=generator) >= self.drop_rate
        return x * self.mask / (1 - self.drop_rate)


def test_a_mask_drawn_from_one_seed_is_found_by_seeds():
    report = audited(Cached(own=True))
    assert failing(report) == {"seeds"}
    assert "two different seeds give the same masks at inner" in report["seeds"].message
    assert report.sites["inner"]["duplicates"].verdict == "fail"


def test_a_cached_mask_is_found():
    report = audited(Cached())
    assert not report.passed
    assert failing(report) >= {"coverage", "state"}
    assert "inner drew in 1 of the 64 calls in training" in report["coverage"].message
    with pytest.raises(AssertionError, match="inner drew in 1 of the 64 calls"):
        ds.testing.assert_model(Around(Cached()), torch.randn(8, 16))


def test_an_unseeded_mask_is_found_by_seeds():
    class Unseeded(nn.Module):
        def __init__(self):
            super().__init__()
            self.state = np.random.default_rng()

        def forward(self, x):
            if not self.training:
                return x
            generator = torch.Generator().manual_seed(int(self.state.integers(2**60)))
            return x * (torch.rand(x.shape, generator=generator) >= 0.2)

    report = audited(Unseeded())
    assert failing(report) == {"seeds"}
    assert "the same seed gives other masks at inner.rand" in report["seeds"].message


def test_two_layers_with_one_generator_are_found_by_sites():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop_rate, self.generator = 0.2, torch.Generator().manual_seed(3)

        def forward(self, x):
            if not self.training:
                return x
            return x * (torch.rand(x.shape, generator=self.generator) >= self.drop_rate) / (1 - self.drop_rate)

    report = audited(nn.Sequential(Own(), nn.Tanh(), Own()))
    assert failing(report) == {"sites"}
    assert "inner.0" in report["sites"].message
    assert "inner.2" in report["sites"].message


def test_one_generator_is_found_in_masks_of_unlike_width():
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = [torch.Generator().manual_seed(3) for _ in range(2)]

        def forward(self, x):
            if not self.training:
                return x
            x = x * (torch.rand(x.shape, generator=self.generator[0]) >= 0.2)
            y = x[:, :40]
            return torch.cat([y * (torch.rand(y.shape, generator=self.generator[1]) >= 0.2), x[:, 40:]], -1)

    assert "sites" in failing(audited(Narrow()))


@pytest.mark.parametrize("wrong", ["no scale", "1/p"])
def test_a_wrong_scale_is_found(wrong):
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop_rate = 0.2

        def forward(self, x):
            scale = 1.0 if wrong == "no scale" else 1 / self.drop_rate
            return x * (torch.rand_like(x) >= self.drop_rate) * scale if self.training else x

    Wrong.__name__ = "WrongDropout"
    report = audited(Wrong())
    assert failing(report) == {"scale", "mean"}
    assert "inner: " in report["scale"].message


# Gradients


class OtherMask(torch.autograd.Function):
    """A backward pass that draws a mask of its own."""

    @staticmethod
    def forward(ctx, x):
        return x * (torch.rand_like(x) >= 0.2) / 0.8

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (torch.rand_like(gradient) >= 0.2) / 0.8


class NoMask(torch.autograd.Function):
    """A backward pass that forgets the mask."""

    @staticmethod
    def forward(ctx, x):
        return x * (torch.rand_like(x) >= 0.2) / 0.8

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 0.8


class RightMask(torch.autograd.Function):
    """A backward pass that keeps the mask."""

    @staticmethod
    def forward(ctx, x):
        mask = torch.rand_like(x) >= 0.2
        ctx.save_for_backward(mask)
        return x * mask / 0.8

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0] / 0.8


class Redrawn(torch.autograd.Function):
    """A backward pass that draws the same mask again, from the same seed."""

    @staticmethod
    def forward(ctx, x):
        ctx.state = torch.get_rng_state()
        return x * (torch.rand_like(x) >= 0.2) / 0.8

    @staticmethod
    def backward(ctx, gradient):
        state = torch.get_rng_state()
        torch.set_rng_state(ctx.state)
        mask = torch.rand_like(gradient) >= 0.2
        torch.set_rng_state(state)
        return gradient * mask / 0.8


@pytest.mark.parametrize(
    ("function", "wrong"), [(OtherMask, True), (NoMask, True), (RightMask, False), (Redrawn, False)]
)
def test_a_backward_with_another_mask_is_found_by_gradient(function, wrong):
    report = audited(Function(lambda x, training: function.apply(x) if training else x))
    assert failing(report) == ({"gradient"} if wrong else set()), str(report)
    assert report.passed is not wrong
    assert list(report.sites) == [f"inner.{function.__name__}"]
    if wrong:
        assert f"inner.{function.__name__}" in report["gradient"].message


# Activation checkpointing


class Checkpointed(nn.Module):
    def __init__(self, block, **options):
        super().__init__()
        self.block, self.options = block, options

    def forward(self, x):
        x = checkpoint(self.block, x, **self.options)
        return checkpoint(lambda y: self.block(functional.dropout(y, 0.3, self.training)), x, **self.options)


def block():
    return nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.2), nn.Tanh(), nn.Dropout(0.1))


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_masks_are_held_against_the_forward_ones(reentrant):
    right = audited(Checkpointed(block(), use_reentrant=reentrant))
    assert right.passed, str(right)
    assert right["recomputed"].message == "all 5 recomputed masks are those of the forward pass"
    assert "inner.dropout" in rates(right)
    wrong = audited(Checkpointed(block(), use_reentrant=reentrant, preserve_rng_state=False))
    assert failing(wrong) == ({"recomputed"} if reentrant else {"recomputed", "gradient"})
    assert "5 recomputed masks differ from those of the forward pass" in wrong["recomputed"].message


class Counted(nn.Module):
    """Draws once more, or not at all, when it is run again."""

    def __init__(self, more):
        super().__init__()
        self.drop, self.more, self.calls = nn.Dropout(0.2), more, 0

    def forward(self, x):
        again = torch._C._current_graph_task_id() >= 0
        if again and not self.more:
            return x * torch.ones_like(x)
        if again:
            self.drop(torch.ones(3, 5))
        return self.drop(x)


@pytest.mark.parametrize("more", [True, False])
def test_a_missing_or_additional_recomputed_mask_is_found(more):
    report = audited(Checkpointed(Counted(more), use_reentrant=True))
    assert failing(report) == {"recomputed"}
    expected = "that the forward pass did not draw" if more else "of the forward pass are not recomputed"
    assert expected in report["recomputed"].message


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # of the inner one, in the outer's forward
def test_nested_checkpoints_pass():
    class Nested(nn.Module):
        def __init__(self, reentrant):
            super().__init__()
            self.inner, self.drop, self.reentrant = block(), nn.Dropout(0.3), reentrant

        def forward(self, x):
            inner = lambda y: checkpoint(self.inner, self.drop(y), use_reentrant=self.reentrant)  # noqa: E731
            return checkpoint(inner, x, use_reentrant=self.reentrant)

    for reentrant in (True, False):
        report = audited(Nested(reentrant), calls=16)
        assert report.passed, str(report)
        assert report["recomputed"].verdict == "pass"


def test_a_stretch_that_is_nested_in_one_that_is_run_again_is_known_when_its_turn_comes():
    from dropstats.models.replays import Replays, Seen

    replays = Replays()
    inner, outer = 1, 2
    replays.forward(Seen("a", 7), (inner, outer), began=1)
    # the outer stretch is run again, and in it the inner one, which is a new one by then; then that one
    replays.again(Seen("a", 7), outer, run=5, recomputed=True)
    replays.forward(Seen("a", 7), (3,), began=-6)
    replays.again(Seen("a", 7), 3, run=6, recomputed=True)
    replays.finish()
    assert replays.recomputed.equal == replays.recomputed.total == 2
