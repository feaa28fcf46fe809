"""The notebook of docs/, run cell by cell."""

import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
spec = spec_from_file_location("run_tutorial", DOCS / "run_tutorial.py")
run_tutorial = module_from_spec(spec)
spec.loader.exec_module(run_tutorial)


def said(outputs):
    """Return what cells print, and their values in plain text: what does not depend on fonts and screens."""
    return ["".join("".join(one.get("text") or one["data"]["text/plain"]) for one in of_cell) for of_cell in outputs]


@pytest.fixture(scope="module")
def notebook():
    return json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))


def test_the_tutorial_says_what_it_shows(notebook):
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found = run_tutorial.outputs(notebook)
    shown = said(cell["outputs"] for cell in code)
    assert said(found) == shown, "run docs/run_tutorial.py"
    kinds = [{kind for one in outputs for kind in one.get("data", ())} for outputs in found]
    assert sum("text/html" in kind for kind in kinds) >= 4
    assert sum("image/png" in kind for kind in kinds) == 2
    assert "FAILED (rate)" in "".join(shown)
    assert re.search(r": passed all \d+ tests", "".join(shown))


def test_the_tutorial_is_a_notebook_of_twenty_cells(notebook):
    assert len(notebook["cells"]) == 20
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == 20
    assert notebook["cells"][0]["source"][0].startswith("# From a layer to an audit")
    nbformat = pytest.importorskip("nbformat", reason="nbformat, which knows the layout of notebooks, is not installed")
    nbformat.validate(notebook)


def test_a_cell_that_fails_fails_the_run():
    cell = {"cell_type": "code", "source": ["1 / 0"]}
    with pytest.raises(ZeroDivisionError):
        run_tutorial.outputs({"cells": [cell]})
