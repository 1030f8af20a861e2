"""The reference of the loop benchmark: the steps of a retraining as a plain script, without Dagster.

    MLOPS_ASSETS_HOME=... python -m benchmarks.plain_retraining PROJECT DECISION

Prints the seconds from its start to the new version serving, and those of the training in it, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

BEGUN = time.monotonic()


def main(project: str, decision: str) -> None:
    """Carry out a recorded decision, step by step."""
    import mlflow

    from mlops_assets.acquisition.training_start import start_training
    from mlops_assets.cli.projects import project_context_of, repository_settings
    from mlops_assets.deployment.gate import pass_gate
    from mlops_assets.evaluation.result import EvaluationResult
    from mlops_assets.modeling.training import TrainingRun
    from mlops_assets.retraining.requests import TrainingRequest

    context = project_context_of(repository_settings(), project)
    training_request = TrainingRequest(f"{decision}:1", decision, 1, "person", "plain", False)
    artifacts = context.run_artifacts("plain")
    start_training(context, artifacts, training_request)
    run = TrainingRun(context, artifacts, training_request)
    run.select_features()
    run.compute_features()
    mlflow.set_tracking_uri(context.registry.uri)
    mlflow.set_experiment(context.registry.ensure_experiment())
    training = time.monotonic()
    with mlflow.start_run():
        version, _ = run.train("plain")
    trained = time.monotonic()
    evaluation, _ = run.evaluate(version)
    champion = run.session.champion
    result = EvaluationResult(
        version=version.version, champion=None if champion is None else champion.version, evaluation=evaluation
    )
    outcome = pass_gate(context, training_request, version, result)
    served = time.monotonic()
    facts = {"verdict": outcome.verdict.verdict, "total": served - BEGUN, "training": trained - training}
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
