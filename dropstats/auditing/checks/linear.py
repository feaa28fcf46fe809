"""Test `linear`: no mask, and no stretch of the sequence of masks, is the xor of others."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import gf2, nulls, triples, words
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small
from dropstats.auditing.streams import Streams
from dropstats.auditing.triples import Triple

# Of at most so many vectors a relation is looked for, to be named.
_NAMED = 512
# More stretches than this that are sums of others come from a generator of as many bits as their rank.
_MANY = 8
# Where so large a share of them are masks, stretches of the stream add nothing.
_ALIKE = 0.9
# Three neurons that correlate by more than this always add up to the same.
_ALWAYS = 0.999
# Streams of which one can be the sum of others, and these not be equal.
_LEAST = 3


class Relations(NamedTuple):
    """Of so many vectors, masks or neurons or stretches of the stream, so many are sums of others over GF(2)."""

    pvalue: float
    nullity: int
    vectors: gf2.Words
    bits: int
    of: str


def measure(case: Case) -> Finding:
    """Null: no three or more masks, neurons or stretches of the sequence of masks have a constant xor, all 0 or all 1.

    The statistic is the nullity over GF(2) of the matrix of masks by neurons, and that of the matrix of stretches of
    the sequence; both are trimmed to a size at which a relation by chance is improbable. The expected number of
    relations is exact for p = 1/2 and a bound for other p, and the p-value is conservative (Markov). In addition,
    products of three neurons at the lags of known generators, or of successive calls, are tested (Freedman's bound);
    Bonferroni. If rates differ, or neurons depend on each other, independent neurons of one rate are used. Catches
    masks that are the xor of others, shift registers, R250 and lagged Fibonacci generators. Needs some thousands of
    neurons.
    """
    streams = [one for one in case.streams if one.law.rate not in (0.0, 1.0) and 0 < one.seen.rate < 1]
    if not streams:
        return not_applicable(f"no {case.unit.one} differs from another at this rate")
    return min((_of_stream(one, len(streams)) for one in streams), key=_significance)


def _significance(finding: Finding) -> tuple[float, bool]:
    return finding.pvalue or 0.0, finding.state != "judged"


def _of_stream(case: Case, streams: int) -> Finding:
    rate, seen = case.law.rate or 0.0, case.seen
    # a rate further from 1/2 than the declared one must not pass for a relation; that masks have a say in their shape
    # is paid for, as relations by chance are fewer than the level by more than there are shapes
    bias, level = max(abs(1 - 2 * rate), abs(1 - 2 * seen.rate)), case.level / (3 * streams)
    masks = _of_masks(case, bias, level)
    found = [one for one in (masks, _of_stretches(case, masks, bias, level)) if one is not None]
    triple = triples.worst(seen, rate)
    pvalue = nulls.bonferroni(*(one.pvalue for one in found), triple.pvalue)
    relations = min(found, key=lambda one: one.pvalue, default=None)
    fields: dict[str, Any] = {"pvalue": min(1.0, streams * pvalue), "expected": 0.0}
    fields["observed"] = float(relations.nullity if relations else 0)
    fields["numbers"] = {"relations": relations, "triple": triple, "case": case}
    return Finding(**fields) if found else too_small("neurons", **fields)


def _of_masks(case: Case, bias: float, level: float) -> Relations | None:
    """Return the relations among masks, or among neurons where these are fewer."""
    masks = case.trials <= case.n
    few, many = sorted((case.trials, case.n))
    shape = gf2.shape(few, many, few * many, bias, level)
    if shape is None:
        return None
    if masks:
        packed = case.seen.recording.packed[: shape.vectors]
    else:
        packed = np.packbits(case.seen.drops_of(0, shape.bits)[:, : shape.vectors].T, axis=1)
    return _relations(packed, shape, "mask" if masks else case.unit.one)


def _of_stretches(case: Case, masks: Relations | None, bias: float, level: float) -> Relations | None:
    """Return the relations among stretches of the stream; None where there are hardly more of them than of masks.

    A linear generator of r bits has rank r at most by either.
    """
    size = case.trials * case.n
    shape = gf2.shape(size, size, size, bias, level)
    if shape is None or (masks is not None and masks.vectors.shape[0] > _ALIKE * shape.vectors):
        return None
    stream = case.seen.elements(0, shape.vectors * shape.bits)
    return _relations(np.packbits(stream.reshape(shape.vectors, shape.bits), axis=1), shape, "stretch")


def _relations(packed: NDArray[np.uint8], shape: gf2.Shape, of: str) -> Relations:
    vectors = gf2.words(packed, shape.bits)
    nullity = gf2.nullity(vectors)
    return Relations(gf2.pvalue(nullity, shape.log_expected), nullity, vectors, shape.bits, of)


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say which masks are xors of others, or which generator makes such a stream."""
    relations, triple, part = finding["relations"], finding["triple"], finding["case"]
    if failed:
        # the lags of a known generator say more than the rank of its stream
        named = (triple.near, triple.far) in triples.GENERATORS or abs(triple.correlation) > _ALWAYS
        if relations is None or relations.pvalue > case.level or (named and triple.pvalue <= case.level):
            text = _of_triple(triple, part)
        else:
            text = _departure(relations)
    elif relations is None:
        return f"{words.counted(part.trials * part.n, case.unit.one)} are too few to detect a relation"
    else:
        text = f"no xor of any of {_vectors(relations)} is constant"
    if part.n < case.n:
        text += f" ({words.counted(part.n, case.unit.one)} of rate {part.law.rate:.4g})"
    return text


def _vectors(relations: Relations) -> str:
    many = {"mask": "masks", "stretch": "stretches of the stream"}.get(relations.of, f"{relations.of}s")
    return f"{relations.vectors.shape[0]:,} {many} of {relations.bits:,} bits"


def _of_triple(triple: Triple, case: Case) -> str:
    """Say at which lags neurons follow from two earlier ones, and of which generator these are."""
    near, far = triple.near, triple.far
    name = triples.GENERATORS.get((near, far))
    if name is None:
        who, before = "mask", f"those {near // case.n:,} and {far // case.n:,} calls before"
    else:
        who, before = case.unit.one, f"those {near:,} and {far:,} before in the stream"
    if abs(triple.correlation) > _ALWAYS and case.law.rate == 0.5:
        text = f"each {who} is the xor of {before}"
    else:
        text = f"{who}s have triple correlation {triple.correlation:.3g} with {before}"
    return f"{text}: {name}" if name else text


def _departure(relations: Relations) -> str:
    """Say how many vectors are sums of others, and which one."""
    count, nullity = relations.vectors.shape[0], relations.nullity
    rank = count - nullity
    if nullity > _MANY and (relations.of == "stretch" or rank < count / 2):
        return f"{_vectors(relations)} have rank {rank:,} over GF(2): a linear generator of {rank:,} bits"
    if relations.of == "stretch":
        return f"{_vectors(relations)} have rank {rank:,} over GF(2)"
    text = f"{words.counted(nullity, relations.of)} of {count:,} {'is' if nullity == 1 else 'are'} the xor of others"
    found = gf2.relation(relations.vectors[:_NAMED])
    return f"{text}: {_sum(found, relations.of)}" if found else text


def _sum(found: list[int], of: str) -> str:
    *others, last = found
    place = "call" if of == "mask" else "position"
    return f"that of {place} {last:,} is that of {place}s {words.listed(f'{one:,}' for one in others)}"


CHECK = Check(
    "linear",
    measure,
    explain,
    dependence=True,
    whole_masks=True,
    excused="by the rate",
    about="whether masks, neurons or stretches of the masks are the xor of others, as linear generators make them",
    quantity="number of such relations",
)


# ---- several streams -------------------------------------------------------------------------------------------------


def measure_streams(seen: Streams) -> Finding:
    """Null: no three or more streams have a constant xor, all 0 or all 1. Conservative (Markov).

    Independent neurons of one rate are used. Catches a stream that is the xor of others.
    """
    if len(seen.names) < _LEAST or not seen.strata:
        return not_applicable("not defined for two streams" if seen.strata else "all masks are alike at these rates")
    part = seen.strata[0]
    rates = [law.rate for law in part.laws if law is not None and law.rate is not None]
    bias = max(abs(1 - 2 * rate) for rate in [*rates, *(one.rate for one in part.evidence)])
    shape = gf2.shape(len(seen.names), part.size, len(seen.names) * part.size, bias, seen.level)
    if shape is None:
        return too_small("neurons", numbers={"size": part.size})
    calls = -(-shape.bits // part.n)
    bits = [one.masks(0, calls).reshape(-1)[: shape.bits] for one in part.recordings[: shape.vectors]]
    found = _relations(np.packbits(bits, axis=1), shape, "stream")
    return Finding(found.pvalue, float(found.nullity), 0.0, numbers={"relations": found})


def explain_streams(finding: Finding, seen: Streams, failed: bool) -> str:
    """Say which stream is the xor of which others."""
    if finding.state == "too small":
        return f"streams of {words.counted(finding['size'], 'neuron')} are too short"
    relations = finding["relations"]
    if not failed:
        return f"no xor of any of {_vectors(relations)} is constant"
    *others, last = (seen.names[place] for place in gf2.relation(relations.vectors[:_NAMED]))
    more = f" ({relations.nullity:,} such streams)" if relations.nullity > 1 else ""
    return f"{last} is the xor of {words.listed(others)}{more}"


STREAMS = Check(
    "linear",
    measure_streams,
    explain_streams,
    whole_masks=True,
    about="whether one stream is the xor of others",
    quantity="number of such relations",
)
