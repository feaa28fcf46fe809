"""Write docs/museum.md, the reported dropout bugs and what finds them, from the table in tests/museum.py.

    python docs/museum.py        look at every exhibit that can be made here and write docs/museum.json and museum.md
    python docs/museum.py NAME   only those whose names contain it

What is kept of exhibits that need a framework which is absent stays as it is.
"""

import argparse
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

# before this folder, whose museum.py this is
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import museum

RESULTS = Path(__file__).with_name("museum.json")
PAGE = Path(__file__).with_name("museum.md")
# The seed whose finding is shown.
SEED = 0


def kept() -> dict[str, Any]:
    """Return what was found, by the exhibits' names."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def shown(exhibit: museum.Exhibit) -> dict[str, Any]:
    """Return the finding, how many neurons it takes, and how many the project's own test draws."""
    finding = museum.judged(exhibit, SEED).findings[exhibit.check]
    own = museum.OWN_TESTS.get(exhibit.project, (None, ""))[0]
    if exhibit.p in (0, 1):
        own = museum.AT_THE_EDGES.get(exhibit.project, own)
    return {
        "project": exhibit.project,
        "call": exhibit.call,
        "neurons": museum.neurons(exhibit),
        # None: not known; 0: the test draws no mask
        "own test": own,
        "finding": finding,
    }


HEAD = """# The museum: reported dropout bugs, and what finds them

Written by `docs/museum.py` from the table in `tests/museum.py`: {count} models of bugs that people reported, that were
read in a source, or that were measured on a release. Each is found in 5 of 5 seeds by the check named here, in the
words quoted here, and its mended twin passes. Find your symptom, and you have its likely cause.

*Neurons* says how much that takes: calls times neurons (times streams), for the fewest calls out of 1, 2, 3, 4, 6, 8,
12, ... at which all five seeds show the defect with this diagnosis. A first sign of it often shows sooner. Of
`audit_model` those of its passes in training count, two at least; of `assert_dropout` the output in evaluation, too.

![Neurons needed for each exhibit](../figures/out/19_museum.png)

{groups}
"""

UNSEEN = """## What an audit of masks does not see

| project | reference | symptom | why |
|---|---|---|---|
"""

FOOT = """
## How many neurons the projects' own tests draw

The largest draw at 0 < p < 1, of the file that was read. Most of these tests compare the mean of one draw with p,
within a tolerance: a repeated mask, equal ranks, groups or another gradient pass at any size. How much the projects
that are not named draw we do not know: their dots in the picture are hollow.

| project | neurons | test |
|---|---|---|
{own}
Some of these bugs are still in current releases: `tests/test_museum_live.py` holds them against TensorFlow, Keras, JAX,
Flax, transformers, timm and PyTorch where these are installed, and is skipped where a release has mended one.
"""


def anchor(heading: str) -> str:
    """Return how a heading is linked to."""
    return "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c == "-")


def linked(reference: str) -> str:
    """Return a reference with its threads linked: owner/project#1, and #2 of the same project."""
    links, project = [], ""
    for part in re.split(r"((?:[\w.-]+/[\w.-]+)?#\d+)", reference):
        owner, hash_, number = part.rpartition("#")
        project = owner if hash_ and owner else project
        link = f"[{part}](https://github.com/{project}/issues/{number})"
        links.append(link if project and number.isdigit() and hash_ else part)
    return "".join(links)


def entry(exhibit: museum.Exhibit, found: dict[str, Any]) -> str:
    """Return an exhibit as it stands on the page."""
    symptom = exhibit.symptom[0].upper() + exhibit.symptom[1:]
    size = f"{exhibit.trials:,} call{'s'[: exhibit.trials != 1]} of {exhibit.n:,} neurons"
    return (
        f"### {exhibit.project}: {exhibit.name}\n\n"
        f"{symptom}. ({linked(exhibit.reference)}; {museum.SURE[exhibit.sure]}.)\n\n"
        f"- Masks: {exhibit.masks}.\n"
        f"- `{exhibit.call}`, `{exhibit.check}`: *{found['finding']}*\n"
        f"- Neurons: {found['neurons']:,} ({size}, p = {exhibit.p:.4g}).\n"
    )


def written(results: dict[str, Any]) -> str:
    """Return the page."""
    chosen = {
        group: [one for one in museum.EXHIBITS.values() if one.group == group and one.name in results]
        for group in museum.GROUPS
    }
    links = [
        f"- [{heading}](#{anchor(heading)}): {len(chosen[group])} exhibits" for group, heading in museum.GROUPS.items()
    ]
    parts = [HEAD.format(count=len(museum.EXHIBITS), groups="\n".join(links))]
    for group, heading in museum.GROUPS.items():
        parts.append("\n".join([f"## {heading}\n", *(entry(one, results[one.name]) for one in chosen[group])]))
    rows = [f"| {one.project} | {linked(one.reference)} | {one.symptom} | {one.why} |\n" for one in museum.UNSEEN]
    tests = ((project, f"{size:,}" if size else "none", test) for project, (size, test) in museum.OWN_TESTS.items())
    own = "".join(f"| {project} | {size} | {test} |\n" for project, size, test in tests)
    parts.append(UNSEEN + "".join(rows))
    return "\n".join(parts) + FOOT.format(own=own)


def main() -> None:
    """Look at what can be made here, and write the page."""
    parser = argparse.ArgumentParser(description="Look at the museum's exhibits; write docs/museum.md.")
    parser.add_argument("name", nargs="?", default="", help="part of the exhibits' names; by default all")
    part = parser.parse_args().name
    results = {name: found for name, found in kept().items() if name in museum.EXHIBITS}
    here = [one for one in museum.EXHIBITS.values() if not one.needs or find_spec(one.needs)]
    for exhibit in tqdm([one for one in here if part in one.name], unit="exhibit"):
        results[exhibit.name] = shown(exhibit)
    ordered = {name: results[name] for name in museum.EXHIBITS if name in results}
    RESULTS.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(written(ordered), encoding="utf-8")


if __name__ == "__main__":
    main()
