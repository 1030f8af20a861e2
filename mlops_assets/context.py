"""What the phases of the life cycle need from outside, as typed protocols.

A phase's functions take a `ProjectContext`. `mlops_assets.resources` implements it on local folders or on servers; a
test or a notebook may implement it in any other way. Neither this module nor the functions that take a context import
Dagster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import AwareDatetime

from mlops_assets.ledger.frozen import FrozenModel
from mlops_assets.ledger.lease import Lease
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.view import LedgerView
from mlops_assets.prediction.records import Role, ServiceHealth
from mlops_assets.prediction.service_api import Slot, Status
from mlops_assets.retraining.requests import RunIdentity, TrainingRequest
from mlops_assets.source.project_source import ProjectSource
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, Window

if TYPE_CHECKING:
    import pandas as pd

Table = Literal["raw_data", "labels", "predictions"]
"""A kind of rows in the lake."""
CHAMPION, CHALLENGER = "champion", "challenger"
"""MLflow aliases: of the version that serves, and of the version that was trained last."""


class Snapshot(FrozenModel):
    """The labelled rows of one training at one moment, and the windows they come from."""

    project: str
    md5: str
    """Digest of the file's bytes. DVC knows the file by it, and it is the snapshot's data version."""
    tag: str
    """The Git tag at which `dvc pull` restores the same bytes. It names the time of the first such snapshot."""
    rows: int
    as_of: AwareDatetime
    """The project's clock when the snapshot was taken."""
    trained_through: AwareDatetime
    """End of the newest row."""
    windows: dict[str, str]
    """Data version of each window of `raw_data` in the snapshot, by window id."""
    labels: dict[str, str]
    """Data version of each window of `labels` in the snapshot, by window id."""


@dataclass(frozen=True)
class WindowPointer:
    """Which version of a window readers see, as one writer found it before it began.

    Attributes:
        version: the published version; None when the window is not published.
        pointer: what identifies that publication, so that another writer's publication in between is noticed.
    """

    version: str | None
    pointer: Any


class Clock(Protocol):
    """The project's time."""

    def now(self) -> datetime:
        """Return the project's present time, in UTC."""

    def move(self, to: datetime) -> None:
        """Move a replay clock forward to a moment."""


class Lake(Protocol):
    """Published windows of rows, and windows in quarantine."""

    def look(self, project: str, table: Table, window: str) -> WindowPointer:
        """Return what readers see of a window now. A writer calls this before it reads what it will write."""

    def stage(self, project: str, table: Table, window: str, frame: pd.DataFrame) -> str:
        """Write a window's rows where no reader looks, and return their version."""

    def publish(self, project: str, table: Table, window: str, version: str, seen: WindowPointer) -> None:
        """Show a staged version to readers, in one step."""

    def quarantine(self, project: str, table: Table, window: str, version: str, reasons: Sequence[str]) -> None:
        """Record why a staged version is not published. A version that was published before stays published."""

    def write_predictions(self, project: str, window: str, predictions: pd.DataFrame, seen: WindowPointer) -> str:
        """Publish a window's predictions, and return their version."""

    def published(self, project: str, table: Table) -> dict[str, str]:
        """Return the version that readers see of each published window, oldest window first."""

    def row_count(self, project: str, table: Table, window: str) -> int | None:
        """Return how many rows a published window has; None when it is not published."""

    def read_window(self, project: str, table: Table, window: str, version: str | None = None) -> pd.DataFrame:
        """Return the rows of a window: of its published version, or of the version that is named."""

    def read(self, project: str, table: Table, windows: Mapping[str, str]) -> pd.DataFrame:
        """Return the rows of several windows, one window after the other, in the versions that are named."""


class Snapshots(Protocol):
    """The training snapshots of one project."""

    def take(
        self,
        rows: pd.DataFrame,
        *,
        as_of: datetime,
        trained_through: datetime,
        windows: dict[str, str],
        labels: dict[str, str],
    ) -> Snapshot:
        """Store rows as a snapshot. The same rows again give the same snapshot."""

    def find(self, name: str) -> Snapshot:
        """Return the snapshot of a tag, or of an md5 (or its first eight digits or more)."""

    def read(self, snapshot: Snapshot) -> pd.DataFrame:
        """Return the rows of a snapshot."""


