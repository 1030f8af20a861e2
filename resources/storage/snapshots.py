"""Training snapshots: a file that DVC tracks and pushes, in its own Git repository, with one tag per snapshot."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import psutil
from filelock import FileLock

from mlops_assets.context import Snapshot
from mlops_assets.errors import (
    DatasetError,
    DatasetUnreachable,
    LakeError,
    LakeUnreachable,
    NotReady,
    translate_errors,
)
from mlops_assets.files import write_bytes
from mlops_assets.resources.storage.object_store import EMULATOR, configure_gcsfs, object_store_at
from mlops_assets.resources.storage.parquet import from_parquet, md5, to_parquet

FILE, NOTE, REMOTE = "dataset.parquet", "snapshot.json", "storage"
CONFIG = """[core]
    analytics = false
    autostage = true
    remote = storage
['remote "storage"']
    url = "{remote}"
"""
AUTHOR = ("mlops-assets", "mlops-assets@localhost")
Result = TypeVar("Result")
log = logging.getLogger("mlops_assets.snapshots")


class Snapshots:
    """The training snapshots of one project.

    Args:
        project: its name.
        folder: the Git and DVC repository; it is created when it does not exist.
        remote: a folder or URL that DVC pushes to.
    """

    def __init__(self, project: str, folder: Path, remote: str) -> None:
        self.project, self.folder, self.remote = project, folder, remote

    def take(
        self,
        rows: pd.DataFrame,
        *,
        as_of: datetime,
        trained_through: datetime,
        windows: dict[str, str],
        labels: dict[str, str],
    ) -> Snapshot:
        """Store rows as a snapshot: DVC add and push, Git commit and tag. The same rows again give the same snapshot.

        Args:
            rows: the labelled rows of the training.
            as_of: the project's present time.
            trained_through: end of the newest row.
            windows: data version of each window of `raw_data` that the rows come from.
            labels: the same for `labels`.

        Raises:
            DatasetError: Git or DVC fails; the next call continues where this one stopped.
            DatasetUnreachable: DVC fails because the bucket does not answer.
        """
        data = to_parquet(rows)
        name = md5(data)
        snapshot = Snapshot(
            project=self.project,
            md5=name,
            tag=f"dataset-{as_of:%Y%m%dT%H%M%SZ}-{name[:8]}",
            rows=len(rows),
            as_of=as_of,
            trained_through=trained_through,
            windows=windows,
            labels=labels,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder.with_name(f"{self.folder.name}.lock")):
            if (kept := self._tag_of(name)) is not None:
                return snapshot.model_copy(update={"tag": kept})
            self._prepare()
            self._write(FILE, data)
            self._write(NOTE, snapshot.model_dump_json(indent=2).encode())
            self._track(name)
            self._commit(snapshot)
        return snapshot

    def find(self, name: str) -> Snapshot:
        """Return the snapshot of a tag, or of an md5 (or its first eight digits or more).

        Raises:
            NotReady: there is none.
        """
        tag = name if name.startswith("dataset-") else self._tag_of(name)
        if tag is None or tag not in self.tags():
            raise NotReady(
                self.project, f"snapshot {name}", f"known are {self.tags() or 'none'}", "materialize dataset first"
            )
        return Snapshot.model_validate_json(self._git("show", f"{tag}:{NOTE}"))

    def tags(self) -> list[str]:
        """Return the tags of all snapshots, oldest first."""
        if not (self.folder / ".git").exists():
            return []
        return self._git("tag", "--list", "dataset-*").split()

    def read(self, snapshot: Snapshot) -> pd.DataFrame:
        """Return the rows of a snapshot, from DVC's cache or else from the remote.

        Raises:
            DatasetError: the bytes cannot be read, or their md5 is another one.
            DatasetUnreachable: the bucket does not answer.
        """
        cached = self.folder / ".dvc" / "cache" / "files" / "md5" / snapshot.md5[:2] / snapshot.md5[2:]
        data = cached.read_bytes() if cached.exists() else self._pull(snapshot)
        if md5(data) != snapshot.md5:
            raise DatasetError(
                self.project,
                f"snapshot {snapshot.tag}",
                f"its bytes have md5 {md5(data)}, but {snapshot.md5} was expected",
                f"remove {cached}, so that it is read from {self.remote} again",
            )
        return from_parquet(data)

    # Steps

    def _tag_of(self, name: str) -> str | None:
        return next((tag for tag in self.tags() if tag.rpartition("-")[2] == name[:8]), None)

    def _prepare(self) -> None:
        self._remove_stale_locks()
        if not (self.folder / ".git").exists():
            self._git("init", "--quiet", "--initial-branch=main")
        if not (self.folder / ".dvc" / "config").exists():
            self._dvc(lambda repo_class: repo_class.init(str(self.folder), force=True).close())
        # written each time, since the state folder may have been moved
        self._write(".dvc/config", CONFIG.format(remote=self.remote).encode())
        # DVC's site cache is in the repository, not in a folder that all users of a machine share
        local = f'[core]\n    site_cache_dir = "{self.folder}/.dvc/site"\n'
        options = "".join(f"    {name} = {value}\n" for name, value in self._options().items())
        self._write(".dvc/config.local", f"{local}['remote \"{REMOTE}\"']\n{options}".encode())
        self._write(".dvc/.gitignore", b"/config.local\n/tmp\n/cache\n/site\n")

    def _remove_stale_locks(self) -> None:
        """Remove the lock files that a killed Git left in the repository.

        The platform's own Git commands run while its lock is held, so only a person's command can own such a file.

        Raises:
            DatasetError: a Git command runs in the repository.
        """
        repository = self.folder / ".git"
        locks = [*repository.glob("*.lock"), *repository.glob("refs/**/*.lock")]
        if not locks:
            return
        if (pid := _git_process_in(self.folder)) is not None:
            raise DatasetError(
                self.project, str(locks[0]), f"process {pid} runs Git in the repository", "wait until it has ended"
            )
        for lock in locks:
            lock.unlink(missing_ok=True)
            log.warning(f"{lock} was left by a Git command that was killed; it was removed")

    def _options(self) -> dict[str, str]:
        """Return DVC's options for the remote: the address of an emulator, if the remote is a bucket and one is set."""
        emulator = os.environ.get(EMULATOR)
        if not self.remote.startswith("gs://") or not emulator:
            return {}
        return {"endpointurl": emulator, "allow_anonymous_login": "true"}

    def _write(self, name: str, data: bytes) -> None:
        write_bytes(self.folder / name, data)

    def _track(self, name: str) -> None:
        def add_and_push(repo_class: Any) -> str:
            with repo_class(str(self.folder)) as repo:
                (stage,) = repo.add(str(self.folder / FILE))
                repo.push(remote=REMOTE)
                return str(stage.outs[0].hash_info.value)

        tracked = self._dvc(add_and_push)
        if tracked != name:
            raise DatasetError(
                self.project, FILE, f"DVC tracks md5 {tracked}, but {name} was written", "let one run write at a time"
            )

    def _commit(self, snapshot: Snapshot) -> None:
        self._git("add", "--all")
        text = f"{snapshot.rows} rows as of {snapshot.as_of.isoformat()}\n\nmd5 {snapshot.md5}"
        if self._git("status", "--porcelain"):
            self._git("commit", "--quiet", "--no-verify", "--message", text)
        self._git("tag", "--annotate", snapshot.tag, "--message", text)

    def _pull(self, snapshot: Snapshot) -> bytes:
        def read_at_tag(repo_class: Any) -> bytes:
            from dvc.api import read

            where = {"repo": str(self.folder), "rev": snapshot.tag, "remote": REMOTE}
            data: bytes = read(FILE, **where, remote_config=self._options(), mode="rb")
            return data

        return self._dvc(read_at_tag)

    # Git and DVC

    def _git(self, *arguments: str) -> str:
        """Run Git in the repository, without the user's configuration, hooks or signatures, and return its output."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        name, mail = AUTHOR
        environment |= {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": mail,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": mail,
        }
        # without these, Git reads the user's global ignore and attribute files although it reads no configuration
        files = ["-c", f"core.excludesFile={os.devnull}", "-c", f"core.attributesFile={os.devnull}"]
        options = [
            *files,
            "-c",
            "core.hooksPath=" + os.devnull,
            "-c",
            "commit.gpgsign=false",
            "-c",
            "tag.gpgsign=false",
        ]
        command = ["git", *options, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            found = f"git {' '.join(arguments[:2])} failed: {done.stderr.strip()}"
            raise DatasetError(self.project, str(self.folder), found, "check the repository; it is safe to delete")
        return done.stdout

    def _dvc(self, action: Callable[[Any], Result]) -> Result:
        """Carry out an action with DVC; retry it while another process holds DVC's lock.

        Args:
            action: takes DVC's class `Repo` and opens one itself, since a `Repo` caches the state of the disk.

        Raises:
            DatasetError, DatasetUnreachable: the action fails.
        """
        os.environ.setdefault("DVC_NO_ANALYTICS", "1")
        configure_gcsfs()
        from dvc.lock import LockError
        from dvc.repo import Repo
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        retrying = Retrying(
            retry=retry_if_exception_type(LockError),
            stop=stop_after_attempt(5),
            wait=wait_random_exponential(max=10),
            reraise=True,
        )
        with translate_errors({Exception: self._error}):  # DVC raises errors of its remotes' libraries as they are
            return retrying(action, Repo)

    def _error(self, error: Exception) -> DatasetError:
        why = self._why_unreachable()
        return (DatasetUnreachable if why else DatasetError)(
            self.project,
            str(self.folder),
            f"DVC failed: {why or f'{type(error).__name__}: {error}'}",
            f"check that {self.remote} can be written (MLOPS_ASSETS_DVC_REMOTE), then materialize dataset again",
        )

    def _why_unreachable(self) -> str | None:
        """Return why the remote bucket does not answer now; None when it answers, refuses, or is a folder.

        DVC's own errors do not name the cause: DVC reports only the number of failures of the remote. So the bucket is
        requested again after DVC has failed. If it answers by then, the failure has no known reason.
        """
        if not self.remote.startswith("gs://"):
            return None
        try:
            object_store_at(self.remote).find("files")
        except LakeUnreachable as error:
            return error.found
        except (LakeError, ValueError, IndexError):  # it refuses, or the name is not valid: DVC's error says so
            return None
        return None


def _git_process_in(folder: Path) -> int | None:
    """Return the id of a Git process that works in a folder; None without one."""
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "git" and Path(process.cwd()) == folder.resolve():
                return process.pid
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it has ended, or belongs to another user
    return None
