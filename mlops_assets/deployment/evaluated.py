"""What `evaluation` found, as the gate reads it."""

from __future__ import annotations

import json

from mlops_assets.errors import NotReady
from mlops_assets.retraining.judge import Judgement
from mlops_assets.retraining.records import VersionTrained
from resources.platform import Desk

FILE = "evaluation.json"


def read_evaluation(desk: Desk, run_id: str) -> tuple[VersionTrained, Judgement, int | None]:
    """The judgement of this run, or the newest one: the version, what was found, the champion it was judged against.

    Raises:
        NotReady: when nothing has been evaluated.
    """
    found = json.loads(desk.workbench(run_id).find(FILE, "evaluation").read_text())
    known = desk.history().versions
    if found["version"] not in known:
        raise NotReady(
            desk.spec.name,
            FILE,
            f"it judges version {found['version']}, the ledger knows {sorted(known)}",
            "materialize candidate_model and evaluation again",
        )
    judgement = found["judgement"]
    judgement["interval"] = tuple(judgement["interval"]) if judgement["interval"] else None
    return known[found["version"]], Judgement(**judgement), found["champion"]
