"""A report's plain data as one HTML file: no script, nothing from elsewhere, readable without its style sheet."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from dropstats.rendering import svg, text

# Of a model with more sites than these fail, the others are shown without large pictures, to keep the file small.
_DRAWN = 3
# Verdict -> (class of the style sheet, mark, words).
_VERDICTS = {
    "fail": ("fail", "✗", "fails"),
    "pass": ("pass", "✓", "passes"),
    "inconclusive": ("open", "?", "too small to judge"),
    "not applicable": ("none", "–", "does not apply"),
}
# How the data of an audit, and of a model, are written.
_LAYOUTS: tuple[dict[str, Any], ...] = ({"indent": 1}, {"separators": (",", ":")})
_OUTCOMES = {"failed": "fail", "passed": "pass", "undecided": "open"}

Data = Mapping[str, Any]


def page(data: Data) -> str:
    """Return a whole page: the outcome in a sentence, what fails, pictures, what passes, the code and the data."""
    parts = _model(data) if data["kind"] == "model" else _audit(data)
    title = f"{text.heading(data)}: {text.verdict(data)}"
    sheet = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    made = f'<meta name="generator" content="dropstats {escape(data["versions"].get("dropstats", ""))}">'
    return document(escape(title), f"<style>\n{sheet}</style>", [*_header(data), *parts, *_ending(data)], made)


def document(title: str, style: str, body: Sequence[str], *more: str) -> str:
    """Return an HTML file of a title, a style element and the lines of its body; `more` goes into the head."""
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        *more,
        f"<title>{title}</title>",
        style,
    ]
    lines = ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", "<main>", *body]
    return "\n".join([*lines, "</main>", "</body>", "</html>", ""])


# ---- of masks, or of several streams ---------------------------------------------------------------------------------


def _audit(data: Data) -> list[str]:
    return [
        _facts(data),
        *_section("What fails", _tests(data, "fail", opened=True)),
        *_section("Pictures", pictures(data.get("pictures", {}), "picture")),
        *_section("What passes", _tests(data, "pass")),
        *_section("Inconclusive or not applicable", _tests(data, "inconclusive", "not applicable")),
    ]


def _header(data: Data) -> list[str]:
    outcome = text.verdict(data)
    return [
        f'<header class="{_OUTCOMES[outcome]}">',
        f'<p class="badge">{outcome.upper()}</p>',
        f"<h1>{escape(text.sentence(data))}</h1>",
        f"<p>{escape(f'{text.heading(data)}: {text.outcome(data)}')}.</p>",
        "</header>",
    ]


def _facts(data: Data) -> str:
    """Return what was audited, and against what, as a list of facts."""
    declared = "" if data["p"] is None else f", declared {data['p']:.6g}"
    masks = f"{text.counted(data['trials'], 'mask')} of {text.counted(data['n'], 'neuron')}"
    rate = "" if data["observed_rate"] is None else f"{data['observed_rate']:.6g}{declared}"
    facts = [
        ("Source", data["source"]),
        ("Masks", masks + (" in each stream" if data["expect"] else "")),
        ("Law", text.short_law(data)),
        ("Drop rate", rate),
        ("Scaling", "direct: kept values are not scaled" if data["scaling"] == "direct" else ""),
        ("Tolerance", "" if data["tolerance"] is None else f"a bias up to {data['tolerance']:g} is accepted"),
        *(("Note", note) for note in data["notes"]),
        ("Date", data.get("date", "")),
        ("False alarms", f"a correct implementation fails with probability {data['false_alarm']:g} at most"),
    ]  # fmt: skip
    return _list(facts)


def _list(facts: Iterable[tuple[str, str]]) -> str:
    rows = "\n".join(f"<dt>{name}</dt><dd>{escape(said)}</dd>" for name, said in facts if said)
    return f'<dl class="facts">\n{rows}\n</dl>'


def _section(title: str, parts: Sequence[str]) -> list[str]:
    return ["<section>", f"<h2>{escape(title)}</h2>", *parts, "</section>"] if parts else []


def _tests(data: Data, *verdicts: str, opened: bool = False) -> list[str]:
    """Return the tests of these verdicts, each folded into its finding."""
    results = text.failing(data) if "fail" in verdicts else text.with_verdict(data, *verdicts)
    return [_test(result, data, opened) for result in results]


def _test(result: Data, data: Data, opened: bool) -> str:
    kind, mark, _ = _VERDICTS[result["verdict"]]
    about, quantity = data["words"].get(result["name"], ("", ""))
    lines = [f"<p>The test checks {escape(about)}.</p>"] if about else []
    lines += _numbers(result, quantity, data["false_alarm"])
    if result["explained_by"]:
        lines.append(f"<p>This failure is explained by that of <b>{escape(result['explained_by'])}</b>.</p>")
    summary = f'<span class="badge">{mark} {escape(result["name"])}</span> {escape(result["message"])}'
    return (
        f'<details class="{kind}"{" open" * opened}>\n<summary>{summary}</summary>\n'
        f'<div class="inside">\n{"".join(lines)}\n</div>\n</details>'
    )


def _numbers(result: Data, quantity: str, false_alarm: float) -> Iterable[str]:
    """Yield what a test saw, how likely that is, and what it could have seen, in sentences."""
    observed, expected = (text.number(result[name]) for name in ("observed", "expected"))
    if observed:
        name = f"{escape(quantity[:1].upper() + quantity[1:])}: observed" if quantity else "Observed"
        yield f"<p>{name} <b>{observed}</b>{f', expected <b>{expected}</b>' if expected else ''}.</p>"
    if result["pvalue"] is not None:
        yield "<p>A correct implementation deviates at least this much with probability "
        yield f"{_probability(result['pvalue'])} at most (the p-value)."
        if result["adjusted_pvalue"] is not None:
            yield f" Adjusted for the number of tests (Holm), it is {_probability(result['adjusted_pvalue'])}; "
            yield f"the test fails if this is {false_alarm:g} or less."
        yield "</p>"
    elif result["verdict"] in ("pass", "fail"):
        yield "<p>A single violation is a failure: there is no p-value.</p>"
    if result["detectable"] is not None:
        yield f"<p>It detects a deviation of {result['detectable']:.2g} with probability 0.9 (power).</p>"


def _probability(value: float) -> str:
    """Return a p-value to two digits; one that underflows to 0 is not 0."""
    return f"{value:.2g}" if value else "1e-300"


def pictures(panels: Mapping[str, Any], name: str) -> list[str]:
    """Return the pictures of a report, each with its title and how it is read."""
    drawn = svg.panels(panels, name)
    figures = [
        f"<figure>{one.svg}<figcaption><b>{escape(one.title)}</b> {escape(one.text)}</figcaption></figure>"
        for one in drawn
    ]
    return ['<div class="pictures">', *figures, "</div>"] if figures else []


def _ending(data: Data) -> list[str]:
    """Return how the audit is repeated, the data, and who made the page."""
    reader = "ModelReport" if data["kind"] == "model" else "Report"
    plain = {name: value for name, value in data.items() if name not in ("words", "site_words", "code", "pictures")}
    if "sites" in plain:
        plain["sites"] = {
            name: {key: value for key, value in site.items() if key != "pictures"}
            for name, site in data["sites"].items()
        }
    written = json.dumps(plain, ensure_ascii=False, allow_nan=False, **_LAYOUTS[data["kind"] == "model"])
    made = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return [
        *_section("How to repeat the audit", [f"<pre><code>{escape(data['code'], quote=False)}</code></pre>"]),
        *_section(
            "The report as data",
            [
                f"<p>Load the JSON below with <code>ds.{reader}.from_dict(json.loads(text))</code>.</p>",
                '<details class="data"><summary>JSON</summary>',
                f'<div class="inside"><pre id="dropstats-report">{escape(written, quote=False)}</pre></div></details>',
            ],
        ),
        f"<footer><p>Made by {escape(made)}.</p></footer>",
    ]  # fmt: skip


# ---- of a model ------------------------------------------------------------------------------------------------------


def _model(data: Data) -> list[str]:
    failing = [name for name, site in data["sites"].items() if text.failing(site)]
    drawn, words = set(failing[:_DRAWN]), data["site_words"]
    wrong, right = ([_site(data, name, k, name in drawn) for k, name in enumerate(data["sites"])
                     if (name in failing) is bad] for bad in (True, False))  # fmt: skip
    facts = [
        ("Library", data["library"] or ""),
        *(("Note", note) for note in data["notes"]),
        ("Date", data.get("date", "")),
        ("False alarms", f"a correct model fails with probability {data['false_alarm']:g} at most"),
    ]
    return [
        _list(facts),
        *_section("Checks that fail", _tests(data, "fail", opened=True)),
        *_section("Sites that fail", wrong),
        *_section("All sites", [_sites(data)]),
        *_section("Checks that pass", _tests(data, "pass")),
        *_section("Checks that are inconclusive or do not apply", _tests(data, "inconclusive", "not applicable")),
        *_section("Sites that pass or are inconclusive", right),
        *_section("What the tests of a site check", [_list((name, said) for name, (said, _) in words.items())]),
    ]


def _sites(data: Data) -> str:
    """Return a table of all sites, each with a way to what was found there."""
    head = '<tr><th>Site</th><th class="number">p</th><th class="number">observed</th><th class="number">draws</th>'
    rows = [head + '<th class="number">neurons</th><th>verdict</th></tr>']
    for place, (name, site) in enumerate(data["sites"].items()):
        kind, _, verdict = _VERDICTS[_of_site(site)]
        failing = ", ".join(result["name"] for result in text.failing(site) if not result["explained_by"])
        numbers = (site["p"], site["observed_rate"], site["draws"], site["trials"] * site["n"])
        cells = "".join(f'<td class="number">{text.number(number)}</td>' for number in numbers)
        verdict = f"{verdict} {escape(failing)}" if failing else verdict
        link = f'<a href="#site-{place}">{escape(name)}</a>'
        rows.append(f'<tr><td>{link}</td>{cells}<td class="{kind} name">{verdict}</td></tr>')
    for name, why in data["unjudged"].items():
        rows.append(f'<tr><td>{escape(name)}</td><td colspan="5">seen, not tested: {escape(why)}</td></tr>')
    return '<div class="scroll"><table>\n' + "\n".join(rows) + "\n</table></div>"


def _of_site(site: Data) -> str:
    return "fail" if text.failing(site) else "pass" if site["judged"] else "inconclusive"


def _site(data: Data, name: str, place: int, large: bool) -> str:
    """Return what was found at a site, folded where it passes."""
    site = data["sites"][name]
    kind, mark, verdict = _VERDICTS[_of_site(site)]
    causes = [result for result in text.failing(site) if not result["explained_by"]]
    said = "; ".join(f"{one['name']}: {one['message']}" for one in causes) or verdict
    facts = f"{text.short_law(site)}, {text.counted(site['draws'], 'draw')} in {site['mode']}, {site['dtype']} on "
    facts += f"{site['device']}; {text.outcome(site)}"
    panels = site.get("pictures", {})
    lines = [f"<p>{escape(facts)}.</p>", _results(site)]
    if large:
        lines += pictures(panels, f"site-{place}")
    elif "counts" in panels:
        title = f"Dropped neurons per mask at {name}; orange: the masks, blue: the law"
        lines.append(f"<p>{svg.small(panels['counts'], f'site-{place}-counts', title)}</p>")
    return (
        f'<details class="{kind}" id="site-{place}"{" open" * bool(causes)}>\n'
        f'<summary><span class="badge">{mark} {escape(name)}</span> {escape(said)}</summary>\n'
        f'<div class="inside">\n{"".join(lines)}\n</div>\n</details>'
    )


def _results(site: Data) -> str:
    """Return the tests of a site as a table; those that do not apply in a line."""
    heads = ("test", "verdict", "observed", "expected", "p adjusted", "finding")
    rows = [f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"]
    for result in [*text.failing(site), *text.with_verdict(site, "pass", "inconclusive")]:
        kind, _, verdict = _VERDICTS[result["verdict"]]
        p = "" if result["adjusted_pvalue"] is None else f"{result['adjusted_pvalue']:.2g}"
        numbers = (text.number(result["observed"]), text.number(result["expected"]), p)
        cells = "".join(f"<td>{cell}</td>" for cell in (*numbers, escape(text.finding(result))))
        rows.append(f'<tr><td>{escape(result["name"])}</td><td class="{kind}">{verdict}</td>{cells}</tr>')
    apart = [result["name"] for result in text.with_verdict(site, "not applicable")]
    said = f"<p>Not applicable: {escape(', '.join(apart))}.</p>" if apart else ""
    return '<div class="scroll"><table class="tests">\n' + "\n".join(rows) + f"\n</table></div>{said}"
