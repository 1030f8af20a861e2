from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from servers import BUCKET, ORG, Gcs, Influx, MLflowServer, Postgres


def write(influx: Influx, token: str, bucket: str = BUCKET) -> int:
    return httpx.post(
        f"{influx.url}/api/v2/write?org={ORG}&bucket={bucket}",
        content=b"m f=1 1000",
        headers={"Authorization": f"Token {token}"},
    ).status_code


def test_postgres_keeps_its_data_after_kill_and_restart(tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres") as server:
        server.create("one")
        server.kill()
        assert not server.answers()
        server.start()
        server.create("two")
        server.restart()
        names = [str(row[0]) for row in server._do("SELECT datname FROM pg_database")]
        assert {"mlops", "one", "two"} <= set(names)


def test_influx_token_is_valid_for_its_bucket_only(tmp_path: Path) -> None:
    with Influx(tmp_path / "influx") as server:
        assert write(server, server.token) == 204
        assert write(server, server.token, "_monitoring") == 403
        assert write(server, "wrong") == 401
        server.kill()
        server.start()
        assert write(server, server.token) == 204


def test_gcs_keeps_objects_and_refuses_a_stale_generation(tmp_path: Path) -> None:
    with Gcs(tmp_path / "gcs") as server:
        server.create("plain", versioned=False)
        server.put("mlops", "a/b", b"1")
        for end in (server.stop, server.kill):
            end()
            server.start()
            assert server.objects("mlops") == {"a/b": b"1"}
        assert [server._versioned(bucket) for bucket in ("mlops", "plain")] == [True, False]
        where = f"{server.url}/upload/storage/v1/b/mlops/o?uploadType=media&name=a/b&ifGenerationMatch="
        assert httpx.post(where + "0", content=b"2").status_code == 412
        assert server.objects("mlops") == {"a/b": b"1"}


@pytest.mark.timeout(400)
def test_mlflow_requires_a_password(mlflow_server: MLflowServer) -> None:
    where = f"{mlflow_server.url}/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert httpx.get(where, timeout=30).status_code == 401
    assert httpx.get(where, auth=(mlflow_server.user, mlflow_server.password), timeout=30).status_code == 200
