"""Plots of laws and tallies; they need matplotlib.

Each function takes a law, the observed masks or their tally, and ``ax``: an Axes to draw on; a Figure or SubFigure,
which may get a second panel; or None (default) for a new pyplot figure. It returns the upper Axes and does not change
your rcParams.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure as Figure  # the caller who wants no pyplot, such as the command line
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr

from dropstats import _progress, _validate, comparison
from dropstats.laws import Law, Layer
from dropstats.rendering.look import APPROXIMATE as APPROXIMATE
from dropstats.rendering.look import EXACT as EXACT
from dropstats.rendering.look import SHADE as SHADE
from dropstats.rendering.look import SIMULATED as SIMULATED
from dropstats.rendering.look import style as style
from dropstats.tallies import MOMENTS, Tally, _boolean_masks

# Of independent residuals 1 in 370 lies beyond this many standard errors.
_BAND = 3

Target = Axes | Figure | SubFigure | None


# ---------------------------------------------------------------- canvas and files


def check_picture_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` as a Path; raise ValueError or OSError if no picture can be written there."""
    path = Path(path)
    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ValueError(f"a picture must end in one of .{', .'.join(sorted(known))}; got {str(path)!r}")
    return _validate.writable(path, "a picture")


def save(figure: Figure | Axes, path: str | os.PathLike[str]) -> None:
    """Write a figure, or the figure of an Axes, to a file; the suffix determines the format.

    PNG and SVG files contain no dates or random identifiers, so that the same figure always gives the same file.

    Raises
    ------
    ValueError, OSError
        If the suffix is unknown, or the file cannot be written.

    Examples
    --------
    >>> import dropstats as ds
    >>> layer = ds.Layer(10, 0.5)
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(pmf(layer, Figure()), f"{folder}/pmf.png")
    ...     os.listdir(folder)
    ['pmf.png']
    """
    path = check_picture_path(path)
    whole = figure.figure.figure if isinstance(figure, Axes) else figure  # an Axes of a SubFigure has a root
    dated = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}.get(path.suffix.lower())
    with style():
        whole.savefig(path, metadata={dated: None} if dated else None)


@contextmanager
def _canvas(ax: Target, heights: Sequence[float] = (1,)) -> Iterator[list[Axes]]:
    """Yield the Axes to draw on: where there is room panels of these relative heights, otherwise one."""
    if isinstance(ax, Axes):
        yield [ax]
    elif isinstance(ax, Figure | SubFigure):
        panels = ax.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
        yield list(panels[:, 0])
    elif ax is None:
        import matplotlib.pyplot as plt

        with style(), _canvas(plt.figure(), heights) as axes:
            yield axes
    else:
        raise TypeError(f"ax must be an Axes, a Figure, a SubFigure or None; got {ax!r} of type {type(ax).__name__}")


# ---------------------------------------------------------------- plots


def headline(ax: Axes, text: str) -> None:
    """Set the title, and place the legend between it and the axes."""
    labels = ax.get_legend_handles_labels()[1]
    # about 95 letters of the legend's size go into a row of the style's width; a handle takes the room of 5
    rows = math.ceil(sum(len(label) + 5 for label in labels) / 95)
    look = {"handlelength": 1.5, "columnspacing": 1.3, "borderpad": 0.1, "borderaxespad": 0.3}
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=math.ceil(len(labels) / max(rows, 1)), **look)
    ax.set_title(text, loc="left", pad=10 + 18 * rows)


def _count_axes(ax: Axes) -> None:
    ax.set_xlabel("dropped neurons")
    ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _probability_axes(ax: Axes) -> None:
    """Label the axes; let the y axis begin at 0 and reach over all that has been drawn."""
    _count_axes(ax)
    ax.set_ylabel("probability")
    if ax.get_yscale() == "linear":
        ax.autoscale(axis="y")
        ax.set_ylim(bottom=0)


def _residual_axes(ax: Axes, values: NDArray[np.float64]) -> float:
    """Shade three standard errors about 0, let the y axis reach over the finite values, and return its limit."""
    ax.axhspan(-_BAND, _BAND, color=SHADE, alpha=0.15, linewidth=0)
    ax.axhline(0, color=EXACT, linewidth=1)
    limit = max(1.15 * float(np.abs(values[np.isfinite(values)]).max(initial=0)), _BAND + 1.5)
    ax.set_ylim(-limit, limit)
    return limit


