"""Data acquisition: `raw_data`, `labels`, `history`, `dataset`."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.acquisition import metadata
from mlops_assets.acquisition.representative import representative
from mlops_assets.acquisition.training_start import start_training, with_recorded_decision
from mlops_assets.acquisition.window_publication import label, publish, publish_history
from mlops_assets.blueprint import Blueprint
from mlops_assets.errors import names_project
from mlops_assets.resources.platform import Platform
from mlops_assets.retraining.requests import RunIdentity

Results = Iterator[dg.MaterializeResult | dg.AssetCheckResult]  # type: ignore[type-arg]


def assets(blueprint: Blueprint) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Return the assets and checks of this phase for one project."""
    spec, timeline = blueprint.spec, blueprint.timeline

    @blueprint.asset(
        "acquisition",
        "raw_data",
        deps=["business_case"],
        windows=True,
        kinds={"parquet", "pandera"},
        check_specs=[
            blueprint.check(
                "raw_data",
                "schema",
                "Fails when a value is not as declared under data.columns; the window then stays in quarantine.",
                blocking=True,
            ),
            blueprint.check(
                "raw_data", "volume", "Fails when a window has less than half of the usual number of rows."
            ),
            blueprint.check("raw_data", "duplicates", "Fails when the source returns a row more than once."),
            blueprint.check("raw_data", "gaps", "Fails when a step of the series has no row."),
        ],
    )
    def raw_data(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The rows of one window from the source, without the target.

        Shows how many rows were expected, missing and published. Rows are validated first; a window that fails stays in
        quarantine, with its failing rows, and no other asset reads it.
        """
        project_context = platform.of(spec)
        found = [publish(project_context, window) for window in blueprint.windows_of(context)]
        for result in found:
            context.add_asset_metadata(metadata.publication(result), partition_key=project_context.key(result.window))
        yield dg.MaterializeResult(metadata=metadata.windows(found))
        yield from metadata.checks(found)

    @blueprint.asset(
        "acquisition",
        "labels",
        deps=["raw_data"],
        windows=True,
        kinds={"parquet", "pandera"},
        check_specs=[
            blueprint.check(
                "labels", "labels_schema", "Fails when a label is missing or not as declared.", blocking=True
            )
        ],
    )
    def labels(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The labels of one window, once they are available; until then the state is `pending`."""
        project_context = platform.of(spec)
        found = [(window, label(project_context, window)) for window in blueprint.windows_of(context)]
        for window, result in found:
            context.add_asset_metadata(
                metadata.labels(result, timeline, window), partition_key=project_context.key(window)
            )
        here = [result for _, result in found if result is not None]
        yield dg.MaterializeResult(metadata=metadata.windows(here))
        bad = [result for result in here if result.quarantined]
        yield dg.AssetCheckResult(
            check_name="labels_schema",
            passed=not bad,
            metadata={"failing rows": metadata.failing_rows(bad)} if bad else {},
        )

    @blueprint.asset("acquisition", "history", deps=["business_case"], kinds={"parquet"})
    def history(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """All windows up to now, published and labelled one by one.

        Each one is recorded as a materialization of `raw_data` and `labels`. Dagster cannot launch a job over assets
        with and without partitions unless a partition is chosen. With this asset the job bootstrap needs none.
        Windows that are already published stay as they are; windows in quarantine are left out.
        """
        project_context = platform.of(spec)
        found = []
        for window, rows, labels in publish_history(project_context):
            found.append(rows)
            key, shown = project_context.key(window), metadata.publication(rows)
            context.log_event(dg.AssetMaterialization(blueprint.key("raw_data"), metadata=shown, partition=key))
            if labels is not None:
                shown = metadata.labels(labels, timeline, window)
                context.log_event(dg.AssetMaterialization(blueprint.key("labels"), metadata=shown, partition=key))
        return dg.MaterializeResult(metadata=metadata.windows(found))

    @blueprint.asset(
        "acquisition",
        "dataset",
        deps=["raw_data", "labels", "history"],
        kinds={"dvc", "git"},
        output_required=False,
        metadata={"triggered by": f"the sensor {spec.name}_retraining, for each RETRAIN of retraining_decision"},
    )
    def dataset(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        """The training snapshot as of now: all published rows with labels, tracked with DVC and tagged in Git.

        Shows the number of rows and windows, and the names under which DVC and Git know the snapshot. The sensor
        `*_retraining` starts a retraining here for each RETRAIN of `retraining_decision`. The retraining is skipped
        when its triggers are no longer active.
        """
        project_context = platform.of(spec)
        training_request = with_recorded_decision(
            project_context, project_context.training_request(RunIdentity.of(context.run))
        )
        found = start_training(project_context, project_context.run_artifacts(context.run.run_id), training_request)
        if isinstance(found, str):
            context.log.warning("skipped: %s", found)
            return
        yield dg.MaterializeResult(metadata=metadata.dataset(found), data_version=dg.DataVersion(found.md5))

    @dg.asset_check(
        asset=blueprint.key("dataset"),
        name="representative",
        description="Fails when more than 5 % of a column's newest values are outside the values of the snapshot.",
    )
    @names_project(spec.name)
    def is_representative(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
        project_context = platform.of(spec)
        return metadata.representative(
            representative(project_context, project_context.run_artifacts(context.run.run_id))
        )

    return [raw_data, labels, history, dataset, is_representative]
