"""Handle one scoring request: check its rows, predict, log the predictions, and only then return them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mlops_assets.errors import InputError, Refused
from mlops_assets.prediction.inputs import Inputs, from_records
from mlops_assets.prediction.predictor import Predictions
from mlops_assets.prediction.records import PredictionRecord, Role, times_of
from mlops_assets.resources.telemetry.prediction_log import PredictionLog
from mlops_assets.serving.model_slots import Loaded, ModelSlots
from mlops_assets.serving.request_parsing import Record, RequestError, ScoringRequest
from mlops_assets.spec.project import WallClock
from mlops_assets.timeline import Timeline, event_id, iso


@dataclass(frozen=True)
class Event:
    """The event that a row of a request is about."""

    id: str
    entity: str | None
    time: datetime


class PredictionHandler:
    """Predicts the rows of requests with the champion.

    Args:
        timeline: the project's time.
        slots: the loaded versions.
        telemetry: the prediction log.
    """

    def __init__(self, timeline: Timeline, slots: ModelSlots, telemetry: PredictionLog) -> None:
        self.timeline, self.slots, self.telemetry = timeline, slots, telemetry
        self._replay_now = telemetry.latest_project_time()

    @property
    def now(self) -> datetime | None:
        """The project's time: the present time, or in a replay the latest time that the scorer has sent."""
        return datetime.now(UTC) if isinstance(self.timeline.spec.clock, WallClock) else self._replay_now

    def predict_at_once(self, loaded: Loaded, request: ScoringRequest) -> list[dict[str, Any]]:
        """Predict a few rows of any client. Only the event loop's thread may call this.

        Raises:
            RequestError: with the field and the row at fault.
        """
        inputs = self._inputs(loaded, request)
        return self._ad_hoc(loaded, request.records, inputs, self.slots.priority_lock.at_once(loaded.predictor, inputs))

    def predict_batch(self, loaded: Loaded, request: ScoringRequest) -> list[dict[str, Any]]:
        """Predict many rows of any client; requests for a few rows have priority.

        Raises:
            RequestError: with the field and the row at fault.
        """
        inputs = self._inputs(loaded, request)
        return self._ad_hoc(loaded, request.records, inputs, self.slots.priority_lock.batch(loaded.predictor, inputs))

    def _ad_hoc(
        self, loaded: Loaded, records: list[Record], inputs: Inputs, predictions: Predictions
    ) -> list[dict[str, Any]]:
        events, no_due, now = self._events(inputs), [None] * len(records), [self.now] * len(records)
        logged = self._records("ad_hoc", loaded, records, events, predictions, no_due, now, range(len(records)))
        self.telemetry.record(logged)
        return [_response_row(record) for record in logged]

    def predict_events(self, loaded: Loaded, request: ScoringRequest) -> list[dict[str, Any]]:
        """Predict due events for the scorer. An event's first prediction stays, and is returned again.

        Raises:
            RequestError: with the field and the row at fault; 409 when the champion may not predict an event.
        """
        assert request.due is not None
        assert request.now is not None
        self._replay_now = max(request.now if self._replay_now is None else [self._replay_now, *request.now])
        inputs = self._inputs(loaded, request)
        events = self._events(inputs)
        self._require_consistent(events, request.due)
        stored = self.telemetry.champion_predictions(event.id for event in events)
        new = [number for number, event in enumerate(events) if event.id not in stored]
        self._require_unseen(loaded, request.due, new)
        if new:
            predictions = self.slots.priority_lock.batch(loaded.predictor, inputs.take(np.array(new)))
            logged = self._records(
                "champion",
                loaded,
                [request.records[number] for number in new],
                [events[number] for number in new],
                predictions,
                [request.due[number] for number in new],
                [request.now[number] for number in new],
                new,
            )
            # another request may have logged some of these events since they were looked up
            overtaken = self.telemetry.record(logged)
            stored.update(self.telemetry.champion_predictions(overtaken))
            found = {record.event_id: record for record in logged} | stored
        else:
            found = dict(stored)
        return [{**_response_row(found[event.id]), "stored": event.id in stored} for event in events]

    def _inputs(self, loaded: Loaded, request: ScoringRequest) -> Inputs:
        try:
            inputs = from_records(request.records, loaded.predictor.schema)
        except InputError as error:
            raise RequestError(422, error.place, f"{error.found}; {error.remedy}", error.row) from error
        if request.invalid_json is not None:
            raise RequestError(400, "body", request.invalid_json)
        return inputs

    def _events(self, inputs: Inputs) -> list[Event]:
        times = times_of(inputs.event_time)
        names: Sequence[str | None] = [None] * len(times) if inputs.entity is None else inputs.entity
        project = self.timeline.project
        return [Event(event_id(project, name, time), name, time) for name, time in zip(names, times, strict=True)]

    def _require_consistent(self, events: list[Event], due: list[datetime]) -> None:
        """Require that each event occurs once, and that its due time is the project's."""
        first_row: dict[str, int] = {}
        for number, event in enumerate(events):
            if (first := first_row.setdefault(event.id, number)) != number:
                raise RequestError(422, "event_time", f"the same event as in row {first}; send each event once", number)
            expected = self.timeline.due(event.time)
            if due[number] != expected:
                message = f"the prediction for {iso(event.time)} is due at {iso(expected)}, not at {iso(due[number])}"
                raise RequestError(422, "due", message, number)

    def _require_unseen(self, loaded: Loaded, due: list[datetime], new: list[int]) -> None:
        """Require that the champion was trained before the events without a prediction were due."""
        for number in new:
            try:
                self.timeline.require_unseen(loaded.version, loaded.predictor.manifest.as_of, due[number])
            except Refused as error:
                raise RequestError(409, "due", f"{error.place}: {error.found}; {error.remedy}", number) from error

    def _records(
        self,
        role: Role,
        loaded: Loaded,
        records: list[Record],
        events: list[Event],
        predictions: Predictions,
        due: Sequence[datetime | None],
        now: Sequence[datetime | None],
        numbers: Sequence[int],
    ) -> list[PredictionRecord]:
        predicted_at = datetime.now(UTC)
        dataset = loaded.predictor.manifest.dataset
        values = plain_predictions(predictions, numbers)
        return [
            PredictionRecord(
                event_id=event.id,
                role=role,
                version=loaded.version,
                dataset=dataset,
                project=self.timeline.project,
                entity=event.entity,
                event_time=event.time,
                due=due[position],
                answered_at=predicted_at,
                now=now[position],
                late=_is_late(self.timeline, due[position], now[position]),
                entity_known=predictions.known_entity[position],
                inputs=records[position],
                feature_set=loaded.feature_set,
                features=predictions.features[position],
                prediction=values[position][0],
                probabilities=values[position][1],
            )
            for position, event in enumerate(events)
        ]


