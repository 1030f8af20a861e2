"""MLflow's scoring protocol, liveness and readiness, metrics, and the OpenAPI document."""

from __future__ import annotations

import importlib.metadata
import json
import sqlite3
from pathlib import Path

import pandas as pd
from bundles import Version
from scoring_services import Start, score, wait_for

from mlops_assets.prediction.inputs import from_records
from mlops_assets.prediction.predictor import Predictor
from mlops_assets.resources.scoring.config import ServiceConfig
from mlops_assets.timeline import event_id, parse


def test_ping_reports_whether_a_version_serves(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1], serve=None)
    assert client.get("/ping").status_code == client.get("/health").status_code == 503
    assert client.ask(rentals[1].records[:1]).status_code == 503
    client.admin("load", version=2, folder=str(rentals[2].folder))
    assert client.get("/ping").status_code == 503
    client.admin("switch", version=2)
    assert client.get("/ping").status_code == client.get("/health").status_code == 200


def test_live_process_need_not_be_ready(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1], serve=None)
    assert client.get("/livez").status_code == 200
    waiting = client.get("/readyz")
    assert (waiting.status_code, waiting.json()["ready"]) == (503, False)
    assert "no version serves" in waiting.json()["missing"][0]
    client.admin("load", version=2, folder=str(rentals[2].folder))
    client.admin("switch", version=2)
    assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (200, {"ready": True, "missing": []})


def test_service_that_cannot_log_is_live_and_not_ready(
    rentals: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    client = start(rentals[1])
    log = sqlite3.connect(client.service.telemetry.path, isolation_level=None)
    log.execute("ALTER TABLE requests RENAME TO gone")
    client.ask(rentals[1].records[:1])
    wait_for(lambda: client.get("/readyz").status_code == 503)
    assert "request log" in client.get("/readyz").json()["missing"][0]
    assert client.get("/livez").status_code == 200
    log.execute("ALTER TABLE gone RENAME TO requests")
    log.close()
    client.ask(rentals[1].records[:1])
    wait_for(lambda: client.get("/readyz").status_code == 200)


def test_served_versions_are_saved_for_the_next_start(
    rentals: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    client = start(rentals[1])
    client.admin("load", version=2, folder=str(rentals[2].folder))
    client.admin("switch", version=2)
    client.admin("shadow", version=1, folder=str(rentals[1].folder))
    kept = ServiceConfig.model_validate_json((tmp_path / "rentals" / "endpoint" / "config.json").read_text())
    assert kept.serve is not None and kept.shadow is not None
    assert (kept.serve.version, kept.serve.folder, kept.shadow.version) == (2, rentals[2].folder, 1)


def test_version_is_that_of_mlflow(rentals: dict[int, Version], start: Start) -> None:
    response = start(rentals[1]).get("/version")
    assert (response.text, response.status_code) == (importlib.metadata.version("mlflow"), 200)


def test_all_input_forms_give_the_same_predictions(rentals: dict[int, Version], start: Start) -> None:
    client, records = start(rentals[1]), rentals[1].records[:3]
    columns = list(reversed(records[0]))
    split = {"columns": columns, "data": [[record[name] for name in columns] for record in records], "index": [0, 1, 2]}
    responses = [
        client.ask(records),
        client.ask(records, form="inputs"),
        client.ask(split, form="dataframe_split"),
        client.post("/invocations", json={"dataframe_records": records, "params": None}),
        client.post(
            "/invocations",
            content=json.dumps({"inputs": records}),
            headers={"Content-Type": "application/json; charset=UTF-8"},
        ),
    ]
    assert [response.status_code for response in responses] == [200] * len(responses)
    assert all(response.json() == responses[0].json() for response in responses)


def test_csv_is_accepted_without_array_columns(
    prices: dict[int, Version], rentals: dict[int, Version], start: Start
) -> None:
    records = prices[1].records[:4]
    client = start(prices[1])
    text = pd.DataFrame(records).to_csv(index=False)
    csv = client.post("/invocations", content=text, headers={"Content-Type": "text/csv"})
    assert csv.json() == client.ask(records).json()
    refused = start(rentals[1]).post("/invocations", content=text, headers={"Content-Type": "text/csv"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (415, "Content-Type")


def test_response_has_prediction_version_dataset_and_event(prices: dict[int, Version], start: Start) -> None:
    version = prices[1]
    records = [*version.records[:2], {**version.records[0], "entity": "never seen"}]
    returned = start(version).ask(records).json()["predictions"]
    predictor = Predictor.load(version.folder)
    expected = predictor.predict(from_records(records, version.schema))
    assert expected.probabilities is not None
    assert returned == [
        {
            "prediction": expected.value[row],
            "probability_UP": expected.probabilities["UP"][row],
            "probability_DOWN": expected.probabilities["DOWN"][row],
            "model_version": 1,
            "dataset": f"{1:032x}",
            "event_id": event_id("prices", record["entity"], parse(record["event_time"])),
            "entity_known": row < 2,
        }
        for row, record in enumerate(records)
    ]
    predictor.close()


def test_batch_predicts_like_single_rows(rentals: dict[int, Version], start: Start) -> None:
    client, records = start(rentals[1]), rentals[1].records[:30]
    together = client.ask(records).json()["predictions"]
    assert together == [client.ask([record]).json()["predictions"][0] for record in records]


def test_openapi_describes_inputs_responses_and_errors(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1])
    document = client.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == rentals[1].schema.fields
    assert row["properties"]["cnt"]["minItems"] == 24
    predict = document["paths"]["/invocations"]["post"]
    prediction = document["components"]["schemas"]["Prediction"]
    assert prediction["required"] == list(client.ask(rentals[1].records[:1]).json()["predictions"][0])
    for status in ("400", "401", "403", "409", "413", "415", "422", "503"):
        body = predict["responses"][status]["content"]["application/json"]["schema"]
        assert body == {"$ref": "#/components/schemas/ErrorBody"}
    example = predict["requestBody"]["content"]["application/json"]["example"]
    assert client.post("/invocations", json=example).status_code == 200
    assert client.get("/docs").status_code == 200


def test_metrics_count_requests_errors_and_predictions(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1])
    client.ask(rentals[1].records[:2])
    client.ask([])
    score(client, rentals[1], rentals[1].records[:3])
    text = client.get("/metrics").text
    for line in (
        'mlops_requests_total{status="200"} 2.0',
        'mlops_errors_total{class="4xx"} 1.0',
        'mlops_answers_total{role="ad_hoc"} 2.0',
        'mlops_answers_total{role="champion"} 3.0',
        "mlops_latency_seconds_count 3.0",
        f'mlops_model_info{{dataset="{1:032x}",place="champion",project="rentals",version="1"}} 1.0',
        "mlops_shadow_backlog 0.0",
    ):
        assert line in text.splitlines()
    assert "mlops_memory_bytes" in text
