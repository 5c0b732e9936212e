"""Statistics: means and intervals that are known without drawing."""

import math

import numpy as np
import pytest

from medseg.evaluation import Summary, summarise
from medseg.evaluation.statistics import _bootstrap_interval


def test_mean_and_sample_standard_deviation():
    summary = summarise([1.0, 2.0, 3.0, 6.0])
    assert (summary.mean, summary.n) == (3.0, 4)
    assert summary.sd == pytest.approx(math.sqrt(14 / 3))


def test_two_cases_span_the_whole_interval():
    """A quarter of all draws takes the lower case twice, a quarter the higher."""
    assert summarise([0.0, 1.0]).ci95 == (0.0, 1.0)


def test_equal_cases_have_no_spread():
    assert summarise([0.5] * 7) == Summary(mean=0.5, sd=0.0, ci95=(0.5, 0.5), n=7)


def test_interval_of_many_normal_cases_is_that_of_the_normal_theory():
    values = np.random.default_rng(1).normal(10, 2, size=600)
    summary = summarise(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert summary.ci95 == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05 * half)


def test_the_same_cases_give_the_same_interval():
    values = list(np.random.default_rng(2).random(13))
    first = summarise(values).ci95
    _bootstrap_interval.cache_clear()
    assert summarise(values).ci95 == first


def test_one_case_says_nothing_about_the_spread():
    assert summarise([0.25]) == Summary(mean=0.25, sd=None, ci95=None, n=1)


def test_no_case_has_no_mean():
    assert summarise([]) == Summary(mean=None, sd=None, ci95=None, n=0)
