"""What `evaluation` found, as the gate reads it."""

from __future__ import annotations

import json

from pydantic import TypeAdapter

from mlops_assets.context import ProjectContext
from mlops_assets.errors import NotReady
from mlops_assets.evaluation.evaluator import Evaluation
from mlops_assets.ledger.facts import VersionTrained

FILE = "evaluation.json"


def read_evaluation(context: ProjectContext, run_id: str) -> tuple[VersionTrained, Evaluation, int | None]:
    """The evaluation of this run, or the newest one: the version, what was found, the champion it was judged against.

    Raises:
        NotReady: when nothing has been evaluated.
    """
    found = json.loads(context.run_artifacts(run_id).find(FILE, "evaluation").read_text())
    known = context.ledger_view().versions
    if found["version"] not in known:
        raise NotReady(
            context.spec.name,
            FILE,
            f"it judges version {found['version']}, the ledger knows {sorted(known)}",
            "materialize candidate_model and evaluation again",
        )
    evaluation = TypeAdapter(Evaluation).validate_python(found["judgement"])
    return known[found["version"]], evaluation, found["champion"]
