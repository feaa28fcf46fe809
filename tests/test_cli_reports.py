"""Where the reports of the command line go: several files, HTML, JUnit, Markdown, colours, exit statuses."""

import io
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import dropstats as ds
from dropstats.cli import main, printing
from dropstats.rendering import junit, text

SLICES = Path(__file__).with_name("recordings")
BAD = str(SLICES / "tensorflow-2.21.0-bfloat16-n1024-p0.3.npz")
GOOD = str(SLICES / "tensorflow-2.21.0-float32-n1024-p0.1.npz")


@pytest.fixture
def written(monkeypatch):
    """Where reports are written to as HTML; they need not know how."""
    paths = []
    monkeypatch.setattr(ds.Report, "to_html", lambda report, path: paths.append(Path(path)), raising=False)
    monkeypatch.setattr(ds.Report, "to_markdown", lambda report: f"## passed: {report.passed}", raising=False)
    return paths


@pytest.fixture
def small(tmp_path):
    """A recording of which the rate and little else can be judged."""
    path = tmp_path / "small.npy"
    np.save(path, np.random.default_rng(0).random((4, 64)) >= 0.5)
    return str(path)


def test_several_files_are_a_line_each_and_the_failing_one_a_table(capsys):
    assert main(["audit", GOOD, BAD]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["file", "verdict", "masks", "neurons", "p", "observed"]
    assert lines[1].split()[1:] == ["passed", "512", "1,024", "0.1", "0.0999"]
    assert lines[2].split()[1:] == ["FAILED", "512", "1,024", "0.3", "0.3053"]
    assert out.count("Audit of ") == 1  # of what fails
    assert lines[4] == BAD
    assert err == ""


def test_files_that_are_no_recordings_do_not_stop_the_others(capsys, tmp_path):
    missing = str(tmp_path / "none.npz")
    assert main(["audit", GOOD, __file__, missing, BAD]) == 2
    out, err = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines()[1:5]] == ["passed", "error", "error", "FAILED"]
    assert err.count("dropstats audit: error: ") == err.count("\n") == 2
    assert __file__ in err
    assert missing in err


def test_json_of_several_files_is_a_line_each(capsys):
    assert main(["audit", GOOD, __file__, "--json"]) == 2
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert (good["file"], good["passed"], good["trials"]) == (GOOD, True, 512)
    assert bad["file"] == __file__
    assert "by its first bytes" in bad["error"]


