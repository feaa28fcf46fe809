"""The figures by their artists and numbers, and that a script draws the same bytes again."""

import ast
import json
import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import StepPatch

import dropstats as ds
from dropstats import plots

FIGURES = Path(__file__).parents[1] / "figures"
SCRIPTS = sorted(FIGURES.glob("[0-9][0-9]_*.py"))
TRIALS = 3000  # instead of up to a million: the artists are the same


def load(name):
    """Return the module of a script, or of make.py, with small simulations in place of its large ones."""
    (path,) = FIGURES.glob(f"{name}*.py")
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if hasattr(module, "tally"):
        small = ds.simulate(module.LAW, TRIALS, rng=1)
        module.tally = lambda: small
    if hasattr(module, "tallies"):
        several = [ds.simulate(law, TRIALS, rng=seed) for seed, law in enumerate(module.LAWS)]
        module.tallies = lambda: several
    return module


def draw(module):
    with plots.style():
        figure = module.figure()
        figure.draw_without_rendering()
    return figure


def make(*argv, **environment):
    command = [sys.executable, str(FIGURES / "make.py"), *map(str, argv)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | environment
    )


def texts(ax):
    return " | ".join(text.get_text() for text in ax.texts)


def line(ax, label):
    (found,) = [found for found in ax.get_lines() if found.get_label() == label]
    return found.get_data()


# ---------------------------------------------------------------- every script


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_short_and_has_its_two_functions(script):
    source = script.read_text(encoding="utf-8")
    assert 15 <= len(source.splitlines()) <= 62
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"figure", "numbers"} <= functions


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_figure_has_a_finding_and_named_axes_and_finite_numbers(script):
    module = load(script.stem)
    figure = draw(module)
    upper, lower = figure.axes[0], figure.axes[-1]
    assert len(upper.get_title(loc="left") or figure.get_suptitle()) > 30
    assert upper.get_ylabel()
    assert lower.get_xlabel()
    numbers = module.numbers()
    assert len(numbers) >= 3
    assert np.isfinite([float(value) for value in numbers.values()]).all()
    # nothing of the title is cut off
    assert upper._left_title.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_pictures_under_version_control_are_there_and_small(script):
    png, svg = (FIGURES / "out" / f"{script.stem}{suffix}" for suffix in (".png", ".svg"))
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text(encoding="utf-8")
    assert len(text) < 300_000
    assert not re.search(r"\b20\d\d-\d\d-\d\d", text)  # no date


# ---------------------------------------------------------------- one by one


def test_half_of_1024():
    module = load("01")
    ax = draw(module).axes[0]
    (steps,) = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
    heights, edges, _ = steps.get_data()
    np.testing.assert_array_equal(heights, module.LAW.dropped.pmf(edges[:-1] + 0.5))
    assert "P = 0.0249" in texts(ax)
    assert "central 95 %: 481 to 543" in texts(ax)
    (mark,) = [
        found.get_data() for found in ax.get_lines() if found.get_marker() == "o" and found.get_xdata().size == 1
    ]
    # theory: C(1024, 512) / 2^1024
    assert (mark[0][0], mark[1][0]) == (512, pytest.approx(0.024927805892979543712, rel=1e-13))
    numbers = module.numbers()
    assert numbers["P(exactly 512 of 1024 dropped), p = 0.5"] == pytest.approx(0.024927805892979543712, rel=1e-13)
    assert (numbers["central 95 %, from"], numbers["central 95 %, to"]) == (481, 543)
    assert numbers["P(480 to 544 dropped)"] == pytest.approx(0.957822784482, rel=1e-11)


def test_peaks_around_np():
    module = load("02")
    ax = draw(module).axes[0]
    peaks = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
    assert len(peaks) == 9
    for patch, tenths in zip(peaks, range(1, 10), strict=True):
        heights, edges, _ = patch.get_data()
        assert abs(edges[heights.argmax()] + 0.5 - 102.4 * tenths) < 1
        assert f"p = {tenths / 10}" in texts(ax)
    dots = [found for found in ax.get_lines() if found.get_marker() == "o"]
    for dot, law in zip(dots, module.LAWS, strict=True):
        counts, heights = dot.get_data()
        assert heights == pytest.approx(np.interp(counts, np.arange(1025), law.dropped.pmf(np.arange(1025))), abs=0.013)


