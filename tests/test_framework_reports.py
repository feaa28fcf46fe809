"""The audits of frameworks: the page is that of the results, and each report of a defect reproduces it."""

import contextlib
import importlib
import io
import json
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
REPORTS = sorted((DOCS / "reports").glob("*.md"))
RESULTS = json.loads((DOCS / "frameworks.json").read_text())
# The distribution of a library that has another name.
DISTRIBUTIONS = {"paddle": "paddlepaddle"}


def test_the_page_is_that_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    page = importlib.import_module("frameworks")
    assert page.table(RESULTS) == (DOCS / "frameworks.md").read_text()
    for name in ("frameworks", "framework_cases"):
        sys.modules.pop(name)


def test_each_framework_that_fails_has_a_report():
    failing = {re.split("[ ,]", one["framework"])[0] for one in RESULTS if not one["passed"]}
    assert failing - {"keras"} == {path.name.partition("-")[0] for path in REPORTS}  # keras is in tensorflow's


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_what_the_audit_says_is_what_it_found(path):
    said = re.findall(r"^> - (\w+): (.*)$", path.read_text(), re.MULTILINE)
    found = {(name, words) for one in RESULTS for name, words in one["findings"].items()}
    assert said
    assert set(said) <= found


@pytest.mark.framework
@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_reproduces_its_defect(path):
    text = path.read_text()
    name, version = re.search(r"Measured with (\w+) ([\d.]+)", text).groups()
    try:
        installed = metadata.version(DISTRIBUTIONS.get(name, name))
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    if installed != version:
        pytest.skip(f"measured with {name} {version}; {installed} is installed")
    code, output = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(path), "exec"), {})
    assert printed.getvalue() == output
