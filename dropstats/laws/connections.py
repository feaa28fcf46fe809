"""Independent elements that are lost in whole rows now and then: weights, attention probabilities, residual blocks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.laws.base import Independent

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True)
class DropConnect(Independent):
    """The weights of a fully connected layer, dropped independently with probability p.

    The mask holds, for each output in turn, its weights from all inputs, as PyTorch's (out_features, in_features).
    An output loses all its inputs with probability p^inputs; the number that do is binomial: `dead_outputs`.
    Pre-activations of different outputs are uncorrelated, which they are not where inputs themselves are dropped.

    Parameters
    ----------
    inputs, outputs : int
        Number of inputs and outputs of the layer.
    p : float
        Probability that a weight is dropped.

    References
    ----------
    L. Wan, M. Zeiler, S. Zhang, Y. LeCun, R. Fergus (2013). Regularization of neural networks using DropConnect.
    Proceedings of Machine Learning Research 28(3), 1058-1066.

    Examples
    --------
    >>> law = DropConnect(inputs=4, outputs=3, p=0.5)
    >>> law.n, law.prob_output_dead, round(float(law.dead_outputs.sf(0)), 6)
    (12, 0.0625, 0.176025)
    """

    inputs: int
    outputs: int
    p: float

    def __init__(self, inputs: int, outputs: int, p: Any) -> None:
        object.__setattr__(self, "inputs", _validate.neurons(inputs, "inputs"))
        object.__setattr__(self, "outputs", _validate.neurons(outputs, "outputs"))
        object.__setattr__(self, "p", _validate.probability(p))
        _validate.neurons(self.n, "inputs times outputs")

    @property
    def n(self) -> int:
        """Number of weights."""
        return self.inputs * self.outputs

    @property
    def rates(self) -> NDArray[np.float64]:  # type: ignore[override]
        """Drop probability of each weight, a read-only view of shape (n,)."""
        return np.broadcast_to(np.float64(self.p), (self.n,))

    @property
    def prob_output_dead(self) -> float:
        """Probability that a given output loses all its inputs, p^inputs."""
        return float(self.p**self.inputs)

    @cached_property
    def dead_outputs(self) -> "Count":
        """Law of the number of outputs that lose all their inputs."""
        from dropstats import counts

        return counts.Binomial(self.outputs, self.prob_output_dead)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inputs, self.outputs, self.p)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inputs}, {self.outputs}, {self.p!r})"


@dataclass(frozen=True)
class AttentionDropout(Independent):
    """Attention probabilities, dropped independently with probability p after the softmax.

    A query whose keys are all dropped attends to nothing: with probability p^keys, or p^i for the i-th query of a
    causal mask, which has i keys. The number of such queries is Poisson-binomial: `empty_rows`. The sum of a row, 1
    before dropout, has variance (p / q) sum a^2 where a are its probabilities.

    Parameters
    ----------
    queries, keys : int
        Number of rows and columns of the attention matrix.
    p : float
        Probability that an element is dropped.
    causal : bool
        Whether query i sees only the keys 1 to i, as many keys as queries. The mask then holds the lower triangle
        alone, row by row, as ``numpy.tril_indices`` lists it.

    References
    ----------
    A. Vaswani et al. (2017). Attention is all you need. Advances in Neural Information Processing Systems 30,
    5998-6008, arXiv:1706.03762, as its code and its successors apply dropout.

    Examples
    --------
    >>> law = AttentionDropout(1024, 1024, 0.1, causal=True)
    >>> round(float(law.empty_rows.mean()), 6), round(float(law.empty_rows.pmf(0)), 6)
    (0.111111, 0.89001)
    """

    queries: int
    keys: int
    p: float
    causal: bool = False

    def __init__(self, queries: int, keys: int, p: Any, causal: bool = False) -> None:
        object.__setattr__(self, "queries", _validate.neurons(queries, "queries"))
        object.__setattr__(self, "keys", _validate.neurons(keys, "keys"))
        object.__setattr__(self, "p", _validate.probability(p))
        object.__setattr__(self, "causal", bool(causal))
        if self.causal and self.queries != self.keys:
            # libraries disagree about which corner a rectangular causal mask starts from
            raise ValueError(f"causal needs as many keys as queries; got {self.queries} queries and {self.keys} keys")
        _validate.neurons(self.n, "the number of attention probabilities")

    @property
    def n(self) -> int:
        """Number of attention probabilities that are not masked already."""
        return self.queries * (self.queries + 1) // 2 if self.causal else self.queries * self.keys

    @property
    def rates(self) -> NDArray[np.float64]:  # type: ignore[override]
        """Drop probability of each element, a read-only view of shape (n,)."""
        return np.broadcast_to(np.float64(self.p), (self.n,))

    @cached_property
    def empty_rows(self) -> "Count":
        """Law of the number of queries of which all keys are dropped."""
        from dropstats import counts

        if not self.causal:
            return counts.Binomial(self.queries, float(self.p**self.keys))
        return counts.of_rates((float(p), 1) for p in self.p ** np.arange(1.0, self.queries + 1))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.queries, self.keys, self.p, self.causal)

    def __repr__(self) -> str:
        causal = ", causal=True" if self.causal else ""
        return f"{type(self).__name__}({self.queries}, {self.keys}, {self.p!r}{causal})"


# What the drop probability of block l = 1..depth is for a largest one of p.
_SCHEDULES: dict[str, Callable[[int], NDArray[np.float64]]] = {
    "huang": lambda depth: np.arange(1, depth + 1) / depth,
    "timm": lambda depth: np.arange(depth) / max(depth - 1, 1),
    "torchvision": lambda depth: np.arange(depth) / max(depth, 1),
    "uniform": lambda depth: np.ones(depth),
}


@dataclass(frozen=True)
class DropPath(Independent):
    """Stochastic depth: whole residual blocks dropped, independently, the later the likelier.

    Papers and libraries use different schedules, whose expected depths differ, so the rule must be named. `kept` is
    the law of the depth. Samples of a batch are dropped each on their own in timm and torchvision ("row"), all
    together in the paper ("batch").

    Parameters
    ----------
    depth : int
        Number of residual blocks L.
    p : float
        Largest drop probability, that of the last block ("torchvision": of the block after it).
    rule : {'huang', 'timm', 'torchvision', 'uniform'}
        Drop probability of block l = 1..L: p l / L (Huang et al. 2016), p (l - 1) / (L - 1) (timm, linspace(0, p, L)),
        p (l - 1) / L (torchvision's EfficientNet), or p (LayerDrop; Fan et al. 2020, arXiv:1909.11556).

    References
    ----------
    G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Q. Weinberger (2016). Deep networks with stochastic depth. ECCV 2016,
    646-661, doi:10.1007/978-3-319-46493-0_39.

    Examples
    --------
    >>> [float(DropPath(54, 0.5, rule).kept.mean()) for rule in ("huang", "timm", "torchvision", "uniform")]
    [40.25, 40.5, 40.75, 27.0]
    """

    depth: int
    p: float
    rule: str

    def __init__(self, depth: int, p: Any, rule: str | None = None) -> None:
        object.__setattr__(self, "depth", _validate.neurons(depth, "depth"))
        object.__setattr__(self, "p", _validate.probability(p))
        object.__setattr__(self, "rule", _validate.choice(rule, "rule", _SCHEDULES))
        _validate.memory(8 * self.depth, f"the rates of {self.depth} blocks")

    @property
    def n(self) -> int:
        """Number of blocks."""
        return self.depth

    @cached_property
    def rates(self) -> NDArray[np.float64]:  # type: ignore[override]
        """Drop probability of each block, from the input on, read-only, of shape (depth,)."""
        rates: NDArray[np.float64] = self.p * _SCHEDULES[self.rule](self.depth)
        rates.flags.writeable = False
        return rates

    def _rate_counts(self) -> Iterator[tuple[float, int]]:
        if self.rule == "uniform":
            yield self.p, self.depth
        else:
            yield from super()._rate_counts()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.depth, self.p, self.rule)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.depth}, {self.p!r}, {self.rule!r})"
