"""From one number a case to mean, standard deviation and a confidence interval.

In: the values of one metric, one for each case that counts. Out: a ``Summary``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["BOOTSTRAP_RESAMPLES", "BOOTSTRAP_SEED", "Summary", "summarise"]

BOOTSTRAP_RESAMPLES = 10_000
"""Enough for the ends of the interval to move by about 1 % of its width from seed to seed."""

BOOTSTRAP_SEED = 0
"""Fixed, so that the same cases always give the same interval."""

BLOCK_DRAWS = 4_000_000
"""Draws held at a time; bounds the memory to about 64 MB for any number of cases."""


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation and 95 % confidence interval of the mean over ``n`` cases.

    ``mean`` is absent without a case; ``sd`` and ``ci95`` are absent with fewer than two, because one case
    says nothing about the spread.
    """

    mean: float | None
    sd: float | None
    ci95: tuple[float, float] | None
    n: int


def summarise(values: Sequence[float]) -> Summary:
    """The summary of one metric; the interval is the percentile bootstrap over cases.

    Cases are drawn with replacement, as many as there are, ``BOOTSTRAP_RESAMPLES`` times; the interval runs
    from the 2.5th to the 97.5th percentile of the means (Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapter 13).
    """
    cases = np.asarray(values, dtype=np.float64)
    n = len(cases)
    if n == 0:
        return Summary(mean=None, sd=None, ci95=None, n=0)
    mean = float(cases.mean())
    if n == 1:
        return Summary(mean=mean, sd=None, ci95=None, n=1)
    return Summary(mean=mean, sd=float(cases.std(ddof=1)), ci95=_bootstrap_interval(tuple(cases.tolist())), n=n)


@lru_cache(maxsize=4096)  # the table on the screen and the summary file ask for the same intervals
def _bootstrap_interval(values: tuple[float, ...]) -> tuple[float, float]:
    cases = np.array(values)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    means = np.empty(BOOTSTRAP_RESAMPLES)
    block = max(BLOCK_DRAWS // len(cases), 1)
    for start in range(0, BOOTSTRAP_RESAMPLES, block):
        stop = min(start + block, BOOTSTRAP_RESAMPLES)
        means[start:stop] = cases[generator.integers(0, len(cases), size=(stop - start, len(cases)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
