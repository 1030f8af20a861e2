"""The reports of one window at its present stage: what they read, and how they become facts of the ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Literal

import pandas as pd

from mlops_assets.errors import NotReady
from mlops_assets.monitoring.drift import DriftReport, drift_report
from mlops_assets.monitoring.health import service_health
from mlops_assets.monitoring.performance import PerformanceReport, performance_report
from mlops_assets.retraining.decide import decide
from mlops_assets.retraining.gather import loop_history, window_evidence
from mlops_assets.retraining.history import History
from mlops_assets.retraining.records import (
    Decided,
    Decision,
    Reign,
    Reported,
    Stage,
    VersionTrained,
)
from mlops_assets.retraining.summaries import HealthSummary, Summary
from mlops_assets.spec.policies import prediction_statistics
from mlops_assets.timeline import Window
from resources.platform import Desk

Kind = Literal["drift", "performance", "health"]


@dataclass(frozen=True)
class Observation:
    """One window, observed now.

    Args:
        desk: the project's resources.
        window: the window.
    """

    desk: Desk
    window: Window

    @cached_property
    def history(self) -> History:
        """The project's ledger, as of the beginning of the observation."""
        return self.desk.history()

    @property
    def now(self) -> datetime:
        """The project's time."""
        return self.desk.now()

    @cached_property
    def reign(self) -> Reign:
        """The reign in force at the window's end: reports are about it.

        Raises:
            Refused: for a window of the future.
            NotReady: when nobody reigned.
        """
        self.desk.timeline.require_readable(self.window, self.now)
        reign = self.history.reign_at(self.window.end)
        if reign is None:
            raise NotReady(
                self.desk.spec.name,
                f"window {self.window.id}",
                "no champion served in it",
                f"run the job {self.desk.spec.name}_bootstrap, then move the clock past this window",
            )
        return reign

    @property
    def version(self) -> VersionTrained:
        """The reign's version."""
        return self.history.versions[self.reign.version]

    @property
    def stage(self) -> Stage:
        """`labelled` once all labels of the window are published, else `ended`."""
        if self.window.id in self.history.labelled or not self.desk.spec.labels.delay:
            return "labelled"
        return "ended"

    @property
    def repaired(self) -> bool:
        """Whether the window had lain in quarantine: its reports are shown and decide nothing."""
        return self.window.id in self.history.repaired

    # Reports

    def drift(self) -> DriftReport:
        """The reign's live rows within `monitoring.current`, against its version's own reference."""
        spec = self.desk.spec
        start, since = self.window.start, self.window.end - spec.monitoring.current
        live = self._of_reign(min(start, since))
        answers = live[live["event_time"] >= pd.Timestamp(since)].reset_index(drop=True)
        report = drift_report(
            pd.read_parquet(self.desk.versions.path(self.version.version) / "reference.parquet").drop(
                columns=["event_time"]
            ),
            feature_frame(answers),
            spec=spec.monitoring,
            statistics=prediction_statistics(spec.retraining.when),
            task=spec.problem.task,
            classes=spec.classes,
            project=spec.name,
        )
        here = int((live["event_time"] >= pd.Timestamp(start)).sum())
        report = replace(report, summary=report.summary.model_copy(update={"window_rows": here}))
        self._record("drift", report.summary, self._answer_versions(answers))
        return report

    def performance(self) -> PerformanceReport:
        """The window's answers joined with its labels: served, shadow, baseline, over the same events."""
        spec, timeline = self.desk.spec, self.desk.timeline
        inputs = self._label_versions()
        series = self.desk.labels(inputs)
        answers = self.desk.telemetry.answers(
            spec.name, self.counted.start, self.window.end, roles=("champion", "shadow")
        )
        report = performance_report(
            spec=spec,
            timeline=timeline,
            window=self.window,
            stage=self.stage,
            answers=answers_frame(
                spec.classes,
                self.desk.telemetry.answers(
                    spec.name, self.window.start, self.window.end, roles=("champion", "shadow")
                ),
            ),
            labels=series,
            series=series,
            reign=self.counted,
            reign_history=answers_frame(spec.classes, answers),
            shadow_version=self.history.shadow_of(self.reign, spec.serving.shadow),
            promised_gain=self._promised_gain(),
            known_until=self.version.as_of,
        )
        self._record("performance", report.summary, inputs)
        return report

    def health(self) -> HealthSummary:
        """How the service did in this window of the project's time."""
        spec = self.desk.spec
        answers, requests = self.answers(), self.requests()
        missed = [f for f in self.history.missed.values() if self.window.start <= f.event_time < self.window.end]
        summary = service_health(
            requests=requests,
            due=len(answers) + len(missed),
            answered=len(answers),
            late=int(answers["late"].sum()) if len(answers) else 0,
            missed=len(missed),
            memory_mb=self.desk.telemetry.health(self.window.start, self.window.end).memory_mb,
            spec=spec,
        )
        self._record("health", summary, self._answer_versions(answers))
        return summary

    # Decision

    def decide(self) -> Decision | None:
        """The policy's decision on this window at this stage; the recorded one if there is one, None if repaired.

        Raises:
            Refused: for a window of the future.
            NotReady: when nobody reigned, or the window has no reports.
        """
        self._require_reports()
        recorded = self.history.decision_for(self.window.id, self.stage)
        present = self.history.reign
        if recorded is not None or self.repaired or present is None:
            return recorded
        timeline, spec = self.desk.timeline, self.desk.spec
        decision = decide(
            spec.retraining,
            window_evidence(timeline, self.history, present, self.window),
            loop_history(timeline, self.history, present, new_rows=self.new_rows()),
            self.now,
            window=self.window.id,
            stage=self.stage,
        )
        self.desk.ledger.append(spec.name, Decided(at=self.now, decision=decision))
        return decision

    def _require_reports(self) -> None:
        reign = self.reign
        absent = self.history.missing_reports(self.window.id, self.stage)
        if absent:
            raise NotReady(
                self.desk.spec.name,
                f"decision on window {self.window.id}",
                f"of reign {reign.number} it has no report of {', '.join(absent)}",
                "materialize drift_report, performance_report and service_health of it first",
            )

    def new_rows(self) -> int:
        """Labelled rows since the champion's training, in whole windows."""
        trained = self.history.versions[self.history.reign.version].trained_through if self.history.reign else None
        timeline = self.desk.timeline
        return sum(
            fact.rows
            for window, fact in self.history.labelled.items()
            if trained is None or timeline.window(window).start >= trained
        )

    # What reports read

    def answers(self) -> pd.DataFrame:
        """The window's answers that stand, whoever gave them."""
        return self.desk.telemetry.answers(self.desk.spec.name, self.window.start, self.window.end)

    def requests(self) -> pd.DataFrame:
        """The window's requests; `latency_ms` per row, since catching up in one request is not slow service.

        Those of its end are the next window's, in a replay as on the wall's clock, where the scorer's tick comes a
        moment after it: each counts once.
        """
        requests = self.desk.telemetry.requests(self.window.start, self.window.end)
        return requests.assign(latency_ms=requests["latency_ms"] / requests["rows"].clip(lower=1))

    @property
    def counted(self) -> Reign:
        """The reign, from when its version's answers are its own: in its first one all that the version ever gave.

        A training takes its time on the wall's clock, and what falls due meanwhile is its version's to answer.
        """
        present = self.reign
        first = next(reign for reign in self.history.reigns if reign.version == present.version)
        if first.number != present.number:
            return present
        return present.model_copy(update={"start": min(present.start, self.version.as_of)})

    def _of_reign(self, since: datetime) -> pd.DataFrame:
        begun = self.counted.start
        answers = self.desk.telemetry.answers(self.desk.spec.name, max(since, begun), self.window.end)
        due_within = answers["due"] >= begun
        return answers[(answers["version"] == self.reign.version) & due_within].reset_index(drop=True)

    def _answer_versions(self, answers: pd.DataFrame) -> dict[str, str]:
        if answers.empty:
            return {}
        first = self.desk.timeline.window_at(answers["event_time"].min().to_pydatetime())
        published = self.desk.lake.published(self.desk.spec.name, "predictions")
        windows = self.desk.timeline.windows(first.start, self.window.end)
        return {window.id: published[window.id] for window in windows if window.id in published}

    def _label_versions(self) -> dict[str, str]:
        """The label versions that the report reads: those it was first made from, if it was made before."""
        before = self.history.report("performance", self.window.id, self.stage)
        if before is not None:
            return before.inputs
        return {w: fact.data_version for w, fact in self.history.labelled.items() if w <= self.window.id}

    def _promised_gain(self) -> float | None:
        """Against the same version that the realised gain is against; a rollback promised nothing."""
        verdicts = [v for v in self.history.verdicts if v.version == self.reign.version and v.verdict == "PROMOTE"]
        if not verdicts or self.reign.cause == "rollback":
            return None
        found = verdicts[-1]
        return 1 - found.candidate_loss / found.shadow_loss if found.candidate_loss and found.shadow_loss else None

    def _record(self, kind: Kind, summary: Summary, inputs: dict[str, str]) -> None:
        fact = Reported(
            at=self.now,
            report=kind,
            window=self.window.id,
            stage=self.stage,
            reign=self.reign.number,
            version=self.reign.version,
            summary=summary.model_dump(mode="json"),
            inputs=inputs,
            repaired=self.repaired,
        )
        self.desk.ledger.append(self.desk.spec.name, fact)


def feature_frame(answers: pd.DataFrame) -> pd.DataFrame:
    """The features that the service computed, beside its predictions: one row per answer."""
    frame = pd.DataFrame(list(answers["features"]))
    frame["prediction"] = answers["prediction"].to_numpy()
    shares = pd.DataFrame([p or {} for p in answers["probabilities"]])
    return pd.concat([frame, shares.add_prefix("probability_")], axis=1)


def answers_frame(classes: list[str], answers: pd.DataFrame) -> pd.DataFrame:
    """Answers with a column per class probability."""
    frame = answers.drop(columns=["inputs", "features", "probabilities"])
    for name in classes:
        # a class that was declared later than the version was trained has no share in its answers
        frame[f"probability_{name}"] = [None if p is None else p.get(name, 0.0) for p in answers["probabilities"]]
    return frame
