"""What a test is, what it is asked, and what it finds: numbers only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np

from dropstats.auditing.evidence import Evidence
from dropstats.laws import Layer

if TYPE_CHECKING:
    from dropstats.counts import Count
    from dropstats.laws import Law

# Of the neurons that are independent, those of these many rates are looked at as streams, the most frequent first.
_STREAMS = 8


class Unit(NamedTuple):
    """What a bit of a mask is called in a finding."""

    one: str
    many: str
    place: str
    places: str
    neighbours: str


NEURON = Unit("neuron", "neurons", "position", "positions", "neighbours")
GROUP = Unit("group", "groups", "group", "groups", "neighbouring channels")


@dataclass(frozen=True, eq=False)
class Case:
    """What a test is asked: whether the masks follow a law.

    Attributes
    ----------
    seen : Evidence
        Sums over the masks.
    law : Law
        What is declared.
    level : float
        Largest p-value at which a single test may come to fail: what "detectable" refers to.
    scaling : {'inverted', 'direct'}
        Whether kept values are scaled by 1 / (1 - p).
    tolerance : float or None
        Bias of the rate that does not matter to the user.
    design_effect : float
        By how much dependence among neurons widens the variance of sums over all of them.
    mask_effect : float
        By how much dependence within masks widens the variance of sums over one.
    unit : Unit
        What a bit is called.
    whole : Case or None
        For masks reduced to one bit a group, the case of all neurons.
    even : bool
        False where the rate is known to differ from place to place, or from call to call.
    """

    seen: Evidence
    law: "Law"
    level: float = 1e-4
    scaling: str = "inverted"
    tolerance: float | None = None
    design_effect: float = 1.0
    mask_effect: float = 1.0
    unit: Unit = NEURON
    whole: "Case | None" = None
    even: bool = True

    @property
    def trials(self) -> int:
        """Number of masks."""
        return self.seen.trials

    @property
    def n(self) -> int:
        """Number of bits in a mask."""
        return self.seen.n

    @cached_property
    def expected_rate(self) -> float:
        """Declared drop rate; the mean one where neurons' rates differ."""
        rate = self.law.rate
        return float(np.mean(self.law.rates)) if rate is None else rate

    @cached_property
    def free(self) -> int:
        """Number of bits that may be dropped as well as kept."""
        rate = self.law.rate
        if rate is not None:
            return self.n if 0 < rate < 1 else 0
        return int(np.count_nonzero((self.law.rates > 0) & (self.law.rates < 1)))

    @cached_property
    def law_effect(self) -> float:
        """Variance of a mask's count under the law, in variances of independent neurons of its mean rate."""
        law, alone = self.law, self.n * self.expected_rate * (1 - self.expected_rate)
        if not alone or (law.independent and law.rate is not None):
            return 1.0
        return float((law.rates * (1 - law.rates)).sum() if law.independent else law.variance) / alone

    @cached_property
    def shared(self) -> "Count | None":
        """Law of the number of neurons dropped in both of two masks; None where it has no closed form."""
        return self.law.shared()

    def but(self, **changes: Any) -> Self:
        """Return the same case with some attributes changed; the sums are shared."""
        return replace(self, **changes)

    def at_observed_rates(self) -> Self:
        """Return the same case, the declared rates replaced by those observed, one for each distinct one."""
        if self.law.rate is not None:
            return self.but(law=Layer(self.n, self.seen.rate))
        _, where = np.unique(self.law.rates, return_inverse=True)
        sums = np.bincount(where, weights=self.seen.neuron_drops)
        sizes = np.bincount(where, weights=self.seen.neuron_trials)
        return self.but(law=Layer(self.n, (sums / sizes)[where]))

    def of_neurons(self, columns: Any) -> "Case":
        """Return the case of some neurons that are independent of each other."""
        part = Evidence(self.seen.recording.neurons(columns))
        return self.but(seen=part, law=Layer(part.n, self.law.rates[columns]))

    @cached_property
    def apart(self) -> "Case":
        """The case of neurons that are independent of each other: all, or as many as are known to be."""
        columns = self.law.apart
        return self if columns is None else self.of_neurons(columns)

    @cached_property
    def streams(self) -> "tuple[Case, ...]":
        """Cases of independent neurons of one rate, the most frequent rates first."""
        case = self.apart
        if case.law.rate is not None:
            return (case,)
        rates, where, sizes = np.unique(case.law.rates, return_inverse=True, return_counts=True)
        certain = (rates == 0) | (rates == 1)
        order = np.argsort(-sizes * ~certain, kind="stable")[:_STREAMS]
        return tuple(case.of_neurons(np.flatnonzero(where == k)) for k in order if not certain[k])


@dataclass(frozen=True)
class Finding:
    """What a test measured.

    Attributes
    ----------
    pvalue : float or None
        Probability, at most, of so large a departure where the masks follow the law; None where the test needs none.
    observed, expected : float or None
        The number that the test looks at, and its value under the law.
    detectable : float or None
        Smallest departure from `expected` that the test sees with probability 0.9.
    state : {'judged', 'too small', 'not applicable'}
        Whether the test had enough data, would need more masks, or has no meaning here.
    broken : bool
        Whether what was seen cannot come from the law: a failure without a p-value.
    numbers : mapping
        What else the finding's words are made of.
    """

    pvalue: float | None = None
    observed: float | None = None
    expected: float | None = None
    detectable: float | None = None
    state: Literal["judged", "too small", "not applicable"] = "judged"
    broken: bool = False
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.numbers[name]


def not_applicable(why: str) -> Finding:
    """Return the finding of a test that has no meaning here."""
    return Finding(state="not applicable", numbers={"why": why})


def too_small(why: str, **fields: Any) -> Finding:
    """Return the finding of a test that would need more masks."""
    numbers = {"why": why, **fields.pop("numbers", {})}
    return Finding(state="too small", numbers=numbers, **fields)


@dataclass(frozen=True)
class Check:
    """One test of the audit.

    Attributes
    ----------
    name : str
        What it is called in reports.
    measure : callable
        Takes a `Case`, or the streams of an audit of several, and returns a `Finding`.
    explain : callable
        Takes the finding, the case and whether it failed; returns the finding in words.
    decides : bool
        Whether an audit may pass by this test alone; one without it is no proof of a law.
    dependence : bool
        Whether its failure says that neurons, or calls, depend on each other: the rate is then judged by the effective
        sample size.
    whole_masks : bool
        Whether it looks at whole masks, all neurons known.
    excused : {'', 'by the rate', 'by one rate'}
        Whether a wrong rate makes it fail as well, so that it is judged at the observed rate, too; always, or only
        where one rate is declared for all neurons.
    widened : bool
        Whether it judges sums whose variance dependence among neurons widens.
    values : bool
        Whether it looks at what kept neurons became.
    on_request : bool
        Whether it runs only where its name is given.
    about : str
        What it looks at, in plain words: "how many neurons are dropped in all".
    quantity : str
        What its numbers `observed` and `expected` are: "drop rate".
    """

    name: str
    measure: Callable[[Any], Finding]
    explain: Callable[[Finding, Any, bool], str]
    decides: bool = False
    dependence: bool = False
    whole_masks: bool = False
    excused: Literal["", "by the rate", "by one rate"] = ""
    widened: bool = False
    values: bool = False
    on_request: bool = False
    about: str = ""
    quantity: str = ""
