"""The errors of the platform. Each one names the project, the place, what was found and what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any


class PlatformError(Exception):
    """Base of every error that the platform raises on purpose.

    Args:
        project: name of the project at fault, or ``"-"`` where none is concerned.
        place: the field, window, row, file or server at fault.
        found: what was found and what should have been there.
        remedy: what the person who reads this can do.
    """

    def __init__(self, project: str, place: str, found: str, remedy: str) -> None:
        self.project, self.place, self.found, self.remedy = project, place, found, remedy
        super().__init__(project, place, found, remedy)

    def __str__(self) -> str:
        return f"[{self.project}] {self.place}: {self.found} -> {self.remedy}"

    def __reduce__(self) -> tuple[type[PlatformError], tuple[str, str, str, str]]:
        return type(self), (self.project, self.place, self.found, self.remedy)


class SpecError(PlatformError):
    """A ``defs.yaml`` says something that cannot hold."""


class SourceError(PlatformError):
    """A project's ``read`` function raised or returned something unusable."""


class NotReady(PlatformError):  # noqa: N818 - what happened says more than `Error` would
    """Something asked for does not exist yet; the remedy names what to materialize first."""


class WorkOutstanding(NotReady):
    """Something fell due meanwhile and comes first; afterwards what was asked can be had."""


class Refused(PlatformError):  # noqa: N818 - as NotReady
    """A rule of the loop forbids what was asked."""


class Unreachable(PlatformError):  # noqa: N818 - as NotReady
    """A server does not answer now; later it may."""


class LedgerError(PlatformError):
    """The ledger holds something that contradicts what is written now, or its database refuses."""


class LedgerUnreachable(LedgerError, Unreachable):  # noqa: N818 - as NotReady
    """The ledger's database does not answer now."""


class DagsterError(PlatformError):
    """The database of Dagster's storage refuses."""


class DagsterUnreachable(DagsterError, Unreachable):  # noqa: N818 - as NotReady
    """The database of Dagster's storage does not answer now."""


class LakeError(PlatformError):
    """The bucket of the lake refuses, or cannot keep what the lake promises."""


class LakeUnreachable(LakeError, Unreachable):  # noqa: N818 - as NotReady
    """The bucket does not answer now."""


class TrainingError(PlatformError):
    """A training could not be carried out."""


class ModelError(PlatformError):
    """A model version does not load, or does not answer as it should."""


class InputError(PlatformError):
    """A request's row cannot be answered; ``place`` names the field."""


class EndpointError(PlatformError):
    """The scoring service cannot be started, reached or switched."""


class RegistryError(PlatformError):
    """MLflow cannot be reached or refuses."""


class RegistryUnreachable(RegistryError, Unreachable):  # noqa: N818 - as NotReady
    """MLflow does not answer now."""


class TelemetryError(PlatformError):
    """InfluxDB cannot be reached or refuses, or the forwarder that fills it is behind."""


class InfluxUnreachable(TelemetryError, Unreachable):  # noqa: N818 - as NotReady
    """InfluxDB does not answer now."""


class ClusterError(PlatformError):
    """The Kubernetes API refuses, or this process runs in no cluster."""


class ClusterUnreachable(ClusterError, Unreachable):  # noqa: N818 - as NotReady
    """The Kubernetes API does not answer now."""


@contextmanager
def _naming(project: str) -> Iterator[None]:
    # what is pure is not told whose numbers it is given
    try:
        yield
    except PlatformError as error:
        if error.project == "-":
            error.project = project
        raise


def names_project(project: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Around each call of a function, which may be a generator: errors that know no project get this one."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isgeneratorfunction(function):
            return _naming(project)(function)

        @wraps(function)
        def iterated(*arguments: Any, **more: Any) -> Iterator[Any]:
            with _naming(project):
                yield from function(*arguments, **more)

        return iterated

    return decorate
