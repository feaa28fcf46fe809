"""Dropout that a model's author wrote: what is recognised, what is tested, and what the report says was not."""

import pytest

import dropstats as ds

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.framework


class Noise(torch.nn.Module):
    """Dropout by another name, with a mistake."""

    def __init__(self, p=0.1, wrong=""):
        super().__init__()
        self.p, self.wrong = p, wrong

    def forward(self, x):
        if not self.training:
            return x
        p = 1 - self.p if self.wrong == "keep" else self.p
        shape = (x.shape[0], 1, x.shape[2]) if self.wrong == "steps" else x.shape
        kept = x * (torch.rand(shape) >= p)
        return kept if self.wrong == "scale" else kept / (1 - p)


class Sequence(torch.nn.Module):
    """A sequence model with somebody's own dropout, under a name of choice."""

    def __init__(self, name, wrong=""):
        super().__init__()
        self.before, self.after = torch.nn.Linear(8, 64), torch.nn.Linear(64, 1)
        self.name = name
        setattr(self, name, Noise(wrong=wrong))

    def forward(self, x):
        return self.after(getattr(self, self.name)(self.before(x)))


def audited(name, wrong="", **options):
    torch.manual_seed(0)
    return ds.audit_model(Sequence(name, wrong), torch.randn(8, 6, 8), calls=16, **options)


@pytest.mark.parametrize(
    ("wrong", "failing"),
    [("", []), ("scale", ["drop: mean", "drop: scale"]), ("keep", ["coverage", "drop: rate", "drop: scale"])],
)
def test_a_plain_module_that_the_model_calls_dropout_is_dropout(wrong, failing):
    report = audited("drop", wrong)
    assert sorted({one.name for one in report.failures} - {"scale", "mean"}) == failing
    assert report.passed is (not failing)
    assert report.notes == ()


@pytest.mark.parametrize("wrong", ["", "keep"])
def test_where_nobody_declares_p_the_report_says_so(wrong):
    report = audited("noise", wrong)
    (site,) = report.sites
    asked = "0.9" if wrong else "0.1"
    first, second = report.notes
    assert first.startswith(f"no module declares a p at {site}: tested against that of the draw itself, {asked};")
    assert second.startswith(f"the scale is not tested at {site}")
    assert report.passed
    declared = audited("noise", wrong, p={site: 0.1})
    assert declared.passed is not bool(wrong)
    assert not any("declares" in note for note in declared.notes)


def test_a_mask_for_all_steps_of_a_sequence_is_pointed_out():
    assert "one random bit for 6 neurons (a mask of shape (8, 1, 64)) at drop" in audited("drop", "steps").notes


def test_a_linen_module_is_to_be_given_as_a_function_of_a_key():
    linen = type("Module", (), {"__module__": "flax.linen.module"})
    with pytest.raises(TypeError, match=r"a linen Module as lambda key: module\.apply\(variables, \*inputs, rngs="):
        ds.audit_model(type("Net", (linen,), {})(), torch.ones(3))


def test_what_follows_from_another_failure_is_one_line():
    report = audited("drop", "scale")
    assert "FAILS mean as a consequence" in str(report)
    assert "FAILS scale: scale 1 where" in str(report)
