"""No work is launched or recorded twice, and no two trainings act on the same evidence."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from example_project import (
    RETRAIN_AT,
    States,
    failures,
    retrain,
    run_until_only_retraining_is_left,
    running_harness,
    succeeded,
)

from mlops_assets.deployment.window_predictions import window_predictions
from mlops_assets.errors import Refused
from mlops_assets.ledger.facts import GateVerdict, TrainingStarted
from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.telemetry.prediction_log import PredictionLog
from mlops_assets.retraining.requests import request_retraining
from mlops_assets.retraining.retries import attempts_without_verdict
from mlops_assets.sensors.run_status import Cursor, record_end_of_training

DAY = timedelta(days=1)
SENSORS = ("endpoint_health", "live_data", "late_labels", "retraining")


def test_daemon_killed_before_saving_its_cursor_launches_nothing_twice(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tick is made twice, as by a new daemon that lost the first one's cursor: both give the same run key."""
    with running_harness(states.copy("retrain_decided", tmp_path / "home")) as harness:
        harness.context.clock.move(harness.context.now() + DAY)
        launched = []
        while True:
            twice = [(harness.tick(name), harness.tick(name)) for name in SENSORS]
            requests = []
            for first, second in twice:
                assert isinstance(first, dg.RunRequest) == isinstance(second, dg.RunRequest)
                if isinstance(first, dg.RunRequest) and isinstance(second, dg.RunRequest):
                    assert first.run_key == second.run_key and first.tags == second.tags
                    requests.append(first)
            assert len(requests) <= 1  # one item of work at a time, over all sensors
            if not requests or requests[0].job_name == "example_retrain":
                break
            launched.append(str(requests[0].run_key))
            result = harness.carry_out(requests[0])
            assert result is not None
            succeeded(result)
            assert harness.carry_out(requests[0]) is None
        decision = harness.context.ledger_view().open_retrain

        assert [key.split(":")[1] for key in launched] == ["score", "observe"]
        assert decision is not None and requests[0].run_key == f"example:{decision.id}:1"


def test_no_sensor_launches_a_run_while_one_of_the_loop_is_active(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home"), serving=False) as harness:
        job = harness.definitions.resolve_job_def("example_retrain")
        harness.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"mlops/loop": "example"})
        for name in SENSORS:
            found = harness.tick(name)
            assert isinstance(found, dg.SkipReason) and "example_retrain is running" in str(found.skip_message)


def test_second_of_two_retrainings_at_once_is_skipped(states: States, tmp_path: Path) -> None:
    """A person requests a training while the policy's training waits; the person's training runs first."""
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        project_context = harness.context
        (policys,) = [d for d in project_context.ledger_view().decisions if d.outcome == "RETRAIN"]
        persons = request_retraining(
            project_context.ledger, project_context.timeline, "a person", project_context.now()
        )
        assert [e.identity for e in persons.evidence] == [e.identity for e in policys.evidence]
        succeeded(retrain(harness, ["champion", "endpoint"]))  # the policy's
        late = harness.run("retrain", tags={"decision": persons.id})
        view = project_context.ledger_view()

        assert late.success and not late.asset_materializations_for_node("example__dataset")
        ends = {end.decision: (end.outcome, end.reason) for end in view.ended_trainings if end.decision}
        assert ends[policys.id][0] == "JUDGED"
        assert ends[persons.id] == ("SKIPPED", f"the evidence of decision {persons.id} has been consumed meanwhile")
        assert list(view.versions) == [1, 2] and len(view.of(GateVerdict)) == 2
        assert isinstance(harness.tick("retraining"), dg.SkipReason)


