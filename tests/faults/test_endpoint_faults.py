"""A killed endpoint is restarted; an endpoint that cannot start blocks no other work for ever."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from example_project import START, States, example_project, run_until_only_retraining_is_left, running_harness
from harness import Harness

from mlops_assets.deployment import scorer
from mlops_assets.loop.outstanding import Retrain, Score, outstanding
from mlops_assets.resources.scoring.config import ServiceConfig, ServiceProcess
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.sensors import run_requests
from mlops_assets.serving.app import _bind

DAY = timedelta(days=1)


@pytest.fixture
def harness(states: States, tmp_path: Path) -> Iterator[Harness]:
    """A project whose version 1 serves; only its first event is due."""
    with running_harness(states.copy("bootstrapped", tmp_path / "home")) as found:
        yield found


def record_of(harness: Harness) -> ServiceProcess:
    endpoint = harness.context.endpoint
    assert isinstance(endpoint, EndpointProcess)
    record = endpoint.record()
    assert record is not None
    return record


def kill(harness: Harness) -> int:
    """Kill the service, as the operating system does when memory runs out."""
    record = record_of(harness)
    process = psutil.Process(record.pid)
    process.kill()
    # A child of the test process stays a zombie until it is waited for; a daemon's child is reaped by init.
    process.wait(10)
    return record.pid


def account(harness: Harness) -> tuple[int, int, int]:
    """Return the numbers of events that are due, predicted and missed."""
    project_context = harness.context
    view = project_context.ledger_view()
    start, tick = START + timedelta(days=20), project_context.timeline.last_tick(project_context.now())
    due = len(
        project_context.source.events(
            start + project_context.timeline.horizon, tick + project_context.timeline.horizon + timedelta(seconds=1)
        )
    )
    return due, project_context.telemetry.counts("example")["answered"], len(view.missed)


def test_killed_endpoint_is_restarted_and_serves_again(harness: Harness) -> None:
    url = harness.context.endpoint.url
    harness.context.clock.move(harness.context.now() + DAY)
    run_until_only_retraining_is_left(harness)
    pid = kill(harness)
    harness.context.clock.move(harness.context.now() + DAY)
    request = harness.tick("endpoint_health")
    assert isinstance(request, dg.RunRequest) and request.job_name == "example_heal"
    assert request.tags["fault"] == "the endpoint is not running"
    harness.carry_out(request)

    record = record_of(harness)
    assert record.pid != pid and record.url == url  # clients keep the address
    run_until_only_retraining_is_left(harness)
    assert account(harness) == (49, 49, 0)


def test_endpoint_killed_during_a_request_loses_and_repeats_no_prediction(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer, "BATCH", 4)
    monkeypatch.setattr(run_requests, "PAUSE", timedelta(0))
    invoke, sizes = EndpointProcess.invoke, []

    def killed_at_the_third(self: EndpointProcess, records: Any, due: Any, now: Any) -> Any:
        sizes.append(len(records))
        if len(sizes) == 3:
            kill(harness)
        return invoke(self, records, due, now)

    harness.context.clock.move(harness.context.now() + DAY)
    monkeypatch.setattr(EndpointProcess, "invoke", killed_at_the_third)
    harness.run_until_idle()

    assert ("score", False) in harness.runs and ("heal", True) in harness.runs
    assert account(harness) == (25, 25, 0)
    assert sum(sizes) == 25 + sizes[2]  # only the request that died was sent twice


def test_endpoint_that_cannot_start_blocks_no_retraining(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Due events are missed after `serving.give_up`, here a window and an hour. Then training begins."""
    monkeypatch.setattr(run_requests, "PAUSE", timedelta(0))
    mojo = harness.context.versions.path(1) / "mojo.zip"
    whole = mojo.read_bytes()
    mojo.write_bytes(whole[:-100])
    kill(harness)
    harness.context.clock.move(harness.context.now() + DAY / 2)
    heal = harness.tick("endpoint_health")
    assert isinstance(heal, dg.RunRequest)
    healed = harness.carry_out(heal)
    assert healed is not None and not healed.success
    assert not harness.run("score").success and not harness.context.ledger_view().missed
    left = outstanding(harness.context.timeline, harness.context.ledger_view(), harness.context.now())
    assert isinstance(left[0], Score)

    harness.context.clock.move(harness.context.now() + DAY / 2 + timedelta(hours=1))
    assert harness.run("score").success
    due, answered, missed = account(harness)
    assert (due, answered, missed) == (25, 0, 25)
    assert all("the endpoint did not respond" in fact.reason for fact in harness.context.ledger_view().missed.values())
    left = outstanding(harness.context.timeline, harness.context.ledger_view(), harness.context.now())
    assert not any(isinstance(item, Score | Retrain) for item in left)

    # After a restart it serves again; missed events stay missed.
    mojo.write_bytes(whole)
    harness.context.clock.move(harness.context.now() + DAY)
    assert harness.run("heal").success
    run_until_only_retraining_is_left(harness)
    assert account(harness) == (49, 24, 25)


def test_services_started_at_once_get_different_ports(tmp_path: Path) -> None:
    """Each service prefers its previous port, which the other one uses now."""
    first = _bind(ServiceConfig(spec=example_project(), state=tmp_path))
    port = first.getsockname()[1]
    second = _bind(ServiceConfig(spec=example_project(), state=tmp_path, port=port))
    with first, second:
        assert second.getsockname()[1] != port


def test_failed_heal_is_tried_again_after_growing_pauses(harness: Harness) -> None:
    mojo = harness.context.versions.path(1) / "mojo.zip"
    mojo.write_bytes(b"torn")
    kill(harness)
    request = harness.tick("endpoint_health")
    assert isinstance(request, dg.RunRequest)
    harness.carry_out(request)
    waiting = harness.tick("endpoint_health")

    assert isinstance(waiting, dg.SkipReason) and "the last repair failed; the next one starts at" in str(
        waiting.skip_message
    )
