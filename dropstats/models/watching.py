"""A training run that is watched: its draws, and their audit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from os import PathLike
from types import ModuleType
from typing import Any

import numpy as np

from dropstats import _validate
from dropstats.laws import Law
from dropstats.models import checks, frameworks, live, results
from dropstats.models.report import ModelReport
from dropstats.models.sites import NEURONS, Declared, Sites
from dropstats.monitoring import Alarm, Monitor
from dropstats.recording import Recording


class Draws:
    """Draws of a model that is watched.

    Attributes
    ----------
    sites : Sites
        What was seen so far.
    """

    sites: Sites

    def __init__(self, model: Any, framework: ModuleType, neurons: int) -> None:
        self._model, self._framework = model, framework
        self._declared: Sequence[Declared] = framework.declared(model)
        self.sites = Sites(neurons)
        self._live: live.Monitors | None = None

    def monitor(self, on_alarm: live.OnAlarm, false_alarm: float) -> None:
        """Monitor each site from now on; `watch(model, monitor=True)` does."""
        rate = partial(results.rate, declared=self._declared)
        self._live = live.Monitors(self.sites, rate, on_alarm, _validate.open_probability(false_alarm, "false_alarm"))

    @property
    def monitors(self) -> dict[str, Monitor]:
        """The monitor of each site; empty where the model is watched without."""
        return {} if self._live is None else self._live.by_site()

    @property
    def alarms(self) -> dict[str, Alarm]:
        """The alarms that were raised, by site."""
        return {} if self._live is None else self._live.alarms()

    def audit(
        self,
        *,
        p: Mapping[str, float] | None = None,
        laws: Mapping[str, Law] | None = None,
        false_alarm: float = 1e-3,
    ) -> ModelReport:
        """Test whether the masks drawn so far follow the laws that the model declares, as `audit_model` does."""
        if not self.sites and not self.sites.unread:
            hidden = "".join(f"; {path}: {why}" for path, why in list(self.sites.unseen.items())[:3])
            why = f"no draw could be seen{hidden}" if hidden else "it must be called in training mode"
            raise ValueError(f"nothing was drawn while the model was watched: {why}")
        sites = self.sites
        evaluated = sites.modes[False] - len(sites.trained)
        return results.report(
            self._framework.name_of(self._model),
            sites,
            results.active(self._declared, self._framework.declared(self._model)),
            p=p,
            laws=laws,
            library=frameworks.version(self._framework),
            false_alarm=_validate.open_probability(false_alarm, "false_alarm"),
            evaluation=checks.Evaluation(list(sites.evaluated), passes=evaluated, unused=list(sites.unused)),
            trained_in_evaluation=len(sites.trained),
        )

    def recording(self) -> Recording:
        """Return all sites' masks side by side as one recording, of the calls that all sites have."""
        parts = [site.recording(results.rate(site, self._declared), "").masks() for site in self.sites]
        if not parts:
            raise ValueError("nothing was drawn while the model was watched: there are no masks to save")
        calls = min(len(part) for part in parts)
        rates = {results.rate(site, self._declared) for site in self.sites}
        masks = np.concatenate([part[:calls] for part in parts], axis=1)
        source = f"{self._framework.name_of(self._model)}: {', '.join(self.sites.named())}"
        return Recording.from_masks(masks, rates.pop() if len(rates) == 1 else None, source)

    def save(self, path: str | PathLike[str]) -> None:
        """Write `recording()` to a file, to be held against those of other ranks."""
        self.recording().save(path)


@contextmanager
def watch(
    model: Any,
    *,
    neurons: int = NEURONS,
    monitor: bool = False,
    on_alarm: live.OnAlarm = "warn",
    false_alarm: float = 1e-3,
) -> Iterator[Draws]:
    """Record every dropout draw that a model makes inside the `with` block, as in a training loop.

    Parameters
    ----------
    model : torch.nn.Module, keras.Model or Layer
        The model itself is not changed; a compiled model runs compiled.
    neurons : int
        Largest number of neurons stored for a site over all calls: the first positions of each mask.
    monitor : bool
        Count each mask in a `Monitor` of its site, of the first 2^16 neurons of masks as long as the site's first.
    on_alarm : {'warn', 'raise'} or callable
        What to do at the end of a pass that raises the alarm; a function is called with the site's name and the alarm.
    false_alarm : float
        Probability that a correct model ever raises the alarm, for all sites together.

    Yields
    ------
    Draws
        With `audit()`, which returns a `ModelReport`, and `save(path)`.

    Raises
    ------
    TypeError
        If the model belongs to no framework that can be watched.
    """
    framework = frameworks.of(model, watched=True)
    draws = Draws(model, framework, results.kept(neurons))
    if monitor:
        draws.monitor(on_alarm, false_alarm)
    with ExitStack() as stack:
        draws.sites.unseen.update(stack.enter_context(framework.watching(model, draws.sites)).unseen)
        yield draws
