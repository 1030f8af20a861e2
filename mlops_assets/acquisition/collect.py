"""COLLECT: the project's own hook runs, once per evidence."""

from __future__ import annotations

from mlops_assets.errors import NotReady, SourceError
from mlops_assets.retraining.records import Collected
from mlops_assets.spec.imports import import_function
from resources.platform import Desk


def run_collect_hook(desk: Desk, decision_id: str) -> str:
    """Call `data.collect(project, decision)` and record that it ran; what it returned, as text.

    Raises:
        NotReady: when the ledger knows no such decision.
        SourceError: when the hook raises; it is called again.
    """
    decision, spec = desk.history().decision(decision_id), desk.spec
    if decision is None or decision.outcome != "COLLECT":
        raise NotReady(
            spec.name, f"decision {decision_id}", "the ledger knows no such COLLECT", "name one from `status`"
        )
    if spec.data.collect is None:
        detail = "no data.collect hook is declared; new labelled rows are waited for"
    else:
        hook = import_function(spec.name, "data.collect", spec.data.collect)
        try:
            detail = str(hook(spec.name, decision.model_dump(mode="json")))
        except Exception as error:
            raise SourceError(
                spec.name,
                spec.data.collect,
                f"the hook raised {type(error).__name__}: {error}",
                "mend it; it is called again",
            ) from error
    desk.ledger.append(spec.name, Collected(at=desk.now(), decision=decision_id, detail=detail))
    return detail
