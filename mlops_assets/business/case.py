"""The business case, as people read it."""

from __future__ import annotations

from mlops_assets.spec import ProjectSpec, SeasonalNaiveBaseline, format_duration
from mlops_assets.spec.policies import AllPolicy, AnyPolicy, DriftPolicy, PerformancePolicy, Policy


def business_case(spec: ProjectSpec) -> str:
    """Markdown that says what is predicted, when, how good is good enough, and what is taken for granted."""
    problem = spec.problem
    rows = [
        ("Predicted", f"`{problem.target}` ({problem.task}), per {format_duration(spec.data.every)}"),
        ("Judged by", f"{problem.metric}, {'greater' if problem.greater_is_better else 'smaller'} is better"),
        ("Success", f"loss at least {problem.success.better_than_baseline_by:.0%} below the baseline's"),
        ("Baseline", _baseline(spec)),
        ("Validation", _validation(spec)),
        ("Answer due", f"{format_duration(spec.data.horizon)} before the event"),
        (
            "Lead for its user",
            f"{format_duration(spec.data.horizon - spec.serving.every)}"
            if spec.data.horizon
            else "none: answered at the event itself",
        ),
        ("Truth known", f"{format_duration(spec.labels.delay)} after the row can be read"),
        ("Retrained when", describe_policy(spec.retraining.when)),
        ("Owners", ", ".join(spec.owners) or "nobody named"),
    ]
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    assumed = "\n".join(f"- {line}" for line in assumptions(spec))
    return f"**{problem.statement}**\n\n| | |\n|---|---|\n{table}\n\nTaken for granted:\n\n{assumed}\n"


def assumptions(spec: ProjectSpec) -> list[str]:
    """What the project takes for granted: its own list, and what its times imply."""
    found = list(spec.problem.assumptions)
    if spec.features.known and spec.data.horizon:
        names = ", ".join(spec.features.known)
        found.append(f"known {format_duration(spec.data.horizon)} ahead: {names}")
    elif spec.features.known:
        found.append(f"instantaneous readings, believed at their own stamp: {', '.join(spec.features.known)}")
    return found


def describe_policy(policy: Policy) -> str:
    """A policy as a sentence."""
    if isinstance(policy, AnyPolicy | AllPolicy):
        return (" or " if policy.type == "any" else " and ").join(
            f"({describe_policy(member)})" for member in policy.of
        )
    if isinstance(policy, PerformancePolicy):
        limit = f"{policy.ratio} times" if policy.ratio is not None else f"{policy.worse_by} above"
        against = f"its first {policy.first} live windows" if policy.against == "first_live_windows" else "its hold-out"
        return f"the loss of the last {policy.last} windows exceeds {limit} that of {against}"
    if isinstance(policy, DriftPolicy):
        what = f"{policy.statistic} of the predictions" if policy.statistic else "the share of drifted columns"
        return f"{what} exceeds {policy.threshold} in {policy.for_} window(s) in a row"
    return f"the model's data are {format_duration(policy.max)} old"


def _baseline(spec: ProjectSpec) -> str:
    baseline = spec.problem.baseline
    if isinstance(baseline, SeasonalNaiveBaseline):
        return f"the value {format_duration(baseline.season)} ago (seasonal naive)"
    return "the most frequent class (majority)"


def _validation(spec: ProjectSpec) -> str:
    validation = spec.problem.validation
    walk = "" if validation.step is None else f", fitted again every {format_duration(validation.step)}"
    return f"{validation.strategy.replace('_', ' ')}: the newest {format_duration(validation.holdout)}, unseen{walk}"
