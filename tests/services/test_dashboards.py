"""All queries of all dashboards on a real InfluxDB that has points of every measurement.

The tests show that the queries return the right rows. They do not show that Grafana draws them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bundles import prices_spec, rentals_spec
from dashboard_queries import MEASUREMENTS, flux_queries, with_range
from sample_points import STEPS, Point, points
from servers import BUCKET, ORG, Influx

from mlops_assets.dashboards.overview import overview_dashboard
from mlops_assets.dashboards.project import project_dashboard
from mlops_assets.resources.repository import Repository
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline

SHIPPED = Repository.at(Path(__file__).parents[2]).specs()
ALL = {**SHIPPED, "rentals": rentals_spec(), "prices": prices_spec()}


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a separate InfluxDB with points of every measurement for each project."""
    from influxdb_client import InfluxDBClient

    with (
        Influx(tmp_path_factory.mktemp("dashboards") / "influx") as server,
        InfluxDBClient(server.url, server.token, org=ORG, timeout=60_000) as client,
    ):
        _write(client)
        yield client


def _write(client: Any) -> None:
    now = datetime.now(UTC)
    for spec in ALL.values():
        write(client, points(spec, Timeline(spec).start, now))


def write(client: Any, found: Iterable[Point]) -> None:
    """Write points, and check that their names are known."""
    from influxdb_client import Point as InfluxPoint
    from influxdb_client import WritePrecision
    from influxdb_client.client.write_api import SYNCHRONOUS

    made = []
    for measurement, tags, values, at in found:
        known = MEASUREMENTS[measurement]
        assert {*tags} <= {"project", *known.tags}
        assert known.open_fields or {*values} <= {*known.fields}
        point = InfluxPoint(measurement).time(at, WritePrecision.NS)
        for name, value in tags.items():
            point = point.tag(name, value)
        for name, value in values.items():
            point = point.field(name, value)
        made.append(point)
    client.write_api(write_options=SYNCHRONOUS).write(BUCKET, record=made)


def rows(client: Any, query: str, start: datetime, stop: datetime, period: timedelta) -> list[dict[str, Any]]:
    tables = client.query_api().query(with_range(query, start, stop, period, BUCKET))
    return [record.values for found in tables for record in found.records]


@pytest.mark.parametrize("name", ALL)
def test_every_query_of_a_project_dashboard_returns_rows(influx: Any, name: str) -> None:
    spec: ProjectSpec = ALL[name]
    start = Timeline(spec).start
    queries = flux_queries(project_dashboard(spec))
    assert len(queries) > 25
    found = {
        (title, number): rows(influx, query, start, start + timedelta(days=30), spec.data.every)
        for number, (title, query) in enumerate(queries)
    }
    assert not [title for (title, _), records in found.items() if not records]


def test_every_query_of_the_overview_returns_rows_of_each_project(influx: Any) -> None:
    now, shown = datetime.now(UTC), list(ALL.values())
    queries = flux_queries(overview_dashboard(shown))
    found = [
        (title, rows(influx, query, now - timedelta(hours=6), now + timedelta(minutes=1), timedelta(minutes=1)))
        for title, query in queries
    ]
    assert not [title for title, records in found if not records]
    assert [records[0]["value"] for title, records in found if title == "Served version"] == [2] * len(shown)
    assert {records[0]["value"] for title, records in found if title == "Last decision"} == {"RETRAIN"}


def test_queries_work_for_a_project_without_losses_and_windows(influx: Any) -> None:
    """The project has had a bootstrap and a manual request only: no former champion, no window, no losses."""
    spec = rentals_spec(name="young")
    start = Timeline(spec).start
    young: list[Point] = [
        ("promotion", {"step": "PROMOTED", "cause": "bootstrap"}, {"version": 1, "reason": ""}, start),
        (
            "decision",
            {"outcome": "RETRAIN", "by": "person"},
            {"id": "d", "reason": "requested", "signals": ""},
            start,
        ),
        ("verdict", {"verdict": "PROMOTE", "by": "bootstrap"}, {"version": 1, "reason": "forced"}, start),
        ("training", {"outcome": "FAILED", "by": "person"}, {"training": "t"}, start),
    ]
    write(influx, [(name, {"project": "young", **tags}, values, at) for name, tags, values, at in young])
    queries = flux_queries(project_dashboard(spec))
    found = {title: rows(influx, query, start, start + timedelta(days=2), spec.data.every) for title, query in queries}
    assert [row.get("previous") for row in found["Promotions and rollbacks"]] == [None]
    assert [row.get("window") for row in found["Decisions of the policy"]] == [None]
    assert [row.get("champion") for row in found["Verdicts of the gate"]] == [None]
    assert [row.get("reason") for row in found["Trainings"]] == [None]


def test_error_band_is_the_newest_loss_around_the_prediction(influx: Any) -> None:
    spec = ALL["rentals"]
    start = Timeline(spec).start
    queries = [query for title, query in flux_queries(project_dashboard(spec)) if title.startswith("Predictions and")]
    end = start + STEPS * spec.data.every
    lower, upper, _, labels, served = (
        [r["_value"] for r in rows(influx, q, start, end, spec.data.every)] for q in queries
    )
    assert served == [11.0 + step for step in range(STEPS)]
    assert labels == [10.0 + step for step in range(STEPS)]
    assert [a - b for a, b in zip(upper, served, strict=True)] == [5.0] * STEPS
    assert [a - b for a, b in zip(lower, served, strict=True)] == [-5.0] * STEPS


def test_error_band_is_empty_without_a_loss(influx: Any) -> None:
    spec = ALL["rentals"]
    start = Timeline(spec).start
    queries = flux_queries(project_dashboard(spec.model_copy(update={"name": "unknown"})))
    assert not rows(influx, queries[0][1], start, start + timedelta(days=1), spec.data.every)


def test_4xx_and_5xx_responses_are_counted_separately(influx: Any) -> None:
    spec = ALL["rentals"]
    start = Timeline(spec).start
    queries = [query for title, query in flux_queries(project_dashboard(spec)) if title == "Errors"]
    failed, refused = (
        [r["_value"] for r in rows(influx, q, start, start + timedelta(days=2), spec.data.every)] for q in queries
    )
    assert (sum(failed), sum(refused), len(failed)) == (1, 1, STEPS)
    assert failed[7] == refused[8] == 1


def test_labelled_report_replaces_the_ended_one(influx: Any) -> None:
    spec = ALL["rentals"]
    start = Timeline(spec).start
    queries = [query for title, query in flux_queries(project_dashboard(spec)) if title.startswith("Share of drifted")]
    found = rows(influx, queries[0], start, start + timedelta(days=2), spec.data.every)
    assert [row["_value"] for row in found] == [0.5, 0.5]
