"""The audit: do an implementation's masks follow the law it declares?"""

from dropstats.auditing.battery import TESTS, audit
from dropstats.auditing.report import Report, Result
from dropstats.auditing.streams import audit_streams

__all__ = ["TESTS", "Report", "Result", "audit", "audit_streams"]
