"""The audit: it decides whether an implementation's masks follow the law that it declares."""

from dropstats.auditing.battery import TESTS, audit
from dropstats.auditing.report import Report, Result
from dropstats.auditing.streams import audit_streams

__all__ = ["TESTS", "Report", "Result", "audit", "audit_streams"]
