"""What a page says of a report beside its results: what each test looks at, and how the audit is repeated."""

import re
from collections.abc import Mapping
from typing import Any

from dropstats import laws
from dropstats.auditing import checks

# A longer law is not written into the code.
_LAW = 200


def words(report: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return what each test of a report, given as plain data, looks at, and what its numbers are."""
    names = [result["name"] for result in report["results"]]
    known = [*checks.OF_MASKS, *(checks.OF_NORMAL if "shape" in names else ())]
    if report["expect"]:
        known = [*checks.OF_STREAMS, *checks.OF_COPIES]
    return {check.name: (check.about, check.quantity) for check in known if check.name in names}


def code(report: Mapping[str, Any]) -> str:
    """Return the Python that repeats an audit, given its masks in a file."""
    false_alarm = f", false_alarm={report['false_alarm']!r}" if report["false_alarm"] != 1e-3 else ""
    declared = report["law"] or ""
    law = importable(declared)
    head = ["import dropstats as ds", ""]
    if "..." in law or len(law) > _LAW:
        head += [f"law = ...  # the law of the audit: {declared[:_LAW]}", ""]
        law = "law"
    if report["expect"]:
        law = f", law={law}" if law else ""
        return "\n".join([
            *head,
            'names = ["first", "second"]  # each stream\'s masks, written by recording.save("first.npz")',
            'streams = {name: ds.Recording.load(f"{name}.npz") for name in names}',
            f"report = ds.audit_streams(streams, {report['expect']!r}{law}{false_alarm})",
            "print(report)",
        ])  # fmt: skip
    if getattr(getattr(laws, declared.partition("(")[0], None), "is_noise", False):
        load = 'outputs = np.load("outputs.npy")  # of ones, of shape (trials, ...)'
        return "\n".join(["import numpy as np", *head, load, f"print(ds.audit(outputs, {law}{false_alarm}))"])
    names = [result["name"] for result in report["results"]]
    asked = f", scaling={report['scaling']!r}" if report["scaling"] == "direct" else ""
    asked += f", tolerance={report['tolerance']!r}" if report["tolerance"] is not None else ""
    by_default = {check.name for check in checks.OF_MASKS if not check.on_request} - {"groups"}
    asked += "" if by_default == {*names} - {"groups"} else f", tests={names!r}"
    return "\n".join([
        *head,
        'recording = ds.Recording.load("masks.npz")  # the masks, written by recording.save("masks.npz")',
        f"report = ds.audit(recording, {law}{asked}{false_alarm})",
        "print(report)",
    ])  # fmt: skip


def importable(law: str) -> str:
    """Return the repr of a law with the package before each of its names.

    >>> importable("Network(Layer(8, 0.2), Layer(4, 0.5))")
    'ds.Network(ds.Layer(8, 0.2), ds.Layer(4, 0.5))'
    """
    return re.sub(r"\b([A-Z]\w*)\(", r"ds.\1(", law)
