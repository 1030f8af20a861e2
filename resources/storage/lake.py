"""The lake: windows of rows as Parquet files, in a folder or a bucket.

A window's rows are written to a file named by the md5 of its bytes, first in quarantine. Publishing copies the file out
of quarantine and replaces the window's pointer, a small file that names the version that readers see. A correction
moves the pointer; the old version can still be read by its name. A writer that is killed changes nothing that was
published. A writer gets an error and publishes nothing if another one published the window after it had looked at it.

    <project>/<table>/<window>/<version>.parquet
    <project>/<table>/<window>/current.json
    <project>/quarantine/<table>/<window>/<version>.parquet
    <project>/quarantine/<table>/<window>/reasons.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd
from upath import UPath

from mlops_assets.context import Table, WindowPointer
from mlops_assets.errors import NotReady, Refused
from mlops_assets.resources.storage.object_store import Changed, object_store_at
from mlops_assets.resources.storage.parquet import from_parquet, md5, to_parquet
from mlops_assets.timeline import iso, parse

COMPACT = "%Y%m%dT%H%M%SZ"
POINTER, REASONS = "current.json", "reasons.json"


class Lake:
    """Published and quarantined windows of all projects.

    Args:
        root: a folder, or `gs://bucket/lake` (`memory://lake` for tests).

    Raises:
        LakeError: the URL has another scheme.
    """

    def __init__(self, root: str | UPath) -> None:
        self.objects = object_store_at(root)

    # Write, audit, publish

    def look(self, project: str, table: Table, window: str) -> WindowPointer:
        """Return what readers see of a window now. A writer calls this before it reads what it will write."""
        pointer = self.objects.read_marked(_path(project, table, window, POINTER))
        return WindowPointer(None if pointer is None else json.loads(pointer.data)["version"], pointer)

    def stage(self, project: str, table: Table, window: str, frame: pd.DataFrame) -> str:
        """Write a window's rows into quarantine, where readers do not see them.

        Args:
            project: name of the project.
            table: kind of rows.
            window: id of the window.
            frame: the window's rows.

        Returns:
            The data version: the md5 of the written bytes. It is the same for equal rows.
        """
        data = to_parquet(frame)
        version = md5(data)
        self.objects.put(_path(project, "quarantine", table, window, f"{version}.parquet"), data)
        return version

    def publish(self, project: str, table: Table, window: str, version: str, seen: WindowPointer) -> None:
        """Make a staged version the one that readers see, in one step.

        Args:
            project: name of the project.
            table: kind of rows.
            window: id of the window.
            version: the version that `stage` returned.
            seen: the pointer that `look` returned.

        Raises:
            Refused: another writer published another version since `look`; readers continue to see that one.
        """
        staged = _path(project, "quarantine", table, window, f"{version}.parquet")
        data = self.objects.read_all([staged]).get(staged)
        target = _path(project, table, window, f"{version}.parquet")
        if data is None:
            # another writer published the same rows first, or this call repeats an earlier one
            rows = len(self.read_window(project, table, window, version))
        else:
            rows = len(from_parquet(data))
            self.objects.put(target, data)
        pointer = json.dumps({"version": version, "rows": rows}, sort_keys=True).encode()
        found = self._swap_pointer(_path(project, table, window, POINTER), pointer, seen)
        if found != pointer:
            now = None if found is None else json.loads(found)["version"]
            raise Refused(
                project,
                f"{table} of window {window}",
                f"another process published version {now} while version {version} was made from {seen.version}",
                f"let one process at a time write it; materialize {table} of this window again to read its rows again",
            )
        self.objects.remove(_path(project, "quarantine", table, window, REASONS))
        self.objects.remove(staged)

    def _swap_pointer(self, path: str, pointer: bytes, seen: WindowPointer) -> bytes | None:
        """Replace the pointer that was seen. Return the pointer that readers see now: this one or another writer's."""
        if seen.pointer is None or seen.pointer.data != pointer:
            with suppress(Changed):
                self.objects.swap(path, pointer, seen.pointer)
                return pointer
        return self.objects.read_all([path]).get(path)

    def quarantine(self, project: str, table: Table, window: str, version: str, reasons: Sequence[str]) -> None:
        """Record why a staged version is not published. A version that was published before stays published."""
        found = json.dumps({"reasons": list(reasons), "version": version}, sort_keys=True)
        self.objects.put(_path(project, "quarantine", table, window, REASONS), found.encode())

    def write_predictions(self, project: str, window: str, predictions: pd.DataFrame, seen: WindowPointer) -> str:
        """Publish a window's predictions. Inputs, features and probabilities are stored as JSON text.

        Args:
            project: name of the project.
            window: id of the window.
            predictions: rows of telemetry, one per prediction.
            seen: the pointer that `look` returned before the rows were read.

        Returns:
            The data version.

        Raises:
            Refused: another writer published other rows since `look`.
        """
        version = self.stage(project, "predictions", window, predictions)
        self.publish(project, "predictions", window, version, seen)
        return version

    # Read

    def published(self, project: str, table: Table) -> dict[str, str]:
        """Return the version that readers see of each published window, oldest window first."""
        read = self.objects.read_all(self.objects.find(_path(project, table, "*", POINTER)))
        return {_window_id(path.split("/")[-2]): json.loads(read[path])["version"] for path in sorted(read)}

    def version(self, project: str, table: Table, window: str) -> str | None:
        """Return the version of one window that readers see; None when it is not published."""
        pointer = self._pointer(project, table, window)
        return None if pointer is None else str(pointer["version"])

    def row_count(self, project: str, table: Table, window: str) -> int | None:
        """Return how many rows a published window has; None when it is not published."""
        pointer = self._pointer(project, table, window)
        return None if pointer is None else int(pointer["rows"])

    def read_window(self, project: str, table: Table, window: str, version: str | None = None) -> pd.DataFrame:
        """Return the rows of a window.

        Args:
            project: name of the project.
            table: kind of rows.
            window: id of the window.
            version: a version that was published at some time; by default the one published now.

        Raises:
            NotReady: the window, or this version of it, is not published.
        """
        return from_parquet(next(iter(self._bytes(project, table, {window: version}).values())))

    def read(self, project: str, table: Table, windows: Mapping[str, str] | Iterable[str]) -> pd.DataFrame:
        """Return the rows of several windows, one window after the other.

        Args:
            project: name of the project.
            table: kind of rows.
            windows: ids of windows, for the versions published now; or the version to read, by window id.

        Raises:
            NotReady: one of them is not published.
        """
        versions = windows if isinstance(windows, Mapping) else dict.fromkeys(windows)
        parts = [from_parquet(data) for data in self._bytes(project, table, versions).values()]
        filled = [part for part in parts if len(part)] or parts[:1]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()

    def quarantined(self, project: str, table: Table) -> dict[str, list[str]]:
        """Return the reasons of each quarantined window by window id, oldest first."""
        read = self.objects.read_all(self.objects.find(_path(project, "quarantine", table, "*", REASONS)))
        return {_window_id(path.split("/")[-2]): json.loads(read[path])["reasons"] for path in sorted(read)}

    def _pointer(self, project: str, table: Table, window: str) -> dict[str, Any] | None:
        path = _path(project, table, window, POINTER)
        data = self.objects.read_all([path]).get(path)
        return None if data is None else json.loads(data)

    def _bytes(self, project: str, table: Table, versions: Mapping[str, str | None]) -> dict[str, bytes]:
        """Return the bytes of each window's Parquet file by window id. All files are read at once.

        Raises:
            NotReady: one of them is not in the lake.
        """
        unnamed = {window: _path(project, table, window, POINTER) for window, found in versions.items() if not found}
        pointers = self.objects.read_all(list(unnamed.values()))
        named = dict(versions)
        for window, path in unnamed.items():
            if path not in pointers:
                raise _not_ready(project, table, window, "it is not published")
            named[window] = json.loads(pointers[path])["version"]
        paths = {window: _path(project, table, window, f"{version}.parquet") for window, version in named.items()}
        found = self.objects.read_all(list(paths.values()))
        for window, path in paths.items():
            if path not in found:
                raise _not_ready(project, table, window, f"version {named[window]} is not in the lake")
        return {window: found[path] for window, path in paths.items()}


def _not_ready(project: str, table: Table, window: str, found: str) -> NotReady:
    return NotReady(project, f"{table} of window {window}", found, f"materialize {table} of this window first")


def _path(project: str, *parts: str) -> str:
    return "/".join([project, *(_folder(part) for part in parts)])


def _folder(part: str) -> str:
    """Return a window's id without colons, which not every file system allows; any other text unchanged."""
    return parse(part).strftime(COMPACT) if part.endswith("Z") and ":" in part else part


def _window_id(folder: str) -> str:
    return iso(parse(folder))
