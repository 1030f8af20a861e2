"""The shadow: a version that predicts for the same inputs as the champion, without being served.

Its work list is the prediction log: every champion's prediction without one by the shadow, due at or after the shadow's
`as_of`. So nothing is lost when the service ends early; the next start makes up for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mlops_assets.errors import InputError
from mlops_assets.prediction.inputs import from_records
from mlops_assets.prediction.records import Pending, PredictionRecord
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.resources.telemetry.prediction_log import PredictionLog
from mlops_assets.serving.model_slots import Loaded, ModelSlots
from mlops_assets.serving.prediction_handler import plain_predictions
from mlops_assets.serving.request_parsing import RequestError

CHUNK = 16
"""Number of predictions that are read and written at once."""
WAIT_FOR_REQUESTS = 0.05
"""Longest wait of a chunk for requests in flight, in seconds: under constant load the shadow is slow, but continues."""
CHECK_EVERY = 30.0
"""Seconds after which the thread looks for work although `wake` was not called."""

log = logging.getLogger("mlops_assets.serving.shadow")


class ShadowScoring:
    """Predicts with the version in the slot shadow, in a thread of its own.

    Args:
        project: the project.
        slots: the loaded versions.
        telemetry: the prediction log.
    """

    def __init__(self, project: str, slots: ModelSlots, telemetry: PredictionLog) -> None:
        self.project, self.slots, self.telemetry = project, slots, telemetry
        self.in_flight = 0
        """Number of requests in flight; the service keeps it up to date."""
        self.written = self.failed = 0
        self._done: tuple[Loaded | None, int] = (None, 0)
        """The shadow's version, and the row of the log up to which it has no work left."""
        self._wake, self._ended = threading.Event(), False
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Start the thread; it begins with the work that an earlier process left."""
        self._thread.start()

    def wake(self) -> None:
        """Let the thread look for work."""
        self._wake.set()

    def stop(self, within: float | None = None) -> bool:
        """Finish the current chunk and end the thread.

        Args:
            within: seconds to wait at most; None: as long as it takes.

        Returns:
            Whether the thread has ended.
        """
        self._ended = True
        self.wake()
        self._thread.join(within)
        return not self._thread.is_alive()

    def backlog(self) -> int:
        """Return the number of events without a prediction by the shadow."""
        with self.slots.borrow("shadow") as shadow:
            if shadow is None:
                return 0
            as_of = shadow.predictor.manifest.as_of
            return self.telemetry.backlog(self.project, shadow.version, as_of, self._done_through(shadow))

    def drain(self, timeout: float) -> int:
        """Wait until no work is left.

        Args:
            timeout: seconds to wait at most.

        Returns:
            The backlog; 0 unless the timeout was reached.
        """
        deadline = time.monotonic() + timeout
        self.wake()
        with self._progress:
            while (left := self.backlog()) and (rest := deadline - time.monotonic()) > 0:
                self._progress.wait(min(rest, 1.0))
        return left

    def _done_through(self, shadow: Loaded) -> int:
        loaded, row = self._done
        return row if loaded is shadow else 0

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(CHECK_EVERY)
            self._wake.clear()
            try:
                while not self._ended and self._chunk():
                    pass
            except Exception:
                # the thread must survive a full disk; what is not done stays in the work list
                log.exception("the shadow failed; it tries again")

    def _chunk(self) -> bool:
        """Predict for some events, and return whether there were any."""
        self._wait_for_requests()
        with self.slots.borrow("shadow") as shadow:
            if shadow is None:
                return False
            as_of = shadow.predictor.manifest.as_of
            work = self.telemetry.unshadowed(self.project, shadow.version, as_of, self._done_through(shadow), CHUNK)
            if work:
                predicted = [found for pending in work if (found := self._predict(shadow, pending)) is not None]
                self.telemetry.record(predicted)
                with self._progress:
                    self.written += len(predicted)
                    self._done = (shadow, work[-1].row)
                    self._progress.notify_all()
        return bool(work)

    def _wait_for_requests(self) -> None:
        deadline = time.monotonic() + WAIT_FOR_REQUESTS
        while self.in_flight and time.monotonic() < deadline and not self._ended:
            time.sleep(0.001)

    def _predict(self, shadow: Loaded, pending: Pending) -> PredictionRecord | None:
        """Predict for one event; return None when the shadow cannot, now or later, since it has other inputs."""
        champion = pending.champion
        try:
            inputs = from_records([_inputs_of(champion.inputs, shadow.predictor.schema)], shadow.predictor.schema)
            predictions = self.slots.priority_lock.batch(shadow.predictor, inputs)
            ((value, probabilities),) = plain_predictions(predictions, [0])
        except (InputError, RequestError) as error:
            self.failed += 1
            log.warning(
                f"the shadow cannot predict this event: {error}",
                extra={"event_id": champion.event_id, "model_version": shadow.version},
            )
            return None
        return replace(
            champion,
            role="shadow",
            version=shadow.version,
            dataset=shadow.predictor.manifest.dataset,
            answered_at=datetime.now(UTC),
            entity_known=predictions.known_entity[0],
            feature_set=shadow.feature_set,
            features=predictions.features[0],
            prediction=value,
            probabilities=probabilities,
        )


def _inputs_of(inputs: Mapping[str, Any], schema: InputSchema) -> dict[str, Any]:
    """Return those of the champion's inputs that a schema has. `from_records` raises an error for missing ones."""
    return {name: inputs[name] for name in schema.fields if name in inputs}
