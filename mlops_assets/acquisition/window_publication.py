"""Windows that arrive: published or quarantined, as facts of the ledger. Knows no Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from mlops_assets.acquisition.publish import PublishResult, publish_labels, publish_window
from mlops_assets.context import ProjectContext
from mlops_assets.errors import NotReady
from mlops_assets.ledger.facts import WindowLabelled, WindowPublished, WindowQuarantined
from mlops_assets.timeline import Window


def publish(context: ProjectContext, window: Window) -> PublishResult:
    """Write, audit and publish a window's rows; what came of it is recorded."""
    found = publish_window(context.source, context.lake, context.timeline, window, context.now())
    view, now = context.ledger_view(), context.now()
    if found.quarantined:
        context.ledger.append(context.spec.name, _quarantined(found, now))
        return found
    fact = WindowPublished(
        at=now,
        window=window.id,
        data_version=found.data_version,
        rows=found.rows,
        gaps=sum(gap.steps for gap in found.gaps),
        repaired=window.id in view.quarantined,
        correction=found.changed,
        edition=view.edition(WindowPublished, window.id, found.data_version),
    )
    context.ledger.append(context.spec.name, fact)
    return found


def label(context: ProjectContext, window: Window) -> PublishResult | None:
    """Publish a window's labels; None while they are not due yet.

    Raises:
        NotReady: when the window itself is not published.
    """
    context.timeline.require_readable(window, context.now())
    view, now = context.ledger_view(), context.now()
    if window.id not in view.published:
        raise NotReady(
            context.spec.name,
            f"labels of window {window.id}",
            "the window is not published",
            "materialize raw_data of it first",
        )
    if context.timeline.labels_at(window) > now:
        return None
    found = publish_labels(context.source, context.lake, context.timeline, window, now)
    if found.quarantined:
        context.ledger.append(context.spec.name, _quarantined(found, now))
        return found
    fact = WindowLabelled(
        at=now,
        window=window.id,
        data_version=found.data_version,
        rows=found.rows,
        repaired=window.id in view.quarantined,
        edition=view.edition(WindowLabelled, window.id, found.data_version),
    )
    context.ledger.append(context.spec.name, fact)
    return found


def publish_history(context: ProjectContext) -> Iterator[tuple[Window, PublishResult, PublishResult | None]]:
    """Publish, and where due label, every window up to now that is not yet; oldest first."""
    for window in context.timeline.ended_windows(context.now()):
        view = context.ledger_view()
        if window.id in view.published and window.id in view.labelled:
            continue
        rows = publish(context, window)
        yield window, rows, None if rows.quarantined else label(context, window)


def _quarantined(found: PublishResult, now: datetime) -> WindowQuarantined:
    return WindowQuarantined(
        at=now, window=found.window.id, table=found.table, data_version=found.data_version, reasons=found.reasons
    )
