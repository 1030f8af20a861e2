"""A project's whole spec, and what must hold between its parts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from mlops_assets.spec.data import DataSpec, LabelsSpec, level_name
from mlops_assets.spec.duration import LocalTime, SpecModel, format_duration
from mlops_assets.spec.features import FeaturesSpec
from mlops_assets.spec.monitoring import MonitoringSpec
from mlops_assets.spec.pods import ResourcesSpec
from mlops_assets.spec.policies import leaves
from mlops_assets.spec.problem import ProblemSpec, SeasonalNaiveBaseline
from mlops_assets.spec.promotion import PromotionSpec
from mlops_assets.spec.retraining import RetrainingSpec
from mlops_assets.spec.serving import ServingSpec
from mlops_assets.spec.training import H2OAutoMLSpec

WINDOW_AT_MOST = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
}

MEBIBYTES_WITHOUT_HEAP = 1024
"""Mebibytes that a training needs in addition to the heap of its JVM."""


class WallClock(SpecModel):
    """The project's time is the system's time."""

    type: Literal["wall"] = "wall"
    """The kind of clock."""


class ReplayClock(SpecModel):
    """Past data are replayed as if they were live. The project's time moves when a person or a command moves it."""

    type: Literal["replay"]
    """The kind of clock."""
    start: LocalTime
    """The project's time before the clock is first moved."""


class ProjectSpec(SpecModel):
    """One ML project."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the project; the prefix of its assets, jobs and sensors."""
    owners: list[str] = []
    """Owners of the assets: `team:name` or e-mail addresses."""
    clock: Annotated[WallClock | ReplayClock, Field(discriminator="type")] = WallClock()
    """Where the project's time comes from."""
    problem: ProblemSpec
    """What is predicted, and when it is good enough."""
    data: DataSpec
    """Where the rows come from, and the time of their series."""
    labels: LabelsSpec = LabelsSpec()
    """When labels are known."""
    features: FeaturesSpec
    """The inputs of the model."""
    training: H2OAutoMLSpec = H2OAutoMLSpec()
    """How candidates are trained."""
    promotion: PromotionSpec = PromotionSpec()
    """What a candidate must show to be promoted."""
    serving: ServingSpec
    """When predictions are requested."""
    monitoring: MonitoringSpec = MonitoringSpec()
    """Which rows the reports compare."""
    retraining: RetrainingSpec
    """When a new candidate is trained."""
    resources: ResourcesSpec = ResourcesSpec()
    """Requests and limits of pods on Kubernetes."""

    @model_validator(mode="after")
    def _parts_agree(self) -> ProjectSpec:
        contradictions = [_at_its_place(text) for text in _contradictions(self)]
        if contradictions:
            raise ValidationError.from_exception_data(type(self).__name__, contradictions)
        return self

    @property
    def give_up(self) -> timedelta:
        """How long the scorer retries when the service fails, before events are missed.

        The default is the longest possible window: in a replay the first event of a window has waited for the whole
        window when it is requested, and a single failure must not make it missed.
        """
        return self.serving.give_up or WINDOW_AT_MOST[self.data.window] + timedelta(hours=1)

    @property
    def classes(self) -> list[str]:
        """The classes of a classification target, as strings, in the order of the file; empty for regression."""
        if self.problem.task == "regression":
            return []
        allowed = self.data.columns[self.problem.target].isin
        return [level_name(value) for value in allowed or []]


def _at_its_place(text: str) -> InitErrorDetails:
    """Return a contradiction as an error of the field that its first word names, so that Dagster shows the line."""
    place = tuple(text.partition(" ")[0].split("."))
    return InitErrorDetails(type="value_error", loc=place, input=None, ctx={"error": ValueError(text)})


def _contradictions(spec: ProjectSpec) -> Iterator[str]:
    yield from _columns_disagree(spec)
    yield from _times_disagree(spec)
    yield from _guards_disagree(spec)
    yield from _resources_disagree(spec)


def _columns_disagree(spec: ProjectSpec) -> Iterator[str]:
    columns, target = spec.data.columns, spec.problem.target
    if target not in columns:
        yield f"problem.target {target!r} is not under data.columns; declare its dtype there"
        return
    used = [("features.known", name) for name in spec.features.known]
    used += [
        ("features.history.columns", name) for name in (spec.features.history.columns if spec.features.history else [])
    ]
    for place, name in used:
        if name not in columns:
            yield f"{place} names {name!r}, which is not under data.columns"
        elif place.startswith("features.history") and columns[name].dtype == "category" and name != target:
            yield f"{place} names {name!r}, a category; only numbers have past values"
    if target in spec.features.known:
        yield f"features.known names the target {target!r}, which is not known when a prediction is due"
    if not used:
        yield "features names neither known nor history columns: a model would have no inputs"
    if spec.problem.task == "classification":
        taken = {f"probability_{name}" for name in spec.classes} & set(columns)
        if taken:
            yield f"data.columns names {sorted(taken)}, the names of class probabilities in predictions; rename them"
        if len(columns[target].isin or []) < 2:
            yield f"data.columns.{target}.isin must list the classes of a classification target"
        twice = sorted({name for name in spec.classes if spec.classes.count(name) > 1})
        if twice:
            yield f"data.columns.{target}.isin lists the classes {twice} more than once (1 and 1.0 are the same)"
        if spec.problem.metric == "f1" and len(spec.classes) > 2:
            yield f"problem.metric f1 is for two classes, not {len(spec.classes)}; use f1_macro"
    elif columns[target].dtype not in ("float", "int"):
        yield f"data.columns.{target} must be a number for regression, not {columns[target].dtype}"
    if columns[target].nullable:
        yield f"data.columns.{target} must not be nullable: a row without it cannot be used for training or evaluation"


