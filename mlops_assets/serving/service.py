"""The parts of a running scoring service, and how they are started, used and stopped together."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from mlops_assets.files import write_text
from mlops_assets.prediction.predictor import Predictor
from mlops_assets.resources.scoring.config import CONFIG, ClientToken, ModelRef, ServiceConfig, scorer_token
from mlops_assets.resources.telemetry.prediction_log import PredictionLog, telemetry_path
from mlops_assets.serving.metrics import Metrics
from mlops_assets.serving.model_slots import Loaded, ModelSlots
from mlops_assets.serving.prediction_handler import PredictionHandler
from mlops_assets.serving.request_log import RequestLog
from mlops_assets.serving.request_parsing import RequestError
from mlops_assets.serving.shadow import ShadowScoring
from mlops_assets.timeline import Timeline

T = TypeVar("T")
Headers = dict[bytes, bytes]

STOP_WITHIN = 8.0
"""Seconds from SIGTERM to the end. Requests in flight are finished first, then as much of the shadow's backlog as the
remaining time allows."""

log = logging.getLogger("mlops_assets.serving.service")


class Service:
    """The scoring service of one project.

    Args:
        config: the versions that it serves from the start, and its files.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.config, self.project = config, config.spec.name
        self.client_token, self.scorer_token = ClientToken(config), scorer_token(config.folder)
        self.started = time.time()
        self.telemetry = PredictionLog(telemetry_path(config.state, self.project))
        self.slots = ModelSlots(self.project, self._register)
        self.handler = PredictionHandler(Timeline(config.spec), self.slots, self.telemetry)
        self.shadow = ShadowScoring(self.project, self.slots, self.telemetry)
        self.requests = RequestLog(self.telemetry)
        self.metrics = Metrics(self.project, self.slots, self.shadow.backlog)
        self._pool = ThreadPoolExecutor(2, "batch")
        self._working: set[Future[Any]] = set()

    def _register(self, predictor: Predictor) -> int:
        return self.telemetry.feature_set(predictor.definitions.names, predictor.definitions.levels)

    def start(self) -> None:
        """Load the versions that the configuration names, and start the threads.

        Raises:
            ModelError: a version does not load, or does not reproduce its reference predictions.
        """
        if self.config.serve is not None:
            self.slots.serve(self.config.serve.version, self.config.serve.folder)
        if self.config.shadow is not None:
            self.slots.shadow(self.config.shadow.version, self.config.shadow.folder)
        self.requests.start()
        self.shadow.start()
        self.shadow.wake()

    def save_served_versions(self) -> None:
        """Write champion and shadow into the configuration, so that a start without ledger and registry is possible."""
        champion, shadow = _model_ref(self.slots.at("champion")), _model_ref(self.slots.at("shadow"))
        self.config = self.config.model_copy(update={"serve": champion, "shadow": shadow})
        write_text(self.config.folder / CONFIG, self.config.model_dump_json(indent=1))

    def stop(self, within: float = STOP_WITHIN) -> None:
        """Finish batches and the shadow's backlog, and release everything.

        Work that takes longer is left: its predictions were not sent, so they will be requested again.

        Args:
            within: seconds that this may take.
        """
        deadline = time.monotonic() + within
        self._pool.shutdown(wait=False, cancel_futures=True)
        if unfinished := wait(set(self._working), timeout=within).not_done:
            log.warning(f"{len(unfinished)} batches are cut off")
        if left := self.shadow.drain(max(0.0, deadline - time.monotonic())):
            log.warning(f"{left} events are left for the shadow; the next start makes up for them")
        ended = self.shadow.stop(max(0.5, deadline - time.monotonic()))
        self.requests.stop()
        if ended and not unfinished:
            self.slots.close()
            self.telemetry.close()

    async def in_pool(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run a function in a thread, and return its result."""
        future = self._pool.submit(work, *arguments)
        self._working.add(future)
        future.add_done_callback(self._working.discard)
        return await asyncio.wrap_future(future)

    def authorize(self, headers: Headers) -> bool:
        """Check the tokens of a request.

        Returns:
            Whether it has the token of the scorer, which is also that of the admin API.

        Raises:
            RequestError: 401 without a token where one is required, 403 with a wrong token of the scorer.
        """
        token = headers.get(b"x-scorer-token")
        if token is not None:
            if not hmac.compare_digest(token, self.scorer_token.encode()):
                raise RequestError(403, "X-Scorer-Token", "it is not this service's token")
            return True
        required = self.client_token.value
        if required is not None:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), required.encode()):
                raise RequestError(401, "Authorization", "a client's token is required: Authorization: Bearer <token>")
        return False


def _model_ref(loaded: Loaded | None) -> ModelRef | None:
    return None if loaded is None else ModelRef(version=loaded.version, folder=loaded.folder)
