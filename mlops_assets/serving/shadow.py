"""The shadow: a former champion goes on predicting, on the inputs of the answers that were given, unseen.

Its work list is the answer log itself: every champion's answer without the shadow's prediction, due at or after the
shadow's `as_of`. So nothing is lost when the service dies; the next one fills it in.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import InputError
from mlops_assets.prediction.inputs import InputSchema, from_records
from mlops_assets.prediction.records import Pending, PredictionRecord
from mlops_assets.serving.model_slots import Loaded, ModelSlots
from mlops_assets.serving.prediction_handler import predictions_of
from mlops_assets.serving.request_parsing import RequestError

if TYPE_CHECKING:
    from mlops_assets.resources.telemetry.prediction_log import PredictionLog

CHUNK = 16
"""Answers read and written at once."""
YIELD_FOR = 0.05
"""Seconds that a chunk waits for requests in flight at most: under constant load the shadow is slow, but goes on."""
LOOK_EVERY = 30.0
"""Seconds after which it looks for work without being woken."""

log = logging.getLogger("mlops_assets.deployment.shadow")


class ShadowScoring:
    """Predicts in the shadow, in a thread of its own.

    Args:
        project: whose answers.
        model slots: holds the shadow's version.
        telemetry: the answer log.
    """

    def __init__(self, project: str, slots: ModelSlots, telemetry: PredictionLog) -> None:
        self.project, self.slots, self.telemetry = project, slots, telemetry
        self.in_flight = 0
        """Requests that are being answered now; kept by the server."""
        self.written = self.failed = 0
        self._passed: tuple[Loaded | None, int] = (None, 0)
        """For the shadow's version, the row of the log up to which nothing is left to do."""
        self._wake, self._ended = threading.Event(), False
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        self._thread.start()

    def wake(self) -> None:
        """There may be work."""
        self._wake.set()

    def stop(self, within: float | None = None) -> bool:
        """Finish the chunk at hand and end; whether it has ended within so many seconds, if there is a limit."""
        self._ended = True
        self.wake()
        self._thread.join(within)
        return not self._thread.is_alive()

    def backlog(self) -> int:
        """Answers that wait for the shadow's prediction."""
        with self.slots.borrow("shadow") as shadow:
            if shadow is None:
                return 0
            as_of = shadow.predictor.manifest.as_of
            return self.telemetry.backlog(self.project, shadow.version, as_of, self._after(shadow))

    def drain(self, timeout: float) -> int:
        """Wait until nothing is left.

        Args:
            timeout: seconds to wait at most.

        Returns:
            The backlog left; 0 unless the time was up.
        """
        deadline = time.monotonic() + timeout
        self.wake()
        with self._progress:
            while (left := self.backlog()) and (rest := deadline - time.monotonic()) > 0:
                self._progress.wait(min(rest, 1.0))
        return left

    def _after(self, shadow: Loaded) -> int:
        loaded, row = self._passed
        return row if loaded is shadow else 0

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            try:
                while not self._ended and self._chunk():
                    pass
            except Exception:
                # the thread must outlive a disk that was full; the work list keeps what is not done
                log.exception("the shadow could not go on; it tries again")

    def _chunk(self) -> bool:
        """Predict some answers; False when there are none."""
        self._give_way()
        with self.slots.borrow("shadow") as shadow:
            if shadow is None:
                return False
            as_of = shadow.predictor.manifest.as_of
            work = self.telemetry.unshadowed(self.project, shadow.version, as_of, self._after(shadow), CHUNK)
            if work:
                predicted = [answer for pending in work if (answer := self._predict(shadow, pending)) is not None]
                self.telemetry.record(predicted)
                with self._progress:
                    self.written += len(predicted)
                    self._passed = (shadow, work[-1].row)
                    self._progress.notify_all()
        return bool(work)

    def _give_way(self) -> None:
        deadline = time.monotonic() + YIELD_FOR
        while self.in_flight and time.monotonic() < deadline and not self._ended:
            time.sleep(0.001)

    def _predict(self, shadow: Loaded, pending: Pending) -> PredictionRecord | None:
        given = pending.answer
        try:
            inputs = from_records([_seen_by(given.inputs, shadow.predictor.schema)], shadow.predictor.schema)
            predictions = self.slots.priority_lock.batch(shadow.predictor, inputs)
            ((value, probabilities),) = predictions_of(predictions, [0])
        except (InputError, RequestError) as error:
            # its columns are other ones: no prediction is possible, now or later
            self.failed += 1
            log.warning(
                f"the shadow cannot predict this event: {error}",
                extra={"event_id": given.event_id, "model_version": shadow.version},
            )
            return None
        return replace(
            given,
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


def _seen_by(inputs: Mapping[str, Any], schema: InputSchema) -> dict[str, Any]:
    """Of an answer's inputs those that a model with another schema takes; what is missing it will name."""
    return {name: inputs[name] for name in schema.fields if name in inputs}