def _times_disagree(spec: ProjectSpec) -> Iterator[str]:
    data, serving, show = spec.data, spec.serving, format_duration
    stamped = timedelta(0) if data.stamp == "end" else data.every
    known_after = data.horizon + stamped + data.arrival_delay + spec.labels.delay
    baseline = spec.problem.baseline
    if isinstance(baseline, SeasonalNaiveBaseline):
        if baseline.season < known_after:
            yield (
                f"problem.baseline.season ({show(baseline.season)}) is shorter than horizon + every + arrival_delay + "
                f"labels.delay ({show(known_after)}): that value is not known yet when a prediction is due"
            )
        if baseline.season % data.every:
            yield (
                f"problem.baseline.season ({show(baseline.season)}) must be a multiple of data.every "
                f"({show(data.every)})"
            )
    if serving.every <= timedelta(0):
        yield "serving.every must be longer than 0"
    elif data.horizon and serving.every > data.horizon:
        yield (
            f"serving.every ({show(serving.every)}) is longer than data.horizon ({show(data.horizon)}): "
            f"predictions would come too late"
        )
    history = spec.features.history
    if history is not None and (history.length % data.every or history.length < 2 * data.every):
        yield (
            f"features.history.length ({show(history.length)}) must be a multiple of data.every ({show(data.every)}), "
            f"at least two steps"
        )
    for age in history.lags if history is not None else []:
        oldest = known_after - spec.labels.delay + history.length - data.every if history is not None else age
        if age % data.every or not known_after <= age <= oldest:
            yield (
                f"features.history.lags ({show(age)}) must be a multiple of data.every, at least horizon + every + "
                f"arrival_delay + labels.delay ({show(known_after)}), and lie within the window ({show(oldest)})"
            )
    if isinstance(spec.clock, ReplayClock):
        if spec.clock.start <= data.start:
            yield f"clock.start ({spec.clock.start}) must come after data.start ({data.start})"
        if data.end is not None and spec.clock.start > data.end:
            yield f"clock.start ({spec.clock.start}) must not come after data.end ({data.end})"
    if isinstance(data.training_window, timedelta) and data.training_window <= 2 * spec.problem.validation.holdout:
        yield f"data.training_window ({show(data.training_window)}) must be longer than twice the hold-out"
    yield from _reach_disagrees(spec)


def _reach_disagrees(spec: ProjectSpec) -> Iterator[str]:
    """The baseline predicts the hold-out from values one season before it, which must be in the dataset."""
    window, baseline = spec.data.training_window, spec.problem.baseline
    if not isinstance(window, timedelta) or not isinstance(baseline, SeasonalNaiveBaseline):
        return
    needed = spec.problem.validation.holdout + baseline.season
    if window < needed:
        yield (
            f"data.training_window ({format_duration(window)}) is shorter than the hold-out and "
            f"problem.baseline.season before it ({format_duration(needed)}): the baseline would have no prediction"
        )


def _guards_disagree(spec: ProjectSpec) -> Iterator[str]:
    data, holdout, show = spec.data, spec.problem.validation.holdout, format_duration
    needed = holdout + data.horizon + data.every + data.arrival_delay + spec.labels.delay + WINDOW_AT_MOST[data.window]
    if spec.retraining.cooldown < needed:
        yield (
            f"retraining.cooldown ({show(spec.retraining.cooldown)}) must be at least hold-out + horizon + every + "
            f"arrival_delay + labels.delay + one window ({show(needed)}): a candidate is evaluated on rows that the "
            f"champion was not trained on"
        )
    expected = holdout // data.every
    if data.entity is None and expected < spec.promotion.min_rows:
        yield (
            f"promotion.min_rows ({spec.promotion.min_rows}) is more than the hold-out of {show(holdout)} holds "
            f"({expected} rows): nothing could ever be promoted"
        )
    if data.entity is None:
        yield from _always_too_few_rows(spec)


def _always_too_few_rows(spec: ProjectSpec) -> Iterator[str]:
    """Yield conditions that no window can trigger, in a project with one series: its rows per window are known."""
    every, monitoring, show = spec.data.every, spec.monitoring, format_duration
    conditions = {leaf.type for leaf in leaves(spec.retraining.when)}
    in_window, in_current = WINDOW_AT_MOST[spec.data.window] // every, monitoring.current // every
    if conditions & {"performance", "drift"} and in_window < monitoring.min_rows:
        yield (
            f"monitoring.min_rows ({monitoring.min_rows}) is more than a {spec.data.window} of one series holds "
            f"({in_window} rows of {show(every)}): no window would count, and neither loss nor drift would trigger a "
            f"retraining; write at most {in_window}, or choose a longer data.window"
        )
    needed = monitoring.drift_rows
    if "drift" in conditions and in_current < needed:
        yield (
            f"monitoring.current ({show(monitoring.current)}) holds {in_current} rows of {show(every)}, and drift "
            f"needs {needed}: it would never be measured; write at least {show(needed * every)}"
        )


def _resources_disagree(spec: ProjectSpec) -> Iterator[str]:
    pod, heap = spec.resources.training, spec.training.memory
    megabytes = int(heap[:-1]) * (1024 if heap.endswith("g") else 1)
    if pod is not None and pod.bytes < (megabytes + MEBIBYTES_WITHOUT_HEAP) * 2**20:
        yield (
            f"resources.training.memory ({pod.memory}) must be at least the heap of the JVM (training.memory, {heap}) "
            f"plus {MEBIBYTES_WITHOUT_HEAP}Mi: otherwise the cluster kills the step"
        )
