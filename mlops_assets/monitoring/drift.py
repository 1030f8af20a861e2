"""Measures how far the live rows of a deployment period are from the reference window of its version, with Evidently.

The distance of each column is `monitoring.drift.statistic`, as Evidently computes it:

- `wasserstein` is divided by the standard deviation of the reference: 0.1 means moved by a tenth of it. It is for
  numbers only, so categories (and predicted classes) are compared by `jensenshannon` instead.
- `psi`, `jensenshannon` (a distance, 0 to 0.83) and `hellinger` (0 to 1) compare shares of bins or of categories.

Missing values are left out, except where Evidently would fail or mislead:

- If the share of missing values of a column changed by more than its distance, that change is its distance: from 2 % to
  40 % missing is 0.38, with every statistic. Otherwise a sensor that fails more and more often would show no drift.
- A column without any value on both sides is not compared and not counted (`left_out`).
- A column that lost all its values, or got its first ones, is compared as a category with the values present and
  missing.
- A column that is constant in the reference has no standard deviation: it is compared as a category with the values
  same and other. So a constant that stays has not drifted, and one that changes has.
- A column with a tiny standard deviation is divided by it first, because Evidently divides by at least 0.001.
"""

from __future__ import annotations

import html
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mlops_assets.errors import ModelError, NotReady
from mlops_assets.files import write_text
from mlops_assets.ledger.summaries import DriftSummary
from mlops_assets.spec.monitoring import MonitoringSpec

PREDICTION = "prediction"
TIME = "event_time"
SMALLEST_NORM = 0.001
"""Evidently divides `wasserstein` by the standard deviation, and by at least this value."""
DIGITS = 9
"""Digits of distances. Evidently sums over sets, so the last digits differ from process to process."""


@dataclass(frozen=True)
class DriftReport:
    """A drift report, for code (`summary`) and for people (`html`).

    Attributes:
        summary: the numbers, for ledger and policy.
        page: the HTML page.
        notes: remarks on single columns, one sentence each.
        left_out: columns without any value on both sides.
    """

    summary: DriftSummary
    page: str
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def html(self) -> str:
        """Return the HTML page with its scripts and data: 4 to 6 MB; one sentence when the period is too young."""
        return self.page

    def save_html(self, path: Path) -> None:
        """Write the page to a file, atomically."""
        write_text(path, self.page)


@dataclass(frozen=True)
class _Column:
    name: str
    kind: Literal["number", "category"]
    reference: pd.Series[Any]
    current: pd.Series[Any]
    is_output: bool
    """Whether the column is an output of the model."""
    note: str = ""

    @property
    def missing_change(self) -> float:
        """The change of the share of missing values; 0 for outputs, which part of the reference rows lack."""
        return 0.0 if self.is_output else abs(float(self.current.isna().mean() - self.reference.isna().mean()))

    def method(self, statistic: str) -> str:
        return "jensenshannon" if self.kind == "category" and statistic == "wasserstein" else statistic


