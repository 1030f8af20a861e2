"""Metadata and checks of the acquisition assets for the UI: counts, failing rows, gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from mlops_assets.acquisition.publish import PublishResult
from mlops_assets.acquisition.representative import OUTSIDE_AT_MOST, Outside
from mlops_assets.context import Snapshot
from mlops_assets.timeline import Timeline, Window, iso
from mlops_assets.ui_metadata import table


def publication(found: PublishResult) -> dict[str, Any]:
    """Return the state of one window, its counts and its gaps."""
    metadata: dict[str, Any] = {
        "state": "quarantined" if found.quarantined else "published",
        "rows": found.rows,
        "expected rows": found.volume.expected,
        "missing rows": sum(gap.steps for gap in found.gaps),
        "data version": found.data_version,
        "replaces rows published before": found.changed,
    }
    if found.gaps:
        metadata["gaps"] = table([{"gap": str(gap)} for gap in found.gaps[:50]])
    if found.quarantined:
        metadata["quarantined because"] = "; ".join(found.reasons)
        metadata["failing rows"] = failing_rows([found])
    return metadata


def failing_rows(found: Sequence[PublishResult]) -> dg.TableMetadataValue:
    """Return the first 50 failing values or rows as a table."""
    frames = [f.audit.failures if f.audit is not None else f.bad_rows for f in found]
    rows = pd.concat([frame for frame in frames if len(frame)] or [pd.DataFrame({"row": []})]).head(50)
    return table([{str(key): str(value) for key, value in row.items()} for row in rows.to_dict("records")])


def windows(found: Sequence[PublishResult]) -> dict[str, Any]:
    """Return the sums over all windows of a run."""
    return {
        "windows": len(found),
        "published windows": sum(not f.quarantined for f in found),
        "quarantined windows": sum(f.quarantined for f in found),
        "total rows": sum(f.rows for f in found),
    }


def checks(found: Sequence[PublishResult]) -> Iterator[dg.AssetCheckResult]:
    """Yield the checks `schema` (blocking), `volume`, `duplicates` and `gaps` over the windows of a run."""
    bad = [f for f in found if f.quarantined]
    reasons = {f.window.id: "; ".join(f.reasons) for f in bad}
    yield dg.AssetCheckResult(
        check_name="schema",
        passed=not bad,
        metadata={"quarantined": dg.MetadataValue.json(reasons), "failing rows": failing_rows(bad)} if bad else {},
    )
    warn = dg.AssetCheckSeverity.WARN
    too_few = {f.window.id: f"{f.rows} of {f.volume.expected}" for f in found if not f.volume.passed}
    yield dg.AssetCheckResult(
        check_name="volume", passed=not too_few, severity=warn, metadata={"too few rows": _per_window(too_few)}
    )
    duplicates = {f.window.id: f.duplicates for f in found if f.duplicates}
    yield dg.AssetCheckResult(
        check_name="duplicates", passed=not duplicates, severity=warn, metadata={"duplicates": _per_window(duplicates)}
    )
    missing = {f.window.id: sum(gap.steps for gap in f.gaps) for f in found if f.gaps}
    yield dg.AssetCheckResult(
        check_name="gaps", passed=not missing, severity=warn, metadata={"missing rows": _per_window(missing)}
    )


def labels(found: PublishResult | None, timeline: Timeline, window: Window) -> dict[str, Any]:
    """Return the state of the labels of one window, and their counts; `found` is None while they are not available."""
    if found is None:
        return {"state": "pending", "labels available at": iso(timeline.labels_at(window)), "rows": 0}
    return publication(found)


def dataset(found: Snapshot) -> dict[str, Any]:
    """Return the size of a snapshot, its times, and its names in DVC and Git."""
    return {
        "rows": found.rows,
        "windows": len(found.windows),
        "as of": iso(found.as_of),
        "trained through": iso(found.trained_through),
        "dvc md5": found.md5,
        "git tag": found.tag,
    }


def representative(found: Outside) -> dg.AssetCheckResult:
    """Return the check `representative`: a warning when the newest values are outside those of the snapshot."""
    return dg.AssetCheckResult(
        passed=not found.far,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"newest window": found.window, "columns with values outside the snapshot": _shares(found.far)},
    )


def _per_window(found: Mapping[str, object]) -> str:
    return "; ".join(f"{value} in window {name}" for name, value in found.items()) or "none"


def _shares(found: Mapping[str, float]) -> str:
    shares = ", ".join(f"{name} ({share:.0%} of its values)" for name, share in found.items())
    return shares or f"none above {OUTSIDE_AT_MOST:.0%}"
