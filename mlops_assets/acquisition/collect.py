"""Calls a project's `collect` function for a COLLECT decision."""

from __future__ import annotations

from mlops_assets.context import ProjectContext
from mlops_assets.errors import NotReady, SourceError
from mlops_assets.ledger.facts import Collected
from mlops_assets.spec.imports import import_function


def run_collect_hook(context: ProjectContext, decision_id: str) -> str:
    """Call `data.collect(project, decision)`, record that it ran, and return its result as text.

    Raises:
        NotReady: the ledger has no such decision.
        SourceError: the function raised. It is called again.
    """
    decision, spec = context.ledger_view().decision(decision_id), context.spec
    if decision is None or decision.outcome != "COLLECT":
        raise NotReady(
            spec.name,
            f"decision {decision_id}",
            "the ledger has no such COLLECT decision",
            "use an id that `mlops-assets status` shows",
        )
    if spec.data.collect is None:
        detail = "data.collect is not set; the loop waits for new labelled rows"
    else:
        hook = import_function(spec.name, "data.collect", spec.data.collect)
        try:
            detail = str(hook(spec.name, decision.model_dump(mode="json")))
        except Exception as error:
            raise SourceError(
                spec.name,
                spec.data.collect,
                f"the function raised {type(error).__name__}: {error}",
                "fix the function; it is called again",
            ) from error
    context.ledger.append(spec.name, Collected(at=context.now(), decision=decision_id, detail=detail))
    return detail
