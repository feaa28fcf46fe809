"""A report's plain data as text."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

# Longest law that is written in the sentence that says it all.
_LAW = 60
# Width of a table whose findings stand beside the numbers, and of the numbers; a narrower one has them below, indented.
WIDTH = 118
_NUMBERS = 56
_INDENT = " " * 13
# Width of the names of sites in a narrow table.
_SITE = 20


def counted(number: int, what: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "mask"), counted(2000, "pass")
    ('1 mask', '2,000 passes')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}{'es' if what.endswith('s') else 's'}"


def verdict(report: Mapping[str, Any]) -> str:
    """Return the outcome of a report: "passed", "failed" or, where too little could be judged, "undecided"."""
    failed = failing(report) or any(failing(site) for site in report.get("sites", {}).values())
    return "failed" if failed else "passed" if report["passed"] else "undecided"


def failing(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the results that fail, causes before what they explain."""
    found = [result for result in report["results"] if result["verdict"] == "fail"]
    return sorted(found, key=lambda result: bool(result["explained_by"]))


def with_verdict(report: Mapping[str, Any], *verdicts: str) -> list[dict[str, Any]]:
    """Return the results with one of these verdicts."""
    return [result for result in report["results"] if result["verdict"] in verdicts]


def could_judge(report: Mapping[str, Any]) -> str:
    """Say for how many of the tests that apply the recording is too small; empty if it is large enough for all."""
    able, small = (len(with_verdict(report, *names)) for names in (("pass", "fail"), ("inconclusive",)))
    if not able:
        return "the recording is too small" if small else "no test applies"
    if not small:
        return ""
    head = f"{able:,} of {able + small:,} tests had enough data"
    return f"{head}, the other{'s are' if small > 1 else ' is'} inconclusive"


def outcome(report: Mapping[str, Any]) -> str:
    """Return the outcome of an audit with what fails, and how much could be judged."""
    if report["kind"] == "model":
        return _outcome_of_model(report)
    names = ", ".join(result["name"] for result in failing(report) if not result["explained_by"])
    able, judged = len(with_verdict(report, "pass", "fail")), could_judge(report)
    said = f"FAILED ({names})" if names else verdict(report) if able else "nothing could be judged"
    if judged:
        return f"{said}, {judged}"
    apart = " that apply" if with_verdict(report, "not applicable") else ""
    return said if names else f"{said} {'its one test' if able == 1 else f'all {able:,} tests{apart}'}"


def heading(report: Mapping[str, Any]) -> str:
    """Return what was audited in a line."""
    if report["kind"] == "model":
        drawn = f"{counted(len(report['sites']), 'site')} over {counted(report['passes'], 'pass')} in training"
        return f"Audit of {report['model']}: {drawn}"
    masks, neurons = counted(report["trials"], "mask"), counted(report["n"], "neuron")
    of = f"{masks} of {neurons}"
    if report["expect"]:
        of = f"{report['source'].partition(':')[0]} of {of} each"
    return f"Audit of {of}" + ("" if report["p"] is None else f", p = {report['p']:.6g}")


def short_law(report: Mapping[str, Any]) -> str:
    """Return the law of a report, cut where it is long."""
    law = report["law"] or ""
    return law if len(law) <= 200 else f"{law[:200]} ..."


def sentence(data: Mapping[str, Any]) -> str:
    """Return the one sentence that says it all: whether it passed, and the first finding where it failed."""
    if data["kind"] == "model":
        return _sentence_of_model(data, [name for name, site in data["sites"].items() if failing(site)])
    law = data["law"] or ""
    law = law if 0 < len(law) <= _LAW else "their law"
    what = f"the streams are {'not ' * (verdict(data) == 'failed')}{data['expect']}"
    found = failing(data)
    seen = f"{counted(data['trials'], 'mask')} of {counted(data['n'], 'neuron')}"
    if found:
        head = what if data["expect"] else f"the masks do not follow {law}"
        return f"{head[0].upper()}{head[1:]}: {found[0]['message']}."
    if data["passed"]:
        head = what if data["expect"] else f"the masks follow {law}"
        return f"{head[0].upper()}{head[1:]}, as far as {seen} show{'s' * (data['trials'] == 1)}."
    return f"Undecided: {seen} {'is' if data['trials'] == 1 else 'are'} too few to judge."


