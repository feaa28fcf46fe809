"""Reference files, walked so that no value is passed over."""

import json
import math
from fractions import Fraction
from pathlib import Path

REFERENCE = Path(__file__).parent / "reference"


def reference(name):
    return json.loads((REFERENCE / f"{name}.json").read_text())


def number(text):
    """The double nearest to a reference value: a decimal, a ratio such as 23/16, or a number."""
    return float(Fraction(text))


def leaves(node, path=()):
    """Every scalar of a nested structure with its path."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path, node


def compare(record, computed, excluded, where):
    """Hold each leaf of `record` against the leaf of `computed` at the same path, to 1e-10 relative.

    `excluded` maps the last name of a path to the reason why it is no reference. Every other leaf must be in
    `computed`, and every leaf of `computed` in `record`; returns how many were compared.
    """
    expected = {path: value for path, value in leaves(record) if not _is_excluded(path, excluded)}
    found = dict(leaves(computed))
    assert expected.keys() == found.keys(), f"{where}: {sorted(map(str, expected.keys() ^ found.keys()))}"
    for path, value in expected.items():
        want, got = number(value), float(found[path])
        # a reference of 0 is a sum of terms of order 1 that cancel
        assert math.isclose(got, want, rel_tol=1e-10, abs_tol=1e-13 if want == 0 else 0.0), (where, path, got, want)
    return len(expected)


def _is_excluded(path, excluded):
    return any(isinstance(name, str) and name in excluded for name in path)