def pmf(law: Law, ax: Target = None, *, tally: Tally | None = None, progress: Any = None, **kwargs: Any) -> Axes:
    """Draw the exact probability mass function of the number of dropped neurons.

    If it spreads over more than 240 counts, adjacent counts are combined and drawn with their mean probability.

    Parameters
    ----------
    law, ax
        As for `overlay`.
    tally : Tally, optional
        Extend the drawn range to all counts that it contains.
    progress : bool or callable, optional
        True shows a progress bar if it takes more than a second, as sums of huge unlike parts may; a callable such as
        ``tqdm.notebook.tqdm`` wraps what is gone through.
    **kwargs
        Properties of the ``matplotlib.patches.StepPatch``.

    Examples
    --------
    >>> import dropstats as ds
    >>> layer = ds.Layer(10, 0.5)
    >>> pmf(layer, Figure()).get_ylabel()
    'probability'
    """
    with _progress.asked(progress):
        if tally is None:
            edges, probability = comparison.cells(law, *comparison.window(law, None, 1e-4))
        else:
            comparison.check(law, tally)
            edges, probability, _ = comparison.trial_cells(law, tally)
    widths = np.diff(edges)
    with _canvas(ax) as (axes, *_):
        label = "exact law" if widths[0] == 1 else f"exact law, cells of {widths[0]:,}"
        look: dict[str, Any] = {"fill": True, "facecolor": EXACT + "40", "edgecolor": EXACT, "linewidth": 1.0}
        axes.stairs(probability / widths, edges - 0.5, **(look | {"label": label} | kwargs))
        _probability_axes(axes)
    return axes


def frequencies(law: Law, tally: Tally, ax: Target = None, **kwargs: Any) -> Axes:
    """Draw the observed frequency of each number of dropped neurons, with error bars of two standard errors.

    The standard error of a frequency is sqrt(P (1 - P) / trials), with P from the law. Neighbouring counts with fewer
    than 10 expected trials each are combined into one dot, at the mean count and at the mean probability under the law
    times the ratio of observed to expected trials of the group.

    Parameters
    ----------
    law, tally, ax
        As for `overlay`.
    **kwargs
        Passed to ``Axes.errorbar``.

    Examples
    --------
    >>> import dropstats as ds
    >>> layer = ds.Layer(10, 0.5)
    >>> frequencies(layer, ds.simulate(layer, trials=1000, rng=0), Figure()).get_xlabel()
    'dropped neurons'
    """
    seen = comparison.groups(law, tally)
    if seen.counts.size == 1:  # too few trials to share dots
        seen = comparison.groups(law, tally, fewest=0)
    heights = seen.frequencies * seen.shares
    shown = (heights > 0) | (seen.probabilities * seen.trials >= 1)
    errors = 2 * seen.standard_errors * seen.shares
    look: dict[str, Any] = {"fmt": "o", "color": SIMULATED, "markersize": 2.6, "elinewidth": 1.1}
    look |= {"label": f"{tally.trials:,} masks ± 2 standard errors"}
    with _canvas(ax) as (axes, *_):
        axes.errorbar(seen.counts[shown], heights[shown], errors[shown], **(look | kwargs))
        _probability_axes(axes)
    return axes


def residuals(law: Law, tally: Tally, ax: Target = None) -> Axes:
    """Draw the residuals of a tally, frequency minus probability in standard errors, with a band of three.

    Counts are grouped as in `frequencies`. Trials that are impossible under the law are drawn as triangles at the edge.

    Examples
    --------
    >>> import dropstats as ds
    >>> layer = ds.Layer(10, 0.5)
    >>> residuals(layer, ds.simulate(layer, trials=1000, rng=0), Figure()).get_ylabel().split()
    ['residual', 'in', 'standard', 'errors']
    """
    seen = comparison.groups(law, tally)
    counts, values = seen.counts, seen.residuals
    finite = np.isfinite(values)
    with _canvas(ax) as (axes, *_):
        limit = _residual_axes(axes, values)
        if values.size == 1:
            axes.text(0.5, 0.75, "too few trials for residuals", transform=axes.transAxes, ha="center", va="center")
        else:
            axes.plot(counts[finite], values[finite], "o", color=SIMULATED, markersize=3.2, label="residuals")
        if not finite.all():
            edge = np.copysign(0.9 * limit, values[~finite])
            axes.legend(handles=axes.plot(counts[~finite], edge, "^", color="black", label="impossible under the law"))
        _count_axes(axes)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylabel("residual in\nstandard errors")
    return axes


