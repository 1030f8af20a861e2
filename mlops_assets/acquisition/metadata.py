"""The acquisition assets' metadata and checks: numbers, tables of failing rows, gaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from mlops_assets.acquisition.publish import PublishResult
from mlops_assets.acquisition.representative import Outside
from mlops_assets.context import Snapshot
from mlops_assets.timeline import Timeline, iso
from mlops_assets.ui_metadata import table


def window(found: PublishResult) -> dict[str, Any]:
    """What came of one window."""
    metadata: dict[str, Any] = {
        "state": "quarantined" if found.quarantined else "published",
        "rows": found.rows,
        "expected rows": found.volume.expected,
        "missing rows": sum(gap.steps for gap in found.gaps),
        "data version": found.data_version,
        "correction": found.changed,
    }
    if found.gaps:
        metadata["gaps"] = table([{"gap": str(gap)} for gap in found.gaps[:50]])
    if found.quarantined:
        metadata["quarantined because"] = "; ".join(found.reasons)
        metadata["failing rows"] = failing_rows([found])
    return metadata


def failing_rows(found: Sequence[PublishResult]) -> dg.TableMetadataValue:
    """The rows at fault, as far as they can be shown."""
    frames = [f.audit.failures if f.audit is not None else f.bad_rows for f in found]
    rows = pd.concat([frame for frame in frames if len(frame)] or [pd.DataFrame({"row": []})]).head(50)
    return table([{str(key): str(value) for key, value in row.items()} for row in rows.to_dict("records")])


def windows(found: Sequence[PublishResult]) -> dict[str, Any]:
    """The same over all windows of a run."""
    return {
        "windows": len(found),
        "published windows": sum(not f.quarantined for f in found),
        "quarantined windows": sum(f.quarantined for f in found),
        "total rows": sum(f.rows for f in found),
    }


def checks(found: Sequence[PublishResult]) -> Iterator[dg.AssetCheckResult]:
    """`schema` (blocking), `volume`, `duplicates`, `gaps`."""
    bad = [f for f in found if f.quarantined]
    reasons = {f.window.id: "; ".join(f.reasons) for f in bad}
    yield dg.AssetCheckResult(
        check_name="schema",
        passed=not bad,
        metadata={"quarantined": dg.MetadataValue.json(reasons), "failing rows": failing_rows(bad)} if bad else {},
    )
    warn = dg.AssetCheckSeverity.WARN
    thin = {f.window.id: f"{f.rows} of {f.volume.expected}" for f in found if not f.volume.passed}
    yield dg.AssetCheckResult(check_name="volume", passed=not thin, severity=warn, metadata={"too few rows": str(thin)})
    double = {f.window.id: f.duplicates for f in found if f.duplicates}
    yield dg.AssetCheckResult(
        check_name="duplicates", passed=not double, severity=warn, metadata={"duplicates": str(double)}
    )
    missing = {f.window.id: sum(gap.steps for gap in f.gaps) for f in found if f.gaps}
    yield dg.AssetCheckResult(
        check_name="gaps", passed=not missing, severity=warn, metadata={"missing rows": str(missing)}
    )


def labels(found: PublishResult | None, timeline: Timeline, due: Any) -> dict[str, Any]:
    """What came of one window's labels."""
    if found is None:
        return {"state": "pending", "due": iso(timeline.labels_at(due)), "rows": 0}
    return window(found)


def dataset(found: Snapshot) -> dict[str, Any]:
    """The snapshot, by the names that DVC and Git know it."""
    return {
        "rows": found.rows,
        "windows": len(found.windows),
        "as of": iso(found.as_of),
        "trained through": iso(found.trained_through),
        "dvc md5": found.md5,
        "git tag": found.tag,
    }


def representative(found: Outside) -> dg.AssetCheckResult:
    """`representative`: a warning when the newest window lies outside what the snapshot has seen."""
    return dg.AssetCheckResult(
        passed=not found.far,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"newest window": found.window, "share outside what was seen": str(found.far or "none above 5 %")},
    )
