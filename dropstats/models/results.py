"""From the draws of a model to its report: each site is audited, the checks across them are made."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dropstats import _progress, _validate
from dropstats.laws import GaussianDropout, Law
from dropstats.models import checks
from dropstats.models.judging import Report, audit_share
from dropstats.models.report import ModelReport, SiteReport
from dropstats.models.sites import Declared, Site, Sites, values_of
from dropstats.power import neurons_needed
from dropstats.recording import Recording
from dropstats.rendering.text import counted

# Types in which noise is fine enough to be held against a normal law.
_PRECISE = ("float32", "float64")


def kept(neurons: int) -> int:
    """Return a number of neurons to be kept of a site."""
    return _validate.integer(neurons, "neurons", minimum=2**10, maximum=2**40)


def active(declared: Sequence[Declared], now: Sequence[Declared]) -> list[Declared]:
    """Return the rates as first declared, each active where its module now is."""
    idle = {rate.path for rate in now if not rate.active}
    return [rate._replace(active=rate.path not in idle) for rate in declared]


def report(
    name: str,
    sites: Sites,
    declared: Sequence[Declared],
    *,
    p: Mapping[str, float] | None,
    laws: Mapping[str, Law] | None,
    false_alarm: float,
    library: str = "",
    progress: Any = None,
    **seen: Any,
) -> ModelReport:
    """Audit each site and make the checks across them."""
    named, p, laws = sites.named(), dict(p or {}), dict(laws or {})
    _known({**p, **laws}, named)
    rates = {site: p[site] if site in p else rate(one, declared) for site, one in named.items()}
    unjudged = _unread(sites)
    recordings: dict[str, Recording] = {}
    notes: list[str] = []
    noises: dict[str, Any] = {}
    for site, one in named.items():
        if rates[site] is None and site not in laws:
            unjudged[site] = f"p is not known: give p={{{site!r}: ...}}"
            continue
        if one.factors and one.dtype not in _PRECISE:
            unjudged[site] = f"noise in {one.dtype} is not judged, in float32 or float64 it is"
            continue
        # of noise, the bits tell which factors are above their mean
        recording = one.recording(0.5 if one.factors else rates[site], f"{name}, {site}")
        if not recording.judged:
            unjudged[site] = "of no neuron it can be told whether it was dropped"
            continue
        recordings[site] = recording
        notes += _left_out(site, one, recordings[site])
        if one.factors:
            noises[site] = GaussianDropout(rates[site])
    shares = len(recordings) + checks.SHARES
    noises |= laws
    every = _progress.shown(recordings.items(), len(recordings), "auditing", "site", progress, 1)
    audits = {site: _site(named[site], one, noises.get(site), false_alarm, shares) for site, one in every}
    asked = {site: one.asked(rates[site]) for site, one in named.items()}
    everything = checks.Seen(
        sites, named, recordings, declared, asked, scored={site: audits[site].results for site in audits}, **seen
    )
    results = tuple(check(everything, false_alarm, shares) for check in checks.CHECKS.values())
    notes += _shared(named)
    notes += _as_drawn(everything, audits, {**p, **laws})
    report = ModelReport(name, sites.modes[True], false_alarm, audits, results, unjudged, tuple(notes), library)
    if audits and not report.failures and not report.passed:
        name, most = max(audits.items(), key=lambda item: item[1].trials * item[1].n)
        p_most = most.p or 0.5
        needed = neurons_needed(p_most, -p_most / 2, false_alarm / shares, 0.9)
        drew = f"{counted(most.draws, 'call')} drew {most.trials * most.n:,} neurons at {name}"
        raise ValueError(
            f"too few calls to test any site: {drew}; p = {p_most:.4g} needs {needed:,} at least, "
            f"calls={-(-needed // most.n):,}"
        )
    return report


def _known(given: Mapping[str, Any], named: Mapping[str, Site]) -> None:
    """Raise ValueError where a p or a law is given for a site that does not exist."""
    for site in given:
        if site not in named:
            raise ValueError(f"p and laws must name sites of the model, which are {', '.join(named)}; got {site!r}")


def rate(site: Site, declared: Sequence[Declared]) -> float | None:
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
    if site.factors:
        calls, width = site.noise().shape
        yield f"{name}: noise, judged by {width:,} of {site.largest:,} factors in {calls:,} of {draws:,} calls"
        return
    if recording.n < site.largest:
        yield f"{name}: the first {recording.n:,} of {site.largest:,} neurons of a mask"
    if recording.trials < draws:
        shorter = "" if site.masks.left_out else ", for the others are shorter"
        yield f"{name}: {recording.trials:,} of {draws:,} masks{shorter}"


def _shared(named: Mapping[str, Site]) -> Iterator[str]:
    """Yield a note on the sites whose bits are applied to several neurons each, as to all steps of a sequence."""
    sizes: dict[int, list[str]] = {}
    for name, site in named.items():
        sizes.setdefault(site.shared, []).append(name)
    for size, names in sorted(sizes.items()):
        if size > 1:
            shape = named[names[0]].shape
            yield f"one random bit for {size:,} neurons (a mask of shape {shape}) at {checks.listed(names)}"


def _as_drawn(seen: checks.Seen, audits: Mapping[str, SiteReport], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note on the sites whose p nobody declares, and one on those among them of which no scale is known."""
    held = [site for site in checks.undeclared(seen) if site in audits and site not in given]
    blind = [site for site in held if audits[site]["scale"].verdict == "not applicable"]
    if held:
        rates = ", ".join(dict.fromkeys(f"{audits[site].p:g}" for site in held[:3]))
        where = checks.listed(held)
        how = f"tested against that of the draw itself, {rates}; declare another by p={{{held[0]!r}: ...}}"
        yield f"no module declares a p at {where}: {how}"
    if blind:
        where = checks.listed(blind)
        yield f"the scale is not tested at {where}: no values were seen; audit the function alone, by record()"


def _site(site: Site, recording: Recording, law: Any, false_alarm: float, shares: int) -> SiteReport:
    """Audit one site."""
    audited: Any = recording
    if law is not None:
        audited = site.noise() if site.factors else _stretches(site, recording, law)
    report: Report = audit_share(audited, law, recording.p, false_alarm, shares)
    if site.factors:  # which are not dropped
        report = replace(report, observed_rate=math.nan)
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
