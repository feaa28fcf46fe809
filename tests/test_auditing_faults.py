"""The audit's teeth: every broken generator is caught by the test that should, its clean twin passes."""

import re

import numpy as np
import pytest
from cases import FAULTS

from dropstats import Layer
from dropstats.auditing import audit
from dropstats.recording import Recording

BY_NAME = {fault.name: fault for fault in FAULTS}


def test_the_table_is_long_enough():
    assert len(BY_NAME) == len(FAULTS) >= 25


@pytest.mark.parametrize("name", BY_NAME)
def test_fault_is_caught_with_its_diagnosis(name):
    fault = BY_NAME[name]
    report = audit(fault.make(np.random.default_rng(20261121)), p=fault.p)
    assert not report.passed
    assert report[fault.test].verdict == "fail", str(report)
    assert re.search(fault.says, report[fault.test].message), str(report)
    if fault.right_rate:
        assert report["rate"].verdict != "fail", str(report)


@pytest.mark.parametrize("name", BY_NAME)
def test_clean_twin_passes(name):
    fault = BY_NAME[name]
    masks = Layer(fault.n, fault.p).sample(fault.trials, rng=7)
    values = masks * np.float32(1 / (1 - fault.p)) if fault.p < 1 else masks.astype(np.float32)
    report = audit(Recording.from_outputs(values, p=fault.p))
    assert report.passed, str(report)
    # the test that catches the fault had enough to judge: at the stated size it is not mere silence
    if fault.test not in ("duplicates", "repeats", "dispersion"):
        assert report[fault.test].verdict == "pass", str(report)
