"""Null distributions of the audit's tests; they know no masks."""

from dropstats.auditing.nulls.bounds import (
    amplitude_bound,
    bounded_tails,
    event_bound,
    product_bound,
    repeats_bound,
    weighted_bound,
)
from dropstats.auditing.nulls.conditional import paired, paired_tails, shared_tails
from dropstats.auditing.nulls.detectable import (
    POWER,
    detectable_correlation,
    detectable_rate,
    detectable_student,
    detectable_variance,
)
from dropstats.auditing.nulls.sums import count_sum_tails, histogram, score_sum_tails, squared_deviation, window
from dropstats.auditing.nulls.tails import (
    binomial,
    binomial_tails,
    bonferroni,
    count_tails,
    normal_quantile,
    normal_two_sided,
    sidak,
    student_quantile,
    student_two_sided,
    two_sided,
)  # fmt: skip

__all__ = [
    "POWER",
    "amplitude_bound",
    "binomial",
    "binomial_tails",
    "bonferroni",
    "bounded_tails",
    "count_sum_tails",
    "count_tails",
    "detectable_correlation",
    "detectable_rate",
    "detectable_student",
    "detectable_variance",
    "event_bound",
    "histogram",
    "normal_quantile",
    "normal_two_sided",
    "paired",
    "paired_tails",
    "product_bound",
    "repeats_bound",
    "score_sum_tails",
    "shared_tails",
    "sidak",
    "squared_deviation",
    "student_quantile",
    "student_two_sided",
    "two_sided",
    "weighted_bound",
    "window",
]
