"""Test `complexity`: no short linear recurrence generates the bits; runs only on request."""

import math
from typing import Any

from dropstats.auditing import gf2, nulls, words
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small

# Neurons of the stream that are looked at: enough for the Mersenne Twister's 19,937 bits, in a fifth of a second.
_NEURONS = 2**16
# Linear generators by the bits of their state; a stream of their complements has one more.
_GENERATORS = {
    19937: "the Mersenne Twister MT19937",
    250: "R250",
    128: "xorshift128",
    113: "LFSR113",
    88: "taus88",
    512: "WELL512",
    1024: "WELL1024",
}


def measure(case: Case) -> Finding:
    """Null: the bits are independent and fair; their linear complexity then has a known distribution. Exact, two-sided.

    The Berlekamp-Massey algorithm finds the length of the shortest recurrence over GF(2) that generates the first
    65,536 neurons of the sequence of all masks. If rates differ, or neurons depend on each other, only independent
    neurons of p = 1/2 are used. Catches every linear generator of at most 32,000 bits, including the Mersenne Twister,
    which is why it runs only on request. Needs p = 1/2.

    Notes
    -----
    R. A. Rueppel (1986). Analysis and design of stream ciphers. Springer, chapter 4. doi:10.1007/978-3-642-82865-2
    """
    stream = next((one for one in case.streams if one.law.rate == 0.5), None)
    if stream is None:
        return not_applicable("no neuron has p = 1/2")
    size = min(stream.trials * stream.n, _NEURONS)
    length = gf2.linear_complexity(stream.seen.elements(0, size).tolist())
    fields: dict[str, Any] = {"observed": float(length), "expected": size / 2, "numbers": {"size": size}}
    fields["pvalue"] = float(nulls.two_sided(*tails(length, size)))
    return Finding(**fields) if 2 * _low(0, size) <= case.level else too_small("short", **fields)


def tails(length: int, size: int) -> tuple[float, float]:
    """Return P(L <= length) and P(L >= length) of the linear complexity L of so many fair bits.

    Of the 2^size sequences 2^min(2 L - 1, 2 size - 2 L) have complexity L > 0, and one has 0.

    Examples
    --------
    >>> tails(2, 3)  # 5 of 8 sequences of 3 bits: 000, 1.. and 01., but for 100 and 001
    (0.875, 0.625)
    """
    if length <= size // 2:
        return _low(length, size), 1 - _low(length - 1, size)
    return 1 - _high(length + 1, size), _high(length, size)


def _low(length: int, size: int) -> float:
    """Return P(L <= length) where length is at most half of size."""
    none = math.ldexp(1.0, -size)
    return none + 2 / 3 * (math.ldexp(1.0, 2 * length - size) - none) if length >= 0 else 0.0


def _high(length: int, size: int) -> float:
    """Return P(L >= length) where length is more than half of size."""
    return 4 / 3 * (math.ldexp(1.0, size - 2 * length) - math.ldexp(1.0, -size - 2))


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say of how many bits a linear generator of the stream would be."""
    if finding.state == "too small":
        return f"a stream of {words.counted(finding['size'], case.unit.one)} is too short"
    length = int(finding.observed or 0)
    text = f"the first {finding['size']:,} {case.unit.many} of the stream have linear complexity {length:,}"
    name = _GENERATORS.get(length) or _GENERATORS.get(length - 1)
    return f"{text}: {f'that of {name}' if name else 'a linear generator'}" if failed else text


CHECK = Check(
    "complexity",
    measure,
    explain,
    whole_masks=True,
    on_request=True,
    about="whether the shortest linear recurrence that generates the bits is as long as for random bits",
    quantity="length of the recurrence",
)
