"""The scoring service and MLflow's own server on the same version: same inputs, same predictions."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from bundles import Version, Versions
from scoring_services import AppClient, Start

Bodies = Callable[[list[dict[str, Any]]], dict[str, Any]]


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _split(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}


def _parquet(rows: list[dict[str, Any]]) -> dict[str, Any]:
    target, frame = io.BytesIO(), pd.DataFrame(rows)
    # MLflow does not convert integers to the signature's doubles
    frame.astype(dict.fromkeys(frame.select_dtypes("int64"), "float64")).to_parquet(target)
    return {"content": target.getvalue(), "headers": {"Content-Type": "application/vnd.apache.parquet"}}


FORMS: dict[str, Bodies] = {
    "records": lambda rows: {"json": {"dataframe_records": rows}},
    "split": lambda rows: {"json": {"dataframe_split": _split(rows)}},
    "inputs": lambda rows: {"json": {"inputs": rows}},
    "inputs, one": lambda rows: {"json": {"inputs": rows[0]}},
    "inputs, columns": lambda rows: {"json": {"inputs": _columns(rows)}},
    "instances": lambda rows: {"json": {"instances": rows}},
    "instances, columns": lambda rows: {"json": {"instances": _columns(rows)}},
    "parquet": _parquet,
    "csv": lambda rows: {
        "content": pd.DataFrame(rows).to_csv(index=False),
        "headers": {"Content-Type": "text/csv"},
    },
    "no form": lambda rows: {"json": {"rows": rows}},
    "two forms": lambda rows: {"json": {"inputs": rows, "dataframe_records": rows}},
    "no rows": lambda rows: {"json": {"inputs": []}},
    "a missing column": lambda rows: {"json": {"inputs": [dict(list(row.items())[:-1]) for row in rows]}},
    "torn": lambda rows: {
        "content": json.dumps({"inputs": rows})[:-9],
        "headers": {"Content-Type": "application/json"},
    },
    "another type": lambda rows: {"content": "x", "headers": {"Content-Type": "text/plain"}},
}


@pytest.fixture(scope="module")
def stock(versions: Versions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, AppClient]]:
    """Return MLflow's scoring server with the logged model of each project."""
    clients = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns about type hints and requirements
        import mlflow
        from mlflow.pyfunc import scoring_server

        from mlops_assets.prediction.signature import input_example, signature
        from mlops_assets.resources.tracking.registry import MODEL_FILE

        for name, found in versions.items():
            version: Version = found[1]
            folder = tmp_path_factory.mktemp("stock") / name
            mlflow.pyfunc.save_model(
                str(folder),
                python_model=str(MODEL_FILE),
                artifacts={"bundle": str(version.folder)},
                signature=signature(version.schema),
                input_example=input_example(version.schema, version.records[:2]),
                pip_requirements=["mlops-assets"],
            )
            clients[name] = AppClient(scoring_server.init(mlflow.pyfunc.load_model(str(folder))))
    yield clients
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("project", ["rentals", "prices"])
def test_service_predicts_like_mlflow_serve(
    stock: dict[str, AppClient], versions: Versions, start: Start, project: str, form: str
) -> None:
    version = versions[project][1]
    request = FORMS[form](version.records[:3])
    ours: httpx.Response = start(version).post("/invocations", **request)
    theirs = stock[project].post("/invocations", **request)
    assert (ours.status_code == 200) == (theirs.status_code == 200), (ours.text, theirs.text)
    if theirs.status_code != 200:
        assert 400 <= ours.status_code < 500
        return
    served = ours.json()["predictions"]
    expected = theirs.json()["predictions"]
    assert [{name: found[name] for name in row} for found, row in zip(served, expected, strict=True)] == expected


@pytest.mark.parametrize("path", ["/ping", "/health", "/version"])
def test_probes_respond_like_mlflow_serve(
    stock: dict[str, AppClient], versions: Versions, start: Start, path: str
) -> None:
    ours, theirs = start(versions["rentals"][1]).get(path), stock["rentals"].get(path)
    assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)
    assert ours.headers["content-type"] == theirs.headers["content-type"]


def test_parquet_with_too_many_or_no_rows_is_an_error(versions: Versions, start: Start, tmp_path: Path) -> None:
    client = start(versions["prices"][1])
    path = tmp_path / "many.parquet"
    pd.DataFrame({"load": [1.0]}).loc[[0] * 100_001].to_parquet(path)
    headers = {"Content-Type": "application/vnd.apache.parquet"}
    content = path.read_bytes()
    assert client.post("/invocations", content=content, headers=headers).status_code == 413
    for torn in (b"", b"PAR1", content[:50], content[:-20] + b"\0" * 20):
        response = client.post("/invocations", content=torn, headers=headers)
        assert (response.status_code, response.json()["error"]["field"]) == (400, "body")
