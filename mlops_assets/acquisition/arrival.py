"""Windows that arrive: published or quarantined, as facts of the ledger. Knows no Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from mlops_assets.acquisition.publish import PublishResult, publish_labels, publish_window
from mlops_assets.errors import NotReady
from mlops_assets.retraining.records import WindowLabelled, WindowPublished, WindowQuarantined
from mlops_assets.timeline import Window
from resources.platform import Desk


def publish(desk: Desk, window: Window) -> PublishResult:
    """Write, audit and publish a window's rows; what came of it is recorded."""
    found = publish_window(desk.source, desk.lake, desk.timeline, window, desk.now())
    history, now = desk.history(), desk.now()
    if found.quarantined:
        desk.ledger.append(desk.spec.name, _quarantined(found, now))
        return found
    fact = WindowPublished(
        at=now,
        window=window.id,
        data_version=found.data_version,
        rows=found.rows,
        gaps=sum(gap.steps for gap in found.gaps),
        repaired=window.id in history.quarantined,
        correction=found.changed,
        edition=history.edition(WindowPublished, window.id, found.data_version),
    )
    desk.ledger.append(desk.spec.name, fact)
    return found


def label(desk: Desk, window: Window) -> PublishResult | None:
    """Publish a window's labels; None while they are not due yet.

    Raises:
        NotReady: when the window itself is not published.
    """
    desk.timeline.require_readable(window, desk.now())
    history, now = desk.history(), desk.now()
    if window.id not in history.published:
        raise NotReady(
            desk.spec.name,
            f"labels of window {window.id}",
            "the window is not published",
            "materialize raw_data of it first",
        )
    if desk.timeline.labels_at(window) > now:
        return None
    found = publish_labels(desk.source, desk.lake, desk.timeline, window, now)
    if found.quarantined:
        desk.ledger.append(desk.spec.name, _quarantined(found, now))
        return found
    fact = WindowLabelled(
        at=now,
        window=window.id,
        data_version=found.data_version,
        rows=found.rows,
        repaired=window.id in history.quarantined,
        edition=history.edition(WindowLabelled, window.id, found.data_version),
    )
    desk.ledger.append(desk.spec.name, fact)
    return found


def publish_history(desk: Desk) -> Iterator[tuple[Window, PublishResult, PublishResult | None]]:
    """Publish, and where due label, every window up to now that is not yet; oldest first."""
    for window in desk.timeline.ended_windows(desk.now()):
        history = desk.history()
        if window.id in history.published and window.id in history.labelled:
            continue
        rows = publish(desk, window)
        yield window, rows, None if rows.quarantined else label(desk, window)


def _quarantined(found: PublishResult, now: datetime) -> WindowQuarantined:
    return WindowQuarantined(
        at=now, window=found.window.id, table=found.table, data_version=found.data_version, reasons=found.reasons
    )
