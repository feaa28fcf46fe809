"""The audit's teeth: every broken generator is caught by the test that should, its clean twin passes."""

import re

import faults
import numpy as np
import pytest
from cases import FAULTS

from dropstats import Layer
from dropstats.auditing import audit, audit_streams
from dropstats.recording import Recording

BY_NAME = {fault.name: fault for fault in FAULTS}
STREAMS = {"agreement": faults.ranks, "transposed": faults.folded}


def audited(fault, made):
    if isinstance(made, dict):
        return audit_streams(made, fault.expect, p=fault.p)
    law = Layer(fault.n, fault.p) if fault.law is None else fault.law
    return audit(made, law, tests=fault.tests)


def test_the_table_is_long_enough():
    assert len(BY_NAME) == len(FAULTS) >= 120


@pytest.mark.parametrize("name", BY_NAME)
def test_fault_is_caught_with_its_diagnosis(name):
    fault = BY_NAME[name]
    report = audited(fault, fault.make(np.random.default_rng(20261121)))
    assert not report.passed
    assert report[fault.test].verdict == "fail", str(report)
    assert re.search(fault.says, report[fault.test].message), str(report)
    if fault.right_rate:
        assert report["rate"].verdict != "fail", str(report)


def clean_twin(fault):
    """Return correct masks of the fault's size, with values."""
    if fault.clean is not None:
        return fault.clean(np.random.default_rng(7))
    if fault.test in STREAMS:
        return STREAMS[fault.test](fault.trials, fault.n, fault.p, False)(np.random.default_rng(7))
    if hasattr(fault.law, "apply"):
        return fault.law.apply(np.ones((fault.trials, fault.n)), rng=7)
    masks = (fault.law or Layer(fault.n, fault.p)).sample(fault.trials, rng=7)
    rates = np.full(fault.n, fault.p) if fault.law is None or fault.law.rate is not None else fault.law.rates
    values = masks * (1 / (1 - rates)).astype(np.float32) if fault.p < 1 else masks.astype(np.float32)
    return Recording.from_outputs(values, p=fault.p)


@pytest.mark.parametrize("name", BY_NAME)
def test_clean_twin_passes(name):
    fault = BY_NAME[name]
    report = audited(fault, clean_twin(fault))
    assert report.passed, str(report)
    # the test that catches the fault could judge at the stated size: it is not mere silence
    assert report[fault.test].verdict == "pass", str(report)
