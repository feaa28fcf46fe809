"""Test `edges`: rules without exception hold: p = 0 drops nothing, p = 1 keeps nothing, dropped outputs are 0."""

import math

import numpy as np

from dropstats.auditing import causes, words
from dropstats.auditing.checks.scale import kept_values
from dropstats.auditing.finding import Case, Check, Finding, not_applicable


def measure(case: Case) -> Finding:
    """Null: p = 0 drops nothing, p = 1 keeps nothing, and dropped outputs are exactly 0, never NaN. Exact.

    A single violation is a failure, so there is no p-value. Catches `<=` in place of `<`, masks that multiply
    infinities, and values that are not 0 where they should be. Needs one neuron with p = 0 or 1, or recorded values.
    """
    recording, rate = case.seen.recording, case.law.rate
    dropped = kept = 0
    zero = one = False
    if rate is None or rate in (0.0, 1.0):
        rates, counts = case.law.rates, case.seen.neuron_drops
        of_zero, of_one = rates == 0, rates == 1
        zero, one = bool(of_zero.any()), bool(of_one.any())
        dropped, kept = int(counts[of_zero].sum()), int((case.seen.neuron_trials[of_one] - counts[of_one]).sum())
    multiplied = 0
    if rate and not recording.nan_inputs_dropped:
        chance = recording.nan_inputs * math.log1p(-min(rate, 1 - 1e-16))
        multiplied = recording.nan_inputs if chance < math.log(case.level) else 0
    found = {"dropped": dropped, "kept": kept, "nans": recording.nans, "infs": recording.infs}
    found |= {"nonzero": recording.nonzero, "multiplied": multiplied}
    if not any(found.values()) and not zero and not one and kept_values(case) is None:
        return not_applicable(f"no {case.unit.one} of p = 0 or 1, and no values")
    observed = float(np.sum([count for name, count in found.items() if name != "multiplied"]))
    return Finding(None, observed, 0.0, broken=any(found.values()), numbers=found | {"zero": zero, "one": one})


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say what was seen that must never be."""
    if not failed:
        held = ["p = 0 drops nothing"] * finding["zero"] + ["p = 1 keeps nothing"] * finding["one"]
        return " and ".join(held) or "no NaN, no infinity"
    unit, found = case.unit, []
    for name, what in (("dropped", "of p = 0"), ("kept", "of p = 1")):
        if finding[name]:
            verb = "is" if finding[name] == 1 else "are"
            text = f"{words.counted(finding[name], unit.one)} {what} {verb} {name}"
            share = finding[name] / case.seen.judged
            # a step of the uniform numbers, or of the threshold: of more than a few bits
            step = case.law.rate is not None and share < 2**-6
            found.append(f"{text}, 1 in {1 / share:,.0f}: as with <= for <, or uniforms that are 0 or 1" * step or text)
    for name, what in (("nans", "NaN"), ("infs", "infinite"), ("nonzero", "not 0 where the input is 0")):
        if finding[name]:
            verb = "is" if finding[name] == 1 else "are"
            seen, rate = case.seen, case.law.rate
            how = causes.of_nans(finding["nans"], seen.recording.nans_of_infs, rate, seen.judged) * (name == "nans")
            found.append(f"{words.counted(finding[name], 'output')} {verb} {what}{': ' * bool(how)}{how}")
    if finding["multiplied"]:
        inputs = "groups of NaN inputs" if unit.one == "group" else "NaN inputs"
        found.append(f"none of {finding['multiplied']:,} {inputs} became 0: dropout multiplies by the mask")
    return "; ".join(found)


CHECK = Check(
    "edges",
    measure,
    explain,
    decides=True,
    about="whether p = 0 drops nothing, p = 1 keeps nothing, and dropped outputs are exactly 0",
    quantity="exceptions",
)
