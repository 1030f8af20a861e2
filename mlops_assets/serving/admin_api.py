"""All of a service's paths but `/invocations`: probes, status, metrics, OpenAPI, promotions, the shadow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from mlops_assets.errors import PlatformError
from mlops_assets.prediction.bundle import REFERENCE_PREDICTIONS
from mlops_assets.serving.metrics import rss
from mlops_assets.serving.model_slots import Loaded
from mlops_assets.serving.openapi import describe
from mlops_assets.serving.request_parsing import RequestError

if TYPE_CHECKING:
    from mlops_assets.serving.app import Service

MLFLOW_VERSION = "3.17.2"
"""Whose scoring protocol is spoken; written here, since a service is installed without MLflow."""
LEAST_FREE = 64 * 2**20
"""Bytes that the answer log's disk must have free for the service to be ready."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Version(_Body):
    """A version that was loaded before."""

    version: Annotated[int, Field(strict=True, ge=1)]


class Bundle(Version):
    """A version and the folder of its bundle."""

    folder: Path


class Shadow(_Body):
    """A version for the shadow and the folder of its bundle; null for both: none."""

    version: Annotated[int, Field(strict=True, ge=1)] | None
    folder: Path | None

    @model_validator(mode="after")
    def _both_or_none(self) -> Shadow:
        if (self.version is None) != (self.folder is None):
            raise ValueError("version and folder were expected together, or null for both")
        return self


class Held(BaseModel):
    """A version that the service holds."""

    version: int
    dataset: str
    as_of: datetime
    trained_through: datetime
    folder: Path


class Status(BaseModel):
    """What the service is and does."""

    project: str
    ready: bool
    pid: int
    started: datetime
    now: datetime | None
    champion: Held | None
    standby: Held | None
    shadow: Held | None
    shadow_backlog: int
    shadow_failed: int
    models_in_memory: int
    """Champion, standby, shadow, and replaced versions that still finish answers."""
    memory_mb: float


class Readiness(BaseModel):
    """Whether requests should be sent here."""

    ready: bool
    missing: list[str]
    """What it waits for, in words; empty when it is ready."""


class Switched(BaseModel):
    """A promotion's last step, done."""

    version: int
    previous: int | None


class Loading(BaseModel):
    """Where a version is now: `champion` if it serves already, or `standby`."""

    version: int
    place: str


class Drained(BaseModel):
    """The shadow's work."""

    backlog: int
    """0 unless the time was up."""
    written: int
    """Since the service started."""
    failed: int


def admin_api(service: Service) -> FastAPI:
    """The FastAPI application of a service."""
    app = FastAPI(title=f"{service.project}: scoring service", version=MLFLOW_VERSION)

    async def client(request: Request) -> None:
        service.authorize(dict(request.headers.raw))

    async def scorer(request: Request) -> None:
        headers = dict(request.headers.raw)
        if b"x-scorer-token" not in headers:
            raise RequestError(401, "X-Scorer-Token", "the scorer's token was expected")
        service.authorize(headers)

    _probes(app, service)
    _reports(app, service, [Depends(client)])
    _actions(app, service, [Depends(scorer)])
    _errors(app)
    _openapi(app, service)
    return app


