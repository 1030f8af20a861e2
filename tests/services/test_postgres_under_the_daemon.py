"""Dagster's own daemon on a PostgreSQL that is restarted again and again: the loop goes on without a person."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from servers import Postgres
from sqlalchemy.exc import DBAPIError
from test_same_history import again_and_again
from worlds import at

from mlops_assets.cli.instance import dagster_home, instance_of
from mlops_assets.cli.processes import Started, end_recorded, free_port, start
from mlops_assets.errors import LedgerUnreachable
from mlops_assets.replay import active_runs, advance
from mlops_assets.retraining.outstanding import outstanding
from resources.platform import Desk, Platform
from resources.settings import ROOT, Settings

E2E = Path(__file__).parents[1] / "e2e"
RESTARTED_EVERY = 15.0
"""Seconds: a run of this world takes about as long."""
WITHIN = 400.0
"""Seconds until the loop has come to rest at a moment."""


@dataclass(frozen=True)
class Watched:
    """The loop as the daemon carries it out, looked at by somebody whose questions may find no server."""

    instance: dg.DagsterInstance
    desk: Desk

    def settle(self) -> None:
        """Return when nothing is outstanding and no run is active."""
        deadline, last = time.monotonic() + WITHIN, ""
        while time.monotonic() < deadline:
            with suppress(LedgerUnreachable, DBAPIError):
                active = active_runs(self.instance, self.desk.spec.name)
                work = outstanding(self.desk.timeline, self.desk.history(), self.desk.now())
                if not active and not work:
                    return
                last = f"{[(run.job_name, run.run_id, run.status) for run in active]}, {[each.key for each in work]}"
            time.sleep(0.5)
        raise AssertionError(f"the loop has not come to rest at {self.desk.now()}: {last}")


def dagster_dev(settings: Settings, postgres: Postgres) -> Started:
    """Webserver, daemon and the code location of the end-to-end test."""
    port = free_port(0)
    environment = {
        **postgres.environment(),
        "DAGSTER_HOME": str(dagster_home(settings)),
        "MLOPS_ASSETS_HOME": str(settings.home),
        "PYTHONPATH": os.pathsep.join([str(E2E.parent / "loop"), str(ROOT)]),
    }
    command = ["dagster", "dev", "-f", str(E2E / "location.py"), "--host", "127.0.0.1", "--port", str(port)]
    log = settings.home / "dagster.log"
    return start("Dagster", command, f"http://127.0.0.1:{port}", settings.pids, log, environment)


@pytest.mark.timeout(1500)
def test_a_history_during_which_postgresql_is_restarted_again_and_again_ends_as_any_other(
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
        desk = Platform.configured(settings).of(SPEC)
        dagster = dagster_dev(settings, postgres)
        try:
            dagster.wait_until_ready("/server_info")
            browser = Browser(dagster)
            assert browser.wait(browser.click("bootstrap")) == "SUCCESS"
            with instance_of(settings) as instance, again_and_again(postgres.restart, every=RESTARTED_EVERY):
                play(desk, Watched(instance, desk), WINDOWS)
            history = desk.history()
            assert [reign.cause for reign in history.reigns] == ["bootstrap", "retraining"]
            assert not history.missed
            assert desk.endpoint.serving() == 2
        finally:
            end_recorded(settings.pids)
            dagster.process.wait()
            desk.endpoint.stop()
            sys.stdout.write((settings.home / "dagster.log").read_text()[-20_000:])


def play(desk: Desk, loop: Watched, windows: int) -> None:
    """Move the clock to the beginning of a window; who moves it is asked again when the server was away."""
    while True:
        with suppress(LedgerUnreachable):
            list(advance(desk, loop, until=at(windows)))
            return
