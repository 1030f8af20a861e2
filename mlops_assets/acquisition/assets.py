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
    """The assets and checks of this phase, for one project."""
    spec, timeline = blueprint.spec, blueprint.timeline

    @blueprint.asset(
        "acquisition",
        "raw_data",
        deps=["business_case"],
        windows=True,
        kinds={"parquet", "pandera"},
        check_specs=[
            blueprint.check("raw_data", "schema", "Every value is as data.columns declares.", blocking=True),
            blueprint.check("raw_data", "volume", "There are about as many rows as in the windows before."),
            blueprint.check("raw_data", "duplicates", "No row comes twice."),
            blueprint.check("raw_data", "gaps", "Every step of the grid has its row."),
        ],
    )
    def raw_data(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """Rows of one window without the target. Write, audit, publish: readers see published windows only."""
        project_context = platform.of(spec)
        found = [publish(project_context, window) for window in blueprint.windows_of(context)]
        for result in found:
            context.add_asset_metadata(metadata.window(result), partition_key=project_context.key(result.window))
        yield dg.MaterializeResult(metadata=metadata.windows(found))
        yield from metadata.checks(found)

    @blueprint.asset(
        "acquisition",
        "labels",
        deps=["raw_data"],
        windows=True,
        kinds={"parquet", "pandera"},
        check_specs=[blueprint.check("labels", "labels_schema", "No target is missing or wrong.", blocking=True)],
    )
    def labels(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The target of one window, once due; until then it is pending."""
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
        """Every window up to now, published and labelled one by one, each a materialization of `raw_data` and `labels`.

        Jobs over partitioned and unpartitioned assets cannot be launched without a partition; this makes one click do.
        Windows that are there already stay as they are; quarantined ones are named and left out.
        """
        project_context = platform.of(spec)
        found = []
        for window, rows, labels in publish_history(project_context):
            found.append(rows)
            key, shown = project_context.key(window), metadata.window(rows)
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
        metadata={
            "closes the circle": f"the sensor {spec.name}_retraining starts here for a RETRAIN of retraining_decision"
        },
    )
    def dataset(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        """The training snapshot as of now: labelled published rows only; DVC-tracked, committed and tagged in Git.

        Here the circle begins again: the sensor `*_retraining` starts this for each RETRAIN of `retraining_decision`.
        A retraining whose evidence has been consumed meanwhile is skipped.
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
        description="The newest published window lies within what the snapshot has seen.",
    )
    @names_project(spec.name)
    def is_representative(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
        project_context = platform.of(spec)
        return metadata.representative(
            representative(project_context, project_context.run_artifacts(context.run.run_id))
        )

    return [raw_data, labels, history, dataset, is_representative]
