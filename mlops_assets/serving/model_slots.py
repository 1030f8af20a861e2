"""The versions that a service holds in its slots champion, standby and shadow, and the lock under which they compute.

A version that is replaced finishes the requests it has begun, and is then released. One thread computes at a time: the
work is Python and numpy, which gains nothing from more threads. A request for a few rows must not wait for a batch, so
a batch releases the lock after every few rows.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from mlops_assets.errors import ModelError
from mlops_assets.prediction.inputs import Inputs
from mlops_assets.prediction.predictor import Predictions, Predictor
from mlops_assets.prediction.service_api import Slot
from mlops_assets.serving.request_parsing import RequestError

BATCH_ROWS = 4
"""Rows that a batch computes before it releases the lock; a row takes about a millisecond."""
CHECK_EVERY = 0.0005
"""Seconds between two checks of a batch whether a request with priority is waiting."""


@dataclass(eq=False)
class Loaded:
    """A loaded version.

    Attributes:
        version: its number.
        folder: its bundle.
        predictor: the model.
        feature_set: number of its feature set in the prediction log.
        users: number of requests that use it now.
        retired: whether another version has taken its slot.
    """

    version: int
    folder: Path
    predictor: Predictor
    feature_set: int
    users: int = 0
    retired: bool = False


class PriorityLock:
    """Lets one thread compute at a time; requests for a few rows have priority over batches."""

    def __init__(self) -> None:
        self._computing = threading.Lock()
        self._urgent = 0

    def at_once(self, predictor: Predictor, inputs: Inputs) -> Predictions:
        """Predict a few rows, after at most `BATCH_ROWS` rows of a batch. Only one thread may call this."""
        self._urgent += 1
        try:
            with self._computing:
                return predictor.predict(inputs)
        finally:
            self._urgent -= 1

    def batch(self, predictor: Predictor, inputs: Inputs) -> Predictions:
        """Predict many rows; requests with priority are computed in between."""
        parts = []
        for start in range(0, len(inputs), BATCH_ROWS):
            rows = inputs.take(np.arange(start, min(start + BATCH_ROWS, len(inputs))))
            while self._urgent:
                time.sleep(CHECK_EVERY)
            with self._computing:
                parts.append(predictor.predict(rows))
        return _concatenate(parts)


def _concatenate(parts: list[Predictions]) -> Predictions:
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
        project: the project; versions of other projects do not load.
        register: returns the number of a version's feature set (`PredictionLog.feature_set`).
    """

    def __init__(self, project: str, register: Callable[[Predictor], int]) -> None:
        self.project, self.priority_lock = project, PriorityLock()
        self._register = register
        self._alive: weakref.WeakSet[Predictor] = weakref.WeakSet()
        self._slots: dict[Slot, Loaded | None] = {"champion": None, "standby": None, "shadow": None}
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        """Loads and switches come one after the other; requests do not wait for them."""

    def at(self, slot: Slot) -> Loaded | None:
        """Return the version in a slot. To predict with it, `borrow` it."""
        return self._slots[slot]

    @property
    def in_memory(self) -> int:
        """Number of versions in memory, with those that were replaced and are not yet released."""
        return len(self._alive)

    @contextmanager
    def borrow(self, slot: Slot) -> Iterator[Loaded | None]:
        """Yield the version in a slot. It stays usable in the block, even when another version takes the slot."""
        with self._lock:
            loaded = self._slots[slot]
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

    def _put(self, slot: Slot, loaded: Loaded | None) -> None:
        """Put a version into a slot; the version that was there is released when no request uses it any more."""
        with self._lock:
            old, self._slots[slot] = self._slots[slot], loaded
            if old is None:
                return
            old.retired = True
            unused = not old.users
        if unused:
            old.predictor.close()

    def _load(self, version: int, folder: Path) -> Loaded:
        """Load a bundle, and check that it reproduces its reference predictions.

        Raises:
            ModelError: it is damaged, of another project, or predicts something else.
        """
        predictor = Predictor.load(folder)
        try:
            if predictor.schema.project != self.project:
                raise ModelError(
                    self.project,
                    f"version {version} in {folder}",
                    f"it is a model of project {predictor.schema.project!r}",
                    "load a version of this project",
                )
            predictor.check_reference_predictions()
            self._alive.add(predictor)
            return Loaded(version, folder, predictor, self._register(predictor))
        except BaseException:
            predictor.close()
            raise

    def serve(self, version: int, folder: Path) -> None:
        """Load a version directly into the slot champion. It is called when the service starts, before any request."""
        with self._changing:
            self._put("champion", self._load(version, folder))

    def load(self, version: int, folder: Path) -> Slot:
        """Load a version as standby, unless it is loaded already.

        Returns:
            Its slot: `champion` if it serves already, otherwise `standby`.
        """
        slots: tuple[Literal["champion", "standby"], ...] = ("champion", "standby")
        with self._changing:
            for slot in slots:
                if (found := self._slots[slot]) is not None and (found.version, found.folder) == (version, folder):
                    return slot
            self._put("standby", self._load(version, folder))
            return "standby"

    def switch(self, version: int) -> int | None:
        """Make the standby the champion. This is one assignment between two requests.

        Returns:
            The version that served before; None if there was none.

        Raises:
            RequestError: 409, when this version is not the standby.
        """
        with self._changing:
            champion, standby = self._slots["champion"], self._slots["standby"]
            if champion is not None and champion.version == version:
                return version
            if standby is None or standby.version != version:
                held = "none" if standby is None else standby.version
                message = f"version {version} is not the standby (standby: {held}); load it first"
                raise RequestError(409, "version", message)
            with self._lock:
                self._slots["standby"] = None
            self._put("champion", standby)
            return None if champion is None else champion.version

    def unload(self) -> int | None:
        """Release the standby, and return its version; None if there was none."""
        with self._changing:
            standby = self._slots["standby"]
            self._put("standby", None)
            return None if standby is None else standby.version

    def shadow(self, version: int | None, folder: Path | None) -> None:
        """Put a version into the slot shadow, unless it is there already; None and None empty the slot."""
        with self._changing:
            current = self._slots["shadow"]
            if version is None or folder is None:
                self._put("shadow", None)
            elif current is None or (current.version, current.folder) != (version, folder):
                self._put("shadow", self._load(version, folder))

    def close(self) -> None:
        """Release all versions."""
        with self._changing:
            for slot in get_args(Slot):
                self._put(slot, None)
