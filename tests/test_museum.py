"""The museum: every reported bug is found by its check, in its words, in 5 of 5 seeds, and its mended twin passes."""

import json
import sys
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import museum
import numpy as np
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
    assert museum.judged(exhibit, SEEDS[0], mended=True) == museum.Verdict(True, {})


@pytest.mark.slow
@every_exhibit
def test_its_mended_twin_passes_in_the_other_seeds_too(exhibit):
    verdicts = {seed: museum.judged(exhibit, seed, mended=True) for seed in SEEDS[1:]}
    assert verdicts == dict.fromkeys(SEEDS[1:], museum.Verdict(True, {}))


@pytest.mark.slow
@every_exhibit
def test_half_as_many_calls_do_not_show_it(exhibit):
    half = exhibit.trials // 2
    if half >= museum.LEAST.get(exhibit.call, 1):
        verdicts = (museum.judged(exhibit, seed, trials=half) for seed in SEEDS)
        assert not all(museum.shows(exhibit, verdict) for verdict in verdicts)


@pytest.mark.parametrize("exhibit", [one for one in EXHIBITS.values() if one.call == "assert_dropout"])
def test_an_assertion_draws_as_many_neurons_as_the_page_says(exhibit):
    made, calls = exhibit.make(np.random.default_rng(0), False), []

    def counted():
        calls.append(1)
        return made["dropout"]()

    museum.CALLS[exhibit.call](exhibit, made | {"dropout": counted})
    evaluated = callable(made.get("evaluate")) or "evaluate" in made
    assert (len(calls) + evaluated) * exhibit.n == museum.neurons(exhibit)


def test_the_museum_is_large_and_each_exhibit_tells_where_it_comes_from():
    assert len(EXHIBITS) >= 60
    assert {exhibit.group for exhibit in EXHIBITS.values()} == set(museum.GROUPS)
    assert {exhibit.call for exhibit in EXHIBITS.values()} == set(museum.CALLS)
    for exhibit in EXHIBITS.values():
        assert exhibit.reference
        assert exhibit.says
        assert len(exhibit.symptom) <= 100, "a symptom is one plain line"
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
