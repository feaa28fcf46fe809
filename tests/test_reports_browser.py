"""Pages of reports in a real browser: at the width of a desk and of a telephone, in light and in dark."""

import html
import json
import re
import shutil
import subprocess

import pytest
from test_reports import model, streams, tensorflow

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=10000",
    "--dump-dom",
]
WIDTHS = (1280, 400)
REPORTS = {"audit": tensorflow, "streams": streams, "model": model}
SCHEMES = {"dark": 0, "light": 1}

# Of each frame: what is wider than it, its colours, which folds are open, and how large drawings are.
PROBE = """
const found = {};
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, view = frame.contentWindow, root = page.documentElement;
  const colour = (choice, what) => view.getComputedStyle(page.querySelector(choice))[what];
  const drawings = [...page.querySelectorAll("svg")].filter((one) => one.checkVisibility());
  found[frame.name] = {
    width: root.clientWidth,
    needed: root.scrollWidth,
    paper: colour("body", "backgroundColor"),
    ink: colour("body", "color"),
    law: page.querySelector("path.law-line, path.law-area") && colour("path.law-line, path.law-area", "fill"),
    heading: parseFloat(colour("h1", "fontSize")),
    text: parseFloat(colour("body", "fontSize")),
    open: page.querySelectorAll("details[open]").length,
    folded: page.querySelectorAll("details:not([open])").length,
    drawings: drawings.map((one) => one.getBoundingClientRect().width),
    empty: drawings.filter((one) => !one.getBBox().height).length,
    loaded: view.performance.getEntriesByType("resource").length,
    scripts: page.scripts.length,
  };
}
const said = document.createElement("pre");
said.id = "found";
said.textContent = JSON.stringify(found);
document.body.append(said);
"""


@pytest.fixture(scope="module", params=SCHEMES)
def measured(request, tmp_path_factory):
    """Return what a browser says of each page at each width, and the colour scheme it was asked for."""
    if BROWSER is None:
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    folder = tmp_path_factory.mktemp("pages")
    frames = []
    for name, report in REPORTS.items():
        report().to_html(folder / f"{name}.html")
        source = html.escape((folder / f"{name}.html").read_text())
        frames += [
            f'<iframe name="{name}-{width}" width="{width}" height="900" srcdoc="{source}"></iframe>'
            for width in WIDTHS
        ]
    probe = folder / "probe.html"
    script = f"<script>addEventListener('load', () => {{{PROBE}}})</script>"
    probe.write_text(f"<!doctype html><meta charset='utf-8'><body>{''.join(frames)}{script}</body>")
    scheme = f"--blink-settings=preferredColorScheme={SCHEMES[request.param]}"
    command = [BROWSER, *FLAGS, scheme, f"--user-data-dir={folder / 'profile'}", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search('<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    return request.param, json.loads(html.unescape(found.group(1)))


def brightness(colour):
    """Return the relative luminance of a colour, as the contrast of WCAG 2 takes it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_pages_fit_their_window(measured):
    _, found = measured
    assert set(found) == {f"{name}-{width}" for name in REPORTS for width in WIDTHS}
    for name, page in found.items():
        assert page["width"] == int(name.rpartition("-")[2])
        assert page["needed"] <= page["width"], name
        assert page["text"] >= 16
        assert page["heading"] > page["text"]


def test_pages_follow_the_colour_scheme(measured):
    scheme, found = measured
    for name, page in found.items():
        paper, ink = brightness(page["paper"]), brightness(page["ink"])
        assert (paper < 0.1) == (scheme == "dark"), name
        assert (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) > 7  # WCAG 2, level AAA


def test_pages_open_what_fails(measured):
    _, found = measured
    assert found["audit-1280"]["open"] == len(tensorflow().failures)
    assert found["streams-1280"]["open"] == 0
    assert found["streams-1280"]["folded"] == len(streams().results) + 1  # the tests, and the data
    assert found["model-1280"]["open"] == 1 + 1  # a check and a site


def test_pictures_are_seen_and_fit(measured):
    _, found = measured
    for name, count in (("audit", 4), ("streams", 2), ("model", 4)):
        wide, narrow = found[f"{name}-1280"], found[f"{name}-400"]
        assert len(wide["drawings"]) == len(narrow["drawings"]) == count
        assert all(width == 480 for width in wide["drawings"])
        assert all(250 < width < 400 for width in narrow["drawings"])
        assert wide["empty"] == narrow["empty"] == 0


def test_pages_load_nothing(measured):
    _, found = measured
    assert all(page["loaded"] == page["scripts"] == 0 for page in found.values())