def test_exactly_np_is_symmetric_and_smallest_in_the_middle_of_the_lattice():
    module = load("03")
    ax = draw(module).axes[0]
    assert ax.get_yscale() == "log"
    for n, least in ((10, 0.24609375), (64, 0.0993467537), (1024, 0.0249278059)):
        p, values = line(ax, f"n = {n}")
        np.testing.assert_array_equal(p * n, np.arange(1, n))
        np.testing.assert_allclose(values, values[::-1], rtol=1e-12)
        assert p[values.argmin()] == 0.5
        assert (np.diff(values[: n // 2]) < 0).all()
        assert values.min() == pytest.approx(least, rel=1e-8)
        assert f"{least:.4f}" in texts(ax)
    # theory: between lattice points the most probable number is less probable than 5 of 10 at p = 0.5
    p, between = line(ax, "n = 10, most probable number")
    assert np.interp(0.55, p, between) == pytest.approx(0.238366647, rel=1e-3)
    assert module.numbers()["P(most probable number), n = 10, p = 0.55"] == pytest.approx(0.238366647, rel=1e-8)


def test_single_neurons_settle_within_their_band():
    module = load("04")
    ax = draw(module).axes[0]
    lines = [found.get_data() for found in ax.get_lines() if len(found.get_xdata()) > 2]
    assert len(lines) == module.LAW.n
    rates = ds.tally(module.masks()).rates
    assert sorted(values[-1] for _, values in lines) == pytest.approx(sorted(rates))
    numbers = module.numbers()
    low, high = ds.Layer(10_000, 0.3).dropped.interval(1 - 1e-6)  # six neurons leave it in 6 of a million runs
    assert low / 10_000 <= rates.min() < rates.max() <= high / 10_000
    # the binomial's standard deviation is 0.0046; 99 % lie within 2.6 of them
    assert numbers["99 % band, to"] - numbers["99 % band, from"] == pytest.approx(2 * 2.576 * 0.0045826, rel=0.02)


def test_moments_over_a_grid():
    module = load("05")
    ax = draw(module).axes[0]
    _, means = line(ax, "mean")
    assert means.size == 19
    expected = [
        (tally.mean - 256 * p) / np.sqrt(256 * p * (1 - p) / TRIALS)
        for tally, p in zip(module.tallies(), np.arange(1, 20) / 20, strict=True)
    ]
    np.testing.assert_allclose(means, expected, rtol=1e-6, atol=1e-9)
    numbers = module.numbers()
    assert numbers["moments compared, 256 neurons, 100,000 masks"] == 76
    assert numbers["largest difference, standard errors"] < 5


def test_network_tail():
    module = load("06")
    upper, lower = draw(module).axes
    assert (upper.get_yscale(), lower.get_yscale()) == ("log", "log")
    k, tail = line(upper, "exact law")
    at = np.flatnonzero(np.isin(k, [1300, 1400, 1450]))
    assert at.size
    np.testing.assert_allclose(tail[at], np.exp(module.LAW.dropped.logsf(k[at] - 1)), rtol=1e-9)
    numbers = module.numbers()
    # mean and variance by hand; the tail by integer arithmetic: C(784, i) 4^(784-i) C(2048, k) over i + k >= 1400
    assert numbers["mean number dropped"] == pytest.approx(784 * 0.2 + 1024, rel=1e-12)
    assert numbers["standard deviation"] == pytest.approx(np.sqrt(784 * 0.16 + 512), rel=1e-12)
    assert np.log(numbers["P(at least 1400 dropped)"]) == pytest.approx(-40.2547620, abs=1e-6)
    assert numbers["relative error of the normal distribution there"] == pytest.approx(-0.297, abs=0.001)


# ---------------------------------------------------------------- make.py


def test_a_script_draws_the_same_bytes_again_and_prints_its_numbers(tmp_path):
    for folder, seed in (("a", "0"), ("b", "1")):
        done = make("03", "04_single", "--out", tmp_path / folder, PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [f"{stem}.{suffix}" for stem in ("03_exactly_np", "04_single_neurons") for suffix in ("png", "svg")]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    row = re.search(r"^03_exactly_np +P\(exactly np dropped\), n = 10, p = 0.5 +0.24609375$", done.stdout, re.MULTILINE)
    assert row
    assert "04_single_neurons" in done.stderr  # progress


def test_an_unknown_figure_is_one_line():
    done = make("99")
    assert done.returncode != 0
    assert done.stderr.startswith("make.py: error: a figure must be one of 01_half_of_1024, ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_all_figures_are_drawn_the_same_again(tmp_path):
    for folder in ("a", "b"):
        done = make("--out", tmp_path / folder)
        assert done.returncode == 0, done.stderr
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert len(list((tmp_path / "b").iterdir())) == 2 * len(SCRIPTS)


# ---------------------------------------------------------------- what masks do


def test_sixty_and_a_hundred():
    module = load("07")
    upper, lower = draw(module).axes
    assert "mean 60, standard\ndeviation 4.90" in texts(upper)
    assert "95 %: 50 to 69" in texts(upper)
    assert "mean 100, standard\ndeviation 8.16" in texts(lower)
    assert "95 %: 83.33 to 115" in texts(lower)
    for ax in (upper, lower):
        assert line(ax, "inference: always this")[0][0] == 100
    # theory: A3, A5
    numbers = module.numbers()
    assert numbers["P(exactly 60 kept)"] == pytest.approx(0.0812191449961, rel=1e-11)
    assert numbers["standard deviation in training, scaled by 1/(1 − p)"] == pytest.approx(8.16496580927726)
    kept, seen = line(upper, "training, 100,000 masks")
    assert np.sum(kept * seen) == pytest.approx(60, abs=5 * 4.9 / TRIALS**0.5)


def test_variance_ratio():
    module = load("08")
    ax = draw(module).axes[0]
    p, exact = line(ax, "behind relu(N(0, 1)), exact")
    # theory 3.4, at keep probabilities .5, .8, .9, .95
    for at, value in ((0.5, 0.405360124446), (0.2, 0.731670438172), (0.1, 0.859849975482), (0.05, 0.928326264271)):
        assert exact[np.argmin(np.abs(p - at))] == pytest.approx(value, rel=1e-11)
    _, zero_mean = line(ax, "behind inputs of mean 0: 1 − p")
    np.testing.assert_allclose(zero_mean, 1 - p)
    assert module.numbers()["largest relative difference of the simulated ratio"] < 0.02


def test_tail_of_a_pre_activation():
    module = load("09")
    upper, lower = draw(module).axes
    assert "18.6 times" in texts(upper)
    assert "-2.2 %" in texts(lower)
    y, exact = line(upper, "exact, by convolution")
    assert (np.diff(exact) < 0).all()
    # theory 3.3: at 750/28 the exact P(z >= y) less half the atom
    assert exact[np.argmin(np.abs(y - 750 / 28))] == pytest.approx(0.00204323895175, rel=1e-9)
    numbers = module.numbers()
    assert numbers["saddlepoint, relative error"] == pytest.approx(-0.0221799, rel=1e-5)
    assert numbers["normal, relative error"] == pytest.approx(17.6364, rel=1e-5)


def test_effective_learning_rate():
    module = load("10")
    ax = draw(module).axes[0]
    assert {"4", "2", "1.41", "1"} <= {text.get_text() for text in ax.texts}
    assert ax.get_yscale() == "log"
    assert module.numbers()["lr = 0.01, p = 0.5: direct_equivalent"] == pytest.approx(0.04)
    ends = [found.get_ydata()[-1] for found in ax.get_lines() if len(found.get_xdata()) > 2]
    assert ends == pytest.approx([400, 20, 20**0.5, 1])


def test_over_the_steps():
    module = load("11")
    upper, lower = draw(module).axes
    steps, mean = line(upper, "a neuron: mean, 95 %")
    # theory: 9.3001 in 1000 steps, 12.6206 in 10,000; between the points drawn the mean is nearly linear in log steps
    np.testing.assert_allclose(np.interp(np.log([1e3, 1e4]), np.log(steps), mean), [9.3001, 12.6206], atol=0.01)
    for ax, label in ((upper, "a neuron: mean, 95 %"), (lower, "32 neurons, p = 0.1")):
        few, seen = line(ax, "simulated")
        exact = np.interp(np.log(few), np.log(line(ax, label)[0]), line(ax, label)[1])
        np.testing.assert_allclose(seen, exact, rtol=0.04)
    numbers = module.numbers()
    assert numbers["P(20 or more)"] == pytest.approx(0.37925396138895, rel=1e-12)
    assert numbers["distinct subnetworks of 64 at 0.1 in 10^6 steps"] == pytest.approx(917800.4967, abs=1e-3)


def test_dropout_is_a_ridge():
    module = load("12")
    numbers = module.numbers()
    for label in module.CASES:
        assert numbers[f"{label}: norm at the end"] == pytest.approx(numbers[f"{label}: exact"], rel=0.02)
    # by least squares on data with the ridge's rows added
    inputs, targets = module.INPUTS, module.TARGETS
    rows = np.vstack([inputs, np.diag(np.sqrt(np.sum(inputs**2, axis=0)))])
    ridge = np.linalg.lstsq(rows, np.r_[targets, np.zeros(20)], rcond=None)[0]
    assert numbers["dropout, p = 0.5: exact"] == pytest.approx(np.linalg.norm(ridge), rel=1e-12)
    assert f"dropout, p = 0.5: {np.linalg.norm(ridge):.3f}" in texts(draw(module).axes[0])


# ---------------------------------------------------------------- the family


def test_gallery():
    module = load("15")
    axes = np.reshape(draw(module).axes, (-1, 2))
    assert len(axes) == len(module.LAWS)
    for (name, law), (mask_axes, law_axes) in zip(module.LAWS.items(), axes, strict=True):
        assert mask_axes.get_ylabel() == name
        (bars,) = law_axes.collections
        heights = {int(x): high for (x, _), (_, high) in bars.get_segments()}
        assert heights[29] == pytest.approx(float(law.dropped.pmf(29)))
        (binomial,) = law_axes.get_lines()
        counts, values = binomial.get_data()
        assert counts @ values == pytest.approx(float(law.dropped.mean()), rel=1e-6)
        assert law.dropped.mean() / law.n == pytest.approx(0.2, abs=0.002)
        shown = np.asarray(mask_axes.get_images()[0].get_array())
        assert ((shown == 0) | (shown == 1)).sum() == law.n


def test_dropblock_shortfall():
    module = load("16")
    upper, lower = draw(module).axes
    p, fraction = line(upper, "14 x 14, blocks of 7")
    assert fraction[p == 0.1] == pytest.approx(0.0929400374083847, rel=1e-12)
    assert (fraction < p).all()
    assert lower.get_lines()[0].get_ydata()[p == 0.1] == pytest.approx(7.05996259161, rel=1e-9)


def test_depth_laws():
    module = load("17")
    (ax,) = draw(module).axes
    depth, probability = line(ax, "huang, p l / L")
    assert probability[depth == 40] == pytest.approx(0.13021080081812931, rel=1e-12)
    means = [found.get_xdata()[0] for found in ax.get_lines() if found.get_linestyle() == "--"]
    assert means == pytest.approx([40.25, 40.5, 40.75, 27])


def test_monitor():
    module = load("18")
    left, right = draw(module).axes
    for ax, carried in ((left, 0.0), (right, module.CARRIED)):
        steps, logs = line(ax, "together")
        assert (steps[0], steps[-1]) == (1, module.STEPS)
        assert logs[-1] == pytest.approx(module.monitor(carried).log_e)
        assert "alarm: 1,000 to 1" in texts(ax)
    assert (line(left, "together")[1] < np.log(1000)).all()
    assert "lags" in texts(right)
    numbers = module.numbers()
    assert numbers["failing run: step of the alarm"] <= 150
    assert numbers["healthy run: rate at least"] < 0.1 < numbers["healthy run: rate at most"]


def test_the_museum_s_exhibits_are_all_drawn_with_the_tests_of_their_projects():
    module = load("19")
    ax = draw(module).axes[0]
    kept = json.loads((FIGURES.parent / "docs" / "museum.json").read_text(encoding="utf-8"))
    labels = [label.get_text().partition(": ")[2] for label in ax.get_yticklabels()]
    assert sorted(labels) == sorted(kept)
    known, hollow, drawn, none = (
        {labels[row]: size for size, row in zip(*line(ax, label), strict=True)}
        for label in (
            "needed, 5 of 5 seeds",
            "needed; the project's own test is not known",
            "drawn by the project's own test",
            "its own test draws no mask",
        )
    )
    assert known | hollow == {name: one["neurons"] for name, one in kept.items()}
    assert set(hollow) == {name for name, one in kept.items() if one["own test"] is None}
    assert drawn == {name: one["own test"] for name, one in kept.items() if one["own test"]}
    assert set(none) == {name for name, one in kept.items() if one["own test"] == 0}
    few = sum(one["neurons"] <= 10_000 for one in kept.values())
    assert ax.get_title(loc="left").startswith(f"{few} of {len(kept)} reported bugs")
    assert module.numbers()["within 10,000 neurons"] == few
