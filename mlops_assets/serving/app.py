"""The scoring service of one project: `python -m mlops_assets.serving.app --config config.json`.

It speaks MLflow's scoring protocol and outlives the run that started it. `/invocations` is answered below FastAPI,
which keeps the rest: a quarter of a bare request's time would go into routing. A few rows are computed in the event
loop's own thread, since handing a millisecond's work to another one costs more than it saves; batches and the scorer,
whose answers wait for the disk, go to a pool.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import orjson
import psutil
import uvicorn
from filelock import FileLock, Timeout

from mlops_assets.errors import PlatformError
from mlops_assets.files import write_text
from mlops_assets.logs import log_to_stdout
from mlops_assets.prediction.predictor import Predictor
from mlops_assets.resources.scoring.config import (
    CONFIG,
    PROCESS,
    RUNNING,
    ClientToken,
    ModelRef,
    ServiceConfig,
    ServiceProcess,
    fingerprint,
    scorer_token,
)
from mlops_assets.resources.telemetry.prediction_log import PredictionLog, telemetry_path
from mlops_assets.serving.admin_api import admin_api
from mlops_assets.serving.metrics import Metrics, RequestLog
from mlops_assets.serving.model_slots import Loaded, ModelSlots
from mlops_assets.serving.prediction_handler import PredictionHandler
from mlops_assets.serving.request_parsing import RequestError, is_compact, read_body
from mlops_assets.serving.shadow import ShadowScoring
from mlops_assets.timeline import Timeline

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = dict[bytes, bytes]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

AT_ONCE_ROWS = 4
"""Rows up to which a request is computed in the event loop's thread."""
AT_ONCE_BYTES = 64 * 2**10
"""Size of a body up to which it is read there, too."""
BACKLOG = 2048
"""Connections that may wait to be taken; uvicorn's own number."""
STOP_WITHIN = 8.0
"""Seconds from SIGTERM to the end; what requests in flight leave of them is for the shadow's backlog."""
REQUESTS_WITHIN = 6
"""Of them, for requests in flight."""
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept; uvicorn's 5 would cut off a client that asks now and then."""
WAIT_FOR_PREDECESSOR = STOP_WITHIN + 5
SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes lets the event loop run; Python's default of 5 ms would be felt."""
GONE = 499
"""Status in the books (nobody is left to read it) of a request that was not sent to its end."""
TERMINATED = 128 + signal.SIGTERM
"""Exit status when told to end before it served."""
ALREADY_RUNNING = 75
"""Exit status when another process serves the project."""
JSON_HEADER = (b"content-type", b"application/json")

log = logging.getLogger("mlops_assets.serving.app")


@dataclass
class _Request:
    """What is known of a request so far, for the books."""

    role: str = "ad_hoc"
    rows: int = 0