def _sentence_of_model(data: Mapping[str, Any], wrong: list[str]) -> str:
    name = data["model"]
    checks = failing(data)
    if checks or wrong:
        said = [one["message"].strip() for one in checks[:1]]
        said += [f"at {site}, {failing(data['sites'][site])[0]['message']}" for site in wrong[:1]]
        more = len(checks) + len(wrong) - len(said)
        said += [f"and {counted(more, 'finding')} more"] if more else []
        return f"{name} does not drop as it declares: {'; '.join(said)}."
    if data["passed"]:
        return f"{name} drops as it declares, as far as {counted(data['passes'], 'pass')} show."
    return f"Undecided: too few neurons were drawn to judge {name}."


def table(report: Mapping[str, Any], width: int = WIDTH) -> str:
    """Return a report as text: one line that says it all, then one line, or a few, a test."""
    lines = textwrap.wrap(f"{heading(report)}: {outcome(report)}", width, subsequent_indent="  ")
    if report["kind"] == "model":
        return "\n".join([*lines, *_model(report, width)])
    wide = width >= WIDTH
    for line in filter(None, (report["source"], *report["notes"])):
        lines += [f"  {line}"] if wide else textwrap.wrap(line, width, initial_indent="  ", subsequent_indent="    ")
    head = f"  {'test':<10} {'verdict':<14} {'p adjusted':>10} {'observed':>9} {'expected':>9}"
    lines += ["", f"{head}   finding" if wide else head]
    for result in report["results"]:
        adjusted = result["adjusted_pvalue"]
        shown = "" if adjusted is None else f"{adjusted:.2g}"
        numbers = f"{number(result['observed']):>9} {number(result['expected']):>9}"
        head = f"  {result['name']:<10} {word(result):<14} {shown:>10} {numbers}"
        said = finding(result)
        lines += _wrapped(f"{head}   ", said, WIDTH - _NUMBERS) if wide else _below(head, said, width)
    lines += ["", f"  A correct implementation fails here with probability {report['false_alarm']:g} at most."]
    return "\n".join(lines)


def _below(head: str, text: str, width: int) -> list[str]:
    wrapped = textwrap.wrap(text, max(width, 40), initial_indent=_INDENT, subsequent_indent=_INDENT)
    return [head.rstrip(), *wrapped]


def _model(report: Mapping[str, Any], width: int) -> list[str]:
    """Return what follows of a model's report: a line a check and a site, and what fails in it."""
    lines: list[str] = []
    sites, unjudged = report["sites"], report["unjudged"]
    for line in report["notes"]:
        lines += textwrap.wrap(line, width, initial_indent="  ", subsequent_indent="    ")
    lines += ["", f"  {'check':<11} {'verdict':<14} {'p adjusted':>10}   finding"]
    for result in report["results"]:
        shown = "" if result["adjusted_pvalue"] is None else f"{result['adjusted_pvalue']:.2g}"
        head = f"  {result['name']:<11} {word(result):<14} {shown:>10}   "
        lines += _wrapped(head, result["message"], width - len(head))
    longest = max((len(name) for name in [*sites, *unjudged]), default=4)
    longest = longest if width >= WIDTH else min(longest, _SITE)
    lines += ["", f"  {'site':<{longest}} {'p':>7} {'observed':>8} {'draws':>7} {'neurons':>11}   verdict"]
    for name, site in sites.items():
        lines += _site(name, site, longest, width)
    for name, why in unjudged.items():
        head = f"  {name:<{longest}} "
        lines += _wrapped(head, f"seen, not tested: {why}", width - len(head))
    return [*lines, "", f"  A correct model fails here with probability {report['false_alarm']:g} at most."]


