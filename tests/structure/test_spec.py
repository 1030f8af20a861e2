"""Every field of a `defs.yaml` is documented and used, and the reference is what the models say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from source_code import ROOT, below, modules

from mlops_assets.spec import policies
from mlops_assets.spec.duration import SpecModel
from mlops_assets.spec.reference import SECTIONS, reference

UPDATE = "make docs"
READ_AS = {
    # by what name the code holds a part: `<name>.<field>` counts as reading it; `x[]` is an item of x
    "ProjectSpec": {"spec"},
    "WallClock": {"clock"},
    "ReplayClock": {"clock"},
    "ProblemSpec": {"problem"},
    "SeasonalNaiveBaseline": {"baseline"},
    "MajorityBaseline": {"baseline"},
    "SuccessSpec": {"success"},
    "ValidationSpec": {"validation"},
    "DataSpec": {"data"},
    "Column": {"column", "columns[]"},
    "LabelsSpec": {"labels"},
    "FeaturesSpec": {"features", "spec"},
    "HistorySpec": {"history", "past"},
    "SelectSpec": {"select"},
    "H2OAutoMLSpec": {"training", "spec"},
    "PromotionSpec": {"promotion"},
    "ServingSpec": {"serving"},
    "MonitoringSpec": {"monitoring", "spec"},
    "DriftSpec": {"drift"},
    "RetrainingSpec": {"retraining", "policy"},
    "BudgetSpec": {"budget"},
    "PerformancePolicy": {"leaf", "policy"},
    "DriftPolicy": {"leaf", "policy"},
    "AgePolicy": {"leaf", "policy"},
    "AnyPolicy": {"policy"},
    "AllPolicy": {"policy"},
    "ResourcesSpec": {"resources"},
    "PodResources": set(),
}
DISCRIMINATOR = "type"
"""Read by pydantic, which chooses the model by it; the code asks for the model."""
THROUGH_THE_SPEC = {
    ("ServingSpec", "give_up"): ("spec", "give_up"),
    ("PodResources", "cpu"): ("training", "as_container"),
    ("PodResources", "memory"): ("training", "as_container"),
}
"""Read through a property or method of the spec: a default that depends on another part, a container's resources."""


def models(kind: type[BaseModel] = SpecModel) -> Iterator[type[BaseModel]]:
    for found in kind.__subclasses__():
        yield found
        yield from models(found)


def owner(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return f"{owner(node.value)}[]"
    if isinstance(node, ast.Call):
        return owner(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def reads() -> set[tuple[str, str]]:
    """Return (owner, attribute) of every attribute that the platform reads outside the spec's own code."""
    outside = [module for module in modules() if not below(module.name, {"mlops_assets.spec"})]
    nodes = (node for module in outside for node in ast.walk(module.tree) if isinstance(node, ast.Attribute))
    return {(owner(node.value), node.attr) for node in nodes if isinstance(node.ctx, ast.Load)}


def test_every_field_is_documented() -> None:
    fields = [(model.__name__, name, field) for model in models() for name, field in model.model_fields.items()]
    assert len(fields) > 80
    assert not [(model, name) for model, name, field in fields if not field.description]


def test_no_field_is_read_and_ignored() -> None:
    seen, unread = reads(), []
    for model in models():
        for name in model.model_fields:
            wanted = {(holder, name) for holder in READ_AS[model.__name__]}
            if (model.__name__, name) in THROUGH_THE_SPEC:
                wanted = {THROUGH_THE_SPEC[(model.__name__, name)]}
            if name != DISCRIMINATOR and not wanted & seen:
                unread.append(f"{model.__name__}.{name}")
    # the members of any and all are walked by the spec's own `leaves`, which the evidence calls
    assert "leaves(" in Path(policies.__file__).read_text()
    assert not [name for name in unread if name not in {"AnyPolicy.of", "AllPolicy.of"}]


def test_the_committed_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "project.md").read_text() == reference(), f"run `{UPDATE}`"


@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_the_reference_has_a_place_for(model: type[BaseModel]) -> None:
    assert model in [found for models_ in SECTIONS.values() for found in models_]
