"""The benchmark script runs, and its table says what was measured."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "run.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="benchmarks are not part of the source distribution")


@pytest.mark.slow
@pytest.mark.parametrize("section", ["layer counts", "network totals", "audit"])
def test_a_section_runs(section):
    command = [sys.executable, str(SCRIPT), "--quick", "--section", section]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "'dropstats':" in result.stdout
    assert "scipy" in result.stdout


@pytest.mark.slow
def test_the_section_of_unlike_neurons_runs():
    command = [sys.executable, str(SCRIPT), "--quick", "--section", "unlike"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.count("'dropstats, workers=2':") == 4
    assert result.stdout.count("'dropstats':") == 5


@pytest.mark.slow
def test_the_section_of_the_monitor_runs():
    command = [sys.executable, str(SCRIPT), "--quick", "--section", "monitor"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.count("'dropstats':") == 2


@pytest.mark.slow
def test_the_section_of_shapes_says_time_and_memory():
    command = [sys.executable, str(SCRIPT), "--quick", "--section", "shapes"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.count("audit of") == result.stdout.count("peak memory") == 6


@pytest.mark.slow
@pytest.mark.framework
def test_the_section_of_the_models_runs():
    pytest.importorskip("torch", reason="torch is not installed")
    command = [sys.executable, str(SCRIPT), "--quick", "--section", "models"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "'torch, not watched':" in result.stdout


@pytest.mark.slow
def test_the_section_of_growth_runs():
    command = [sys.executable, str(SCRIPT), "--quick", "--section", "growth"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.count("'dropstats':") == 17


def test_the_table_gives_times_and_ratios():
    spec = importlib.util.spec_from_file_location("run", SCRIPT)
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    line = run.Line("queries", "pmf", "us", {"dropstats": (lambda: sum(range(300)), 1e3)})
    assert 0.1 < run.measure(line, 3)["dropstats"] < 1000
    row = {"section": "queries", "what": "pmf", "unit": "us", "times": {"dropstats": 2.0, "scipy": 30.0, "jax": 3.0}}
    text = run.markdown(run.machine(3), [row])
    sizes = [{**row, "section": "growth", "what": f"law, n = {n}", "times": {"dropstats": n**1.5}} for n in (10, 1000)]
    assert run.exponents(sizes) == ["- law: from n = 1e+01 to 1e+03 as n^1.50"]
    assert "as n^1.50" in run.markdown(run.machine(3), sizes)
    generator = {"section": "sampling", "what": "words", "unit": "ns/bit", "times": {"SFC64": 0.5}}
    drawn = {"section": "sampling", "what": "simulate", "unit": "ns/neuron", "times": {"dropstats": 2.0, "numpy": 30.0}}
    filled = run.markdown(run.machine(3), [generator, drawn])
    assert "| simulate | ns/neuron | dropstats | 2 |  | 4 |\n|  |  | numpy | 30 | 15 | 60 |" in filled
    assert "| pmf | us | dropstats | 2 |  |\n|  |  | scipy | 30 | 15 |\n|  |  | jax | 3 | 1.5 |" in text


def test_the_first_page_quotes_the_committed_run():
    lines = json.loads(SCRIPT.with_name("results.json").read_text())["lines"]
    times = {line["what"]: line["times"] for line in lines}
    text = " ".join((SCRIPT.parents[1] / "docs" / "start.md").read_text(encoding="utf-8").split())
    for law, quoted in (
        ("p = 0.5", "{} times as fast as"),
        ("p = 0.1", "{} times at p = 0.1"),
        ("own p for each neuron", "{} times with a p of its own"),
    ):
        line = times[f"simulate: counts of masks, drops of neurons; {law}"]
        ratio = line["numpy"] / line["dropstats"]
        assert quoted.format(f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}") in text


def test_the_page_of_scale_quotes_the_committed_run():
    lines = json.loads(SCRIPT.with_name("results.json").read_text())["lines"]
    times = {
        line["what"].split("; ")[1]: line["times"] for line in lines if line["what"].startswith("simulate: counts")
    }
    text = (SCRIPT.parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
    rates = [times[law]["dropstats"] for law in ("p = 0.5", "p = 0.1", "p = 0.3", "own p for each neuron")]
    quoted = re.search(
        r"takes\s([\d.]+)\sns.*?,\s([\d.]+)\sat.*?,\s([\d.]+)\sat.*?\sand\s([\d.]+)\swith", text, re.DOTALL
    )
    assert [float(word) for word in quoted.groups()] == pytest.approx(rates, rel=0.005)
    table = [
        [float(word) for word in re.findall(r"([\d.]+)(?= (?:min|core-hours))", line)] for line in text.splitlines()
    ]
    columns = [rates[0], rates[1], rates[3]]
    for row, scale in zip([row for row in table if len(row) == 3], (1e3 / 60, 1e6 / 3600, 1e6 / 128 / 60), strict=True):
        assert row == pytest.approx([scale * rate for rate in columns], rel=0.03)
