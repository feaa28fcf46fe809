"""A single neuron."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dropstats import _validate
from dropstats.laws.independent import Independent

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True, repr=False)
class Neuron(Independent):
    """A single neuron, dropped with probability p (Bernoulli distribution).

    Parameters
    ----------
    p : float
        Probability that the neuron is dropped, in [0, 1].

    Examples
    --------
    >>> neuron = Neuron(0.25)
    >>> float(neuron.dropped.mean()), float(neuron.kept.pmf(1))
    (0.25, 0.75)
    """

    p: float

    def __init__(self, p: float) -> None:
        object.__setattr__(self, "p", _validate.probability(p))

    @property
    def n(self) -> int:
        """Number of neurons: 1."""
        return 1

    @cached_property
    def dropped(self) -> "Count":
        """Number of dropped neurons, 0 or 1: a frozen ``scipy.stats.bernoulli``."""
        from dropstats import counts

        return counts.Bernoulli(self.p)
