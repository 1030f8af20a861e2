"""Runs a project's loop on an ephemeral Dagster instance: ticks its sensors and executes the runs that they request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.component import definitions_of
from mlops_assets.errors import Unreachable
from mlops_assets.ledger.lease import LEASES
from mlops_assets.loop.outstanding import outstanding
from mlops_assets.loop.replay import advance, log_unreachable
from mlops_assets.resources.platform import Platform
from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.settings import Settings
from mlops_assets.sensors.run_status import run_status
from mlops_assets.spec import ProjectSpec

SENSORS = ("endpoint_health", "live_data", "late_labels", "retraining")


class Harness:
    """One project with its state in a folder and its Dagster instance in memory."""

    def __init__(self, spec: ProjectSpec, home: Path, instance: dg.DagsterInstance) -> None:
        self.spec, self.blueprint, self.instance = spec, Blueprint(spec), instance
        self.platform = Platform.configured(Settings(home=home))
        self.definitions = dg.Definitions.merge(
            definitions_of(spec),
            dg.Definitions(
                resources={"platform": self.platform},
                sensors=[run_status([self.blueprint], dg.DefaultSensorStatus.RUNNING)],
                executor=dg.in_process_executor,
            ),
        )
        self.repository = self.definitions.get_repository_def()
        self.runs: list[tuple[str, bool]] = []
        self.longest_wait = timedelta(0)
        """How long `run_until_idle` waits at most while sensors pause after a failed run."""
        self.run_keys: set[str] = set()
        self._cursor: str | None = None

    @classmethod
    @contextmanager
    def on(cls, spec: ProjectSpec, home: Path) -> Iterator[Harness]:
        """Yield a harness, and stop the scoring service at the end."""
        with dg.DagsterInstance.ephemeral(tempdir=str(home)) as instance:
            harness = cls(spec, home, instance)
            try:
                yield harness
            finally:
                harness.context.endpoint.stop()
                harness.expire_lease()

    @property
    def context(self) -> ProjectResources:
        """The project's resources, opened again at each access."""
        return self.platform.of(self.spec)

    def run(self, job: str, **more: Any) -> dg.ExecuteInProcessResult:
        """Run a job of the project and record how its run ended."""
        result = self.definitions.resolve_job_def(self.blueprint.job(job)).execute_in_process(
            instance=self.instance, raise_on_error=False, **more
        )
        self.runs.append((job, result.success))
        self.close_runs()
        return result

    def bootstrap(self, **tags: str) -> dg.ExecuteInProcessResult:
        """Run the job `bootstrap`."""
        return self.run("bootstrap", tags=tags)

    def tick(self, sensor: str) -> dg.RunRequest | dg.SkipReason:
        """Evaluate a sensor once, and return its request or why there is none."""
        definition = self.repository.get_sensor_def(self.blueprint.job(sensor))
        with self._sensor_context() as context:
            found = definition.evaluate_tick(context)
        if found.run_requests:
            return found.run_requests[0]
        return dg.SkipReason(found.skip_message)

    def close_runs(self) -> None:
        """Tick `run_status` over the runs that ended since the last tick. Each end must be recorded."""
        message = self.tick_run_status()
        assert "cannot be recorded" not in message, message

    def tick_run_status(self) -> str:
        """Tick `run_status` over the runs that ended since the last tick, and return its message."""
        definition = self.repository.get_sensor_def("run_status")
        with self._sensor_context(self._cursor) as context:
            found = definition.evaluate_tick(context)
        self._cursor = found.cursor
        return found.skip_message or ""

    def _sensor_context(self, cursor: str | None = None) -> dg.SensorEvaluationContext:
        # passed as an object: Dagster would configure it again in each tick, which takes a tenth of a replay's time
        platform = dg.ResourceDefinition.hardcoded_resource(self.platform)
        return dg.build_sensor_context(
            instance=self.instance, repository_def=self.repository, resources={"platform": platform}, cursor=cursor
        )

    def carry_out(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult | None:
        """Execute a requested run; return None if its run key was used before."""
        if request.run_key in self.run_keys:
            return None
        self.run_keys.add(str(request.run_key))
        job = self.definitions.resolve_job_def(str(request.job_name))
        result = job.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config=request.run_config,
            tags=dict(request.tags),
            asset_selection=list(request.asset_selection) if request.asset_selection else None,
        )
        self.runs.append((str(request.job_name).removeprefix(f"{self.spec.name}_"), result.success))
        self.close_runs()
        return result

    def expire_lease(self) -> None:
        """Delete the lease on the loop, as if it had expired. Another Dagster may then continue with the state."""
        with self.context.ledger.database.begin() as connection:
            connection.execute(LEASES.delete())

    def run_until_idle(self) -> None:
        """Tick the sensors and execute their runs until nothing is outstanding."""
        runs, until = 0, time.monotonic() + self.longest_wait.total_seconds()
        while runs < 200:
            ticks = (self.tick(name) for name in SENSORS)
            request = next((found for found in ticks if isinstance(found, dg.RunRequest)), None)
            if request is not None:
                self.carry_out(request)
                runs += 1
                continue
            work = outstanding(self.context.timeline, self.context.ledger_view(), self.context.now())
            if not work:
                return
            assert time.monotonic() < until, f"nothing is launched for {work}"
            time.sleep(0.5)
        raise AssertionError("the loop does not become idle")

    def on_unreachable(self, error: Unreachable) -> None:
        """Log the error. The request is sent again until the server that the test stopped is back."""
        log_unreachable(error)

    def advance(self, windows: int | None = None, until: datetime | None = None) -> list[datetime]:
        """Move the clock, do all outstanding work at each due time, and return these times."""
        return list(advance(self.context, self, windows=windows, until=until))