class Service:
    """The service as an ASGI application.

    Args:
        config: what it serves, and where its files are.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.config, self.project = config, config.spec.name
        self.client_token, self.scorer_token = ClientToken(config), scorer_token(config.folder)
        self.max_body = int(config.max_body_mb * 2**20)
        self.started = time.time()
        self.telemetry = PredictionLog(telemetry_path(config.state, self.project))
        self.slots = ModelSlots(self.project, self._register)
        self.answering = PredictionHandler(Timeline(config.spec), self.slots, self.telemetry)
        self.shadowing = ShadowScoring(self.project, self.slots, self.telemetry)
        self.requests = RequestLog(self.telemetry)
        self.metrics = Metrics(self.project, self.slots, self.shadowing.backlog)
        self.pool = ThreadPoolExecutor(2, "batch")
        self._working: set[Future[Any]] = set()
        self.app = admin_api(self)

    def _register(self, predictor: Predictor) -> int:
        return self.telemetry.feature_set(predictor.definitions.names, predictor.definitions.levels)

    def start(self) -> None:
        """Load what the configuration names and begin the work in the background.

        Raises:
            ModelError: when a version does not load or answers its golden rows wrongly.
        """
        if self.config.serve is not None:
            self.slots.serve(self.config.serve.version, self.config.serve.folder)
        if self.config.shadow is not None:
            self.slots.shadow(self.config.shadow.version, self.config.shadow.folder)
        self.requests.start()
        self.shadowing.start()
        self.shadowing.wake()

    def remember(self) -> None:
        """Keep what serves now for the next start: it must be possible without ledger and registry."""
        champion, shadow = _ref(self.slots.at("champion")), _ref(self.slots.at("shadow"))
        self.config = self.config.model_copy(update={"serve": champion, "shadow": shadow})
        write_text(self.config.folder / CONFIG, self.config.model_dump_json(indent=1))

    def stop(self, within: float = STOP_WITHIN) -> None:
        """Finish batches, empty the shadow's backlog, and release everything.

        What does not end within so many seconds is left: nobody was told of it, so it is asked for again.
        """
        deadline = time.monotonic() + within
        self.pool.shutdown(wait=False, cancel_futures=True)
        if unfinished := wait(set(self._working), timeout=within).not_done:
            log.warning(f"{len(unfinished)} batches are cut off")
        if left := self.shadowing.drain(max(0.0, deadline - time.monotonic())):
            log.warning(f"{left} answers are left for the shadow; the next start fills them in")
        ended = self.shadowing.stop(max(0.5, deadline - time.monotonic()))
        self.requests.stop()
        if ended and not unfinished:
            self.slots.close()
            self.telemetry.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `/invocations`; leave the rest to FastAPI."""
        if scope["type"] == "http" and scope["path"] == "/invocations" and scope["method"] == "POST":
            await self._invocations(dict(scope["headers"]), receive, send)
        else:
            await self.app(scope, receive, send)

    async def _invocations(self, headers: Headers, receive: Receive, send: Send) -> None:
        began, request = time.perf_counter(), _Request()
        self.shadowing.in_flight += 1
        try:
            status, body = 200, orjson.dumps({"predictions": await self._answer(headers, receive, request)})
        except RequestError as error:
            status, body = error.status, orjson.dumps(error_body(error))
        except asyncio.CancelledError:
            # the time that requests have at the end is over; the answer was not logged, and is not told
            late = RequestError(503, "service", "it ends, and this took longer than it may wait; ask again")
            status, body = late.status, orjson.dumps(error_body(late))
        except Exception:
            name = headers.get(b"x-request-id", b"").decode("latin-1")[:80] or uuid.uuid4().hex
            log.exception("a request could not be answered", extra={"request_id": name, "status": 500})
            message = f"the service could not answer; its log says why under request {name}"
            status, body = 500, orjson.dumps(error_body(RequestError(500, "service", message)))
        finally:
            self.shadowing.in_flight -= 1
        if request.role == "champion":
            self.shadowing.wake()
        await _reply(send, status, body)
        seconds = time.perf_counter() - began
        self.metrics.observe(status, seconds, request.role, request.rows)
        self.requests.add(self.answering.now, status, seconds, request.role, request.rows)

    async def _answer(self, headers: Headers, receive: Receive, request: _Request) -> list[dict[str, Any]]:
        scorer = self.authorize(headers)
        body = await _read(receive, headers, self.max_body)
        with self.slots.borrow("champion") as loaded:
            if loaded is None:
                raise RequestError(503, "model", "no version serves yet; the first promotion brings one")
            content_type, schema = headers.get(b"content-type", b"").decode("latin-1"), loaded.predictor.schema
            if len(body) <= AT_ONCE_BYTES and not is_compact(content_type):
                asked = read_body(body, content_type, schema, scorer)
            else:
                asked = await self._in_pool(read_body, body, content_type, schema, scorer)
            request.role, request.rows = ("ad_hoc" if asked.due is None else "champion"), len(asked.records)
            if asked.due is None and len(asked.records) <= AT_ONCE_ROWS:
                return self.answering.at_once(loaded, asked)
            work = self.answering.batch if asked.due is None else self.answering.events
            return await self._in_pool(work, loaded, asked)

    async def _in_pool(self, work: Callable[..., T], *arguments: Any) -> T:
        future = self.pool.submit(work, *arguments)
        self._working.add(future)
        future.add_done_callback(self._working.discard)
        return await asyncio.wrap_future(future)

    def authorize(self, headers: Headers) -> bool:
        """Check a request's tokens.

        Returns:
            Whether it is the scorer's (or administration's).

        Raises:
            Unanswered: 401 or 403.
        """
        token = headers.get(b"x-scorer-token")
        if token is not None:
            if not hmac.compare_digest(token, self.scorer_token.encode()):
                raise RequestError(403, "X-Scorer-Token", "it is not this service's token")
            return True
        wanted = self.client_token.value
        if wanted is not None:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), wanted.encode()):
                raise RequestError(401, "Authorization", "a client's token was expected: Authorization: Bearer <token>")
        return False


