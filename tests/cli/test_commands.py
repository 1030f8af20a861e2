"""The command line on a state folder after a retraining."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import example_project
import psutil
import pytest
from example_project import States, retrain, run_until_only_retraining_is_left, running_harness, succeeded
from repositories import make_repository, project_yaml
from typer.testing import CliRunner, Result

from mlops_assets.cli import app
from mlops_assets.cli.app import print_json
from mlops_assets.ledger.facts import RetrainingHeld
from mlops_assets.resources.platform import Platform
from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.resources.settings import Settings

NOTHING_YET = {"metric": "mae", "served": None, "first_model": None, "baseline": None, "windows": 0}


@pytest.fixture(scope="module")
def retrained(states: States, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a state in which a retrained version was promoted and has predicted a day; the service runs."""
    home = states.copy("evaluated", tmp_path_factory.mktemp("retrained") / "home")
    with running_harness(home) as harness:
        succeeded(retrain(harness, ["champion", "endpoint"]))
        harness.context.clock.move(harness.context.now() + timedelta(days=1))
        run_until_only_retraining_is_left(harness)
        harness.expire_lease()
        yield home


@pytest.fixture
def retrain_decided(states: States, tmp_path: Path) -> Path:
    """Return a state in which the policy decided RETRAIN; no service runs."""
    return states.copy("retrain_decided", tmp_path / "home")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the example project as its only one."""
    return make_repository(tmp_path / "repository", example=project_yaml(example_project.ATTRIBUTES))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, repository: Path) -> Any:
    """Call a command in that repository on a state folder."""
    monkeypatch.chdir(repository)

    def call(home: Path, *words: str) -> Result:
        monkeypatch.setenv("MLOPS_ASSETS_HOME", str(home))
        return CliRunner().invoke(app, list(words))

    return call


def context(home: Path) -> ProjectResources:
    return Platform.configured(Settings(home=home)).of(example_project.example_project())


def shape(value: Any) -> Any:
    """Return the names of all fields as nested dicts; for a list, those of its last member."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape(value[-1])] if value and isinstance(value[-1], dict) else []
    return None


CONTRACT: dict[str, Any] = {
    "now": None,
    "champion": dict.fromkeys(["version", "dataset", "as_of", "trained_through"]),
    "endpoint": dict.fromkeys(["url", "model_version", "dataset", "ready"]),
    "windows": dict.fromkeys(["scored", "labelled", "quarantined"]),
    "events": dict.fromkeys(["due", "answered", "late", "missed", "waiting", "lost", "note"]),
    "retrainings": None,
    "decisions": [{**dict.fromkeys(["id", "at", "decision"]), "reasons": [], "run_id": None}],
    "verdicts": [dict.fromkeys(["at", "verdict", "version", "champion_loss", "candidate_loss"])],
    "loss": dict.fromkeys(["metric", "served", "first_model", "baseline", "windows"]),
}


def test_status_json_has_the_documented_fields(command: Any, retrained: Path) -> None:
    found = json.loads(command(retrained, "status", "--json").stdout)
    assert list(found) == ["projects"] and list(found["projects"]) == ["example"]
    facts = found["projects"]["example"]

    assert shape(facts) == CONTRACT
    assert facts["now"] == "2020-01-28T00:00:00Z"
    assert facts["champion"]["version"] == facts["endpoint"]["model_version"] == 2
    assert facts["endpoint"]["ready"] is True and facts["endpoint"]["url"].startswith("http://127.0.0.1:")
    assert facts["windows"] == {"scored": 7, "labelled": 7, "quarantined": 0}
    events = facts["events"]
    # seven days of hours, and the hour that is due now; all of them have a prediction
    nothing = dict.fromkeys(["late", "missed", "waiting", "lost"], 0)
    assert events == {"due": 7 * 24 + 1, "answered": 7 * 24 + 1, "note": None, **nothing}
    assert facts["retrainings"] == 1
    assert [v["verdict"] for v in facts["verdicts"]] == ["PROMOTE", "PROMOTE"]
    assert [d["decision"] for d in facts["decisions"]] == ["WAIT"] * 5 + ["RETRAIN", "WAIT"]
    assert facts["decisions"][5]["run_id"] == example_project.RUN
    loss = facts["loss"]
    assert loss["windows"] == 1 and 0 < loss["served"] < loss["first_model"]


