"""Pages that are made from the code when the site is built: one for each test of the audit, and the API reference."""

import inspect
import re
import sys
from pathlib import Path

import numpy as np

import dropstats as ds
from dropstats.auditing import checks

ROOT = Path(__file__).parents[1]
SECTIONS = {
    "Laws": ("laws",),
    "Simulation": ("simulation", "tallies"),
    "Recording": ("recording",),
    "Audit": ("auditing", "power"),
    "Models and runs": ("models", "monitoring"),
    "The next neuron": ("activation",),
    "Training runs": ("training",),
}
KINDS = {
    "": checks.OF_MASKS,
    "Between streams": (*checks.OF_STREAMS, *checks.OF_COPIES),
    "Of alpha dropout": checks.OF_TWO_VALUES,
    "Of Gaussian dropout": checks.OF_NORMAL,
}


def write(folder: Path) -> None:
    """Write the pages below a folder of sources; a page that has not changed is left alone."""
    sys.path.insert(0, str(ROOT / "tests"))
    from cases import FAULTS

    pages = {"api/index.md": api()}
    names = dict.fromkeys(check.name for kind in KINDS.values() for check in kind)
    for name in names:
        pages[f"tests/{name}.md"] = page_of_test(name, [fault for fault in FAULTS if fault.test == name])
    pages["tests/index.md"] = tests(names)
    for path, text in pages.items():
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def api() -> str:
    """Return the table of every public name, by what it is for."""
    home = {name: getattr(ds, name).__module__.split(".")[1] for name in ds.__all__ if name not in ds._MODULES}
    known = [module for modules in SECTIONS.values() for module in modules]
    if missing := set(home.values()) - set(known):
        raise ValueError(f"docs/generated.py must name the section of {', '.join(sorted(missing))}")
    lines = [
        "# API reference",
        "",
        "Every public name. The examples assume `import dropstats as ds`. New here? [Start](../start.md) first.",
        "",
    ]
    for title, modules in SECTIONS.items():
        lines += [f"## {title}", "", *autosummary(f"dropstats.{name}" for name in home if home[name] in modules)]
    lines += ["## Pictures and tests of your own", "", *autosummary(f"dropstats.{name}" for name in ds._MODULES)]
    lines += ["## Laws of your own", "", *autosummary(["dropstats.laws.base.LawMethods"])]
    return "\n".join(lines)


def autosummary(names) -> list[str]:
    """Return a table of names, each with a page of its own."""
    return ["```{eval-rst}", ".. autosummary::", "   :toctree: .", "", *(f"   {name}" for name in names), "```", ""]


def one_sentence(check) -> str:
    """Return what a test checks: the first line of its file."""
    text = " ".join(inspect.getmodule(check.measure).__doc__.split())
    text = re.sub(r"^Tests? [`a-z, and]+: ", "", text)
    return text[0].upper() + text[1:]


def row(name: str) -> list[str] | None:
    """Return the row of a test in the tables of the docs: name, null, p-value, catches, needs."""
    for page in ("audit.md", "recording.md"):
        for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
            if line.startswith(f"| `{name}` |"):
                return [cell.strip() for cell in line.strip("|").split("|")]
    return None


def page_of_test(name: str, faults) -> str:
    """Return the page of a test, from the docstrings of its checks, the table of docs/audit.md and its faults."""
    found = [(kind, check) for kind, group in KINDS.items() for check in group if check.name == name]
    lines = [f"# `{name}`", "", one_sentence(found[0][1]), ""]
    if cells := row(name):
        for title, cell in zip(("Null hypothesis", "p-value", "Catches", "Needs"), cells[1:], strict=True):
            lines += [f"**{title}:** {cell}", ""]
    for kind, check in found:
        text = inspect.getdoc(check.measure)
        null, _, rest = text.removeprefix("Null: ").partition("\n\n")
        lines += [f"## {kind or 'What is computed'}", "", f"*Null hypothesis, in detail:* {null}", "", rest, ""]
    if faults:
        lines += example(faults[0])
    if others := faults[1:]:
        lines += ["## Also caught", "", "Each of these is tested, and its correct counterpart passes.", ""]
        lines += ["| fault | calls | neurons | p |", "|---|---|---|---|"]
        lines += [f"| {fault.name} | {fault.trials:,} | {fault.n:,} | {fault.p:.4g} |" for fault in others] + [""]
    return "\n".join(lines)


def example(fault) -> list[str]:
    """Return a broken generator, and what the test says of it; it is run while the page is made."""
    known = {"trials": fault.trials, "n": fault.n, "p": fault.p} | inspect.getclosurevars(fault.make).nonlocals
    made = fault.make(np.random.default_rng(20261121))
    declared = f"p={fault.p}" if fault.law is None else repr(fault.law)
    if isinstance(made, dict):
        call, report = (
            f'audit_streams(broken, "{fault.expect}", p={fault.p})',
            ds.audit_streams(made, fault.expect, p=fault.p),
        )
    else:
        asked = "" if fault.tests is None else f", tests={list(fault.tests)}"
        law = ds.Layer(fault.n, fault.p) if fault.law is None else fault.law
        call, report = f"audit(broken, {declared}{asked})", ds.audit(made, law, tests=fault.tests)
    result = report[fault.test]
    if result.verdict != "fail":
        raise ValueError(f"the example of {fault.test} should fail: {fault.name}")
    lines = ["## An example that fails", "", f"{fault.name[0].upper()}{fault.name[1:]}:", "", "```python"]
    if maker := getattr(sys.modules["faults"], fault.make.__qualname__.split(".")[0], None):
        arguments = ", ".join(repr(known[name]) for name in inspect.signature(maker).parameters if name in known)
        lines += [inspect.getsource(maker).rstrip(), ""]
        lines += [f"broken = {maker.__name__}({arguments})(np.random.default_rng(20261121))"]
    lines += [f'print(ds.{call}["{fault.test}"].message)', "```", ""]
    return [*lines, "```text", result.message, "```", ""]


def tests(names) -> str:
    """Return the list of all tests."""
    lines = [
        "# The tests of the audit",
        "",
        "Each test has a page: its null hypothesis, its p-value, what it catches, what it",
    ]
    lines += ["needs, and a broken generator that it rejects. [The audit](../audit.md) says how they are combined.", ""]
    lines += ["| test | what it checks |", "|---|---|"]
    first = {check.name: check for group in reversed(KINDS.values()) for check in group}
    lines += [f"| [`{name}`]({name}.md) | {one_sentence(first[name])} |" for name in names]
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *names, "```", ""])
