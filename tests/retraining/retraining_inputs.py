"""Inputs of a policy for tests: weekly windows from 2011-04-02 (local time in New York), and a loop that plays them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops_assets.ledger.facts import Decision, Evidence
from mlops_assets.retraining.decide import decide
from mlops_assets.retraining.evidence import DeploymentPeriodFacts, LoopState, WindowEvidence, find_evidence
from mlops_assets.spec.retraining import RetrainingSpec
from mlops_assets.timeline import iso

START = datetime(2011, 4, 2, 4, tzinfo=UTC)
WEEK = timedelta(days=7)
PERFORMANCE = {"type": "performance", "ratio": 1.3, "first": 2, "last": 2}
HOLDOUT = {"type": "performance", "ratio": 1.3, "against": "holdout", "last": 2}
PSI = {"type": "drift", "signal": "prediction", "statistic": "psi", "threshold": 0.2, "for": 2}
SHARE = {"type": "drift", "signal": "data", "threshold": 0.5}
AGE = {"type": "age", "max": "90d"}


def week(index: int) -> str:
    """Return the id of a window by its index."""
    return iso(START + index * WEEK)


def after(count: int) -> datetime:
    """Return the time at which this number of windows has ended."""
    return START + count * WEEK


def window(index: int, loss: float | None = 40.0, **changes: Any) -> WindowEvidence:
    values = {
        "window": week(index),
        "end": after(index + 1),
        "stage": "labelled",
        "too_few_rows": False,
        "rows": 0 if loss is None else 168,
        "loss": loss,
        "prediction_drift": {"psi": 0.05},
        "data_drift_share": 0.2,
    }
    return WindowEvidence.model_validate(values | changes)


def losing(*losses: float | None) -> list[WindowEvidence]:
    """Return one window per loss."""
    return [window(index, loss) for index, loss in enumerate(losses)]


def drifting(*distances: float) -> list[WindowEvidence]:
    """Return one window per psi distance of the predictions."""
    return [window(index, prediction_drift={"psi": distance}) for index, distance in enumerate(distances)]


def policy(*members: dict[str, Any], type: str = "any", **guards: Any) -> RetrainingSpec:
    when = members[0] if len(members) == 1 else {"type": type, "of": list(members)}
    return RetrainingSpec.model_validate({"when": when, "cooldown": "28d"} | guards)


def loop_state(deployment_period: dict[str, Any] | None = None, **changes: Any) -> LoopState:
    facts = {
        "number": 1,
        "version": 1,
        "start": START,
        "version_as_of": START,
        "holdout_loss": 40.0,
        "first_losses": None,
    }
    values = {
        "project": "bike_demand",
        "deployment_period": DeploymentPeriodFacts.model_validate(facts | (deployment_period or {})),
        "consumed_through": None,
        "cooldown_from": None,
        "trainings": [],
        "recorded": [],
        "in_progress": None,
        "collected": [],
        "new_rows": 1000,
        "zone": "America/New_York",
    }
    return LoopState.model_validate(values | changes)


def evidence(signal: str = "performance:first_live_windows", index: int = 3, deployment_period: int = 1) -> Evidence:
    return Evidence(
        deployment_period=deployment_period,
        signal=signal,
        window=week(index),
        value=61.0,
        threshold=54.0,
        sentence="it was worse",
    )


def found(
    spec: RetrainingSpec,
    windows: Sequence[WindowEvidence],
    state: LoopState | None = None,
    now: datetime | None = None,
) -> list[Evidence]:
    """Return the active evidence at the end of the newest window."""
    return find_evidence(spec, windows, state or loop_state(), now or windows[-1].end)


def decided(
    spec: RetrainingSpec,
    windows: Sequence[WindowEvidence],
    state: LoopState | None = None,
    now: datetime | None = None,
) -> Decision:
    """Return the decision on the newest window, at its end."""
    newest = windows[-1]
    return decide(spec, windows, state or loop_state(), now or newest.end, window=newest.window, stage=newest.stage)


@dataclass
class Loop:
    """Plays windows one by one through `decide`, records decisions as the ledger does, and trains after a RETRAIN.

    A training begins `lag` windows after its RETRAIN. Its verdict is HOLD: the deployment period continues, and the
    evidence is consumed.
    """

    spec: RetrainingSpec
    lag: int = 1
    new_rows: int = 1000
    state: LoopState = field(default_factory=loop_state)
    windows: list[WindowEvidence] = field(default_factory=list)
    steps: list[tuple[LoopState, Decision]] = field(default_factory=list)
    _due: int = 0

    def play(self, windows: Sequence[WindowEvidence]) -> list[Decision]:
        for item in windows:
            self.step(item)
        return [decision for _, decision in self.steps]

    def step(self, item: WindowEvidence) -> None:
        self.windows = [w for w in self.windows if w.window != item.window] + [item]
        decision = decided(self.spec, self.windows, self.state)
        self.steps.append((self.state, decision))
        known = {e.identity: e for e in [*decision.evidence, *self.state.recorded]}
        changes: dict[str, Any] = {"recorded": list(known.values()), "new_rows": self.new_rows}
        if decision.outcome == "COLLECT":
            changes["collected"] = [*self.state.collected, decision.id]
        if decision.outcome == "RETRAIN":
            changes["in_progress"], self._due = decision.id, len(self.steps) + self.lag
        self.state = self.state.model_copy(update=changes)
        if self.state.in_progress and len(self.steps) >= self._due:
            self._train(item.end)

    def _train(self, as_of: datetime) -> None:
        self.state = self.state.model_copy(
            update={
                "in_progress": None,
                "consumed_through": as_of,
                "cooldown_from": as_of,
                "trainings": [*self.state.trainings, as_of],
                "recorded": [],
            }
        )
