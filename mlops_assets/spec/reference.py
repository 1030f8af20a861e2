"""Writes docs/project.md from the models: every field of a `defs.yaml`, its type, default and meaning.

python -m mlops_assets.spec.reference > docs/project.md
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mlops_assets.spec.data import Column, DataSpec, LabelsSpec
from mlops_assets.spec.duration import format_duration
from mlops_assets.spec.features import FeaturesSpec, HistorySpec, SelectSpec
from mlops_assets.spec.monitoring import DriftSpec, MonitoringSpec
from mlops_assets.spec.pods import PodResources, ResourcesSpec
from mlops_assets.spec.policies import AgePolicy, AllPolicy, AnyPolicy, DriftPolicy, PerformancePolicy
from mlops_assets.spec.problem import (
    MajorityBaseline,
    ProblemSpec,
    SeasonalNaiveBaseline,
    SuccessSpec,
    ValidationSpec,
)
from mlops_assets.spec.project import ProjectSpec, ReplayClock, WallClock
from mlops_assets.spec.promotion import PromotionSpec
from mlops_assets.spec.retraining import BudgetSpec, RetrainingSpec
from mlops_assets.spec.serving import ServingSpec
from mlops_assets.spec.training import H2OAutoMLSpec

Model = type[BaseModel]
EXAMPLE = Path(__file__).parent.parent / "projects" / "bike_demand" / "defs.yaml"
SECTIONS: dict[str, list[Model]] = {
    "attributes": [ProjectSpec],
    "clock": [WallClock, ReplayClock],
    "problem": [ProblemSpec],
    "problem.baseline": [SeasonalNaiveBaseline, MajorityBaseline],
    "problem.success": [SuccessSpec],
    "problem.validation": [ValidationSpec],
    "data": [DataSpec],
    "data.columns": [Column],
    "labels": [LabelsSpec],
    "features": [FeaturesSpec],
    "features.history": [HistorySpec],
    "features.select": [SelectSpec],
    "training": [H2OAutoMLSpec],
    "promotion": [PromotionSpec],
    "serving": [ServingSpec],
    "monitoring": [MonitoringSpec],
    "monitoring.drift": [DriftSpec],
    "retraining": [RetrainingSpec],
    "retraining.budget": [BudgetSpec],
    "resources": [ResourcesSpec],
    "resources.training and endpoint": [PodResources],
    "Policies: retraining.when": [PerformancePolicy, DriftPolicy, AgePolicy, AnyPolicy, AllPolicy],
}
"""The models of each place in the file, in the order of the file."""
INVARIANTS = """\
A project that breaks one of these does not load; the message names the fields and what to do.

**Fields.** Unknown fields are errors. A project's name matches `[a-z][a-z0-9_]*`; names of columns are identifiers. A
function that is named must be importable.

**Columns**
- `problem.target` is declared under `data.columns`; it is a number for regression, has `isin` with at least two classes
  for classification, and is never nullable.
- `features.known` and `features.history.columns` name declared columns, and at least one of them names a column. The
  target is never under `known`. The only category that may be under `history` is the target (as the index of its
  class).
- No column is called `event_time`, `entity`, `event_id`, `due`, `copies` or `prediction`, or `probability_<class>` with
  a class of the target.
- `data.drop` and `data.columns` share no name; neither the time nor the entity column is listed under `data.columns`.
- `ge` and `le` are for numbers, and `ge` is not above `le`.

**Resources**
- `resources.training.memory` is at least the heap of the JVM (`training.memory`) plus 1024Mi.

**Problem**
- `metric` fits `task`, and `f1` is for two classes; no class is listed twice.
- The baseline `majority` is for classification.
- `validation.step` is set with the strategy `walk_forward`, and only with it; it is not longer than `holdout`.

**Time**
- A day is a multiple of `data.every`, and with hourly windows an hour is too; or `data.every` is 7d, with windows of a
  week. `data.end` is after `data.start`; windows of a month start on day 1 to 28.
- `problem.baseline.season` is at least `horizon` + `every` + `arrival_delay` + `labels.delay` (without `every` where
  `stamp: end`), because a newer value is not known when a prediction is due; it is a multiple of `every`.
- `serving.every` is longer than 0, and at most `data.horizon` unless that is 0.
- `features.history.length` is a multiple of `data.every`, at least two steps.
- Each of `features.history.lags` is a multiple of `data.every` and within the feature window, and its value is known
  when a prediction is due: it is at least `horizon` + `every` + `arrival_delay` + `labels.delay`.
- The `clock.start` of a replay is after `data.start`, and not after `data.end`.
- `data.training_window`, if it is a length, is longer than twice the hold-out, and at least the hold-out plus
  `baseline.season`.

