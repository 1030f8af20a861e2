"""A simulated project that does not change over 30 windows: no retraining follows."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import simulated_projects
from project_replays import ProjectReplay, resumed_replay

from mlops_assets.monitoring.observation import Observation

WINDOWS = 30
pytestmark = [pytest.mark.xdist_group("seeded"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def steady(unbroken: Path) -> Iterator[ProjectReplay]:
    with resumed_replay(simulated_projects.simulated_project("seeded"), unbroken, unbroken.with_name("steady")) as play:
        play.advance(windows=WINDOWS - simulated_projects.FORK)
        yield play


def test_stationary_project_is_never_retrained(steady: ProjectReplay) -> None:
    assert [fact.by for fact in steady.view.started_trainings] == ["bootstrap"]
    assert [(verdict.by, verdict.verdict) for verdict in steady.view.verdicts] == [("bootstrap", "PROMOTE")]
    assert len(steady.view.deployment_periods) == 1


def test_every_decision_of_a_stationary_project_is_wait_without_evidence(steady: ProjectReplay) -> None:
    decisions = [steady.decision(number) for number in range(WINDOWS)]
    assert [decision.outcome for decision in decisions] == ["WAIT"] * WINDOWS
    assert not [decision.evidence for decision in decisions if decision.evidence]
    assert len(steady.view.decisions) == WINDOWS


def test_every_due_event_is_predicted_once_and_on_time(steady: ProjectReplay) -> None:
    hours = 24 * WINDOWS
    predictions = steady.context.telemetry.predictions(
        "seeded", simulated_projects.at(0), simulated_projects.at(WINDOWS)
    )
    # the first hour was due before the snapshot of the first model
    assert list(predictions["event_time"]) == [
        simulated_projects.at(0) + simulated_projects.HOUR * hour for hour in range(1, hours)
    ]
    assert not predictions["late"].any()
    assert steady.view.missed == {}


def test_live_loss_of_a_stationary_project_equals_the_holdout_loss(steady: ProjectReplay) -> None:
    promised = steady.view.versions[1].holdout_loss
    losses = [steady.loss(number, "served") for number in range(WINDOWS)]
    assert sum(losses) / WINDOWS == pytest.approx(promised, rel=0.3)


def test_served_equals_shadow_and_beats_the_baseline_with_one_version(steady: ProjectReplay) -> None:
    for number in range(WINDOWS):
        found = steady.performance(number)
        assert found.served == found.shadow == found.deployment_period
        assert found.served < found.baseline


def test_reports_count_all_rows_when_drift_uses_a_sample(
    steady: ProjectReplay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Observation, "_record", lambda *_: None)
    short = simulated_projects.simulated_project("seeded", monitoring={"current": "20h"})
    found = Observation(replace(steady.context, spec=short), steady.window(5)).drift().summary
    assert (found.rows, found.window_rows) == (20, 24)


def test_no_window_of_a_stationary_project_has_drifted(steady: ProjectReplay) -> None:
    assert {steady.drift(number).verdict for number in range(WINDOWS)} == {"no drift"}
