"""Takes training snapshots: the published rows with labels at one moment."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from mlops_assets.errors import NotReady
from mlops_assets.prediction.schema import ENTITY, EVENT_TIME
from mlops_assets.source.casting import cast
from mlops_assets.timeline import Timeline, iso

if TYPE_CHECKING:
    from mlops_assets.context import Lake, Snapshot, Snapshots


def take_snapshot(snapshots: Snapshots, lake: Lake, timeline: Timeline, now: datetime) -> Snapshot:
    """Store the published rows with labels, as of now, as a snapshot.

    Args:
        snapshots: the store of snapshots.
        lake: the published windows.
        timeline: the project's time.
        now: the project's clock.

    Raises:
        NotReady: no window has published rows and labels.
        DatasetError: Git or DVC fails.
    """
    versions = lake.published(timeline.project, "raw_data")
    labels = lake.published(timeline.project, "labels")
    used = [window for window in versions if window in labels and _in_reach(timeline, window, now)]
    versions, labels = {window: versions[window] for window in used}, {window: labels[window] for window in used}
    rows = training_rows(lake, timeline, now, versions, labels)
    return snapshots.take(
        rows,
        as_of=now,
        trained_through=timeline.complete_at(rows[EVENT_TIME].max().to_pydatetime()),
        windows=versions,
        labels=labels,
    )


def training_rows(
    lake: Lake, timeline: Timeline, now: datetime, windows: dict[str, str], labels: dict[str, str]
) -> pd.DataFrame:
    """Return published rows with their labels, where these are known by now.

    Args:
        lake: the published windows.
        timeline: the project's time.
        now: the project's clock.
        windows: version of `raw_data` to read, by window id.
        labels: version of `labels` to read, by window id.

    Returns:
        `event_time`, `entity` where the project has one, all declared columns with the target among them; sorted.

    Raises:
        NotReady: there is no such row, or rows were published before the YAML declared a column that they need now.
    """
    spec = timeline.spec
    keys = [EVENT_TIME, *([ENTITY] if spec.data.entity else [])]
    columns = list(spec.data.columns)
    rows = pd.DataFrame()
    if windows:
        rows = lake.read(spec.name, "raw_data", windows).merge(
            lake.read(spec.name, "labels", labels), on=keys, how="inner", validate="one_to_one"
        )
        known = rows[EVENT_TIME] <= pd.Timestamp(timeline.labelled_before(now))
        if isinstance(spec.data.training_window, timedelta):
            known &= rows[EVENT_TIME] >= pd.Timestamp(now - spec.data.training_window)
        rows = rows[known].sort_values(keys, kind="stable").reset_index(drop=True)
    if rows.empty:
        raise NotReady(
            spec.name,
            f"dataset as of {iso(now)}",
            "no window has published rows and labels at that time",
            "materialize raw_data and labels of a window that has ended",
        )
    rows = rows.reindex(columns=[*keys, *columns])
    _require_values(rows, timeline)
    return cast(rows, spec, columns)


def _require_values(rows: pd.DataFrame, timeline: Timeline) -> None:
    """Require values in all columns that are not nullable. A window published earlier may lack a new column."""
    for name, column in timeline.spec.data.columns.items():
        if column.nullable or not (absent := rows[name].isna()).any():
            continue
        stamps = rows.loc[absent, EVENT_TIME]
        first, last = (timeline.window_at(stamp.to_pydatetime()).id for stamp in (stamps.min(), stamps.max()))
        raise NotReady(
            timeline.project,
            f"dataset, column {name}",
            f"{int(absent.sum())} rows have no value, from window {first} to {last}: they were published before the "
            "YAML declared the column",
            "materialize raw_data of these windows again, or declare the column nullable",
        )


def _in_reach(timeline: Timeline, window_id: str, now: datetime) -> bool:
    """Return whether a window ended by now and has rows within `data.training_window`."""
    window, reach = timeline.window(window_id), timeline.spec.data.training_window
    return window.end <= now and (not isinstance(reach, timedelta) or window.end > now - reach)
