"""The scoring service of one project: `python -m mlops_assets.serving.app --config config.json`.

It has MLflow's scoring protocol and outlives the run that started it. `/invocations` is handled below FastAPI, which
handles everything else: routing would take a quarter of a small request's time. A few rows are computed in the event
loop's own thread, since handing a millisecond's work to another thread costs more than it saves. Batches, and requests
of the scorer, whose responses wait for the disk, are computed in a pool.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import uvicorn
from filelock import FileLock, Timeout

from mlops_assets.errors import PlatformError
from mlops_assets.files import write_text
from mlops_assets.logs import log_to_stdout
from mlops_assets.resources.runtime.processes import ProcessIdentity, folder_identity
from mlops_assets.resources.scoring.config import PROCESS, RUNNING, ServiceConfig, ServiceProcess, fingerprint
from mlops_assets.serving.admin_api import admin_api
from mlops_assets.serving.request_parsing import RequestError, is_compressed, read_body
from mlops_assets.serving.service import STOP_WITHIN, Headers, Service

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

AT_ONCE_ROWS = 4
"""Largest number of rows that are computed in the event loop's thread."""
AT_ONCE_BYTES = 64 * 2**10
"""Largest body that is parsed in the event loop's thread."""
BACKLOG = 2048
"""Number of connections that may wait to be accepted; uvicorn's default."""
REQUESTS_WITHIN = 6
"""Seconds of `STOP_WITHIN` that requests in flight may take."""
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept. uvicorn's default of 5 would disconnect a client with rare requests."""
WAIT_FOR_PREDECESSOR = STOP_WITHIN + 5
"""Seconds that a start waits for another process of the same project to end."""
SWITCH_INTERVAL = 0.0005
"""Seconds after which a computing thread lets the event loop run. Python's default of 5 ms delays small requests."""
GONE = 499
"""Status in the request log of a request whose client disconnected before it had sent the body; nobody receives it."""
TERMINATED = 128 + signal.SIGTERM
"""Exit status after SIGTERM before the service was ready."""
ALREADY_RUNNING = 75
"""Exit status when another process serves the project."""
JSON_HEADER = (b"content-type", b"application/json")

log = logging.getLogger("mlops_assets.serving.app")


@dataclass
class _Progress:
    """What is known about a request so far, for metrics and request log."""

    role: str = "ad_hoc"
    rows: int = 0


class App:
    """A service as an ASGI application.

    Args:
        service: the service; it is started and stopped by the caller.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.max_body = int(service.config.max_body_mb * 2**20)
        self._admin_api = admin_api(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle `POST /invocations`, and pass everything else to FastAPI."""
        if scope["type"] == "http" and scope["path"] == "/invocations" and scope["method"] == "POST":
            await self._invocations(dict(scope["headers"]), receive, send)
        else:
            await self._admin_api(scope, receive, send)

    async def _invocations(self, headers: Headers, receive: Receive, send: Send) -> None:
        service = self.service
        began, progress = time.perf_counter(), _Progress()
        service.shadow.in_flight += 1
        try:
            status, body = 200, orjson.dumps({"predictions": await self._predict(headers, receive, progress)})
        except RequestError as error:
            status, body = error.status, orjson.dumps(error.body())
        except asyncio.CancelledError:
            # the time for requests in flight is up; the predictions were not logged, so they are not sent
            stopping = RequestError(503, "service", "it is stopping; send the request again")
            status, body = stopping.status, orjson.dumps(stopping.body())
        except Exception:
            name = headers.get(b"x-request-id", b"").decode("latin-1")[:80] or uuid.uuid4().hex
            log.exception("a request failed", extra={"request_id": name, "status": 500})
            message = f"the service failed; its log has the error under request {name}"
            status, body = 500, orjson.dumps(RequestError(500, "service", message).body())
        finally:
            service.shadow.in_flight -= 1
        if progress.role == "champion":
            service.shadow.wake()
        await _respond(send, status, body)
        seconds = time.perf_counter() - began
        service.metrics.observe(status, seconds, progress.role, progress.rows)
        service.requests.add(service.handler.now, status, seconds, progress.role, progress.rows)

    async def _predict(self, headers: Headers, receive: Receive, progress: _Progress) -> list[dict[str, Any]]:
        service = self.service
        scorer = service.authorize(headers)
        body = await _read(receive, headers, self.max_body)
        with service.slots.borrow("champion") as loaded:
            if loaded is None:
                raise RequestError(503, "model", "no version serves yet; the first promotion loads one")
            content_type, schema = headers.get(b"content-type", b"").decode("latin-1"), loaded.predictor.schema
            if len(body) <= AT_ONCE_BYTES and not is_compressed(content_type):
                request = read_body(body, content_type, schema, scorer)
            else:
                request = await service.in_pool(read_body, body, content_type, schema, scorer)
            progress.role = "ad_hoc" if request.due is None else "champion"
            progress.rows = len(request.records)
            if request.due is None and progress.rows <= AT_ONCE_ROWS:
                return service.handler.predict_at_once(loaded, request)
            work = service.handler.predict_batch if request.due is None else service.handler.predict_events
            return await service.in_pool(work, loaded, request)


