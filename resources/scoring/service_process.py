"""Scoring services as processes of the operating system: known by id and start, ended gently, then not."""

from __future__ import annotations

import subprocess

import psutil

from mlops_assets.resources.scoring.config import ProcessRecord

SERVICE = "mlops_assets.serving.app"
CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Services that this process started; they may outlive it, but while it lives it must take note of their ends."""
SAME_START = 2.0
"""Seconds by which two readings of a process's start may differ: the kernel gives it relative to a boot time that the
clock's corrections move."""


def forget_ended() -> None:
    """Take note of which children have ended."""
    for pid, child in list(CHILDREN.items()):
        if child.poll() is not None:
            del CHILDREN[pid]


def process_of(record: ProcessRecord) -> psutil.Process | None:
    """The recorded process, if it lives: same id, same start, and a scoring service."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.started) < SAME_START and SERVICE in process.cmdline()
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def terminate(process: psutil.Process, within: float) -> bool:
    """End a process, gently first; whether it is gone."""
    try:
        process.terminate()
        process.wait(within)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        process.kill()
    try:
        process.wait(5.0)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True
