"""Storage of the lake's bytes by path: a folder of files, or a bucket of Google Cloud Storage.

Both give two guarantees. A reader sees only objects that one writer wrote completely. `swap` replaces an object only
if it is still the one that the writer read; of two concurrent writers, the slower one gets an error and overwrites
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import FileLock
from fsspec.config import conf as defaults
from upath import UPath

from mlops_assets.errors import LakeError, LakeUnreachable, translate_errors, unchanged
from mlops_assets.files import write_bytes

EMULATOR = "STORAGE_EMULATOR_HOST"
"""Environment variable with the address of an emulator. Google's libraries send all requests there, without
credentials."""
ATTEMPT_TIMEOUT, TOTAL_TIMEOUT = 20.0, 30.0
"""Timeouts of Google's client in seconds: of one attempt, and of all attempts with exponential back-off."""
READ_TIMEOUT = 120.0
"""Seconds for which gcsfs may receive no bytes from a bucket. A whole transfer has no limit."""
CREDENTIALS = "check the application's default credentials, and their roles on the bucket"


class MarkedObject(NamedTuple):
    """An object that was read, with a mark that no other object at the same path has, before or after.

    The mark is the generation of an object in a bucket, and the bytes themselves in a folder.
    """

    data: bytes
    mark: object


class Changed(Exception):  # noqa: N818 - what happened says more than `Error` would
    """Another writer replaced the object since it was read."""


