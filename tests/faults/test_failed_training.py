"""A failed training is recorded and tried again; after the last attempt, only new evidence leads to another one."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from example_project import RETRAIN_AT, States, failures, retrain, run_until_only_retraining_is_left, running_harness

from mlops_assets.errors import LedgerUnreachable, TrainingError
from mlops_assets.modeling import automl, training
from mlops_assets.modeling.training import TrainingRun
from mlops_assets.retraining.policy_inputs import loop_state
from mlops_assets.retraining.retries import attempts_without_verdict

DAY = timedelta(days=1)


def broken(*_: Any, **__: Any) -> Any:
    raise TrainingError("example", "selection", "broken by the test", "mend it")


def mlflow_statuses(uri: str, dagster_run: str) -> list[str]:
    import mlflow

    client = mlflow.MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("example")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.dagster_run_id = '{dagster_run}'")
    return [run.info.status for run in found]


def test_killed_jvm_fails_the_training_and_the_second_attempt_succeeds(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = states.copy("retrain_decided", tmp_path / "home")
    find_recipe = automl.find_recipe

    def killing(*arguments: Any, **more: Any) -> Any:
        records = list((home / "pids").glob("h2o-*.json"))
        assert len(records) == 1
        psutil.Process(json.loads(records[0].read_text())["pid"]).kill()
        return find_recipe(*arguments, **more)

    with running_harness(home) as harness:
        first = harness.tick("retraining")
        assert isinstance(first, dg.RunRequest)
        with monkeypatch.context() as patch:
            patch.setattr(automl, "find_recipe", killing)
            failed = harness.carry_out(first)
        assert failed is not None and not failed.success
        view = harness.context.ledger_view()
        decision = view.decisions[-1].id
        assert first.run_key == f"example:{decision}:1"
        assert [(e.outcome, e.attempt, e.final) for e in attempts_without_verdict(view, decision)] == [
            ("FAILED", 1, False)
        ]
        assert list(view.versions) == [1] and harness.context.endpoint.serving() == 1
        assert list((home / "pids").glob("h2o-*.json")) == []
        uri = harness.context.settings.mlflow_uri
        assert mlflow_statuses(uri, failed.run_id) == ["FAILED"]

        second = harness.tick("retraining")
        assert isinstance(second, dg.RunRequest) and second.run_key == f"example:{decision}:2"
        good = harness.carry_out(second)
        assert good is not None and good.success
        view = harness.context.ledger_view()
        assert [(e.outcome, e.attempt) for e in view.ended_trainings if e.decision == decision] == [
            ("FAILED", 1),
            ("JUDGED", 2),
        ]
        assert harness.context.endpoint.serving() == 2
        assert mlflow_statuses(uri, good.run_id) == ["FINISHED"]


def test_second_attempt_waits_for_its_pause(states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = states.copy("retrain_decided", tmp_path / "home")
    with running_harness(home, serving=False, retraining={"pause": "1h"}) as harness:
        monkeypatch.setattr(training, "select_features", broken)
        request = harness.tick("retraining")
        assert isinstance(request, dg.RunRequest)
        harness.carry_out(request)
        waiting = harness.tick("retraining")

        assert isinstance(waiting, dg.SkipReason) and "attempt 2 at decision" in str(waiting.skip_message)


def test_last_failed_attempt_clears_the_triggers_and_uses_the_budget(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = states.copy("retrain_decided", tmp_path / "home")
    with running_harness(home, retraining={"budget": {"runs": 2, "per": "100d"}}) as harness:
        decision = harness.context.ledger_view().decisions[-1]
        with monkeypatch.context() as patch:
            patch.setattr(training, "select_features", broken)
            harness.run_until_idle()  # both attempts; the loop becomes idle, so no further one is launched
        view = harness.context.ledger_view()
        assert [(e.attempt, e.final) for e in attempts_without_verdict(view, decision.id)] == [(1, False), (2, True)]
        assert view.is_closed(decision.id) and view.cooldown_from == RETRAIN_AT
        assert harness.runs.count(("retrain", False)) == 2

        for _ in range(4):
            harness.context.clock.move(harness.context.now() + DAY)
            run_until_only_retraining_is_left(harness)
        first, *_, last = harness.context.ledger_view().decisions[-4:]
        assert "held back by the cooldown of 4d until 2020-01-31" in first.reason
        # New evidence comes from a window that ended after the failed training's as_of.
        assert first.evidence[0].window > decision.evidence[0].window
        assert last.outcome == "WAIT" and "the budget of 2 trainings per 100d" in last.reason
        assert "cooldown" not in last.reason


def test_training_that_loses_a_server_uses_neither_attempts_nor_budget(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = iter(3 * [LedgerUnreachable("example", "PostgreSQL", "it does not answer", "start it")])

    def away_thrice(*_: Any, **__: Any) -> Any:
        raise next(fails, TrainingError("example", "selection", "broken by the test", "mend it"))

    home = states.copy("retrain_decided", tmp_path / "home")
    with running_harness(home) as harness:
        monkeypatch.setattr(training, "select_features", away_thrice)
        decision = harness.context.ledger_view().decisions[-1].id
        harness.run_until_idle()
        view, timeline = harness.context.ledger_view(), harness.context.timeline
        assert [(e.outcome, e.final) for e in attempts_without_verdict(view, decision)] == [
            *3 * [("INTERRUPTED", False)],
            ("FAILED", False),
            ("FAILED", True),
        ]
        assert view.deployment_period is not None
        assert len(loop_state(timeline, view, view.deployment_period, new_rows=0).trainings) == 2


def test_training_preceded_by_due_work_uses_neither_attempts_nor_budget(states: States, tmp_path: Path) -> None:
    """With a wall clock, time passes between the launch of a run and its first step."""
    with running_harness(states.copy("retrain_decided", tmp_path / "home"), serving=False) as harness:
        project_context = harness.context
        decision = project_context.ledger_view().decisions[-1].id
        project_context.clock.move(RETRAIN_AT + timedelta(hours=6))
        # the champion predicts the events that are due by now, before a candidate replaces it
        assert retrain(harness, ["dataset"]).success
        project_context.clock.move(RETRAIN_AT + timedelta(days=1))
        overtaken = harness.run(
            "retrain", tags={"decision": decision}, asset_selection=[harness.blueprint.key("dataset")]
        )
        assert "observe:labelled:" in failures(overtaken) and "is outstanding" in failures(overtaken)
        harness.close_runs()
        view = project_context.ledger_view()
        assert [(end.outcome, end.final) for end in attempts_without_verdict(view, decision)] == [
            ("INTERRUPTED", False)
        ]
        assert view.deployment_period is not None
        assert len(loop_state(project_context.timeline, view, view.deployment_period, new_rows=0).trainings) == 1


def test_training_whose_worker_died_is_recorded_as_failed(states: States, tmp_path: Path) -> None:
    """Dagster's daemon marks such a run as failed without a failed step and without an error."""
    with running_harness(states.copy("retrain_decided", tmp_path / "home"), serving=False) as harness:
        request = harness.tick("retraining")
        assert isinstance(request, dg.RunRequest)
        job = harness.definitions.resolve_job_def(str(request.job_name))
        run = harness.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=dict(request.tags))
        harness.instance.report_run_failed(run, "Detected run worker status FAILED. Marking run as failed.")
        harness.close_runs()
        decision = harness.context.ledger_view().decisions[-1].id
        (end,) = attempts_without_verdict(harness.context.ledger_view(), decision)
        assert (end.outcome, end.attempt, end.final, end.run_id) == ("FAILED", 1, False, run.run_id)
        second = harness.tick("retraining")
        assert isinstance(second, dg.RunRequest) and second.run_key == f"example:{decision}:2"