async def _read(receive: Receive, headers: Headers, limit: int) -> bytes:
    too_large = RequestError(413, "body", f"more than {limit} bytes; send fewer rows at once")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limit:
        raise too_large
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(GONE, "body", "the client disconnected before it had sent its request")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _respond(send: Send, status: int, body: bytes) -> None:
    headers = [JSON_HEADER, (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _bind(config: ServiceConfig) -> socket.socket:
    """Listen on the configured port, or on a free one when it is taken."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    for port in (config.port, 0):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, port))
            # at once: until one of them listens, two services that start together can bind the same port
            listener.listen(BACKLOG)
            return listener
        except OSError:
            listener.close()
            if port == 0:
                raise
    raise AssertionError("unreachable")


def _record(config: ServiceConfig, listener: socket.socket) -> None:
    own = ProcessIdentity.own()
    record = ServiceProcess(
        pid=own.pid,
        started=own.started,
        host=config.host,
        port=listener.getsockname()[1],
        settings=fingerprint(config),
        recorded_in=folder_identity(config.folder),
    )
    write_text(config.folder / PROCESS, record.model_dump_json(indent=1))


class _Server(uvicorn.Server):
    """Remembers when the first signal to end arrived: `STOP_WITHIN` begins then."""

    signalled: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Remember the time of a signal."""
        self.signalled = self.signalled or time.monotonic()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serve until SIGTERM; then finish requests in flight and the shadow's backlog. Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a ServiceConfig as JSON")
    config = ServiceConfig.model_validate_json(parser.parse_args().config.read_text())
    log_to_stdout(config.spec.name)
    sys.setswitchinterval(SWITCH_INTERVAL)
    # the first process of a container has no default handler; while a model loads, nothing has to be finished
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        with FileLock(config.folder / RUNNING, timeout=WAIT_FOR_PREDECESSOR):
            _serve(config)
    except Timeout:
        log.error("another process already serves this project")
        return ALREADY_RUNNING
    except PlatformError as error:
        log.error(str(error))
        return 1
    return 0


def _serve(config: ServiceConfig) -> None:
    listener = _bind(config)
    _record(config, listener)
    service = Service(config)
    service.start()
    serves = None if config.serve is None else config.serve.version
    log.info(f"serving on port {listener.getsockname()[1]}", extra={"model_version": serves})
    # the model is loaded before the port responds, so that every client that reaches it is served
    server = _Server(
        uvicorn.Config(
            App(service),
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=REQUESTS_WITHIN,
            timeout_keep_alive=KEEP_ALIVE,
        )
    )
    # uvicorn raises the signal again when it has ended; the code below must still run
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[listener])
    finally:
        deadline = (server.signalled or time.monotonic()) + STOP_WITHIN
        service.stop(max(0.0, deadline - time.monotonic()))
        log.info("ended")
        _leave(deadline)


def _leave(deadline: float) -> None:
    """End the process even if a thread still computes; the interpreter would wait for it without a limit."""
    others = [each for each in threading.enumerate() if each is not threading.current_thread() and not each.daemon]
    for each in others:
        each.join(max(0.1, deadline - time.monotonic()))
    if any(each.is_alive() for each in others):
        logging.shutdown()
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
