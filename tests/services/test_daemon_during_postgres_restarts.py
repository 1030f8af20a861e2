"""Dagster's daemon while PostgreSQL restarts repeatedly: the loop continues without manual action."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from servers import Postgres
from simulated_projects import at
from test_same_records_on_servers import repeatedly

from mlops_assets.cli.instance import dagster_home, instance_of
from mlops_assets.cli.processes import Started, end_recorded, free_port, start
from mlops_assets.errors import Unreachable
from mlops_assets.loop.replay import DagsterLoop, advance
from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.settings import Settings

ROOT = Path(__file__).parents[2]
E2E = ROOT / "tests" / "e2e"
RESTARTED_EVERY = 15.0
"""Seconds between two restarts; a run of this project takes about as long."""


def dagster_dev(settings: Settings, postgres: Postgres) -> Started:
    """Start webserver, daemon and the code location of the end-to-end test."""
    port = free_port(0)
    environment = {
        **postgres.environment(),
        "DAGSTER_HOME": str(dagster_home(settings)),
        "PYTHONPATH": os.pathsep.join([str(E2E.parent / "loop"), str(ROOT)]),
    }
    command = ["dagster", "dev", "-f", str(E2E / "location.py"), "--host", "127.0.0.1", "--port", str(port)]
    return start("Dagster", command, f"http://127.0.0.1:{port}", settings, environment)


@pytest.mark.timeout(1500)
def test_replay_ends_as_usual_while_postgresql_restarts_repeatedly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(E2E))
    with Postgres(tmp_path / "postgres") as postgres:
        for name, value in postgres.environment().items():
            monkeypatch.setenv(name, value)
        from location import SPEC, WINDOWS
        from test_graphql import Browser

        settings = Settings(home=tmp_path / "state")
        settings.home.mkdir()
        project_context = ProjectResources(SPEC, settings)
        outages: list[Unreachable] = []
        dagster = dagster_dev(settings, postgres)
        try:
            dagster.wait_until_ready("/server_info")
            browser = Browser(dagster)
            assert browser.wait(browser.click("bootstrap")) == "SUCCESS"
            with instance_of(settings) as instance, repeatedly(postgres.restart, every=RESTARTED_EVERY):
                list(
                    advance(
                        project_context,
                        DagsterLoop(instance, project_context, report_unreachable=outages.append),
                        until=at(WINDOWS),
                    )
                )
            view = project_context.ledger_view()
            assert [period.cause for period in view.deployment_periods] == [
                "bootstrap",
                "retraining",
            ]
            assert not view.missed
            assert project_context.endpoint.serving() == 2
        finally:
            end_recorded(settings.pids)
            dagster.process.wait()
            project_context.endpoint.stop()
            sys.stdout.write(f"a server did not answer {len(outages)} times: {[str(error) for error in outages]}\n")
            sys.stdout.write(dagster.log.read_text()[-20_000:])
