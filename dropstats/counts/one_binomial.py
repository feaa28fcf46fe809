"""The log probability of one count of a binomial law, without NumPy, whose import takes longer than the answer.

Source: C. Loader (2000), Fast and accurate computation of binomial probabilities, Bell Laboratories.
"""

import math
from collections.abc import Sequence

# log(k!) - (k + 1/2) log k + k - log(2 pi) / 2 for k = 0 (where it is not used), 1, ..., 15
STIRLING_ERRORS = (
    0.0,
    0.08106146679532725822,
    0.04134069595540929409,
    0.02767792568499833915,
    0.02079067210376509311,
    0.01664469118982119216,
    0.01387612882307074800,
    0.01189670994589177010,
    0.01041126526197209650,
    0.00925546218271273292,
    0.00833056343336287126,
    0.00757367548795184079,
    0.00694284010720952987,
    0.00640899418800420707,
    0.00595137011275884774,
    0.00555473355196280137,
)
# 1/3, 1/5, 1/7, ..., highest power first: for |x| <= 1/2 the series in (x / (2 + x))^2 <= 1/9 needs 16 terms for 1e-17
_ATANH_SERIES_BY_SIZE = [[1 / (3.0 + 2 * k) for k in reversed(range(size))] for size in (4, 8, 16)]
LOG_2 = math.log(2)


class OneBinomial:
    """Natural log of the pmf of binomial(n, p), for 0 < p < 1 and 1 <= n <= 2^53.

    With ``mirrored`` it is that of n - X: binomial(n, 1 - p) where 1 - p is never rounded.
    """

    n: float
    p: float
    q: float

    def __init__(self, n: int, p: float, mirrored: bool = False) -> None:
        self.n, self._declared, self._mirrored = float(n), p, mirrored
        self.p, self.q = (1 - p, p) if mirrored else (p, 1 - p)
        number, of = p.as_integer_ratio()
        # n p and n q as unevaluated sums of two doubles: k - n p is then right to the last digit for every k
        self._mean, self._mean_kept = _quotient(n * number, of), _quotient(n * (of - number), of)
        self._error = _stirling_error(self.n)
        # log1p(-p) and log(p) of the exact p
        self._log_p, self._log_q = math.log(p), math.log1p(-p)
        if mirrored:
            self._log_p, self._log_q = self._log_q, self._log_p
            self._mean, self._mean_kept = self._mean_kept, self._mean

    def pmf_at(self, k: float) -> float:
        """Return log P(X = k) of one count 0 <= k <= n."""
        n = self.n
        if k in (0, n):
            return n * (self._log_p if k else self._log_q)
        rest, d = n - k, (k - self._mean[0]) - self._mean[1]
        both = _deviance(k, d, self._mean) + _deviance(rest, -d, self._mean_kept)
        errors = self._error - _stirling_error(k) - _stirling_error(rest)
        return errors - both + 0.5 * math.log(n / (2 * math.pi * k) / rest)


def series(square: float) -> Sequence[float]:
    """Return the coefficients of 2 atanh(s) / s - 2 over s^2 that matter, highest power first."""
    return _ATANH_SERIES_BY_SIZE[0 if square < 4e-5 else 1 if square < 0.01 else 2]


def _deviance(x: float, d: float, mean: tuple[float, float]) -> float:
    """Return x log(x / m) + m - x >= 0 for d = x - m, where m is the sum of the two numbers of `mean`."""
    if d <= 0.5 * x:
        u = -d / x
        if u > 0.5:
            return x * (u - math.log1p(u))
        s = u / (2 + u)
        square = s * s
        total = 0.0
        for coefficient in series(square):
            total = total * square + coefficient
        return x * s * (u - 2 * square * total)
    power = math.frexp(x)[1] - math.frexp(mean[0])[1]
    m = math.ldexp(mean[0], power)
    return x * (power * LOG_2 + math.log1p(((x - m) - math.ldexp(mean[1], power)) / m)) - d


def _stirling_error(k: float) -> float:
    if k < 16:
        return STIRLING_ERRORS[int(k)]
    s = 1 / (k * k)
    return (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s * (1 / 1188 - s * 691 / 360360))))) / k


def _quotient(a: int, b: int) -> tuple[float, float]:
    """Return a / b as an unevaluated sum of two doubles."""
    high = a / b
    c, d = high.as_integer_ratio()
    return high, (a * d - c * b) / (b * d)