def overlay(law: Law, tally: Tally, ax: Target = None) -> Axes:
    """Draw the frequencies of a tally over the exact law, with the central 99 % interval of the law shaded.

    Error bars are two standard errors under the law. A lower panel shows the residuals in standard errors.

    Parameters
    ----------
    law : Law
        A law such as ``Layer(1024, 0.5)``.
    tally : Tally
        Tally of masks with the same number of neurons, from `simulate` or `tally`.
    ax : Axes, Figure, SubFigure or None
        An Axes gets only the upper panel (`residuals` draws the lower one); a Figure or SubFigure gets both, as does
        the new pyplot figure for None (default).

    Returns
    -------
    Axes
        The upper panel; its figure is ``.figure``.

    Examples
    --------
    >>> import dropstats as ds
    >>> layer = ds.Layer(10, 0.5)
    >>> ax = overlay(layer, ds.simulate(layer, trials=1000, rng=0), Figure())
    >>> ax.get_title(loc="left")
    'Layer(10, 0.5): simulation over the exact law'
    """
    comparison.check(law, tally)
    low, high = (int(end) for end in law.dropped.interval(0.99))
    with _canvas(ax, (3, 1.2)) as (upper, *lower):
        pmf(law, upper, tally=tally)
        frequencies(law, tally, upper)
        label = f"central 99 %: {low:,} to {high:,}"
        upper.axvspan(low - 0.5, high + 0.5, color=SHADE, alpha=0.15, linewidth=0, zorder=0.5, label=label)
        if lower:
            residuals(law, tally, lower[0])
            upper.set(xlabel="")
            name = repr(law) if len(repr(law)) <= 40 else f"{type(law).__name__} of {law.n:,} neurons"
            headline(upper, f"{name}: simulation over the exact law")
        else:
            upper.legend()
    return upper


def running_rates(law: Law, masks: ArrayLike, ax: Target = None, *, confidence: float = 0.99) -> Axes:
    """Draw the running drop frequency of each neuron over the steps, with an exact binomial band around its rate.

    The band is pointwise: it contains the frequency with probability at least `confidence` at each single step, not at
    all steps simultaneously.

    Parameters
    ----------
    law, ax
        As for `overlay`.
    masks : array_like of bool, shape (steps, n)
        One mask per step, True where a neuron is kept; one line is drawn per neuron, so n should be small.
    confidence : float
        Probability of the band, in (0, 1); 0.99 by default.

    Raises
    ------
    ValueError
        If the masks do not have n neurons.

    Examples
    --------
    >>> import dropstats as ds
    >>> layer = ds.Layer(10, 0.5)
    >>> running_rates(layer, layer.sample(100, rng=0), Figure()).get_ylabel()
    'drop frequency so far'
    """
    kept = _boolean_masks(masks)
    if kept.shape[1] != law.n:
        raise ValueError(f"masks must have the law's {law.n} neurons; got shape {kept.shape}")
    steps = np.unique(np.geomspace(1, kept.shape[0], 300).astype(np.int64))
    running = np.cumsum(~kept, axis=0)[steps - 1] / steps[:, None]
    with _canvas(ax) as (axes, *_):
        for rate in np.unique(law.rates).tolist():
            band = np.array([Layer(t, rate).dropped.interval(confidence) for t in steps.tolist()]) / steps[:, None]
            label = f"exact {100 * confidence:g} % band, p = {rate:g}"
            axes.fill_between(steps, *band.T, color=SHADE, alpha=0.25, linewidth=0, label=label)
            axes.axhline(rate, color="black", linewidth=1, linestyle="--")
        lines = axes.plot(steps, running, linewidth=1.2)
        lines[0].set_label(f"{law.n} neurons, one line each")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set(xlabel="steps", ylabel="drop frequency so far", xlim=(1, kept.shape[0]), ylim=(-0.02, 1.02))
        axes.legend(loc="upper right")
    return axes


