"""Flux queries as text: each function takes what the one before returned, and adds its steps.

Grafana fills in `v.timeRangeStart`, `v.timeRangeStop`, `v.windowPeriod` and `v.defaultBucket`, and template variables.
A result with `_time` and `_value` is a time series to it, any other result a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

BEGINNING = "1970-01-01T00:00:00Z"
ENTITY = "r.entity =~ /^${entity:regex}$/"
"""Condition: the entities that were chosen on the dashboard."""


def read(
    measurement: str, project: str, *conditions: str, since: str = "v.timeRangeStart", until: str = "v.timeRangeStop"
) -> str:
    """Points of a project, within the dashboard's time range if nothing else is said.

    Args:
        measurement: which.
        project: whose.
        conditions: further ones, as `fields` and `tag` give them; empty ones are passed over.
        since: where to begin, as Flux; `BEGINNING` for all there are.
        until: where to end.
    """
    wanted = [f'r._measurement == "{measurement}" and r.project == "{project}"', *filter(None, conditions)]
    steps = [f"range(start: {since}, stop: {until})", *(f"filter(fn: (r) => {each})" for each in wanted)]
    return _piped("from(bucket: v.defaultBucket)", *steps)


def fields(*names: str) -> str:
    """Condition: one of these fields."""
    return " or ".join(f'r._field == "{name}"' for name in names)


def tag(name: str, *values: str) -> str:
    """Condition: a tag is one of these values."""
    return " or ".join(f'r.{name} == "{value}"' for value in values)


def per_period(query: str, how: str, by: Sequence[str] = ()) -> str:
    """One value per period of the time axis.

    Args:
        query: points of one field.
        how: Flux's `mean`, `sum`, `last`, ...
        by: labels that tell series apart; without any there is one series.
    """
    labels = ", ".join(f'"{name}"' for name in by)
    kept = ", ".join(f'"{name}"' for name in ("_time", "_value", *by))
    return _piped(
        query,
        f"group(columns: [{labels}])",
        # of two stages of a report at one time, `labelled` comes last, and is the one that `last` takes
        'sort(columns: ["_time", "stage"])',
        f'aggregateWindow(every: v.windowPeriod, fn: {how}, createEmpty: false, timeSrc: "_start")',
        f"keep(columns: [{kept}])",
    )


def newest(query: str, value: str = "r._value") -> str:
    """The newest point's value alone; `value` may be another expression of its row `r`."""
    one_row = f"map(fn: (r) => ({{value: {value}}}))"
    return _piped(query, "last()", "group()", 'sort(columns: ["_time"])', "last()", one_row)


def of_each(query: str, how: str) -> str:
    """The newest value of each series, put together by Flux's `sum`, `max`, ..."""
    return _piped(query, "last()", "group()", f"{how}()", 'keep(columns: ["_value"])')


def counted(query: str, condition: str) -> str:
    """How many points per period meet a condition on the row `r`; 0 where none does."""
    return per_period(_piped(query, f"map(fn: (r) => ({{r with _value: if {condition} then 1 else 0}}))"), "sum")


def events(query: str, **columns: str) -> str:
    """A table, the newest first: a column per expression of the row `r`, beside its time.

    Args:
        query: points, all fields that the expressions name; each becomes a column of `r`.
        columns: name to expression.
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
    """Without the texts among the values."""
    return 'import "types"\n' + _piped(query, 'filter(fn: (r) => types.isType(v: r._value, type: "float"))')


def texts(query: str) -> str:
    """Without the numbers among the values."""
    return 'import "types"\n' + _piped(query, 'filter(fn: (r) => types.isType(v: r._value, type: "string"))')


def around(query: str, error: str, edge: str) -> str:
    """A band's edge: a prediction and the error that is usual, as far as a loss was measured yet.

    Args:
        query: the predictions, one series.
        error: query of `newest` for a loss.
        edge: the edge as an expression of the prediction `r._value` and of the loss `loss.value`.
    """
    found = f"loss = {error}\n  |> findRecord(fn: (key) => true, idx: 0)"
    return f"{found}\n" + _piped(
        query, "filter(fn: (r) => exists loss.value)", f"map(fn: (r) => ({{r with _value: {edge}}}))"
    )


def renamed(query: str, **names: str) -> str:
    """Columns under other names: `_field="feature"`."""
    return _piped(query, "rename(columns: {" + ", ".join(f'{old}: "{new}"' for old, new in names.items()) + "})")


def tag_values(name: str, measurement: str, project: str) -> str:
    """Query of a template variable: the values of a tag."""
    where = f'r._measurement == "{measurement}" and r.project == "{project}"'
    return (
        'import "influxdata/influxdb/schema"\n'
        f'schema.tagValues(bucket: v.defaultBucket, tag: "{name}", predicate: (r) => {where}, '
        "start: v.timeRangeStart, stop: v.timeRangeStop)"
    )


def flux_queries(dashboard: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(title of the panel, annotation or variable; query) of a dashboard's JSON, all that it asks InfluxDB."""
    found = [
        (str(panel["title"]), str(target["query"]))
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]
    found += [(str(each["name"]), str(each["target"]["query"])) for each in dashboard["annotations"]["list"]]
    return found + [(str(each["name"]), str(each["query"])) for each in dashboard["templating"]["list"]]


def with_range(
    query: str,
    start: datetime,
    stop: datetime,
    period: timedelta,
    bucket: str = "mlops",
    variables: Mapping[str, str] | None = None,
) -> str:
    """A query as Grafana would send it, for InfluxDB itself.

    Args:
        query: of `flux_queries`.
        start: left edge of the time axis.
        stop: right edge.
        period: length of a period, whole seconds.
        bucket: the data source's.
        variables: regular expressions of template variables; all values where none is given.
    """
    fills = variables or {}
    filled = re.sub(r"\$\{(\w+):regex\}", lambda found: fills.get(found[1], ".*"), query)
    lines = filled.splitlines()
    # an import comes before everything else
    imports = [line for line in lines if line.startswith("import ")]
    rest = [line for line in lines if not line.startswith("import ")]
    option = (
        f"option v = {{timeRangeStart: {_literal(start)}, timeRangeStop: {_literal(stop)}, "
        f'windowPeriod: {int(period.total_seconds())}s, defaultBucket: "{bucket}"}}'
    )
    return "\n".join([*imports, option, *rest])


def _literal(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _piped(query: str, *steps: str) -> str:
    return "\n  |> ".join([query, *steps])
