"""The errors of the platform. Each one names the project, the place, what was found and what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any


class PlatformError(Exception):
    """Base of every error that the platform raises on purpose.

    Args:
        project: name of the project; ``"-"`` where the error concerns no project, or where the code does not know it.
        place: the field, window, row, file or server where the error was found.
        found: what was found and what was expected instead.
        remedy: what the reader can do.
    """

    def __init__(self, project: str, place: str, found: str, remedy: str) -> None:
        self.project, self.place, self.found, self.remedy = project, place, found, remedy
        super().__init__(project, place, found, remedy)

    def __str__(self) -> str:
        return f"[{self.project}] {self.place}: {self.found} -> {self.remedy}"

    def __reduce__(self) -> tuple[type[PlatformError], tuple[Any, ...]]:
        return type(self), (self.project, self.place, self.found, self.remedy)


class SpecError(PlatformError):
    """A ``defs.yaml`` is not valid."""


class SourceError(PlatformError):
    """A project's ``read`` function raised an error or returned rows that cannot be used."""


class NotReady(PlatformError):  # noqa: N818 - what happened says more than `Error` would
    """Something does not exist yet; the remedy names what to materialize first."""


class WorkOutstanding(NotReady):
    """Other work of the loop fell due and has to be done first; the same request succeeds afterwards."""


class Refused(PlatformError):  # noqa: N818 - same reason as for NotReady
    """A rule of the loop forbids the request."""


class Unreachable(PlatformError):  # noqa: N818 - same reason as for NotReady
    """A server does not answer now. The same request may succeed later."""


class LedgerError(PlatformError):
    """The ledger contradicts what is to be written, or its database refuses a request."""


class LedgerUnreachable(LedgerError, Unreachable):  # noqa: N818 - same reason as for NotReady
    """The ledger's database does not answer now."""


class DagsterError(PlatformError):
    """The database of Dagster's storage refuses a request."""


class DagsterUnreachable(DagsterError, Unreachable):  # noqa: N818 - same reason as for NotReady
    """The database of Dagster's storage does not answer now."""


class LakeError(PlatformError):
    """The bucket of the lake refuses a request, or lacks a feature that the lake needs."""


class LakeUnreachable(LakeError, Unreachable):  # noqa: N818 - same reason as for NotReady
    """The bucket does not answer now."""


class DatasetError(PlatformError):
    """Git or DVC could not store or read a training snapshot."""


class DatasetUnreachable(DatasetError, Unreachable):  # noqa: N818 - same reason as for NotReady
    """The bucket that DVC pushes to does not answer now."""


class TrainingError(PlatformError):
    """A training failed."""


class ModelError(PlatformError):
    """A model version does not load, or does not reproduce its reference predictions."""


class InputError(PlatformError):
    """A row of a request cannot be predicted; ``place`` names the field.

    Args:
        project: name of the project.
        place: the field.
        found: what was found and what was expected instead.
        remedy: what the caller can do.
        row: number of the row in its request, counted from 0; None when the error is not about one row.
    """

    def __init__(self, project: str, place: str, found: str, remedy: str, row: int | None = None) -> None:
        super().__init__(project, place, found, remedy)
        self.row = row

    def __str__(self) -> str:
        where = self.place if self.row is None else f"row {self.row}, {self.place}"
        return f"[{self.project}] {where}: {self.found} -> {self.remedy}"

    def __reduce__(self) -> tuple[type[PlatformError], tuple[Any, ...]]:
        return type(self), (self.project, self.place, self.found, self.remedy, self.row)


class EndpointError(PlatformError):
    """The scoring service cannot be started or reached, or a version cannot be switched."""


class RegistryError(PlatformError):
    """MLflow refuses a request."""


class RegistryUnreachable(RegistryError, Unreachable):  # noqa: N818 - same reason as for NotReady
    """MLflow does not answer now."""


class TelemetryError(PlatformError):
    """InfluxDB refuses a request, or the forwarder that writes to it is behind."""


class InfluxUnreachable(TelemetryError, Unreachable):  # noqa: N818 - same reason as for NotReady
    """InfluxDB does not answer now."""


class ClusterError(PlatformError):
    """The Kubernetes API refuses a request, or this process does not run in a cluster."""


class ClusterUnreachable(ClusterError, Unreachable):  # noqa: N818 - same reason as for NotReady
    """The Kubernetes API does not answer now."""


@contextmanager
def _naming(project: str) -> Iterator[None]:
    # pure functions do not know which project they work for and raise errors with project "-"
    try:
        yield
    except PlatformError as error:
        if error.project == "-":
            error.project = project
        raise


def names_project(project: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that sets the project of every PlatformError that names none.

    Args:
        project: name of the project.

    Returns:
        A decorator for functions and generator functions.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isgeneratorfunction(function):
            return _naming(project)(function)

        @wraps(function)
        def iterated(*arguments: Any, **more: Any) -> Iterator[Any]:
            with _naming(project):
                yield from function(*arguments, **more)

        return iterated

    return decorate


@contextmanager
def translate_errors(translations: Mapping[type[Exception], Callable[[Any], PlatformError | None]]) -> Iterator[None]:
    """Raise the platform's error in place of a client's error that the block raises.

    Args:
        translations: by class of the client's error, a function that makes the platform's error from it, or returns
            None for an error that is to be raised unchanged. Classes are tried in order; the first that fits counts.
            An error of no class in the mapping is raised unchanged.
    """
    try:
        yield
    except Exception as error:
        translate = next((function for kind, function in translations.items() if isinstance(error, kind)), unchanged)
        translated = translate(error)
        if translated is None:
            raise
        raise translated from error


def unchanged(_error: Exception) -> None:
    """Return None: in `translate_errors`, the client's error is raised unchanged."""
