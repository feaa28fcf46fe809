"""Audits of whole models: passes that are made for it, or a training run that is watched."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from os import PathLike
from types import ModuleType
from typing import Any

import numpy as np

from dropstats import _validate
from dropstats.laws import Law
from dropstats.models import checks, frameworks
from dropstats.models.judging import Report, audit_share
from dropstats.models.report import ModelReport, SiteReport
from dropstats.models.sites import NEURONS, Declared, Site, Sites, values_of
from dropstats.power import neurons_needed
from dropstats.recording import Recording

# Seeds of the passes that are compared: any two numbers.
_SEEDS = (20_140_615, 20_140_615, 19_841_026)


def audit_model(
    model: Any,
    *inputs: Any,
    calls: int = 64,
    p: Mapping[str, float] | None = None,
    laws: Mapping[str, Law] | None = None,
    false_alarm: float = 1e-3,
    neurons: int = NEURONS,
    **keywords: Any,
) -> ModelReport:
    """Decide whether every dropout draw of a model is what the model declares.

    The model runs `calls` times in training mode on the inputs, each of its draws is recorded and audited as `audit`
    does, and checks across the draws follow: `coverage`, `evaluation`, `state`, `seeds`, `recomputed`, `gradient`,
    `sites`, `scale`, `mean`; docs/models.md says what each catches. Afterwards the model is as it was before: its mode,
    its buffers, its gradients and the random state.

    Parameters
    ----------
    model : torch.nn.Module, keras.Model or Layer, flax.nnx.Module, equinox Module, or a function of a JAX key
    *inputs, **keywords
        What the model is called with. A single mapping whose keys are arguments of the model is taken as keywords.
    calls : int
        Number of passes in training mode, at least 2.
    p : mapping of str to float, optional
        Declared drop probability of sites, in place of what their modules say.
    laws : mapping of str to law, optional
        Law of a site's masks; one of fewer neurons than a mask has is that of each stretch of so many.
    false_alarm : float
        Probability, in (0, 1), that a correct model fails: over all sites and checks together.
    neurons : int
        Neurons that are kept of a site over all calls: the first positions of each mask.

    Returns
    -------
    ModelReport
        Print it for a table.

    Raises
    ------
    TypeError
        If this is no model of a known framework.
    ValueError
        If the model has no dropout, a site in `p` or `laws` does not exist, or the calls are too few.
    """
    found = frameworks.of(model)
    calls = _validate.integer(calls, "calls", minimum=2, maximum=2**31)
    false_alarm, neurons = _level(false_alarm), _neurons(neurons)
    declared: Sequence[Declared] = found.declared(model)
    sites = Sites(neurons)
    with found.Passes(model, inputs, keywords) as passes:
        if passes.has_modes:
            passes.set_mode(True)
            declared = _active(declared, found.declared(model))
        for call in range(calls):
            with _noted(f"in training mode, call {call + 1} of {calls}, on inputs of shape {passes.described()}"):
                passes.run(sites, gradient=call == 0)
            if call == 0 and not sites and not sites.unread and not any(0 < rate.p < 1 for rate in declared):
                raise ValueError(
                    f"model must have dropout; got {found.name_of(model)}, in which no module declares a rate above 0 "
                    "and nothing is drawn in training mode"
                )
        seeds = tuple(Sites(neurons // calls + 64) for _ in _SEEDS)
        for seed, part in zip(_SEEDS, seeds, strict=True):
            passes.run(part, seed=seed)
        evaluation = again = None
        if passes.has_modes:
            evaluation = _evaluate(passes, neurons)
            again = Sites(neurons // calls + 64)
            passes.set_mode(True)
            passes.run(again)
    return _report(
        found.name_of(model),
        sites,
        declared,
        p=p,
        laws=laws,
        false_alarm=false_alarm,
        evaluation=evaluation,
        again=again,
        seeds=seeds,
    )


def _evaluate(passes: Any, neurons: int) -> checks.Evaluation:
    """Make two passes in evaluation mode and return what they showed."""
    sites = Sites(neurons)
    passes.set_mode(False)
    before = passes.state()
    with _noted("in evaluation mode"):
        first, second = passes.run(sites), passes.run(sites)
    draws = [*sites.evaluated, *sites.named(), *(site for site, _ in sites.unread)]
    return checks.Evaluation(list(dict.fromkeys(draws)), passes.equal(first, second), before.changed())


class Draws:
    """Draws of a model that is watched.

    Attributes
    ----------
    sites : Sites
        What was seen so far.
    """

    def __init__(self, model: Any, framework: ModuleType, neurons: int) -> None:
        self._model, self._framework = model, framework
        self._declared: Sequence[Declared] = framework.declared(model)
        self.sites = Sites(neurons)

    def audit(
        self,
        *,
        p: Mapping[str, float] | None = None,
        laws: Mapping[str, Law] | None = None,
        false_alarm: float = 1e-3,
    ) -> ModelReport:
        """Decide whether what was drawn so far is what the model declares, as `audit_model` does."""
        if not self.sites and not self.sites.unread:
            raise ValueError("nothing was drawn while the model was watched: it must be called in training mode")
        sites = self.sites
        evaluated = sites.modes[False] - len(sites.trained)
        return _report(
            self._framework.name_of(self._model),
            sites,
            _active(self._declared, self._framework.declared(self._model)),
            p=p,
            laws=laws,
            false_alarm=_level(false_alarm),
            evaluation=checks.Evaluation(list(sites.evaluated), passes=evaluated),
            trained_in_evaluation=len(sites.trained),
        )

    def recording(self) -> Recording:
        """Return all sites' masks side by side as one recording, of the calls that all sites have."""
        parts = [site.recording(_rate(site, self._declared), "").masks() for site in self.sites]
        if not parts:
            raise ValueError("nothing was drawn while the model was watched: there are no masks to save")
        calls = min(len(part) for part in parts)
        rates = {_rate(site, self._declared) for site in self.sites}
        masks = np.concatenate([part[:calls] for part in parts], axis=1)
        source = f"{self._framework.name_of(self._model)}: {', '.join(self.sites.named())}"
        return Recording.from_masks(masks, rates.pop() if len(rates) == 1 else None, source)

    def save(self, path: str | PathLike[str]) -> None:
        """Write `recording()` to a file, to be held against those of other ranks."""
        self.recording().save(path)


