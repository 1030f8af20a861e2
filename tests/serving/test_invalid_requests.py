"""Invalid requests: the scoring service responds with an error that names field and row."""

from __future__ import annotations

import json
import math
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import Version, Versions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scoring_services import Start, recorded, serving


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
def test_invalid_row_error_names_field_and_row(
    rentals: dict[int, Version], start: Start, change: Any, field: str
) -> None:
    client, good = start(rentals[1]), rentals[1].records[0]
    body = json.dumps({"dataframe_records": [good, change(good)]})
    response = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    error = response.json()["error"]
    # an integer of 400 digits is invalid for the JSON parser, so the error names no field
    expected = (field, 1) if "0" * 400 not in body else ("body", None)
    assert (error["field"], error["row"]) == expected
    assert 400 <= response.status_code < 500
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
def test_unknown_body_form_is_an_error(rentals: dict[int, Version], start: Start, body: bytes, field: str) -> None:
    client = start(rentals[1])
    response = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["error"]["field"]) == (400, field)


def test_invalid_json_in_unused_parts_is_an_error(rentals: dict[int, Version], start: Start) -> None:
    client, good = start(rentals[1]), rentals[1].records[0]
    unread = {"dataframe_split": {"columns": list(good), "data": [list(good.values())], "index": [math.nan]}}
    torn = {"inputs": [{**good, "sky": "NaN \ud800"}]}
    for body in (unread, torn):
        response = client.post("/invocations", content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()["error"]["field"]) == (400, "body")
    assert recorded(client, "ad_hoc").empty


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/json; charset=latin-1", "application/json; a=b"]
)
def test_unsupported_content_type_is_an_error(
    rentals: dict[int, Version], start: Start, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = start(rentals[1]).post("/invocations", content=b"{}", headers=headers)
    assert (response.status_code, response.json()["error"]["field"]) == (415, "Content-Type")


def test_body_over_the_limit_is_an_error(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1], max_body_mb=0.01)
    headers = {"Content-Type": "application/json"}
    with_length = client.post("/invocations", content=b" " * 20_000, headers=headers)

    async def pieces() -> Any:
        for _ in range(20):
            yield b" " * 1000

    without_length = client.post("/invocations", content=pieces(), headers=headers)
    assert (with_length.status_code, without_length.status_code) == (413, 413)
    assert client.ask(rentals[1].records[:1]).status_code == 200


@pytest.mark.parametrize("text", ["load\n1,2\n", "load,load\n1,1\n", 'load\n"1\n', "", "\xe4", "load,peak\nx,true\n"])
def test_invalid_csv_is_an_error(prices: dict[int, Version], start: Start, text: str) -> None:
    headers = {"Content-Type": "text/csv"}
    response = start(prices[1]).post("/invocations", content=text.encode("latin-1"), headers=headers)
    assert response.status_code in (400, 422)
    assert response.json()["error"]["field"]


def parquet(**columns: Any) -> bytes:
    body = BytesIO()
    pq.write_table(pa.table(columns), body)
    return body.getvalue()


BEYOND = pa.array([2**62], pa.timestamp("us", tz="UTC"))
NOWHERE = pa.array([0], pa.timestamp("us", tz="Nowhere/Else"))
BAD_PARQUET = {
    "a few bytes for millions of values": (
        parquet(cnt=[[0.0] * 20_000] * 500),
        413,
    ),
    "a time that no calendar has": (parquet(event_time=BEYOND), 400),
    "an unknown zone": (parquet(event_time=NOWHERE), 400),
    "no Parquet": (b"PAR1", 400),
}


@pytest.mark.parametrize("kind", BAD_PARQUET)
def test_invalid_parquet_is_an_error_before_decompression(rentals: dict[int, Version], start: Start, kind: str) -> None:
    body, status = BAD_PARQUET[kind]
    headers = {"Content-Type": "application/vnd.apache.parquet"}
    response = start(rentals[1]).post("/invocations", content=body, headers=headers)
    assert (response.status_code, response.json()["error"]["field"]) == (status, "body")


@pytest.mark.parametrize(
    "body",
    [b'{"inputs": [{"x": NaN}], "\\ud800": 1}', b'{"inputs": [{"entity": ' + b"9" * 400 + b', "x": NaN}]}'],
    ids=["half a character", "a name of four hundred digits"],
)
def test_unencodable_input_gets_an_error_message(rentals: dict[int, Version], start: Start, body: bytes) -> None:
    response = start(rentals[1]).post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= response.status_code < 500
    assert response.json()["error"]["message"]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**300)
garbage = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@st.composite
def requests(draw: st.DrawFn, good: dict[str, Any]) -> Any:
    """Return valid requests of which parts are replaced, or any JSON."""
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
def test_random_bodies_get_4xx_and_never_500_or_nan(versions: Versions, tmp_path: Path, kind: str) -> None:
    version = versions[kind][1]
    with serving(version, tmp_path) as client:

        @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
        @given(requests(version.records[0]), st.booleans())
        def throw(body: Any, scorer: bool) -> None:
            content = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **(client.scorer if scorer else {})}
            response = client.post("/invocations", content=content, headers=headers)
            assert response.status_code == 200 or 400 <= response.status_code < 500
            if response.status_code == 200:
                found = response.json()["predictions"][0]["prediction"]
                assert isinstance(found, str) or math.isfinite(found)
            else:
                assert response.json()["error"]["message"]

        throw()
        # truncated bodies as well
        content = json.dumps({"inputs": version.records[:1]}).encode()
        for end in range(0, len(content), 37):
            response = client.post("/invocations", content=content[:end], headers={"Content-Type": "application/json"})
            assert response.status_code == 400
