"""Processes of the operating system, known by pid and start time, and how they are ended."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psutil
from pydantic import BaseModel, ConfigDict

SAME_START = 2.0
"""Seconds by which two readings of one process's start may differ: the kernel gives it relative to the boot time, which
corrections of the clock move."""
KILLED_WITHIN = 5.0
"""Seconds that the operating system may take to remove a killed process."""


class ProcessIdentity(BaseModel):
    """A pid and a start time: enough to recognise a process, since a reused pid has another start time."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    pid: int
    started: float
    """Start of the process, seconds since the epoch."""

    @classmethod
    def own(cls) -> Self:
        """Return the identity of this process."""
        process = psutil.Process()
        return cls(pid=process.pid, started=process.create_time())

    def find(self) -> psutil.Process | None:
        """Return the process, or None when it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < SAME_START
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


class RecordedProcess(ProcessIdentity):
    """A process in a record file of a state folder.

    The record names the folder that it was written to, by device and inode. A copy of a state folder is another folder:
    its records describe processes that belong to the original, and they are not found there. A folder that was renamed
    is still the same one.
    """

    recorded_in: str | None = None
    """`folder_identity` of the record's folder; None in records of release 0.1, which count as the folder's own."""

    def find_from(self, folder: Path) -> psutil.Process | None:
        """Return the process; None when it has ended, or when the record came into the folder with a copy.

        Args:
            folder: the folder that the record was read from.
        """
        if self.recorded_in is not None and self.recorded_in != folder_identity(folder):
            return None
        return self.find()


def folder_identity(folder: Path) -> str:
    """Return device and inode of a folder, which identify it independently of its path."""
    found = folder.stat()
    return f"{found.st_dev}:{found.st_ino}"


def end(process: psutil.Process, within: float, also: Sequence[psutil.Process] = ()) -> bool:
    """Send SIGTERM to a process, and kill what has not ended in time.

    Args:
        process: the process to end.
        within: seconds that it may take to end by itself.
        also: processes that end when it ends; they are killed with it, but get no signal before.

    Returns:
        Whether all of them have ended.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    _, alive = psutil.wait_procs([process, *also], timeout=within)
    for each in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    return not psutil.wait_procs(alive, timeout=KILLED_WITHIN)[1]
