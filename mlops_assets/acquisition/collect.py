"""COLLECT: the project's own hook runs, once per evidence."""

from __future__ import annotations

from mlops_assets.context import ProjectContext
from mlops_assets.errors import NotReady, SourceError
from mlops_assets.ledger.facts import Collected
from mlops_assets.spec.imports import import_function


def run_collect_hook(context: ProjectContext, decision_id: str) -> str:
    """Call `data.collect(project, decision)` and record that it ran; what it returned, as text.

    Raises:
        NotReady: when the ledger knows no such decision.
        SourceError: when the hook raises; it is called again.
    """
    decision, spec = context.ledger_view().decision(decision_id), context.spec
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
    context.ledger.append(spec.name, Collected(at=context.now(), decision=decision_id, detail=detail))
    return detail
