"""`open_project`: a project's data, model versions, predictions, reports and decisions, for notebooks and scripts.

It reads a state folder, or the servers that the settings name. It needs no Dagster, and starts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import pandas as pd

from mlops_assets.errors import NotReady, SpecError
from mlops_assets.ledger.facts import Decision, GateVerdict, Reported, VersionTrained
from mlops_assets.ledger.view import LedgerView
from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.repository import find_root
from mlops_assets.resources.settings import Settings
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.loading import read_specs

if TYPE_CHECKING:
    from mlops_assets.prediction.features import FeatureDefinitions
    from mlops_assets.prediction.predictor import Predictor
    from mlops_assets.prediction.records import Role

Moment = datetime | date | str
"""A time: a datetime, a date, or text such as `2011-05-01`. Without a zone it is local in `data.time_zone`."""
Kind = Literal["drift", "performance", "health"]
Item = TypeVar("Item", Decision, GateVerdict, Reported)
DRAWN = ("drift", "performance")
"""Kinds of reports that have a chart over all windows."""


def open_project(project: str | Path, *, home: str | Path | None = None) -> Project:
    """Open a project for reading.

    Args:
        project: the name of a project of this repository, a folder with a `defs.yaml`, or such a file.
        home: the state folder; by default the one of the settings (`MLOPS_ASSETS_HOME`).

    Returns:
        The project. Each method reads the present state, so the results stay up to date while the loop runs.

    Raises:
        SpecError: there is no such project, or its YAML is not valid.
        NotReady: the state folder does not exist yet.

    Example:
        >>> project = open_project("bike_demand")  # doctest: +SKIP
        >>> project.reports("performance").plot()  # doctest: +SKIP
    """
    file = _file_of(project)
    if home is not None:
        settings = Settings(home=Path(home))
    else:
        settings = Settings(root=None if file is None else find_root(start=file.parent))
    spec = _spec_named(str(project), settings) if file is None else _spec_in(file)
    if settings.database_url is None and not (settings.home / "ledger.db").exists():
        raise NotReady(
            spec.name,
            f"state folder {settings.home}",
            "it holds no ledger",
            f"run the job {spec.name}_bootstrap first, or name another state folder (home, MLOPS_ASSETS_HOME)",
        )
    return Project(ProjectResources(spec, settings))


def _file_of(project: str | Path) -> Path | None:
    """Return the `defs.yaml` that a path names; None for a project's name.

    Raises:
        SpecError: the path is a folder without a `defs.yaml`, or a file that does not exist.
    """
    path = Path(project)
    if not path.is_dir() and path.suffix not in (".yaml", ".yml"):
        return None
    file = path / "defs.yaml" if path.is_dir() else path
    if not file.exists():
        raise SpecError(path.name, str(file), "there is no such file", "name a folder that holds a defs.yaml")
    return file


def _spec_in(file: Path) -> ProjectSpec:
    found = read_specs(file)
    if len(found) != 1:
        names = [spec.name for spec in found]
        raise SpecError(
            file.parent.name, str(file), f"it declares the projects {names}", "name a file with one project"
        )
    return found[0]


def _spec_named(name: str, settings: Settings) -> ProjectSpec:
    repository = settings.repository
    known = repository.specs()
    if name not in known:
        found = f"the projects here are {sorted(known)}"
        raise SpecError(name, str(repository.projects), found, "name one of them, or the folder of a project")
    return known[name]


@dataclass(frozen=True)
class Figure:
    """A chart. A notebook shows it; `save` writes it to a file."""

    png: bytes
    """The image as the bytes of a PNG file."""

    def save(self, path: str | Path) -> Path:
        """Write the PNG file, and return its path."""
        target = Path(path)
        target.write_bytes(self.png)
        return target

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True)
class Records(Generic[Item]):
    """Records of the ledger, oldest first: decisions, verdicts, or reports. It can be iterated and indexed."""

    items: tuple[Item, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __getitem__(self, position: int) -> Item:
        return self.items[position]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per record, with the record's fields as columns and times as datetime64[ns, UTC]."""
        return _frame(type(self)._fields(), [self._row(item) for item in self.items])

    @staticmethod
    def _fields() -> list[str]:
        raise NotImplementedError

    @staticmethod
    def _row(item: Item) -> dict[str, Any]:
        raise NotImplementedError


