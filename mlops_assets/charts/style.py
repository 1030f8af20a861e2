"""The card that all pictures are drawn on: its look, its layout, its PNG.

A card has colours of its own, so it looks the same on a light and on a dark page; outside its round corners it is
transparent. About 880 pixels wide and a few dozen kilobytes, so that it goes into Markdown metadata.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

BACKGROUND, EDGE, GRID, TEXT, MUTED = "#fafbfc", "#d3d8df", "#e3e7ec", "#262b33", "#5d6673"
SHADE = "#eceef1"
"""Of an area under a line."""
BLUE, GREEN, ORANGE, GREY, ALARM, CALM = "#0072b2", "#009e73", "#e69f00", "#8b929c", "#d55e00", "#8fb8d6"
SKY, ROSE, YELLOW = "#56b4e9", "#cc79a7", "#f0e442"
INKS = [EDGE, GRID, TEXT, MUTED, SHADE, BLUE, GREEN, ORANGE, GREY, ALARM, CALM, SKY, ROSE, YELLOW]
"""All that is drawn with; distinguishable without red or green (M. Okabe, K. Ito, Color Universal Design, 2008)."""
STEPS, ALPHAS = 14, 16
"""Shades of each ink on the way to the background, and of transparency at the border."""
WIDTH, DPI = 8.0, 110
MARGIN, RIGHT = 0.2, 0.25
"""Inches between the card's border and what is on it."""


class Chart:
    """A figure with a round background, title and caption on top, a legend below them, and panels of axes.

    Args:
        title: what is seen.
        height: inches.
        caption: how to read it, one line.
        panels: axes above each other, sharing the horizontal one.
        dated: whether the horizontal axis shows times, which takes a second line of labels.
    """

    def __init__(self, title: str, height: float, *, caption: str = "", panels: int = 1, dated: bool = True) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyBboxPatch

        self.height, self.bottom = height, 0.5 if dated else 0.36
        self.figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="none")
        self.canvas = FigureCanvasAgg(self.figure)
        background = FancyBboxPatch(
            (0.02, 0.02), WIDTH - 0.04, height - 0.04, boxstyle="round,pad=0,rounding_size=0.12"
        )
        background.set(
            transform=self.figure.dpi_scale_trans, facecolor=BACKGROUND, edgecolor=EDGE, linewidth=1, zorder=-10
        )
        self.figure.add_artist(background)
        self._text(0.32, title, size=12.5, weight="bold", color=TEXT)
        if caption:
            self._text(0.56, caption, size=9.2, color=MUTED)
        self.used = 0.7 if caption else 0.46
        """Inches taken on top."""
        self.axes = [self._styled(axes) for axes in self.figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]]
        for axes in self.axes[:-1]:
            # shows nothing there; its ticks would be laid out all the same, a fifth of such a picture's time
            axes.xaxis.set_visible(False)

    def _text(self, down: float, text: str, **style: Any) -> None:
        self.figure.text(MARGIN / WIDTH, 1 - down / self.height, text, ha="left", va="baseline", **style)

    @staticmethod
    def _styled(axes: Any) -> Any:
        axes.set_facecolor("none")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(EDGE)
        axes.tick_params(length=0, colors=MUTED, labelsize=9)
        axes.tick_params(axis="x", pad=5)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        return axes

    def show_no_data(self) -> bytes:
        """The picture of a table without rows."""
        for axes in self.axes:
            axes.set_axis_off()
        self.figure.text(0.5, 0.42, "nothing to show yet", ha="center", size=11, color=MUTED)
        return self.png()

    def legend(self, handles: list[Any]) -> None:
        """A legend in one row above the axes, where no data are."""
        made = self.figure.legend(
            handles=handles,
            loc="center left",
            bbox_to_anchor=((MARGIN - 0.08) / WIDTH, 1 - (self.used + 0.12) / self.height),
            ncols=8,
            frameon=False,
            fontsize=9,
            handlelength=1.8,
            columnspacing=1.4,
            handletextpad=0.6,
            labelcolor=TEXT,
        )
        made.set_in_layout(False)
        self.used += 0.28

    def png(self, *, above: float = 0.14, between: float = 0.35) -> bytes:
        """The picture; `above` is room between legend and axes in inches, `between` that of panels in their heights."""
        renderer = self.canvas.get_renderer()  # type: ignore[no-untyped-call]
        extents = [axes.yaxis.get_tightbbox(renderer) for axes in self.axes]
        labels = max((extent.width for extent in extents if extent is not None), default=0) / DPI
        self.figure.subplots_adjust(
            left=(MARGIN + labels + 0.06) / WIDTH,
            right=1 - RIGHT / WIDTH,
            bottom=self.bottom / self.height,
            top=1 - (self.used + above) / self.height,
            hspace=between,
        )
        self.canvas.draw()  # type: ignore[no-untyped-call]
        return _packed(np.array(self.canvas.buffer_rgba()))  # type: ignore[no-untyped-call]


