"""Materialized by hand, in any order, as people do in the UI."""

from __future__ import annotations

from pathlib import Path

import pytest
from tide import RUN, States, at_sea, by_hand, failures, retrain, succeeded

from mlops_assets.retraining.records import Judged, PromotionStep


def test_a_candidate_by_hand_is_never_served_and_consumes_nothing(states: States, tmp_path: Path) -> None:
    # Version 1 was trained on the newest snapshot there is: no row is unseen, and none is needed.
    with at_sea(states.copy("asked", tmp_path / "home")) as harness:
        waiting = harness.desk.history().open_retrain
        succeeded(by_hand(harness, "candidate_model"))
        history, registry = harness.desk.history(), harness.desk.registry

        (ended,) = [fact for fact in history.ended if fact.by == "hand"]
        assert (ended.outcome, ended.consumes, ended.decision) == ("TRAINED", False, None)
        assert registry.alias("challenger") == 2 and registry.alias("champion") == 1
        assert harness.desk.endpoint.serving() == 1 and len(history.of(PromotionStep)) == 2
        assert history.open_retrain == waiting and history.cooldown_from is None
        assert not [fact for fact in history.verdicts if fact.version == 2]


def test_evaluation_and_champion_by_hand_take_the_challenger_through_the_whole_gate(
    states: States, tmp_path: Path
) -> None:
    with at_sea(states.copy("judged", tmp_path / "home")) as harness:
        succeeded(by_hand(harness, "evaluation"))
        succeeded(by_hand(harness, "champion"))
        history, desk = harness.desk.history(), harness.desk

        verdict = history.of(Judged)[-1]
        assert (verdict.by, verdict.verdict, verdict.version, verdict.champion) == ("hand", "PROMOTE", 2, 1)
        assert verdict.rows == 48 and verdict.interval is not None
        assert (history.reigns[-1].cause, history.reigns[-1].version) == ("hand", 2)
        assert desk.endpoint.serving() == 2 and desk.registry.alias("champion") == 2
        assert history.cooldown_from == desk.now() and history.consuming[-1].by == "hand"


def test_a_version_named_in_the_config_is_the_one_that_is_judged(states: States, tmp_path: Path) -> None:
    with at_sea(states.copy("judged", tmp_path / "home"), serving=False) as harness:
        config = {"ops": {"tide__evaluation": {"config": {"version": 7}}}}
        found = by_hand(harness, "evaluation", run_config=config)

        assert not found.success
        assert "asked for version 7, the ledger knows [1, 2] -> materialize candidate_model first" in failures(found)


def test_a_judgement_against_a_champion_that_no_longer_reigns_is_refused(states: States, tmp_path: Path) -> None:
    with at_sea(states.copy("judged", tmp_path / "home")) as harness:
        succeeded(retrain(harness, ["champion", "endpoint"]))
        before = len(harness.desk.history().facts)
        again = by_hand(harness, "champion")

        assert not again.success
        assert "version 2: it was judged against version 1, serving now is 2" in failures(again)
        assert len(harness.desk.history().facts) == before


def test_the_champion_is_no_candidate_against_itself(states: States, tmp_path: Path) -> None:
    with at_sea(states.copy("judged", tmp_path / "home")) as harness:
        succeeded(retrain(harness, ["champion", "endpoint"]))
        succeeded(by_hand(harness, "dataset", "feature_definitions", "training_set"))
        config = {"ops": {"tide__evaluation": {"config": {"version": 2}}}}
        found = by_hand(harness, "evaluation", run_config=config)

        assert not found.success and "version 2" in failures(found)


def test_a_dataset_by_hand_is_no_training(states: States, tmp_path: Path) -> None:
    with at_sea(states.copy("asked", tmp_path / "home"), serving=False) as harness:
        before = len(harness.desk.history().facts)
        succeeded(by_hand(harness, "dataset"))

        assert len(harness.desk.history().facts) == before
        assert harness.desk.history().open_retrain is not None


@pytest.mark.parametrize("asset", ["evaluation", "champion"])
def test_by_hand_with_the_run_of_a_retraining_is_that_retrainings(asset: str, states: States, tmp_path: Path) -> None:
    """A run that is executed again from a failed step keeps its ticket."""
    with at_sea(states.copy("judged", tmp_path / "home")) as harness:
        assets = ["evaluation", "champion"] if asset == "evaluation" else ["champion"]
        succeeded(retrain(harness, assets))

        assert [v.by for v in harness.desk.history().verdicts if v.run_id == RUN] == ["policy"]
