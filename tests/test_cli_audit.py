"""The commands audit and plan."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import dropstats as ds
from dropstats.cli import main

SLICES = Path(__file__).with_name("recordings")
BAD = str(SLICES / "tensorflow-2.21.0-bfloat16-n1024-p0.3.npz")
GOOD = str(SLICES / "tensorflow-2.21.0-float32-n1024-p0.1.npz")


@pytest.fixture
def masks(tmp_path):
    path = tmp_path / "masks.npy"
    np.save(path, np.random.default_rng(0).random((400, 300)) >= 0.2)
    return str(path)


def test_a_defective_recording_fails_with_its_diagnosis(capsys):
    assert main(["audit", BAD]) == 1
    out, err = capsys.readouterr()
    assert "FAILED" in out
    assert " ".join(out.split()).count("consistent with 39/128") == 1
    assert err == ""


def test_its_twin_passes(capsys):
    assert main(["audit", GOOD]) == 0
    assert "passed" in capsys.readouterr().out


def test_a_recording_passes_as_the_law_that_it_really_has(capsys, tmp_path):
    """TensorFlow draws 7 bits in bfloat16: 39/128 where 0.3 is declared."""
    assert main(["audit", BAD, "--tests", "rate", "--law", "Layer.rounded(1024, 0.3, rule='bfloat16')"]) == 0
    path = tmp_path / "channels.npy"
    np.save(path, ds.Channels(16, 9, 0.2).sample(500, rng=0))
    assert main(["audit", str(path), "--law", "Channels(16, 9, 0.2)"]) == 0
    assert main(["audit", str(path), "--p", "0.2"]) == 1
    assert "groups of 9 neighbours drop together" in " ".join(capsys.readouterr().out.split())
    assert main(["audit", str(path), "--p", "0.2", "--law", "Channels(16, 9, 0.2)"]) == 2
    assert "either --p or --law is expected; got both, --p 0.2" in capsys.readouterr().err
    assert main(["audit", str(path), "--law", "Channels(16, 8, 0.2)"]) == 2


def test_threads_change_nothing(capsys, masks):
    assert main(["audit", masks, "--p", "0.2", "--json"]) == 0
    alone = capsys.readouterr().out
    assert main(["audit", masks, "--p", "0.2", "--json", "--workers", "3"]) == 0
    assert capsys.readouterr().out == alone
    assert main(["audit", masks, "--p", "0.2", "--workers", "0"]) == 2
    assert "workers must be at least 1; got 0" in capsys.readouterr().err


def test_json_is_the_reports_own(capsys):
    assert main(["audit", BAD, "--json"]) == 1
    out = capsys.readouterr().out
    found = json.loads(out, parse_constant=pytest.fail)
    assert out.count("\n") == 1
    assert list(found)[:3] == ["version", "kind", "passed"]
    assert (found["version"], found["passed"], found["trials"], found["n"], found["p"]) == (2, False, 512, 1024, 0.3)
    assert found["observed_rate"] == pytest.approx(0.3047, abs=0.002)
    assert {result["name"] for result in found["results"] if result["verdict"] == "fail"} == {"rate", "mean"}
    names = {"name", "verdict", "pvalue", "adjusted_pvalue", "observed", "expected", "detectable", "message"}
    names.add("explained_by")
    assert all(set(result) == names for result in found["results"])


def test_plain_masks_need_a_p(masks, capsys):
    assert main(["audit", masks]) == 2
    assert capsys.readouterr().err == f"dropstats audit: error: {masks} does not say p: give --p or --law\n"
    assert main(["audit", masks, "--p", "0.2"]) == 0
    assert main(["audit", masks, "--p", "0.25"]) == 1


def test_only_some_tests(masks, capsys):
    assert main(["audit", masks, "--p", "0.2", "--tests", "rate,scale", "--json"]) == 0
    assert [result["name"] for result in json.loads(capsys.readouterr().out)["results"]] == ["rate", "scale"]
    assert main(["audit", masks, "--p", "0.2", "--tests", "rates"]) == 2
    err = capsys.readouterr().err
    assert "tests must be among rate, positions" in err
    assert main(["audit", masks, "--p", "0.2", "--tests", "rate,complexity", "--json"]) == 0
    assert [result["name"] for result in json.loads(capsys.readouterr().out)["results"]] == ["rate", "complexity"]
    assert err.endswith("got 'rates'; did you mean rate?\n")
    assert main(["audit", masks, "--p", "0.2", "--tests", ","]) == 2
    assert "tests must name at least one test" in capsys.readouterr().err


def test_nothing_judged_is_neither_pass_nor_failure(masks, capsys):
    assert main(["audit", masks, "--p", "0.2", "--tests", "scale"]) == 3
    assert "nothing could be judged" in capsys.readouterr().out


def test_false_alarm_and_scaling_are_passed_on(tmp_path, capsys):
    path = tmp_path / "direct.npy"
    np.save(path, (np.random.default_rng(0).random((200, 300)) >= 0.2).astype(np.float32) * np.float32(1.25))
    assert main(["audit", str(path), "--p", "0.2", "--false-alarm", "0.01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["false_alarm"] == 0.01
    assert main(["audit", str(path), "--p", "0.2", "--scaling", "direct"]) == 1
    assert main(["audit", str(path), "--p", "0.2", "--scaling", "both"]) == 2
    assert main(["audit", str(path), "--p", "0.2", "--false-alarm", "0"]) == 2


def test_bad_files_give_one_line(tmp_path, capsys):
    path = tmp_path / "a.npz"
    path.write_bytes(Path(GOOD).read_bytes()[:20_000])
    for name in (str(path), str(tmp_path / "none.npz"), __file__, str(tmp_path)):
        assert main(["audit", name]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("dropstats audit: error: ")
        assert err.count("\n") == 1


def test_a_picture_of_another_kind_is_refused_before_the_work(capsys):
    assert main(["audit", "nowhere.npz", "--plot", "picture.doc"]) == 2
    assert "picture.doc" in capsys.readouterr().err


def test_plan_says_how_many_neurons(capsys):
    assert main(["plan", "--p", "0.1", "--shift", "0.0015625"]) == 0
    assert capsys.readouterr().out == (
        "553,092 neurons detect p = 0.1015625 where 0.1 is declared, with power 0.9 at false-alarm rate 0.01\n"
    )
    assert main(["plan", "--p", "0.5", "--shift", "-0.01", "--false-alarm", "0.05", "--power", "0.8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"p": 0.5, "shift": -0.01, "neurons": 19765, "false_alarm": 0.05, "power": 0.8}


def test_plan_says_which_shift(capsys):
    assert main(["plan", "--p", "0.1", "--neurons", "1e6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shift"] == ds.detectable_shift(0.1, 10**6)
    assert main(["plan", "--p", "0.1", "--neurons", "1e6"]) == 0
    assert capsys.readouterr().out.startswith("1,000,000 neurons detect p = 0.10115985 where 0.1 is declared")
    assert main(["plan", "--p", "0.5", "--neurons", "5"]) == 0
    assert capsys.readouterr().out.startswith("5 neurons detect no p above 0.5")
    assert main(["plan", "--p", "0.5", "--neurons", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shift"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--p", "0.1"], "one of the arguments --shift --neurons is required"),
        (["--p", "0.1", "--shift", "0.1", "--neurons", "9"], "not allowed with argument"),
        (["--p", "1.2", "--shift", "0.1"], "p must be in [0, 1]; got 1.2"),
        (["--p", "0.9", "--shift", "0.2"], "p + shift must be in [0, 1]; got 0.9 + 0.2"),
        (["--shift", "0.2"], "--p"),
    ],
)
def test_bad_plans_give_one_line(arguments, said, capsys):
    assert main(["plan", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_the_examples_of_the_help_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    drawn = np.random.default_rng(0).random((100, 100)) >= 0.1
    np.save("masks.npy", drawn)
    for name in ("masks.npz", "other.npz"):
        ds.Recording.from_outputs(drawn / np.float32(0.9), p=0.1).save(name)
    if not hasattr(ds.Report, "to_html"):
        monkeypatch.setattr(ds.Report, "to_html", lambda report, path: Path(path).write_text(""), raising=False)
    for command in ("audit", "plan"):
        assert main([command, "--help"]) == 0
        examples = re.findall(r"^  dropstats (.*)$", capsys.readouterr().out, flags=re.MULTILINE)
        assert len(examples) >= 2
        for example in examples:
            assert main(example.split()) == 0, example


def test_the_documentation_shows_what_is_printed(capsys):
    text = Path(__file__).parents[1].joinpath("docs", "recording.md").read_text()
    (shown,) = re.findall(r"```console\n\$ dropstats (.*)\n(.*\n)```", text)
    assert main(shown[0].split()) == 0
    assert capsys.readouterr().out == shown[1]
