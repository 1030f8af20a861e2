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

    from mlops_assets.acquisition.start import snap
    from mlops_assets.cli.desks import desk_of
    from mlops_assets.deployment.assets import promoter_of
    from mlops_assets.deployment.gate import pass_gate
    from mlops_assets.modeling.training import TrainingRun
    from mlops_assets.retraining.training import Ticket

    desk = desk_of(project)
    ticket = Ticket(f"{decision}:1", decision, 1, "person", "plain", False)
    bench = desk.workbench("plain")
    snap(desk, bench, ticket)
    run = TrainingRun(desk, bench, ticket)
    run.select()
    run.compute()
    mlflow.set_tracking_uri(desk.registry.uri)
    mlflow.set_experiment(desk.registry.ensure_experiment())
    training = time.monotonic()
    with mlflow.start_run():
        version, _ = run.train("plain")
    trained = time.monotonic()
    judgement, _ = run.evaluate(version)
    champion = run.session.champion
    rival = None if champion is None else champion.version
    outcome = pass_gate(
        promoter_of(desk), desk.history(), ticket, version, judgement, judged_against=rival, now=desk.now()
    )
    served = time.monotonic()
    facts = {"verdict": outcome.verdict.verdict, "total": served - BEGUN, "training": trained - training}
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
