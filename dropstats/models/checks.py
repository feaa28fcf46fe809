"""Checks across the sites of a model: what one site's masks cannot show."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dropstats.models import comparable
from dropstats.models.judging import Result, streams_share
from dropstats.models.replays import Counts
from dropstats.models.sites import READ, Declared, Gradients, Site, Sites
from dropstats.recording import Recording
from dropstats.rendering.text import counted

# Two rates are one: 1 - (1 - p) differs from p by rounding.
_SAME = 1e-6


@dataclass
class Evaluation:
    """What passes in evaluation mode showed: sites that drew, whether outputs were equal, what of the state changed.

    `unused` are sites whose masks were drawn and applied to nothing, as in the recurrent layers of Keras.
    """

    draws: list[str] = field(default_factory=list)
    equal: bool = True
    changed: list[str] = field(default_factory=list)
    passes: int = 2
    unused: list[str] = field(default_factory=list)


@dataclass
class Seen:
    """All that the checks look at.

    `rates` are the drop probabilities that the sites' calls asked for, by name. `again` are the draws after evaluation
    and back in training, `seeds` those of three passes, two of one seed and one of another; None where not tried.
    `modeless` says why the model cannot be put into evaluation mode.
    """

    sites: Sites
    named: Mapping[str, Site]
    recordings: Mapping[str, Recording]
    declared: Sequence[Declared]
    asked: Mapping[str, list[float]]
    evaluation: Evaluation | None = None
    again: Sites | None = None
    seeds: tuple[Sites, Sites, Sites] | None = None
    trained_in_evaluation: int = 0
    modeless: str = ""
    scored: Mapping[str, Sequence[Result]] = field(default_factory=dict)


def every(number: int, what: str) -> str:
    """Return a number of things that are all there are.

    >>> every(1, "site"), every(2, "site")
    ('the one site', 'all 2 sites')
    """
    return f"the one {what}" if number == 1 else f"all {number:,} {what}s"


def listed(names: Sequence[str], limit: int = 3) -> str:
    """Return the first few of some names, and how many there are."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names):,} in all)"


def coverage(seen: Seen, false_alarm: float, shares: int) -> Result:
    """Each rate that a module declares is drawn at in training. Exact: there is no p-value.

    The rate of a dropout module is that of all its draws; another module's rate is that of some draw in it. A dropout
    module that is never called counts as drawn where a function called in the module around it, or something of which
    the module is not known, draws at its rate.
    """
    wanted = [rate for rate in seen.declared if 0 < rate.p < 1 and rate.active and not _unseen(seen, rate.path)]
    wrong = [text for rate in wanted if (text := _uncovered(seen, rate) or _missed(seen, rate))]
    free = undeclared(seen)
    observed, expected = float(len(wanted) - len(wrong)), float(len(wanted))
    if wrong:
        message = f"{len(wrong):,} of {counted(len(wanted), 'declared rate')}: {'; '.join(wrong[:3])}"
        return Result("coverage", "fail", None, None, observed, expected, None, message)
    message = "no module declares a rate"
    if wanted:
        message = f"{every(len(wanted), 'declared rate')} {'is' if len(wanted) == 1 else 'are'} drawn at"
    idle = [rate.path for rate in seen.declared if not rate.active]
    if idle:
        message += f"; in evaluation mode while the model trains: {listed(idle)}"
    if seen.sites.unseen:
        message += f"; not seen: {listed(list(seen.sites.unseen))}"
    if free:
        rates = [f"{name} (p = {seen.asked[name][0]:.4g})" if seen.asked[name] else name for name in free]
        message += f"; drawn in modules that declare none: {listed(rates)}"
    return Result("coverage", "pass", None, None, observed, expected, None, message)


def _uncovered(seen: Seen, rate: Declared) -> str:
    """Return what is wrong with the draws at a declared rate, or nothing."""
    inside = [
        (name, site)
        for name, site in seen.named.items()
        if site.module is not None and (site.module == rate.path or _within(site.module, rate.path))
    ]
    declares = f"{rate.path or 'the model'} declares {rate.attribute} = {rate.p:g}"
    if rate.own and inside:
        other = [(name, p) for name, _ in inside for p in seen.asked[name] if not _close(p, rate.p)]
        if other and rate.each:
            name, p = other[0]
            count = _count_at(seen.named[name], p)
            return f"{declares} and draws at {p:.6g} ({count:,} of {len(seen.named[name].masks):,} calls)"
        return ""
    if rate.own:  # as in attention: the rate of a module that is never called is handed to a function
        around = _around(rate.path)
        beside = [p for name, site in seen.named.items() if site.module in (around, None) for p in seen.asked[name]]
        if _near(rate.p, beside + [p for p in _unread(seen, around) if p is not None]):
            return ""
    unread = _unread(seen, rate.path)
    asked = [p for name, _ in inside for p in seen.asked[name] or [rate.p]] + [p for p in unread if p is not None]
    if None in unread or _near(rate.p, asked):
        return ""
    rates = sorted({f"{p:.4g}" for p in asked})
    return f"{declares}; draws in it are at {', '.join(rates)}" if asked else f"{declares} and never drew"


