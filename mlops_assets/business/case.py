"""The text of a project's business case."""

from __future__ import annotations

from mlops_assets.spec import ProjectSpec, SeasonalNaiveBaseline, format_duration
from mlops_assets.spec.policies import AllPolicy, AnyPolicy, DriftPolicy, PerformancePolicy, Policy


def business_case(spec: ProjectSpec) -> str:
    """Return Markdown that says what is predicted, when, when it is good enough, and what is assumed."""
    problem = spec.problem
    rows = [
        ("Predicted", f"`{problem.target}` ({problem.task}), per {format_duration(spec.data.every)}"),
        ("Metric", f"{problem.metric}, {'greater' if problem.greater_is_better else 'smaller'} is better"),
        ("Success criterion", f"loss at least {problem.success.better_than_baseline_by:.0%} below the baseline's"),
        ("Baseline", _baseline(spec)),
        ("Validation", _validation(spec)),
        ("Prediction due", f"{format_duration(spec.data.horizon)} before the event"),
        (
            "Lead time",
            f"at least {format_duration(spec.data.horizon - spec.serving.every)}"
            if spec.data.horizon
            else "none: predicted at the time of the event",
        ),
        ("Labels available", f"{format_duration(spec.labels.delay)} after the row can be read"),
        ("Retraining", "when " + describe_policy(spec.retraining.when)),
        ("Owners", ", ".join(spec.owners) or "none named"),
    ]
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    assumed = "\n".join(f"- {line}" for line in assumptions(spec))
    return f"**{problem.statement}**\n\n| | |\n|---|---|\n{table}\n\nAssumptions:\n\n{assumed}\n"


def assumptions(spec: ProjectSpec) -> list[str]:
    """Return the assumptions of the project: its own list, and what its horizon implies."""
    found = list(spec.problem.assumptions)
    if spec.features.known and spec.data.horizon:
        names = ", ".join(spec.features.known)
        found.append(f"these columns are known {format_duration(spec.data.horizon)} before the event: {names}")
    elif spec.features.known:
        found.append(
            f"these columns are instantaneous readings, known at their timestamp: {', '.join(spec.features.known)}"
        )
    return found


def describe_policy(policy: Policy) -> str:
    """Return a retraining policy as text, such as `the share of drifted columns exceeds 0.5 in a window`."""
    if isinstance(policy, AnyPolicy | AllPolicy):
        return (" or " if policy.type == "any" else " and ").join(
            f"({describe_policy(member)})" for member in policy.of
        )
    if isinstance(policy, PerformancePolicy):
        recent = "loss of the last window" if policy.last == 1 else f"mean loss of the last {policy.last} windows"
        first = "first live window" if policy.first == 1 else f"first {policy.first} live windows"
        reference = f"the loss of the model's {first if policy.against == 'first_live_windows' else 'hold-out'}"
        if policy.ratio is not None:
            return f"the {recent} exceeds {policy.ratio:g} times {reference}"
        return f"the {recent} exceeds {reference} by {policy.worse_by:g}"
    if isinstance(policy, DriftPolicy):
        what = f"the prediction drift ({policy.statistic})" if policy.statistic else "the share of drifted columns"
        windows = "a window" if policy.for_ == 1 else f"{policy.for_} consecutive windows"
        return f"{what} exceeds {policy.threshold:g} in {windows}"
    return f"the training data of the model are at least {format_duration(policy.max)} old"


def _baseline(spec: ProjectSpec) -> str:
    baseline = spec.problem.baseline
    if isinstance(baseline, SeasonalNaiveBaseline):
        return f"the value {format_duration(baseline.season)} ago (seasonal naive)"
    return "the most frequent class (majority)"


def _validation(spec: ProjectSpec) -> str:
    validation = spec.problem.validation
    walk = "" if validation.step is None else f", refitted every {format_duration(validation.step)}"
    strategy = validation.strategy.replace("_", " ")
    return f"{strategy}: on the newest {format_duration(validation.holdout)}, not used for training{walk}"
