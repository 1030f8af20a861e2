"""Makes the reports of one window at its present stage, and records them in the ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Literal

import pandas as pd

from mlops_assets.context import ProjectContext
from mlops_assets.errors import NotReady
from mlops_assets.ledger.facts import (
    Decided,
    Decision,
    DeploymentPeriod,
    Reported,
    Stage,
    VersionTrained,
)
from mlops_assets.ledger.summaries import HealthSummary, Summary
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.event_account import EventAccount, account_of, due_events
from mlops_assets.monitoring.drift import DriftReport, drift_report
from mlops_assets.monitoring.health import service_health
from mlops_assets.monitoring.performance import PerformanceReport, performance_report
from mlops_assets.retraining.decide import decide
from mlops_assets.retraining.policy_inputs import loop_state, window_evidence
from mlops_assets.spec.policies import prediction_statistics
from mlops_assets.timeline import Window

Kind = Literal["drift", "performance", "health"]


@dataclass(frozen=True)
class Observation:
    """One window, with the data that its reports read now.

    Args:
        context: the project with its resources.
        window: the window.
    """

    context: ProjectContext
    window: Window

    @cached_property
    def view(self) -> LedgerView:
        """The project's ledger, read once when it is first needed."""
        return self.context.ledger_view()

    @property
    def now(self) -> datetime:
        """The project's time."""
        return self.context.now()

    @cached_property
    def deployment_period(self) -> DeploymentPeriod:
        """The deployment period at the window's end. Reports are about it.

        Raises:
            Refused: the window has not ended.
            NotReady: no version served then.
        """
        self.context.timeline.require_readable(self.window, self.now)
        period = self.view.deployment_period_at(self.window.end)
        if period is None:
            raise NotReady(
                self.context.spec.name,
                f"window {self.window.id}",
                "no champion served in it",
                f"run the job {self.context.spec.name}_bootstrap, then move the clock past this window",
            )
        return period

    @property
    def version(self) -> VersionTrained:
        """The deployment period's version."""
        return self.view.versions[self.deployment_period.version]

    @property
    def stage(self) -> Stage:
        """`labelled` once all labels of the window are published, else `ended`."""
        if self.window.id in self.view.labelled or not self.context.spec.labels.delay:
            return "labelled"
        return "ended"

    @property
    def repaired(self) -> bool:
        """Whether the window was in quarantine. Its reports are shown, and no decision is made on them."""
        return self.window.id in self.view.repaired

    # Reports

    def drift(self) -> DriftReport:
        """Compare the current window of the deployment period with the reference window of its version."""
        spec = self.context.spec
        start, since = self.window.start, self.window.end - spec.monitoring.current
        live = self._period_predictions(min(start, since))
        predictions = live[live["event_time"] >= pd.Timestamp(since)].reset_index(drop=True)
        report = drift_report(
            pd.read_parquet(self.context.versions.path(self.version.version) / "reference.parquet").drop(
                columns=["event_time"]
            ),
            feature_frame(predictions),
            spec=spec.monitoring,
            statistics=prediction_statistics(spec.retraining.when),
            task=spec.problem.task,
            classes=spec.classes,
            project=spec.name,
        )
        window_rows = int((live["event_time"] >= pd.Timestamp(start)).sum())
        report = replace(report, summary=report.summary.model_copy(update={"window_rows": window_rows}))
        self._record("drift", report.summary, self._prediction_versions(predictions))
        return report

    def performance(self) -> PerformanceReport:
        """Compare the loss of champion, shadow and baseline over the labelled events of the window."""
        spec, timeline = self.context.spec, self.context.timeline
        inputs = self._label_versions()
        series = self.context.labels(inputs)
        period_predictions = self.context.telemetry.predictions(
            spec.name, self.counted_period.start, self.window.end, roles=("champion", "shadow")
        )
        report = performance_report(
            spec=spec,
            timeline=timeline,
            window=self.window,
            stage=self.stage,
            predictions=predictions_frame(
                spec.classes,
                self.context.telemetry.predictions(
                    spec.name, self.window.start, self.window.end, roles=("champion", "shadow")
                ),
            ),
            labels=series,
            series=series,
            deployment_period=self.counted_period,
            period_predictions=predictions_frame(spec.classes, period_predictions),
            shadow_version=self.view.shadow_of(self.deployment_period, spec.serving.shadow),
            promised_gain=self._promised_gain(),
            known_until=self.version.as_of,
        )
        self._record("performance", report.summary, inputs)
        return report

    def health(self) -> HealthSummary:
        """Report the health of the service in this window of the project's time.

        Raises:
            Refused: the window has not ended.
            NotReady: no version served then, or the window's rows are not published.
        """
        self._require_champion()
        spec = self.context.spec
        predictions, requests = self.predictions(), self.requests()
        account = self._account(set(predictions["event_id"]))
        summary = service_health(
            requests=requests,
            due=account.due,
            answered=len(account.answered),
            late=int(predictions["late"].sum()) if len(predictions) else 0,
            missed=len(account.missed),
            lost=len(account.lost),
            memory_mb=self.context.telemetry.health(self.window.start, self.window.end).memory_mb,
            spec=spec,
        )
        self._record("health", summary, self._prediction_versions(predictions))
        return summary

    def _require_champion(self) -> None:
        """Raise the error of `deployment_period`, if it has one, before anything else is read."""
        _ = self.deployment_period

    def _account(self, answered: set[str]) -> EventAccount:
        """Return the due events of the window by state. Which events are due follows from its published rows."""
        rows = self.context.published_rows(self.window)
        due = due_events(self.context.timeline, rows, self.view.first_as_of, self.window.end)
        missed = {
            fact.event_id
            for fact in self.view.missed.values()
            if self.window.start <= fact.event_time < self.window.end
        }
        return account_of(self.view, due, answered=answered, missed=missed)

    # Decision

    def decide(self) -> Decision | None:
        """Return the policy's decision on this window at this stage.

        A decision that was recorded is not made again. There is none for a window that was in quarantine.

        Raises:
            Refused: the window has not ended.
            NotReady: no version served then, or the window has no reports.
        """
        self._require_reports()
        recorded = self.view.decision_for(self.window.id, self.stage)
        present = self.view.deployment_period
        if recorded is not None or self.repaired or present is None:
            return recorded
        timeline, spec = self.context.timeline, self.context.spec
        decision = decide(
            spec.retraining,
            window_evidence(timeline, self.view, present, self.window),
            loop_state(timeline, self.view, present, new_rows=self.new_rows()),
            self.now,
            window=self.window.id,
            stage=self.stage,
        )
        self.context.ledger.append(spec.name, Decided(at=self.now, decision=decision))
        return decision

    def _require_reports(self) -> None:
        period = self.deployment_period
        absent = self.view.missing_reports(self.window.id, self.stage)
        if absent:
            raise NotReady(
                self.context.spec.name,
                f"decision on window {self.window.id}",
                f"deployment period {period.number} has no report of {', '.join(absent)} on it",
                "materialize drift_report, performance_report and service_health of this window first",
            )

    def new_rows(self) -> int:
        """Return the number of labelled rows since the champion's training, in whole windows."""
        trained = (
            self.view.versions[self.view.deployment_period.version].trained_through
            if self.view.deployment_period
            else None
        )
        timeline = self.context.timeline
        return sum(
            fact.rows
            for window, fact in self.view.labelled.items()
            if trained is None or timeline.window(window).start >= trained
        )

    # What reports read

    def predictions(self) -> pd.DataFrame:
        """Return the champion's predictions for the window's events, of all versions."""
        return self.context.telemetry.predictions(self.context.spec.name, self.window.start, self.window.end)

    def requests(self) -> pd.DataFrame:
        """Return the request log of the window, with `latency_ms` per row, so that large requests do not count as slow.

        Requests at the very end of the window count in the next one, so that each counts once.
        """
        requests = self.context.telemetry.requests(self.window.start, self.window.end)
        return requests.assign(latency_ms=requests["latency_ms"] / requests["rows"].clip(lower=1))

    @property
    def counted_period(self) -> DeploymentPeriod:
        """The deployment period, extended to all predictions of its version if it is the version's first one.

        By the wall clock a training takes a while, and the new version predicts the events that fall due meanwhile.
        """
        present = self.deployment_period
        first = next(period for period in self.view.deployment_periods if period.version == present.version)
        if first.number != present.number:
            return present
        return present.model_copy(update={"start": min(present.start, self.version.as_of)})

    def _period_predictions(self, since: datetime) -> pd.DataFrame:
        """Return the predictions of the period's version for events since a moment that were due within the period."""
        begun = self.counted_period.start
        predictions = self.context.telemetry.predictions(self.context.spec.name, max(since, begun), self.window.end)
        due_within = predictions["due"] >= begun
        return predictions[(predictions["version"] == self.deployment_period.version) & due_within].reset_index(
            drop=True
        )

    def _prediction_versions(self, predictions: pd.DataFrame) -> dict[str, str]:
        if predictions.empty:
            return {}
        first = self.context.timeline.window_at(predictions["event_time"].min().to_pydatetime())
        published = self.context.lake.published(self.context.spec.name, "predictions")
        windows = self.context.timeline.windows(first.start, self.window.end)
        return {window.id: published[window.id] for window in windows if window.id in published}

    def _label_versions(self) -> dict[str, str]:
        """Return the label versions that the report reads; a report that is made again reads the same ones."""
        before = self.view.report("performance", self.window.id, self.stage)
        if before is not None:
            return before.inputs
        return {w: fact.data_version for w, fact in self.view.labelled.items() if w <= self.window.id}

    def _promised_gain(self) -> float | None:
        """Return the expected gain over the same shadow version; None after a rollback, which expects none."""
        verdicts = [
            v for v in self.view.verdicts if v.version == self.deployment_period.version and v.verdict == "PROMOTE"
        ]
        if not verdicts or self.deployment_period.cause == "rollback":
            return None
        found = verdicts[-1]
        return 1 - found.candidate_loss / found.shadow_loss if found.candidate_loss and found.shadow_loss else None

    def _record(self, kind: Kind, summary: Summary, inputs: dict[str, str]) -> None:
        fact = Reported(
            at=self.now,
            report=kind,
            window=self.window.id,
            stage=self.stage,
            deployment_period=self.deployment_period.number,
            version=self.deployment_period.version,
            summary=summary.model_dump(mode="json"),
            inputs=inputs,
            repaired=self.repaired,
        )
        self.context.ledger.append(self.context.spec.name, fact)


def feature_frame(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return one row per prediction: the features that the service computed, and the prediction."""
    frame = pd.DataFrame(list(predictions["features"]))
    frame["prediction"] = predictions["prediction"].to_numpy()
    probabilities = pd.DataFrame([p or {} for p in predictions["probabilities"]])
    return pd.concat([frame, probabilities.add_prefix("probability_")], axis=1)


def predictions_frame(classes: list[str], predictions: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with a column per class probability."""
    frame = predictions.drop(columns=["inputs", "features", "probabilities"])
    for name in classes:
        # a version gives no probability to a class that was declared after its training
        frame[f"probability_{name}"] = [None if p is None else p.get(name, 0.0) for p in predictions["probabilities"]]
    return frame
