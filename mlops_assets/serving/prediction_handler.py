"""One request answered: checked, predicted, logged, and only then told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_assets.errors import InputError, Refused
from mlops_assets.prediction.inputs import Inputs, from_records
from mlops_assets.prediction.predictor import Predictions
from mlops_assets.prediction.records import PredictionRecord, Role, times_of
from mlops_assets.serving.model_slots import Loaded, ModelSlots
from mlops_assets.serving.request_parsing import Record, RequestError, ScoringRequest
from mlops_assets.spec.project import WallClock
from mlops_assets.timeline import Timeline, event_id, iso

if TYPE_CHECKING:
    from mlops_assets.resources.telemetry.prediction_log import PredictionLog

Told = tuple[float | str, dict[str, float] | None]
"""A row's prediction, and its probabilities by class."""
ROW = re.compile(r"^row (\d+): ")


@dataclass(frozen=True)
class Event:
    """A row as the event it asks about."""

    id: str
    entity: str | None
    time: datetime


class PredictionHandler:
    """Answers requests with the champion.

    Args:
        timeline: the project's time.
        model slots: the versions.
        telemetry: the answer log.
    """

    def __init__(self, timeline: Timeline, slots: ModelSlots, telemetry: PredictionLog) -> None:
        self.timeline, self.slots, self.telemetry = timeline, slots, telemetry
        self._told = telemetry.latest_project_time()

    @property
    def now(self) -> datetime | None:
        """The project's time: the wall's, or of a replay the latest that the scorer told (it stands still between)."""
        return datetime.now(UTC) if isinstance(self.timeline.spec.clock, WallClock) else self._told

    def at_once(self, loaded: Loaded, asked: ScoringRequest) -> list[dict[str, Any]]:
        """Answer a few rows that anybody asked; called by the event loop's thread only.

        Raises:
            Unanswered: naming field and row at fault.
        """
        inputs = self._inputs(loaded, asked)
        return self._ad_hoc(loaded, asked.records, inputs, self.slots.priority_lock.at_once(loaded.predictor, inputs))

    def batch(self, loaded: Loaded, asked: ScoringRequest) -> list[dict[str, Any]]:
        """Answer many rows that anybody asked, giving way to others in between.

        Raises:
            Unanswered: naming field and row at fault.
        """
        inputs = self._inputs(loaded, asked)
        return self._ad_hoc(loaded, asked.records, inputs, self.slots.priority_lock.batch(loaded.predictor, inputs))

    def _ad_hoc(
        self, loaded: Loaded, records: list[Record], inputs: Inputs, predictions: Predictions
    ) -> list[dict[str, Any]]:
        events, nothing, now = self._events(inputs), [None] * len(records), [self.now] * len(records)
        answers = self._answers("ad_hoc", loaded, records, events, predictions, nothing, now, range(len(records)))
        self.telemetry.record(answers)
        return [_told(answer) for answer in answers]

    def events(self, loaded: Loaded, asked: ScoringRequest) -> list[dict[str, Any]]:
        """Answer the scorer: these rows become their events' answers, and an answer that stands is given again.

        Raises:
            Unanswered: naming field and row at fault; 409 when the champion may not answer an event.
        """
        assert asked.due is not None
        assert asked.now is not None
        self._told = max(asked.now if self._told is None else [self._told, *asked.now])
        inputs = self._inputs(loaded, asked)
        events = self._events(inputs)
        self._require_sound(events, asked.due)
        standing = self.telemetry.champion_predictions(event.id for event in events)
        fresh = [number for number, event in enumerate(events) if event.id not in standing]
        self._require_unseen(loaded, asked.due, fresh)
        if fresh:
            predictions = self.slots.priority_lock.batch(loaded.predictor, inputs.take(np.array(fresh)))
            answers = self._answers(
                "champion",
                loaded,
                [asked.records[number] for number in fresh],
                [events[number] for number in fresh],
                predictions,
                [asked.due[number] for number in fresh],
                [asked.now[number] for number in fresh],
                fresh,
            )
            overtaken = self.telemetry.record(answers)
            standing.update(self.telemetry.champion_predictions(overtaken))
            given = {answer.event_id: answer for answer in answers} | standing
        else:
            given = dict(standing)
        return [{**_told(given[event.id]), "stored": event.id in standing} for event in events]

    def _inputs(self, loaded: Loaded, asked: ScoringRequest) -> Inputs:
        try:
            inputs = from_records(asked.records, loaded.predictor.schema)
        except InputError as error:
            row = ROW.match(error.found)
            message = f"{error.found[row.end() :] if row else error.found}; {error.remedy}"
            raise RequestError(422, error.place, message, int(row[1]) if row else None) from error
        if asked.suspect is not None:
            raise RequestError(400, "body", asked.suspect)
        return inputs

    def _events(self, inputs: Inputs) -> list[Event]:
        times = times_of(inputs.event_time)
        names: Sequence[str | None] = [None] * len(times) if inputs.entity is None else inputs.entity
        project = self.timeline.project
        return [Event(event_id(project, name, time), name, time) for name, time in zip(names, times, strict=True)]

    def _require_sound(self, events: list[Event], due: list[datetime]) -> None:
        seen: dict[str, int] = {}
        for number, event in enumerate(events):
            if (first := seen.setdefault(event.id, number)) != number:
                raise RequestError(422, "event_time", f"the same event as in row {first}; ask for each once", number)
            if due[number] != self.timeline.due(event.time):
                wanted = f"an answer for {iso(event.time)} is due at {iso(self.timeline.due(event.time))}"
                raise RequestError(422, "due", f"{wanted}, not at {iso(due[number])}", number)

    def _require_unseen(self, loaded: Loaded, due: list[datetime], fresh: list[int]) -> None:
        for number in fresh:
            try:
                self.timeline.require_unseen(loaded.version, loaded.predictor.manifest.as_of, due[number])
            except Refused as error:
                raise RequestError(409, "due", f"{error.place}: {error.found}; {error.remedy}", number) from error

    def _answers(
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
        answered_at = datetime.now(UTC)
        dataset = loaded.predictor.manifest.dataset
        values = predictions_of(predictions, numbers)
        return [
            PredictionRecord(
                event_id=event.id,
                role=role,
                version=loaded.version,
                dataset=dataset,
                project=self.timeline.project,
                entity=event.entity,
                event_time=event.time,
                due=due[number],
                answered_at=answered_at,
                now=now[number],
                late=_late(self.timeline, due[number], now[number]),
                entity_known=predictions.known_entity[number],
                inputs=records[number],
                feature_set=loaded.feature_set,
                features=predictions.features[number],
                prediction=values[number][0],
                probabilities=values[number][1],
            )
            for number, event in enumerate(events)
        ]


def _late(timeline: Timeline, due: datetime | None, now: datetime | None) -> bool:
    return due is not None and now is not None and now > timeline.prediction_deadline(due)


def predictions_of(
    predictions: Predictions, numbers: Sequence[int]
) -> list[tuple[float | str, dict[str, float] | None]]:
    """Prediction and probabilities of each row, as plain values.

    Args:
        predictions: n rows.
        numbers: how the client counts these rows.

    Raises:
        Unanswered: 422, when a row's answer is not a finite number: its input is beyond what the model can take.
    """
    values = predictions.value.tolist()
    columns = {} if predictions.probabilities is None else {k: v.tolist() for k, v in predictions.probabilities.items()}
    numeric = columns.values() if columns else [values]
    for number, row in zip(numbers, zip(*numeric, strict=True), strict=True):
        if not np.isfinite(row).all():
            raise RequestError(
                422, "prediction", "the model has no finite answer to this row; check its values", number
            )
    if not columns:
        return [(value, None) for value in values]
    return [(value, {k: v[number] for k, v in columns.items()}) for number, value in enumerate(values)]


def _told(answer: PredictionRecord) -> dict[str, Any]:
    """An answer as the client sees it: MLflow's fields, and ours."""
    return {
        "prediction": answer.prediction,
        **{f"probability_{name}": value for name, value in (answer.probabilities or {}).items()},
        "model_version": answer.version,
        "dataset": answer.dataset,
        "event_id": answer.event_id,
        "entity_known": answer.entity_known,
    }
