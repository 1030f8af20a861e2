"""Modeling: `feature_definitions`, `training_set`, `candidate_model`, `evaluation`."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.context import ProjectContext
from mlops_assets.errors import NotReady
from mlops_assets.ledger.facts import VersionTrained
from mlops_assets.modeling import metadata
from mlops_assets.modeling.training import TrainingRun
from mlops_assets.resources.mlflow_run import mlflow_run
from mlops_assets.resources.platform import Platform
from mlops_assets.retraining.requests import RunIdentity

Results = Iterator[dg.MaterializeResult]  # type: ignore[type-arg]


class VersionConfig(dg.Config):
    """By hand: which version is meant."""

    version: int | None = None
    """A model version; default: the candidate of this run, or else the challenger."""


def assets(blueprint: Blueprint) -> list[dg.AssetsDefinition]:
    """The assets of this phase, for one project."""
    spec = blueprint.spec

    @blueprint.asset("modeling", "feature_definitions", deps=["dataset", "feasibility"], kinds={"tsfresh"})
    def feature_definitions(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """The tsfresh features that passed its relevance test on rows before the hold-out, within a cost budget."""
        run = training_run(platform.of(spec), context)
        return dg.MaterializeResult(metadata=metadata.definitions(run.select()))

    @blueprint.asset(
        "modeling",
        "training_set",
        deps=["dataset", "feature_definitions"],
        kinds={"tsfresh"},
        output_required=False,
    )
    def training_set(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """Dataset x definitions + target: the selected features of all labelled rows, and which of them judge.

        With too few unseen rows the verdict is HOLD, and nothing behind this asset is paid for.
        """
        run = training_run(platform.of(spec), context)
        if run.training_request.by != "hand" and (reason := run.session.too_early) is not None:
            run.hold(reason)
            context.log.warning(reason)
            return
        yield dg.MaterializeResult(metadata=metadata.training_set(run.compute(), run.session))

    @blueprint.asset(
        "modeling",
        "candidate_model",
        deps=["training_set"],
        kinds={"h2o", "mlflow"},
        pool=f"{spec.name}_training",
    )
    def candidate_model(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """AutoML finds the recipe before the hold-out; fitted for the hold-out, and at last on all labelled rows.

        That last fit is the MLflow version (alias `challenger`), with signature, recipe, leaderboard, dataset input,
        the reference for monitoring and golden rows.
        """
        project_context = platform.of(spec)
        run = training_run(project_context, context)
        with mlflow_run(project_context.registry, context.run, context.log):
            version, candidate = run.train(context.run.run_id)
        if run.training_request.by == "hand":
            project_context.ledger.append(
                spec.name, run.training_request.ended("TRAINED", version.as_of, reason="trained by hand")
            )
        return dg.MaterializeResult(metadata=metadata.candidate(spec, version, candidate, project_context))

    @blueprint.asset("modeling", "evaluation", deps=["candidate_model"], kinds={"mlflow"})
    def evaluation(
        context: dg.AssetExecutionContext, config: VersionConfig, platform: Platform
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """Candidate's recipe, champion and baseline on the hold-out, on the same events and inputs."""
        project_context = platform.of(spec)
        run = training_run(project_context, context)
        version = resolve_version(project_context, run, config.version)
        evaluation, shown = run.evaluate(version)
        return dg.MaterializeResult(metadata=metadata.evaluation(spec, version, evaluation, shown))

    return [feature_definitions, training_set, candidate_model, evaluation]


def training_run(project_context: ProjectContext, context: dg.AssetExecutionContext) -> TrainingRun:
    """The training that a run belongs to."""
    facts = RunIdentity.of(context.run)
    return TrainingRun(
        project_context, project_context.run_artifacts(context.run.run_id), project_context.training_request(facts)
    )


def resolve_version(project_context: ProjectContext, run: TrainingRun, version: int | None) -> VersionTrained:
    """The version that is judged: this run's candidate, the one named, or the challenger, looked up now.

    Raises:
        NotReady: when there is none.
    """
    own = run.own_version()
    if version is None and own is not None:
        return own
    number = version if version is not None else project_context.registry.alias("challenger")
    known = project_context.ledger_view().versions
    if number not in known:
        raise NotReady(
            project_context.spec.name,
            "candidate",
            f"asked for version {number}, the ledger knows {sorted(known)}",
            "materialize candidate_model first, or name a version in the config",
        )
    return known[number]