def _site(name: str, site: Mapping[str, Any], longest: int, width: int) -> list[str]:
    """Return what was found at a site; a name that is too long for its column has a line of its own."""
    p = "" if site["p"] is None else f"{site['p']:.4g}"
    rate = "" if site["observed_rate"] is None else f"{site['observed_rate']:.4f}"
    lines = [] if len(name) <= longest else [f"  {name}"]
    name = "" if lines else name
    head = f"  {name:<{longest}} {p:>7} {rate:>8} {site['draws']:>7,} {site['trials'] * site['n']:>11,}   "
    found = failing(site)
    if not found:
        few = ": too few neurons" if width >= WIDTH else ""
        return [*lines, head + ("passes" if site["judged"] else f"not judged{few}")]
    said = [f"FAILS {result['name']}: {result['message']}" for result in found if not result["explained_by"]]
    rest = [result["name"] for result in found if result["explained_by"]]
    said += [f"FAILS {', '.join(rest)} as a consequence"] if rest else []
    if width < WIDTH:
        return [*lines, head.rstrip(), *(line for one in said for line in _below("", one, width)[1:])]
    for place, one in enumerate(said):
        lines += _wrapped(head if not place else " " * len(head), one)
    return lines


def _outcome_of_model(report: Mapping[str, Any]) -> str:
    sites = report["sites"]
    wrong = [name for name, site in sites.items() if failing(site)]
    said = [result["name"] for result in failing(report)]
    said += [f"{len(wrong)} of {counted(len(sites), 'site')}"] if wrong else []
    outcome = f"FAILED ({', '.join(said)})" if said else verdict(report)
    judged = sum(site["judged"] or bool(failing(site)) for site in sites.values())
    seen = len(sites) + len(report["unjudged"])
    if judged == seen:
        return outcome
    return f"{outcome}, {judged:,} of {counted(seen, 'site')} could be judged"


def finding(result: Mapping[str, Any]) -> str:
    """Return the finding of a test, and the test that explains it."""
    cause = result["explained_by"]
    return f"explained by {cause}: {result['message']}" if cause else str(result["message"])


def word(result: Mapping[str, Any]) -> str:
    """Return the verdict of a test; a failure in capitals."""
    return "FAIL" if result["verdict"] == "fail" else str(result["verdict"])


def _wrapped(head: str, text: str, width: int = 0) -> list[str]:
    lines = textwrap.wrap(text, width or max(WIDTH - len(head), 40)) or [""]
    return [(head + lines[0]).rstrip(), *(" " * len(head) + line for line in lines[1:])]


def number(value: float | None) -> str:
    """Return a number to four digits, an integer in full; nothing for None."""
    if value is None or not math.isfinite(value):
        return ""
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}"
    return f"{value:.4g}"


def monitor(data: Mapping[str, Any], width: int = WIDTH) -> str:
    """Return what a monitor has seen as text: one line that says it all, then one line, or a few, a check."""
    masks = counted(data["trials"], "mask")
    neurons = "" if data["n"] is None else f" of {counted(data['n'], 'neuron')}"
    declared = "" if data["p"] is None else f", p = {data['p']:.6g}"
    of = f"Sum of {data['monitors']} monitors" if data["monitors"] > 1 else "Monitor"
    alarm = data["alarm"]
    lines = [f"{of}: {masks}{neurons}{declared}: {'ALARM' if alarm else 'no alarm'}"]
    lines += textwrap.wrap(alarm["message"], width - 2, initial_indent="  ", subsequent_indent="  ") if alarm else []
    lines += ["", f"  {'check':<12} {'evidence, to 1':>15}   finding"]
    for name, log_e in data["evidence"].items():
        head = f"  {name:<12} {odds(log_e):>15}   "
        lines += _wrapped(head, data["findings"][name], max(width - len(head), 40))
    lines += [f"  {'together':<12} {odds(data['log_e']):>15}", ""]
    line = odds(-math.log(data["false_alarm"]))
    said = f"A correct implementation ever reaches {line} to 1 with probability {data['false_alarm']:g} at most."
    lines += textwrap.wrap(said, width, initial_indent="  ", subsequent_indent="  ")
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
