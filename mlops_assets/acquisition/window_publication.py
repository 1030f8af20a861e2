"""Publishes rows and labels of windows, and records the result in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from mlops_assets.acquisition.publish import PublishResult, publish_labels, publish_window
from mlops_assets.context import ProjectContext
from mlops_assets.errors import NotReady
from mlops_assets.ledger.facts import WindowLabelled, WindowPublished, WindowQuarantined
from mlops_assets.timeline import Window


def publish(context: ProjectContext, window: Window) -> PublishResult:
    """Write, audit and publish a window's rows, and record the result."""
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
    """Publish a window's labels, and record the result; return None while they are not available.

    Raises:
        NotReady: the rows of the window are not published.
    """
    context.timeline.require_readable(window, context.now())
    view, now = context.ledger_view(), context.now()
    if window.id not in view.published:
        raise NotReady(
            context.spec.name,
            f"labels of window {window.id}",
            "the rows of the window are not published",
            "materialize raw_data of this window first",
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
    """Publish rows and available labels of every window up to now that lacks them, oldest first."""
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
