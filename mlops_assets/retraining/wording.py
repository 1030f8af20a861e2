"""The texts of conditions, breaches and numbers in decisions."""

from __future__ import annotations

from datetime import timedelta

from mlops_assets.spec.duration import format_duration
from mlops_assets.spec.policies import AgePolicy, DriftPolicy, PerformancePolicy

Leaf = PerformancePolicy | DriftPolicy | AgePolicy
"""A single condition of a policy."""
DAY = timedelta(days=1)


def condition(leaf: Leaf) -> str:
    """Return when a condition is in breach, as in `prediction drift (psi) > 0.2 in 2 windows in a row`."""
    if isinstance(leaf, AgePolicy):
        return f"{subject(leaf)} >= {format_duration(leaf.max)}"
    if isinstance(leaf, DriftPolicy):
        return f"{subject(leaf)} > {leaf.threshold:g}" + (f" in {leaf.for_} windows in a row" if leaf.for_ > 1 else "")
    return f"{subject(leaf)} > {_performance_limit(leaf)}"


def subject(leaf: Leaf) -> str:
    """Return what a condition measures, as in `prediction drift (psi)`."""
    if isinstance(leaf, PerformancePolicy):
        return f"loss of the {_count('last', leaf.last, 'window')}"
    if isinstance(leaf, AgePolicy):
        return "age of the training data"
    return f"prediction drift ({leaf.statistic})" if leaf.signal_of == "prediction" else "share of drifted columns"


def compared(leaf: Leaf, value: float, limit: float) -> str:
    """Return a condition's value and its limit, as in `prediction drift (psi) 0.192, limit 0.2`.

    Args:
        leaf: the condition.
        value: its present value: a loss, a distance, a share from 0 to 1, or an age in days.
        limit: its threshold, in the same unit.
    """
    value_text, limit_text = distinct(value, limit)
    if isinstance(leaf, AgePolicy):
        return f"{subject(leaf)} {value_text} days, limit {limit_text} days"
    more = f" ({_performance_limit(leaf)})" if isinstance(leaf, PerformancePolicy) else ""
    return f"{subject(leaf)} {value_text}, limit {limit_text}{more}"


def performance_breach(leaf: PerformancePolicy, value: float, reference: float) -> str:
    """Return how a recent loss exceeds its reference loss."""
    recent, other = f"{subject(leaf)} ({number(value)})", f"{_reference(leaf)} ({number(reference)})"
    if leaf.worse_by is not None:
        difference, limit = distinct(value - reference, leaf.worse_by)
        return f"{recent} is {difference} above the {other}, limit {limit}"
    ratio = leaf.ratio or 1.0
    if reference == 0:
        return f"{recent} is above the {other}, limit {ratio:g} times that loss"
    times, limit = distinct(value / reference, ratio)
    return f"{recent} is {times} times the {other}, limit {limit} times"


def drift_breach(leaf: DriftPolicy, value: float) -> str:
    """Return how a drift value exceeds its threshold."""
    return compared(leaf, value, leaf.threshold) + (f", in {leaf.for_} windows in a row" if leaf.for_ > 1 else "")


def number(value: float, digits: int = 3) -> str:
    """Return a number with `digits` significant digits, without an exponent for large numbers."""
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def distinct(value: float, limit: float) -> tuple[str, str]:
    """Return two numbers with enough digits for their texts to differ; equal numbers with three digits."""
    for digits in range(3, 17):
        texts = number(value, digits), number(limit, digits)
        if texts[0] != texts[1]:
            return texts
    return number(value), number(limit)


def days(length: timedelta) -> str:
    """Return a length of time as a number of days, without the unit."""
    return number(length / DAY)


def _performance_limit(leaf: PerformancePolicy) -> str:
    return f"{leaf.ratio:g} x {_reference(leaf)}" if leaf.ratio else f"{_reference(leaf)} + {leaf.worse_by:g}"


def _reference(leaf: PerformancePolicy) -> str:
    if leaf.against == "holdout":
        return "loss on the model's hold-out"
    return f"loss of the model's {_count('first', leaf.first, 'live window')}"


def _count(which: str, count: int, thing: str) -> str:
    return f"{which} {thing}" if count == 1 else f"{which} {count} {thing}s"
