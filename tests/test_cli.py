"""The command line: through its entry point, and as a process where that matters."""

import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dropstats as ds
from dropstats import cli
from dropstats.cli import common
from dropstats.laws.parse import parse
from dropstats.simulation import simulate

ROOT = Path(__file__).parents[1]
SLICES = ROOT / "tests" / "recordings"


def run(capsys, *argv):
    """Return exit status, stdout and stderr of the entry point."""
    capsys.readouterr()
    status = cli.main([str(argument) for argument in argv])
    return status, *capsys.readouterr()


def answer(capsys, *argv):
    status, out, err = run(capsys, *argv, "--json")
    assert (status, err) == (0, "")
    assert out.count("\n") == 1
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def process(*argv, **kwargs):
    command = [sys.executable, "-m", "dropstats", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **kwargs)


# ---------------------------------------------------------------- prob


def test_prob_json_is_that_of_the_readme(capsys):
    found = answer(capsys, "prob", 1024, 0.5, "--exactly", 512)
    assert list(found) == ["n", "p", "event", "probability", "log10_probability"]
    assert (found["n"], found["p"], found["event"]) == (1024, 0.5, "dropped == 512")
    # C(1024, 512) / 2^1024
    exact = math.comb(1024, 512) / 2**1024
    assert found["probability"] == pytest.approx(exact, rel=1e-13)
    assert found["log10_probability"] == pytest.approx(math.log10(exact), rel=1e-13)


@pytest.mark.parametrize(
    ("question", "event", "counts"),
    [
        (["--exactly", 3], "dropped == 3", [3]),
        (["--at-least", 8], "dropped >= 8", [8, 9, 10]),
        (["--at-most", 1], "dropped <= 1", [0, 1]),
        (["--between", 4, 5], "4 <= dropped <= 5", [4, 5]),
        (["--exactly", 3, "--kept"], "kept == 3", [7]),
        (["--at-least", 8, "--kept"], "kept >= 8", [0, 1, 2]),
        (["--at-most", 1, "--kept"], "kept <= 1", [9, 10]),
        (["--between", 4, 5, "--kept"], "4 <= kept <= 5", [5, 6]),
        (["--between", "1e0", "2.0"], "1 <= dropped <= 2", [1, 2]),
    ],
)
def test_prob_of_every_event(capsys, question, event, counts):
    found = answer(capsys, "prob", 10, 0.3, *question)
    exact = sum(math.comb(10, k) * 0.3**k * 0.7 ** (10 - k) for k in counts)
    assert found["event"] == event
    assert found["probability"] == pytest.approx(exact, rel=1e-13)
    status, out, err = run(capsys, "prob", 10, 0.3, *question)
    assert (status, err) == (0, "")
    assert out.startswith(f"P({event}) = ")
    assert float(out.split(" = ")[-1]) == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize(
    ("argv", "printed"),
    [
        # 2^-100000, and the sum of the first 1001 terms of a million tosses, by mpmath with 40 digits
        (["100000", "0.5", "--exactly", "0"], "1.00100e-30103"),
        (["1e6", "0.5", "--at-most", "1000"], "1.5245e-297598"),
        # 10^-1000 and 10^-301 themselves
        (["1000", "0.1", "--exactly", "1000"], "1.000000e-1000"),
        (["301", "0.1", "--at-least", "301"], "1.0000000e-301"),
        (["300", "0.1", "--at-least", "300"], "1e-300"),
        (["10", "0.5", "--exactly", "11"], "0"),
        (["10", "0.5", "--exactly", "1e30"], "0"),
        (["10", "0", "--exactly", "1"], "0"),
        (["10", "0", "--exactly", "0"], "1"),
    ],
)
def test_prob_prints_small_probabilities_from_their_logarithm(capsys, argv, printed):
    status, out, _ = run(capsys, "prob", *argv)
    assert status == 0
    assert out.split(" = ")[-1].strip() == printed


