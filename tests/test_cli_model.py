"""The commands model and streams."""

import json
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import dropstats as ds
from dropstats.cli import main

MODELS = """
import torch
from torch import nn
from torch.nn import functional

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self, always=False):
        super().__init__()
        self.first, self.always = nn.Linear(16, 64), always
        self.drop = nn.Dropout(0.2)

    def forward(self, x, times=1):
        return functional.dropout(self.drop(self.first(x)), 0.1, self.training or self.always) * times


def right():
    return Net(), torch.randn(8, 16)


def named():
    return Net(), torch.randn(8, 16), {"times": 2}


def listed():
    return Net(), (torch.randn(8, 16), 3)


def wrong():
    return Net(always=True), torch.randn(8, 16)


def short():
    return Net(), torch.randn(8, 15)


def nothing():
    return ()


def other():
    return "model"


class Small(nn.Dropout):
    pass


def small():
    return Small(0.01), torch.ones(3)


def raises():
    raise KeyError("no such batch")
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.set_num_threads(1)
    (tmp_path / "their_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("their_models", None)


@pytest.mark.framework
@pytest.mark.parametrize("name", ["right", "named", "listed"])
def test_a_correct_model_passes(models, capsys, name):
    assert main(["model", f"their_models:{name}", "--calls", "32"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Audit of Net: 2 sites over 32 passes in training: passed")
    assert err == ""


@pytest.mark.framework
def test_a_defective_model_fails_and_json_is_the_reports_own(models, capsys):
    assert main(["model", "their_models:wrong", "--calls", "16", "--json"]) == 1
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (found["version"], found["model"], found["passed"]) == (2, "Net", False)
    assert [result["name"] for result in found["results"] if result["verdict"] == "fail"] == ["evaluation"]
    assert list(found["sites"]) == ["drop", "dropout"]


@pytest.mark.framework
def test_the_table_of_a_model_fits_80_columns(models, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("right", "wrong"):
        main(["model", f"their_models:{name}", "--calls", "16"])
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.framework
def test_where_the_reports_of_a_model_go(models, capsys, tmp_path):
    page, junit = tmp_path / "model.html", tmp_path / "model.xml"
    argv = ["model", "their_models:wrong", "--calls", "16", "--html", str(page), "--junit", str(junit), "--markdown"]
    assert main(argv) == 1
    assert capsys.readouterr().out.count("|") > 20
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    suites = [suite.get("name") for suite in ElementTree.parse(junit).getroot()]
    assert suites[0] == "Net"
    assert "Net: drop" in suites


@pytest.mark.framework
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("their_models", "a model is named as package.module:function; got 'their_models'"),
        ("no_such_module:make", "No module named 'no_such_module'"),
        ("their_models:make", "module 'their_models' has no function 'make'"),
        ("their_models.py:make", "module 'their_models' has no function 'make'"),
        ("their_models:nothing", "got an empty tuple"),
        ("their_models:other", "model must be a keras Model or Layer, a torch.nn.Module"),
        ("their_models:small", "too few calls to test any site"),
    ],
)
def test_bad_input_is_one_line(models, capsys, name, message):
    assert main(["model", name, "--calls", "2"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("dropstats model: error: ")
    assert message in err


@pytest.mark.framework
@pytest.mark.parametrize(
    ("name", "message"),
    [("short", "raised by the model in training mode, call 1 of 64"), ("raises", "no such batch")],
)
def test_errors_of_the_models_own_code_show_where(models, capsys, name, message):
    assert main(["model", f"their_models:{name}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert "their_models.py" in err
    assert message in err


@pytest.fixture
def ranks(tmp_path):
    for rank, seed in enumerate((1, 2, 1)):
        ds.Recording.from_masks(ds.Layer(500, 0.2).sample(60, rng=seed), 0.2).save(tmp_path / f"rank{rank}.npz")
    return [str(tmp_path / f"rank{rank}.npz") for rank in range(3)]


def test_streams_are_held_against_each_other(ranks, capsys):
    assert main(["streams", *ranks[:2]]) == 0
    assert main(["streams", *ranks]) == 1
    assert "rank0 and rank2 have identical masks" in " ".join(capsys.readouterr().out.split())
    assert main(["streams", ranks[0], ranks[2], "--expect", "identical"]) == 0
    assert main(["streams", *ranks[:2], "--expect", "identical", "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["passed"] is False
    assert main(["streams", *ranks[:2], "--law", "Layer(500, 0.2)"]) == 0


def test_bad_streams_are_one_line(ranks, capsys, tmp_path):
    np.save(tmp_path / "text.npy", np.array(["a"]))
    for arguments, message in (
        ([ranks[0]], "streams must be at least two; got 1"),
        ([ranks[0], ranks[0]], "files must differ from each other"),
        ([ranks[0], str(tmp_path / "none.npz")], "none.npz"),
        ([*ranks[:2], "--p", "0.1", "--law", "Layer(500, 0.2)"], "either --p or --law is expected; got both"),
        ([*ranks[:2], "--law", "Layer(7, 0.2)"], "7"),
    ):
        assert main(["streams", *arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("dropstats streams: error: ")
        assert err.count("\n") == 1
        assert message in err


def test_files_of_one_name_in_several_folders(ranks, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "rank0.npz"
    other.write_bytes((tmp_path / "rank2.npz").read_bytes())
    assert main(["streams", ranks[0], str(other)]) == 1
    assert "other/rank0.npz have identical masks" in " ".join(capsys.readouterr().out.split())
