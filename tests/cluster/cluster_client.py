"""Clients for tests of the cluster: kubectl, helm, Dagster's GraphQL API, and a client of an endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("MLOPS_ASSETS_CLUSTER", Path.home() / ".cache/mlops-assets/cluster"))
NAMESPACE = RELEASE = "mlops"
CHART = ROOT / "helm" / "mlops-assets"
TRIAL = Path(__file__).parent / "values.yaml"
LAUNCH = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run { status creationTime startTime endTime
  stepStats { stepKey startTime endTime } } } }"""
RUNS = """query($filter: RunsFilter!) { runsOrError(filter: $filter) { ... on Runs { results {
  runId jobName status tags { key value } startTime endTime creationTime } } } }"""
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename ... on PythonError { message } } }"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def run(*command: str | Path, within: float = 300, check: bool = True) -> str:
    """Run a command, and return its output; if it fails, the error has the output."""
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=within, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + ("" if check else done.stderr)


def kubectl(*arguments: str, within: float = 120, check: bool = True) -> str:
    """Run kubectl in the platform's namespace, and return its output."""
    return run(HOME / "bin" / "kubectl", "-n", NAMESPACE, *arguments, within=within, check=check)


def objects(kind: str, selector: str = "") -> list[dict[str, Any]]:
    """Return the objects of a kind."""
    arguments = ["get", kind, "-o", "json", *(["-l", selector] if selector else [])]
    found: list[dict[str, Any]] = json.loads(kubectl(*arguments))["items"]
    return found


def helm(*arguments: str, within: float = 400, check: bool = True) -> str:
    """Run helm in the platform's namespace, and return its output."""
    return run(HOME / "bin" / "helm", "-n", NAMESPACE, *arguments, within=within, check=check)


def until(found: Callable[[], Any], what: str, within: float = 120) -> Any:
    """Wait until a function returns something true, and return that."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if answer := found():
                return answer
        except (httpx.HTTPError, AssertionError):
            pass  # some tests stop the webserver or the API for a while
        time.sleep(0.5)
    raise AssertionError(f"not within {within:g} s: {what}\n{kubectl('get', 'pods', check=False)}")


def address(service: str) -> str:
    """Return the URL of a Service by its cluster IP: this process uses the cluster's network, but not its DNS."""
    found = json.loads(kubectl("get", "service", service, "-o", "json"))["spec"]
    return f"http://{found['clusterIP']}:{found['ports'][0]['port']}"


class Dagster:
    """Sends the requests that the UI sends to the webserver."""

    def __init__(self) -> None:
        self.url = f"{address(f'{RELEASE}-webserver')}/graphql"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send a query, and return its data."""
        body = {"query": query, "variables": variables}
        response = httpx.post(self.url, json=body, timeout=60, trust_env=False).raise_for_status().json()
        assert "errors" not in response, response
        found: dict[str, Any] = response["data"]
        return found

    def launch(self, job: str, config: dict[str, Any] | None = None, **tags: str) -> str:
        """Launch a job, and return the run's id."""
        selector = {
            "repositoryLocationName": "mlops_assets",
            "repositoryName": "__repository__",
            "pipelineName": job,
        }
        params: dict[str, Any] = {"selector": selector, "runConfigData": config or {}, "mode": "default"}
        params["executionMetadata"] = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        launched = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def state(self, run_id: str) -> dict[str, Any]:
        """Return the state of a run."""
        found: dict[str, Any] = self.ask(RUN, id=run_id)["runOrError"]
        return found

    def wait(self, run_id: str, within: float = 900) -> dict[str, Any]:
        """Wait for the end of a run, and return its state."""
        found: dict[str, Any] = until(
            lambda: (state := self.state(run_id))["status"] in ENDED and state, f"the end of run {run_id}", within
        )
        return found

    def runs(self, job: str, **more: Any) -> list[dict[str, Any]]:
        """Return a job's runs, newest first."""
        found: list[dict[str, Any]] = self.ask(RUNS, filter={"pipelineName": job, **more})["runsOrError"]["results"]
        return found

    def terminate(self, run_id: str) -> None:
        """Terminate a run."""
        answer = self.ask(TERMINATE, id=run_id)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer


@dataclass
class Client:
    """Sends requests to an endpoint in a loop, from some threads, and counts them."""

    url: str
    token: str
    record: dict[str, Any]
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)

    def ask(self, client: httpx.Client) -> None:
        """Send one request."""
        try:
            answer = client.post("/invocations", json={"dataframe_records": [self.record]})
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return
        if answer.is_success:
            self.answered += 1
            version = int(answer.json()["predictions"][0]["model_version"])
            if not self.versions or self.versions[-1] != version:
                self.versions.append(version)
        else:
            self.failed.append(f"{answer.status_code}: {answer.text[:200]}")

    @contextmanager
    def asking(self, threads: int = 2, pause: float = 0.005) -> Iterator[Client]:
        """Send requests during a block."""
        end = threading.Event()

        def loop() -> None:
            headers = {"Authorization": f"Bearer {self.token}"}
            with httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False) as client:
                while not end.is_set():
                    self.ask(client)
                    time.sleep(pause)

        workers = [threading.Thread(target=loop) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield self
        finally:
            end.set()
            for worker in workers:
                worker.join()
