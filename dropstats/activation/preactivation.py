"""The input of the next neuron in training and in inference, for each scaling."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats import _validate
from dropstats._numerics import scalar
from dropstats.activation.masked_sum import MaskedSum
from dropstats.laws import Law
from dropstats.laws.foreign import independent_law

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PreActivation:
    """The input z of the next neuron or neurons, a weighted sum of masked activations, in training and in inference.

    =============  =========================  =====================
    scaling        in training                in inference
    =============  =========================  =====================
    ``inverted``   sum_i w_i x_i m_i / q_i    sum_i w_i x_i
    ``direct``     sum_i w_i x_i m_i          sum_i w_i x_i q_i
    ``None``       sum_i w_i x_i m_i          sum_i w_i x_i
    =============  =========================  =====================

    Parameters
    ----------
    weights : array_like, shape (n,) or (n, outputs)
        Weights w of the next neuron or neurons.
    inputs : array_like, shape (n,) or (batch, n)
        Activations x of the n neurons, for one example or a batch.
    law : Law
        Law of the masks, with independent neurons. With n neurons it masks the inputs; with n * outputs neurons it
        masks the weights in the order of ``weights.ravel()``, which is DropConnect (Wan et al. 2013). The two differ
        in the covariance between outputs.
    scaling : {'inverted', 'direct', None}
        Scaling that makes the means of training and inference equal, as in the table; None scales neither. 'inverted'
        by default.

    Attributes
    ----------
    training, inference : MaskedSum
        Exact mean, variance, covariance, skewness, kurtosis and cumulants; cdf, sf, pdf, normal() and lattice().

    Raises
    ------
    ValueError
        If shapes do not match, a number is not finite, neurons depend on each other, or some p is 1 with inverted
        scaling.

    Examples
    --------
    The input of a neuron after 100 neurons of activation 1 and weight 1 that are dropped with probability 0.4:

    >>> from dropstats import Layer, PreActivation
    >>> plain = PreActivation([1] * 100, [1] * 100, Layer(100, 0.4), scaling=None)
    >>> round(plain.training.mean, 6), round(plain.training.variance, 6), plain.inference.mean
    (60.0, 24.0, 100.0)
    >>> scaled = PreActivation([1] * 100, [1] * 100, Layer(100, 0.4))
    >>> round(scaled.training.mean, 6), round(scaled.training.variance, 6), scaled.inference.variance
    (100.0, 66.666667, 0.0)
    """

    weights: Array
    inputs: Array
    law: Law
    scaling: Literal["inverted", "direct"] | None

    def __init__(
        self,
        weights: ArrayLike,
        inputs: ArrayLike,
        law: Law,
        scaling: Literal["inverted", "direct"] | None = "inverted",
    ) -> None:
        w = _validate.finite(weights, "weights", ndim=(1, 2), shape="(n,) or (n, outputs)")
        x = _validate.finite(inputs, "inputs", ndim=(1, 2), shape="(n,) or (batch, n)")
        if w.shape[0] != x.shape[-1]:
            raise ValueError(
                f"weights and inputs must have the same n; got weights of shape {w.shape} and inputs of shape {x.shape}"
            )
        if scaling not in ("inverted", "direct", None):
            raise ValueError(f"scaling must be 'inverted', 'direct' or None; got {scaling!r}")
        law = independent_law(law, "PreActivation")
        if law.n not in (w.shape[0], w.size):
            raise ValueError(
                f"the law must have a neuron for each of the {w.shape[0]} inputs, or for each of the {w.size} weights; "
                f"got n = {law.n} and weights of shape {w.shape}"
            )
        certain = np.flatnonzero(law.rates == 1)
        if scaling == "inverted" and certain.size:
            raise ValueError(
                "inverted scaling 1/(1 - p) is undefined at p = 1; "
                f"got p = 1 for neuron {int(certain[0])}: use scaling='direct' or None"
            )
        for name, value in (("weights", w), ("inputs", x), ("law", law), ("scaling", scaling)):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return _validate.fields(self)

    @property
    def _rates(self) -> Array:
        """Drop probabilities, in the shape of the weights where these are masked."""
        of_weights = self.weights.ndim == 2 and self.law.n != self.weights.shape[0]
        return self.law.rates.reshape(self.weights.shape) if of_weights else self.law.rates

    @cached_property
    def training(self) -> MaskedSum:
        """The sum in training, random over masks."""
        p = self._rates
        return MaskedSum(self.weights, self.inputs, p, 1 / (1 - p) if self.scaling == "inverted" else np.ones(p.shape))

    @cached_property
    def inference(self) -> MaskedSum:
        """The sum in inference, without masks; its variance over masks is 0."""
        p = self._rates
        factor = 1 - p if self.scaling == "direct" else np.ones(p.shape)
        return MaskedSum(self.weights, self.inputs, np.zeros(p.shape), factor)

    @property
    def variance_shift(self) -> Any:
        """Variance in inference divided by variance in training, over the batch of inputs and over masks.

        Var_b(z_b) / (Var_b(E z_b) + mean_b Var_mask(z_b)), of shape (outputs,) or a number; NaN where both variances
        are 0. A batch normalisation after this layer is wrong by this factor in inference (Li et al. 2019). The
        function `variance_shift` computes it from the moments of the inputs.

        Examples
        --------
        >>> import numpy as np
        >>> from dropstats import Layer, PreActivation
        >>> x = np.random.default_rng(0).standard_normal((20_000, 50))
        >>> round(PreActivation(np.ones(50), x, Layer(50, 0.5)).variance_shift, 2)
        0.5
        """
        if self.inputs.ndim == 1:
            raise ValueError(f"variance_shift needs a batch of inputs, of shape (batch, n); got {self.inputs.shape}")
        inference = np.var(self.inference.mean, axis=0)
        training = np.var(self.training.mean, axis=0) + np.mean(self.training.variance, axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return scalar(inference / training)