def _missed(seen: Seen, rate: Declared) -> str:
    """Return of a module that draws itself in how few of its calls it did, or nothing."""
    calls = seen.sites.called[rate.path]
    draws = sum(len(site.masks) for site in seen.named.values() if site.module == rate.path == site.base)
    return f"{rate.path} drew in {draws:,} of the {calls:,} calls in training" if 0 < draws < calls else ""


def undeclared(seen: Seen) -> list[str]:
    """Return the sites whose p no module declares."""
    return [name for name, site in seen.named.items() if not _declares(seen, name, site)]


def _declares(seen: Seen, name: str, site: Site) -> bool:
    """Tell whether a site's module declares a rate, or contains a dropout module of its rate that is not called."""
    inside = [rate for rate in seen.declared if rate.own and _around(rate.path) == site.module]
    idle = [rate for rate in inside if all(other.module != rate.path for other in seen.named.values())]
    handed = any(_near(rate.p, seen.asked[name]) for rate in idle)
    return handed or any(rate.path == site.module for rate in seen.declared)


def _around(path: str) -> str:
    """Return the path of the module that contains another."""
    return path.rpartition(".")[0]


def _within(path: str, parent: str) -> bool:
    return not parent or path.startswith(f"{parent}.")


def _unread(seen: Seen, path: str) -> set[float | None]:
    """Return the rates of the draws in a module of which no mask came; None of one whose rate is not known."""
    found: set[float | None] = set()
    for site, _ in seen.sites.unread:
        if not path or site == path or site.startswith(f"{path}."):
            found |= seen.sites.unread_at.get(site, {None})
    return found


def _unseen(seen: Seen, path: str) -> bool:
    return any(site == path or site.startswith(f"{path}.") for site in seen.sites.unseen)


def _close(p: float, other: float) -> bool:
    return abs(p - other) <= _SAME


def _near(p: float, others: Sequence[float]) -> bool:
    return any(_close(p, other) for other in others)


def _count_at(site: Site, p: float) -> int:
    return sum(count for one, count in site.ones.items() if one is not None and (_close(one, p) or _close(1 - one, p)))


def evaluation(seen: Seen, false_alarm: float, shares: int) -> Result:
    """In evaluation mode nothing is drawn, two passes are equal, and the model stays as it is. Exact."""
    found = seen.evaluation
    if found is None or not found.passes:
        return Result("evaluation", "not applicable", message=seen.modeless or "no pass in evaluation mode")
    wrong = []
    if found.draws:
        wrong.append(f"draws in evaluation mode at {listed(found.draws)}")
    if not found.equal:
        wrong.append("two passes in evaluation mode give different outputs")
    changed = [what for what in found.changed if what != "random state" or not found.unused]
    if changed:
        wrong.append(f"a pass in evaluation mode changes the model's {', '.join(changed)}")
    passes = f"{found.passes:,} pass{'es'[: 2 * (found.passes > 1)]}"
    text = "; ".join(wrong) or f"no draw in {passes}, equal outputs, and the model stays as it is"
    if found.unused and not wrong:
        text = f"no draw that is used in {passes}, equal outputs; drawn and not used: {listed(found.unused)}"
    return Result("evaluation", "fail" if wrong else "pass", None, None, float(len(found.draws)), 0.0, None, text)


def state(seen: Seen, false_alarm: float, shares: int) -> Result:
    """After training, evaluation and training again, each site draws as before. Exact."""
    if seen.trained_in_evaluation:
        count = seen.trained_in_evaluation
        text = f"{counted(count, 'pass')} with gradients in evaluation mode after training began: dropout was left off"
        return Result("state", "fail", None, None, float(count), 0.0, None, text)
    if seen.again is None:
        text = seen.modeless or "the model was not put from evaluation back into training"
        return Result("state", "not applicable", message=text)
    after = seen.again.named()
    lost = [name for name, site in seen.named.items() if name not in after and _expected(seen, site, seen.again)]
    other = [name for name, site in after.items() if name in seen.named and _rate_changed(seen.named[name], site)]
    if lost or other:
        text = "after evaluation and back in training, " + "; ".join(
            [f"nothing is drawn at {listed(lost)}"] * bool(lost)
            + [f"the drop probability differs at {listed(other)}"] * bool(other)
        )
        return Result("state", "fail", None, None, float(len(lost) + len(other)), 0.0, None, text)
    text = f"{every(len(seen.named), 'site')} draw{'s' * (len(seen.named) == 1)} again after evaluation"
    return Result("state", "pass", None, None, 0.0, 0.0, None, text)


