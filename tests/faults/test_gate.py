"""Promotions that the gate stops: wrong reference predictions, changed files, an alias moved by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from example_project import RUN, States, by_hand, failures, retrain, running_harness

from mlops_assets.ledger.facts import PromotionStep, TrainingEnded


def change_reference_predictions(bundle: Path) -> None:
    """Change the reference predictions of a version, with valid digests."""
    golden = json.loads((bundle / "golden.json").read_text())
    golden["predictions"][0] += 1.0
    (bundle / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["digests"]["golden.json"] = hashlib.sha256((bundle / "golden.json").read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def truncate_file(bundle: Path) -> None:
    """Change a file of a version without its digest."""
    (bundle / "mojo.zip").write_bytes((bundle / "mojo.zip").read_bytes()[:-100])


@pytest.mark.parametrize("damage", [change_reference_predictions, truncate_file])
def test_version_that_fails_its_reference_predictions_is_rejected(
    damage: Callable[[Path], None], states: States, tmp_path: Path
) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        damage(harness.context.folder / "versions" / "2")
        assert retrain(harness, ["champion", "endpoint"]).success
        view, context = harness.context.ledger_view(), harness.context

        assert [(v.version, v.verdict) for v in view.verdicts if v.run_id == RUN] == [(2, "REJECT")]
        assert [step.version for step in view.of(PromotionStep)] == [1, 1]
        status = context.endpoint.status()
        assert (
            status is not None
            and status.champion is not None
            and status.champion.version == 1
            and status.standby is None
        )
        assert context.registry.alias("champion") == 1
        # The training was evaluated: its triggers are cleared and the cooldown has begun.
        assert view.open_retrain is None and view.cooldown_from == context.now()


def test_alias_moved_by_hand_stops_the_promotion_before_any_change(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        harness.context.registry.delete_alias("champion")
        found = retrain(harness, ["champion", "endpoint"])
        view = harness.context.ledger_view()

        assert not found.success
        assert "it points to version None, but the champion in the ledger is version 1" in failures(found)
        assert view.open_promotion is None and len(view.of(PromotionStep)) == 2
        assert harness.context.endpoint.serving() == 1
        assert [end.outcome for end in view.ended_trainings if end.run_id == RUN] == ["FAILED"]

        harness.context.registry.set_alias("champion", 1)
        assert by_hand(harness, "champion").success
        assert harness.context.endpoint.serving() == 2


def test_evaluation_by_hand_killed_after_its_verdict_starts_the_cooldown(
    states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crash import kill_after

    from mlops_assets.resources.scoring.endpoint_process import EndpointProcess

    with running_harness(states.copy("evaluated", tmp_path / "home")) as harness:
        with kill_after(monkeypatch, EndpointProcess, "switch"):
            assert not by_hand(harness, "champion").success
        assert by_hand(harness, "endpoint").success
        view = harness.context.ledger_view()

        assert [(period.version, period.cause) for period in view.deployment_periods] == [(1, "bootstrap"), (2, "hand")]
        ends = [end for end in view.of(TrainingEnded) if end.by == "hand"]
        assert [(end.outcome, end.consumes) for end in ends] == [("JUDGED", True)]
        assert view.cooldown_from == harness.context.now()