def test_losses_are_null_before_the_first_retraining(command: Any, retrain_decided: Path) -> None:
    facts = json.loads(command(retrain_decided, "status", "example", "--json").stdout)["projects"]["example"]

    assert facts["loss"] == NOTHING_YET
    assert facts["endpoint"] == {"url": None, "model_version": None, "dataset": None, "ready": False}


def test_status_of_an_empty_state_folder_has_no_champion(command: Any, tmp_path: Path) -> None:
    facts = json.loads(command(tmp_path / "empty", "status", "--json").stdout)["projects"]["example"]
    assert facts["champion"] is None and facts["decisions"] == [] and facts["loss"] == NOTHING_YET
    shown = command(tmp_path / "empty", "status")
    assert shown.exit_code == 0 and "none yet" in shown.stdout


def test_status_table_shows_the_facts_of_the_json(command: Any, retrained: Path) -> None:
    shown = command(retrained, "status", "example")

    assert shown.exit_code == 0
    for words in (
        "version 2, trained through 2020-01-27T00:00:00Z",
        "7 scored, 7 labelled",
        "169 answered",
        "first model",
    ):
        assert words in shown.stdout


def test_unknown_project_is_named_with_the_known_ones(command: Any, tmp_path: Path) -> None:
    for words in (["status", "sea"], ["retrain", "sea"], ["replay", "sea", "--windows", "1"], ["rollback", "sea"]):
        found = command(tmp_path, *words)
        assert found.exit_code == 1
        assert "sea: " in found.stderr and "no such project; there are ['example']" in " ".join(found.stderr.split())


def test_retrain_records_a_decision_of_a_person_with_the_active_evidence(command: Any, retrain_decided: Path) -> None:
    policys = context(retrain_decided).ledger_view().decisions[-1]
    output = json.loads(command(retrain_decided, "retrain", "example", "--json").stdout)
    decision = context(retrain_decided).ledger_view().decisions[-1]

    assert decision.id == output["decision"] != policys.id
    assert (decision.by, decision.outcome, decision.window) == ("person", "RETRAIN", None)
    assert [e.identity for e in decision.evidence] == [e.identity for e in policys.evidence]


def test_retrain_is_refused_without_enough_unseen_rows(command: Any, retrained: Path) -> None:
    before = len(context(retrained).ledger_view().facts)
    found = command(retrained, "retrain", "example")

    assert found.exit_code == 1 and len(context(retrained).ledger_view().facts) == before
    assert "Too few unseen labelled rows: 18 of at least" in " ".join(found.stderr.split())


def test_retrain_without_a_champion_names_the_job_to_run(command: Any, tmp_path: Path) -> None:
    found = command(tmp_path / "empty", "retrain", "example")
    assert found.exit_code == 1 and "run the job example_bootstrap first" in " ".join(found.stderr.split())


def test_replay_takes_either_windows_or_a_date(command: Any, tmp_path: Path) -> None:
    assert command(tmp_path, "replay", "example").exit_code == 2
    assert command(tmp_path, "replay", "example", "--windows", "1", "--until", "2020-02-01").exit_code == 2


def test_replay_backwards_is_refused(command: Any, retrained: Path) -> None:
    found = command(retrained, "replay", "example", "--until", "2020-01-25")
    assert found.exit_code == 1
    assert "it is at 2020-01-28T00:00:00Z and cannot go back to 2020-01-25T00:00:00Z" in " ".join(found.stderr.split())


def test_replay_without_the_daemon_names_what_to_start(command: Any, retrained: Path) -> None:
    before = context(retrained).now()
    found = command(retrained, "replay", "example", "--windows", "1")
    assert found.exit_code == 1 and "start `dagster dev`" in " ".join(found.stderr.split())
    assert context(retrained).now() == before + timedelta(days=1)


def test_last_hold_or_release_counts(command: Any, retrain_decided: Path) -> None:
    for words, held in (
        (["hold", "example"], True),
        (["hold", "example", "--release"], False),
        (["hold", "example"], True),
    ):
        assert command(retrain_decided, *words).exit_code == 0
        assert context(retrain_decided).ledger_view().held is held
    assert [fact.held for fact in context(retrain_decided).ledger_view().of(RetrainingHeld)] == [True, False, True]


