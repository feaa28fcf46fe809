"""Reports as plain data, Markdown and pages: what they hold, that they come back, and that they are safe to pass on."""

import json
import pickle
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import dropstats as ds
from dropstats.auditing import TESTS, checks, describing
from dropstats.models import ModelReport, SiteReport
from dropstats.rendering import markdown, svg, text

RECORDINGS = Path(__file__).parent / "recordings"
NASTY = "<script>alert(1)</script> & \"quoted\" | `code` 'x' ]]> --> </pre>"


def masks(seed=0, trials=200, n=64, p=0.1):
    return ds.Layer(n, p).sample(trials, rng=seed)


@cache
def tensorflow():
    return ds.audit(ds.Recording.load(RECORDINGS / "tensorflow-2.21.0-bfloat16-n1024-p0.3.npz"))


@cache
def streams(**asked):
    return ds.audit_streams({"rank 0": masks(0), "rank 1": masks(1)}, p=0.1, **asked)


@cache
def noise():
    return ds.audit(np.random.default_rng(0).normal(1, 1 / 3, (300, 50)), ds.GaussianDropout(0.1))


@cache
def audited(p):
    return ds.audit(masks(p=p) / np.float32(0.9), p=0.1)


def site(report, **facts):
    return SiteReport.of(report, dtype="float32", device="cpu", draws=report.trials, **facts)


@cache
def model(sites=3, wrong=1, name="encoder.layers.{}.dropout", source=""):
    """Return the report of a model that was never run, of audits that were."""
    right, off = (replace(audited(p), source=source) for p in (0.1, 0.2))
    results = (
        ds.Result("coverage", "pass", observed=3.0, expected=3.0, message="all 3 declared rates are drawn at"),
        ds.Result("evaluation", "fail", observed=1.0, expected=0.0, message=f"draws in evaluation mode{source}"),
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
    unnamed = ds.audit_streams({"a": masks(0), "b": masks(1)}).to_dict()
    assert [unnamed[key] for key in ("law", "scaling", "library")] == [None] * 3
    assert data["expect"] is None


def test_causes_stand_before_what_they_explain():
    found = [ds.Result("pairs", "fail", explained_by="tiles"), ds.Result("rate", "pass"), ds.Result("tiles", "fail")]
    report = ds.Report(1, 1, 0.5, 0.5, 1e-3, tuple(found), passed=False)
    assert [result.name for result in report.failures] == ["tiles", "pairs"]
    assert [bool(report), bool(replace(report, passed=True))] == [False, True]


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
        ("pi", "1 of 2 tests had enough data, the other is inconclusive"),
        ("pffiii", "3 of 6 tests had enough data, the others are inconclusive"),
        ("pnn", ""),
        ("pin", "1 of 2 tests had enough data, the other is inconclusive"),
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
        "Audit of 5 masks of 64 neurons, p = 0.1: passed, 1 of 2 tests had enough data, the other is inconclusive"
    )
    assert head(ds.audit(masks(), p=0.1, tests=["rate"])).endswith(": passed its one test")
    assert head(ds.audit(masks(), p=0.1, tests=["rate", "pairs"])).endswith(": passed all 2 tests")
    tiny = ds.audit([[True]], p=0.1, tests=["rate"])
    assert head(tiny).startswith(
        "Audit of 1 mask of 1 neuron, p = 0.1: nothing could be judged, the recording is too small"
    )
    assert head(ds.audit(masks(p=0.5), p=0.5)).endswith(": passed all 12 tests that apply")
    assert head(ds.audit(masks(p=0.2), p=0.1, tests=["rate", "scale"])).endswith(": FAILED (rate)")
    assert head(ds.audit(masks(p=0.9, trials=5), p=0.1, tests=["rate", "pairs"])).endswith(
        ": FAILED (rate), 1 of 2 tests had enough data, the other is inconclusive"
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
    assert check.about.startswith("whether ")
    assert check.quantity or check.name == "reseeding"  # whose numbers are a generator, not a quantity


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


@pytest.mark.parametrize("name", [name for name in REPORTS if name != "model"])
def test_every_test_of_a_report_is_described(name):
    report = REPORTS[name]()
    assert set(report._page()["words"]) == {result.name for result in report}


def test_noise_is_described_by_its_own_tests():
    assert noise()._page()["words"]["mean"][1] == "mean of the factors"
    alpha = ds.audit(ds.AlphaDropout(0.1).apply(np.ones((50, 64)), rng=1), ds.AlphaDropout(0.1))
    assert alpha._page()["words"]["scale"][1] == "value of a kept neuron"


@pytest.mark.parametrize(
    "law",
    [
        ds.Layer(2000, np.linspace(0, 0.5, 2000)),  # its repr leaves out most rates
        ds.Network(*[ds.Layer(2, 0.1)] * 15),  # long, and complete
    ],
    ids=["unlike rates", "long"],
)
def test_a_law_that_does_not_fit_into_the_code_is_left_to_the_reader(law, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recording = ds.Recording.of(law.sample(50, rng=1))
    recording.save("masks.npz")
    report = ds.audit(recording, law, tests=["rate"])
    lines = report._page()["code"].splitlines()
    assert lines[2] == f"law = ...  # the law of the audit: {repr(law)[:200]}"
    lines[2] = ""
    found = {"law": law}
    exec("\n".join(lines), found)
    assert found["report"] == report


def test_the_code_of_streams_without_a_law_names_none():
    code = describing.code(ds.audit_streams({"a": masks(0), "b": masks(1)}, false_alarm=0.01).to_dict())
    assert "report = ds.audit_streams(streams, 'independent', false_alarm=0.01)" in code


# --- Markdown -----------------------------------------------------------------------------------------------------


def test_the_outcome_is_bold_with_all_that_fails():
    masks = ds.Layer(200, 0.3).sample(100, rng=0)
    masks[50:, ::2] = masks[:50, ::2]
    heading = ds.audit(masks, p=0.2).to_markdown().splitlines()[0]
    assert re.search(r": \*\*FAILED \(\w+(, \w+)+\)\*\*$", heading), heading


def test_markdown_is_ready_to_paste():
    lines = tensorflow().to_markdown().splitlines()
    assert lines[0] == "### Audit of 512 masks of 1,024 neurons, p = 0.3: **FAILED (rate)**"
    assert "- law: Layer(1024, 0.3)" in lines
    rows = [line for line in lines if line.startswith("| ")]
    assert rows[1].startswith("| rate | ✗ **FAIL** | 0.3053 | 0.3 | 6.2e-16 | drops 0.3053 where 0.3 was declared")
    assert len(rows) == 2 + 2 + len(TESTS)  # what fails and all, each with a head
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


# --- pages --------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The elements of a page, with their attributes, and the text of its parts."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text, self.inside = [], [], "", {}
        self.feed(source)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append((tag, dict(attributes).get("id")))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, name = self.open[-1] if self.open else ("", None)
        if tag != "style":
            self.text += data
        if name:
            self.inside[name] = self.inside.get(name, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def written(report, tmp_path, **asked):
    path = tmp_path / "report.html"
    report.to_html(path, **asked)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", REPORTS)
def test_a_page_is_one_file_without_scripts(name, tmp_path):
    report = REPORTS[name]()
    source = written(report, tmp_path)
    page = Page(source)
    assert source.startswith("<!doctype html>")
    assert not {"script", "link", "img", "image", "iframe", "object", "embed", "base", "font", "form", "use"} & {
        tag for tag, _ in page.elements
    }
    for _, attributes in page.elements:
        assert not {"style", "src", "srcset", "action", "xlink:href", "background"} & set(attributes)
        assert not [key for key in attributes if key.startswith("on")]
        assert attributes.get("href", "#").startswith("#")
    (sheet,) = re.findall(r"<style>(.*?)</style>", source, re.S)
    assert "url(" not in sheet
    assert "@import" not in sheet
    assert "@media print" in sheet
    assert "@media (prefers-color-scheme: dark)" in sheet
    assert "http" not in source.replace("http://www.w3.org/2000/svg", "")
    assert len(source.encode()) < 150_000
    assert source == written(report, tmp_path)  # no date, no counter
    again = type(report).from_dict(json.loads(page.inside["dropstats-report"]))
    assert again == report


@pytest.mark.parametrize("name", REPORTS)
def test_a_page_opens_what_fails_and_folds_what_passes(name, tmp_path):
    report = REPORTS[name]()
    page = Page(written(report, tmp_path))
    folded = [one for one in page.all("details") if one.get("class") != "data"]
    assert all(("open" in one) == (one["class"] == "fail") for one in folded)
    sites = getattr(report, "sites", {})
    assert len(folded) == len(report.results) + len(sites)
    own = [result for result in report.results if result.verdict == "fail"]
    wrong = [site for site in sites.values() if site.failures]
    assert sum("open" in one for one in folded) == len(own) + len(wrong)
    for result in report.results:
        assert " ".join(result.message.split()) in " ".join(page.text.split())


@pytest.mark.parametrize("name", REPORTS)
def test_pictures_are_drawn_with_attributes_and_described(name, tmp_path):
    source = written(REPORTS[name](), tmp_path)
    page = Page(source)
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    drawings = re.findall(r"<svg.*?</svg>", source, re.S)
    assert len(drawings) >= 2
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        parts = {part.get("id"): part.text for part in root if part.get("id")}
        assert all(parts[label] for label in root.get("aria-labelledby").split())
        assert root.get("role") == "img"
        assert {"width", "height", "viewBox"} <= set(root.keys())
        lines = [part for part in root.iter() if part.get("class", "").endswith(("-line", "-area"))]
        assert lines
        assert all(part.get("fill") or part.get("stroke") for part in lines)
        assert not re.search("nan|inf", " ".join(part.get("d", "") for part in root.iter()))


def test_the_sentence_on_top(tmp_path):
    def heading(report):
        return re.search("<h1>(.*?)</h1>", written(report, tmp_path)).group(1)

    assert heading(tensorflow()).startswith(
        "The masks do not follow Layer(1024, 0.3): drops 0.3053 where 0.3 was declared (+1.8%)"
    )
    assert heading(ds.audit(masks(), p=0.1)) == (
        "The masks follow Layer(64, 0.1), as far as 200 masks of 64 neurons show."
    )
    assert heading(ds.audit([[1, 0]], p=0.5)) == "Undecided: 1 mask of 2 neurons is too few to judge."
    assert heading(streams()) == "The streams are independent, as far as 200 masks of 64 neurons show."
    assert heading(streams(expect="identical")).startswith("The streams are not identical: ")
    assert heading(model()) == (
        "Net does not drop as it declares: draws in evaluation mode; at encoder.layers.0.dropout, "
        "drops 0.1982 where 0.1 was declared (+98%), consistent with 1 - (1 - p)^2: dropout looks applied twice."
    )
    law = ds.Layer(64, np.linspace(0.1, 0.2, 64))
    assert heading(ds.audit(law.sample(99, rng=0), law)).startswith("The masks follow their law, ")


def test_each_test_says_what_it_saw_in_plain_words(tmp_path):
    said = " ".join(Page(written(tensorflow(), tmp_path)).text.split())
    assert "The test checks whether the overall drop rate is the declared one." in said
    assert "Drop rate: observed 0.3053, expected 0.3." in said
    assert "deviates at least this much with probability 4.8e-17 at most (the p-value)." in said
    assert "Adjusted for the number of tests (Holm), it is 6.2e-16; the test fails if this is 0.001 or less." in said
    assert f"It detects a deviation of {tensorflow()['rate'].detectable:.2g} with probability 0.9 (power)." in said
    assert "This failure is explained by that of rate." in said
    assert "a correct implementation fails with probability 0.001 at most" in said
    assert "report = ds.audit(recording, ds.Layer(1024, 0.3))" in said


def test_a_date_is_printed_where_it_is_given(tmp_path):
    assert "2026-11-21" in Page(written(tensorflow(), tmp_path, date="2026-11-21")).text


@pytest.mark.parametrize("report", [
    lambda: replace(tensorflow(), source=NASTY, notes=(NASTY,), law=f"Layer({NASTY})"),
    lambda: model(name=NASTY + "{}", source=NASTY),
    lambda: ds.audit_streams({NASTY: masks(0), f"{NASTY}2": masks(0)}, p=0.1),
])  # fmt: skip
def test_what_the_user_wrote_is_shown_as_it_is(report, tmp_path):
    report = report()
    source = written(report, tmp_path)
    assert "<script" not in source
    page = Page(source)
    assert page.text.count("alert(1)") >= 2
    assert " ".join(NASTY.split()) in " ".join(page.text.split())
    assert type(report).from_dict(json.loads(page.inside["dropstats-report"])) == report
    for drawing in re.findall(r"<svg.*?</svg>", source, re.S):
        ElementTree.fromstring(drawing)
    assert "<script" not in report._repr_html_()


def test_the_page_of_a_model_of_100_sites_is_below_1_mb(tmp_path):
    name = "transformer.encoder.layers.{}.feed_forward.dropout"
    source = written(model(100, wrong=40, name=name, source="a long source " * 5), tmp_path)
    assert 100_000 < len(source.encode()) < 1_000_000
    assert Page(source).text.count("feed_forward") >= 200


def test_a_path_that_cannot_be_written(tmp_path):
    report = REPORTS["masks"]()
    with pytest.raises(OSError, match="a report must be a file in an existing folder; got '"):
        report.to_html(tmp_path / "nowhere" / "report.html")
    with pytest.raises(OSError, match="a report must be a file in an existing folder"):
        model().to_html(tmp_path)


def test_reports_without_pictures_have_pages(tmp_path):
    again = ds.Report.from_dict(tensorflow().to_dict())
    assert "<svg" not in written(again, tmp_path)
    with_pictures = ds.Report.from_dict(json.loads(tensorflow().to_json(pictures=True)))
    assert written(with_pictures, tmp_path).count("<svg") == 4


def test_round_ticks():
    assert svg.ticks(0.0, 0.03, 4) == [0.0, 0.01, 0.02, 0.03]
    assert svg.ticks(5.0, 5.0, 4) == [5.0]
    assert svg.said(-0.005) == "−0.005"


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 5), (3, 3000), (3000, 2)])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_pages_of_small_recordings(shape, p, tmp_path):
    report = ds.audit(ds.Layer(shape[1], p).sample(shape[0], rng=0), p=p)
    source = written(report, tmp_path)
    for drawing in re.findall(r"<svg.*?</svg>", source, re.S):
        root = ElementTree.fromstring(drawing)
        assert not re.search("nan|inf", " ".join(part.get("d", "") for part in root.iter()))
    assert len(source.encode()) < 150_000
