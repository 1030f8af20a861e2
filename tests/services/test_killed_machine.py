"""The machine is killed while `dagster dev` runs: every process ends at once. After the next start the loop goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from test_graphql import HERE, ROOT, Browser, location

from mlops_assets.cli.instance import dagster_home
from mlops_assets.cli.processes import Started, end_recorded, free_port, start
from mlops_assets.resources.platform import Platform
from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.settings import Settings


class Machine:
    """A machine of its own for one state folder: `dagster dev`, the scoring service, and the JVM of a training."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = free_port(0)
        self.dagster: Started | None = None

    def switch_on(self) -> Browser:
        """Start `dagster dev`, as a person does after a reboot."""
        environment = {
            "DAGSTER_HOME": str(dagster_home(self.settings)),
            "PYTHONPATH": os.pathsep.join([str(HERE.parent / "loop"), str(ROOT)]),
        }
        command = ["dagster", "dev", "-f", str(HERE / "location.py"), "--host", "127.0.0.1", "--port", str(self.port)]
        self.dagster = start("Dagster", command, f"http://127.0.0.1:{self.port}", self.settings, environment)
        self.dagster.wait_until_ready("/server_info")
        return Browser(self.dagster)

    def processes(self) -> list[psutil.Process]:
        """Return every process that works on the state folder."""
        home, found = str(self.settings.home), []
        for process in psutil.process_iter():
            try:
                named = any(home in part for part in process.cmdline()) or home in process.environ().get(
                    "MLOPS_ASSETS_HOME", ""
                )
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if named and process.pid != os.getpid():
                found.append(process)
        return found

    def kill(self) -> None:
        """Kill every process at once, as a power failure does."""
        found = self.processes()
        for process in found:
            process.kill()
        psutil.wait_procs(found, timeout=30)
        if self.dagster is not None:
            self.dagster.process.wait()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def machine(settings: Settings) -> Iterator[Machine]:
    found = Machine(settings)
    try:
        yield found
    finally:
        end_recorded(settings.pids)
        found.kill()


@pytest.fixture(scope="module")
def project_context(settings: Settings) -> ProjectResources:
    return Platform.configured(settings).of(location().SPEC)


def wait_for(condition: Callable[[], bool], what: str, within: float = 300) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within:.0f} s"
        time.sleep(0.1)


def jvms(home: Path) -> list[Path]:
    """Return the records of the JVMs of running trainings."""
    return list((home / "pids").glob("h2o-*.json"))


def policy_trainings(project_context: ProjectResources) -> list[tuple[str, bool]]:
    """Return how each training that the policy requested has ended, and whether none follows it."""
    return [(fact.outcome, fact.final) for fact in project_context.ledger_view().ended_trainings if fact.by == "policy"]


@pytest.mark.timeout(1200)
@pytest.mark.xdist_group("machine")
def test_loop_goes_on_by_itself_after_machine_was_killed_in_trainings(
    machine: Machine, settings: Settings, project_context: ProjectResources
) -> None:
    """A bootstrap and a retraining are killed with everything else while their JVM runs.

    Dagster's default run launcher leaves such runs STARTED for ever; then no sensor launches anything again.
    """
    browser = machine.switch_on()
    first = browser.click("bootstrap")
    wait_for(lambda: bool(jvms(settings.home)), "the bootstrap trains")
    machine.kill()

    browser = machine.switch_on()
    assert browser.wait(first, within=120) == "FAILURE"
    assert browser.wait(browser.click("bootstrap")) == "SUCCESS"

    moving = {"ops": {"turning_advance": {"config": {"windows": location().WINDOWS}}}}
    clock = browser.click("clock_advance", moving)
    wait_for(lambda: bool(jvms(settings.home)), "the policy's retraining trains", within=600)
    machine.kill()

    browser = machine.switch_on()
    assert browser.wait(clock, within=120) == "FAILURE"
    # the end of a training is recorded after its promotion
    wait_for(lambda: policy_trainings(project_context)[-1:] == [("JUDGED", False)], "the retraining is evaluated", 600)
    assert policy_trainings(project_context) == [("INTERRUPTED", False), ("JUDGED", False)]
    assert [period.version for period in project_context.ledger_view().deployment_periods] == [1, 2]
    assert project_context.endpoint.serving() == 2