def test_provenance_leads_from_a_prediction_to_the_decision(command: Any, retrained: Path) -> None:
    here = context(retrained)
    predictions = here.telemetry.predictions("example", example_project.RETRAIN_AT, here.now(), roles=("champion",))
    prediction = predictions[predictions["version"] == 2].iloc[0]
    found = json.loads(command(retrained, "provenance", "example", prediction["event_id"], "--json").stdout)
    view = here.ledger_view()
    version, decision = view.versions[2], view.decisions[5]

    assert found["prediction"] == prediction["prediction"] and found["features"] == prediction["features"]
    assert (found["model_version"], found["mlflow_run"]) == (2, version.mlflow_run)
    assert (found["dataset_md5"], found["git_tag"]) == (version.dataset, version.dataset_tag)
    assert set(found["raw_windows"]) <= set(view.published) and len(found["raw_windows"]) == 8
    assert found["decision"]["id"] == decision.id and found["decision"]["reason"] == decision.reason
    assert found["training"] == f"{decision.id}:1"

    shown = command(retrained, "provenance", "example", prediction["event_id"]).stdout
    for step in ("prediction", "features", "model version", "MLflow run", "dataset", "raw windows", "decision"):
        assert step in shown


def test_provenance_of_an_unknown_event_is_an_error(command: Any, retrained: Path) -> None:
    found = command(retrained, "provenance", "example", "nonsense")
    assert found.exit_code == 1 and "there is no prediction for it" in found.stderr


def test_rollback_restores_the_previous_champion_and_the_policy_keeps_it(
    command: Any, states: States, tmp_path: Path
) -> None:
    home = states.copy("evaluated", tmp_path / "home")
    with running_harness(home) as harness:
        assert command(home, "rollback", "example").exit_code == 1  # there is no former champion
        succeeded(retrain(harness, ["champion", "endpoint"]))
        refused = command(home, "rollback", "example", "--to", "9")
        assert refused.exit_code == 1 and "former champions are [1]" in " ".join(refused.stderr.split())

        output = json.loads(command(home, "rollback", "example", "--json").stdout)
        assert (output["version"], output["previous"]) == (1, 2)
        view = harness.context.ledger_view()
        assert (view.deployment_periods[-1].version, view.deployment_periods[-1].cause) == (1, "rollback")
        assert harness.context.endpoint.serving() == 1 and harness.context.registry.alias("champion") == 1
        assert view.open_retrain is None and view.cooldown_from == harness.context.now()

        harness.context.clock.move(harness.context.now() + timedelta(days=1))
        run_until_only_retraining_is_left(harness)
        decision = harness.context.ledger_view().decisions[-1]
        assert decision.outcome == "WAIT" and decision.deployment_period == 3
        if decision.evidence:
            assert "cooldown" in decision.reason


def test_down_ends_recorded_processes_only_even_with_invalid_yaml(
    command: Any, retrain_decided: Path, repository: Path
) -> None:
    with running_harness(retrain_decided) as harness:
        endpoint = harness.context.endpoint
        assert isinstance(endpoint, EndpointProcess)
        service = endpoint.record()
        assert service is not None
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        ours, others = subprocess.Popen(sleep), subprocess.Popen(sleep)
        try:
            pids = retrain_decided / "pids"
            pids.mkdir(exist_ok=True)
            for process, late in ((ours, 0.0), (others, -5000.0)):
                # The second record is of a process that is long gone; its id belongs to somebody else now.
                started = psutil.Process(process.pid).create_time() + late
                record = {"name": f"sleeper {late}", "pid": process.pid, "started": started, "url": ""}
                (pids / f"command-{process.pid}.json").write_text(json.dumps(record))
            # a disk was full, or the power went
            unreadable = [pids / "command-1.json", pids / "h2o-1.json"]
            for path in unreadable:
                path.touch()
            (repository / "team" / "example" / "defs.yaml").write_text("type: [")
            output = command(retrain_decided, "down")

            assert output.exit_code == 0
            assert not any(path.exists() for path in unreadable)
            assert not psutil.pid_exists(ours.pid) and others.poll() is None
            assert "sleeper 0.0" in output.stdout and "sleeper -5000" not in output.stdout
            assert "endpoint of example" in output.stdout and not psutil.pid_exists(service.pid)
            assert "nothing was running" in command(retrain_decided, "down").stdout
        finally:
            for process in (ours, others):
                process.kill()
                process.wait()


def test_missing_values_are_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"features": {"wind": float("nan"), "hour": 3}})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"features": {"wind": None, "hour": 3}}
