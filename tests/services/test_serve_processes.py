"""`mlops-assets serve ...`: readiness, end on SIGTERM, exit code and JSON log of each process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from mlops_assets.cli.supervisor import STOP_WITHIN, Part, Supervisor

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from mlops_assets.cli import app; app()", "serve"]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@dataclass
class Running:
    """A started process."""

    process: subprocess.Popen[bytes]
    health: int
    log: Path

    def ask(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.health}{path}", timeout=10, trust_env=False)

    def wait_until_ready(self, within: float = 120) -> None:
        deadline, found = time.monotonic() + within, "nothing"
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                response = self.ask("/readyz")
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if response.is_success:
                return
            found = response.text
            time.sleep(0.2)
        pytest.fail(f"not ready: {found}\n{self.log.read_text()[-3000:]}")

    def end(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    @property
    def killed(self) -> bool:
        """Whether the child did not end in time and was killed."""
        return any("is killed" in str(line.get("message")) for line in self.lines())

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


class Starter:
    """Starts processes on one state folder."""

    def __init__(self, home: Path) -> None:
        self.home, self.started = home, list[Running]()

    def __call__(self, *arguments: str, command: Sequence[str] = COMMAND) -> Running:
        (health,) = free_ports(1)
        log = self.home / f"{Path(arguments[0]).name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *arguments, "--health-port", str(health)],
                cwd=ROOT,
                env={**os.environ, "MLOPS_ASSETS_HOME": str(self.home), "DO_NOT_TRACK": "true"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.started.append(Running(process, health, log))
        return self.started[-1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    for each in starter.started:
        if each.process.poll() is None:
            each.end()


def test_dagster_processes_start_separately_and_end_on_sigterm(start: Starter) -> None:
    """One test for all three processes, since each start takes seconds."""
    port, ui = free_ports(2)
    code = ["--code", f"127.0.0.1:{port}"]
    webserver = start("webserver", "--port", str(ui), *code)
    daemon = start("daemon", *code)
    # without its code location the webserver is alive but not ready
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        try:
            if "not loaded" in webserver.ask("/readyz").text:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    assert webserver.ask("/healthz").status_code == 200
    assert 'mlops_part_ready{part="webserver"} 0.0' in webserver.ask("/metrics").text

    # it becomes ready when the code location runs, as after the loss of a node
    location = start("code", "--port", str(port))
    location.wait_until_ready()
    for each in (webserver, daemon):
        each.wait_until_ready()
    metrics = daemon.ask("/metrics").text
    assert 'mlops_part_up{part="daemon"} 1.0' in metrics
    assert 'mlops_part_ready{part="daemon"} 1.0' in metrics
    assert 'mlops_part_start_time_seconds{part="daemon"}' in metrics
    assert daemon.ask("/other").status_code == 404
    response = httpx.post(
        f"http://127.0.0.1:{ui}/graphql", json={"query": "{version}"}, timeout=10, trust_env=False
    ).raise_for_status()
    assert response.json()["data"]["version"]
    for each in (daemon, webserver, location):
        assert each.end() == 0
        assert not each.killed
        assert {"at", "level", "message"} <= set(each.lines()[0])


def test_exit_code_is_that_of_the_child(start: Starter) -> None:
    (port,) = free_ports(1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        code = start("code", "--port", str(port))
        assert code.process.wait(60) not in (0, 128 + signal.SIGTERM)
    assert code.lines()[-1]["status"] == code.process.returncode


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
print(grandchild.pid, flush=True)
print('{"event": "a record"}', flush=True)
time.sleep(120)
"""
SUPERVISE = f"""
import logging
from mlops_assets.cli.dagster_processes import run
from mlops_assets.cli.supervisor import Part
from pathlib import Path
import sys
part = Part("stubborn", ["-c", {STUBBORN!r}], Path.cwd(), {{}}, lambda _: None)
run(part, "127.0.0.1", int(sys.argv[-1]))
"""


def test_child_that_ignores_sigterm_is_killed_with_its_children(start: Starter) -> None:
    part = start("stubborn", command=[sys.executable, "-c", SUPERVISE])
    part.wait_until_ready()
    while len(part.lines()) < 3:
        time.sleep(0.05)
    assert STOP_WITHIN <= 8  # the supervisor needs the rest of ten seconds for its own end
    assert part.end() == 128 + signal.SIGKILL
    assert part.killed
    lines = part.lines()
    grandchild = int(
        str(next(line["message"] for line in lines if line.get("logger") == "mlops_assets.serve.stubborn"))
    )
    assert {"event": "a record"} in lines
    with pytest.raises(ProcessLookupError):
        while True:  # its parent has ended too: the machine's first process reaps it
            os.kill(grandchild, 0)
            if Path(f"/proc/{grandchild}/stat").read_text().split()[2] == "Z":
                raise ProcessLookupError


LATE = """
import signal, sys, time
from pathlib import Path
from mlops_assets.cli.dagster_processes import run
from mlops_assets.cli.supervisor import Part
from mlops_assets.errors import Unreachable

def needs():
    if not Path(sys.argv[1]).exists():
        raise Unreachable("-", "the server", "it does not answer", "look at MLOPS_ASSETS_DATABASE_URL")

part = Part("late", ["-c", "import time; time.sleep(60)"], Path.cwd(), {}, lambda _: None, needs)
run(part, "127.0.0.1", int(sys.argv[-1]))
"""


def test_absent_server_is_logged_and_waited_for(start: Starter, tmp_path: Path) -> None:
    server = tmp_path / "server"
    part = start(str(server), command=[sys.executable, "-c", LATE])
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        try:
            found = part.ask("/readyz")
        except httpx.TransportError:
            continue
        if "MLOPS_ASSETS_DATABASE_URL" in found.text:
            break
    assert found.status_code == 503
    assert part.ask("/healthz").status_code == 200
    server.touch()
    part.wait_until_ready()
    assert part.end() == 128 + signal.SIGTERM
    assert next(line["level"] for line in part.lines() if "does not answer" in str(line["message"])) == "WARNING"


def test_sigterm_ends_a_process_that_waits_for_a_server(start: Starter, tmp_path: Path) -> None:
    part = start(str(tmp_path / "server"), command=[sys.executable, "-c", LATE])
    while "does not answer" not in part.log.read_text():
        time.sleep(0.05)
    assert part.end() == 128 + signal.SIGTERM


def test_probe_runs_at_most_once_per_second() -> None:
    probed_at: list[float] = []

    def probe(started: float) -> str:
        probed_at.append(started)
        return "not yet"

    supervisor = Supervisor(Part("waiting", [], Path.cwd(), {}, probe))
    supervisor._child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        found = [supervisor.missing() for _ in range(50)]
        assert set(found) == {"not yet"}
        assert len(probed_at) == 1
    finally:
        supervisor._child.kill()
        supervisor._child.wait()
    assert supervisor.missing() == "the process has ended"