def _is_late(timeline: Timeline, due: datetime | None, now: datetime | None) -> bool:
    return due is not None and now is not None and now > timeline.prediction_deadline(due)


def plain_predictions(
    predictions: Predictions, numbers: Sequence[int]
) -> list[tuple[float | str, dict[str, float] | None]]:
    """Return the prediction of each row and its probabilities by class, as plain values.

    Args:
        predictions: the predictions of n rows.
        numbers: (n,) the numbers of these rows in the request, for errors.

    Raises:
        RequestError: 422, when a prediction is not finite: the row's values are beyond what the model can take.
    """
    values = predictions.value.tolist()
    columns = {} if predictions.probabilities is None else {k: v.tolist() for k, v in predictions.probabilities.items()}
    numeric = columns.values() if columns else [values]
    for number, row in zip(numbers, zip(*numeric, strict=True), strict=True):
        if not np.isfinite(row).all():
            message = "the model has no finite prediction for this row; check its values"
            raise RequestError(422, "prediction", message, number)
    if not columns:
        return [(value, None) for value in values]
    return [(value, {k: v[position] for k, v in columns.items()}) for position, value in enumerate(values)]


def _response_row(record: PredictionRecord) -> dict[str, Any]:
    """Return a logged prediction as the client gets it: MLflow's fields, and those of the platform."""
    return {
        "prediction": record.prediction,
        **{f"probability_{name}": value for name, value in (record.probabilities or {}).items()},
        "model_version": record.version,
        "dataset": record.dataset,
        "event_id": record.event_id,
        "entity_known": record.entity_known,
    }
