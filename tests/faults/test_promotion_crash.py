"""A crash after each step of a promotion: standby, reference predictions, PROMOTING, alias, switch, PROMOTED, end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from crash import kill_after
from example_project import RUN, States, retrain, running_harness
from harness import Harness

from mlops_assets.ledger.facts import PromotionStep, TrainingEnded
from mlops_assets.ledger.store import Ledger
from mlops_assets.loop.outstanding import Retrain, outstanding
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.resources.tracking.registry import Registry

Arrow = tuple[type, str, Callable[..., bool]]


def writes(kind: type, step: str | None = None) -> Callable[..., bool]:
    """Return whether a call of `Ledger.append` writes a fact of this kind."""

    def does(ledger: Ledger, project: str, *facts: Any) -> bool:
        return any(isinstance(fact, kind) and (step is None or getattr(fact, "step", None) == step) for fact in facts)

    return does


def always(*_: Any, **__: Any) -> bool:
    return True


BEFORE_THE_LEDGER: dict[str, Arrow] = {
    "the service was found running": (EndpointProcess, "start", always),
    "the standby reproduced its reference predictions": (EndpointProcess, "load", always),
}
AFTER_THE_LEDGER: dict[str, Arrow] = {
    "PROMOTING was written": (Ledger, "append", writes(PromotionStep, "PROMOTING")),
    "the alias moved": (Registry, "set_alias", lambda registry, name, version: name == "champion"),
    "the service switched": (EndpointProcess, "switch", always),
    "PROMOTED was written": (Ledger, "append", writes(PromotionStep, "PROMOTED")),
    "the shadow was set": (EndpointProcess, "shadow", always),
    "the training's end was written": (Ledger, "append", writes(TrainingEnded)),
}


def crash_at(harness: Harness, monkeypatch: pytest.MonkeyPatch, arrow: Arrow) -> None:
    """Bring version 2 to the gate, and crash after a step."""
    with kill_after(monkeypatch, *arrow):
        assert not retrain(harness, ["champion", "endpoint"]).success


def heal(harness: Harness) -> None:
    """Tick `endpoint_health` and execute its run."""
    request = harness.tick("endpoint_health")
    if isinstance(request, dg.RunRequest):
        result = harness.carry_out(request)
        assert result is not None and result.success
    left = harness.tick("endpoint_health")
    assert isinstance(left, dg.SkipReason) and left.skip_message == "the endpoint serves the champion"


def served_version(harness: Harness) -> int:
    """Return the version that predicts for a client's request."""
    view = harness.context.ledger_view()
    assert view.deployment_period is not None
    golden = (harness.context.versions.path(view.deployment_period.version) / "golden.json").read_text()
    records = json.loads(golden)["records"][:1]
    return int(harness.context.endpoint.ask(records)[0]["model_version"])


@pytest.mark.parametrize("arrow", list(AFTER_THE_LEDGER))
def test_promotion_killed_after_its_ledger_entry_is_completed(
    arrow: str, states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        crash_at(harness, monkeypatch, AFTER_THE_LEDGER[arrow])
        heal(harness)
        harness.close_runs()
        view, project_context = harness.context.ledger_view(), harness.context

        assert [period.version for period in view.deployment_periods] == [1, 2]
        assert view.open_promotion is None
        assert served_version(harness) == 2 and project_context.registry.alias("champion") == 2
        assert project_context.endpoint.shadowing() == 1
        assert [(verdict.version, verdict.verdict) for verdict in view.verdicts if verdict.run_id == RUN] == [
            (2, "PROMOTE")
        ]
        ends = [fact for fact in view.ended_trainings if fact.run_id == RUN]
        assert [(end.outcome, end.attempt, end.consumes) for end in ends] == [("JUDGED", 1, True)]
        assert view.open_retrain is None and view.cooldown_from == project_context.now()


@pytest.mark.parametrize("arrow", list(BEFORE_THE_LEDGER))
def test_promotion_killed_before_its_ledger_entry_leaves_no_trace(
    arrow: str, states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        crash_at(harness, monkeypatch, BEFORE_THE_LEDGER[arrow])
        heal(harness)
        view, project_context = harness.context.ledger_view(), harness.context

        assert [period.version for period in view.deployment_periods] == [1]
        assert served_version(harness) == 1 and project_context.registry.alias("champion") == 1
        status = project_context.endpoint.status()
        assert status is not None and status.standby is None
        ends = [fact for fact in view.ended_trainings if fact.run_id == RUN]
        assert [(end.outcome, end.attempt, end.final) for end in ends] == [("FAILED", 1, False)]
        left = outstanding(project_context.timeline, view, project_context.now())
        assert [(item.decision, item.attempt) for item in left if isinstance(item, Retrain)] == [
            (view.decisions[-1].id, 2)
        ]


def test_repair_that_is_killed_is_completed_by_the_next_repair(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        crash_at(harness, monkeypatch, AFTER_THE_LEDGER["PROMOTING was written"])
        request = harness.tick("endpoint_health")
        assert isinstance(request, dg.RunRequest)
        with kill_after(monkeypatch, *AFTER_THE_LEDGER["the alias moved"]):
            harness.carry_out(request)
        monkeypatch.setattr("mlops_assets.sensors.run_requests._end_of_pause", lambda *_: None)
        heal(harness)

        view = harness.context.ledger_view()
        assert [period.version for period in view.deployment_periods] == [1, 2]
        assert served_version(harness) == 2


def test_service_killed_before_the_switch_restarts_and_is_switched(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        crash_at(harness, monkeypatch, AFTER_THE_LEDGER["the alias moved"])
        harness.context.endpoint.stop()
        heal(harness)

        assert [period.version for period in harness.context.ledger_view().deployment_periods] == [1, 2]
        assert served_version(harness) == 2


def test_no_other_promotion_begins_while_one_is_open(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        crash_at(harness, monkeypatch, AFTER_THE_LEDGER["PROMOTING was written"])
        assert isinstance(harness.tick("live_data"), dg.SkipReason)
        assert isinstance(harness.tick("retraining"), dg.SkipReason)
        again = harness.run("rollback", run_config={"ops": {"example_roll_back": {"config": {"to": 1}}}})

        assert not again.success
        assert [step.step for step in harness.context.ledger_view().of(PromotionStep)][-1] == "PROMOTING"
