"""What scaling by 1/q does, and does not do: variance shift, effective learning rate, the ridge that dropout is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats import _validate
from dropstats._numerics import scalar
from dropstats.activation.preactivation import PreActivation
from dropstats.laws import Law

Array = NDArray[np.float64]


def _rates(p: Any) -> Array:
    """Return drop probabilities below 1, one or many, refusing what inverted dropout cannot scale."""
    array = _validate.finite(p, "p", ndim=(0, 1), shape="() or (k,)")
    _validate.probabilities(array, array.size)
    if (array == 1).any():
        place = f" at index {int(np.argmax(array == 1))}" if array.ndim else ""
        raise ValueError(f"inverted scaling 1/(1 - p) is undefined at p = 1; got p = 1{place}")
    return array


def _decay(weight_decay: float) -> float:
    decay = _validate.number(weight_decay, "weight_decay")
    if decay < 0:
        raise ValueError(f"weight_decay must not be negative; got {weight_decay!r}")
    return decay


def variance_shift(
    p: ArrayLike, mean: float = 0.0, variance: float = 1.0, *, correlation: float = 0.0, n: int = 1, cos2: float = 0.0
) -> Any:
    """Return the variance in inference divided by the variance in training of a layer behind inverted dropout.

    Of one neuron, or of a weighted sum of uncorrelated ones, with inputs of mean c and variance v, and q = 1 - p:
    ``v / ((c^2 + v)/q - c^2)`` (case a of the source). Of a weighted sum of n inputs of pairwise correlation rho:
    ``(v + r) / ((c^2 + v)/q - c^2 + r)``, ``r = rho v (n cos2 - 1)`` (case b).

    Parameters
    ----------
    p : float or array_like of shape (k,)
        Drop probability, in [0, 1).
    mean, variance : float
        Moments of an activation before dropout; the variance must be positive.
    correlation : float
        Correlation rho between two activations, in [-1, 1]; 0 gives case a.
    n : int
        Number of inputs.
    cos2 : float
        cos^2 of the angle between the weights and the vector of ones, (sum w)^2 / (n sum w^2), in [0, 1].

    Notes
    -----
    Below 1 wherever p > 0: a batch normalisation meets less variance in inference than it was trained with.

    X. Li, S. Chen, X. Hu, J. Yang (2019). Understanding the disharmony between dropout and batch normalization by
    variance shift. Proc. IEEE/CVF Conference on Computer Vision and Pattern Recognition.
    doi:10.1109/CVPR.2019.00279. For given weights and inputs see `PreActivation.variance_shift`.

    Examples
    --------
    >>> variance_shift(0.5)
    0.5
    >>> round(variance_shift(0.5, mean=1.0), 6)
    0.333333
    >>> round(variance_shift(0.5, 0.5, 0.5, correlation=0.05, n=64, cos2=0.02), 9)
    0.403341289
    """
    q = 1 - _rates(p)
    c, v = _validate.number(mean, "mean"), _validate.number(variance, "variance")
    rho, cosine = _validate.number(correlation, "correlation"), _validate.number(cos2, "cos2")
    if v <= 0:
        raise ValueError(f"variance must be positive; got {variance!r}")
    if not -1 <= rho <= 1:
        raise ValueError(f"correlation must be in [-1, 1]; got {correlation!r}")
    if not 0 <= cosine <= 1:
        raise ValueError(f"cos2 must be in [0, 1]; got {cos2!r}")
    shared = rho * v * (_validate.neurons(n, minimum=1) * cosine - 1) if rho else 0.0
    if v + shared < 0:
        raise ValueError(
            f"these moments give the sum a negative variance, so no {n} inputs can have them; "
            f"got correlation {correlation!r}, n = {n}, cos2 = {cos2!r}"
        )
    # (c^2 + v)/q - c^2 = v/q + c^2 p/q, without the difference
    return scalar((v + shared) / (v / q + c**2 * (1 - q) / q + shared))


@dataclass(frozen=True)
class EffectiveLearningRate:
    """What becomes of a learning rate lr under inverted dropout with drop probability p; see `effective_learning_rate`.

    Attributes
    ----------
    kept_unit, mean_step, rms_step : float or ndarray
        Of the factor m/q of a step: lr/q, where the neuron is kept; lr, the mean over masks; lr/sqrt(q), the root mean
        square.
    direct_equivalent : float or ndarray
        lr/q^2, the rate of plain gradient descent with direct dropout on outgoing weights V = W/q that makes the same
        function take the same steps. Incoming weights keep lr.
    weight_decay : float or ndarray
        q times the weight decay, its strength relative to lr/q: inverted dropout makes L2 weaker by q.
    direct_weight_decay : float or ndarray
        q^2 times the weight decay, the strength on V that equals it on W; the decay of a step is unchanged.
    """

    kept_unit: Any
    mean_step: Any
    rms_step: Any
    direct_equivalent: Any
    weight_decay: Any
    direct_weight_decay: Any


def effective_learning_rate(lr: float, p: ArrayLike, weight_decay: float = 0.0) -> EffectiveLearningRate:
    """Return what a learning rate amounts to under inverted dropout, in each sense of the word.

    The gradient of a neuron carries the factor m/q: 0 where it is dropped, 1/q where it is kept. So "the learning rate
    is boosted by 1/q" holds for a kept neuron at the same weights; the mean step is not boosted at all. Optimisers that
    normalise gradients (Adam, sign descent) and a batch normalisation behind the layer remove constant factors.

    Parameters
    ----------
    lr : float
        Learning rate of plain gradient descent, positive.
    p : float or array_like of shape (k,)
        Drop probability, in [0, 1).
    weight_decay : float
        Strength of L2, not negative.

    Examples
    --------
    >>> rate = effective_learning_rate(0.01, 0.5)
    >>> rate.kept_unit, rate.mean_step, round(rate.rms_step, 6), rate.direct_equivalent
    (0.02, 0.01, 0.014142, 0.04)
    """
    q = 1 - _rates(p)
    rate = _validate.number(lr, "lr")
    if rate <= 0:
        raise ValueError(f"lr must be positive; got {lr!r}")
    decay = _decay(weight_decay)
    steps = (rate / q, rate + 0 * q, rate / np.sqrt(q), rate / q**2, decay * q, decay * q**2)
    return EffectiveLearningRate(*map(scalar, steps))


def ridge_penalty(weights: ArrayLike, inputs: ArrayLike, law: Law, curvature: ArrayLike | None = None) -> float:
    """Return the penalty that inverted dropout on the inputs adds, on average, to a linear model's loss.

    ``1/2 sum_b a_b sum_i (p_i/q_i) w_i^2 x_bi^2``, summed over examples and outputs. With a_b = 1 it is exact for
    half the sum of squared errors; with a_b = A''(x_b w) it is the quadratic approximation for a generalised linear
    model whose log-partition function is A, logistic regression with a = s(1 - s).

    Parameters
    ----------
    weights : array_like, shape (n,) or (n, outputs)
    inputs : array_like, shape (n,) or (batch, n)
    law : Law
        Law of the masks on the inputs (or on the weights), with independent neurons and p < 1.
    curvature : array_like, broadcasting with ``inputs @ weights``, optional
        A'' of each prediction.

    Notes
    -----
    S. Wager, S. Wang, P. Liang (2013). Dropout training as adaptive regularization. Advances in Neural Information
    Processing Systems 26.

    Examples
    --------
    >>> from dropstats import Layer
    >>> round(ridge_penalty([0.5, 1.0], [[1.0, 2.0], [0.0, 1.0]], Layer(2, 0.5)), 6)
    2.625
    """
    variance = PreActivation(weights, inputs, law).training.variance
    factor = 1.0 if curvature is None else np.asarray(curvature, dtype=np.float64)
    return float(0.5 * np.sum(factor * variance))


def ridge_solution(inputs: ArrayLike, targets: ArrayLike, law: Law, weight_decay: float = 0.0) -> Array:
    """Return the weights, of shape (n,), that minimise the expected squared error of a linear neuron under dropout.

    ``(X'X + diag(p/q) diag(X'X) + weight_decay I)^-1 X'y``: the minimum of
    ``E 1/2 |y - X~ w|^2 + weight_decay/2 |w|^2`` over masks of inverted dropout, which training approaches. Source: as
    for `ridge_penalty`.

    Parameters
    ----------
    inputs : array_like, shape (batch, n)
    targets : array_like, shape (batch,)
    law : Law
        Law of the masks on the n inputs, with independent neurons and p < 1.
    weight_decay : float
        Strength of L2, not negative, on the scale of the sum over examples.

    Examples
    --------
    >>> from dropstats import Layer
    >>> ridge_solution([[1.0], [1.0]], [2.0, 2.0], Layer(1, 0.5))
    array([1.])
    """
    x = _validate.finite(inputs, "inputs", ndim=(2,), shape="(batch, n)")
    y = _validate.finite(targets, "targets", ndim=(1,), shape="(batch,)")
    if y.shape[0] != x.shape[0]:
        raise ValueError(
            f"inputs and targets must have the same batch; got inputs of shape {x.shape}, targets of shape {y.shape}"
        )
    decay = _decay(weight_decay)
    # column i of the sums x_bi m_i / q_i, whose variances over masks, added up, are (p_i/q_i) sum_b x_bi^2
    spread = PreActivation(np.eye(x.shape[1]), x, law).training.variance.sum(axis=0)
    return np.asarray(np.linalg.solve(x.T @ x + np.diag(spread + decay), x.T @ y))