def _probes(app: FastAPI, service: Service) -> None:
    @app.get("/ping")
    @app.get("/health")
    async def ping() -> Response:
        """200 when a model serves, 503 until then."""
        status = 200 if service.slots.at("champion") is not None else 503
        return Response("\n", status, media_type="application/json")

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        """200 while the process answers at all: whoever gets none may start it again."""
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"model": Readiness}})
    def readyz(response: Response) -> Readiness:
        """200 when a version serves and its answers can be logged, 503 and what is missing otherwise."""
        missing = list(_missing(service))
        response.status_code = 503 if missing else 200
        return Readiness(ready=not missing, missing=missing)

    @app.get("/version")
    async def version() -> Response:
        """MLflow's version, as its own server says it."""
        return Response(MLFLOW_VERSION, media_type="application/json")

    @app.api_route("/invocations", methods=["GET", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def invocations() -> None:
        raise HTTPException(405, "rows are sent with POST")


def _missing(service: Service) -> Iterator[str]:
    if service.slots.at("champion") is None:
        yield "no version serves yet; the first promotion brings one"
    if service.requests.failure is not None:
        yield f"the request log could not be written: {service.requests.failure}"
    free = shutil.disk_usage(service.config.state).free
    if free < LEAST_FREE:
        yield f"the disk of the answer log has {free} bytes free, {LEAST_FREE} are needed"


def _reports(app: FastAPI, service: Service, needs: list[Any]) -> None:
    @app.get("/status", dependencies=needs)
    def status() -> Status:
        """What the service is and does."""
        slots, now = service.slots, service.answering.now
        return Status(
            project=service.project,
            ready=slots.at("champion") is not None,
            pid=os.getpid(),
            started=datetime.fromtimestamp(service.started, UTC),
            now=now,
            champion=_held(slots.at("champion")),
            standby=_held(slots.at("standby")),
            shadow=_held(slots.at("shadow")),
            shadow_backlog=service.shadowing.backlog(),
            shadow_failed=service.shadowing.failed,
            models_in_memory=slots.in_memory,
            memory_mb=round(rss() / 2**20, 1),
        )

    @app.get("/metrics", dependencies=needs)
    def metrics() -> Response:
        """Prometheus's text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _held(loaded: Loaded | None) -> Held | None:
    if loaded is None:
        return None
    manifest = loaded.predictor.manifest
    return Held(
        version=loaded.version,
        dataset=manifest.dataset,
        as_of=manifest.as_of,
        trained_through=manifest.trained_through,
        folder=loaded.folder,
    )


def _actions(app: FastAPI, service: Service, needs: list[Any]) -> None:
    # plain functions: FastAPI runs them in threads, so that answers go on meanwhile
    @app.post("/admin/load", dependencies=needs)
    def load(bundle: Bundle) -> Loading:
        """Load a version beside the one that serves; it must answer its golden rows."""
        return Loading(version=bundle.version, place=service.slots.load(bundle.version, bundle.folder))

    @app.post("/admin/switch", dependencies=needs)
    def switch(wanted: Version) -> Switched:
        """Let the version that stands by serve; requests that are being answered finish on the old one."""
        previous = service.slots.switch(wanted.version)
        service.remember()
        return Switched(version=wanted.version, previous=previous)

    @app.post("/admin/unload", dependencies=needs)
    def unload() -> dict[str, int | None]:
        """Release the version that stands by."""
        return {"version": service.slots.unload()}

    @app.post("/admin/shadow", dependencies=needs)
    def shadow(wanted: Shadow) -> dict[str, int]:
        """Let a version predict in the shadow from now on, and for what it missed since its `as_of`."""
        service.slots.shadow(wanted.version, wanted.folder)
        service.remember()
        service.shadowing.wake()
        return {"backlog": service.shadowing.backlog()}

    @app.post("/admin/drain", dependencies=needs)
    def drain(timeout: Annotated[float, Field(ge=0, le=600)] = 30.0) -> Drained:
        """Wait until the shadow is done and the request log written, `timeout` seconds at most."""
        left = service.shadowing.drain(timeout)
        service.requests.flush()
        return Drained(backlog=left, written=service.shadowing.written, failed=service.shadowing.failed)


def _errors(app: FastAPI) -> None:
    def told(status: int, field: str, message: str, row: int | None = None) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        return JSONResponse({"error": {"field": field, "message": message, "row": row}}, status, headers)

    @app.exception_handler(RequestError)
    async def unanswered(_: Request, error: RequestError) -> JSONResponse:
        return told(error.status, error.field, error.message, error.row)

    @app.exception_handler(PlatformError)
    async def refused(_: Request, error: PlatformError) -> JSONResponse:
        return told(422, error.place, f"{error.found}; {error.remedy}")

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return told(422, ".".join(str(part) for part in first["loc"][1:]) or "body", first["msg"])

    @app.exception_handler(HTTPException)
    async def plain(_: Request, error: HTTPException) -> JSONResponse:
        return told(error.status_code, "path", str(error.detail))


def _example(loaded: Loaded) -> dict[str, Any]:
    """The first of the version's golden rows."""
    example: dict[str, Any] = orjson.loads((loaded.folder / REFERENCE_PREDICTIONS).read_bytes())["records"][0]
    return example


def _openapi(app: FastAPI, service: Service) -> None:
    generate = app.openapi
    made: dict[int, dict[str, Any]] = {}

    def openapi() -> dict[str, Any]:
        with service.slots.borrow("champion") as loaded:
            app.openapi_schema = None
            if loaded is None:
                return generate()
            if loaded.version not in made:
                made.clear()
                made[loaded.version] = describe(generate(), loaded.predictor.schema, _example(loaded))
            return made[loaded.version]

    app.openapi = openapi  # type: ignore[method-assign]
