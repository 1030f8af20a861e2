"""Metadata of the modeling assets: numbers, tables and charts for the UI."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pandas as pd

from mlops_assets.charts.model import leaderboard, variable_importance
from mlops_assets.charts.performance import loss_comparison
from mlops_assets.charts.predictions import predictions_against_labels
from mlops_assets.evaluation.evaluator import Evaluation
from mlops_assets.ledger.facts import VersionTrained
from mlops_assets.modeling.candidate import Candidate
from mlops_assets.modeling.training_session import TrainingSession
from mlops_assets.modeling.training_set import TrainingSetFacts
from mlops_assets.prediction.features import FeatureDefinitions
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import iso
from mlops_assets.ui_metadata import loss_key, picture, rounded, table


def definitions(selected: FeatureDefinitions) -> dict[str, Any]:
    """Return the number of features, relevance and computing time of each, and what the cost budget changes."""
    computed = selected.names[len(selected.known) :]
    rows = [
        {
            "feature": name,
            "p-value": f"{selected.p_values.get(name, float('nan')):.2g}",
            "microseconds": selected.costs.get(name, 0.0),
        }
        for name in computed
    ]
    metadata: dict[str, Any] = {
        "features": len(selected.names),
        "of these, from past values": len(computed),
        "computing time per prediction (µs)": rounded(sum(selected.costs.values())),
        "relevant, but too slow for the budget": len(selected.rejected_for_cost),
    }
    if rows:
        metadata["features from past values"] = table(rows)
    if selected.budget_loss is not None:
        metadata["loss within the budget"] = rounded(selected.budget_loss.within)
        metadata["loss without a budget"] = rounded(selected.budget_loss.without)
        metadata["loss measured by"] = selected.budget_loss.measure
    return metadata


def training_set(facts: TrainingSetFacts, session: TrainingSession) -> dict[str, Any]:
    """Return how many rows are used for what, and where the hold-out's inputs come from."""
    split = session.training_data.split
    return {
        "labelled rows": int(split.usable.sum()),
        "rows before the hold-out": int(split.search.sum()),
        "rows in the hold-out": split.rows,
        "rows left out (no whole feature window)": int((~split.usable).sum()),
        "features": len(facts.definitions.names),
        "dataset": facts.dataset,
        "inputs of the hold-out": "logged with the predictions"
        if facts.recorded
        else "published data as known when due",
    }


def candidate(spec: ProjectSpec, version: VersionTrained, trained: Candidate) -> dict[str, Any]:
    """Return the version, its data and recipe, the models that AutoML tried, and the variable importance."""
    problem = spec.problem
    return {
        "model version": version.version,
        loss_key("hold-out loss", problem.metric, problem.target): rounded(version.holdout_loss),
        "algorithm": trained.recipe.algorithm,
        "models tried": trained.models,
        "labelled rows": version.rows,
        "as of": iso(version.as_of),
        "trained through": iso(version.trained_through),
        "dataset": version.dataset,
        "dataset tag": version.dataset_tag,
        "decision": version.decision or "none",
        "MLflow run": version.mlflow_run,
        "recipe": dg.MetadataValue.json(trained.recipe.model_dump(mode="json")),
        "leaderboard": picture(leaderboard(trained.leaderboard, metric=problem.metric), "leaderboard"),
        "variable importance": picture(variable_importance(trained.importance), "variable importance"),
    }


def evaluation(spec: ProjectSpec, version: VersionTrained, found: Evaluation, shown: pd.DataFrame) -> dict[str, Any]:
    """Return the losses on the hold-out, the gain, the expected verdict with its reasons, and charts."""
    metric, target = spec.problem.metric, spec.problem.target
    by_role = {"candidate": found.candidate_loss, "champion": found.champion_loss, "baseline": found.baseline_loss}
    losses = {role: loss for role, loss in by_role.items() if loss is not None}
    metadata: dict[str, Any] = {
        "model version": version.version,
        **{loss_key(f"{role} loss", metric, target): rounded(loss) for role, loss in losses.items()},
        "loss lower by (%)": rounded(100 * found.gain, 3),
        "rows compared": found.rows,
        "champion's predictions recomputed": found.recomputed,
        "verdict before the gate": found.verdict,
        "reasons": " ".join(found.reasons),
        "losses": picture(loss_comparison(losses, metric=metric, interval=found.interval), "losses"),
        "predictions": picture(
            predictions_against_labels(shown, unit=target, zone=spec.data.time_zone), "predictions and labels"
        ),
    }
    if found.one_fit_loss is not None:
        metadata[loss_key("candidate loss, fitted once", metric, target)] = rounded(found.one_fit_loss)
    if found.interval is not None:
        low, high = found.interval
        other = "baseline" if found.champion_loss is None else "champion"
        metadata[f"95 % interval of {other} loss - candidate loss"] = f"{low:.3g} to {high:.3g}"
    return metadata
