"""The assets `feature_definitions`, `training_set`, `candidate_model` and `evaluation`."""

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
    """Which version `evaluation` evaluates, when it is materialized by hand."""

    version: int | None = None
    """Number of a model version; by default the candidate of this run, or else the version with alias `challenger`."""


def assets(blueprint: Blueprint) -> list[dg.AssetsDefinition]:
    """Return the assets of the modeling phase of one project."""
    spec = blueprint.spec

    @blueprint.asset("modeling", "feature_definitions", deps=["dataset", "feasibility"], kinds={"tsfresh"})
    def feature_definitions(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """Which features the next model uses: relevant for the target before the hold-out, and within the cost budget.

        The table shows the p-value of tsfresh's relevance test and the computing time per prediction of each feature.
        """
        run = training_run(platform.of(spec), context)
        return dg.MaterializeResult(metadata=metadata.definitions(run.select_features()))

    @blueprint.asset(
        "modeling",
        "training_set",
        deps=["dataset", "feature_definitions"],
        kinds={"tsfresh"},
        output_required=False,
    )
    def training_set(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """How many rows a candidate is trained on, and how many are held out to compare it with the champion.

        If too few rows are held out, the verdict is HOLD and the later steps are skipped.
        """
        run = training_run(platform.of(spec), context)
        if run.training_request.by != "hand" and (reason := run.session.too_few_unseen) is not None:
            run.record_hold(reason)
            context.log.warning(reason)
            return
        yield dg.MaterializeResult(metadata=metadata.training_set(run.compute_features(), run.session))

    @blueprint.asset(
        "modeling",
        "candidate_model",
        deps=["training_set"],
        kinds={"h2o", "mlflow"},
        pool=f"{spec.name}_training",
    )
    def candidate_model(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """Which model AutoML found, what it was compared with, and which features matter most to it.

        AutoML runs on rows before the hold-out; the best model's recipe is refitted on all labelled rows. That model is
        registered in MLflow with the alias `challenger`, its dataset, its reference for drift and its reference
        predictions.
        """
        project_context = platform.of(spec)
        run = training_run(project_context, context)
        with mlflow_run(project_context.registry, context.run, context.log):
            version, candidate = run.train(context.run.run_id)
        if run.training_request.by == "hand":
            project_context.ledger.append(
                spec.name, run.training_request.ended("TRAINED", version.as_of, reason="trained by hand")
            )
        return dg.MaterializeResult(metadata=metadata.candidate(spec, version, candidate))

    @blueprint.asset("modeling", "evaluation", deps=["candidate_model"], kinds={"mlflow"})
    def evaluation(
        context: dg.AssetExecutionContext, config: VersionConfig, platform: Platform
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """Whether the candidate predicts the hold-out better than champion and baseline, from the same inputs."""
        project_context = platform.of(spec)
        run = training_run(project_context, context)
        version = resolve_version(project_context, run, config.version)
        evaluation, shown = run.evaluate(version)
        return dg.MaterializeResult(metadata=metadata.evaluation(spec, version, evaluation, shown))

    return [feature_definitions, training_set, candidate_model, evaluation]


def training_run(project_context: ProjectContext, context: dg.AssetExecutionContext) -> TrainingRun:
    """Return the training that belongs to the asset's Dagster run."""
    training_request = project_context.training_request(RunIdentity.of(context.run))
    return TrainingRun(project_context, project_context.run_artifacts(context.run.run_id), training_request)


def resolve_version(project_context: ProjectContext, run: TrainingRun, version: int | None) -> VersionTrained:
    """Return the version to evaluate: the one named, or else this run's candidate, or else the challenger.

    Raises:
        NotReady: when there is no such version.
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
            f"there is no version {number}; the ledger has {sorted(known)}",
            "materialize candidate_model first, or name one of these versions in the config",
        )
    return known[number]