def test_tables_fit_80_columns(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((100, 64)) >= 0.5)
    np.save(tmp_path / "b.npy", np.random.default_rng(1).random((100, 64)) >= 0.5)
    streams = ["streams", str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), "--p", "0.5"]
    for argv in (["audit", BAD], ["audit", BAD, GOOD], streams, ["monitor", BAD], ["monitor", GOOD]):
        main(argv)
        out, _ = capsys.readouterr()
        assert max(map(len, out.replace(BAD, "").splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "120")
    main(["audit", BAD])
    out, _ = capsys.readouterr()
    assert max(map(len, out.splitlines())) > 100
    assert out.replace("\n", "") == str(ds.audit(ds.Recording.load(BAD))).replace("\n", "")


def test_html_is_one_file_or_one_a_recording(written, tmp_path, capsys):
    page = tmp_path / "audit.html"
    assert main(["audit", GOOD, "--html", str(page)]) == 0
    assert written == [page]
    other = tmp_path / "good.npz"
    ds.Recording.load(GOOD).save(other)
    copy = tmp_path / "copies"
    copy.mkdir()
    ds.Recording.load(GOOD).save(copy / "good.npz")
    assert main(["audit", BAD, str(other), str(copy / "good.npz"), "--html", str(page)]) == 1
    names = ["audit-tensorflow-2.21.0-bfloat16-n1024-p0.3.html", "audit-good-2.html", "audit-good-3.html"]
    assert [path.name for path in written[1:]] == names
    assert main(["streams", str(other), BAD, "--html", str(page)]) in (0, 1)
    assert written[-1] == page


def test_markdown_is_the_reports_own(written, capsys):
    assert main(["audit", BAD, "--markdown"]) == 1
    assert capsys.readouterr().out == "## passed: False\n"
    assert main(["audit", BAD, "--markdown", "--json"]) == 2
    assert "either --json or --markdown is expected; got both" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--html", "--junit"])
def test_a_path_that_cannot_be_written_is_refused_before_the_work(option, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(ds.Recording, "load", lambda *_: pytest.fail("read"))
    for path in (tmp_path, tmp_path / "none" / "a.html"):
        assert main(["audit", GOOD, option, str(path)]) == 2
        said = f"{option} must name a file in an existing folder; got {str(path)!r}"
        assert capsys.readouterr().err == f"dropstats audit: error: {said}\n"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert main(["audit", GOOD, option, str(tmp_path / "a.html")]) == 2
    assert f"{option} must name a file that can be written" in capsys.readouterr().err


def test_junit_has_a_suite_a_file_and_a_case_a_test(tmp_path, capsys, small):
    path = tmp_path / "audit.xml"
    assert main(["audit", BAD, small, __file__, "--p", "0.3", "--junit", str(path)]) == 2
    root = ElementTree.parse(path).getroot()
    bad, little, broken = root
    assert [suite.get("name") for suite in root] == [BAD, small, __file__]
    assert int(root.get("tests")) == len(root.findall(".//testcase")) == sum(int(suite.get("tests")) for suite in root)
    failed = {case.get("name"): case[0] for case in bad if len(case) and case[0].tag != "skipped"}
    assert set(failed) == {"rate", "mean"}
    assert bad.get("failures") == "2"
    assert failed["rate"].tag == "failure"
    assert "drops 0.3053 where 0.3 was declared" in failed["rate"].get("message")
    assert "observed: 0.305" in failed["rate"].text
    assert {case[0].tag for case in little if len(case)} <= {"skipped", "failure"}
    assert int(little.get("skipped")) > 3
    assert (broken.get("errors"), broken[0][0].tag) == ("1", "error")


def test_junit_holds_what_xml_cannot():
    text = junit.document([("a\0b\ud800<&>", "wrong \x1b[31m")])
    assert (
        ElementTree.fromstring(text.partition("\n")[2])[0].get("name")
        == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}<&>"
    )
    assert "\x1b" not in text


def test_junit_of_a_model_has_its_sites():
    site = {"results": [{"name": "rate", "verdict": "inconclusive", "message": ""}]}
    data = {"results": [{"name": "placement", "verdict": "pass", "message": ""}], "sites": {"drop": site}}
    first, second = ElementTree.fromstring(junit.document([("Net", data)]).partition("\n")[2])
    assert (first.get("name"), second.get("name"), second.get("skipped")) == ("Net", "Net: drop", "1")
    assert second[0][0].get("message") == "inconclusive"


def test_exit_statuses(capsys, tmp_path, small):
    assert main(["audit", GOOD]) == 0
    assert main(["audit", BAD]) == 1
    assert main(["audit", GOOD, BAD, GOOD]) == 1
    assert main(["audit", GOOD, "--tests", "nothing"]) == 2
    assert main(["audit", small, "--p", "0.5", "--tests", "scale"]) == 3
    # passes, though too small for some tests
    assert main(["audit", small, "--p", "0.5"]) == 0
    assert "inconclusive" in capsys.readouterr().out
    assert main(["audit", small, "--p", "0.5", "--strict"]) == 3
    assert main(["audit", small, small, "--p", "0.5", "--strict"]) == 3
    assert main(["streams", small, str(tmp_path / "none.npy")]) == 2


def test_streams_without_the_file_that_cannot_be_read(capsys, tmp_path):
    files = []
    for seed in range(2):
        files.append(str(tmp_path / f"{seed}.npy"))
        np.save(files[-1], ds.Layer(500, 0.1).sample(100, rng=seed))
    assert main(["streams", *files, "--p", "0.1"]) == 0
    capsys.readouterr()
    assert main(["streams", *files, __file__, "--p", "0.1"]) == 2
    out, err = capsys.readouterr()
    assert "2 streams: 0 and 1" in out
    assert err.startswith(f"dropstats streams: error: {__file__}")
    assert main(["streams", files[0], __file__, "--p", "0.1"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert main(["streams", files[0]]) == 2
    assert "streams must be at least two; got 1" in capsys.readouterr().err
    assert main(["streams", *files, "--p", "0.1", "--law", "Layer(500, 0.1)"]) == 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colour_where_the_terminal_has_it(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    text = str(ds.audit(ds.Recording.load(BAD), tests=["rate", "edges"]))
    assert printing.coloured(text, io.StringIO()) == text
    shown = printing.coloured(text, Terminal())
    assert "p = 0.3: \033[1;31mFAILED\033[0m (rate)" in shown
    assert "\033[1;31mFAIL\033[0m" in shown
    assert "  edges      \033[32mpass\033[0m " in shown
    assert re.sub("\033\\[[0-9;]*m", "", shown) == text
    monkeypatch.setenv("NO_COLOR", "1")
    assert printing.coloured(text, Terminal()) == text
    monkeypatch.setenv("NO_COLOR", "")  # empty: as if it were not set
    assert printing.coloured(text, Terminal()) == shown
    monkeypatch.setenv("TERM", "dumb")
    assert printing.coloured(text, Terminal()) == text


def test_progress_is_shown_where_it_is_asked_for_and_on_terminals(monkeypatch, capsys):
    asked = []
    audit = ds.audit

    def watched(recording, law=None, *, progress=False, **others):
        asked.append(progress)
        return audit(recording, law, **others)

    monkeypatch.setattr(ds, "audit", watched, raising=False)
    for options in ([], ["--progress"], ["--no-progress"]):
        assert main(["audit", GOOD, "--tests", "rate", *options]) == 0
    monkeypatch.setattr("sys.stderr", Terminal())
    assert main(["audit", GOOD, "--tests", "rate"]) == 0
    assert main(["audit", GOOD, "--tests", "rate", "--no-progress"]) == 0
    assert asked == [False, True, False, True, False]


def test_long_names_of_sites_have_lines_of_their_own_in_narrow_tables():
    failing = {
        "name": "rate",
        "verdict": "fail",
        "message": "drops far more than was declared, " * 4,
        "explained_by": "",
    }
    site = {"p": 0.1, "observed_rate": 0.3, "draws": 64, "trials": 64, "n": 1000, "results": [failing], "judged": True}
    sites = {"encoder.layers.11.dropout": site, "short": site | {"results": []}}
    data = {"kind": "model", "model": "Net", "passes": 64, "notes": ["a note " * 20], "results": [], "sites": sites}
    data |= {"passed": False, "false_alarm": 1e-3}
    lines = text.table(data | {"unjudged": {"head": "none " * 30}}, 80).splitlines()
    assert max(map(len, lines)) <= 80
    at = lines.index("  encoder.layers.11.dropout")
    assert lines[at + 1].split() == ["0.1", "0.3000", "64", "64,000"]
    assert lines[at + 2].strip().startswith("FAILS rate: drops far more")
    wide = text.table(data | {"unjudged": {}})
    assert "  encoder.layers.11.dropout     0.1   0.3000      64      64,000   FAILS rate: drops far" in wide


def test_a_real_page_and_real_markdown_are_written(tmp_path, capsys):
    page = tmp_path / "audit.html"
    assert main(["audit", BAD, "--html", str(page), "--markdown"]) == 1
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "drops 0.3053 where 0.3 was declared" in text
    assert "| " in capsys.readouterr().out