def test_training_without_mlflow_fails_clearly_and_the_next_one_succeeds(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import example_project

    from mlops_assets.resources.settings import Settings

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    home = states.copy("retrain_decided", tmp_path / "home")
    with monkeypatch.context() as patch:
        patch.setattr(Settings, "mlflow_uri", property(lambda self: "http://127.0.0.1:9"))
        with running_harness(home, serving=False) as harness:
            request = harness.tick("retraining")
            assert isinstance(request, dg.RunRequest)
            with pytest.raises(Exception, match=r"MLflow at http://127\.0\.0\.1:9"):
                harness.carry_out(request)  # the run fails, then so does closing its MLflow run
            (run,) = harness.instance.get_runs(dg.RunsFilter(job_name="example_retrain"))
            assert run.status == dg.DagsterRunStatus.FAILURE
            view = harness.context.ledger_view()
            assert [(e.outcome, e.attempt) for e in view.ended_trainings if e.run_id == run.run_id] == [
                ("INTERRUPTED", 1)
            ]
            assert list(view.versions) == [1] and view.open_promotion is None
            assert [path.name for path in (home / "projects/example/versions").iterdir()] == ["1"]
    with running_harness(home) as harness:
        request = harness.tick("retraining")
        assert isinstance(request, dg.RunRequest) and request.run_key == f"example:{view.decisions[-1].id}:2"
        result = harness.carry_out(request)
        assert result is not None
        example_project.succeeded(result)
        assert harness.context.endpoint.serving() == 2


def test_mlflow_run_of_a_failed_training_is_failed(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_at_the_end(self: TrainingRun, dagster_run_id: str) -> Any:
        raise TrainingError("example", "candidate", "broken by the test", "mend it")

    with running_harness(states.copy("evaluated", tmp_path / "home"), serving=False) as harness:
        monkeypatch.setattr(TrainingRun, "train", fails_at_the_end)
        from example_project import by_hand

        result = by_hand(harness, "candidate_model")
        assert not result.success
        assert mlflow_statuses(harness.context.settings.mlflow_uri, result.run_id) == ["FAILED"]


def test_mlflow_run_of_a_successful_training_is_finished(states: States, tmp_path: Path) -> None:
    from example_project import RUN

    with running_harness(states.copy("evaluated", tmp_path / "home"), serving=False) as harness:
        assert mlflow_statuses(harness.context.settings.mlflow_uri, RUN) == ["FINISHED"]