def test_prob_json_of_small_and_impossible_events(capsys):
    tiny = answer(capsys, "prob", 100_000, 0.5, "--exactly", 0)
    assert tiny["probability"] == 0
    assert tiny["log10_probability"] == pytest.approx(-100_000 * math.log10(2), rel=1e-13)
    never = answer(capsys, "prob", 10, 0.5, "--exactly", 11)
    assert (never["probability"], never["log10_probability"]) == (0, None)
    surely = answer(capsys, "prob", 10, 1, "--exactly", 10)
    assert (surely["probability"], surely["log10_probability"]) == (1, 0)
    assert math.copysign(1, surely["log10_probability"]) == 1


def test_mantissas_have_the_digits_that_the_logarithm_has():
    assert common.format_probability(0.0, (-999 - 1e-12) * math.log(10)) == "1.000000e-999"
    assert common.format_probability(0.0, -7e14) == "1e-304006137332276"  # no digit of the mantissa is known


def test_huge_counts_are_not_rounded(capsys):
    assert answer(capsys, "prob", 2**53, 0.5, "--at-most", 2**53 - 1)["event"] == f"dropped <= {2**53 - 1}"


@pytest.mark.parametrize(
    ("n", "question", "event", "counts"),
    [
        (10, ["--more-than", 8], "dropped > 8", [9, 10]),
        (10, ["--less-than", 2], "dropped < 2", [0, 1]),
        (10, ["--less-than", 0], "dropped < 0", []),
        (10, ["--at-least", "50%"], "dropped >= 5", range(5, 11)),
        (9, ["--at-least", "50%"], "dropped >= 5", range(5, 10)),
        (9, ["--at-most", "50%"], "dropped <= 4", range(5)),
        (9, ["--more-than", "50%"], "dropped > 4", range(5, 10)),
        (10, ["--more-than", "50%"], "dropped > 5", range(6, 11)),
        (9, ["--less-than", "50%"], "dropped < 5", range(5)),
        (10, ["--less-than", "50%", "--kept"], "kept < 5", range(6, 11)),
        (10, ["--exactly", "30%"], "dropped == 3", [3]),  # as 0.3 * 10 is not, in doubles
        (10, ["--between", "25%", "55.5%"], "3 <= dropped <= 5", [3, 4, 5]),
    ],
)
def test_prob_of_shares_and_open_ends(capsys, n, question, event, counts):
    found = answer(capsys, "prob", n, 0.3, *question)
    exact = math.fsum(math.comb(n, k) * 0.3**k * 0.7 ** (n - k) for k in counts)
    assert found["event"] == event
    assert found["probability"] == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("kept", [False, True])
def test_prob_of_a_quantile(capsys, kept):
    argv = ["prob", 100, 0.3, "--quantile", 0.95, *(["--kept"] if kept else [])]
    found = answer(capsys, *argv)
    what, p = ("kept", 0.7) if kept else ("dropped", 0.3)
    terms = [math.comb(100, k) * p**k * (1 - p) ** (100 - k) for k in range(101)]
    exact = next(k for k in range(101) if math.fsum(terms[: k + 1]) >= 0.95)
    assert (found["quantile"], found["count"], found["event"]) == (0.95, exact, f"{what} <= {exact}")
    assert found["probability"] == pytest.approx(math.fsum(terms[: exact + 1]), rel=1e-12)
    _, out, _ = run(capsys, *argv)
    assert out.startswith(f"0.95 quantile of {what} = {exact}: P({what} <= {exact}) = 0.9")


def test_prob_without_an_event_is_a_summary(capsys):
    found = answer(capsys, "prob", 1024, 0.1, "--kept")
    assert (found["n"], found["p"], found["of"]) == (1024, 0.1, "kept")
    assert found["mean"] == pytest.approx(921.6)
    assert found["standard_deviation"] == pytest.approx(math.sqrt(1024 * 0.09))
    assert (found["median"], found["central_99"]) == (922, [896, 946])
    assert found["log10_prob_none"] == pytest.approx(-1024)
    assert found["prob_all"] == pytest.approx(0.9**1024, rel=1e-11)
    status, out, err = run(capsys, "prob", 1024, 0.1, "--kept")
    assert (status, err) == (0, "")
    said = {line[:22].strip(): line[22:].strip() for line in out.splitlines()[1:]}
    assert out.startswith("Number of kept neurons of Layer(1024, 0.1)\n")
    assert (said["mean"], said["99% interval"], said["P(none kept)"]) == ("921.6", "896 to 946", "1.000000e-1024")
    assert run(capsys, "prob", 0, 0.1)[0] == 0


