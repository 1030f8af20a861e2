"""A world that is played once and read by many tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import worlds
from harness import Harness

from mlops_assets.ledger.facts import Decision, Stage
from mlops_assets.ledger.summaries import DriftSummary, HealthSummary, PerformanceSummary
from mlops_assets.ledger.view import LedgerView
from mlops_assets.resources.project import ProjectResources
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Window


class Play:
    """A project in play, and the questions that tests ask about it."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness

    @property
    def context(self) -> ProjectResources:
        """The project's resources."""
        return self.harness.context

    @property
    def view(self) -> LedgerView:
        """The ledger as it is now."""
        return self.context.ledger_view()

    def window(self, number: int) -> Window:
        """A window, counted from the clock's beginning."""
        return self.context.timeline.window_at(worlds.at(number))

    def windows(self, first: int, after: int) -> list[Window]:
        """Windows [first, after), counted from the clock's beginning."""
        return [self.window(number) for number in range(first, after)]

    def decision(self, number: int, stage: Stage = "labelled") -> Decision:
        """The policy's decision on a window."""
        found = self.view.decision_for(self.window(number).id, stage)
        assert found is not None, f"nothing was decided on window {number} at {stage}"
        return found

    def performance(self, number: int, stage: Stage = "labelled") -> PerformanceSummary:
        """The performance of a window."""
        return self._summary("performance", number, stage)

    def loss(self, number: int, of: str) -> float:
        """Return one of the losses of a window's performance report, which must have been computed."""
        found: float | None = getattr(self.performance(number), of)
        assert found is not None, f"window {number} has no loss of {of}"
        return found

    def drift(self, number: int, stage: Stage = "labelled") -> DriftSummary:
        """The drift of a window."""
        return self._summary("drift", number, stage)

    def health(self, number: int, stage: Stage = "labelled") -> HealthSummary:
        """The service in a window."""
        return self._summary("health", number, stage)

    def _summary(self, report: str, number: int, stage: Stage) -> Any:
        found = self.view.report(report, self.window(number).id, stage)
        assert found is not None, f"there is no {report} report of window {number} at {stage}"
        return found.typed

    def advance(self, windows: int | None = None, until: datetime | None = None) -> list[datetime]:
        """Move the clock; every run must succeed."""
        moments = self.harness.advance(windows=windows, until=until)
        self.require_success()
        return moments

    def run(self, job: str, **more: object) -> dg.ExecuteInProcessResult:
        """Run a job; it must succeed."""
        result = self.harness.run(job, **more)
        assert result.success, f"{job} failed: {errors(result)}"
        return result

    def require_success(self) -> None:
        """No run has failed so far."""
        failed = [job for job, success in self.harness.runs if not success]
        assert not failed, f"runs failed: {failed}"

    def launched(self, job: str) -> int:
        """How many runs of a job there were."""
        return sum(name == job for name, _ in self.harness.runs)


def errors(result: dg.ExecuteInProcessResult) -> str:
    """Why a run failed."""
    failures = [event for event in result.all_events if event.is_step_failure]
    return "\n".join(f"{event.step_key}: {event.step_failure_data.error_display_string}" for event in failures)


@contextmanager
def playing(spec: ProjectSpec, home: Path, **tags: str) -> Iterator[Play]:
    """A project that serves its first model; nothing has been played yet."""
    with Harness.on(spec, home) as harness:
        play = Play(harness)
        play.run("bootstrap", tags=tags)
        assert play.view.deployment_period is not None, [verdict.reasons for verdict in play.view.verdicts]
        yield play


@contextmanager
def resumed(spec: ProjectSpec, state: Path, home: Path) -> Iterator[Play]:
    """A project that goes on from a copy of a state in which it serves; its Dagster is a fresh one."""
    # MLflow's artifacts are read from where they were made: it keeps absolute addresses
    shutil.copytree(state, home, ignore=shutil.ignore_patterns("*.lock"))
    with Harness.on(spec, home) as harness:
        harness.context.endpoint.ensure_running()
        yield Play(harness)
