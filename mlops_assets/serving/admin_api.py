"""All paths of the service except `/invocations`: probes, status, metrics, OpenAPI, promotions and the shadow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.exceptions import HTTPException

from mlops_assets.errors import PlatformError
from mlops_assets.prediction.bundle import read_reference_predictions
from mlops_assets.prediction.service_api import (
    Bundle,
    DrainResult,
    LoadedVersion,
    LoadResult,
    Readiness,
    ShadowBundle,
    ShadowResult,
    Status,
    SwitchResult,
    UnloadResult,
    Version,
)
from mlops_assets.serving.metrics import resident_memory
from mlops_assets.serving.model_slots import Loaded
from mlops_assets.serving.openapi import CLIENT, SCORER, document, error_responses
from mlops_assets.serving.request_parsing import RequestError
from mlops_assets.serving.service import Service

MLFLOW_VERSION = "3.17.2"
"""The MLflow version whose scoring protocol the service has; a constant, since the service runs without MLflow."""
LEAST_FREE = 64 * 2**20
"""Bytes that the prediction log's disk must have free for the service to be ready."""


def admin_api(service: Service) -> FastAPI:
    """Return the FastAPI application of a service."""
    app = FastAPI(title=f"{service.project}: scoring service", version=MLFLOW_VERSION)
    _add_probes(app, service)
    _add_reports(app, service)
    _add_actions(app, service)
    _add_error_handlers(app)
    _add_openapi(app, service)
    return app


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/ping")
    @app.get("/health")
    async def ping() -> Response:
        """Respond 200 when a version serves, 503 otherwise."""
        status = 200 if service.slots.at("champion") is not None else 503
        return Response("\n", status, media_type="application/json")

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        """Respond 200 while the process runs; without a response it may be restarted."""
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"model": Readiness}})
    def readyz(response: Response) -> Readiness:
        """Respond 200 when a version serves and predictions can be logged, 503 with what is missing otherwise."""
        missing = list(_missing(service))
        response.status_code = 503 if missing else 200
        return Readiness(ready=not missing, missing=missing)

    @app.get("/version")
    async def version() -> Response:
        """Respond with MLflow's version, as MLflow's own server does."""
        return Response(MLFLOW_VERSION, media_type="application/json")

    @app.api_route("/invocations", methods=["GET", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def invocations() -> None:
        raise HTTPException(405, "send rows with POST")


def _missing(service: Service) -> Iterator[str]:
    if service.slots.at("champion") is None:
        yield "no version serves yet; the first promotion loads one"
    if service.requests.failure is not None:
        yield f"the request log could not be written: {service.requests.failure}"
    free = shutil.disk_usage(service.config.state).free
    if free < LEAST_FREE:
        yield f"the disk of the prediction log has {free} bytes free, {LEAST_FREE} are needed"


def _add_reports(app: FastAPI, service: Service) -> None:
    async def client(request: Request) -> None:
        service.authorize(dict(request.headers.raw))

    options: dict[str, Any] = {
        "dependencies": [Security(CLIENT), Security(SCORER), Depends(client)],
        "responses": error_responses(401, 403),
    }

    @app.get("/status", **options)
    def status() -> Status:
        """Return the state of the service: its versions, the shadow's backlog, memory."""
        slots = service.slots
        return Status(
            project=service.project,
            ready=slots.at("champion") is not None,
            pid=os.getpid(),
            started=datetime.fromtimestamp(service.started, UTC),
            now=service.handler.now,
            champion=_loaded_version(slots.at("champion")),
            standby=_loaded_version(slots.at("standby")),
            shadow=_loaded_version(slots.at("shadow")),
            shadow_backlog=service.shadow.backlog(),
            shadow_failed=service.shadow.failed,
            models_in_memory=slots.in_memory,
            memory_mb=round(resident_memory() / 2**20, 1),
        )

    @app.get("/metrics", **options)
    def metrics() -> Response:
        """Return the metrics in Prometheus's text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _loaded_version(loaded: Loaded | None) -> LoadedVersion | None:
    if loaded is None:
        return None
    manifest = loaded.predictor.manifest
    return LoadedVersion(
        version=loaded.version,
        dataset=manifest.dataset,
        as_of=manifest.as_of,
        trained_through=manifest.trained_through,
        folder=loaded.folder,
    )


def _add_actions(app: FastAPI, service: Service) -> None:
    async def scorer(request: Request) -> None:
        headers = dict(request.headers.raw)
        if b"x-scorer-token" not in headers:
            raise RequestError(401, "X-Scorer-Token", "the scorer's token is required")
        service.authorize(headers)

    options: dict[str, Any] = {
        "dependencies": [Security(SCORER), Depends(scorer)],
        "responses": error_responses(401, 403, 422),
    }
    switch_options = {**options, "responses": error_responses(401, 403, 409, 422)}

    # plain functions: FastAPI runs them in threads, so that scoring requests are handled meanwhile

    @app.post("/admin/load", **options)
    def load(bundle: Bundle) -> LoadResult:
        """Load a version as standby; it must reproduce its reference predictions."""
        return LoadResult(version=bundle.version, place=service.slots.load(bundle.version, bundle.folder))

    @app.post("/admin/switch", **switch_options)
    def switch(wanted: Version) -> SwitchResult:
        """Make the standby serve; requests in flight finish with the previous version."""
        previous = service.slots.switch(wanted.version)
        service.save_served_versions()
        return SwitchResult(version=wanted.version, previous=previous)

    @app.post("/admin/unload", **options)
    def unload() -> UnloadResult:
        """Unload the standby."""
        return UnloadResult(version=service.slots.unload())

    @app.post("/admin/shadow", **options)
    def shadow(wanted: ShadowBundle) -> ShadowResult:
        """Make a version predict in shadow from now on, and also the events that were due since its `as_of`."""
        service.slots.shadow(wanted.version, wanted.folder)
        service.save_served_versions()
        service.shadow.wake()
        return ShadowResult(backlog=service.shadow.backlog())

    @app.post("/admin/drain", **options)
    def drain(timeout: Annotated[float, Field(ge=0, le=600)] = 30.0) -> DrainResult:
        """Wait until the shadow has no work and the request log is written, for `timeout` seconds at most."""
        left = service.shadow.drain(timeout)
        service.requests.flush()
        return DrainResult(backlog=left, written=service.shadow.written, failed=service.shadow.failed)


def _add_error_handlers(app: FastAPI) -> None:
    def response(error: RequestError) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse(error.body(), error.status, headers)

    @app.exception_handler(RequestError)
    async def request_error(_: Request, error: RequestError) -> JSONResponse:
        return response(error)

    @app.exception_handler(PlatformError)
    async def platform_error(_: Request, error: PlatformError) -> JSONResponse:
        return response(RequestError(422, error.place, f"{error.found}; {error.remedy}"))

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return response(RequestError(422, field, first["msg"]))

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return response(RequestError(error.status_code, "path", str(error.detail)))


def _add_openapi(app: FastAPI, service: Service) -> None:
    without_invocations = app.openapi
    documents: dict[int, dict[str, Any]] = {}

    def openapi() -> dict[str, Any]:
        with service.slots.borrow("champion") as loaded:
            if loaded is None:
                return without_invocations()
            if loaded.version not in documents:
                documents.clear()
                example = read_reference_predictions(loaded.folder).records[0]
                documents[loaded.version] = document(app, loaded.predictor.schema, example)
            return documents[loaded.version]

    app.openapi = openapi  # type: ignore[method-assign]
