"""Training snapshots: a file that DVC tracks and pushes, in a Git repository of its own, with a tag per snapshot."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from filelock import FileLock

from mlops_assets.context import Snapshot
from mlops_assets.errors import LakeError, LakeUnreachable, NotReady, PlatformError, Unreachable
from mlops_assets.files import write_bytes
from mlops_assets.resources.storage.objects import EMULATOR, objects_at, plain_buckets
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


class DatasetError(PlatformError):
    """Git or DVC could not do what a snapshot needs."""


class DatasetUnreachable(DatasetError, Unreachable):  # noqa: N818 - as NotReady
    """The bucket that DVC pushes to does not answer now."""


class Snapshots:
    """All snapshots of one project.

    Args:
        project: its name.
        folder: the Git and DVC repository; made when it is not there.
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
        """Keep rows for good: DVC add and push, Git commit and tag. The same rows again are the same snapshot.

        Args:
            rows: the training set.
            as_of: the project's time.
            trained_through: end of the newest row.
            windows: data version of each window of `raw_data` that the rows come from.
            labels: the same for `labels`.

        Raises:
            DatasetError: when Git or DVC fails; the next call goes on where this one stopped.
            DatasetUnreachable: when it failed because the bucket does not answer.
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
        """The snapshot of a tag, or of an md5 (or its first eight digits or more).

        Raises:
            NotReady: when there is none.
        """
        tag = name if name.startswith("dataset-") else self._tag_of(name)
        if tag is None or tag not in self.tags():
            raise NotReady(
                self.project, f"snapshot {name}", f"known are {self.tags() or 'none'}", "materialize dataset first"
            )
        return Snapshot.model_validate_json(self._git("show", f"{tag}:{NOTE}"))

    def tags(self) -> list[str]:
        """The tags of all snapshots, oldest first."""
        if not (self.folder / ".git").exists():
            return []
        return self._git("tag", "--list", "dataset-*").split()

    def read(self, snapshot: Snapshot) -> pd.DataFrame:
        """The rows of a snapshot, from DVC's cache or else from the remote.

        Raises:
            DatasetError: when the bytes cannot be had, or are not those of its md5.
            DatasetUnreachable: when the bucket that has them does not answer.
        """
        cached = self.folder / ".dvc" / "cache" / "files" / "md5" / snapshot.md5[:2] / snapshot.md5[2:]
        data = cached.read_bytes() if cached.exists() else self._pull(snapshot)
        if md5(data) != snapshot.md5:
            raise DatasetError(
                self.project,
                f"snapshot {snapshot.tag}",
                f"its bytes have md5 {md5(data)}, where {snapshot.md5} was expected",
                f"remove {cached}, so that it is read from {self.remote} again",
            )
        return from_parquet(data)

    # Steps

    def _tag_of(self, name: str) -> str | None:
        return next((tag for tag in self.tags() if tag.rpartition("-")[2] == name[:8]), None)

    def _prepare(self) -> None:
        if not (self.folder / ".git").exists():
            self._git("init", "--quiet", "--initial-branch=main")
        if not (self.folder / ".dvc" / "config").exists():
            self._dvc(lambda repo_class: repo_class.init(str(self.folder), force=True).close())
        # written anew each time, since the state folder may have been moved
        self._write(".dvc/config", CONFIG.format(remote=self.remote).encode())
        # DVC's own notes lie in the repository, not in a folder that all users of a machine share
        local = f'[core]\n    site_cache_dir = "{self.folder}/.dvc/site"\n'
        options = "".join(f"    {name} = {value}\n" for name, value in self._options().items())
        self._write(".dvc/config.local", f"{local}['remote \"{REMOTE}\"']\n{options}".encode())
        self._write(".dvc/.gitignore", b"/config.local\n/tmp\n/cache\n/site\n")

    def _options(self) -> dict[str, str]:
        """What DVC must be told beside the address: where an emulator is, for a bucket, if there is one."""
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
                self.project, FILE, f"DVC tracks md5 {tracked}, where {name} was written", "let one run write at a time"
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
        """Run Git without anybody's configuration, hooks or signatures, whatever repository the caller runs in."""
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
        options = ["-c", "core.hooksPath=" + os.devnull, "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
        command = ["git", *options, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            found = f"git {' '.join(arguments[:2])} failed: {done.stderr.strip()}"
            raise DatasetError(self.project, str(self.folder), found, "look at the repository; it is safe to delete")
        return done.stdout

    def _dvc(self, action: Callable[[Any], Result]) -> Result:
        """Do something with DVC, again while another process holds its lock.

        A `Repo` keeps what it has seen of the disk, so each action opens one of its own.
        """
        os.environ.setdefault("DVC_NO_ANALYTICS", "1")
        plain_buckets()
        from dvc.lock import LockError
        from dvc.repo import Repo
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        retrying = Retrying(
            retry=retry_if_exception_type(LockError),
            stop=stop_after_attempt(5),
            wait=wait_random_exponential(max=10),
            reraise=True,
        )
        try:
            return retrying(action, Repo)
        except Exception as error:  # DVC lets through whatever its remotes' libraries raise, each of its own kind
            away = self._away()
            raise (DatasetUnreachable if away else DatasetError)(
                self.project,
                str(self.folder),
                f"DVC could not finish: {away or f'{type(error).__name__}: {error}'}",
                f"see that {self.remote} can be written (MLOPS_ASSETS_DVC_REMOTE), then materialize dataset again",
            ) from error

    def _away(self) -> str | None:
        """Why the remote does not answer now, if it is a bucket that does not; of its failures DVC tells their number.

        Asked when DVC has failed: a bucket that is back by then failed for no reason that is known.
        """
        if not self.remote.startswith("gs://"):
            return None
        try:
            objects_at(self.remote).find("files")
        except LakeUnreachable as error:
            return error.found
        except (LakeError, ValueError, IndexError):  # it refuses, or it is no bucket's name: DVC's own words count
            return None
        return None
