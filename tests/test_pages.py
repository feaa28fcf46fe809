"""Every block of code in the pages of docs/ and in README.md is run by a test, or is listed here with the reason."""

import inspect
import re
import shlex
import tomllib
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import dropstats as ds
from dropstats.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
# Pages whose blocks run here, one after the other in one namespace.
RUN = ("audit.md", "monitor.md", "recording.md", "reports.md", "scale.md")
# Pages whose examples are doctests: of pytest itself (testpaths in pyproject.toml), or of the test named here.
DOCTESTS = {"articles.md": "test_articles", "questions.md": "test_questions", "variants.md": "test_variants"}
# Blocks that need a framework or a cluster: how each begins -> who runs it instead, or why nobody does.
ELSEWHERE = {
    "each-framework.md": {"": "tests/test_each_framework.py"},
    "models.md": {
        "report = ds.audit_model(model, *inputs": "an overview of names; the recipes below it are complete",
        "": "tests/test_models_recipes.py",
    },
    "monitor.md": {
        "from functools import partial": "tests/test_monitor_recipes.py",
        "import lightning": "tests/test_monitor_recipes.py",
        "from transformers": "tests/test_monitor_recipes.py",
        "import keras": "tests/test_monitor_recipes.py",
    },
    "recording.md": {"import torch": "test_modules_are_asserted, below"},
    "scale.md": {
        "from dask.distributed": "needs a cluster; tests/test_executors.py runs a local one",
        "from mpi4py.futures": "needs MPI; it was never run",
    },
    "start.md": {
        "report = ds.audit_model(model, batch": "needs a framework; models.md and monitor.md have the recipes"
    },
}


def blocks(page, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def elsewhere(page, block):
    """Return who runs a block that does not run here; None if nobody is named."""
    return next((who for start, who in ELSEWHERE.get(page.name, {}).items() if block.startswith(start)), None)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_each_block_is_run_by_a_test_or_has_a_reason(page):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    for block in blocks(page):
        if block.startswith(">>>"):
            assert page.relative_to(ROOT).as_posix() in settings["testpaths"] or page.name in DOCTESTS
        else:
            assert page.name in RUN or elsewhere(page, block), block


def test_whoever_runs_a_block_elsewhere_is_there():
    for page, found in ELSEWHERE.items():
        begins = blocks(ROOT / "docs" / page)
        for start, who in found.items():
            assert any(block.startswith(start) for block in begins), f"{page} has no block that begins with {start!r}"
            for path in re.findall(r"tests/\w+\.py", who):
                assert f'"{page}"' in (ROOT / path).read_text(encoding="utf-8") or "executors" in path
    for page, name in DOCTESTS.items():
        assert f'"{page}"' in (ROOT / "tests" / f"{name}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RUN)
def test_the_blocks_of_a_page_run_one_after_the_other(name, tmp_path, monkeypatch, dropout_audit):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in blocks(ROOT / "docs" / name):
        if elsewhere(ROOT / "docs" / name, block):
            continue
        smaller = re.sub(r"\b10\*\*9\b|\b1_000_000\b", "10_000", block).replace("ProcessPool", "ThreadPool")
        exec(compile(smaller, name, "exec"), names)
        for function in [names.pop(key) for key in list(names) if key.startswith("test_")]:
            function(**{"dropout_audit": dropout_audit} if inspect.signature(function).parameters else {})
    plt.close("all")
    assert names.get("report", True)
    if name == "reports.md":
        assert {"report.html", "report.json"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.framework
def test_modules_are_asserted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("torch", reason="torch is not installed")
    names = {}
    for block in blocks(ROOT / "docs" / "recording.md"):
        if block.startswith(("import numpy", "from dropstats.testing", "import torch")):
            exec(compile(block, "recording.md", "exec"), names)
    names["test_modules"]()


SHOWN = ("README.md", "docs/start.md", "docs/command-line.md", "docs/index.md", "docs/monitor.md", "docs/variants.md")


@pytest.mark.parametrize("name", SHOWN)
def test_commands_in_the_text_run(name, tmp_path, monkeypatch, capsys):
    masks = ds.Layer(64, 0.1).sample(200, rng=0)
    monkeypatch.chdir(tmp_path)
    for stem in ("a", "b", "masks"):
        np.save(f"{stem}.npy", masks)
    for stem in ("masks", "other", "rank0", "rank1"):
        ds.Recording.from_masks(masks, p=0.1).save(f"{stem}.npz")
    text = (ROOT / name).read_text(encoding="utf-8")
    commands = re.findall(r"`dropstats\s((?:prob|layer|simulate|audit|streams|monitor|plan)\s[^`]*)`", text)
    if name not in ("README.md", "docs/start.md"):  # tests/test_cli.py runs theirs, and reads what they print
        commands += re.findall(r"^\$ dropstats (.*)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        words = shlex.split(command, comments=True)
        status = main([re.sub("^1e[56]$", "1e3", word) for word in words])
        assert status in (0, 1), command  # equal files are not independent
        assert capsys.readouterr().err == ""