def _expected(seen: Seen, site: Site, again: Sites) -> bool:
    """Tell whether a site should have drawn in one more pass: its module was called, or it draws in every pass."""
    if again.called:
        return site.module is None or again.called[site.module] > 0 or site.recorder == "outputs"
    return len(site.masks) >= seen.sites.modes[True]


def _rate_changed(before: Site, after: Site) -> bool:
    return after.one is not None and before.one is not None and not _close(before.one, after.one)


def seeds(seen: Seen, false_alarm: float, shares: int) -> Result:
    """Equal seeds give equal masks; unlike seeds give unlike ones. The first is exact, the second has a p-value.

    Independent masks of N neurons are equal with probability (p^2 + q^2)^N; Bonferroni over the sites.
    """
    if seen.seeds is None:
        return Result("seeds", "not applicable", message="no passes with seeds of their own")
    first, same, other = (sites.named() for sites in seen.seeds)
    unlike = [name for name in first if name not in same or first[name].digests != same[name].digests]
    if unlike or first.keys() != same.keys():
        where = listed(unlike or sorted(set(first) ^ set(same)))
        text = f"the same seed gives other masks at {where}: drawn from a generator that the seed does not set"
        return Result("seeds", "fail", None, None, float(len(unlike)), 0.0, None, text)
    chances = {
        name: _log_chance(seen, name, site) + math.log(len(first))
        for name, site in first.items()
        if name in other and site.digests == other[name].digests
    }
    if not chances:
        text = f"equal seeds give equal masks, different seeds different ones, at {every(len(first), 'site')}"
        return Result("seeds", "pass", 1.0, 1.0, 0.0, 0.0, None, text)
    pvalue = math.exp(min(0.0, min(chances.values())))
    significant = [name for name, log in chances.items() if math.exp(min(log, 0.0)) * shares <= false_alarm]
    verdict: Any = "fail" if significant else "pass"
    text = f"two different seeds give the same masks at {listed(significant)}"
    if not significant:
        text = f"equal seeds give equal masks; other seeds some equal short ones by chance, at {listed(list(chances))}"
    return Result("seeds", verdict, pvalue, min(1.0, pvalue * shares), float(len(significant)), 0.0, None, text)


def _log_chance(seen: Seen, name: str, site: Site) -> float:
    """Return the log of the probability that two independent masks of a site are equal."""
    p = seen.recordings[name].p if name in seen.recordings else None
    if p is None:
        return 0.0
    calls, width = site.masks.matrix()[0].shape
    size = calls * min(width, READ)
    return size * math.log(p * p + (1 - p) ** 2) if 0 < p < 1 else 0.0


def recomputed(seen: Seen, false_alarm: float, shares: int) -> Result:
    """Under activation checkpointing a recomputed mask is the forward mask, none missing or added. Exact."""
    counts = seen.sites.replays.recomputed
    if not counts.total:
        why = seen.sites.gradients.reason
        text = f"the model has no gradient: {why}" if why else "nothing was recomputed: no activation checkpointing"
        return Result("recomputed", "not applicable", message=text)
    wrong = _replayed(counts, "recomputed")
    same = "is that" if counts.equal == 1 else "are those"
    text = wrong or f"{every(counts.equal, 'recomputed mask')} {same} of the forward pass"
    observed, expected = float(counts.equal), float(counts.total)
    return Result("recomputed", "fail" if wrong else "pass", None, None, observed, expected, None, text)


def _replayed(counts: Counts, how: str) -> str:
    """Say which masks differ, are missing or were added."""
    passed, added = "of the forward pass", f"{how} that the forward pass did not draw"
    said = []
    for names, one, many in (
        (counts.unequal, f"{how} mask differs from that {passed}", f"{how} masks differ from those {passed}"),
        (counts.missing, f"mask {passed} is not {how}", f"masks {passed} are not {how}"),
        (counts.additional, f"mask is {added}", f"masks are {added}"),
    ):
        if names:
            said.append(f"{len(names):,} {one if len(names) == 1 else many}, at {listed(sorted(set(names)))}")
    return "; ".join(said)


