"""A report's plain data as GitHub-flavoured Markdown, to be pasted into an issue or a pull request."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dropstats.rendering import text

# What Markdown, or GitHub, would take for more than it is: emphasis, code, links, HTML, mentions, ends of cells.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#@&$!])")
_MARKS = {"pass": "✓ pass", "fail": "✗ **FAIL**"}


def report(data: Mapping[str, Any]) -> str:
    """Return a report as Markdown: what it found in a sentence, the failing tests, all tests folded away, the code."""
    lines = [f"### {plain(text.heading(data))}: {_strong(text.outcome(data))}", ""]
    lines += _model(data) if data["kind"] == "model" else _audit(data)
    lines += _folded("How to repeat the audit", ["```python", data["code"], "```"])
    return "\n".join([*lines, _footer(data), ""])


def _audit(data: Mapping[str, Any]) -> list[str]:
    lines = [f"- {plain(line)}" for line in _about(data)] + [""]
    failing = text.failing(data)
    lines += _tests(failing) if failing else []
    return lines + _folded(f"All {text.counted(len(data['results']), 'test')}", _tests(data["results"]))


def _model(data: Mapping[str, Any]) -> list[str]:
    lines = [f"- {plain(note)}" for note in data["notes"]] + ([""] if data["notes"] else [])
    failing = text.failing(data)
    sites = {name: site for name, site in data["sites"].items() if text.failing(site)}
    lines += _tests(failing, "check") if failing else []
    lines += _sites(sites) if sites else []
    checks, number = text.counted(len(data["results"]), "check"), text.counted(len(data["sites"]), "site")
    whole = [*_tests(data["results"], "check"), *_sites(data["sites"])]
    whole += [f"- {plain(f'{name}: seen, not tested: {why}')}" for name, why in data["unjudged"].items()]
    return lines + _folded(f"All {checks} and {number}", whole)


def plain(words: str) -> str:
    r"""Return text in one line that Markdown shows as it is.

    >>> print(plain("a_b | <b> at @you"))
    a\_b \| \<b\> at \@you
    """
    return _SPECIAL.sub(r"\\\1", " ".join(words.split()))


def _strong(outcome: str) -> str:
    head = re.match(r"\w+( \(.*?\))?", outcome)
    end = head.end() if head else 0
    return f"**{plain(outcome[:end])}**{plain(outcome[end:])}"


def _about(data: Mapping[str, Any]) -> Iterable[str]:
    if data["law"]:
        yield f"law: {text.short_law(data)}" + (f", scaling {data['scaling']}" if data["scaling"] == "direct" else "")
    if data["source"]:
        yield f"source: {data['source']}"
    yield from data["notes"]


def _tests(results: Iterable[Mapping[str, Any]], what: str = "test") -> list[str]:
    lines = [f"| {what} | verdict | observed | expected | p-value, adjusted | finding |", "|---|---|--:|--:|--:|---|"]
    for result in results:
        adjusted = "" if result["adjusted_pvalue"] is None else f"{result['adjusted_pvalue']:.2g}"
        cells = [plain(result["name"]), _MARKS.get(result["verdict"], result["verdict"])]
        cells += [text.number(result["observed"]), text.number(result["expected"]), adjusted]
        lines.append(f"| {' | '.join([*cells, plain(text.finding(result))])} |")
    return [*lines, ""]


def _sites(sites: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["| site | p | observed | draws | neurons | finding |", "|---|--:|--:|--:|--:|---|"]
    for name, site in sites.items():
        failing = [f"{_MARKS['fail']} {plain(one['name'])}: {plain(one['message'])}" for one in text.failing(site)]
        said = "<br>".join(failing) or (_MARKS["pass"] if site["judged"] else "not judged: too few neurons")
        numbers = [text.number(site[key]) for key in ("p", "observed_rate", "draws")]
        lines.append(f"| {' | '.join([plain(name), *numbers, text.number(site['trials'] * site['n']), said])} |")
    return [*lines, ""]


def _folded(summary: str, lines: list[str]) -> list[str]:
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, *([""] if lines[-1] else []), "</details>", ""]


def _footer(data: Mapping[str, Any]) -> str:
    what = "model" if data["kind"] == "model" else "implementation"
    made = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return f"A correct {what} fails here with probability {data['false_alarm']:g} at most. Made by {plain(made)}."
