"""A simulated project with a planted break at window 10. 30 windows are played, then a bad candidate is evaluated."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import canonical_records
import numpy as np
import pytest
import simulated_projects
from project_replays import ProjectReplay, resumed_replay

from mlops_assets.ledger.view import LedgerView
from mlops_assets.modeling import training
from mlops_assets.modeling.candidate import train_candidate
from mlops_assets.prediction.inputs import cut_inputs, to_records
from mlops_assets.prediction.predictor import Predictor

BREAK, DECIDED, WINDOWS = simulated_projects.FORK, 14, 30
pytestmark = [pytest.mark.xdist_group("seeded"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def broken(unbroken: Path) -> Iterator[ProjectReplay]:
    # events due before the fork, up to this hour, were predicted in the state that both continuations start from
    spec = simulated_projects.simulated_project(
        "seeded", {"break_at": (simulated_projects.at(BREAK) + 2 * simulated_projects.HOUR).isoformat()}
    )
    with resumed_replay(spec, unbroken, unbroken.with_name("broken")) as play:
        play.advance(windows=WINDOWS - BREAK)
        yield play


def test_exactly_one_retraining_follows_a_planted_break(broken: ProjectReplay) -> None:
    assert broken.launched("retrain") == 1
    outcomes = [broken.decision(number).outcome for number in range(WINDOWS)]
    assert outcomes == ["WAIT"] * DECIDED + ["RETRAIN"] + ["WAIT"] * (WINDOWS - DECIDED - 1)


def test_evidence_names_the_first_window_of_each_breach(broken: ProjectReplay) -> None:
    breach = broken.window(BREAK).id
    evidence = {item.signal: item.window for item in broken.decision(DECIDED).evidence}
    assert evidence == {"performance:first_live_windows": breach, "drift:prediction:wasserstein": breach}


def test_earlier_decisions_name_the_signal_that_is_in_breach_alone(broken: ProjectReplay) -> None:
    for number in range(BREAK, DECIDED):
        decision = broken.decision(number)
        assert "not all required triggers are active" in decision.reason
        assert "loss of the last 2 windows" in decision.reason


def test_sensor_launched_the_retraining_for_the_decision(broken: ProjectReplay) -> None:
    decision = broken.decision(DECIDED)
    assert f"seeded:{decision.id}:1" in broken.harness.run_keys
    (started,) = [fact for fact in broken.view.started_trainings if fact.by != "bootstrap"]
    assert (started.by, started.decision, started.attempt) == ("policy", decision.id, 1)


def test_holdout_rows_were_seen_by_neither_candidate_nor_champion(broken: ProjectReplay) -> None:
    first, second = broken.view.verdicts
    assert (second.verdict, second.by, second.version, second.champion) == ("PROMOTE", "policy", 2, 1)
    assert second.rows == 48
    assert second.champion_loss == pytest.approx(
        fmean(broken.loss(number, "served") for number in (DECIDED - 1, DECIDED))
    )
    assert second.recomputed == 0
    assert second.candidate_loss < 0.98 * second.champion_loss
    assert second.as_of == broken.window(DECIDED).end > first.as_of


def test_promoted_version_serves_from_the_time_of_the_decision(broken: ProjectReplay) -> None:
    periods = [(period.version, period.start, period.cause) for period in broken.view.deployment_periods]
    assert periods == [
        (1, simulated_projects.at(0), "bootstrap"),
        (2, simulated_projects.at(DECIDED + 1), "retraining"),
    ]
    answers = broken.context.telemetry.predictions("seeded", simulated_projects.at(0), simulated_projects.at(WINDOWS))
    by = answers.groupby("version")["due"].agg(["min", "max"])
    switch = simulated_projects.at(DECIDED + 1)
    assert by.loc[1, "max"] <= switch <= by.loc[2, "min"]
    assert len(answers) == 24 * WINDOWS - 1


def test_served_loss_falls_well_below_the_loss_of_the_shadow(broken: ProjectReplay) -> None:
    later = [broken.performance(number) for number in range(DECIDED + 2, WINDOWS)]
    numbers = range(DECIDED + 2, WINDOWS)
    served, shadow = (fmean(broken.loss(number, of) for number in numbers) for of in ("served", "shadow"))
    assert served < 0.2 * shadow
    assert later[-1].realised_gain > 0.8
    assert later[-1].promised_gain == pytest.approx(0.9, abs=0.1)


def test_logged_predictions_equal_a_recomputation_from_published_data(broken: ProjectReplay) -> None:
    project_context = broken.context
    rows = project_context.lake.read("seeded", "raw_data", project_context.lake.published("seeded", "raw_data")).merge(
        project_context.labels(project_context.lake.published("seeded", "labels")),
        on="event_time",
        validate="one_to_one",
    )
    given = project_context.telemetry.predictions(
        "seeded", simulated_projects.at(0), simulated_projects.at(WINDOWS), roles=("champion", "shadow")
    )
    assert {key for key, _ in given.groupby(["version", "role"])} == {
        (1, "champion"),
        (1, "shadow"),
        (2, "champion"),
    }
    for (version, _), answers in given.groupby(["version", "role"]):
        model = Predictor.load(project_context.versions.path(int(str(version))))
        events = rows[rows["event_time"].isin(answers["event_time"])].reset_index(drop=True)
        inputs = cut_inputs(project_context.timeline, model.schema, events, rows)
        assert to_records(inputs, model.schema) == list(answers["inputs"])
        found = model.predict(inputs)
        assert found.value.tobytes() == answers["prediction"].to_numpy(dtype=np.float64).tobytes()
        names = model.definitions.names
        recorded = np.array([[features[name] for name in names] for features in answers["features"]])
        assert found.features.tobytes() == recorded.tobytes()
        model.close()


@dataclass(frozen=True)
class Rejection:
    """The ledger view before and after the evaluation of a candidate that was trained on shuffled labels."""

    before: LedgerView
    after: LedgerView
    served: int | None
    answers: canonical_records.Records


@pytest.fixture(scope="module")
def rejection(broken: ProjectReplay) -> Rejection:
    before, train = broken.view, train_candidate

    def on_shuffled_targets(spec: Any, prepared: Any, *more: Any) -> Any:
        shuffled = np.random.default_rng(1).permutation(prepared.target)
        return train(spec, replace(prepared, target=shuffled), *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_candidate", on_shuffled_targets)
        broken.run("retrain")
    return Rejection(
        before, broken.view, broken.context.endpoint.serving(), canonical_records.canonical(broken.context)
    )


def test_gate_rejects_a_candidate_trained_on_shuffled_labels(rejection: Rejection) -> None:
    verdict = rejection.after.verdicts[-1]
    assert (verdict.verdict, verdict.version, verdict.champion, verdict.by) == ("HOLD", 3, 2, "person")
    assert verdict.candidate_loss > 2 * verdict.champion_loss
    assert "better is required" in verdict.reasons[0]


def test_verdict_has_the_loss_of_the_shadow_on_the_same_rows(broken: ProjectReplay, rejection: Rejection) -> None:
    newest = (WINDOWS - 2, WINDOWS - 1)
    verdict = rejection.after.verdicts[-1]
    assert verdict.shadow_loss == pytest.approx(fmean(broken.loss(number, "shadow") for number in newest))
    assert (
        verdict.champion_loss
        == pytest.approx(fmean(broken.loss(number, "served") for number in newest))
        != verdict.shadow_loss
    )


def test_champion_keeps_serving_after_a_rejection(rejection: Rejection) -> None:
    assert rejection.served == 2
    assert rejection.after.deployment_periods == rejection.before.deployment_periods
    assert 3 in rejection.after.versions


def test_rejection_starts_the_cooldown(rejection: Rejection) -> None:
    assert rejection.after.cooldown_from == simulated_projects.at(WINDOWS) > rejection.before.cooldown_from


def test_retraining_by_a_person_ignores_the_cooldown_and_is_recorded_as_such(rejection: Rejection) -> None:
    decision = rejection.after.decisions[-1]
    assert (decision.by, decision.outcome, decision.window) == ("person", "RETRAIN", None)
    assert rejection.after.is_closed(decision.id)
