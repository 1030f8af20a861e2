"""A project of several series: `a` and `b` from the start, `late` from the second window after the training."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import simulated_projects
from project_replays import ProjectReplay, bootstrapped_replay

from mlops_assets.evaluation.training_data import prepare_training_data
from mlops_assets.timeline import event_id

WINDOWS = 3
LEVELS = {"a": 10, "b": 110, "late": 210}
"""Levels of the series. They are far apart, so that a value shows its series."""
pytestmark = [pytest.mark.xdist_group("entities"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectReplay]:
    options = {"entities": list(LEVELS), "newcomers": {"late": simulated_projects.at(1).isoformat()}}
    spec = simulated_projects.simulated_project(
        "several", options, data={"entity": "place"}, retraining=simulated_projects.quiet()
    )
    with bootstrapped_replay(spec, tmp_path_factory.mktemp("several")) as play:
        play.advance(windows=WINDOWS)
        yield play


@pytest.fixture(scope="module")
def answers(several: ProjectReplay) -> pd.DataFrame:
    return several.context.telemetry.predictions("several", simulated_projects.at(0), simulated_projects.at(WINDOWS))


def test_each_series_has_its_own_events(answers: pd.DataFrame) -> None:
    # the first hour of `a` and `b` was due before the training
    assert answers.groupby("entity").size().to_dict() == {"a": 71, "b": 71, "late": 48}
    expected = [
        event_id("several", row["entity"], row["event_time"].to_pydatetime()) for row in answers.to_dict("records")
    ]
    assert list(answers["event_id"]) == expected
    assert answers["event_id"].is_unique


def test_past_values_come_from_the_same_series(answers: pd.DataFrame) -> None:
    for row in answers.to_dict("records"):
        past = np.array(row["inputs"]["y"], dtype=np.float64)
        known = past[~np.isnan(past)]
        assert (np.abs(known - LEVELS[row["entity"]]) < 50).all()
    old = answers[answers["entity"] != "late"]
    assert not old["inputs"].map(lambda inputs: None in inputs["y"]).any()


def test_each_series_is_predicted_at_its_own_level(answers: pd.DataFrame) -> None:
    for name in ("a", "b"):
        predicted = answers.loc[answers["entity"] == name, "prediction"].astype(float)
        assert abs(predicted.mean() - LEVELS[name]) < 10


def test_prediction_for_a_series_unknown_to_training_is_marked(answers: pd.DataFrame) -> None:
    marked = answers.groupby("entity")["entity_known"].agg(["min", "max"])
    assert marked.loc["a"].tolist() == marked.loc["b"].tolist() == [True, True]
    assert marked.loc["late"].tolist() == [False, False]


def test_series_unknown_to_training_is_predicted_without_past_values(answers: pd.DataFrame) -> None:
    late = answers[answers["entity"] == "late"]
    summed_up = [name for name in late["features"].iloc[0] if name.startswith("y__")]
    assert summed_up
    # the same inputs as for its first event, although the series has past values meanwhile
    first, last = late["features"].iloc[0], late["features"].iloc[-1]
    assert set(late["inputs"].iloc[0]["y"]) == {None}
    assert None not in late["inputs"].iloc[-1]["y"][-24:]
    for name in summed_up:
        assert first[name] == last[name] or (np.isnan(first[name]) and np.isnan(last[name]))


def test_splits_cut_all_series_at_the_same_time(several: ProjectReplay) -> None:
    context = several.context
    dataset = context.snapshots.read(context.snapshots.find(several.view.versions[1].dataset_tag))
    training_data = prepare_training_data(context.timeline, dataset, None)
    assert training_data.schema.entities == ["a", "b"]
    newest_seen = training_data.times[training_data.split.search].max()
    first_unseen = training_data.times[training_data.split.holdout].min()
    assert newest_seen + simulated_projects.HOUR <= first_unseen - context.timeline.horizon
    for mask in (training_data.split.search, training_data.split.holdout):
        halves = dataset.loc[mask].groupby("entity")["event_time"].agg(["min", "max", "size"])
        assert halves.loc["a"].tolist() == halves.loc["b"].tolist()
    assert training_data.split.rows == 2 * 48 == several.view.verdicts[0].rows


def test_reports_count_the_events_of_all_series(several: ProjectReplay) -> None:
    assert [several.performance(number).rows for number in range(WINDOWS)] == [46, 72, 72]
    assert [several.decision(number).outcome for number in range(WINDOWS)] == ["WAIT"] * WINDOWS
