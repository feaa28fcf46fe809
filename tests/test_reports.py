"""Reports as plain data, Markdown and pages: what they hold, that they come back, and that they are safe to pass on."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dropstats as ds
from dropstats.auditing import checks
from dropstats.models import ModelReport, SiteReport
from dropstats.rendering import markdown, text

RECORDINGS = Path(__file__).parent / "recordings"
NASTY = "<script>alert(1)</script> & \"quoted\" | `code` 'x' ]]> --> </pre>"


def masks(seed=0, trials=200, n=64, p=0.1):
    return ds.Layer(n, p).sample(trials, rng=seed)


def tensorflow():
    return ds.audit(ds.Recording.load(RECORDINGS / "tensorflow-2.21.0-bfloat16-n1024-p0.3.npz"))


def streams(**asked):
    return ds.audit_streams({"rank 0": masks(0), "rank 1": masks(1)}, p=0.1, **asked)


def noise():
    return ds.audit(np.random.default_rng(0).normal(1, 1 / 3, (300, 50)), ds.GaussianDropout(0.1))


def site(report, **facts):
    return SiteReport.of(report, dtype="float32", device="cpu", draws=report.trials, **facts)


def model(sites=3, wrong=1, name="encoder.layers.{}.dropout", source=""):
    """Return the report of a model that was never run, of audits that were."""
    right = replace(ds.audit(masks(0), p=0.1), source=source)
    off = replace(ds.audit(masks(1, p=0.2), p=0.1), source=source)
    results = (
        ds.Result("coverage", "pass", observed=3.0, expected=3.0, message="all 3 declared rates are drawn at"),
        ds.Result("evaluation", "fail", observed=1.0, expected=0.0, message=f"draws in evaluation mode {source}"),
        ds.Result("sites", "inconclusive", 0.5, 1.0, message="too few"),
    )
    found = {name.format(k): site(off if k < wrong else right) for k in range(sites)}
    return ModelReport("Net", 64, 1e-3, found, results, {"head": "no mask came of it"}, ("a note",), "torch 2.13.0")


REPORTS = {
    "audit": tensorflow,
    "masks": lambda: ds.audit(masks(), p=0.1, tolerance=0.01, scaling="direct", tests=["rate", "pairs"]),
    "channels": lambda: ds.audit(ds.Channels(8, 16, 0.2).sample(300, rng=0), ds.Channels(8, 16, 0.2)),
    "noise": noise,
    "streams": streams,
    "identical": lambda: streams(expect="identical"),
    "model": model,
}
KEYS = ("version", "passed", "law", "source", "notes", "scaling", "tolerance", "versions", "library", "results")


# --- plain data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_comes_back_from_its_json(name):
    report = REPORTS[name]()
    data = json.loads(report.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert data == report.to_dict()
    assert set(KEYS) <= set(data)
    assert "date" not in data
    again = type(report).from_dict(data)
    assert again == report
    assert str(again) == str(report)
    assert again.to_markdown() == report.to_markdown()
    assert type(report).from_dict(report.to_dict(date="2026-11-21")) == report


def test_what_the_keys_say():
    data = REPORTS["masks"]().to_dict()
    assert (data["version"], data["kind"]) == (2, "audit")
    assert data["law"] == "Layer(64, 0.1)"
    assert (data["scaling"], data["tolerance"]) == ("direct", 0.01)
    assert set(data["versions"]) == {"dropstats", "numpy", "scipy"}
    assert data["versions"]["numpy"] == np.__version__
    assert tensorflow().to_dict()["library"] == "tensorflow 2.21.0"
    assert noise().law == "GaussianDropout(p=0.1)"
    assert streams().to_dict()["expect"] == "independent"
    assert model().to_dict(date="2026-11-21")["date"] == "2026-11-21"


@pytest.mark.parametrize("name", ["audit", "streams", "model"])
def test_pictures_come_back_with_the_data_if_asked_for(name):
    report = REPORTS[name]()
    assert "pictures" not in report.to_json()
    again = type(report).from_dict(json.loads(report.to_json(pictures=True)))
    for old, new in zip(*([*one.sites.values()] if name == "model" else [one] for one in (report, again)), strict=True):
        assert {panel: set(parts) for panel, parts in old.pictures.items()} == {
            panel: set(parts) for panel, parts in new.pictures.items()
        }
        for panel, parts in old.pictures.items():
            for key, value in parts.items():
                if isinstance(value, np.ndarray):
                    np.testing.assert_allclose(new.pictures[panel][key], value, rtol=1e-5)
                else:
                    assert new.pictures[panel][key] == value
        new.plot()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 3, "versions": {"dropstats": "0.9"}}, "must be 2; got 3, written by dropstats 0.9"),
        ({"version": None}, "version of a report must be 2; got None"),
        ({"kind": "diary"}, "kind of the report must be 'audit' or 'streams'; got 'diary'"),
    ],
)  # fmt: skip
def test_an_unknown_layout_is_an_error(changes, says):
    with pytest.raises(ValueError, match=says):
        ds.Report.from_dict(REPORTS["masks"]().to_dict() | changes)


def test_the_layout_of_the_first_release_is_named():
    with pytest.raises(ValueError, match="version of a report must be 2; got 1"):
        ds.Report.from_dict({"schema": 1, "passed": True})


def test_a_model_is_no_audit():
    with pytest.raises(ValueError, match="kind of the report must be 'model'; got 'audit'"):
        ModelReport.from_dict(REPORTS["masks"]().to_dict())
    with pytest.raises(ValueError, match="got 'model'"):
        ds.Report.from_dict(model().to_dict())


def test_a_pickled_report_is_small():
    report = ds.audit(masks(trials=4000, n=1000), p=0.1, tests=["rate"])  # a recording of 0.5 MB
    data = pickle.dumps(report)
    assert len(data) < 200_000
    assert pickle.loads(data) == report
    assert pickle.loads(pickle.dumps(model())) == model()


def test_results_hold_no_number_that_json_cannot_write():
    result = ds.Result("rate", "pass", observed=float("nan"), detectable=float("inf"))
    assert ds.Result.from_dict(result.to_dict()).observed is None


# --- how much could be judged -------------------------------------------------------------------------------------


def results(**verdicts):
    return {"results": [{"name": name, "verdict": verdict} for name, verdict in verdicts.items()]}


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        ("pp", ""),
        ("p", ""),
        ("pi", "1 of 2 tests could judge; the recording is too small for the other"),
        ("pffiii", "3 of 6 tests could judge; the recording is too small for the others"),
        ("pnn", ""),
        ("pin", "1 of 2 tests could judge; the recording is too small for the other"),
        ("i", "the recording is too small"),
        ("nn", "no test applies"),
        ("iinn", "the recording is too small"),
    ],
)
def test_how_many_tests_could_judge(verdicts, says):
    words = {"p": "pass", "f": "fail", "i": "inconclusive", "n": "not applicable"}
    assert text.could_judge(results(**{f"t{k}": words[letter] for k, letter in enumerate(verdicts)})) == says


def test_headings():
    def head(report):
        return str(report).split("\n\n")[0].replace("\n", "").replace("  ", " ")

    one = ds.audit(masks(trials=5), p=0.1, tests=["rate", "pairs", "scale"])
    assert head(one) == (
        "Audit of 5 masks of 64 neurons, p = 0.1: passed, 1 of 2 tests could judge; "
        "the recording is too small for the other"
    )
    assert head(ds.audit(masks(), p=0.1, tests=["rate"])).endswith(": passed its one test")
    assert head(ds.audit(masks(), p=0.1, tests=["rate", "pairs"])).endswith(": passed all 2 tests")
    tiny = ds.audit([[True]], p=0.1, tests=["rate"])
    assert head(tiny).startswith(
        "Audit of 1 mask of 1 neuron, p = 0.1: nothing could be judged, the recording is too small"
    )
    assert head(ds.audit(masks(p=0.5), p=0.5)).endswith(": passed all 10 tests that apply")
    assert head(ds.audit(masks(p=0.2), p=0.1, tests=["rate", "scale"])).endswith(": FAILED (rate)")
    assert head(ds.audit(masks(p=0.9, trials=5), p=0.1, tests=["rate", "pairs"])).endswith(
        ": FAILED (rate), 1 of 2 tests could judge; the recording is too small for the other"
    )
    assert head(streams()).startswith("Audit of 2 streams of 200 masks of 64 neurons each, p = 0.1: passed all 3 tests")
    assert head(model()).startswith(
        "Audit of Net: 3 sites over 64 passes in training: FAILED (evaluation, 1 of 3 sites), "
        "3 of 4 sites could be judged"
    )
    assert "1 site over 1 pass in training" in head(replace(model(sites=1), passes=1))


# --- words of the tests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [*checks.OF_MASKS, *checks.OF_STREAMS, *checks.OF_COPIES, *checks.OF_NORMAL, *checks.OF_TWO_VALUES],
    ids=lambda check: check.name,
)
def test_each_test_says_what_it_looks_at(check):
    assert check.about.startswith(("how ", "what ", "whether "))
    assert check.quantity


def test_each_check_of_models_says_what_it_looks_at():
    from dropstats.models import report
    from dropstats.models.checks import CHECKS

    assert set(CHECKS) <= set(report._ABOUT)


@pytest.mark.parametrize("name", [name for name in REPORTS if name != "model"])
def test_the_code_repeats_the_audit(name, tmp_path, monkeypatch):
    report = REPORTS[name]()
    given = {
        "audit": lambda: ds.Recording.load(RECORDINGS / "tensorflow-2.21.0-bfloat16-n1024-p0.3.npz"),
        "masks": lambda: ds.Recording.of(masks()),
        "channels": lambda: ds.Recording.of(ds.Channels(8, 16, 0.2).sample(300, rng=0)),
    }
    code = report._page()["code"]
    monkeypatch.chdir(tmp_path)
    if name == "noise":  # a recording of masks holds no factors: the outputs themselves are needed
        assert "outputs" in code
        return
    if name in given:
        given[name]().save("masks.npz")
    else:
        for stream, seed in (("first", 0), ("second", 1)):
            ds.Recording.of(masks(seed)).save(f"{stream}.npz")
    found = {}
    exec(code, found)
    assert [result.to_dict() for result in found["report"] if name in given] == [
        result.to_dict() for result in report if name in given
    ]
    assert found["report"].passed == report.passed


# --- Markdown -----------------------------------------------------------------------------------------------------


def test_markdown_is_ready_to_paste():
    lines = tensorflow().to_markdown().splitlines()
    assert lines[0] == "### Audit of 512 masks of 1,024 neurons, p = 0.3: **FAILED (rate)**"
    assert "- law: Layer(1024, 0.3)" in lines
    rows = [line for line in lines if line.startswith("| ")]
    assert rows[1].startswith("| rate | ✗ **FAIL** | 0.3053 | 0.3 | 5.3e-16 | drops 0.3053 where 0.3 was declared")
    assert len(rows) == 2 + 2 + 13  # what fails and all, each with a head
    assert sum(line == "</details>" for line in lines) == 2


@pytest.mark.parametrize("name", REPORTS)
def test_markdown_tables_have_even_rows(name):
    report = REPORTS[name]()
    for table in report.to_markdown().split("\n\n"):
        rows = [row for row in table.splitlines() if row.startswith("|")]
        assert len({len(row.replace("\\|", "").split("|")) for row in rows}) <= 1


def test_markdown_shows_the_users_words_as_they_are():
    said = model(name=NASTY + "{}", source=NASTY).to_markdown()
    assert "<script>" not in said
    assert said.count("\\<script\\>alert(1)\\</script\\>") >= 2
    rows = [row for row in said.splitlines() if row.startswith("|")]
    assert {len(row.replace("\\|", "").split("|")) for row in rows} == {8}
    assert markdown.plain("@you #1 *a* _b_ $x$") == "\\@you \\#1 \\*a\\* \\_b\\_ \\$x\\$"