# ---------------------------------------------------------------- any law


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("Channels(64, 8 * 8, 0.2)", ds.Channels(64, 64, 0.2)),
        (" DropBlock(6, 6, 3, p=0.1) ", ds.DropBlock(6, 6, 3, p=0.1)),
        ("DropBlock.exactly(6, 6, 3, 0.1)", ds.DropBlock.exactly(6, 6, 3, 0.1)),
        ("FixedCount(10, 3)", ds.FixedCount(10, 3)),
        ("DropConnect(inputs=4, outputs=3, p=0.5)", ds.DropConnect(4, 3, 0.5)),
        ("DropPath(12, 0.4, 'timm')", ds.DropPath(12, 0.4, "timm")),
        ("AttentionDropout(4, 4, 0.1, causal=True)", ds.AttentionDropout(4, 4, 0.1, True)),
        ("Layer.rounded(9, 0.1, rule='bfloat16')", ds.Layer.rounded(9, 0.1, rule="bfloat16")),
        ("Layer.keeping(9, keep=0.75)", ds.Layer(9, 0.25)),
        ("Network(Layer(3, [0.1, 0.2, 0.3]), Neuron(0.5))", ds.Network(ds.Layer(3, [0.1, 0.2, 0.3]), ds.Neuron(0.5))),
        (
            "Channels.with_noise_shape((2, 3, 4), (None, 1, 4), 0.3)",
            ds.Channels.with_noise_shape((2, 3, 4), (2, 1, 4), 0.3),
        ),
        ("Channels.locked(5, 4, 0.25)", ds.Channels.locked(5, 4, 0.25)),
    ],
)
def test_any_law_is_written_as_in_python(capsys, text, law):
    found = answer(capsys, "prob", "--law", text, "--at-least", 3)
    assert found["n"] == law.n
    assert found["probability"] == law.prob(dropped=(3, None))
    assert found.get("law", repr(law)) == repr(law)
    assert parse(repr(law)) == law


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--law", "Layer(3"], "--law must be a law in Python syntax, such as"),
        (["--law", "3"], "--law must be a law in Python syntax, such as"),
        (["--law", ""], "--law must be a law in Python syntax, such as"),
        (["--law", "Layer(3, 0.5) * 2"], "--law must be a law in Python syntax, such as"),
        (
            ["--law", "__import__('os').getcwd()"],
            "--law may contain only numbers and the laws AttentionDropout",
        ),
        (
            ["--law", "Layer(3, open('x'))"],
            "--law may contain only numbers and the laws AttentionDropout",
        ),
        (
            ["--law", "Layer.__class__(3)"],
            "--law may contain only numbers and the laws AttentionDropout",
        ),
        (["--law", "Layer(3, p)"], "--law may contain only numbers and the laws AttentionDropout"),
        (["--law", "Layer(3, 1.5)"], "p must be in [0, 1]; got 1.5"),
        (["--law", "Layer(3)"], "missing 1 required positional argument"),
        (["--law", "DropPath(12, 0.4)"], "rule must be one of huang, timm, torchvision, uniform"),
        (["10", "0.5", "--law", "Layer(3, 0.5)"], "either N P or --law is expected; got 10"),
        ([], "the following arguments are required: N, P (or --law)"),
        (["--law", "DropBlock(28, 28, 7, p=0.1)"], "the exact law of the number of dropped neurons is not feasible"),
    ],
)
def test_what_is_no_law(capsys, argv, message):
    status, out, err = run(capsys, "prob", *argv, "--exactly", 1)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_simulate_where_the_exact_law_is_out_of_reach(capsys, tmp_path):
    argv = ["simulate", "--law", "DropBlock(28, 28, 7, p=0.1)", "--trials", "2000", "--seed", 1]
    found = answer(capsys, *argv)
    law = ds.DropBlock(28, 28, 7, p=0.1)
    assert found["expected_mean"] == pytest.approx(law.n * law.fraction)
    assert found["expected_variance"] == pytest.approx(law.variance)
    status, out, err = run(capsys, *argv)
    assert (status, err) == (0, "")
    rows = {line.split("  ")[0]: line.split()[-3:] for line in out.splitlines()[2:]}
    assert all(abs(float(rows[name][2])) < 5 for name in ("mean", "variance"))
    assert rows["skewness"][1:] == ["-", "-"]
    status, out, err = run(capsys, *argv, "--plot", tmp_path / "x.png")
    assert (status, out) == (2, "")
    assert "not feasible" in err