def moments(laws: Sequence[Law], tallies: Sequence[Tally], ax: Target = None) -> Axes:
    """Draw observed minus exact moments of several tallies, in standard errors, against the drop probability.

    Examples
    --------
    >>> import dropstats as ds
    >>> laws = [ds.Layer(100, p) for p in (0.1, 0.5)]
    >>> tallies = [ds.simulate(law, trials=1000, rng=0) for law in laws]
    >>> moments(laws, tallies, Figure()).get_xlabel()
    'drop probability p'
    """
    rates = np.array([float(law.dropped.mean()) / max(law.n, 1) for law in laws])
    apart = np.array([comparison.moment_residuals(law, tally) for law, tally in zip(laws, tallies, strict=True)])
    nudge = 0.12 * np.min(np.diff(np.unique(rates)), initial=0.1)
    with _canvas(ax) as (axes, *_):
        _residual_axes(axes, apart)
        for index, (name, marker) in enumerate(zip(MOMENTS, "os^D", strict=True)):
            label = "excess kurtosis" if name == "kurtosis" else name
            axes.plot(rates + (index - 1.5) * nudge, apart[:, index], marker, markersize=5, label=label)
        axes.set(xlabel="drop probability p", ylabel="empirical − exact,\nin standard errors")
        axes.legend(loc="upper center", ncols=4)
    return axes


def tail(law: Law, tally: Tally, ax: Target = None, *, smallest: float = 1e-30) -> Axes:
    """Draw the tail probability P(at least k dropped) on a log axis: exact, simulated and normal approximation.

    The normal approximation has the law's mean and variance and a continuity correction. The 99 % band is the exact
    binomial (pointwise) interval of the simulated frequencies. A lower panel, if there is room, shows the relative
    error of the normal approximation.

    Parameters
    ----------
    law, tally, ax
        As for `overlay`.
    smallest : float
        Smallest probability drawn; 1e-30 by default.

    Examples
    --------
    >>> import dropstats as ds
    >>> layer = ds.Layer(10, 0.5)
    >>> tail(layer, ds.simulate(layer, trials=1000, rng=0), Figure()).get_yscale()
    'log'
    """
    comparison.check(law, tally)
    first = int(law.dropped.ppf(0.5))
    last = max(int(law.dropped.isf(smallest)), int(np.flatnonzero(tally.histogram)[-1]), first)
    k = np.unique(np.linspace(first, last, 200).astype(np.int64))
    exact = law.dropped.logsf(k - 1) / math.log(10)
    with np.errstate(divide="ignore"):  # a law without variance
        normal = log_ndtr(-(k - 0.5 - law.dropped.mean()) / law.dropped.std()) / math.log(10)
    seen = tally.histogram[::-1].cumsum()[::-1][k] / tally.trials
    expected = 10.0**exact
    likely = expected * tally.trials >= 1
    band = np.array([Layer(tally.trials, min(p, 1.0)).dropped.interval(0.99) for p in expected[likely]])
    band = np.maximum(band.reshape(-1, 2), 0.5) / tally.trials  # a frequency of 0 has no place on a log axis
    with _canvas(ax, (3, 2)) as (upper, *lower):
        upper.semilogy(k, expected, color=EXACT, label="exact law")
        upper.semilogy(k, 10.0**normal, "--", color=APPROXIMATE, label="normal approximation")
        upper.fill_between(k[likely], *band.T, color=SHADE, alpha=0.3, linewidth=0, label="99 % band")
        look: dict[str, Any] = {"color": SIMULATED, "markersize": 2.2, "label": f"{tally.trials:,} masks"}
        upper.semilogy(k[seen > 0], seen[seen > 0], "o", **look)
        _count_axes(upper)
        upper.set(xlabel="k", ylabel="P(at least k dropped)")
        upper.legend(loc="lower left")
        if lower:
            error = np.abs(np.expm1((normal - exact) * math.log(10)))
            lower[0].set_yscale("log")
            lower[0].plot(k[error > 0], error[error > 0], color=APPROXIMATE)
            upper.set_xlabel("")
            lower[0].set(xlabel="k neurons or more dropped", ylabel="relative error\nof the normal")
    return upper
