"""A simulated project that is replayed once and read by many tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import simulated_projects
from harness import Harness

from mlops_assets.ledger.facts import Decision, Stage
from mlops_assets.ledger.summaries import DriftSummary, HealthSummary, PerformanceSummary
from mlops_assets.ledger.view import LedgerView
from mlops_assets.resources.project import ProjectResources
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Window


class ProjectReplay:
    """A project that is replayed, and what tests read of its ledger."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness

    @property
    def context(self) -> ProjectResources:
        """The project's resources."""
        return self.harness.context

    @property
    def view(self) -> LedgerView:
        """The ledger view as it is now."""
        return self.context.ledger_view()

    def window(self, number: int) -> Window:
        """Return a window, counted from the start of the clock."""
        return self.context.timeline.window_at(simulated_projects.at(number))

    def windows(self, first: int, after: int) -> list[Window]:
        """Return the windows [first, after), counted from the start of the clock."""
        return [self.window(number) for number in range(first, after)]

    def decision(self, number: int, stage: Stage = "labelled") -> Decision:
        """Return the policy's decision on a window."""
        found = self.view.decision_for(self.window(number).id, stage)
        assert found is not None, f"there is no decision on window {number} at stage {stage}"
        return found

    def performance(self, number: int, stage: Stage = "labelled") -> PerformanceSummary:
        """Return the performance report of a window."""
        return self._summary("performance", number, stage)

    def loss(self, number: int, of: str) -> float:
        """Return one of the losses of a window's performance report, which must have been computed."""
        found: float | None = getattr(self.performance(number), of)
        assert found is not None, f"window {number} has no loss of {of}"
        return found

    def drift(self, number: int, stage: Stage = "labelled") -> DriftSummary:
        """Return the drift report of a window."""
        return self._summary("drift", number, stage)

    def health(self, number: int, stage: Stage = "labelled") -> HealthSummary:
        """Return the service health of a window."""
        return self._summary("health", number, stage)

    def _summary(self, report: str, number: int, stage: Stage) -> Any:
        found = self.view.report(report, self.window(number).id, stage)
        assert found is not None, f"there is no {report} report of window {number} at stage {stage}"
        return found.typed

    def advance(self, windows: int | None = None, until: datetime | None = None) -> list[datetime]:
        """Advance the clock, and return the times at which it stopped. Every run must succeed."""
        moments = self.harness.advance(windows=windows, until=until)
        self.require_success()
        return moments

    def run(self, job: str, **more: object) -> dg.ExecuteInProcessResult:
        """Run a job, which must succeed."""
        result = self.harness.run(job, **more)
        assert result.success, f"{job} failed: {errors(result)}"
        return result

    def require_success(self) -> None:
        """Assert that no run has failed so far."""
        failed = [job for job, success in self.harness.runs if not success]
        assert not failed, f"runs failed: {failed}"

    def launched(self, job: str) -> int:
        """Return how many runs of a job there were."""
        return sum(name == job for name, _ in self.harness.runs)


def errors(result: dg.ExecuteInProcessResult) -> str:
    """Return the errors of a run's failed steps."""
    failures = [event for event in result.all_events if event.is_step_failure]
    return "\n".join(f"{event.step_key}: {event.step_failure_data.error_display_string}" for event in failures)


@contextmanager
def bootstrapped_replay(spec: ProjectSpec, home: Path, **tags: str) -> Iterator[ProjectReplay]:
    """Yield a project that serves its first model and has not been played yet."""
    with Harness.on(spec, home) as harness:
        play = ProjectReplay(harness)
        play.run("bootstrap", tags=tags)
        assert play.view.deployment_period is not None, [verdict.reasons for verdict in play.view.verdicts]
        yield play


@contextmanager
def resumed_replay(spec: ProjectSpec, state: Path, home: Path) -> Iterator[ProjectReplay]:
    """Yield a project on a copy of a state in which a version serves, with an empty Dagster instance."""
    shutil.copytree(state, home, ignore=shutil.ignore_patterns("*.lock"))
    with Harness.on(spec, home) as harness:
        harness.context.endpoint.ensure_running()
        yield ProjectReplay(harness)
