"""What scipy's frozen laws have behind them: a distribution."""

from typing import Any

from scipy import stats


class Distribution(stats.rv_discrete):  # type: ignore[misc]
    """A distribution without parameters, of which a law of a count is the frozen one."""

    def __new__(cls, count: Any) -> "Distribution":
        """Return an instance, not one of scipy's distributions given by values."""
        return object.__new__(cls)

    def __init__(self, count: Any) -> None:
        self._count = count
        super().__init__(a=0, b=count.n, name="count")

    def _updated_ctor_param(self) -> dict[str, Any]:
        return {"count": self._count}

    def _pmf(self, k: Any) -> Any:
        return self._count.pmf(k)

    def _logpmf(self, k: Any) -> Any:
        return self._count.logpmf(k)

    def _cdf(self, k: Any) -> Any:
        return self._count.cdf(k)

    def _sf(self, k: Any) -> Any:
        return self._count.sf(k)

    def _ppf(self, q: Any) -> Any:
        return self._count.ppf(q)

    def _isf(self, q: Any) -> Any:
        return self._count.isf(q)

    def _stats(self) -> Any:
        return self._count.stats("mvsk")

    def _rvs(self, size: Any = None, random_state: Any = None) -> Any:
        return self._count.rvs(size, random_state)
