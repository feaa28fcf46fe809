"""docs/articles.md: its code runs, its verdicts are those of the reference, its numbers those of the articles' file."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
from walk import compare, number, reference

from dropstats import Layer, PreActivation, effective_learning_rate

DOC = Path(__file__).parents[1] / "docs" / "articles.md"
NOTHING_TO_COMPUTE = {"G4", "G26"}


def sections():
    found = re.split(r"^### (\w+): (.*)$", DOC.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: (verdict, body) for name, verdict, body in zip(found[1::3], found[2::3], found[3::3], strict=True)}


def test_its_code_runs():
    result = doctest.testfile(str(DOC), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 60
    assert result.failed == 0


def test_every_claim_is_there_with_its_verdict():
    claims = {claim["id"]: claim for claim in reference("article_claims")["claims"]}
    found = sections()
    assert found.keys() == claims.keys()
    assert len(found) == 33
    for name, (verdict, body) in found.items():
        first = re.match(r"\w+", claims[name]["verdict"]).group()
        # "not a mathematical claim" is "no mathematical claim" here
        assert verdict.split(",")[0].split(" ")[0] == {"not": "no"}.get(first, first), name
        assert (">>>" in body) == (name not in NOTHING_TO_COMPUTE), name


# ---------------------------------------------------------------- the numbers in the claims


def claim(name):
    (found,) = [claim["reference"] for claim in reference("article_claims")["claims"] if claim["id"] == name]
    return found


def test_numbers_of_the_claims():
    unscaled = PreActivation(np.ones(100), np.ones(100), Layer(100, 0.4), scaling=None).training
    law, scaled = unscaled.lattice(), PreActivation(np.ones(100), np.ones(100), Layer(100, 0.4)).training
    a3 = {
        "mean": unscaled.mean,
        "sd": unscaled.variance**0.5,
        "P60": law.pmf(60),
        "central95": list(law.interval(0.95)),
        "P100": law.pmf(100),
    }
    compare(claim("A3"), a3, {}, "A3")
    a5 = {"scaled_sd": scaled.variance**0.5, "central95": list(scaled.lattice().interval(0.95))}
    compare(claim("A5"), a5, {}, "A5")
    compare(claim("A6"), {"var": scaled.variance}, {}, "A6")
    half = Layer(1024, 0.5)
    g10 = {"P512": half.prob(dropped=512), "P16": half.prob(dropped=(496, 528)), "P32": half.prob(dropped=(480, 544))}
    compare(claim("G10"), g10 | {"central95": list(half.dropped.interval(0.95))}, {}, "G10")
    mode = {p: Layer(10, p).dropped.pmf(np.arange(11)).max() for p in (0.5, 0.55, 0.6)}
    compare(claim("G14"), {"n10_p05": mode[0.5], "n10_p055": mode[0.55], "n10_p06": mode[0.6]}, {}, "G14")


def test_numbers_of_the_articles():
    numbers = reference("article_numbers")
    unscaled = PreActivation(np.ones(100), np.ones(100), Layer(100, 0.4), scaling=None).training
    law, scaled = unscaled.lattice(), PreActivation(np.ones(100), np.ones(100), Layer(100, 0.4)).training
    chawla = {
        "mean_kept": law.mean(),
        "var": unscaled.variance,
        "sd": law.std(),
        "P(kept=60)": law.pmf(60),
        "P(55<=kept<=65)": law.cdf(65) - law.cdf(54),
        "P(50<=kept<=70)": law.cdf(70) - law.cdf(49),
        "P(kept=100)": law.pmf(100),
        "scaled_mean": scaled.mean,
        "scaled_sd": scaled.variance**0.5,
        "P(90<=scaled<=110) i.e. kept 54..66": scaled.lattice().cdf(110) - scaled.lattice().cdf(90 - 1e-3),
        "central95_kept": list(law.interval(0.95)),
        "central95_scaled": list(scaled.lattice().interval(0.95)),
    }
    compare(numbers["chawla_n100_p0.4"], chawla, {}, "chawla")
    for case in numbers["relative_sd_of_count"]:
        law = Layer(case["n"], number(case["p"])).dropped
        assert law.std() / law.mean() == pytest.approx(number(case["sd/mean"]), rel=1e-12)
    rates = {r: effective_learning_rate(0.01, float(r)).kept_unit for r in claim("G21")["r"]}
    for p, rounded in claim("G21")["r"].items():
        assert rates[p] == pytest.approx(float(rounded), rel=1e-5)
