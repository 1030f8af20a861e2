"""Panels and their layout on a dashboard, built with Grafana's own models, so that Grafana can read their JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, cast

from mlops_assets.charts.style import ALARM, CLASS_COLOURS

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig as ThresholdsBuilder
    from grafana_foundation_sdk.models.dashboard import (
        AnnotationQuery,
        Dashboard,
        DataSourceRef,
        Panel,
        RowPanel,
        VariableModel,
    )

DATA_SOURCE = "mlops-influxdb"
"""The uid of the data source, which provisioning creates."""
TEXT_COLOUR = "text"
"""Grafana's name of the text colour, which can be read on a dark and on a light page."""
GRID = 24
"""Width of a dashboard, in columns."""
HEIGHT = 8
"""Height of a panel, in rows."""


@dataclass(frozen=True)
class Line:
    """A query of a panel, and how its result is drawn.

    Attributes:
        query: the query, in Flux.
        name: name of the series; `${__field.labels.column}` names each series by a label. Empty: Grafana's own name.
        colour: colour of the line. Empty: Grafana chooses one.
        dashed: whether the line is dashed.
        width: width of the line, in pixels.
        fill_to: name of the line down to which the area is filled.
    """

    query: str
    name: str = ""
    colour: str = ""
    dashed: bool = False
    width: int = 1
    fill_to: str = ""

    def properties(self) -> dict[str, Any]:
        """Return the properties that differ from the panel's defaults, by Grafana's names."""
        found: dict[str, Any] = {"displayName": self.name} if self.name else {}
        if self.colour:
            found["color"] = {"mode": "fixed", "fixedColor": self.colour}
        if self.dashed:
            found["custom.lineStyle"] = {"fill": "dash", "dash": [8, 6]}
        if self.width != 1:
            found["custom.lineWidth"] = self.width
        if self.fill_to:
            found |= {"custom.fillBelowTo": self.fill_to, "custom.fillOpacity": 15}
        return found


def source() -> DataSourceRef:
    """Return the reference to the data source InfluxDB."""
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    return DataSourceRef(type_val="influxdb", uid=DATA_SOURCE)


def target(query: str, ref: str) -> Any:
    """Return a query as a panel's target; the SDK has no model for InfluxDB's."""
    from grafana_foundation_sdk.cog.runtime import UnknownDataquery

    return UnknownDataquery(
        {"refId": ref, "datasource": {"type": "influxdb", "uid": DATA_SOURCE}, "query": query, "hide": False}
    )


def curves(
    title: str,
    lines: Sequence[Line],
    *,
    unit: str = "short",
    description: str = "",
    limit: float | None = None,
    interval: str = "",
    least: float | None = None,
    width: int = 12,
) -> Panel:
    """Return a panel with values over time.

    Args:
        title: title of the panel.
        lines: what is drawn, from back to front.
        unit: Grafana's name of the unit.
        description: how to read the panel.
        limit: a threshold, drawn as a dashed line.
        interval: the shortest period over which values are aggregated, as `1h`.
        least: the value axis starts at this value or below.
        width: width in columns, of 24.
    """
    from grafana_foundation_sdk.builders import common, timeseries
    from grafana_foundation_sdk.models import common as models

    panel = timeseries.Panel().title(title).description(description).unit(unit).span(width).height(HEIGHT)
    panel = panel.show_points(models.VisibilityMode.AUTO).fill_opacity(0)
    panel = panel.legend(common.VizLegendOptions().show_legend(True).display_mode(models.LegendDisplayMode.LIST))
    panel = panel.tooltip(common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI))
    if limit is not None:
        panel = panel.thresholds(_limit(limit, "transparent"))
        style = common.GraphThresholdsStyleConfig().mode(models.GraphTresholdsStyleMode.DASHED)
        panel = panel.thresholds_style(style)
    if interval:
        panel = panel.interval(interval)
    if least is not None:
        panel = panel.axis_soft_min(least)
    return _with_queries(panel.build(), lines)


def states(title: str, lines: Sequence[Line], values: Sequence[str], *, interval: str = "", width: int = GRID) -> Panel:
    """Return a panel with classes over time: one strip per line, one colour per class."""
    from grafana_foundation_sdk.builders import common, statetimeline
    from grafana_foundation_sdk.models import common as models
    from grafana_foundation_sdk.models.dashboard import ValueMap, ValueMappingResult

    colours = {
        value: ValueMappingResult(color=CLASS_COLOURS[n % len(CLASS_COLOURS)], text=value, index=n)
        for n, value in enumerate(values)
    }
    panel = statetimeline.Panel().title(title).span(width).height(HEIGHT).interval(interval)
    panel = panel.show_value(models.VisibilityMode.NEVER).merge_values(True).row_height(0.8)
    panel = panel.legend(common.VizLegendOptions().show_legend(True)).mappings([ValueMap(options=colours)])
    return _with_queries(panel.build(), lines)