class ObjectStore(Protocol):
    """Objects (bytes) by path below a root."""

    def read(self, path: str) -> bytes:
        """Return an object's bytes.

        Raises:
            FileNotFoundError: it does not exist.
        """

    def read_all(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the bytes of several objects by path. Objects that do not exist are left out."""

    def read_marked(self, path: str) -> MarkedObject | None:
        """Return an object with its mark; None when it does not exist."""

    def put(self, path: str, data: bytes) -> None:
        """Write an object in one step; an existing one is replaced."""

    def swap(self, path: str, data: bytes, seen: MarkedObject | None) -> None:
        """Write an object if the one at its path is still the one that was read.

        Args:
            path: where to write.
            data: the new bytes.
            seen: what `read_marked` returned; None: no object existed.

        Raises:
            Changed: another writer replaced it; nothing is written.
        """

    def remove(self, path: str) -> None:
        """Delete an object, if it exists."""

    def find(self, pattern: str) -> list[str]:
        """Return the paths that match a glob pattern, sorted."""


def object_store_at(root: str | UPath) -> ObjectStore:
    """Return the storage at a folder, a `gs://` URL, or in memory (`memory://`, for tests).

    Raises:
        LakeError: the URL has another scheme. Whether `swap` could be guaranteed there is not known.
    """
    if str(root).startswith(("gs://", "gcs://")):
        return BucketStore(str(root).partition("://")[2])
    folder = UPath(root)
    if folder.protocol not in ("", "file", "local", "memory"):
        raise LakeError(
            "-",
            f"lake at {root}",
            f"a folder or gs://bucket/folder is expected, not {folder.protocol}://",
            "check MLOPS_ASSETS_LAKE_URL",
        )
    return FolderStore(folder)


def configure_gcsfs() -> None:
    """Set defaults of gcsfs for this process, also for its use inside DVC; call it before the first use of gcsfs.

    Every request gets a timeout, since a lost packet would hang a run. gcsfs's gRPC request whether the bucket is
    hierarchical is switched off: it fails after a minute with emulators, and nothing here depends on the result.
    """
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    if "requests_timeout" not in (options := defaults.setdefault("gcs", {})):
        import aiohttp

        options["requests_timeout"] = aiohttp.ClientTimeout(sock_connect=ATTEMPT_TIMEOUT, sock_read=READ_TIMEOUT)


class FolderStore:
    """Objects as files of a file system that can rename: a local folder, or one in memory.

    Args:
        root: the folder.
    """

    def __init__(self, root: UPath) -> None:
        self._files, self._root = root.fs, root.path.rstrip("/")
        self._local = "file" in self._files.protocol

    def read(self, path: str) -> bytes:
        """Return an object's bytes.

        Raises:
            FileNotFoundError: it does not exist.
        """
        data: bytes = self._files.cat_file(f"{self._root}/{path}")
        return data

    def read_all(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the bytes of several objects by path. Objects that do not exist are left out."""
        found = {}
        for path in paths:
            try:
                found[path] = self.read(path)
            except FileNotFoundError:
                continue
        return found

    def read_marked(self, path: str) -> MarkedObject | None:
        """Return an object; its bytes are its mark. None when it does not exist."""
        try:
            data = self.read(path)
        except FileNotFoundError:
            return None
        return MarkedObject(data, data)

    def put(self, path: str, data: bytes) -> None:
        """Write an object atomically: in a local folder by a temporary file; a file in memory is set at once."""
        full_path = f"{self._root}/{path}"
        if self._local:
            write_bytes(Path(full_path), data)
        else:
            self._files.pipe_file(full_path, data)

    def swap(self, path: str, data: bytes, seen: MarkedObject | None) -> None:
        """Write an object if it has not changed since it was read; a lock file admits one writer at a time.

        Raises:
            Changed: another writer replaced it; nothing is written.
        """
        full_path = f"{self._root}/{path}"
        self._files.makedirs(full_path.rpartition("/")[0], exist_ok=True)
        with FileLock(f"{full_path}.lock") if self._local else nullcontext():
            if self.read_marked(path) != seen:
                raise Changed(path)
            self.put(path, data)

    def remove(self, path: str) -> None:
        """Delete an object, if it exists."""
        try:
            self._files.rm_file(f"{self._root}/{path}")
        except FileNotFoundError:
            return

    def find(self, pattern: str) -> list[str]:
        """Return the paths that match a glob pattern, sorted."""
        return sorted(path[len(self._root) + 1 :] for path in self._files.glob(f"{self._root}/{pattern}"))


class BucketStore:
    """Objects of a bucket in Google Cloud Storage.

    gcsfs reads and writes objects. `swap` uses Google's own client, which supports preconditions on generations.
    Credentials are the application's default ones. Before the first use the bucket is checked: it must exist and have
    object versioning, because a pointer that is overwritten by mistake would otherwise be lost.

    Args:
        root: `bucket`, or `bucket/folder`.
    """

    def __init__(self, root: str) -> None:
        self.name, _, folder = root.strip("/").partition("/")
        self._prefix = f"{folder}/" if folder else ""
        self.place = f"bucket gs://{self.name}"

    def read(self, path: str) -> bytes:
        """Return an object's bytes.

        Raises:
            FileNotFoundError: it does not exist.
        """
        with self._translate_errors():
            data: bytes = self._files.cat_file(self._full_path(path))
        return data

    def read_all(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the bytes of several objects by path, with concurrent requests. Absent objects are left out."""
        if not paths:
            return {}
        with self._translate_errors():
            found = self._files.cat([self._full_path(path) for path in paths], on_error="return")
            by_path = {path: found[self._full_path(path)] for path in paths}
            for each in by_path.values():
                if isinstance(each, Exception) and not isinstance(each, FileNotFoundError):
                    raise each
        return {path: data for path, data in by_path.items() if isinstance(data, bytes)}

    def read_marked(self, path: str) -> MarkedObject | None:
        """Return an object; its generation is its mark. None when it does not exist."""
        with self._translate_errors():
            blob = self._bucket.get_blob(self._prefix + path, timeout=ATTEMPT_TIMEOUT, retry=self._retry)
            if blob is None:
                return None
            # the blob knows its generation: the bytes are of that one, even if it has been replaced since
            return MarkedObject(blob.download_as_bytes(timeout=ATTEMPT_TIMEOUT, retry=self._retry), blob.generation)

    def put(self, path: str, data: bytes) -> None:
        """Write an object; it appears when its last byte is written."""
        with self._translate_errors():
            self._files.pipe_file(self._full_path(path), data)

    def swap(self, path: str, data: bytes, seen: MarkedObject | None) -> None:
        """Write an object if it has not changed since it was read, by a precondition on its generation.

        Raises:
            Changed: another writer replaced it; nothing is written.
        """
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket.blob(self._prefix + path)
        generation = 0 if seen is None else seen.mark
        try:
            with self._translate_errors():
                blob.upload_from_string(
                    data, if_generation_match=generation, timeout=ATTEMPT_TIMEOUT, retry=self._retry, checksum="crc32c"
                )
        except PreconditionFailed as error:
            now = self.read_marked(path)
            # an earlier attempt may have written it although its response was lost
            if now is None or now.data != data:
                raise Changed(path) from error

    def remove(self, path: str) -> None:
        """Delete an object, if it exists."""
        with self._translate_errors():
            try:
                self._files.rm_file(self._full_path(path))
            except FileNotFoundError:
                return

    def find(self, pattern: str) -> list[str]:
        """Return the paths that match a glob pattern, sorted."""
        with self._translate_errors():
            found = self._files.glob(self._full_path(pattern))
        return sorted(path[len(self._full_path("")) :] for path in found)

    # Clients

    def _full_path(self, path: str) -> str:
        return f"{self.name}/{self._prefix}{path}"

    @cached_property
    def _files(self) -> Any:
        from gcsfs import GCSFileSystem

        assert self._bucket is not None  # reading it checks the bucket
        token = "anon" if os.environ.get(EMULATOR) else "google_default"
        # other processes write too: a cached listing would be stale
        return GCSFileSystem(token=token, use_listings_cache=False)

    @cached_property
    def _bucket(self) -> Any:
        from google.api_core.exceptions import NotFound
        from google.cloud.storage import Client

        with self._translate_errors():
            try:
                # a bucket's name is unique: no Google project is needed
                bucket = Client(project=None).get_bucket(self.name, timeout=ATTEMPT_TIMEOUT, retry=self._retry)
            except NotFound as error:
                raise LakeError(
                    "-", self.place, "it does not exist", "create it, or check MLOPS_ASSETS_LAKE_URL"
                ) from error
        if not bucket.versioning_enabled:
            raise LakeError(
                "-",
                self.place,
                "object versioning is off: an object that is overwritten by mistake would be lost",
                f"gcloud storage buckets update gs://{self.name} --versioning",
            )
        return bucket

    @cached_property
    def _retry(self) -> Any:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(TOTAL_TIMEOUT)

    def _translate_errors(self) -> AbstractContextManager[None]:
        """Return a context that raises `LakeError` or `LakeUnreachable` in place of the clients' errors.

        Objects that do not exist and failed preconditions are raised unchanged: callers handle them.
        """
        configure_gcsfs()
        import aiohttp
        import requests
        from gcsfs.retry import HttpError
        from google.api_core import exceptions as google
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError

        return translate_errors(
            {
                FileNotFoundError: unchanged,
                google.NotFound: unchanged,
                google.PreconditionFailed: unchanged,
                google.Forbidden: self._refused,
                google.Unauthorized: self._refused,
                DefaultCredentialsError: self._refused,
                google.BadRequest: self._bad_request,
                HttpError: self._http_error,
                OSError: self._http_error,
                TransportError: self._unreachable,
                google.GoogleAPICallError: self._unreachable,
                google.RetryError: self._unreachable,
                aiohttp.ClientError: self._unreachable,
                requests.RequestException: self._unreachable,
                GoogleAuthError: self._no_credentials,
            }
        )

    def _refused(self, error: Exception) -> LakeError:
        return LakeError("-", self.place, f"it refuses the request: {_one_line(error)}", CREDENTIALS)

    def _bad_request(self, error: Exception) -> LakeError:
        found = f"it does not accept the request: {_one_line(error)}"
        return LakeError("-", self.place, found, "check MLOPS_ASSETS_LAKE_URL")

    def _http_error(self, error: Exception) -> LakeError:
        refused = getattr(error, "code", None) in (401, 403) or str(error).startswith("Forbidden")
        return self._refused(error) if refused else self._unreachable(error)

    def _no_credentials(self, error: Exception) -> LakeError:
        if _metadata_service_failed(error):
            return self._unreachable(error)
        return LakeError("-", self.place, f"no credentials: {_one_line(error)}", CREDENTIALS)

    def _unreachable(self, error: Exception) -> LakeUnreachable:
        return LakeUnreachable(
            "-",
            self.place,
            f"it does not answer, or cannot answer now: {type(error).__name__}: {_one_line(error)}",
            f"check MLOPS_ASSETS_LAKE_URL and the network (and {EMULATOR}, if it is set), then run this again",
        )


def _metadata_service_failed(error: Exception) -> bool:
    """Return whether a node's metadata service did not answer or was overloaded, which may pass.

    When it refuses, the cause carries the service's response as a second argument.
    """
    from google.auth.exceptions import TransportError

    cause = error.__cause__
    return isinstance(cause, TransportError) and len(cause.args) == 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
