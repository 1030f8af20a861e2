"""The project bike_demand on a real cluster: drift, a retraining in Jobs, a promotion, and killed pods.

The tests run in order: each continues from the state in which the previous one left the project.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from cluster_client import CHART, ENDED, RELEASE, TRIAL, Client, address, helm, kubectl, objects, until
from installation import STATE, Installed

from mlops_assets.ledger.facts import Scored
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.view import LedgerView
from mlops_assets.prediction.bundle import REFERENCE_PREDICTIONS
from mlops_assets.resources.telemetry.prediction_log import PredictionLog, telemetry_path
from mlops_assets.retraining.requests import DECISION_TAG

PROJECT = "bike_demand"
OTHER = "electricity"
ENDPOINT = "bike-demand-endpoint"
MAX_WEEKS = 8
"""Weeks within which the first retraining must occur: the drift is in the fifth."""
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="session")
def ledger(installed: Installed) -> Iterator[Ledger]:
    password = json.loads(kubectl("get", "secret", "mlops-assets", "-o", "json"))["data"]["PGPASSWORD"]
    server = address(f"{RELEASE}-postgresql").removeprefix("http://")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", base64.b64decode(password).decode())
        yield Ledger(f"postgresql://mlops@{server}/mlops")


@pytest.fixture(scope="session")
def served(installed: Installed, measured: dict[str, object]) -> Client:
    """A client of the endpoint that the first model serves."""
    run = installed.dagster.launch(f"{PROJECT}_bootstrap")
    ended = installed.dagster.wait(run, 900)
    assert ended["status"] == "SUCCESS"
    measured["bootstrap"] = account(ended)
    golden = next(STATE.glob(f"projects/{PROJECT}/versions/1/**/{REFERENCE_PREDICTIONS}"))
    record = json.loads(golden.read_text())["records"][0]
    return Client(address(ENDPOINT), installed.client_token, record)


def account(run: dict[str, Any]) -> str:
    """Return how long a run took since its launch, how long until it started, and how long its steps worked."""
    worked = sum(step["endTime"] - step["startTime"] for step in run["stepStats"] if step["endTime"])
    took, waited = run["endTime"] - run["creationTime"], run["startTime"] - run["creationTime"]
    steps = len(run["stepStats"])
    return f"{took:.0f} s, of which {waited:.0f} s until its start; its {steps} steps worked {worked:.0f} s"


def history(ledger: Ledger) -> LedgerView:
    return ledger.view(PROJECT)


def week(installed: Installed, **more: str) -> str:
    """Launch the run that replays a week, and return its id."""
    config = {"ops": {f"{PROJECT}_advance": {"config": {"windows": 1}}}}
    return installed.dagster.launch(f"{PROJECT}_clock_advance", config, **more)


def serving(client: Client) -> int | None:
    """Return the version that serves; None when the request fails."""
    before = client.answered
    with httpx.Client(
        base_url=client.url, headers={"Authorization": f"Bearer {client.token}"}, timeout=10, trust_env=False
    ) as http:
        client.ask(http)
    return client.versions[-1] if client.answered > before else None


def test_first_model_serves_and_each_training_step_was_a_job(
    installed: Installed, served: Client, ledger: Ledger
) -> None:
    assert history(ledger).deployment_period is not None
    assert serving(served) == 1
    run = installed.dagster.runs(f"{PROJECT}_bootstrap")[0]["runId"]
    pods = objects("pods", f"dagster/run-id={run},app.kubernetes.io/component=step_worker")
    requests = {
        pod["metadata"]["labels"]["dagster/op"]: pod["spec"]["containers"][0]["resources"]["requests"] for pod in pods
    }
    assert f"{PROJECT}__candidate_model" in requests
    assert requests[f"{PROJECT}__candidate_model"] == {"cpu": "500m", "memory": "3Gi"}
    assert requests[f"{PROJECT}__evaluation"] != requests[f"{PROJECT}__candidate_model"]


def test_runs_without_training_have_one_pod(installed: Installed, served: Client, measured: dict[str, object]) -> None:
    run = week(installed)
    assert installed.dagster.wait(run, 600)["status"] == "SUCCESS"
    for job in ("score", "observe"):
        found = installed.dagster.runs(f"{PROJECT}_{job}")[0]["runId"]
        assert len(objects("pods", f"dagster/run-id={found}")) == 1
        measured[job] = account(installed.dagster.state(found))


def test_request_without_token_is_refused(served: Client) -> None:
    answer = httpx.post(f"{served.url}/invocations", json={"dataframe_records": [served.record]}, trust_env=False)
    assert answer.status_code == 401


def test_drift_leads_to_promotion_in_spite_of_killed_pods(
    installed: Installed, served: Client, ledger: Ledger, measured: dict[str, object]
) -> None:
    """The run worker of the first attempt and the training pod of the second are killed; the third attempt promotes."""
    killed: dict[str, str] = {}
    with served.asking(threads=1, pause=0.02):
        for _ in range(MAX_WEEKS):
            run = week(installed)
            assert (
                until(partial(status_while_killing_pods, installed, run, killed), f"the end of {run}", 1800)
                == "SUCCESS"
            )
            if len(history(ledger).deployment_periods) == 2:
                break
    found = history(ledger)
    assert [period.cause for period in found.deployment_periods] == ["bootstrap", "retraining"]
    last, *failed = installed.dagster.runs(f"{PROJECT}_retrain")
    assert last["status"] == "SUCCESS"
    assert {run["runId"]: run["status"] for run in failed} == dict.fromkeys(killed, "FAILURE")
    assert len(killed) == len(KILLED) and not any(pods_of(run) for run in killed)
    assert [fact.outcome for fact in found.ended_trainings if fact.run_id in killed] == ["FAILED", "FAILED"]
    (decision,) = {tag["value"] for run in (last, *failed) for tag in run["tags"] if tag["key"] == DECISION_TAG}
    assert found.started_trainings[-1].decision == decision and found.started_trainings[-1].by == "policy"
    measured["retraining"] = account(installed.dagster.state(last["runId"]))
    assert served.versions == [1, found.deployment_periods[-1].version]
    assert served.failed == []
    measured["requests during the promotion"] = served.answered


KILLED = ("run_worker", "step_worker")
"""The pod that is killed in each of the first attempts, while the candidate is trained."""


def status_while_killing_pods(installed: Installed, run: str, killed: dict[str, str]) -> str | None:
    """Return the status of a week's run once it has ended; before, kill a pod in each of the first attempts."""
    status = installed.dagster.state(run)["status"]
    if status in ENDED:
        return str(status)
    for attempt in reversed(installed.dagster.runs(f"{PROJECT}_retrain", statuses=["STARTED"])):
        number, found = len(killed), attempt["runId"]
        if number < len(KILLED) and found not in killed and (step := training_pod(found, PROJECT)) is not None:
            pod = step if KILLED[number] == "step_worker" else worker_of(found)
            kubectl("delete", "pod", pod, "--force", "--grace-period=0")
            killed[found] = KILLED[number]
    return None


