"""The pytest plugin, as other people's test suites have it."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import dropstats as ds
from dropstats import testing
from dropstats.rendering import collection

pytest_plugins = ["pytester"]

# pytester forgets what a run has imported, and these can be loaded only once
LOADED = (np, scipy.stats, testing)
ROOT = Path(__file__).parents[1]
SUITE = """
import numpy as np

def dropout(p, rate=None, n=4096, seed=0):
    rng = np.random.default_rng(seed)
    return lambda: rng.random(n) >= (p if rate is None else rate)

def test_right(dropout_audit):
    report = dropout_audit(dropout(0.1), 0.1, detect=0.01)
    assert report.passed

def test_wrong(dropout_audit):
    dropout_audit(dropout(0.1, rate=0.2), p=0.1, detect=0.01)

def test_two(dropout_audit):
    dropout_audit(dropout(0.5), 0.5, detect=0.05)
    import dropstats as ds
    law = ds.Channels(64, 16, 0.2)
    rng = np.random.default_rng(0)
    dropout_audit(lambda: law.sample(1, rng)[0], 0.2, law=law, detect=0.05)

def test_no_audit():
    pass

def test_of_arguments(dropout_audit):
    dropout_audit(dropout(0.1), 1.2)
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    """A test suite in a folder of its own, of which pytest runs some tests with the plugin."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("COLUMNS", "120")
    pytester.makepyfile(test_mine=SUITE)

    def run(*argv):
        return pytester.runpytest_inprocess("-p", "pytest_dropstats", "-p", "no:cacheprovider", *argv)

    return run


@pytest.fixture
def paged(monkeypatch):
    """Reports that can write themselves as HTML, whether or not they have learnt it."""
    if not hasattr(ds.Report, "to_html"):
        page = "<html><style>p {{}}</style><main><h1 id='x'>{}</h1><p id=\"a\"></p></main></html>"
        write = lambda report, path: Path(path).write_text(page.format(report.passed))  # noqa: E731
        monkeypatch.setattr(ds.Report, "to_html", write, raising=False)


def test_an_audit_passes_fails_and_is_shown(suite):
    found = suite("-k", "not arguments")
    found.assert_outcomes(passed=3, failed=1)
    found.stdout.fnmatch_lines(
        [
            "*= dropout audits =*",
            "PASSED test_mine.py::test_right - drops 0.1* where 0.1 was declared (32 calls of 4,096)",
            "FAILED test_mine.py::test_wrong - rate: drops 0.2* where 0.1 was declared*",
            "PASSED test_mine.py::test_two - drops 0.5* where 0.5 was declared (* calls of 4,096)",
            "PASSED test_mine.py::test_two - drops 0.1956* where 0.2 was declared (* calls of 1,024)",
        ]
    )
    shown = [line for line in found.outlines if line.startswith(("PASSED test", "FAILED test")) and " - " in line]
    assert max(map(len, shown[:4])) <= 120


def test_the_failure_is_the_assertions_own_and_ends_in_the_users_test(suite):
    found = suite("-k", "wrong or arguments")
    found.assert_outcomes(failed=2)
    text = found.stdout.str()
    assert "E       AssertionError: dropout with p = 0.1 fails " in text
    assert "E       ValueError: p must be in [0, 1]; got 1.2" in text
    for ours in ("asserting.py", "_validate.py", "pytest_dropstats.py", "def _audited"):
        assert ours not in text


def test_without_audits_nothing_is_shown(suite):
    found = suite("-k", "no_audit")
    found.assert_outcomes(passed=1)
    assert "dropout" not in found.stdout.str()


def test_the_report_is_one_file_of_all_audits(suite, paged, pytester):
    found = suite("-k", "right or wrong or two", "--dropout-report", "dropout.html")
    found.stdout.fnmatch_lines(["report: dropout.html"])
    text = pytester.path.joinpath("dropout.html").read_text(encoding="utf-8")
    assert text.count("<html") == text.count("<main>") == text.count("<style>") == 1
    assert "<title>4 audits of dropout: 1 failed, 3 passed</title>" in text
    assert text.count('<details class="fail" id="audit-1" open>') == 1
    assert text.index('id="audit-1"') < text.index('id="audit-0"')  # what fails comes first
    assert "<script" not in text
    names = [part.split('"')[0] for part in text.split(' id="')[1:]]
    assert len(names) == len(set(names)) > 4


def test_a_report_without_audits_says_so(suite, pytester):
    suite("-k", "no_audit", "--dropout-report", "dropout.html")
    assert "0 audits of dropout" in pytester.path.joinpath("dropout.html").read_text()


def test_names_inside_a_page_stay_apart():
    inside = '<h2 id="a">x</h2><svg aria-labelledby="a b"><use href="#a"/><g fill="url(#b)"/></svg>'
    one = {"test": "t <&>", "outcome": "passed", "said": "s", "page": f"<main>{inside}</main>"}
    text = collection.page([one, one])
    assert '<h4 id="audit-1-a">x</h4><svg aria-labelledby="audit-1-a audit-1-b"><use href="#audit-1-a"/>' in text
    assert 'fill="url(#audit-0-b)"' in text
    assert "t &lt;&amp;&gt;" in text


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--dropout-report", "nowhere/a.html", "--dropout-report must name a file that can be written; got 'nowhere"),
        ("--dropout-report", ".", "--dropout-report must name a file that can be written; got '.'"),
        ("--dropout-seed", "-1", "--dropout-seed must be in [[]0, 2^32 - 1]; got -1"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_test(suite, option, value, said):
    found = suite(f"{option}={value}")
    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines([f"*{said}*"])


def test_a_seed_repeats_what_uses_global_generators(pytester, suite):
    pytester.makepyfile(
        test_mine="""
        import random
        import numpy as np

        def test_seeded(dropout_audit):
            first = []
            for _ in range(2):
                calls = []
                def call():
                    calls.append((random.random(), np.random.random(4096)))
                    return calls[-1][1] >= 0.1
                dropout_audit(call, 0.1, detect=0.05)
                first.append((calls[0][0], calls[0][1][0]))
            assert first[0] == first[1]
        """
    )
    found = suite("--dropout-seed", "7")
    found.assert_outcomes(passed=1)
    found.stdout.fnmatch_lines(["dropout: seed 7"])
    suite().assert_outcomes(failed=1)


def test_audits_of_fixtures_count_too(pytester, suite):
    pytester.makepyfile(
        test_mine="""
        import numpy as np
        import pytest

        @pytest.fixture
        def audited(dropout_audit):
            rng = np.random.default_rng(0)
            return dropout_audit(lambda: rng.random(4096) >= 0.5, 0.5, detect=0.05)

        def test_it(audited):
            assert audited.passed
        """
    )
    suite().stdout.fnmatch_lines(["PASSED test_mine.py::test_it - drops 0.5*"])


def test_results_go_through_the_reports_of_xdist(pytester, suite):
    """xdist sends test reports as plain data, as pytest itself writes and reads them."""
    pytester.makepyfile(
        conftest="""
        import json
        import pytest

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            config, hook = item.config, item.config.hook
            data = json.dumps(hook.pytest_report_to_serializable(config=config, report=report))
            return hook.pytest_report_from_serializable(config=config, data=json.loads(data))
        """
    )
    suite("-k", "right").stdout.fnmatch_lines(["PASSED test_mine.py::test_right - drops 0.1*"])


def test_junit_xml_of_pytest_is_left_alone(suite, pytester):
    suite("-k", "right", "--junit-xml", "junit.xml")
    (case,) = ElementTree.parse(pytester.path / "junit.xml").getroot().iter("testcase")
    assert not list(case.iter("property"))


def test_pytest_starts_without_dropstats_or_numpy(tmp_path):
    tmp_path.joinpath("test_nothing.py").write_text(
        "import sys\n\n\ndef test_it(request):\n"
        "    assert request.config.pluginmanager.has_plugin('pytest_dropstats')\n"
        "    assert not {'dropstats', 'numpy'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_dropstats", "-p", "no:cacheprovider"]
    settings = {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run(
        [*command, str(tmp_path)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
