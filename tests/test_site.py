"""The site as built by `sphinx-build -W -n docs build/site`: links, pictures, and nothing from elsewhere."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import chromium
import pytest

import dropstats as ds

ROOT = Path(__file__).parents[1]
SITE = ROOT.joinpath("build", "site")  # made here, not shipped

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").exists(),
    reason="needs the site: sphinx-build -W -n docs build/site (pip install -e .[docs])",
)


class Page(HTMLParser):
    """The addresses, the ids and the scripts of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.ids = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.ids |= {named[key] for key in ("id", "name") if named.get(key)}
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])
        elif tag == "link" and named.get("rel") not in ("canonical", "search", "index", "next", "prev", "genindex"):
            self.loaded.append(named["href"])
        elif tag in ("img", "script", "iframe") and named.get("src"):
            self.loaded.append(named["src"])


@pytest.fixture(scope="module")
def pages():
    return {path: Page(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}


def target(path, address):
    """Return the file that a link leads to; None where it leads out of the site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    return (path.parent / unquote(parts.path)).resolve() if parts.path else path


def test_every_link_of_the_site_leads_somewhere(pages):
    assert len(pages) > 80
    broken = []
    for path, page in pages.items():
        for address in page.links + page.loaded:
            there = target(path, address)
            if there is None or address.startswith("data:"):
                continue
            fragment = unquote(urlsplit(address).fragment)
            found = pages.get(there)
            if not there.exists() or (
                found and fragment and there.parent.name != "explorer" and fragment not in found.ids
            ):
                broken.append((str(path.relative_to(SITE)), address))
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(pages):
    outside = {(path.name, address) for path, page in pages.items() for address in page.loaded if "//" in address}
    assert outside == set()


def test_every_public_name_and_every_test_and_every_figure_has_a_page(pages):
    names = {path.relative_to(SITE).as_posix() for path in pages}
    assert {f"api/dropstats.{name}.html" for name in ds.__all__} <= names
    checks = re.findall(r"^\| `([a-z]+)` \|", (ROOT / "docs" / "audit.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(checks) > 12
    assert {f"tests/{name}.html" for name in checks} <= names
    figures = [path.stem for path in (ROOT / "figures").glob("[0-9][0-9]_*.py")]
    assert {f"gallery/{name}.html" for name in figures} <= names
    assert "explorer/index.html" in names


@pytest.mark.skipif(chromium.PROGRAM is None, reason="needs chromium, to see the pages as a reader does")
@pytest.mark.parametrize("width", [1280, 400])
def test_pages_fit_the_window_and_ask_no_one(tmp_path, width):
    with chromium.page(tmp_path) as page:
        page.size(width, 900)
        for name in ("index", "start", "audit", "tests/rate", "gallery/index", "api/dropstats.Layer", "theory"):
            page.load((SITE / f"{name}.html").as_uri())
            assert page.run("document.documentElement.scrollWidth") <= width, name
        assert [url for url in page.requests if not url.startswith(("file:", "about:", "data:"))] == []
        assert page.problems == []
