"""DropConnect: the weights of a layer dropped independently."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dropstats import _validate
from dropstats.laws.independent import Independent

if TYPE_CHECKING:
    from dropstats.counts import Count


@dataclass(frozen=True, repr=False)
class DropConnect(Independent):
    """The weights of a fully connected layer, dropped independently with probability p.

    The mask lists the weights of the first output, then those of the second, like PyTorch's (out_features,
    in_features). An output loses all its inputs with probability p^inputs; the number that do, `dead_outputs`, is
    binomial. Given the inputs, the pre-activations of different outputs are independent; when the inputs themselves
    are dropped they are correlated.

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
    def prob_output_dead(self) -> float:
        """Probability that a given output loses all its inputs, p^inputs."""
        return float(self.p**self.inputs)

    @cached_property
    def dead_outputs(self) -> "Count":
        """Distribution of the number of outputs that lose all their inputs."""
        from dropstats import counts

        return counts.Binomial(self.outputs, self.prob_output_dead)