def test_retraining_by_a_person_without_new_rows_is_refused(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        succeeded(retrain(harness, ["champion", "endpoint"]))
        again = harness.run("retrain")  # as by a click in the UI
        view = harness.context.ledger_view()

        assert not again.success
        assert (
            "unseen labelled rows: 0 of at least 24 since version 2 was trained (as of 2020-01-27T00:00:00Z)"
            in failures(again)
        )
        assert [(d.by, d.evidence) for d in view.decisions][-1] == ("person", [])
        assert [e.outcome for e in view.ended_trainings if e.run_id == again.run_id] == ["SKIPPED"]
        assert list(view.versions) == [1, 2]


def test_hold_of_a_retraining_by_a_person_clears_the_triggers(states: States, tmp_path: Path) -> None:
    """The rows are still unseen by the champion, but a second training on them would give the same evaluation again."""
    with running_harness(
        states.copy("evaluated", tmp_path / "home"), serving=False, promotion={"margin": 0.9}
    ) as harness:
        project_context = harness.context
        persons = request_retraining(
            project_context.ledger, project_context.timeline, "a person", project_context.now()
        )
        succeeded(retrain(harness, ["evaluation", "champion"]))
        view = project_context.ledger_view()

        assert view.verdicts[-1].verdict == "HOLD" and view.cooldown_from == RETRAIN_AT
        assert view.is_closed(persons.id) and view.open_retrain is None


def test_end_of_a_run_that_is_seen_twice_is_recorded_once(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home"), serving=False) as harness:
        decision = harness.context.ledger_view().open_retrain
        assert decision is not None
        job = harness.definitions.resolve_job_def("example_retrain")
        run = harness.instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.FAILURE, tags={"mlops/loop": "example", "decision": decision.id}
        )
        for _ in range(2):
            record_end_of_training(harness.context, run)
            harness.close_runs()
        view = harness.context.ledger_view()

        assert [(e.outcome, e.attempt) for e in attempts_without_verdict(view, decision.id)] == [("FAILED", 1)]
        assert len([fact for fact in view.of(TrainingStarted) if fact.run_id == run.run_id]) == 1


def test_run_that_cannot_be_recorded_is_retried_and_blocks_no_other(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home"), serving=False) as harness:
        decision = harness.context.ledger_view().open_retrain
        assert decision is not None
        tags = {"mlops/loop": "example", "decision": decision.id}
        job = harness.definitions.resolve_job_def("example_retrain")
        first, second = (
            harness.instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, tags=tags) for _ in range(2)
        )

        def refuses_the_first(project_context: ProjectResources, run: dg.DagsterRun, *, interrupted: bool) -> None:
            if run.run_id == first.run_id:
                raise KeyError("an unexpected fact")
            record_end_of_training(project_context, run, interrupted=interrupted)

        with monkeypatch.context() as patch:
            patch.setattr("mlops_assets.sensors.run_status.record_end_of_training", refuses_the_first)
            for _ in range(2):
                message = harness.tick_run_status()
                assert first.run_id in message and "an unexpected fact" in message and second.run_id not in message
                assert [end.run_id for end in attempts_without_verdict(harness.context.ledger_view(), decision.id)] == [
                    second.run_id
                ]
        harness.close_runs()
        ends = attempts_without_verdict(harness.context.ledger_view(), decision.id)
        assert [(end.run_id, end.outcome) for end in ends] == [(second.run_id, "FAILED"), (first.run_id, "FAILED")]
        # recorded once, and not looked at again
        monkeypatch.setattr("mlops_assets.sensors.run_status.record_end_of_training", None)
        harness.close_runs()


def test_cursor_of_an_earlier_release_is_read() -> None:
    assert Cursor.parse("1764240000.5") == Cursor(until=1764240000.5)
    assert Cursor.parse(Cursor(until=1.5, unrecorded=["a"]).model_dump_json()) == Cursor(until=1.5, unrecorded=["a"])
    assert Cursor.parse(None) == Cursor()


def test_loop_goes_on_with_an_empty_dagster_instance(states: States, tmp_path: Path) -> None:
    """The ledger, not Dagster's event log, determines what is outstanding."""
    home = states.copy("retrain_decided", tmp_path / "home")
    with running_harness(home) as harness:
        harness.context.clock.move(harness.context.now() + DAY)
        run_until_only_retraining_is_left(harness)
        facts, answered = (
            harness.context.ledger_view().facts,
            harness.context.telemetry.counts("example")["answered"],
        )
        wanted = harness.tick("retraining")
    with running_harness(home) as harness:
        assert harness.instance.get_runs_count() == 0 and harness.context.ledger_view().facts == facts
        again = harness.tick("retraining")
        assert isinstance(wanted, dg.RunRequest) and isinstance(again, dg.RunRequest)
        assert again.run_key == wanted.run_key and again.tags == wanted.tags
        harness.context.clock.move(harness.context.now() + DAY)
        run_until_only_retraining_is_left(harness)
        assert harness.context.telemetry.counts("example")["answered"] == answered + 24


def test_older_predictions_do_not_replace_newer_published_ones(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home")) as harness:
        project_context, window = harness.context, harness.context.timeline.window_at(RETRAIN_AT - DAY)
        read = PredictionLog.predictions

        def overtaken(log: PredictionLog, *args: Any, **kwargs: Any) -> pd.DataFrame:
            found = read(log, *args, **kwargs)
            seen = project_context.lake.look("example", "predictions", window.id)
            project_context.lake.write_predictions("example", window.id, found.iloc[1:], seen)
            return found

        monkeypatch.setattr(PredictionLog, "predictions", overtaken)
        with pytest.raises(Refused, match=r"predictions of window .*another process published"):
            window_predictions(project_context, window)
