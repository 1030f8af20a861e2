"""The whole loop once, through GraphQL as in the UI, with a real webserver, daemon, sensors and runs."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops_assets.cli.instance import dagster_home
from mlops_assets.cli.processes import Started, end_recorded, free_port, start
from mlops_assets.resources.platform import Platform
from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.settings import Settings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LAUNCH = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
RUN = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
RUNS = """query($filter: RunsFilter!) { runsOrError(filter: $filter) { ... on Runs { results {
  runId status tags { key value } } } } }"""
LINEAGE = "query { assetNodes { assetKey { path } dependencyKeys { path } groupName } }"


class Browser:
    """Sends the UI's requests to the webserver."""

    def __init__(self, dagster: Started) -> None:
        self.url = f"{dagster.url}/graphql"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = httpx.post(self.url, json={"query": query, "variables": variables}, timeout=60, trust_env=False).json()
        assert "errors" not in answer, answer
        found: dict[str, Any] = answer["data"]
        return found

    def click(self, job: str, config: dict[str, Any] | None = None) -> str:
        """Launch a job, and return the run's id."""
        selector = {
            "repositoryLocationName": "location.py",
            "repositoryName": "__repository__",
            "pipelineName": f"turning_{job}",
        }
        params = {"selector": selector, "runConfigData": config or {}, "mode": "default"}
        launched = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def wait(self, run_id: str, within: float = 800) -> str:
        """Wait until a run ended, and return its status."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            status = str(self.ask(RUN, id=run_id)["runOrError"]["status"])
            if status in ("SUCCESS", "FAILURE", "CANCELED"):
                return status
            time.sleep(0.5)
        raise AssertionError(f"run {run_id} has not ended")


def location() -> Any:
    """Return the module that the webserver loads."""
    sys.path[:0] = [path for path in (str(HERE), str(HERE.parent / "loop")) if path not in sys.path]
    return importlib.import_module("location")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def project_context(settings: Settings) -> Iterator[ProjectResources]:
    project_context = Platform.configured(settings).of(location().SPEC)
    yield project_context
    # after Dagster has stopped: its sensor would start the service again
    project_context.endpoint.stop()


@pytest.fixture(scope="module")
def browser(settings: Settings, project_context: ProjectResources) -> Iterator[Browser]:
    port = free_port(0)
    path = os.pathsep.join([str(HERE.parent / "loop"), str(ROOT)])
    environment = {
        "DAGSTER_HOME": str(dagster_home(settings)),
        "PYTHONPATH": path,
    }
    command = ["dagster", "dev", "-f", str(HERE / "location.py"), "--host", "127.0.0.1", "--port", str(port)]
    dagster = start("Dagster", command, f"http://127.0.0.1:{port}", settings, environment)
    try:
        dagster.wait_until_ready("/server_info")
        yield Browser(dagster)
    finally:
        end_recorded(settings.pids)
        # the process was ended by its record, as `down` does; this updates the handle
        dagster.process.wait()


@pytest.mark.timeout(1000)  # two runs per window, each a process that imports Dagster
@pytest.mark.xdist_group("e2e")
def test_ui_alone_takes_a_project_to_a_retrained_model_and_rolls_back(
    browser: Browser, project_context: ProjectResources
) -> None:
    assert browser.wait(browser.click("bootstrap")) == "SUCCESS"
    assert project_context.endpoint.serving() == 1

    moved = browser.click("clock_advance", {"ops": {"turning_advance": {"config": {"windows": location().WINDOWS}}}})
    assert browser.wait(moved) == "SUCCESS"

    view = project_context.ledger_view()
    assert [period.cause for period in view.deployment_periods] == ["bootstrap", "retraining"]
    retrain = view.started_trainings[-1]
    assert retrain.by == "policy"
    runs = browser.ask(RUNS, filter={"pipelineName": "turning_retrain"})["runsOrError"]["results"]
    tags = {tag["key"]: tag["value"] for tag in runs[-1]["tags"]}
    assert tags["dagster/sensor_name"] == "turning_retraining"
    assert tags["decision"] == retrain.decision
    assert project_context.endpoint.serving() == view.deployment_periods[-1].version == 2

    assert browser.wait(browser.click("rollback")) == "SUCCESS"
    assert project_context.endpoint.serving() == 1
    assert project_context.ledger_view().deployment_periods[-1].cause == "rollback"


@pytest.mark.xdist_group("e2e")
def test_lineage_continues_after_the_model(browser: Browser) -> None:
    nodes = browser.ask(LINEAGE)["assetNodes"]
    behind = {node["assetKey"]["path"][-1]: {key["path"][-1] for key in node["dependencyKeys"]} for node in nodes}
    assert "candidate_model" in behind["evaluation"]
    assert "champion" in behind["endpoint"]
    assert {"endpoint", "raw_data"} <= behind["predictions"]
    assert {"drift_report", "performance_report", "service_health"} <= behind["retraining_decision"]
