"""Monitor: evidence against a law of masks that may be looked at after every step of a training run."""

from dropstats.monitoring.evidence import log_evalue
from dropstats.monitoring.monitor import Monitor
from dropstats.monitoring.summary import Alarm, at_fault

__all__ = ["Alarm", "Monitor", "at_fault", "log_evalue"]
