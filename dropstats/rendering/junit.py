"""Reports' plain data as JUnit XML, which CI servers show: a suite a report, a case a test."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

# What XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(suites: Sequence[tuple[str, Mapping[str, Any] | str]]) -> str:
    """Return JUnit XML of reports by name; text instead of a report is why there is none.

    A test that fails is a failure, one that could not judge is skipped. The sites of a model are suites of their own.
    """
    flat: list[tuple[str, Sequence[Mapping[str, Any]] | str]] = []
    for name, report in suites:
        if isinstance(report, str):
            flat.append((name, report))
            continue
        flat.append((name, report["results"]))
        flat += [(f"{name}: {site}", found["results"]) for site, found in report.get("sites", {}).items()]
    root = ElementTree.Element("testsuites", name="dropstats")
    for name, results in flat:
        _add_suite(root, _clean(name), results)
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ElementTree.indent(root)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{ElementTree.tostring(root, encoding='unicode')}\n"


def _add_suite(root: ElementTree.Element, name: str, results: Sequence[Mapping[str, Any]] | str) -> None:
    cases = [{"name": "reading", "error": results}] if isinstance(results, str) else results
    suite = ElementTree.SubElement(root, "testsuite", name=name, tests=str(len(cases)))
    counts = {"failures": 0, "errors": 0, "skipped": 0}
    for found in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=found["name"])
        if "error" in found:
            kind, child, message = "errors", "error", found["error"]
        elif found["verdict"] == "fail":
            kind, child, message = "failures", "failure", found["message"]
        elif found["verdict"] != "pass":
            message = f"{found['verdict']}: {found['message']}" if found["message"] else found["verdict"]
            kind, child = "skipped", "skipped"
        else:
            continue
        counts[kind] += 1
        said = ElementTree.SubElement(case, child, message=_clean(message))
        if child == "failure":
            said.text = _numbers(found)
    for kind, number in counts.items():
        suite.set(kind, str(number))


def _numbers(result: Mapping[str, Any]) -> str:
    """Return the numbers of a result, a line each."""
    names = ("observed", "expected", "pvalue", "adjusted_pvalue")
    return "\n".join(f"{name}: {result[name]:.6g}" for name in names if result.get(name) is not None)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
