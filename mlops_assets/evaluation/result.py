"""The result of an evaluation as a file: the asset `evaluation` writes it, the gate reads it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from mlops_assets.evaluation.evaluator import Evaluation

FILE = "evaluation.json"
"""Name of the file among the run artifacts of a training."""


class EvaluationResult(BaseModel):
    """The content of `evaluation.json`: an evaluation, and the versions that it compares."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, ser_json_inf_nan="constants", use_attribute_docstrings=True
    )

    version: int
    """The candidate."""
    champion: int | None
    """The champion that the candidate was compared with; None when it was compared with the baseline."""
    evaluation: Evaluation = Field(alias="judgement")

    def to_json(self) -> str:
        """Return the content of the file."""
        return self.model_dump_json(by_alias=True)
