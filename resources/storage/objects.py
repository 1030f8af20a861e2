"""Where the lake keeps bytes: a folder of files that are renamed into place, or a bucket of objects that appear whole.

Both promise the same: what is read was written whole by one writer; and `swap` replaces an object only if it is still
the one that its writer saw, so that of two writers the slower one hears of the other instead of undoing its work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import FileLock
from fsspec.config import conf as defaults
from upath import UPath

from mlops_assets.errors import LakeError, LakeUnreachable
from mlops_assets.files import write_bytes

EMULATOR = "STORAGE_EMULATOR_HOST"
"""Google's libraries send everything to this address instead; credentials are not asked for there."""
ONE_REQUEST, ALL_TRIES = 20.0, 30.0
"""Seconds for one try of Google's client, and for all of them with pauses that grow."""
SILENCE = 120.0
"""Seconds for which gcsfs may hear nothing of a bucket; a transfer takes as long as its bytes need."""


class Marked(NamedTuple):
    """An object, and what tells it from any other that was or will be at its place."""

    data: bytes
    mark: object


class Changed(Exception):  # noqa: N818 - what happened says more than `Error` would
    """Somebody else replaced the object meanwhile."""


class Objects(Protocol):
    """Bytes by path below a root."""

    def read(self, path: str) -> bytes:
        """An object's bytes.

        Raises:
            FileNotFoundError: when it is not there.
        """

    def read_all(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Several objects at once; those that are not there are left out."""

    def read_marked(self, path: str) -> Marked | None:
        """An object with its mark; None when it is not there."""

    def put(self, path: str, data: bytes) -> None:
        """Write an object whole, over whatever is there."""

    def swap(self, path: str, data: bytes, seen: Marked | None) -> None:
        """Write an object if what is there is still what was seen.

        Raises:
            Changed: it is not; nothing is written then.
        """

    def remove(self, path: str) -> None:
        """Take an object away, if it is there."""

    def find(self, pattern: str) -> list[str]:
        """Paths that match a glob pattern, in order."""


def objects_at(root: str | UPath) -> Objects:
    """What keeps bytes at a folder, a `gs://` URL, or in memory (`memory://`, for tests).

    Raises:
        LakeError: for another URL: whether of two writers of a window one is refused there, nobody has shown.
    """
    if str(root).startswith(("gs://", "gcs://")):
        return Bucket(str(root).partition("://")[2])
    folder = UPath(root)
    if folder.protocol not in ("", "file", "local", "memory"):
        raise LakeError(
            "-",
            f"lake at {root}",
            f"a folder or gs://bucket/folder was expected, not {folder.protocol}://",
            "look at MLOPS_ASSETS_LAKE_URL",
        )
    return Folder(folder)


def plain_buckets() -> None:
    """Tell gcsfs, before it is used by whomever, what it cannot be told by all of its users.

    No request is without a limit: a lost packet would hang a run. And it does not ask over gRPC what kind of bucket
    there is: no emulator speaks that, which takes a minute to find out, and nothing here depends on it.
    """
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    if "requests_timeout" not in (options := defaults.setdefault("gcs", {})):
        import aiohttp

        options["requests_timeout"] = aiohttp.ClientTimeout(sock_connect=ONE_REQUEST, sock_read=SILENCE)


class Folder:
    """A file system that can rename: a local folder, or one in memory.

    Args:
        root: the folder.
    """

    def __init__(self, root: UPath) -> None:
        self._files, self._root = root.fs, root.path.rstrip("/")
        self._local = "file" in self._files.protocol

    def read(self, path: str) -> bytes:
        """As `Objects`."""
        data: bytes = self._files.cat_file(f"{self._root}/{path}")
        return data

    def read_all(self, paths: Sequence[str]) -> dict[str, bytes]:
        """As `Objects`."""
        found = {}
        for path in paths:
            try:
                found[path] = self.read(path)
            except FileNotFoundError:
                continue
        return found

    def read_marked(self, path: str) -> Marked | None:
        """As `Objects`; the bytes are the mark."""
        try:
            data = self.read(path)
        except FileNotFoundError:
            return None
        return Marked(data, data)

    def put(self, path: str, data: bytes) -> None:
        """Write an object atomically: in a local folder by a temporary file; a file in memory is set at once."""
        whole = f"{self._root}/{path}"
        if self._local:
            write_bytes(Path(whole), data)
        else:
            self._files.pipe_file(whole, data)

    def swap(self, path: str, data: bytes, seen: Marked | None) -> None:
        """As `Objects`; one writer at a time, by a lock beside it."""
        whole = f"{self._root}/{path}"
        self._files.makedirs(whole.rpartition("/")[0], exist_ok=True)
        with FileLock(f"{whole}.lock") if self._local else nullcontext():
            if self.read_marked(path) != seen:
                raise Changed(path)
            self.put(path, data)

    def remove(self, path: str) -> None:
        """As `Objects`."""
        try:
            self._files.rm_file(f"{self._root}/{path}")
        except FileNotFoundError:
            return

    def find(self, pattern: str) -> list[str]:
        """As `Objects`."""
        return sorted(path[len(self._root) + 1 :] for path in self._files.glob(f"{self._root}/{pattern}"))


class Bucket:
    """Google Cloud Storage: objects through gcsfs; those swapped, by generation, through Google's client.

    Credentials are the application's default ones. Before the first use the bucket is looked at: it must be there, and
    keep versions, since a pointer that was overwritten by mistake is lost otherwise.

    Args:
        root: `bucket`, or `bucket/folder`.
    """

    def __init__(self, root: str) -> None:
        self.name, _, folder = root.strip("/").partition("/")
        self._prefix = f"{folder}/" if folder else ""
        self.place = f"bucket gs://{self.name}"

    def read(self, path: str) -> bytes:
        """As `Objects`."""
        with self._translate_errors():
            data: bytes = self._files.cat_file(self._whole(path))
        return data

    def read_all(self, paths: Sequence[str]) -> dict[str, bytes]:
        """As `Objects`: many requests at once."""
        if not paths:
            return {}
        with self._translate_errors():
            found = self._files.cat([self._whole(path) for path in paths], on_error="return")
            by_path = {path: found[self._whole(path)] for path in paths}
            for each in by_path.values():
                if isinstance(each, Exception) and not isinstance(each, FileNotFoundError):
                    raise each
        return {path: data for path, data in by_path.items() if isinstance(data, bytes)}

    def read_marked(self, path: str) -> Marked | None:
        """As `Objects`; the object's generation is the mark."""
        with self._translate_errors():
            blob = self._bucket.get_blob(self._prefix + path, timeout=ONE_REQUEST, retry=self._patience)
            if blob is None:
                return None
            # it knows its generation, and gets the bytes of that one, even if it has been replaced meanwhile
            return Marked(blob.download_as_bytes(timeout=ONE_REQUEST, retry=self._patience), blob.generation)

    def put(self, path: str, data: bytes) -> None:
        """As `Objects`: an object appears when its last byte is there."""
        with self._translate_errors():
            self._files.pipe_file(self._whole(path), data)

    def swap(self, path: str, data: bytes, seen: Marked | None) -> None:
        """As `Objects`: by a precondition, which the bucket itself keeps."""
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket.blob(self._prefix + path)
        generation = 0 if seen is None else seen.mark
        try:
            with self._translate_errors():
                blob.upload_from_string(
                    data, if_generation_match=generation, timeout=ONE_REQUEST, retry=self._patience, checksum="crc32c"
                )
        except PreconditionFailed as error:
            now = self.read_marked(path)
            # a try whose answer was lost may have been the one that wrote it
            if now is None or now.data != data:
                raise Changed(path) from error

    def remove(self, path: str) -> None:
        """As `Objects`."""
        with self._translate_errors():
            try:
                self._files.rm_file(self._whole(path))
            except FileNotFoundError:
                return

    def find(self, pattern: str) -> list[str]:
        """As `Objects`."""
        with self._translate_errors():
            found = self._files.glob(self._whole(pattern))
        return sorted(path[len(self._whole("")) :] for path in found)

    # Clients

    def _whole(self, path: str) -> str:
        return f"{self.name}/{self._prefix}{path}"

    @cached_property
    def _files(self) -> Any:
        from gcsfs import GCSFileSystem

        assert self._bucket is not None  # looked at before its first use
        token = "anon" if os.environ.get(EMULATOR) else "google_default"
        # others write, too: what was listed a moment ago does not count
        return GCSFileSystem(token=token, use_listings_cache=False)

    @cached_property
    def _bucket(self) -> Any:
        from google.api_core.exceptions import NotFound
        from google.cloud.storage import Client

        with self._translate_errors():
            try:
                # an object's bucket is enough: no project need be known
                bucket = Client(project=None).get_bucket(self.name, timeout=ONE_REQUEST, retry=self._patience)
            except NotFound as error:
                raise LakeError(
                    "-", self.place, "it is not there", "make it, or look at MLOPS_ASSETS_LAKE_URL"
                ) from error
        if not bucket.versioning_enabled:
            raise LakeError(
                "-",
                self.place,
                "it keeps no versions of objects, so that what is overwritten by mistake is lost",
                f"gcloud storage buckets update gs://{self.name} --versioning",
            )
        return bucket

    @cached_property
    def _patience(self) -> Any:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(ALL_TRIES)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Name what is wrong with the bucket; not for objects that are not there, nor failed preconditions."""
        plain_buckets()
        import aiohttp
        import requests
        from gcsfs.retry import HttpError
        from google.api_core import exceptions as google
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError

        credentials = "look at the application's default credentials, and at their roles on the bucket"
        try:
            yield
        except (FileNotFoundError, google.NotFound, google.PreconditionFailed, LakeError):
            raise
        except (google.Forbidden, google.Unauthorized, DefaultCredentialsError) as error:
            raise LakeError("-", self.place, f"it refuses: {_words(error)}", credentials) from error
        except google.BadRequest as error:
            remedy = "look at MLOPS_ASSETS_LAKE_URL"
            raise LakeError("-", self.place, f"it cannot be asked so: {_words(error)}", remedy) from error
        except (HttpError, OSError) as error:
            code = getattr(error, "code", None)
            if code in (401, 403) or str(error).startswith("Forbidden"):
                raise LakeError("-", self.place, f"it refuses: {_words(error)}", credentials) from error
            raise self._away(error) from error
        except (TransportError, google.GoogleAPICallError, google.RetryError) as error:
            raise self._away(error) from error
        except (aiohttp.ClientError, requests.RequestException) as error:
            raise self._away(error) from error
        except GoogleAuthError as error:
            if _nobody_gave_a_token(error):
                raise self._away(error) from error
            raise LakeError("-", self.place, f"no credentials: {_words(error)}", credentials) from error

    def _away(self, error: Exception) -> LakeUnreachable:
        return LakeUnreachable(
            "-",
            self.place,
            f"it does not answer, or is not able now: {type(error).__name__}: {_words(error)}",
            f"look at MLOPS_ASSETS_LAKE_URL and the network ({EMULATOR} where there is one); then run this again",
        )


def _nobody_gave_a_token(error: Exception) -> bool:
    """Whether a node's metadata service was away or overloaded, which passes; one that refuses carries its answer."""
    from google.auth.exceptions import TransportError

    cause = error.__cause__
    return isinstance(cause, TransportError) and len(cause.args) == 1


def _words(error: Exception) -> str:
    return " ".join(str(error).split())
