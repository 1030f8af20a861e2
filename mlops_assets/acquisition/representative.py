"""Compares the newest window with the rows of a training snapshot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops_assets.acquisition.training_start import SNAPSHOT
from mlops_assets.context import ProjectContext, RunArtifacts, Snapshot

OUTSIDE_AT_MOST = 0.05
"""Share of a column's newest values that may be outside the values of the snapshot."""


@dataclass(frozen=True)
class Outside:
    """Which columns of the newest window have values outside those of a snapshot.

    Attributes:
        window: the newest window.
        far: share of values outside, of the columns in which it is above `OUTSIDE_AT_MOST`.
    """

    window: str
    far: dict[str, float]


def outside_shares(seen: pd.DataFrame, newest: pd.DataFrame, columns: list[str]) -> dict[str, float]:
    """Return per column the share of the newest values below the minimum, above the maximum, or of a new category."""
    shares = {}
    for name in columns:
        values = newest[name].dropna()
        if pd.api.types.is_numeric_dtype(seen[name]) and not pd.api.types.is_bool_dtype(seen[name]):
            outside = (values.astype(float) < seen[name].min()) | (values.astype(float) > seen[name].max())
        else:
            outside = ~values.isin(set(seen[name].dropna()))
        shares[name] = float(np.mean(outside)) if len(values) else 0.0
    return shares


def representative(context: ProjectContext, artifacts: RunArtifacts) -> Outside:
    """Compare the newest published window, with or without labels, with the earlier rows of the snapshot."""
    snapshot = Snapshot.model_validate_json(artifacts.find(SNAPSHOT, "dataset").read_text())
    published = context.lake.published(context.spec.name, "raw_data")
    live = {window: version for window, version in published.items() if window not in snapshot.windows}
    newest = max(live or published)
    rows = context.lake.read_window(context.spec.name, "raw_data", newest, published[newest])
    earlier = context.snapshots.read(snapshot)
    # windows that were published before a column was declared do not have it
    both = rows.columns.intersection(earlier.columns)
    columns = [name for name in context.spec.data.columns if name != context.spec.problem.target and name in both]
    if newest in snapshot.windows:
        earlier = earlier[earlier["event_time"] < pd.Timestamp(context.timeline.window(newest).start)]
    shares = outside_shares(earlier, rows, columns)
    return Outside(newest, {name: round(share, 4) for name, share in shares.items() if share > OUTSIDE_AT_MOST})
