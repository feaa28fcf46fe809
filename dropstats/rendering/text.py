"""A report's plain data as text."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

# Width of a table whose findings stand beside the numbers, and of the numbers; a narrower one has them below, indented.
WIDTH = 118
_NUMBERS = 56
_INDENT = " " * 13


def verdict(report: Mapping[str, Any]) -> str:
    """Return the outcome of an audit in a word or two."""
    if failing(report):
        return "failed"
    return "passed" if report["passed"] else "nothing could be judged"


def failing(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the results that fail."""
    return [result for result in report["results"] if result["verdict"] == "fail"]


def table(report: Mapping[str, Any], width: int = WIDTH) -> str:
    """Return a report as text: one line that says it all, then one line, or a few, a test."""
    wide = width >= WIDTH
    declared = "" if report["p"] is None else f", p = {report['p']:.6g}"
    explained = report.get("explained", {})
    names = ", ".join(result["name"] for result in failing(report) if result["name"] not in explained)
    outcome = f"FAILED ({names})" if names else verdict(report)
    masks, neurons = _counted(report["trials"], "mask"), _counted(report["n"], "neuron")
    lines = [f"Audit of {masks} of {neurons}{declared}: {outcome}"]
    for line in filter(None, (report["source"], *report["notes"])):
        lines += [f"  {line}"] if wide else textwrap.wrap(line, width, initial_indent="  ", subsequent_indent="    ")
    head = f"  {'test':<10} {'verdict':<14} {'p adjusted':>10} {'observed':>9} {'expected':>9}"
    lines += ["", f"{head}   finding" if wide else head]
    for result in report["results"]:
        adjusted = result["adjusted_pvalue"]
        shown = "" if adjusted is None else f"{adjusted:.2g}"
        word = "FAIL" if result["verdict"] == "fail" else result["verdict"]
        numbers = f"{_number(result['observed']):>9} {_number(result['expected']):>9}"
        head = f"  {result['name']:<10} {word:<14} {shown:>10} {numbers}"
        cause = explained.get(result["name"])
        message = f"explained by {cause}: {result['message']}" if cause else result["message"]
        lines += _beside(f"{head}   ", message) if wide else _below(head, message, width)
    lines += ["", f"  A correct implementation fails here with probability {report['false_alarm']:g} at most."]
    return "\n".join(lines)


def _beside(head: str, text: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH - _NUMBERS) or [""]
    return [(head + lines[0]).rstrip(), *(" " * len(head) + line for line in lines[1:])]


def _below(head: str, text: str, width: int) -> list[str]:
    wrapped = textwrap.wrap(text, max(width, 40), initial_indent=_INDENT, subsequent_indent=_INDENT)
    return [head.rstrip(), *wrapped]


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}"
    return f"{value:.4g}"


def monitor(data: Mapping[str, Any]) -> str:
    """Return what a monitor has seen as text: one line that says it all, then one line, or a few, a check."""
    masks = _counted(data["trials"], "mask")
    neurons = "" if data["n"] is None else f" of {_counted(data['n'], 'neuron')}"
    declared = "" if data["p"] is None else f", p = {data['p']:.6g}"
    of = f"Sum of {data['monitors']} monitors" if data["monitors"] > 1 else "Monitor"
    alarm = data["alarm"]
    lines = [f"{of}: {masks}{neurons}{declared}: {'ALARM' if alarm else 'no alarm'}"]
    lines += textwrap.wrap(alarm["message"], 116, initial_indent="  ", subsequent_indent="  ") if alarm else []
    lines += ["", f"  {'check':<12} {'evidence, to 1':>15}   finding"]
    for name, log_e in data["evidence"].items():
        finding = textwrap.wrap(data["findings"][name], 118 - 32) or [""]
        head = f"  {name:<12} {odds(log_e):>15}   "
        lines += [head + finding[0], *(" " * len(head) + line for line in finding[1:])]
    lines += [f"  {'together':<12} {odds(data['log_e']):>15}", ""]
    line = odds(-math.log(data["false_alarm"]))
    lines += [f"  A correct implementation ever reaches {line} to 1 with probability {data['false_alarm']:g} at most."]
    return "\n".join(lines)


def odds(log_e: float | None) -> str:
    """Return the e-value whose natural log this is; None stands for infinity.

    >>> odds(7.2), odds(100.0), odds(-3.0), odds(None)
    ('1,339', '10^43', '0.0498', 'certain')
    """
    if log_e is None or log_e == math.inf:
        return "certain"
    if abs(log_e) > math.log(1e9):
        return f"10^{math.floor(log_e / math.log(10))}"
    return f"{math.exp(log_e):,.0f}" if log_e > math.log(100) else f"{math.exp(log_e):.3g}"