def drift_report(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    *,
    spec: MonitoringSpec,
    statistics: Sequence[str],
    task: Literal["regression", "classification"],
    classes: Sequence[str],
    project: str,
) -> DriftReport:
    """Compare live rows with the reference, column by column.

    Args:
        reference: the reference window of the version: feature columns, `prediction` (null where it would not be out of
            sample), for classification `probability_*`; in time order. A column `event_time` is ignored in both.
        current: the live predictions of the deployment period: the same columns, in time order.
        spec: least and greatest number of rows, statistic, threshold and share.
        statistics: the distances of predictions that the policy reads; the one of `spec.drift` is always added.
        task: whether predictions are numbers or classes.
        classes: the classes; empty for regression.
        project: named in errors.

    Returns:
        The report. Its verdict is `too young` with fewer than `spec.drift_rows` live rows. Otherwise it is `drift` when
        at least `spec.drift.share` of the compared feature columns are at or above `spec.drift.threshold`, and
        `no drift` when not; predictions do not count here. The sample of rows is the same at each call.

    Raises:
        NotReady: the reference has no rows.
        ModelError: columns are in one frame only, or a predicted class is not one of the project.
    """
    drift = spec.drift
    reference, current = (frame.drop(columns=TIME, errors="ignore") for frame in (reference, current))
    if len(current) < spec.drift_rows:
        summary = DriftSummary(
            verdict="too young", rows=len(current), statistic=drift.statistic, threshold=drift.threshold
        )
        return DriftReport(
            summary, _frame_page(project, summary, [], "<!DOCTYPE html><html><head></head><body></body></html>")
        )
    _require_comparable(reference, current, task, classes, project)
    columns, left_out = _columns(_sample(reference, spec.sample), _sample(current, spec.sample), task, classes)
    wanted: list[str] = [*dict.fromkeys([drift.statistic, *statistics])]
    distances, page = _evidently(columns, wanted, drift.statistic, drift.threshold, project)
    features = {
        column.name: max(distances[column.name][drift.statistic], round(column.missing_change, DIGITS))
        for column in columns
        if not column.is_output
    }
    drifted = sum(value >= drift.threshold for value in features.values())
    share = drifted / len(features) if features else 0.0
    summary = DriftSummary(
        verdict="drift" if features and share >= drift.share else "no drift",
        rows=len(current),
        statistic=drift.statistic,
        threshold=drift.threshold,
        share=round(share, DIGITS),
        columns=features,
        prediction=distances.get(PREDICTION, {}),
    )
    notes = [f"{column.name}: {column.note}" for column in columns if column.note]
    notes += [
        f"{column.name}: missing in {column.reference.isna().mean():.0%} of the reference rows and in "
        f"{column.current.isna().mean():.0%} of the live rows"
        for column in columns
        if column.missing_change >= drift.threshold
    ]
    notes += [f"{name}: no value on either side, so it is not compared" for name in left_out]
    return DriftReport(summary, _frame_page(project, summary, notes, page), tuple(notes), tuple(left_out))


def _require_comparable(
    reference: pd.DataFrame, current: pd.DataFrame, task: str, classes: Sequence[str], project: str
) -> None:
    if reference.empty:
        raise NotReady(project, "reference", "the reference window of the version has no rows", "train a new version")
    unmatched = sorted({str(name) for name in set(reference.columns) ^ set(current.columns)})
    if unmatched or PREDICTION not in reference:
        raise ModelError(
            project,
            f"drift columns {unmatched or [PREDICTION]}",
            f"reference and live rows must have the same columns, among them {PREDICTION!r}",
            "compare live rows with the reference of the same version",
        )
    if task == "classification":
        unknown = sorted({str(name) for name in current[PREDICTION].dropna()} - set(classes))
        if unknown:
            raise ModelError(
                project,
                PREDICTION,
                f"the predicted classes {unknown} are not among {list(classes)}",
                "serve a version of this project",
            )


def _sample(frame: pd.DataFrame, size: int) -> pd.DataFrame:
    """Return at most `size` rows, drawn with a fixed seed, in time order."""
    if len(frame) > size:
        frame = frame.iloc[np.sort(np.random.default_rng(0).choice(len(frame), size, replace=False))]
    return frame.reset_index(drop=True)


def _columns(
    reference: pd.DataFrame, current: pd.DataFrame, task: str, classes: Sequence[str]
) -> tuple[list[_Column], list[str]]:
    """Return the columns as they are compared, outputs first, and the names of those without any value."""
    outputs = {PREDICTION, *(f"probability_{name}" for name in classes)}
    columns, left_out = [], []
    for name in sorted(reference.columns, key=lambda name: name not in outputs):
        has_classes = name == PREDICTION and task == "classification"
        numeric = not has_classes and _is_number(reference[name]) and _is_number(current[name])
        a, b = ((_finite if numeric else _text)(frame[name]) for frame in (reference, current))
        if not (a.notna().any() or b.notna().any()):
            left_out.append(str(name))
        else:
            column = _lost_or_new(_Column(str(name), "number" if numeric else "category", a, b, name in outputs))
            columns.append(_with_spread(column) if column.kind == "number" else column)
    return columns, left_out


def _is_number(values: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values) or not bool(values.notna().any())


