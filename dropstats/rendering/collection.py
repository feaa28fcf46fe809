"""Pages of several audits as one HTML file: a table of all, then each, folded where it passed."""

import re
from collections.abc import Mapping, Sequence
from html import escape

from dropstats.rendering import html, text

_MAIN = re.compile(r"<main>(.*)</main>", re.DOTALL)
_STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)
# Where elements of a page are named, and where the names are referred to.
_NAMES = re.compile(r'\b(id|aria-labelledby|aria-describedby)="([^"]+)"')
_REFERENCES = re.compile(r'(href="|url\()#([^")]+)')


def page(audits: Sequence[Mapping[str, str]]) -> str:
    """Return one page of several audits.

    Parameters
    ----------
    audits : sequence of mappings
        Each with `test`, the name of the audit, `outcome` ("passed" or "failed"), `said`, the outcome in a line, and
        `page`, its HTML page; empty where there is none.
    """
    failed = [one for one in audits if one["outcome"] == "failed"]
    passed = len(audits) - len(failed)
    said = f"{text.counted(len(audits), 'audit')} of dropout: {len(failed):,} failed, {passed:,} passed"
    style = next((found.group() for one in audits if (found := _STYLE.search(one["page"]))), "<style></style>")
    rows = [
        f'<tr><td><a href="#audit-{k}">{escape(one["test"])}</a></td><td class="{_kind(one)}">{escape(one["outcome"])}'
        f'</td><td class="words">{escape(one["said"])}</td></tr>'
        for k, one in enumerate(audits)
    ]
    head = "<tr><th>Test</th><th>Outcome</th><th>Finding</th></tr>"
    table = ['<div class="scroll"><table>', head, *rows, "</table></div>"] if rows else []
    order = sorted(range(len(audits)), key=lambda k: audits[k]["outcome"] == "passed")
    header = [
        f'<header class="{"fail" if failed else "pass" if audits else "open"}">',
        f"<h1>{said}.</h1>",
        "</header>",
    ]
    return html.document(said, style, [*header, *table, *(_folded(k, audits[k]) for k in order)])


def _folded(place: int, audit: Mapping[str, str]) -> str:
    """Return one audit, opened where it failed, with names of its own and headings below the page's."""
    found = _MAIN.search(audit["page"])
    inside = found.group(1) if found else f"<p>{escape(audit['said'])}</p>"
    name = f"audit-{place}"
    inside = _NAMES.sub(lambda at: f'{at[1]}="{" ".join(f"{name}-{one}" for one in at[2].split())}"', inside)
    inside = _REFERENCES.sub(lambda at: f"{at[1]}#{name}-{at[2]}", inside)
    inside = re.sub(r"<(/?)h([1-4])\b", lambda at: f"<{at[1]}h{int(at[2]) + 2}", inside)
    opened = " open" if audit["outcome"] == "failed" else ""
    summary = f"<b>{escape(audit['test'])}</b> {escape(audit['said'])}"
    return (
        f'<details class="{_kind(audit)}" id="{name}"{opened}>\n<summary>{summary}</summary>\n'
        f'<div class="inside">\n{inside}\n</div>\n</details>'
    )


def _kind(audit: Mapping[str, str]) -> str:
    return "fail" if audit["outcome"] == "failed" else "pass"
