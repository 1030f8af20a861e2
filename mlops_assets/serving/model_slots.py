"""Which versions a service holds, and how they take turns: champion, standby, shadow.

A version that is replaced finishes the answers it has begun and is then released. Computing is done by one thread at
a time: it is Python and numpy work that gains nothing from more, and an answer to one row must not wait for a batch,
which therefore gives way after every few rows.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mlops_assets.errors import ModelError
from mlops_assets.prediction.inputs import Inputs
from mlops_assets.prediction.predictor import Predictions, Predictor
from mlops_assets.serving.request_parsing import RequestError

Place = Literal["champion", "standby", "shadow"]

BATCH_ROWS = 4
"""Rows of a batch between two moments at which it gives way; a row takes about a millisecond."""
GIVE_WAY = 0.0005
"""Seconds between looks whether the way is free again."""


@dataclass(eq=False)
class Loaded:
    """A version that answers."""

    version: int
    folder: Path
    predictor: Predictor
    feature_set: int
    users: int = 0
    retired: bool = False


class PriorityLock:
    """Computing in turns: single answers before batches, batches before nobody."""

    def __init__(self) -> None:
        self._computing = threading.Lock()
        self._urgent = 0

    def at_once(self, predictor: Predictor, inputs: Inputs) -> Predictions:
        """Predict a few rows; waits for at most `BATCH_ROWS` rows of a batch. Called by one thread only."""
        self._urgent += 1
        try:
            with self._computing:
                return predictor.predict(inputs)
        finally:
            self._urgent -= 1

    def batch(self, predictor: Predictor, inputs: Inputs) -> Predictions:
        """Predict many rows, giving way to single answers in between."""
        parts = []
        for start in range(0, len(inputs), BATCH_ROWS):
            rows = inputs.take(np.arange(start, min(start + BATCH_ROWS, len(inputs))))
            while self._urgent:
                time.sleep(GIVE_WAY)
            with self._computing:
                parts.append(predictor.predict(rows))
        return _joined(parts)


def _joined(parts: list[Predictions]) -> Predictions:
    first = parts[0]
    if len(parts) == 1:
        return first
    probabilities = None
    if first.probabilities is not None:
        names = list(first.probabilities)
        probabilities = {name: np.concatenate([(p.probabilities or {})[name] for p in parts]) for name in names}
    return Predictions(
        np.concatenate([part.value for part in parts]),
        probabilities,
        np.concatenate([part.features for part in parts]),
        [known for part in parts for known in part.known_entity],
    )


class ModelSlots:
    """The versions that a service holds.

    Args:
        project: whose they are.
        register: gives the feature set's number of a loaded version (`PredictionLog.feature_set`).
    """

    def __init__(self, project: str, register: Callable[[Predictor], int]) -> None:
        self.project, self.priority_lock = project, PriorityLock()
        self._register = register
        self._alive: weakref.WeakSet[Predictor] = weakref.WeakSet()
        self._places: dict[Place, Loaded | None] = {"champion": None, "standby": None, "shadow": None}
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        """Loads and switches come one after the other; answers do not wait for them."""

    def at(self, place: Place) -> Loaded | None:
        """The version at a place, to be looked at; to answer with it, `borrow` it."""
        return self._places[place]

    @property
    def in_memory(self) -> int:
        """How many versions are held, those included that were replaced and not yet freed."""
        return len(self._alive)

    @contextmanager
    def borrow(self, place: Place) -> Iterator[Loaded | None]:
        """The version at a place, which stays usable until it is given back, whatever takes its place meanwhile."""
        with self._lock:
            loaded = self._places[place]
            if loaded is not None:
                loaded.users += 1
        try:
            yield loaded
        finally:
            if loaded is not None:
                self._give_back(loaded)

    def _give_back(self, loaded: Loaded) -> None:
        with self._lock:
            loaded.users -= 1
            last = loaded.retired and not loaded.users
        if last:
            loaded.predictor.close()

    def _put(self, place: Place, loaded: Loaded | None) -> None:
        """Put a version at a place; the one that was there is released when nobody uses it any more."""
        with self._lock:
            old, self._places[place] = self._places[place], loaded
            if old is None:
                return
            old.retired = True
            idle = not old.users
        if idle:
            old.predictor.close()

    def _load(self, version: int, folder: Path) -> Loaded:
        """Load a bundle and have it answer its golden rows.

        Raises:
            ModelError: when it is damaged, of another project, or answers differently.
        """
        predictor = Predictor.load(folder)
        try:
            if predictor.schema.project != self.project:
                raise ModelError(
                    self.project,
                    f"version {version} in {folder}",
                    f"it is a model of {predictor.schema.project!r}",
                    "load a version of this project",
                )
            predictor.check_reference_predictions()
            self._alive.add(predictor)
            return Loaded(version, folder, predictor, self._register(predictor))
        except BaseException:
            predictor.close()
            raise

    # What administration asks for

    def serve(self, version: int, folder: Path) -> None:
        """Load a version and make it champion at once; for the start, when nobody is served yet."""
        with self._changing:
            self._put("champion", self._load(version, folder))

    def load(self, version: int, folder: Path) -> Place:
        """Load a version as standby, unless it is there already.

        Returns:
            Where it is now: `champion` if it serves already, or `standby`.
        """
        with self._changing:
            for place in ("champion", "standby"):
                if (found := self._places[place]) is not None and (found.version, found.folder) == (version, folder):
                    return place
            self._put("standby", self._load(version, folder))
            return "standby"

    def switch(self, version: int) -> int | None:
        """Make the standby the champion: one assignment, between two answers.

        Returns:
            The version that served before; None if there was none.

        Raises:
            Unanswered: 409, when it is not the version that stands by.
        """
        with self._changing:
            champion, standby = self._places["champion"], self._places["standby"]
            if champion is not None and champion.version == version:
                return version
            if standby is None or standby.version != version:
                held = "none" if standby is None else standby.version
                raise RequestError(
                    409, "version", f"version {version} does not stand by (standby: {held}); load it first"
                )
            with self._lock:
                self._places["standby"] = None
            self._put("champion", standby)
            return None if champion is None else champion.version

    def unload(self) -> int | None:
        """Release the standby; its version, None if there was none."""
        with self._changing:
            standby = self._places["standby"]
            self._put("standby", None)
            return None if standby is None else standby.version

    def shadow(self, version: int | None, folder: Path | None) -> None:
        """Let a version predict in the shadow; without version and folder, none does any more."""
        with self._changing:
            current = self._places["shadow"]
            if version is None or folder is None:
                self._put("shadow", None)
            elif current is None or (current.version, current.folder) != (version, folder):
                self._put("shadow", self._load(version, folder))

    def close(self) -> None:
        """Release all."""
        with self._changing:
            for place in ("champion", "standby", "shadow"):
                self._put(place, None)
