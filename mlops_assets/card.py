"""The card that all pictures are drawn on: its look, its layout, its PNG.

A card has colours of its own, so it looks the same on a light and on a dark page; outside its round corners it is
transparent. About 880 pixels wide, at most 128 colours, so that it goes into Markdown metadata.
"""

from __future__ import annotations

import io
from typing import Any

BACKGROUND, EDGE, GRID, TEXT, MUTED = "#fafbfc", "#d3d8df", "#e3e7ec", "#262b33", "#5d6673"
WIDTH, DPI = 8.0, 110
MARGIN, RIGHT = 0.2, 0.25
"""Inches between the card's border and what is on it."""


class Card:
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

    def say_nothing_yet(self) -> bytes:
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
        from PIL import Image

        self.figure.draw_without_rendering()
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
        drawn, packed = io.BytesIO(), io.BytesIO()
        self.figure.savefig(drawn, format="png", dpi=DPI, facecolor="none")
        drawn.seek(0)
        few = (
            Image.open(drawn)
            .convert("RGBA")
            .quantize(colors=128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        )
        few.save(packed, format="png", optimize=True)
        return packed.getvalue()