def stat(
    title: str,
    lines: Sequence[Line],
    *,
    unit: str = "none",
    limit: float | None = None,
    link: str = "",
    description: str = "",
    width: int = 4,
) -> Panel:
    """Return a panel with the newest values in large type; values at or above the limit have the alarm colour."""
    from grafana_foundation_sdk.builders import common, stat
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.models import common as models

    panel = stat.Panel().title(title).description(description).unit(unit).span(width).height(4).no_value("-")
    # all fields: the default shows numbers only
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("/.*/").values(False))
    panel = panel.graph_mode(models.BigValueGraphMode.NONE).color_mode(models.BigValueColorMode.VALUE)
    panel = panel.text_mode(
        models.BigValueTextMode.VALUE if len(lines) == 1 else models.BigValueTextMode.VALUE_AND_NAME
    )
    panel = panel.thresholds(_limit(limit, "text"))
    if link:
        panel = panel.links([builders.DashboardLink(title).url(link)])
    return _with_queries(panel.build(), lines)


def table(title: str, query: str, *, description: str = "", width: int = 12) -> Panel:
    """Return a panel with a table, one row per fact."""
    from grafana_foundation_sdk.builders import table

    panel = table.Panel().title(title).description(description).span(width).height(HEIGHT).show_header(True)
    return _with_queries(panel.build(), [Line(query)])


def row(title: str) -> RowPanel:
    """Return the heading of the panels that follow."""
    from grafana_foundation_sdk.models.dashboard import RowPanel

    return RowPanel(title=title)


def annotation(name: str, query: str, colour: str) -> AnnotationQuery:
    """Return an annotation: it marks a moment in all curves for each row (`time` and `text`) of a query."""
    from grafana_foundation_sdk.builders import dashboard as builders

    made = builders.AnnotationQuery().name(name).datasource(source()).enable(True).icon_color(colour).build()
    # the SDK's model has targets of Grafana's own annotations only
    made.target = cast(Any, target(query, "Anno"))
    return made


def choice(name: str, label: str, query: str, chosen: Sequence[str] = ()) -> VariableModel:
    """Return a template variable over the values that a query returns. At first all, or `chosen`, are selected."""
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

    at_first = (
        VariableOption(selected=True, text=list(chosen), value=list(chosen))
        if chosen
        else VariableOption(selected=True, text=["All"], value=["$__all"])
    )
    variable = builders.QueryVariable(name).label(label).query(query).datasource(source()).multi(True)
    variable = variable.include_all(True).all_value(".*").current(at_first).sort(VariableSort.ALPHABETICAL_ASC)
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).build()


def laid_out(panels: Sequence[Panel | RowPanel]) -> list[Panel | RowPanel]:
    """Place panels from left to right and top to bottom, and number them."""
    from grafana_foundation_sdk.models.dashboard import GridPos, RowPanel

    x = y = tallest = 0
    for number, panel in enumerate(panels, start=1):
        size = panel.grid_pos or GridPos(h=1, w=GRID)
        if isinstance(panel, RowPanel) or x + size.w > GRID:
            x, y, tallest = 0, y + tallest, 0
        panel.id_val, panel.grid_pos = number, GridPos(h=size.h, w=size.w, x=x, y=y)
        x, tallest = x + size.w, max(tallest, size.h)
        if isinstance(panel, RowPanel):
            x, y, tallest = 0, y + size.h, 0
    return list(panels)


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard as JSON that Grafana reads."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    made: dict[str, Any] = json.loads(JSONEncoder().encode(dashboard))
    return made


def uid_of(name: str) -> str:
    """Return a dashboard's uid in Grafana, which has at most 40 characters."""
    from hashlib import sha256

    plain = f"mlops-{name.replace('_', '-')}"
    return plain if len(plain) <= 40 else f"mlops-{sha256(name.encode()).hexdigest()[:32]}"


def _with_queries(panel: Panel, lines: Sequence[Line]) -> Panel:
    """Set a panel's queries and the display properties of each, and return the panel."""
    from grafana_foundation_sdk.models.dashboard import (
        DashboardFieldConfigSourceOverrides,
        DynamicConfigValue,
        FieldConfigSource,
        MatcherConfig,
    )

    panel.datasource = source()
    panel.targets = [target(line.query, ref) for ref, line in zip(ascii_uppercase, lines, strict=False)]
    panel.field_config = panel.field_config or FieldConfigSource()
    panel.field_config.overrides = [
        DashboardFieldConfigSourceOverrides(
            MatcherConfig("byFrameRefID", ref),
            [DynamicConfigValue(name, value) for name, value in line.properties().items()],
        )
        for ref, line in zip(ascii_uppercase, lines, strict=False)
        if line.properties()
    ]
    return panel


def _limit(value: float | None, below: str) -> ThresholdsBuilder:
    from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
    from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode

    steps = [Threshold(color=below), *([] if value is None else [Threshold(value=value, color=ALARM)])]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
