"""Flux queries as text. `read` begins a query; the other functions take a query and append steps.

Grafana fills in `v.timeRangeStart`, `v.timeRangeStop`, `v.windowPeriod` and `v.defaultBucket`, and template variables.
Grafana shows a result with `_time` and `_value` as a time series, and any other result as a table.
"""

from __future__ import annotations

from collections.abc import Sequence

BEGINNING = "1970-01-01T00:00:00Z"
ENTITY = "r.entity =~ /^${entity:regex}$/"
"""Condition for the entities that are chosen on the dashboard."""


def read(
    measurement: str, project: str, *conditions: str, since: str = "v.timeRangeStart", until: str = "v.timeRangeStop"
) -> str:
    """Return a query for points of a project, by default within the dashboard's time range.

    Args:
        measurement: name of the measurement.
        project: name of the project.
        conditions: further conditions, as `fields` and `tag` return them; empty ones are ignored.
        since: start of the time range, as Flux; `BEGINNING` for all points.
        until: end of the time range, as Flux.
    """
    wanted = [f'r._measurement == "{measurement}" and r.project == "{project}"', *filter(None, conditions)]
    steps = [f"range(start: {since}, stop: {until})", *(f"filter(fn: (r) => {each})" for each in wanted)]
    return _piped("from(bucket: v.defaultBucket)", *steps)


def fields(*names: str) -> str:
    """Return the condition for points of these fields."""
    return " or ".join(f'r._field == "{name}"' for name in names)


def tag(name: str, *values: str) -> str:
    """Return the condition for points in which a tag has one of these values."""
    return " or ".join(f'r.{name} == "{value}"' for value in values)


def per_period(query: str, how: str, by: Sequence[str] = ()) -> str:
    """Return a query for one value per period of the time axis.

    Args:
        query: a query for points of one field.
        how: Flux function that aggregates the points of a period: `mean`, `sum`, `last`, ...
        by: labels by which the result is split into series; without any there is one series.
    """
    labels = ", ".join(f'"{name}"' for name in by)
    kept = ", ".join(f'"{name}"' for name in ("_time", "_value", *by))
    return _piped(
        query,
        f"group(columns: [{labels}])",
        # of two stages of a report at the same time, `labelled` comes last, so that `last` takes it
        'sort(columns: ["_time", "stage"])',
        f'aggregateWindow(every: v.windowPeriod, fn: {how}, createEmpty: false, timeSrc: "_start")',
        f"keep(columns: [{kept}])",
    )


def newest(query: str, value: str = "r._value") -> str:
    """Return a query for the newest point's value; `value` is an expression of the point's row `r`."""
    one_row = f"map(fn: (r) => ({{value: {value}}}))"
    return _piped(query, "last()", "group()", 'sort(columns: ["_time"])', "last()", one_row)


def newest_of_all(query: str, how: str) -> str:
    """Return a query for the newest values of all series, aggregated by a Flux function (`sum`, `max`, ...)."""
    return _piped(query, "last()", "group()", f"{how}()", 'keep(columns: ["_value"])')


def counted(query: str, condition: str) -> str:
    """Return a query for the number of points per period that meet a condition on their row `r`."""
    return per_period(_piped(query, f"map(fn: (r) => ({{r with _value: if {condition} then 1 else 0}}))"), "sum")


def events(query: str, **columns: str) -> str:
    """Return a query for a table, newest row first, with the time and one column per expression.

    Args:
        query: a query for points with all fields that the expressions use; each field becomes a column of the row `r`.
        columns: expressions of the row `r` by name of the column.
    """
    made = ", ".join(f"{name}: {expression}" for name, expression in columns.items())
    return _piped(
        query,
        'pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")',
        "group()",
        'sort(columns: ["_time"], desc: true)',
        f"map(fn: (r) => ({{time: r._time, {made}}}))",
    )


def numbers(query: str) -> str:
    """Return the query without points whose values are texts."""
    return 'import "types"\n' + _piped(query, 'filter(fn: (r) => types.isType(v: r._value, type: "float"))')


def texts(query: str) -> str:
    """Return the query without points whose values are numbers."""
    return 'import "types"\n' + _piped(query, 'filter(fn: (r) => types.isType(v: r._value, type: "string"))')


def band_edge(query: str, error: str, edge: str) -> str:
    """Return a query for one edge of the error band; it has no rows while no loss has been measured.

    Args:
        query: a query for predictions, one series.
        error: a query of `newest` for a loss.
        edge: the edge as an expression of the prediction `r._value` and the loss `loss.value`.
    """
    found = f"loss = {error}\n  |> findRecord(fn: (key) => true, idx: 0)"
    return f"{found}\n" + _piped(
        query, "filter(fn: (r) => exists loss.value)", f"map(fn: (r) => ({{r with _value: {edge}}}))"
    )


def renamed(query: str, **names: str) -> str:
    """Return the query with renamed columns: `_field="feature"` renames `_field` to `feature`."""
    return _piped(query, "rename(columns: {" + ", ".join(f'{old}: "{new}"' for old, new in names.items()) + "})")


def tag_values(name: str, measurement: str, project: str) -> str:
    """Return the query of a template variable for the values of a tag."""
    where = f'r._measurement == "{measurement}" and r.project == "{project}"'
    return (
        'import "influxdata/influxdb/schema"\n'
        f'schema.tagValues(bucket: v.defaultBucket, tag: "{name}", predicate: (r) => {where}, '
        "start: v.timeRangeStart, stop: v.timeRangeStop)"
    )


def _piped(query: str, *steps: str) -> str:
    return "\n  |> ".join([query, *steps])
