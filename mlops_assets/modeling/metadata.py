"""The modeling assets' metadata: numbers, tables and pictures for the UI."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pandas as pd

from mlops_assets.charts.model import leaderboard, variable_importance
from mlops_assets.charts.performance import loss_comparison
from mlops_assets.charts.predictions import predictions_against_labels
from mlops_assets.context import ProjectContext
from mlops_assets.evaluation.evaluator import Evaluation
from mlops_assets.ledger.facts import VersionTrained
from mlops_assets.modeling.candidate import Candidate
from mlops_assets.modeling.training_session import TrainingSession
from mlops_assets.modeling.training_set import TrainingSetFacts
from mlops_assets.prediction.features import FeatureDefinitions
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import iso
from mlops_assets.ui_metadata import picture, table


def definitions(found: FeatureDefinitions) -> dict[str, Any]:
    """Which features exist, what each costs, and what the budget cost in loss."""
    history = found.names[len(found.known) :]
    rows = [
        {
            "feature": name,
            "p value": f"{found.p_values.get(name, float('nan')):.2g}",
            "microseconds": found.costs.get(name, 0.0),
        }
        for name in history
    ]
    metadata: dict[str, Any] = {
        "features": len(found.names),
        "history features": len(history),
        "microseconds per answer": float(sum(found.costs.values())),
        "rejected for cost": len(found.rejected_for_cost),
    }
    if rows:
        metadata["selected"] = table(rows)
    if found.budget_loss is not None:
        metadata["loss within budget"] = found.budget_loss.within
        metadata["loss without budget"] = found.budget_loss.without
        metadata["measured by"] = found.budget_loss.measure
    return metadata


def training_set(facts: TrainingSetFacts, session: TrainingSession) -> dict[str, Any]:
    """How many rows may be seen, and how many judge."""
    split = session.training_data.split
    return {
        "rows": int(split.usable.sum()),
        "rows before the hold-out": int(split.search.sum()),
        "unseen rows": split.rows,
        "rows without a whole history window": int((~split.usable).sum()),
        "features": len(facts.definitions.names),
        "dataset": facts.dataset,
        "inputs of the hold-out": "recorded with the answers" if facts.recorded else "published, as known when due",
    }


def candidate(
    spec: ProjectSpec, version: VersionTrained, found: Candidate, project_context: ProjectContext
) -> dict[str, Any]:
    """The version, its recipe, what AutoML tried, what the model looks at."""
    metric = spec.problem.metric
    return {
        "model version": version.version,
        "hold-out loss": version.holdout_loss,
        "algorithm": found.recipe.algorithm,
        "models tried": found.models,
        "rows": version.rows,
        "as of": iso(version.as_of),
        "trained through": iso(version.trained_through),
        "dataset": version.dataset,
        "dataset tag": version.dataset_tag,
        "decision": version.decision or "none",
        "MLflow run": version.mlflow_run,
        "recipe": dg.MetadataValue.json(found.recipe.model_dump(mode="json")),
        "leaderboard": picture(leaderboard(found.leaderboard, metric=metric), "leaderboard"),
        "variable importance": picture(variable_importance(found.importance), "variable importance"),
    }


def evaluation(spec: ProjectSpec, version: VersionTrained, found: Evaluation, shown: pd.DataFrame) -> dict[str, Any]:
    """Who lost how much on the unseen rows."""
    sides = {"candidate": found.candidate_loss, "champion": found.champion_loss, "baseline": found.baseline_loss}
    losses = {name: value for name, value in sides.items() if value is not None}
    metric = spec.problem.metric
    metadata: dict[str, Any] = {
        "model version": version.version,
        **{f"{name} loss": value for name, value in losses.items()},
        "gain": found.gain,
        "unseen rows": found.rows,
        "recomputed rows": found.recomputed,
        "would be": found.verdict,
        "reasons": " ".join(found.reasons),
        "losses": picture(loss_comparison(losses, metric=metric, interval=found.interval), "losses"),
        "forecast": picture(
            predictions_against_labels(shown, unit=spec.problem.target, zone=spec.data.time_zone),
            "forecast and truth",
        ),
    }
    if found.one_fit_loss is not None:
        metadata["loss of one fit"] = found.one_fit_loss
    if found.interval is not None:
        metadata["interval"] = f"{found.interval[0]:.4g} to {found.interval[1]:.4g}"
    return metadata