def local_times(times: pd.Series[Any], zone: str) -> pd.Series[Any]:
    """UTC times, aware or naive, as the local times that a time axis shows."""
    return pd.to_datetime(times, utc=True).dt.tz_convert(ZoneInfo(zone)).dt.tz_localize(None)


def time_axis(axes: Any, times: pd.DatetimeIndex) -> None:
    """Concise dates, and a little room at both ends."""
    from matplotlib import dates

    locator: Any = dates.AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    formatter: Any = dates.ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    formatter.formats[2] = formatter.zero_formats[2] = formatter.zero_formats[3] = "%d %b"
    formatter.offset_formats[2] = "%Y"
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.get_offset_text().set(color=MUTED, size=9)
    edge = (times.max() - times.min()) * 0.015 or pd.Timedelta(hours=1)
    axes.set_xlim(times.min() - edge, times.max() + edge)


def panel_title(axes: Any, text: str, *, pad: float = 3) -> None:
    """What a panel shows, above it at the left; `pad` in points."""
    # at y=1, where it would go by itself: matplotlib lays out all ticks once more to find that out
    axes.set_title(text, loc="left", y=1.0, pad=pad, fontsize=9.4, color=TEXT)


def value_axis(axes: Any, unit: str, *, zero: bool = True) -> None:
    """The unit, and where nothing is negative, a beginning at zero."""
    if zero and axes.dataLim.ymin >= 0:
        axes.set_ylim(bottom=0)
    if unit:
        axes.set_ylabel(unit, color=MUTED, fontsize=9)


@cache
def _palette() -> npt.NDArray[np.uint8]:
    """(colours, 3): the background, and each ink in shades, since a palette made from the picture dulls thin lines."""
    ground, inks = _rgb(BACKGROUND), np.array([_rgb(ink) for ink in INKS])
    weight = np.arange(1, STEPS + 1)[:, None, None] / STEPS
    shades = (ground * (1 - weight) + inks * weight).reshape(-1, 3)
    return np.vstack([ground, shades]).round().astype(np.uint8)


def _rgb(colour: str) -> npt.NDArray[np.float64]:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float64)


def _packed(drawn: npt.NDArray[np.uint8]) -> bytes:
    """A PNG of one byte a pixel: the nearest colours of the palette, and transparency at the border."""
    from PIL import Image

    rgba = Image.fromarray(drawn)
    opaque = Image.new("RGBA", rgba.size, BACKGROUND)
    opaque.alpha_composite(rgba)
    colours, palette = _palette(), Image.new("P", (1, 1))
    palette.putpalette(colours.tobytes())
    index = np.array(opaque.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE))
    alpha = np.asarray(rgba)[..., 3]
    seen = np.round(alpha / 255 * (ALPHAS - 1)).astype(np.uint8)
    border = seen < ALPHAS - 1
    index[border] = len(colours) + seen[border]
    image = Image.frombytes("P", rgba.size, index.tobytes())
    edge = np.tile(_rgb(EDGE).astype(np.uint8), (ALPHAS, 1))
    image.putpalette(np.vstack([colours, edge]).tobytes())
    transparency = bytes([255] * len(colours) + [round(255 * step / (ALPHAS - 1)) for step in range(ALPHAS)])
    packed = io.BytesIO()
    image.save(packed, format="png", transparency=transparency)
    return packed.getvalue()
