"""The audit: it decides whether an implementation's masks follow the law that it declares."""

from dropstats.auditing.across import audit_streams
from dropstats.auditing.battery import TESTS, audit
from dropstats.auditing.report import Report, Result

__all__ = ["TESTS", "Report", "Result", "audit", "audit_streams"]
