"""The scoring service: MLflow's protocol, facts that stand, errors that name the field, promotions, the shadow."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import math
import shutil
import sqlite3
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bundles import Version
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from services import Client, Start, Versions, serving

from mlops_assets.errors import EndpointError, ModelError
from mlops_assets.prediction.inputs import from_records
from mlops_assets.prediction.predictor import Predictions, Predictor
from mlops_assets.timeline import Timeline, event_id, iso, parse
from resources.answers import Role
from resources.service_config import ClientToken, ServiceConfig

EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
HOUR = timedelta(hours=1)


def due_of(version: Version, records: list[dict[str, Any]]) -> list[datetime]:
    return [Timeline(version.spec).due(parse(record["event_time"])) for record in records]


def score(client: Client, version: Version, records: list[dict[str, Any]], late_by: timedelta = timedelta(0)) -> Any:
    due = due_of(version, records)
    body = {"dataframe_records": records, "due": [iso(d) for d in due], "now": [iso(d + late_by) for d in due]}
    return client.post("/invocations", json=body, headers=client.scorer)


def recorded(client: Client, *roles: Role) -> pd.DataFrame:
    return client.service.telemetry.answers(client.service.project, *EVER, roles=roles)


def later(version: Version, as_of: datetime, folder: Path) -> Path:
    """The same version, as if its data had been snapped at another time."""
    copy = folder / "later"
    shutil.copytree(version.folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "as_of": iso(as_of)}))
    return copy


# The protocol


def test_ping_says_whether_a_model_serves(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1], serve=None)
    assert client.get("/ping").status_code == client.get("/health").status_code == 503
    assert client.ask(rentals[1].records[:1]).status_code == 503
    client.admin("load", version=2, folder=str(rentals[2].folder))
    assert client.get("/ping").status_code == 503
    client.admin("switch", version=2)
    assert client.get("/ping").status_code == client.get("/health").status_code == 200


def test_a_process_that_is_alive_need_not_be_ready(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1], serve=None)
    assert client.get("/livez").status_code == 200
    waiting = client.get("/readyz")
    assert (waiting.status_code, waiting.json()["ready"]) == (503, False)
    assert "no version serves" in waiting.json()["missing"][0]
    client.admin("load", version=2, folder=str(rentals[2].folder))
    client.admin("switch", version=2)
    assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (200, {"ready": True, "missing": []})


def test_a_service_that_cannot_log_is_alive_and_not_ready(
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


def wait_for(condition: Callable[[], bool], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_served_last_is_kept_for_the_next_start(rentals: dict[int, Version], start: Start, tmp_path: Path) -> None:
    client = start(rentals[1])
    client.admin("load", version=2, folder=str(rentals[2].folder))
    client.admin("switch", version=2)
    client.admin("shadow", version=1, folder=str(rentals[1].folder))
    kept = ServiceConfig.model_validate_json((tmp_path / "rentals" / "endpoint" / "config.json").read_text())
    assert kept.serve is not None and kept.shadow is not None
    assert (kept.serve.version, kept.serve.folder, kept.shadow.version) == (2, rentals[2].folder, 1)


def test_version_is_mlflows(rentals: dict[int, Version], start: Start) -> None:
    answer = start(rentals[1]).get("/version")
    assert (answer.text, answer.status_code) == (importlib.metadata.version("mlflow"), 200)


def test_each_input_form_gives_the_same_answer(rentals: dict[int, Version], start: Start) -> None:
    client, records = start(rentals[1]), rentals[1].records[:3]
    columns = list(reversed(records[0]))
    split = {"columns": columns, "data": [[record[name] for name in columns] for record in records], "index": [0, 1, 2]}
    answers = [
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
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert all(answer.json() == answers[0].json() for answer in answers)


def test_csv_is_taken_where_no_column_is_an_array(
    prices: dict[int, Version], rentals: dict[int, Version], start: Start
) -> None:
    records = prices[1].records[:4]
    client = start(prices[1])
    text = pd.DataFrame(records).to_csv(index=False)
    csv = client.post("/invocations", content=text, headers={"Content-Type": "text/csv"})
    assert csv.json() == client.ask(records).json()
    refused = start(rentals[1]).post("/invocations", content=text, headers={"Content-Type": "text/csv"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (415, "Content-Type")


def test_an_answer_is_the_models_with_its_version_dataset_and_event(prices: dict[int, Version], start: Start) -> None:
    version = prices[1]
    records = [*version.records[:2], {**version.records[0], "entity": "never seen"}]
    answers = start(version).ask(records).json()["predictions"]
    predictor = Predictor.load(version.folder)
    expected = predictor.predict(from_records(records, version.schema))
    assert expected.probabilities is not None
    assert answers == [
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


def test_many_rows_are_answered_as_each_alone(rentals: dict[int, Version], start: Start) -> None:
    client, records = start(rentals[1]), rentals[1].records[:30]
    together = client.ask(records).json()["predictions"]
    assert together == [client.ask([record]).json()["predictions"][0] for record in records]


def test_openapi_describes_the_inputs_with_an_example_that_is_answered(
    rentals: dict[int, Version], start: Start
) -> None:
    client = start(rentals[1])
    document = client.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == rentals[1].schema.fields
    assert row["properties"]["cnt"]["minItems"] == 24
    example = document["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert client.post("/invocations", json=example).status_code == 200
    assert client.get("/docs").status_code == 200


def test_metrics_count_requests_errors_and_answers(rentals: dict[int, Version], start: Start) -> None:
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


# Bad input


def _changed(**changes: Any) -> Any:
    return lambda row: {**row, **changes}


def _without(name: str) -> Any:
    return lambda row: {key: value for key, value in row.items() if key != name}


BAD_ROWS: list[tuple[str, Any, str]] = [
    ("a missing field", _without("temp"), "temp"),
    ("an unknown field", _changed(wind=1.0), "wind"),
    ("text for a number", _changed(temp="warm"), "temp"),
    ("a number for a category", _changed(sky=[1]), "sky"),
    ("half an integer", _changed(hour=1.5), "hour"),
    ("null where a value is needed", _changed(hour=None), "hour"),
    ("a bool for a number", _changed(temp=True), "temp"),
    ("a number too large for a float", _changed(hour=10**400), "hour"),
    ("a short array", _changed(cnt=[1.0] * 23), "cnt"),
    ("a long array", _changed(cnt=[1.0] * 25), "cnt"),
    ("an array in the array", _changed(cnt=[[1.0]] * 24), "cnt"),
    ("text in the array", _changed(cnt=["1"] * 24), "cnt"),
    ("NaN", _changed(temp=math.nan), "temp"),
    ("Infinity in the array", _changed(cnt=[math.inf] * 24), "cnt"),
    ("a time without a zone", _changed(event_time="2011-02-05T00:00:00"), "event_time"),
    ("no time at all", _changed(event_time="tomorrow"), "event_time"),
    ("a time beyond all calendars", _changed(event_time="0001-01-01T00:00:00+14:00"), "event_time"),
    ("a time beyond nanoseconds", _changed(event_time="3000-01-01T00:00:00Z"), "event_time"),
]


@pytest.mark.parametrize(("change", "field"), [case[1:] for case in BAD_ROWS], ids=[case[0] for case in BAD_ROWS])
def test_a_bad_row_is_refused_naming_field_and_row(
    rentals: dict[int, Version], start: Start, change: Any, field: str
) -> None:
    client, good = start(rentals[1]), rentals[1].records[0]
    body = json.dumps({"dataframe_records": [good, change(good)]})
    answer = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    # a number that JSON's readers refuse as a whole has no field
    expected = (field, 1) if "0" * 400 not in body else ("body", None)
    assert (error["field"], error["row"]) == expected
    assert 400 <= answer.status_code < 500
    assert recorded(client, "ad_hoc", "champion").empty


BAD_BODIES: list[tuple[bytes, str]] = [
    (b"", "body"),
    (b"nonsense", "body"),
    (b"\xff\xfe", "body"),
    (b"[]", "body"),
    (b"3", "body"),
    (b"null", "body"),
    (b"{}", "body"),
    (b"[" * 5000, "body"),
    (b'{"inputs": NaN', "body"),
    (b'{"instances": []}', "instances"),
    (b'{"dataframe_records": [], "extra": 1}', "extra"),
    (b'{"dataframe_records": [{}], "inputs": [{}]}', "body"),
    (b'{"dataframe_records": [{}], "params": {"a": 1}}', "params"),
    (b'{"dataframe_records": []}', "dataframe_records"),
    (b'{"dataframe_records": {"a": 1}}', "dataframe_records"),
    (b'{"dataframe_records": [1]}', "dataframe_records"),
    (b'{"inputs": {"temp": [1.0]}}', "inputs"),
    (b'{"dataframe_split": []}', "dataframe_split"),
    (b'{"dataframe_split": {"columns": ["a"]}}', "dataframe_split"),
    (b'{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}', "dataframe_split.columns"),
    (b'{"dataframe_split": {"columns": [1], "data": [[1]]}}', "dataframe_split.columns"),
    (b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', "dataframe_split.data"),
    (b'{"dataframe_split": {"columns": ["a"], "data": [[1]], "index": []}}', "dataframe_split.index"),
    (b'{"dataframe_split": {"columns": [], "data": []}}', "dataframe_split"),
]


@pytest.mark.parametrize(("body", "field"), BAD_BODIES)
def test_a_body_in_no_known_form_is_refused(rentals: dict[int, Version], start: Start, body: bytes, field: str) -> None:
    client = start(rentals[1])
    answer = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


def test_what_is_no_json_is_refused_also_where_nobody_reads_it(rentals: dict[int, Version], start: Start) -> None:
    client, good = start(rentals[1]), rentals[1].records[0]
    unread = {"dataframe_split": {"columns": list(good), "data": [list(good.values())], "index": [math.nan]}}
    torn = {"inputs": [{**good, "sky": "NaN \ud800"}]}
    for body in (unread, torn):
        answer = client.post("/invocations", content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, "body")
    assert recorded(client, "ad_hoc").empty


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/json; charset=latin-1", "application/json; a=b"]
)
def test_another_content_type_is_refused(rentals: dict[int, Version], start: Start, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = start(rentals[1]).post("/invocations", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["field"]) == (415, "Content-Type")


def test_a_body_over_the_limit_is_refused(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1], max_body_mb=0.01)
    headers = {"Content-Type": "application/json"}
    told = client.post("/invocations", content=b" " * 20_000, headers=headers)

    async def pieces() -> Any:
        for _ in range(20):
            yield b" " * 1000

    untold = client.post("/invocations", content=pieces(), headers=headers)
    assert (told.status_code, untold.status_code) == (413, 413)
    assert client.ask(rentals[1].records[:1]).status_code == 200


@pytest.mark.parametrize("text", ["load\n1,2\n", "load,load\n1,1\n", 'load\n"1\n', "", "\xe4", "load,peak\nx,true\n"])
def test_bad_csv_is_refused(prices: dict[int, Version], start: Start, text: str) -> None:
    headers = {"Content-Type": "text/csv"}
    answer = start(prices[1]).post("/invocations", content=text.encode("latin-1"), headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["field"]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**300)
garbage = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@st.composite
def requests(draw: st.DrawFn, good: dict[str, Any]) -> Any:
    """Bodies between right and absurd: a good request of which parts are replaced."""
    row = dict(good)
    for name in draw(st.lists(st.sampled_from([*good, "other"]), max_size=3)):
        row[name] = draw(garbage | st.lists(scalars, min_size=24, max_size=24))
    for name in draw(st.lists(st.sampled_from(list(good)), max_size=1)):
        row.pop(name, None)
    body: Any = {draw(st.sampled_from(["dataframe_records", "inputs", "instances", "dataframe_split"])): [good, row]}
    for name in draw(st.lists(st.sampled_from(["due", "now", "params", "else"]), max_size=2)):
        body[name] = draw(garbage)
    return draw(st.just(body) | garbage)


@pytest.mark.parametrize("kind", ["rentals", "prices"])
def test_garbage_gets_4xx_and_never_500_or_nan(versions: Versions, tmp_path: Path, kind: str) -> None:
    version = versions[kind][1]
    with serving(version, tmp_path) as client:

        @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
        @given(requests(version.records[0]), st.booleans())
        def throw(body: Any, scorer: bool) -> None:
            content = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **(client.scorer if scorer else {})}
            answer = client.post("/invocations", content=content, headers=headers)
            assert answer.status_code == 200 or 400 <= answer.status_code < 500
            if answer.status_code == 200:
                found = answer.json()["predictions"][0]["prediction"]
                assert isinstance(found, str) or math.isfinite(found)
            else:
                assert answer.json()["error"]["message"]

        throw()
        # torn bytes as well
        content = json.dumps({"inputs": version.records[:1]}).encode()
        for end in range(0, len(content), 37):
            answer = client.post("/invocations", content=content[:end], headers={"Content-Type": "application/json"})
            assert answer.status_code == 400


# Tokens


def test_a_clients_token_is_required_where_one_is_set(
    rentals: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    client, records = start(rentals[1], client_token_file=secret), rentals[1].records[:1]
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "open sesame"}):
        answer = client.ask(records, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/status", headers=headers).status_code == 401
        assert client.get("/metrics", headers=headers).status_code == 401
    right = {"Authorization": "Bearer open sesame"}
    assert client.ask(records, headers=right).status_code == 200
    assert client.get("/status", headers=right).status_code == 200
    assert client.get("/ping").status_code == 200
    assert score(client, rentals[1], records).status_code == 200


def test_a_service_that_was_to_be_closed_does_not_stand_open(
    rentals: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    for text in (None, "", " \n"):
        if text is not None:
            secret.write_text(text)
        with pytest.raises(EndpointError, match="absent or empty"):
            start(rentals[1], client_token_file=secret)


def test_a_clients_token_is_exchanged_without_a_restart(
    rentals: dict[int, Version], start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.service_config.LOOK_AT_TOKEN_EVERY", 0.05)
    secret, beside = tmp_path / "secret", tmp_path / "beside"
    secret.write_text("first")
    client, records = start(rentals[1], client_token_file=secret), rentals[1].records[:1]

    def status(token: str) -> int:
        return client.ask(records, headers={"Authorization": f"Bearer {token}"}).status_code

    assert (status("first"), status("other")) == (200, 401)
    # the same length, so that neither the size nor a coarse clock alone gives the change away
    beside.write_text("other")
    beside.replace(secret)
    time.sleep(0.1)
    assert (status("first"), status("other")) == (401, 200)
    # half of an exchange leaves the service closed, and its clients in
    for broken in (lambda: secret.write_text(""), secret.unlink):
        broken()
        time.sleep(0.1)
        assert (status("first"), status(""), status("other")) == (401, 401, 200)
    secret.write_text("third")
    time.sleep(0.1)
    assert (status("other"), status("third")) == (401, 200)


def test_the_tokens_file_is_looked_at_once_a_second_at_most(
    rentals: dict[int, Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first")
    token = ClientToken(ServiceConfig(spec=rentals[1].spec, state=tmp_path, client_token_file=secret))
    moment = time.monotonic()
    monkeypatch.setattr("resources.service_config.time.monotonic", lambda: moment)
    secret.write_text("second")
    assert token.value == "first"
    moment += 1.1
    assert token.value == "second"


def test_the_environment_sets_a_clients_token(
    rentals: dict[int, Version], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_ASSETS_CLIENT_TOKEN", "from outside")
    client = start(rentals[1])
    assert client.ask(rentals[1].records[:1]).status_code == 401
    assert client.ask(rentals[1].records[:1], headers={"Authorization": "bearer from outside"}).status_code == 200


def test_only_the_scorer_administrates_and_says_what_is_due(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    bundle = {"version": 2, "folder": str(rentals[2].folder)}
    bodies = {"load": bundle, "switch": {"version": 2}, "unload": {}, "shadow": bundle, "drain": {}}
    for path, body in bodies.items():
        assert client.post(f"/admin/{path}", json=body).status_code == 401
        wrong = client.post(f"/admin/{path}", json=body, headers={"X-Scorer-Token": "guessed"})
        assert wrong.status_code == 403
    due = [iso(moment) for moment in due_of(version, version.records[:1])]
    body = {"inputs": version.records[:1], "due": due, "now": due}
    assert client.post("/invocations", json=body).status_code == 403
    assert client.post("/invocations", json=body, headers={"X-Scorer-Token": b"\xe9"}).status_code == 403
    assert recorded(client, "champion", "ad_hoc").empty
    assert client.service.rota.at("standby") is None


def test_the_scorers_token_is_readable_by_its_owner_only_and_lasts(rentals: dict[int, Version], tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        with serving(rentals[1], tmp_path) as client:
            tokens.append(client.scorer["X-Scorer-Token"])
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) > 30
    assert (tmp_path / "rentals" / "endpoint" / "token").stat().st_mode & 0o777 == 0o600


# Answers as facts


def test_the_first_answer_to_an_event_stands_whoever_is_champion_later(
    rentals: dict[int, Version], start: Start
) -> None:
    client, version = start(rentals[1]), rentals[1]
    first = score(client, version, version.records[:2]).json()["predictions"]
    client.admin("load", version=2, folder=str(rentals[2].folder))
    client.admin("switch", version=2)
    again = score(client, version, version.records[:3]).json()["predictions"]
    assert [answer["stored"] for answer in first] == [False, False]
    assert again[:2] == [{**answer, "stored": True} for answer in first]
    assert (again[2]["model_version"], again[2]["stored"]) == (2, False)
    assert recorded(client, "champion")["version"].tolist() == [1, 1, 2]


def test_an_answer_that_stands_is_given_also_by_a_version_that_may_not_answer(
    rentals: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    client, version = start(rentals[1]), rentals[1]
    first = score(client, version, version.records[:2]).json()["predictions"]
    client.admin("load", version=2, folder=str(later(rentals[2], due_of(version, version.records[:4])[3], tmp_path)))
    client.admin("switch", version=2)
    again = score(client, version, version.records[:2])
    assert again.json()["predictions"] == [{**answer, "stored": True} for answer in first]
    assert score(client, version, version.records[:3]).status_code == 409


def test_a_row_without_a_finite_answer_is_refused(
    rentals: dict[int, Version], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, honest = start(rentals[1]), Predictor.predict

    def overflowing(self: Predictor, inputs: Any) -> Predictions:
        right = honest(self, inputs)
        values = np.where(np.arange(len(inputs)) == 1, np.inf, right.value.astype(np.float64))
        return Predictions(values, right.probabilities, right.features, right.known_entity)

    monkeypatch.setattr(Predictor, "predict", overflowing)
    answer = client.ask(rentals[1].records[:3])
    assert (answer.status_code, answer.json()["error"]["row"]) == (422, 1)
    assert score(client, rentals[1], rentals[1].records[:3]).status_code == 422
    assert recorded(client, "ad_hoc", "champion").empty


def test_a_strangers_rows_are_ad_hoc_and_answer_no_event(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    client.ask(version.records[:1])
    client.ask(version.records[:1], headers=client.scorer)  # the token alone does not make it an event's answer
    assert recorded(client, "champion").empty
    assert recorded(client, "ad_hoc")["due"].isna().all()
    assert score(client, version, version.records[:1]).json()["predictions"][0]["stored"] is False


def test_a_version_answers_nothing_due_before_its_data_were_snapped(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    good = version.records[0]
    early = {**good, "event_time": iso(version.as_of + 24 * HOUR - HOUR)}
    on_time = {**good, "event_time": iso(version.as_of + 24 * HOUR)}
    refused = score(client, version, [on_time, early])
    error = refused.json()["error"]
    assert (refused.status_code, error["field"], error["row"]) == (409, "due", 1)
    assert iso(version.as_of) in error["message"]
    assert iso(version.as_of - HOUR) in error["message"]
    assert recorded(client, "champion").empty
    assert score(client, version, [on_time]).status_code == 200


def test_a_due_time_that_is_not_the_events_is_refused(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    due = iso(due_of(version, version.records[:1])[0] + HOUR)
    body = {"inputs": version.records[:1], "due": [due], "now": [due]}
    answer = client.post("/invocations", json=body, headers=client.scorer)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "due")


def test_the_same_event_twice_in_a_request_is_refused(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    answer = score(client, version, [version.records[0], version.records[1], version.records[0]])
    assert (answer.status_code, answer.json()["error"]["row"]) == (422, 2)
    assert recorded(client, "champion").empty


@pytest.mark.parametrize(
    "extra",
    [
        {"due": ["2011-02-05T00:00:00Z"]},
        {"due": ["2011-02-05T00:00:00Z"], "now": "2011-02-05T00:00:00Z"},
        {"due": [], "now": []},
        {"due": ["2011-02-05T00:00:00"], "now": ["2011-02-05T00:00:00Z"]},
        {"due": [5], "now": ["2011-02-05T00:00:00Z"]},
        {"due": ["0001-01-01T00:00:00+14:00"], "now": ["2011-02-05T00:00:00Z"]},
    ],
)
def test_the_scorers_times_are_checked(rentals: dict[int, Version], start: Start, extra: dict[str, Any]) -> None:
    client = start(rentals[1])
    answer = client.post("/invocations", json={"inputs": rentals[1].records[:1], **extra}, headers=client.scorer)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["field"] in ("due", "now")


def test_an_answer_after_the_deadline_is_late(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    score(client, version, version.records[:1], late_by=HOUR)  # serving.every: just in time
    score(client, version, version.records[1:2], late_by=HOUR + timedelta(seconds=1))
    assert recorded(client, "champion")["late"].tolist() == [False, True]


@pytest.mark.parametrize("kind", ["rentals", "prices"])
def test_recorded_answers_equal_a_recomputation_to_the_bit(versions: Versions, start: Start, kind: str) -> None:
    version = versions[kind][1]
    client = start(version)
    told = score(client, version, version.records[:40]).json()["predictions"]
    log = recorded(client, "champion")
    predictor = Predictor.load(version.folder)
    again = predictor.predict(from_records(list(log["inputs"]), version.schema))
    assert log["prediction"].tolist() == list(again.value) == [row["prediction"] for row in told]
    features = log["features"].tolist()
    for column, name in enumerate(predictor.definitions.names):
        if name in predictor.definitions.levels:
            continue
        values = np.array([row[name] for row in features])
        assert values.tobytes() == np.ascontiguousarray(again.features[:, column]).tobytes()
    if again.probabilities is not None:
        assert [row["UP"] for row in log["probabilities"]] == list(again.probabilities["UP"])
    predictor.close()


def test_no_answer_goes_out_that_could_not_be_recorded(
    rentals: dict[int, Version], start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, version = start(rentals[1]), rentals[1]

    def full(answers: Any) -> set[str]:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(client.service.telemetry, "record", full)
        for answer in (score(client, version, version.records[:1]), client.ask(version.records[:1])):
            assert answer.status_code == 500
            assert "prediction" not in answer.text
            assert answer.json()["error"]["message"].split()[-1] in {
                getattr(r, "request_id", None) for r in caplog.records
            }
    assert score(client, version, version.records[:1]).json()["predictions"][0]["stored"] is False


def test_requests_are_logged_with_the_projects_time(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    score(client, version, version.records[:2])
    client.ask(version.records[:1])
    client.ask([])
    client.admin("drain")
    log = client.service.telemetry.requests(*EVER)
    assert log[["status", "role", "rows"]].values.tolist() == [
        [200, "champion", 2],
        [200, "ad_hoc", 1],
        [400, "ad_hoc", 0],
    ]
    assert set(log["now"]) == {due_of(version, version.records[:2])[1]}
    assert (log["latency_ms"] > 0).all()
    assert (log["rss"] > 2**20).all()


def test_a_replays_time_is_known_again_after_a_restart(rentals: dict[int, Version], tmp_path: Path) -> None:
    version = rentals[1]
    with serving(version, tmp_path) as client:
        score(client, version, version.records[:2])
    with serving(version, tmp_path) as client:
        assert client.get("/status").json()["now"] == iso(due_of(version, version.records[:2])[1])


# Promotion


def test_status_tells_who_serves_who_stands_by_and_who_is_in_the_shadow(
    rentals: dict[int, Version], start: Start
) -> None:
    client = start(rentals[1])
    client.admin("load", version=2, folder=str(rentals[2].folder))
    client.admin("shadow", version=3, folder=str(rentals[3].folder))
    status = client.get("/status").json()
    places = {place: status[place]["version"] for place in ("champion", "standby", "shadow")}
    assert places == {"champion": 1, "standby": 2, "shadow": 3}
    assert status["champion"]["dataset"] == f"{1:032x}"
    assert status["champion"]["as_of"] == iso(rentals[1].as_of)
    assert (status["project"], status["ready"], status["shadow_backlog"]) == ("rentals", True, 0)
    assert status["memory_mb"] > 10


def test_a_switch_takes_effect_with_the_next_answer(rentals: dict[int, Version], start: Start) -> None:
    client, records = start(rentals[1]), rentals[1].records[:1]
    assert client.admin("load", version=2, folder=str(rentals[2].folder)).json()["place"] == "standby"
    assert client.ask(records).json()["predictions"][0]["model_version"] == 1
    assert client.admin("switch", version=2).json() == {"version": 2, "previous": 1}
    answer = client.ask(records).json()["predictions"][0]
    predictor = Predictor.load(rentals[2].folder)
    assert answer["prediction"] == predictor.predict(from_records(records, rentals[2].schema)).value[0]
    assert answer["model_version"] == 2
    predictor.close()


def test_load_and_switch_can_be_repeated(rentals: dict[int, Version], start: Start) -> None:
    client, bundle = start(rentals[1]), {"version": 2, "folder": str(rentals[2].folder)}
    client.admin("load", **bundle)
    standby = client.service.rota.at("standby")
    assert client.admin("load", **bundle).json()["place"] == "standby"
    assert client.service.rota.at("standby") is standby
    for _ in range(2):
        assert client.admin("switch", version=2).status_code == 200
    assert client.admin("load", **bundle).json()["place"] == "champion"
    assert client.service.rota.at("champion") is standby


def test_only_the_version_that_stands_by_can_be_switched_to(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1])
    client.admin("load", version=2, folder=str(rentals[2].folder))
    assert client.admin("switch", version=3).status_code == 409
    assert client.admin("unload").json() == {"version": 2}
    assert client.admin("switch", version=2).status_code == 409
    assert client.get("/status").json()["champion"]["version"] == 1


def test_a_damaged_or_foreign_bundle_does_not_load_and_what_served_goes_on(
    rentals: dict[int, Version], prices: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    client = start(rentals[1])
    damaged = tmp_path / "damaged"
    shutil.copytree(rentals[2].folder, damaged)
    with (damaged / "mojo.zip").open("r+b") as file:
        file.seek(200)
        file.write(b"\0\0\0\0")
    for folder in (damaged, prices[1].folder, tmp_path / "nowhere"):
        answer = client.admin("load", version=2, folder=str(folder))
        assert answer.status_code == 422
        assert answer.json()["error"]["message"]
        assert client.admin("shadow", version=2, folder=str(folder)).status_code == 422
    assert client.service.rota.at("standby") is None
    assert client.ask(rentals[1].records[:1]).json()["predictions"][0]["model_version"] == 1


def test_a_version_that_answers_its_golden_rows_differently_does_not_load(
    rentals: dict[int, Version], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(rentals[1])
    honest = Predictor.predict

    def drifted(self: Predictor, inputs: Any) -> Predictions:
        right = honest(self, inputs)
        return Predictions(right.value + 1e-6, right.probabilities, right.features, right.known_entity)

    monkeypatch.setattr(Predictor, "predict", drifted)
    assert client.admin("load", version=2, folder=str(rentals[2].folder)).status_code == 422


def test_the_old_model_finishes_its_answers_and_is_then_released(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1])
    rota = client.service.rota
    for number in (2, 3):
        client.admin("load", version=number, folder=str(rentals[number].folder))
        with rota.borrow("champion") as held:
            assert held is not None
            predictor, inputs = held.predictor, from_records(rentals[1].records[:1], rentals[1].schema)
            client.admin("switch", version=number)
            assert predictor.predict(inputs).value[0] > 0
            assert client.get("/status").json()["models_in_memory"] == 2
        with pytest.raises(ModelError, match="closed"):
            predictor.predict(inputs)
        freed = weakref.ref(predictor)
        del held, predictor
        assert freed() is None
        assert client.get("/status").json()["models_in_memory"] == 1


@pytest.mark.parametrize("body", [{}, {"version": 2}, {"version": "2", "folder": "x"}, {"version": 0, "folder": "x"}])
def test_administration_checks_what_it_is_told(rentals: dict[int, Version], start: Start, body: dict[str, Any]) -> None:
    client = start(rentals[1])
    for path in ("load", "shadow"):
        answer = client.admin(path, **body)
        assert answer.status_code == 422
        assert set(answer.json()["error"]) == {"field", "message", "row"}
    assert client.get("/nowhere").json()["error"]["message"] == "Not Found"
    assert client.get("/invocations").status_code == 405


# The shadow


def test_the_shadow_predicts_on_the_inputs_of_the_answers_that_were_given(
    rentals: dict[int, Version], start: Start
) -> None:
    client, version = start(rentals[1]), rentals[1]
    client.admin("shadow", version=2, folder=str(rentals[2].folder))
    score(client, version, version.records[:20])
    client.ask(version.records[20:25])
    assert client.admin("drain").json() == {"backlog": 0, "written": 20, "failed": 0}
    log, shadow = recorded(client, "champion"), recorded(client, "shadow")
    predictor = Predictor.load(rentals[2].folder)
    expected = predictor.predict(from_records(version.records[:20], version.schema)).value
    assert shadow["prediction"].tolist() == list(expected)
    assert shadow["event_id"].tolist() == log["event_id"].tolist()
    assert set(shadow["version"]) == {2}
    assert (shadow["prediction"] != log["prediction"]).any()
    predictor.close()


def test_what_the_shadow_missed_is_filled_in_at_the_next_start(rentals: dict[int, Version], tmp_path: Path) -> None:
    version = rentals[1]
    with serving(version, tmp_path) as client:
        score(client, version, version.records[:5])
    shadow = {"version": 2, "folder": rentals[2].folder}
    with serving(version, tmp_path, shadow=shadow) as client:
        assert client.admin("drain").json()["backlog"] == 0
        assert len(recorded(client, "shadow")) == 5


def test_the_shadow_predicts_nothing_due_before_its_own_data_were_snapped(
    rentals: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    client, version = start(rentals[1]), rentals[1]
    score(client, version, version.records[:5])
    snapped = later(rentals[2], due_of(version, version.records[:4])[3], tmp_path)
    client.admin("shadow", version=2, folder=str(snapped))
    assert client.admin("drain").json()["written"] == 2
    assert recorded(client, "shadow")["event_id"].tolist() == recorded(client, "champion")["event_id"].tolist()[3:]


def test_a_shadow_with_other_columns_is_counted_and_does_not_block(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    client.admin("shadow", version=2, folder=str(rentals[2].folder))
    wider = version.schema.model_copy(update={"known": {**version.schema.known, "wind": "float"}})
    shadow = client.service.rota.at("shadow")
    assert shadow is not None
    shadow.predictor.schema = wider
    assert score(client, version, version.records[:3]).status_code == 200
    assert client.admin("drain").json() == {"backlog": 0, "written": 0, "failed": 3}


def test_a_drain_gives_up_in_time_and_says_what_is_left(
    rentals: dict[int, Version], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, version = start(rentals[1]), rentals[1]
    monkeypatch.setattr(client.service.shadowing, "_chunk", lambda: False)
    client.admin("shadow", version=2, folder=str(rentals[2].folder))
    score(client, version, version.records[:3])
    began = time.monotonic()
    answer = client.post("/admin/drain?timeout=0.2", headers=client.scorer)
    assert answer.json()["backlog"] == 3
    assert 0.2 <= time.monotonic() - began < 5
    monkeypatch.undo()


def test_no_shadow_any_more(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1], shadow={"version": 2, "folder": rentals[2].folder}), rentals[1]
    assert client.admin("shadow", version=None, folder=None).status_code == 200
    score(client, version, version.records[:2])
    assert client.admin("drain").json()["written"] == 0
    assert client.admin("shadow", version=2, folder=None).status_code == 422


# Taking turns


def test_a_single_row_does_not_wait_for_a_batch(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    computing = client.service.rota.turns._computing

    async def ask() -> tuple[float, float]:
        began = time.monotonic()
        batch = asyncio.create_task(client.send("POST", "/invocations", json={"inputs": version.records * 4}))
        while not computing.locked():
            await asyncio.sleep(0.0005)
        asked = time.monotonic()
        single = await client.send("POST", "/invocations", json={"inputs": version.records[:1]})
        answered = time.monotonic()
        assert (single.status_code, (await batch).status_code) == (200, 200)
        assert len(batch.result().json()["predictions"]) == 4 * len(version.records)
        return answered - asked, time.monotonic() - began

    waited, whole = client.run(ask())
    assert waited < whole / 3