@contextmanager
def watch(model: Any, *, neurons: int = NEURONS) -> Iterator[Draws]:
    """Record every dropout draw that a model makes inside the `with` block, as in a training loop.

    Parameters
    ----------
    model : torch.nn.Module, keras.Model or Layer
        It is left as it is; a compiled model is recorded as compiled.
    neurons : int
        Neurons that are kept of a site over all calls: the first positions of each mask.

    Yields
    ------
    Draws
        With `audit()`, which returns a `ModelReport`, and `save(path)`.

    Raises
    ------
    TypeError
        If this is no model of a framework that can be watched.
    """
    framework = frameworks.of(model, watched=True)
    draws = Draws(model, framework, _neurons(neurons))
    with ExitStack() as stack:
        draws.sites.unseen.update(stack.enter_context(framework.watching(model, draws.sites)).unseen)
        yield draws


def _level(false_alarm: float) -> float:
    false_alarm = _validate.probability(false_alarm, "false_alarm")
    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm must be in (0, 1); got {false_alarm!r}")
    return false_alarm


def _neurons(neurons: int) -> int:
    return _validate.integer(neurons, "neurons", minimum=2**10, maximum=2**40)


@contextmanager
def _noted(what: str) -> Iterator[None]:
    """Add to an error of the model in which pass it was raised."""
    try:
        yield
    except Exception as error:
        error.add_note(f"dropstats: raised by the model {what}")
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            error.add_note("dropstats: no memory is left for a pass as in training: give smaller inputs")
        raise


def _active(declared: Sequence[Declared], now: Sequence[Declared]) -> list[Declared]:
    """Return the rates as first declared, each active where its module now is."""
    idle = {rate.path for rate in now if not rate.active}
    return [rate._replace(active=rate.path not in idle) for rate in declared]


