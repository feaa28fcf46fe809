"""Audit the dropout of installed frameworks and write docs/frameworks.md.

    python docs/frameworks.py torch          record, audit and table what is installed, one or more of those in
    python docs/frameworks.py jax flax       docs/framework_cases.py (KERAS_BACKEND chooses the backend of keras)
    python docs/frameworks.py                only write the table anew

Each case is 2048 calls, mostly on 8192 ones, audited at false-alarm rate 1e-6; what was found is kept in
docs/frameworks.json, so that frameworks that do not go together can be recorded in one environment after the other.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from framework_cases import FRAMEWORKS, Case, N
from tqdm import tqdm

import dropstats as ds
from dropstats.auditing import audit

CALLS = 2048
# The table holds some 150 audits: at 1e-6 each, one of them raises a false alarm in 7,000 tables.
FALSE_ALARM = 1e-6
RESULTS = Path(__file__).with_name("frameworks.json")
TABLE = Path(__file__).with_name("frameworks.md")


def judge(case: Case) -> dict[str, Any]:
    """Return what the audit of a case found, and what becomes of a dropped infinity."""
    recording = ds.record(lambda: case.call(case.ones), CALLS, case.p)
    report = audit(recording, case.law, false_alarm=FALSE_ALARM)
    scales = recording.scales or {}
    infinite = ""
    if scales and case.law is None and case.function != "scaled_dot_product_attention":
        inputs = case.ones * float("inf")
        dropped = ds.record(lambda: case.call(inputs), 64, case.p, inputs=inputs)
        infinite = "NaN" if dropped.nans else "0" if dropped.dropped else "none dropped"
    return {
        "framework": case.framework,
        "function": case.function,
        "device": case.device,
        "dtype": case.dtype,
        "p": case.p,
        "neurons": recording.judged,
        "observed": recording.dropped / recording.judged,
        "detectable": report["rate"].detectable,
        "scale": next(iter(scales)) if len(scales) == 1 else None,
        "infinity": infinite,
        "passed": report.passed,
        "findings": {one.name: one.message for one in report.failures if not one.explained_by},
        "follow": [one.name for one in report.failures if one.explained_by],
        "needed": needed(recording, case, report),
    }


def needed(recording: ds.Recording, case: Case, report: ds.Report) -> int | None:
    """Return how many neurons a failure needs: the shortest recording, halved again and again, that still fails."""
    tests = [one.name for one in report.failures if one.pvalue is not None]
    if not tests:
        return 1 if report.failures else None
    calls = CALLS
    while calls > 1:
        half = recording.calls(0, calls // 2)
        if not audit(half, case.law, false_alarm=FALSE_ALARM, tests=tests).failures:
            break
        calls //= 2
    return calls * recording.n


def table(results: list[dict[str, Any]]) -> str:
    """Return the page."""
    lines = [HEAD.format(calls=CALLS, n=N, false_alarm=FALSE_ALARM)]
    lines += ["", "## Defects found", "", *defects(results), "", NOTES, "## All audits", "", COLUMNS]
    lines += [
        "| framework | function | device | dtype | p | neurons | observed | scale | dropped inf | needed | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        scale = "" if one["scale"] is None else f"{one['scale']:.7g}"
        verdict = "passes" if one["passed"] else "**fails**: " + "; ".join(one["findings"].values())
        verdict += f" (and what follows: {', '.join(one['follow'])})" if one["follow"] else ""
        cells = (one["framework"], f"`{one['function']}`", one["device"], one["dtype"], f"{one['p']:g}")
        fewest = "" if one["needed"] is None else short(one["needed"])
        cells += (short(one["neurons"]), f"{one['observed']:.5f}", scale, one["infinity"], fewest, verdict)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def short(number: int) -> str:
    """Return a number to two digits, such as 1.6e+07; up to thousands in full."""
    return f"{number:,}" if number < 10_000 else f"{number:.1e}"


def defects(results: list[dict[str, Any]]) -> list[str]:
    """Return a line for each framework and dtype that fails, or makes NaN of dropped infinities."""
    lines = []
    for framework, dtype in dict.fromkeys((one["framework"], one["dtype"]) for one in results):
        here = [one for one in results if (one["framework"], one["dtype"]) == (framework, dtype)]
        wrong = [one for one in here if not one["passed"]]
        for tests in dict.fromkeys(tuple(sorted(one["findings"])) for one in wrong):
            alike = [one for one in wrong if tuple(sorted(one["findings"])) == tests]
            functions = ", ".join(dict.fromkeys(f"`{one['function']}`" for one in alike))
            lines.append(f"- **{framework}, {dtype}** ({functions}): {said(alike, tests)}.")
    infinite = ", ".join(dict.fromkeys(f"**{one['framework']}**" for one in results if one["infinity"] == "NaN"))
    return [*lines, f"- A dropped infinity becomes NaN instead of 0, because it is multiplied by 0: {infinite}."]


def said(alike: list[dict[str, Any]], tests: tuple[str, ...]) -> str:
    """Return what fails in short: the rates, or the first two findings of the first."""
    if "rate" in tests:
        rates: dict[float, list[float]] = {}
        for one in alike:
            rates.setdefault(one["p"], []).append(one["observed"])
        return "drops " + ", ".join(f"{math.fsum(v) / len(v):.4f} instead of {p:g}" for p, v in sorted(rates.items()))
    return "; ".join(list(alike[0]["findings"].values())[:2])


HEAD = """# Audits of current frameworks

Which releases drop what they declare? This page lists the defects that audits found, and then all audits. Each is of a
real recording: {calls} calls, mostly on {n} ones, all tests, false-alarm rate {false_alarm:g}. `docs/frameworks.py`
writes the page; the reports on the defects are in `docs/reports/`."""

NOTES = """Explanations:

- The wrong rates of jax, tensorflow and keras are multiples of 1/128 in bfloat16 and of 1/1024 in float16. Uniform
  random numbers in these formats are multiples of these steps, so comparing them with p rounds p to a step. The scale
  is that of the declared p, so the mean is not preserved. `jax.random.bernoulli` draws in the format of the probability
  that it is given; give it in float32.
- The stochastic depth of transformers computes `floor(u + keep)` in bfloat16.
- In bfloat16 the scale is rounded too, 1/0.9 to 1.109375. This loses 0.16% of the mean in every framework and is
  reported, but does not count as a failure.
- The squares of timm and dropblock are compared with the paper's law, `DropBlock(14, 14, 7, p)`. Use
  `DropBlock(..., gamma=..., seeds="map")` to audit them against the law that they have.
"""

COLUMNS = """*Neurons* is the number of calls times the neurons in a call. *Observed* is the drop rate. *Scale* is the
value that a kept 1 became. *Dropped inf* is the value that a dropped infinity became: 0, or NaN if it is multiplied by
0. *Needed* is the number of neurons in the shortest recording that still fails, where recordings are halved again and
again.
"""


def main() -> None:
    """Record and audit what is named, and write the table."""
    parser = argparse.ArgumentParser(description="Audit installed frameworks; write docs/frameworks.md.")
    parser.add_argument("frameworks", nargs="*", choices=[[], *FRAMEWORKS], help="what to record")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for framework in arguments.frameworks:
        cases = list(FRAMEWORKS[framework]())
        names = {case.framework for case in cases}
        results = [one for one in results if one["framework"] not in names]
        results += [judge(case) for case in tqdm(cases, desc=framework)]
    results.sort(key=lambda one: (one["framework"], one["device"], one["function"]))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    TABLE.write_text(table(results))


if __name__ == "__main__":
    main()
