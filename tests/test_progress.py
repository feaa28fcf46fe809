"""Progress of what takes long, and an interrupt in the middle of it."""

import io
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import dropstats
from dropstats import Channels, DropBlock, Layer, Network, PreActivation, TrainingRun, _progress
from dropstats.cli import main
from dropstats.counts import coverage, of_rates

RATES = np.linspace(0.01, 0.99, 40)
GROUPS = [(0.2, 400), (0.4, 400)]


class Shown:
    """Wraps what is gone through, as tqdm does, and remembers it; or is interrupted in the middle of it."""

    def __init__(self, interrupt=False):
        self.seen, self.interrupt = [], interrupt

    def __call__(self, items, **options):
        self.seen.append((options["desc"], options["total"]))
        for index, item in enumerate(items):
            if self.interrupt and index == options["total"] // 2:
                raise KeyboardInterrupt
            yield item


def run(progress):
    return TrainingRun(Network(Layer(6, 0.2), Layer(5, 0.3)), 50, progress)


# What may take more than a second, small: a call that takes `progress`, and what its bar is called.
CALLS = {
    "prob": (lambda progress: DropBlock(6, 6, 3, 0.1).prob(dropped=9, progress=progress), "covering rows"),
    "quantile": (lambda progress: DropBlock(6, 5, 3, 0.1).quantile(0.9, progress=progress), "covering rows"),
    "expect": (lambda progress: Layer(1000, 0.3).dropped.expect(progress=progress), "summing"),
    "prob of multiples": (
        lambda progress: Network(Channels(9, 50, 0.1), Layer(90, 0.2)).prob(dropped=(0, 60), progress=progress),
        "convolving",
    ),
    "any_repeat": (lambda progress: run(progress).any_repeat, "adding masks"),
    "prob_all_distinct": (
        lambda progress: TrainingRun(Layer(20, 0.3), 300, progress).prob_all_distinct,
        "integrating over angles",
    ),
    "prob_all_distinct of classes": (
        lambda progress: TrainingRun(Network(Layer(20, 0.3), Layer(9, 0.1)), 300, progress).prob_all_distinct,
        "finding the saddlepoint",
    ),
    "prob of huge unlike terms": (
        lambda progress: Network(Layer(10**10, 0.1), Channels(10**4, 10**5, 0.3)).prob(
            dropped=(1_300_000_000, 1_300_000_005), progress=progress
        ),
        "adding up",
    ),
    "steps_until_every_subnetwork": (
        lambda progress: run(progress).steps_until_every_subnetwork,
        "waiting for every mask",
    ),
    "steps_until_all": (lambda progress: run(progress).steps_until_all().mean(), "waiting for all"),
    "longest_run_of_any": (lambda progress: run(progress).longest_run_of_any().mean(), "runs of each rate"),
    "jaccard_kept": (lambda progress: run(progress).jaccard_kept.std, "similarity, variance"),
    "cdf": (lambda progress: sums().cdf(0.1, progress=progress)[1], "saddlepoints"),
    "sf": (lambda progress: sums().sf(0.1, progress=progress)[1], "saddlepoints"),
    "pdf": (lambda progress: sums().pdf(0.1, progress=progress)[1], "saddlepoints"),
    "expectation": (lambda progress: sums().expect(np.abs, progress=progress)[1], "enumerating"),
    "mean_relu": (lambda progress: sums().mean_relu(progress=progress)[1], "enumerating"),
    "a picture of huge unlike terms": (
        lambda progress: drawn(Network(Layer(10**10, 0.1), Layer(10**10, 0.2), Channels(10**6, 10**5, 0.1)), progress),
        "adding up",
    ),
    "sums of powers": (
        lambda progress: TrainingRun(Layer(200, 0.3), 50, progress).expected_distinct,
        "adding masks",
    ),
    "mean_sigmoid": (lambda progress: sums().mean_sigmoid("normal", progress=progress)[1], "sigmoids"),
}


def drawn(law, progress):
    (outline,) = dropstats.plots.pmf(law, Figure(), progress=progress).patches
    return outline.get_data().values.tolist()


def sums():
    weights = np.random.default_rng(0).standard_normal((8, 3))
    return PreActivation(weights, np.ones(8), Layer(8, 0.5)).training


@pytest.mark.parametrize("name", CALLS)
def test_progress_is_shown_and_changes_nothing(name):
    call, title = CALLS[name]
    coverage.squares.cache_clear()
    plain, shown = call(None), Shown()
    coverage.squares.cache_clear()
    assert call(shown) == plain
    assert title in [seen for seen, _ in shown.seen]
    assert all(total >= 1 for _, total in shown.seen)
    with pytest.raises(TypeError, match="progress must be"):
        call("yes")


def test_an_interrupt_leaves_nothing_half_made():
    law, shown = DropBlock(6, 6, 3, 0.1), Shown(interrupt=True)
    coverage.squares.cache_clear()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            law.prob(dropped=9, progress=shown)
    assert not {"dropped", "kept"} & set(law.__dict__)
    assert law.prob(dropped=9) == DropBlock(6, 6, 3, 0.1).prob(dropped=9) > 0
    net = Network(Channels(9, 50, 0.1), Layer(90, 0.2))
    with pytest.raises(KeyboardInterrupt):
        net.prob(dropped=(0, 60), progress=shown)
    assert net.prob(dropped=(0, 60)) == Network(Channels(9, 50, 0.1), Layer(90, 0.2)).prob(dropped=(0, 60)) > 0
    training = run(shown)
    with pytest.raises(KeyboardInterrupt):
        training.jaccard_kept  # noqa: B018
    object.__setattr__(training, "progress", None)
    assert training.jaccard_kept == run(None).jaccard_kept


def test_what_is_asked_for_ends_with_the_call():
    shown = Shown()
    with _progress.asked(shown):
        with _progress.asked(None):
            assert list(_progress.shown(range(2), 2, "inner", "item")) == [0, 1]
        assert list(_progress.shown(range(2), 2, "not at all", "item", False)) == [0, 1]
    assert list(_progress.shown(range(2), 2, "outside", "item")) == [0, 1]
    assert [title for title, _ in shown.seen] == ["inner"]


def test_a_command_shows_progress_on_a_terminal(monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    asked = []

    def bar(items, total, what, unit, progress=None, delay=0.0):
        asked.append(_progress._ASKED.get() if progress is None else progress)
        return items

    monkeypatch.setattr(_progress, "shown", bar)
    command = ["prob", "--law", "DropBlock(6, 6, 3, 0.1)", "--exactly", "9"]
    for stream, wanted in ((io.StringIO(), False), (Terminal(), True)):
        coverage.squares.cache_clear()
        monkeypatch.setattr(sys, "stderr", stream)
        assert main(command) == 0
        assert asked
        assert set(asked) == {wanted}
        asked.clear()
    assert "P(dropped == 9)" in capsys.readouterr().out


def test_a_command_that_is_interrupted_says_so(monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_progress, "shown", interrupted)
    coverage.squares.cache_clear()
    assert main(["prob", "--law", "DropBlock(6, 6, 3, 0.1)", "--exactly", "9"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_runs_are_equal_whatever_they_show():
    assert run(True) == run(None)
    assert repr(run(True)) == repr(run(None))
    assert of_rates(GROUPS).pmf(200) == dropstats.Network(Layer(400, 0.2), Layer(400, 0.4)).dropped.pmf(200)