# ---------------------------------------------------------------- simulate


def test_simulate_json_is_the_tally(capsys):
    found = answer(capsys, "simulate", "1e2", 0.25, "--trials", "1e3", "--seed", 7)
    assert list(found) == [
        *("n", "p", "trials", "seed", "mean", "variance", "expected_mean", "expected_variance", "histogram"),
    ]
    tally = ds.simulate(ds.Layer(100, 0.25), 1000, rng=7)
    assert (found["n"], found["p"], found["trials"], found["seed"]) == (100, 0.25, 1000, 7)
    assert found["histogram"] == tally.histogram.tolist()
    assert (found["mean"], found["variance"]) == (tally.mean, tally.variance)
    assert (found["expected_mean"], found["expected_variance"]) == pytest.approx((25, 18.75))
    assert len(found["histogram"]) == 101
    assert np.average(np.arange(101), weights=found["histogram"]) == pytest.approx(found["mean"])


def test_simulate_without_a_seed_reports_one_that_repeats_it(capsys):
    first, other = (answer(capsys, "simulate", 50, 0.5, "--trials", 100) for _ in range(2))
    assert first["seed"] != other["seed"]
    assert first["seed"] < 2**53
    assert answer(capsys, "simulate", 50, 0.5, "--trials", 100, "--seed", first["seed"]) == first


def test_simulate_json_of_a_single_trial_has_no_variance(capsys):
    assert answer(capsys, "simulate", 5, 0.5, "--trials", 1, "--seed", 0)["variance"] is None


