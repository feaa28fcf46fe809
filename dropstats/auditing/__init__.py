"""The audit: deciding whether the masks of an implementation follow the declared law."""

from dropstats.auditing.across import audit_streams
from dropstats.auditing.battery import TESTS, audit
from dropstats.auditing.report import Report, Result

__all__ = ["TESTS", "Report", "Result", "audit", "audit_streams"]
