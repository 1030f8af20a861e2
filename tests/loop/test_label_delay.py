"""Labels that arrive half a day late, replayed twice: with one command, and with one command per window.

The break is at the start of the clock. So the first retraining comes before there are rows to evaluate it on, and the
second one, after the cooldown, is promoted.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import canonical_records
import pytest
import simulated_projects
from project_replays import ProjectReplay, bootstrapped_replay, resumed_replay

from mlops_assets.ledger.facts import Reported
from mlops_assets.spec import ProjectSpec

WINDOWS, HALF = 6, timedelta(hours=12)
pytestmark = [pytest.mark.xdist_group("label_delay"), pytest.mark.timeout(900)]


def late() -> ProjectSpec:
    return simulated_projects.simulated_project(
        "late",
        {"break_at": simulated_projects.at(0).isoformat()},
        labels={"delay": "12h"},
        retraining={
            "when": {"type": "drift", "signal": "prediction", "statistic": "wasserstein", "threshold": 0.5, "for": 1},
            "min_new_rows": 0,
            "warm_up": "0h",
        },
    )


@pytest.fixture(scope="module")
def bootstrapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("late") / "bootstrapped"
    with bootstrapped_replay(late(), home):
        return home


@pytest.fixture(scope="module")
def at_once(bootstrapped: Path) -> Iterator[ProjectReplay]:
    with resumed_replay(late(), bootstrapped, bootstrapped.with_name("at_once")) as play:
        play.advance(windows=WINDOWS)
        yield play


@pytest.fixture(scope="module")
def one_by_one(bootstrapped: Path) -> Iterator[ProjectReplay]:
    with resumed_replay(late(), bootstrapped, bootstrapped.with_name("one_by_one")) as play:
        for _ in range(WINDOWS):
            play.advance(windows=1)
        yield play


def test_windows_played_at_once_or_one_by_one_give_the_same_records(
    at_once: ProjectReplay, one_by_one: ProjectReplay
) -> None:
    first, second = canonical_records.canonical(at_once.context), canonical_records.canonical(one_by_one.context)
    assert canonical_records.differences(first, second) == []
    assert canonical_records.text(first) == canonical_records.text(second)


def test_compared_records_include_all_results_of_the_loop(at_once: ProjectReplay) -> None:
    found = canonical_records.canonical(at_once.context)
    assert {prediction["role"] for prediction in found["predictions"]} == {"champion", "shadow"}
    counts = {name: len(found[name]) for name in ("reports", "decisions", "verdicts", "datasets", "published")}
    stages = 2 * WINDOWS - 1
    # drift and health do not depend on labels: when these arrive, only the performance report is made again
    assert counts["reports"] == 3 * WINDOWS + (WINDOWS - 1)
    assert counts["decisions"] == stages
    assert (counts["verdicts"], counts["datasets"]) == (3, 2)
    assert "run_id" not in canonical_records.text(found)


def test_replay_stops_at_each_end_of_a_window_and_each_due_time_of_labels(at_once: ProjectReplay) -> None:
    reported = {(fact.window, fact.stage): fact.at for fact in performances(at_once)}
    for number, window in enumerate(at_once.windows(0, WINDOWS)):
        assert reported[window.id, "ended"] == window.end
        if number < WINDOWS - 1:
            assert reported[window.id, "labelled"] == window.end + HALF


def performances(play: ProjectReplay) -> list[Reported]:
    return [fact for fact in play.view.of(Reported) if fact.report == "performance"]


def test_report_is_pending_until_labels_are_due(at_once: ProjectReplay) -> None:
    for number in range(WINDOWS):
        pending = at_once.performance(number, "ended")
        assert pending.pending
        assert pending.served is None
        assert pending.labels_at == at_once.window(number).end + HALF
    for number in range(WINDOWS - 1):
        assert not at_once.performance(number, "labelled").pending
        assert at_once.performance(number, "labelled").served is not None


def test_decisions_of_both_stages_are_kept(at_once: ProjectReplay) -> None:
    for number in range(WINDOWS - 1):
        ended, labelled = at_once.decision(number, "ended"), at_once.decision(number, "labelled")
        assert ended.id != labelled.id
        assert labelled.at - ended.at == HALF


def test_late_labels_sensor_launches_the_second_stage(at_once: ProjectReplay) -> None:
    keys = at_once.harness.run_keys
    for window in at_once.windows(0, WINDOWS - 1):
        assert f"late:observe:ended:{window.id}:{window.id}:1" in keys
        assert f"late:observe:labelled:{window.id}:{window.id}:1" in keys
    # and once more: the labels of the last day before the start of the clock arrived half a day after the start
    assert f"late:observe:labelled:{at_once.window(-1).id}:{at_once.window(-1).id}:1" in keys
    assert at_once.launched("observe") == 2 * WINDOWS


def test_drift_triggers_a_retraining_before_labels_arrive(at_once: ProjectReplay) -> None:
    decision = at_once.decision(0, "ended")
    assert decision.outcome == "RETRAIN"
    assert [item.signal for item in decision.evidence] == ["drift:prediction:wasserstein"]


def test_too_few_unseen_rows_lead_to_hold_before_automl_runs(at_once: ProjectReplay) -> None:
    held = at_once.view.verdicts[1]
    assert (held.verdict, held.version, held.by) == ("HOLD", None, "policy")
    assert "Too few unseen labelled rows: 0 of" in held.reasons[0]
    assert held.as_of == at_once.window(0).end
    # no version was trained, and the run succeeded
    assert sorted(at_once.view.versions) == [1, 2]
    assert all(success for _, success in at_once.harness.runs)


def test_hold_clears_its_triggers_and_starts_the_cooldown(at_once: ProjectReplay) -> None:
    held = at_once.view.verdicts[1]
    assert at_once.view.is_closed(at_once.decision(0, "ended").id)
    for number in range(1, 4):
        decision = at_once.decision(number, "ended")
        assert decision.outcome == "WAIT"
        assert [guard.name for guard in decision.guards if not guard.passed] == ["cooldown"]
        assert decision.evidence[0].window == at_once.window(1).id
        assert "held back by the cooldown" in decision.reason
    assert at_once.decision(4, "ended").at == held.as_of + at_once.context.spec.retraining.cooldown
    assert at_once.decision(4, "ended").outcome == "RETRAIN"


def test_retraining_after_the_cooldown_is_promoted(at_once: ProjectReplay) -> None:
    verdict = at_once.view.verdicts[2]
    assert (verdict.verdict, verdict.version, verdict.champion) == ("PROMOTE", 2, 1)
    assert verdict.as_of == at_once.window(4).end
    assert [period.version for period in at_once.view.deployment_periods] == [1, 2]


def test_fit_uses_only_labels_known_when_its_first_event_was_due(at_once: ProjectReplay) -> None:
    context, as_of = at_once.context, at_once.view.verdicts[2].as_of
    rows = context.snapshots.read(context.snapshots.find(at_once.view.versions[2].dataset_tag))
    assert rows["event_time"].max() <= as_of - HALF - simulated_projects.HOUR
