"""Effects of scaling by 1/q: variance shift, effective learning rate, and dropout as a ridge penalty."""

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
    """Return the variance in inference divided by the variance in training, after inverted dropout.

    For one neuron, or a weighted sum of uncorrelated ones, with inputs of mean c and variance v, and q = 1 - p, it is
    ``v / ((c^2 + v)/q - c^2)`` (case a of the source). For a weighted sum of n inputs of pairwise correlation rho it is
    ``(v + r) / ((c^2 + v)/q - c^2 + r)`` with ``r = rho v (n cos2 - 1)`` (case b).

    Parameters
    ----------
    p : float or array_like of shape (k,)
        Drop probability, in [0, 1).
    mean, variance : float
        Moments of an activation before dropout; the variance must be positive. 0 and 1 by default.
    correlation : float
        Correlation rho between any two activations, in [-1, 1]; 0 (default) gives case a.
    n : int
        Number of inputs; 1 by default.
    cos2 : float
        Squared cosine of the angle between the weights and the vector of ones, (sum w)^2 / (n sum w^2), in [0, 1].

    Returns
    -------
    float or ndarray of shape (k,)

    Raises
    ------
    ValueError
        If an argument is out of range, or no n inputs can have these moments.

    Notes
    -----
    The ratio is below 1 for every p > 0: after a batch normalisation the variance in inference is smaller than the one
    it was trained with.

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
    """Effective learning rates under inverted dropout; see `effective_learning_rate`.

    Attributes
    ----------
    kept_unit, mean_step, rms_step : float or ndarray
        lr times the factor m/q of the gradient: lr/q if the neuron is kept; lr, the mean over masks; lr/sqrt(q), the
        root mean square.
    direct_equivalent : float or ndarray
        lr/q^2, the learning rate at which gradient descent with direct dropout takes the same steps in function space,
        for outgoing weights V = W/q. Incoming weights keep lr.
    weight_decay : float or ndarray
        q times the weight decay: its strength relative to the learning rate lr/q of a kept neuron.
    direct_weight_decay : float or ndarray
        q^2 times the weight decay: the strength on V that is equivalent to the given one on W.

    Examples
    --------
    >>> rate = effective_learning_rate(0.01, 0.5, weight_decay=0.001)
    >>> rate.mean_step, rate.kept_unit, rate.weight_decay
    (0.01, 0.02, 0.0005)
    """

    kept_unit: Any
    mean_step: Any
    rms_step: Any
    direct_equivalent: Any
    weight_decay: Any
    direct_weight_decay: Any


def effective_learning_rate(lr: float, p: ArrayLike, weight_decay: float = 0.0) -> EffectiveLearningRate:
    """Return the effective learning rates of gradient descent under inverted dropout.

    Inverted dropout multiplies the gradient of a neuron by m/q: by 0 if it is dropped, by 1/q if it is kept. The
    learning rate is therefore 1/q times larger for a kept neuron, but unchanged on average over masks. Optimisers that
    normalise gradients (Adam, sign descent), or a batch normalisation after the layer, cancel constant factors.

    Parameters
    ----------
    lr : float
        Learning rate of plain gradient descent, positive.
    p : float or array_like of shape (k,)
        Drop probability, in [0, 1).
    weight_decay : float
        Strength of the L2 penalty, not negative; 0 by default.

    Returns
    -------
    EffectiveLearningRate

    Raises
    ------
    ValueError
        If an argument is out of range.

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
    """Return the penalty that inverted dropout on the inputs adds, on average, to the loss of a linear model.

    It is ``1/2 sum_b a_b sum_i (p_i/q_i) w_i^2 x_bi^2``, summed over examples b, inputs i and outputs. With a_b = 1 it
    is exact for the loss 1/2 (sum of squared errors). With a_b = A''(x_b w) it is the quadratic approximation for a
    generalised linear model with log-partition function A; for logistic regression a = s(1 - s).

    Parameters
    ----------
    weights : array_like, shape (n,) or (n, outputs)
        Weights w.
    inputs : array_like, shape (n,) or (batch, n)
        Inputs x.
    law : Law
        Law of the masks on the inputs (or on the weights), with independent neurons and p < 1.
    curvature : array_like, optional
        Second derivative A'' for each prediction, broadcast with ``inputs @ weights``; 1 by default.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If shapes do not match, neurons depend on each other, or some p is 1.

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

    They are ``(X'X + diag(p/q) diag(X'X) + weight_decay I)^-1 X'y``, the minimum of
    ``E 1/2 |y - X~ w|^2 + weight_decay/2 |w|^2``, where X~ are the inputs after inverted dropout and the expectation
    is over masks. Source: as for `ridge_penalty`.

    Parameters
    ----------
    inputs : array_like, shape (batch, n)
        Inputs X.
    targets : array_like, shape (batch,)
        Targets y.
    law : Law
        Law of the masks on the n inputs, with independent neurons and p < 1.
    weight_decay : float
        Strength of the L2 penalty, not negative, relative to the sum over examples; 0 by default.

    Raises
    ------
    ValueError
        If shapes do not match, neurons depend on each other, or some p is 1.

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