def pods_of(run: str) -> list[str]:
    """Return the pods of a run that have not ended."""
    return [
        pod["metadata"]["name"]
        for pod in objects("pods", f"dagster/run-id={run}")
        if pod["status"]["phase"] in ("Pending", "Running")
    ]


def training_pod(run: str, project: str) -> str | None:
    """Return the running pod of a run that trains the candidate; None without one."""
    found = objects("pods", f"dagster/run-id={run},dagster/op={project}__candidate_model")
    return found[0]["metadata"]["name"] if found and found[0]["status"]["phase"] == "Running" else None


def worker_of(run: str) -> str:
    """Return the pod that executes a run."""
    (pod,) = objects("pods", f"dagster/run-id={run},app.kubernetes.io/component=run_worker")
    return str(pod["metadata"]["name"])


def test_rollback_fails_no_request(
    installed: Installed, served: Client, ledger: Ledger, measured: dict[str, object]
) -> None:
    begun = served.answered
    with served.asking(threads=2, pause=0.002):
        until(lambda: served.answered > begun + 1000, "answers before the rollback")
        assert installed.dagster.wait(installed.dagster.launch(f"{PROJECT}_rollback"))["status"] == "SUCCESS"
        until(lambda: served.answered > begun + 5000, "answers after the rollback")
    assert served.versions[-1] == 1 == history(ledger).deployment_periods[-1].version
    assert served.failed == []
    measured["requests during the rollback"] = served.answered - begun


