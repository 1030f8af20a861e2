"""How the policy's conditions and their numbers are said to people. Pure."""

from __future__ import annotations

from datetime import timedelta

from mlops_assets.spec.duration import format_duration
from mlops_assets.spec.policies import AgePolicy, DriftPolicy, PerformancePolicy

Leaf = PerformancePolicy | DriftPolicy | AgePolicy
DAY = timedelta(days=1)


def condition(leaf: Leaf) -> str:
    """What would be a breach of a condition, in words."""
    if isinstance(leaf, AgePolicy):
        return f"{subject(leaf)} >= {format_duration(leaf.max)}"
    if isinstance(leaf, DriftPolicy):
        return f"{subject(leaf)} > {leaf.threshold:g}" + (f" in {leaf.for_} windows in a row" if leaf.for_ > 1 else "")
    by = f"{leaf.ratio:g} x that of {_against(leaf)}" if leaf.ratio else f"that of {_against(leaf)} + {leaf.worse_by:g}"
    return f"{subject(leaf)} > {by}"


def subject(leaf: Leaf) -> str:
    """What a condition looks at, in words."""
    if isinstance(leaf, PerformancePolicy):
        return f"loss of the {_count('last', leaf.last, 'window')}"
    if isinstance(leaf, AgePolicy):
        return "age of the model's data"
    return (
        f"{leaf.statistic} distance of the predictions"
        if leaf.signal_of == "prediction"
        else "share of drifted columns"
    )


def number(value: float, digits: int = 3) -> str:
    """A number as a sentence shows it: significant digits, never an exponent for large ones."""
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def apart(value: float, limit: float) -> tuple[str, str]:
    """Two numbers, with as many digits as tell them apart: "1.3 is above 1.3" convinces nobody."""
    for digits in range(3, 17):
        texts = number(value, digits), number(limit, digits)
        if texts[0] != texts[1]:
            return texts
    return number(value), number(limit)


def worse(leaf: PerformancePolicy, value: float, reference: float) -> str:
    """How the recent loss compares with the reference."""
    recent, against = f"the {subject(leaf)} ({number(value)})", f"that of {_against(leaf)} ({number(reference)})"
    if leaf.worse_by is not None:
        by, allowed = apart(value - reference, leaf.worse_by)
        return f"{recent} is {by} above {against}, more than the {allowed} allowed"
    ratio = leaf.ratio or 1.0
    if reference == 0:
        return f"{recent} is above {against}, of which {ratio:g} times is allowed"
    times, allowed = apart(value / reference, ratio)
    return f"{recent} is {times} times {against}, above the {allowed} allowed"


def _against(leaf: PerformancePolicy) -> str:
    return (
        "the model's hold-out"
        if leaf.against == "holdout"
        else f"the model's {_count('first', leaf.first, 'live window')}"
    )


def _count(which: str, count: int, thing: str) -> str:
    return f"{which} {thing}" if count == 1 else f"{which} {count} {thing}s"


def days(length: timedelta) -> str:
    """A length of time as a number of days."""
    return number(length / DAY)
