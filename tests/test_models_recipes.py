"""The recipes of docs/models.md, each run by the framework itself, where that is installed."""

import os
import re
import shutil
from importlib import util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs" / "models.md"
pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore"),  # of these libraries, about themselves
    pytest.mark.skipif(not DOCS.exists(), reason="the docs are not part of the source distribution"),
]
# Section -> the libraries it needs, and the rates that its report must have found.
RECIPES = {
    "PyTorch": (["torch"], {0.1: 8}),
    "A training loop": (["torch"], {0.1: 1}),
    "Lightning": (["torch", "lightning"], {0.1: 1}),
    "Hugging Face Trainer": (["torch", "transformers", "accelerate"], {0.1: 7}),
    "Keras": (["keras"], {0.1: 1, 0.2: 1, 0.4: 1}),
    "Keras fit": (["keras"], {0.1: 1}),
    "Flax linen and functions of a key": (["jax", "flax"], {0.1: 1, 0.2: 1}),
    "A training step of JAX": (["jax"], {0.2: 1}),
    "Flax nnx": (["jax", "flax"], {0.2: 1}),
    "Equinox": (["jax", "equinox"], {0.2: 1}),
}


def run(heading):
    """Run the Python of a section of the docs, and return what it defines."""
    section = re.split(rf"^## {re.escape(heading)}$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    source = re.search(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL).group(1)
    space = {}
    exec(compile(source, f"{DOCS.name}: {heading}", "exec"), space)
    return space


def needs(libraries):
    if "keras" in libraries and not util.find_spec("tensorflow"):  # else Keras asks for tensorflow
        os.environ.setdefault("KERAS_BACKEND", "torch" if util.find_spec("torch") else "jax")
    for name in libraries:
        pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_runs_and_its_model_passes(heading, tmp_path, monkeypatch, capsys):
    libraries, expected = RECIPES[heading]
    needs(libraries)
    monkeypatch.chdir(tmp_path)
    report = run(heading)["report"]
    assert report.passed, str(report)
    rates = [round(site.p, 6) for site in report.sites.values()]
    assert {p: rates.count(p) for p in sorted(set(rates))} == expected
    assert "passed" in capsys.readouterr().out


def test_ranks_are_saved_and_compared(tmp_path, monkeypatch, capsys):
    needs(["torch"])
    from dropstats.cli import main

    monkeypatch.chdir(tmp_path)
    run("Several ranks")
    assert main(["streams", "rank0.npz", "rank1.npz", "--expect", "independent"]) == 0
    shutil.copy("rank0.npz", "same.npz")
    assert main(["streams", "rank0.npz", "same.npz", "--expect", "independent"]) == 1
    assert main(["streams", "rank0.npz", "same.npz", "--expect", "identical"]) == 0
    capsys.readouterr()


def test_every_section_with_code_is_run():
    text = DOCS.read_text(encoding="utf-8")
    sections = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    with_code = {name for name, body in zip(sections[1::2], sections[2::2], strict=True) if "```python" in body}
    assert with_code == {*RECIPES, "Several ranks"}
