"""The recipes of docs/monitor.md, each run for a few steps by the framework itself, where that is installed."""

import os
import re
from importlib import util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs" / "monitor.md"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the docs are not part of the source distribution")


def code(heading):
    """Return the Python of a section of the docs."""
    section = re.split(rf"^#+ {re.escape(heading)}$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    return re.search(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL).group(1)


def run(*headings):
    """Run sections one after another, and return what they define."""
    space = {}
    for heading in headings:
        exec(compile(code(heading), f"{DOCS.name}: {heading}", "exec"), space)
    return space


def test_the_first_example_prints_what_is_shown(capsys):
    run("The monitor: a training run watched while it runs")
    shown = re.search(r"^```text\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL).group(1)
    assert capsys.readouterr().out == shown


@pytest.mark.framework
def test_a_pytorch_loop(capsys):
    pytest.importorskip("torch", reason="torch is not installed")
    monitor = run("A PyTorch loop")["monitors"]["2"]
    assert (monitor.trials, monitor.n, monitor.alarm) == (20 * 32, 256, None)
    assert "640 masks of 256 neurons, p = 0.1: no alarm" in capsys.readouterr().out


@pytest.mark.framework
@pytest.mark.filterwarnings("ignore")
def test_a_pytorch_loop_stops_at_a_defect():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    space = run("A PyTorch loop")
    model = torch.nn.Sequential(torch.nn.Linear(8, 256), torch.nn.Dropout(0.1))
    monitors = space["monitor_dropout"](model)
    model[1].p = 0.15  # changed after the monitor was told
    for _ in range(30):
        model(torch.randn(4, 8))
    assert monitors["1"].alarm.check == "rate"


@pytest.mark.framework
@pytest.mark.filterwarnings("ignore")
def test_lightning(capsys):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("lightning", reason="lightning is not installed")
    monitor = run("A PyTorch loop", "Lightning")["watching"].monitors["net.2"]
    assert (monitor.trials, monitor.n, monitor.alarm) == (1000, 256, None)


@pytest.mark.framework
@pytest.mark.filterwarnings("ignore")
def test_hugging_face_trainer(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate, which the Trainer needs, is not installed")
    monitors = run("A PyTorch loop", "Hugging Face Trainer")["watching"].monitors
    assert (monitors["transformer.drop"].trials, monitors["transformer.drop"].n) == (10 * 8 * 16, 64)
    assert not any(monitor.alarm for monitor in monitors.values())


@pytest.mark.framework
@pytest.mark.filterwarnings("ignore")
def test_keras_fit(capsys, monkeypatch):
    if not util.find_spec("tensorflow") and util.find_spec("torch"):  # else keras asks for tensorflow
        monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
    pytest.importorskip("keras", reason="keras is not installed")
    monitor = run("Keras fit")["model"].get_layer("drop").monitor
    assert (monitor.trials, monitor.n, monitor.alarm) == (1000, 256, None)
