"""Plots by their artists: heights, places, labels; never by their pixels."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.patches import StepPatch
from scipy import stats

import dropstats as ds
from dropstats import comparison, plots
from dropstats.plots import Figure

LAYER = ds.Layer(20, 0.4)
TALLY = ds.simulate(LAYER, 5000, rng=0)


def steps(ax):
    (patch,) = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
    return patch.get_data()


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def drawn(ax, label):
    (line,) = [line for line in ax.get_lines() if line.get_label() == label]
    return line.get_data()


# ---------------------------------------------------------------- overlay


def test_bars_have_the_heights_of_the_exact_pmf():
    ax = plots.overlay(LAYER, TALLY, Figure())
    heights, edges, _ = steps(ax)
    counts = (edges[:-1] + edges[1:]) / 2
    np.testing.assert_array_equal(heights, LAYER.dropped.pmf(counts))
    assert counts[0] <= LAYER.dropped.ppf(1e-4)
    assert counts[-1] >= LAYER.dropped.isf(1e-4)


def test_dots_are_frequencies_with_two_standard_errors_of_the_law():
    ax = plots.overlay(LAYER, TALLY, Figure())
    (container,) = ax.containers
    counts, heights = container.lines[0].get_data()
    single = np.flatnonzero(counts == np.round(counts))  # the others stand for several counts in a tail
    assert single.size == counts.size - 2 >= 11
    for index in single:
        count = int(counts[index])
        assert heights[index] == pytest.approx(TALLY.histogram[count] / TALLY.trials)
        (_, low), (_, high) = container.lines[2][0].get_segments()[index]
        pmf = LAYER.dropped.pmf(count)
        error = np.sqrt(pmf * (1 - pmf) / TALLY.trials)
        assert (low, high) == pytest.approx((heights[index] - 2 * error, heights[index] + 2 * error))


def test_the_central_99_percent_is_shaded_and_everything_is_named():
    ax = plots.overlay(LAYER, TALLY, Figure())
    (shade,) = [patch for patch in ax.patches if patch.get_label().startswith("central")]
    corners = shade.get_window_extent().transformed(ax.transData.inverted())
    low, high = LAYER.dropped.interval(0.99)
    assert (corners.x0, corners.x1) == pytest.approx((low - 0.5, high + 0.5))
    assert set(labels(ax)) == {"exact law", "5,000 masks ± 2 standard errors", f"central 99 %: {low:.0f} to {high:.0f}"}
    upper, lower = ax.figure.axes
    assert ax is upper
    assert upper.get_ylabel() == "probability"
    assert lower.get_xlabel() == "dropped neurons"
    assert lower.get_ylabel() == "residual in\nstandard errors"
    assert upper.get_title(loc="left") == "Layer(20, 0.4): simulation over the exact law"


def test_an_axes_gets_one_panel_a_subfigure_two_and_none_a_new_figure():
    import matplotlib.pyplot as plt

    mine = Figure().subplots()
    assert plots.overlay(LAYER, TALLY, mine) is mine
    assert mine.figure.axes == [mine]
    left, right = Figure().subfigures(1, 2)
    plots.overlay(LAYER, TALLY, left)
    assert (len(left.axes), len(right.axes)) == (2, 0)
    before = plt.get_fignums()
    ax = plots.overlay(LAYER, TALLY)
    assert len(plt.get_fignums()) == len(before) + 1
    assert len(ax.figure.axes) == 2
    plt.close(ax.figure)


@pytest.mark.parametrize(
    "law",
    [
        ds.Neuron(0.3),
        ds.Neuron(0.5),
        ds.Layer(0, 0.5),
        ds.Layer(10, 0.0),
        ds.Layer(10, 1.0),
        ds.Layer(3, [0.1, 0.5, 0.9]),
        ds.Layer(1_000_000, 0.3),
        ds.Layer(1_000_000, 1e-7),
        ds.Network(ds.Layer(30, 0.2), ds.Neuron(0.5), ds.Layer(40, 0.9)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("trials", [1, 30])
def test_any_law_is_drawn(law, trials):
    tally = ds.simulate(law, trials, rng=0)
    for plot in (plots.overlay, plots.tail):
        figure = Figure()
        ax = plot(law, tally, figure)
        figure.draw_without_rendering()
        assert len(figure.axes) == 2
        assert all(np.isfinite(ax.get_ylim()))


def test_many_counts_are_drawn_as_cells_of_their_mean_probability():
    law = ds.Layer(1_000_000, 0.3)
    ax = plots.overlay(law, ds.simulate(law, 30, rng=0), Figure())
    heights, edges, _ = steps(ax)
    width = round(edges[1] - edges[0])
    assert heights.size <= 240
    assert width > 1
    middle = heights.size // 2
    counts = np.arange(edges[middle] + 0.5, edges[middle + 1])
    assert heights[middle] == pytest.approx(law.dropped.pmf(counts).mean(), rel=1e-9)
    assert labels(ax)[0] == f"exact law, cells of {width}"
    # the window is where the law is, not 0 to n
    assert edges[-1] - edges[0] < 20 * law.dropped.std()


def test_a_wrong_law_shows_in_the_residuals():
    largest = {}
    for law in (LAYER, ds.Layer(20, 0.43)):
        ax = plots.overlay(law, TALLY, Figure())
        _, residuals = drawn(ax.figure.axes[1], "residuals")
        np.testing.assert_allclose(residuals, comparison.groups(law, TALLY).residuals)
        largest[law] = np.abs(residuals).max()
        low, high = ax.figure.axes[1].get_ylim()
        assert low < -largest[law] < largest[law] < high
    assert largest[LAYER] < 4.5
    assert largest[ds.Layer(20, 0.43)] > 5


def test_masks_far_from_the_law_are_within_the_picture():
    ax = plots.overlay(ds.Layer(20, 0.1), TALLY, Figure())
    (container,) = ax.containers
    counts, heights = container.lines[0].get_data()
    assert counts.max() > 12
    assert ax.get_xlim()[1] > counts.max()
    assert ax.get_ylim()[1] > heights.max()


def test_impossible_masks_are_marked():
    ax = plots.overlay(ds.Layer(20, 0.0), TALLY, Figure())
    counts, edge = drawn(ax.figure.axes[1], "impossible under the law")
    assert counts.size > 5
    assert np.isin(edge, [edge.min(), edge.max()]).all()


def test_too_few_masks_are_said_to_be_so():
    ax = plots.overlay(LAYER, ds.simulate(LAYER, 5, rng=0), Figure())
    assert [text.get_text() for text in ax.figure.axes[1].texts] == ["too few trials for residuals"]
    (container,) = ax.containers
    assert sum(container.lines[0].get_ydata()) == pytest.approx(1)


class Channels:
    """A law whose counts are multiples of 8, such as of whole channels: what plots ask of a law, and no more."""

    n = 64
    dropped = stats.rv_discrete(values=(np.arange(9) * 8, stats.binom(8, 0.3).pmf(np.arange(9))))()


def test_a_law_with_gaps_is_drawn_at_its_counts():
    kept = np.repeat(ds.Layer(8, 0.3).sample(2000, rng=0), 8, axis=1)
    tally = ds.tally(kept)
    ax = plots.overlay(Channels(), tally, Figure())
    (container,) = ax.containers
    counts, heights = container.lines[0].get_data()
    exact = np.isclose(counts % 8, 0)
    assert exact.sum() >= 5
    np.testing.assert_allclose(heights[exact], tally.histogram[np.round(counts[exact]).astype(int)] / 2000)
    assert np.abs(drawn(ax.figure.axes[1], "residuals")[1]).max() < 4
    # a law without its gaps is a wrong law
    ax = plots.overlay(ds.Layer(64, 0.3), tally, Figure())
    assert np.abs(drawn(ax.figure.axes[1], "residuals")[1]).max() > 5


def test_bad_input():
    with pytest.raises(ValueError, match="tally must hold masks of the law's 1024 neurons; got masks of 20"):
        plots.overlay(ds.Layer(1024, 0.5), TALLY)
    with pytest.raises(TypeError, match="ax must be an Axes, a Figure, a SubFigure or None; got 'here' of type str"):
        plots.overlay(LAYER, TALLY, "here")
    with pytest.raises(ValueError, match=r"masks must have the law's 20 neurons; got shape \(4, 3\)"):
        plots.running_rates(LAYER, np.ones((4, 3)))


# ---------------------------------------------------------------- the other plots


def test_pmf_alone():
    ax = plots.pmf(LAYER, Figure(), facecolor="red", label="mine")
    heights, edges, _ = steps(ax)
    np.testing.assert_array_equal(heights, LAYER.dropped.pmf(edges[:-1] + 0.5))
    assert labels(ax) == ["mine"]


def test_pmf_of_a_law_without_bound():
    law = ds.Layer(2**53, 0.5)
    heights, edges, _ = steps(plots.pmf(law, Figure()))
    assert np.sum(heights * np.diff(edges)) == pytest.approx(1, abs=3e-4)
    assert edges[0] < law.dropped.mean() < edges[-1]


def test_running_rates_are_cumulative_frequencies_within_the_binomial_band():
    law = ds.Layer(3, 0.3)
    masks = law.sample(50, rng=0)
    ax = plots.running_rates(law, masks, Figure())
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) > 2]
    assert len(lines) == 3
    for neuron, line in enumerate(lines):
        for t, rate in zip(*line.get_data(), strict=True):
            assert rate == pytest.approx(np.mean(~masks[: int(t), neuron]))
    corners = ax.collections[0].get_paths()[0].vertices
    low, high = stats.binom(50, 0.3).interval(0.99)
    at_50 = corners[corners[:, 0] == 50][:, 1]
    assert (at_50.min(), at_50.max()) == pytest.approx((low / 50, high / 50))
    assert "exact 99 % band, p = 0.3" in labels(ax)


def test_running_rates_of_unequal_neurons_have_a_band_each():
    ax = plots.running_rates(ds.Layer(3, [0.1, 0.1, 0.9]), np.ones((8, 3)), Figure())
    assert labels(ax)[:2] == ["exact 99 % band, p = 0.1", "exact 99 % band, p = 0.9"]


def test_moments_are_standardised_and_a_wrong_law_shows():
    laws = [ds.Layer(64, p) for p in (0.2, 0.5)]
    tallies = [ds.simulate(law, 5000, rng=i) for i, law in enumerate(laws)]
    ax = plots.moments(laws, tallies, Figure())
    assert labels(ax) == ["mean", "variance", "skewness", "excess kurtosis"]
    for name, index in (("mean", 0), ("excess kurtosis", 3)):
        _, values = drawn(ax, name)
        exact = [comparison.moment_residuals(*pair)[index] for pair in zip(laws, tallies, strict=True)]
        np.testing.assert_array_equal(values, exact)
        assert np.abs(values).max() < 5
    error = np.sqrt(64 * 0.2 * 0.8 / 5000)
    assert drawn(ax, "mean")[1][0] == pytest.approx((tallies[0].mean - 64 * 0.2) / error)
    assert np.abs(drawn(plots.moments(laws[::-1], tallies, Figure()), "mean")[1]).min() > 5


def test_tail_is_the_survival_function_on_a_log_axis():
    law = ds.Network(ds.Layer(100, 0.2), ds.Layer(100, 0.5))
    tally = ds.simulate(law, 2000, rng=0)
    ax = plots.tail(law, tally, Figure(), smallest=1e-40)
    assert ax.get_yscale() == "log"
    k, tail = drawn(ax, "exact law")
    np.testing.assert_allclose(tail, law.dropped.sf(k - 1), rtol=1e-9)
    assert tail[-1] < 1e-38
    seen, frequencies = drawn(ax, "2,000 masks")
    for count, frequency in zip(seen, frequencies, strict=True):
        assert frequency == pytest.approx(tally.histogram[int(count) :].sum() / 2000)
    k, normal = drawn(ax, "normal approximation")
    np.testing.assert_allclose(normal, stats.norm(law.dropped.mean(), law.dropped.std()).sf(k - 0.5), rtol=1e-9)
    (error,) = ax.figure.axes[1].get_lines()
    assert ax.figure.axes[1].get_yscale() == "log"
    np.testing.assert_allclose(error.get_ydata(), np.abs(normal / tail - 1), rtol=1e-6)


# ---------------------------------------------------------------- style and files


def test_the_style_does_not_leak(tmp_path):
    import matplotlib.pyplot as plt

    with mpl.rc_context({"font.size": 31, "svg.hashsalt": "mine"}):
        before = dict(mpl.rcParams)
        ax = plots.overlay(LAYER, TALLY)
        assert ax.xaxis.label.get_size() == 11  # the project's, not the user's
        plots.save(ax, tmp_path / "picture.svg")
        assert dict(mpl.rcParams) == before
        with pytest.raises(ValueError, match="neurons"):
            plots.overlay(ds.Layer(3, 0.5), TALLY)
        assert dict(mpl.rcParams) == before
        plt.close(ax.figure)
    with plots.style():
        assert mpl.rcParams["svg.hashsalt"] == "dropstats"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_one_figure_is_one_sequence_of_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        with plots.style():
            figure = Figure()
            plots.overlay(LAYER, TALLY, figure)
        plots.save(figure, tmp_path / f"{name}{suffix}")
    first = (tmp_path / f"a{suffix}").read_bytes()
    assert first == (tmp_path / f"b{suffix}").read_bytes()
    assert len(first) > 5000
    assert b"<dc:date>" not in first
    assert b"CreationDate" not in first


def test_paths_without_a_picture(tmp_path):
    figure = Figure()
    with pytest.raises(ValueError, match=r"a picture must end in one of \.\w+, .*\.png, .*; got '.*picture\.doc'"):
        plots.save(figure, tmp_path / "picture.doc")
    with pytest.raises(ValueError, match="a picture must end in one of"):
        plots.save(figure, tmp_path / "picture")
    with pytest.raises(OSError, match=r"a picture must be a file in an existing folder; got '.*nowhere"):
        plots.save(figure, tmp_path / "nowhere" / "picture.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError, match="a picture must be a file in an existing folder"):
        plots.save(figure, tmp_path / "folder.png")