def test_deleted_deployment_is_recreated(installed: Installed, served: Client) -> None:
    before = {run["runId"] for run in installed.dagster.runs(f"{PROJECT}_heal")}
    kubectl("delete", "deployment", ENDPOINT, "--wait", "--cascade=foreground")

    def repaired() -> bool:
        runs = installed.dagster.runs(f"{PROJECT}_heal", statuses=["SUCCESS"])
        return any(run["runId"] not in before for run in runs)

    until(repaired, "the repair, launched by the sensor", 180)
    assert serving(served) == 1
    served.failed.clear()


@pytest.mark.parametrize("part", ["daemon", "code", "webserver", "endpoint", "forwarder"])
def test_deleted_pod_during_a_replayed_week_loses_no_prediction(
    installed: Installed, served: Client, ledger: Ledger, part: str
) -> None:
    before = history(ledger).scored_through
    run = week(installed)
    until(lambda: installed.dagster.runs(f"{PROJECT}_score", statuses=["STARTED"]), "a scoring that runs", 180)
    selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={part}"
    kubectl("delete", "pod", "-l", selector, "--force", "--grace-period=0")
    ended = installed.dagster.wait(run, 900)
    assert ended["status"] == "SUCCESS"
    found = history(ledger)
    assert before is not None and found.scored_through is not None and found.scored_through > before
    assert not found.missed
    assert until(lambda: serving(served) is not None, "an endpoint that serves")


def test_terminated_training_ends_its_pods(installed: Installed, served: Client, ledger: Ledger) -> None:
    run = installed.dagster.launch(f"{OTHER}_bootstrap")
    until(lambda: training_pod(run, OTHER), "the candidate's step", 300)
    installed.dagster.terminate(run)
    assert installed.dagster.wait(run, 120)["status"] == "CANCELED"
    until(lambda: not pods_of(run), "the end of its pods")
    (ended,) = until(lambda: [fact for fact in ledger.view(OTHER).ended_trainings if fact.run_id == run], "its end")
    assert ended.outcome == "FAILED" and ledger.view(OTHER).deployment_period is None
    assert serving(served) is not None


def test_each_event_has_its_prediction_in_the_log(installed: Installed, ledger: Ledger, served: Client) -> None:
    found = history(ledger)
    with PredictionLog(telemetry_path(STATE / "projects", PROJECT)) as log:
        counts = log.counts(PROJECT)
    predicted = sum(fact.answered for fact in found.of(Scored))
    assert counts["answered"] == predicted > 0 and not found.missed


def test_all_runs_have_ended(installed: Installed, served: Client) -> None:
    for job in ("bootstrap", "retrain", "score", "observe", "heal", "rollback", "clock_advance"):
        assert all(run["status"] in ENDED for run in installed.dagster.runs(f"{PROJECT}_{job}")), job


def test_helm_test_succeeds(installed: Installed) -> None:
    assert "Succeeded" in helm("test", RELEASE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("bucket.nmae=x", "additional properties 'nmae' not allowed"),
        ("postgresql.enabled=false", "/postgresql/postgresqlHost"),
        ("image.platform.tag=not a tag", "/image/platform/tag"),
        ("codeLocation.resources.limits.memory=lots", "/codeLocation/resources/limits/memory"),
    ],
)
def test_invalid_values_are_refused_by_name(installed: Installed, values: str, message: str) -> None:
    revision = json.loads(helm("status", RELEASE, "-o", "json"))["version"]
    assert message in helm("upgrade", RELEASE, str(CHART), "-f", str(TRIAL), "--set", values, check=False)
    assert json.loads(helm("status", RELEASE, "-o", "json"))["version"] == revision


def test_service_accounts_have_only_the_rights_they_need(installed: Installed) -> None:
    services = f"system:serviceaccount:{RELEASE}:{RELEASE}-services"
    assert "no" in kubectl("auth", "can-i", "list", "pods", f"--as={services}", check=False)
    platform = f"system:serviceaccount:{RELEASE}:{RELEASE}"
    assert "yes" in kubectl("auth", "can-i", "create", "jobs", f"--as={platform}")
    for verb, kind in (("get", "secrets"), ("create", "pods"), ("delete", "services"), ("list", "nodes")):
        assert "no" in kubectl("auth", "can-i", verb, kind, f"--as={platform}", check=False)


def test_helm_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), "-f", str(TRIAL))
