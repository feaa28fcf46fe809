"""Monitor: anytime-valid evidence against a law of masks, for training runs."""

from dropstats.monitoring.evidence import log_evalue
from dropstats.monitoring.monitor import Monitor
from dropstats.monitoring.summary import Alarm, at_fault

__all__ = ["Alarm", "Monitor", "at_fault", "log_evalue"]
