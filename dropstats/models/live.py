"""A monitor for each site of a model that is watched, and one alarm for all of them."""

import math
import warnings
from collections.abc import Callable

from dropstats.models.sites import READ, Bits, Site, Sites
from dropstats.monitoring import Alarm, Monitor, at_fault

# Part of the whole for the sites of the first pass, in equal shares; the rest is for those that come later.
_FIRST = 0.9

Rate = Callable[[Site], float | None]
OnAlarm = str | Callable[[str, Alarm], None]


class Monitors:
    """Monitors of all sites, each of the masks of its first one's length.

    The alarm is raised where the weighted mean of the sites' e-values reaches 1 / false_alarm: the weights are fixed
    before the masks they weigh are seen, and a mean of e-values is one, however the sites depend on each other.
    """

    def __init__(self, sites: Sites, rate: Rate, on_alarm: OnAlarm, false_alarm: float) -> None:
        if not callable(on_alarm) and on_alarm not in ("warn", "raise"):
            raise ValueError(f"on_alarm must be 'warn', 'raise' or a function of a site and an alarm; got {on_alarm!r}")
        self._sites, self._rate, self._on_alarm, self._false_alarm = sites, rate, on_alarm, false_alarm
        self._monitors: dict[int, Monitor] = {}
        self._fresh: list[tuple[Site, Bits]] = []
        self._first = 0
        self._told: set[str] = set()
        sites.on_mask, sites.on_end = self._see, self._end

    def by_site(self) -> dict[str, Monitor]:
        """Return the monitors by the names of their sites."""
        named = self._sites.named().items()
        return {name: self._monitors[id(site)] for name, site in named if id(site) in self._monitors}

    def alarms(self) -> dict[str, Alarm]:
        """Return the alarms that were raised, by site."""
        return {name: alarm for name, one in self.by_site().items() if name in self._told and (alarm := one.alarm)}

    def _see(self, site: Site, bits: Bits) -> None:
        # counted at the end of the pass, when it is known whether a 1 keeps
        self._fresh.append((site, bits[:READ]))

    def _end(self) -> None:
        """Count the masks of a pass, and raise the alarm where the evidence suffices."""
        fresh, self._fresh = self._fresh, []
        for site, bits in fresh:
            p = self._rate(site)
            if p is None:
                continue
            monitor = self._monitors.get(id(site))
            if monitor is None:
                monitor = self._monitors[id(site)] = Monitor(p, n=bits.size, false_alarm=self._false_alarm)
            if monitor.n is not None and bits.size >= monitor.n:
                monitor.update((bits if site.one_keeps(p) else ~bits)[: monitor.n])
        self._first = self._first or len(self._monitors)
        # where together they reach the limit, one of them does
        if any(monitor.alarm for monitor in self._monitors.values()) and self._log_e() >= -math.log(self._false_alarm):
            self._tell()

    def _log_e(self) -> float:
        """Return the log of the weighted mean of the e-values; those of sites yet to come are 1."""
        logs = [monitor.log_e for monitor in self._monitors.values()]
        later = range(1, len(logs) - self._first + 1)
        weights = [_FIRST / self._first] * self._first + [(1 - _FIRST) / (k * (k + 1)) for k in later]
        top = max(0.0, *logs)
        if top == math.inf:
            return math.inf
        rest = max(0.0, 1 - math.fsum(weights)) * math.exp(-top)
        return top + math.log(math.fsum(w * math.exp(log - top) for w, log in zip(weights, logs, strict=True)) + rest)

    def _tell(self) -> None:
        monitors = self.by_site()
        for name in at_fault(monitors, self._false_alarm) or [max(monitors, key=lambda one: monitors[one].log_e)]:
            alarm = monitors[name].alarm
            if alarm is None or name in self._told:
                continue
            self._told.add(name)
            if callable(self._on_alarm):
                self._on_alarm(name, alarm)
            elif self._on_alarm == "raise":
                raise RuntimeError(f"dropout at {name}: {alarm}")
            else:
                warnings.warn(f"dropout at {name}: {alarm}", RuntimeWarning, stacklevel=2)
