"""A source with an invalid value and an absent row, both corrected later, and with a past value that changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import canonical_records
import dagster as dg
import pandas as pd
import pytest
import simulated_projects
from project_replays import ProjectReplay, resumed_replay

from mlops_assets.acquisition.snapshot import training_rows
from mlops_assets.ledger.facts import WindowPublished
from mlops_assets.ledger.view import LedgerView
from mlops_assets.monitoring.observation import Observation
from mlops_assets.timeline import event_id

BAD, GAP, CHANGED = (
    simulated_projects.at(1) + 5 * simulated_projects.HOUR,
    simulated_projects.at(2) + 7 * simulated_projects.HOUR,
    simulated_projects.at(0) + 3 * simulated_projects.HOUR,
)
pytestmark = [pytest.mark.xdist_group("seeded"), pytest.mark.timeout(900)]


class FaultyReplay:
    """The replay, and the ledger view after each of its steps."""

    def __init__(self, play: ProjectReplay) -> None:
        self.play = play
        self.quarantined: LedgerView
        self.tried_again: LedgerView
        self.repaired: LedgerView
        self.corrected: LedgerView
        self.first_reports: dict[str, Any] = {}

    @property
    def window(self) -> str:
        """The window with the invalid value."""
        return self.play.window(1).id


@pytest.fixture(scope="module")
def faulty(trained: Path) -> Iterator[FaultyReplay]:
    bad, absent = simulated_projects.changed(BAD, x=1000.0), simulated_projects.without(GAP)
    quiet = simulated_projects.simulated_project("seeded", retraining=simulated_projects.quiet())
    with resumed_replay(quiet, trained, trained.with_name("faulty")) as play:
        found = FaultyReplay(play)
        simulated_projects.EDITS["seeded"] = [bad, absent]
        play.harness.advance(windows=2)
        found.quarantined = play.view
        play.harness.advance(windows=1)
        found.tried_again = play.view
        simulated_projects.EDITS["seeded"] = [absent]
        play.harness.advance(windows=2)
        found.repaired = play.view
        found.first_reports = summaries(play, 0)
        simulated_projects.EDITS["seeded"] = [simulated_projects.changed(CHANGED, x=2.0, y=50.0)]
        for number in (0, 2):
            play.run("observe", partition_key=play.context.key(play.window(number)))
        found.corrected = play.view
        yield found


def summaries(play: ProjectReplay, number: int) -> dict[str, Any]:
    """Make the reports of a window again, and return them."""
    observation = Observation(play.context, play.window(number))
    return {"drift": observation.drift().summary, "performance": observation.performance().summary}


def check(play: ProjectReplay, asset: str, name: str) -> list[dg.AssetCheckEvaluation]:
    """Return all evaluations of a check, oldest first."""
    key = dg.AssetCheckKey(dg.AssetKey(["seeded", asset]), name)
    storage = play.harness.instance.event_log_storage
    found = storage.get_asset_check_execution_history(key, limit=100)
    events = [record.event.dagster_event for record in reversed(found) if record.event is not None]
    data = [event.event_specific_data for event in events if event is not None]
    # a check whose asset was not materialized stays planned
    return [evaluation for evaluation in data if isinstance(evaluation, dg.AssetCheckEvaluation)]


def of_window(facts: canonical_records.Records, kind: str, window: str) -> list[dict[str, Any]]:
    return [fact for fact in facts[kind] if fact["window"] == window]


# Quarantine


def test_window_with_an_invalid_value_is_quarantined_with_the_reason(faulty: FaultyReplay) -> None:
    fact = faulty.quarantined.quarantined[faulty.window]
    assert fact.table == "raw_data"
    assert "x must be <= 100: 1 of 24 rows are not" in fact.reasons[0]
    assert faulty.window not in faulty.quarantined.published


def test_check_shows_the_failing_rows(faulty: FaultyReplay) -> None:
    failed = [evaluation for evaluation in check(faulty.play, "raw_data", "schema") if not evaluation.passed]
    assert len(failed) == 2
    (row,) = [record.data for record in failed[0].metadata["failing rows"].value.records]
    assert (row["column"], row["value"], row["check"]) == ("x", "1000.0", "<= 100")
    assert pd.Timestamp(str(row["event_time"])) == BAD


def test_quarantined_window_is_in_no_labels_reports_or_training(faulty: FaultyReplay) -> None:
    history = faulty.tried_again
    assert faulty.window not in history.labelled
    for report in ("drift", "performance", "health"):
        assert history.newest_report(report, faulty.window) is None
    assert history.decision_for(faulty.window, "labelled") is None
    inputs = history.newest_report("performance", faulty.play.window(2).id).inputs
    assert faulty.window not in inputs
    assert faulty.play.window(0).id in inputs


def test_other_windows_are_processed_and_the_replay_ends(faulty: FaultyReplay) -> None:
    history = faulty.tried_again
    for number in (0, 2):
        window = faulty.play.window(number).id
        assert {window} <= set(history.published) & set(history.labelled)
        assert history.decision_for(window, "labelled") is not None


def test_quarantined_window_is_read_again_once_per_window_length(faulty: FaultyReplay) -> None:
    kinds = [fact for fact in faulty.repaired.facts if getattr(fact, "window", None) == faulty.window]
    read = [(fact.kind, fact.at) for fact in kinds if fact.kind in ("quarantined", "published")]
    assert read == [
        ("quarantined", simulated_projects.at(2)),
        ("quarantined", simulated_projects.at(3)),
        ("published", simulated_projects.at(4)),
    ]


def test_corrected_window_is_published_and_labelled_as_repaired(faulty: FaultyReplay) -> None:
    assert faulty.repaired.published[faulty.window].repaired
    assert faulty.window in faulty.repaired.labelled
    assert faulty.repaired.quarantined == {}


def test_repaired_window_has_reports_marked_repaired_and_no_decision(faulty: FaultyReplay) -> None:
    for report in ("drift", "performance", "health"):
        found = faulty.repaired.report(report, faulty.window, "labelled")
        assert found is not None
        assert found.repaired
    assert faulty.repaired.decision_for(faulty.window, "labelled") is None


def test_only_later_reports_include_a_repaired_window(faulty: FaultyReplay) -> None:
    def inputs(number: int) -> dict[str, str]:
        report = faulty.repaired.newest_report("performance", faulty.play.window(number).id)
        assert report is not None
        return report.inputs

    assert faulty.window not in inputs(2)
    assert faulty.window in inputs(4)


def test_gap_in_the_grid_is_reported(faulty: FaultyReplay) -> None:
    window = faulty.play.window(2).id
    assert faulty.tried_again.published[window].gaps == 1
    assert faulty.tried_again.published[window].rows == 23
    shown = [e.metadata["missing rows"].value for e in check(faulty.play, "raw_data", "gaps") if not e.passed]
    assert any(window in str(text) for text in shown)


# Events


def test_event_with_an_invalid_row_at_its_due_time_is_missed_with_the_reason(faulty: FaultyReplay) -> None:
    identity = event_id("seeded", None, BAD)
    for history in (faulty.quarantined, faulty.corrected):
        missed = history.missed[identity]
        assert missed.reason == "its row is invalid: x must be <= 100, not 1000.0"
        assert missed.due == BAD - simulated_projects.HOUR
    assert faulty.play.context.telemetry.predicted_ids([identity]) == set()


def test_later_repair_changes_training_data_only(faulty: FaultyReplay) -> None:
    project_context = faulty.play.context
    versions = [project_context.lake.published("seeded", table) for table in ("raw_data", "labels")]
    rows = training_rows(project_context.lake, project_context.timeline, project_context.now(), *versions).set_index(
        "event_time"
    )
    assert abs(rows["x"][pd.Timestamp(BAD)]) < 10
    predictions = project_context.telemetry.predictions("seeded", simulated_projects.at(1), simulated_projects.at(2))
    assert pd.Timestamp(BAD) not in set(predictions["event_time"])


def test_event_without_a_row_at_its_due_time_is_missed(faulty: FaultyReplay) -> None:
    identity = event_id("seeded", None, GAP)
    assert identity not in faulty.repaired.missed
    assert "its row was absent from the source" in faulty.corrected.missed[identity].reason
    assert faulty.play.context.telemetry.predicted_ids([identity]) == set()


def test_invalid_past_value_is_null_in_later_inputs(faulty: FaultyReplay) -> None:
    """The absent row is a missing past value in the inputs of the next day."""
    predictions = faulty.play.context.telemetry.predictions("seeded", GAP, GAP + simulated_projects.DAY)
    after = predictions[predictions["event_time"] > GAP + 2 * simulated_projects.HOUR]
    assert len(after) > 20
    assert {sum(value is None for value in inputs["y"]) for inputs in after["inputs"]} == {1}


def test_due_events_are_predicted_or_missed(faulty: FaultyReplay) -> None:
    health = [faulty.play.health(number) for number in range(5)]
    predictions = faulty.play.context.telemetry.predictions(
        "seeded", simulated_projects.at(0), simulated_projects.at(5)
    )
    # the first hour was due before the training; every other hour is an event
    assert len(predictions) + len(faulty.corrected.missed) == 5 * 24 - 1
    assert [found.missed for found in health] == [0, 1, 0, 0, 0]
    assert health[1].availability == pytest.approx(23 / 24)


def test_each_request_counts_in_one_window(faulty: FaultyReplay) -> None:
    """This includes a request at the time at which one window ends and the next begins."""
    log = faulty.play.context.telemetry.requests(simulated_projects.at(0), simulated_projects.at(5))
    assert {simulated_projects.at(number) for number in range(1, 5)} <= set(log["now"])
    not_shadow = log[log["role"] != "shadow"]
    assert sum(faulty.play.health(number).requests for number in range(5)) == len(not_shadow)


# Corrections


def test_changed_source_rows_are_a_correction_with_a_new_data_version(faulty: FaultyReplay) -> None:
    window = faulty.play.window(0).id
    first, second = [f for f in faulty.corrected.of(WindowPublished) if f.window == window]
    assert (first.correction, second.correction) == (False, True)
    assert first.data_version != second.data_version
    assert faulty.corrected.labelled[window].data_version != faulty.repaired.labelled[window].data_version


def test_correction_changes_no_model_and_no_decision(faulty: FaultyReplay) -> None:
    before, after = faulty.repaired, faulty.corrected
    assert after.versions == before.versions
    assert after.deployment_periods == before.deployment_periods
    assert after.verdicts == before.verdicts
    assert after.decisions == before.decisions


def test_old_report_made_again_has_the_same_summary(faulty: FaultyReplay) -> None:
    again = summaries(faulty.play, 0)
    assert again == faulty.first_reports
    window = faulty.play.window(0).id
    for report, summary in again.items():
        recorded = faulty.repaired.report(report, window, "labelled")
        assert recorded is not None
        assert recorded.typed == summary
        assert faulty.corrected.report(report, window, "labelled") == recorded


def test_old_window_made_again_adds_no_prediction(faulty: FaultyReplay) -> None:
    predictions = faulty.play.context.telemetry.predictions(
        "seeded", simulated_projects.at(0), simulated_projects.at(5)
    )
    assert predictions["event_id"].is_unique
