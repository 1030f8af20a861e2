"""Assets of a training that are materialized by hand, in any order, as in the UI."""

from __future__ import annotations

from pathlib import Path

import pytest
from example_project import RUN, States, by_hand, failures, retrain, running_harness, succeeded

from mlops_assets.ledger.facts import GateVerdict, PromotionStep


def test_candidate_by_hand_is_not_served_and_clears_no_trigger(states: States, tmp_path: Path) -> None:
    # Version 1 was trained on the newest snapshot: there are no unseen rows, and none are needed.
    with running_harness(states.copy("retrain_decided", tmp_path / "home")) as harness:
        waiting = harness.context.ledger_view().open_retrain
        succeeded(by_hand(harness, "candidate_model"))
        view, registry = harness.context.ledger_view(), harness.context.registry

        (ended,) = [fact for fact in view.ended_trainings if fact.by == "hand"]
        assert (ended.outcome, ended.consumes, ended.decision) == ("TRAINED", False, None)
        assert registry.alias("challenger") == 2 and registry.alias("champion") == 1
        assert harness.context.endpoint.serving() == 1 and len(view.of(PromotionStep)) == 2
        assert view.open_retrain == waiting and view.cooldown_from is None
        assert not [fact for fact in view.verdicts if fact.version == 2]


def test_evaluation_and_champion_by_hand_promote_the_challenger(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        succeeded(by_hand(harness, "evaluation"))
        succeeded(by_hand(harness, "champion"))
        view, context = harness.context.ledger_view(), harness.context

        verdict = view.of(GateVerdict)[-1]
        assert (verdict.by, verdict.verdict, verdict.version, verdict.champion) == ("hand", "PROMOTE", 2, 1)
        assert verdict.rows == 48 and verdict.interval is not None
        assert (view.deployment_periods[-1].cause, view.deployment_periods[-1].version) == ("hand", 2)
        assert context.endpoint.serving() == 2 and context.registry.alias("champion") == 2
        assert view.cooldown_from == context.now() and view.consuming_trainings[-1].by == "hand"


def test_version_named_in_the_config_is_evaluated(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home"), serving=False) as harness:
        config = {"ops": {"example__evaluation": {"config": {"version": 7}}}}
        found = by_hand(harness, "evaluation", run_config=config)

        assert not found.success
        assert "the ledger has [1, 2] -> materialize candidate_model first" in failures(found)


def test_evaluation_against_a_former_champion_is_refused(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        succeeded(retrain(harness, ["champion", "endpoint"]))
        before = len(harness.context.ledger_view().facts)
        again = by_hand(harness, "champion")

        assert not again.success
        assert "version 2: it was compared with version 1; the champion now is version 2" in failures(again)
        assert len(harness.context.ledger_view().facts) == before


def test_champion_cannot_be_evaluated_as_candidate(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        succeeded(retrain(harness, ["champion", "endpoint"]))
        succeeded(by_hand(harness, "dataset", "feature_definitions", "training_set"))
        config = {"ops": {"example__evaluation": {"config": {"version": 2}}}}
        found = by_hand(harness, "evaluation", run_config=config)

        assert not found.success and "version 2" in failures(found)


def test_dataset_by_hand_is_not_recorded_as_a_training(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home"), serving=False) as harness:
        before = len(harness.context.ledger_view().facts)
        succeeded(by_hand(harness, "dataset"))

        assert len(harness.context.ledger_view().facts) == before
        assert harness.context.ledger_view().open_retrain is not None


@pytest.mark.parametrize("asset", ["evaluation", "champion"])
def test_asset_by_hand_does_not_take_part_in_another_retraining(asset: str, states: States, tmp_path: Path) -> None:
    """A run that is executed again from a failed step keeps its training request."""
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        assets = ["evaluation", "champion"] if asset == "evaluation" else ["champion"]
        succeeded(retrain(harness, assets))

        assert [v.by for v in harness.context.ledger_view().verdicts if v.run_id == RUN] == ["policy"]
