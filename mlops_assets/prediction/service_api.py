"""Bodies of the scoring service's requests and responses, as the service and its client share them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Slot = Literal["champion", "standby", "shadow"]
"""What a loaded version is used for: it serves, it waits to be switched to, or it predicts in shadow."""


class _RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class _ResponseBody(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Version(_RequestBody):
    """A version that was loaded before."""

    version: Annotated[int, Field(strict=True, ge=1)]


class Bundle(Version):
    """A version and the folder of its bundle."""

    folder: Path


class ShadowBundle(_RequestBody):
    """A version for the shadow and the folder of its bundle; null for both means that no version predicts there."""

    version: Annotated[int, Field(strict=True, ge=1)] | None
    folder: Path | None

    @model_validator(mode="after")
    def _both_or_none(self) -> ShadowBundle:
        if (self.version is None) != (self.folder is None):
            raise ValueError("version and folder are required together, or null for both")
        return self


class LoadedVersion(_ResponseBody):
    """A version that the service holds in memory."""

    version: int
    dataset: str
    """md5 of the training snapshot."""
    as_of: datetime
    """Project time at which the training snapshot was taken."""
    trained_through: datetime
    """End of the newest training row."""
    folder: Path


class Status(_ResponseBody):
    """State of the scoring service."""

    project: str
    ready: bool
    """Whether a version serves."""
    pid: int
    started: datetime
    now: datetime | None
    """The project's time, as far as the service knows it."""
    champion: LoadedVersion | None
    standby: LoadedVersion | None
    shadow: LoadedVersion | None
    shadow_backlog: int
    """Logged events without a prediction by the shadow."""
    shadow_failed: int
    """Events that the shadow could not predict, since the service started."""
    models_in_memory: int
    """Champion, standby, shadow, and replaced versions that still finish requests."""
    memory_mb: float
    """Resident memory of the process, in MiB."""


class Readiness(_ResponseBody):
    """Whether requests should be sent to this service."""

    ready: bool
    missing: list[str]
    """What is missing, one sentence each; empty when the service is ready."""


class LoadResult(_ResponseBody):
    """The slot that a version has after `/admin/load`."""

    version: int
    place: Slot
    """`standby`, or `champion` if the version serves already."""


class SwitchResult(_ResponseBody):
    """The result of `/admin/switch`."""

    version: int
    previous: int | None
    """The version that served before; null when none did."""


class UnloadResult(_ResponseBody):
    """The result of `/admin/unload`."""

    version: int | None
    """The version that was released; null when there was no standby."""


class ShadowResult(_ResponseBody):
    """The result of `/admin/shadow`."""

    backlog: int
    """Logged events without a prediction by the shadow."""


class DrainResult(_ResponseBody):
    """The result of `/admin/drain`."""

    backlog: int
    """Events without a prediction by the shadow; 0 unless the timeout was reached."""
    written: int
    """Predictions by shadows since the service started."""
    failed: int
    """Events that a shadow could not predict since the service started."""


class ErrorDetail(_ResponseBody):
    """What is wrong with a request."""

    field: str
    """The column, key of the body, or header at fault."""
    message: str
    row: int | None
    """Number of the row in the request, counted from 0; null when the error is not about one row."""


class ErrorBody(_ResponseBody):
    """Body of every response with a status of 400 or more."""

    error: ErrorDetail