def _report(
    name: str,
    sites: Sites,
    declared: Sequence[Declared],
    *,
    p: Mapping[str, float] | None,
    laws: Mapping[str, Law] | None,
    false_alarm: float,
    **seen: Any,
) -> ModelReport:
    """Audit each site and make the checks across them."""
    named, p, laws = sites.named(), dict(p or {}), dict(laws or {})
    _known({**p, **laws}, named)
    rates = {site: p[site] if site in p else _rate(one, declared) for site, one in named.items()}
    unjudged = _unread(sites)
    recordings: dict[str, Recording] = {}
    notes: list[str] = []
    for site, one in named.items():
        if rates[site] is None and site not in laws:
            unjudged[site] = f"p is not known: give p={{{site!r}: ...}}"
            continue
        recording = one.recording(rates[site], f"{name}, {site}")
        if not recording.judged:
            unjudged[site] = "of no neuron it can be told whether it was dropped"
            continue
        recordings[site] = recording
        notes += _left_out(site, one, recordings[site])
    shares = len(recordings) + checks.SHARES
    audits = {site: _site(named[site], one, laws.get(site), false_alarm, shares) for site, one in recordings.items()}
    asked = {site: one.asked(rates[site]) for site, one in named.items()}
    everything = checks.Seen(
        sites, named, recordings, declared, asked, scored={site: audits[site].results for site in audits}, **seen
    )
    results = tuple(check(everything, false_alarm, shares) for check in checks.CHECKS.values())
    report = ModelReport(name, sites.modes[True], false_alarm, audits, results, unjudged, tuple(notes))
    if audits and not report.failures and not report.passed:
        name, most = max(audits.items(), key=lambda item: item[1].trials * item[1].n)
        p_most = most.p or 0.5
        needed = neurons_needed(p_most, -p_most / 2, false_alarm / shares, 0.9)
        raise ValueError(
            f"calls are too few to judge any site: {most.draws:,} calls drew {most.trials * most.n:,} neurons at {name}"
            f"; p = {p_most:.4g} needs {needed:,} at least, calls={-(-needed // most.n):,}"
        )
    return report


def _known(given: Mapping[str, Any], named: Mapping[str, Site]) -> None:
    """Raise ValueError where a p or a law is given for a site that does not exist."""
    for site in given:
        if site not in named:
            raise ValueError(f"p and laws must name sites of the model, which are {', '.join(named)}; got {site!r}")


def _rate(site: Site, declared: Sequence[Declared]) -> float | None:
    """Return the p that a site is held to: what its module declares, else what its calls ask for.

    A function called in a module may draw at a rate of the module, or of a dropout module inside it that is not called
    itself; it is held to the one that it asks for.
    """
    here = [rate for rate in declared if rate.path == site.module]
    own = [rate for rate in here if rate.own]
    if own:
        return own[0].p if own[0].each else next(iter(site.asked(own[0].p)), None)
    if site.base == site.module and len(here) == 1:
        return here[0].p
    inside = [rate for rate in declared if rate.own and rate.path.rpartition(".")[0] == site.module]
    possible = {rate.p for rate in [*here, *inside]}
    if site.one is None:
        return possible.pop() if len(possible) == 1 else None
    for p in possible:
        if any(abs(asked - p) < 1e-6 for asked in site.asked(p)):
            return p
    return site.asked(None)[0]


def _unread(sites: Sites) -> dict[str, str]:
    """Return the draws that were seen and are no masks, and how often, by site."""
    found: dict[str, list[str]] = {}
    for (site, operation), count in sites.unread.items():
        found.setdefault(site, []).append(f"{operation} ({count:,} time{'s'[: count > 1]})")
    return {site: f"no mask came of {', '.join(what)}" for site, what in found.items()} | sites.unseen


def _left_out(name: str, site: Site, recording: Recording) -> Iterator[str]:
    """Yield notes on what of a site's masks was not audited."""
    draws = len(site.masks)
    if recording.n < site.largest:
        yield f"{name}: the first {recording.n:,} of {site.largest:,} neurons of a mask"
    if recording.trials < draws:
        shorter = "" if site.masks.left_out else ", for the others are shorter"
        yield f"{name}: {recording.trials:,} of {draws:,} masks{shorter}"


def _site(site: Site, recording: Recording, law: Law | None, false_alarm: float, shares: int) -> SiteReport:
    """Audit one site."""
    if law is not None:
        recording = _stretches(site, recording, law)
    report: Report = audit_share(recording, law, recording.p, false_alarm, shares)
    mode = "evaluation" if site.training[False] else "training"
    return SiteReport.of(
        report, mode=mode, dtype=site.dtype, device=site.device, draws=len(site.masks), recorder=site.recorder
    )


def _stretches(site: Site, recording: Recording, law: Law) -> Recording:
    """Return a recording of masks of the law's neurons: the masks, or their stretches of so many."""
    if law.n == recording.n:
        return recording
    if recording.n < site.largest or recording.n % law.n:
        kept = site.largest * len(site.masks)
        more = "" if recording.n == site.largest else f", and whole masks must be kept: neurons={kept}"
        raise ValueError(
            f"the law of {site.base!r} must have as many neurons as a mask, {site.largest:,}, or a divisor{more}; got "
            f"{law.n:,}"
        )
    masks = recording.masks().reshape(-1, law.n)
    return replace(Recording.from_masks(masks, recording.p, recording.source), **values_of(recording))
