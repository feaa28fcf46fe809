"""What a notebook shows of an object: a few facts and a small picture, without scripts and styles."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from dropstats.rendering import svg, text

# A notebook holds many pictures, and the names of their parts must differ.
_number = itertools.count()

Row = tuple[str, str]
# Bars of a small histogram.
_BARS = 40


def card(title: str, facts: Iterable[Row], picture: Mapping[str, Any] | None = None, said: str = "") -> str:
    """Return a title, a table of facts and a small picture of counts; `said` describes the picture."""
    rows = "".join(f"<tr><th align=\"left\">{escape(name)}</th><td align=\"left\">{escape(value)}</td></tr>"
                   for name, value in facts if value)  # fmt: skip
    drawn = ""
    if picture:
        drawn = svg.small(picture, f"dropstats-{next(_number)}", said or title, width=240, height=72)
        drawn = f'<tr><td colspan="2" align="left">{drawn}</td></tr>'
    return f"<div><p><b>{escape(title)}</b></p><table>{rows}{drawn}</table></div>"


def of_counts(histogram: Any) -> dict[str, Any]:
    """Return a histogram of counts 0, 1, ... in at most 40 bars; nothing of no counts."""
    seen = np.flatnonzero(histogram)
    if not seen.size:
        return {}
    low, high = int(seen[0]), int(seen[-1])
    starts = np.arange(low, high + 1, max(1, -(-(high - low + 1) // _BARS)))
    bars = np.add.reduceat(histogram[low : high + 1], starts - low)
    return {"edges": np.append(starts, high + 1) - 0.5, "masks": bars}


def report(data: Mapping[str, Any]) -> str:
    """Return a report as a card: the outcome in a sentence, then the tests, or the checks and sites of a model."""
    said = f"{text.heading(data)}: {text.outcome(data)}"
    head = f"<p><b>{escape(text.sentence(data))}</b></p><p>{escape(said)}.</p>"
    if data["kind"] == "model":
        failing = [
            (f"{name}: {one['name']}", one) for name, site in data["sites"].items() for one in text.failing(site)
        ]
        rows = [(one["name"], one) for one in data["results"]] + failing
    else:
        rows = [(one["name"], one) for one in [*text.failing(data), *text.with_verdict(data, *_OTHERS)]]
    return f"<div>{head}{_table(rows)}</div>"


_OTHERS = ("pass", "inconclusive", "not applicable")


def _table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    names = ("test", "verdict", "observed", "expected", "p adjusted", "finding")
    head = "".join(f'<th align="left">{name}</th>' for name in names)
    body = ""
    for name, one in rows:
        p = "" if one["adjusted_pvalue"] is None else f"{one['adjusted_pvalue']:.2g}"
        verdict = "<b>FAIL</b>" if one["verdict"] == "fail" else escape(one["verdict"])
        cells = (f"<b>{escape(name)}</b>", verdict, text.number(one["observed"]), text.number(one["expected"]), p)
        body += (
            "<tr>" + "".join(f'<td align="left">{cell}</td>' for cell in (*cells, escape(text.finding(one)))) + "</tr>"
        )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