def gradient(seen: Seen, false_alarm: float, shares: int) -> Result:
    """Gradients are zero exactly where the forward pass dropped. Exact."""
    found = seen.sites.gradients
    drawn = _replayed(seen.sites.replays.redrawn, "redrawn (in the backward pass)")
    wrong = {site: count / found.neurons[site] for site, count in found.wrong.items() if count}
    compared = [site for site, count in found.neurons.items() if count]
    if not compared and not seen.sites.replays.redrawn.total:
        why = f": the model has none: {found.reason}" if found.reason else ""
        return Result("gradient", "not applicable", message=f"no gradient was compared with a mask{why}")
    if wrong or drawn:
        text = [
            f"{share:.3g} of the gradients at {site} are zero, {_against(found, site)}" for site, share in wrong.items()
        ]
        message = "; ".join([*text[:3], *([drawn] if drawn else [])])
        return Result("gradient", "fail", None, None, float(sum(found.wrong.values())), 0.0, None, message)
    message = f"gradients are zero exactly where neurons were dropped, at {counted(len(compared), 'site')}"
    if not compared:
        message = f"the backward pass draws {every(seen.sites.replays.redrawn.equal, 'mask')} as the forward pass did"
    bases = {site.base for site in seen.named.values()} - set(compared)
    if bases:
        message += f"; not compared: {listed(sorted(bases))}"
    return Result("gradient", "pass", None, None, 0.0, 0.0, None, message)


def _against(found: Gradients, site: str) -> str:
    """Say how gradients that are zero go against the mask, and what gives just that."""
    inferred = found.wrong[site] == found.blank[site] == found.inferred[site]
    kept = "though the mask keeps, just where the output is 0: the mask is inferred from the output"
    return kept if inferred else "or not, in disagreement with the mask"


def sites(seen: Seen, false_alarm: float, shares: int) -> Result:
    """No two sites share masks or stretches of them, call by call or at any other place: `audit_streams`."""
    groups = comparable.groups(seen.recordings)
    if not groups:
        return Result("sites", "not applicable", message="there are no two sites of enough neurons")
    found = [
        result for group in groups for result in streams_share(group, "independent", false_alarm, shares * len(groups))
    ]
    failing = [result for result in found if result.verdict == "fail"]
    pvalues = [r.adjusted_pvalue for r in found if r.adjusted_pvalue is not None]
    worst = min(failing, key=lambda r: 0.0 if r.adjusted_pvalue is None else r.adjusted_pvalue) if failing else None
    adjusted = min(pvalues) if pvalues else None
    if worst is not None:
        told = [result for result in failing if not result.explained_by] or failing
        text = "; ".join(dict.fromkeys(f"{result.name}: {result.message}" for result in told))
        return replace(worst, name="sites", adjusted_pvalue=adjusted, message=text)
    names = {name for group in groups for name in group}
    text = f"the masks of {len(names):,} sites are independent of one another"
    return Result("sites", "pass", None, adjusted, None, None, None, text)


def _summary(name: str) -> Callable[[Seen, float, int], Result]:
    """Return the check that sums up a test of values over the sites."""

    def check(seen: Seen, false_alarm: float, shares: int) -> Result:
        tested = {site: result for site, results in seen.scored.items() for result in results if result.name == name}
        judged = {site: result for site, result in tested.items() if result.verdict in ("pass", "fail")}
        if not judged:
            return Result(name, "not applicable", message="no values were seen")
        failing = [f"{site}: {result.message}" for site, result in judged.items() if result.verdict == "fail"]
        if failing:
            observed = float(len(judged) - len(failing))
            return Result(name, "fail", None, None, observed, float(len(judged)), None, "; ".join(failing[:3]))
        text = f"right at {every(len(judged), 'site')} with recorded values"
        return Result(name, "pass", None, None, float(len(judged)), float(len(judged)), None, text)

    check.__doc__ = f"Sum up the test `{name}` of the sites with recorded values."
    return check


# Name of each check -> the function that makes its result, in the order of the report.
CHECKS: dict[str, Callable[[Seen, float, int], Result]] = {
    "coverage": coverage,
    "evaluation": evaluation,
    "state": state,
    "seeds": seeds,
    "recomputed": recomputed,
    "gradient": gradient,
    "sites": sites,
    "scale": _summary("scale"),
    "mean": _summary("mean"),
}

# Checks that have p-values, and so a share of the false-alarm rate each.
SHARES = 2
