"""Summarises the health of the scoring service in one window: availability, errors, latency, memory."""

from __future__ import annotations

import pandas as pd

from mlops_assets.errors import LedgerError
from mlops_assets.ledger.summaries import HealthSummary
from mlops_assets.spec.project import ProjectSpec


def service_health(
    requests: pd.DataFrame,
    *,
    due: int,
    answered: int,
    late: int,
    missed: int,
    lost: int = 0,
    memory_mb: float | None,
    spec: ProjectSpec,
) -> HealthSummary:
    """Summarise the requests and events of a window.

    Args:
        requests: frame (status, latency_ms, role), one row per request recorded by the service; `status` is the
            HTTP status, 0 or missing where there was none. Rows of the role shadow are ignored.
        due: events of the window that are due, counted from the rows of the source.
        answered: those of them that have a prediction, late ones included.
        late: those of them whose prediction was made after the deadline.
        missed: events that are missed for good.
        lost: events that were scored, and are neither answered nor missed nor waiting.
        memory_mb: resident memory of the service in MB; None when it was not measured.
        spec: the project, named in errors.

    Returns:
        Errors are those of the service: 5xx, or no status at all. A refused bad request (4xx) is not one. Latency
        percentiles (ms) are those of requests with status 2xx.

    Raises:
        LedgerError: when more events are answered, missed and lost than are due, or more are late than answered.
    """
    if answered + missed + lost > due or late > answered:
        raise LedgerError(
            spec.name,
            "service_health",
            f"{due} events are due, and {answered} are answered (late: {late}), {missed} missed and {lost} lost",
            "each due event counts once; look for events that are counted twice",
        )
    served = requests[requests["role"] != "shadow"]
    status = served["status"].fillna(0)
    latency = served.loc[(status >= 200) & (status < 300), "latency_ms"].dropna().astype(float)
    p50, p95, p99 = (None if latency.empty else round(float(latency.quantile(q)), 3) for q in (0.5, 0.95, 0.99))
    return HealthSummary(
        requests=len(served),
        errors=int(((status >= 500) | (status < 100)).sum()),
        availability=answered / due if due else None,
        late=late,
        missed=missed,
        lost=lost,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        memory_mb=memory_mb,
    )