def test_simulate_prints_moments_beside_the_exact_ones(capsys):
    status, out, err = run(capsys, "simulate", 100, 0.5, "--trials", "2e3", "--seed", 3)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "2,000 masks, seed 3: Layer(100, 0.5)"
    assert [line[:15].strip() for line in lines[2:]] == ["mean", "variance", "skewness", "excess kurtosis"]
    name, simulated, exact, apart = lines[2].split()
    tally = ds.simulate(ds.Layer(100, 0.5), 2000, rng=3)
    assert (name, float(exact)) == ("mean", 50)
    assert float(simulated) == pytest.approx(tally.mean, rel=1e-9)
    assert float(apart) == pytest.approx((tally.mean - 50) / math.sqrt(25 / 2000), abs=0.006)
    status, out, _ = run(capsys, "simulate", 5, 0, "--trials", 10, "--seed", 3)
    assert status == 0
    assert "nan" not in out


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_simulate_plots(capsys, tmp_path, name, begins):
    status, _, err = run(capsys, "simulate", 20, 0.5, "--trials", 100, "--seed", 0, "--plot", tmp_path / name)
    assert (status, err) == (0, "")
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_nothing_of_the_picture_is_cut_off(capsys, tmp_path, monkeypatch):
    drawn = []
    save = ds.plots.save
    monkeypatch.setattr(ds.plots, "save", lambda figure, path: (save(figure, path), drawn.append(figure.figure)))
    run(capsys, "simulate", 1024, 0.5, "--trials", 1000, "--seed", 0, "--plot", tmp_path / "a.png")
    (figure,) = drawn
    for ax in figure.axes:
        for artist in filter(None, (ax.get_legend(), ax._left_title, ax.yaxis.label)):
            box = artist.get_window_extent()
            assert figure.bbox.x0 <= box.x0, artist
            assert box.x1 <= figure.bbox.x1, artist


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("prob 10 1.2 --exactly 5", "dropstats prob: error: p must be in [0, 1]; got 1.2"),
        ("prob 10 nan --exactly 5", "dropstats prob: error: p must be in [0, 1]; got nan"),
        ("prob 10 half --exactly 5", "dropstats prob: error: argument P: a number is expected; got 'half'"),
        ("prob -1 0.5 --exactly 5", "dropstats prob: error: n must be at least 0; got -1"),
        ("prob 1.5 0.5 --exactly 5", "dropstats prob: error: argument N: an integer is expected; got '1.5'"),
        ("prob ten 0.5 --exactly 5", "dropstats prob: error: argument N: an integer is expected; got 'ten'"),
        ("prob 1e17 0.5 --exactly 5", "dropstats prob: error: n must be at most 9007199254740992; got 1000"),
        ("prob 1e999999999 0.5 --exactly 5", "argument N: an integer of at most 40 digits is expected"),
        ("prob inf 0.5 --exactly 5", "argument N: an integer of at most 40 digits is expected; got 'inf'"),
        ("prob 10 0.5 --between 6 5", "dropstats prob: error: --between A B must have A <= B; got 6 5"),
        ("prob 10 50 --exactly 5", "a probability in [0, 1] is expected; got '50'; did you mean 0.5?"),
        ("prob 10 50%", "argument P: a probability in [0, 1] is expected; got '50%'; did you mean 0.5?"),
        ("plan --p 12.5% --shift 0.1", "a probability in [0, 1] is expected; got '12.5%'; did you mean 0.125?"),
        ("prob 10 150%", "argument P: a probability in [0, 1] is expected; got '150%'\n"),
        ("prob 10 x%", "argument P: a number is expected; got 'x'"),
        ("prob 9 0.5 --exactly 50%", "--exactly takes a whole number of neurons; got 4.5 of 9"),
        ("prob 9 0.5 --at-least 101%", "argument --at-least: a share of 0% to 100% is expected; got '101%'"),
        ("prob 9 0.5 --between 51% 52%", "--between must hold a whole number of neurons; got 4.59 to 4.68"),
        ("prob 9 0.5 --between 60% 40%", "--between A B must have A <= B; got 5.4 3.6"),
        ("prob 9 0.5 --quantile 95%", "argument --quantile: a probability in [0, 1] is expected; got '95%'; did you"),
        ("prob 9 0.5 --quantile 1.5", "dropstats prob: error: --quantile must be in [0, 1]; got 1.5"),
        ("prob 10 0.5 --exacly 1", "dropstats prob: error: unknown option --exacly; did you mean --exactly?"),
        ("simulate 10 0.5 --trails 9", "dropstats simulate: error: unknown option --trails; did you mean --trials?"),
        ("--versoin", "dropstats: error: unknown option --versoin; did you mean --version?"),
        ("prop 10 0.5 --exactly 1", "dropstats: error: unknown command 'prop'; did you mean prob?"),
        ("prob 10 0.5 --exactly 1 --at-least 2", "argument --at-least: not allowed with argument --exactly"),
        ("prob 10 --exactly 1", "dropstats prob: error: the following arguments are required: P"),
        ("simulate 10 0.5", "dropstats simulate: error: the following arguments are required: --trials"),
        ("simulate 10 0.5 --trials 0", "dropstats simulate: error: trials must be at least 1; got 0"),
        ("simulate 10 0.5 --trials 2.5", "argument --trials: an integer is expected; got '2.5'"),
        ("simulate 10 0.5 --trials -3", "dropstats simulate: error: trials must be at least 1; got -3"),
        ("simulate 10 0.5 --trials 1e30", "dropstats simulate: error: trials must be at most 9223372036854775807"),
        ("simulate 10 0.5 --trials 9 --seed -1", "dropstats simulate: error: --seed must not be negative; got -1"),
        ("simulate 1e15 0.5 --trials 1", "dropstats simulate: error: a tally of 1000000000000000 neurons would need"),
        ("simulate 10 0.5 --trials 9 --plot a.doc", "a picture must end in one of ."),
        ("simulate 10 0.5 --trials 9 --plot nowhere/a.png", "a picture must be a file in an existing folder"),
        (
            "simulate 10 0.5 --trials 9 --tria 8",
            "dropstats simulate: error: unknown option --tria; did you mean --trials?",
        ),
        ("guess 10 0.5", "dropstats: error: unknown command 'guess'; commands are prob, simulate, audit, streams"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, argv, message):
    status, out, err = run(capsys, *argv.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("dropstats")
    assert err.count("\n") == 1


def test_a_bad_picture_is_refused_before_the_work(capsys, monkeypatch):
    monkeypatch.setattr("dropstats.simulation.simulate", lambda *_, **__: pytest.fail("simulated"))
    status, _, err = run(capsys, "simulate", 10, 0.5, "--trials", 9, "--plot", "nowhere/a.png")
    assert (status, err.count("\n")) == (2, 1)


SETTINGS = settings(
    deadline=None,
    max_examples=200,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_WORDS = st.one_of(
    st.sampled_from(["prob", "simulate", "--exactly", "--at-least", "--at-most", "--between", "--kept", "--json"]),
    st.sampled_from(["--trials", "--seed", "--version", "-h", "0", "1", "-1", "1e3", "0.5", "1e-9", "nan", "-inf"]),
    st.sampled_from(["1e400", "9007199254740993", "1_0", "٣", "+2", "0x10"]),
    st.text(max_size=5).filter(lambda text: "\x00" not in text),
    st.floats().map(str),
    st.integers().map(str),
)


@settings(SETTINGS)
@given(words=st.lists(_WORDS, max_size=7))
def test_no_arguments_lead_to_a_traceback(capsys, monkeypatch, words):
    def limited(law, trials, **kwargs):
        if law.n * trials > 1e6:
            raise MemoryError
        return simulate(law, trials, **kwargs)

    monkeypatch.setattr("dropstats.simulation.simulate", limited)
    status, _, err = run(capsys, *words)
    assert status in {0, 2}
    assert err.count("\n") == (1 if status == 2 else 0)


@settings(SETTINGS)
@given(
    n=st.integers(-2, 2**53 + 1),
    p=st.floats(-0.1, 1.1),
    question=st.sampled_from(["--exactly", "--at-least", "--at-most"]),
    share=st.floats(-0.01, 1.01),
    kept=st.booleans(),
)
def test_prob_of_any_layer_is_a_probability(capsys, n, p, question, share, kept):
    argv = ["prob", n, repr(p), question, int(share * n), *(["--kept"] if kept else [])]
    status, out, err = run(capsys, *argv, "--json")
    if not (0 <= p <= 1 and 0 <= n <= 2**53):
        assert (status, out, err.count("\n")) == (2, "", 1)
        return
    assert (status, err) == (0, "")
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert 0 <= found["probability"] <= 1
    assert found["log10_probability"] is None or found["log10_probability"] <= 0
    status, out, _ = run(capsys, *argv)
    assert status == 0
    # zero is printed for what cannot happen, and for nothing else
    assert (out.split(" = ")[-1] == "0\n") == (found["log10_probability"] is None)


# ---------------------------------------------------------------- the process


def test_the_console_script_answers():
    script = Path(sys.executable).with_name("dropstats")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"dropstats {ds.__version__}\n"


def test_alone_it_prints_its_help(capsys):
    assert run(capsys) == run(capsys, "--help")
    assert run(capsys)[0] == 0


@pytest.mark.parametrize("command", [[], *([name] for name in sorted(cli._parser().commands))])
def test_help_fits_80_columns(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(capsys, *command, "--help")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.skipif(os.name != "posix", reason="file descriptors of POSIX")
def test_a_shell_completes_commands_and_options():
    pytest.importorskip("argcomplete", reason="the extra dropstats[completion] is not installed")

    def completed(line):
        code = "import os, sys; from dropstats.cli import main; os.dup2(int(sys.argv.pop()), 8); main(sys.argv[1:])"
        read, write = os.pipe()
        settings = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": " "}
        command = [sys.executable, "-c", code, str(write)]
        done = subprocess.run(command, env={**os.environ, **settings}, pass_fds=[write], timeout=60, check=False)
        os.close(write)
        with os.fdopen(read) as pipe:
            return done.returncode, pipe.read().split()

    assert completed("dropstats st") == (0, ["streams"])
    assert completed("dropstats audit --ju") == (0, ["--junit"])
    assert completed("dropstats streams --expect i") == (0, ["independent", "identical"])


def test_without_argcomplete_nothing_is_missing(capsys, monkeypatch):
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)  # as if it were not installed
    assert run(capsys, "prob", 10, 0.5, "--exactly", 5)[0] == 0


def test_help_has_examples_that_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ([], ["prob"], ["simulate"]):
        status, out, err = run(capsys, *command, "--help")
        assert (status, err) == (0, "")
        examples = re.findall(r"^  dropstats (.*)$", out, flags=re.MULTILINE)
        assert len(examples) >= 3
        for example in examples:
            status, _, err = run(capsys, *shlex.split(re.sub("1e[56]", "1e3", example)))
            assert (status, err) == (0, "")


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_console_blocks_of_the_first_pages(capsys, tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    for command, expected in re.findall(r"^\$ dropstats (.*)\n((?:[^$].*\n)*)", "".join(blocks), flags=re.MULTILINE):
        words = command.replace("1e6 --seed", "1e3 --seed").replace(" tests/", f" {ROOT}/tests/").split()
        status, out, err = run(capsys, *words)
        # the recording that README audits is a defective one
        assert (status, err) == (1 if words[0] == "audit" else 0, "")
        if expected:
            assert re.fullmatch(re.escape(expected).replace(r"\.\.\.", ".+"), out, flags=re.DOTALL)


def test_the_readme_has_two_commands_and_ci_runs_the_second():
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    first, second = block.splitlines()
    assert first.endswith("figures/make.py")
    pattern = re.search(r"grep -E '(.*?)' README.md", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))[1]
    assert not re.search(pattern, first)
    assert re.search(pattern, second)


def loaded(code, *argv):
    """Return which of the large packages a process has loaded when it has run the code."""
    code += "; print(*sorted({'matplotlib', 'scipy', 'scipy.stats', 'numpy', 'pytest'} & set(sys.modules)))"
    command = [sys.executable, "-c", f"import sys; {code}", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split())


MAIN = "from dropstats.cli import main; main(sys.argv[1:])"


def test_what_is_asked_first_waits_for_nothing_it_does_not_need():
    assert loaded("import dropstats.cli") == set()
    assert loaded("import dropstats; dropstats.Layer(1024, 0.5)") == {"numpy"}
    laws = "import dropstats as ds; net = ds.Network(ds.Layer(9, [0.5] * 8 + [0.1]), ds.Channels(3, 4, 0.1))"
    assert loaded(laws) == {"numpy"}
    assert loaded(f"{laws}; net.prob(dropped=3), net.kept.interval(0.9)") == {"numpy", "scipy"}
    # a frozen law for those who ask, whose question loads scipy.stats
    frozen = "from scipy import stats; assert isinstance(net.dropped, type(stats.binom(9, 0.5)))"
    assert loaded(f"{laws}; net.dropped; {frozen}") == {"numpy", "scipy", "scipy.stats"}


@pytest.mark.parametrize(
    ("argv", "packages"),
    [
        (["--help"], set()),
        (["prob", "1024", "0.5", "--exactly", "512"], set()),
        (["prob", "1024", "0.5", "--exactly", "50%", "--kept", "--json"], set()),
        (["prob", "1024", "0.5", "--between", "480", "544"], {"numpy"}),
        (["prob", "1e6", "0.1", "--at-least", "10%"], {"numpy"}),
        (["prob", "1024", "0.5", "--quantile", "0.95"], {"numpy"}),
        (["prob", "1024", "0.5"], {"numpy"}),
        (["prob", "1024", "1", "--exactly", "3"], {"numpy", "scipy"}),
        (["prob", "--law", "Channels(64, 8 * 8, 0.2)", "--at-most", "640"], {"numpy", "scipy"}),
        (["audit", str(SLICES / "tensorflow-2.21.0-float32-n1024-p0.1.npz")], {"numpy", "scipy"}),
    ],
)
def test_commands_load_what_they_need(argv, packages):
    assert loaded(MAIN, *argv) == packages


def test_simulation_draws_no_picture_unasked():
    assert "matplotlib" not in loaded(MAIN, "simulate", "9", "0.5", "--trials", "9")


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_closed_pipe_is_no_error():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "dropstats", "simulate", "5e4", "0.5", "--trials", "2", "--json"]
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(os.name != "posix", reason="file descriptors of POSIX")
def test_no_stdout_is_no_error():
    command = f"'{sys.executable}' -m dropstats prob 9 0.5 --exactly 3 >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "dropstats", "prob", "9", "0.5", "--exactly", "3"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


def test_an_interrupt_is_status_130(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dropstats.simulation.simulate", interrupted)
    status, out, err = run(capsys, "simulate", 10, 0.5, "--trials", 9)
    assert (status, out, err) == (130, "", "dropstats simulate: interrupted\n")


def test_bad_input_of_the_process():
    done = process("prob", "10", "1.2", "--exactly", "5")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


# ---------------------------------------------------------------- layer


def test_layer_json_is_the_api(capsys):
    found = answer(capsys, "layer", 1024, 0.5, "--steps", 10_000)
    law, run = ds.Layer(1024, 0.5), ds.TrainingRun(ds.Layer(1024, 0.5), 10_000)
    assert (found["n"], found["p"], found["steps"]) == (1024, 0.5, 10_000)
    assert (found["mean"], found["standard_deviation"], found["most_probable"]) == (512, 16, 512)
    assert found["central_99"] == list(law.dropped.interval(0.99))
    # from theory.md and its reference values
    assert found["prob_most_probable"] == pytest.approx(0.02492780589297954371223463, rel=1e-13)
    assert found["log10_prob_all_dropped"] == pytest.approx(-1024 * math.log10(2), rel=1e-14)
    assert (found["scale"], found["variance_ratio"]) == (2, 0.5)
    assert found["variance_ratio_relu"] == pytest.approx(0.4053601244460374999, rel=1e-13)
    assert found["steps_until_dropped"] == pytest.approx(11.33345176279589443420332869998, rel=1e-13)
    assert found["longest_run"] == pytest.approx(12.62061181386308598766567646728984517240, rel=1e-12)
    assert found["longest_run_of_any"] == run.longest_run_of_any().mean()
    assert found["distinct_subnetworks"] == 10_000
    assert found["any_repeat"] == pytest.approx(10_000 * 9_999 / 2 * 2.0**-1024, rel=1e-12)
    assert found["any_never_dropped"] == run.any_never_dropped == 0


def test_layer_is_one_screen_in_words(capsys):
    status, out, err = run(capsys, "layer", 1024, 0.1, "--steps", 100)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert lines[0] == "1,024 neurons, each dropped with probability 0.1; 100 steps"
    said = {line[:54].strip(): line[54:].strip() for line in lines[1:]}
    assert said["neurons dropped in a mask, on average"] == "102.4"
    assert said["steps until each neuron was dropped once, on average"] == "71.7713"
    assert said["P(some neuron is never dropped)"] == "0.0268327"
    assert said["P(all dropped)"].endswith("e-1024")


@pytest.mark.parametrize(("p", "words", "said"), [(0, "dropped once", "never"), (1, "scale of kept", "-")])
def test_layer_of_certain_neurons(capsys, p, words, said):
    _, out, _ = run(capsys, "layer", 10, p)
    (line,) = [line for line in out.splitlines() if words in line]
    assert line.split()[-1] == said
    found = answer(capsys, "layer", 10, p)
    assert found["steps_until_dropped"] == (None if p == 0 else 1)
    assert found["scale"] == (1 if p == 0 else None)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((10, 0.3, "--steps", 0), "steps must be at least 1; got 0"),
        ((10, 0.3, "--steps", 1.5), "argument --steps: an integer is expected; got '1.5'"),
        ((0, 0.3), "N must be at least 1; got 0"),
        ((10, 1.2), "p must be in [0, 1]; got 1.2"),
    ],
)
def test_layer_refuses_in_one_line(capsys, argv, message):
    assert run(capsys, "layer", *argv) == (2, "", f"dropstats layer: error: {message}\n")
