"""The command monitor."""

import json

import numpy as np
import pytest

import dropstats as ds
from dropstats.cli import main


@pytest.fixture
def masks(tmp_path):
    path = tmp_path / "masks.npy"
    np.save(path, ds.Layer(300, 0.2).sample(400, rng=0))
    return str(path)


def test_masks_of_their_law_raise_no_alarm(capsys, masks):
    assert main(["monitor", masks, "--p", "0.2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Monitor: 400 masks of 300 neurons, p = 0.2: no alarm\n")
    assert err == ""


def test_an_alarm_ends_with_status_1_and_says_why(capsys, masks):
    assert main(["monitor", masks, "--p", "0.25"]) == 1
    out = capsys.readouterr().out
    assert "ALARM\n  drops 0." in out
    assert "where 0.25 was declared: evidence " in out
    assert main(["monitor", masks, "--p", "0.2", "--false-alarm", "1e-6"]) == 0
    assert "reaches 1,000,000 to 1 with probability 1e-06 at most" in " ".join(capsys.readouterr().out.split())


def test_outputs_recordings_and_other_laws_are_replayed(capsys, tmp_path):
    path = tmp_path / "some.npz"
    law = ds.Channels(16, 9, 0.2)
    kept = law.sample(200, rng=0)
    ds.Recording.from_outputs(kept / 0.8, p=0.2).save(path)
    assert main(["monitor", str(path), "--law", "Channels(16, 9, 0.2)"]) == 0
    assert main(["monitor", str(path)]) == 1  # as a layer of independent neurons
    assert "whose neighbour 1 place before is dropped" in " ".join(capsys.readouterr().out.split())


def test_json_and_picture(capsys, tmp_path, masks):
    picture = tmp_path / "evidence.png"
    assert main(["monitor", masks, "--p", "0.2", "--every", "10", "--json", "--plot", str(picture)]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (found["trials"], found["alarm"], found["p"]) == (400, None, 0.2)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "does not say p: give --p or --law"),
        (("--p", "0.2", "--law", "Layer(300, 0.2)"), "either --p or --law is expected; got both, --p 0.2"),
        (("--law", "FixedCount(300, 60)"), "got FixedCount(300, 60)"),
        (("--law", "Layer(299, 0.2)"), "masks must have shape (299,) or (k, 299); got shape (400, 300)"),
        (("--p", "0.2", "--false-alarm", "2"), "false_alarm must be in [0, 1]; got 2.0"),
        (("--p", "0.2", "--every", "0"), "every must be at least 1; got 0"),
        (("--p", "0.2", "--plot", "evidence.xyz"), "a picture must end in one of"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, masks, arguments, said):
    assert main(["monitor", masks, *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_recordings_with_unknown_neurons_are_refused(capsys, tmp_path):
    path = str(tmp_path / "some.npz")
    ds.Recording.from_outputs([[1.0, 0.0]], inputs=[[1.0, 0.0]], p=0.5).save(path)
    assert main(["monitor", path]) == 2
    assert "a monitor needs masks in which it is known of every neuron" in capsys.readouterr().err
    assert main(["monitor", str(tmp_path / "missing.npy"), "--p", "0.5"]) == 2