class Decisions(Records[Decision]):
    """What the policy, or a person, decided. Each item has all evidence and all guards (`item.evidence`)."""

    @staticmethod
    def _fields() -> list[str]:
        return ["id", "at", "window", "stage", "outcome", "reason", "by", "signals", "held_by"]

    @staticmethod
    def _row(item: Decision) -> dict[str, Any]:
        return {
            **{name: getattr(item, name) for name in ("id", "at", "window", "stage", "outcome", "reason", "by")},
            "signals": [evidence.signal for evidence in item.evidence],
            "held_by": [guard.name for guard in item.guards if not guard.passed],
        }

    def evidence(self) -> pd.DataFrame:
        """Return one row per decision and piece of evidence."""
        columns = ["decision", "at", "signal", "window", "value", "threshold", "sentence"]
        rows = [
            {"decision": item.id, "at": item.at} | {name: getattr(evidence, name) for name in columns[2:]}
            for item in self.items
            for evidence in item.evidence
        ]
        return _frame(columns, rows)

    def guards(self) -> pd.DataFrame:
        """Return one row per decision and guard: decision, at, name, passed, detail."""
        columns = ["decision", "at", "name", "passed", "detail"]
        rows = [
            {"decision": item.id, "at": item.at} | {name: getattr(guard, name) for name in columns[2:]}
            for item in self.items
            for guard in item.guards
        ]
        return _frame(columns, rows)


class Verdicts(Records[GateVerdict]):
    """What the gate decided on each candidate, with the losses on the hold-out."""

    @staticmethod
    def _fields() -> list[str]:
        losses = ["champion_loss", "candidate_loss", "baseline_loss", "shadow_loss"]
        return ["at", "verdict", "version", "champion", *losses, "rows", "by", "forced", "reasons"]

    @staticmethod
    def _row(item: GateVerdict) -> dict[str, Any]:
        return {name: getattr(item, name) for name in Verdicts._fields()}


@dataclass(frozen=True)
class Reports(Records[Reported]):
    """Reports of one kind: the newest of each window."""

    kind: Kind
    """`drift`, `performance` or `health`."""
    project: Project

    def to_frame(self) -> pd.DataFrame:
        """Return one row per window: its start, the report's stage and version, and all numbers of its summary.

        Losses are in the unit of the target, or 1 - metric where greater is better; `share` and `availability` are
        between 0 and 1; latencies are in milliseconds, memory in megabytes.
        """
        timeline = self.project.resources.timeline
        rows = [
            {"window": timeline.window(item.window).start, "stage": item.stage, "version": item.version}
            | item.typed.model_dump(by_alias=False)
            for item in self.items
        ]
        names = list(Reported.SUMMARIES[self.kind].model_fields)
        return _frame(["window", "stage", "version", *names], rows)

    def plot(self) -> Figure:
        """Return the chart of all windows: the loss per window, or the drift per window.

        Raises:
            ValueError: for `health`, which has no such chart.
        """
        from mlops_assets.monitoring.curves import drift_curve, error_curve

        if self.kind not in DRAWN:
            raise ValueError(f"reports of kind {self.kind!r} have no chart; {', '.join(DRAWN)} have one")
        draw = drift_curve if self.kind == "drift" else error_curve
        return Figure(draw(self.project.resources.timeline, self.project.ledger_view()))


