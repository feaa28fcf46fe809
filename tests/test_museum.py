"""The museum: every reported bug is found by its check, in its words, in 5 of 5 seeds, and its mended twin passes."""

import json
import sys
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import museum
import pytest
from museum import EXHIBITS

DOCS = Path(__file__).parents[1] / "docs"
SEEDS = range(5)


def marked(name):
    exhibit = EXHIBITS[name]
    absent = exhibit.needs and not find_spec(exhibit.needs)
    marks = [pytest.mark.slow] * exhibit.slow + [pytest.mark.framework] * bool(exhibit.needs)
    marks += [pytest.mark.skip(reason=f"{exhibit.needs} is not installed")] * bool(absent)
    return pytest.param(exhibit, id=name, marks=marks)


# Each is looked at once: by its diagnosis, and by the words of the page.
judged = cache(lambda name, seed: museum.judged(EXHIBITS[name], seed))
kept = cache(lambda: json.loads((DOCS / "museum.json").read_text(encoding="utf-8")))
every_exhibit = pytest.mark.parametrize("exhibit", [marked(name) for name in EXHIBITS])


def page():
    """Return the module of docs/museum.py."""
    spec = spec_from_file_location("museum_page", DOCS / "museum.py")
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@every_exhibit
def test_a_reported_bug_is_found_with_its_diagnosis(exhibit):
    missed = [seed for seed in SEEDS if not museum.shows(exhibit, judged(exhibit.name, seed))]
    assert not missed, (exhibit.check, exhibit.says, judged(exhibit.name, missed[0]))


@every_exhibit
def test_its_mended_twin_passes(exhibit):
    verdict = museum.judged(exhibit, seed=6, mended=True)
    assert verdict.passed, verdict
    assert not verdict.findings


@pytest.mark.slow
@every_exhibit
def test_half_as_many_calls_do_not_show_it(exhibit):
    if exhibit.trials > 1 and exhibit.call not in ("assert_dropout", "audit_model"):
        half = (museum.judged(exhibit, seed, trials=exhibit.trials // 2) for seed in SEEDS)
        assert not all(museum.shows(exhibit, verdict) for verdict in half)


def test_the_museum_is_large_and_each_exhibit_tells_where_it_comes_from():
    assert len(EXHIBITS) >= 60
    assert {exhibit.group for exhibit in EXHIBITS.values()} == set(museum.GROUPS)
    assert {exhibit.call for exhibit in EXHIBITS.values()} == set(museum.CALLS)
    for exhibit in EXHIBITS.values():
        assert exhibit.reference
        assert exhibit.says
        assert exhibit.check in museum.CHECKS[exhibit.call]


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_page_is_written_from_the_table():
    module = page()
    assert (DOCS / "museum.md").read_text(encoding="utf-8") == module.written(module.kept())


def test_the_page_knows_every_exhibit_and_says_what_it_takes():
    assert list(kept()) == list(EXHIBITS)
    for exhibit in EXHIBITS.values():
        if not exhibit.slow and not exhibit.needs:
            assert kept()[exhibit.name]["neurons"] == museum.neurons(exhibit)


@every_exhibit
def test_the_page_has_the_finding_in_the_audit_s_own_words(exhibit):
    finding = judged(exhibit.name, seed=page().SEED).findings[exhibit.check]
    assert kept()[exhibit.name]["finding"] == finding, "write the page anew: python docs/museum.py"
