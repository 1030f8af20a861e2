"""A project that nobody can foretell is told so before AutoML is paid for; a person may insist, which is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tide import at_sea, failures, succeeded

from mlops_assets.retraining.records import Feasible, Judged, PromotionStep, VersionTrained
from resources import h2o

NOISE: dict[str, Any] = {
    "data": {"options": {"lost": True}},
    "problem": {"success": {"better_than_baseline_by": 0.9}},
}
"""The mean of noise is better than yesterday's noise, but not ten times."""


@pytest.fixture
def no_jvm(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The projects that a JVM was started for."""
    started: list[str] = []
    command = h2o._JVM._command

    def counted(self: h2o._JVM) -> list[str]:
        started.append(self.project)
        return command(self)

    monkeypatch.setattr(h2o._JVM, "_command", counted)
    return started


def test_an_infeasible_project_is_told_so_before_any_automl_is_paid_for(tmp_path: Path, no_jvm: list[str]) -> None:
    with at_sea(tmp_path, **NOISE) as harness:
        found = harness.bootstrap()
        history = harness.desk.history()

        assert not found.success and no_jvm == []
        (check,) = [c for c in found.get_asset_check_evaluations() if c.check_name == "feasible"]
        assert not check.passed and "Not better by the margin" in str(check.metadata["reason"].value)
        (fact,) = history.of(Feasible)
        assert (fact.feasible, fact.forced) == (False, False)
        assert fact.model_loss > 0.1 * fact.baseline_loss
        assert history.of(VersionTrained) == [] and history.reign is None
        assert harness.desk.endpoint.url is None


def test_an_infeasible_project_can_be_forced_step_by_step_and_that_is_recorded(
    tmp_path: Path, no_jvm: list[str]
) -> None:
    with at_sea(tmp_path, **NOISE) as harness:
        # Forced past the PoC only: the gate asks for the same success, and nothing is served.
        insisted = {"ops": {"tide__feasibility": {"config": {"force": True}}}}
        succeeded(harness.run("bootstrap", run_config=insisted))
        history = harness.desk.history()
        assert [(fact.feasible, fact.forced) for fact in history.of(Feasible)] == [(False, True)]
        assert [(v.verdict, v.forced, v.champion) for v in history.of(Judged)] == [("HOLD", False, None)]
        assert history.of(PromotionStep) == [] and harness.desk.registry.alias("champion") is None
        assert harness.desk.endpoint.serving() is None and no_jvm == ["tide"]

        # Forced through the gate too.
        succeeded(harness.bootstrap(force="true"))
        history = harness.desk.history()
        verdict = history.of(Judged)[-1]
        assert (verdict.verdict, verdict.forced) == ("PROMOTE", True) and verdict.reasons[-1] == "forced by a person"
        assert harness.desk.endpoint.serving() == verdict.version == 2


def test_where_nothing_is_left_to_learn_from_the_error_names_the_project_and_what_to_declare(tmp_path: Path) -> None:
    features = {"known": [], "select": {"sample": 60, "most": 4, "fdr": 1e-9}}
    with at_sea(tmp_path, **NOISE, features=features) as harness:
        found = harness.bootstrap(force="true")

        assert not found.success
        assert "[tide] features: no history feature is relevant" in failures(found)
        assert "declare known columns or features.history.lags" in failures(found)


def test_a_project_without_enough_history_says_how_much_is_needed(tmp_path: Path) -> None:
    with at_sea(tmp_path, clock={"type": "replay", "start": "2020-01-04"}) as harness:
        found = harness.bootstrap()

        assert not found.success
        assert "rows to learn from, at least 50 are needed" in failures(found)
        assert harness.desk.history().of(Feasible) == []
