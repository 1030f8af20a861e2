"""Dagster metadata values that several phases use: tables and pictures."""

from __future__ import annotations

from typing import Any

import dagster as dg

from mlops_assets.charts.figure import markdown_image


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
