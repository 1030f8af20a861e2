"""The lake: windows of rows as Parquet files, in a folder or a bucket, through fsspec.

A window's rows are written under the md5 of their bytes and lie in quarantine until somebody publishes them; then a
small pointer, replaced whole, names the version that readers see. A correction moves the pointer: the old version can
still be read by its name. A writer that is killed leaves what was published as it was.

    <project>/<table>/<window>/<version>.parquet
    <project>/<table>/<window>/current.json
    <project>/quarantine/<table>/<window>/<version>.parquet
    <project>/quarantine/<table>/<window>/reasons.json
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import dagster as dg
import pandas as pd
from upath import UPath

from mlops_assets.errors import NotReady
from mlops_assets.timeline import iso, parse
from resources.parquet import from_parquet, md5, to_parquet

Table = Literal["raw_data", "labels", "predictions"]
COMPACT = "%Y%m%dT%H%M%SZ"


class Lake:
    """Published and quarantined windows of all projects.

    Args:
        root: a folder, or a URL that fsspec knows (`memory://lake`, `gs://bucket/lake`).
        options: keyword arguments for that file system.
    """

    def __init__(self, root: str | UPath, **options: Any) -> None:
        path = UPath(root, **options)
        self._files, self._root = path.fs, path.path.rstrip("/")

    # Write, audit, publish

    def stage(self, project: str, table: Table, window: str, frame: pd.DataFrame) -> str:
        """Write a window's rows where no reader looks.

        Args:
            project: its name.
            table: which rows.
            window: the window's id.
            frame: its rows.

        Returns:
            The data version: md5 of the bytes written, the same for equal rows.
        """
        data = to_parquet(frame)
        version = md5(data)
        self._put(self._path(project, "quarantine", table, window, f"{version}.parquet"), data)
        return version

    def publish(self, project: str, table: Table, window: str, version: str) -> str | None:
        """Show a staged version to readers, in one step.

        Returns:
            The version that they saw before, or None.
        """
        before = self.version(project, table, window)
        staged = self._path(project, "quarantine", table, window, f"{version}.parquet")
        target = self._path(project, table, window, f"{version}.parquet")
        if not self._files.exists(target):
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.mv(staged, target)
        elif self._files.exists(staged):
            self._files.rm_file(staged)
        rows = len(self.read_window(project, table, window, version))
        self._put_json(self._path(project, table, window, "current.json"), {"version": version, "rows": rows})
        reasons = self._path(project, "quarantine", table, window, "reasons.json")
        if self._files.exists(reasons):
            self._files.rm_file(reasons)
        return before

    def quarantine(self, project: str, table: Table, window: str, version: str, reasons: Sequence[str]) -> None:
        """Say why a staged version is not published; a version published before stays."""
        path = self._path(project, "quarantine", table, window, "reasons.json")
        self._put_json(path, {"version": version, "reasons": list(reasons)})

    def write_answers(self, project: str, window: str, answers: pd.DataFrame) -> str:
        """Publish a window's answers; inputs, features and probabilities are kept as JSON text.

        Returns:
            Their data version.
        """
        version = self.stage(project, "predictions", window, answers)
        self.publish(project, "predictions", window, version)
        return version

    # Read

    def published(self, project: str, table: Table) -> dict[str, str]:
        """The version that readers see of each published window, oldest window first."""
        folder = self._path(project, table)
        self._files.invalidate_cache(folder)
        pointers = self._files.glob(f"{folder}/*/current.json")
        read = self._files.cat(pointers) if pointers else {}
        return {_window_id(path.split("/")[-2]): json.loads(read[path])["version"] for path in sorted(read)}

    def version(self, project: str, table: Table, window: str) -> str | None:
        """The version of one window that readers see; None when it is not published."""
        pointer = self._pointer(project, table, window)
        return None if pointer is None else str(pointer["version"])

    def row_count(self, project: str, table: Table, window: str) -> int | None:
        """How many rows a published window has; None when it is not published."""
        pointer = self._pointer(project, table, window)
        return None if pointer is None else int(pointer["rows"])

    def read_window(self, project: str, table: Table, window: str, version: str | None = None) -> pd.DataFrame:
        """The rows of a window.

        Args:
            project: its name.
            table: which rows.
            window: the window's id.
            version: one that was published at some time; by default the one published now.

        Raises:
            NotReady: when the window, or that version of it, is not published.
        """
        version = version or self.version(project, table, window)
        try:
            if version is None:
                raise FileNotFoundError(window)
            data = self._files.cat_file(self._path(project, table, window, f"{version}.parquet"))
        except FileNotFoundError as error:
            found = f"version {version} is not in the lake" if version else "it is not published"
            raise NotReady(project, f"{table} of window {window}", found, f"materialize {table} of it first") from error
        return from_parquet(data)

    def read(self, project: str, table: Table, windows: Mapping[str, str] | Iterable[str]) -> pd.DataFrame:
        """The rows of several windows after each other.

        Args:
            project: its name.
            table: which rows.
            windows: ids, for the versions published now; or ids with the versions that are meant.

        Raises:
            NotReady: when one of them is not published.
        """
        versions = windows if isinstance(windows, Mapping) else dict.fromkeys(windows)
        parts = [self.read_window(project, table, window, version) for window, version in versions.items()]
        filled = [part for part in parts if len(part)] or parts[:1]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()

    def quarantined(self, project: str, table: Table) -> dict[str, list[str]]:
        """Why each window lies in quarantine that does, oldest first."""
        folder = self._path(project, "quarantine", table)
        self._files.invalidate_cache(folder)
        found = sorted(self._files.glob(f"{folder}/*/reasons.json"))
        return {_window_id(path.split("/")[-2]): json.loads(self._files.cat_file(path))["reasons"] for path in found}

    def read_quarantined(self, project: str, table: Table, window: str) -> pd.DataFrame:
        """The rows of a window that lie in quarantine.

        Raises:
            NotReady: when there are none.
        """
        try:
            reasons = self._path(project, "quarantine", table, window, "reasons.json")
            version = json.loads(self._files.cat_file(reasons))["version"]
            data = self._files.cat_file(self._path(project, "quarantine", table, window, f"{version}.parquet"))
        except FileNotFoundError as error:
            remedy = "read the published rows instead"
            raise NotReady(project, f"{table} of window {window}", "it is not in quarantine", remedy) from error
        return from_parquet(data)

    # Files

    def _path(self, project: str, *parts: str) -> str:
        return "/".join([self._root, project, *(_folder(part) for part in parts)])

    def _pointer(self, project: str, table: Table, window: str) -> dict[str, Any] | None:
        try:
            data = self._files.cat_file(self._path(project, table, window, "current.json"))
        except FileNotFoundError:
            return None
        pointer: dict[str, Any] = json.loads(data)
        return pointer

    def _put_json(self, path: str, value: Mapping[str, Any]) -> None:
        self._put(path, json.dumps(value, sort_keys=True).encode())

    def _put(self, path: str, data: bytes) -> None:
        """Write beside, then rename: a file is there whole or not at all."""
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        beside = f"{path}.{uuid.uuid4().hex}.part"
        self._files.pipe_file(beside, data)
        self._files.mv(beside, path)


def _folder(part: str) -> str:
    """A window's id without colons, which not every file system takes; anything else as it is."""
    return parse(part).strftime(COMPACT) if part.endswith("Z") and ":" in part else part


def _window_id(folder: str) -> str:
    return iso(parse(folder))


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the lake is."""

    root: str
    """A folder, or a URL that fsspec knows."""

    def open(self) -> Lake:
        """The lake."""
        return Lake(self.root)
