from __future__ import annotations

from typing import Any

import dagster as dg
import pandas as pd
import pytest

from mlops_assets.errors import LedgerError
from mlops_assets.ledger.summaries import HealthSummary
from mlops_assets.monitoring.health import service_health
from mlops_assets.monitoring.metadata import health_checks
from mlops_assets.spec import ProjectSpec


def passed(check: str, spec: ProjectSpec, *summaries: HealthSummary) -> bool:
    results = {found.check_name: found for found in health_checks(spec, list(summaries), dg.AssetCheckSeverity.WARN)}
    return results[check].passed


def requests(*lines: tuple[Any, float | None, str]) -> pd.DataFrame:
    return pd.DataFrame(list(lines), columns=["status", "latency_ms", "role"])


def health(spec: Any, log: pd.DataFrame, **events: int) -> HealthSummary:
    counts = {"due": 10, "answered": 10, "late": 0, "missed": 0} | events
    return service_health(log, **counts, memory_mb=120.0, spec=spec)


def test_server_errors_count_and_bad_requests_do_not(make_spec: Any) -> None:
    log = requests((200, 1.0, "champion"), (422, 1.0, "ad_hoc"), (500, 9.0, "ad_hoc"), (0, None, "champion"))
    summary = health(make_spec(), log)
    assert (summary.requests, summary.errors) == (4, 2)


def test_shadow_predictions_are_not_requests(make_spec: Any) -> None:
    summary = health(make_spec(), requests((200, 1.0, "champion"), (200, 900.0, "shadow")))
    assert summary.requests == 1
    assert summary.p99_ms == 1.0


def test_latency_is_of_successful_requests(make_spec: Any) -> None:
    log = requests(*[(200, float(i), "champion") for i in range(101)], (500, 9999.0, "champion"))
    summary = health(make_spec(), log)
    assert (summary.p50_ms, summary.p95_ms, summary.p99_ms) == (50.0, 95.0, 99.0)


def test_availability_is_the_share_of_due_events_answered(make_spec: Any) -> None:
    log = requests((200, 1.0, "champion"))
    assert health(make_spec(), log, answered=8, late=1, missed=2).availability == 0.8
    assert health(make_spec(), log, due=0, answered=0).availability is None


def test_window_without_requests_has_no_latency(make_spec: Any) -> None:
    summary = health(make_spec(), requests(), answered=0)
    assert summary.p95_ms is None
    assert passed("latency", make_spec(), summary)


def test_p95_above_the_limit_fails_the_latency_check(make_spec: Any) -> None:
    spec = make_spec(serving={"every": "1h", "latency": "100ms"})
    fast, slow = (health(spec, requests((200, ms, "champion"))) for ms in (99.0, 101.0))
    assert passed("latency", spec, fast)
    assert not passed("latency", spec, fast, slow)


@pytest.mark.parametrize("events", [{"answered": 9, "missed": 2}, {"answered": 3, "late": 4}])
def test_events_counted_twice_are_refused(make_spec: Any, events: dict[str, int]) -> None:
    with pytest.raises(LedgerError, match="small"):
        health(make_spec(), requests(), **events)
