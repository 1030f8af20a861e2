"""An infeasible project stops before AutoML runs. A person may force the training, which is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from example_project import failures, running_harness, succeeded

from mlops_assets.ledger.facts import FeasibilityChecked, GateVerdict, PromotionStep, VersionTrained
from mlops_assets.resources.compute import h2o

NOISE: dict[str, Any] = {
    "data": {"options": {"only_noise": True}},
    "problem": {"success": {"better_than_baseline_by": 0.9}},
}
"""The mean of noise is a better prediction than yesterday's noise, but not ten times better."""


@pytest.fixture
def no_jvm(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of projects for which a JVM was started."""
    started: list[str] = []
    command = h2o._JVM._command

    def counted(self: h2o._JVM) -> list[str]:
        started.append(self.project)
        return command(self)

    monkeypatch.setattr(h2o._JVM, "_command", counted)
    return started


def test_infeasible_project_stops_before_automl_runs(tmp_path: Path, no_jvm: list[str]) -> None:
    with running_harness(tmp_path, **NOISE) as harness:
        found = harness.bootstrap()
        view = harness.context.ledger_view()

        assert not found.success and no_jvm == []
        (check,) = [c for c in found.get_asset_check_evaluations() if c.check_name == "feasible"]
        assert not check.passed and "better is required" in str(check.metadata["reason"].value)
        (fact,) = view.of(FeasibilityChecked)
        assert (fact.feasible, fact.forced) == (False, False)
        assert fact.model_loss > 0.1 * fact.baseline_loss
        assert view.of(VersionTrained) == [] and view.deployment_period is None
        assert harness.context.endpoint.url is None


def test_infeasible_project_can_be_trained_by_hand_and_that_is_recorded(tmp_path: Path, no_jvm: list[str]) -> None:
    with running_harness(tmp_path, **NOISE) as harness:
        # Only the feasibility model is overruled: the gate requires the same success, and nothing is served.
        insisted = {"ops": {"example__feasibility": {"config": {"force": True}}}}
        succeeded(harness.run("bootstrap", run_config=insisted))
        view = harness.context.ledger_view()
        assert [(fact.feasible, fact.forced) for fact in view.of(FeasibilityChecked)] == [(False, True)]
        assert [(v.verdict, v.forced, v.champion) for v in view.of(GateVerdict)] == [("HOLD", False, None)]
        assert view.of(PromotionStep) == [] and harness.context.registry.alias("champion") is None
        assert harness.context.endpoint.serving() is None and no_jvm == ["example"]

        # The gate is overruled too.
        succeeded(harness.bootstrap(force="true"))
        view = harness.context.ledger_view()
        verdict = view.of(GateVerdict)[-1]
        assert (verdict.verdict, verdict.forced) == ("PROMOTE", True) and verdict.reasons[-1] == "forced by a person"
        assert harness.context.endpoint.serving() == verdict.version == 2


def test_error_without_training_rows_names_the_project_and_the_remedy(tmp_path: Path) -> None:
    features = {"known": [], "select": {"sample": 60, "most": 4, "fdr": 1e-9}}
    with running_harness(tmp_path, **NOISE, features=features) as harness:
        found = harness.bootstrap(force="true")

        assert not found.success
        assert "[example] features: no history feature is relevant" in failures(found)
        assert "declare known columns or features.history.lags" in failures(found)


def test_error_without_enough_rows_says_how_many_are_needed(tmp_path: Path) -> None:
    with running_harness(tmp_path, clock={"type": "replay", "start": "2020-01-04"}) as harness:
        found = harness.bootstrap()

        assert not found.success
        assert "rows to learn from, at least 50 are needed" in failures(found)
        assert harness.context.ledger_view().of(FeasibilityChecked) == []
