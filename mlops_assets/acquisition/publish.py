"""Writes, audits and publishes the rows of a window. Rows that fail the audit stay in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import pandas as pd

from mlops_assets.acquisition.completeness import Gap, Volume, gaps, volume
from mlops_assets.errors import Refused
from mlops_assets.source.project_source import BadRowsError, ProjectSource
from mlops_assets.source.schema import Audit, audit
from mlops_assets.timeline import Timeline, Window, iso

if TYPE_CHECKING:
    from mlops_assets.context import Lake

PREVIOUS_WINDOWS = 8
"""Number of previous windows from which the usual number of rows is computed."""


@dataclass(frozen=True)
class PublishResult:
    """The result of publishing one window."""

    window: Window
    table: Literal["raw_data", "labels"]
    rows: int
    data_version: str
    """md5 of the rows that were read, published or not."""
    previous: str | None
    """The version that was published before; None without one."""
    quarantined: bool
    """Whether the rows are in quarantine. A version that was published before stays published."""
    reasons: list[str]
    """Why the rows are in quarantine; empty when they were published."""
    audit: Audit | None
    """The result of the audit; None when the rows are not a series. The rows are then in `bad_rows`."""
    bad_rows: pd.DataFrame
    """The rows at fault as the source returned them, when they are not a series."""
    duplicates: int
    """Number of rows with the same time and series as another row."""
    gaps: list[Gap]
    volume: Volume

    @property
    def changed(self) -> bool:
        """Whether other rows are published than before. This is a correction."""
        return not self.quarantined and self.previous is not None and self.previous != self.data_version


def publish_window(
    source: ProjectSource, lake: Lake, timeline: Timeline, window: Window, now: datetime
) -> PublishResult:
    """Read a window's rows without the target, and publish them if they pass the audit.

    Raises:
        Refused: the window has not ended.
        SourceError: the source raised, or did not return a DataFrame; nothing is written then.
    """
    timeline.require_readable(window, now)
    columns = [name for name in source.spec.data.columns if name != source.spec.problem.target]
    return _publish(source, lake, timeline, window, "raw_data", columns)


def publish_labels(
    source: ProjectSource, lake: Lake, timeline: Timeline, window: Window, now: datetime
) -> PublishResult:
    """Read a window's labels, and publish them if none is missing or bad.

    Raises:
        Refused: the labels are not available yet.
        SourceError: the source raised, or did not return a DataFrame; nothing is written then.
    """
    if timeline.labels_at(window) > now:
        raise Refused(
            timeline.project,
            f"labels of window {window.id}",
            f"they are known from {iso(timeline.labels_at(window))} on, and the project's time is {iso(now)}",
            "move the clock (mlops-assets replay, or the job *_clock_advance), or choose an earlier window",
        )
    return _publish(source, lake, timeline, window, "labels", [source.spec.problem.target])


def _publish(
    source: ProjectSource,
    lake: Lake,
    timeline: Timeline,
    window: Window,
    table: Literal["raw_data", "labels"],
    columns: Sequence[str],
) -> PublishResult:
    project, spec = timeline.project, source.spec
    seen = lake.look(project, table, window.id)
    try:
        rows = source.read(window.start, window.end, columns)
    except BadRowsError as error:
        return _quarantined(error, lake, timeline, window, table, seen.version)
    version = lake.stage(project, table, window.id, rows)
    found = audit(rows, spec, columns)
    if found.passed:
        lake.publish(project, table, window.id, version, seen)
    else:
        lake.quarantine(project, table, window.id, version, found.reasons)
    return PublishResult(
        window=window,
        table=table,
        rows=len(rows),
        data_version=version,
        previous=seen.version,
        quarantined=not found.passed,
        reasons=found.reasons,
        audit=found,
        bad_rows=pd.DataFrame(),
        duplicates=0,
        gaps=gaps(rows, timeline, window),
        volume=volume(rows, timeline, window, _earlier(lake, timeline, window, table)),
    )


def _quarantined(
    error: BadRowsError,
    lake: Lake,
    timeline: Timeline,
    window: Window,
    table: Literal["raw_data", "labels"],
    previous: str | None,
) -> PublishResult:
    version = lake.stage(timeline.project, table, window.id, error.rows)
    lake.quarantine(timeline.project, table, window.id, version, [str(error)])
    nothing = pd.DataFrame({"event_time": pd.Series(dtype="datetime64[ns, UTC]")})
    return PublishResult(
        window=window,
        table=table,
        rows=0,
        data_version=version,
        previous=previous,
        quarantined=True,
        reasons=[str(error)],
        audit=None,
        bad_rows=error.rows,
        duplicates=len(error.rows) if error.kind == "duplicates" else 0,
        gaps=gaps(nothing, timeline, window) if error.kind == "empty" else [],
        volume=volume(nothing, timeline, window, _earlier(lake, timeline, window, table)),
    )


def _earlier(lake: Lake, timeline: Timeline, window: Window, table: Literal["raw_data", "labels"]) -> list[int]:
    """Return the number of rows of each of the previous windows that are published."""
    span = PREVIOUS_WINDOWS * max(window.end - window.start, timedelta(hours=1)) * 1.2
    windows = timeline.windows(window.start - span, window.start)[-PREVIOUS_WINDOWS:]
    counts = (lake.row_count(timeline.project, table, earlier.id) for earlier in windows)
    return [count for count in counts if count is not None]
