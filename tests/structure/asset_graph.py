"""The asset graph of one project as text, so that a change can be read in a diff.

python tests/structure/asset_graph.py > tests/structure/graph.txt
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dagster as dg
import yaml

from mlops_assets.component import definitions_of
from mlops_assets.resources.platform import Platform
from mlops_assets.resources.settings import Settings
from mlops_assets.spec import ProjectSpec

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "mlops_assets" / "projects" / "bike_demand" / "defs.yaml"


def shipped_spec() -> ProjectSpec:
    """Return the shipped project whose graph is in the snapshot."""
    return ProjectSpec.model_validate(yaml.safe_load(PROJECT.read_text())["attributes"])


@cache
def definitions() -> dg.Definitions:
    """Return its definitions, with resources."""
    resources = {"platform": Platform.configured(Settings())}
    return dg.Definitions.merge(definitions_of(shipped_spec()), dg.Definitions(resources=resources))


def graph_text() -> str:
    """Return the graph as text: assets with edges, groups, partitions and checks; jobs; sensors with their targets."""
    built = definitions()
    lines = [*_assets(built), "", *_gap(built), "", *_jobs(built), "", *_sensors(built)]
    return "\n".join(lines) + "\n"


def _assets(built: dg.Definitions) -> Iterator[str]:
    graph = built.resolve_asset_graph()
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        yield f"asset {key.to_user_string()}"
        yield f"  group {node.group_name}"
        yield f"  partitions {_partitions(node.partitions_def)}"
        yield f"  kinds {' '.join(sorted(node.kinds))}"
        yield from (f"  <- {parent.to_user_string()}" for parent in sorted(node.parent_keys))
        for check in sorted(node.check_keys, key=lambda found: found.name):
            blocking = " (blocking)" if graph.get(check).blocking else ""
            yield f"  check {check.name}{blocking}"


def _partitions(windows: dg.PartitionsDefinition | None) -> str:  # type: ignore[type-arg]
    if windows is None:
        return "none"
    assert isinstance(windows, dg.TimeWindowPartitionsDefinition)
    return f"windows {windows.cron_schedule!r} {windows.timezone}"


def _gap(built: dg.Definitions) -> Iterator[str]:
    """Yield the missing edge, as the metadata of its two ends names it."""
    graph = built.resolve_asset_graph()
    for key in sorted(graph.get_all_asset_keys()):
        closes = graph.get(key).metadata.get("triggers") or graph.get(key).metadata.get("triggered by")
        if closes is not None:
            yield f"gap {key.to_user_string()}: {closes}"


def _jobs(built: dg.Definitions) -> Iterator[str]:
    graph = built.resolve_asset_graph()
    jobs = [job for job in built.resolve_all_job_defs() if not job.name.startswith("__")]
    for job in sorted(jobs, key=lambda found: found.name):
        yield f"job {job.name}"
        yield f"  partitions {_partitions(job.partitions_def)}"
        chosen = job.asset_layer.selected_asset_keys if job.asset_layer else set()
        order = [key for key in graph.toposorted_asset_keys if key in chosen]
        yield from (f"  asset {key.to_user_string()}" for key in order)
        if not order:
            yield from (f"  op {node.name}" for node in job.nodes)
        yield from (f"  tag {name}={value}" for name, value in sorted(job.tags.items()))


def _sensors(built: dg.Definitions) -> Iterator[str]:
    for sensor in sorted(built.sensors or [], key=lambda found: found.name):
        assert isinstance(sensor, dg.SensorDefinition)
        yield f"sensor {sensor.name} ({sensor.default_status.value.lower()})"
        yield from (f"  launches {target.job_name}" for target in sensor.targets)


if __name__ == "__main__":
    sys.stdout.write(graph_text())