def _ref(loaded: Loaded | None) -> ModelRef | None:
    return None if loaded is None else ModelRef(version=loaded.version, folder=loaded.folder)


def error_body(error: RequestError) -> dict[str, Any]:
    """What a client is told about its request."""
    return {"error": {"field": error.field, "message": error.message, "row": error.row}}


async def _read(receive: Receive, headers: Headers, limit: int) -> bytes:
    too_large = RequestError(413, "body", f"more than {limit} bytes; send fewer rows at once")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limit:
        raise too_large
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(GONE, "body", "the client went away before it had sent its request")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _reply(send: Send, status: int, body: bytes) -> None:
    headers = [JSON_HEADER, (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# The process


def _bind(config: ServiceConfig) -> socket.socket:
    """Listen on the wished port, or on a free one."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    for port in (config.port, 0):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, port))
            # At once: until one of them listens, two services that start together can bind the same port.
            listener.listen(BACKLOG)
            return listener
        except OSError:
            listener.close()
            if port == 0:
                raise
    raise AssertionError("unreachable")


def _record(config: ServiceConfig, listener: socket.socket) -> None:
    process = psutil.Process()
    record = ServiceProcess(
        pid=process.pid,
        started=process.create_time(),
        host=config.host,
        port=listener.getsockname()[1],
        settings=fingerprint(config),
    )
    write_text(config.folder / PROCESS, record.model_dump_json(indent=1))


class _Server(uvicorn.Server):
    """Notes when it was told to end: from then on the time runs."""

    told: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take note of a signal."""
        self.told = self.told or time.monotonic()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serve until told to end (SIGTERM): requests in flight are finished, the shadow's backlog emptied."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a ServiceConfig as JSON")
    config = ServiceConfig.model_validate_json(parser.parse_args().config.read_text())
    log_to_stdout(config.spec.name)
    sys.setswitchinterval(SWITCH_INTERVAL)
    # the first process of a container gets no default handler; while a model loads nothing needs to be finished
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        with FileLock(config.folder / RUNNING, timeout=WAIT_FOR_PREDECESSOR):
            _serve(config)
    except Timeout:
        log.error("another process serves this project already")
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
    # a model is loaded before the port answers, so that whoever reaches it is served
    server = _Server(
        uvicorn.Config(
            service,
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
    # uvicorn raises the signal again when it has ended; what follows here must still run
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[listener])
    finally:
        deadline = (server.told or time.monotonic()) + STOP_WITHIN
        service.stop(max(0.0, deadline - time.monotonic()))
        log.info("ended")
        _leave(deadline)


def _leave(deadline: float) -> None:
    """End the process although something still computes: an interpreter would wait for it for as long as it takes."""
    others = [each for each in threading.enumerate() if each is not threading.current_thread() and not each.daemon]
    for each in others:
        each.join(max(0.1, deadline - time.monotonic()))
    if any(each.is_alive() for each in others):
        logging.shutdown()
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
