"""The dashboards' JSON is complete and valid for Grafana, and its queries use only what the forwarder writes."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundles import prices_spec, rentals_spec
from dashboard_queries import MEASUREMENTS, flux_queries, with_range
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.dashboards.overview import overview_dashboard
from mlops_assets.dashboards.panels import uid_of
from mlops_assets.dashboards.project import project_dashboard
from mlops_assets.dashboards.provisioning import write
from mlops_assets.errors import Refused
from mlops_assets.evaluation.error_band import HALF_WIDTH_IN_FLUX, half_width
from mlops_assets.ledger.facts import (
    Decided,
    Decision,
    EventMissed,
    GateVerdict,
    PromotionStep,
    Reported,
    TrainingEnded,
    WindowQuarantined,
)
from mlops_assets.ledger.summaries import DriftSummary, HealthSummary, PerformanceSummary
from mlops_assets.resources.repository import Repository
from mlops_assets.resources.telemetry.points import fact_lines, label_lines, request_line
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.problem import REGRESSION_METRICS

SHIPPED = Repository.at(Path(__file__).parents[2]).specs()
SPECS = {**SHIPPED, "rentals": rentals_spec(), "prices": prices_spec()}
DASHBOARDS = {name: project_dashboard(spec) for name, spec in SPECS.items()}
DASHBOARDS["overview"] = overview_dashboard(list(SPECS.values()))


every_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


@every_dashboard
def test_panel_ids_are_unique_and_panels_do_not_overlap(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    assert max(Counter(panel["id"] for panel in panels).values()) == 1
    cells: Counter[tuple[int, int]] = Counter()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] >= 0 and at["x"] + at["w"] <= 24
        cells.update((at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"]))
    assert max(cells.values()) == 1


def test_uids_are_unique_and_short_enough_for_grafana() -> None:
    uids = [dashboard["uid"] for dashboard in DASHBOARDS.values()]
    assert len(set(uids)) == len(uids)
    long = ["a" * 60, "a" * 61]
    assert len({uid_of(name) for name in long}) == 2
    assert all(len(uid) <= 40 for uid in [*uids, *(uid_of(name) for name in long)])


@every_dashboard
def test_every_panel_except_headings_queries_influxdb(name: str) -> None:
    for panel in DASHBOARDS[name]["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["title"] and panel["targets"], panel
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["query"].strip() for target in panel["targets"])
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"mlops-influxdb"}


@every_dashboard
def test_queries_use_only_measurements_that_the_forwarder_writes(name: str) -> None:
    for title, query in flux_queries(DASHBOARDS[name]):
        for measurement, part in parts(query):
            known, spec = MEASUREMENTS[measurement], SPECS[project_of(part)]
            fields = set(re.findall(r'r\._field == "([^"]+)"', part))
            of_project = {f"probability_{value}" for value in spec.classes} if measurement == "answer" else set()
            assert fields <= {*known.fields, *of_project}, (title, fields)
            columns = set(re.findall(r"r\.(\w+)", part)) - {"_value", "_time", "_field", "_measurement", "project"}
            assert columns <= {*known.tags, *fields}, (title, columns)
            if "entity" in columns:
                assert spec.data.entity


def parts(query: str) -> list[tuple[str, str]]:
    """Return each measurement that a query reads, with the part of the query that reads it."""
    pieces = re.split(r"(?=from\(bucket)|(?=schema\.)", query)
    found = [(re.search(r'r\._measurement == "(\w+)"', piece), piece) for piece in pieces]
    return [(match[1], piece) for match, piece in found if match]


def project_of(part: str) -> str:
    match = re.search(r'r\.project == "(\w+)"', part)
    assert match, part
    return match[1]


def test_the_dashboards_show_every_measurement() -> None:
    shown = {
        measurement for d in DASHBOARDS.values() for _, query in flux_queries(d) for measurement, _ in parts(query)
    }
    assert shown == set(MEASUREMENTS)


@every_dashboard
def test_grafana_models_read_and_write_dashboards_unchanged(name: str) -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    made = DASHBOARDS[name]
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(made)))
    # the SDK's model of an annotation supports targets of Grafana's own store only
    for dashboard in (made := json.loads(json.dumps(made)), again):
        for annotation in dashboard["annotations"]["list"]:
            del annotation["target"]
    assert again == made


def panel(dashboard: dict[str, Any], title: str) -> dict[str, Any]:
    (found,) = [each for each in dashboard["panels"] if each.get("title", "").startswith(title)]
    return found


def test_regression_has_an_error_band_and_classification_a_state_timeline() -> None:
    chart = panel(DASHBOARDS["rentals"], "Predictions and labels")
    names = {p["value"] for o in chart["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "displayName"}
    to = [
        p["value"]
        for o in chart["fieldConfig"]["overrides"]
        for p in o["properties"]
        if p["id"].endswith("fillBelowTo")
    ]
    assert chart["type"] == "timeseries"
    assert {"served", "label", "shadow model", *to} <= names
    assert len(to) == 1
    states = panel(DASHBOARDS["prices"], "Predicted classes and labels")
    assert states["type"] == "state-timeline"
    assert set(states["fieldConfig"]["defaults"]["mappings"][0]["options"]) == {"UP", "DOWN"}


def test_retrainings_and_promotions_are_annotated() -> None:
    marks = {each["name"]: each["target"]["query"] for each in DASHBOARDS["rentals"]["annotations"]["list"]}
    assert set(marks) == {"Retrainings", "Promotions"}
    assert 'r.outcome == "RETRAIN"' in marks["Retrainings"]
    assert 'r.step == "PROMOTED"' in marks["Promotions"]


def test_projects_with_several_series_have_a_variable_for_them() -> None:
    chosen = {name: [each["name"] for each in d["templating"]["list"]] for name, d in DASHBOARDS.items()}
    assert chosen["prices"] == ["feature", "entity"]
    assert chosen["rentals"] == ["feature"]
    labels_query = panel(DASHBOARDS["prices"], "Predicted classes and labels")["targets"][0]["query"]
    assert "${entity:regex}" in labels_query


def test_replay_opens_on_its_whole_range_and_others_on_the_last_week() -> None:
    assert DASHBOARDS["bike_demand"]["time"] == {"from": "2011-01-01T05:00:00Z", "to": "2013-01-01T05:00:00Z"}
    assert DASHBOARDS["rentals"]["time"] == {"from": "2011-01-01T00:00:00Z", "to": "now"}
    assert DASHBOARDS["prices"]["time"] == {"from": "now-7d", "to": "now"}
    ahead = rentals_spec(clock={"type": "wall"})
    assert project_dashboard(ahead)["time"] == {"from": "now-7d", "to": "now+86400s"}


def test_query_gets_time_range_and_variables() -> None:
    start = datetime(2011, 1, 1, tzinfo=UTC)
    query = 'import "types"\nfrom(bucket: v.defaultBucket) |> filter(fn: (r) => r._field =~ /^${feature:regex}$/)'
    filled = with_range(query, start, start + timedelta(days=1), timedelta(hours=1), "mine", {"feature": "(a|b)"})
    assert filled.splitlines() == [
        'import "types"',
        "option v = {timeRangeStart: 2011-01-01T00:00:00Z, timeRangeStop: 2011-01-02T00:00:00Z, "
        'windowPeriod: 3600s, defaultBucket: "mine"}',
        "from(bucket: v.defaultBucket) |> filter(fn: (r) => r._field =~ /^(a|b)$/)",
    ]


@pytest.mark.parametrize("metric", sorted(REGRESSION_METRICS))
def test_error_band_in_flux_equals_the_one_in_python(metric: Any) -> None:
    prediction = np.array([-4.0, 9.0])
    for value, expected in zip(prediction, half_width(metric, 2.25, prediction), strict=True):
        text = (
            HALF_WIDTH_IN_FLUX[metric].replace("loss.value", "2.25").replace("r._value", str(value)).replace("^", "**")
        )
        text = re.sub(r"\(if (.*) < 0.0 then -(.*) else (.*)\)", r"(-(\2) if \1 < 0.0 else \3)", text)
        assert eval(text) == pytest.approx(expected)


def test_command_writes_dashboards_and_provisioning_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_ASSETS_INFLUX_URL", "http://influx:8086")
    monkeypatch.setenv("MLOPS_ASSETS_INFLUX_TOKEN", "a-secret-token")
    done = CliRunner().invoke(app, ["dashboards", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    files = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert {str(tmp_path / name) for name in files} == set(json.loads(done.stdout)["files"])
    for name in [*SHIPPED, "overview"]:
        assert json.loads(files[f"dashboards/{name}.json"])["panels"]
    (source,) = yaml.safe_load(files["provisioning/datasources/mlops-assets.yaml"])["datasources"]
    assert (source["uid"], source["jsonData"]["version"]) == ("mlops-influxdb", "Flux")
    assert source["secureJsonData"] == {"token": "${MLOPS_ASSETS_INFLUX_TOKEN}"}
    assert not [name for name, text in files.items() if "a-secret-token" in text]


def test_project_with_the_name_of_the_overview_is_refused(tmp_path: Path) -> None:
    spec: ProjectSpec = rentals_spec(name="overview")
    with pytest.raises(Refused):
        write(tmp_path, [spec], "mlops", "mlops")


def test_dashboards_read_what_the_forwarder_writes() -> None:
    """Every line that the forwarder writes uses only names that queries may use."""
    lines = [*facts_of_every_kind(), request_line("rentals", 1, (1, 2, 200, 1.5, "champion", 1, 5))]
    for value in (3.5, "UP"):
        row = {"event_time": AT, "target": value, "entity": "north"}
        lines += label_lines("rentals", [row], "target")
    written = set()
    for line in lines:
        head, fields, _ = re.fullmatch(r"(\S+) (.*) (\d+)", line).groups()  # type: ignore[union-attr]
        measurement, *tags = head.split(",")
        known = MEASUREMENTS[measurement]
        assert {tag.partition("=")[0] for tag in tags} <= {"project", *known.tags}, line
        assert set(re.findall(r"(?:^|,)(\w+)=", re.sub(r'"[^"]*"', '""', fields))) <= {*known.fields}, line
        written.add(measurement)
    assert written == set(MEASUREMENTS) - {"answer", "feature", "forwarder"}


AT = datetime(2011, 4, 2, tzinfo=UTC)


def facts_of_every_kind() -> list[str]:
    window = "2011-04-02T00:00:00Z"
    reported = {"at": AT, "window": window, "stage": "labelled", "reign": 1, "version": 1, "inputs": {}}
    numbers = {"served": 1.0, "reign": 1.0, "shadow": 2.0, "baseline": 3.0, "realised_gain": 0.1, "promised_gain": 0.2}
    summaries: dict[str, Any] = {
        "drift": DriftSummary(
            verdict="drift",
            rows=1,
            statistic="psi",
            threshold=0.1,
            share=0.5,
            columns={"a": 1.0},
            prediction={"psi": 1.0},
        ),
        "performance": PerformanceSummary(pending=False, labels_at=AT, metric="mae", **numbers),
        "health": HealthSummary(
            requests=1, errors=0, availability=1.0, late=0, missed=0, p50_ms=1.0, p95_ms=1.0, p99_ms=1.0, memory_mb=1.0
        ),
    }
    decision = Decision(
        id="d",
        project="rentals",
        deployment_period=1,
        outcome="WAIT",
        window=window,
        stage="labelled",
        at=AT,
        reason="r",
    )
    run: dict[str, Any] = {"as_of": AT, "run_id": "r"}
    ended: dict[str, Any] = {"decision": None, "attempt": 1, "by": "policy", "wall_time": AT, **run}
    facts: list[Any] = [
        *(
            Reported(report=name, summary=found.model_dump(mode="json"), **reported)
            for name, found in summaries.items()
        ),
        Decided(at=AT, decision=decision),
        GateVerdict(at=AT, training="t", by="policy", verdict="HOLD", reasons=["r"], version=1, champion=1, **run),
        PromotionStep(at=AT, promotion="p", step="PROMOTED", version=1, previous=None, cause="bootstrap"),
        TrainingEnded(at=AT, training="t", outcome="JUDGED", **ended),
        EventMissed(at=AT, event_id="e", entity=None, event_time=AT, due=AT, reason="r"),
        WindowQuarantined(at=AT, window=window, data_version="v", reasons=["r"]),
    ]
    return [line for fact in facts for line in fact_lines("rentals", 1, fact)]
