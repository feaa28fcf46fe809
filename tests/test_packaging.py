"""What is packed, and what the files beside the code say of it."""

import re
import tomllib
from pathlib import Path

import dropstats

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_one_version_everywhere():
    version = PROJECT["project"]["version"]
    assert dropstats.__version__ == version
    assert re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_source_distribution_holds_what_tests_and_readme_read():
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    read = set(re.findall(r"\]\((?!http)([^/)]+)", (ROOT / "README.md").read_text()))
    for test in (ROOT / "tests").glob("*.py"):
        read |= set(re.findall(r'(?:ROOT|parents\[1\]) / "([^"/]+)"', test.read_text()))
    assert {"figures", "docs"} <= read  # the search finds something
    unpacked = {"pyproject.toml"}  # goes into every source distribution by itself
    assert {f"/{name}" for name in read - unpacked if not name.endswith(".md")} <= set(included)
    assert "/*.md" in included


def test_the_pytest_plugin_is_packed_under_its_own_name():
    (name,) = PROJECT["project"]["entry-points"]["pytest11"].items()
    assert name == ("pytest_dropstats", "pytest_dropstats")  # one name, or pytest takes it for two plugins
    targets = PROJECT["tool"]["hatch"]["build"]["targets"]
    assert "pytest_dropstats.py" in targets["wheel"]["only-include"]
    assert (ROOT / "pytest_dropstats.py").is_file()