@dataclass(frozen=True)
class PredictionTable:
    """Logged predictions, with the label of each event where it is known."""

    frame: pd.DataFrame
    project: Project

    def __len__(self) -> int:
        return len(self.frame)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per prediction, by event time.

        Columns: event_id, role, version, entity, event_time, due, answered_at, now (datetime64[ns, UTC]), late,
        prediction and label (float64, or the class), and probability_<class> for a classification.
        """
        return self.frame.copy()

    def plot(self, days: int = 14) -> Figure:
        """Return a chart of the champion's predictions and the labels.

        Args:
            days: how many days are drawn, the newest ones.
        """
        from mlops_assets.charts.predictions import predictions_against_labels

        spec = self.project.spec
        served = self.frame[self.frame["role"] == "champion"]
        table = served[["event_time"]].assign(label=served["label"], champion=served["prediction"])
        if spec.problem.task == "classification":
            table = table[table["label"].notna()].astype({"label": object})
        return Figure(
            predictions_against_labels(
                table, title="Predictions and labels", unit=spec.problem.target, zone=spec.data.time_zone, days=days
            )
        )


@dataclass(frozen=True)
class Version:
    """One trained version of the project's model."""

    facts: VersionTrained
    """What the ledger holds about it: dataset, times, hold-out loss, MLflow run."""
    project: Project

    @property
    def number(self) -> int:
        """The version's number in MLflow's model registry."""
        return self.facts.version

    @property
    def folder(self) -> Path:
        """The folder of the version's bundle; it is downloaded from MLflow when it is not there."""
        return self.project.resources.versions.path(self.number)

    @cached_property
    def predictor(self) -> Predictor:
        """The model, loaded into this process. Its files are checked against their digests."""
        from mlops_assets.prediction.predictor import Predictor

        return Predictor.load(self.folder)

    @property
    def definitions(self) -> FeatureDefinitions:
        """The feature definitions: which features the model gets, and how they are computed."""
        return self.predictor.definitions

    def features(self) -> pd.DataFrame:
        """Return one row per feature: name, cost (microseconds per prediction), p_value (of the relevance test)."""
        found = self.definitions
        rows = [
            {"name": name, "cost": found.costs.get(name), "p_value": found.p_values.get(name)} for name in found.names
        ]
        return _frame(["name", "cost", "p_value"], rows)

    def inputs(self, start: Moment | None = None, end: Moment | None = None) -> pd.DataFrame:
        """Return the model's inputs for the published rows with start <= event time < end.

        They are cut from published data as known when each prediction was due.

        Returns:
            One row per event: event_time (text), the entity if the project has one, the known columns, and per column
            of the feature window an array of its past values, oldest first. `predict` and the endpoint take such rows.
        """
        from mlops_assets.prediction.inputs import cut_inputs, to_records, without_unknown_classes

        schema, timeline = self.predictor.schema, self.project.resources.timeline
        events = self.project.rows(start, end)
        if events.empty:
            return pd.DataFrame(columns=schema.fields)
        series = without_unknown_classes(schema, self.project.rows(None, end))
        records = to_records(cut_inputs(timeline, schema, events, series), schema)
        return pd.DataFrame(records, columns=schema.fields)

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the version's predictions for rows of inputs, computed in this process. Nothing is logged.

        Args:
            rows: as `inputs` returns them.

        Returns:
            `prediction` (float64, or the class), and `probability_<class>` for a classification; the index of `rows`.

        Raises:
            InputError: a row does not fit the model; the error names row and field.
        """
        from mlops_assets.prediction.inputs import from_records

        records: list[dict[str, Any]] = [
            {str(name): None if isinstance(value, float) and value != value else value for name, value in row.items()}
            for row in rows.to_dict(orient="records")
        ]
        return self.predictor.predict(from_records(records, self.predictor.schema)).to_frame().set_index(rows.index)


class Project:
    """A project and what its loop has recorded. It is made by `open_project`.

    Args:
        resources: the project's resources, for what this class does not offer.
    """

    def __init__(self, resources: ProjectResources) -> None:
        self.resources = resources

    def __repr__(self) -> str:
        return f"Project({self.name!r}, home={str(self.resources.home)!r})"

    @property
    def spec(self) -> ProjectSpec:
        """What the project's `defs.yaml` says."""
        return self.resources.spec

    @property
    def name(self) -> str:
        """The project's name."""
        return self.spec.name

    @property
    def now(self) -> datetime:
        """The project's present time, in UTC: the system's, or the position of the replay clock."""
        return self.resources.now()

    def ledger_view(self) -> LedgerView:
        """Return what the ledger holds about the project now: all facts, in the order of writing."""
        return self.resources.ledger_view()

    # Data

    def windows(self) -> pd.DataFrame:
        """Return one row per published or quarantined window.

        Columns: window (its start), state (`published`, `labelled` or `quarantined`), rows, labels (how many of each
        are published), reasons (why it is quarantined).
        """
        view, timeline = self.ledger_view(), self.resources.timeline
        rows = []
        for window in sorted({*view.published, *view.quarantined}):
            published, labelled = view.published.get(window), view.labelled.get(window)
            quarantined = view.quarantined.get(window)
            state = "quarantined" if quarantined else "labelled" if labelled else "published"
            rows.append(
                {
                    "window": timeline.window(window).start,
                    "state": state,
                    "rows": published.rows if published else 0,
                    "labels": labelled.rows if labelled else 0,
                    "reasons": quarantined.reasons if quarantined else [],
                }
            )
        return _frame(["window", "state", "rows", "labels", "reasons"], rows)

    def rows(self, start: Moment | None = None, end: Moment | None = None) -> pd.DataFrame:
        """Return the published rows with start <= event time < end, with their labels.

        Args:
            start: the first event time; by default the first published one.
            end: the end of the event times, not included; by default the end of the last published window.

        Returns:
            `event_time` (datetime64[ns, UTC]), `entity` if the project has one, the declared columns. The target is
            missing where the label is not published.

        Example:
            >>> project.rows("2020-01-05", "2020-01-06").shape
            (24, 4)
        """
        published = self.resources.lake.published(self.name, "raw_data")
        chosen = {window: version for window, version in published.items() if self._overlaps(window, start, end)}
        if not chosen:
            return pd.DataFrame(columns=[*self._keys, *self.spec.data.columns])
        rows = self.resources.lake.read(self.name, "raw_data", chosen)
        rows = rows.merge(self.labels(start, end), on=self._keys, how="left", validate="one_to_one")
        columns = [name for name in (*self._keys, *self.spec.data.columns) if name in rows]
        return self._between(rows, start, end)[columns]

    def labels(self, start: Moment | None = None, end: Moment | None = None) -> pd.DataFrame:
        """Return the published labels with start <= event time < end.

        Returns:
            `event_time` (datetime64[ns, UTC]), `entity` if the project has one, and the target's column.
        """
        labelled = self.ledger_view().labelled
        chosen = {window: fact.data_version for window, fact in labelled.items() if self._overlaps(window, start, end)}
        return self._between(self.resources.labels(chosen), start, end)

    # Predictions

    def predictions(
        self, start: Moment | None = None, end: Moment | None = None, roles: Sequence[Role] = ("champion",)
    ) -> PredictionTable:
        """Return the logged predictions for events with start <= event time < end, with their labels.

        Args:
            start: the first event time; by default the beginning of the project's data.
            end: the end of the event times, not included; by default there is none.
            roles: whose predictions: `champion`, `shadow`, or `ad_hoc` (requests of other clients than the scorer).

        Example:
            >>> table = project.predictions("2020-01-22", "2020-01-23").to_frame()
            >>> round(float((table["prediction"] - table["label"]).abs().mean()), 1)
            21.5
        """
        from mlops_assets.monitoring.observation import predictions_frame

        logged = self._logged(start, end, roles)
        frame = predictions_frame(self.spec.classes, logged)
        target = self.spec.problem.target
        labels = self.labels(start, end).rename(columns={target: "label"})
        if self.spec.problem.task == "classification":
            labels["label"] = labels["label"].map(lambda value: None if pd.isna(value) else str(value))
        return PredictionTable(frame.merge(labels[[*self._keys, "label"]], on=self._keys, how="left"), self)

    def features(self, start: Moment | None = None, end: Moment | None = None) -> pd.DataFrame:
        """Return the features that the service computed for the champion's logged predictions.

        Returns:
            One row per prediction: event_id, event_time, entity, version, and a column per feature. A feature that a
            version does not have is missing in its rows.
        """
        logged = self._logged(start, end, ("champion",))
        keys = logged[["event_id", "event_time", "entity", "version"]].reset_index(drop=True)
        return pd.concat([keys, pd.DataFrame(list(logged["features"]), index=keys.index)], axis=1)

    def _logged(self, start: Moment | None, end: Moment | None, roles: Sequence[Role]) -> pd.DataFrame:
        first, last = self._utc(start), self._utc(end)
        timeline = self.resources.timeline
        return self.resources.telemetry.predictions(
            self.name, first or timeline.start, last or self.now + timeline.horizon + self.spec.data.every, roles
        )

    # Versions

    @property
    def champion(self) -> Version | None:
        """The version that serves now; None before the first promotion."""
        period = self.ledger_view().deployment_period
        return None if period is None else self.version(period.version)

    def version(self, number: int) -> Version:
        """Return one trained version.

        Raises:
            NotReady: there is no such version.
        """
        known = self.ledger_view().versions
        if number not in known:
            raise NotReady(
                self.name, f"version {number}", f"the trained versions are {sorted(known)}", "name one of them"
            )
        return Version(known[number], self)

    def versions(self) -> pd.DataFrame:
        """Return one row per trained version, with the loss on its hold-out and where its training is recorded."""
        columns = ["version", "as_of", "trained_through", "rows", "holdout_loss", "metric", "dataset", "mlflow_run"]
        facts = self.ledger_view().versions.values()
        return _frame(columns, [{name: getattr(fact, name) for name in columns} for fact in facts])

    def deployment_periods(self) -> pd.DataFrame:
        """Return one row per deployment period: number, version, start, end (missing for the present one), cause."""
        columns = ["number", "version", "start", "end", "cause", "promotion"]
        periods = self.ledger_view().deployment_periods
        return _frame(columns, [{name: getattr(period, name) for name in columns} for period in periods])

    # Reports and decisions

    def reports(self, kind: Kind) -> Reports:
        """Return the newest report of each window, oldest window first.

        Args:
            kind: `drift`, `performance` or `health`.

        Example:
            >>> project.reports("performance").to_frame()[["served", "baseline"]].shape
            (6, 2)
        """
        view = self.ledger_view()
        windows = sorted({fact.window for fact in view.of(Reported) if fact.report == kind})
        found = (view.newest_report(kind, window) for window in windows)
        return Reports(tuple(report for report in found if report is not None), kind, self)

    def decisions(self) -> Decisions:
        """Return all decisions, oldest first, with their evidence and guards.

        Example:
            >>> decision = project.decisions()[-1]
            >>> decision.outcome, [evidence.signal for evidence in decision.evidence]
            ('RETRAIN', ['performance:holdout'])
        """
        return Decisions(tuple(self.ledger_view().decisions))

    def verdicts(self) -> Verdicts:
        """Return all verdicts of the gate, oldest first."""
        return Verdicts(tuple(self.ledger_view().verdicts))

    # Times

    @property
    def _keys(self) -> list[str]:
        return ["event_time", *(["entity"] if self.spec.data.entity else [])]

    def _utc(self, moment: Moment | None) -> datetime | None:
        if moment is None:
            return None
        stamp = pd.Timestamp(moment).to_pydatetime()
        return self.resources.timeline.utc(stamp) if stamp.tzinfo is None else stamp

    def _overlaps(self, window_id: str, start: Moment | None, end: Moment | None) -> bool:
        window, first, last = self.resources.timeline.window(window_id), self._utc(start), self._utc(end)
        return (first is None or window.end > first) and (last is None or window.start < last)

    def _between(self, rows: pd.DataFrame, start: Moment | None, end: Moment | None) -> pd.DataFrame:
        first, last = self._utc(start), self._utc(end)
        if first is not None:
            rows = rows[rows["event_time"] >= pd.Timestamp(first)]
        if last is not None:
            rows = rows[rows["event_time"] < pd.Timestamp(last)]
        return rows.reset_index(drop=True)


def _frame(columns: list[str], rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a frame with these columns; columns of times become datetime64[ns, UTC]."""
    frame = pd.DataFrame(rows, columns=columns)
    for name in columns:
        if any(isinstance(row.get(name), datetime) for row in rows):
            frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame
