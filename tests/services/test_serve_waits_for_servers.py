"""Processes that start before their servers: Dagster's daemon on PostgreSQL, and an endpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from servers import Postgres, free_port, wait_until

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from mlops_assets.cli import app; app()", "serve"]


@contextmanager
def served(log: Path, environment: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process; it is ended after the block if it still runs."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*COMMAND, *arguments], cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def readiness(port: int) -> tuple[int, str]:
    try:
        found = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5, trust_env=False)
    except httpx.TransportError:
        return 0, ""
    return found.status_code, found.text


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(tmp_path / "postgres") as server:
        yield server


def test_daemon_waits_for_postgresql_and_stores_its_state_there(own: Postgres, tmp_path: Path) -> None:
    environment = {**own.environment(), "MLOPS_ASSETS_HOME": str(tmp_path / "state")}
    own.stop()
    port = free_port()
    with served(tmp_path / "log", environment, "daemon", "--health-port", str(port)) as process:
        wait_until(lambda: "MLOPS_ASSETS_DATABASE_URL" in readiness(port)[1], 60)
        assert readiness(port)[0] == 503
        own.start()
        wait_until(lambda: readiness(port)[0] == 200, 120)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    tables = own._do("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", own.name)
    assert {("runs",), ("event_logs",), ("job_ticks",), ("facts",)} <= set(tables)
    assert not (tmp_path / "state" / "dagster" / "storage").exists()


def test_wrong_password_ends_the_daemon_with_a_message(own: Postgres, tmp_path: Path) -> None:
    environment = {**own.environment(), "MLOPS_ASSETS_HOME": str(tmp_path / "state"), "PGPASSWORD": "another-password"}
    with served(tmp_path / "log", environment, "daemon", "--health-port", str(free_port())) as process:
        assert process.wait(60) == 1
    log_text = (tmp_path / "log").read_text()
    assert "PGPASSFILE" in log_text and "authentication failed" in log_text
    assert "another-password" not in log_text


def test_endpoint_waits_for_its_servers_and_logs_it(own: Postgres, tmp_path: Path) -> None:
    environment = {**own.environment(), "MLOPS_ASSETS_HOME": str(tmp_path / "state")}
    own.stop()
    port = free_port()
    with served(tmp_path / "log", environment, "endpoint", "bike_demand", "--port", str(port)) as process:
        wait_until(lambda: "MLOPS_ASSETS_DATABASE_URL" in readiness(port)[1], 60)
        assert httpx.get(f"http://127.0.0.1:{port}/livez", timeout=5, trust_env=False).status_code == 200
        own.start()
        # no version was promoted yet: the service runs and reports that no version serves
        wait_until(lambda: "problem" not in readiness(port)[1] and readiness(port)[0] == 503, 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
