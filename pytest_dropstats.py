"""The pytest plugin of dropstats: the fixture `dropout_audit`, a section in the summary, and a report of all audits.

It is a module of its own, so that pytest starts without importing dropstats, or NumPy, until a test asks for an audit.
"""

import os
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dropstats import Report

_COLLECTED = pytest.StashKey[list[dict[str, str]]]()
_REPORT, _SEED = "--dropout-report", "--dropout-seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take where the report goes, and a seed."""
    group = parser.getgroup("dropout", "audits of dropout (dropstats)")
    group.addoption(_REPORT, metavar="FILE.html", help="write a report of all audits of dropout to one HTML file")
    words = "seed the global generators of random, NumPy and frameworks before each audit"
    group.addoption(_SEED, metavar="SEED", type=int, help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what cannot be written, or used, before any test runs."""
    path, seed = config.getoption(_REPORT), config.getoption(_SEED)
    if path is not None:
        folder = Path(path).parent
        if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise pytest.UsageError(f"{_REPORT} must name a file that can be written; got {path!r}")
    if seed is not None and not 0 <= seed < 2**32:
        raise pytest.UsageError(f"{_SEED} must be in [0, 2^32 - 1]; got {seed}")
    config.pluginmanager.register(_Audits(config), "dropstats_audits")


@pytest.fixture
def dropout_audit(request: pytest.FixtureRequest) -> Callable[..., "Report"]:
    """Assert that an implementation drops as declared; takes the arguments of `dropstats.testing.assert_dropout`.

    Takes what `assert_dropout` takes, fails the test as it does and returns its report, which is shown in the summary
    of the run and in the file of ``--dropout-report``.

    Examples
    --------
    def test_dropout(dropout_audit):
        dropout_audit(MyDropout(0.1))
    """
    return partial(_audited, request)


def _audited(request: pytest.FixtureRequest, dropout: Any, p: float | None = None, **options: Any) -> "Report":
    __tracebackhide__ = True
    from dropstats.testing import assert_dropout

    seed = request.config.getoption(_SEED)
    if seed is not None:
        _seed_all(seed)
    try:
        report = assert_dropout(dropout, p, **options)
    except AssertionError as error:
        _collect(request, getattr(error, "report", None), str(error))
        raise
    _collect(request, report, "")
    return report


def _seed_all(seed: int) -> None:
    """Seed the global generators of what is loaded."""
    random.seed(seed)
    seeding = {
        "numpy": ("random", "seed"),
        "torch": ("manual_seed",),
        "tensorflow": ("random", "set_seed"),
        "paddle": ("seed",),
        "mlx.core": ("random", "seed"),
    }
    for name, way in seeding.items():
        found: Any = sys.modules.get(name)
        for step in way if found is not None else ():
            found = getattr(found, step, None)
        if callable(found):
            found(seed)


def _collect(request: pytest.FixtureRequest, report: Any, message: str) -> None:
    """Keep what an audit found with its test, as plain data that also goes from a worker to the main process."""
    if report is None:
        lines = message.splitlines()
        found = {"outcome": "failed", "said": lines[0] if lines else "", "page": ""}
    else:
        found = {"outcome": "failed" if message else "passed", "said": _said(report, message), "page": ""}
        if request.config.getoption(_REPORT) is not None:
            found["page"] = _page(report, request.getfixturevalue("tmp_path_factory"))
    request.node.stash.setdefault(_COLLECTED, []).append(found)


def _said(report: Any, message: str) -> str:
    """Return what an audit found, in a line."""
    size = f"{report.trials:,} calls of {report.n:,}"
    declared = "" if report.p is None else f" where {report.p:.6g} was declared"
    if report.failures:
        first = report.failures[0]
        return f"{first.name}: {first.message} ({size})"
    wrong = next((line.strip() for line in message.splitlines() if line.startswith("  evaluate: ")), "")
    return f"{wrong} ({size})" if wrong else f"drops {report.observed_rate:.6g}{declared} ({size})"


def _page(report: Any, folders: pytest.TempPathFactory) -> str:
    path = folders.mktemp("dropout") / "report.html"
    report.to_html(path)
    return path.read_text(encoding="utf-8")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Hand what the audits of a test found to its report, which xdist carries to the main process."""
    report = yield
    if _COLLECTED in item.stash:
        report.dropout_audits = item.stash[_COLLECTED]
        del item.stash[_COLLECTED]
    return report


class _Audits:
    """What the audits of all tests found, shown and written at the end of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._found: list[dict[str, str]] = []

    def pytest_report_header(self) -> str | None:
        """Say how a run is repeated."""
        seed = self._config.getoption(_SEED)
        return None if seed is None else f"dropout: seed {seed}"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what the audits of a test found."""
        self._found += [{"test": report.nodeid} | found for found in getattr(report, "dropout_audits", ())]

    def pytest_sessionfinish(self) -> None:
        """Write the report, in the main process."""
        path = self._config.getoption(_REPORT)
        if path is not None and not hasattr(self._config, "workerinput"):
            from dropstats.rendering import collection

            Path(path).write_text(collection.page(self._found), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show one line an audit."""
        path = self._config.getoption(_REPORT)
        if self._found or path is not None:
            terminalreporter.section("dropout audits")
        for found in self._found:
            passed = found["outcome"] == "passed"
            terminalreporter.write(f"{found['outcome'].upper()} ", green=passed, red=not passed)
            line = f"{found['test']} - {found['said']}"
            room = terminalreporter._tw.fullwidth - 8
            terminalreporter.write((line if len(line) <= room else f"{line[: room - 3]}...") + "\n")
        if path is not None:
            terminalreporter.write_line(f"report: {path}")