class Registry(Protocol):
    """MLflow's tracking and model registry, for one project."""

    def ensure_experiment(self) -> str:
        """Create the project's MLflow experiment if it is not there, and return its name."""

    def alias(self, name: str) -> int | None:
        """Return the version that an alias points to; None without one."""

    def set_alias(self, name: str, version: int) -> None:
        """Point an alias to a version."""

    def delete_alias(self, name: str) -> None:
        """Remove an alias."""

    def log_version(
        self,
        bundle: Path,
        signature: Any,
        example: pd.DataFrame,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> tuple[int, str, str]:
        """Log a model bundle into the active run and register it; return its version, run id and model URI."""

    def log_dataset(self, dataset: pd.DataFrame, source: str, name: str, digest: str) -> None:
        """Record the training snapshot as the active run's input."""

    def log_run(self, params: Mapping[str, Any], tags: Mapping[str, str], files: Sequence[Path]) -> str:
        """Log parameters, tags and files into the active run, and return its id."""

    def download_file(self, run_id: str, path: str, folder: Path) -> Path:
        """Download one file of a run's artifacts into a folder, and return its path."""


class Versions(Protocol):
    """Local copies of model versions, checked against the digests in the ledger."""

    def path(self, version: int) -> Path:
        """Return the folder of a version's bundle; it is downloaded when it is not there."""

    def put(self, version: int, bundle: Path) -> None:
        """Store the bundle of a version that was just trained."""


class Telemetry(Protocol):
    """Predictions and requests, as reports read them."""

    def predictions(
        self, project: str, start: datetime, end: datetime, roles: Sequence[Role] = ("champion",)
    ) -> pd.DataFrame:
        """Return the predictions for events with start <= event time < end, one row each."""

    def predictions_for_events(self, ids: Sequence[str]) -> pd.DataFrame:
        """Return all predictions for these events, whichever version gave them."""

    def requests(self, start: datetime, end: datetime) -> pd.DataFrame:
        """Return the request log of start <= project time < end."""

    def health(self, start: datetime, end: datetime) -> ServiceHealth:
        """Return the number of requests and errors of start <= project time < end, with latencies and memory."""

    def predicted_events(self, project: str) -> set[str]:
        """Return the ids of all events that have a prediction by a champion."""

    def counts(self, project: str) -> dict[str, int]:
        """Return how many events have a prediction by a champion, and how many of these were late."""


class LoggedPredictions(Protocol):
    """The prediction log, into which the service writes each prediction before it returns it."""

    def predicted_ids(self, ids: Iterable[str]) -> set[str]:
        """Return the ids of those events that have a prediction by a champion."""


class Endpoint(Protocol):
    """The project's scoring service."""

    @property
    def url(self) -> str | None:
        """The service's address; None while it does not run."""

    def ensure_running(self) -> None:
        """Start the service if it does not run, with the champion and the shadow that the ledger names."""

    def serving(self) -> int | None:
        """Return the version that serves; None when none does, or the service does not run."""

    def shadowing(self) -> int | None:
        """Return the version that predicts in the shadow; None when none does."""

    def load(self, version: int, folder: Path) -> Slot:
        """Load a version as standby. It has reproduced its reference predictions when this returns."""

    def switch(self, version: int) -> int | None:
        """Let the standby serve, without a failed request, and return the version that served before."""

    def unload(self) -> None:
        """Release the standby."""

    def shadow(self, version: int | None, folder: Path | None) -> None:
        """Let a version predict in the shadow; None and None: no version."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Return a lock over processes that is held while a version is promoted."""

    def status(self) -> Status | None:
        """Return the service's state; None while it does not run."""

    def stop(self) -> bool:
        """Stop the service, and return whether it ran."""

    def drain(self) -> int:
        """Wait until the shadow has predicted for all logged events, and return how many are left."""

    def invoke(
        self, records: Sequence[Mapping[str, Any]], due: Sequence[datetime], now: datetime
    ) -> list[dict[str, Any]]:
        """Request the predictions of due events, as the scorer does, at one moment of the project's time."""

    def ask(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Request predictions as any client does. They are logged as `ad_hoc`."""


class RunArtifacts(Protocol):
    """The files that the assets of one training hand on to each other."""

    @property
    def own(self) -> Path:
        """The folder of this run."""

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """Yield a path to write to. The file appears under its name when the block ends without an error."""

    def put(self, name: str, text: str) -> None:
        """Write a small text file, whole or not at all."""

    def find(self, name: str, asset: str) -> Path:
        """Return this run's file, else the newest one of any run.

        Raises:
            NotReady: there is none; the error names the asset to materialize first.
        """


class ProjectContext(Protocol):
    """One project with everything that its phases work with."""

    @property
    def spec(self) -> ProjectSpec:
        """The project's `defs.yaml`."""

    @property
    def timeline(self) -> Timeline:
        """The project's windows and due times."""

    @property
    def folder(self) -> Path:
        """The folder of the project's local state."""

    @property
    def ledger(self) -> Ledger:
        """The store of facts."""

    @property
    def lease(self) -> Lease:
        """The lease on the project's loop."""

    @property
    def clock(self) -> Clock:
        """The project's clock."""

    @property
    def source(self) -> ProjectSource:
        """The project's rows."""

    @property
    def lake(self) -> Lake:
        """Published windows."""

    @property
    def snapshots(self) -> Snapshots:
        """Training snapshots."""

    @property
    def registry(self) -> Registry:
        """MLflow."""

    @property
    def versions(self) -> Versions:
        """Local copies of model versions."""

    @property
    def telemetry(self) -> Telemetry:
        """Predictions and requests, as reports read them."""

    @property
    def prediction_log(self) -> LoggedPredictions:
        """The prediction log of the service."""

    @property
    def endpoint(self) -> Endpoint:
        """The scoring service."""

    @property
    def code_version(self) -> str:
        """The version of the platform, and the commit of the project's repository if there is one."""

    def ledger_view(self) -> LedgerView:
        """Return what the ledger holds about the project now."""

    def now(self) -> datetime:
        """Return the project's present time, in UTC."""

    def cluster(self) -> AbstractContextManager[object]:
        """Start H2O for the length of one training."""

    def run_artifacts(self, run_id: str) -> RunArtifacts:
        """Return the files of one run's training."""

    def training_request(self, run: RunIdentity) -> TrainingRequest:
        """Return the training request of a run: who requested the training, and which attempt it is."""

    def key(self, window: Window) -> str:
        """Return Dagster's partition key of a window."""

    def published_rows(self, window: Window) -> pd.DataFrame:
        """Return a window's published rows."""

    def labels(self, versions: Mapping[str, str]) -> pd.DataFrame:
        """Return the labels of windows, in the versions that are named; an empty frame without any."""
