"""`MLProject`: the Dagster component that turns one `defs.yaml` into assets, checks, jobs and sensors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from mlops_assets.acquisition.assets import assets as acquisition_assets
from mlops_assets.blueprint import Blueprint
from mlops_assets.business.assets import assets as business_assets
from mlops_assets.deployment.assets import assets as deployment_assets
from mlops_assets.jobs import project_jobs
from mlops_assets.modeling.assets import assets as modeling_assets
from mlops_assets.monitoring.assets import assets as monitoring_assets
from mlops_assets.resources.executors import steps_on
from mlops_assets.resources.repository import Repository, find_root
from mlops_assets.resources.settings import Settings
from mlops_assets.sensors import project_sensors
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.imports import require_importable
from mlops_assets.spec.scaffold import EXAMPLE_SOURCE, example_yaml

# These parameters are marked as beta in Dagster and used on purpose.
warnings.filterwarnings("ignore", message="Parameter `(backfill_policy|owners)`")

PHASES = (business_assets, acquisition_assets, modeling_assets, deployment_assets, monitoring_assets)


class MLProjectScaffolder(dg.Scaffolder[Any]):
    """Writes the files of a new project for `dg scaffold defs mlops_assets.MLProject NAME`."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write a valid, commented `defs.yaml` and a `source.py` into the new project's folder."""
        folder = Path(request.target_path)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(f'"""The project {folder.name}."""\n')
        (folder / "source.py").write_text(EXAMPLE_SOURCE)
        package = Repository.at(find_root(request.project_root)).defs_module
        (folder / "defs.yaml").write_text(example_yaml(folder.name, package))


@dg.scaffold_with(MLProjectScaffolder)
class MLProject(dg.Component):
    """One ML project, from data to monitoring, defined by a YAML file and a Python function that reads its data."""

    def __init__(self, spec: ProjectSpec) -> None:
        self.spec = spec

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model that `attributes` of a `defs.yaml` is validated against."""
        return ProjectSpec

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> MLProject:
        """Return the component for validated attributes.

        Raises:
            SpecError: a function that the YAML names cannot be imported; the error names file and line.
        """
        if not isinstance(attributes, ProjectSpec):
            raise TypeError(f"MLProject needs attributes; see docs/project.md ({context.path})")
        require_importable(attributes, Path(context.path) / "defs.yaml")
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return all definitions of the project."""
        return definitions_of(self.spec, steps_on(Settings(root=context.project_root).runs_on))


def definitions_of(spec: ProjectSpec, steps: dg.ExecutorDefinition | None = None) -> dg.Definitions:
    """Return all assets, checks, jobs and sensors of a project. `definitions.py` adds the resources.

    Args:
        spec: the project.
        steps: executor of the steps of `bootstrap` and `retrain`; None: the executor of all jobs.
    """
    blueprint = Blueprint(spec)
    jobs = project_jobs(blueprint, steps)
    return dg.Definitions(
        assets=[asset for phase in PHASES for asset in phase(blueprint)],
        jobs=jobs,
        sensors=project_sensors(blueprint, {job.name: job for job in jobs}),
    )