**Retraining**
- `cooldown` is at least hold-out + `horizon` + `every` + `arrival_delay` + `labels.delay` + one window: a candidate is
  evaluated on rows that the champion was not trained on.
- In a project with one series the hold-out has at least `promotion.min_rows` rows. Otherwise nothing could be promoted.
- In a project with one series a window has at least `monitoring.min_rows` rows if the policy reads performance or
  drift. If it reads drift, `monitoring.current` has as many, and at least 10. Otherwise no window would ever count.
- `performance` has either `ratio` or `worse_by`. `drift` has `statistic` with `signal: prediction`, and only with it.
"""


def reference() -> str:
    """Return the text of docs/project.md."""
    parts = [
        "# A project's `defs.yaml`",
        "",
        "Written by `make docs` from the models in `mlops_assets/spec/`; do not edit by hand.",
        "",
        "A project is a folder with a `defs.yaml` and a `source.py`, such as `mlops_assets/projects/bike_demand/`, or",
        "`<package>/projects/<name>/` in a repository that `mlops-assets init` wrote.",
        "`dg scaffold defs mlops_assets.MLProject NAME` writes both files, with comments; `dg check yaml FOLDER` names",
        "the line of a mistake. `defs.yaml` has `type: mlops_assets.MLProject`, and `attributes` with the fields",
        "below.",
        "",
        "A length of time is a number and a unit (`us`, `ms`, `s`, `min`, `h`, `d`, `w`), such as `30min` or `14d`.",
        "Dates and times are local in `data.time_zone`. [time.md](time.md) describes what times mean, and",
        "[policies.md](policies.md) how decisions are made.",
    ]
    for place, models in SECTIONS.items():
        parts += ["", f"## {place}", "", *_section(models)]
    parts += ["", "## What must hold", "", INVARIANTS, "## Example", "", "The shipped project `bike_demand`:", ""]
    parts += ["```yaml", EXAMPLE.read_text().rstrip(), "```", ""]
    return "\n".join(parts)


def _section(models: list[Model]) -> Iterator[str]:
    for model in models:
        if len(models) > 1:
            yield from (f"### `type: {_kind(model)}`", "")
        yield from (_sentence(model.__doc__), "")
        yield from ("| field | type | default | meaning |", "|---|---|---|---|")
        for name, field in model.model_fields.items():
            cells = [f"`{field.alias or name}`", _type(field), _default(field), _sentence(field.description)]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        if model is not models[-1]:
            yield ""


def _kind(model: Model) -> str:
    (kind,) = get_args(model.model_fields["type"].annotation)
    return str(kind)


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return f"`{_yaml(field.get_default(call_default_factory=True))}`"


def _yaml(value: Any) -> str:
    """Return a default as it would be written in the file."""
    if value is None:
        return "null"
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, BaseModel):
        given = {(f.alias or n): getattr(value, n) for n, f in type(value).model_fields.items()}
        return "{" + ", ".join(f"{name}: {_yaml(item)}" for name, item in given.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "{}" if value == {} else str(value)


def _type(field: FieldInfo) -> str:
    bounds = _bounds(field.metadata)
    return _words(field.annotation) + (f" {bounds}" if bounds else "")


def _bounds(metadata: list[Any]) -> str:
    signs = {annotated_types.Ge: ">= {0.ge}", annotated_types.Gt: "> {0.gt}", annotated_types.Lt: "< {0.lt}"}
    signs |= {annotated_types.Le: "<= {0.le}", annotated_types.MinLen: "(at least {0.min_length} long)"}
    return ", ".join(signs[type(found)].format(found) for found in metadata if type(found) in signs)


PLAIN: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    timedelta: "length of time",
    datetime: "date or time",
    type(None): "null",
    Any: "anything",
}


def _words(kind: Any) -> str:
    """Return a type in the terms of YAML."""
    if kind in PLAIN:
        return PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _words(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is list:
        return "list of " + _within(arguments[0])
    if origin is dict:
        return f"mapping of {_within(arguments[0])} to {_within(arguments[1])}"
    return _link(kind)


def _union(kinds: tuple[Any, ...]) -> str:
    return " or ".join(dict.fromkeys(_words(kind) for kind in kinds))


def _within(kind: Any) -> str:
    words = _words(kind)
    return f"({words})" if " or " in words and kind is not bool else words


def _link(model: Model) -> str:
    place = next(place for place, models in SECTIONS.items() if model in models)
    anchor = place.lower().replace(".", "").replace(":", "").replace(" ", "-")
    return f"[{place}](#{anchor})"


if __name__ == "__main__":
    sys.stdout.write(reference())
