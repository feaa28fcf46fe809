"""The house: who imports whom, how large rooms are, and that every law and every test has what it needs."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
from cases import FAULTS, LAWS

import dropstats
from dropstats import laws
from dropstats.auditing import checks

ROOT = Path(dropstats.__file__).parent
DOCS = ROOT.parent / "docs"
# From the top floor down: a room imports only from those below it.
FLOORS = (
    "cli", "testing", "plots", "models", "monitoring", "auditing", "power", "simulation", "training", "activation",
    "comparison", "recording", "tallies", "laws", "rendering", "formats", "bits", "counts", "_numerics", "_progress",
    "_validate",
)  # fmt: skip
MOST_LINES = 400
# What changes hands in passing: the doors of the package itself and its command.
DOORS = ("__init__", "__main__")
OF_STREAMS = {check.name for check in (*checks.OF_STREAMS, *checks.OF_COPIES)}


def modules():
    return sorted(ROOT.rglob("*.py"))


def room(path):
    """Return the room a module stands in: its top-level folder or file."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def imported(path):
    """Return the dropstats modules that a module imports, also inside functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dropstats":
            inside = node.module.split(".")[1:]
            found |= {".".join([*inside, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("dropstats.") for alias in node.names if "dropstats." in alias.name}
    return found


def test_every_room_is_on_a_floor():
    assert {room(path) for path in modules()} - set(DOORS) <= set(FLOORS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path):
    here = room(path)
    if here in DOORS:
        return
    for name in imported(path):
        there = name.split(".")[0]
        if there in FLOORS:
            assert FLOORS.index(here) <= FLOORS.index(there), f"{here} imports {name}"


def test_no_circle_of_modules():
    files = {
        str(path.relative_to(ROOT)).removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path
        for path in modules()
    }

    def target(name):
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name

    edges = {name: {target(other) for other in imported(path)} - {name, ""} for name, path in files.items()}
    # a folder's __init__ hands on what its modules define, and they may name each other through it
    state = {}

    def visit(name, way):
        if state.get(name) == "done":
            return
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        for other in sorted(edges[name]):
            if not name.startswith(f"{other}."):
                visit(other, [*way, name])
        state[name] = "done"

    for name in files:
        visit(name, [])


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_too_long(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_nobody_outside_asks_which_law_it_holds():
    names = "|".join(laws.__all__)
    asked = re.compile(
        rf"isinstance\([^)]*(?<!keras\.)(?<!keras\.layers\.)\b({names}|RoundedLayer|Independent)\b|\btype\(law\) is\b"
    )
    for path in modules():
        if room(path) != "laws":
            assert not asked.search(path.read_text()), path


def test_a_module_does_not_bear_the_name_of_a_public_function():
    """For once imported it would take the function's place in its package; a command is no such package's module."""
    functions = {name for name in dropstats.__all__ if inspect.isfunction(getattr(dropstats, name))}
    assert not functions & {path.stem for path in modules() if room(path) != "cli"}


def test_no_two_modules_differ_by_an_ending():
    stems = sorted({path.stem for path in modules()} - set(DOORS))
    endings = ("s", "ing", "ed", "ence", "ent", "ison")
    roots = {}
    for stem in stems:
        for ending in ("", *endings):
            if stem.endswith(ending) and len(stem) - len(ending) >= 4:
                roots.setdefault(stem[: len(stem) - len(ending)], set()).add(stem)
    assert not {root: found for root, found in roots.items() if len(found) > 1}


def test_each_law_of_masks_has_its_wrong_law():
    tried = {type(case.law).__name__ for case in LAWS}
    assert {name for name in laws.__all__ if not getattr(laws, name).is_noise} <= tried
    assert all(type(case.wrong) is not type(case.law) or case.wrong != case.law for case in LAWS)


def test_each_law_is_public_and_in_the_docs():
    said = (DOCS / "variants.md").read_text() + (DOCS / "start.md").read_text()
    for name in laws.__all__:
        assert getattr(dropstats, name) is getattr(laws, name)
        assert name in said, name


@pytest.mark.parametrize("check", [*checks.OF_MASKS, *checks.OF_NORMAL], ids=lambda check: check.name)
def test_each_test_has_its_fault_and_its_docs(check):
    assert check.name in {fault.test for fault in FAULTS}
    assert f"| `{check.name}`" in (DOCS / "audit.md").read_text()
    assert check.measure.__doc__.startswith("Null: ")


@pytest.mark.parametrize("check", [*checks.OF_STREAMS, *checks.OF_COPIES], ids=lambda check: check.name)
def test_each_test_of_streams_has_its_docs(check):
    assert f"| `{check.name}`" in (DOCS / "recording.md").read_text()
    assert check.measure.__doc__.startswith("Null: ")


def test_each_test_has_one_file():
    files = {path.stem for path in ROOT.joinpath("auditing", "checks").glob("*.py")} - {"__init__"}
    names = {check.name for check in (*checks.OF_MASKS, *checks.OF_STREAMS, *checks.OF_COPIES, *checks.OF_NORMAL)}
    assert files == names


def test_public_names_appear_once():
    assert len(dropstats.__all__) == len(set(dropstats.__all__))
    assert set(dropstats.__all__) <= set(dir(dropstats))
