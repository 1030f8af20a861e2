"""The figure of all charts: its layout, and its PNG.

A chart looks the same on a light and on a dark page: it has its own background, and is transparent outside its round
corners. It is 880 pixels wide and a few dozen kilobytes in size, so that it fits into Markdown metadata.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_assets.charts.style import BACKGROUND, EDGE, GRID, INKS, MUTED, TEXT

STEPS, ALPHAS = 14, 16
"""Number of shades of each colour towards the background, and of transparency steps at the border."""
WIDTH, DPI = 8.0, 110
MARGIN, RIGHT = 0.2, 0.25
"""Inches between the border and the content, at the left and at the right."""


class ChartFigure:
    """A matplotlib figure with title and caption on top, a legend below them, and panels of axes; written as PNG.

    Args:
        title: what the chart shows.
        height: inches.
        caption: how to read it, in one line.
        panels: number of axes above each other, which share the horizontal axis.
        dated: whether the horizontal axis shows times, which takes a second line of labels.

    Attributes:
        axes: one matplotlib axes per panel.
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
        """Inches used at the top."""
        self.axes = [self._styled(axes) for axes in self.figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]]
        for axes in self.axes[:-1]:
            # they have no labels, but laying out their ticks would take a fifth of the chart's time
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
        """Return the PNG of a chart without data."""
        for axes in self.axes:
            axes.set_axis_off()
        self.figure.text(0.5, 0.42, "no data yet", ha="center", size=11, color=MUTED)
        return self.png()

    def legend(self, handles: list[Any]) -> None:
        """Add a legend in one row above the axes, where it covers no data."""
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
        """Return the chart as PNG.

        Args:
            above: inches between legend and axes.
            between: space between panels, as a share of their height.
        """
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


def markdown_image(png: bytes, alt: str) -> str:
    """Return a PNG as an image in Markdown, as a data URI."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})"


@cache
def _palette() -> npt.NDArray[np.uint8]:
    """Return (colours, 3): the background and shades of each colour. A palette made per image dulls thin lines."""
    ground, inks = _rgb(BACKGROUND), np.array([_rgb(ink) for ink in INKS])
    weight = np.arange(1, STEPS + 1)[:, None, None] / STEPS
    shades = (ground * (1 - weight) + inks * weight).reshape(-1, 3)
    return np.vstack([ground, shades]).round().astype(np.uint8)


def _rgb(colour: str) -> npt.NDArray[np.float64]:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float64)


def _packed(drawn: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG of one byte per pixel, with the nearest colours of the palette and transparency at the border."""
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