def _finite(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype("float64").replace([np.inf, -np.inf], np.nan)


def _text(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype(object).map(str, na_action="ignore")


def _with_spread(column: _Column) -> _Column:
    """Return a column of numbers in a form whose spread Evidently can divide by; a constant becomes a category."""
    a, b = column.reference, column.current
    slack = max(1e-12, 1e-9 * float(a.abs().max()))
    if float(a.max() - a.min()) <= slack:
        constant = float(a.median())
        note = f"always {constant:g} in the reference, compared as same/other"
        a, b = (
            (values - constant).abs().le(slack).map({True: "same", False: "other"}).where(values.notna())
            for values in (a, b)
        )
        return replace(column, kind="category", reference=a, current=b, note=note)
    spread = float(a.std(ddof=0))
    if spread < SMALLEST_NORM:
        return replace(
            column, reference=a / spread, current=b / spread, note=f"shown divided by its spread, {spread:.3g}"
        )
    return column


def _lost_or_new(column: _Column) -> _Column:
    """Return a column without values on one side as a category with the values present and missing."""
    if column.reference.notna().any() and column.current.notna().any():
        return column
    present = [values.notna().map({True: "present", False: "missing"}) for values in (column.reference, column.current)]
    side = "the reference" if column.current.notna().any() else "the live rows"
    note = f"no value in {side}, compared as present/missing"
    return replace(column, kind="category", reference=present[0], current=present[1], note=note)


@contextmanager
def _known_warnings() -> Iterator[None]:
    """Ignore the deprecation warnings that Evidently causes with numpy and Litestar."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="numpy.core is deprecated", category=DeprecationWarning)
        warnings.filterwarnings(
            "ignore", message="Call to deprecated function 'Dependency'", category=DeprecationWarning
        )
        warnings.filterwarnings(
            "ignore", message="Use of deprecated class 'DependencyKwarg'", category=DeprecationWarning
        )
        yield


def _evidently(
    columns: list[_Column], wanted: list[str], statistic: str, threshold: float, project: str
) -> tuple[dict[str, dict[str, float]], str]:
    """Return distances {column: {statistic: value}} and the page; only predictions have all wanted statistics."""
    with _known_warnings():
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

    pairs = [(column, name) for column in columns for name in (wanted if column.name == PREDICTION else [statistic])]
    # One metric per column and method: two statistics of a category may use the same method.
    methods = dict.fromkeys((column.name, column.method(name)) for column, name in pairs)
    metrics = [ValueDrift(column=name, method=method, threshold=threshold) for name, method in methods]
    definition = DataDefinition(
        numerical_columns=[column.name for column in columns if column.kind == "number"],
        categorical_columns=[column.name for column in columns if column.kind == "category"],
    )
    frames = [
        pd.DataFrame({column.name: values for column, values in zip(columns, side, strict=True)})
        for side in ([column.current for column in columns], [column.reference for column in columns])
    ]
    current, reference = (Dataset.from_pandas(frame, data_definition=definition) for frame in frames)
    with _known_warnings():
        snapshot = Report(metrics, include_tests=True).run(current, reference)
    found = {(m["config"]["column"], m["config"]["method"]): float(m["value"]) for m in snapshot.dict()["metrics"]}
    distances: dict[str, dict[str, float]] = {}
    for column, name in pairs:
        value = found[column.name, column.method(name)]
        distances.setdefault(column.name, {})[name] = _distance(project, column, column.method(name), value)
    return distances, snapshot.get_html_str(as_iframe=False)


def _distance(project: str, column: _Column, method: str, value: float) -> float:
    if np.isnan(value) and method == "jensenshannon":
        return 0.0  # equal shares: rounding made the sum under the square root slightly negative
    if not np.isfinite(value):
        raise ModelError(project, f"drift of {column.name}", f"{method} is {value}", "look at the values of the column")
    return round(value, DIGITS)


def _frame_page(project: str, summary: DriftSummary, notes: Sequence[str], page: str) -> str:
    """Return the page with a title and a header that says what is compared."""
    lines = [f"<b>{summary.verdict}</b>: {summary.rows} live rows compared with the reference window of the version"]
    if summary.share is not None:
        lines[0] += f"; {summary.share:.0%} of {len(summary.columns)} columns have drifted "
        lines[0] += f"({summary.statistic} of {summary.threshold:g} or more)"
        predictions = ", ".join(f"{name} {value:.3f}" for name, value in summary.prediction.items())
        lines += [f"distance of the predictions: {predictions}"]
    if summary.statistic == "wasserstein":
        lines += ["wasserstein is in standard deviations of the reference; categories are compared by jensenshannon"]
    lines += [html.escape(note) for note in notes]
    style = "font: 15px/1.5 sans-serif; max-width: 1200px; margin: 16px auto; padding: 0 16px; color: #33373d"
    header = f'<header style="{style}"><h2>Drift of {html.escape(project)}</h2><p>{"<br>".join(lines)}</p></header>'
    page = page.replace("<head>", f"<head><title>Drift of {html.escape(project)}</title>", 1)
    return page.replace("<body>", f"<body>{header}", 1)
