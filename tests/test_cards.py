"""What objects show of themselves: cards in notebooks, and a plain line of laws of counts."""

import pickle
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from cases import LAWS
from test_reports import model, streams, tensorflow

import dropstats as ds
from dropstats.counts import Bernoulli, Binomial, Count, PoissonBinomial, Scaled, Table
from dropstats.recording import showing
from dropstats.rendering import cards

NASTY = '<b onclick="x">&\''


def read(card):
    """Return the facts of a card by name, and its drawing; it is well-formed, and holds no script and no style."""
    assert not re.search(r"<script|<style|style=|onclick|href=|class=\"[^\"]*\s", card.replace("&lt;b onclick", ""))
    root = ElementTree.fromstring(card)
    facts = {row[0].text: row[1].text or "" for row in root.iter("tr") if len(row) == 2}
    drawing = next((part for part in root.iter() if part.tag.endswith("svg")), None)
    return facts, drawing


@pytest.mark.parametrize("case", LAWS, ids=lambda case: repr(case.law)[:40])
def test_the_card_of_a_law(case):
    law = case.law
    facts, drawing = read(law._repr_html_())
    assert facts["neurons"].startswith(f"{law.n:,}")
    mean, spread = re.fullmatch(r"(\S+) on average, standard deviation (\S+)", facts["dropped in a mask"]).groups()
    assert float(mean.replace(",", "")) == pytest.approx(float(np.sum(law.rates)), rel=1e-5)
    assert float(spread.replace(",", "")) == pytest.approx(float(law.variance) ** 0.5, rel=1e-3)
    if law.has_counts:
        ends = re.fullmatch(r"(\S+) to (\S+) dropped", facts["99% interval"]).groups()
        low, high = (int(end.replace(",", "")) for end in ends)
        assert law.dropped.cdf(high) - law.dropped.cdf(low - 1) >= 0.99
        line = [part for part in drawing.iter() if part.get("class") == "law-line"]
        assert line[0].get("d").count("L") >= min(law.dropped.std(), 1)
    else:
        assert "not feasible" in facts["99% interval"]


@pytest.mark.parametrize("law", [ds.Layer(0, 0.5), ds.Layer(1, 1.0), ds.Layer(2**53, 0.1), ds.Layer(64, 0.0)])
def test_cards_at_the_ends(law):
    facts, _ = read(law._repr_html_())
    assert facts["neurons"] == f"{law.n:,}"


def test_the_picture_of_a_law_is_its_pmf():
    law = ds.Layer(10, 0.5)
    _, drawing = read(law._repr_html_())
    (path,) = [part.get("d") for part in drawing.iter() if part.get("class") == "law-line"]
    points = np.array([[float(number) for number in point.split()] for point in path[1:].split("L")])
    heights = 70 - points[:, 1]
    np.testing.assert_allclose(heights / heights.max(), law.dropped.pmf(range(11)) / law.dropped.pmf(5), atol=0.01)


@pytest.mark.parametrize(("noise", "says"), [
    (ds.GaussianDropout(0.5), {"factor": "normal with mean 1, standard deviation 1", "99% interval": "-1.576 to 3.576",
                               "below 0": "with probability 0.1587"}),
    (ds.GaussianDropout(0.0), {"below 0": "with probability 0"}),
    (ds.AlphaDropout(0.1), {"kept": "0.921285 x + 0.161971, with probability 0.9",
                            "dropped": "-1.45774, with probability 0.1"}),
])  # fmt: skip
def test_cards_of_noise(noise, says):
    facts, drawing = read(noise._repr_html_())
    assert says.items() <= facts.items()
    assert drawing is not None


def test_the_card_of_a_tally():
    facts, drawing = read(ds.tally([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]])._repr_html_())
    assert facts == {
        "masks": "4 of 3 neurons",
        "dropped in a mask": "1.5 on average, standard error 0.56",
        "standard deviation": "1.291",
        "lowest and highest": "0 and 3",
    }
    assert [part.get("class") for part in drawing.iter() if part.get("class")] == ["seen-area"]
    assert read(ds.tally([[1, 0]])._repr_html_())[0]["lowest and highest"] == "1 and 1"


def test_small_histograms_add_up():
    histogram = np.random.default_rng(0).integers(0, 9, 1000)
    panel = cards.of_counts(histogram)
    assert panel["masks"].sum() == histogram.sum()
    assert len(panel["masks"]) <= 40
    assert cards.of_counts(np.zeros(5, int)) == {}


def test_the_card_of_a_recording():
    outputs = ds.Layer(12, 0.25).sample(50, rng=0).reshape(50, 3, 4) / np.float32(0.75)
    recording = ds.Recording.from_outputs(outputs, p=0.25, source=f"torch 2.13.0 {NASTY}")
    facts, drawing = read(recording._repr_html_())
    assert facts["masks"] == "50 of 12 neurons, of shape (3, 4)"
    assert facts["declared p"] == "0.25"
    assert facts["drop rate"] == f"{recording.dropped / 600:.6g}"
    assert facts["kept ones become"] == "1.33333 (float32)"
    assert facts["source"] == f"torch 2.13.0 {NASTY}"
    assert drawing is not None
    unknown = ds.Recording.from_outputs([[2.0, 0.0]], inputs=[[1.0, 0.0]])
    assert read(unknown._repr_html_())[0]["drop rate"] == "0, of 1 of 2 neurons"


@pytest.mark.parametrize(("values", "become"), [
    (None, None),
    ([0], None),
    ([1.5, 0], "1.5 (float64)"),
    ([1.5, 1.5, 2, 2, 3], "1.5, 2, 3 (float64)"),
    ([1.5, 1.5, 1.5, 2, 2, 3, 3, 4], "1.5, 2, 3 and others (float64)"),
])  # fmt: skip
def test_the_card_names_at_most_three_values_of_kept_ones(values, become):
    recording = ds.Recording.from_masks([[1, 0]]) if values is None else ds.Recording.from_outputs([values])
    facts, _ = read(recording._repr_html_())
    assert facts.get("kept ones become") == become
    assert facts["masks"] == f"1 of {recording.n} neurons"  # a shape of one number says no more than that


@pytest.mark.parametrize(("room", "shown"), [(2**20, 60), (60 * 2, 60), (40 * 2 + 1, 40), (2, 1), (1, 1)])
def test_the_picture_of_a_recording_is_the_histogram_of_what_there_is_room_for(monkeypatch, room, shown):
    monkeypatch.setattr(showing, "_BYTES", room)  # 12 neurons take 2 bytes a mask
    masks = np.random.default_rng(0).random((60, 12)) >= 0.3
    facts, drawing = read(ds.Recording.from_masks(masks)._repr_html_())
    assert facts["masks"] == "60 of 12 neurons"
    assert facts["drop rate"] == f"{(~masks).mean():.6g}"
    (path,) = [part.get("d") for part in drawing.iter() if part.get("class") == "seen-area"]
    x, y = np.array([corner.split() for corner in path[1 : path.index("V")].split("L")], float).T
    counts = np.bincount((~masks[:shown]).sum(axis=1))
    counts = counts[np.flatnonzero(counts)[0] :]
    middles = 2 + 236 * (np.arange(counts.size) + 0.5) / counts.size
    heights = 70 - np.interp(middles, x, y)
    np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=0.01)
    first = "" if shown == 60 else f", the first {shown} of them"
    assert drawing[0].text == f"How many neurons the masks drop{first}"


@pytest.mark.parametrize("report", [tensorflow, streams, model])
def test_the_card_of_a_report(report):
    report = report()
    card = report._repr_html_()
    read(card)
    root = ElementTree.fromstring(card)
    rows = {row[0].findtext("b"): row for row in root.iter("tr") if row[0].tag == "td"}
    assert {result.name for result in report.results} <= set(rows)
    for name, row in rows.items():
        fails = name in {result.name for result in report.failures}
        assert (row[1].findtext("b") == "FAIL") == fails
    assert root[0].findtext("b").endswith(".")


def test_a_report_is_one_line():
    assert repr(tensorflow()) == "<Audit of 512 masks of 1,024 neurons, p = 0.3: FAILED (rate)>"
    assert repr(model()).startswith("<Audit of Net: 3 sites over 64 passes in training: FAILED (evaluation, 1 of 3")
    assert repr(next(iter(model().sites.values()))).startswith("<Audit of 200 masks of 64 neurons, p = 0.1: FAILED")


# --- laws of counts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "says"), [
    (ds.Layer(1024, 0.5).dropped, "Binomial(n=1024, p=0.5)"),
    (ds.Layer(1024, 0.1).kept, "1024 - Binomial(n=1024, p=0.1)"),
    (ds.Neuron(0.3).dropped, "Bernoulli(p=0.3)"),
    (ds.Layer(3, [0.1, 0.2, 0.3]).dropped, "PoissonBinomial(n=3, mean=0.6, variance=0.46)"),
    (ds.Channels(4, 16, 0.2).dropped, "16 * Binomial(n=4, p=0.2)"),
    (Table(np.log([0.25, 0.5, 0.25])), "Table(n=2, mean=1, variance=0.5)"),
])  # fmt: skip
def test_a_law_of_a_count_says_what_it_is(count, says):
    assert repr(count) == says
    assert repr(pickle.loads(pickle.dumps(count))) == says


def test_a_binomial_can_be_made_from_its_line():
    names = {"Binomial": Binomial, "Bernoulli": Bernoulli}
    count = ds.Layer(1000, 1 / 3).dropped
    assert eval(repr(count), names).pmf(333) == count.pmf(333)


def test_every_law_of_a_count_has_a_line_of_its_own():
    for case in LAWS:
        if case.law.has_counts:
            for count in (case.law.dropped, case.law.kept):
                assert isinstance(count, Count)
                assert " at 0x" not in repr(count)
    assert {PoissonBinomial, Scaled} <= {type(case.law.dropped) for case in LAWS if case.law.has_counts}
