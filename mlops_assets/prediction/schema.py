"""The schema of a request's row: which columns a version takes, and of which types."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from mlops_assets.spec.data import Column
from mlops_assets.spec.project import ProjectSpec
from mlops_assets.timeline import Timeline

Dtype = Literal["float", "int", "bool", "category"]
EVENT_TIME, ENTITY = "event_time", "entity"
"""Names of the columns that every project has, and that projects with several series have."""


class InputSchema(BaseModel):
    """The content of a request's row; every version has its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    project: str
    task: Literal["regression", "classification"]
    target: str
    classes: list[str] = []
    """The classes of a classification target, in the order of the project's YAML."""
    known: dict[str, Dtype] = {}
    """Type of each column that is known when a prediction is due."""
    nullable: list[str] = []
    """Known columns that may be null."""
    history: list[str] = []
    """Columns whose past values are sent as an array."""
    steps: int = 0
    """Length of each array, in grid steps."""
    entity: bool = False
    """Whether a row names its series."""
    entities: list[str] | None = None
    """Series in the training set; None before a training, and for a project with one series."""

    @classmethod
    def of(cls, spec: ProjectSpec) -> InputSchema:
        """Return the schema that a project's YAML defines."""
        columns, history = spec.data.columns, spec.features.history
        return cls(
            project=spec.name,
            task=spec.problem.task,
            target=spec.problem.target,
            classes=spec.classes,
            known={name: columns[name].dtype for name in spec.features.known},
            nullable=[name for name in spec.features.known if columns[name].nullable],
            history=list(history.columns) if history else [],
            steps=Timeline(spec).feature_window_steps,
            entity=spec.data.entity is not None,
        )

    def accepts_requests_of(self, other: InputSchema) -> bool:
        """Return whether both schemas accept the same rows; the series in the training set make no difference."""
        return self.model_copy(update={"entities": None}) == other.model_copy(update={"entities": None})

    def undeclared_inputs(self, spec: ProjectSpec) -> list[str]:
        """Return the inputs that the YAML no longer declares in the same way, so that they cannot be sent any more.

        The YAML may change while a version serves. That version still takes the inputs it was trained on.
        """
        columns = spec.data.columns
        known = [
            name for name, dtype in self.known.items() if name not in columns or not _readable_as(dtype, columns[name])
        ]
        past = [name for name in self.history if name not in columns or not _has_past_values(name, spec)]
        entity = [ENTITY] if self.entity != (spec.data.entity is not None) else []
        return list(dict.fromkeys([*entity, *known, *past]))

    def history_field(self, column: str) -> str:
        """Return the key of past values in a request: the column's name, with a suffix if it is also a known column."""
        return f"{column}_history" if column in self.known else column

    @property
    def fields(self) -> list[str]:
        """All keys of a request's row, in order."""
        entity = [ENTITY] if self.entity else []
        return [EVENT_TIME, *entity, *self.known, *(self.history_field(column) for column in self.history)]

    @property
    def columns(self) -> list[str]:
        """The columns of a frame that inputs are cut from, known columns and past values, each once."""
        return list(dict.fromkeys([*self.known, *self.history]))


def _readable_as(dtype: Dtype, column: Column) -> bool:
    return column.dtype == dtype or (dtype == "float" and column.dtype == "int")


def _has_past_values(column: str, spec: ProjectSpec) -> bool:
    return column == spec.problem.target or spec.data.columns[column].dtype != "category"
