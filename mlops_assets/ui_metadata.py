"""Dagster metadata values that several phases use: numbers, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from mlops_assets.charts.figure import markdown_image
from mlops_assets.spec.problem import GREATER_IS_BETTER, Metric


def table(rows: list[dict[str, Any]]) -> dg.TableMetadataValue:
    """Return rows as a table for the UI. All rows have the same keys, which become the columns."""
    columns = [dg.TableColumn(name, _kind([row[name] for row in rows])) for name in (rows[0] if rows else {})]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema=dg.TableSchema(columns=columns))


def _kind(values: list[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    return {frozenset({int}): "int", frozenset({float}): "float", frozenset({bool}): "bool"}.get(
        frozenset(kinds), "string"
    )


def picture(png: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """Return a PNG as Markdown for the UI, with an alternative text."""
    return dg.MetadataValue.md(markdown_image(png, alt))


def rounded(value: float, digits: int = 4) -> float:
    """Return a number with `digits` significant digits. It stays a number, so that the UI plots it over time."""
    return float(f"{value:.{digits}g}")


def numbers(values: Mapping[str, float | int | None]) -> dict[str, float | int]:
    """Return the numbers that are there, rounded to four significant digits; counts (int) stay as they are."""
    return {
        name: value if isinstance(value, int) else rounded(value) for name, value in values.items() if value is not None
    }


def loss_key(name: str, metric: Metric, target: str) -> str:
    """Return a metadata key that says what a loss is measured by, for example `candidate loss (mae of cnt)`.

    The target's name stands for the target's unit. For metrics where a greater value is better it is
    `candidate loss (1 - accuracy of move)`.
    """
    return f"{name} ({'1 - ' if metric in GREATER_IS_BETTER else ''}{metric} of {target})"
